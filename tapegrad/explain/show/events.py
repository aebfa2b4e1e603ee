"""The events of a reverse sweep on a page, and its values as text.

The page may ask a reader to predict a contribution, with values to choose from.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import attrs
import numpy as np

from tapegrad.arraylike.text import record_name
from tapegrad.core.primitive import Parts
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primal_of
from tapegrad.errors.words import NamedValues, printable, short
from tapegrad.explain.inside import Run, displayed_value
from tapegrad.explain.steps import Contribution, Step
from tapegrad.types import Array

_MAX_TEXT = 4000  # characters of one opened array
_MAX_HEAT = 16  # rows and columns of a heat map
_MAX_WIDTH = 40  # characters in a line of an array, if fewer digits make it so short
_EDGE_ITEMS = {1: 3, 2: 2}  # elements at each end of an axis that is cut, by the number of axes
_MAX_SCALAR = 12  # characters of a scalar with all its digits
_SEVERAL = (Parts, NamedValues)

Event = dict[str, Any]


@attrs.frozen
class Texts:
    """The values of one page as text, each abbreviated, in rows and columns.

    NumPy formats arrays slowly, so equal arrays are formatted once, and in full only if a reader
    can open them.
    """

    # arrays by dtype, shape and content
    _briefs: dict[Any, str] = attrs.field(factory=dict, init=False)
    _numbers: dict[Any, int] = attrs.field(factory=dict, init=False)
    _full_texts: dict[int, dict[str, str]] = attrs.field(factory=dict, init=False)

    def abbreviate(self, value: Any) -> str:
        """Abbreviate a value; an array in rows and columns."""
        if not _has_rows(value):
            return _format_scalar(value)
        key = _content_key(value)
        if key not in self._briefs:
            self._briefs[key] = _format_rows(value)
        return self._briefs[key]

    @property
    def max_width(self) -> int:
        """The number of characters in the widest line of an array."""
        lines = [line for text in self._briefs.values() for line in text.split("\n")]
        return max(map(len, lines), default=0)

    def inline_piece(self, value: Any) -> str | int:
        """Return a value inside a sentence: a scalar as text, an array as its number."""
        if not _has_rows(value):
            return _format_scalar(value)
        self.abbreviate(value)
        return self._numbers.setdefault(_content_key(value), len(self._numbers))

    def expandable_piece(self, value: Any) -> str | int:
        """Return a value inside a table's cell, where an array can be opened."""
        piece = self.inline_piece(value)
        if isinstance(piece, int) and piece not in self._full_texts:
            self._full_texts[piece] = _full_texts(value, self.abbreviate(value))
        return piece

    def numbered_texts(self) -> list[dict[str, str]]:
        """Return the texts of the numbered arrays, in order."""
        return [
            {"brief": self._briefs[key], **self._full_texts.get(i, {})}
            for i, key in enumerate(self._numbers)
        ]

    def html(self, value: Any) -> str:
        """Return a value as HTML, which can be opened if it is abbreviated."""
        brief = escape(self.abbreviate(value))
        more = _full_texts(value, self.abbreviate(value)) if _has_rows(value) else {}
        if not more:
            return brief
        heat = f" data-heat='{more['heat']}'" if "heat" in more else ""
        return (
            f"<details{heat}><summary><span>{brief}</span></summary>"
            f"<pre>{escape(more['full'])}</pre></details>"
        )


def _has_rows(value: Any) -> bool:
    is_array = isinstance(value, np.ndarray) and value.ndim > 0 < value.size
    return is_array or type(value) in _SEVERAL


def _content_key(value: Any) -> tuple[Any, ...]:
    if type(value) is NamedValues:
        return tuple([(name, _content_key(Parts((x,)))) for name, x in value])
    if type(value) is Parts:
        return tuple([_content_key(np.asarray(primal_of(x))) for x in value.values])
    return value.dtype.str, value.shape, value.tobytes()


def _format_scalar(value: Any) -> str:
    """Format a number with at most eight decimals, or an array without elements."""
    text = short(value)
    if len(text) > _MAX_SCALAR and np.ndim(value) == 0:
        return np.array2string(np.asarray(value), precision=8)
    return text


def _full_texts(value: Any, brief: str) -> dict[str, str]:
    """Return the texts of an opened array; empty if it is not abbreviated."""
    if type(value) in _SEVERAL:
        return {}
    full = np.array2string(value, threshold=400, edgeitems=4, max_line_width=100)
    if full.split() == brief.split():
        return {}
    more = {"full": full[:_MAX_TEXT]}
    if value.ndim == 2 and "..." in brief and value.dtype.kind in "fiub":
        more["heat"] = json.dumps(_heat_map(value))
    return more


def _format_rows(value: Any) -> str:
    """Format an array's first and last rows and columns, without breaking numbers."""
    if type(value) is NamedValues:
        heads = [(f"{name} = ", x) for name, x in value]
        return "\n".join(
            [head + _format_part(x).replace("\n", f"\n{' ' * len(head)}") for head, x in heads]
        )
    if type(value) is Parts:
        return "({})".format(",\n".join(map(_format_part, value.values)).replace("\n", "\n "))
    ends, text = _EDGE_ITEMS.get(value.ndim, 1), ""
    for precision in (4, 3, 2):
        text = np.array2string(
            value,
            precision=precision,
            threshold=0,
            edgeitems=ends,
            max_line_width=_MAX_WIDTH if value.ndim == 1 else 1000,
        )
        if max(map(len, text.split("\n"))) <= _MAX_WIDTH:
            break
    return text


def _format_part(x: Any) -> str:
    """Format one of several values."""
    x = 0 if x is None else primal_of(x)
    return _format_rows(x) if _has_rows(x) else _format_scalar(x)


def _heat_map(value: Array) -> list[list[float]]:
    """Reduce a matrix to few rows and columns, with elements between -1 and 1."""
    positions = [
        np.unique(np.linspace(0, n - 1, min(n, _MAX_HEAT)).astype(int)) for n in value.shape
    ]
    part = np.nan_to_num(value[np.ix_(*positions)].astype(float), posinf=0, neginf=0)
    scale = np.max(np.abs(part))
    scaled: list[list[float]] = np.round(part / (scale or 1.0), 2).tolist()
    return scaled


# --- events ---------------------------------------------------------------------------------


def sweep_events(
    tape: Tape, steps: Iterable[Step], texts: Texts, within: Mapping[Tensor, Sequence[Event]]
) -> Iterator[Event]:
    """Yield the events of a reverse sweep, with the events inside each record."""
    sums: dict[Tensor, Any] = {}
    parameters = frozenset(tape.parameters)
    for step in steps:
        record = step.record
        cotangent = displayed_value(record, step.cotangent)
        g = texts.expandable_piece(cotangent)
        if not sums:
            sums[record] = step.cotangent
            text = f"The sweep begins at the output, {page_name(record)}, with its cotangent."
            yield _event("seed", record, text, ["g =", g], cotangent=g)
        if record in parameters:
            name = page_name(record)
            text = f"{name} is a parameter: its cotangent is complete, and is its gradient."
            yield _event("gradient", record, text, [g], cotangent=g)
        elif not step.contributions:
            text = f"{page_name(record)} passes no gradient on: the way back ends here."
            yield _event("end", record, text)
        yield from within.get(record, ())
        for c in step.contributions:
            yield from _contribution_events(step, c, sums, texts)


def _event(kind: str, record: Tensor, text: str, *parts: list[Any], **more: Any) -> Event:
    """Return an event at a record: a sentence, with pieces of text and values below it."""
    below = {"parts": [*parts]} if parts else {}
    return {"kind": kind, "line": record.index, "said": text, **below, **more}


def _contribution_events(
    step: Step, c: Contribution, sums: dict[Tensor, Any], texts: Texts
) -> Iterator[Event]:
    """Yield a contribution: the rule's result, then its addition to the operand's cotangent."""
    x, so_far = c.operand, sums.get(c.operand)
    passed, summed, formula = (
        displayed_value(x, c.cotangent),
        displayed_value(x, c.summed),
        printable(c.formula),
    )
    before = None if so_far is None else displayed_value(x, so_far)
    sums[x] = c.summed if so_far is None else so_far + c.summed
    running = texts.expandable_piece(displayed_value(x, sums[x]))
    record, target = step.record, {"to": x.index, "position": c.position}
    where = [
        piece
        for name, value in c.formula_values.items()
        for piece in (f"{name} =", texts.inline_piece(value))
    ]
    to = f"{page_name(x)}, its operand {c.position}"
    yield _event(
        "rule",
        record,
        f"{page_name(record)} passes to {to}, by its rule.",
        [
            f"{formula}{_formula_separator(formula)}",
            texts.inline_piece(passed),
            *_shape_text(passed),
        ],
        *([["where", *where]] if where else []),
        **target,
        question=f"What does {page_name(record)} pass to {to}?",
        given=[
            [f"Its rule: {formula}"],
            ["g =", texts.inline_piece(displayed_value(record, step.cotangent)), *where],
        ],
        rule=formula,
        number=_is_number(passed),
        choices=_choices(step, c, texts),
    )
    parts: list[list[str | int]] = []
    if passed.shape != summed.shape:
        why = f"{x.shape} was broadcast to {passed.shape}: summed over the axes that were added "
        pieces = texts.inline_piece(passed), "->", texts.inline_piece(summed)
        parts.append([f"{why}or stretched,", *pieces])
    sum_ = (
        [] if before is None else [texts.inline_piece(before), "+", texts.inline_piece(summed), "="]
    )
    parts.append([*(sum_ or ["the first:"]), running])
    text = f"The contribution is added to the cotangent of {page_name(x)}."
    yield _event("sum", record, text, *parts, **target, running=running)


def _is_number(value: Any) -> bool:
    return type(value) not in _SEVERAL and value.shape == () and value.dtype.kind != "c"


def _shape_text(value: Any) -> list[str]:
    return [f"shape {value.shape}"] if value.shape else []


def _formula_separator(formula: str) -> str:
    """Return the text between a formula, in symbols or in words, and its value."""
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError:
        return ":"
    return " ="


def _choices(step: Step, c: Contribution, texts: Texts) -> list[dict[str, Any]]:
    """Return values that a reader may predict for a contribution, and the kind of each mistake."""
    right, g = displayed_value(c.operand, c.cotangent), displayed_value(step.record, step.cotangent)
    tries = {"right": right, "g": g, "value": displayed_value(step.record, step.record._primal)}
    if type(right) not in _SEVERAL:
        tries |= {"sign": -right, "twice": right * 2, "zero": right * 0, "one": right + 1}
    choices: dict[Any, dict[str, Any]] = {}
    for kind, tried in tries.items():
        value: Any = tried if type(tried) in _SEVERAL else np.asarray(tried)
        # a choice has four arrays at most; a number is typed
        if value.shape and len(choices) == 4:
            break
        choice: dict[str, Any] = {
            "kind": kind,
            "pieces": [texts.inline_piece(value), *_shape_text(value)],
        }
        if _is_number(value) and np.isfinite(value):
            choice["number"] = float(value)
        choices.setdefault((texts.abbreviate(value), value.shape), choice)
    # sorted as text, so that the right choice is not always first
    return [choices[key] for key in sorted(choices)]


def forward_event(record: Tensor) -> Event:
    """Return the event of a record in the forward pass."""
    return _event("forward", record, f"Forward: line {record.index} is written.")


def run_events(run: Run, title: str, texts: Texts) -> tuple[Event, Event]:
    """Return the events of a run inside a record, in the forward and the backward pass."""

    def piece(pairs: Iterable[tuple[Tensor, Any]]) -> str | int:
        return texts.inline_piece(NamedValues([(record_name(x), value) for x, value in pairs]))

    # the captured values are the same in each step
    first = 0 if run.step is None else run.record._options["loop"].n_captured
    inputs = piece([(x, x) for x in list(run.sources)[first:]])
    outputs = texts.inline_piece(displayed_value(run.record, Parts(run.outputs)))
    passed = piece([(x.record, x.cotangent) for x in run.steps[::-1] if x.record in run.sources])
    return (
        {"kind": "forth", "said": f"{title}.", "parts": [["given", inputs, "it returns", outputs]]},
        {"kind": "back", "said": f"{title}, backward.", "parts": [["it passes back", passed]]},
    )


def page_name(record: Tensor) -> str:
    """Return a record's name on the page."""
    return f"%{record.index} ({record_name(record)})"
