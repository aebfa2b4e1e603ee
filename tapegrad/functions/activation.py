"""Activations, stable at any input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import REAL, Call, Choices, each
from tapegrad.ops.activation import sigmoid
from tapegrad.ops.record import floating
from tapegrad.ops.special import erf

__all__ = [
    "elu",
    "gelu",
    "leaky_relu",
    "silu",
]


@function(domain=each(REAL))
def silu(x: Any) -> Any:
    """``x * sigmoid(x)`` (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.silu(np.array([-1e4, 0.0, 1e4]))
    array([   -0.,     0., 10000.])
    """
    x = floating(x)
    return x * sigmoid(x)


def _gelu_calls(choose: Choices) -> Call:
    return Call(each(REAL)(choose).args, {"approximate": choose.among([False, True])})


@function(domain=_gelu_calls)
def gelu(x: Any, approximate: bool = False) -> Any:
    """x times the probability that a standard normal variable is below x.

    (Hendrycks and Gimpel 2016, arXiv:1606.08415.)

    Parameters
    ----------
    x
        An array.
    approximate
        Whether to approximate the normal distribution by a tanh, as GPT-2 does: this is faster,
        with an error below 0.001.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    x = floating(x)
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


def _slope_calls(choose: Choices) -> Call:
    return Call((*each(REAL)(choose).args, choose.among([0.25, 1.0, 0.01])))


@function(domain=_slope_calls, kink="`slope` at 0")
def leaky_relu(x: Any, slope: Any = 0.01) -> Any:
    """x where it is positive, else ``slope * x``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.leaky_relu(x, 0.1)))(np.array([-1.0, 0.0, 1.0]))
    array([0.1, 0.1, 1. ])
    """
    x = floating(x)
    return np.where(np.greater(x, 0), x, slope * x)


@function(domain=_slope_calls, kink="`alpha` at 0")
def elu(x: Any, alpha: Any = 1.0) -> Any:
    """x where it is positive, else ``alpha * (exp(x) - 1)``.

    (Clevert et al. 2015, arXiv:1511.07289.)

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.elu(np.array([-1e4, 0.0, 1.0]))
    array([-1.,  0.,  1.])
    """
    x = floating(x)
    positive = np.greater(x, 0)
    # for large x the exponential would overflow, and the side not taken would return nan
    return np.where(positive, x, alpha * np.expm1(np.where(positive, 0, x)))
