"""Transposed matrices on the right of stacks of products are copied to C order."""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.product import matmul
from tapegrad.ops.record import copy
from tapegrad.ops.shape import swapaxes, transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.layouts import axes_of

# rows per element of the copy, and multiplications, from which copying pays
_ROWS = range(16, 257)
_WORK = 1 << 18


@improvement
def straighten_stacks(builder: Builder) -> None:
    """Copy the right side of a stack of products if it is transposed.

    Fires on attention, whose scores are products of queries with transposed keys: small
    products with a transposed matrix take twice as long.
    """
    copies: dict[Any, Ref] = {}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        left, right = instruction.operands
        shape = instruction.shape
        if len(shape) < 3 or shape[-2] not in _ROWS or builder.shape(right)[:-2] != shape[:-2]:
            return None
        if math.prod(shape) * builder.shape(left)[-1] < _WORK or not _is_turned(builder, right):
            return None
        if right not in copies:
            copies[right] = builder.emit(copy, right, note="products are faster in C order")
        return instruction.on((left, copies[right]))

    builder.rewrite(visit, (matmul,))


def _is_turned(builder: Builder, x: Any) -> bool:
    """Whether a value is a view whose last axis is certainly not contiguous."""
    made = builder.source(x, transpose) or builder.source(x, swapaxes)
    axes = None if made is None else axes_of(made)
    return axes is not None and axes[-1] != len(axes) - 1
