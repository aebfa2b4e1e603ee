"""Give operands the form that is fastest in NumPy: matrices in C order, numbers with a dtype."""

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
from tapegrad.ops.shape import broadcast_to, reshape, transpose
from tapegrad.program import cost
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.passes.fold import without_ones
from tapegrad.program.program import Improvement


@Improvement
def straighten(builder: Builder) -> None:
    """Copy each transpose that is the right operand of several products, or of a batched product.

    Fires on the weight of an unrolled loop: each step of the sweep multiplies by it.
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

    A Python number becomes a typed constant, since its conversion takes as long as a small ufunc. A
    small row, slice, or mask in a product is copied to an array in C order and of the right dtype.
    A ufunc that iterates over rows, or casts, has three times the overhead, and a copy costs a
    third of that. Several calls share one copy.

    Fires on any number beside an array, on a bias, on lengths of vectors and on gates.
    """
    builder.rewrite(_lay_out_operands, set(filter(is_elementwise, builder.by_op)))


# ops whose result may be a view in another order than C
_VIEWS = frozenset({transpose, getitem, reshape})
_MASK = np.dtype(bool)


def _lay_out_operands(builder: Builder, instruction: Instruction) -> Instruction | None:
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
            operands = tuple([_lay_out_operand(builder, x, shape, dtype) for x in operands])
    return None if operands == instruction.operands else instruction.with_operands(operands)


def _lay_out_operand(builder: Builder, x: Operand, shape: tuple[int, ...], dtype: Any) -> Operand:
    """Return an operand in C order, if its order is known, in the shape of the result.

    A number stays a number. A mask gets the dtype of its product, if there is a product.
    """
    own = builder.shape(x)
    if type(x) is not Ref or own == ():
        return x
    if dtype is not None and dtype.kind == "f" and builder.dtype(x) == _MASK:
        x = builder.emit(astype, x, like=(own, dtype), dtype=dtype)
    if own == shape:
        known = own, builder.definition(x).dtype
        return x if is_in_c_order(builder, x) else builder.emit(copy, x, like=known)
    if math.prod(own) == math.prod(shape):
        return builder.reshape(x, shape)
    if x.kind == "constant":
        return builder.constant(np.broadcast_to(builder.definition(x).array, shape))
    return builder.emit(broadcast_to, x, like=(shape, builder.definition(x).dtype), shape=shape)


def is_in_c_order(builder: Builder, x: Operand, guess: bool = True) -> bool:
    """Whether a value has C order with one stride, where a caller's array has it by this guess.

    NumPy then iterates over the value without an inner loop for each row, and copies nothing for
    a reshape.
    """
    source = builder.producer(x)
    if source is None:
        return guess or type(x) is not Ref or x.kind == "constant"
    if source.op not in _VIEWS or len(source.operands) > 1:
        return True
    if len(kept := without_ones(source.shape)) < 2:
        return True
    if source.op is reshape:
        # a reshape of other lengths copies what is in another order
        (base,) = source.operands
        return kept != without_ones(builder.shape(base)) or is_in_c_order(builder, base, guess)
    if source.op is transpose:
        # NumPy allocates results in the order of their operands
        ref = builder.refs[builder.number]
        return any(type(y) is Ref and y == ref for y in builder.outputs)
    like = np.empty(builder.shape(source.operands[0]), bool)
    is_whole = like[source.options["index"]].flags.c_contiguous
    return is_whole and is_in_c_order(builder, source.operands[0], guess)


def _convert_numbers(builder: Builder, instruction: Instruction) -> tuple[Operand, ...]:
    """Replace Python numbers by constants of the arrays' dtype, if the arrays have one dtype."""
    operands = instruction.operands
    if {*map(type, operands)} == {Ref}:
        return operands
    numbers: list[Any] = [x for x in operands if type(x) is not Ref]
    dtypes = {d for x in operands if (d := builder.dtype(x)) is not NUMBER}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(object)
    if dtype.kind not in "fc" or not _has_loop_of(instruction.op.forward, dtype):
        return operands
    if dtype.kind == "f" and complex in map(type, numbers):
        return operands
    # for a number that is too large, the program must warn
    if any(np.finfo(dtype).max < abs(x) < math.inf for x in numbers):
        return operands
    return tuple([x if type(x) is Ref else builder.filled_constant(x, dtype) for x in operands])


@functools.lru_cache
def _has_loop_of(ufunc: np.ufunc, dtype: np.dtype[Any]) -> bool:
    """Whether a ufunc has a loop whose operands all have this dtype."""
    return f" {dtype.char * ufunc.nin}->" in " ".join(["", *ufunc.types])
