"""The lines of a source, with notes for the reader, and their text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tapegrad.declare.parts import MultiOutputOp
from tapegrad.program.ir import Instruction

# the names of Python's types of numbers, by NumPy's kinds
PYTHON_KINDS = {"f": "float", "i": "int", "b": "bool", "c": "complex"}


class Line(NamedTuple):
    """A line of a source; most assign.

    Attributes
    ----------
    target
        A name, or a place in an array; "" for a line that assigns nothing.
    expression
        The value that is assigned, or another statement; "" for a comment.
    note
        A comment.
    result
        The instruction whose result is assigned, if any: the comment begins with its shape.
    base, take
        For a line of setup, which runs once and is not compiled: the name of the value that the
        target is made from, and the function that makes it. The expression says the same as Python,
        for a reader; a test compares the two on drawn programs. By default the target is another
        name for the base.
    """

    target: str
    expression: str
    note: str = ""
    result: Instruction | None = None
    base: str = ""
    take: Callable[[Any], Any] = lambda x: x

    @property
    def comment(self) -> str:
        """The comment at the end of the line: the shape of the result, and the note."""
        if self.result is None:
            return self.note
        shape = str(self.result.shape)
        if self.result.number:
            shape = f"a Python {PYTHON_KINDS[self.result.dtype.kind]}"
        elif isinstance(self.result.op, MultiOutputOp):
            shape = ", ".join(self.result.op.results._fields)
        return f"{shape}: {self.note}" if self.note else shape


class Block(NamedTuple):
    """A loop or a side of a branch: a head that ends with a colon, and the lines under it."""

    head: str
    body: Sequence[Line | Block]


def format_lines(lines: Sequence[Line | Block], noted: bool, margin: str = "") -> list[str]:
    """Format each line, indented, with comments or without."""
    texts: list[str] = []
    for line in lines:
        if isinstance(line, Block):
            texts.append(margin + line.head)
            texts += format_lines(line.body or [Line("", "pass")], noted, f"{margin}    ")
            continue
        code = f"{line.target} = {line.expression}" if line.target else line.expression
        if noted and (comment := line.comment):
            code = f"{code}  # {comment}" if code else f"# {comment}"
        texts.append(margin + code)
    return texts
