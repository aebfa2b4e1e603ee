"""The array that a value is a reshape of, in whatever way that was written."""

from __future__ import annotations

from typing import Any

from tapegrad.ops.indexing import getitem
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Operand
from tapegrad.program.templates import RESHAPES


def before_reshape(builder: Builder, x: Any) -> Operand | None:
    """The operand that a value only reshapes, if it does: for ``x[:, None]``, ``x``."""
    made = builder.source(x)
    if made is None:
        return None
    if made.op in RESHAPES or (made.op is getitem and _only_adds_axes(made.options["index"])):
        return made.operands[0]
    return None


def _only_adds_axes(index: tuple[Any, ...]) -> bool:
    whole = slice(None)
    return all(part is None or part is Ellipsis or part == whole for part in index)


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths of a shape other than 1, which adding or dropping axes keeps."""
    return tuple(length for length in shape if length != 1)
