"""The error function, the normal distribution, the logistic function and entropies.

The derivatives are in the DLMF (https://dlmf.nist.gov), chapter 7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.core.op import Op
from tapegrad.ops.casting import safe_divide
from tapegrad.ops.scipy_special.ufuncs import (
    declare_special,
    derivative_op,
    scipy_function,
    special_op,
)
from tapegrad.types import Array, Cotangent

__all__ = ["dawsn", "dawsn_derivative", "erf", "erfc", "erfcinv", "erfcx", "erfcx_derivative"]
__all__ += ["entr", "erfi", "erfinv", "expit", "kl_div", "log_expit", "log_ndtr", "log_ndtr_slope"]
__all__ += ["logit", "ndtr", "ndtri", "ndtri_exp", "owens_t", "rel_entr", "xlog1py", "xlogy"]

_SQRT_2 = math.sqrt(2)
_SQRT_PI = math.sqrt(math.pi)
_SQRT_2PI = math.sqrt(2 * math.pi)

# --- the error function and the normal distribution ----------------------------------------


def _erf_slope(x: Array) -> Array:
    """Return the slope of the error function."""
    return (2 / _SQRT_PI) * np.exp(-np.square(x))


erf: Op[Any] = special_op("erf", lambda g, y, x: g * _erf_slope(x), complex=True)
erfc: Op[Any] = special_op("erfc", lambda g, y, x: -g * _erf_slope(x), complex=True)
# beyond this, recurrences lose digits, and the first terms of a series have all digits
_FAR = 8.0
_TERMS = 30


def _derivative(x: Array, order: int, name: str, sign: int, limit: float) -> Array:
    """Return a derivative of a function y that is ``limit / x`` far out.

    The slope of y is ``2 * sign * (x * y - limit)``.
    """
    value = scipy_function(name)
    wide = np.asarray(x, np.float64)
    is_far = np.abs(wide) > _FAR if sign < 0 else wide > _FAR
    near, far = np.where(is_far, 0, wide), np.where(is_far, wide, _FAR)
    before, current = value(near), 2 * sign * (near * value(near) - limit)
    for n in range(1, order):
        before, current = current, 2 * sign * (near * current + n * before)
    # the series that begins with limit / x, differentiated by terms
    factors = [math.prod(range(2 * k + 1, 2 * k + 1 + order)) for k in range(_TERMS)]
    series = np.zeros_like(far)
    for k in reversed(range(_TERMS)):
        series = factors[k] - sign * (k + 0.5) / far / far * series
    series = limit * (-1.0) ** order * series / far ** (order + 1)
    return np.where(is_far, series, current).astype(value(x).dtype)


def _declare_derivatives(name: str, sign: int, limit: float) -> Op[Any]:
    """Declare the op of a function's derivatives, from order 1, without cancellation far out."""

    def forward(x: Array, order: int) -> Array:
        return _derivative(x, order, name, sign, limit)

    return derivative_op(f"{name}_derivative", forward)


erfcx_derivative: Op[Any] = _declare_derivatives("erfcx", 1, 1 / _SQRT_PI)
dawsn_derivative: Op[Any] = _declare_derivatives("dawsn", -1, 0.5)
erfcx: Op[Any] = special_op("erfcx", lambda g, y, x: g * erfcx_derivative(1, x), at=1.6)
erfi: Op[Any] = special_op(
    "erfi", lambda g, y, x: g * (2 / _SQRT_PI) * np.exp(np.square(x)), complex=True
)
dawsn: Op[Any] = special_op("dawsn", lambda g, y, x: g * dawsn_derivative(1, x))
erfinv: Op[Any] = special_op(
    "erfinv", lambda g, y, x: g * (_SQRT_PI / 2) * np.exp(np.square(y)), at=0.19
)
erfcinv: Op[Any] = special_op(
    "erfcinv", lambda g, y, x: -g * (_SQRT_PI / 2) * np.exp(np.square(y)), at=1.19
)
ndtr: Op[Any] = special_op("ndtr", lambda g, y, x: g * np.exp(-np.square(x) / 2) / _SQRT_2PI)


def _log_ndtr_slope(x: Array) -> Array:
    """Return the density divided by the probability; both vanish far to the left."""
    return (2 / _SQRT_2PI) / scipy_function("erfcx")(np.negative(x) / _SQRT_2)


def _excess(y: Array, x: Array) -> Array:
    """Return ``x + y`` for the slope of log_ndtr; far to the left the two would cancel."""
    is_left = np.less(x, 0)
    t = np.where(is_left, x, 0) / -_SQRT_2
    return np.where(is_left, -erfcx_derivative(1, t) / (_SQRT_2 * erfcx(t)), x + y)


log_ndtr_slope: Op[Any] = declare_special(
    "log_ndtr_slope", _log_ndtr_slope, lambda g, y, x: -g * y * _excess(y, x), scipy=""
)
log_ndtr: Op[Any] = special_op("log_ndtr", lambda g, y, x: g * log_ndtr_slope(x))
ndtri: Op[Any] = special_op(
    "ndtri", lambda g, y, x: g * _SQRT_2PI * np.exp(np.square(y) / 2), at=0.59
)
ndtri_exp: Op[Any] = special_op(
    "ndtri_exp", lambda g, y, x: g * (_SQRT_2PI / 2) * erfcx(np.negative(y) / _SQRT_2), at=-1.64
)


def _owens_t_slope(h: Array, square: Array) -> Array:
    return np.exp(-np.square(h) * square / 2) / (2 * math.pi * square)


owens_t: Op[Any] = special_op(
    "owens_t",
    lambda g, y, h, a: -g * np.exp(-np.square(h) / 2) * erf(a * h / _SQRT_2) / (2 * _SQRT_2PI),
    lambda g, y, h, a: g * _owens_t_slope(h, 1 + np.square(a)),
)

# --- logistic ------------------------------------------------------------------------------

expit: Op[Any] = special_op("expit", lambda g, y, x: g * y * expit(-x))
logit: Op[Any] = special_op("logit", lambda g, y, x: g / (x * (1 - x)), at=0.59)
log_expit: Op[Any] = special_op("log_expit", lambda g, y, x: g * expit(-x))

# --- entropies -----------------------------------------------------------------------------

xlogy: Op[Any] = special_op(
    "xlogy",
    lambda g, y, x1, x2: xlogy(g, x2),
    lambda g, y, x1, x2: g * safe_divide(x1, x2),
    at=(0.8, 2.42),
    kink="-inf in `x1` at `x2` 0, where `x2` has 0",
)
xlog1py: Op[Any] = special_op(
    "xlog1py",
    lambda g, y, x1, x2: xlog1py(g, x2),
    lambda g, y, x1, x2: g * safe_divide(x1, 1 + x2),
    at=(0.8, 2.02),
    kink="-inf in `x1` at `x2` -1, where `x2` has 0",
)
entr: Op[Any] = special_op(
    "entr", lambda g, y, x: -g - xlogy(g, x), at=2.42, kink="inf at 0, nan below"
)


def _times_log_ratio(g: Cotangent, x1: Array, x2: Array) -> Cotangent:
    """``g * log(x1 / x2)``, also for close numbers, whose logarithms would cancel; 0 if g is 0."""
    is_near = np.less(np.absolute(x1 - x2), x2 / 2)
    relative_difference = np.where(is_near, (x1 - x2) / np.where(is_near, x2, 1), 0)
    above, below = (np.where(is_near, 1, x) for x in (x1, x2))
    return xlog1py(g, relative_difference) + (xlogy(g, above) - xlogy(g, below))


rel_entr: Op[Any] = special_op(
    "rel_entr",
    lambda g, y, x1, x2: g + _times_log_ratio(g, x1, x2),
    lambda g, y, x1, x2: -g * safe_divide(x1, x2),
    at=2.42,
    kink="-inf in `x1` at 0",
)
kl_div: Op[Any] = special_op(
    "kl_div",
    lambda g, y, x1, x2: _times_log_ratio(g, x1, x2),
    lambda g, y, x1, x2: g * np.where(np.equal(x2, 0), 1, safe_divide(x2 - x1, x2)),
    at=2.42,
    kink="-inf in `x1` at 0",
)
