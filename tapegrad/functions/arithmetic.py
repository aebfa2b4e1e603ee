"""Arithmetic, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import POSITIVE, REAL, Call, Choices, Elements, each
from tapegrad.ops.arithmetic import POWERS, positive, power
from tapegrad.ops.extremes import clip_both, maximum, minimum
from tapegrad.ops.record import array, double

__all__ = [
    "clip",
    "float_power",
]


@function(
    numpy=np.float_power,
    # float16 cannot hold the slope of larger exponents
    domain=each(POSITIVE, Elements(-2.0, 2.0)),
    kink=POWERS,
)
def float_power(x1: Any, x2: Any) -> Any:
    """`power` in at least float64, so that integers may have negative exponents.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.float_power(np.array([1, 2]), -1)
    array([1. , 0.5])
    >>> tg.grad(lambda x: tg.float_power(x, 3))(2.0)
    array(12.)
    """
    return power(double(x1), double(x2))


def _clip_calls(choose: Choices) -> Call:
    a, low, high = each(REAL, Elements(-4.0, 0.0), REAL)(choose).args
    return choose.among(
        [
            Call((a, low, high)),
            Call((a, low, None)),
            Call((a, None, high)),
            Call((a, -1.0, 1)),
            Call((a,), {"min": -0.5}),
            Call((a,), {"max": 0.5}),
            Call((a,), {"a_min": -1, "a_max": 2}),
        ]
    )


@function(
    numpy=np.clip,
    domain=_clip_calls,
    kink="two that tie share equally",
)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
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
    former = a_min is not None or a_max is not None
    if former and (min is not None or max is not None):
        raise ValueError("clip: give the bounds as a_min and a_max, or as min and max, not as both")
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None and high is None:
        return positive(a)
    a = array(a)
    if low is None:
        return minimum(a, high)
    if high is None:
        return maximum(a, low)
    return clip_both(a, low, high)
