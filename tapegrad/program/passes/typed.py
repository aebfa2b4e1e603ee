"""Python numbers beside arrays become 0-d arrays of the dtype they are used in.

A ufunc takes twice as long to start with a Python number, which it must convert, and
four times as long with an array of one element, which it must broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np

from tapegrad.ops.arithmetic import maximum, minimum
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import reshape
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import NUMBER, Builder, Program, rewrite


def type_numbers(program: Program) -> Program:
    """The program with a typed constant for each Python number that a ufunc is given.

    Fires on any number beside an array: converting it takes as long as a small ufunc.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.number or not isinstance(instruction.op.forward, np.ufunc):
            return None
        dtypes = {d for x in instruction.operands if (d := builder.dtype(x)) is not NUMBER}
        if len(dtypes) != 1:
            return None
        (dtype,) = dtypes
        if dtype.kind != "f" or not _takes(instruction.op.forward, dtype):
            return None
        instruction = _without_axes(builder, instruction)
        numbers: list[Any] = [x for x in instruction.operands if type(x) is not Ref]
        # one that is too large is left to the run, which warns
        if not numbers or any(np.finfo(dtype).max < abs(x) < math.inf for x in numbers):
            return builder.append(instruction)
        # the quick loops of these two are for arrays only
        full = instruction.op in (maximum, minimum) and _is_middling(instruction)
        shape = instruction.shape if full else ()
        operands = tuple(
            x if type(x) is Ref else builder.constant(np.full(shape, x, dtype))
            for x in instruction.operands
        )
        return builder.append(attrs.evolve(instruction, operands=operands))

    return rewrite(program, visit)


def _takes(ufunc: np.ufunc, dtype: np.dtype[Any]) -> bool:
    """Whether a ufunc computes on operands that are all of a dtype, as ldexp does not."""
    return any(loop.startswith(dtype.char * ufunc.nin + "->") for loop in ufunc.types)


def _without_axes(builder: Builder, instruction: Instruction) -> Instruction:
    """An operand of one element without its axes: to broadcast it takes four times as long."""
    operands = instruction.operands
    if len(operands) != 2 or instruction.op is matmul:
        return instruction
    shapes = [builder.shape(x) for x in operands]
    for i in (0, 1):
        alone = math.prod(shapes[i]) == 1 and shapes[i] and type(operands[i]) is Ref
        if alone and shapes[1 - i] == instruction.shape and math.prod(instruction.shape) > 1:
            scalar = builder.emit(reshape, operands[i], shape=())
            both = (scalar, operands[1]) if i == 0 else (operands[0], scalar)
            return attrs.evolve(instruction, operands=both)
    return instruction


def _is_middling(instruction: Instruction) -> bool:
    return 1 << 8 <= math.prod(instruction.shape) <= 1 << 18
