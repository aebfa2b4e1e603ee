"""Words for messages, and text that shows itself at the prompt and in a notebook."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from typing import Any, ClassVar

import numpy as np


def a_kind(x: Any) -> str:
    """Return an object's kind with its article: "an array", "a Tensor", "an int"."""
    if type(x) is np.ndarray:
        return "an array"
    # most names with u begin with the sound "you": a ufunc, a uint8
    name = type(x).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def got(x: Any) -> str:
    """Return the kind of an argument or of a function's result, with a hint for None."""
    return "None (is a return missing?)" if x is None else a_kind(x)


# Python's limit on digits can be as low as 640, which are more bits than this
_MOST_BITS = 2000


def printable(text: str) -> str:
    """Return a text with its control characters escaped."""
    return (
        text
        if text.isprintable()
        else "".join([c if c.isprintable() else repr(c)[1:-1] for c in text])
    )


def as_text(x: Any, of: Callable[[Any], str] = repr) -> str:
    """Return the text of a value, by `repr` or another function; a huge int in hexadecimal.

    A container with such an int in it is described by its class. A nan has its sign.
    """
    if type(x) is float and math.isnan(x) and math.copysign(1, x) < 0:
        return "-nan"
    if type(x) is complex and x != x:
        return f"complex({as_text(x.real)}, {as_text(x.imag)})"
    if isinstance(x, int) and x.bit_length() > _MOST_BITS:
        return hex(x)
    try:
        return of(x)
    except ValueError:
        return f"<a {type(x).__name__}, which has too many digits>"


def short(value: Any) -> str:
    """Return a value in one line, without its middle if it is long."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = np.array2string(value, precision=4, threshold=6, edgeitems=2, max_line_width=1000)
    value = value[()] if isinstance(value, np.ndarray) else value
    text = " ".join(as_text(value, str).split())
    # without cutting a number in two
    cut = text[: _WIDEST_VALUE - 3]
    return text if len(text) <= _WIDEST_VALUE else f"{cut.rpartition(' ')[0] or cut} ..."


class NamedValues(tuple[tuple[str, Any], ...]):
    """Values in one line, each after its name."""

    __slots__ = ()
    shape: ClassVar[tuple[int, ...]] = ()

    def __str__(self) -> str:
        return ", ".join([f"{name} = {'0' if x is None else short(x)}" for name, x in self])


_WIDEST_VALUE = 40
MOST_LINES = 40


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: Container[int]) -> str:
    """Return rows of cells as text in columns; the columns in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = enumerate(zip(row, widths, strict=True))
        line = [cell.rjust(n) if i in right else cell.ljust(n) for i, (cell, n) in cells]
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


def html_text(text: str) -> str:
    """Return the first lines of a text, preformatted, as HTML."""
    lines = text.split("\n")
    rest = len(lines) - MOST_LINES
    more = [f"... and {rest} more lines"] if rest > 0 else []
    # Jupyter's style sheet takes the fixed font from the element
    shown = escape_html("\n".join(lines[:MOST_LINES] + more))
    return f"<pre style='font-family: monospace'>{shown}</pre>"


def escape_html(text: str) -> str:
    """Return a text with the characters escaped that HTML reserves."""
    # imported here, because it takes long
    from html import escape

    return escape(text)


class Printed:
    """An object that a notebook shows in the same text as ``print``."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return html_text(str(self))


class Text(str):
    """A string of several lines, which the prompt and a notebook show line by line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)

    def _repr_html_(self) -> str:
        return html_text(self)
