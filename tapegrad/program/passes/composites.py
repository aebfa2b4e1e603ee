"""Composite ops written out."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import attrs
import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import recorded_from
from tapegrad.declare import facts
from tapegrad.declare.abstract import Evaluation, silently, stand_in, write_like
from tapegrad.errors.words import as_text
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Constant, Instruction, Ref, content
from tapegrad.program.program import improvement


@improvement(complex=True)
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
    arguments = instruction.operands
    key = content(instruction, tuple([_kind(builder, x) for x in arguments]))
    parts = known.get(key)
    if parts is None:
        parts = known[key] = _with_constants(builder, _parts(_Call(key, instruction)))
    refs: list[Ref] = []
    for part in parts:
        operands = tuple([_placed(x, arguments, refs) for x in part.operands])
        op, options, shape, dtype = part.op, part.options, part.shape, part.dtype
        written = Instruction(
            op, operands, options, shape, dtype, part.number, "", "", builder.stage, builder.place
        )
        refs.append(builder.append(written))
    return refs[-1]


def _kind(builder: Builder, x: Any) -> Any:
    """The facts of an operand that composites depend on: a shape and dtype, or a number."""
    if type(x) is not Ref:
        return type(x), as_text(x), x
    value = builder.of(x)
    if type(value) is not Constant and value.number:
        like = builder.like(x)
        return type(like), as_text(like), like
    return value.shape, value.dtype


def _with_constants(builder: Builder, parts: list[Instruction]) -> list[Instruction]:
    """Parts with their constants in the program."""

    def operand(x: Any) -> Any:
        return builder.constant(x) if type(x) is np.ndarray else x

    return [part.on(tuple(map(operand, part.operands))) for part in parts]


@attrs.frozen
class _Call:
    """A composite, known by what its parts depend on; its options stay what they are."""

    key: Any
    instruction: Instruction = attrs.field(eq=False)


def _placed(x: Any, operands: tuple[Any, ...], refs: list[Ref]) -> Any:
    """An operand of a part: one of the composite's own, the result of a part, or a constant."""
    if type(x) is not Ref or x.kind == "constant":
        return x
    return operands[x.index] if x.kind == "input" else refs[x.index]


@lru_cache(1 << 8)
def _parts(call: _Call) -> list[Instruction]:
    """The program of a composite's forward function; inputs are operands, constants arrays."""
    op, options = call.instruction.op, call.instruction.options
    start = Origin(op.name, evaluate=Evaluation())
    last: Tensor | Origin = start
    refs: dict[Any, Ref] = {}
    operands = []
    for i, kind in enumerate(call.key[1]):
        if len(kind) == 2:
            last = write_like(last, stand_in(*kind), None)
            refs[last] = Ref("input", i)
            operands.append(last)
        else:
            operands.append(kind[2])
    result, last = recorded_from(last, partial(silently, op.forward), operands, options)
    parts: list[Instruction] = []
    for step in Tape(last, start):
        if step not in refs:
            number = type(step._primal) is not np.ndarray
            own = tuple([refs[x] if type(x) is Tensor else x for x in step._operands])
            refs[step] = Ref("instruction", len(parts))
            parts.append(Instruction(step.op, own, step.options, step.shape, step.dtype, number))
    assert refs[result].index == len(parts) - 1
    return parts
