"""Fold constants, and drop identities.

Results stay the same to the bit, dtypes too, except for a softmax written with a logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.declare import is_elementwise
from tapegrad.declare.abstract import call_silently
from tapegrad.ops.indexing import getitem
from tapegrad.ops.joining import concatenate
from tapegrad.ops.shape import broadcast_to, transpose
from tapegrad.program import cost
from tapegrad.program.builder import Builder, Form, Visit
from tapegrad.program.canonical import are_whole, place_of
from tapegrad.program.control.loop import apply_instruction as result_of
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.layout import transpose_axes
from tapegrad.program.passes.algebra import apply_rules, index_rules, parse_rules, splat
from tapegrad.program.program import rule
from tapegrad.transforms.reverse import SEED


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths of a shape other than 1, which `expand_dims` and `squeeze` keep."""
    return tuple(length for length in shape if length != 1)


@lru_cache(1 << 10)
def _may_fold(form: Form) -> bool:
    """Whether `fold` may apply to an instruction of a form."""
    op, *operands = form
    fills = broadcast_to in operands or (len(operands) > 1 and "constant" in operands)
    further = op is concatenate or form[:2] == (transpose, transpose)
    return _are_known(form) or further or bool(_find_rules(form)) or (fills and is_elementwise(op))


@lru_cache(1 << 10)
def _are_known(form: Form) -> bool:
    """Whether all operands of a form are numbers and constants."""
    return not any(isinstance(x, Primitive) or x == "input" for x in form[1:])


@rule(complex=True, where=_may_fold)
def fold(builder: Builder, instruction: Instruction) -> Any:
    """Drop identities and compute constants.

    Fires on instructions that VJP rules write for the general case: ``1 * g``, a reshape of a
    reshape, a transpose of a transpose.
    """
    result = _constant(builder, instruction)
    if result is not None:
        return result
    if instruction.op in _FURTHER:
        return _FURTHER[instruction.op](builder, instruction)
    whole = _without_broadcasts(builder, instruction) if instruction.is_elementwise else instruction
    result = apply_rules(_find_rules, builder, whole)
    return whole if result is None and whole is not instruction else result


def _without_broadcasts(builder: Builder, instruction: Instruction) -> Instruction:
    """Apply a ufunc to its operands before they are broadcast, if the result is the same."""
    operands = instruction.operands
    for i, (x, op) in enumerate(zip(operands, builder.forms[builder.number][1:], strict=True)):
        if op is broadcast_to:
            (single,) = builder.definition(x).operands
        elif op == "constant" and len(operands) > 1 and splat(builder, x) is not None:
            single = builder.filled_constant(splat(builder, x), builder.dtype(x))
        else:
            continue
        tried = (*operands[:i], single, *operands[i + 1 :])
        if np.broadcast_shapes(*map(builder.shape, tried)) == instruction.shape:
            operands = tried
    return instruction if operands is instruction.operands else instruction.with_operands(operands)


def _constant(builder: Builder, instruction: Instruction) -> Any:
    """Compute a small op whose operands are all constants; None for other instructions."""
    op, shape = instruction.op, instruction.shape
    if not _are_known(builder.forms[builder.number]) or math.prod(shape) > cost.FOLDED_ELEMENTS:
        return None
    if (not instruction.operands and op is not SEED) or (op.like is not None and shape == ()):
        return None
    values = [builder.definition(x).array if type(x) is Ref else x for x in instruction.operands]
    result = call_silently(result_of, instruction, values)
    # a program warns when it runs, such as for log(0)
    if not isinstance(result, int) and not np.isfinite(result).all():
        return None
    return result if instruction.number else builder.constant(result)


# --- rules ------------------------------------------------------------------------------------


def _transpose(builder: Builder, instruction: Instruction) -> Any:
    """``transpose(transpose(x)) -> transpose(x)``."""
    inner = builder.producer(instruction.operands[0], transpose)
    if inner is None:
        return None
    (x,), first = inner.operands, transpose_axes(inner)
    axes = tuple([first[axis] for axis in transpose_axes(instruction)])
    return x if axes == tuple(range(len(axes))) else builder.emit(transpose, x, axes=axes)


def _concatenate(builder: Builder, instruction: Instruction) -> Any:
    """``concatenate(x[:i], x[i:]) -> x``; also for all rows, in order."""
    taken = [builder.producer(x, getitem) for x in instruction.operands]
    sources = {x.operands if x is not None else () for x in taken}
    operands = sources.pop()
    if sources or len(operands) != 1 or builder.dtype(operands[0]) != instruction.dtype:
        return None
    shape = builder.shape(operands[0])
    places = [place_of(x.options["index"], shape) for x in taken if x is not None]
    first, axis = places[0], instruction.options.get("axis", 0)
    if first is None or first.axis != axis or not are_whole(places, shape):
        return None
    return builder.reshape(operands[0], instruction.shape)


# for softmax x does not exceed 0, so that s is at least 1
ALGEBRA = parse_rules("""
    broadcast_to(x) -> x
    astype(x) -> x
    +x -> x
    asarray(x) -> x
    stopped(x) -> x
    x * 1 -> x, if real
    x / 1 -> x, if real
    x ** 1 -> x, if real
    x ** 2 -> square(x), if typed x, python
    x ** -1 -> reciprocal(x), if typed x, python
    x ** 0.5 -> sqrt(x), if typed x, python
    x - 0 -> x
    -(-x) -> x
    reshape(x) -> x
    reshape(reshape(x)) -> reshape(x)
    where(c, x, 0) -> keep(c, x), if precise, mask c, typed x, array x
    sum(y := unpick(x, i)) -> reshape(x), if typed y, last y
    exp((x := a - (m := max(a))) - log(s := sum(exp(x)))) -> exp(x) * reciprocal(s),
        if typed x, alike m s
""")

_find_rules = index_rules(ALGEBRA)
_FURTHER: Mapping[Primitive, Visit] = {transpose: _transpose, concatenate: _concatenate}
