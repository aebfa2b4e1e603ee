"""Print a tape with its cotangents and the runs inside its records, and reports."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import attrs

from tapegrad.arraylike.text import rows_in_html, table
from tapegrad.core.sweep import SWEEP
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.errors.words import Text, columns, short
from tapegrad.explain.inside import HOLDERS, displayed_value, last_run
from tapegrad.explain.rules import passing_positions
from tapegrad.explain.steps import Step, sweep_steps

# rows of a printed table
MAX_ROWS = 24


def format_tape(tape: Tape, output: Tensor | None, cotangent: Any) -> Text:
    """Return the text of `Tape.show`."""
    if output is None:
        return Text(_format_table(tape, None))
    return Text(
        _format_table(tape, {step.record: step for step in sweep_steps(tape, output, cotangent)})
    )


def _format_table(tape: Tape, steps: Mapping[Tensor, Step] | None) -> str:
    """Format a tape as a table, with a table of the last run of each record that holds others.

    Parameters
    ----------
    tape
        The tape.
    steps
        The steps of a sweep over it, by record; None if there was none.
    """
    inner, further = inner_sweep_records(tape), {}
    if steps is not None:
        further["cotangent"] = [
            short(displayed_value(x, steps[x].cotangent)) if x in steps else "" for x in tape
        ]
    marks = [gradient_mark(x, inner, steps) for x in tape]
    further |= {"gradient": marks} if any(marks) else {}
    places = [x.place for x in tape]
    if tape.start.origin.has_lines and any(places):
        further["source"] = [f"{x.number}: {x.text}" if x else "" for x in places]
    texts = [table(tape, **further)]
    for record in tape:
        if record.op in HOLDERS and not tape.start.origin.compiling:
            texts += _format_inner_run(record, steps)
    return "\n\n".join(texts)


def _format_inner_run(record: Tensor, steps: Mapping[Tensor, Step] | None) -> Iterator[str]:
    """Format the last run of a record, with its cotangents if there was a sweep."""
    is_swept = steps is not None and record in steps
    run = next(iter(steps[record].inside), None) if steps and is_swept else last_run(record)
    if run is not None:
        inner = None if steps is None else {step.record: step for step in run.steps}
        which = "" if run.step is None else f", step {run.step}, the last"
        table_text = _format_table(run.tape, inner)
        yield f"inside line {record.index}, {record.op.name}{which}:\n{table_text}"


# --- marks ----------------------------------------------------------------------------------


def inner_sweep_records(tape: Tape) -> frozenset[Tensor]:
    """Return the records that sweeps inside a recording wrote, such as the sweep of `grad`."""
    since = [(x._options["since"], x.index) for x in tape if x.op is SWEEP]
    return frozenset(x for x in tape if any(first < x.index <= last for first, last in since))


def gradient_mark(
    record: Tensor, inner: Container[Tensor], reached: Container[Tensor] | None = None
) -> str:
    """Return a mark of a record where gradients stop or an inner recording begins; or "".

    Parameters
    ----------
    record
        The record.
    inner
        The records that inner sweeps wrote; see `inner_sweep_records`.
    reached
        The records that have a cotangent, if there was a sweep.
    """
    if record.op is PARAMETER:
        begins = ["inner recording begins"] if record._operands else []
        lacks = ["gets none"] if reached is not None and record not in reached else []
        return ", ".join(begins + lacks)
    if record in inner:
        return "inner sweep"
    from_records = [i for i, x in enumerate(record._operands) if type(x) is Tensor]
    ends = from_records and passing_positions(record).isdisjoint(from_records)
    return "stops here" if ends else ""


# --- reports --------------------------------------------------------------------------------


@attrs.frozen
class Table:
    """Rows of cells under a head; the first rows are shown.

    Attributes
    ----------
    head, rows
        The cells.
    right
        The number of columns that are aligned to the right.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: int

    def __str__(self) -> str:
        more = len(self.rows) - MAX_ROWS
        text = columns(self.head, self.rows[:MAX_ROWS], range(self.right))
        return f"{text}\n... and {more} more" if more > 0 else text

    def _repr_html_(self) -> str:
        return rows_in_html(self.head, self.rows[:MAX_ROWS], len(self.rows) - MAX_ROWS)


class Report:
    """Findings with a ``label``, a ``summary``, and ``details``: sentences, tables, texts.

    A notebook shows each line of a sentence as a paragraph, and other details by their HTML.
    """

    __slots__ = ()

    def __repr__(self: Any) -> str:
        return f"<{type(self).__name__} of {self.label}: {self.summary}>"

    def __str__(self) -> str:
        return "\n\n".join(map(str, self._parts()))

    def _repr_html_(self) -> str:
        return "".join(
            x._repr_html_()
            if hasattr(x, "_repr_html_")
            else f"<p>{escape(x).replace(chr(10), '</p><p>')}</p>"
            for x in self._parts()
        )

    def _parts(self: Any) -> list[Any]:
        return [f"{self.label}: {self.summary}", *self.details()]
