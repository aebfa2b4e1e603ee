"""Text for messages, tables and notebooks: records, values and kinds of objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapegrad.core.primitive import Parts
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.errors.words import MOST_LINES, columns, escape_html, printable, short

# these rules override a notebook's own style of cells
_RULES = "text-align: left !important; white-space: nowrap"
_STYLE = f"<style>table.tapegrad :is(td, th) {{{_RULES}}}</style>"


def rows_in_html(head: Iterable[str], rows: Iterable[Iterable[str]], rest: int) -> str:
    """Return a table in HTML, and the number of further rows."""
    body = [
        f"<tr>{''.join(f'<td><code>{escape_html(cell)}</code></td>' for cell in row)}</tr>"
        for row in rows
    ]
    top = "".join(f"<th>{escape_html(cell)}</th>" for cell in head)
    more = f"<p>... and {rest} more</p>" if rest > 0 else ""
    tables = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f"{_STYLE}<table class=tapegrad>{tables}</table>{more}"


_HEAD = ("line", "record", "operands", "shape", "dtype", "value")


def table(records: Iterable[Any], **further: Sequence[str]) -> str:
    """Return records as a table, one in each row; ``%0`` is the operand that line 0 holds.

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


if TYPE_CHECKING:
    TapeMixin = Tape
else:
    # its attributes are put onto Tape
    TapeMixin = object


class TapeText(TapeMixin):
    """The text of a tape: a table; a notebook shows its first rows."""

    __slots__ = ()

    def __str__(self) -> str:
        return table(self)

    def _repr_html_(self) -> str:
        rows = [cells(record) for record in self[:MOST_LINES]]
        return rows_in_html(_HEAD, rows, len(self) - len(rows))


def cells(record: Tensor) -> tuple[str, ...]:
    """Return a record's index, name, operands, shape, dtype and value as text."""
    operands = [operand_text(x) for x in record._operands]
    operands += [f"{name}={short(value)}" for name, value in record._options.items()]
    value = "" if record.origin.compiling else short(shown_value(record, record._primal))
    return (
        str(record.index),
        record_name(record),
        ", ".join(operands),
        str(record.shape),
        str(record.dtype),
        value,
    )


def shown_value(record: Tensor, x: object) -> object:
    """Return the text form of a record's value or cotangent; a loop's results have names."""
    loop = record._options.get("loop")
    return x if loop is None or type(x) is not Parts else loop.name_results(x)


def record_name(record: Tensor) -> str:
    """Return the name of a record, or of its op, as printable text."""
    return printable(record.name or record.op.name)


def operand_text(x: object) -> str:
    """Return the text of an operand: a record's index, or an abbreviated constant."""
    if type(x) is Tensor:
        return f"%{x.index}"
    if isinstance(x, np.ndarray):
        return short(x) if x.ndim == 0 else f"{x.dtype}{list(x.shape)}"
    return repr(x)
