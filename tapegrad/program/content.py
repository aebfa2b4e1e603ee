"""The content of an instruction: equal for two that compute the same from the same operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.errors.words import as_text
from tapegrad.program.ir import Instruction, Operand, Ref


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
