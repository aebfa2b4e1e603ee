"""Where a number went wrong: the first value or cotangent that is not finite.

A NaN or an infinity is reported at the record that made it, with its operands and, for known
causes, a remedy. Inside a loop, a branch or a checkpointed call it is the line of a step, of the
branch that was taken, or of the call repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.core.tape import Tape, ancestors
from tapegrad.core.tensor import Tensor
from tapegrad.declare import facts
from tapegrad.declare.parts import PART
from tapegrad.errors import NonFiniteError, TraceError
from tapegrad.explain.inside import HOLDERS, Run, runs
from tapegrad.explain.steps import Inside
from tapegrad.face.text import short
from tapegrad.ops.logic import where as where_
from tapegrad.program.control.ops import LOOPS

# how some ops are written, where that is not np.name(x)
_WRITTEN = {"divide": "1 / {}", "reciprocal": "1 / {}", "power": "{} ** p"}


def checked(tape: Tape, outputs: Iterable[Tensor]) -> Callable[..., None]:
    """Check a tape's values, and return the check of its cotangents."""
    check_values(tape, outputs)
    entered: set[Tensor] = set()

    def check(record: Tensor, i: int, c: Any, g: Any) -> None:
        if record.op in HOLDERS and record not in entered:
            entered.add(record)
            _check_inside(record, g)
        check_contribution(tape, record, i, c, g)

    return check


def check_values(tape: Tape, outputs: Iterable[Tensor]) -> None:
    """Raise at the first record with a value that is not finite.

    Records that the outputs do not depend on may have any value, and so may values inside a
    record that its results do not depend on.

    Raises
    ------
    NonFiniteError
        The message names the line, the op and its operands, and may give a hint.
    TraceError
        While compiling or batching, where values are not known.
    """
    if tape.start.origin.compiling:
        raise TraceError(
            f"check_finite reads values, which are unknown while {tape.start.origin.doing} "
            f"{tape.start.origin.label}; call the function itself to find where a number goes wrong"
        )
    depended = ancestors(tape, outputs)
    read = _parts_read(record for record in depended if record.op is PART)
    for record in tape:
        if record not in depended:
            continue
        for made in runs(record):
            check_values(made.tape, _needed(made, read.get(record)))
        if not _is_finite(record._primal):
            raise NonFiniteError(
                f"the value of {_where(record)} is not finite: {_shown(record._primal)}"
                f"{_place(record)}{_operands(record)}{_hint(tape, record)}"
            )


def _parts_read(parts: Iterable[Tensor]) -> dict[Tensor, set[int]]:
    """Which results are taken out of records that have several."""
    read: dict[Tensor, set[int]] = {}
    for x in parts:
        read.setdefault(x._operands[0], set()).add(x._options["index"])
    return read


def _needed(made: Run, read: set[int] | None) -> list[Tensor]:
    """The results of a run that the results that are read depend on; None if all are."""
    record, outputs = made.record, made.outputs
    wanted = set(range(len(outputs))) if read is None else set(read)
    if record.op in LOOPS:
        loop, inputs = record._options["loop"], list(made.sources)
        carry = inputs[loop.n_captured : loop.n_captured + loop.n_carry]
        if loop.stop is not None:
            wanted.update(range(loop.n_carry))
        before = -1
        while before != len(wanted):
            # what a step needs of its carry, the one before must give
            before = len(wanted)
            needed = ancestors(made.tape, _records(outputs, wanted))
            wanted.update(k for k, x in enumerate(carry) if x in needed)
    return _records(outputs, wanted)


def _records(outputs: Sequence[Any], wanted: Iterable[int]) -> list[Tensor]:
    return [outputs[i] for i in wanted if type(outputs[i]) is Tensor]


def _check_inside(record: Tensor, g: Any) -> None:
    """Raise at the first cotangent inside a record that is not finite, from its last run back."""
    for made in Inside(record, g):
        for step in made.steps:
            if step.inside:
                _check_inside(step.record, step.cotangent)
            for c in step.contributions:
                check_contribution(made.tape, step.record, c.position, c.summed, step.cotangent)


def check_contribution(tape: Tape, record: Tensor, i: int, c: Any, g: Any) -> None:
    """Raise if the cotangent that a record gives its i-th operand is not finite.

    Raises
    ------
    NonFiniteError
        The message names the line, the op, its operands and the incoming cotangent, and may give a
        hint.
    """
    if not _is_finite(c):
        raise NonFiniteError(
            f"the cotangent that {_where(record)} passes to operand {i} is not finite: "
            f"{_shown(c)}{_place(record)}{_operands(record)}\n  value: {short(record._primal)}"
            f"\n  incoming cotangent: {_shown(g)}{_hint(tape, record)}"
        )


def _is_finite(x: Any) -> bool:
    x = x._primal if type(x) is Tensor else x
    return bool(np.isfinite(x).all())


def _where(record: Tensor) -> str:
    name = f" {record.name!r}" if record.name else ""
    return f"line {record.index} of the tape of {record.origin.label}, {record.op.name}{name},"


def _place(record: Tensor) -> str:
    """The line of source that the record was written for, if known."""
    return f"\n  at {record.place}" if record.place and record.place.file else ""


def _shown(x: Any) -> str:
    """A value, and the first place where it is not finite."""
    x = x._primal if type(x) is Tensor else x
    places = np.argwhere(~np.isfinite(x))
    if np.ndim(x) == 0 or not len(places):
        return short(x)
    place = tuple(places[0].tolist())
    return f"{short(x)}, with {x[place]} at {list(place)}"


def _operands(record: Tensor) -> str:
    lines = []
    for i, x in enumerate(record._operands):
        of = f"%{x.index} {x.name or x.op.name}, " if type(x) is Tensor else ""
        lines.append(f"\n  operand {i}: {of}{short(x._primal if type(x) is Tensor else x)}")
    return "".join(lines)


def _hint(tape: Tape, record: Tensor) -> str:
    """The likely cause, and a remedy if the record is one side of a `where`."""
    name, cause = record.op.name, facts(record.op).cause
    where = _selecting(tape, record) if cause else None
    hint = f"\n  hint: {cause}" if cause else ""
    if where is None:
        return hint
    guarded = _WRITTEN.get(name, f"np.{name}({{}})").format("np.where(ok, x, 1.0)")
    return (
        f"{hint}; the where on line {where.index} selects among values that are all computed, "
        f"and so are their slopes: guard the argument too, np.where(ok, {guarded}, 0.0)"
    )


def _selecting(tape: Tape, record: Tensor) -> Tensor | None:
    """The first `where` with a side that is the record or was computed from it."""
    made = {record}
    for later in tape:
        within = [type(x) is Tensor and x in made for x in later._operands]
        if later.op is where_ and any(within[1:]):
            return later
        if any(within):
            made.add(later)
    return None
