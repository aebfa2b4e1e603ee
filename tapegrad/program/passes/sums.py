"""Sums over the rows or columns of a matrix, or of products, become products.

A product with ones takes a fraction of the time of a reduction, and the sum of
squares is the product of an array with itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.arithmetic import multiply, square
from tapegrad.ops.product import inner_product, matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import reshape
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction
from tapegrad.program.templates import VIEWS

_LARGEST = 1 << 16
# a product adds one by one, a sum in pairs, which is more precise
_MOST_ADDED = 1 << 16


@improvement
def sums_as_products(builder: Builder) -> None:
    """Sums become ``ones @ x``, ``x @ ones`` or ``x @ x``.

    Fires on the gradient of a bias, and on squared errors: a product is faster than a reduction.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.dtype.char not in "fd":
            return None
        (x,) = instruction.operands
        shape, dtype = builder.shape(x), builder.dtype(x)
        axis = instruction.options.get("axis")
        # for an array without axes NumPy takes axis 0 for none
        if dtype != instruction.dtype or 0 in shape or not shape:
            return None
        if axis is None:
            keepdims = instruction.options.get("keepdims")
            return None if keepdims else _sum_of_products(builder, x)
        axes = axis if isinstance(axis, tuple) else (axis,)
        return _sum_of_rows(builder, x, axes, instruction.shape)

    builder.rewrite(visit, (sum_,))


def _sum_of_rows(builder: Builder, x: Any, axes: tuple[int, ...], wanted: tuple[int, ...]) -> Any:
    """The sum over the first axes or over the last, as a product with ones."""
    shape = builder.shape(x)
    n = len(shape)
    if len(shape) > 2 and not is_contiguous(builder, x):
        return None
    if math.prod(shape[axis] for axis in axes) > _MOST_ADDED:
        return None
    if axes == tuple(range(len(axes))):
        height = math.prod(shape[: len(axes)])
        rows = builder.reshaped(x, (height, math.prod(shape[len(axes) :])))
        ones = builder.constant(np.ones(height, builder.dtype(x)))
        total = builder.emit(matmul, ones, rows, note="the sum over rows, as a product")
    elif axes == tuple(range(n - len(axes), n)):
        width = math.prod(shape[n - len(axes) :])
        rows = builder.reshaped(x, (math.prod(shape[: n - len(axes)]), width))
        ones = builder.constant(np.ones(width, builder.dtype(x)))
        total = builder.emit(matmul, rows, ones, note="the sum over columns, as a product")
    else:
        return None
    return builder.reshaped(total, wanted)


def is_contiguous(builder: Builder, x: Any) -> bool:
    """Whether a value is certainly in C order."""
    made = builder.source(x)
    if made is None:
        return False
    if made.op is reshape:
        return is_contiguous(builder, made.operands[0])
    return made.op not in VIEWS


def _sum_of_products(builder: Builder, x: Any) -> Any:
    squared = builder.source(x, square)
    product = builder.source(x, multiply)
    if squared is not None:
        left = right = squared.operands[0]
    elif product is not None:
        left, right = product.operands
    else:
        return None
    size = math.prod(builder.shape(x))
    same = builder.shape(left) == builder.shape(right) == builder.shape(x)
    if not same or builder.dtype(left) != builder.dtype(right):
        return None
    if size > _LARGEST:
        # one in another order would be copied
        made = [builder.source(y) for y in (left, right)]
        if any(y is not None and y.op in VIEWS for y in made):
            return None
        return builder.emit(inner_product, left, right, note="the sum of products, in parts")
    flat_left, flat_right = (builder.reshaped(y, (size,)) for y in (left, right))
    return builder.emit(matmul, flat_left, flat_right, note="the sum of products, as a product")
