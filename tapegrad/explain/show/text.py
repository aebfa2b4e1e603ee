"""A tape as text, with its cotangents."""

from __future__ import annotations

from typing import Any

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.explain.show.marks import mark, swept
from tapegrad.explain.steps import sweep_steps
from tapegrad.face.text import Text, short, table


def shown(tape: Tape, output: Tensor | None, cotangent: Any) -> Text:
    """What `Tape.show` returns."""
    inner = swept(tape)
    if output is None:
        return Text(table(tape, **_marks([mark(x, inner) for x in tape]), **_sources(tape)))
    known = {step.record: step.cotangent for step in sweep_steps(tape, output, cotangent)}
    return Text(
        table(
            tape,
            cotangent=[short(primal_of(known[x])) if x in known else "" for x in tape],
            **_marks([mark(x, inner, known) for x in tape]),
            **_sources(tape),
        )
    )


def _marks(marks: list[str]) -> dict[str, list[str]]:
    """A column of marks, if there are any."""
    return {"gradient": marks} if any(marks) else {}


def _sources(tape: Tape) -> dict[str, list[str]]:
    """A column of source lines, if they were recorded."""
    if not tape.start.origin.lines:
        return {}
    return {"source": [f"{x.place.number}: {x.place.text}" if x.place else "" for x in tape]}


def primal_of(x: Any) -> Any:
    """A cotangent's value, recorded or not."""
    return x._primal if type(x) is Tensor else x
