"""The reverse sweep as a page shows it, event by event, with predictions to choose from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Parts, Tensor
from tapegrad.explain.show.text import primal_of
from tapegrad.explain.show.values import Texts
from tapegrad.explain.steps import Contribution, Step
from tapegrad.face.text import printable


def events(tape: Tape, steps: Iterable[Step], texts: Texts) -> Iterator[dict[str, Any]]:
    """The reverse sweep as the page shows it."""
    sums: dict[Tensor, Any] = {}
    parameters = frozenset(tape.parameters)
    for step in steps:
        record = step.record
        cotangent = primal_of(step.cotangent)
        g, number = texts.short(cotangent), texts.number(cotangent)
        if not sums:
            sums[record] = step.cotangent
            yield {
                "kind": "seed",
                "line": record.index,
                "cotangent": number,
                "said": f"The sweep begins at the output, {called(record)}, with its cotangent.",
                "parts": [f"g = {g}"],
            }
        if record in parameters:
            yield {
                "kind": "gradient",
                "line": record.index,
                "cotangent": number,
                "said": f"{called(record)} is a parameter: its cotangent is complete, and is its "
                "gradient.",
                "parts": [g],
            }
        elif not step.contributions:
            yield {
                "kind": "end",
                "line": record.index,
                "said": f"{called(record)} passes no gradient on: the way back ends here.",
            }
        for c in step.contributions:
            yield from _contributed(step, c, sums, texts)


def _contributed(
    step: Step, c: Contribution, sums: dict[Tensor, Any], texts: Texts
) -> Iterator[dict[str, Any]]:
    """A contribution: what the rule gives, then its addition to the operand's cotangent."""
    x, so_far = c.operand, sums.get(c.operand)
    given, summed, formula = primal_of(c.cotangent), primal_of(c.summed), printable(c.formula)
    before = None if so_far is None else primal_of(so_far)
    sums[x] = c.summed if so_far is None else so_far + c.summed
    running = texts.short(primal_of(sums[x]))
    places = {"line": step.record.index, "to": x.index, "position": c.position}
    known = ", ".join([f"{name} is {texts.short(x)}" for name, x in c.known.items()])
    where = f"where {known}" if known else ""
    undone = given.shape != summed.shape
    choices = _choices(step, c, texts)
    said = f"{called(step.record)} passes to {called(x)}, its operand {c.position}, by its rule."
    yield {
        "kind": "rule",
        **places,
        "said": said,
        "parts": [
            f"{formula}{_is(formula)} {texts.short(given)}  shape {given.shape}",
            *filter(None, [where]),
        ],
        "question": f"What does {called(step.record)} pass to {called(x)}, its operand "
        f"{c.position}? Its rule: {formula}. There g is {texts.short(primal_of(step.cotangent))}"
        f"{', ' if known else ''}{known}.",
        "rule": formula,
        "number": given.shape == (),
        "choices": choices,
    }
    parts = []
    if undone:
        parts.append(
            f"{x.shape} was broadcast to {given.shape}: summed over the axes that were added or "
            f"stretched, {texts.short(given)} -> {texts.short(summed)}"
        )
    parts.append(
        f"the first: {running}"
        if before is None
        else f"{texts.short(before)} + {texts.short(summed)} = {running}"
    )
    yield {
        "kind": "sum",
        **places,
        "running": texts.number(primal_of(sums[x])),
        "said": f"The contribution is added to the cotangent of {called(x)}.",
        "parts": parts,
    }


def _is(formula: str) -> str:
    """The text between a formula, in symbols or in words, and its value."""
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError:
        return ":"
    return " ="


def _choices(step: Step, c: Contribution, texts: Texts) -> list[dict[str, Any]]:
    """Values that a reader may predict for a contribution, each with why it is right or wrong."""
    right, g = primal_of(c.cotangent), primal_of(step.cotangent)
    formula = printable(c.formula)
    tries = [
        (right, True, f"{formula} gives {texts.short(right)}."),
        (g, False, f"That is g, which came in: it has yet to go through the rule, {formula}."),
        (
            primal_of(step.record._primal),
            False,
            "That is the value of the record; a cotangent says how the output changes with it.",
        ),
    ]
    if type(right) is not Parts:
        tries += [
            (-right, False, f"The size is right, but the sign is not: the rule is {formula}."),
            (right * 0, False, "It is not 0: the output does change when this operand does."),
            (right * 2, False, "That is twice as much: another contribution is added later."),
        ]
        if not np.any(right):
            tries.append((right + 1, False, f"Nothing passes: the rule {formula} gives 0 here."))
    found: dict[str, dict[str, Any]] = {}
    for value, is_right, why in tries:
        value = value if type(value) is Parts else np.asarray(value)
        text = f"{texts.short(value)}  shape {value.shape}"
        choice: dict[str, Any] = {"text": text, "right": is_right, "why": why}
        if type(value) is np.ndarray and value.shape == () and np.isfinite(value):
            choice["number"] = float(value)
        found.setdefault(text, choice)
    # sorted as text, so that the right one is not always first
    return [found[text] for text in sorted(found)]


def called(record: Tensor) -> str:
    """A record's name on the page."""
    return f"%{record.index} ({printable(record.name or record.op.name)})"
