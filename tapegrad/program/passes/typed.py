"""Python numbers beside arrays become 0-d arrays of the dtype they are used in.

A ufunc takes twice as long to start with a Python number, which it has to convert, and four times
as long with an array of one element, which it has to broadcast.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.product import matmul
from tapegrad.ops.shape import reshape
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Operand, Ref


@improvement
def type_numbers(builder: Builder) -> None:
    """Each Python number among a ufunc's operands becomes a typed constant.

    Fires on any number beside an array: converting it takes as long as a small ufunc.
    """
    known: dict[Any, Ref] = {}
    taken: dict[Any, bool] = {}

    def typed(builder: Builder, x: Any, dtype: np.dtype[Any]) -> Ref:
        key = type(x), repr(x), dtype
        if key not in known:
            known[key] = builder.constant(np.full((), x, dtype))
        return known[key]

    def visit(builder: Builder, instruction: Instruction) -> Any:
        given, shape = instruction.operands, instruction.shape
        for x in given:
            if type(x) is not Ref or builder.shape(x) != shape:
                break
        else:
            return None
        if instruction.number or not isinstance(instruction.op.forward, np.ufunc):
            return None
        dtypes = {d for x in given if (d := builder.dtype(x)) is not NUMBER}
        if len(dtypes) != 1:
            return None
        (dtype,) = dtypes
        loop = instruction.op, dtype
        if loop not in taken:
            taken[loop] = dtype.kind == "f" and _takes(instruction.op.forward, dtype)
        if not taken[loop]:
            return None
        operands = _without_axes(builder, instruction)
        numbers: list[Any] = [x for x in operands if type(x) is not Ref]
        # a number that is too large is left to the run, which warns
        if not numbers or any(np.finfo(dtype).max < abs(x) < math.inf for x in numbers):
            return None if operands is instruction.operands else instruction.on(operands)
        return instruction.on(
            tuple([x if type(x) is Ref else typed(builder, x, dtype) for x in operands])
        )

    builder.rewrite(visit)


def _takes(ufunc: np.ufunc, dtype: np.dtype[Any]) -> bool:
    """Whether all operands of a ufunc have one dtype, unlike those of ldexp."""
    return any(loop.startswith(dtype.char * ufunc.nin + "->") for loop in ufunc.types)


def _without_axes(builder: Builder, instruction: Instruction) -> tuple[Operand, ...]:
    """The operands; one of a single element loses its axes, which take time to broadcast."""
    operands = instruction.operands
    if len(operands) != 2 or instruction.op is matmul:
        return operands
    shapes = [builder.shape(x) for x in operands]
    for i in (0, 1):
        alone = math.prod(shapes[i]) == 1 and shapes[i] and type(operands[i]) is Ref
        if alone and shapes[1 - i] == instruction.shape and math.prod(instruction.shape) > 1:
            scalar = builder.emit(reshape, operands[i], shape=())
            return (scalar, operands[1]) if i == 0 else (operands[0], scalar)
    return operands
