"""Text for messages, tables and notebooks: records, values and kinds of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np


def a_kind(x: Any) -> str:
    """An object's kind, with its article: "an array", "a Tensor", "an int"."""
    if type(x) is np.ndarray:
        return "an array"
    # most names with u begin with the sound "you": a ufunc, a uint8
    name = type(x).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def got(x: Any) -> str:
    """The kind of an argument or of a function's result, with a hint for None."""
    return "None (is a return missing?)" if x is None else a_kind(x)


# Python's limit on digits can be set as low as 640 digits, which are more bits than this
_MOST_BITS = 2000


def as_text(x: Any, of: Callable[[Any], str] = repr) -> str:
    """The text of a value, by `repr` or another function; a huge int in hexadecimal.

    A container with such an int in it is described by its class.
    """
    if isinstance(x, int) and x.bit_length() > _MOST_BITS:
        return hex(x)
    try:
        return of(x)
    except ValueError:
        return f"<a {type(x).__name__}, which has too many digits>"


MOST_LINES = 40


def in_html(text: str) -> str:
    """The first lines of a text, preformatted."""
    lines = text.split("\n")
    rest = len(lines) - MOST_LINES
    more = [f"... and {rest} more lines"] if rest > 0 else []
    return f"<pre>{_escaped(chr(10).join(lines[:MOST_LINES] + more))}</pre>"


def _escaped(text: str) -> str:
    # here, because it takes long to import
    from html import escape

    return escape(text)


class Printed:
    """An object that a notebook shows as ``print`` does."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return in_html(str(self))


class Text(str):
    """A string of several lines, which the prompt and a notebook show as such."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__str__(self)

    def _repr_html_(self) -> str:
        return in_html(self)


# notebooks have rules of their own for cells
_STYLE = "<style>table.tapegrad :is(td, th) {text-align: left; white-space: nowrap}</style>"


def rows_in_html(head: Any, rows: Any, rest: int) -> str:
    """A table, and the number of further rows."""
    body = [
        f"<tr>{''.join(f'<td><code>{_escaped(cell)}</code></td>' for cell in row)}</tr>"
        for row in rows
    ]
    top = "".join(f"<th>{_escaped(cell)}</th>" for cell in head)
    more = f"<p>... and {rest} more</p>" if rest > 0 else ""
    tables = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f"{_STYLE}<table class=tapegrad>{tables}</table>{more}"


_HEAD = ("line", "record", "operands", "shape", "dtype", "value")
_WIDEST_VALUE = 40


def table(records: Iterable[Any], **further: Sequence[str]) -> str:
    """Records as a table, one in each row; an operand by the index of its record, ``%0``.

    Parameters
    ----------
    records
        A tape, or any of its records.
    **further
        Further columns on the right, by heading, with a cell for each record.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tape, x = tg.Tape().parameter(2.0, name="x")
    >>> tape, y = tape.write(tg.power, x, 3)
    >>> print(tape)
    line  record      operands  shape  dtype    value
       0  x                     ()     float64  2.0
       1  power       %0, 3     ()     float64  8.0
    """
    head = ("line", "record".ljust(10), *_HEAD[2:], *further)
    rows = [
        (*cells(record), *more) for record, *more in zip(records, *further.values(), strict=True)
    ]
    return columns(head, rows, 1)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: int) -> str:
    """Rows of cells as text in columns; the first `right` columns are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        pairs = [*zip(row, widths, strict=True)]
        line = [cell.rjust(n) for cell, n in pairs[:right]]
        lines.append("  ".join(line + [cell.ljust(n) for cell, n in pairs[right:]]).rstrip())
    return "\n".join(lines)


class Tabled:
    """Records that a notebook shows as a table of the first ones."""

    __slots__ = ()

    def _repr_html_(self: Any) -> str:
        rows = [cells(record) for record in self[:MOST_LINES]]
        return rows_in_html(_HEAD, rows, len(self) - len(rows))


def cells(record: Any) -> tuple[str, ...]:
    """A record's index, name, operands, shape, dtype and value."""
    title = printable(record.name or record.op.name)
    operands = [operand(x) for x in record._operands]
    operands += [f"{name}={short(value)}" for name, value in record._options.items()]
    value = "" if record.origin.compiling else short(record._primal)
    return (
        str(record.index),
        title,
        ", ".join(operands),
        str(record.shape),
        str(record.dtype),
        value,
    )


def printable(name: str) -> str:
    """A name in which control characters are escaped."""
    return "".join([c if c.isprintable() else repr(c)[1:-1] for c in name])


def operand(x: Any) -> str:
    """An operand as text: a record by its index, a constant abbreviated."""
    if hasattr(x, "_operands"):
        return f"%{x.index}"
    if isinstance(x, np.ndarray):
        return short(x) if x.ndim == 0 else f"{x.dtype}{list(x.shape)}"
    return repr(x)


def short(value: Any) -> str:
    """A value in one line, without its middle if it is long."""
    if isinstance(value, np.ndarray) and value.ndim:
        value = np.array2string(value, precision=4, threshold=6, edgeitems=2, max_line_width=1000)
    value = value[()] if isinstance(value, np.ndarray) else value
    text = " ".join(as_text(value, str).split())
    # without cutting a number in two
    cut = text[: _WIDEST_VALUE - 3]
    return text if len(text) <= _WIDEST_VALUE else f"{cut.rpartition(' ')[0] or cut} ..."
