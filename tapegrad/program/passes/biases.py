"""A bias becomes a row of its weight, and its gradient a row of the weight's gradient.

Where arrays are small, the number of NumPy calls decides, and a call that broadcasts takes three
times as long to start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from tapegrad.ops.arithmetic import add, subtract
from tapegrad.ops.indexing import getitem
from tapegrad.ops.joining import concatenate
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref

# elements from which a copy takes longer than the start of a call
_MOST = 1 << 13


@attrs.frozen
class _Layer:
    """``x @ w + b``, by the numbers of its instructions."""

    x: Any
    w: Any
    b: Any
    cotangent: Any
    # of the sum, of both gradients, and of both updates if they are alike
    total: int
    d_w: int
    d_b: int
    updates: tuple[int, int] | None


@improvement
def join_biases(builder: Builder) -> None:
    """``x @ w + b`` becomes ``[x, 1] @ [w; b]``, and both gradients one product.

    Fires on the layers of a small net with its gradient; where both parameters are updated in the
    same way, the updates become one too.
    """
    layers = _layers(builder)
    at = {i: x for x in layers for i in (x.total, x.d_w, x.d_b, *(x.updates or ()))}
    if not layers:
        return
    known: dict[Any, Ref] = {}

    def once(key: Any, make: Callable[[], Ref]) -> Ref:
        if key not in known:
            known[key] = make()
        return known[key]

    def given(layer: _Layer) -> Ref:
        def make() -> Ref:
            n = builder.shape(layer.x)[0]
            ones = builder.constant(np.ones((n, 1), builder.dtype(layer.x)))
            return builder.emit(concatenate, layer.x, ones, axis=1)

        return once(("x", layer.x), make)

    def weights(layer: _Layer) -> Ref:
        def make() -> Ref:
            row = builder.reshaped(layer.b, (1, *builder.shape(layer.b)))
            return builder.emit(concatenate, layer.w, row)

        return once(("w", layer.total), make)

    by_weight = {layer.w: layer for layer in layers}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        i = builder.at
        layer = at.get(i)
        if instruction.op is transpose:
            # a view of fixed memory
            layer = by_weight.get(instruction.operands[0])
            if layer is None or ("w", layer.total) not in known:
                return None
            rows = slice(0, builder.shape(layer.w)[0])
            part = builder.emit(getitem, weights(layer), index=(rows,))
            return instruction.on((part,))
        if layer is None:
            return None
        if i == layer.total:
            note = "the bias is a row of the weight"
            return builder.emit(matmul, given(layer), weights(layer), note=note)
        if i in (layer.d_w, layer.d_b):
            left = once(("x.T", layer.x), lambda: builder.emit(transpose, given(layer)))
            whole = once(("g", layer.total), lambda: builder.emit(matmul, left, layer.cotangent))
        else:
            gradient = known["g", layer.total]
            whole = once(
                ("new", layer.total),
                lambda: builder.emit(instruction.op, weights(layer), gradient),
            )
        k = builder.shape(layer.w)[0]
        of_weight = i == layer.d_w or (layer.updates and i == layer.updates[0])
        if of_weight and instruction.name:
            builder.name(whole, f"{instruction.name}_and_bias")
        return builder.emit(getitem, whole, index=(slice(0, k) if of_weight else k,))

    builder.rewrite(visit, (add, subtract, matmul, transpose))


def _layers(builder: Builder) -> list[_Layer]:
    """The small layers with both gradients."""
    users = builder.users()
    products: dict[Any, int] = {}
    sums: dict[Any, int] = {}
    found: list[_Layer] = []
    for i, instruction in builder.in_order():
        if instruction.op is not matmul:
            continue
        left, right = instruction.operands
        turned = builder.source(left, transpose)
        if turned is not None and not turned.options.get("axes"):
            products[turned.operands[0], right] = i
        elif _is_ones(builder, left):
            sums[right] = i
    if not products or not sums:
        return []
    for i, instruction in builder.in_order():
        if instruction.op is not add or len(instruction.shape) != 2:
            continue
        product, b = instruction.operands
        made = builder.source(product, matmul)
        if made is None or type(product) is not Ref or type(b) is not Ref:
            continue
        if len(users[product]) > 1:
            continue
        x, w = made.operands
        if not _is_small(builder, x, w, b, instruction):
            continue
        for (source, cotangent), d_w in products.items():
            if source == x and cotangent in sums and _is_like(builder, cotangent, instruction):
                d_b = sums[cotangent]
                updates = _updates(builder, (w, d_w), (b, d_b))
                found.append(_Layer(x, w, b, cotangent, i, d_w, d_b, updates))
                break
    return found


def _is_small(builder: Builder, x: Any, w: Any, b: Any, total: Instruction) -> bool:
    n, m = total.shape
    k = builder.shape(x)[-1]
    if type(w) is not Ref or builder.shape(w) != (k, m) or builder.shape(b) != (m,):
        return False
    if 0 in (n, k, m) or max(n, k + 1) * max(m, k + 1) > _MOST or n * m > _MOST:
        return False
    dtypes = {builder.dtype(y) for y in (x, w, b)} | {total.dtype}
    return len(dtypes) == 1 and total.dtype.char in "fd"


def _is_like(builder: Builder, x: Any, instruction: Instruction) -> bool:
    same = builder.shape(x) == instruction.shape
    return same and bool(builder.dtype(x) == instruction.dtype)


def _is_ones(builder: Builder, x: Any) -> bool:
    if type(x) is not Ref or x.kind != "constant" or len(builder.shape(x)) != 1:
        return False
    return bool(builder.of(x).splat == 1)


def _updates(builder: Builder, *pairs: tuple[Any, int]) -> tuple[int, int] | None:
    """The instructions that update both by their gradients, if they do the same."""
    found = []
    for parameter, gradient in pairs:
        users = builder.users().get(builder.refs[gradient], [])
        if len(users) != 1 or users[0] < 0:
            return None
        update = builder.instructions[users[0]]
        if update.operands != (parameter, builder.refs[gradient]):
            return None
        if update.shape != builder.shape(parameter) or update.op not in (add, subtract):
            return None
        found.append((update.op, users[0]))
    (op, first), (other, second) = found
    return (first, second) if op is other else None
