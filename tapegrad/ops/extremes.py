"""The larger or smaller of two, element by element, and values between two bounds."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import pointwise
from tapegrad.declare.domain import REAL, TYING, each

__all__ = ["fmax", "fmin", "maximum", "minimum"]


def _shared(g: Any, winner: Any, loser: Any, larger: Any) -> Any:
    """The cotangent where one side wins, half of it at a tie, 0 elsewhere."""
    return np.where(np.equal(winner, loser), g * 0.5, np.where(larger, g, 0))


@op(
    lambda g, y, x1, x2: _shared(g, x1, x2, np.greater(x1, x2)),
    lambda g, y, x1, x2: _shared(g, x2, x1, np.greater(x2, x1)),
    ufunc=np.maximum,
    keeps_weak=True,
    whole=builtins.max,
    domain=each(TYING, TYING),
    kink="ties share equally",
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
    whole=builtins.min,
    domain=each(TYING, TYING),
    kink="ties share equally",
)
def minimum(x1: Any, x2: Any) -> Any:
    """The smaller of two, element by element. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.minimum(x, 0.0)))(np.array([-1.0, 0.0, 1.0]))
    array([1. , 0.5, 0. ])
    """


@op(
    lambda g, y, x1, x2: _shared(g, x1, x2, np.greater(x1, x2) | np.isnan(x2)),
    lambda g, y, x1, x2: _shared(g, x2, x1, np.greater(x2, x1) | np.isnan(x1)),
    ufunc=np.fmax,
    keeps_weak=True,
    kink="ties share equally",
)
def fmax(x1: Any, x2: Any) -> Any:
    """The larger of two, or the one that is not nan. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.fmax, argnums=(0, 1))(1.0, np.nan)
    (array(1.), array(0.))
    """


@op(
    lambda g, y, x1, x2: _shared(g, x1, x2, np.less(x1, x2) | np.isnan(x2)),
    lambda g, y, x1, x2: _shared(g, x2, x1, np.less(x2, x1) | np.isnan(x1)),
    ufunc=np.fmin,
    keeps_weak=True,
    kink="ties share equally",
)
def fmin(x1: Any, x2: Any) -> Any:
    """The smaller of two, or the one that is not nan. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.fmin, argnums=(0, 1))(1.0, np.nan)
    (array(1.), array(0.))
    """


def _clip_share(i: int, g: Any, a: Any, low: Any, high: Any) -> Any:
    """The cotangent of one of the three where it is the result, half of it where two tie."""
    wins = [
        np.less_equal(low, a) & np.less_equal(a, high) & np.less(low, high),
        np.less_equal(a, low) & np.less_equal(low, high) & np.less(a, high),
        np.less_equal(high, np.maximum(a, low)),
    ]
    won = wins.pop(i)
    return np.where(won, np.where(wins[0] | wins[1], g * 0.5, g), 0)


@op(
    lambda g, y, a, low, high: _clip_share(0, g, a, low, high),
    lambda g, y, a, low, high: _clip_share(1, g, a, low, high),
    lambda g, y, a, low, high: _clip_share(2, g, a, low, high),
    keeps_weak=True,
    domain=each(REAL, REAL, REAL),
    batch=pointwise,
)
def clip_both(a: Any, low: Any, high: Any) -> Any:
    """`clip` with two bounds."""
    return np.clip(a, low, high)
