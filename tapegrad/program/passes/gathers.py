"""Rows of one table are selected at once."""

from __future__ import annotations

from typing import Any

from tapegrad.ops.indexing import index_select
from tapegrad.ops.joining import concatenate
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.stack import concatenated


@improvement
def join_gathers(builder: Builder) -> None:
    """Rows of one table, selected and then concatenated, are selected at once.

    Fires on an embedding looked up at each step of a loop, once the steps' products are
    stacked: one selection in place of one a step.
    """
    if not builder.has((index_select,)):
        return

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.options.get("axis", 0) != 0:
            return None
        parts = [builder.source(x, index_select) for x in instruction.operands]
        if any(part is None or len(builder.shape(part.operands[1])) != 1 for part in parts):
            return None
        tables = {part.operands[0] for part in parts if part is not None}
        if len(tables) != 1:
            return None
        indices = [part.operands[1] for part in parts if part is not None]
        if len({builder.dtype(x) for x in indices}) != 1 or not all(
            type(x) is Ref for x in indices
        ):
            return None
        return builder.emit(index_select, tables.pop(), concatenated(builder, indices))

    builder.rewrite(visit, (concatenate,))
