"""Products and sums over time steps are done in one.

A network unrolled over steps multiplies by the same weight at each step, and its
weight's gradient is a sum with a product for each step. One product of the stacked
matrices takes a fraction of the time of many small ones.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from tapegrad.ops.arithmetic import add
from tapegrad.ops.indexing import from_zero, getitem, index_select, scatter, segment_sum
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import concatenate, transpose
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import Builder, Program, rewrite, users

# products and sums of more rows than this gain nothing by being stacked
_MOST_ROWS = 1024
_FEW_ROWS = 32


def stack_sums(program: Program) -> Program:
    """The program with sums of products, of row sums and of scattered rows stacked.

    Fires on a weight used at each step of a loop: its gradient is such a sum.
    """

    def improve(builder: Builder, instruction: Instruction, terms: list[Any]) -> Any:
        if any(builder.shape(x) != instruction.shape for x in terms):
            return None
        if any(builder.dtype(x) != instruction.dtype for x in terms):
            return None
        # a sweep adds from the last step to the first; in their order they meet others
        terms = terms[::-1]
        for gather in (_products, _row_sums, _scattered_rows, _parts):
            stacked = gather(builder, terms)
            if stacked is not None:
                return stacked
        return None

    return rewrite_sums(program, improve)


Improve = Callable[[Builder, Instruction, list[Any]], Any]


def rewrite_sums(program: Program, improve: Improve) -> Program:
    """The program with each sum replaced by what `improve` makes of it and its terms.

    A sum is all the adds that have no other use than in it: what is a sum of its own
    is one term of a larger one, or a long chain of sums would be done in quadratic time.
    """
    inside = _sums_inside(program)
    opened: set[Ref] = set()

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at in inside:
            result = builder.append(instruction)
            opened.add(result)
            return result
        if instruction.op is not add or instruction.number:
            return None
        return improve(builder, instruction, _terms(builder, instruction, opened))

    return rewrite(program, visit)


def _sums_inside(program: Program) -> set[int]:
    """The adds whose only use is as a term of a larger sum."""
    used = users(program)
    inside = set()
    for i, instruction in enumerate(program.instructions):
        by = used.get(Ref("instruction", i), [])
        if instruction.op is add and len(by) == 1 and by != [-1]:  # -1 is a result
            user = program.instructions[by[0]]
            if user.op is add and user.shape == instruction.shape:
                inside.add(i)
    return inside


def _terms(builder: Builder, instruction: Instruction, opened: set[Ref]) -> list[Any]:
    """The terms of a sum: the operands of an add, and those of the adds inside."""
    terms: list[Any] = []
    waiting = list(reversed(instruction.operands))
    while waiting:
        x = waiting.pop()
        inner = builder.source(x, add) if x in opened else None
        if inner is not None and not inner.number:
            waiting += reversed(inner.operands)
        else:
            terms.append(x)
    return terms


def _concatenated(builder: Builder, parts: Iterable[Any], axis: int = 0) -> Ref:
    parts = tuple(parts)
    checked = [check for x in parts if (check := builder.source(x, from_zero))]
    if len(checked) == len(parts):
        # one check for all of them
        whole = _concatenated(builder, [check.operands[0] for check in checked], axis)
        return builder.emit(from_zero, whole)
    if axis == 0:
        return builder.emit(concatenate, *parts)
    return builder.emit(concatenate, *parts, axis=axis)


def _products(builder: Builder, terms: list[Any]) -> Any:
    """``a.T @ b + c.T @ d`` as one product of stacked matrices."""
    lefts, rights = [], []
    for x in terms:
        product = builder.source(x, matmul)
        if product is None:
            return None
        left, right = _turned(builder, product.operands[0]), product.operands[1]
        if left is None or len(builder.shape(right)) != 2 or builder.shape(right)[0] > _MOST_ROWS:
            return None
        if len({builder.dtype(left), builder.dtype(right), product.dtype}) != 1:
            return None
        lefts.append(left)
        rights.append(right)
    left_all = _concatenated(builder, lefts)
    right_all = _concatenated(builder, rights)
    turned = builder.emit(transpose, left_all)
    return builder.emit(matmul, turned, right_all, note=f"{len(terms)} products, stacked")


def _turned(builder: Builder, x: Any) -> Any:
    """The matrix that a value is the transpose of, if that is known."""
    if len(builder.shape(x)) != 2:
        return None
    if x.kind == "constant":
        constant = builder.of(x)
        return builder.constant(constant.array.T, constant.captured)
    made = builder.source(x, transpose)
    return None if made is None or made.options.get("axes") else made.operands[0]


def _row_sums(builder: Builder, terms: list[Any]) -> Any:
    """Sums over the first axis as one sum."""
    parts = []
    for x in terms:
        total = builder.source(x, sum_)
        if total is None or total.options.get("axis") not in (0, (0,)):
            return None
        if total.options.get("keepdims") or total.dtype != builder.dtype(total.operands[0]):
            return None
        shape = builder.shape(total.operands[0])
        if len(shape) != 2 or shape[0] > _MOST_ROWS:
            return None
        parts.append(total.operands[0])
    return builder.emit(sum_, _concatenated(builder, parts), axis=0)


def _scattered_rows(builder: Builder, terms: list[Any]) -> Any:
    """Sums of rows by index as one."""
    found = [scattered for x in terms if (scattered := builder.source(x, segment_sum))]
    if len(found) < len(terms):
        return None
    values: list[Any] = []
    indices: list[Any] = []
    weights: list[Any] = []
    for scattered in found:
        rows, index = scattered.operands
        shape = builder.shape(index)
        if len(shape) != 1 or shape[0] > _MOST_ROWS or type(index) is not Ref:
            return None
        product = builder.source(rows, matmul)
        if (
            product is not None
            and len(builder.shape(product.operands[0])) == 2
            and builder.dtype(product.operands[0]) == product.dtype
        ):
            weights.append(product.operands[1])
            values.append(product.operands[0])
        else:
            weights.append(None)
            values.append(rows)
        indices.append(index)
    if len({builder.dtype(index) for index in indices}) != 1:
        return None
    n = found[0].options["n"]
    if len(set(weights)) == 1 and weights[0] is not None:
        # the rows are summed before the product, which is linear
        width = builder.shape(weights[0])
        if len(width) == 2 and width[0] <= width[1]:
            summed = builder.emit(
                segment_sum, _concatenated(builder, values), _concatenated(builder, indices), n=n
            )
            return builder.emit(matmul, summed, weights[0], note="rows summed before the product")
    parts = [scattered.operands[0] for scattered in found]
    return builder.emit(
        segment_sum, _concatenated(builder, parts), _concatenated(builder, indices), n=n
    )


def _parts(builder: Builder, terms: list[Any]) -> Any:
    """Slices put in their places in zeros, which together fill them, as a concatenation."""
    found: list[tuple[int, int, Any]] = []
    axis = None
    for x in terms:
        scattered = builder.source(x, scatter)
        if scattered is None or len(scattered.operands) != 1:
            return None
        place = _only_slice(scattered.options["index"], scattered.shape)
        if place is None or axis not in (None, place[0]):
            return None
        axis, start, stop = place
        if builder.dtype(scattered.operands[0]) != scattered.dtype:
            return None
        filled = list(scattered.shape)
        filled[axis] = stop - start
        if builder.shape(scattered.operands[0]) != tuple(filled):
            return None
        found.append((start, stop, scattered.operands[0]))
    found.sort(key=lambda part: part[0])
    ends = [0, *[stop for _, stop, _ in found]]
    if axis is None or [start for start, _, _ in found] != ends[:-1]:
        return None
    if ends[-1] != builder.shape(terms[0])[axis]:
        return None
    return _concatenated(builder, [part for _, _, part in found], axis)


def _only_slice(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The axis, start and stop of an index that is whole along all other axes."""
    if Ellipsis in index:
        at = index.index(Ellipsis)
        rest = len(shape) - len(index) + 1
        index = (*index[:at], *([slice(None)] * rest), *index[at + 1 :])
    found = None
    for axis, part in enumerate(index):
        if not isinstance(part, slice):
            return None
        start, stop, step = part.indices(shape[axis])
        if step != 1:
            return None
        if (start, stop) != (0, shape[axis]):
            if found is not None:
                return None
            found = axis, start, stop
    return found


def flatten_products(program: Program) -> Program:
    """The program with a stack of matrices times one matrix as one product.

    Fires on a layer of sequences: ``(batch, step, feature) @ (feature, unit)``. Where the
    matrices are large, that pays only if the one is transposed.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is not matmul:
            return None
        left, right = instruction.operands
        shape = builder.shape(left)
        if len(shape) < 3 or len(builder.shape(right)) != 2 or 0 in shape:
            return None
        if shape[-2] >= _FEW_ROWS and not builder.source(right, transpose):
            return None
        rows = builder.reshaped(left, (math.prod(shape[:-1]), shape[-1]))
        return builder.reshaped(builder.emit(matmul, rows, right), instruction.shape)

    return rewrite(program, visit)


def stack_products(program: Program) -> Program:
    """The program with products by one weight that do not wait for each other stacked.

    Fires on the inputs of a loop, which one layer transforms at each step.
    """
    groups: dict[Any, list[int]] = {}
    for i, instruction in enumerate(program.instructions):
        if instruction.op is not matmul:
            continue
        left, right = instruction.operands
        if type(left) is not Ref or left.kind != "instruction" or type(right) is not Ref:
            continue
        shapes = program.instructions[left.index].shape, instruction.shape
        if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][0] > _MOST_ROWS:
            continue
        groups.setdefault((right, shapes[0], instruction.dtype), []).append(i)
    several = [group for group in groups.values() if len(group) > 1]
    bit = {i: 1 << k for k, i in enumerate(itertools.chain.from_iterable(several))}
    before = _waited_for(program, bit)
    members: dict[int, list[int]] = {}
    for group in several:
        own = sum(bit[i] for i in group)
        if any(before[i] & own for i in group):
            continue
        members.update(dict.fromkeys(group, group))
        # from here on each of them waits for what any of them does, as does what needs one
        bits = functools.reduce(operator.or_, (before[i] for i in group))
        for i in bit:
            if bit[i] & own:
                before[i] = bits
            elif before[i] & own:
                before[i] |= bits | own
    return _reordered(program, members) if members else program


def _waited_for(program: Program, bit: Mapping[int, int]) -> dict[int, int]:
    """For each instruction that has a bit, the bits of those that it depends on."""
    before: dict[int, int] = {}
    known: list[int] = []
    for i, instruction in enumerate(program.instructions):
        bits = 0
        for x in instruction.operands:
            if type(x) is Ref and x.kind == "instruction":
                bits |= known[x.index]
        if i in bit:
            before[i] = bits
        known.append(bits | bit.get(i, 0))
    return before


def _reordered(program: Program, members: dict[int, list[int]]) -> Program:
    """The program with each group of products done when its first member is due."""
    builder = Builder(program.inputs, program.constants)
    made: dict[Ref, Any] = {}

    def new(x: Any) -> Any:
        return made.get(x, x) if type(x) is Ref else x

    def emit(i: int) -> None:
        instruction = program.instructions[i]
        builder.stage = instruction.stage
        group = members.get(i)
        if group is None:
            operands = tuple(map(new, instruction.operands))
            made[Ref("instruction", i)] = builder.append(
                attrs.evolve(instruction, operands=operands)
            )
            return
        lefts = [new(program.instructions[j].operands[0]) for j in group]
        right = new(instruction.operands[1])
        product = builder.emit(
            matmul, _concatenated(builder, lefts), right, note=f"{len(group)} products, stacked"
        )
        n = instruction.shape[0]
        for k, j in enumerate(group):
            rows = slice(k * n, (k + 1) * n)
            part = made[Ref("instruction", j)] = builder.emit(getitem, product, index=(rows,))
            builder.name(part, program.instructions[j].name)

    for i in range(len(program.instructions)):
        waiting = [i]
        while waiting:
            j = waiting[-1]
            if Ref("instruction", j) in made:
                waiting.pop()
                continue
            needed: list[int] = []
            for k in members.get(j, [j]):
                operands = program.instructions[k].operands
                if k in members:
                    operands = operands[:1] if k != j else operands
                needed += [
                    x.index
                    for x in operands
                    if type(x) is Ref and x.kind == "instruction" and x not in made
                ]
            if needed:
                waiting += needed
            else:
                emit(j)
                waiting.pop()
    return builder.program(program, tuple(map(new, program.outputs)))


def join_gathers(program: Program) -> Program:
    """The program with rows of one table, selected and concatenated, selected at once.

    Fires on an embedding looked up at each step of a loop, once the steps' products are
    stacked: one selection in place of one a step.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is not concatenate or instruction.options.get("axis", 0) != 0:
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
        return builder.emit(index_select, tables.pop(), _concatenated(builder, indices))

    return rewrite(program, visit)


def commute_gathers(program: Program) -> Program:
    """The program with ``table[i] @ w`` as ``(table @ w)[i]``, where that is less work.

    Fires on an embedding before a layer, where more rows are looked up than it has.
        The weight's gradient stays a product with the selected rows: the others may be
    infinite, and have no part in it.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is not matmul:
            return None
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

    return rewrite(program, visit)
