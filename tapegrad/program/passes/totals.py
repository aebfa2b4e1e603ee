"""Sums of sums become one sum, and a number multiplies the sum instead of its terms."""

from __future__ import annotations

import math
from functools import partial

from tapegrad.core.tensor import Rules
from tapegrad.ops.arithmetic import add, divide, multiply, negative
from tapegrad.ops.indexing import getitem
from tapegrad.ops.reduction import sum as sum_
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.passes.dead import drop_dead
from tapegrad.program.passes.factors import multiple
from tapegrad.program.passes.reshapes import before_reshape, without_ones
from tapegrad.program.templates import RESHAPES

# with larger or smaller numbers the sum might leave the range of its dtype
_LARGEST = 1024

# what may stand inside a sum for its rules to fire
_BEFORE_SUMS: frozenset[Rules] = frozenset({sum_, getitem, *RESHAPES})
_MULTIPLES: frozenset[Rules] = frozenset({multiply, negative, add, divide})


@improvement
def sum_once(builder: Builder) -> None:
    """A sum of a sum, or of a multiple, becomes a sum of the array inside.

    Fires on the gradient of a number that multiplies at each step of a loop.
    """
    if not builder.has((sum_,)):
        return
    for rule, ops in ((_of_sum, _BEFORE_SUMS), (_of_multiple, _MULTIPLES)):
        if any(_is_sum_of(builder, made, ops) for _, made in builder.in_order()):
            once = {x for x, users in builder.users().items() if len(users) == 1}
            builder.rewrite(partial(rule, once), (sum_,))
        drop_dead.change(builder)


def _is_sum_of(builder: Builder, made: Instruction, ops: frozenset[Rules]) -> bool:
    """Whether an instruction sums the result of one of these ops."""
    inner = builder.source(made.operands[0]) if made.op is sum_ else None
    return inner is not None and inner.op in ops


def _of_sum(once: set[Ref], builder: Builder, total: Instruction) -> Operand | None:
    """The sum of a sum as one sum over the axes of both."""
    (x,) = total.operands
    shape = builder.shape(x)
    while (before := before_reshape(builder, x)) is not None and x in once:
        if without_ones(builder.shape(before)) != without_ones(shape):
            return None
        x = before
    inner = builder.source(x, sum_)
    if inner is None or x not in once or inner.dtype != total.dtype:
        return None
    (y,) = inner.operands
    lengths = builder.shape(y)
    if builder.dtype(y) != total.dtype or total.dtype.char not in "fd" or 0 in lengths:
        return None
    first = summed_axes(inner, len(lengths))
    # the axes longer than 1 that the inner sum leaves are those of its result, in order
    left = [k for k, length in enumerate(lengths) if k not in first and length > 1]
    long = [k for k, length in enumerate(shape) if length > 1]
    second = {left[long.index(k)] for k in summed_axes(total, len(shape)) if k in long}
    made = builder.emit(sum_, y, axis=tuple(sorted(first | second)))
    return builder.reshaped(made, total.shape)


def _of_multiple(once: set[Ref], builder: Builder, total: Instruction) -> Operand | None:
    """The sum of a multiple, as a multiple of the sum."""
    (x,) = total.operands
    made = builder.source(x)
    if made is None or x not in once or math.prod(total.shape) >= math.prod(made.shape):
        return None
    number, y = multiple(builder, made)
    if number is None or not 1 / _LARGEST <= abs(number) <= _LARGEST:
        return None
    if total.dtype.char not in "fd" or {builder.dtype(y), made.dtype} != {total.dtype}:
        return None
    summed = builder.append(total.on((y,)))
    if number == -1:
        return builder.emit(negative, summed)
    return builder.emit(multiply, summed, number)


def summed_axes(total: Instruction, n: int) -> set[int]:
    """The axes, out of n, that a sum is over."""
    axis = total.options.get("axis")
    axes = range(n) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return {k % n for k in axes}
