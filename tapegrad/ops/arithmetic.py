"""Elementwise arithmetic."""

from __future__ import annotations

import builtins
import operator

import numpy as np

from tapegrad.core.broadcasting import unbroadcast
from tapegrad.core.forward import elementwise_jvp, transposed_jvp
from tapegrad.declare import op
from tapegrad.declare.abstract import whole_power
from tapegrad.declare.batching import batch_elementwise
from tapegrad.ops.casting import apply_into, safe_divide
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["abs", "add", "cbrt", "conj", "conjugate", "divide", "fabs", "heaviside", "imag"]
__all__ += ["multiply", "negative", "positive", "power", "real", "reciprocal", "sign", "sqrt"]
__all__ += ["square", "subtract"]


@op(
    lambda g, y, x1, x2: g,
    lambda g, y, x1, x2: g,
    ufunc=np.add,
    keeps_weak=True,
    whole=operator.add,
    complex=True,
)
def add(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The sum ``x1 + x2``, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.sum(tg.add(a, b)))(np.ones(2), 1.0)
    array([1., 1.])
    """


def _subtrahend_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """-g."""
    # in forward mode, g is a tangent of the shape of x2
    if type(x2) is np.ndarray and x2.size < y.size and g.shape == y.shape:
        return -unbroadcast(g, x2, "subtract", 1)
    return -g


@op(
    lambda g, y, x1, x2: g,
    _subtrahend_vjp,
    ufunc=np.subtract,
    keeps_weak=True,
    whole=operator.sub,
    complex=True,
)
def subtract(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The difference ``x1 - x2``, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.subtract(a, b), argnums=(0, 1))(5.0, 3.0)
    (array(1.), array(-1.))
    """


@op(
    lambda g, y, x1, x2: g * x2,
    lambda g, y, x1, x2: g * x1,
    ufunc=np.multiply,
    keeps_weak=True,
    whole=operator.mul,
    flat="{other} is 0{where}, and {x} gets the cotangent times {other}",
    complex=True,
)
def multiply(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The product ``x1 * x2``, element by element, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.multiply(a, b), argnums=(0, 1))(5.0, 3.0)
    (array(3.), array(5.))
    """


def _divisor_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """-g * y / x2."""
    # in forward mode, g is a tangent of the shape of x2
    if type(x2) is np.ndarray and x2.size < y.size and g.shape == y.shape:
        return -unbroadcast(g * y, x2, "divide", 1) / x2
    return -g * y / x2


@op(
    lambda g, y, x1, x2: g / x2,
    _divisor_vjp,
    ufunc=np.divide,
    keeps_weak=True,
    whole=operator.truediv,
    cause="a denominator is 0",
    complex=True,
)
def divide(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The quotient ``x1 / x2``, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.divide(a, b), argnums=(0, 1))(1.0, 2.0)
    (array(0.5), array(-0.25))
    """


@op(lambda g, y, x: -g, ufunc=np.negative, keeps_weak=True, whole=operator.neg, complex=True)
def negative(x: ArrayLike) -> Array:
    """The negative ``-x``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.negative)(2.0)
    array(-1.)
    """


@op(lambda g, y, x: g, ufunc=np.positive, keeps_weak=True, whole=operator.pos, complex=True)
def positive(x: ArrayLike) -> Array:
    """``+x``, the same values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.positive)(2.0)
    array(1.)
    """


def _power_base_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """g * x2 * x1 ** (x2 - 1)."""
    # x**0 is constant, but the formula would give 0 * 0**-1
    if isinstance(x2, int | float | complex):
        if x2 == 0:
            return None
        # Python's power of a float raises at 0, and is complex below 0
        is_python_number = type(x1) in (float, complex)
        power = x1 if x2 == 2 else np.power(x1, x2 - 1) if is_python_number else x1 ** (x2 - 1)
        slope = x2 * power
        return apply_into(slope, np.multiply, g, slope)
    is_constant = np.equal(x2, 0) & np.equal(x1, 0)
    return g * np.where(is_constant, 0, x2 * np.where(is_constant, 1, x1) ** (x2 - 1))


POWERS = "0 in the base at exponent 0, 0 in the exponent at base 0"


def _power_exponent_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """g * y * log(x1)."""
    # 0**p is 0 for all p > 0, but y * log(0) would be nan
    is_zero = np.equal(x1, 0)
    return g * np.where(is_zero & np.greater(x2, 0), 0, y * np.log(np.where(is_zero, 1, x1)))


def _complex_power_exponent_vjp(g: Cotangent, y: Array, x1: Array, x2: Array) -> Cotangent:
    """g * y * log(x1)."""
    is_zero = np.equal(x1, 0)
    # a negative real base has a complex logarithm
    logarithm = np.log(np.where(is_zero, 1, x1) + 0j)
    return g * np.where(is_zero & np.greater(np.real(x2), 0), 0, y * logarithm)


@op(
    _power_base_vjp,
    _power_exponent_vjp,
    numpy=np.power,
    keeps_weak=True,
    whole=whole_power,
    # float16 cannot hold the slope of larger exponents
    kink=POWERS,
    jvp=elementwise_jvp,
    cause="a negative number has only integer powers, and 0 no negative ones; the slope at 0 is "
    "infinite for powers below 1",
    complex=(_power_base_vjp, _complex_power_exponent_vjp),
)
def power(x1: ArrayLike, x2: ArrayLike) -> Array:
    """``x1`` to the power of ``x2``, with broadcasting.

    The base's gradient is 0 where the exponent is 0. The exponent's gradient is 0 where the base
    is 0, and nan where the base is negative, because the power is real at isolated points only.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.power(x, 3))(2.0)
    array(12.)
    """
    # the operator is faster for Python numbers; before NumPy 2.3 it ignores a NumPy scalar's dtype,
    # and it computes squares of truth values in int8
    if isinstance(x1, np.ndarray) and type(x2) in (int, float, complex) and x1.dtype.kind != "b":
        return x1**x2
    return np.power(x1, x2)


def _square_vjp(g: Cotangent, y: Array, x: Array) -> Cotangent:
    """(g + g) * x."""
    if type(g) is np.ndarray is type(x) and x.ndim:
        # this never copies a broadcast cotangent, and needs no third array
        c = g * x
        return np.add(c, c, c)
    return (g + g) * x


@op(_square_vjp, ufunc=np.square, keeps_weak=True, whole=lambda x: x * x, complex=True)
def square(x: ArrayLike) -> Array:
    """``x**2``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.square)(3.0)
    array(6.)
    """


@op(lambda g, y, x: -g * y * y, ufunc=np.reciprocal, cause="a denominator is 0", complex=True)
def reciprocal(x: ArrayLike) -> Array:
    """``1 / x``; for integers an integer, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.reciprocal)(2.0)
    array(-0.25)
    """


@op(
    lambda g, y, x: g * 0.5 / y,
    ufunc=np.sqrt,
    kink="inf at 0",
    cause="sqrt is not defined below 0, and has an infinite slope at 0",
    complex=True,
)
def sqrt(x: ArrayLike) -> Array:
    """The square root. Its slope at 0 is infinite, as is the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sqrt)(4.0)
    array(0.25)
    """


@op(
    lambda g, y, x: g / (3 * y * y),
    ufunc=np.cbrt,
    kink="inf at 0",
    cause="cbrt has an infinite slope at 0",
)
def cbrt(x: ArrayLike) -> Array:
    """The cube root. Its slope at 0 is infinite, as is the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.cbrt)(8.0).round(12)
    np.float64(0.083333333333)
    """


@op(
    lambda g, y, x: g * np.sign(x),
    ufunc=np.absolute,
    keeps_weak=True,
    whole=builtins.abs,
    kink="0 at 0",
    complex=(lambda g, y, x: g * np.conj(np.sign(x)),),
)
def abs(x: ArrayLike) -> Array:
    """The absolute value. Its slope at 0 is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.abs(x)))(np.array([-2.0, 0.0, 3.0]))
    array([-1.,  0.,  1.])
    """


@op(lambda g, y, x: g * np.sign(x), ufunc=np.fabs, kink="0 at 0")
def fabs(x: ArrayLike) -> Array:
    """The absolute value, floating even for integers. Its slope at 0 is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fabs(np.array([-2, 3]))
    array([2., 3.])
    """


@op(
    None,
    ufunc=np.sign,
    # the complex sign is neither holomorphic nor real
    jvp=transposed_jvp,
    batch=batch_elementwise,
    complex=(lambda g, y, x: np.conj(y) * (1j * safe_divide(np.imag(g * y), np.abs(x))),),
)
def sign(x: ArrayLike) -> Array:
    """-1, 0 or 1 where x is negative, zero or positive. It passes no gradient.

    For complex numbers it is ``x / abs(x)``, and 0 at 0, where its gradient is 0 too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.sign(np.array([-2.0, 0.0, 3.0]))
    array([-1.,  0.,  1.])
    """


@op(None, lambda g, y, x1, x2: np.where(np.equal(x1, 0), g, 0), ufunc=np.heaviside, kink="0 at 0")
def heaviside(x1: ArrayLike, x2: ArrayLike) -> Array:
    """0 where x1 is negative, 1 where it is positive, x2 where it is 0.

    No gradient passes to x1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.heaviside(np.array([-1.0, 0.0, 2.0]), 0.5)
    array([0. , 0.5, 1. ])
    """


@op(lambda g, y, x: g, ufunc=np.conjugate, keeps_weak=True, complex=(lambda g, y, x: np.conj(g),))
def conj(x: ArrayLike) -> Array:
    """The complex conjugate; for real numbers, x itself. `conjugate` is another name for it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.conj)(2.0)
    array(1.)
    """


conjugate = conj


@op(
    lambda g, y, val: g,
    numpy=np.real,
    keeps_weak=True,
    batch=batch_elementwise,
    view=True,
    jvp=elementwise_jvp,
    complex=(lambda g, y, val: g,),
)
def real(val: ArrayLike) -> Array:
    """The real part; for real numbers, `val` itself.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.real)(2.0)
    array(1.)
    """
    return np.real(val)


@op(
    None,
    numpy=np.imag,
    keeps_weak=True,
    view=True,
    jvp=elementwise_jvp,
    complex=(lambda g, y, val: g * -1j,),
)
def imag(val: ArrayLike) -> Array:
    """The imaginary part; for real numbers, zeros, which pass no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.imag(np.ones(2))
    array([0., 0.])
    """
    return np.imag(val) if np.iscomplexobj(val) else np.zeros_like(val)
