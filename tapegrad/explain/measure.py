"""Time and memory, measured: a clock, the memory behind arrays, and a tape line by line."""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import attrs
import numpy as np

from tapegrad.core.operands import primals
from tapegrad.core.sweep import SWEEP, pass_on
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Parts, Tensor
from tapegrad.core.writing import PARAMETER, recorded_from
from tapegrad.explain.inside import HOLDERS, runs
from tapegrad.face.ownership import Array
from tapegrad.transforms.checkpoint import CHECKPOINT

_NO: Mapping[Tensor, Any] = {}
# a short call is repeated in each round until it takes about so many seconds
_ROUND = 2e-5
# what a call allocates besides arrays, in bytes: frames, tuples, numbers
_SMALL = 2048


class Clock:
    """Times calls: each in several rounds, of which the shortest counts.

    Attributes
    ----------
    rounds
        How many rounds a call gets.
    tick
        What calling and reading the clock takes, which is taken off.
    least, middle
        The sums of the shortest and of the median rounds of all calls.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds, self.tick = rounds, 0.0
        self.tick = min(self._rounds(lambda: None, 20, 100))
        self.least = self.middle = 0.0

    @property
    def noise(self) -> float:
        """By how much the median of all rounds is above the shortest, as a part of that."""
        return self.middle / self.least - 1 if self.least else 0.0

    def time(self, call: Callable[[], Any]) -> float:
        """Seconds that a call takes."""
        once = self._rounds(call, 1, 1)[0]
        repeats = max(1, min(100, int(_ROUND / max(once, 1e-9))))
        found = self._rounds(call, self.rounds, repeats)
        # the first call may have been slow: it allocates
        shortest = max(0.0, min(found))
        self.least += shortest
        self.middle += max(0.0, statistics.median(found))
        return shortest

    def _rounds(self, call: Callable[[], Any], rounds: int, repeats: int) -> list[float]:
        found = []
        for _ in range(rounds):
            start = perf_counter()
            for _ in range(repeats):
                call()
            found.append((perf_counter() - start) / repeats - self.tick)
        return found


def allocated(call: Callable[[], Any]) -> int:
    """The most bytes that a call holds while it runs, beyond what was there before.

    Where `tracemalloc` runs already, its peak is reset.
    """
    began = not tracemalloc.is_tracing()
    if began:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        if began:
            tracemalloc.stop()
    return most if most > _SMALL else 0


def owner(x: Array) -> Array:
    """The array that owns the memory of another."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def arrays_of(x: Any) -> list[Array]:
    """The arrays in a value or a cotangent."""
    values = x.values if type(x) is Parts else (x,)
    return [x for x in values if isinstance(x, np.ndarray)]


class Held:
    """The memory behind arrays that are held, each counted once however many views there are."""

    def __init__(self) -> None:
        self.bytes = 0
        # by identity: the owner of the memory, how often it is held, and whose it is
        self._owners: dict[int, list[Any]] = {}

    def add(self, arrays: Iterable[Array], whose: int | None = None) -> int:
        """Hold arrays, and return the bytes that were not held before."""
        before = self.bytes
        for x in map(owner, arrays):
            entry = self._owners.setdefault(id(x), [x, 0, whose])
            if not entry[1]:
                self.bytes += x.nbytes
            entry[1] += 1
        return self.bytes - before

    def drop(self, arrays: Iterable[Array]) -> Iterator[int]:
        """Let arrays go; whose memory is free now."""
        for x in map(owner, arrays):
            entry = self._owners[id(x)]
            entry[1] -= 1
            if not entry[1]:
                self.bytes -= x.nbytes
                del self._owners[id(x)]
                if entry[2] is not None:
                    yield entry[2]


@attrs.define(eq=False)
class Line:
    """What one record of a tape takes.

    Attributes
    ----------
    record
        The record.
    bytes
        The memory of its value that no earlier record holds: 0 for a view of one.
    extra
        The most that its op allocates besides, forward or backward.
    freed_at
        The line at which the sweep frees its value; None if it stays.
    forward_s, backward_s
        Seconds.
    forward_bytes, backward_bytes
        All that is held while it is computed, and while the sweep passes it.
    """

    record: Tensor
    bytes: int = 0
    extra: int = 0
    freed_at: int | None = None
    forward_s: float = 0.0
    backward_s: float = 0.0
    forward_bytes: int = 0
    backward_bytes: int = 0


def forward_lines(tape: Tape, clock: Clock, held: Held) -> Iterator[Line]:
    """The lines of a tape, each op run alone; what they hold is added."""
    for record in tape:
        line = Line(record)
        if record.op is not PARAMETER and record.op is not SWEEP:
            call = written(record)
            line.forward_s = clock.time(call)
            line.extra = allocated(call)
        held.add(_constants(record))
        line.bytes = held.add(arrays_of(record._primal), record.index)
        line.extra = max(0, line.extra - line.bytes)
        line.forward_bytes = held.bytes + line.extra
        yield line


def measured(
    tape: Tape,
    seeds: dict[Tensor, Any],
    clock: Clock,
    opened: Callable[[Tensor, Any], None],
) -> list[Line]:
    """The lines of a tape, each run alone: its op, then its rules, with the true cotangent.

    Parameters
    ----------
    tape
        The tape, which is not being recorded.
    seeds
        The outputs, whose values stay, and their cotangents.
    clock
        Times each call.
    opened
        Called with each record that holds others, and its cotangent or None.
    """
    held, first = Held(), tape.start.index + 1
    every = list(forward_lines(tape, clock, held))
    wanted = frozenset(tape.parameters)
    stays = wanted.union(seeds)
    cotangents, summed = dict(seeds), set[Tensor]()
    for c in cotangents.values():
        held.add(arrays_of(c))
    for line in reversed(every):
        record = line.record
        g = None if record in wanted else cotangents.pop(record, None)
        line.backward_bytes = held.bytes
        if record.op in HOLDERS:
            opened(record, g)
        if g is not None:
            summed.discard(record)
            call = pulled(record, g, cotangents, summed)
            line.backward_s = clock.time(call)
            extra = allocated(call)
            line.backward_bytes += extra
            before = held.bytes
            known = _of_operands(record, cotangents)
            pass_on(record, g, cotangents, summed)
            # in this order, since a sum may be in the memory of what was known
            for c in _of_operands(record, cotangents).values():
                held.add(arrays_of(c))
            for c in known.values():
                _freed(held.drop(arrays_of(c)), every, first, record.index)
            line.extra = max(line.extra, extra - max(0, held.bytes - before))
            _freed(held.drop(arrays_of(g)), every, first, record.index)
        if record not in stays:
            _freed(held.drop(arrays_of(record._primal)), every, first, record.index)
        _freed(held.drop(_constants(record)), every, first, record.index)
    return every


def _freed(whose: Iterable[int], lines: Sequence[Line], first: int, at: int) -> None:
    """Note at which line the memory of records is freed."""
    for i in whose:
        lines[i - first].freed_at = at


def pulled(
    record: Tensor,
    g: Any,
    cotangents: Mapping[Tensor, Any] = _NO,
    summed: Container[Tensor] = (),
) -> Callable[[], None]:
    """A call that does what the sweep does at a record, of which nothing stays."""
    known = _of_operands(record, cotangents)
    # the sweep adds to these in place
    sums = {x: np.zeros_like(c) for x, c in known.items() if x in summed}

    def call() -> None:
        pass_on(record, g, known | sums, set(sums))

    return call


def _of_operands(record: Tensor, cotangents: Mapping[Tensor, Any]) -> dict[Tensor, Any]:
    """The cotangents so far of a record's operands."""
    return {x: cotangents[x] for x in record._operands if type(x) is Tensor and x in cotangents}


def derived(tape: Tape, record: Tensor, g: Any) -> Callable[[], None]:
    """A call of what the rules of a record write, without the rules themselves.

    A loop or branch inside another is differentiated once, for all steps.
    """
    _, last = recorded_from(tape.last, pass_on, (record, g, {}, set(), True))
    calls = [written(x) for x in Tape(last, tape.last)]

    def call() -> None:
        for write in calls:
            write()

    return call


def _constants(record: Tensor) -> list[Array]:
    """The copies of constants that a record holds, and the cotangents of a recorded sweep."""
    passed: Any = record._options["passed"].values if record.op is SWEEP else ()
    return [x for x in (*record._operands, *passed) if isinstance(x, np.ndarray)]


def written(record: Tensor) -> Callable[[], Any]:
    """A call that computes the value of a record again."""
    if record.op is CHECKPOINT:
        return lambda: list(runs(record))
    return partial(record.op.forward, *primals(record._operands), **record._options)
