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
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from tapegrad.core.cotangents import check_tape
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.errors import TraceError
from tapegrad.explain.inside import primal_of
from tapegrad.explain.profile import Profile, Row, figures_of
from tapegrad.explain.show.drawing import drawing
from tapegrad.explain.show.events import called, events
from tapegrad.explain.show.opened import section
from tapegrad.explain.show.replay import slopes
from tapegrad.explain.show.values import Texts
from tapegrad.explain.steps import sweep_steps
from tapegrad.explain.text import mark, swept
from tapegrad.face.lines import at_users_line
from tapegrad.face.text import cells, operand, printable


@at_users_line
def html(
    tape: Tape | Profile,
    output: Tensor | None = None,
    path: str | os.PathLike[str] | None = None,
    cotangent: Any = None,
) -> str:
    """A page that steps through a tape: forward, then the reverse sweep, and back.

    One self-contained file for any browser, offline too. It shows the tape as a table and as a
    graph, each contribution before and after broadcasting is undone, the sums as they grow, and
    the gradients as they are found; it can ask the reader to predict each of them first, and at
    its foot it checks the gradients against finite differences.

    Parameters
    ----------
    tape, output, cotangent
        As for `reverse_sweep`. Up to some 500 records make a page that is pleasant to use. Or, in
        the place of the first two, a `Profile`: the page then has its figures for each line.
    path
        A file to write the page to.

    Returns
    -------
    The page, a string of HTML.

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
    gradients = {step.record: primal_of(step.cotangent) for step in steps}
    known = {p: gradients.get(p, np.zeros(p.shape, p.dtype)) for p in tape.parameters}
    label = printable(tape.start.origin.label)
    texts = Texts()
    told = list(events(tape, steps, texts))
    rows, mapping = list(_rows(tape, gradients, texts)), list(_mapping(known, texts))
    data = {
        "records": [x.index for x in tape],
        "events": told,
        "zeros": [texts.opened(np.zeros(p.shape, p.dtype)) for p in known],
        "values": texts.numbered(),
    }
    text = Template(_file("page.html")).substitute(
        label=escape(label),
        summary=escape(_summary(tape, output)),
        rows="\n".join(rows),
        form="short" if texts.widest <= _SHORT and not tape.start.origin.lines else "",
        mapping="\n".join(mapping),
        graph=drawing(tape),
        opened=section({step.record: step for step in steps}, texts),
        costs="" if profile is None else _costs(profile),
        check=escape(_CHECKED),
        checked="\n".join(_checked(tape, output, cotangent, known)),
        css=_file("page.css"),
        js=_file("page.js"),
        # the text can contain neither the end of the element nor a comment
        data=json.dumps(data).replace("<", "\\u003c"),
    )
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


_SHORT = 20  # characters of a value, if a record and its values have one line

_CHECKED = (
    "Each parameter is moved a little along a fixed direction, the tape is computed again, and "
    "the change of the output is set beside what the gradient says."
)


def _file(name: str) -> str:
    return files("tapegrad.explain.show").joinpath(name).read_text(encoding="utf-8")


def _summary(tape: Tape, output: Tensor) -> str:
    n, m = len(tape), len(tape.parameters)
    return (
        f"{n} record{'s' * (n != 1)}, {m} parameter{'s' * (m != 1)}; the output is "
        f"{called(output)}."
    )


_COSTS = """\
<section aria-labelledby="took">
<h2 id="took">Time and memory</h2>
<p class="note">{notes}</p>
<div class="wide" tabindex="0" role="group" aria-labelledby="took">
<table id="costs">
<caption>What each line takes, in the order of the tape.</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
</section>
"""


def _costs(profile: Profile) -> str:
    """The section with the figures of a profile."""
    heads = "line", "record", "forward", "backward", "bytes", "freed at", "source"
    return _COSTS.format(
        notes=" ".join(map(escape, profile.notes())),
        head="".join([f'<th scope="col">{name}</th>' for name in heads]),
        rows="\n".join(_costs_of(profile.rows)),
    )


def _costs_of(rows: Iterable[Row], within: str = "") -> Iterator[str]:
    for row in rows:
        *figures, line, name, source = figures_of(row, within)
        line = line if within else f'<a href="#line-{line}">%{line}</a>'
        cells = "".join([f"<td>{escape(x)}</td>" for x in (name, *figures, source)])
        yield f'<tr><th scope="row">{line}</th>{cells}</tr>'
        yield from _costs_of(row.inside, f"{within}- ")


# --- the tables -----------------------------------------------------------------------------


def _rows(tape: Tape, reached: Mapping[Tensor, Any], texts: Texts) -> Iterator[str]:
    before, inner = None, swept(tape)
    for record in tape:
        # a line of source stands at the first of its records
        place = record.place if record.place != before else None
        yield _row(record, reached, mark(record, inner, reached), place, texts)
        before = record.place


def _row(
    record: Tensor, reached: Mapping[Tensor, Any], marked: str, place: Any, texts: Texts
) -> str:
    n = record.index
    given = [_linked(x) for x in record._operands]
    given += [escape(f"{name}={value}") for name, value in record._options.items()]
    note = f' <span class="mark">{escape(marked)}</span>' if marked else ""
    if place and place.text:
        where = escape(printable(f"{place.file}:{place.number}"))
        source = escape(printable(f"{place.number}: {place.text}"))
        note += f'<br><span class="source" title="{where}">{source}</span>'
    known = escape(texts.brief(reached[record])) if record in reached else ""
    # the elements' own roles, which they lose when a narrow page lays them out anew
    return (
        f'<tr role="row" id="line-{n}"><th role="rowheader" scope="row">{n}</th>'
        f'<td role="cell" class="record">{escape(cells(record)[1])}{note}</td>'
        f'<td role="cell" class="operands">{", ".join(given)}</td>'
        f'<td role="cell" class="shape">{record.shape} {record.dtype}</td>'
        f'<td role="cell" class="value">{texts.html(record._primal)}</td>'
        f'<td role="cell" class="cotangent">{known}</td></tr>'
    )


def _linked(x: Any) -> str:
    if type(x) is Tensor:
        return f'<a href="#line-{x.index}">{operand(x)}</a>'
    # a number that is not cut
    return escape(f"{x:.6g}" if type(x) is float else operand(x))


def _mapping(gradients: Mapping[Tensor, Any], texts: Texts) -> Iterator[str]:
    for p, gradient in gradients.items():
        yield (
            f'<tr data-line="{p.index}"><th scope="row">'
            f"{escape(printable(p.name or ''))} {_linked(p)}</th>"
            f"<td>{escape(texts.brief(gradient))}</td></tr>"
        )


def _checked(
    tape: Tape, output: Tensor, cotangent: Any, gradients: Mapping[Tensor, Any]
) -> Iterator[str]:
    for p, exact, numeric, agrees in slopes(tape, output, cotangent, gradients):
        result, kind = ("agrees", "ok") if agrees else ("differs", "off")
        if numeric is None:
            result, kind = "not checked: a checkpoint is on the way", "quiet"
        yield (
            f'<tr><th scope="row">{escape(printable(p.name or operand(p)))}</th>'
            f"<td>{exact:.8g}</td><td>{'' if numeric is None else f'{numeric:.8g}'}</td>"
            f'<td class="{kind}">{result}</td></tr>'
        )
