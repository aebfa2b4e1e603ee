"""Composite ops written out, and a sigmoid with its slope from one exponential."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import recorded_from, write_parameter
from tapegrad.declare import facts
from tapegrad.ops.activation import sigmoid
from tapegrad.ops.arithmetic import divide, multiply, negative, reciprocal
from tapegrad.ops.logic import less_equal
from tapegrad.ops.order import minimum
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.fold import either_way
from tapegrad.program.passes.sharing import content
from tapegrad.program.program import improvement


@improvement
def expand_composites(builder: Builder) -> None:
    """Each composite op is replaced by the ops that its forward calls.

    Fires on softmax, sigmoid, mean and the like.
    """
    known: Known = {}
    composites = {op for op in builder.ops if facts(op).composite}
    builder.rewrite(lambda builder, x: written_out(builder, x, known), composites)


# the parts of composites by what they depend on, kept during one pass
Known = dict[Any, list[Instruction]]


def written_out(builder: Builder, instruction: Instruction, known: Known) -> Any:
    """Append a composite's parts; return the operand that stands for its result."""
    likes = [builder.like(x) for x in instruction.operands]
    kinds = tuple([(type(x), np.shape(x), getattr(x, "dtype", x)) for x in likes])
    key = content(instruction, kinds)
    if key not in known:
        known[key] = _parts(builder, instruction, likes)
    made: list[Ref] = []
    for part in known[key]:
        operands = tuple([_placed(x, instruction.operands, made) for x in part.operands])
        made.append(builder.append(part.but(operands=operands, stage=builder.stage)))
    return made[-1]


def _placed(x: Any, given: tuple[Any, ...], made: list[Ref]) -> Any:
    """An operand of a part: one of the composite's own, the result of a part, or a constant."""
    if type(x) is not Ref or x.kind == "constant":
        return x
    return given[x.index] if x.kind == "input" else made[x.index]


def _parts(builder: Builder, instruction: Instruction, likes: list[Any]) -> list[Instruction]:
    """The program of a composite's forward function; its inputs are the operands."""
    start = Origin(instruction.op.name)
    last: Tensor | Origin = start
    refs: dict[Any, Ref] = {}
    operands = []
    for i, like in enumerate(likes):
        if isinstance(like, np.ndarray):
            last = write_parameter(last, like, None)
            refs[last] = Ref("input", i)
            operands.append(last)
        else:
            operands.append(like)
    result, last = recorded_from(last, _silent, (instruction, operands))
    parts: list[Instruction] = []

    def operand(x: Any) -> Any:
        if type(x) is Tensor:
            return refs[x]
        return builder.constant(x) if isinstance(x, np.ndarray) else x

    for step in Tape(last, start):
        if step not in refs:
            number = type(step._primal) is not np.ndarray
            given = tuple([operand(x) for x in step.operands])
            refs[step] = Ref("instruction", len(parts))
            parts.append(Instruction(step.op, given, step.options, step.shape, step.dtype, number))
    assert refs[result].index == len(parts) - 1
    return parts


def _silent(instruction: Instruction, operands: list[Any]) -> Any:
    """The result of an instruction's op, without warnings about placeholder values."""
    with np.errstate(all="ignore"):
        return instruction.op.forward(*operands, **instruction.options)


@attrs.frozen
class _Sigmoid:
    """``exp(x) / s``, where s is ``1 + exp(x)``; x, and the largest x that exp takes."""

    y: Any
    s: Any
    limits: Any


@improvement
def join_sigmoids(builder: Builder) -> None:
    """``y * sigmoid(-x)`` becomes ``y / s``, where y is ``exp(x) / s``.

    Fires on a sigmoid with its gradient: one exponential serves both. Where exp(x) would overflow,
    the slope is 0; without the pass it is less than the smallest normal number there.
    """
    if not builder.has((sigmoid,)):
        return
    made: dict[Any, _Sigmoid] = {}
    parts: Known = {}
    opposite: dict[Any, _Sigmoid] = {}

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is sigmoid and instruction.dtype.char in "fd":
            (x,) = instruction.operands
            if type(x) is not Ref or builder.dtype(x) != instruction.dtype:
                return None
            turned = builder.source(x, negative)
            if turned is not None and turned.operands[0] in made:
                known = made[turned.operands[0]]
                result = _masked(builder, builder.emit(reciprocal, known.s), known)
                opposite[result] = known
                return result
            if x not in made:
                made[x] = _written(builder, instruction, parts)
            return made[x].y
        if opposite and instruction.op is multiply:
            for y, other in either_way(instruction):
                if other in opposite and opposite[other].y == y:
                    known = opposite[other]
                    return _masked(builder, builder.emit(divide, y, known.s), known)
        return None

    builder.rewrite(visit, (sigmoid, multiply))


def _written(builder: Builder, instruction: Instruction, parts: Known) -> _Sigmoid:
    """A sigmoid's parts, written out."""
    y = written_out(builder, instruction, parts)
    quotient = builder.source(y, divide)
    assert quotient is not None
    grown, s = quotient.operands
    limited = builder.source(builder.of(grown).operands[0], minimum)
    assert limited is not None
    return _Sigmoid(y, s, limited.operands)


def _masked(builder: Builder, x: Ref, known: _Sigmoid) -> Ref:
    # a product, so that nan stays nan
    return builder.emit(multiply, x, builder.emit(less_equal, *known.limits))
