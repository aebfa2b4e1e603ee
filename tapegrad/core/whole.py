"""Arithmetic on Python ints as Python does it.

NumPy's wraps at 64 bits, and its division by zero gives 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapegrad.core.tensor import Rules


def whole_power(base: int, exponent: int) -> int:
    """A power of ints that is an int; a negative exponent would make it a float.

    Raises
    ------
    ValueError
        If the exponent is negative, as NumPy does.
    """
    if exponent < 0:
        raise ValueError(
            f"{base} ** {exponent}: integers to negative integer powers are not allowed; make the "
            "base a float"
        )
    power: int = base**exponent
    return power


def forward_of(op: Rules, values: list[Any]) -> Callable[..., Any]:
    """An op's forward function for these operands, while compiling."""
    if op.like is not None:
        return op.like
    if op.whole is None or not all(isinstance(x, int) for x in values):
        return op.forward
    return op.whole
