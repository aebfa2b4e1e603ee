"""Elementary functions: exponential, logarithmic, trigonometric and hyperbolic."""

from __future__ import annotations

import math

import numpy as np

from tapegrad.declare import op
from tapegrad.ops.activation import ONE, sigmoid
from tapegrad.ops.casting import safe_divide
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cos", "cosh"]
__all__ += ["deg2rad", "degrees", "exp", "exp2", "expm1", "hypot", "log", "log1p", "log2", "log10"]
__all__ += ["logaddexp", "logaddexp2", "rad2deg", "radians", "sin", "sinh", "tan", "tanh"]


_LN2 = math.log(2)
_LN10 = math.log(10)

# likely causes of values that are not finite
_NOT_POSITIVE = "the argument of a log is not positive"
_OVERFLOW = (
    "exp overflows; subtract the maximum first, as tg.softmax and tg.logsumexp do, or use "
    "tg.sigmoid or tg.softplus"
)
_EDGE = "the argument is at the edge of the function's domain, or outside"


@op(lambda g, y, x: g * y, ufunc=np.exp, cause=_OVERFLOW, complex=True)
def exp(x: ArrayLike) -> Array:
    """The exponential.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.exp)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g * y * _LN2, ufunc=np.exp2, cause=_OVERFLOW, complex=True)
def exp2(x: ArrayLike) -> Array:
    """2 to the power of x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.exp2)(1.0) == 2 * np.log(2))
    True
    """


@op(lambda g, y, x: g * np.exp(x), ufunc=np.expm1, cause=_OVERFLOW, complex=True)
def expm1(x: ArrayLike) -> Array:
    """``exp(x) - 1``, exact for small x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.expm1(1e-20)
    np.float64(1e-20)
    >>> tg.grad(tg.expm1)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g / x, ufunc=np.log, cause=_NOT_POSITIVE, complex=True)
def log(x: ArrayLike) -> Array:
    """The natural logarithm; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log)(4.0)
    array(0.25)
    """


@op(
    lambda g, y, x: g / (1 + x),
    ufunc=np.log1p,
    cause="the argument of log1p is not above -1",
    complex=True,
)
def log1p(x: ArrayLike) -> Array:
    """``log(1 + x)``, exact for small x; minus infinity at -1, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log1p)(1.0)
    array(0.5)
    """


@op(lambda g, y, x: g / _LN2 / x, ufunc=np.log2, cause=_NOT_POSITIVE, complex=True)
def log2(x: ArrayLike) -> Array:
    """The logarithm to base 2; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.log2)(1.0) == 1 / np.log(2))
    True
    """


@op(lambda g, y, x: g / _LN10 / x, ufunc=np.log10, cause=_NOT_POSITIVE, complex=True)
def log10(x: ArrayLike) -> Array:
    """The logarithm to base 10; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.log10)(1.0) == 1 / np.log(10))
    True
    """


def _exp_fraction(x1: Array, x2: Array, unit: float = 1.0) -> Array:
    """Return the fraction of the first exponential in the sum of two, to base ``exp(unit)``."""
    # one half for equal infinities, whose difference would be nan
    is_tie = np.equal(x1, x2) & np.isinf(x1)
    return sigmoid(unit * (np.where(is_tie, 0, x1) - np.where(is_tie, 0, x2)))


@op(
    lambda g, y, x1, x2: g * _exp_fraction(x1, x2),
    lambda g, y, x1, x2: g * _exp_fraction(x2, x1),
    ufunc=np.logaddexp,
    kink="equal infinities share equally",
)
def logaddexp(x1: ArrayLike, x2: ArrayLike) -> Array:
    """``log(exp(x1) + exp(x2))`` without overflow. Equal infinities share the gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.logaddexp, argnums=(0, 1))(1e4, 1e4)
    (array(0.5), array(0.5))
    >>> tg.grad(tg.logaddexp, argnums=(0, 1))(-np.inf, 0.0)
    (array(0.), array(1.))
    """


@op(
    lambda g, y, x1, x2: g * _exp_fraction(x1, x2, _LN2),
    lambda g, y, x1, x2: g * _exp_fraction(x2, x1, _LN2),
    ufunc=np.logaddexp2,
    kink="equal infinities share equally",
)
def logaddexp2(x1: ArrayLike, x2: ArrayLike) -> Array:
    """``log2(2**x1 + 2**x2)`` without overflow. Equal infinities share the gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.logaddexp2, argnums=(0, 1))(1e4, 1e4)
    (array(0.5), array(0.5))
    >>> tg.grad(tg.logaddexp2, argnums=(0, 1))(-np.inf, 0.0)
    (array(0.), array(1.))
    """


@op(lambda g, y, x: g * np.cos(x), ufunc=np.sin, complex=True)
def sin(x: ArrayLike) -> Array:
    """The sine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sin)(0.0)
    array(1.)
    """


@op(lambda g, y, x: -g * np.sin(x), ufunc=np.cos, complex=True)
def cos(x: ArrayLike) -> Array:
    """The cosine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.grad(tg.cos))(0.0)
    array(-1.)
    """


@op(lambda g, y, x: g * (1 + y * y), ufunc=np.tan, complex=True)
def tan(x: ArrayLike) -> Array:
    """The tangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.tan)(0.0)
    array(1.)
    """


def _sqrt_one_minus_square(x: Array) -> Array:
    """Return ``sqrt(1 - x**2)``, exact near -1 and 1 too."""
    return np.sqrt((1 - x) * (1 + x))


@op(
    lambda g, y, x: g / _sqrt_one_minus_square(x),
    ufunc=np.arcsin,
    complex=(lambda g, y, x: g / np.cos(y),),
    kink="inf at 1 and -1",
    cause=_EDGE,
)
def arcsin(x: ArrayLike) -> Array:
    """The angle in [-pi/2, pi/2] whose sine is x; nan outside [-1, 1].

    Its slope at -1 and 1 is infinite, as is the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arcsin)(0.0)
    array(1.)
    """


@op(
    lambda g, y, x: -g / _sqrt_one_minus_square(x),
    ufunc=np.arccos,
    kink="-inf at 1 and -1",
    cause=_EDGE,
    complex=(lambda g, y, x: -g / np.sin(y),),
)
def arccos(x: ArrayLike) -> Array:
    """The angle in [0, pi] whose cosine is x; nan outside [-1, 1].

    Its slope at -1 and 1 is infinite, as is the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arccos)(0.0)
    array(-1.)
    """


def _arctan_slope(x: Array) -> Array:
    # 1 / (1 + x * x), where the square could overflow
    y = 1 / np.hypot(1, x)
    return y * y


@op(
    lambda g, y, x: g * _arctan_slope(x),
    ufunc=np.arctan,
    complex=(lambda g, y, x: g / (1 + x * x),),
    flat="{x} is so far from 0{where} that {op} has the slope 0 there",
)
def arctan(x: ArrayLike) -> Array:
    """The angle in [-pi/2, pi/2] whose tangent is x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arctan)(1.0).round(12)
    np.float64(0.5)
    """


def _divide_by_squares(x: Array, x1: Array, x2: Array) -> Array:
    """Return ``x / (x1**2 + x2**2)`` without overflow of the squares; 0 at the origin."""
    r = np.hypot(x1, x2)
    return safe_divide(safe_divide(x, r), r)


@op(
    lambda g, y, x1, x2: g * _divide_by_squares(x2, x1, x2),
    lambda g, y, x1, x2: g * _divide_by_squares(-x1, x1, x2),
    ufunc=np.arctan2,
    kink="0 at the origin",
)
def arctan2(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The angle in [-pi, pi] of the point (x2, x1), seen from the origin.

    Both gradients are 0 at the origin itself.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arctan2, argnums=(0, 1))(0.0, 2.0)
    (array(0.5), array(-0.))
    """


@op(
    lambda g, y, x1, x2: g * safe_divide(x1, y),
    lambda g, y, x1, x2: g * safe_divide(x2, y),
    ufunc=np.hypot,
    kink="0 at the origin",
)
def hypot(x1: ArrayLike, x2: ArrayLike) -> Array:
    """``sqrt(x1**2 + x2**2)`` without overflow. Where x1 and x2 are 0, so are both gradients.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.hypot, argnums=(0, 1))(3e200, 4e200)
    (array(0.6), array(0.8))
    >>> tg.grad(tg.hypot, argnums=(0, 1))(0.0, 0.0)
    (array(0.), array(0.))
    """


@op(lambda g, y, x: g * np.cosh(x), ufunc=np.sinh, cause=_OVERFLOW, complex=True)
def sinh(x: ArrayLike) -> Array:
    """The hyperbolic sine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sinh)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g * np.sinh(x), ufunc=np.cosh, cause=_OVERFLOW, complex=True)
def cosh(x: ArrayLike) -> Array:
    """The hyperbolic cosine.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.cosh)(0.0)
    array(0.)
    """


def _tanh_vjp(g: Cotangent, y: Array, x: Array) -> Cotangent:
    """g * (1 - y * y)."""
    slope = y * y
    if type(slope) is not np.ndarray or type(g) is not np.ndarray:
        return g * (1 - slope)
    np.subtract(ONE.get(slope.dtype.char, 1), slope, slope)
    return np.multiply(g, slope, slope)


@op(
    _tanh_vjp,
    ufunc=np.tanh,
    flat="{x} is so far from 0{where} that {op} has the slope 0 there",
    complex=True,
)
def tanh(x: ArrayLike) -> Array:
    """The hyperbolic tangent.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.tanh)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g / np.hypot(1, x), ufunc=np.arcsinh, complex=(lambda g, y, x: g / np.cosh(y),))
def arcsinh(x: ArrayLike) -> Array:
    """The inverse of `sinh`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arcsinh)(0.0)
    array(1.)
    """


@op(
    lambda g, y, x: g / np.sqrt(x - 1) / np.sqrt(x + 1),
    ufunc=np.arccosh,
    complex=(lambda g, y, x: g / np.sinh(y),),
    kink="inf at 1",
    cause=_EDGE,
)
def arccosh(x: ArrayLike) -> Array:
    """The inverse of `cosh`; nan below 1. Its slope at 1 is infinite, as is the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arccosh)(1.25).round(12)
    np.float64(1.333333333333)
    """


@op(lambda g, y, x: g / ((1 - x) * (1 + x)), ufunc=np.arctanh, cause=_EDGE, complex=True)
def arctanh(x: ArrayLike) -> Array:
    """The inverse of `tanh`; infinite at -1 and 1, nan beyond.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.arctanh)(0.5).round(12)
    np.float64(1.333333333333)
    """


@op(lambda g, y, x: np.deg2rad(g), ufunc=np.deg2rad, numpy=np.radians)
def deg2rad(x: ArrayLike) -> Array:
    """Degrees as radians. `radians` is another name for it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.deg2rad)(1.0) == np.pi / 180)
    True
    """


@op(lambda g, y, x: np.rad2deg(g), ufunc=np.rad2deg, numpy=np.degrees)
def rad2deg(x: ArrayLike) -> Array:
    """Radians as degrees. `degrees` is another name for it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.rad2deg)(1.0) == 180 / np.pi)
    True
    """


radians = deg2rad
degrees = rad2deg
