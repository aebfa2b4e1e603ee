"""Successive multiplications by numbers are joined into one.

If one of two factors is smaller than the product, the number multiplies that one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.arithmetic import add, divide, multiply, negative, subtract
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.fold import splat


@improvement
def join_factors(builder: Builder) -> None:
    """``a * (b * x)`` becomes ``(a * b) * x`` for numbers a and b.

    Fires on means and squares: ``2 / n`` and the rate become one number.
    """
    builder.rewrite(_joined, (multiply, divide, add, subtract, negative))


def _joined(builder: Builder, instruction: Instruction) -> Any:
    if instruction.number or instruction.dtype.char not in "fd":
        return None
    number, x = multiple(builder, instruction)
    if number is None:
        if instruction.op in (add, subtract):
            return _signed(builder, instruction)
        return _outside(builder, instruction) if instruction.op is multiply else None
    inner = builder.source(x)
    if inner is None or inner.dtype != instruction.dtype or inner.shape != instruction.shape:
        return None
    further, y = multiple(builder, inner)
    if further is not None:
        number, x = number * further, y
        inner = builder.source(x)
    elif inner.op is not multiply:
        return None
    limits = np.finfo(instruction.dtype)
    if not limits.tiny <= abs(number) <= limits.max or builder.dtype(x) != instruction.dtype:
        return None
    if inner is not None and inner.op is multiply:
        smaller = _smaller(builder, inner)
        if smaller is not None:
            small, large = smaller
            return builder.emit(multiply, large, builder.emit(multiply, number, small))
    return None if further is None else builder.emit(multiply, number, x)


def _signed(builder: Builder, instruction: Instruction) -> Any:
    """``a - (-b)`` as ``a + b``, and ``a + (-b)`` as ``a - b``."""
    a, b = instruction.operands
    positive = None if builder.dtype(b) != instruction.dtype else _negated(builder, b)
    if positive is None:
        return None
    return builder.emit(subtract if instruction.op is add else add, a, positive)


def _outside(builder: Builder, instruction: Instruction) -> Any:
    """``-a * b`` as ``-(a * b)``, where the sign may meet another number."""
    for turned, other in (instruction.operands, instruction.operands[::-1]):
        inner = builder.source(turned, negative)
        if inner is not None and inner.dtype == instruction.dtype == builder.dtype(other):
            product = builder.emit(multiply, inner.operands[0], other)
            return builder.emit(negative, product)
    return None


def _negated(builder: Builder, x: Any) -> Any:
    """The negative of a product with a negative number, where it costs no more."""
    made = builder.source(x)
    if made is None or made.op not in (multiply, negative) or made.number:
        return None
    number, y = multiple(builder, made)
    if number is not None:
        if number >= 0 or builder.dtype(y) != made.dtype:
            return None
        return y if number == -1 else builder.emit(multiply, -number, y)
    factors = _smaller(builder, made)
    small = None if factors is None else _negated(builder, factors[0])
    return None if factors is None or small is None else builder.emit(multiply, factors[1], small)


def multiple(builder: Builder, instruction: Instruction) -> tuple[Any, Any]:
    """The number and the array that an instruction multiplies; None if it does not."""
    operands = instruction.operands
    if instruction.op is negative:
        return -1.0, operands[0]
    if instruction.op is add and operands[0] == operands[1]:
        return 2.0, operands[0]
    if instruction.op is divide:
        number = finite(builder, operands[1])
        return (1 / number, operands[0]) if number else (None, None)
    if instruction.op is multiply:
        for factor, x in (operands, operands[::-1]):
            number = finite(builder, factor)
            if number is not None and type(x) is Ref:
                return number, x
    return None, None


def finite(builder: Builder, x: Any) -> float | None:
    """The finite number that an operand is, if it has no axes or the program made it."""
    if type(x) is Ref and (x.kind != "constant" or builder.shape(x) != ()):
        return None
    number = splat(builder, x)
    return float(number) if number is not None and math.isfinite(number) else None


def _smaller(builder: Builder, product: Instruction) -> tuple[Any, Any] | None:
    """The smaller factor of a product and the larger one, if they differ in size."""
    left, right = product.operands
    sizes = [math.prod(builder.shape(x)) for x in (left, right)]
    if sizes[0] == sizes[1] or builder.dtype(left) != builder.dtype(right):
        return None
    return (left, right) if sizes[0] < sizes[1] else (right, left)
