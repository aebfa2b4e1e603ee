"""Composite ops written out."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import recorded_from, write_parameter
from tapegrad.declare import facts
from tapegrad.declare.abstract import silently
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.passes.sharing import content
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
    result, last = recorded_from(
        last, partial(silently, instruction.op.forward), operands, instruction.options
    )
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
