"""What a reader should know about a record: where gradients end, where a recording begins."""

from __future__ import annotations

from collections.abc import Container

from tapegrad.core.sweep import SWEEP
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.explain.rules import passes_gradient


def swept(tape: Tape) -> frozenset[Tensor]:
    """The records that sweeps inside a recording wrote, such as those of `grad`."""
    since = [(x._options["since"], x.index) for x in tape if x.op is SWEEP]
    return frozenset(x for x in tape if any(first < x.index <= last for first, last in since))


def ends(record: Tensor) -> bool:
    """Whether a record has operands and passes a gradient to none of them."""
    made_of = [i for i, x in enumerate(record._operands) if type(x) is Tensor]
    return bool(made_of) and not any(passes_gradient(record, i) for i in made_of)


def mark(record: Tensor, inner: Container[Tensor], reached: Container[Tensor] | None = None) -> str:
    """A record's mark, in a word or two; empty for most.

    Parameters
    ----------
    record
        The record.
    inner
        The records that inner sweeps wrote; see `swept`.
    reached
        The records that have a cotangent, if there was a sweep.
    """
    marks = []
    if record.op is PARAMETER:
        if record._operands:
            marks.append("inner recording begins")
        if reached is not None and record not in reached:
            marks.append("gets none")
    elif record in inner:
        marks.append("inner sweep")
    elif ends(record):
        marks.append("stops here")
    return ", ".join(marks)
