"""Where time and memory go: a function's forward and reverse sweep, measured line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ParamSpec

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.callables import check_callable, label
from tapegrad.core.cotangents import initial_cotangent
from tapegrad.core.operands import is_count, primals
from tapegrad.core.recording import run
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.explain.inside import HOLDERS, apart, runs, steps
from tapegrad.explain.measure import (
    Clock,
    Line,
    arrays_of,
    derived,
    in_bytes,
    in_seconds,
    measured,
    pulled,
    written,
)
from tapegrad.explain.savings import NOWHERE, Calls, Saving, place_of, savings, where_of
from tapegrad.explain.stamps import Timed, timed
from tapegrad.explain.steps import Inside
from tapegrad.face.lines import Place
from tapegrad.face.text import columns, got, printable, rows_in_html
from tapegrad.program.compiled import Compiled
from tapegrad.program.control.loop import Loop
from tapegrad.program.entry import read
from tapegrad.transforms.checkpoint import CHECKPOINT

P = ParamSpec("P")


@attrs.frozen(eq=False)
class Row:
    """What one line takes.

    Attributes
    ----------
    record
        The record. In a compiled function, and inside its loops, the `Instruction`.
    line
        Its line on the tape, or its place among the instructions.
    place
        The line of your source that it was written for: a `Place`, with ``file``, ``number`` and
        ``text``.
    bytes
        The memory of its value that no earlier record holds: 0 for a view of one.
    extra_bytes
        The most that its op allocates besides, forward or backward, while it runs.
    freed_at
        The line at which the sweep frees the value; None for what stays: parameters and outputs.
    forward_s, backward_s
        Seconds.
    steps
        How often it ran.
    inside
        The lines inside a loop, a branch or a checkpointed call, summed over the steps.
    """

    record: Any
    line: int
    place: Place
    bytes: int
    extra_bytes: int
    freed_at: int | None
    forward_s: float
    backward_s: float
    steps: int = 1
    inside: tuple[Row, ...] = ()

    @property
    def name(self) -> str:
        """A parameter's name, or the op's."""
        named = self.record.op is PARAMETER and self.record.name
        return printable(named or self.record.op.name)

    def __str__(self) -> str:
        return "  ".join(filter(None, figures_of(self)))


@attrs.frozen
class Total:
    """What all lines of one line of source take.

    Attributes
    ----------
    n
        How many there are.
    bytes, forward_s, backward_s
        Their sums.
    """

    n: int
    bytes: int
    forward_s: float
    backward_s: float


@attrs.frozen(eq=False, repr=False)
class Profile:
    """What `profile` measured. ``str()`` of it is a table.

    Attributes
    ----------
    label
        The function.
    rows
        A `Row` for each line of the tape, in order.
    peak_bytes
        The most memory that is held at a time: the tape's values with its copies of constants,
        the cotangents, and what the ops allocate as they run. Arrays of yours are not in it.
    peak_at
        Where that is: ``"forward"`` or ``"backward"``, and the line; None for a compiled function.
    recording_s
        The seconds of a recorded call beside `forward_s`: Python, your function's and the tape's.
    noise
        By how much the median of the rounds is above the shortest, as a part of that, over all
        lines.
    tick_s
        Seconds that reading the clock takes, which are taken off.
    rounds
        How many rounds each line had.
    checkpoints
        Where a `checkpoint` would save most: a `Saving` for each place, the largest first.
    tape, output
        The tape, and the record that the sweep began at; None for a compiled function.
    """

    label: str
    rows: tuple[Row, ...]
    peak_bytes: int
    peak_at: tuple[str, int] | None
    recording_s: float
    noise: float
    tick_s: float
    rounds: int
    checkpoints: tuple[Saving, ...] = ()
    tape: Tape | None = None
    output: Tensor | None = None

    @property
    def forward_s(self) -> float:
        """The seconds of all lines, forward."""
        return sum(row.forward_s for row in self.rows)

    @property
    def backward_s(self) -> float:
        """The seconds of all lines, backward."""
        return sum(row.backward_s for row in self.rows)

    def by_place(self) -> dict[Place, Total]:
        """The sums by line of source, the longest first.

        Lines inside loops, branches and checkpointed calls count at their own place, and what
        these take beside is at the place of the call.
        """
        sums: dict[Place, Total] = {}
        for row in _leaves(self.rows):
            old = sums.get(row.place, Total(0, 0, 0.0, 0.0))
            sums[row.place] = Total(
                old.n + 1,
                old.bytes + row.bytes,
                old.forward_s + row.forward_s,
                old.backward_s + row.backward_s,
            )
        return dict(sorted(sums.items(), key=lambda pair: -_seconds(pair[1])))

    def __repr__(self) -> str:
        return f"<Profile of {self.label}: {self._summary()}>"

    def _summary(self) -> str:
        where = "" if self.peak_at is None else f" ({self.peak_at[0]}, line {self.peak_at[1]})"
        times = f"forward {in_seconds(self.forward_s)}, backward {in_seconds(self.backward_s)}"
        return f"{times}, peak {in_bytes(self.peak_bytes)}{where}"

    def notes(self) -> Iterator[str]:
        """How it was measured, what Python takes, and where a checkpoint saves, in words."""
        how = "Each line ran alone" if self.tape else "The clock was read after each line"
        yield (
            f"{how}; of {self.rounds} rounds the shortest counts, and the median is "
            f"{self.noise:.0%} longer. {in_seconds(self.tick_s)} of each, for the clock, is taken "
            "off."
        )
        if self.recording_s:
            more = in_seconds(self.recording_s)
            yield f"Python, your function's and the tape's, takes {more} more."
        for saving in self.checkpoints:
            yield f"checkpoint around {saving}"

    def __str__(self) -> str:
        rows, places = _sorted(self.rows), list(self.by_place().items())
        parts = [f"{self.label}: {self._summary()}", columns(_HEAD, rows[:MOST], 5)]
        if len(rows) > MOST:
            parts[-1] += f"\n... and {len(rows) - MOST} more"
        sums = [_sums(place, total) for place, total in places[:MOST]]
        parts.append(columns(_SUMS, sums, 4))
        return "\n\n".join([*parts, "\n".join(self.notes())])

    def _repr_html_(self) -> str:
        # here, because it takes long to import
        from html import escape

        rows, places = _sorted(self.rows), list(self.by_place().items())
        sums = [_sums(*pair) for pair in places[:MOST]]
        said = [escape(x) for x in (f"{self.label}: {self._summary()}", *self.notes())]
        tables = rows_in_html(_HEAD, rows[:MOST], len(rows) - MOST)
        tables += rows_in_html(_SUMS, sums, len(places) - MOST)
        return f"<p>{said[0]}</p>{tables}<p>{'</p><p>'.join(said[1:])}</p>"


# rows of a printed table
MOST = 24
_HEAD = ("forward", "backward", "bytes", "freed at", "line", "record", "source")
_SUMS = ("forward", "backward", "bytes", "lines", "source")


def _seconds(row: Any) -> float:
    return float(row.forward_s + row.backward_s)


def figures_of(row: Row, indent: str = "") -> tuple[str, ...]:
    """A row as cells: times, bytes, where they are freed, the line, what and where it is."""
    return (
        in_seconds(row.forward_s) if row.forward_s else "",
        in_seconds(row.backward_s) if row.backward_s else "",
        in_bytes(row.bytes) if row.bytes else "",
        "" if row.freed_at is None or not row.bytes else str(row.freed_at),
        str(row.line),
        f"{indent}{row.name}" + (f" x {row.steps}" if row.steps > 1 else ""),
        where_of(row.place),
    )


def _sorted(rows: Iterable[Row], indent: str = "") -> list[tuple[str, ...]]:
    """The cells of rows, sorted by time, each with those inside it below."""
    found = []
    for row in sorted(rows, key=lambda row: -_seconds(row)):
        found += [figures_of(row, indent), *_sorted(row.inside, indent + "  ")]
    return found


def _sums(place: Place, total: Total) -> tuple[str, ...]:
    return (
        in_seconds(total.forward_s),
        in_seconds(total.backward_s),
        in_bytes(total.bytes),
        str(total.n),
        where_of(place) or "(elsewhere)",
    )


def _leaves(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that hold no others, and what those that do take beside them."""
    for row in rows:
        if row.inside:
            yield from _leaves(row.inside)
            rest = [
                max(0.0, getattr(row, name) - sum(getattr(x, name) for x in row.inside))
                for name in ("forward_s", "backward_s")
            ]
            row = attrs.evolve(row, forward_s=rest[0], backward_s=rest[1])
        yield row


def profile(fn: Callable[P, Any], rounds: int = 5) -> Callable[P, Profile]:
    """Measure where a function's time and memory go, forward and backward, line by line.

    The function is recorded, with every floating leaf of its arguments as a parameter. Then each
    line of the tape runs alone: its op, and in a reverse sweep from the results its rules. The
    times are of NumPy's work; what Python takes beside is told in one figure. Give it the function
    that you differentiate, rather than its gradient.

    Parameters
    ----------
    fn
        A pure function with floating results; those that are no scalars are swept from ones. Or a
        compiled function, whose program is measured as it runs: its forward pass, and the backward
        pass that it may have.
    rounds
        How often each line is timed. The shortest time counts, since others come from what else
        the machine does; the result says how far the median is above it.

    Returns
    -------
    A function of the same arguments that returns a `Profile`: its ``rows``, one for each line,
    ``by_place()``, the sums by line of your source, and the peak of the memory. ``str()`` of it is
    a table, and ``tg.show.html`` makes a page of it. Loops, branches and checkpointed calls hold
    the lines of their bodies, summed over the steps; of more than 16 steps, as many are timed, and
    count for all. It says where a `checkpoint` would save most memory, and what that would cost.
    The rows of a compiled function are its instructions; a backward one has the place of the op
    that it differentiates.

    Raises
    ------
    TypeError
        When called: if no result is floating and depends on the arguments, or an argument is a
        Tensor.

    Notes
    -----
    Memory is that of arrays, each counted once however many views there are, as a sweep inside
    `grad` holds and frees it. What an op allocates while it runs is found by `tracemalloc`.

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

    def profiled(*args: P.args, **kwargs: P.kwargs) -> Profile:
        for x in tree.leaves((args, kwargs)):
            if type(x) is Tensor:
                raise TypeError(
                    f"profile: an argument is a Tensor of {x.origin.label}, which is being "
                    f"recorded; profile {label(fn)} outside, with arrays"
                )
        how: Callable[..., Profile] = _compiled if isinstance(fn, Compiled) else _profiled
        return apart(how, fn, args, kwargs, Clock(rounds))

    profiled.__name__ = profiled.__qualname__ = f"profile({label(fn)})"
    profiled.__doc__ = fn.__doc__
    return profiled


def _profiled(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], clock: Clock
) -> Profile:
    # the calls that lead to a record begin here
    calls = Calls(_profiled.__code__)
    try:
        output, tape, _ = run(fn, args, kwargs, place=calls.note)
    finally:
        calls.end()
    outputs = [
        x for x in tree.leaves(output) if type(x) is Tensor and x.origin is tape.start.origin
    ]
    outputs = [x for x in dict.fromkeys(outputs) if x.dtype.kind in "fc"]
    if not outputs:
        raise TypeError(
            f"profile: no result of {label(fn)} is floating and depends on its arguments; it "
            f"returned {got(output)}"
        )
    inside: dict[Tensor, tuple[Row, ...]] = {}

    def opened(record: Tensor, g: Any) -> None:
        inside[record] = _inside(record, g, clock, place_of(record))

    with np.errstate(all="ignore"):
        seeds = {x: initial_cotangent(x, None) for x in outputs}
        lines = measured(tape, seeds, clock, opened)
        whole = clock.time(partial(run, fn, args, kwargs))
    peak, where = max(
        (held, (name, x.record.index))
        for x in lines
        for held, name in ((x.forward_bytes, "forward"), (x.backward_bytes, "backward"))
    )
    rows = tuple([_row(x, inside.get(x.record, ())) for x in lines])
    return Profile(
        label(fn),
        rows,
        peak,
        where,
        max(0.0, whole - sum(x.forward_s for x in lines)),
        clock.middle / clock.least - 1 if clock.least else 0.0,
        clock.tick,
        clock.rounds,
        savings(tape, lines, outputs),
        tape,
        outputs[0],
    )


def _row(x: Line, inside: tuple[Row, ...], around: Place = NOWHERE) -> Row:
    record = x.record
    figures = x.bytes, x.extra, x.freed_at, x.forward_s, x.backward_s
    return Row(record, record.index, place_of(record, around), *figures, 1, inside)


def _compiled(
    fn: Compiled[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], clock: Clock
) -> Profile:
    program, values = fn.program(*args, **kwargs), read(args, kwargs, fn.static_argnums).values
    with np.errstate(all="ignore"):
        found = timed(program, values, clock.rounds)
        whole = clock.time(partial(fn, *args, **kwargs))
    rows = tuple([_instruction(x, x.made.stage, NOWHERE) for x in found.instructions])
    rest = max(0.0, whole - sum(x.seconds for x in found.instructions))
    figures = found.peak, None, rest, found.noise, found.tick, clock.rounds
    return Profile(f"{label(fn)}, compiled", rows, *figures)


def _instruction(x: Timed, stage: str, around: Place) -> Row:
    times = (0.0, x.seconds) if stage == "backward" else (x.seconds, 0.0)
    place = place_of(x.made, around)
    inside = tuple([_instruction(y, stage, place) for y in x.inside])
    return Row(x.made, x.index, place, x.bytes, 0, x.freed_at, *times, x.steps, inside)


# so many steps of a loop are timed
_TIMED = 16


def _inside(record: Tensor, g: Any, clock: Clock, around: Place) -> tuple[Row, ...]:
    """The lines inside a record, summed over its steps."""
    loop = record._options.get("loop")
    n = sum(1 for _ in steps(loop, primals(record._operands))) if isinstance(loop, Loop) else 1
    stride = -(-n // _TIMED) or 1
    # how many steps each that is timed stands for
    shares = {t: len(range(t, min(n, t + stride))) for t in range(0, n, stride)}
    found: _Rows = {}

    def within(x: Tensor, c: Any) -> tuple[Row, ...]:
        opens = x.op in HOLDERS and (c is not None or g is None)
        return _inside(x, c, clock, place_of(x, around)) if opens else ()

    for t, made in enumerate(runs(record)):
        for x in made.tape if t in shares else ():
            if x.op is not PARAMETER:
                line = Line(x, forward_s=clock.time(written(x)))
                line.bytes = sum(a.nbytes for a in arrays_of(x._primal) if a.base is None)
                _add(found, _row(line, within(x, None), around), shares[t])
    for swept in () if g is None else Inside(record, g):
        t = swept.step or 0
        for step in swept.steps if t in shares else ():
            if step.contributions:
                opens = step.record.op in HOLDERS and record.op is not CHECKPOINT
                swept_at = step.record, step.cotangent
                seconds = clock.time(derived(swept.tape, *swept_at) if opens else pulled(*swept_at))
                line = Line(step.record, backward_s=seconds)
                row = _row(line, within(step.record, step.cotangent), around)
                _add(found, attrs.evolve(row, steps=0), shares[t])
    return tuple(found.values())


_Rows = dict[tuple[int, str], Row]


def _add(rows: _Rows, row: Row, share: int) -> None:
    """Add to the row of the same line what another took, so many times."""
    key = row.line, row.name
    old = rows.get(key)
    inside: _Rows = {} if old is None else {(x.line, x.name): x for x in old.inside}
    for x in row.inside:
        _add(inside, x, share)
    rows[key] = attrs.evolve(
        old or row,
        forward_s=(old.forward_s if old else 0.0) + share * row.forward_s,
        backward_s=(old.backward_s if old else 0.0) + share * row.backward_s,
        steps=(old.steps if old else 0) + share * row.steps,
        inside=tuple(inside.values()),
    )
