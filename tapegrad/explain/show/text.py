"""A tape as text, with its cotangents, and what is inside its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.explain.inside import HOLDERS, last_run, primal_of
from tapegrad.explain.show.marks import mark, swept
from tapegrad.explain.steps import Step, sweep_steps
from tapegrad.face.text import Text, short, table


def shown(tape: Tape, output: Tensor | None, cotangent: Any) -> Text:
    """What `Tape.show` returns."""
    if output is None:
        return Text(text_of(tape, None))
    return Text(text_of(tape, {step.record: step for step in sweep_steps(tape, output, cotangent)}))


def text_of(tape: Tape, steps: Mapping[Tensor, Step] | None) -> str:
    """A tape as a table, and below it, for each record that holds others, the last run of those.

    Parameters
    ----------
    tape
        The tape.
    steps
        The steps of a sweep over it, by record; None if there was none.
    """
    inner = swept(tape)
    known = None if steps is None else {x: step.cotangent for x, step in steps.items()}
    further = {}
    if known is not None:
        further["cotangent"] = [short(primal_of(known[x])) if x in known else "" for x in tape]
    marks = [mark(x, inner, known) for x in tape]
    further |= {"gradient": marks} if any(marks) else {}
    places = [x.place for x in tape]
    if tape.start.origin.lines and any(places):
        further["source"] = [f"{x.number}: {x.text}" if x else "" for x in places]
    texts = [table(tape, **further)]
    for record in tape:
        if record.op not in HOLDERS or tape.start.origin.compiling:
            continue
        inside: Mapping[Tensor, Step] | None
        if steps is not None and record in steps:
            swept_run = next(iter(steps[record].inside), None)
            made = swept_run and swept_run.run
            inside = {step.record: step for step in swept_run.steps} if swept_run else {}
        else:
            made, inside = last_run(record), None if steps is None else {}
        if made is not None:
            which = "" if made.step is None else f", step {made.step}, the last"
            head = f"inside line {record.index}, {record.op.name}{which}:"
            texts.append(f"{head}\n{text_of(made.tape, inside)}")
    return "\n\n".join(texts)
