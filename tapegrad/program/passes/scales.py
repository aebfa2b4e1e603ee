"""A number that multiplies a matrix product multiplies the smallest array instead.

The scores of attention are scaled, and so are their cotangents, which have a number for each pair
of positions. The queries, and the gradients of the weights, are smaller.
"""

from __future__ import annotations

import math
from typing import Any

from tapegrad.ops.arithmetic import divide, multiply, negative
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import expand_dims, reshape, squeeze, swapaxes, transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction
from tapegrad.program.passes.factors import multiple

_SCALES = (multiply, divide, negative)
_VIEWS: frozenset[Any] = frozenset({expand_dims, reshape, squeeze, swapaxes, transpose})
# elements from which a pass over them takes longer than a call to start
_MANY = 1 << 10
# numbers that neither overflow nor lose digits, whatever they multiply
_LARGEST = 1 << 12


@improvement
def scale_small(builder: Builder) -> None:
    """``c * (a @ b)`` becomes ``(c * a) @ b`` for a smaller a, and ``(c * a) @ b`` the reverse.

    Fires on attention, forward and backward; each time it saves a pass over the scores.
    """
    large = any(x.op in _SCALES and math.prod(x.shape) >= _MANY for _, x in builder.in_order())
    if not (large and builder.has((matmul,))):
        return
    users = builder.users()
    # for each product, the number that it still has to be multiplied by
    late: dict[int, float] = {}

    def products(ref: Any) -> list[int] | None:
        """The products that use a value or a view of it; None if anything else does."""
        found, waiting = [], [ref]
        while waiting:
            for i in users.get(waiting.pop(), ()):
                op = builder.instructions[i].op
                if i >= 0 and op in _VIEWS:
                    waiting.append(builder.refs[i])
                elif i >= 0 and op is matmul:
                    found.append(i)
                else:
                    return None
        return found

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is matmul:
            number = late.pop(builder.at, None)
            if number is None:
                return None
            return builder.emit(multiply, number, builder.append(instruction))
        size = math.prod(instruction.shape)
        if size < _MANY:
            return None
        number, x = multiple(builder, instruction)
        if number is None or not 1 / _LARGEST <= abs(number) <= _LARGEST:
            return None
        if instruction.dtype.char not in "fd" or builder.dtype(x) != instruction.dtype:
            return None
        made = builder.source(x, matmul)
        if made is not None and len(users.get(x, ())) == 1 and made.dtype == instruction.dtype:
            a, b = made.operands
            sizes = [math.prod(builder.shape(y)) for y in (a, b)]
            if 2 * min(sizes) <= size:
                first = sizes[0] <= sizes[1]
                small = _scaled(builder, number, a if first else b)
                return builder.emit(matmul, *((small, b) if first else (a, small)))
        after = products(builder.refs[builder.at])
        if not after or any(builder.instructions[i].dtype != instruction.dtype for i in after):
            return None
        if 2 * sum(math.prod(builder.instructions[i].shape) for i in after) > size:
            return None
        for i in after:
            late[i] = late.get(i, 1.0) * number
        return x

    builder.rewrite(visit, (*_SCALES, matmul))


def _scaled(builder: Builder, number: float, x: Any) -> Any:
    """A number times a value, of which views are taken afterwards."""
    made = builder.source(x)
    if made is None or made.op not in _VIEWS:
        return builder.emit(multiply, number, x)
    scaled = _scaled(builder, number, made.operands[0])
    return builder.append(made.on((scaled,)))
