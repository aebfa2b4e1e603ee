"""Exponentials, logarithms, trigonometry and the activations made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.op import op
from tapegrad.tensor import frozen

__all__ = ["cos", "exp", "log", "relu", "sigmoid", "sin", "softplus", "tanh"]

# by dtype: exp of it is finite, and so is 1 more
_LARGEST_EXPONENT = {
    char: frozen(np.array(np.floor(np.log(np.finfo(char).max)), char)) for char in "efdg"
}


def _decay(x: Any) -> Any:
    """exp(-x), cut off where it would overflow: sigmoid is 0 there to any precision.

    As ``1 - sigmoid(x)`` is ``sigmoid(x) * exp(-x)``, the slope needs no difference,
    which would be lost to rounding for large x.
    """
    return np.exp(np.minimum(-x, _LARGEST_EXPONENT[x.dtype.char]))


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


@op(lambda g, y, x: g * y * (y * _decay(x)))
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
    x = x if isinstance(x, np.ndarray) and x.dtype.kind == "f" else np.asarray(x, float)
    return np.reciprocal(1 + _decay(x))


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
