"""A page that steps a reader through a tape, forward and back.

The page is one file that asks nobody for anything. All numbers on it are written here;
its script (``page.js``) only decides which of them are seen.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import attrs
import numpy as np

from tapegrad.core.ownership import Array
from tapegrad.core.steps import Contribution, Step, sweep_steps
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.errors import TraceError
from tapegrad.face.text import cells, operand, printable, short
from tapegrad.show.drawing import drawing
from tapegrad.show.inner import swept
from tapegrad.show.marks import mark
from tapegrad.show.replay import slopes
from tapegrad.show.text import primal_of

_MOST_TEXT = 4000  # characters of one array, opened
_MOST_HEAT = 16  # rows and columns of a heat map


def html(
    tape: Tape,
    output: Tensor,
    path: str | os.PathLike[str] | None = None,
    cotangent: Any = None,
) -> str:
    """A page that steps through a tape: forward, then the reverse sweep, and back.

    One self-contained file for any browser, offline too. It shows the tape as a table and
    as a graph, each contribution before and after broadcasting is undone, the sums as they
    grow, and the gradients as they are found; it can ask the reader to predict each of
    them first, and checks the gradients against differences at its foot.

    Parameters
    ----------
    tape, output, cotangent
        As for `reverse_sweep`. Up to some 500 records make a page that is pleasant to use.
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
    if tape.start.origin.compiling:
        raise TraceError("a page shows values, which are not known while compiling")
    steps = list(sweep_steps(tape, output, cotangent))
    gradients = {step.record: primal_of(step.cotangent) for step in steps}
    known = {p: gradients.get(p, np.zeros(p.shape, p.dtype)) for p in tape.parameters}
    label = printable(tape.start.origin.label)
    told = _Told()
    events = list(_events(tape, steps, told))
    data = {"records": [x.index for x in tape], "events": events, "values": list(told.values)}
    text = Template(_file("page.html")).substitute(
        label=escape(label),
        summary=escape(_summary(tape, output)),
        rows="\n".join(_rows(tape, gradients)),
        mapping="\n".join(_mapping(known)),
        graph=drawing(tape),
        check=escape(_CHECKED),
        checked="\n".join(_checked(tape, output, cotangent, known)),
        css=_file("page.css"),
        js=_file("page.js"),
        # neither an end of the element nor a comment can stand in it
        data=json.dumps(data).replace("<", "\\u003c"),
    )
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


_CHECKED = (
    "Each parameter is moved a little along a fixed direction, the tape is computed again, and "
    "the change of the output is set beside what the gradient says."
)


def _file(name: str) -> str:
    return files("tapegrad.show").joinpath(name).read_text(encoding="utf-8")


def _summary(tape: Tape, output: Tensor) -> str:
    n, m = len(tape), len(tape.parameters)
    return (
        f"{n} record{'s' * (n != 1)}, {m} parameter{'s' * (m != 1)}; the output is "
        f"{_called(output)}. Step with the buttons or the arrow keys; Home and End go to the ends."
    )


def _called(record: Tensor) -> str:
    return f"%{record.index} ({printable(record.name or record.op.name)})"


# --- the tables -----------------------------------------------------------------------------


def _rows(tape: Tape, reached: Mapping[Tensor, Any]) -> Iterator[str]:
    before, inner = None, swept(tape)
    for record in tape:
        # a line of source stands at the first of its records
        place = record.place if record.place != before else None
        yield _row(record, reached, mark(record, inner, reached), place)
        before = record.place


def _row(record: Tensor, reached: Mapping[Tensor, Any], marked: str, place: Any) -> str:
    n = record.index
    given = [_linked(x) for x in record.operands]
    given += [escape(f"{name}={value}") for name, value in record.options.items()]
    note = f' <span class="mark">{escape(marked)}</span>' if marked else ""
    if place and place.text:
        where = escape(printable(f"{place.file}:{place.number}"))
        source = escape(printable(f"{place.number}: {place.text}"))
        note += f'<br><span class="source" title="{where}">{source}</span>'
    known = _value(reached[record]) if record in reached else ""
    # the roles are those of the elements, which lose them where a narrow page lays them out anew
    return (
        f'<tr role="row" id="line-{n}"><th role="rowheader" scope="row">{n}</th>'
        f'<td role="cell" class="record">{escape(cells(record)[1])}{note}</td>'
        f'<td role="cell" class="operands">{", ".join(given)}</td>'
        f'<td role="cell" class="shape">{record.shape} {record.dtype}</td>'
        f'<td role="cell" class="value">{_value(record._primal)}</td>'
        f'<td role="cell" class="cotangent">{known}</td></tr>'
    )


def _linked(x: Any) -> str:
    text = escape(operand(x))
    return f'<a href="#line-{x.index}">{text}</a>' if type(x) is Tensor else text


@attrs.frozen
class _Text:
    """A value as it is told: in short, and opened where there is more to see."""

    brief: str
    full: str = ""
    heat: str = ""

    @classmethod
    def of(cls, value: Any) -> _Text:
        brief = short(value)
        if not isinstance(value, np.ndarray) or value.ndim == 0 or not value.size:
            return cls(brief)
        full = np.array2string(value, threshold=400, edgeitems=4, max_line_width=100)
        if value.ndim < 2 and " ".join(full.split()) == brief:
            return cls(brief)
        heat = json.dumps(_heat(value)) if value.ndim == 2 else ""
        return cls(brief, full[:_MOST_TEXT], heat)


@attrs.frozen
class _Told:
    """The values that the script shows, each written once."""

    # a value's text to its number
    known: dict[_Text, int] = attrs.Factory(dict)

    def number(self, value: Any) -> int:
        """The number of a value."""
        return self.known.setdefault(_Text.of(value), len(self.known))

    @property
    def values(self) -> Iterator[dict[str, str]]:
        """The texts, in the order of their numbers."""
        for text in self.known:
            yield {name: x for name, x in attrs.asdict(text).items() if x}


def _value(value: Any) -> str:
    """A value, to be opened where it is larger than what is seen at first."""
    text = _Text.of(value)
    if not text.full:
        return escape(text.brief)
    heat = f" data-heat='{text.heat}'" if text.heat else ""
    brief, opened = escape(text.brief), escape(text.full)
    return f"<details{heat}><summary>{brief}</summary><pre>{opened}</pre></details>"


def _heat(value: Array) -> list[list[float]]:
    """An array of two axes, in few rows and columns, its elements between -1 and 1."""
    places = [np.unique(np.linspace(0, n - 1, min(n, _MOST_HEAT)).astype(int)) for n in value.shape]
    part = np.nan_to_num(value[np.ix_(*places)].astype(float), posinf=0, neginf=0)
    scale = np.max(np.abs(part))
    scaled: list[list[float]] = np.round(part / (scale or 1.0), 2).tolist()
    return scaled


def _mapping(gradients: Mapping[Tensor, Any]) -> Iterator[str]:
    for p, gradient in gradients.items():
        zero = short(np.zeros(p.shape, p.dtype))
        yield (
            f'<tr data-line="{p.index}" data-zero="{escape(zero)}"><th scope="row">'
            f"{escape(printable(p.name or ''))} {_linked(p)}</th><td>{_value(gradient)}</td></tr>"
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


# --- what happens, in order -------------------------------------------------------------------


def _events(tape: Tape, steps: Iterable[Step], told: _Told) -> Iterator[dict[str, Any]]:
    """The reverse sweep as the page tells it."""
    sums: dict[Tensor, Any] = {}
    parameters = frozenset(tape.parameters)
    for step in steps:
        record = step.record
        cotangent = primal_of(step.cotangent)
        g, number = short(cotangent), told.number(cotangent)
        if not sums:
            sums[record] = step.cotangent
            yield {
                "kind": "seed",
                "line": record.index,
                "cotangent": number,
                "said": f"The sweep begins at the output, {_called(record)}, with its cotangent.",
                "parts": [f"g = {g}"],
            }
        if record in parameters:
            yield {
                "kind": "gradient",
                "line": record.index,
                "cotangent": number,
                "said": f"{_called(record)} is a parameter: its cotangent is complete, and is its "
                "gradient.",
                "parts": [g],
            }
        elif not step.contributions:
            yield {
                "kind": "end",
                "line": record.index,
                "said": f"{_called(record)} passes no gradient on: the way back ends here.",
            }
        for c in step.contributions:
            yield from _contributed(step, c, sums, told)


def _contributed(
    step: Step, c: Contribution, sums: dict[Tensor, Any], told: _Told
) -> Iterator[dict[str, Any]]:
    """A contribution by its rule, then added to what its operand has."""
    x, so_far = c.operand, sums.get(c.operand)
    given, summed, formula = primal_of(c.cotangent), primal_of(c.summed), printable(c.formula)
    before = None if so_far is None else primal_of(so_far)
    sums[x] = c.summed if so_far is None else so_far + c.summed
    running = short(primal_of(sums[x]))
    places = {"line": step.record.index, "to": x.index, "position": c.position}
    known = ", ".join([f"{name} is {short(x)}" for name, x in c.known.items()])
    where = f"where {known}" if known else ""
    undone = given.shape != summed.shape
    choices = _choices(step, c)
    said = f"{_called(step.record)} passes to {_called(x)}, its operand {c.position}, by its rule."
    yield {
        "kind": "rule",
        **places,
        "said": said,
        "parts": [
            f"{formula}{_is(formula)} {short(given)}  shape {given.shape}",
            *filter(None, [where]),
        ],
        "question": f"What does {_called(step.record)} pass to {_called(x)}, its operand "
        f"{c.position}? Its rule: {formula}. There g is {short(primal_of(step.cotangent))}"
        f"{', ' if known else ''}{known}.",
        "rule": formula,
        "number": given.shape == (),
        "choices": choices,
    }
    parts = []
    if undone:
        parts.append(
            f"{x.shape} was broadcast to {given.shape}: summed over the axes that were added or "
            f"stretched, {short(given)} -> {short(summed)}"
        )
    parts.append(
        f"the first: {running}"
        if before is None
        else f"{short(before)} + {short(summed)} = {running}"
    )
    yield {
        "kind": "sum",
        **places,
        "running": told.number(primal_of(sums[x])),
        "said": f"The contribution is added to the cotangent of {_called(x)}.",
        "parts": parts,
    }


def _is(formula: str) -> str:
    """What stands between a formula, or one in words, and its value."""
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError:
        return ":"
    return " ="


def _choices(step: Step, c: Contribution) -> list[dict[str, Any]]:
    """What a reader may predict of a contribution, with why it is right or wrong."""
    right, g = primal_of(c.cotangent), primal_of(step.cotangent)
    formula = printable(c.formula)
    tries = [
        (right, True, f"{formula} gives {short(right)}."),
        (g, False, f"That is g, which came in: it has yet to go through the rule, {formula}."),
        (-right, False, f"The size is right, the sign is not: the rule is {formula}."),
        (right * 0, False, "It is not 0: the output does change as this operand does."),
        (right * 2, False, "Twice too much: another contribution is added later, by itself."),
        (
            primal_of(step.record._primal),
            False,
            "That is the value of the record; a cotangent says how the output changes with it.",
        ),
    ]
    if not np.any(right):
        tries.append((right + 1, False, f"Nothing passes: the rule {formula} gives 0 here."))
    found: dict[str, dict[str, Any]] = {}
    for value, is_right, why in tries:
        value = np.asarray(value)
        text = f"{short(value)}  shape {value.shape}"
        choice: dict[str, Any] = {"text": text, "right": is_right, "why": why}
        if value.shape == () and np.isfinite(value):
            choice["number"] = float(value)
        found.setdefault(text, choice)
    # by their text, so that the right one is not always the first
    return [found[text] for text in sorted(found)]
