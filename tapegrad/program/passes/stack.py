"""Sums over steps, and products by one matrix, are computed at once.

A network unrolled over steps multiplies by the same weight at each step, and its
weight's gradient is a sum with a product for each step. One product of the stacked
matrices takes a fraction of the time of many small ones.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tapegrad.declare.abstract import stand_in
from tapegrad.ops.arithmetic import add, multiply
from tapegrad.ops.indexing import getitem, scatter
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import from_zero, index_select, sum_segments
from tapegrad.ops.shape import transpose
from tapegrad.program import cost
from tapegrad.program.builder import Builder, Form
from tapegrad.program.canonical import Place, are_whole, place_of
from tapegrad.program.ir import STAGES, Instruction, Operand, Ref
from tapegrad.program.program import Improvement

# --- sums -----------------------------------------------------------------------------------


@Improvement
def stack_sums(builder: Builder) -> None:
    """Sums of products, of row sums, of scattered rows and of slices are stacked.

    Fires on a weight used at each step of a loop: its gradient is such a sum.

    A sum consists of all the adds that are used only in it. A sum that is used elsewhere too is
    one term of a larger sum; otherwise a long chain of sums would take quadratic time.
    """
    numbers = builder.of_ops((add,))
    if not any(_may_be_first(builder.forms[i]) for i in numbers):
        return
    uses = builder.uses()
    adds = {builder.refs[i]: builder.instructions[i] for i in numbers}
    inside = {
        x: adds[x]
        for total in adds.values()
        for x in total.operands
        if x in adds and uses[x] == 1 and adds[x].shape == total.shape
    }
    sums: dict[int, list[Any]] = {}
    for ref, total in adds.items():
        if ref in inside:
            continue
        terms = _terms(total, inside)
        kinds = {_KINDS.get(builder.op(x)) for x in terms}
        # a term that is needed itself would be computed twice, in two ways
        is_one = len(kinds) == 1 and None not in kinds and not any(uses[x] > 1 for x in terms)
        if is_one or scatter in map(builder.op, total.operands):
            sums[ref.index] = terms if is_one else []

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at not in sums:
            return None
        terms = [builder.replaced.get(x, x) for x in sums[builder.at]]
        stacked = _stacked(builder, terms) if terms else None
        return _placed(builder, instruction, uses) if stacked is None else stacked

    if sums:
        builder.rewrite(visit, (add,))


def _may_be_first(form: Form) -> bool:
    """Whether an add of a form may be of the two terms with which such a sum begins."""
    kinds = [_KINDS.get(x) for x in form[1:]]
    return scatter in form or (kinds[0] is not None and kinds[0] is kinds[1])


def _terms(total: Instruction, inside: Mapping[Any, Instruction]) -> list[Any]:
    """The terms of a sum: the operands of an add, and those of the adds inside, the last first.

    A sweep adds from the last step to the first; in step order they match other sums.
    """
    terms: list[Any] = []
    waiting: list[Any] = [*total.operands]
    while waiting:
        x = waiting.pop()
        if x in inside:
            waiting += inside[x].operands
        else:
            terms.append(x)
    return terms


def _stacked(builder: Builder, terms: list[Any]) -> Any:
    """``f(a) + f(b) -> f(concatenate(a, b))``, for terms that are sums over their rows."""
    rows = [_rows_of(builder, builder.of(x)) for x in terms]
    if not all(rows) or len({*map(builder.shape, terms)}) > 1:
        return None
    stacks = [*zip(*rows, strict=True)]
    last = [builder.shape(x)[0] for x in stacks[-1]]
    if max(last) > cost.STACKED_ROWS or any(len({*map(builder.dtype, x)}) > 1 for x in stacks):
        return None
    joined, of = [concatenated(builder, x) for x in stacks], builder.of(terms[0])
    if _KINDS[of.op] is not matmul:
        return builder.emit(of.op, *joined, **of.options)
    turned = builder.emit(transpose, joined[0])
    return builder.emit(matmul, turned, joined[1], note=f"{len(terms)} products, stacked")


def _rows_of(builder: Builder, term: Instruction) -> tuple[Any, ...]:
    """The matrices whose rows a term sums: one, two in a product, or values and their indices.

    An outer product of vectors is one of matrices with a single row. Nothing if it is no such sum.
    """
    x, *others = term.operands
    if term.op is sum_:
        of_rows = term.options.get("axis") == 0 and len(builder.shape(x)) == 2
        return (x,) if of_rows else ()
    if term.op is sum_segments:
        return term.operands if len(builder.shape(others[0])) == 1 else ()
    if len(term.shape) != 2:
        return ()
    if term.op is matmul:
        # a stack of matrices by a vector is a matrix too
        if any(len(builder.shape(factor)) != 2 for factor in term.operands):
            return ()
        left = _turned(builder, x)
        return () if left is None else (left, *others)
    height, width = term.shape
    by_shape = {builder.shape(x): x for x in term.operands}
    column, row = by_shape.get((height, 1)), by_shape.get((1, width))
    if column is None or row is None or min(height, width) < 2:
        return ()
    return builder.reshaped(column, (1, height)), builder.reshaped(row, (1, width))


def _turned(builder: Builder, x: Any) -> Any:
    """The matrix that a matrix is the transpose of, if that is known."""
    if x.kind == "constant":
        constant = builder.of(x)
        return builder.constant(constant.array.T, constant.captured)
    source = builder.source(x, transpose)
    return None if source is None or source.options else source.operands[0]


def concatenated(builder: Builder, parts: Iterable[Any], axis: int = 0) -> Operand:
    """The parts as one array; what each row of them is selected or checked by goes to all rows."""
    parts = tuple(parts)
    ops = {builder.op(x) for x in parts}
    op = ops.pop() if len(ops) == 1 else None
    if op is from_zero:
        checked = concatenated(builder, [builder.of(x).operands[0] for x in parts], axis)
        return builder.emit(from_zero, checked)
    if op is index_select and not axis:
        tables, indices = zip(*[builder.of(x).operands for x in parts], strict=True)
        has_rows = all(map(builder.shape, indices))
        if has_rows and len({*tables}) == len({*map(builder.dtype, indices)}) == 1:
            return builder.emit(index_select, tables[0], concatenated(builder, indices))
    return builder.emit(concatenate, *parts, axis=axis)


# --- what is placed in zeros ----------------------------------------------------------------


def _placed(builder: Builder, instruction: Instruction, uses: Counter[Any]) -> Any:
    """Rows or slices that fill an array, each placed in zeros and added after all else, as one.

    Of no element are three numbers added, whose order would matter.
    """
    shape = instruction.shape
    parts: dict[Place, list[Any]] = {}
    wholes: list[Any] = []
    first: Any = None
    length = most = 0
    for x, rest in _from_the_last(builder, instruction, uses):
        scattered = builder.source(x, scatter)
        index = () if scattered is None else scattered.options["index"]
        place = place_of(index, shape)
        if scattered is None or place is None or scattered.shape != shape:
            break
        part = scattered.operands[0]
        # one value may fill many places
        if stand_in(shape, scattered.dtype)[index].shape != builder.shape(part):
            break
        same = parts.setdefault(place, [])
        same.append(part)
        length += (place.stop - place.start) * (len(same) == 1)
        most = max(most, len(same))
        is_full = length == shape[place.axis] and most + (rest is not None) <= 2
        if is_full and are_whole(sorted(parts), shape):
            joined = [_total(builder, parts[place]) for place in sorted(parts)]
            if place.is_row:
                wholes.append(builder.emit(stack, *joined))
            else:
                wholes.append(concatenated(builder, joined, place.axis))
            first, parts, length, most = rest, {}, 0, 0
    if not wholes:
        return None
    return _total(builder, [*([] if first is None else [first]), *reversed(wholes)])


def _from_the_last(
    builder: Builder, instruction: Instruction, uses: Counter[Any]
) -> Iterator[tuple[Any, Any]]:
    """The terms of a sum that is added up one by one, and the sum that each is added to."""
    total: Instruction | None = instruction
    while total is not None:
        rest, x = total.operands
        if builder.op(x) is not scatter:
            x, rest = rest, x
        yield x, rest
        total = builder.source(rest, add) if uses[rest] == 1 else None
    yield rest, None


def _total(builder: Builder, terms: list[Any]) -> Any:
    return functools.reduce(functools.partial(builder.emit, add), terms)


# --- products -------------------------------------------------------------------------------


@Improvement
def stack_products(builder: Builder) -> None:
    """Products by one weight that do not depend on each other are stacked.

    Fires on the inputs of a loop, which one layer transforms at each step.
    """
    joined: dict[int, list[int]] = {}
    for group in _by_one_matrix(builder):
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


def _by_one_matrix(builder: Builder) -> list[list[int]]:
    """Groups of several products of equal shapes by one matrix."""
    groups: dict[Any, list[int]] = {}
    for i in builder.of_ops((matmul,)):
        instruction = builder.instructions[i]
        left, right = instruction.operands
        if builder.source(left) is None or builder.op(left) is transpose:
            continue  # copying it takes longer than is saved
        shape = builder.shape(left)
        if len(shape) == len(instruction.shape) == 2 and shape[0] <= cost.STACKED_ROWS:
            groups.setdefault((right, shape, instruction.dtype), []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _is_moved(builder: Builder, group: list[int], joined: Mapping[int, list[int]]) -> bool:
    """Move all that a group needs, if those before are joined, to the place of its first member.

    Most cannot: they depend on each other, as do the products of a loop with its state.
    """
    order, ranks, members = builder.order, builder.ranks, {*group}
    first = min(group, key=ranks.__getitem__)
    needed: set[int] = set()
    waiting = [x for i in group for x in builder.instructions[i].operands]
    while waiting:
        x = waiting.pop()
        if type(x) is not Ref or x.kind != "instruction" or ranks[x.index] < ranks[first]:
            continue
        if x.index in members:
            return False
        if x.index not in needed:
            needed.add(x.index)
            for i in joined.get(x.index, [x.index]):
                waiting += builder.instructions[i].operands
    if needed:
        at = order.index(first)
        moved = sorted(needed, key=ranks.__getitem__)
        stays = [i for i in order[at:] if i not in needed]
        builder.order = [*order[:at], *moved, *stays]
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
    # there may be no rows
    rows = [slice(k * n, (k + 1) * n) for k in range(len(group))]
    return {j: builder.emit(getitem, product, index=(x,)) for j, x in zip(group, rows, strict=True)}


# sums of the same kind become one
_KINDS = {matmul: matmul, multiply: matmul, sum_: sum_, sum_segments: sum_segments}
