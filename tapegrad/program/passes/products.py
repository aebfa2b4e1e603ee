"""Products by one matrix become one product.

A network unrolled over steps multiplies by the same weight at each step. One product of
the stacked matrices takes a fraction of the time of many small ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapegrad.ops.indexing import getitem
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.ir import STAGES, Instruction, Ref
from tapegrad.program.passes.stack import concatenated
from tapegrad.program.program import improvement


@improvement(complex=True)
def stack_products(builder: Builder) -> None:
    """Products by one weight that do not depend on each other are stacked.

    Fires on the inputs of a loop, which one layer transforms at each step.
    """
    joined: dict[int, list[int]] = {}
    for group in _candidates(builder):
        if _is_moved(builder, group, joined):
            joined |= dict.fromkeys(group, group)
    parts: dict[int, Ref] = {}

    def visit(builder: Builder, instruction: Instruction) -> Ref | None:
        i = builder.at
        if i in joined and i not in parts:
            parts.update(_joined(builder, joined[i]))
        return parts.get(i)

    if joined:
        builder.rewrite(visit, (matmul,))


def _candidates(builder: Builder) -> list[list[int]]:
    """Groups of several products of equal shapes by one matrix."""
    groups: dict[Any, list[int]] = {}
    for i in builder.of_ops((matmul,)):
        instruction = builder.instructions[i]
        left, right = instruction.operands
        if type(left) is not Ref or left.kind != "instruction" or type(right) is not Ref:
            continue
        if builder.source(left, transpose):
            continue  # copying it takes longer than is saved
        shape = builder.shape(left)
        if len(shape) == len(instruction.shape) == 2 and shape[0] <= cost.STACKED_ROWS:
            groups.setdefault((right, shape, instruction.dtype), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _is_moved(builder: Builder, group: list[int], joined: Mapping[int, list[int]]) -> bool:
    """Move all that a group needs, if those before are joined, to the place of its first member.

    Most cannot: they depend on each other, as do the products of a loop with its state.
    """
    order, members = builder.order, {*group}
    at = {i: k for k, i in enumerate(order)}
    first = min(at[i] for i in group)
    needed: set[int] = set()
    waiting = [x for i in group for x in builder.instructions[i].operands]
    while waiting:
        x = waiting.pop()
        if type(x) is not Ref or x.kind != "instruction" or at[x.index] < first:
            continue
        if x.index in members:
            return False
        if x.index not in needed:
            needed.add(x.index)
            for i in joined.get(x.index, [x.index]):
                waiting += builder.instructions[i].operands
    later = order[first:]
    builder.order = [
        *order[:first],
        *[i for i in later if i in needed],
        *[i for i in later if i not in needed],
    ]
    return True


def _joined(builder: Builder, group: list[int]) -> dict[int, Ref]:
    """Write one product for a group of them; return what stands for each."""
    if builder.instructions[group[0]].stage == STAGES[1]:
        # a sweep goes from the last step to the first; in step order rows match other stacks
        group = group[::-1]
    instructions = [builder.current(builder.instructions[j]) for j in group]
    builder.stage, builder.place = instructions[0].stage, instructions[0].place
    product = builder.emit(
        matmul,
        concatenated(builder, [x.operands[0] for x in instructions]),
        instructions[0].operands[1],
        note=f"{len(group)} products, stacked",
    )
    n = instructions[0].shape[0]
    slices = [slice(k * n, (k + 1) * n) for k in range(len(group))]
    return {
        j: builder.emit(getitem, product, index=(x,)) for j, x in zip(group, slices, strict=True)
    }
