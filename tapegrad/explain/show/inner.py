"""The records of a tape that a sweep inside the recording wrote, found by sweeping again."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad.core.cotangents import initial_cotangents
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER, recorded_from

# records after an inner recording begins; each scalar among them is swept from once
_MOST = 200


def swept(tape: Tape) -> frozenset[Tensor]:
    """The records that inner sweeps wrote, such as those of `grad` inside a recording.

    Records with a line of source say so themselves. Otherwise a sweep is recognized by what it
    writes: it is repeated from each scalar back to the beginning of the inner recording, on a
    branch that is then dropped, and its records are looked for on the tape. A sweep that began
    with a cotangent other than 1 is not found.
    """
    origin = tape.start.origin
    if origin.compiling:
        return frozenset()
    if origin.lines:
        return frozenset(x for x in tape if x.place and x.place.sweeps)
    records = list(tape)
    found: set[Tensor] = set()
    for parameters in _inner_parameters(records):
        later = records[parameters[-1].index - tape.start.index :]
        if len(later) <= _MOST:
            found.update(_written_by_a_sweep(tape, parameters, later, found))
    return frozenset(found)


def _inner_parameters(records: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The parameters of each recording inside this one: marks of records of the tape."""
    group: list[Tensor] = []
    for record in records:
        marks = record.op is PARAMETER and bool(record._operands)
        # a mark of a parameter in the group is a parameter of a recording inside it
        if group and not (marks and all(record._operands[0] is not x for x in group)):
            yield tuple(group)
            group = []
        if marks:
            group.append(record)


def _written_by_a_sweep(
    tape: Tape, parameters: tuple[Tensor, ...], later: Sequence[Tensor], taken: Container[Tensor]
) -> Sequence[Tensor]:
    """The longest run of records that a sweep from an earlier record would write.

    Records in `taken` belong to the sweep of an enclosing recording.
    """
    longest: Sequence[Tensor] = ()
    for n, output in enumerate(later, 1):
        if output.size != 1 or output.dtype.kind != "f":
            continue
        written = _sweep_again(tape, output, parameters)
        if len(written) <= len(longest):
            continue
        for i in range(n, len(later) - len(written) + 1):
            run = later[i : i + len(written)]
            if run[0] not in taken and _are_alike(written, run):
                longest = run
                break
    return longest


def _sweep_again(tape: Tape, output: Tensor, parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """What a sweep writes, on a branch after the tape's last record."""
    part = Tape(output, parameters[0].previous, parameters)
    try:
        _, last = recorded_from(tape.last, sweep, ([part], initial_cotangents(part, output, None)))
    except Exception:
        # a user's rule that no sweep had reached yet
        return []
    written = []
    while last is not tape.last:
        written.append(last)
        last = last.previous
    return written[::-1]


def _are_alike(written: Sequence[Tensor], run: Sequence[Tensor]) -> bool:
    """Whether records are made alike: by the same ops, from the same records and constants."""
    stands_for: dict[Any, Tensor] = {}
    for new, old in zip(written, run, strict=True):
        if new.op is not old.op or len(new._operands) != len(old._operands):
            return False
        for x, y in zip(new._operands, old._operands, strict=True):
            if type(x) is Tensor:
                if stands_for.get(x, x) is not y:
                    return False
            elif type(y) is Tensor or not np.array_equal(x, y):
                return False
        stands_for[new] = old
    return True
