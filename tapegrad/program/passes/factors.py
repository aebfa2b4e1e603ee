"""Join successive multiplications by numbers into one."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tapegrad.ops.arithmetic import add, divide, multiply, negative, subtract
from tapegrad.program.builder import Builder, Form
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.algebra import apply_rules, index_rules, operand_orders, parse_rules
from tapegrad.program.program import rule

# moves a sign out, where it may meet another number
_OUTSIDE = index_rules(parse_rules("-x * y -> -(x * y), if precise, typed x, typed y"))


@lru_cache(1 << 10)
def _may_join(form: Form) -> bool:
    """Whether an instruction of a form may be a multiple of a multiple, or has a sign to join."""
    op, *operands = form
    doubled = op is add and operands[0] is operands[1]
    numbers = op is negative or doubled or any(isinstance(x, float | int) for x in operands)
    signs = negative in operands or (multiply in operands and op in (add, subtract))
    return signs or (numbers and not {multiply, divide, add}.isdisjoint(operands))


@rule(multiply, divide, add, subtract, negative, where=_may_join)
def join_factors(builder: Builder, instruction: Instruction) -> Any:
    """``2 * (a * x) -> (2 * a) * x`` for a number a.

    Fires on squares and means, ``2 * (x / n)``, and on signs, ``a - (-2 * b)``. One of the two
    numbers must be a power of two: the result is then the same to the bit, unless a product is
    subnormal. The outer number must not undo the inner one, so that the same values overflow.
    """
    if instruction.number or instruction.dtype.char not in "fd":
        return None
    outer, x = multiple(builder, instruction)
    if outer is None:
        if instruction.op in (add, subtract):
            return _fold_sign(builder, instruction)
        return apply_rules(_OUTSIDE, builder, instruction)
    source = builder.producer(x)
    if source is None or source.dtype != instruction.dtype or source.shape != instruction.shape:
        return None
    inner, y = multiple(builder, source)
    if inner is None or builder.dtype(y) != instruction.dtype:
        return None
    limits = np.finfo(instruction.dtype)
    number = outer * inner
    if not limits.tiny <= abs(number) <= limits.max or not _commute(outer, inner):
        return None
    return builder.emit(multiply, number, y)


def _commute(outer: float, inner: float) -> bool:
    """Whether the product with two numbers in turn equals the product with their product."""
    exact = any(math.frexp(abs(x))[0] == 0.5 for x in (outer, inner))
    # a product that underflows in between may differ by a few of the smallest numbers
    return exact and (abs(outer) <= 2 if abs(inner) < 1 else abs(inner) == 1 or abs(outer) >= 1)


def _fold_sign(builder: Builder, instruction: Instruction) -> Any:
    """``a - (-b) -> a + b``, ``a + (-b) -> a - b``, ``-b + a -> a - b``."""
    for a, b in operand_orders(instruction.op, instruction.operands):
        source = builder.producer(b)
        number, y = multiple(builder, source) if source is not None else (None, b)
        if number and number < 0 and builder.dtype(y) == instruction.dtype:
            positive = y if number == -1 else builder.emit(multiply, -number, y)
            return builder.emit(subtract if instruction.op is add else add, a, positive)
    return None


def multiple(builder: Builder, instruction: Instruction) -> tuple[Any, Any]:
    """Return the number and the array that an instruction multiplies; Nones for other ops.

    A quotient counts if the divisor is a power of two, whose reciprocal is exact.
    """
    op, operands = instruction.op, instruction.operands
    if op is negative:
        return -1.0, operands[0]
    if op is add and operands[0] == operands[1]:
        return 2.0, operands[0]
    for x, factor in operand_orders(op, operands) if op is multiply or op is divide else ():
        number = builder.op_of(factor)
        if type(x) is Ref and isinstance(number, float | int) and math.isfinite(number):
            if op is multiply:
                return float(number), x
            if math.frexp(abs(number))[0] == 0.5:
                return 1 / number, x
    return None, None
