"""A value computed twice is computed once."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import Builder, Program, rewrite


def share_common(program: Program) -> Program:
    """The program with equal instructions merged into the first of them.

    Fires on what a rule computes again of what the function computed.
    """
    known: dict[Any, Ref] = {}

    def visit(builder: Builder, instruction: Instruction) -> Ref:
        key = (
            instruction.op.name,
            id(instruction.op),
            tuple(_key(x) for x in instruction.operands),
            tuple((name, _content(x)) for name, x in sorted(instruction.options.items())),
        )
        if key not in known:
            known[key] = builder.append(instruction)
        return known[key]

    return rewrite(program, visit)


def _content(option: Any) -> Any:
    if isinstance(option, np.ndarray):
        return option.dtype.str, option.shape, option.tobytes()
    if type(option) is tuple:
        return tuple(map(_content, option))
    # of anything else the text may leave out what makes the difference
    return type(option), repr(option) if type(option) in _TOLD_BY_TEXT else id(option)


_TOLD_BY_TEXT = (bool, int, float, str, bytes, slice, type(None), np.dtype)


def _key(x: Any) -> Any:
    # 0.0 == -0.0 and 1 == 1.0 == True, but they are not the same operand
    return x if type(x) is Ref else (type(x), repr(x))
