"""Rounding, and the parts of floating-point numbers."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["around", "ceil", "copysign", "fix", "floor", "floor_divide", "fmod", "ldexp", "mod"]
__all__ += ["nan_to_num", "nextafter", "remainder", "rint", "round", "signbit", "spacing", "trunc"]


@op(None, ufunc=np.floor)
def floor(x: ArrayLike) -> Array:
    """The largest integer that is not above x. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.floor(np.array([-1.5, 0.5, 2.5]))
    array([-2.,  0.,  2.])
    """


@op(None, ufunc=np.ceil)
def ceil(x: ArrayLike) -> Array:
    """The smallest integer that is not below x. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ceil(np.array([-1.5, 0.5, 2.5]))
    array([-1.,  1.,  3.])
    """


@op(None, ufunc=np.trunc)
def trunc(x: ArrayLike) -> Array:
    """The nearest integer towards 0. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.trunc(np.array([-1.5, 0.5, 2.5]))
    array([-1.,  0.,  2.])
    """


@op(None, ufunc=np.rint, complex=True)
def rint(x: ArrayLike) -> Array:
    """The nearest integer; of two, the even one. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.rint(np.array([-1.5, 0.5, 2.5]))
    array([-2.,  0.,  2.])
    """


@op(None, numpy=np.fix, batch=batch_elementwise)
def fix(x: ArrayLike) -> Array:
    """The nearest integer towards 0, as `trunc`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fix(np.array([-1.5, 0.5, 2.5]))
    array([-1.,  0.,  2.])
    """
    return np.trunc(x)


@op(None, numpy=(np.round, np.around), batch=batch_elementwise, complex=True)
def round(a: ArrayLike, decimals: int = 0) -> Array:
    """The nearest number with this many decimals; of two, the one with an even last digit.

    `around` is another name for it. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.round(np.array([1.25, 1.75]), 1)
    array([1.2, 1.8])
    """
    return np.round(np.asarray(a), decimals)


around = round


@op(None, None, ufunc=np.floor_divide, keeps_weak=True, whole=operator.floordiv)
def floor_divide(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The quotient ``x1 // x2``, rounded down to an integer. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.floor_divide(np.array([-7, 7]), 2)
    array([-4,  3])
    """


def _count_subtractions(y: Array, x1: Array, x2: Array) -> Array:
    """Return how often x2 was subtracted from x1 to leave y."""
    # Python's quotient of floats raises at 0
    return np.rint(np.divide(x1 - y, x2))


_RULES = (lambda g, y, x1, x2: g, lambda g, y, x1, x2: -g * _count_subtractions(y, x1, x2))
_STEPS = "the slope beside a step"


@op(*_RULES, ufunc=np.remainder, keeps_weak=True, whole=operator.mod, kink=_STEPS)
def remainder(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The remainder ``x1 % x2``, with the sign of x2. `mod` is another name for it.

    At a step it has the same gradient as between the steps.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.remainder, argnums=(0, 1))(7.5, 2.0)
    (array(1.), array(-3.))
    """


mod = remainder


@op(*_RULES, ufunc=np.fmod, kink=_STEPS)
def fmod(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The remainder of the quotient rounded towards 0, with the sign of x1.

    At a step it has the same gradient as between the steps.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fmod(-7.5, 2.0), tg.remainder(-7.5, 2.0)
    (np.float64(-1.5), np.float64(0.5))
    >>> tg.grad(tg.fmod, argnums=(0, 1))(-7.5, 2.0)
    (array(1.), array(3.))
    """


@op(
    lambda g, y, x1, x2: g * np.sign(x1) * np.copysign(1, x2),
    None,
    ufunc=np.copysign,
    kink="0 at 0",
)
def copysign(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The magnitude of x1 with the sign of x2.

    The slope with respect to x1 at 0 is 0, as for `abs`; no gradient passes to x2.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.copysign, argnums=(0, 1))(2.0, -1.0)
    (array(-1.), array(0.))
    """


@op(None, ufunc=np.signbit)
def signbit(x: ArrayLike) -> Array:
    """Whether x is negative, -0.0 included. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.signbit(np.array([-1.0, -0.0, 0.0]))
    array([ True,  True, False])
    """


@op(lambda g, y, x1, x2: np.ldexp(g, x2), None, ufunc=np.ldexp)
def ldexp(x1: ArrayLike, x2: ArrayLike) -> Array:
    """``x1 * 2**x2`` for integers x2.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.ldexp(x, 3))(1.0)
    array(8.)
    """


@op(None, batch=batch_elementwise)
def exponent(x: ArrayLike) -> Array:
    """The second result of `frexp`. It passes no gradient."""
    return np.frexp(x)[1]


@op(lambda g, y, x1, x2: g, None, ufunc=np.nextafter)
def nextafter(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The next floating number from x1 towards x2. The gradient passes to x1 unchanged.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.nextafter(1.0, 2.0) == 1 + np.finfo(float).eps)
    True
    """


@op(None, ufunc=np.spacing)
def spacing(x: ArrayLike) -> Array:
    """The distance to the next floating number away from 0. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.spacing(1.0) == np.finfo(float).eps)
    True
    """


def _complex_nan_to_num_vjp(g: Cotangent, y: Array, x: Array, **options: Any) -> Cotangent:
    real = np.where(np.isfinite(np.real(x)), np.real(g), 0)
    return real + 1j * np.where(np.isfinite(np.imag(x)), np.imag(g), 0)


@op(
    lambda g, y, x, **options: np.where(np.isfinite(x), g, 0),
    numpy=np.nan_to_num,
    kink="0 where it replaces",
    batch=batch_elementwise,
    complex=(_complex_nan_to_num_vjp,),
)
def nan_to_num(
    x: ArrayLike, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Array:
    """Numbers in place of nan and infinities. Where one is replaced, the gradient is 0.

    Parameters
    ----------
    x
        An array.
    copy
        Must be True, since no argument is ever changed.
    nan, posinf, neginf
        The replacements; None for an infinity stands for the dtype's largest number.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.array([1.0, np.nan, np.inf])
    >>> tg.nan_to_num(x, posinf=9.0)
    array([1., 0., 9.])
    >>> tg.grad(lambda x: tg.sum(tg.nan_to_num(x)))(x)
    array([1., 0., 0.])
    """
    if not copy:
        raise TypeError("nan_to_num: copy=False would change the argument, which is never done")
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)
