"""Python numbers beside arrays become 0-d arrays of the dtype they are used in.

A ufunc takes twice as long to start with a Python number, which it must convert, and
four times as long with an array of one element, which it must broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import NUMBER, Builder, Program, rewrite


def type_numbers(program: Program) -> Program:
    """The program with a typed constant for each Python number that a ufunc is given."""

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.number or not isinstance(instruction.op.forward, np.ufunc):
            return None
        dtypes = {d for x in instruction.operands if (d := builder.dtype(x)) is not NUMBER}
        if len(dtypes) != 1:
            return None
        (dtype,) = dtypes
        # the second operand of ldexp is a whole number beside any other
        if dtype.kind != "f" or instruction.kind == "ldexp":
            return None
        instruction = _without_axes(builder, instruction)
        if all(type(x) is Ref for x in instruction.operands):
            return builder.append(instruction)
        # the quick loops of these two are for arrays only
        full = instruction.kind in ("maximum", "minimum") and _is_middling(instruction)
        shape = instruction.shape if full else ()
        operands = tuple(
            x if type(x) is Ref else builder.constant(np.full(shape, x, dtype))
            for x in instruction.operands
        )
        return builder.append(attrs.evolve(instruction, operands=operands))

    return rewrite(program, visit)


def _without_axes(builder: Builder, instruction: Instruction) -> Instruction:
    """An operand of one element without its axes: to broadcast it takes four times as long."""
    operands = instruction.operands
    if len(operands) != 2 or instruction.kind == "matmul":
        return instruction
    shapes = [builder.shape(x) for x in operands]
    for i in (0, 1):
        alone = math.prod(shapes[i]) == 1 and shapes[i] and type(operands[i]) is Ref
        if alone and shapes[1 - i] == instruction.shape and math.prod(instruction.shape) > 1:
            scalar = builder.emit("reshape", operands[i], shape=())
            both = (scalar, operands[1]) if i == 0 else (operands[0], scalar)
            return attrs.evolve(instruction, operands=both)
    return instruction


def _is_middling(instruction: Instruction) -> bool:
    return 1 << 12 <= math.prod(instruction.shape) < 1 << 17
