"""Layers: `init` draws parameters, a call is a pure function of them."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import attrs
import numpy as np
import numpy.typing as npt

from tapegrad.core.operands import shape_of
from tapegrad.face.lines import at_users_line
from tapegrad.nn.initializers import Key, centred_uniform, he_normal, zeros
from tapegrad.ops import add, index_select, matmul, relu, sigmoid, tanh
from tapegrad.ops.indexing import from_zero


class Layer(Protocol):
    """Anything with parameters and a pure function of them."""

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> Any:
        """Parameters drawn with a key; the same key gives the same parameters."""

    @at_users_line
    def __call__(self, params: Any, x: Any) -> Any:
        """The layer's output."""


def positive_integer(instance: Any, attribute: Any, value: Any) -> None:
    """Raise unless an attribute is a positive integer: a validator."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{attribute.name} is a positive integer, not {value!r}")


def check_params(layer: Any, params: Any, kind: type, name: str = "params") -> None:
    """Raise unless these are parameters of this kind."""
    if not isinstance(params, kind):
        raise TypeError(
            f"{layer}: {name} must be the {kind.__name__} that init returns; got "
            f"{type(params).__name__} (a layer is called as layer(params, x))"
        )


def check_shape(layer: Any, at: str, name: str, x: Any, expected: tuple[int, ...]) -> None:
    """Raise unless a parameter has the expected shape; `at` is its record's path."""
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

    n_inputs: int = attrs.field(validator=positive_integer)
    n_outputs: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> LinearParams:
        """A He-normal weight and a bias of zeros."""
        weight = he_normal(key, (self.n_inputs, self.n_outputs), dtype)
        return LinearParams(weight, zeros((self.n_outputs,), dtype))

    @at_users_line
    def __call__(self, params: LinearParams, x: Any) -> Any:
        """``x @ weight + bias`` for x of shape (..., n_inputs).

        Raises
        ------
        TypeError
            If the parameters are not `LinearParams`.
        ValueError
            If a shape does not fit the sizes of the layer.
        """
        return affine(self, params, x, self.n_inputs, self.n_outputs)


def affine(
    layer: Any, params: Any, x: Any, n_inputs: int, n_outputs: int, at: str = "", of: str = "x"
) -> Any:
    """``x @ weight + bias`` of a layer, or of its part at a path; errors name both."""
    check_params(layer, params, LinearParams, at or "params")
    check_shape(layer, at, "weight", params.weight, (n_inputs, n_outputs))
    check_shape(layer, at, "bias", params.bias, (n_outputs,))
    if shape_of(x)[-1:] != (n_inputs,):
        raise ValueError(
            f"{layer}: {of} has shape {shape_of(x)}, which does not fit {_joined(at, 'weight')} of "
            f"shape {(n_inputs, n_outputs)}; its last axis must have length {n_inputs}"
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

    vocab_size: int = attrs.field(validator=positive_integer)
    dim: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> EmbeddingParams:
        """Vectors uniform between -1/2 and 1/2, divided by their length."""
        return EmbeddingParams(centred_uniform(key, (self.vocab_size, self.dim), dtype))

    @at_users_line
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
        check_shape(self, "", "weight", params.weight, (self.vocab_size, self.dim))
        try:
            return index_select(params.weight, from_zero(indices))
        except IndexError as error:
            raise IndexError(f"{self}: {error}") from error


def check_no_params(layer: Any, params: Any) -> None:
    """Raise unless a layer without parameters gets None for them."""
    if params is not None:
        raise TypeError(f"{layer} has no parameters, so it is called with None: layer(None, x)")


@attrs.frozen
class WithoutParameters:
    """A layer without parameters."""

    __tree_leaf__: ClassVar[bool] = True

    function: ClassVar[Any]

    def init(self, key: Key, dtype: npt.DTypeLike = float) -> None:
        """None: there are no parameters."""

    @at_users_line
    def __call__(self, params: None, x: Any) -> Any:
        """The function of x."""
        check_no_params(self, params)
        return self.function(x)


class Tanh(WithoutParameters):
    """`tapegrad.tanh` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Tanh()(None, np.array([-1.0, 0.0, 1.0]))
    array([-0.76159416,  0.        ,  0.76159416])
    """

    __slots__ = ()
    function = tanh


class Sigmoid(WithoutParameters):
    """`tapegrad.sigmoid` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Sigmoid()(None, np.array([-1.0, 0.0, 1.0]))
    array([0.26894142, 0.5       , 0.73105858])
    """

    __slots__ = ()
    function = sigmoid


class Relu(WithoutParameters):
    """`tapegrad.relu` as a layer, without parameters. Its slope at 0 is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Relu()(None, np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """

    __slots__ = ()
    function = relu
