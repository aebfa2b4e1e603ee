"""Turn sums into matrix products, and updates of few rows into updates of these rows alone."""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.arithmetic import add, multiply, square, subtract
from tapegrad.ops.product import LETTERS, contract, inner_product, matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import sum_segments
from tapegrad.ops.shape import reshape, transpose
from tapegrad.ops.updates import add_scaled_rows
from tapegrad.program import cost
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.ir import Instruction, Operand
from tapegrad.program.layout import transpose_axes
from tapegrad.program.passes.algebra import split_operands
from tapegrad.program.passes.fold import without_ones
from tapegrad.program.passes.operands import is_in_c_order
from tapegrad.program.program import rule


@rule(sum_, complex=True)
def sums_as_products(builder: Builder, total: Instruction) -> Any:
    """``sum(x, axis) -> ones @ x`` or ``x @ ones``, over the first axes or over the last.

    Fires on the gradient of a bias: a product is faster than a reduction.
    """
    (x,) = total.operands
    shape = builder.shape(x)
    n, axes = len(shape), sorted(_summed_axes(total, len(shape)))
    if not is_floating(builder, total, x) or 0 in shape or len(axes) >= n:
        return None
    is_first = axes == [*range(len(axes))]
    if not is_first and axes != [*range(n - len(axes), n)]:
        return None
    height = math.prod([shape[k] for k in axes])
    if height > cost.PRODUCT_TERMS or (n > 2 and not is_in_c_order(builder, x, guess=False)):
        return None
    width = math.prod(shape) // height
    ones = builder.filled_constant(1, builder.dtype(x), (height,))
    rows = builder.reshape(x, (height, width) if is_first else (width, height))
    factors = (ones, rows) if is_first else (rows, ones)
    note = f"the sum over {'rows' if is_first else 'columns'}, as a product"
    return builder.reshape(builder.emit(matmul, *factors, note=note), total.shape)


@rule(multiply, complex=True)
def outer_products(builder: Builder, product: Instruction) -> Any:
    """``x[:, :, None] * y[:, None] -> einsum("ab,ac->abc", x, y)``.

    Fires on the gradients of weights for each example: einsum has half the overhead for each row.
    """
    shape, operands = product.shape, product.operands
    is_large = len(shape) > 2 and math.prod(shape) >= cost.EINSUM_ELEMENTS
    if not is_large or not is_floating(builder, product, *operands):
        return None
    shapes = [builder.shape(x) for x in operands]
    ends = sorted(x[-1] if len(x) == len(shape) else 0 for x in shapes)
    if ends != [1, shape[-1]] or not 1 < ends[1] <= cost.EINSUM_ROW or shape in shapes:
        return None
    letters = LETTERS[: len(shape)]
    pairs = [zip(letters, x, strict=True) for x in (*shapes, shape)]
    *terms, result = ["".join(a for a, n in x if n > 1) for x in pairs]
    factors = [builder.reshape(x, without_ones(builder.shape(x))) for x in operands]
    contracted = builder.emit(contract, *factors, subscripts=f"{','.join(terms)}->{result}")
    return builder.reshape(contracted, shape)


@rule(add, subtract, complex=True, where=lambda form: form[2] in (sum_segments, multiply))
def update_rows(builder: Builder, instruction: Instruction) -> Any:
    """``p - k * sum_segments(v, i)`` -> a copy of p with ``k * v`` subtracted from the rows i.

    Fires on plain SGD with an embedding, a bag of words or factors of users, if a batch selects
    less than a quarter of the rows. The step then takes a thirtieth to two thirds of the time.
    """
    table, update = instruction.operands
    factor, summed = 1.0, builder.producer(update, sum_segments)
    if (scaled := builder.producer(update, multiply)) is not None:
        factor, summed = split_operands(builder, scaled, sum_segments)
    if summed is None or builder.shape(factor) != () or builder.shape(table) != summed.shape:
        return None
    values, indices = summed.operands
    dtypes = {instruction.dtype, *map(builder.dtype, (table, values, factor))}
    if len(dtypes - {NUMBER}) > 1:
        return None
    if math.prod(builder.shape(indices)) * cost.TABLE_PER_ROWS > summed.shape[0]:
        return None
    return builder.emit(
        add_scaled_rows,
        table,
        values,
        indices,
        factor,
        subtract=instruction.op is subtract,
        note="only these rows change",
    )


def is_floating(builder: Builder, instruction: Instruction, *operands: Any) -> bool:
    """Whether a result and these operands have one dtype that BLAS has functions for."""
    return instruction.dtype.char in "fd" and all(
        builder.dtype(x) == instruction.dtype for x in operands
    )


def _before_reshapes(builder: Builder, x: Operand) -> Operand:
    """Return the operand of a reshape, through several; other values are returned unchanged."""
    while (source := builder.producer(x, reshape)) is not None:
        (x,) = source.operands
    return x


@rule(sum_, complex=True, where=lambda form: form[1] in (multiply, square, matmul))
def contract_sums(builder: Builder, total: Instruction) -> Any:
    """``sum(a * b, axes) -> a @ b``, if both factors have the axes.

    Fires on squared errors, on sums written with broadcasting, and on a weight that multiplies a
    vector in each step of a loop: its gradient is a sum of outer products.
    """
    product = builder.definition(total.operands[0])
    if not is_floating(builder, total, *product.operands):
        return None
    # a square has one operand
    first, second = product.operands[0], product.operands[-1]
    shape, n = product.shape, len(product.shape)
    summed, is_stack = _summed_axes(total, n), product.op is matmul
    if is_stack:
        # the products of all steps of a loop; elementwise they have one axis more
        if summed != {0} or {len(builder.shape(x)) for x in product.operands} != {n} or n != 3:
            return None
        steps, height, inner_length = builder.shape(first)
        shape, n, summed = (steps, height, inner_length, shape[2]), 4, {0, 2}
        first = builder.reshape(first, (*shape[:3], 1))
        second = builder.reshape(second, (steps, 1, *shape[2:]))
    of_first, of_second = (_long_axes(builder.shape(x), n) for x in (first, second))
    inner = of_first & of_second & summed
    is_whole = shape != () == total.shape
    if 0 in shape or not (inner or is_whole) or summed & (of_first ^ of_second):
        return None
    length = math.prod(shape[k] for k in inner)
    if is_whole and length > cost.PRODUCT_TERMS:
        # a factor in another order would be copied
        if any(x is not None and x.is_view for x in map(builder.producer, (first, second))):
            return None
        return builder.emit(inner_product, first, second, note="the sum of products, in parts")
    rows, columns = of_first - of_second, of_second - of_first
    stack = (of_first & of_second) - inner
    if length > cost.PRODUCT_TERMS and not is_stack:
        return None
    if max(rows, default=-1) > max(columns, default=-1):
        # so that the result's axes are more often in order
        first, second, rows, columns = second, first, columns, rows
    if not columns and not is_whole:
        return None
    left = _matrices(builder, first, n, (stack, rows, inner))
    right = _matrices(builder, second, n, (stack, inner, columns))
    contracted: Operand = builder.emit(
        matmul, left, right, note="the sum of products, as a product"
    )
    order = [*sorted(stack), *sorted(rows), *sorted(columns)]
    contracted = builder.reshape(contracted, tuple(shape[k] for k in order))
    return builder.reshape(_permute_axes(builder, contracted, order, sorted(order)), total.shape)


def _summed_axes(total: Instruction, n: int) -> set[int]:
    """Return the axes, out of n, that a sum adds over."""
    axis = total.options.get("axis", range(n))
    return {axis} if type(axis) is int else set(axis)


def _long_axes(shape: tuple[int, ...], n: int) -> set[int]:
    """Return the axes, of the product's n, along which a factor is longer than 1."""
    return {k for k, length in enumerate(shape, n - len(shape)) if length > 1}


def _matrices(builder: Builder, x: Operand, n: int, groups: tuple[set[int], ...]) -> Operand:
    """Return a factor as batched matrices, from its axes for the batch, the rows and the columns.

    Without axes for the batch, and for the rows or the columns, the result is a vector.
    """
    axes = sorted(_long_axes(builder.shape(x), n))
    wanted = without_ones(builder.shape(x))
    x = builder.reshape(_before_reshapes(builder, x), wanted)
    turned = builder.producer(x, transpose)
    if turned is not None:
        order = transpose_axes(turned)
        (x,), axes = turned.operands, [axes[order.index(k)] for k in range(len(axes))]
    lengths = dict(zip(axes, builder.shape(x), strict=True))
    stack, rows, columns = (sorted(group) for group in groups)
    height, width = (math.prod(lengths[k] for k in group) for group in (rows, columns))
    if rows and columns and axes == [*columns, *rows]:
        # a transpose needs no copy
        return builder.emit(transpose, builder.reshape(x, (width, height)))
    x = _permute_axes(builder, x, axes, [*stack, *rows, *columns])
    matrix = (height, width) if stack or (rows and columns) else (height * width,)
    return builder.reshape(x, (*(lengths[k] for k in stack), *matrix))


def _permute_axes(builder: Builder, x: Operand, axes: list[int], wanted: list[int]) -> Operand:
    """Put the axes of an array in the wanted order."""
    order = tuple(axes.index(k) for k in wanted)
    return x if axes == wanted else builder.emit(transpose, x, axes=order)
