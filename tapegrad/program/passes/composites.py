"""Composite ops written out."""

from __future__ import annotations

from itertools import compress
from typing import Any

import numpy as np

from tapegrad.declare import facts
from tapegrad.declare.abstract import told
from tapegrad.ops.casting import astype
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.control.body import program_of
from tapegrad.program.ir import Code, Instruction, content, input_like
from tapegrad.program.program import Improvement


@Improvement
def expand_composites(builder: Builder) -> None:
    """Each composite op is replaced by the ops that its forward calls.

    Fires on softmax, sigmoid, mean and the like.
    """
    builder.rewrite(_written_out, {op for op in builder.by_op if facts(op).composite})


def _written_out(builder: Builder, instruction: Instruction) -> Any:
    """Append a composite's parts; return the operand that stands for its result."""
    likes = [builder.like(x) for x in instruction.operands]
    kinds = [told(x, lambda x: (x.shape, x.dtype)) for x in likes]
    key = content(instruction.on(())), *kinds
    known = _KNOWN.get(key)
    if known is None:
        # the instruction is kept, for a key may name its options by where they are
        known = _KNOWN[key] = instruction, _program(instruction, likes)
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)), None)
    varying = compress(instruction.operands, map(_is_array, likes))
    (result,) = builder.inlined(known[1], [*varying], builder.stage)
    # in which byte order an op gives its result, its parts need not
    is_alike = builder.dtype(result) in (NUMBER, instruction.dtype)
    return result if is_alike else builder.emit(astype, result, dtype=instruction.dtype)


# what was written out last
_KNOWN: dict[Any, tuple[Instruction, Code]] = {}
_MOST_KNOWN = 1 << 8


def _is_array(like: Any) -> bool:
    return type(like) is np.ndarray


def _program(instruction: Instruction, likes: list[Any]) -> Code:
    """The program of a composite's forward function, of its operands that are arrays."""
    op, options = instruction.op, instruction.options

    def composed(arrays: list[Any]) -> list[Any]:
        left = iter(arrays)
        return [op.forward(*[next(left) if _is_array(x) else x for x in likes], **options)]

    inputs = [input_like(x, "x") for x in likes if _is_array(x)]
    return program_of(op.name, inputs, composed, None)
