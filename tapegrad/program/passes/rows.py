"""Rows of a table: selected at once, and updated without the others."""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.arithmetic import add, multiply, subtract
from tapegrad.ops.indexing import index_select, segment_sum
from tapegrad.ops.joining import concatenate
from tapegrad.ops.updates import add_scaled_rows
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.stack import concatenated
from tapegrad.program.program import improvement


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


# if the rows are more than this part of the table, the dense way is as fast
_SPARSE = 4


@improvement
def update_rows(builder: Builder) -> None:
    """``p - k * segment_sum(v, i)`` becomes a copy of p with rows subtracted.

    Fires on plain SGD with an embedding, a bag of words or factors of users, if a batch selects
    less than a quarter of the rows. The step then takes a thirtieth to two thirds of the time.
    """
    if not builder.has((segment_sum,)):
        return

    def visit(builder: Builder, instruction: Instruction) -> Any:
        table, update = instruction.operands
        factor: Any = None
        scaled = builder.source(update, multiply)
        if scaled is not None:
            factor, update = scaled.operands
            if builder.source(update, segment_sum) is None:
                factor, update = update, factor
        summed = builder.source(update, segment_sum)
        if summed is None or builder.shape(factor) != () or builder.shape(table) != summed.shape:
            return None
        values, indices = summed.operands
        dtypes = {builder.dtype(table), builder.dtype(values), instruction.dtype}
        if factor is not None and builder.dtype(factor) is not NUMBER:
            dtypes.add(builder.dtype(factor))
        if len(dtypes) != 1 or type(indices) is not Ref:
            return None
        if math.prod(builder.shape(indices)) * _SPARSE > summed.shape[0]:
            return None
        return builder.emit(
            add_scaled_rows,
            table,
            values,
            indices,
            1.0 if factor is None else factor,
            subtract=instruction.op is subtract,
            note="only these rows change",
        )

    builder.rewrite(visit, (add, subtract))
