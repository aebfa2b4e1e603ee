"""What programs are made of: inputs, constants, instructions, and names for their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.tensor import OPS, Array, Operation, frozen


@attrs.frozen
class Ref:
    """A value of a program: an ``"input"``, a ``"constant"`` or an ``"instruction"``."""

    kind: str
    index: int


Operand = Ref | float | int | bool


@attrs.frozen
class Input:
    """A value that a program is given.

    Attributes
    ----------
    path
        Where it stands in the arguments.
    shape, dtype
        Of the array; a Python number has shape () and takes part in promotion as one.
    number
        ``"float"`` or ``"int"`` for a Python number, else None.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: str | None = None


def _content(array: Array) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


def _copied(array: Any) -> Array:
    return frozen(np.array(array))


@attrs.frozen
class Constant:
    """An array that a program holds: a copy, equal by content.

    Attributes
    ----------
    value
        The array.
    captured
        Whether the recorded function brought it in, rather than tapegrad.
    """

    value: Array = attrs.field(eq=_content, converter=_copied)
    captured: bool = True

    def __reduce__(self) -> tuple[Any, ...]:
        return Constant, (self.value, self.captured)


def _told_apart(operands: tuple[Operand, ...]) -> tuple[Any, ...]:
    # 0.0 equals -0.0, and 1 equals 1.0 and True, but they are not the same operand
    return tuple((type(x), x if type(x) is Ref else repr(x)) for x in operands)


@attrs.frozen(hash=False)
class Instruction:
    """One op applied.

    Attributes
    ----------
    op
        The op.
    operands
        Values of the program, and Python numbers.
    options
        The op's options.
    shape, dtype
        Of the result.
    number
        Whether the result is a Python number.
    note
        What a reader may wonder at.
    """

    op: Operation
    operands: tuple[Operand, ...] = attrs.field(eq=_told_apart)
    options: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    number: bool = False
    note: str = attrs.field(default="", eq=False)

    @property
    def kind(self) -> str:
        """The op's name if it is one of the package's, else nothing: names are not unique."""
        return self.op.name if OPS.get(self.op.name) is self.op else ""
