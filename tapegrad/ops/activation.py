"""Activations, stable at any input."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.forward import elementwise
from tapegrad.declare import op
from tapegrad.declare.domain import REAL, each
from tapegrad.ops.record import floating

__all__ = [
    "relu",
    "sigmoid",
    "softplus",
]


# exp of larger numbers would overflow; arrays of the dtype, since a Python number takes twice as
# long as a small array
_LARGEST = {char: np.array(np.log(np.finfo(char).max) - 1e-3, char) for char in "fdg"}
_ONE = {char: np.ones((), char) for char in _LARGEST}
# below this 1 - y loses at most five bits
_NEAR_ONE = 1 - 2**-5


def _sigmoid_vjp(g: Any, y: Any, x: Any) -> Any:
    """g * y * (1 - y)."""
    if type(x) is np.ndarray and (char := x.dtype.char) in _LARGEST:
        # argmax takes a third of the time of max, and finds a nan too
        if y.size and y.item(y.argmax()) < _NEAR_ONE:
            return g * (y * (_ONE[char] - y))
        # without the difference, which rounding would lose for large x: there exp(-x) is 0, but
        # the reciprocal of the largest exp(x) is not
        more, grown = _one_and_exp(-x)
        return g * (y * (grown / more))
    return g * (y * sigmoid(-x))


def _one_and_exp(x: Any) -> tuple[Any, Any]:
    """1 + exp(x) and exp(x), without overflow."""
    char = x.dtype.char
    grown = np.exp(np.minimum(x, _LARGEST[char]))
    return _ONE[char] + grown, grown


@op(_sigmoid_vjp, domain=each(REAL), jvp=elementwise)
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
    if type(x) is not np.ndarray or x.dtype.char not in _ONE:
        x = floating(x)
        if x.dtype.char == "e":
            return sigmoid(x.astype(np.float32)).astype(np.float16)
    # as `_one_and_exp`, without another call
    char = x.dtype.char
    grown = np.exp(np.minimum(x, _LARGEST[char]))
    return grown / (_ONE[char] + grown)


@op(lambda g, y, x: g * sigmoid(x), domain=each(REAL), jvp=elementwise)
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
    lambda g, y, x: np.where(np.greater(x, 0), g, 0),
    domain=each(REAL),
    jvp=elementwise,
    kink="0 at 0",
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
