"""Floating-point numbers: their parts, their neighbours, and those that are not finite."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import pointwise
from tapegrad.declare.domain import NONZERO, REAL, Call, Choices, each

__all__ = [
    "copysign",
    "ldexp",
    "nan_to_num",
    "nextafter",
    "signbit",
    "spacing",
]


@op(
    lambda g, y, x1, x2: g * np.sign(x1) * np.copysign(1, x2),
    None,
    ufunc=np.copysign,
    domain=each(REAL, NONZERO),
    kink="0 at 0",
)
def copysign(x1: Any, x2: Any) -> Any:
    """The magnitude of x1 with the sign of x2.

    Its slope in x1 at 0 is 0, as that of `abs`; no gradient passes to x2.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.copysign, argnums=(0, 1))(2.0, -1.0)
    (array(-1.), array(0.))
    """


@op(None, ufunc=np.signbit)
def signbit(x: Any) -> Any:
    """Where x is negative, -0.0 included. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.signbit(np.array([-1.0, -0.0, 0.0]))
    array([ True,  True, False])
    """


def _ldexp_calls(choose: Choices) -> Call:
    shape, other = choose.broadcastable(2)
    return Call((choose.array(shape), choose.integers(other, -3, 3)))


@op(
    lambda g, y, x1, x2: np.ldexp(g, x2),
    None,
    ufunc=np.ldexp,
    domain=_ldexp_calls,
)
def ldexp(x1: Any, x2: Any) -> Any:
    """``x1 * 2**x2`` for integers x2.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.ldexp(x, 3))(1.0)
    array(8.)
    """


@op(None, domain=each(NONZERO), batch=pointwise)
def exponent(x: Any) -> Any:
    """The second result of `frexp`. It passes no gradient."""
    return np.frexp(x)[1]


@op(lambda g, y, x1, x2: g, None, ufunc=np.nextafter)
def nextafter(x1: Any, x2: Any) -> Any:
    """The next floating number from x1 towards x2. Its gradient is that of x1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.nextafter(1.0, 2.0) == 1 + np.finfo(float).eps)
    True
    """


@op(None, ufunc=np.spacing)
def spacing(x: Any) -> Any:
    """The distance to the next floating number away from 0. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.spacing(1.0) == np.finfo(float).eps)
    True
    """


@op(
    lambda g, y, x, **options: np.where(np.isfinite(x), g, 0),
    numpy=np.nan_to_num,
    domain=each(REAL),
    kink="0 where it replaces",
    batch=pointwise,
)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
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
