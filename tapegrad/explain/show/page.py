"""A page that steps a reader through a tape, forward and backward.

The page is one file that loads nothing else. All of its numbers are written here; its script
(``page.js``) only decides which of them to show.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from tapegrad.arraylike.text import cells, operand_text
from tapegrad.core.tape import Tape, descendants
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.errors import TraceError
from tapegrad.errors.lines import Place, warns_at_users_line
from tapegrad.errors.words import printable
from tapegrad.explain.figures import Profile, Row, row_cells
from tapegrad.explain.inside import Run, displayed_value
from tapegrad.explain.reach import line_title
from tapegrad.explain.show.drawing import draw_svg
from tapegrad.explain.show.events import (
    Event,
    Texts,
    forward_event,
    page_name,
    run_events,
    sweep_events,
)
from tapegrad.explain.steps import Step, sweep_steps
from tapegrad.explain.text import gradient_mark, inner_sweep_records
from tapegrad.explain.why import Sentence, zero_reasons
from tapegrad.ops.casting import stopped
from tapegrad.transforms.checkpoint import CHECKPOINT
from tapegrad.transforms.reverse import check_tape

_MAX_SHORT = 20  # characters of a value, if a record and its values fit on one line
_MAX_STEPS = 12  # the most steps of a loop on a page, counted from the last


class Page(str):
    """A page, which a notebook shows in a frame."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<a page of {len(self):,} characters; tg.show.html(tape, output, path) writes it>"

    def _repr_html_(self) -> str:
        style = "width: 100%; height: 48rem; border: 0; resize: vertical"
        return f'<iframe style="{style}" sandbox="allow-scripts" srcdoc="{escape(self)}"></iframe>'


@warns_at_users_line
def html(
    tape: Tape | Profile,
    output: Tensor | None = None,
    path: str | os.PathLike[str] | None = None,
    cotangent: Any = None,
) -> Page:
    """A page that steps through a tape: forward, then the reverse sweep, and back.

    One self-contained file for any browser, offline too. It shows the tape as a table and as a
    graph, each contribution before and after it is summed over broadcast axes, the growing sums,
    and the gradients, each zero with its reason from `why_zero`. It can ask the reader to predict
    each of them first, and at its foot it checks the gradients against finite differences.

    Parameters
    ----------
    tape, output, cotangent
        As for `reverse_sweep`. A page is pleasant to use up to some 500 records. Or, in place of
        the tape and the output, a `Profile`, whose figures the page then shows for each line.
    path
        A file to write the page to.

    Returns
    -------
    The page, a string of HTML. A notebook shows it in a frame.

    Raises
    ------
    TypeError, ValueError, TapeError
        As for `reverse_sweep`.
    TraceError
        While compiling, where values are not known.

    Examples
    --------
    >>> import tapegrad as tg
    >>> output, tape = tg.record(lambda w: tg.sum(w * w))(np.array([1.0, 2.0]))
    >>> page = tg.show.html(tape, output)
    >>> page.startswith("<!DOCTYPE html>"), "src=" in page
    (True, False)
    """
    profile = tape if isinstance(tape, Profile) else None
    if profile is not None:
        tape, output = profile.tape, profile.output  # type: ignore[assignment]
        if output is not None and cotangent is None:
            cotangent = np.ones(output.shape, output.dtype)
    check_tape(tape)
    assert isinstance(tape, Tape)
    if tape.start.origin.compiling:
        raise TraceError("a page shows values, which are not known while compiling")
    steps = list(sweep_steps(tape, output, cotangent))  # type: ignore[arg-type]
    assert output is not None
    reached = {step.record: displayed_value(step.record, step.cotangent) for step in steps}
    gradients = {p: reached.get(p, np.zeros(p.shape, p.dtype)) for p in tape.parameters}
    texts = Texts()
    within: dict[Tensor, list[tuple[Event, Event]]] = {step.record: [] for step in steps}
    opened = [part for step in steps for part in _run_details(step, step.record, texts, within)]
    forth = {x: [event for event, _ in reversed(pairs)] for x, pairs in within.items()}
    back = {x: [event for _, event in pairs] for x, pairs in within.items()}
    data = {
        "records": [x.index for x in tape],
        "forward": [event for x in tape for event in (*forth.get(x, ()), forward_event(x))],
        "events": list(sweep_events(tape, steps, texts, back)),
        "zeros": [texts.expandable_piece(np.zeros(p.shape, p.dtype)) for p in gradients],
        "values": texts.numbered_texts(),
    }
    n, m = len(tape), len(tape.parameters)
    text = Template(_read_file("page.html")).substitute(
        label=escape(printable(tape.start.origin.label)),
        summary=escape(
            f"{n} record{'s' * (n != 1)}, {m} parameter{'s' * (m != 1)}; the output is "
            f"{page_name(output)}."
        ),
        rows="\n".join(_record_rows(tape, reached, texts)),
        mapping="\n".join(_gradient_rows(gradients, zero_reasons(tape, output, steps), texts)),
        # the rows above have added the texts of both tables
        form="short" if texts.max_width <= _MAX_SHORT and not tape.start.origin.has_lines else "",
        graph=draw_svg(tape),
        opened=_runs_section("\n".join(opened)) if opened else "",
        costs="" if profile is None else _costs_section(profile),
        checked="\n".join(_check_rows(tape, output, cotangent, gradients)),
        css=_read_file("page.css"),
        js=_read_file("page.js"),
        # the text can contain neither the end of the element nor a comment
        data=json.dumps(data).replace("<", "\\u003c"),
    )
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return Page(text)


def _read_file(name: str) -> str:
    return files("tapegrad.explain.show").joinpath(name).read_text(encoding="utf-8")


def _html_table(
    attributes: str, head: Iterable[str], rows: Iterable[str], caption: str = ""
) -> str:
    columns = "".join([f'<th scope="col">{name}</th>' for name in head])
    lines = [f"<table {attributes}>", *([f"<caption>{caption}</caption>"] if caption else [])]
    lines += [f"<thead><tr>{columns}</tr></thead>", "<tbody>", *rows, "</tbody>", "</table>"]
    return "\n".join(lines)


def _html_section(section_id: str, title: str, note: str, content: str) -> str:
    return (
        f'<section aria-labelledby="{section_id}">\n<h2 id="{section_id}">{title}</h2>\n'
        f'<p class="note">{note}</p>\n<div class="wide" tabindex="0" role="group" '
        f'aria-labelledby="{section_id}">\n{content}\n</div>\n</section>\n'
    )


# --- the records and their gradients --------------------------------------------------------


def _record_rows(tape: Tape, reached: Mapping[Tensor, Any], texts: Texts) -> Iterator[str]:
    before, inner = None, inner_sweep_records(tape)
    for record in tape:
        # a line of source stands at the first of its records
        place = record.place if record.place != before else None
        yield _record_row(record, reached, gradient_mark(record, inner, reached), place, texts)
        before = record.place


def _record_row(
    record: Tensor, reached: Mapping[Tensor, Any], marked: str, place: Any, texts: Texts
) -> str:
    n = record.index
    operands = [_link_operand(x) for x in record._operands]
    operands += [escape(f"{name}={value}") for name, value in record._options.items()]
    note = f' <span class="mark">{escape(marked)}</span>' if marked else ""
    note += _source_html(place)
    known = escape(texts.abbreviate(reached[record])) if record in reached else ""
    # explicit roles, which the elements lose in the layout of a narrow page
    return (
        f'<tr role="row" id="line-{n}"><th role="rowheader" scope="row">{n}</th>'
        f'<td role="cell" class="record">{escape(cells(record)[1])}{note}</td>'
        f'<td role="cell" class="operands">{", ".join(operands)}</td>'
        f'<td role="cell" class="shape">{record.shape} {record.dtype}</td>'
        f'<td role="cell" class="value">{texts.html(displayed_value(record, record._primal))}</td>'
        f'<td role="cell" class="cotangent">{known}</td></tr>'
    )


def _source_html(place: Place | None) -> str:
    if not (place and place.text):
        return ""
    where = escape(printable(f"{place.file}:{place.number}"))
    text = escape(printable(f"{place.number}: {place.text}"))
    return f'<br><span class="source" title="{where}">{text}</span>'


def _link_operand(x: Any) -> str:
    if type(x) is Tensor:
        return f'<a href="#line-{x.index}">{operand_text(x)}</a>'
    # a number that is not cut
    return escape(f"{x:.6g}" if type(x) is float else operand_text(x))


def _gradient_rows(
    gradients: Mapping[Tensor, Any], reasons: Mapping[Tensor, Sentence], texts: Texts
) -> Iterator[str]:
    """Yield the rows of the gradients, each zero with its reason."""
    for p, gradient in gradients.items():
        reason = _reason_html(reasons[p]) if p in reasons else ""
        yield (
            f'<tr data-line="{p.index}"><th scope="row">'
            f"{escape(printable(p.name or ''))} {_link_operand(p)}</th>"
            f'<td>{escape(texts.abbreviate(gradient))}</td><td class="why">{reason}</td></tr>'
        )


def _reason_html(sentence: Sentence) -> str:
    """Return a sentence in HTML, with a link to each record in it."""
    parts = [
        f'<a href="#line-{x.index}">{escape(printable(line_title(x)))}</a>'
        if type(x) is Tensor
        else escape(printable(str(x)))
        for x in sentence.parts
    ]
    return "".join(parts)


# --- inside loops, branches and checkpointed calls ------------------------------------------


def _runs_section(runs: str) -> str:
    """Return the section with the runs inside the records of a tape."""
    title = "Inside loops, branches and checkpointed calls"
    note = (
        "Each run of a body on a separate tape, from the last to the first; of a loop the last "
        f"{_MAX_STEPS} steps."
    )
    return _html_section("opened", title, note, runs)


def _run_details(
    step: Step, top: Tensor, texts: Texts, within: Mapping[Tensor, list[tuple[Event, Event]]]
) -> Iterator[str]:
    """Yield the nested runs inside a record, and add their events to the outermost record's."""
    record = step.record
    heads = "line", "record", "operands", "value", "cotangent"
    for run in islice(step.inside, _MAX_STEPS):
        number = sum(map(len, within.values()))
        which = "" if run.step is None else f", step {run.step}"
        title = printable(
            f"Inside %{record.index} {record.op.name} of {record.origin.label}{which}"
        )
        forth, back = run_events(run, title, texts)
        place = {"line": top.index, "run": number}
        within[top].append(({**forth, **place}, {**back, **place}))
        table = _html_table("", heads, _run_rows(run, texts))
        inner = "\n".join([part for x in run.steps for part in _run_details(x, top, texts, within)])
        yield (
            f'<details id="run-{number}"{"" if number else " open"}>'
            f"<summary>{escape(title)}</summary>\n{table}\n{inner}</details>"
        )


def _run_rows(run: Run, texts: Texts) -> Iterator[str]:
    known = {x.record: displayed_value(x.record, x.cotangent) for x in run.steps}
    for record in run.tape:
        n, name, operands, *_ = map(escape, cells(record))
        g = texts.html(known[record]) if record in known else ""
        source = _source_html(record.place)
        yield (
            f'<tr><th scope="row">{n}</th><td>{name}{source}</td><td>{operands}</td>'
            f'<td class="value">{texts.html(displayed_value(record, record._primal))}</td>'
            f'<td class="cotangent">{g}</td></tr>'
        )


# --- time and memory ------------------------------------------------------------------------


def _costs_section(profile: Profile) -> str:
    """Return the section with the figures of a profile."""
    heads = "line", "record", "forward", "backward", "bytes", "freed at", "source"
    caption = "What each line takes, in the order of the tape."
    table = _html_table('id="costs"', heads, _costs_rows(profile.rows), caption)
    return _html_section("took", "Time and memory", " ".join(map(escape, profile.notes())), table)


def _costs_rows(rows: Iterable[Row], within: str = "") -> Iterator[str]:
    for row in rows:
        *figures, line, name, source = row_cells(row, within)
        line = line if within else f'<a href="#line-{line}">%{line}</a>'
        further = "".join([f"<td>{escape(x)}</td>" for x in (name, *figures, source)])
        yield f'<tr><th scope="row">{line}</th>{further}</tr>'
        yield from _costs_rows(row.inside, f"{within}- ")


# --- the check by finite differences --------------------------------------------------------


def _check_rows(
    tape: Tape, output: Tensor, cotangent: Any, gradients: Mapping[Tensor, Any]
) -> Iterator[str]:
    for p, gradient in gradients.items():
        exact, numeric, agrees = _compare_slopes(tape, output, cotangent, p, gradient)
        result, kind = ("agrees", "ok") if agrees else ("differs", "off")
        if numeric is None:
            result, kind = "not checked: a checkpoint is on the way", "quiet"
        yield (
            f'<tr><th scope="row">{escape(printable(p.name or operand_text(p)))}</th>'
            f"<td>{exact:.8g}</td><td>{'' if numeric is None else f'{numeric:.8g}'}</td>"
            f'<td class="{kind}">{result}</td></tr>'
        )


def _compare_slopes(
    tape: Tape, output: Tensor, cotangent: Any, p: Tensor, gradient: Any
) -> tuple[float, float | None, bool]:
    """Return the slope along a direction by the gradient, and by finite differences.

    The third result is whether the slopes agree within rounding and truncation errors. There are no
    differences if a checkpoint is on the path, since its records are not on the tape.
    """
    weight = np.ones(output.shape) if cotangent is None else np.asarray(cotangent)
    value = np.asarray(p._primal)
    # a direction without symmetries, which could hide a wrong gradient
    direction = np.cos(1.0 + np.arange(value.size)).reshape(value.shape)
    if value.dtype.kind == "c":
        direction = direction + 1j * np.sin(2.0 + np.arange(value.size)).reshape(value.shape)
    exact = _inner_product(gradient, direction)
    if any(x.op is CHECKPOINT for x in descendants(Tape(tape.last, tape.start, (p,)))):
        return exact, None, False
    root = float(np.cbrt(np.finfo(value.dtype).eps))
    step = root * max(1.0, float(np.max(np.abs(value), initial=0)))
    ends = [
        _inner_product(
            weight, replay(tape, {p: (value + h * direction).astype(value.dtype)})[output]
        )
        for h in (step, -step)
    ]
    numeric = (ends[0] - ends[1]) / (2 * step)
    most = max(abs(exact), abs(numeric), abs(ends[0]), 1e-3)
    return exact, numeric, abs(exact - numeric) <= 1000 * root**2 * most


def _inner_product(gradient: Any, direction: Any) -> float:
    """Return the slope along a direction from a gradient."""
    return float(np.sum(np.real(np.conj(gradient) * direction), dtype=float))


def replay(tape: Tape, values: Mapping[Tensor, Any]) -> dict[Tensor, Any]:
    """Return the values of a tape's records for other values of some records.

    The result of `stop_gradient` is a constant and keeps its value.
    """
    known = dict(values)
    for record in tape:
        if record in known:
            continue
        operands = [known.get(x, x._primal) if type(x) is Tensor else x for x in record._operands]
        if not operands or record.op is stopped:
            known[record] = record._primal
        elif record.op is PARAMETER:
            known[record] = operands[0]
        else:
            known[record] = record.op.forward(*operands, **record._options)
    return known
