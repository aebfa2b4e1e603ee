"""A program while it runs: each instruction timed, by stamps between the lines of its source."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import attrs

from tapegrad.core.tensor import NO_OPTIONS
from tapegrad.explain.measure import allocated
from tapegrad.face.lines import with_user_warnings
from tapegrad.program.control.loop import inner
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.memory import Plan, planned
from tapegrad.program.program import Program
from tapegrad.program.text import runner

_Key = tuple[int, int]


@attrs.frozen(eq=False)
class Timed:
    """What one instruction of a program takes.

    Attributes
    ----------
    made, index
        The instruction, and its number.
    bytes
        Of its result, if that has memory of its own.
    freed_at
        The last instruction that reads it; None for a result of the program.
    seconds, steps
        How long it ran, and how often, in a call; with those inside, if there are any.
    inside
        The instructions of the bodies that it holds.
    """

    made: Instruction
    index: int
    bytes: int
    freed_at: int | None
    seconds: float
    steps: int
    inside: tuple[Timed, ...]


@attrs.frozen(eq=False)
class ProgramTimes:
    """A program's instructions, timed.

    Attributes
    ----------
    instructions
        Those of the program.
    noise
        By how much the median of the rounds is above the shortest, as a part of that.
    tick
        Seconds that reading the clock takes, which are taken off.
    peak
        The most bytes that are held, buffers among them.
    """

    instructions: tuple[Timed, ...]
    noise: float
    tick: float
    peak: int


def timed(program: Program, values: Sequence[Any], rounds: int) -> ProgramTimes:
    """The instructions of a program, timed in several runs, of which the shortest counts for each.

    Its source is written with a call between the lines that reads the clock. Instructions that run
    block by block share their time equally.
    """
    spent: dict[_Key, float] = {}
    count: dict[_Key, int] = {}
    last = 0.0

    def stamp(code: Code, i: int) -> None:
        nonlocal last
        key = id(code), i
        spent[key] = spent.get(key, 0.0) + perf_counter() - last
        count[key] = count.get(key, 0) + 1
        last = perf_counter()

    ticks: list[float] = []
    for _ in range(100):
        spent.clear()
        stamp(program, 0)
        spent.clear()
        stamp(program, 0)
        ticks += spent.values()
    tick = min(ticks)
    run = runner(program, stamp)()
    # the first run allocates
    with_user_warnings(run, *values)
    found: list[dict[_Key, float]] = []
    for _ in range(rounds):
        spent.clear()
        count.clear()
        with_user_warnings(run, *values)
        found.append({key: max(0.0, t - count[key] * tick) for key, t in spent.items()})
    shortest = {key: min(x[key] for x in found) for key in count}
    middle = sum(statistics.median(x[key] for x in found) for key in count)
    least = sum(shortest.values())
    make = runner(program)
    # what is made once, such as the code of its text, is no memory of a call
    with_user_warnings(make(), *values)
    peak = allocated(lambda: with_user_warnings(make(), *values))
    times = _Times(shortest, dict(count))
    noise = middle / least - 1 if least else 0.0
    return ProgramTimes(times.of(program, planned(program, False)), noise, tick, peak)


@attrs.frozen
class _Times:
    """Seconds and steps by program and instruction."""

    seconds: dict[_Key, float]
    count: dict[_Key, int]

    def of(self, code: Code, plan: Plan) -> tuple[Timed, ...]:
        """The instructions of a program, or of a body."""
        last_use = {x: i for i, y in enumerate(code.instructions) for x in y.operands}
        # those that run block by block are stamped once, after the last
        blocks = {i: range(start, stop) for start, stop in plan.runs for i in range(start, stop)}
        found = []
        for i, made in enumerate(code.instructions):
            block = blocks.get(i, range(i, i + 1))
            key, ref = (id(code), block[-1]), Ref("instruction", i)
            bodies = list(inner(made.options or NO_OPTIONS))
            inside = tuple([x for body in bodies for x in self.of(body, planned(body, True))])
            is_held = not (made.is_view or made.number or bodies or ref in plan.passing)
            found.append(
                Timed(
                    made,
                    i,
                    made.nbytes if is_held else 0,
                    None if ref in code.results else last_use.get(ref, i),
                    self.seconds.get(key, 0.0) / len(block) + sum(x.seconds for x in inside),
                    self.count.get(key, 0),
                    inside,
                )
            )
        return tuple(found)
