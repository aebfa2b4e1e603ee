"""Small terms are added before rows are divided."""

from __future__ import annotations

from typing import Any

from tapegrad.ops.arithmetic import add
from tapegrad.ops.indexing import getitem
from tapegrad.ops.product import matmul
from tapegrad.ops.rows import index_select
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import improvement


@improvement(complex=True)
def add_before_parting(builder: Builder) -> None:
    """``x[i] + b`` becomes ``(x + b)[i]`` if b is added to all parts of x.

    Fires on the bias of a layer whose products of all steps were stacked. If x consists of rows of
    a smaller table, b is added to the table.
    """
    sums = _sums_of_parts(builder) if builder.has((getitem,)) else set()
    if not sums:
        return
    wholes: dict[Any, Any] = {}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at not in sums:
            return None
        part, small = instruction.operands
        taken = builder.source(part, getitem)
        assert taken is not None
        x = taken.operands[0]
        if (x, small) not in wholes:
            wholes[x, small] = _with(builder, x, small)
        return builder.emit(getitem, wholes[x, small], index=taken.options["index"])

    builder.rewrite(visit, (add,))


def _with(builder: Builder, x: Any, small: Any) -> Any:
    selected = builder.source(x, index_select)
    if selected is None:
        return builder.emit(add, x, small)
    table, indices = selected.operands
    is_row = len(builder.shape(small)) < len(builder.shape(table))
    if not is_row or builder.shape(table)[0] * 2 > builder.shape(x)[0]:
        return builder.emit(add, x, small)
    return builder.emit(index_select, builder.emit(add, table, small), indices)


def _sums_of_parts(builder: Builder) -> set[int]:
    """The additions of one small array to all parts of another, by number."""

    def sum_of(i: int) -> tuple[int, Any] | None:
        """The addition that is the only use of a part, and what is added."""
        part, ref = builder.instructions[i], builder.refs[i]
        if part.op is not getitem or len(part.operands) > 1:
            return None
        if len(part.options["index"]) != 1 or type(part.options["index"][0]) is not slice:
            return None
        used = builder.users_of(ref)
        if len(used) != 1 or used == [-1]:
            return None
        (j,) = used
        step = builder.instructions[j]
        if step.op is not add or step.operands[0] != ref or type(step.operands[1]) is not Ref:
            return None
        made = builder.of(step.operands[1])
        if len(made.shape) >= len(part.shape) or step.shape != part.shape:
            return None
        return (j, step.operands[1]) if step.dtype == part.dtype == made.dtype else None

    found: set[int] = set()
    for i in builder.of_ops((matmul, index_select)):
        users = builder.users_of(builder.refs[i])
        if -1 in users:
            continue
        sums = [sum_of(j) for j in users]
        if len(sums) > 1 and all(sums) and len({small for _, small in filter(None, sums)}) == 1:
            found.update(j for j, _ in filter(None, sums))
    return found
