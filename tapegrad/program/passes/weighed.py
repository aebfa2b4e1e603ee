"""Row sums of a large product of arrays become those of a small one, if both are known.

Attention weights values by a softmax. Its rule needs, for each row of the weights, the sum of the
weights times their cotangents, a matrix product with a number for each pair of positions. The sum
of the weighted values times their cotangents is the same, and has fewer numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tapegrad.ops.arithmetic import multiply
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.layouts import Axes, axes_of, inverse, ordered


@improvement
def sum_weighed(builder: Builder) -> None:
    """``sum(a * (b @ c.T), -1)`` becomes ``sum(b * (a @ c), -1)`` if ``a @ c`` exists already.

    Fires on the softmax of attention, which multiplies rows as long as the sequence.
    """
    if not builder.has((sum_,)):
        return
    sums = [i for i, x in builder.in_order() if x.op is sum_ and _is_of_rows(builder, x)]
    place = {i: k for k, i in enumerate(builder.order)} if sums else {}
    found = {}
    for i in sums:
        pair = _smaller(builder, builder.instructions[i].operands[0], place[i], place)
        if pair is not None:
            found[i] = pair

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at not in found:
            return None
        b, weighed = found[builder.at]
        # in the memory order of b
        base, axes = _turned(builder, b)
        if axes[-1] != len(axes) - 1:
            base, axes = b, tuple(range(len(axes)))
        back = inverse(axes)
        product = builder.emit(multiply, base, _in_axes(builder, weighed, back))
        total = builder.emit(sum_, product, axis=-1)
        total = _in_axes(builder, total, axes[:-1])
        return builder.reshaped(total, instruction.shape)

    if found:
        builder.rewrite(visit, (sum_,))


def _is_of_rows(builder: Builder, instruction: Instruction) -> bool:
    n = len(builder.shape(instruction.operands[0]))
    if n < 2 or builder.source(instruction.operands[0], multiply) is None:
        return False
    return instruction.options.get("axis") in (-1, n - 1, (-1,), (n - 1,))


def _smaller(builder: Builder, x: Any, at: int, place: Mapping[int, int]) -> Any:
    """What b and ``a @ c`` are, if x is ``a * (b @ c.T)``, nothing else needs it, and they do."""
    product = builder.source(x, multiply)
    users = builder.users()
    if product is None or len(users[x]) > 1:
        return None
    for a, y in (product.operands, product.operands[::-1]):
        made = builder.source(y, matmul)
        if type(a) is not Ref or made is None:
            continue
        if not builder.shape(a) == made.shape == product.shape:
            continue
        b, turned = made.operands
        if 2 * math.prod(builder.shape(b)) > math.prod(product.shape):
            continue
        for i in users[a]:
            other = builder.instructions[i]
            if i < 0 or other.op is not matmul or place[i] > at:
                continue
            alike = other.shape == builder.shape(b) and other.dtype == builder.dtype(b)
            if alike and _are_transposes(builder, turned, other.operands[1]):
                return b, builder.refs[i]
    return None


def _are_transposes(builder: Builder, x: Any, y: Any) -> bool:
    """Whether the matrices of one array are the transposes of another's."""
    (base, axes), (other, order) = _turned(builder, x), _turned(builder, y)
    return base == other and axes == (*order[:-2], *order[:-3:-1])


def _turned(builder: Builder, x: Any) -> tuple[Any, Axes]:
    """The array that x is a transpose of, and the order of its axes in x."""
    axes = tuple(range(len(builder.shape(x))))
    while (made := builder.source(x)) is not None:
        order = axes_of(made)
        if order is None:
            break
        (x,) = made.operands
        axes = ordered(order, axes)
    return x, axes


def _in_axes(builder: Builder, x: Any, axes: Axes) -> Any:
    if axes == tuple(range(len(axes))):
        return x
    return builder.emit(transpose, x, axes=axes)
