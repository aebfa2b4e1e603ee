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
from tapegrad.explain.inside import HOLDERS, apart, on_tape, runs, steps
from tapegrad.explain.measure import (
    Clock,
    Held,
    Line,
    allocated,
    arrays_of,
    derived,
    forward_lines,
    measured,
    pulled,
    written,
)
from tapegrad.explain.steps import Inside
from tapegrad.explain.text import Report, Table
from tapegrad.face.lines import Place, users_place
from tapegrad.face.text import got, printable
from tapegrad.program.compiled import Compiled
from tapegrad.program.control.loop import Loop
from tapegrad.program.entry import read
from tapegrad.program.text import runner
from tapegrad.transforms.checkpoint import CHECKPOINT

P = ParamSpec("P")
NOWHERE = Place("", 0, "")


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
    bytes: int = 0
    extra_bytes: int = 0
    freed_at: int | None = None
    forward_s: float = 0.0
    backward_s: float = 0.0
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
class Profile(Report):
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

    @property
    def summary(self) -> str:
        """Its times and its peak, in words."""
        where = "" if self.peak_at is None else f" ({self.peak_at[0]}, line {self.peak_at[1]})"
        times = f"forward {in_seconds(self.forward_s)}, backward {in_seconds(self.backward_s)}"
        return f"{times}, peak {in_bytes(self.peak_bytes)}{where}"

    def notes(self) -> Iterator[str]:
        """How it was measured, and what Python takes, in words."""
        yield (
            f"Each line ran alone; of {self.rounds} rounds the shortest counts, and the median is "
            f"{self.noise:.0%} longer. {in_seconds(self.tick_s)} of each, for the clock, is taken "
            "off."
        )
        if self.recording_s:
            more = in_seconds(self.recording_s)
            yield f"Python, your function's and the tape's, takes {more} more."

    def details(self) -> list[Any]:
        """Its tables and its notes."""
        sums = [_sums(*pair) for pair in self.by_place().items()]
        tables = Table(_HEAD, _sorted(self.rows), 5), Table(_SUMS, sums, 4)
        return [*tables, "\n".join(self.notes())]


_HEAD = ("forward", "backward", "bytes", "freed at", "line", "record", "source")
_SUMS = ("forward", "backward", "bytes", "lines", "source")


def in_seconds(seconds: float) -> str:
    """Seconds in words, with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def in_bytes(n: int) -> str:
    """Bytes in words."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} B"


def where_of(place: Place) -> str:
    """A place in words, with its file's name alone."""
    file = place.file.replace("\\", "/").rpartition("/")[2]
    return printable(str(Place(file, place.number, place.text)))


def _seconds(row: Row | Total) -> float:
    return row.forward_s + row.backward_s


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
        compiled function, whose instructions run alone as well.
    rounds
        How often each line is timed. The shortest time counts, since others come from what else
        the machine does; the result says how far the median is above it.

    Returns
    -------
    A function of the same arguments that returns a `Profile`: its ``rows``, one for each line,
    ``by_place()``, the sums by line of your source, and the peak of the memory. ``str()`` of it is
    a table, and ``tg.show.html`` makes a page of it. Loops, branches and checkpointed calls hold
    the lines of their bodies, summed over the steps; of more than 16 steps, as many are timed, and
    count for all. The rows of a compiled function are its instructions; a backward one has the
    place of the op that it differentiates.

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
    output, tape, _ = run(fn, args, kwargs, place=users_place)
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
    rows = [_row(x, inside.get(x.record, ())) for x in lines]
    rest = max(0.0, whole - sum(x.forward_s for x in lines))
    figures = rest, clock.noise, clock.tick, clock.rounds
    return Profile(label(fn), tuple(rows), peak, where, *figures, tape, outputs[0])


def _compiled(
    fn: Compiled[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], clock: Clock
) -> Profile:
    program, values = fn.program(*args, **kwargs), read(args, kwargs, fn.static_argnums).values
    tape, inputs, outputs = on_tape(program, values, label(fn))
    read_last = {x: record.index for record in tape for x in record._operands if type(x) is Tensor}
    rows = []
    with np.errstate(all="ignore"):
        lines = list(forward_lines(tape, clock, Held()))[len(inputs) :]
        for i, (made, line) in enumerate(zip(program.instructions, lines, strict=True)):
            x = line.record
            inside = _inside(x, None, clock, place_of(x)) if x.op in HOLDERS else ()
            if not any(x is y for y in outputs):
                line.freed_at = read_last.get(x, x.index) - len(inputs)
            row = attrs.evolve(_row(line, inside), record=made, line=i)
            rows.append(_as_backward(row) if made.stage == "backward" else row)
        whole = clock.time(partial(fn, *args, **kwargs))
        make = runner(program)
        # what is made once, such as the code of its text, is no memory of a call
        make()(*values)
        peak = allocated(lambda: make()(*values))
    rest = max(0.0, whole - sum(map(_seconds, rows)))
    figures = rest, clock.noise, clock.tick, clock.rounds
    return Profile(f"{label(fn)}, compiled", tuple(rows), peak, None, *figures)


def _row(x: Line, inside: tuple[Row, ...] = (), around: Place = NOWHERE) -> Row:
    record = x.record
    figures = x.bytes, x.extra, x.freed_at, x.forward_s, x.backward_s
    return Row(record, record.index, place_of(record, around), *figures, 1, inside)


def _as_backward(row: Row) -> Row:
    """A row whose time is that of the backward pass."""
    inside = tuple([_as_backward(x) for x in row.inside])
    return attrs.evolve(row, forward_s=0.0, backward_s=row.forward_s, inside=inside)


def place_of(record: Tensor, around: Place = NOWHERE) -> Place:
    """The place of a record; that of the record that holds it, if it has none."""
    place: Place = record.place if record.place is not None and record.place.file else around
    return place


# so many steps of a loop are timed
_TIMED = 16


def _inside(record: Tensor, g: Any, clock: Clock, around: Place) -> tuple[Row, ...]:
    """The lines inside a record, summed over its steps."""
    loop = record._options.get("loop")
    n = sum(1 for _ in steps(loop, primals(record._operands))) if isinstance(loop, Loop) else 1
    stride = -(-n // _TIMED) or 1
    # how many steps each that is timed stands for
    shares = {t: len(range(t, min(n, t + stride))) for t in range(0, n, stride)}
    found: list[tuple[int, Row]] = []

    def within(x: Tensor, c: Any) -> tuple[Row, ...]:
        opens = x.op in HOLDERS and (c is not None or g is None)
        return _inside(x, c, clock, place_of(x, around)) if opens else ()

    for t, made in enumerate(runs(record)):
        for x in made.tape if t in shares else ():
            if x.op is not PARAMETER:
                line = Line(x, forward_s=clock.time(written(x)))
                line.bytes = sum(a.nbytes for a in arrays_of(x._primal) if a.base is None)
                found.append((shares[t], _row(line, within(x, None), around)))
    for swept in () if g is None else Inside(record, g):
        t = swept.step or 0
        for step in swept.steps if t in shares else ():
            if step.contributions:
                x, c = step.record, step.cotangent
                opens = x.op in HOLDERS and record.op is not CHECKPOINT
                seconds = clock.time(derived(swept.tape, x, c) if opens else pulled(x, c))
                row = _row(Line(x, backward_s=seconds), within(x, c), around)
                found.append((shares[t], attrs.evolve(row, steps=0)))
    return _summed(found)


def _summed(rows: Iterable[tuple[int, Row]]) -> tuple[Row, ...]:
    """One row for each line, with the sums of its figures, each so many times."""
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
                inside=_summed((n, x) for n, row in same for x in row.inside),
            )
            for same in lines.values()
        ]
    )
