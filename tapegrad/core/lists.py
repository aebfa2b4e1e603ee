"""Lists of Tensors where an array is needed, since NumPy turns a list into an array too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapegrad.core.operands import as_constant
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.face.later import later

LISTS = (list, tuple)


def in_list(x: Any) -> Tensor | None:
    """The first Tensor in a list or a tuple, at any depth; None if there is none."""
    if type(x) is Tensor:
        return x
    if type(x) in LISTS:
        for part in x:
            found = in_list(part)
            if found is not None:
                return found
    return None


def as_operand(
    write: Callable[..., Tensor], last: Tensor | Origin, x: Any, what: str
) -> tuple[Tensor | Origin, Any]:
    """The last record, and an operand that is not a Tensor as the tape may keep it.

    A list with Tensors in it is stacked, which writes records.
    """
    if in_list(x) is None:
        return last, as_constant(x, what)
    parts = []
    for part in x:
        if type(part) is not Tensor:
            last, part = as_operand(write, last, part, what)
        parts.append(part)
    record = write(last, later("tapegrad.ops.joining", "stack"), tuple(parts), {})
    return record, record


def stacked(x: Any) -> Any:
    """x itself; or, recorded, the array of a list with Tensors in it."""
    if type(x) not in LISTS or in_list(x) is None:
        return x
    stack = later("tapegrad.ops.joining", "stack")
    return stack([stacked(part) for part in x])
