"""Layers: `init` draws parameters, a call is a pure function of them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from tapegrad import tree
from tapegrad.nn.initializers import Key, centred_uniform, he_normal, split, zeros
from tapegrad.ops import add, from_zero, index_select, matmul, relu, sigmoid, tanh
from tapegrad.tensor import shape_of


class Layer(Protocol):
    """Anything with parameters and a pure function of them."""

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> Any:
        """Parameters drawn with a key: the same key, the same parameters."""

    def __call__(self, params: Any, x: Any) -> Any:
        """The layer's output."""


def _size(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{attribute.name} is a positive integer, not {value!r}")


def check_params(layer: Any, params: Any, kind: type, name: str = "params") -> None:
    """Raise unless these are parameters of this kind."""
    if not isinstance(params, kind):
        raise TypeError(
            f"{layer}: {name} is to be the {kind.__name__} that init returns; got "
            f"{type(params).__name__} (a layer is called as layer(params, x))"
        )


def _check_shape(layer: Any, at: str, name: str, x: Any, expected: tuple[int, ...]) -> None:
    if shape_of(x) != expected:
        raise ValueError(
            f"{layer}: {_joined(at, name)} has shape {shape_of(x)}; {expected} is needed"
        )


def _joined(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


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
        """``x @ weight + bias`` for x of shape (..., n_inputs).

        Raises
        ------
        TypeError
            If the parameters are not `LinearParams`.
        ValueError
            If a shape is another than the sizes of the layer say.
        """
        return affine(self, params, x, self.n_inputs, self.n_outputs)


def affine(
    layer: Any, params: Any, x: Any, n_inputs: int, n_outputs: int, at: str = "", of: str = "x"
) -> Any:
    """``x @ weight + bias``, of a layer or of its part at a path; its errors name them."""
    check_params(layer, params, LinearParams, at or "params")
    _check_shape(layer, at, "weight", params.weight, (n_inputs, n_outputs))
    _check_shape(layer, at, "bias", params.bias, (n_outputs,))
    if shape_of(x)[-1:] != (n_inputs,):
        raise ValueError(
            f"{layer}: {of} has shape {shape_of(x)}, which does not fit {_joined(at, 'weight')} of "
            f"shape {(n_inputs, n_outputs)}; its last axis is to be of length {n_inputs}"
        )
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
        """The vectors at integer indices of any shape.

        Raises
        ------
        TypeError
            If the parameters are not `EmbeddingParams`, or the indices not integers.
        IndexError
            If an index is negative, or not less than `vocab_size`.
        """
        check_params(self, params, EmbeddingParams)
        _check_shape(self, "", "weight", params.weight, (self.vocab_size, self.dim))
        try:
            return index_select(params.weight, from_zero(indices))
        except IndexError as error:
            raise IndexError(f"{self}: {error}") from error


@attrs.frozen
class _Activation:
    """A layer without parameters."""

    __tree_leaf__: ClassVar[bool] = True

    function: ClassVar[Any]

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> None:
        """None: there are no parameters."""

    def __call__(self, params: None, x: Any) -> Any:
        """The function of x."""
        if params is not None:
            raise TypeError(
                f"{self} has no parameters, so that it is called with None: layer(None, x)"
            )
        return self.function(x)


class Tanh(_Activation):
    """`tapegrad.tanh` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Tanh()(None, np.array([-1.0, 0.0, 1.0]))
    array([-0.76159416,  0.        ,  0.76159416])
    """

    __slots__ = ()
    function = tanh


class Sigmoid(_Activation):
    """`tapegrad.sigmoid` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Sigmoid()(None, np.array([-1.0, 0.0, 1.0]))
    array([0.26894142, 0.5       , 0.73105858])
    """

    __slots__ = ()
    function = sigmoid


class Relu(_Activation):
    """`tapegrad.relu` as a layer, without parameters. Its slope at 0 is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Relu()(None, np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """

    __slots__ = ()
    function = relu


@attrs.frozen
class _Function(_Activation):
    """A function of the user's as a layer."""

    function: Callable[[Any], Any]  # type: ignore[misc]


def _as_layer(layer: Any) -> Layer:
    """A layer, or a function made into one."""
    if isinstance(layer, list | tuple):
        raise TypeError("layers are given one by one: Sequential(*layers), not in a list")
    if isinstance(layer, type):
        raise TypeError(
            f"{layer.__name__} is a class; a layer is made by calling it: {layer.__name__}(...)"
        )
    if hasattr(layer, "init") and callable(layer):
        return layer  # type: ignore[no-any-return]
    if not callable(layer):
        raise TypeError(f"a layer is needed, or a function of x; not {layer!r}")
    kept = _array_kept(layer, [])
    if kept is not None:
        raise TypeError(
            f"{type(layer).__name__} keeps an array in {kept}, which would never be trained. A "
            "layer keeps none: it has init(key, dtype), which returns its parameters, a tree of "
            "arrays, and is called as layer(params, x)"
        )
    return _Function(layer)


def _array_kept(thing: Any, seen: list[Any]) -> str | None:
    """Where an object that can be called, or a method's, keeps a floating array; or None."""
    owner = getattr(thing, "__self__", thing)
    if isinstance(owner, type | ModuleType) or any(owner is x for x in seen):
        return None
    seen.append(owner)
    slots: list[str] = [
        name for kind in type(owner).__mro__ for name in getattr(kind, "__slots__", ())
    ]
    for name in (*map(str, getattr(owner, "__dict__", ())), *slots):
        for leaf in tree.leaves(getattr(owner, name, None)):
            if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
                return name
            inner = _array_kept(leaf, seen) if callable(leaf) else None
            if inner is not None:
                return f"{name}.{inner}"
    return None


@attrs.frozen(init=False)
class Sequential:
    """Layers one after another; its parameters are a tuple, a tree for each layer.

    Parameters
    ----------
    *layers
        Each takes the output of the one before. A layer is an object with
        ``init(key, dtype)``, which returns its parameters, and is called as
        ``layer(params, x)``. A pure function of x serves as a layer without parameters.

    Raises
    ------
    TypeError
        If one is neither, or is an object without `init` that keeps arrays to itself:
        they would never be trained.

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
        self.__attrs_init__(tuple(map(_as_layer, layers)))

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> tuple[Any, ...]:
        """Each layer's parameters, drawn with keys of their own."""
        keys = split(key, len(self.layers))
        return tuple(layer.init(k, dtype) for layer, k in zip(self.layers, keys, strict=True))

    def __call__(self, params: tuple[Any, ...], x: Any) -> Any:
        """The last layer's output.

        Raises
        ------
        TypeError, ValueError
            If the parameters are not a tuple with a tree for each layer.
        """
        if not isinstance(params, list):
            check_params("Sequential", params, tuple)
        if len(params) != len(self.layers):
            raise ValueError(
                f"Sequential: params has trees for {len(params)} layers, of {len(self.layers)}"
            )
        for layer, p in zip(self.layers, params, strict=True):
            x = layer(p, x)
        return x
