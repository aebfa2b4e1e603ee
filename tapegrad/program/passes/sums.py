"""Sums over the rows or columns of a matrix, or of products, become products.

A product with ones takes a fraction of the time of a reduction, and the sum of
squares is the product of an array with itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.program.ir import Instruction
from tapegrad.program.program import Builder, Program, rewrite

_LARGEST = 1 << 16


def sums_as_products(program: Program) -> Program:
    """The program with ``ones @ x``, ``x @ ones`` or ``x @ x`` for sums."""

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.kind != "sum" or instruction.dtype.char not in "fd":
            return None
        (x,) = instruction.operands
        shape, dtype = builder.shape(x), builder.dtype(x)
        axis = instruction.options.get("axis")
        if instruction.options.get("keepdims") or dtype != instruction.dtype or 0 in shape:
            return None
        if axis is None or (isinstance(axis, tuple) and len(axis) == len(shape)):
            return _sum_of_products(builder, x)
        if len(shape) != 2:
            return None
        (axis,) = axis if isinstance(axis, tuple) else (axis,)
        ones = builder.constant(np.ones(shape[axis], dtype))
        if axis % 2 == 0:
            return builder.emit("matmul", ones, x, note="the sum over rows, as a product")
        return builder.emit("matmul", x, ones, note="the sum over columns, as a product")

    return rewrite(program, visit)


def _sum_of_products(builder: Builder, x: Any) -> Any:
    square = builder.source(x, "square")
    product = builder.source(x, "multiply")
    if square is not None:
        left = right = square.operands[0]
    elif product is not None:
        left, right = product.operands
    else:
        return None
    size = int(np.prod(builder.shape(x)))
    same = builder.shape(left) == builder.shape(right) == builder.shape(x)
    if not same or builder.dtype(left) != builder.dtype(right) or size > _LARGEST:
        return None
    flat_left = builder.emit("reshape", left, shape=(size,))
    flat_right = flat_left if right == left else builder.emit("reshape", right, shape=(size,))
    return builder.emit("matmul", flat_left, flat_right, note="the sum of products, as a product")
