"""Layers: affine maps, embeddings, dropout and activations as layers."""

from __future__ import annotations

from numbers import Real
from types import FunctionType
from typing import Any, ClassVar, Protocol

import attrs

from tapegrad import random
from tapegrad.arraylike.reading import is_count, shape_of
from tapegrad.errors.functions import explaining, name_parameters
from tapegrad.errors.lines import WarnsAtUsersLine, at_users_line
from tapegrad.errors.names import name_attributes
from tapegrad.functions import elu, gelu, leaky_relu, silu
from tapegrad.nn.initializers import Key, centred_uniform, he_normal, zeros
from tapegrad.ops import add, index_select, log_softmax, matmul, relu, sigmoid, softmax, tanh, where
from tapegrad.ops.rows import from_zero
from tapegrad.tree.structure import immutable
from tapegrad.types import DTypeLike

__all__ = ["Dropout", "Elu", "Embedding", "Gelu", "LeakyRelu", "Linear", "LogSoftmax", "Relu"]
__all__ += ["Sigmoid", "Silu", "Softmax", "Tanh"]


class Layer(Protocol):
    """Anything with parameters and a pure function of them."""

    def init(self, key: Key, dtype: DTypeLike = float) -> Any:
        """Parameters drawn with a key; the same key gives the same parameters."""

    def __call__(self, params: Any, x: Any) -> Any:
        """The layer's output."""


class BaseLayer(WarnsAtUsersLine):
    """The base of layers, which hold no arrays and so are no nodes of trees."""

    __slots__ = ()
    __tree_leaf__: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        name_parameters(cls)
        call = vars(cls).get("__call__")
        # attrs builds a class again for its slots
        if isinstance(call, FunctionType) and not hasattr(call, "__wrapped__"):
            cls.__call__ = at_users_line(_with_params(call))  # type: ignore[method-assign]


name_attributes(BaseLayer, "layer")


def _with_params(call: Any) -> Any:
    """A layer's call that says how it is made where arguments are missing."""
    n = call.__code__.co_argcount - len(call.__defaults__ or ())
    remedy = (
        f"write layer({', '.join(call.__code__.co_varnames[1:n])}) with params = layer.init(key)"
    )
    return explaining(call, lambda self, error: f"{type(self).__name__}: {remedy}; {error}")


def positive_integer(instance: Any, attribute: Any, value: Any) -> None:
    """Raise unless an attribute is a positive integer: a validator."""
    if not is_count(value, 1):
        raise ValueError(f"{attribute.name} must be a positive integer, not {value!r}")


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


@immutable
@attrs.frozen
class LinearParams:
    """The parameters of `Linear`: ``weight`` (n_inputs, n_outputs), ``bias`` (n_outputs,)."""

    weight: Any
    bias: Any


@attrs.frozen
class Linear(BaseLayer):
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

    n_inputs: int = attrs.field(validator=positive_integer)
    n_outputs: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: DTypeLike = float) -> LinearParams:
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


@immutable
@attrs.frozen
class EmbeddingParams:
    """The parameters of `Embedding`: ``weight`` (vocab_size, dim)."""

    weight: Any


@attrs.frozen
class Embedding(BaseLayer):
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

    vocab_size: int = attrs.field(validator=positive_integer)
    dim: int = attrs.field(validator=positive_integer)

    def init(self, key: Key, dtype: DTypeLike = float) -> EmbeddingParams:
        """Vectors uniform between -1/2 and 1/2, divided by their length."""
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
        check_shape(self, "", "weight", params.weight, (self.vocab_size, self.dim))
        try:
            return index_select(params.weight, from_zero(indices))
        except IndexError as error:
            raise IndexError(f"{self}: {error}") from error
        except TypeError as error:
            raise TypeError(f"{self}: {error}; write indices.astype(int)") from error


def check_no_params(layer: Any, params: Any) -> None:
    """Raise unless a layer without parameters gets None for them."""
    if params is not None:
        raise TypeError(f"{layer} has no parameters, so it is called with None: layer(None, x)")


@attrs.frozen
class WithoutParameters(BaseLayer):
    """A layer without parameters."""

    function: ClassVar[Any]

    def init(self, key: Key, dtype: DTypeLike = float) -> None:
        """None: there are no parameters."""

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


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise ValueError(f"rate must be a number, at least 0 and less than 1; not {value!r}")
    return float(value)


@attrs.frozen
class Dropout(BaseLayer):
    """Sets elements to 0 at random and scales up the others.

    (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.) The
    expected value is unchanged.

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

    rate: float = attrs.field(converter=_rate)

    def init(self, key: Key, dtype: DTypeLike = float) -> None:
        """None: there are no parameters."""

    def __call__(self, params: None, x: Any, key: Any = None, training: bool = False) -> Any:
        """X with elements dropped; without a key, x unchanged.

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
class _WithOptions(WithoutParameters):
    """A function whose further arguments are the fields of the layer."""

    of: ClassVar[Any]

    def function(self, x: Any) -> Any:
        """The function of x."""
        return self.of(x, *attrs.astuple(self))


@attrs.frozen
class Gelu(_WithOptions):
    """`tapegrad.gelu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Gelu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """

    of = staticmethod(gelu)
    approximate: bool = False


@attrs.frozen
class LeakyRelu(_WithOptions):
    """`tapegrad.leaky_relu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.LeakyRelu(0.1)(None, np.array([-1.0, 0.0, 1.0]))
    array([-0.1,  0. ,  1. ])
    """

    of = staticmethod(leaky_relu)
    slope: float = 0.01


@attrs.frozen
class Elu(_WithOptions):
    """`tapegrad.elu` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Elu()(None, np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.6321,  0.    ,  1.    ])
    """

    of = staticmethod(elu)
    alpha: float = 1.0


@attrs.frozen
class Softmax(_WithOptions):
    """`tapegrad.softmax` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.Softmax()(None, np.zeros(2))
    array([0.5, 0.5])
    """

    of = softmax
    axis: int = -1


@attrs.frozen
class LogSoftmax(_WithOptions):
    """`tapegrad.log_softmax` as a layer, without parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.LogSoftmax()(None, np.zeros(2)).round(4)
    array([-0.6931, -0.6931])
    """

    of = log_softmax
    axis: int = -1
