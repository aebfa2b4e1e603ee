"""Arithmetic, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.op import op

__all__ = [
    "abs",
    "add",
    "divide",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "positive",
    "power",
    "reciprocal",
    "sign",
    "sqrt",
    "square",
    "subtract",
]


@op(
    lambda g, y, x1, x2: g,
    lambda g, y, x1, x2: g,
    ufunc=np.add,
    keeps_weak=True,
)
def add(x1: Any, x2: Any) -> Any:
    """The sum ``x1 + x2``, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.sum(tg.add(a, b)))(np.ones(2), 1.0)
    array([1., 1.])
    """


@op(
    lambda g, y, x1, x2: g,
    lambda g, y, x1, x2: -g,
    ufunc=np.subtract,
    keeps_weak=True,
)
def subtract(x1: Any, x2: Any) -> Any:
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
)
def multiply(x1: Any, x2: Any) -> Any:
    """The product ``x1 * x2``, element by element, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.multiply(a, b), argnums=(0, 1))(5.0, 3.0)
    (array(3.), array(5.))
    """


@op(
    lambda g, y, x1, x2: g / x2,
    lambda g, y, x1, x2: -g * y / x2,
    ufunc=np.divide,
    keeps_weak=True,
)
def divide(x1: Any, x2: Any) -> Any:
    """The quotient ``x1 / x2``, with broadcasting.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a, b: tg.divide(a, b), argnums=(0, 1))(1.0, 2.0)
    (array(0.5), array(-0.25))
    """


@op(
    lambda g, y, x: -g,
    ufunc=np.negative,
    keeps_weak=True,
)
def negative(x: Any) -> Any:
    """The negative ``-x``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.negative)(2.0)
    array(-1.)
    """


@op(
    lambda g, y, x: g,
    ufunc=np.positive,
    keeps_weak=True,
)
def positive(x: Any) -> Any:
    """``+x``, the same values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.positive)(2.0)
    array(1.)
    """


def _power_base(g: Any, y: Any, x1: Any, x2: Any) -> Any:
    # x**0 is constant; its rule must not meet 0 * 0**-1
    if isinstance(x2, int | float):
        return g * (x2 * x1 ** (x2 - 1)) if x2 != 0 else None
    flat = np.equal(x2, 0) & np.equal(x1, 0)
    return g * np.where(flat, 0, x2 * np.where(flat, 1, x1) ** (x2 - 1))


def _power_exponent(g: Any, y: Any, x1: Any, x2: Any) -> Any:
    # 0**p is 0 for all p > 0, where y * log(0) would be nan
    zero = np.equal(x1, 0)
    return g * np.where(zero & np.greater(x2, 0), 0, y * np.log(np.where(zero, 1, x1)))


@op(
    _power_base,
    _power_exponent,
    numpy=np.power,
    keeps_weak=True,
    source="power({0}, {1}, {out})",
    jvp="rule",
)
def power(x1: Any, x2: Any) -> Any:
    """``x1`` to the power of ``x2``, with broadcasting.

    The base's gradient is 0 where the exponent is 0. The exponent's gradient is 0
    where the base is 0, and nan where the base is negative, for there the power is
    real at single points only.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.power(x, 3))(2.0)
    array(12.)
    """
    return x1**x2 if isinstance(x1, np.ndarray) else np.power(x1, x2)


@op(
    lambda g, y, x: g * (x + x),
    ufunc=np.square,
    keeps_weak=True,
)
def square(x: Any) -> Any:
    """``x**2``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.square)(3.0)
    array(6.)
    """


@op(
    lambda g, y, x: -g * y * y,
    ufunc=np.reciprocal,
)
def reciprocal(x: Any) -> Any:
    """``1 / x``; of an integer array, an integer, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.reciprocal)(2.0)
    array(-0.25)
    """


@op(
    lambda g, y, x: g * 0.5 / y,
    ufunc=np.sqrt,
)
def sqrt(x: Any) -> Any:
    """The square root. Its slope at 0 is infinite, as is the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sqrt)(4.0)
    array(0.25)
    """


@op(
    lambda g, y, x: g * np.sign(x),
    ufunc=np.absolute,
    numpy=np.fabs,
    keeps_weak=True,
)
def abs(x: Any) -> Any:
    """The absolute value. Its slope at 0 is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.abs(x)))(np.array([-2.0, 0.0, 3.0]))
    array([-1.,  0.,  1.])
    """


@op(None, ufunc=np.sign)
def sign(x: Any) -> Any:
    """-1, 0 or 1 as x is negative, zero or positive. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.sign(np.array([-2.0, 0.0, 3.0]))
    array([-1.,  0.,  1.])
    """


def _shared(g: Any, winner: Any, loser: Any, larger: Any) -> Any:
    """The cotangent where one side wins, half of it at a tie, 0 elsewhere."""
    return np.where(np.equal(winner, loser), g * 0.5, np.where(larger, g, 0))


@op(
    lambda g, y, x1, x2: _shared(g, x1, x2, np.greater(x1, x2)),
    lambda g, y, x1, x2: _shared(g, x2, x1, np.greater(x2, x1)),
    ufunc=np.maximum,
    keeps_weak=True,
)
def maximum(x1: Any, x2: Any) -> Any:
    """The larger of two, element by element.

    At a tie both sides get half the gradient, so the slope of ``maximum(x, 0)`` at
    0 is 0.5, while that of `relu` is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.maximum(x, 0.0)))(np.array([-1.0, 0.0, 1.0]))
    array([0. , 0.5, 1. ])
    """


@op(
    lambda g, y, x1, x2: _shared(g, x1, x2, np.less(x1, x2)),
    lambda g, y, x1, x2: _shared(g, x2, x1, np.less(x2, x1)),
    ufunc=np.minimum,
    keeps_weak=True,
)
def minimum(x1: Any, x2: Any) -> Any:
    """The smaller of two, element by element. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.minimum(x, 0.0)))(np.array([-1.0, 0.0, 1.0]))
    array([1. , 0.5, 0. ])
    """
