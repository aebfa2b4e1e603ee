"""Activations and softmax, stable at any input."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.cotangents import sums
from tapegrad.core.forward import elementwise
from tapegrad.declare import op
from tapegrad.declare.batching import along_axis
from tapegrad.declare.domain import REAL, Call, Choices, along, each, reduced
from tapegrad.ops.casting import floating, onto
from tapegrad.ops.logic import select
from tapegrad.ops.reduction import reduced_batch, unreduced

__all__ = ["log_softmax", "logsumexp", "relu", "sigmoid", "softmax", "softplus"]


# exp of larger numbers would overflow; arrays of the dtype, since a Python number takes twice as
# long as a small array
_LARGEST = {char: np.array(np.log(np.finfo(char).max) - 1e-3, char) for char in "fdg"}
ONE = {char: np.ones((), char) for char in _LARGEST}
# below this 1 - y loses at most five bits
_NEAR_ONE = 1 - 2**-5


def _sigmoid_vjp(g: Any, y: Any, x: Any) -> Any:
    """g * y * (1 - y)."""
    if type(x) is not np.ndarray or x.dtype.char not in _LARGEST:
        return g * (y * sigmoid(-x))
    rest = ONE[x.dtype.char] - y
    # argmax takes a third of the time of max, and finds a nan too
    if y.size and not y.item(y.argmax()) < _NEAR_ONE:
        # without the difference, which rounding would lose
        near = (y > _NEAR_ONE).reshape(-1).nonzero()[0]
        if near.size < y.size >> 3:
            grown = np.exp(-x.flat[near])
            rest.put(near, grown / (ONE[x.dtype.char] + grown))
        else:
            rest = sigmoid.forward(-x)
    if type(rest) is not np.ndarray or type(g) is not np.ndarray:
        return g * (y * rest)
    np.multiply(y, rest, rest)
    return np.multiply(g, rest, rest)


@op(_sigmoid_vjp, domain=each(REAL), jvp=elementwise, composite=True, flat="it is saturated")
def sigmoid(x: Any) -> Any:
    """The logistic function ``1 / (1 + exp(-x))``, stable at any input.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sigmoid)(0.0)
    array(0.25)
    >>> tg.sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    if type(x) is not np.ndarray or x.dtype.char not in ONE:
        x = floating(x)
        if x.dtype.char == "e":
            return sigmoid(x.astype(np.float32)).astype(np.float16)
    char = x.dtype.char
    grown = np.minimum(x, _LARGEST[char])
    if type(grown) is not np.ndarray:
        grown = np.exp(grown)
        return grown / (ONE[char] + grown)
    np.exp(grown, grown)
    more = ONE[char] + grown
    return np.divide(grown, more, more)


@op(lambda g, y, x: g * sigmoid(x), domain=each(REAL), jvp=elementwise, composite=True)
def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``, a smooth `relu`, stable at any input.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.softplus(np.array([-1e4, 1e4]))
    array([    0., 10000.])
    >>> tg.grad(tg.softplus)(0.0)
    array(0.5)
    """
    x = floating(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x)))


@op(
    lambda g, y, x: select(np.greater(x, 0), g, 0),
    domain=each(REAL),
    jvp=elementwise,
    kink="0 at 0",
    composite=True,
    flat="it is off everywhere: its argument is never above 0",
)
def relu(x: Any) -> Any:
    """x where it is positive, else 0.

    Its slope at 0 is 0, while that of ``maximum(x, 0)``, where 0 is a tie, is 0.5.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.relu(x)))(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """
    return np.maximum(x, 0)


def _finite(x: Any) -> Any:
    """x with 0 for infinities, as a shift that leaves infinities unchanged."""
    return np.where(np.equal(np.absolute(x), np.inf), 0, x)


def _weights(a: Any, y: Any, axis: Any, keepdims: bool) -> Any:
    """The softmax of `a`, given its logsumexp."""
    return np.exp(a - _finite(unreduced(y, a, axis, keepdims)))


@op(
    lambda g, y, a, axis=None, keepdims=False: (
        unreduced(g, a, axis, keepdims) * _weights(a, y, axis, keepdims)
    ),
    domain=reduced(min_side=1),
    batch=reduced_batch,
    composite=True,
)
def logsumexp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """``log(sum(exp(a)))`` over an axis, several, or all, without overflow.

    Arguments as for `sum`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.logsumexp(np.array([1e4, 1e4])) == 1e4 + np.log(2))
    True
    >>> tg.grad(tg.logsumexp)(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = floating(a)
    shift = _finite(np.max(a, axis=axis, keepdims=True))
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(np.exp(a - shift), axis=axis, keepdims=True)) + shift
    return y if keepdims else np.squeeze(y, axis=axis)


def _sums(x: Any, axis: Any) -> Any:
    """The sums along an axis, which stays."""
    if type(x) is np.ndarray and x.ndim and axis in (-1, x.ndim - 1):
        return sums(x, (x.ndim - 1,))[..., None]
    return np.sum(x, axis=axis, keepdims=True)


def _softmax_vjp(g: Any, y: Any, a: Any, axis: Any = -1) -> Any:
    """y * (g - sum(g * y))."""
    if type(g) is np.ndarray is type(y) and y.ndim and axis in (-1, y.ndim - 1):
        c = g - np.vecdot(g, y)[..., None]
    else:
        c = g - np.sum(g * y, axis=axis, keepdims=True)
    return onto(c, np.multiply, y, c)


def _log_softmax_vjp(g: Any, y: Any, a: Any, axis: Any = -1) -> Any:
    """g - exp(y) * sum(g)."""
    share = np.exp(y)
    share = onto(share, np.multiply, share, _sums(g, axis))
    return onto(share, np.subtract, g, share)


def _normalised(choose: Choices) -> Call:
    call = along()(choose)
    return call if choose.among([False, True]) else Call(call.args)


@op(
    _softmax_vjp,
    domain=_normalised,
    batch=along_axis,
    composite=True,
)
def softmax(a: Any, axis: Any = -1) -> Any:
    """``exp(a)`` scaled to sum to 1 along an axis, without overflow.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.softmax(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = floating(a)
    weights = a - np.max(a, axis=axis, keepdims=True)
    weights = onto(weights, np.exp, weights)
    return onto(weights, np.divide, weights, _sums(weights, axis))


@op(
    _log_softmax_vjp,
    domain=_normalised,
    batch=along_axis,
    composite=True,
)
def log_softmax(a: Any, axis: Any = -1) -> Any:
    """``log(softmax(a))`` along an axis, without overflow or loss of precision.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.log_softmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    a = floating(a)
    shifted = a - np.max(a, axis=axis, keepdims=True)
    # not as a product with ones: of what is just above 1, the logarithm shows each rounding
    total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
    return onto(shifted, np.subtract, shifted, np.log(total))
