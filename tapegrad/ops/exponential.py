"""Exponentials, logarithms, trigonometry and the activations made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.op import op
from tapegrad.ops.record import floating

__all__ = ["cos", "exp", "log", "log1p", "relu", "sigmoid", "sin", "softplus", "tanh"]


@op(lambda g, y, x: g * y, ufunc=np.exp)
def exp(x: Any) -> Any:
    """The exponential.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.exp)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g / x, ufunc=np.log)
def log(x: Any) -> Any:
    """The natural logarithm; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log)(4.0)
    array(0.25)
    """


@op(lambda g, y, x: g / (1 + x), ufunc=np.log1p)
def log1p(x: Any) -> Any:
    """``log(1 + x)``, exact for small x; minus infinity at -1, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log1p)(1.0)
    array(0.5)
    """


@op(lambda g, y, x: g * np.cos(x), ufunc=np.sin)
def sin(x: Any) -> Any:
    """The sine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sin)(0.0)
    array(1.)
    """


@op(lambda g, y, x: -g * np.sin(x), ufunc=np.cos)
def cos(x: Any) -> Any:
    """The cosine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.grad(tg.cos))(0.0)
    array(-1.)
    """


@op(lambda g, y, x: g * (1 - y * y), ufunc=np.tanh)
def tanh(x: Any) -> Any:
    """The hyperbolic tangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.tanh)(0.0)
    array(1.)
    """


def _sigmoid_slope(g: Any, y: Any, x: Any) -> Any:
    # y * (1 - y), without the difference that would be lost to rounding for large x
    decay = np.exp(-np.absolute(x))
    return g * (decay / np.square(1 + decay))


@op(_sigmoid_slope, composite=True, jvp="rule")
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
    x = floating(x)
    # 1 / (1 + exp(-x)), or exp(x) / (1 + exp(x)) for negative x: no exponential exceeds 1
    decay = np.exp(-np.absolute(x))
    return np.maximum(decay, np.greater_equal(x, 0)) / (1 + decay)


@op(lambda g, y, x: g * sigmoid(x), composite=True, jvp="rule")
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


@op(lambda g, y, x: np.where(np.greater(x, 0), g, 0), composite=True, jvp="rule")
def relu(x: Any) -> Any:
    """x where it is positive, else 0.

    Its slope at 0 is 0, while that of ``maximum(x, 0)``, a tie, is 0.5.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.relu(x)))(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """
    return np.maximum(x, 0)
