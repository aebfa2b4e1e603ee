"""Special functions, whose derivatives of any order are ops too."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.domain import REAL, Call, Choices, each
from tapegrad.op import op
from tapegrad.ops.record import floating

__all__ = ["i0", "sinc"]


def _derivative_calls(choose: Choices) -> Call:
    (x,) = each(REAL)(choose).args
    return Call((x, choose.integer(1, 3)))


def _sinc_rule(g: Any, y: Any, x: Any, order: int = 0) -> Any:
    return g * sinc_derivative(x, order=order + 1)


@op(_sinc_rule, domain=_derivative_calls)
def sinc_derivative(x: Any, order: int) -> Any:
    """The derivative of `sinc` of an order from 1 on.

    With z for ``pi * x`` it is ``pi**n`` times the n-th derivative of ``sin(z) / z``,
    the integral over t from 0 to 1 of that of ``cos(t * z)``.
    """
    x, n = np.asarray(x), order
    z = np.pi * x.astype(float)
    # nearby the power series of the integral, where quotients would cancel
    near = np.abs(z) < n + 1
    small, large = np.where(near, z, 0.0), np.where(near, 1.0, z)
    term, series = np.ones_like(z), np.zeros_like(z)
    for k in range(6 * n + 24):
        if (n + k) % 2 == 0:
            series += (-1) ** ((n + k) // 2) * term / (n + k + 1)
        term = term * small / (k + 1)
    # further off by recurrence: z f^(k) + k f^(k-1) is the k-th derivative of the sine
    quotient = np.sin(large) / large
    for k in range(1, n + 1):
        sine = (np.sin(large), np.cos(large))[k % 2] * (1, 1, -1, -1)[k % 4]
        quotient = (sine - k * quotient) / large
    return (np.pi**n * np.where(near, series, quotient)).astype(x.dtype)


@op(_sinc_rule, numpy=np.sinc, domain=each(REAL))
def sinc(x: Any) -> Any:
    """``sin(pi * x) / (pi * x)``, and 1 at 0; its derivatives are exact near 0 too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sinc)(0.0), tg.grad(tg.grad(tg.sinc))(0.0).round(12)
    (array(0.), np.float64(-3.289868133696))
    """
    z = np.pi * floating(x)
    # as NumPy from 2.3 on, for float16 too: near 0 the sine is its argument
    z = np.where(z, z, np.finfo(z.dtype).eps)
    return np.sin(z) / z


def _i0_rule(g: Any, y: Any, x: Any, order: int = 0) -> Any:
    return g * i0_derivative(x, order=order + 1)


@op(_i0_rule, domain=_derivative_calls)
def i0_derivative(x: Any, order: int) -> Any:
    """The derivative of `i0` of an order from 1 on.

    It is the mean over an angle of ``cos(angle)**n * exp(x * cos(angle))``; angles
    that add up to pi go together, so that nothing cancels.
    """
    x = np.asarray(x)
    z, y = x.astype(float), np.zeros(x.shape)
    both = np.sinh if order % 2 else np.cosh
    # a periodic function's mean over few equally spaced points is exact
    for cosine in np.cos((np.arange(64) + 0.5) * (np.pi / 128)):
        y += cosine**order / 64 * both(z * cosine)
    return y.astype(x.dtype)


@op(_i0_rule, numpy=np.i0, domain=each(REAL))
def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind, of order 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.i0)(1.0).round(12)
    np.float64(0.565159103992)
    """
    return np.i0(floating(x))
