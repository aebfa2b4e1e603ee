"""Time and memory, measured: a clock, the memory behind arrays, and calls to measure."""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from tapegrad.core.sweep import pass_on
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primals
from tapegrad.core.writing import recorded_from
from tapegrad.explain.inside import runs, values_in
from tapegrad.transforms.checkpoint import CHECKPOINT
from tapegrad.tree.ownership import Array

NOTHING: Mapping[Tensor, Any] = {}
# a short call is repeated in each round until it takes about so many seconds
_ROUND = 2e-5
# the bytes of frames, tuples and numbers, which a call allocates besides arrays
_SMALL = 2048


class Clock:
    """Times calls: each in several rounds; the shortest counts.

    Attributes
    ----------
    rounds
        How many rounds a call gets.
    tick
        The seconds that calling and reading the clock take, which are taken off.
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

    @property
    def figures(self) -> tuple[float, float, int]:
        """The noise, the seconds of the clock itself, and the rounds."""
        return self.noise, self.tick, self.rounds

    def time(self, call: Callable[[], Any]) -> float:
        """Seconds that a call takes."""
        once = self._rounds(call, 1, 1)[0]
        repeats = max(1, min(100, int(_ROUND / max(once, 1e-9))))
        seconds = self._rounds(call, self.rounds, repeats)
        # the first call may have been slow: it allocates
        shortest = max(0.0, min(seconds))
        self.least += shortest
        self.middle += max(0.0, statistics.median(seconds))
        return shortest

    def _rounds(self, call: Callable[[], Any], rounds: int, repeats: int) -> list[float]:
        seconds = []
        for _ in range(rounds):
            start = perf_counter()
            for _ in range(repeats):
                call()
            seconds.append((perf_counter() - start) / repeats - self.tick)
        return seconds


def allocated(call: Callable[[], Any]) -> int:
    """The most bytes that a call holds while it runs, beyond those held before.

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
    return [y for y in values_in(x) if isinstance(y, np.ndarray)]


class Held:
    """The memory behind arrays that are held, each counted once however many views there are.

    Attributes
    ----------
    bytes
        How much it is.
    freed_at
        By the index of a record, where the memory of its value was let go.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.freed_at: dict[int, int] = {}
        # by identity: the owner of the memory, how often it is held, and for which record
        self._owners: dict[int, list[Any]] = {}

    def add(self, arrays: Iterable[Array], index: int | None = None) -> int:
        """Hold arrays, and return the bytes that were not held before."""
        before = self.bytes
        for x in map(owner, arrays):
            entry = self._owners.setdefault(id(x), [x, 0, index])
            if not entry[1]:
                self.bytes += x.nbytes
            entry[1] += 1
        return self.bytes - before

    def drop(self, arrays: Iterable[Array], at: int) -> None:
        """Let arrays go, at a record."""
        for x in map(owner, arrays):
            entry = self._owners[id(x)]
            entry[1] -= 1
            if not entry[1]:
                self.bytes -= x.nbytes
                del self._owners[id(x)]
                self.freed_at |= {} if entry[2] is None else {entry[2]: at}


# --- calls ----------------------------------------------------------------------------------


def written(record: Tensor) -> Callable[[], Any]:
    """A call that computes the value of a record again."""
    if record.op is CHECKPOINT:
        return lambda: list(runs(record))
    return partial(record.op.forward, *primals(record._operands), **record._options)


def pulled(
    record: Tensor,
    g: Any,
    cotangents: Mapping[Tensor, Any] = NOTHING,
    summed: Container[Tensor] = (),
) -> Callable[[], None]:
    """A call that does the sweep's work at a record, and keeps nothing."""
    known = of_operands(record, cotangents)
    # the sweep adds to these in place
    sums = {x: np.zeros_like(c) for x, c in known.items() if x in summed}

    def call() -> None:
        pass_on(record, g, known | sums, set(sums))

    return call


def of_operands(record: Tensor, cotangents: Mapping[Tensor, Any]) -> dict[Tensor, Any]:
    """The cotangents so far of a record's operands."""
    return {x: cotangents[x] for x in record._operands if type(x) is Tensor and x in cotangents}


def derived(tape: Tape, record: Tensor, g: Any) -> Callable[[], None]:
    """A call of the ops that the rules of a record write, without the rules themselves.

    A loop or branch inside another is differentiated once, for all steps.
    """
    _, last = recorded_from(tape.last, pass_on, (record, g, {}, set(), True))
    calls = [written(x) for x in Tape(last, tape.last)]

    def call() -> None:
        for write in calls:
            write()

    return call
