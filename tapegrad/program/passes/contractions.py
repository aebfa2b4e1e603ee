"""The sum of the products of two arrays becomes a matrix product.

``np.sum(a[:, :, None] * b[:, None, :], axis=0)`` is ``a.T @ b``, which never makes the
array of all products.
"""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.arithmetic import multiply
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Operand
from tapegrad.program.passes.reshapes import before_reshape, without_ones

# a product adds one by one, a sum in pairs, which is more precise
_MOST_ADDED = 1 << 16
# rows from which one product for each row is faster than all products and their sums
_LONG = 128


@improvement
def contract_sums(builder: Builder) -> None:
    """Sums of products over axes that both factors share become matrix products.

    Fires on a weight that multiplies a vector at each step of a loop, whose gradient is a
    sum of outer products, and on sums written with broadcasting.
    """
    builder.rewrite(_contracted, (sum_,))


def _contracted(builder: Builder, total: Instruction) -> Any:
    product = builder.source(total.operands[0], multiply)
    if product is None or total.dtype.char not in "fd":
        return None
    first, second = product.operands
    if builder.dtype(first) != total.dtype or builder.dtype(second) != total.dtype:
        return None
    shape, n = product.shape, len(product.shape)
    summed = _summed_axes(total, n)
    of_first, of_second = (_long_axes(builder.shape(x), n) for x in product.operands)
    inner = of_first & of_second & summed
    if 0 in shape or not inner or summed & (of_first ^ of_second):
        return None
    if math.prod(shape[k] for k in inner) > _MOST_ADDED:
        return None
    rows, columns = of_first - of_second, of_second - of_first
    stack = (of_first & of_second) - inner
    if max(rows, default=-1) > max(columns, default=-1):
        # so that the result's axes are more often in order
        first, second, rows, columns = second, first, columns, rows
    if not columns and (not stack or math.prod(shape[k] for k in inner) < _LONG):
        return None
    left = _matrices(builder, first, n, (stack, rows, inner))
    right = _matrices(builder, second, n, (stack, inner, columns))
    made: Operand = builder.emit(matmul, left, right, note="the sum of products, as a product")
    order = [*sorted(stack), *sorted(rows), *sorted(columns)]
    made = builder.reshaped(made, tuple(shape[k] for k in order))
    return builder.reshaped(_permuted(builder, made, order, sorted(order)), total.shape)


def _summed_axes(total: Instruction, n: int) -> set[int]:
    """The axes, out of n, that a sum is over."""
    axis = total.options.get("axis", range(n))
    return {axis} if type(axis) is int else set(axis)


def _long_axes(shape: tuple[int, ...], n: int) -> set[int]:
    """The axes, of the n of the product, along which a factor is longer than 1."""
    return {k for k, length in enumerate(shape, n - len(shape)) if length > 1}


def _matrices(builder: Builder, x: Operand, n: int, groups: tuple[set[int], ...]) -> Operand:
    """A factor as a stack of matrices, given the axes of the stack, the rows and the columns.

    Without axes for a stack and for the rows it is a vector.
    """
    axes = sorted(_long_axes(builder.shape(x), n))
    x = _without_short_axes(builder, x)
    lengths = dict(zip(axes, builder.shape(x), strict=True))
    stack, rows, columns = (sorted(group) for group in groups)
    height, width = (math.prod(lengths[k] for k in group) for group in (rows, columns))
    if rows and axes == [*columns, *rows]:
        # one that lies the other way round is transposed, not copied
        return builder.emit(transpose, builder.reshaped(x, (width, height)))
    x = _permuted(builder, x, axes, [*stack, *rows, *columns])
    matrix = (height, width) if rows or stack else (width,)
    return builder.reshaped(x, (*(lengths[k] for k in stack), *matrix))


def _without_short_axes(builder: Builder, x: Operand) -> Operand:
    """The values of an operand, without axes of length 1."""
    wanted = without_ones(builder.shape(x))
    while (before := before_reshape(builder, x)) is not None:
        if without_ones(builder.shape(before)) != wanted:
            break
        x = before
    return builder.reshaped(x, wanted)


def _permuted(builder: Builder, x: Operand, axes: list[int], wanted: list[int]) -> Operand:
    """An array with these axes, put in the wanted order."""
    order = tuple(axes.index(k) for k in wanted)
    return x if axes == wanted else builder.emit(transpose, x, axes=order)
