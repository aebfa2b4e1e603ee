"""The figures of a profile: rows, their sums by line of source, and tables of both."""

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
        Its line on the tape, or its place among the instructions.
    place
        The line of your source that it was written for: a `Place`, with ``file``, ``number`` and
        ``text``.
    bytes
        The memory of its value that no earlier record holds: 0 for a view of one.
    extra_bytes
        The most that its op allocates besides, forward or backward, while it runs.
    freed_at
        The line at which the sweep frees the value; None if it stays, as parameters and outputs do.
    forward_s, backward_s
        Seconds.
    steps
        How often it ran.
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
        """A parameter's name, or the op's."""
        named = self.record.op is PARAMETER and self.record.name
        return printable(named or self.record.op.name)

    def __str__(self) -> str:
        return "  ".join(filter(None, row_cells(self)))


@attrs.frozen
class Total:
    """The time and the memory of all lines of one line of source.

    Attributes
    ----------
    n
        How many there are.
    bytes, forward_s, backward_s
        Their sums.
    """

    n: int
    bytes: int
    forward_s: float
    backward_s: float


@attrs.frozen(eq=False, repr=False)
class Profile(Report):
    """The result of `profile`. ``str()`` of it is a table.

    Attributes
    ----------
    label
        The function.
    rows
        A `Row` for each line of the tape, in order.
    peak_bytes
        The most memory that is held at a time: the tape's values with its copies of constants,
        the cotangents, and what the ops allocate as they run. Your own arrays are not in it.
    peak_at
        Where that is: ``"forward"`` or ``"backward"``, and the line; None for a compiled function.
    recording_s
        The seconds of a recorded call beside `forward_s`: Python, your function's and the tape's.
    noise
        By how much the median of the rounds is above the shortest, as a part of that, over all
        lines.
    tick_s
        Seconds that reading the clock takes, which are taken off.
    rounds
        How many rounds each line had.
    tape, output
        The tape, and the record that the sweep began at; None for a compiled function.
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
        """The seconds of all lines, forward."""
        return sum(row.forward_s for row in self.rows)

    @property
    def backward_s(self) -> float:
        """The seconds of all lines, backward."""
        return sum(row.backward_s for row in self.rows)

    def by_place(self) -> dict[Place, Total]:
        """The sums by line of source, the longest first.

        Lines inside loops, branches and checkpointed calls count at their own place, and what
        these take beside is at the place of the call.
        """
        sums: dict[Place, Total] = {}
        for row in _leaf_rows(self.rows):
            of_row = 1, row.bytes, row.forward_s, row.backward_s
            before = attrs.astuple(sums.get(row.place, Total(0, 0, 0.0, 0.0)))
            sums[row.place] = Total(*map(add, before, of_row))
        return dict(sorted(sums.items(), key=lambda pair: -_total_seconds(pair[1])))

    @property
    def summary(self) -> str:
        """Its times and its peak, in words."""
        where = "" if self.peak_at is None else f" ({self.peak_at[0]}, line {self.peak_at[1]})"
        times = (
            f"forward {format_seconds(self.forward_s)}, backward {format_seconds(self.backward_s)}"
        )
        return f"{times}, peak {format_bytes(self.peak_bytes)}{where}"

    def notes(self) -> Iterator[str]:
        """How it was measured, and the time that Python takes, in words."""
        yield (
            f"Each line ran alone; of {self.rounds} rounds the shortest counts, and the median is "
            f"{self.noise:.0%} longer. {format_seconds(self.tick_s)} of each, for the clock, is "
            "taken off."
        )
        if self.recording_s:
            more = format_seconds(self.recording_s)
            yield f"Python, your function's and the tape's, takes {more} more."

    def details(self) -> list[Any]:
        """Its tables and its notes."""
        sums = [_total_cells(*pair) for pair in self.by_place().items()]
        tables = Table(_ROWS_HEAD, _sorted_cells(self.rows), 5), Table(_TOTALS_HEAD, sums, 4)
        return [*tables, "\n".join(self.notes())]


_ROWS_HEAD = ("forward", "backward", "bytes", "freed at", "line", "record", "source")
_TOTALS_HEAD = ("forward", "backward", "bytes", "lines", "source")


def format_seconds(seconds: float) -> str:
    """Seconds in words, with three digits."""
    return (
        _format_in_units(seconds, {"s": 1.0, "ms": 1e-3, "us": 1e-6}) or f"{seconds / 1e-9:.0f} ns"
    )


def format_bytes(n: int) -> str:
    """Bytes in words."""
    return _format_in_units(n, {"GB": 1e9, "MB": 1e6, "kB": 1e3}) or f"{n} B"


def _format_in_units(x: float, units: Mapping[str, float]) -> str:
    """A number in the first unit that it reaches, with three digits; empty if it reaches none."""
    return next((f"{x / size:.3g} {unit}" for unit, size in units.items() if x >= size), "")


def format_place(place: Place) -> str:
    """A place in words, with its file's name alone."""
    file = place.file.replace("\\", "/").rpartition("/")[2]
    return printable(f"{file}{str(place).removeprefix(place.file)}")


def _total_seconds(row: Row | Total) -> float:
    return row.forward_s + row.backward_s


def row_cells(row: Row, indent: str = "") -> tuple[str, ...]:
    """A row as cells: times, bytes, where they are freed, the line, its name and its place."""
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
    """The cells of rows, sorted by time, each with those inside it below."""
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
    """The rows that hold no others; those that do hold some, with the rest of their times."""
    for row in rows:
        if row.inside:
            yield from _leaf_rows(row.inside)
            for name in ("forward_s", "backward_s"):
                inside = sum(getattr(x, name) for x in row.inside)
                row = attrs.evolve(row, **{name: max(0.0, getattr(row, name) - inside)})
        yield row
