"""Elementwise functions: arithmetic, rounding, angles and activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.declare import function
from tapegrad.ops.activation import sigmoid
from tapegrad.ops.arithmetic import POWERS, positive, power
from tapegrad.ops.axes import as_integer
from tapegrad.ops.casting import as_double, as_floating, stopped, to_array
from tapegrad.ops.floating_point import exponent, floor_divide, remainder, rint
from tapegrad.ops.order import clip_both, maximum, minimum
from tapegrad.ops.special import erf
from tapegrad.types import Array, ArrayLike

__all__ = ["clip", "divmod", "elu", "float_power", "frexp", "gelu", "leaky_relu", "modf", "silu"]
__all__ += ["unwrap"]


@function(
    numpy=np.float_power,
    # float16 cannot hold the slope of larger exponents
    kink=POWERS,
    complex=True,
)
def float_power(x1: ArrayLike, x2: ArrayLike) -> Array:
    """`power` in at least float64, so that integers may have negative exponents.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.float_power(np.array([1, 2]), -1)
    array([1. , 0.5])
    >>> tg.grad(lambda x: tg.float_power(x, 3))(2.0)
    array(12.)
    """
    return power(as_double(x1, complex=True), as_double(x2, complex=True))


@function(numpy=np.clip, kink="two that tie share equally")
def clip(
    a: ArrayLike,
    a_min: ArrayLike | None = None,
    a_max: ArrayLike | None = None,
    *,
    min: ArrayLike | None = None,
    max: ArrayLike | None = None,
) -> Array:
    """The values limited to the range between two bounds, with broadcasting.

    If two of the value and the bounds tie for the result, they share the gradient equally; if all
    three tie, the upper bound gets it, since neither of the others can move the result alone.

    Parameters
    ----------
    a
        An array.
    a_min, a_max
        The bounds, or None for no bound. If the lower bound is above the upper one, the result is
        the upper.
    min, max
        Other names of the bounds.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.clip(x, 0, 1)))(np.array([-1.0, 0.0, 0.5, 2.0]))
    array([0. , 0.5, 1. , 0. ])
    """
    has_numpy_bounds = a_min is not None or a_max is not None
    if has_numpy_bounds and (min is not None or max is not None):
        raise ValueError("clip: give the bounds as a_min and a_max, or as min and max, not as both")
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None:
        return positive(a) if high is None else minimum(to_array(a), high)
    a = to_array(a)
    return maximum(a, low) if high is None else clip_both(a, low, high)


@function(numpy=np.unwrap, kink="the slope beside a step")
def unwrap(
    p: ArrayLike,
    discont: float | Array | None = None,
    axis: int = -1,
    *,
    period: float | Array = 2 * np.pi,
) -> Array:
    """Angles with multiples of the period added, so that no step between neighbours is long.

    Parameters
    ----------
    p
        An array.
    discont
        Steps shorter than this stay; at least half the period, which is the default.
    axis
        The axis to unwrap along.
    period
        The period. The multiples are not differentiated.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unwrap(np.array([0.0, 3.0, 5.0, 1.0]), period=6)
    array([0., 3., 5., 7.])
    """
    p = to_array(p)
    axis = normalize_axis_index(as_integer("unwrap: axis", axis), p.ndim)
    dtype = np.result_type(p, period)
    if dtype.kind == "u":
        raise TypeError(
            f"unwrap: {dtype} has no steps backwards; write p.astype(int), or a floating period"
        )
    # in this dtype, since the differences of small integers could overflow
    step = stopped(np.diff(p.astype(dtype), axis=axis))
    bounds: dict[str, Any] = {"period": period, "discont": discont}
    for name, bound in bounds.items():
        shape = np.shape(bound)
        if np.broadcast_shapes(shape, step.shape) != step.shape:
            raise ValueError(
                f"unwrap: {name}, of shape {shape}, does not fit the steps' {step.shape}"
            )
    half = period / 2
    if dtype.kind == "i":
        half, odd = divmod(period, 2)
    discont = period / 2 if discont is None else discont
    wrapped_step = np.remainder(step + half, period) - half
    if dtype.kind != "i" or odd == 0:
        # a step of exactly half a period could go either way
        wrapped_step = np.where(
            np.equal(wrapped_step, -half) & np.greater(step, 0), half, wrapped_step
        )
    correction = np.where(np.less(np.abs(step), discont), 0, wrapped_step - step)
    leading = (slice(None),) * axis
    corrected = p[(*leading, slice(1, None))] + np.cumsum(correction, axis=axis)
    y = np.concatenate([p[(*leading, slice(None, 1))].astype(dtype), corrected], axis=axis)
    return y.astype(dtype)


@function(numpy=np.divmod, kink="the slope beside a step")
def divmod(x1: ArrayLike, x2: ArrayLike) -> tuple[Array, Array]:
    """`floor_divide` and `remainder`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.divmod(np.array([-7, 7]), 2)
    (array([-4,  3]), array([1, 1]))
    """
    return floor_divide(x1, x2), remainder(x1, x2)


@function(numpy=np.modf, kink="the slope beside a step")
def modf(x: ArrayLike) -> tuple[Array, Array]:
    """The fractional and the integer part, both with the sign of x.

    The first has the slope 1 and the second the slope 0, even at a step.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.modf(np.array([-1.5, 2.25]))
    (array([-0.5 ,  0.25]), array([-1.,  2.]))
    """
    x = to_array(x)
    if x.dtype.kind != "f":
        # the same integers in NumPy's floating dtype for them
        x = rint(x)
    # an infinity has the fractional part 0
    infinite = np.isinf(x)
    fractional_part = np.where(infinite, np.copysign(0, x), np.fmod(np.where(infinite, 0, x), 1))
    return fractional_part, np.trunc(x)


@function(numpy=np.frexp, kink="the slope beside a step")
def frexp(x: ArrayLike) -> tuple[Array, Array]:
    """The mantissa, with a magnitude from 0.5 to 1, and the exponent of 2, an integer.

    A gradient passes through the mantissa; at a step it has the slope of the side further from 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.frexp(np.array([3.0, 8.0]))
    (array([0.75, 0.5 ]), array([2, 4], dtype=int32))
    """
    exponents = exponent(x)
    return np.ldexp(x, -exponents), exponents


@function()
def silu(x: ArrayLike) -> Array:
    """``x * sigmoid(x)`` (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.silu(np.array([-1e4, 0.0, 1e4]))
    array([   -0.,     0., 10000.])
    """
    x = as_floating(x)
    return x * sigmoid(x)


@function()
def gelu(x: ArrayLike, approximate: bool = False) -> Array:
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
    x = as_floating(x)
    if approximate:
        # a sigmoid for (1 + tanh(z)) / 2, which would cancel; beyond 30 a cube may overflow
        z = np.clip(x, -30, 30)
        return x * sigmoid(math.sqrt(8 / math.pi) * (z + 0.044715 * (z * z * z)))
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


@function(kink="`slope` at 0")
def leaky_relu(x: ArrayLike, slope: float | Array = 0.01) -> Array:
    """x where it is positive, else ``slope * x``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.leaky_relu(x, 0.1)))(np.array([-1.0, 0.0, 1.0]))
    array([0.1, 0.1, 1. ])
    """
    x = as_floating(x)
    return np.where(np.greater(x, 0), x, slope * x)


@function(kink="`alpha` at 0")
def elu(x: ArrayLike, alpha: float | Array = 1.0) -> Array:
    """x where it is positive, else ``alpha * (exp(x) - 1)``.

    (Clevert et al. 2015, arXiv:1511.07289.)

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.elu(np.array([-1e4, 0.0, 1.0]))
    array([-1.,  0.,  1.])
    """
    x = as_floating(x)
    positive = np.greater(x, 0)
    # for large x the exponential would overflow, and nan would pass back through that branch
    return np.where(positive, x, alpha * np.expm1(np.where(positive, 0, x)))
