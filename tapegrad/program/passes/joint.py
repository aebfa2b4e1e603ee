"""A sigmoid and its slope are computed from one exponential."""

from __future__ import annotations

from typing import Any

from tapegrad.ops.activation import sigmoid
from tapegrad.ops.arithmetic import divide, multiply, negative, reciprocal
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.expand import Known, written_out


@improvement
def join_sigmoids(builder: Builder) -> None:
    """``y * sigmoid(-x)`` becomes ``y / s``, where y is ``exp(x) / s``.

    Fires on a sigmoid with its gradient: one exponential serves both.
    """
    if not builder.has((sigmoid,)):
        return
    made: dict[Any, tuple[Any, Any]] = {}
    parts: Known = {}
    opposite: dict[Any, tuple[Any, Any]] = {}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is sigmoid and instruction.dtype.char in "fd":
            (x,) = instruction.operands
            if type(x) is not Ref or builder.dtype(x) != instruction.dtype:
                return None
            turned = builder.source(x, negative)
            if turned is not None and turned.operands[0] in made:
                known = made[turned.operands[0]]
                result = builder.emit(reciprocal, known[1])
                opposite[result] = known
                return result
            if x not in made:
                y = written_out(builder, instruction, parts)
                quotient = builder.source(y, divide)
                assert quotient is not None
                made[x] = y, quotient.operands[1]
            return made[x][0]
        if opposite and instruction.op is multiply:
            for y, other in (instruction.operands, instruction.operands[::-1]):
                if other in opposite and opposite[other][0] == y:
                    return builder.emit(divide, y, opposite[other][1])
        return None

    builder.rewrite(visit, (sigmoid, multiply))
