"""Whether a value is above 0 is read from the result of `relu`, so that the value is not kept."""

from __future__ import annotations

from typing import Any

from tapegrad.ops.extremes import maximum
from tapegrad.ops.logic import greater
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.fold import splat


@improvement
def read_signs(builder: Builder) -> None:
    """``x > 0`` becomes ``maximum(x, 0) > 0`` if the latter is computed before.

    Fires on a layer with `relu`, whose result then overwrites its operand.
    """
    if not builder.has((greater,)):
        return
    known: dict[Any, Ref] = {}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        x, limit = instruction.operands
        if instruction.op is greater:
            if x not in known or splat(builder, limit) != 0:
                return None
            return instruction.on((known[x], limit))
        for x, limit in (instruction.operands, instruction.operands[::-1]):
            same = builder.shape(x) == instruction.shape and builder.dtype(x) == instruction.dtype
            if same and splat(builder, limit) == 0:
                known.setdefault(x, builder.refs[builder.at])
        return None

    builder.rewrite(visit, (maximum, greater))
