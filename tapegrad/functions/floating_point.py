"""The mantissa and exponent of floating-point numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import Elements, each
from tapegrad.ops.floating_point import exponent

__all__ = [
    "frexp",
]


_STEPS = tuple(sign * size for sign in (1, -1) for size in (0.0, 0.5, 1.0, 2.0, 4.0))


@function(
    numpy=np.frexp,
    domain=each(Elements(poles=_STEPS)),
    kink="the slope beside a step",
)
def frexp(x: Any) -> Any:
    """The mantissa, with a magnitude from 0.5 to 1, and the exponent of 2, an integer.

    A gradient passes through the mantissa; at a step its slope is the one further from 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.frexp(np.array([3.0, 8.0]))
    (array([0.75, 0.5 ]), array([2, 4], dtype=int32))
    """
    whole = exponent(x)
    return np.ldexp(x, -whole), whole
