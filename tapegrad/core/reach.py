"""Which records of a tape depend on which, and where a gradient passes."""

from __future__ import annotations

from collections.abc import Iterable

from tapegrad.core.refusals import refuse_branch
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor


def needed(tape: Tape, outputs: Iterable[Tensor]) -> set[Tensor]:
    """The outputs, and the records of a tape that they depend on."""
    found = set(outputs)
    for record in reversed(tape):
        if record in found:
            found.update(x for x in record._operands if type(x) is Tensor)
    return found


def dependents(tape: Tape) -> set[Tensor]:
    """The records of a tape that depend on its parameters."""
    reached = set(tape.parameters)
    written, start = set(), tape.start
    for record in tape:
        written.add(record)
        for x in record._operands:
            if type(x) is Tensor:
                if x in reached:
                    reached.add(record)
                elif x not in written and x.index > start.index and x.origin is start.origin:
                    refuse_branch(x)
    return reached


def passes(record: Tensor, i: int) -> bool:
    """Whether a record passes a gradient to its operand i."""
    x = record._operands[i]
    if type(x) is not Tensor or x.dtype.kind != "f" or record.dtype.kind != "f":
        return False
    rules = record.op.rules(len(record._operands))
    return i < len(rules) and rules[i] is not None


def is_ours(record: Tensor) -> bool:
    """Whether the op of a record is the package's own: names are not unique."""
    return str(record.op.__module__).startswith("tapegrad.")
