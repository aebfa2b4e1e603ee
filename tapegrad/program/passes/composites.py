"""Composite ops written out."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tapegrad.declare import facts
from tapegrad.errors.words import as_text
from tapegrad.ops.casting import astype
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.control.body import program_of
from tapegrad.program.ir import Code, Constant, Input, Instruction, content_of
from tapegrad.program.program import Improvement


@Improvement
def expand_composites(builder: Builder) -> None:
    """Each composite op is replaced by the ops that its forward calls.

    Fires on softmax, sigmoid, mean and the like.
    """
    builder.rewrite(written_out, {op for op in builder.by_op if facts(op).composite})


def written_out(builder: Builder, instruction: Instruction) -> Any:
    """Append a composite's parts; return the operand that stands for its result."""
    kinds = [_kind(builder, x) for x in instruction.operands]
    key = content_of(instruction.op, (), instruction.options), *kinds
    known = _KNOWN.get(key)
    if known is None:
        # the instruction is kept, for a key may name its options by where they are
        known = _KNOWN[key] = instruction, _program(instruction, kinds)
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)), None)
    varying = [x for x, kind in zip(instruction.operands, kinds, strict=True) if len(kind) == 2]
    (result,) = builder.inlined(known[1], varying, builder.stage)
    # in which byte order an op gives its result, its parts need not
    is_alike = builder.dtype(result) in (NUMBER, instruction.dtype)
    return result if is_alike else builder.emit(astype, result, dtype=instruction.dtype)


# what was written out last
_KNOWN: dict[Any, tuple[Instruction, Code]] = {}
_MOST_KNOWN = 1 << 8


def _kind(builder: Builder, x: Any) -> Any:
    """The facts of an operand that composites depend on: a shape and dtype, or a number."""
    like = builder.like(x)
    if type(like) is np.ndarray:
        return like.shape, like.dtype
    return type(like), as_text(like), like


def _program(instruction: Instruction, kinds: list[Any]) -> Code:
    """The program of a composite's forward function, of its operands that are arrays."""
    op, options = instruction.op, instruction.options

    def composed(arrays: list[Any]) -> list[Any]:
        left = iter(arrays)
        operands = [next(left) if len(kind) == 2 else kind[2] for kind in kinds]
        return [op.forward(*operands, **options)]

    inputs = [Input("x", *kind) for kind in kinds if len(kind) == 2]
    code = program_of(op.name, inputs, composed)
    # they are not the user's
    constants = tuple([Constant(x.array, captured=False) for x in code.constants])
    return attrs.evolve(code, constants=constants)
