"""Stack sums over steps, and products by one matrix.

A network that is unrolled over steps multiplies by the same weight in each step, and the gradient
of the weight is a sum with a product for each step. One product of stacked matrices takes a
fraction of the time of many small ones.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
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
from tapegrad.program.ir import STAGES, Instruction, Operand
from tapegrad.program.passes.algebra import split_operands
from tapegrad.program.program import Improvement

# --- sums -----------------------------------------------------------------------------------


@Improvement
def stack_sums(builder: Builder) -> None:
    """Stack sums of products, of row sums, of scattered rows and of slices.

    Fires on a weight used in each step of an unrolled loop: its gradient is such a sum.

    A sum consists of all additions that only it uses. A sum with other users is one term of a
    larger sum; otherwise a long chain of sums would take quadratic time.
    """
    numbers = [i for i in builder.find_instructions((add,)) if _may_be_stacked(builder.forms[i])]
    uses = builder.count_uses() if numbers else Counter()
    sums = find_sums({builder.refs[i]: builder.instructions[i] for i in numbers}, uses)

    def visit(builder: Builder, total: Instruction) -> Any:
        if builder.refs[builder.number] not in sums:
            return None
        if scatter in builder.forms[builder.number]:
            return _join_placed(builder, total, uses)
        # a sweep adds from the last step to the first; in step order they match other sums
        terms = sums[builder.refs[builder.number]][::-1]
        # a term with other users would be computed twice, with different rounding
        if any(uses[x] > 1 for x in terms):
            return None
        return _stack_terms(builder, [builder.replaced.get(x, x) for x in terms])

    if numbers:
        builder.rewrite(visit, (add,), _may_be_stacked)


@functools.lru_cache(1 << 10)
def _may_be_stacked(form: Form) -> bool:
    """Whether an addition of a form may be part of a sum that can be stacked."""
    return scatter in form or all(x is add or x in _KINDS for x in form[1:])


def _kind(builder: Builder, x: Any) -> Any:
    """Return the op that sums the rows of a term; None for other terms.

    The left factor of a product is a transpose, or a constant, which can be transposed.
    """
    is_left = builder.op_of(x) is matmul and builder.forms[x.index][1] not in (
        transpose,
        "constant",
    )
    return None if is_left else _KINDS.get(builder.op_of(x))


def find_sums(adds: Mapping[Any, Instruction], uses: Mapping[Any, int]) -> dict[Any, list[Any]]:
    """Return the terms of each sum, from its additions in order and the uses of each value.

    A sum that is used once, in a sum of its shape, is a part of the larger sum.
    """
    sums: dict[Any, list[Any]] = {}
    for ref, total in adds.items():
        terms, others = [
            sums.pop(x) if x in sums and uses[x] == 1 and adds[x].shape == total.shape else [x]
            for x in total.operands
        ]
        terms += others
        sums[ref] = terms
    return sums


def _stack_terms(builder: Builder, terms: list[Any]) -> Any:
    """``f(a) + f(b) -> f(concatenate(a, b))``, for terms that are sums over their rows."""
    kinds = {_kind(builder, x) for x in terms}
    if None in kinds or len(kinds) > 1 or len({*map(builder.shape, terms)}) > 1:
        return None
    rows = [_rows_of(builder, builder.definition(x)) for x in terms]
    if not all(rows):
        return None
    stacks = [*zip(*rows, strict=True)]
    last = [builder.shape(x)[0] for x in stacks[-1]]
    if max(last) > cost.STACKED_ROWS or any(len({*map(builder.dtype, x)}) > 1 for x in stacks):
        return None
    joined, term = [emit_concatenate(builder, x) for x in stacks], builder.definition(terms[0])
    if _KINDS[term.op] is not matmul:
        return builder.emit(term.op, *joined, **term.options)
    turned = builder.emit(transpose, joined[0])
    return builder.emit(matmul, turned, joined[1], note=f"{len(terms)} products, stacked")


def _rows_of(builder: Builder, term: Instruction) -> tuple[Any, ...]:
    """Return the matrices whose rows a term sums; () if it is no such sum.

    These are one matrix for a sum, two for a product, and values and indices for a segment sum. An
    outer product of vectors is a product of matrices with a single row.
    """
    x, *others = term.operands
    if term.op is sum_:
        sums_rows = term.options.get("axis") == 0 and len(builder.shape(x)) == 2
        return (x,) if sums_rows else ()
    if term.op is sum_segments:
        return term.operands if len(builder.shape(others[0])) == 1 else ()
    if len(term.shape) != 2:
        return ()
    if term.op is matmul:
        # a batched product of matrices and a vector is a matrix too
        if any(len(builder.shape(factor)) != 2 for factor in term.operands):
            return ()
        # the left factor is a transpose or a constant: see `_kind`
        source, factor = builder.producer(x), builder.definition(x)
        if source is None:
            left: Any = builder.constant(factor.array.T, factor.captured)
        else:
            left = source.operands[0]
        return left, *others
    height, width = term.shape
    by_shape = {builder.shape(x): x for x in term.operands}
    column, row = by_shape.get((height, 1)), by_shape.get((1, width))
    if column is None or row is None or min(height, width) < 2:
        return ()
    return builder.reshape(column, (1, height)), builder.reshape(row, (1, width))


def emit_concatenate(builder: Builder, parts: Sequence[Any], axis: int = 0) -> Operand:
    """Concatenate parts. If one table gives all parts their rows, concatenate the indices."""
    ops = {builder.op_of(x) for x in parts}
    op = ops.pop() if len(ops) == 1 else None
    if op in (from_zero, index_select) and not axis:
        *tables, indices = zip(*[builder.definition(x).operands for x in parts], strict=True)
        is_one = all(len({*x}) == 1 for x in (*tables, map(builder.dtype, indices)))
        if is_one and all(map(builder.shape, indices)):
            return builder.emit(op, *[x[0] for x in tables], emit_concatenate(builder, indices))
    return builder.emit(concatenate, *parts, axis=axis)


# --- scattered rows and slices --------------------------------------------------------------


def _join_placed(builder: Builder, instruction: Instruction, uses: Counter[Any]) -> Any:
    """Join scattered rows or slices that cover an array into one stack or concatenation.

    They are the last terms of a sum. At most two numbers are added in each element, since the order
    of three would matter.
    """
    shape = instruction.shape
    parts: dict[Place, list[Any]] = {}
    wholes: list[Any] = []
    first: Any = None
    length = 0
    # the sum so far, from the last term to the first, which is added to nothing
    total: Any = instruction
    while total is not None and total.op in (add, scatter):
        before, scattered = (
            split_operands(builder, total, scatter) if total.op is add else (None, total)
        )
        if scattered is None or scattered.shape != shape:
            break
        is_read = builder.op_of(before) is add and uses[before] != 1
        total = None if is_read else builder.producer(before)
        part, index = scattered.operands[0], scattered.options["index"]
        place = place_of(index, shape)
        # a scattered value may be broadcast
        if place is None or stand_in(shape, scattered.dtype)[index].shape != builder.shape(part):
            break
        length += 0 if place in parts else place.stop - place.start
        parts.setdefault(place, []).append(part)
        if length != shape[place.axis] or not are_whole(sorted(parts), shape):
            continue
        if max(map(len, parts.values())) + (before is not None) <= 2:
            joined = [_total(builder, parts[place]) for place in sorted(parts)]
            if place.is_row:
                wholes.append(builder.emit(stack, *joined))
            else:
                wholes.append(emit_concatenate(builder, joined, place.axis))
            first, parts, length = before, {}, 0
    added = [x for x in (first, *reversed(wholes)) if x is not None]
    return _total(builder, added) if wholes else None


def _total(builder: Builder, terms: list[Any]) -> Any:
    return functools.reduce(functools.partial(builder.emit, add), terms)


# --- products -------------------------------------------------------------------------------


@Improvement
def stack_products(builder: Builder) -> None:
    """Stack products by one weight that do not depend on each other.

    Fires on the inputs of an unrolled loop: one layer transforms them in each step.
    """
    # products of equal shapes by one matrix
    groups: dict[Any, list[int]] = {}
    for i in builder.find_instructions((matmul,)):
        instruction = builder.instructions[i]
        left, right = instruction.operands
        shape = builder.shape(left)
        is_small = len(shape) == len(instruction.shape) == 2 and shape[0] <= cost.STACKED_ROWS
        # to copy other left operands takes longer than the stack saves
        if is_small and builder.op_of(left) not in ("input", "constant", transpose):
            groups.setdefault((right, shape, instruction.dtype), []).append(i)
    joined: dict[int, list[int]] = {}
    for group in groups.values():
        if len(group) > 1 and _can_move_together(builder, group, joined):
            joined |= dict.fromkeys(group, group)

    def visit(builder: Builder, first: Instruction) -> None:
        if builder.number not in joined:
            return
        # a sweep goes from the last step to the first; in step order rows match other stacks
        group = joined[builder.number][:: -1 if first.stage == STAGES[1] else 1]
        products = [builder.replace_operands(builder.instructions[i]) for i in group]
        builder.stage, builder.place = products[0].stage, products[0].place
        left = emit_concatenate(builder, [x.operands[0] for x in products])
        note = f"{len(group)} products, stacked"
        product = builder.emit(matmul, left, first.operands[1], note=note)
        n, like = first.shape[0], (first.shape, first.dtype)
        for k, i in enumerate(group):
            # a product that became equal to another one is dropped
            if i in builder.ranks:
                rows = slice(k * n, (k + 1) * n)
                builder.replace(i, builder.emit(getitem, product, like=like, index=(rows,)))

    if joined:
        builder.rewrite(visit, (matmul,))


def _can_move_together(builder: Builder, group: list[int], joined: Mapping[int, list[int]]) -> bool:
    """Move the dependencies of a group before its first member; False if that is impossible.

    The groups in `joined` count as one instruction. Most groups cannot be joined, because their
    members depend on each other, such as the products of a loop with its state.
    """
    order, instructions = builder.order, builder.instructions
    first, last = [order.index(end(group, key=builder.ranks.__getitem__)) for end in (min, max)]
    needed = {x for i in group for x in instructions[i].operands}
    for i in reversed(order[first:last]):
        if builder.refs[i] in needed:
            if i in group:
                return False
            needed.update(*[instructions[j].operands for j in joined.get(i, [i])])
    rest = sorted(order[first:], key=lambda i: builder.refs[i] not in needed)
    builder.order = [*order[:first], *rest]
    return True


# the op that computes the sum of stacked terms, by the op of a term
_KINDS = {matmul: matmul, multiply: matmul, sum_: sum_, sum_segments: sum_segments}
