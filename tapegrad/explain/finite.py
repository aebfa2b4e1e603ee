"""Where a number went wrong: the first value or cotangent that is not finite.

A NaN or an infinity is reported at the record that made it, with its operands and, for known
causes, a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from tapegrad.core.tape import Tape, ancestors
from tapegrad.core.tensor import Tensor
from tapegrad.declare import facts
from tapegrad.errors import NonFiniteError, TraceError
from tapegrad.face.text import short
from tapegrad.ops.logic import where as where_
from tapegrad.transforms.checkpoint import CHECKPOINT

# how some ops are written, where that is not np.name(x)
_WRITTEN = {"divide": "1 / {}", "reciprocal": "1 / {}", "power": "{} ** p"}


def checked(tape: Tape, outputs: Iterable[Tensor]) -> Callable[..., None]:
    """Check a tape's values, and return the check of its cotangents."""
    check_values(tape, outputs)
    return partial(check_contribution, tape)


def check_values(tape: Tape, outputs: Iterable[Tensor]) -> None:
    """Raise at the first record with a value that is not finite.

    Records that the outputs do not depend on may have any value.

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
    for record in tape:
        if record in depended and not _is_finite(record._primal):
            raise NonFiniteError(
                f"the value of {_where(record)} is not finite: {_shown(record._primal)}"
                f"{_place(record)}{_operands(record)}{_hint(tape, record)}"
            )


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
    if where is None or record.op is CHECKPOINT:
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
