"""Transposed matrices on the right of products are copied to C order.

A product with few rows takes up to twice as long if the right operand is transposed; on the left
it makes no difference.
"""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.product import matmul
from tapegrad.ops.record import copy
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref

_MOST_ROWS = 256
# multiplications from which copying pays even for one product
_WORK = 1 << 15


@improvement
def straighten(builder: Builder) -> None:
    """Copy each transpose that is often, or in a large product or a stack, the right operand.

    Fires on the weight of a loop, which the sweep multiplies by at each step.
    """
    uses: dict[Any, int] = {}
    if not builder.has((transpose,)):
        return
    for _, instruction in builder.in_order():
        if instruction.op is matmul and _is_thin(builder, instruction):
            left, right = instruction.operands
            width = builder.shape(left)[-1]
            work, stacked = math.prod(instruction.shape) * width, len(instruction.shape) > 2
            much = stacked or (work >= _WORK and instruction.shape[0] >= 32)
            uses[right] = uses.get(right, 0) + 1 + much
    wanted = {
        x.index
        for x, n in uses.items()
        if n > 1
        and type(x) is Ref
        and x.kind == "instruction"
        and builder.instructions[x.index].op is transpose
    }
    if not wanted:
        return
    copies: dict[Ref, Ref] = {}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at in wanted:
            turned = builder.append(instruction)
            copies[turned] = builder.emit(copy, turned, note="products are faster in C order")
            return turned
        right = instruction.operands[-1] if instruction.operands else None
        if instruction.op is matmul and _is_thin(builder, instruction) and right in copies:
            left = instruction.operands[0]
            return builder.emit(matmul, left, copies[right], note=instruction.note)
        return None

    builder.rewrite(visit, (transpose, matmul))


def _is_thin(builder: Builder, product: Instruction) -> bool:
    right = builder.shape(product.operands[1])
    return len(product.shape) > 1 and len(right) == 2 and product.shape[-2] <= _MOST_ROWS
