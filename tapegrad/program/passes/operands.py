"""Operands as NumPy takes them quickest: matrices in C order, numbers with a dtype."""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any

import numpy as np

from tapegrad.declare import is_elementwise
from tapegrad.ops.arithmetic import multiply
from tapegrad.ops.casting import astype, copy
from tapegrad.ops.indexing import getitem
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import broadcast_to, transpose
from tapegrad.program import cost
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.passes.fold import without_ones
from tapegrad.program.program import Improvement


@Improvement
def straighten(builder: Builder) -> None:
    """Copy each transpose that is the right operand of several products, or of a stack of them.

    Fires on the weight of a loop, which the sweep multiplies by at each step.
    """
    uses: Counter[Any] = Counter()
    for i in builder.find_instructions((matmul,)):
        product, right = builder.instructions[i], builder.instructions[i].operands[1]
        is_matrix = builder.op_of(right) is transpose and len(builder.shape(right)) == 2
        if is_matrix and math.prod(product.shape[-2:-1]) <= cost.STRAIGHT_ROWS:
            uses[right] += len(product.shape) - 1

    @functools.cache
    def straight(right: Any) -> Any:
        return builder.emit(copy, right, note="products are faster in C order")

    def visit(builder: Builder, product: Instruction) -> Any:
        left, right = product.operands
        return product.with_operands((left, straight(right))) if uses[right] > 1 else None

    if max(uses.values(), default=0) > 1:
        builder.rewrite(visit, (matmul,))


@Improvement
def lay_out(builder: Builder) -> None:
    """``ufunc(x, row) -> ufunc(x, broadcast_to(row, x.shape))``, and other operands of ufuncs.

    A Python number becomes a typed constant, for converting it takes as long as a small ufunc. A
    row, a mask in a product and a slice are written out in C order if they are small: a call that
    goes through an array by rows, or converts one, takes thrice the time to start, of which an
    assignment takes a third. One such array serves several calls.

    Fires on any number beside an array, on a bias, on lengths of vectors and on gates.
    """
    builder.rewrite(_on_laid_out, set(filter(is_elementwise, builder.by_op)))


# what may lie in another order than C
_VIEWS = frozenset({transpose, getitem})
_MASK = np.dtype(bool)


def _on_laid_out(builder: Builder, instruction: Instruction) -> Instruction | None:
    if instruction.number:
        return None
    shape, operands = instruction.shape, _convert_numbers(builder, instruction)
    if 1 < math.prod(shape) <= cost.FILLED_ELEMENTS:
        shapes = [*map(builder.shape, operands)]
        n_alike, n = shapes.count(shape), len(shapes)
        is_gated = instruction.op is multiply and _MASK in map(builder.dtype, operands)
        if n_alike == n and not is_gated and _VIEWS.isdisjoint(builder.forms[builder.number]):
            return None
        if n - n_alike - shapes.count(()) < min(2, n):
            dtype = instruction.dtype if is_gated else None
            operands = tuple([_laid_out(builder, x, shape, dtype) for x in operands])
    return None if operands == instruction.operands else instruction.with_operands(operands)


def _laid_out(builder: Builder, x: Operand, shape: tuple[int, ...], dtype: Any) -> Operand:
    """An operand in C order, as far as that is known, in the shape of the result.

    A number stays one, and a mask has the dtype of the product that it is in, if there is one.
    """
    own = builder.shape(x)
    if type(x) is not Ref or own == ():
        return x
    if dtype is not None and dtype.kind == "f" and builder.dtype(x) == _MASK:
        x = builder.emit(astype, x, like=(own, dtype), dtype=dtype)
    if own == shape:
        known = own, builder.definition(x).dtype
        return x if _in_c_order(builder, x) else builder.emit(copy, x, like=known)
    if math.prod(own) == math.prod(shape):
        return builder.reshape(x, shape)
    if x.kind == "constant":
        return builder.constant(np.broadcast_to(builder.definition(x).array, shape))
    return builder.emit(broadcast_to, x, like=(shape, builder.definition(x).dtype), shape=shape)


def _in_c_order(builder: Builder, x: Any) -> bool:
    """Whether a value is no view, or one that NumPy goes through without a call for each row."""
    source = builder.producer(x)
    if source is None or source.op not in _VIEWS or len(source.operands) > 1:
        return True
    if len(without_ones(source.shape)) < 2:
        return True
    if source.op is transpose:
        # a new array is made in the order of what it is made of
        ref = builder.refs[builder.number]
        return any(type(y) is Ref and y == ref for y in builder.outputs)
    like = np.empty(builder.shape(source.operands[0]), bool)
    is_whole = like[source.options["index"]].flags.c_contiguous
    return is_whole and _in_c_order(builder, source.operands[0])


def _convert_numbers(builder: Builder, instruction: Instruction) -> tuple[Operand, ...]:
    """Operands whose numbers are constants of the dtype of the arrays, if all have one."""
    operands = instruction.operands
    if {*map(type, operands)} == {Ref}:
        return operands
    numbers: list[Any] = [x for x in operands if type(x) is not Ref]
    dtypes = {d for x in operands if (d := builder.dtype(x)) is not NUMBER}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(object)
    if dtype.kind not in "fc" or not _takes(instruction.op.forward, dtype):
        return operands
    if dtype.kind == "f" and complex in map(type, numbers):
        return operands
    # a number that is too large is left to the run, which warns
    if any(np.finfo(dtype).max < abs(x) < math.inf for x in numbers):
        return operands
    return tuple([x if type(x) is Ref else builder.filled_constant(x, dtype) for x in operands])


@functools.lru_cache
def _takes(ufunc: np.ufunc, dtype: np.dtype[Any]) -> bool:
    """Whether all operands of a ufunc have one dtype, unlike those of ldexp."""
    return f" {dtype.char * ufunc.nin}->" in " ".join(["", *ufunc.types])
