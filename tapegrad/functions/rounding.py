"""Quotients with remainders, and parts of numbers.

Step functions are recorded, but pass no gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import Elements, each
from tapegrad.ops.record import array
from tapegrad.ops.rounding import DIVISIONS, floor_divide, remainder, rint

__all__ = [
    "divmod",
    "modf",
]


@function(
    numpy=np.divmod,
    domain=DIVISIONS,
    kink="the slope beside a step",
)
def divmod(x1: Any, x2: Any) -> Any:
    """`floor_divide` and `remainder`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.divmod(np.array([-7, 7]), 2)
    (array([-4,  3]), array([1, 1]))
    """
    return floor_divide(x1, x2), remainder(x1, x2)


@function(
    numpy=np.modf,
    domain=each(Elements(poles=tuple(range(-4, 5)))),
    kink="the slope beside a step",
)
def modf(x: Any) -> Any:
    """The fractional and the integer part, both with the sign of x.

    The slope of the first is 1 and that of the second 0, even at a step.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.modf(np.array([-1.5, 2.25]))
    (array([-0.5 ,  0.25]), array([-1.,  2.]))
    """
    x = array(x)
    if x.dtype.kind != "f":
        # the same integers, in the floating dtype that NumPy uses for them
        x = rint(x)
    # nothing is left of an infinity
    infinite = np.isinf(x)
    left = np.where(infinite, np.copysign(0, x), np.fmod(np.where(infinite, 0, x), 1))
    return left, np.trunc(x)
