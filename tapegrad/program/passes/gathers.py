"""Rows of a table are selected at once, and after the table is multiplied."""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.indexing import index_select
from tapegrad.ops.joining import concatenate
from tapegrad.ops.product import matmul
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


@improvement
def commute_gathers(builder: Builder) -> None:
    """``table[i] @ w`` becomes ``(table @ w)[i]``, where that is less work.

    Fires on an embedding before a layer, if more rows are looked up than the table has, as letters
    are: a twentieth of the step is saved. The weight's gradient stays a product with the selected
    rows: the others may be infinite, and must not take part in it.
    """
    if not builder.has((index_select,)):
        return

    def visit(builder: Builder, instruction: Instruction) -> Any:
        left, right = instruction.operands
        selected = builder.source(left, index_select)
        if selected is None or len(builder.shape(right)) != 2:
            return None
        table, indices = selected.operands
        if len(builder.shape(table)) != 2:
            return None
        if builder.shape(table)[0] * 2 > math.prod(builder.shape(indices)):
            return None
        if len({builder.dtype(table), builder.dtype(right)}) != 1:
            return None
        product = builder.emit(matmul, table, right, note="the table times the weight, once")
        return builder.emit(index_select, product, indices)

    builder.rewrite(visit, (matmul,))
