"""The reverse sweep as a page shows it, event by event, with predictions to choose from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Parts, Tensor
from tapegrad.explain.inside import primal_of
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
        g = texts.opened(cotangent)
        if not sums:
            sums[record] = step.cotangent
            yield {
                "kind": "seed",
                "line": record.index,
                "cotangent": g,
                "said": f"The sweep begins at the output, {called(record)}, with its cotangent.",
                "parts": [["g =", g]],
            }
        if record in parameters:
            yield {
                "kind": "gradient",
                "line": record.index,
                "cotangent": g,
                "said": f"{called(record)} is a parameter: its cotangent is complete, and is its "
                "gradient.",
                "parts": [[g]],
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
    running = texts.opened(primal_of(sums[x]))
    places = {"line": step.record.index, "to": x.index, "position": c.position}
    where = [
        piece for name, value in c.known.items() for piece in (f"{name} =", texts.piece(value))
    ]
    to = f"{called(x)}, its operand {c.position}"
    yield {
        "kind": "rule",
        **places,
        "said": f"{called(step.record)} passes to {to}, by its rule.",
        "parts": [
            [f"{formula}{_is(formula)}", texts.piece(given), *_shape(given)],
            *([["where", *where]] if where else []),
        ],
        "question": f"What does {called(step.record)} pass to {to}?",
        "given": [
            [f"Its rule: {formula}"],
            ["g =", texts.piece(primal_of(step.cotangent)), *where],
        ],
        "rule": formula,
        "number": _is_number(given),
        "choices": _choices(step, c, texts),
    }
    parts: list[list[str | int]] = []
    if given.shape != summed.shape:
        parts.append(
            [
                f"{x.shape} was broadcast to {given.shape}: summed over the axes that were added "
                "or stretched,",
                texts.piece(given),
                "->",
                texts.piece(summed),
            ]
        )
    parts.append(
        ["the first:", running]
        if before is None
        else [texts.piece(before), "+", texts.piece(summed), "=", running]
    )
    yield {
        "kind": "sum",
        **places,
        "running": running,
        "said": f"The contribution is added to the cotangent of {called(x)}.",
        "parts": parts,
    }


def _is_number(value: Any) -> bool:
    return type(value) is not Parts and value.shape == () and value.dtype.kind != "c"


def _shape(value: Any) -> list[str]:
    return [f"shape {value.shape}"] if value.shape else []


def _is(formula: str) -> str:
    """The text between a formula, in symbols or in words, and its value."""
    try:
        ast.parse(formula, mode="eval")
    except SyntaxError:
        return ":"
    return " ="


def _choices(step: Step, c: Contribution, texts: Texts) -> list[dict[str, Any]]:
    """Values that a reader may predict for a contribution, and what kind of mistake each is."""
    right, g = primal_of(c.cotangent), primal_of(step.cotangent)
    tries = {"right": right, "g": g, "value": primal_of(step.record._primal)}
    if type(right) is not Parts:
        tries |= {"sign": -right, "twice": right * 2, "zero": right * 0, "one": right + 1}
    found: dict[Any, dict[str, Any]] = {}
    for kind, tried in tries.items():
        value: Any = tried if type(tried) is Parts else np.asarray(tried)
        # four arrays are enough to choose from; a number is typed
        if value.shape and len(found) == 4:
            break
        choice: dict[str, Any] = {"kind": kind, "pieces": [texts.piece(value), *_shape(value)]}
        if _is_number(value) and np.isfinite(value):
            choice["number"] = float(value)
        found.setdefault((texts.brief(value), value.shape), choice)
    # sorted as text, so that the right one is not always first
    return [found[key] for key in sorted(found)]


def called(record: Tensor) -> str:
    """A record's name on the page."""
    return f"%{record.index} ({printable(record.name or record.op.name)})"
