"""Text for messages, tables and notebooks: records, values and kinds of objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.core.primitive import Parts
from tapegrad.errors.words import MOST_LINES, columns, escaped, printable, short

# notebooks have rules of their own for cells
_RULES = "text-align: left !important; white-space: nowrap"
_STYLE = f"<style>table.tapegrad :is(td, th) {{{_RULES}}}</style>"


def rows_in_html(head: Any, rows: Any, rest: int) -> str:
    """A table, and the number of further rows."""
    body = [
        f"<tr>{''.join(f'<td><code>{escaped(cell)}</code></td>' for cell in row)}</tr>"
        for row in rows
    ]
    top = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    more = f"<p>... and {rest} more</p>" if rest > 0 else ""
    tables = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f"{_STYLE}<table class=tapegrad>{tables}</table>{more}"


_HEAD = ("line", "record", "operands", "shape", "dtype", "value")


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
    return columns(head, rows, range(1))


class Tabled:
    """A tape as text: a table, of which a notebook shows the first rows."""

    __slots__ = ()

    def __str__(self: Any) -> str:
        return table(self)

    def _repr_html_(self: Any) -> str:
        rows = [cells(record) for record in self[:MOST_LINES]]
        return rows_in_html(_HEAD, rows, len(self) - len(rows))


def cells(record: Any) -> tuple[str, ...]:
    """A record's index, name, operands, shape, dtype and value."""
    operands = [operand(x) for x in record._operands]
    operands += [f"{name}={short(value)}" for name, value in record._options.items()]
    value = "" if record.origin.compiling else short(readable(record, record._primal))
    return (
        str(record.index),
        titled(record),
        ", ".join(operands),
        str(record.shape),
        str(record.dtype),
        value,
    )


def readable(record: Any, x: Any) -> Any:
    """A record's value or cotangent as it is shown: that of a loop by the names of its results."""
    loop = record._options.get("loop")
    return x if loop is None or type(x) is not Parts else loop.name_results(x)


def titled(record: Any) -> str:
    """A record's name in text, or its op's."""
    return printable(record.name or record.op.name)


def operand(x: Any) -> str:
    """An operand as text: a record by its index, a constant abbreviated."""
    if hasattr(x, "_operands"):
        return f"%{x.index}"
    if isinstance(x, np.ndarray):
        return short(x) if x.ndim == 0 else f"{x.dtype}{list(x.shape)}"
    return repr(x)
