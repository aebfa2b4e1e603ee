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
    turned = [i for i in builder.of_ops((matmul,)) if builder.forms[i][2] is transpose]
    thin = [x for i in turned if _is_thin(builder, x := builder.instructions[i])]
    uses = Counter([x.operands[1] for x in thin for _ in x.shape[1:]])

    def visit(builder: Builder, product: Instruction) -> Any:
        left, right = product.operands
        if uses[right] < 2 or not _is_thin(builder, product):
            return None
        straight = builder.emit(copy, right, note="products are faster in C order")
        return product.on((left, straight))

    if max(uses.values(), default=0) > 1:
        builder.rewrite(visit, (matmul,), lambda form: form[2] is transpose)


def _is_thin(builder: Builder, product: Instruction) -> bool:
    right = builder.shape(product.operands[1])
    return len(product.shape) > 1 and len(right) == 2 and product.shape[-2] <= cost.STRAIGHT_ROWS


@Improvement
def lay_out(builder: Builder) -> None:
    """``ufunc(x, row) -> ufunc(x, broadcast_to(row, x.shape))``, and other operands of ufuncs.

    A Python number becomes a typed constant, for converting it takes as long as a small ufunc. A
    row, a mask in a product and a slice are written out in C order if they are small: a call that
    goes through an array by rows, or converts one, takes thrice the time to start, of which an
    assignment takes a third. One such array serves several calls.

    Fires on any number beside an array, on a bias, on lengths of vectors and on gates.
    """
    builder.rewrite(_with_operands_laid_out, set(filter(is_elementwise, builder.ops)))


def _with_operands_laid_out(builder: Builder, instruction: Instruction) -> Instruction | None:
    if instruction.number:
        return None
    typed = _typed(builder, instruction)
    laid = _beside(builder, typed)
    return None if laid is instruction else laid


def _beside(builder: Builder, instruction: Instruction) -> Instruction:
    """An instruction whose operands lie in the same order, if that is quicker."""
    shape, operands = instruction.shape, instruction.operands
    if not 1 < math.prod(shape) <= cost.FILLED_ELEMENTS:
        return instruction
    # most lie as they should
    instructions, masks = builder.instructions, instruction.op is multiply
    for x in operands:
        if type(x) is Ref and x[0] == "instruction":
            source = instructions[x[1]]
            own, is_view = source.shape, source.op is transpose or source.op is getitem
        else:
            own, is_view = builder.shape(x), False
        if own and (own != shape or is_view or (masks and builder.dtype(x).kind == "b")):
            break
    else:
        return instruction
    apart = [x for x in operands if builder.shape(x) not in ((), shape)]
    if len(apart) > 1 or len(apart) == len(operands):
        return instruction
    laid = tuple([_laid_out(builder, x, instruction) for x in operands])
    return instruction if laid == operands else instruction.on(laid)


def _laid_out(builder: Builder, x: Operand, instruction: Instruction) -> Operand:
    """An operand in C order, as far as that is known, in the shape of the result.

    A number stays one, and a mask in a product has the dtype of that.
    """
    own, shape = builder.shape(x), instruction.shape
    if type(x) is not Ref or own == ():
        return x
    masks = instruction.op is multiply and instruction.dtype.kind == "f"
    if masks and builder.dtype(x) == np.dtype(bool):
        x = builder.emit(astype, x, dtype=instruction.dtype)
    if own == shape:
        return x if _in_c_order(builder, x) else builder.emit(copy, x)
    if math.prod(own) == math.prod(shape):
        return builder.reshaped(x, shape)
    if x.kind == "constant":
        return builder.constant(np.broadcast_to(builder.of(x).array, shape))
    return builder.emit(broadcast_to, x, shape=shape)


def _in_c_order(builder: Builder, x: Any) -> bool:
    """Whether a value is no view, or one that NumPy goes through without a call for each row."""
    source = builder.source(x)
    if source is None or source.op not in (transpose, getitem) or len(source.operands) > 1:
        return True
    if len(without_ones(source.shape)) < 2:
        return True
    if source.op is transpose:
        # a new array is made in the order of what it is made of
        ref = builder.refs[builder.at]
        return any(type(y) is Ref and y == ref for y in builder.outputs)
    # after the first slice everything must be taken
    parts = [part for part in source.options["index"] if part is not None]
    first = next((k for k, part in enumerate(parts) if type(part) is slice), len(parts))
    whole = all(part == slice(None) for part in parts[first + 1 :])
    steps = first < len(parts) and parts[first].step not in (None, 1)
    return whole and not steps and _in_c_order(builder, source.operands[0])


def _typed(builder: Builder, instruction: Instruction) -> Instruction:
    """An instruction whose numbers are constants of the dtype of its arrays, if all have one."""
    operands = instruction.operands
    numbers: list[Any] = [x for x in operands if type(x) is not Ref]
    if not numbers:
        return instruction
    dtypes = {d for x in operands if (d := builder.dtype(x)) is not NUMBER}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(object)
    if dtype.kind not in "fc" or not _takes(instruction.op.forward, dtype):
        return instruction
    if dtype.kind == "f" and complex in map(type, numbers):
        return instruction
    # a number that is too large is left to the run, which warns
    if any(np.finfo(dtype).max < abs(x) < math.inf for x in numbers):
        return instruction
    typed = [x if type(x) is Ref else builder.filled(x, dtype) for x in operands]
    return instruction.on(tuple(typed))


@functools.lru_cache
def _takes(ufunc: np.ufunc, dtype: np.dtype[Any]) -> bool:
    """Whether all operands of a ufunc have one dtype, unlike those of ldexp."""
    return any(loop.startswith(dtype.char * ufunc.nin + "->") for loop in ufunc.types)
