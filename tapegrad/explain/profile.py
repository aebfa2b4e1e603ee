"""Measure the time and memory of a function's forward and reverse sweep, line by line."""

from __future__ import annotations

import statistics
import tracemalloc
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any, ParamSpec

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.arraylike.reading import is_count
from tapegrad.core.forward import apply
from tapegrad.core.recording import record_call
from tapegrad.core.sweep import SWEEP, add_contributions
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor, primals
from tapegrad.core.writing import PARAMETER, record_from
from tapegrad.declare.parts import parts_of
from tapegrad.errors.functions import check_callable, label
from tapegrad.errors.lines import Place, users_place
from tapegrad.errors.words import got
from tapegrad.explain.figures import Profile, Row
from tapegrad.explain.inside import (
    HOLDERS,
    call_outside_recording,
    known_values,
    run_on_tape,
    runs,
    step_inputs,
)
from tapegrad.explain.steps import Inside
from tapegrad.program.compiled import Compiled
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.tracing import record_program
from tapegrad.program.entry import read
from tapegrad.program.ir import input_for
from tapegrad.program.text import make_runner
from tapegrad.transforms.checkpoint import CHECKPOINT
from tapegrad.transforms.reverse import initial_cotangent
from tapegrad.types import Array

P = ParamSpec("P")
# a function from a record to a call that computes its value again
MakeCall = Callable[[Tensor], Callable[[], Any]]
NOWHERE = Place("", 0)
# the most steps of a loop that are timed
_MAX_TIMED_STEPS = 16


def profile(fn: Callable[P, Any], rounds: int = 5) -> Callable[P, Profile]:
    """Measure where a function's time and memory go, forward and backward, line by line.

    The function is recorded, with every floating leaf of its arguments as a parameter. Then each
    line of the tape runs alone: its op, and in a reverse sweep from the results its rules. The
    times are NumPy's; a separate figure is the time that Python takes. Pass the function that you
    differentiate, rather than its gradient.

    Parameters
    ----------
    fn
        A pure function with floating results, whose cotangents are ones. Or a compiled function,
        whose instructions run alone as well.
    rounds
        The number of times that each line is timed. The shortest time counts, since the machine
        does other work during longer ones; the result has the excess of the median.

    Returns
    -------
    A function of the same arguments that returns a `Profile`: its ``rows``, one for each line,
    ``by_place()``, the sums by line of your source, and the peak of the memory. ``str()`` of it is
    a table, and ``tg.show.html`` makes a page of it. Loops, branches and checkpointed calls hold
    the lines of their bodies, summed over the steps; of more steps than 16, 16 are timed and
    count for all. The rows of a compiled function are its instructions; a backward instruction has
    the place of the op that it differentiates. A loop there is timed as a whole, and its lines
    share that time in proportion to the time that each takes alone.

    Raises
    ------
    TypeError
        When called: if no result is floating and depends on the arguments, or an argument is a
        Tensor.

    Notes
    -----
    Only the memory of arrays counts, once for all views, as a sweep inside `grad` holds and frees
    it. `tracemalloc` sees the allocations of an op while it runs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def loss(w, x):
    ...     h = np.tanh(x @ w)
    ...     return np.sum(h * h)
    >>> profile = tg.profile(loss)(np.ones((50, 20)), np.ones((1000, 50)))
    >>> for row in profile.rows:
    ...     print(row.line, row.name, row.bytes, row.freed_at)
    0 w 8000 None
    1 x 400000 None
    2 matmul 160000 2
    3 tanh 160000 3
    4 multiply 160000 4
    5 sum 8 None
    >>> profile.peak_at[0]
    'backward'
    """
    check_callable(fn)
    if not is_count(rounds, 1):
        raise TypeError(f"rounds must be a positive integer, not {rounds!r}")

    def profile_call(*args: P.args, **kwargs: P.kwargs) -> Profile:
        for x in tree.leaves((args, kwargs)):
            if type(x) is Tensor:
                raise TypeError(
                    f"profile: an argument is a Tensor of {x.origin.label}, which is being "
                    f"recorded; profile {label(fn)} outside, with arrays"
                )
        measure: Callable[..., Profile] = (
            _profile_compiled if isinstance(fn, Compiled) else _profile_function
        )
        return call_outside_recording(measure, fn, args, kwargs, Clock(rounds))

    profile_call.__name__ = profile_call.__qualname__ = f"profile({label(fn)})"
    profile_call.__doc__ = fn.__doc__
    return profile_call


def _profile_function(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], clock: Clock
) -> Profile:
    output, tape, _ = record_call(fn, args, kwargs, find_place=users_place)
    outputs = [
        x
        for x in dict.fromkeys(tree.leaves(output))
        if type(x) is Tensor and x.origin is tape.start.origin and x.dtype.kind in "fc"
    ]
    if not outputs:
        raise TypeError(
            f"profile: no result of {label(fn)} is floating and depends on its arguments; it "
            f"returned {got(output)}"
        )
    with np.errstate(all="ignore"):
        rows, peak, where = _sweep_rows(
            tape, {x: initial_cotangent(x, None) for x in outputs}, clock
        )
        total = clock.time(partial(record_call, fn, args, kwargs))
    python_s = max(0.0, total - sum(x.forward_s for x in rows))
    return Profile(label(fn), tuple(rows), peak, where, python_s, *clock.figures, tape, outputs[0])


def _profile_compiled(
    fn: Compiled[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], clock: Clock
) -> Profile:
    program, values = fn.program(*args, **kwargs), read(args, kwargs, fn.static_argnums).values
    tape, inputs, outputs = run_on_tape(program, values, label(fn))
    n = len(inputs)
    last_use = {x: record.index for record in tape for x in record._operands if type(x) is Tensor}
    rows = []
    with np.errstate(all="ignore"):
        alone = list(_forward_rows(tape, clock, HeldMemory(), make_compiled_call))[n:]
        for i, (instruction, row) in enumerate(zip(program.instructions, alone, strict=True)):
            x, is_output = row.record, any(row.record is y for y in outputs)
            row = attrs.evolve(
                row,
                record=instruction,
                line=i,
                freed_at=None if is_output else last_use.get(x, x.index) - n,
                inside=_inner_rows(x, None, clock, row.place, make_compiled_call),
            )
            row = _scale_inside(row)
            rows.append(_count_as_backward(row) if instruction.stage == "backward" else row)
        total = clock.time(partial(fn, *args, **kwargs))
        python_s = max(0.0, total - sum(x.forward_s + x.backward_s for x in rows))
        make = make_runner(program)
        # memory that is allocated once, such as compiled code, does not belong to a call
        make()[0](*values)
        peak = peak_allocation(lambda: make()[0](*values))
    return Profile(f"{label(fn)}, compiled", tuple(rows), peak, None, python_s, *clock.figures)


def _count_as_backward(row: Row) -> Row:
    """Move the time of a row to the backward pass."""
    inside = tuple([_count_as_backward(x) for x in row.inside])
    return attrs.evolve(row, forward_s=0.0, backward_s=row.forward_s, inside=inside)


def _scale_inside(row: Row, factor: float = 1.0) -> Row:
    """Multiply the forward time of a row, and scale its inner rows to add up to it."""
    total, inside = factor * row.forward_s, sum(x.forward_s for x in row.inside)
    rows = [_scale_inside(x, total / inside if inside else 1.0) for x in row.inside]
    return attrs.evolve(row, forward_s=total, inside=tuple(rows))


def place_of(record: Tensor, around: Place = NOWHERE) -> Place:
    """Return the place of a record, or of the record around it."""
    place: Place = record.place if record.place is not None and record.place.file else around
    return place


# --- a tape ---------------------------------------------------------------------------------


def _forward_rows(tape: Tape, clock: Clock, held: HeldMemory, make_call: MakeCall) -> Iterator[Row]:
    """Yield the rows of a tape, with each op run alone; their memory is added to `held`."""
    for record in tape:
        seconds, extra = 0.0, 0
        if record.op is not PARAMETER and record.op is not SWEEP:
            seconds, extra = (
                clock.time(make_call(record)),
                peak_allocation(make_forward_call(record)),
            )
        held.add(_constants(record))
        n = held.add(find_arrays(record._primal), record.index)
        place = place_of(record)
        yield Row(record, record.index, place, n, max(0, extra - n), forward_s=seconds)


def _sweep_rows(
    tape: Tape, seeds: Mapping[Tensor, Any], clock: Clock
) -> tuple[list[Row], int, tuple[str, int]]:
    """Return the rows of a tape, the peak of the memory, and its position.

    Each record runs alone: its op, then its rules, with its true cotangent.

    Parameters
    ----------
    tape
        The tape, which is not being recorded.
    seeds
        The outputs, whose values are kept, and their cotangents.
    clock
        Times each call.
    """
    held, rows, peaks = HeldMemory(), [], []
    for row in _forward_rows(tape, clock, held, make_forward_call):
        rows.append(row)
        peaks.append((held.bytes + row.extra_bytes, ("forward", row.line)))
    wanted = frozenset(tape.parameters)
    keeps_value = wanted.union(seeds)
    cotangents, summed = dict(seeds), set[Tensor]()
    for c in cotangents.values():
        held.add(find_arrays(c))
    for i, row in reversed([*enumerate(rows)]):
        record, before, seconds, extra, grown = row.record, held.bytes, 0.0, 0, 0
        g = None if record in wanted else cotangents.pop(record, None)
        inside = _inner_rows(record, g, clock, row.place, make_forward_call)
        if g is not None:
            summed.discard(record)
            call = make_backward_call(record, g, cotangents, summed)
            seconds, extra = clock.time(call), peak_allocation(call)
            known = operand_cotangents(record, cotangents)
            add_contributions(record, g, cotangents, summed)
            # add before dropping, since a sum may share an earlier cotangent's memory
            for c in operand_cotangents(record, cotangents).values():
                held.add(find_arrays(c))
            for c in known.values():
                held.drop(find_arrays(c), row.line)
            grown = max(0, held.bytes - before)
            held.drop(find_arrays(g), row.line)
        peaks.append((before + extra, ("backward", row.line)))
        if record not in keeps_value:
            held.drop(find_arrays(record._primal), row.line)
        held.drop(_constants(record), row.line)
        most = max(row.extra_bytes, extra - grown)
        rows[i] = attrs.evolve(row, extra_bytes=most, backward_s=seconds, inside=inside)
    rows = [attrs.evolve(row, freed_at=held.freed_at.get(row.line)) for row in rows]
    return rows, *max(peaks)


def _constants(record: Tensor) -> list[Array]:
    """Return the constants that a record holds, and the cotangents of a recorded sweep."""
    passed: Any = record._options["passed"].values if record.op is SWEEP else ()
    return [x for x in (*record._operands, *passed) if isinstance(x, np.ndarray)]


# --- inside a record ------------------------------------------------------------------------


def _inner_rows(
    record: Tensor, g: Any, clock: Clock, around: Place, make_call: MakeCall
) -> tuple[Row, ...]:
    """Return the lines inside a record, summed over its steps; none if it holds no others."""
    if record.op not in HOLDERS:
        return ()
    loop = record._options.get("loop")
    n = (
        sum(1 for _ in step_inputs(loop, primals(record._operands)))
        if isinstance(loop, Loop)
        else 1
    )
    stride = -(-n // _MAX_TIMED_STEPS) or 1
    # the number of steps that each timed step stands for
    step_weights = {t: len(range(t, min(n, t + stride))) for t in range(0, n, stride)}
    rows: list[tuple[int, Row]] = []

    def add(t: int, x: Tensor, c: Any, **figures: Any) -> None:
        place = place_of(x, around)
        # in a sweep, inner records are opened once, by their backward steps
        opens = c is not None or g is None
        inside = _inner_rows(x, c, clock, place, make_call) if opens else ()
        rows.append((step_weights[t], Row(x, x.index, place, inside=inside, **figures)))

    for inner in runs(record) if g is None else Inside(record, g):
        t = inner.step or 0
        if t not in step_weights:
            continue
        for x in inner.tape:
            if x.op is not PARAMETER:
                own_bytes = sum(a.nbytes for a in find_arrays(x._primal) if a.base is None)
                add(t, x, None, bytes=own_bytes, forward_s=clock.time(make_call(x)))
        for step in inner.steps:
            if step.contributions:
                x, c = step.record, step.cotangent
                opens = x.op in HOLDERS and record.op is not CHECKPOINT
                call = make_derivative_call(inner.tape, x, c) if opens else make_backward_call(x, c)
                add(t, x, c, backward_s=clock.time(call), steps=0)
    return _sum_by_line(rows)


def _sum_by_line(rows: Iterable[tuple[int, Row]]) -> tuple[Row, ...]:
    """Return one row for each line, with sums of its figures weighted by the numbers."""
    lines: dict[tuple[int, str], list[tuple[int, Row]]] = {}
    for n, row in rows:
        lines.setdefault((row.line, row.name), []).append((n, row))
    return tuple(
        [
            attrs.evolve(
                same[0][1],
                forward_s=sum(n * row.forward_s for n, row in same),
                backward_s=sum(n * row.backward_s for n, row in same),
                steps=sum(n * row.steps for n, row in same),
                inside=_sum_by_line((n, x) for n, row in same for x in row.inside),
            )
            for same in lines.values()
        ]
    )


# --- a clock, the memory behind arrays, and calls to measure ------------------------------

NO_COTANGENTS: Mapping[Tensor, Any] = {}
# a short call is repeated in each round until it takes about this many seconds
_ROUND_SECONDS = 2e-5
# the bytes of frames, tuples and numbers, which a call allocates besides arrays
_SMALL_BYTES = 2048


class Clock:
    """Times calls: each in several rounds; the shortest counts.

    Attributes
    ----------
    rounds
        The number of rounds of a call.
    tick
        The seconds that an empty call and a reading of the clock take, which are subtracted.
    shortest_sum, median_sum
        The sums of the shortest and of the median rounds of all calls.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds, self.tick = rounds, 0.0
        self.tick = min(self._time_rounds(lambda: None, 20, 100))
        self.shortest_sum = self.median_sum = 0.0

    @property
    def noise(self) -> float:
        """The relative excess of the median rounds over the shortest, over all calls."""
        return self.median_sum / self.shortest_sum - 1 if self.shortest_sum else 0.0

    @property
    def figures(self) -> tuple[float, float, int]:
        """The noise, the seconds of the clock itself, and the rounds."""
        return self.noise, self.tick, self.rounds

    def time(self, call: Callable[[], Any]) -> float:
        """Return the seconds that a call takes."""
        once = self._time_rounds(call, 1, 1)[0]
        repeats = max(1, min(100, int(_ROUND_SECONDS / max(once, 1e-9))))
        seconds = self._time_rounds(call, self.rounds, repeats)
        # the first call may have been slow: it allocates
        shortest = max(0.0, min(seconds))
        self.shortest_sum += shortest
        self.median_sum += max(0.0, statistics.median(seconds))
        return shortest

    def _time_rounds(self, call: Callable[[], Any], rounds: int, repeats: int) -> list[float]:
        seconds = []
        for _ in range(rounds):
            start = perf_counter()
            for _ in range(repeats):
                call()
            seconds.append((perf_counter() - start) / repeats - self.tick)
        return seconds


def peak_allocation(call: Callable[[], Any]) -> int:
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
    return most if most > _SMALL_BYTES else 0


def memory_owner(x: Array) -> Array:
    """The array that owns the memory of another."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x


def find_arrays(x: Any) -> list[Array]:
    """The arrays in a value or a cotangent."""
    return [y for y in known_values(x) if isinstance(y, np.ndarray)]


class HeldMemory:
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
        for x in map(memory_owner, arrays):
            entry = self._owners.setdefault(id(x), [x, 0, index])
            if not entry[1]:
                self.bytes += x.nbytes
            entry[1] += 1
        return self.bytes - before

    def drop(self, arrays: Iterable[Array], at: int) -> None:
        """Let arrays go, at a record."""
        for x in map(memory_owner, arrays):
            entry = self._owners[id(x)]
            entry[1] -= 1
            if not entry[1]:
                self.bytes -= x.nbytes
                del self._owners[id(x)]
                self.freed_at |= {} if entry[2] is None else {entry[2]: at}


# --- calls ----------------------------------------------------------------------------------


def make_forward_call(record: Tensor) -> Callable[[], Any]:
    """A call that computes the value of a record again."""
    if record.op is CHECKPOINT:
        return lambda: list(runs(record))
    return partial(record.op.forward, *primals(record._operands), **record._options)


def make_compiled_call(record: Tensor) -> Callable[[], Any]:
    """A call that computes the value of a record of a program as a compiled function does.

    A loop or a branch runs as the source that is written for it, without the steps being looked at.
    """
    if record.op not in HOLDERS:
        return make_forward_call(record)
    values = primals(record._operands)

    def results(xs: list[Any]) -> list[Any]:
        return parts_of(apply(record.op, tuple(xs), record._options))

    code = record_program(record.op.name, [input_for(x, "x") for x in values], results)
    return partial(make_runner(code)()[0], *values)


def make_backward_call(
    record: Tensor,
    g: Any,
    cotangents: Mapping[Tensor, Any] = NO_COTANGENTS,
    summed: Container[Tensor] = (),
) -> Callable[[], None]:
    """A call that does the sweep's work at a record, and keeps nothing."""
    known = operand_cotangents(record, cotangents)
    # the sweep adds to these in place
    sums = {x: np.zeros_like(c) for x, c in known.items() if x in summed}

    def call() -> None:
        add_contributions(record, g, known | sums, set(sums))

    return call


def operand_cotangents(record: Tensor, cotangents: Mapping[Tensor, Any]) -> dict[Tensor, Any]:
    """The cotangents so far of a record's operands."""
    return {x: cotangents[x] for x in record._operands if type(x) is Tensor and x in cotangents}


def make_derivative_call(tape: Tape, record: Tensor, g: Any) -> Callable[[], None]:
    """A call of the ops that the rules of a record write, without the rules themselves.

    A loop or branch inside another is differentiated once, for all steps.
    """
    _, last = record_from(tape.last, add_contributions, (record, g, {}, set(), True))
    calls = [make_forward_call(x) for x in Tape(last, tape.last)]

    def call() -> None:
        for write in calls:
            write()

    return call
