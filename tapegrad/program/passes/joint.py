"""A sigmoid and its slope are computed from one exponential."""

from __future__ import annotations

from typing import Any

import attrs

from tapegrad.ops.activation import sigmoid
from tapegrad.ops.arithmetic import divide, multiply, negative, reciprocal
from tapegrad.ops.extremes import minimum
from tapegrad.ops.logic import less_equal
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.expand import Known, written_out


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
            for y, other in (instruction.operands, instruction.operands[::-1]):
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
