"""Sums over time steps are computed at once.

A network unrolled over steps multiplies by the same weight at each step, and its
weight's gradient is a sum with a product for each step. One product of the stacked
matrices takes a fraction of the time of many small ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tapegrad.ops.arithmetic import add, multiply
from tapegrad.ops.indexing import scatter
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import from_zero, sum_segments
from tapegrad.ops.shape import transpose
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.passes.fold import rejoined
from tapegrad.program.program import improvement


def _sums_inside(builder: Builder, uses: Counter[Any]) -> set[Any]:
    """The adds whose only use is as a term of a larger sum."""
    return {
        x
        for total in map(builder.instructions.__getitem__, builder.of_ops((add,)))
        for x in total.operands
        if builder.source(x, add) and uses[x] == 1 and builder.shape(x) == total.shape
    }


def _terms(builder: Builder, instruction: Instruction, inside: set[Any]) -> list[Any]:
    """The terms of a sum: the operands of an add, and those of the adds inside."""
    terms: list[Any] = []
    waiting: list[Any] = list(reversed(instruction.operands))
    while waiting:
        x = waiting.pop()
        inner = builder.source(x, add)
        if inner is not None and not inner.number and x in inside:
            waiting += reversed(inner.operands)
        else:
            terms.append(x)
    return terms


@improvement(complex=True)
def stack_sums(builder: Builder) -> None:
    """Sums of products, of row sums, of scattered rows and of slices are stacked.

    Fires on a weight used at each step of a loop: its gradient is such a sum.

    A sum consists of all the adds that are used only in it. A sum that is used elsewhere too is
    one term of a larger sum; otherwise a long chain of sums would take quadratic time.
    """
    if not builder.has((add,)):
        return
    uses = builder.uses()
    inside = _sums_inside(builder, uses)

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.refs[builder.at] in inside or instruction.number:
            return None
        terms = _terms(builder, instruction, inside)
        sources = [builder.source(x) for x in terms]
        if not any(x is not None and x.op in _KINDS for x in sources):
            return None
        for x in terms:
            if builder.shape(x) != instruction.shape or builder.dtype(x) != instruction.dtype:
                return None
        # a sweep adds from the last step to the first; in step order they match other sums
        terms = terms[::-1]
        # a term that is needed itself would be computed twice, in two ways
        alone = len(set(terms)) == len(terms) and not any(_is_shared(x, uses) for x in terms)
        for gather in (_stacked, _parts, _rows) if alone else (_parts, _rows):
            stacked = gather(builder, terms)
            if stacked is not None:
                return stacked
        return _placed_last(builder, instruction, uses)

    builder.rewrite(visit, (add,))


def _is_shared(x: Any, uses: Counter[Any]) -> bool:
    """Whether a value was used more than once before the sums were rewritten."""
    return type(x) is Ref and (x.kind != "instruction" or uses[x] > 1)


def concatenated(builder: Builder, parts: Iterable[Any], axis: int = 0) -> Operand:
    """The parts as one array, and their common check made once."""
    parts = tuple(parts)
    if axis == 0 and (whole := rejoined(builder, parts)) is not None:
        return whole
    checked = [check for x in parts if (check := builder.source(x, from_zero))]
    if len(checked) == len(parts):
        # one check for all parts
        whole = concatenated(builder, [check.operands[0] for check in checked], axis)
        return builder.emit(from_zero, whole)
    if axis == 0:
        return builder.emit(concatenate, *parts)
    return builder.emit(concatenate, *parts, axis=axis)


def _stacked(builder: Builder, terms: list[Any]) -> Any:
    """``f(a) + f(b) -> f(concatenate(a, b))``, for terms that are sums over their rows."""
    sources = [builder.source(x) for x in terms]
    rows = [_rows_of(builder, x) for x in sources if x is not None]
    kinds = {x is not None and (x.op in (matmul, multiply) or x.op) for x in sources}
    if not all(rows) or len(kinds) > 1:
        return None
    stacks = [*zip(*rows, strict=True)]
    last = [builder.shape(x)[0] for x in stacks[-1]]
    if max(last) > cost.STACKED_ROWS or any(len({*map(builder.dtype, x)}) > 1 for x in stacks):
        return None
    (first, *others), of = [concatenated(builder, x) for x in stacks], sources[0]
    if of is not None and of.op is sum_:
        return builder.emit(sum_, first, axis=0)
    if of is not None and of.op is sum_segments:
        return builder.emit(sum_segments, first, *others, n=of.options["n"])
    turned = builder.emit(transpose, first)
    return builder.emit(matmul, turned, *others, note=f"{len(terms)} products, stacked")


def _rows_of(builder: Builder, term: Instruction) -> tuple[Any, ...]:
    """The matrices whose rows a term sums: one, two in a product, or values and their indices.

    An outer product of vectors is one of matrices with a single row. Nothing if it is no such sum.
    """
    x, *others = term.operands
    if term.op is sum_:
        of_rows = term.options.get("axis") == 0 and not term.options.get("keepdims")
        same = term.dtype == builder.dtype(x) and len(builder.shape(x)) == 2
        return (x,) if of_rows and same else ()
    if term.op is sum_segments:
        (index,) = others
        return (x, index) if type(index) is Ref and len(builder.shape(index)) == 1 else ()
    left, right = None, None
    if term.op is matmul:
        left, right = _turned(builder, x), others[0]
    elif term.op is multiply and len(term.shape) == 2:
        height, width = term.shape
        by_shape = {builder.shape(x): x for x in term.operands}
        column, row = by_shape.get((height, 1)), by_shape.get((1, width))
        if column is not None and row is not None and min(height, width) > 1:
            left, right = builder.reshaped(column, (1, height)), builder.reshaped(row, (1, width))
    if left is None or right is None or len(builder.shape(right)) != 2:
        return ()
    same = builder.dtype(left) == builder.dtype(right) == term.dtype
    return (left, right) if same else ()


def _turned(builder: Builder, x: Any) -> Any:
    """The matrix that a value is the transpose of, if that is known."""
    if len(builder.shape(x)) != 2:
        return None
    if x.kind == "constant":
        constant = builder.of(x)
        return builder.constant(constant.array.T, constant.captured)
    source = builder.source(x, transpose)
    return None if source is None or source.options.get("axes") else source.operands[0]


def _parts(builder: Builder, terms: list[Any]) -> Any:
    """Slices placed in zeros that together fill the array, as a concatenation."""
    parts: list[tuple[int, int, Any]] = []
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
        parts.append((start, stop, scattered.operands[0]))
    parts.sort(key=lambda part: part[0])
    ends = [0, *[stop for _, stop, _ in parts]]
    if axis is None or [start for start, _, _ in parts] != ends[:-1]:
        return None
    if ends[-1] != builder.shape(terms[0])[axis]:
        return None
    return concatenated(builder, [part for _, _, part in parts], axis)


def _only_slice(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The axis, start and stop of an index that is whole along all other axes."""
    *whole, part = index or (None,)
    if type(part) is not slice or any(other != slice(None) for other in whole):
        return None
    start, stop, step = part.indices(shape[len(whole)])
    return (len(whole), start, stop) if step == 1 else None


def _rows(builder: Builder, terms: list[Any]) -> Any:
    """Rows placed in zeros that together fill the array, as a stack of rows.

    Another term may be added to it. Of no row are three numbers added, whose order would matter.
    """
    rows: dict[int, list[Any]] = {}
    others: list[Any] = []
    for x in terms:
        scattered = builder.source(x, scatter)
        place = None if scattered is None else _only_row(builder, scattered)
        if scattered is None or place is None:
            others.append(x)
        else:
            rows.setdefault(place, []).append(scattered.operands[0])
    n = builder.shape(terms[0])[0] if builder.shape(terms[0]) else 0
    if not n or len(rows) != n or set(rows) != set(range(n)) or len(terms) < 2:
        return None
    if max(map(len, rows.values())) + len(others) > 2:
        return None
    total = builder.emit(stack, *[_total(builder, rows[i]) for i in range(n)])
    return _total(builder, [total, *others])


def _placed_last(builder: Builder, instruction: Instruction, uses: Counter[Any]) -> Any:
    """Rows or slices that fill an array, each placed in zeros and added after all else, as one."""
    placed: list[Any] = []
    last: Instruction | None = instruction
    while last is not None:
        rest: Any
        rest, x = last.operands
        if builder.source(x, scatter) is None:
            x, rest = rest, x
        if builder.source(x, scatter) is None:
            return None
        placed.append(x)
        whole = None if len(placed) < 2 else _parts(builder, placed)
        if whole is None and instruction.shape and len(placed) == instruction.shape[0]:
            whole = _rows(builder, placed)
        if whole is not None:
            return builder.emit(add, rest, whole)
        last = builder.source(rest, add) if uses[rest] == 1 else None
    return None


def _only_row(builder: Builder, scattered: Instruction) -> int | None:
    """The row that is placed in zeros, if it is a whole row."""
    index = scattered.options["index"]
    if len(scattered.operands) != 1 or len(index) != 1 or type(index[0]) is not int:
        return None
    row = scattered.operands[0]
    if builder.shape(row) != scattered.shape[1:] or builder.dtype(row) != scattered.dtype:
        return None
    return index[0]


def _total(builder: Builder, terms: list[Any]) -> Any:
    total, *rest = terms
    for x in rest:
        total = builder.emit(add, total, x)
    return total


# of these ops is a term, at least, of each sum that is stacked
_KINDS = frozenset({matmul, multiply, sum_, sum_segments, scatter})
