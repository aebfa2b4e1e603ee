"""Products by one matrix become one product.

A network unrolled over steps multiplies by the same weight at each step. One product of
the stacked matrices takes a fraction of the time of many small ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tapegrad.ops.indexing import getitem
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.regroup import New, regroup
from tapegrad.program.passes.stack import MOST_ROWS, concatenated

_FEW_ROWS = 16
# multiplications up to which BLAS may have a kernel that packs nothing
_SMALL = 1 << 19


@improvement
def flatten_products(builder: Builder) -> None:
    """A stack of matrices times one matrix becomes one product.

    Fires on a layer of sequences: ``(batch, step, feature) @ (feature, unit)``. It pays where the
    matrices are tiny, or where they are large and the one is transposed. In between BLAS is quicker
    at each by itself, once the one is copied to C order.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        left, right = instruction.operands
        shape = builder.shape(left)
        if len(shape) < 3 or len(builder.shape(right)) != 2 or 0 in shape:
            return None
        if shape[-2] >= _FEW_ROWS:
            small = math.prod((*shape[-2:], instruction.shape[-1])) <= _SMALL
            if small or not builder.source(right, transpose):
                return None
        rows = builder.reshaped(left, (math.prod(shape[:-1]), shape[-1]))
        return builder.reshaped(builder.emit(matmul, rows, right), instruction.shape)

    builder.rewrite(visit, (matmul,))


@improvement
def stack_products(builder: Builder) -> None:
    """Products by one weight that do not depend on each other are stacked.

    Fires on the inputs of a loop, which one layer transforms at each step.
    """
    groups = _candidates(builder)
    # most depend on each other, as do the products of a loop with its state
    before = _waited_for(builder, groups)
    groups = [group for k, group in enumerate(groups) if not before[k] >> k & 1]
    before = _waited_for(builder, groups)
    stacked: dict[int, int] = {}
    for k in range(len(groups)):
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
    for i, instruction in builder.in_order():
        if instruction.op is not matmul:
            continue
        left, right = instruction.operands
        if type(left) is not Ref or left.kind != "instruction" or type(right) is not Ref:
            continue
        if builder.source(left, transpose):
            continue  # copying it takes longer than is saved
        shape = builder.shape(left)
        if len(shape) == len(instruction.shape) == 2 and shape[0] <= MOST_ROWS:
            groups.setdefault((right, shape, instruction.dtype), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _waited_for(builder: Builder, groups: list[list[int]]) -> list[int]:
    """For each group, the groups (as bits) that one of its members depends on."""
    group_of = {i: k for k, group in enumerate(groups) for i in group}
    before = [0] * len(groups)
    known: dict[Any, int] = {}
    for i, instruction in builder.in_order() if groups else ():
        bits = 0
        for x in instruction.operands:
            bits |= known.get(x, 0)
        k = group_of.get(i)
        if k is not None:
            before[k] |= bits
            bits |= 1 << k
        if bits:
            known[builder.refs[i]] = bits
    return before


def _reorder(builder: Builder, members: Mapping[int, list[int]]) -> None:
    """Compute each group of products where its first member stood."""

    def needs(i: int) -> tuple[Any, ...]:
        operands = builder.instructions[i].operands
        if i in members:
            operands = (*[builder.instructions[j].operands[0] for j in members[i]], operands[1])
        return operands

    def join(i: int, new: New) -> Iterator[tuple[int, Ref]]:
        made, group = builder.instructions[i], members[i]
        lefts = [new(builder.instructions[j].operands[0]) for j in group]
        product = builder.emit(
            matmul,
            concatenated(builder, lefts),
            new(made.operands[1]),
            note=f"{len(group)} products, stacked",
        )
        n = made.shape[0]
        for k, j in enumerate(group):
            part = builder.emit(getitem, product, index=(slice(k * n, (k + 1) * n),))
            builder.name(part, builder.instructions[j].name)
            yield j, part

    regroup(builder, members, needs, join)
