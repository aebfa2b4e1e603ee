"""Special functions, whose derivatives of any order are ops too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.core.forward import elementwise_jvp
from tapegrad.declare import op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.ops.casting import as_floating
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["erf", "i0", "sinc"]

# the error function as ratios of polynomials, from Cephes (S. L. Moshier, ndtr.c): for erf(x) / x
# in x**2 up to 1, and for exp(x**2) * (1 - erf(x)) in x beyond fmt: off
_NEAR = (
    (
        9.60497373987051639,
        90.0260197203842689,
        2232.00534594684319,
        7003.32514112805075,
        55592.3013010394963,
    ),
    (
        1.0,
        33.5617141647503100,
        521.357949780152680,
        4594.32382970980128,
        22629.0000613890934,
        49267.3942608635921,
    ),
)
_FAR = (
    (
        2.46196981473530513e-10,
        0.564189564831068822,
        7.46321056442269913,
        48.6371970985681367,
        196.520832956077098,
        526.445194995477359,
        934.528527171957608,
        1027.55188689515710,
        557.535335369399328,
    ),
    (
        1.0,
        13.2281951154744993,
        86.7072140885989742,
        354.937778887819891,
        975.708501743205490,
        1823.90916687909736,
        2246.33760818710982,
        1656.66309194161350,
        557.535340817727676,
    ),
)
# for float32, atanh(erf(x)) / x in x**2 up to 4.2**2, fitted so that its tanh is right to 6e-8
_SINGLE = (
    -7.18016504217e-10,
    2.60903906627e-08,
    -2.00125351051e-07,
    -3.57301936931e-06,
    8.12266162617e-05,
    -0.000610189439978,
    -0.000198162750309,
    0.102770476047,
    1.12837922809,
)
# fmt: on


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Evaluate a polynomial on an array, with the highest power first."""
    first, *others, last = coefficients
    y = x * first
    for c in others:
        y += c
        y *= x
    y += last
    return y


def _ratio(polynomials: tuple[tuple[float, ...], ...], x: Array) -> Array:
    """Evaluate the ratio of two polynomials."""
    above, below = (_polynomial(p, x) for p in polynomials)
    return above / below


@op(
    lambda g, y, x: g * ((2 / math.sqrt(math.pi)) * np.exp(-np.square(x))),
    jvp=elementwise_jvp,
    flat="{x} is so far from 0{where} that {op} has the slope 0 there",
)
def erf(x: ArrayLike) -> Array:
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.erf(np.array([-1.0, 0.0, 1.0]))
    array([-0.84270079,  0.        ,  0.84270079])
    >>> tg.grad(tg.erf)(0.0)
    array(1.12837917)
    """
    x = as_floating(x)
    if x.dtype == np.float16:
        return erf(x.astype(np.float32)).astype(np.float16)
    if x.dtype == np.float32:
        near = np.clip(x, -4.2, 4.2)
        grown = _polynomial(_SINGLE, np.square(near))
        grown *= near
        return np.tanh(grown)
    # beyond 6 the result is 1 in double precision
    size = np.minimum(np.abs(x), 6)
    near = np.minimum(size, 1)
    far = 1 - np.exp(-np.square(size)) * _ratio(_FAR, np.maximum(size, 1))
    return np.copysign(np.where(size < 1, near * _ratio(_NEAR, np.square(near)), far), x)


def _sinc_rule(g: Cotangent, y: Array, x: Array, order: int = 0) -> Cotangent:
    return g * sinc_derivative(x, order=order + 1)


@op(_sinc_rule, batch=batch_elementwise, complex=True)
def sinc_derivative(x: Array, order: int) -> Array:
    """The derivative of `sinc` of any order from 1.

    With ``z = pi * x`` it is ``pi**n`` times the n-th derivative of ``sin(z) / z``: the integral,
    over t from 0 to 1, of the n-th derivative of ``cos(t * z)``.
    """
    x = np.asarray(x)
    return sinc_by(np, x.astype(np.result_type(x, float)), order).astype(x.dtype)


def sinc_by(numpy: Any, x: Array, n: int) -> Array:
    """Compute the n-th derivative of `sinc` by NumPy or a library with its functions."""
    z = np.pi * x
    # near 0, where quotients would cancel, the power series of the integral
    near = numpy.abs(z) < n + 1
    small, large = numpy.where(near, z, 0.0), numpy.where(near, 1.0, z)
    term, series = numpy.ones_like(z), numpy.zeros_like(z)
    for k in range(6 * n + 24):
        if (n + k) % 2 == 0:
            series += (-1) ** ((n + k) // 2) * term / (n + k + 1)
        term = term * small / (k + 1)
    # elsewhere a recurrence: z f^(k) + k f^(k-1) is the k-th derivative of the sine; reduce x
    # before the product with pi, which is rounded
    angle = np.pi * (x - 2 * numpy.trunc(x.real / 2))
    waves = numpy.sin(angle), numpy.cos(angle)
    quotient = waves[0] / large
    for k in range(1, n + 1):
        sine = waves[k % 2] * (1, 1, -1, -1)[k % 4]
        quotient = (sine - k * quotient) / large
    return np.pi**n * numpy.where(near, series, quotient)


@op(_sinc_rule, numpy=np.sinc, batch=batch_elementwise, complex=True)
def sinc(x: ArrayLike) -> Array:
    """``sin(pi * x) / (pi * x)``, and 1 at 0; its derivatives are exact near 0 too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sinc)(0.0), tg.grad(tg.grad(tg.sinc))(0.0).round(12)
    (array(0.), np.float64(-3.289868133696))
    """
    z = np.pi * as_floating(x, complex=True)
    eps = np.finfo(z.dtype).eps
    if z.dtype.kind == "c":
        # quotients of subnormal numbers are wrong
        near = np.abs(z) < eps**0.25
        far = np.where(near, 1, z)
        return np.where(near, 1 - z * z / 6, np.sin(far) / far)
    # as NumPy since 2.3, and for float16 too: near 0 the sine equals its argument
    z = np.where(z, z, eps)
    return np.sin(z) / z


def _i0_rule(g: Cotangent, y: Array, x: Array, order: int = 0) -> Cotangent:
    return g * i0_derivative(x, order=order + 1)


@op(_i0_rule, batch=batch_elementwise)
def i0_derivative(x: Array, order: int) -> Array:
    """The derivative of `i0` of any order from 1.

    It is the mean over all angles of ``cos(angle)**n * exp(x * cos(angle))``; angles that add up
    to pi are paired, so that nothing cancels.
    """
    x = np.asarray(x)
    z, y = x.astype(float), np.zeros(x.shape)
    hyperbolic = np.sinh if order % 2 else np.cosh
    # a periodic function's mean over few equally spaced points is exact
    for cosine in np.cos((np.arange(64) + 0.5) * (np.pi / 128)):
        y += cosine**order / 64 * hyperbolic(z * cosine)
    return y.astype(x.dtype)


@op(_i0_rule, numpy=np.i0, batch=batch_elementwise)
def i0(x: ArrayLike) -> Array:
    """The modified Bessel function of the first kind, of order 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.i0)(1.0).round(12)
    np.float64(0.565159103992)
    """
    return np.i0(as_floating(x))
