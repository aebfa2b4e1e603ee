"""Tapes: the rules that each keeps, whoever wrote it, and the cotangents of a sweep."""

from collections.abc import Iterable
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad.errors import TapeError
from tapegrad.types import Array


def squares(
    value: tuple[float, ...] = (1.0, 2.0, 3.0),
) -> tuple[tg.Tape, tg.Tensor, tg.Tensor, tg.Tensor]:
    """A tape with a parameter, its squares and their sum, and these."""
    tape, x = tg.Tape().parameter(np.array(value), name="x")
    tape, y = tape.write(tg.multiply, x, x)
    tape, z = tape.write(tg.sum, y)
    return tape, x, y, z


def check_tape(tape: tg.Tape) -> None:
    """Fail unless the tape is well formed.

    Lines are consecutive and linked, operands stand on earlier lines of the same
    tape, and neither values nor constants nor options can be written to.
    """
    records = list(tape)
    assert len(records) == len(tape)
    for forward, backward in zip(records, list(reversed(tape))[::-1], strict=True):
        assert forward is backward
    before = _earlier_records(tape)
    earlier = {id(record) for record in before}
    first = before[-1].index + 1 if before else 0
    for index, record in enumerate(records, first):
        assert type(record) is tg.Tensor
        assert record.index == index
        if index:
            assert record.previous is (records[index - first - 1] if index > first else before[-1])
        assert record.origin is tape.start.origin
        for x in record._operands:
            if type(x) is tg.Tensor:
                assert id(x) in earlier, f"line {index}: an operand that is not above it"
            else:
                assert type(x) in (float, int, bool) or _nobody_can_write(x)
        assert not record.value.flags.writeable
        for x in getattr(record._primal, "values", [record._primal]):
            assert type(x) in (float, int, bool) or not x.flags.writeable
        assert not hasattr(record.options, "__setitem__")
        earlier.add(id(record))
    for p in tape.parameters:
        assert id(p) in earlier
        assert p.op.name == "parameter"
        assert p.dtype.kind == "f"


def _earlier_records(tape: tg.Tape) -> list[tg.Tensor]:
    """The records above the tape's first line, the oldest first."""
    found = []
    record = tape.start
    while type(record) is tg.Tensor:
        found.append(record)
        record = record.previous
    return found[::-1]


def _nobody_can_write(array: Array) -> bool:
    while isinstance(array, np.ndarray) and not array.flags.writeable:
        if array.flags.owndata or isinstance(array.base, bytes):
            return True
        array = array.base
    return False


def cotangents(steps: Iterable[Any]) -> dict[tg.Tensor, Any]:
    """The cotangent of each record that the steps of a sweep reach."""
    return {step.record: step.cotangent for step in steps}


def nothing_is_being_recorded() -> bool:
    """Whether no recording is open here."""
    tape, x = tg.Tape().parameter(1.0)
    del tape
    try:
        x * 2
    except TapeError as error:
        return "no recording" in str(error)
    return False
