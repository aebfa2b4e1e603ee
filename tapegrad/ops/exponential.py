"""Exponentials, logarithms, trigonometry and the activations made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.op import op

__all__ = ["cos", "exp", "log", "relu", "sigmoid", "sin", "softplus", "tanh"]


@op(lambda g, y, x: g * y, numpy=np.exp)
def exp(x: Any) -> Any:
    """The exponential.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.exp)(0.0)
    array(1.)
    """
    return np.exp(x)


@op(lambda g, y, x: g / x, numpy=np.log)
def log(x: Any) -> Any:
    """The natural logarithm; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log)(4.0)
    array(0.25)
    """
    return np.log(x)


@op(lambda g, y, x: g * np.cos(x), numpy=np.sin)
def sin(x: Any) -> Any:
    """The sine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sin)(0.0)
    array(1.)
    """
    return np.sin(x)


@op(lambda g, y, x: -g * np.sin(x), numpy=np.cos)
def cos(x: Any) -> Any:
    """The cosine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.grad(tg.cos))(0.0)
    array(-1.)
    """
    return np.cos(x)


@op(lambda g, y, x: g * (1 - y * y), numpy=np.tanh)
def tanh(x: Any) -> Any:
    """The hyperbolic tangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.tanh)(0.0)
    array(1.)
    """
    return np.tanh(x)


@op(lambda g, y, x: g * (y * (1 - y)))
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
    # for negative x, exp(x) / (1 + exp(x)): no exponential here ever exceeds 1
    decay = np.exp(-np.absolute(x))
    return np.where(np.greater_equal(x, 0), 1, decay) / (1 + decay)


@op(lambda g, y, x: g * sigmoid(x))
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
    return np.maximum(x, 0) + np.log1p(np.exp(-np.absolute(x)))


@op(lambda g, y, x: np.where(np.greater(x, 0), g, 0))
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
