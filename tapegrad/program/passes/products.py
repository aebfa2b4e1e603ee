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
from tapegrad.program.ir import STAGES, Ref
from tapegrad.program.passes.stack import concatenated
from tapegrad.program.program import improvement


@improvement(complex=True)
def stack_products(builder: Builder) -> None:
    """Products by one weight that do not depend on each other are stacked.

    Fires on the inputs of a loop, which one layer transforms at each step.
    """
    groups = _candidates(builder)
    # most depend on each other, as do the products of a loop with its state
    before = _waited_for(builder, groups)
    stacked: dict[int, int] = {}
    for k in [k for k in range(len(groups)) if not before[k] >> k & 1]:
        # once they are stacked, all of them wait for what one of them needs
        bits = before[k]
        for other, further in stacked.items():
            if bits >> other & 1:
                bits |= further
        if bits >> k & 1:
            continue
        stacked[k] = bits
        for other, further in stacked.items():
            if further >> k & 1:
                stacked[other] = further | bits
    if stacked:
        _reorder(builder, {i: groups[k] for k in stacked for i in groups[k]})


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


def _waited_for(builder: Builder, groups: list[list[int]]) -> list[int]:
    """For each group, the groups (as bits) that one of its members depends on."""
    group_of = {i: k for k, group in enumerate(groups) for i in group}
    before = [0] * len(groups)
    known = [0] * len(builder.instructions)
    for i, instruction in builder.in_order() if groups else ():
        bits = 0
        for x in instruction.operands:
            if type(x) is Ref and x[0] == "instruction":
                bits |= known[x[1]]
        k = group_of.get(i)
        if k is not None:
            before[k] |= bits
            bits |= 1 << k
        if bits:
            known[i] = bits
    return before


def _reorder(builder: Builder, members: Mapping[int, list[int]]) -> None:
    """Compute each group of products where its first member stood, after all that they use."""
    order, instructions = builder.order, builder.instructions
    builder.start()
    absent, here = builder.absent, builder.here

    def needed(i: int) -> list[int]:
        operands = instructions[i].operands
        if i in members:
            operands = (*[instructions[j].operands[0] for j in members[i]], operands[1])
        return [x[1] for x in operands if type(x) is Ref and x[0] == "instruction" and absent[x[1]]]

    for i in order:
        if i not in members:  # what it uses stood before it
            builder.go_on([i] if absent[i] else [])
            continue
        waiting = [i]
        while waiting:
            j = waiting[-1]
            # what a group has replaced is absent too
            is_placed = not (absent[j] and here[j])
            first = [] if is_placed else needed(j)
            if first:
                waiting += first
                continue
            waiting.pop()
            if is_placed:
                continue
            if j in members:
                _join(builder, members[j])
            else:
                builder.go_on([j])
    builder.finish()


def _join(builder: Builder, group: list[int]) -> None:
    """Write one product in the place of a group of them."""
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
    for k, j in enumerate(group):
        part = builder.emit(getitem, product, index=(slice(k * n, (k + 1) * n),))
        builder.name(part, instructions[k].name)
        builder.replace(j, part)
