"""A value computed twice is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.digits import as_text
from tapegrad.program.builder import Builder, Visit
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Operand, Ref


@improvement
def share_common(builder: Builder) -> None:
    """Equal instructions are merged into the first of them.

    Fires where a rule recomputes what the function computed.
    """
    if builder.is_shared:
        return
    contents, refs = builder.contents, builder.refs
    found = []
    for i, instruction in builder.in_order():
        kept = contents.get(i)
        if kept is None or kept[0] is not instruction:
            kept = contents[i] = instruction, content(instruction, _exact(instruction.operands))
        found.append(kept[1])
    if len(set(found)) < len(found):
        builder.rewrite(_sharing(contents, refs))
    builder.is_shared = True


def _sharing(contents: dict[int, Any], refs: list[Ref]) -> Visit:
    """What puts the first of equal instructions in the place of the others."""
    known: dict[Any, int] = {}

    def visit(builder: Builder, instruction: Instruction) -> Ref | None:
        at = builder.at
        kept = contents[at]
        if kept[0] is not instruction:  # its operands were merged
            kept = contents[at] = instruction, content(instruction, _exact(instruction.operands))
        first = known.setdefault(kept[1], at)
        return None if first == at else refs[first]

    return visit


def content(instruction: Instruction, operands: tuple[Any, ...]) -> Any:
    """A key that is equal for two instructions that compute the same from the same operands."""
    options = instruction.options
    if not options:
        return instruction.op, operands
    return instruction.op, operands, *[(name, _option(options[name])) for name in sorted(options)]


def _exact(operands: tuple[Operand, ...]) -> tuple[Any, ...]:
    # 0.0 == -0.0 and 1 == 1.0 == True, but they are not the same operand
    for x in operands:
        if type(x) is not Ref:
            return tuple([x if type(x) is Ref else (type(x), as_text(x)) for x in operands])
    return operands


def _option(option: Any) -> Any:
    if isinstance(option, np.ndarray):
        return option.dtype.str, option.shape, option.tobytes()
    if type(option) is tuple:
        return tuple(map(_option, option))
    # for anything else, equal text does not mean equal values
    return type(option), repr(option) if type(option) in _TOLD_BY_TEXT else id(option)


_TOLD_BY_TEXT = (bool, int, float, str, bytes, slice, type(None), np.dtype)
