"""Exponentials and logarithms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.domain import POSITIVE, Elements, each
from tapegrad.ops.activation import sigmoid

__all__ = ["exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "logaddexp", "logaddexp2"]

_LN2 = math.log(2)
_LN10 = math.log(10)


@op(lambda g, y, x: g * y, ufunc=np.exp)
def exp(x: Any) -> Any:
    """The exponential.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.exp)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g * y * _LN2, ufunc=np.exp2)
def exp2(x: Any) -> Any:
    """2 to the power of x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.exp2)(1.0) == 2 * np.log(2))
    True
    """


@op(lambda g, y, x: g * np.exp(x), ufunc=np.expm1)
def expm1(x: Any) -> Any:
    """``exp(x) - 1``, exact for small x.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.expm1(1e-20)
    np.float64(1e-20)
    >>> tg.grad(tg.expm1)(0.0)
    array(1.)
    """


@op(lambda g, y, x: g / x, ufunc=np.log, domain=each(POSITIVE))
def log(x: Any) -> Any:
    """The natural logarithm; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log)(4.0)
    array(0.25)
    """


@op(lambda g, y, x: g / (1 + x), ufunc=np.log1p, domain=each(Elements(-0.5, 4.0)))
def log1p(x: Any) -> Any:
    """``log(1 + x)``, exact for small x; minus infinity at -1, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.log1p)(1.0)
    array(0.5)
    """


@op(lambda g, y, x: g / _LN2 / x, ufunc=np.log2, domain=each(POSITIVE))
def log2(x: Any) -> Any:
    """The logarithm to base 2; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.log2)(1.0) == 1 / np.log(2))
    True
    """


@op(lambda g, y, x: g / _LN10 / x, ufunc=np.log10, domain=each(POSITIVE))
def log10(x: Any) -> Any:
    """The logarithm to base 10; minus infinity at 0, nan below, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.grad(tg.log10)(1.0) == 1 / np.log(10))
    True
    """


def _share(x1: Any, x2: Any, unit: float = 1.0) -> Any:
    """The share of the first one in a sum of two exponentials to base ``exp(unit)``."""
    # half for equal infinities, whose difference would be nan
    tie = np.equal(x1, x2) & np.isinf(x1)
    return sigmoid(unit * (np.where(tie, 0, x1) - np.where(tie, 0, x2)))


@op(
    lambda g, y, x1, x2: g * _share(x1, x2),
    lambda g, y, x1, x2: g * _share(x2, x1),
    ufunc=np.logaddexp,
    kink="equal infinities share equally",
)
def logaddexp(x1: Any, x2: Any) -> Any:
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
    lambda g, y, x1, x2: g * _share(x1, x2, _LN2),
    lambda g, y, x1, x2: g * _share(x2, x1, _LN2),
    ufunc=np.logaddexp2,
    kink="equal infinities share equally",
)
def logaddexp2(x1: Any, x2: Any) -> Any:
    """``log2(2**x1 + 2**x2)`` without overflow. Equal infinities share the gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.logaddexp2, argnums=(0, 1))(1e4, 1e4)
    (array(0.5), array(0.5))
    >>> tg.grad(tg.logaddexp2, argnums=(0, 1))(-np.inf, 0.0)
    (array(0.), array(1.))
    """
