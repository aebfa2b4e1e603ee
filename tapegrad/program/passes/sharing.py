"""Equal instructions are shared, and unneeded ones dropped; what is kept serves twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.errors.words import as_text
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.program import improvement


@improvement(complex=True)
def drop_dead(builder: Builder) -> None:
    """Drop what no output depends on. Inputs stay: they are the program's signature.

    Fires on what passes have replaced, and on unused by-products.
    """
    if not builder.is_needed:
        builder.drop_unused()
        builder.is_needed = True


@improvement(complex=True)
def share_common(builder: Builder) -> None:
    """Equal instructions are merged into the first of them.

    Fires where a rule recomputes what the function computed.
    """
    if builder.is_shared:
        return
    builder.rewrite(_merged, marks=builder.changed)
    builder.is_shared = True


def _merged(builder: Builder, instruction: Instruction) -> Ref | None:
    """The first instruction of the same content, if it is another."""
    operands: tuple[Any, ...] = instruction.operands
    for x in operands:
        if type(x) is not Ref:
            operands = exact(operands)
            break
    # as `content` of most, of which there are many
    key = content(instruction, operands) if instruction.options else (instruction.op, operands)
    at, contents, instructions = builder.at, builder.contents, builder.instructions
    builder.changed[at] = 0
    if key in contents:
        first, known = contents[key]
        now = instructions[first]
        is_same = now.operands is known.operands and now.options is known.options
        if first != at and is_same and now.op is known.op and builder.here[first]:
            if not builder.absent[first]:
                return builder.refs[first]
            builder.changed[first] = 1  # it comes later, and is this one then
    # it is kept, so that no other object takes the identity of one of its options
    contents[key] = at, instruction
    return None


def content(instruction: Instruction, operands: tuple[Any, ...]) -> Any:
    """A key that is equal for two instructions that compute the same from the same operands."""
    options = instruction.options
    if not options:
        return instruction.op, operands
    return instruction.op, operands, *[(name, _option(options[name])) for name in sorted(options)]


def exact(operands: tuple[Operand, ...]) -> tuple[Any, ...]:
    """Operands by which a content is told from another."""
    # 0.0 == -0.0 and 1 == 1.0 == True, but they are not the same operand
    return tuple([x if type(x) is Ref else (type(x), as_text(x)) for x in operands])


def _option(option: Any) -> Any:
    if isinstance(option, np.ndarray):
        return option.dtype.str, option.shape, option.tobytes()
    if type(option) is tuple:
        return tuple(map(_option, option))
    # for anything else, equal text does not mean equal values
    return type(option), repr(option) if type(option) in _TOLD_BY_TEXT else id(option)


_TOLD_BY_TEXT = (bool, int, float, str, bytes, slice, type(None), np.dtype)
