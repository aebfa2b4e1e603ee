"""Arithmetic of Python ints as Python does it.

NumPy's wraps at 64 bits, and a division by zero gives 0.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tapegrad.core.tensor import Rules


@attrs.frozen
class Whole:
    """The version of an op for operands that are all Python ints.

    Attributes
    ----------
    forward
        The function.
    source
        How a program writes it, a format string of the operands.
    """

    forward: Callable[..., Any]
    source: str


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


# by the name of the op
WHOLE: Mapping[str, Whole] = {
    "add": Whole(operator.add, "{0} + {1}"),
    "subtract": Whole(operator.sub, "{0} - {1}"),
    "multiply": Whole(operator.mul, "{0} * {1}"),
    "divide": Whole(operator.truediv, "{0} / {1}"),
    "floor_divide": Whole(operator.floordiv, "{0} // {1}"),
    "remainder": Whole(operator.mod, "{0} % {1}"),
    "power": Whole(whole_power, "whole_power({0}, {1})"),
    "negative": Whole(operator.neg, "-{0}"),
    "positive": Whole(operator.pos, "+{0}"),
    "abs": Whole(abs, "abs({0})"),
    "square": Whole(lambda x: x * x, "{0} * {0}"),
    "maximum": Whole(max, "max({0}, {1})"),
    "minimum": Whole(min, "min({0}, {1})"),
    "left_shift": Whole(operator.lshift, "{0} << {1}"),
    "right_shift": Whole(operator.rshift, "{0} >> {1}"),
    "bitwise_and": Whole(operator.and_, "{0} & {1}"),
    "bitwise_or": Whole(operator.or_, "{0} | {1}"),
    "bitwise_xor": Whole(operator.xor, "{0} ^ {1}"),
    "invert": Whole(operator.invert, "~{0}"),
}


def forward_of(op: Rules, values: list[Any]) -> Callable[..., Any]:
    """An op's forward function for these operands, while compiling; the op is one of ours."""
    if op.like is not None:
        return op.like
    whole = WHOLE.get(op.name)
    if whole is None or not all(isinstance(x, int) for x in values):
        return op.forward
    return whole.forward
