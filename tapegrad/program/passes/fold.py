"""Constants are folded, and identities dropped.

The result stays the same to the bit, dtype included, except for a softmax written with a
logarithm, and for a product with a vector.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapegrad.core.cotangents import SEED
from tapegrad.core.rules import Rules
from tapegrad.declare.abstract import exactly, silently
from tapegrad.ops.arithmetic import (
    divide,
    multiply,
    negative,
    positive,
    power,
    reciprocal,
    sqrt,
    square,
    subtract,
)
from tapegrad.ops.casting import asarray, astype, stopped
from tapegrad.ops.elementary import exp, log
from tapegrad.ops.indexing import getitem
from tapegrad.ops.joining import concatenate
from tapegrad.ops.logic import keep, where
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import max as max_
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import unpick
from tapegrad.ops.shape import broadcast_to, reshape, transpose
from tapegrad.program.builder import Builder, Visit
from tapegrad.program.ir import Constant, Instruction, Operand, Ref
from tapegrad.program.layout import axes_of
from tapegrad.program.program import rule


def before_reshape(builder: Builder, x: Any) -> Operand | None:
    """The operand that a value only reshapes, if it does: for ``x[:, None]``, ``x``."""
    made = builder.source(x, reshape)
    return None if made is None else made.operands[0]


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths of a shape other than 1, which adding or dropping axes keeps."""
    return tuple(length for length in shape if length != 1)


def rejoined(builder: Builder, parts: tuple[Any, ...]) -> Operand | None:
    """The array whose rows, or columns, the parts are, in order: joining them copies each part."""
    made = [builder.source(x, getitem) for x in parts]
    sources = {x.operands if x is not None else () for x in made}
    of = sources.pop()
    if sources or len(of) != 1:
        return None
    shape = builder.shape(of[0])
    places = [x.options["index"] for x in made if x is not None]
    if shape and all(len(place) == 1 and type(place[0]) is slice for place in places):
        ends = [place[0].indices(shape[0]) for place in places]
        joined = itertools.pairwise([(0, 0, 1), *ends, (shape[0], 0, 1)])
        if all(one[1] == other[0] and one[2] == 1 for one, other in joined):
            return of[0]
    if len(shape) < 2:
        return None
    for axis in (0, 1):
        if len(places) != shape[axis]:
            continue
        rest = shape[:axis] + shape[axis + 1 :]
        rows = [(*[slice(None)] * axis, i) for i in range(shape[axis])]
        if places == rows:
            order = (1, 0, *range(2, len(shape)))
            first = builder.emit(transpose, of[0], axes=order) if axis else of[0]
            return builder.emit(reshape, first, shape=(shape[axis] * rest[0], *rest[1:]))
    return None


_LARGEST_FOLDED = 1 << 12
# as the operator ** computes them
_POWERS = {2: square, -1: reciprocal, 0.5: sqrt}


@rule(complex=True)
def fold(builder: Builder, instruction: Instruction) -> Any:
    """Drop identities and compute constants.

    Fires on what the rules of the sweep write for the general case: ``1 * g``, a reshape of a
    reshape, a transpose of a transpose.
    """
    # this runs for every operand, most of which are instructions of another op
    varies, may_fill, op_of = False, False, builder.op_of
    for x in instruction.operands:
        if type(x) is Ref:
            kind, at = x
            varies = varies or kind != "constant"
            may_fill = (
                may_fill
                or kind == "constant"
                or (kind == "instruction" and op_of[at] is broadcast_to)
            )
    if not varies:
        result = _constant(builder, instruction)
        if result is not None:
            return result
    operands = instruction.operands
    if may_fill and instruction.is_elementwise:
        operands = _without_broadcasts(builder, instruction)
    changed = operands is not instruction.operands
    instruction = instruction.on(operands) if changed else instruction
    for apply in _RULES.get(instruction.op, ()):
        result = apply(builder, instruction)
        if result is not None:
            return result
    return instruction if changed else None


def _without_broadcasts(builder: Builder, instruction: Instruction) -> tuple[Operand, ...]:
    """The operands of a ufunc before they were broadcast, where the result is the same."""
    operands = instruction.operands
    for i, x in enumerate(operands):
        made = builder.of(x) if type(x) is Ref and x.kind != "input" else None
        if made is None or (type(made) is Instruction and made.op is not broadcast_to):
            continue
        if type(made) is not Constant:
            (single,) = made.operands
        elif made.shape == () or made.splat is None or len(operands) == 1:
            continue
        else:
            single = builder.constant(np.asarray(made.splat, made.dtype))
        tried = (*operands[:i], single, *operands[i + 1 :])
        if np.broadcast_shapes(*map(builder.shape, tried)) == instruction.shape:
            operands = tried
    return operands


def _constant(builder: Builder, instruction: Instruction) -> Any:
    """An op of constants alone, computed, if it is small."""
    if math.prod(instruction.shape) > _LARGEST_FOLDED:
        return None
    op, shape = instruction.op, instruction.shape
    if (not instruction.operands and op is not SEED) or (op.like is not None and shape == ()):
        return None
    values = [builder.of(x).array if type(x) is Ref else x for x in instruction.operands]
    forward = exactly(instruction.op, values) if instruction.number else instruction.op.forward
    result: Any = silently(forward, *values, **instruction.options)
    if instruction.number and isinstance(result, int):
        return result
    result = np.asarray(result)
    # a warning, such as for log(0), is left to the run
    if not np.isfinite(result).all():
        return None
    return result.item() if instruction.number else builder.constant(result)


def splat(builder: Builder, x: Any) -> Any:
    """The real number that fills an operand, if there is one."""
    if type(x) is not Ref:
        return None if type(x) is complex else x
    return builder.constants[x[1]].splat if x[0] == "constant" else None


def _is_zero(number: Any) -> bool:
    """Whether a number is 0 and not -0.0."""
    return number == 0 and math.copysign(1, number) > 0


def either_way(instruction: Instruction) -> tuple[tuple[Operand, ...], tuple[Operand, ...]]:
    """The two operands of a product or a sum in either order."""
    return instruction.operands, instruction.operands[::-1]


# --- rules, by what they match and what takes its place ---------------------------------------


def _same(builder: Builder, instruction: Instruction) -> Any:
    """``reshape(x, x.shape) -> x``, and so for any op that may return its first operand."""
    return _in_place_of(builder, instruction, instruction.operands[0])


def _in_place_of(builder: Builder, instruction: Instruction, x: Any) -> Any:
    """The operand, if it has the shape and the dtype of the result."""
    alike = type(x) is Ref and builder.shape(x) == instruction.shape
    return x if alike and builder.dtype(x) == instruction.dtype else None


def _times_one(builder: Builder, instruction: Instruction) -> Any:
    """``1 * x -> x``, ``x * 1 -> x``."""
    if instruction.dtype.kind == "c":  # of which 1 makes nan where one part is infinite
        return None
    for number, x in either_way(instruction):
        if splat(builder, number) == 1:
            return _in_place_of(builder, instruction, x)
    return None


def _by_one(builder: Builder, instruction: Instruction) -> Any:
    """``x / 1 -> x``, ``x ** 1 -> x``."""
    if instruction.dtype.kind == "c":
        return None
    is_one = splat(builder, instruction.operands[1]) == 1
    return _same(builder, instruction) if is_one else None


def _less_zero(builder: Builder, instruction: Instruction) -> Any:
    """``x - 0 -> x``."""
    subtracts_zero = _is_zero(splat(builder, instruction.operands[1]))
    return _same(builder, instruction) if subtracts_zero else None


def _negative(builder: Builder, instruction: Instruction) -> Any:
    """``-(-x) -> x``."""
    inner = builder.source(instruction.operands[0], negative)
    return _in_place_of(builder, instruction, inner.operands[0]) if inner else None


def _power(builder: Builder, instruction: Instruction) -> Any:
    """``x ** 2 -> square(x)``, and so for -1 and 0.5."""
    base, exponent = instruction.operands
    if instruction.number or builder.dtype(base) != instruction.dtype:
        return None
    known = type(exponent) in (int, float) and exponent in _POWERS
    return builder.emit(_POWERS[exponent], base) if known else None  # type: ignore[index]


def _reshape(builder: Builder, instruction: Instruction) -> Any:
    """``reshape(reshape(x)) -> reshape(x)``."""
    x = before_reshape(builder, instruction.operands[0])
    return None if x is None else builder.reshaped(x, instruction.shape)


def _transpose(builder: Builder, instruction: Instruction) -> Any:
    """``transpose(transpose(x)) -> transpose(x)``, and nothing for what puts no axis elsewhere."""
    (x,), axes = instruction.operands, axes_of(instruction)
    inner = builder.source(x, transpose)
    if inner is not None:
        first = axes_of(inner)
        (x,), axes = inner.operands, tuple([first[axis] for axis in axes])
    if axes == tuple(range(len(axes))):
        return x
    return None if inner is None else builder.emit(transpose, x, axes=axes)


def _vectors(builder: Builder, instruction: Instruction) -> Any:
    """``a @ v[:, None] -> (a @ v)[:, None]``, ``v[None] @ a -> (v @ a)[None]``."""
    left, right = instruction.operands
    inner = builder.shape(right)[-2:][0]
    for matrix, like in ((right, (inner, 1)), (left, (1, inner))):
        if inner > 1 and builder.shape(matrix) == like:
            x = before_reshape(builder, matrix)
            if x is not None and builder.shape(x) == (inner,):
                factors = (left, x) if matrix is right else (x, right)
                return builder.reshaped(builder.emit(matmul, *factors), instruction.shape)
    return None


def _softmax(builder: Builder, instruction: Instruction) -> Any:
    """``exp(x - log(sum(exp(x)))) -> exp(x) * (1 / s)``, where x was shifted not to exceed 0."""
    difference = builder.source(instruction.operands[0], subtract)
    if difference is None:
        return None
    x, shift = difference.operands
    logarithm = builder.source(shift, log)
    shifted = builder.source(x, subtract)
    if logarithm is None or shifted is None or builder.dtype(x) != instruction.dtype:
        return None
    largest = builder.source(shifted.operands[1], max_)
    if largest is None or largest.operands[0] != shifted.operands[0]:
        return None
    (total,) = logarithm.operands
    summed = builder.source(total, sum_)
    grown = builder.source(summed.operands[0], exp) if summed is not None else None
    if summed is None or grown is None or grown.operands[0] != x:
        return None
    if summed.options.get("axis") != largest.options.get("axis"):
        return None
    # the sum is at least 1, since the largest x is 0
    share = builder.emit(reciprocal, total)
    return builder.emit(multiply, builder.emit(exp, x), share)


def _joined(builder: Builder, instruction: Instruction) -> Any:
    """``concatenate(x[:i], x[i:]) -> x``."""
    if instruction.options.get("axis", 0) != 0:
        return None
    whole = rejoined(builder, instruction.operands)
    same = whole is not None and builder.dtype(whole) == instruction.dtype
    return whole if same and builder.shape(whole) == instruction.shape else None


def _one_a_row(builder: Builder, instruction: Instruction) -> Any:
    """``sum(unpick(v, i), -1) -> v``: of each row, all but one value are 0."""
    row = builder.source(instruction.operands[0], unpick)
    if row is None or row.dtype != instruction.dtype:
        return None
    # a single axis is all of them
    if instruction.options.get("axis", 0) != len(row.shape) - 1:
        return None
    return builder.reshaped(row.operands[0], instruction.shape)


def _keep(builder: Builder, instruction: Instruction) -> Any:
    """``where(condition, x, 0) -> keep(condition, x)``, which masks bits."""
    if instruction.dtype.char not in "fd":
        return None
    condition, x, otherwise = instruction.operands
    if builder.shape(condition) != instruction.shape or builder.dtype(condition) != np.dtype(bool):
        return None
    if builder.dtype(x) != instruction.dtype or builder.shape(x) == ():
        return None
    if not _is_zero(splat(builder, otherwise)):
        return None
    return builder.emit(keep, condition, x)


_RULES: Mapping[Rules, tuple[Visit, ...]] = {
    **dict.fromkeys((broadcast_to, astype, positive, asarray), (_same,)),
    multiply: (_times_one,),
    divide: (_by_one,),
    power: (_by_one, _power),
    subtract: (_less_zero,),
    negative: (_negative,),
    reshape: (_same, _reshape),
    transpose: (_transpose,),
    concatenate: (_joined,),
    matmul: (_vectors,),
    exp: (_softmax,),
    sum_: (_one_a_row,),
    stopped: (lambda builder, instruction: instruction.operands[0],),
    where: (_keep,),
}
