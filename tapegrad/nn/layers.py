"""Layers: `init` draws parameters, a call is a pure function of them."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from tapegrad.nn.initializers import Key, centred_uniform, he_normal, split, zeros
from tapegrad.ops import add, index_select, matmul, relu, sigmoid, tanh


class Layer(Protocol):
    """Anything with parameters and a pure function of them."""

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> Any:
        """Parameters drawn with a key: the same key, the same parameters."""

    def __call__(self, params: Any, x: Any) -> Any:
        """The layer's output."""


def _size(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{attribute.name} is a positive integer, not {value!r}")


@attrs.frozen
class LinearParams:
    """The parameters of `Linear`: ``weight`` (n_inputs, n_outputs), ``bias`` (n_outputs,)."""

    weight: Any
    bias: Any


@attrs.frozen
class Linear:
    """An affine layer, ``x @ weight + bias``.

    Parameters
    ----------
    n_inputs, n_outputs
        The lengths of the last axis of its input and its output.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Linear(3, 2)
    >>> params = layer.init(0)
    >>> params.weight.shape, params.bias
    ((3, 2), array([0., 0.]))
    >>> layer(params, np.ones((5, 3))).shape
    (5, 2)
    """

    __tree_leaf__: ClassVar[bool] = True

    n_inputs: int = attrs.field(validator=_size)
    n_outputs: int = attrs.field(validator=_size)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> LinearParams:
        """A He-normal weight and a bias of zeros."""
        weight = he_normal(key, (self.n_inputs, self.n_outputs), dtype)
        return LinearParams(weight, zeros((self.n_outputs,), dtype))

    def __call__(self, params: LinearParams, x: Any) -> Any:
        """``x @ weight + bias`` for x of shape (..., n_inputs)."""
        return add(matmul(x, params.weight), params.bias)


@attrs.frozen
class EmbeddingParams:
    """The parameters of `Embedding`: ``weight`` (vocab_size, dim)."""

    weight: Any


@attrs.frozen
class Embedding:
    """A table of vectors, selected by integer.

    Parameters
    ----------
    vocab_size
        The number of vectors.
    dim
        Their length.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Embedding(10, 3)
    >>> layer(layer.init(0), np.array([[1, 2], [3, 1]])).shape
    (2, 2, 3)
    """

    __tree_leaf__: ClassVar[bool] = True

    vocab_size: int = attrs.field(validator=_size)
    dim: int = attrs.field(validator=_size)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> EmbeddingParams:
        """Vectors uniform between -1/2 and 1/2, over their length."""
        return EmbeddingParams(centred_uniform(key, (self.vocab_size, self.dim), dtype))

    def __call__(self, params: EmbeddingParams, indices: Any) -> Any:
        """The vectors at integer indices of any shape."""
        return index_select(params.weight, indices)


@attrs.frozen
class _Activation:
    """A layer without parameters."""

    __tree_leaf__: ClassVar[bool] = True

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> None:
        """None: there are no parameters."""


@attrs.frozen
class Tanh(_Activation):
    """`tapegrad.tanh` as a layer."""

    def __call__(self, params: None, x: Any) -> Any:
        """``tanh(x)``."""
        return tanh(x)


@attrs.frozen
class Sigmoid(_Activation):
    """`tapegrad.sigmoid` as a layer."""

    def __call__(self, params: None, x: Any) -> Any:
        """``sigmoid(x)``."""
        return sigmoid(x)


@attrs.frozen
class Relu(_Activation):
    """`tapegrad.relu` as a layer."""

    def __call__(self, params: None, x: Any) -> Any:
        """``relu(x)``."""
        return relu(x)


@attrs.frozen(init=False)
class Sequential:
    """Layers one after another; its parameters are a tuple, a tree for each layer.

    Parameters
    ----------
    *layers
        Each takes the output of the one before.

    Examples
    --------
    >>> import tapegrad as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    >>> params = model.init(0)
    >>> tg.tree.paths(params)
    ['0.weight', '0.bias', '2.weight', '2.bias']
    >>> model(params, np.ones((4, 2))).shape
    (4, 1)
    """

    __tree_leaf__: ClassVar[bool] = True

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        self.__attrs_init__(layers)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> tuple[Any, ...]:
        """Each layer's parameters, drawn with keys of their own."""
        keys = split(key, len(self.layers))
        return tuple(layer.init(k, dtype) for layer, k in zip(self.layers, keys, strict=True))

    def __call__(self, params: tuple[Any, ...], x: Any) -> Any:
        """The last layer's output."""
        for layer, p in zip(self.layers, params, strict=True):
            x = layer(p, x)
        return x
