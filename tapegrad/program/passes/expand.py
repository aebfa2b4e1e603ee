"""Ops that are made of others are written out, so that other passes see the parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.tape import Tape, recorded_from, write_parameter
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.program.ir import Instruction
from tapegrad.program.program import Builder, Program, rewrite
from tapegrad.program.templates import COMPOSITES


def expand_composites(program: Program) -> Program:
    """The program with each composite op replaced by the ops that its forward calls.

    Fires on softmax, sigmoid, mean and the like, so that other passes see the parts.
    """

    def visit(builder: Builder, instruction: Instruction) -> Any:
        return written_out(builder, instruction) if instruction.op in COMPOSITES else None

    return rewrite(program, visit)


def written_out(builder: Builder, instruction: Instruction) -> Any:
    """The operand that stands for a composite's result, its parts appended."""
    start = last = Origin(instruction.op.name)
    refs: dict[Tensor, Any] = {}
    operands = []
    for x in instruction.operands:
        like = builder.like(x)
        if isinstance(like, np.ndarray):
            like = last = write_parameter(last, like, None)  # type: ignore[assignment]
            refs[last] = x  # type: ignore[index]
        operands.append(like)
    result, last = recorded_from(last, _silent, (instruction, operands))
    for step in Tape(last, start):
        if step not in refs:
            refs[step] = builder.append(_moved(builder, refs, step))
    return refs[result]


def _silent(instruction: Instruction, operands: list[Any]) -> Any:
    """What an instruction's op gives, without warnings of values that stand for others."""
    with np.errstate(all="ignore"):
        return instruction.op.forward(*operands, **instruction.options)


def _moved(builder: Builder, refs: dict[Tensor, Any], step: Tensor) -> Instruction:
    """A record as an instruction."""
    operands = tuple(
        refs[x] if type(x) is Tensor else builder.constant(x) if isinstance(x, np.ndarray) else x
        for x in step.operands
    )
    number = type(step._primal) is not np.ndarray
    return Instruction(
        step.op, operands, dict(step.options), step.shape, step.dtype, number, stage=builder.stage
    )
