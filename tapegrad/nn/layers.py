"""Layers: affine maps, embeddings, dropout and activations as layers."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from types import FunctionType
from typing import Any, ClassVar, Protocol

import attrs

from tapegrad import random
from tapegrad.arraylike.reading import is_count, shape_of
from tapegrad.errors.functions import explain_errors, name_parameters
from tapegrad.errors.lines import WarnsAtUsersLine, warns_at_users_line
from tapegrad.errors.names import name_attributes
from tapegrad.functions import elu, gelu, leaky_relu, silu
from tapegrad.nn.initializers import Key, centred_uniform, he_normal, zeros
from tapegrad.ops import add, index_select, log_softmax, matmul, relu, sigmoid, softmax, tanh, where
from tapegrad.ops.rows import from_zero
from tapegrad.tree.structure import immutable
from tapegrad.types import Array, DTypeLike, Shape

__all__ = ["Dropout", "Elu", "Embedding", "Gelu", "LeakyRelu", "Linear", "LogSoftmax", "Relu"]
__all__ += ["Sigmoid", "Silu", "Softmax", "Tanh"]


class Layer(Protocol):
    """An object with parameters and a pure function of them."""

    def init(self, key: Key, dtype: DTypeLike = float) -> Any:
        """Draw parameters; the same key gives the same parameters."""

    def __call__(self, params: Any, x: Array) -> Array:
        """The layer's output."""


class BaseLayer(WarnsAtUsersLine):
    """The base of layers; these hold no arrays, so they are leaves of trees."""

    __slots__ = ()
    __tree_leaf__: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        name_parameters(cls)
        call = vars(cls).get("__call__")
        # attrs makes a class a second time, with slots
        if isinstance(call, FunctionType) and not hasattr(call, "__wrapped__"):
            cls.__call__ = warns_at_users_line(_explain_missing_params(call))  # type: ignore[method-assign]


name_attributes(BaseLayer, "layer")


def _explain_missing_params(call: FunctionType) -> Callable[..., Any]:
    """Wrap a layer's ``__call__`` so that errors about missing arguments say how to call it."""
    n = call.__code__.co_argcount - len(call.__defaults__ or ())
    remedy = (
        f"write layer({', '.join(call.__code__.co_varnames[1:n])}) with params = layer.init(key)"
    )
    return explain_errors(call, lambda self, error: f"{type(self).__name__}: {remedy}; {error}")


def positive_integer(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    """Raise unless a field is a positive integer."""
    if not is_count(value, 1):
        raise ValueError(f"{attribute.name} must be a positive integer, not {value!r}")


def check_params(layer: object, params: object, kind: type, name: str = "params") -> None:
    """Raise unless the parameters are an instance of a class."""
    if not isinstance(params, kind):
        raise TypeError(
            f"{layer}: {name} must be the {kind.__name__} that init returns; got "
            f"{type(params).__name__} (a layer is called as layer(params, x))"
        )


def check_shape(layer: object, path: str, name: str, x: Array, expected: Shape) -> None:
    """Raise unless a parameter, a field of the record at `path`, has the expected shape."""
    if shape_of(x) != expected:
        raise ValueError(
            f"{layer}: {_join_path(path, name)} has shape {shape_of(x)}; {expected} is needed"
        )


def _join_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@immutable
@attrs.frozen
class LinearParams:
    """The parameters of `Linear`: ``weight`` (n_inputs, n_outputs), ``bias`` (n_outputs,)."""

    weight: Array
    bias: Array


@attrs.frozen
class Linear(BaseLayer):
    """An affine layer, ``x @ weight + bias``.

    Parameters
    ----------
    n_inputs, n_outputs
        The lengths of the last axis of the input and of the output.

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

    n_inputs: int = attrs.field(validator=positive_integer)
    n_outputs: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: DTypeLike = float) -> LinearParams:
        """Draw a He-normal weight; the bias is zeros."""
        weight = he_normal(key, (self.n_inputs, self.n_outputs), dtype)
        return LinearParams(weight, zeros((self.n_outputs,), dtype))

    def __call__(self, params: LinearParams, x: Array) -> Array:
        """``x @ weight + bias`` for x of shape (..., n_inputs).

        Raises
        ------
        TypeError
            If the parameters are not `LinearParams`.
        ValueError
            If a shape does not fit the layer.
        """
        return affine(self, params, x, self.n_inputs, self.n_outputs)


def affine(
    layer: object,
    params: LinearParams,
    x: Array,
    n_inputs: int,
    n_outputs: int,
    path: str = "",
    operand: str = "x",
) -> Array:
    """Compute ``x @ weight + bias``; errors name the layer, the operand and the path."""
    check_params(layer, params, LinearParams, path or "params")
    check_shape(layer, path, "weight", params.weight, (n_inputs, n_outputs))
    check_shape(layer, path, "bias", params.bias, (n_outputs,))
    if shape_of(x)[-1:] != (n_inputs,):
        raise ValueError(
            f"{layer}: {operand} has shape {shape_of(x)}, which does not fit "
            f"{_join_path(path, 'weight')} of shape {(n_inputs, n_outputs)}; its last axis must "
            f"have length {n_inputs}"
        )
    return add(matmul(x, params.weight), params.bias)


@immutable
@attrs.frozen
class EmbeddingParams:
    """The parameters of `Embedding`: ``weight`` (vocab_size, dim)."""

    weight: Array


@attrs.frozen
class Embedding(BaseLayer):
    """A table of vectors, indexed by integers.

    Parameters
    ----------
    vocab_size
        The number of vectors.
    dim
        The length of each vector.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Embedding(10, 3)
    >>> layer(layer.init(0), np.array([[1, 2], [3, 1]])).shape
    (2, 2, 3)
    """

    vocab_size: int = attrs.field(validator=positive_integer)
    dim: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: DTypeLike = float) -> EmbeddingParams:
        """Draw vectors uniformly between -1/2 and 1/2, divided by their length."""
        return EmbeddingParams(centred_uniform(key, (self.vocab_size, self.dim), dtype))

    def __call__(self, params: EmbeddingParams, indices: Array) -> Array:
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
        except TypeError as error:
            raise TypeError(f"{self}: {error}; write indices.astype(int)") from error


def check_no_params(layer: object, params: object) -> None:
    """Raise unless the parameters of a layer without parameters are None."""
    if params is not None:
        raise TypeError(f"{layer} has no parameters, so it is called with None: layer(None, x)")


@attrs.frozen
class WithoutParameters(BaseLayer):
    """A layer without parameters."""

    function: ClassVar[Callable[..., Array]]

    def init(self, key: Key, dtype: DTypeLike = float) -> None:
        """Return None: there are no parameters."""

    def __call__(self, params: None, x: Array) -> Array:
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
    """`tapegrad.relu` as a layer, without parameters. Its derivative at 0 is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Relu()(None, np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """

    __slots__ = ()
    function = relu


def _parse_rate(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"rate must be a number, at least 0 and less than 1; not {value!r}")
    return float(value)


@attrs.frozen
class Dropout(BaseLayer):
    """Dropout, which sets elements to 0 at random and scales up the others.

    (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.) The expected value of
    an element does not change.

    Parameters
    ----------
    rate
        The probability that an element is dropped.

    Examples
    --------
    >>> import tapegrad as tg
    >>> layer = tg.nn.Dropout(0.5)
    >>> layer(None, np.ones(4))
    array([1., 1., 1., 1.])
    >>> sorted(set(layer(None, np.ones(100), key=tg.random.key(0)).tolist()))
    [0.0, 2.0]
    """

    rate: float = attrs.field(converter=_parse_rate)

    def init(self, key: Key, dtype: DTypeLike = float) -> None:
        """Return None: there are no parameters."""

    def __call__(
        self, params: None, x: Array, key: Key | None = None, training: bool = False
    ) -> Array:
        """Drop elements of x; without a key, return x unchanged.

        Raises
        ------
        TypeError
            With `training` and without a key, unless the rate is 0.
        """
        check_no_params(self, params)
        if self.rate == 0:
            return x
        if key is None:
            if training is True:
                raise TypeError(f"{self}: training=True needs a key: pass key=tg.random.key(...)")
            return x
        keep = 1 - self.rate
        return where(random.bernoulli(key, keep, shape_of(x)), x / keep, 0)


class Silu(WithoutParameters):
    """`tapegrad.silu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Silu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """

    __slots__ = ()
    function = staticmethod(silu)


@attrs.frozen
class _ParametricActivation(WithoutParameters):
    """A layer whose fields are the options of its function."""

    activation: ClassVar[Callable[..., Array]]

    def function(self, x: Array) -> Array:
        """The activation of x."""
        return self.activation(x, *attrs.astuple(self))


@attrs.frozen
class Gelu(_ParametricActivation):
    """`tapegrad.gelu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Gelu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """

    activation = staticmethod(gelu)
    approximate: bool = False


@attrs.frozen
class LeakyRelu(_ParametricActivation):
    """`tapegrad.leaky_relu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.LeakyRelu(0.1)(None, np.array([-1.0, 0.0, 1.0]))
    array([-0.1,  0. ,  1. ])
    """

    activation = staticmethod(leaky_relu)
    slope: float = 0.01


@attrs.frozen
class Elu(_ParametricActivation):
    """`tapegrad.elu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Elu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.6321,  0.    ,  1.    ])
    """

    activation = staticmethod(elu)
    alpha: float = 1.0


@attrs.frozen
class Softmax(_ParametricActivation):
    """`tapegrad.softmax` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Softmax()(None, np.zeros(2))
    array([0.5, 0.5])
    """

    activation = softmax
    axis: int = -1


@attrs.frozen
class LogSoftmax(_ParametricActivation):
    """`tapegrad.log_softmax` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.LogSoftmax()(None, np.zeros(2)).round(4)
    array([-0.6931, -0.6931])
    """

    activation = log_softmax
    axis: int = -1
