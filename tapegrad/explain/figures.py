"""The rows of a profile, their totals by line of source, and tables of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import add
from typing import Any

import attrs

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.errors.lines import Place
from tapegrad.errors.words import printable
from tapegrad.explain.text import Report, Table


@attrs.frozen(eq=False)
class Row:
    """The time and the memory of one line.

    Attributes
    ----------
    record
        The record. In a compiled function, the `Instruction`.
    line
        The line on the tape, or the position among the instructions.
    place
        The line of your source that wrote the record: a `Place`, with ``file``, ``number`` and
        ``text``.
    bytes
        The memory of the value that no earlier record holds: 0 for a view.
    extra_bytes
        The most memory that the op allocates besides while it runs, forward or backward.
    freed_at
        The line at which the sweep frees the value; None if it stays, as parameters and outputs do.
    forward_s, backward_s
        Seconds.
    steps
        The number of times that the line ran.
    inside
        The lines inside a loop, a branch or a checkpointed call, summed over the steps.
    """

    record: Any
    line: int
    place: Place
    bytes: int = 0
    extra_bytes: int = 0
    freed_at: int | None = None
    forward_s: float = 0.0
    backward_s: float = 0.0
    steps: int = 1
    inside: tuple[Row, ...] = ()

    @property
    def name(self) -> str:
        """The name of a parameter, or of the op."""
        named = self.record.op is PARAMETER and self.record.name
        return printable(named or self.record.op.name)

    def __str__(self) -> str:
        return "  ".join(filter(None, row_cells(self)))


@attrs.frozen
class Total:
    """The time and the memory of all tape lines of one line of source.

    Attributes
    ----------
    n
        The number of tape lines.
    bytes, forward_s, backward_s
        The sums over these lines.
    """

    n: int
    bytes: int
    forward_s: float
    backward_s: float


@attrs.frozen(eq=False, repr=False)
class Profile(Report):
    """The result of `profile`; its ``str()`` is a table.

    Attributes
    ----------
    label
        The function.
    rows
        A `Row` for each line of the tape, in order.
    peak_bytes
        The most memory that is held at a time: the tape's values with its copies of constants,
        the cotangents, and the ops' allocations while they run. It excludes your arguments.
    peak_at
        The position of the peak: ``"forward"`` or ``"backward"``, and the line; None for a compiled
        function.
    recording_s
        The seconds of a recorded call beside `forward_s`: Python's, in your function and the tape.
    noise
        The relative excess of the median round over the shortest, over all lines.
    tick_s
        The seconds that a reading of the clock takes, which are subtracted.
    rounds
        The number of rounds of each line.
    tape, output
        The tape, and the record where the sweep began; None for a compiled function.
    """

    label: str
    rows: tuple[Row, ...]
    peak_bytes: int
    peak_at: tuple[str, int] | None
    recording_s: float
    noise: float
    tick_s: float
    rounds: int
    tape: Tape | None = None
    output: Tensor | None = None

    @property
    def forward_s(self) -> float:
        """The total seconds of all lines, forward."""
        return sum(row.forward_s for row in self.rows)

    @property
    def backward_s(self) -> float:
        """The total seconds of all lines, backward."""
        return sum(row.backward_s for row in self.rows)

    def by_place(self) -> dict[Place, Total]:
        """Return totals by line of source, the longest first.

        Lines inside loops, branches and checkpointed calls count at their own line of source, and
        the rest of the time of the call at the line of the call.
        """
        sums: dict[Place, Total] = {}
        for row in _leaf_rows(self.rows):
            figures = 1, row.bytes, row.forward_s, row.backward_s
            total = attrs.astuple(sums.get(row.place, Total(0, 0, 0.0, 0.0)))
            sums[row.place] = Total(*map(add, total, figures))
        return dict(sorted(sums.items(), key=lambda pair: -_total_seconds(pair[1])))

    @property
    def summary(self) -> str:
        """The times and the peak of the memory, in words."""
        where = "" if self.peak_at is None else f" ({self.peak_at[0]}, line {self.peak_at[1]})"
        times = (
            f"forward {format_seconds(self.forward_s)}, backward {format_seconds(self.backward_s)}"
        )
        return f"{times}, peak {format_bytes(self.peak_bytes)}{where}"

    def notes(self) -> Iterator[str]:
        """Yield sentences about the measurement and the time that Python takes."""
        yield (
            f"Each line ran alone; of {self.rounds} rounds the shortest counts, and the median is "
            f"{self.noise:.0%} longer. {format_seconds(self.tick_s)} of each, for the clock, is "
            "taken off."
        )
        if self.recording_s:
            more = format_seconds(self.recording_s)
            yield f"Python, your function's and the tape's, takes {more} more."

    def details(self) -> list[Any]:
        """Return the tables and the notes."""
        sums = [_total_cells(*pair) for pair in self.by_place().items()]
        tables = Table(_ROWS_HEAD, _sorted_cells(self.rows), 5), Table(_TOTALS_HEAD, sums, 4)
        return [*tables, "\n".join(self.notes())]


_ROWS_HEAD = ("forward", "backward", "bytes", "freed at", "line", "record", "source")
_TOTALS_HEAD = ("forward", "backward", "bytes", "lines", "source")


def format_seconds(seconds: float) -> str:
    """Format seconds, with three digits."""
    return (
        _format_in_units(seconds, {"s": 1.0, "ms": 1e-3, "us": 1e-6}) or f"{seconds / 1e-9:.0f} ns"
    )


def format_bytes(n: int) -> str:
    """Format a number of bytes."""
    return _format_in_units(n, {"GB": 1e9, "MB": 1e6, "kB": 1e3}) or f"{n} B"


def _format_in_units(x: float, units: Mapping[str, float]) -> str:
    """Format a number in the first unit that it reaches, with three digits; "" for none."""
    return next((f"{x / size:.3g} {unit}" for unit, size in units.items() if x >= size), "")


def format_place(place: Place) -> str:
    """Format a place, without the directory of its file."""
    file = place.file.replace("\\", "/").rpartition("/")[2]
    return printable(f"{file}{str(place).removeprefix(place.file)}")


def _total_seconds(row: Row | Total) -> float:
    return row.forward_s + row.backward_s


def row_cells(row: Row, indent: str = "") -> tuple[str, ...]:
    """Return a row as cells: times, bytes, the line that frees them, the line, name and place."""
    return (
        format_seconds(row.forward_s) if row.forward_s else "",
        format_seconds(row.backward_s) if row.backward_s else "",
        format_bytes(row.bytes) if row.bytes else "",
        "" if row.freed_at is None or not row.bytes else str(row.freed_at),
        str(row.line),
        f"{indent}{row.name}" + (f" x {row.steps}" if row.steps > 1 else ""),
        format_place(row.place),
    )


def _sorted_cells(rows: Iterable[Row], indent: str = "") -> list[tuple[str, ...]]:
    """Return the cells of rows, sorted by time, each followed by its inner rows."""
    lines = []
    for row in sorted(rows, key=lambda row: -_total_seconds(row)):
        lines += [row_cells(row, indent), *_sorted_cells(row.inside, indent + "  ")]
    return lines


def _total_cells(place: Place, total: Total) -> tuple[str, ...]:
    return (
        format_seconds(total.forward_s),
        format_seconds(total.backward_s),
        format_bytes(total.bytes),
        str(total.n),
        format_place(place) or "(elsewhere)",
    )


def _leaf_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows without inner rows, and other rows with the rest of their times."""
    for row in rows:
        if row.inside:
            yield from _leaf_rows(row.inside)
            for name in ("forward_s", "backward_s"):
                inside = sum(getattr(x, name) for x in row.inside)
                row = attrs.evolve(row, **{name: max(0.0, getattr(row, name) - inside)})
        yield row
