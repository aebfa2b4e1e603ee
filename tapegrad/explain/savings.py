"""Where a checkpoint saves memory: calls of the user's functions, lines of source and loops."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any

import attrs

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.explain.measure import Line, in_bytes, in_seconds
from tapegrad.face.lines import Place, is_users, users_place
from tapegrad.face.text import printable
from tapegrad.loops.segments import schedule
from tapegrad.program.control.loop import Loop

NOWHERE = Place("", 0, "")
# a saving below this part of the peak is not worth a checkpoint
_WORTH = 0.05


@attrs.frozen
class Saving:
    """What `checkpoint` around a function, or around what a line of source calls, would change.

    Attributes
    ----------
    what
        The function or the line.
    calls
        How often it was called.
    bytes
        By how much the peak would be lower.
    seconds
        How much longer it would take: the lines in it are computed once more.
    """

    what: str
    calls: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        times = f"{self.calls} times" if self.calls > 1 else "once"
        return (
            f"{self.what} (called {times}): {in_bytes(self.bytes)} less at the peak, for "
            f"{in_seconds(self.seconds)} more"
        )


@attrs.frozen(eq=False)
class _Call:
    """A call of a function of the user's: the function's name, and where it is defined."""

    what: str


@attrs.frozen
class _Called(Place):
    """The place of a record, and the calls that led to it, the outermost first."""

    calls: tuple[_Call, ...]

    @property
    def bare(self) -> Place:
        """The place alone."""
        return Place(self.file, self.number, self.text)


class Calls:
    """Notes which calls lead to each record, inside the frame of the given code."""

    def __init__(self, code: CodeType | None) -> None:
        self._code = code
        # the frames that led to the last record, which stay for their identity, outermost first
        self._frames: list[FrameType] = []
        self._calls: list[_Call] = []
        self._ended = False

    def end(self) -> None:
        """Let the frames go, whose variables hold records; note places alone from here on."""
        self._ended = True
        self._frames.clear()
        self._code = None

    def note(self) -> Place:
        """The place of the record that the caller writes."""
        place, frames = users_place(), []
        if self._ended:
            return place
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self._code:
            if is_users(frame):
                frames.append(frame)
            frame = frame.f_back
        frames.reverse()
        pairs = zip(frames, self._frames, strict=False)
        n = next((i for i, (new, old) in enumerate(pairs) if new is not old), None)
        n = min(len(frames), len(self._frames)) if n is None else n
        new = [_Call(_function(x.f_code)) for x in frames[n:]]
        self._frames, self._calls = frames, self._calls[:n] + new
        return _Called(place.file, place.number, place.text, tuple(self._calls))


def _function(code: CodeType) -> str:
    return f"{code.co_qualname} ({_base(code.co_filename)}:{code.co_firstlineno})"


def place_of(x: Any, around: Place = NOWHERE) -> Place:
    """The place of a record or an instruction; that of what holds it, if it has none."""
    place: Place = x.place if x.place is not None and x.place.file else around
    return place.bare if isinstance(place, _Called) else place


def savings(tape: Tape, lines: Sequence[Line], outputs: Iterable[Tensor]) -> tuple[Saving, ...]:
    """What checkpoints around calls of functions, and around lines of source, would save."""
    last_use = {line.record: line.record.index for line in lines}
    for line in lines:
        for x in line.record._operands:
            if type(x) is Tensor and x in last_use:
                last_use[x] = line.record.index
    last_use.update(dict.fromkeys([*outputs, *tape.parameters], len(lines)))
    held = [max(x.forward_bytes, x.backward_bytes) for x in lines]
    found: dict[Any, Saving] = {}

    def add(what: str, calls: int, gone: Mapping[int, int], seconds: float) -> None:
        """Add a saving, given how much is not held from which lines on."""
        now = most = 0
        for i, x in enumerate(held):
            now = gone.get(i, now)
            most = max(most, x - now)
        saved = max(held) - most
        if saved >= _WORTH * max(held):
            # a line that calls a function saves what that does, which comes first
            found.setdefault((-saved, seconds), Saving(what, calls, saved, seconds))

    for what, spans in _spans(lines).items():
        # what is held for calls that end before a line is not, if they are checkpointed
        inner, seconds, gone = 0, 0.0, dict[int, int]()
        for start, stop in spans:
            within = lines[start:stop]
            last = within[-1].record.index
            freed = sum(x.bytes for x in within if last_use[x.record] <= last)
            # repeated, it makes its results once more
            gone[start] = inner - (sum(x.bytes for x in within) - freed)
            gone[stop] = inner = inner + freed
            seconds += sum(x.forward_s for x in within)
        add(what, len(spans), gone, seconds)
    for i, x in enumerate(lines):
        loop = x.record._options.get("loop")
        if isinstance(loop, Loop) and loop.remember:
            kept = x.record._primal.values[loop.first_kept :]
            carries, rows = (
                sum(y.nbytes for y in some) for some in (kept[: loop.n_carry], kept[loop.n_carry :])
            )
            n = max(1, len(kept[0]) if kept else 1)
            what = f"the {x.record.op.name} at {where_of(place_of(x.record))}"
            add(f"the body of {what}", n, {i: rows - rows // n}, x.forward_s)
            if loop.stop is None:
                size, levels = schedule(n, "binomial")
                segments = n // size**levels
                few = carries * (segments + size * levels) // n + rows * size // n
                what = f'segments of {what}, by checkpoint="binomial"'
                add(what, segments, {i: carries + rows - few}, x.forward_s * levels)
    return tuple([found[key] for key in sorted(found)])[:3]


def _spans(lines: Sequence[Line]) -> Mapping[str, list[tuple[int, int]]]:
    """The lines of the tape that belong to each function, and to each line of source, by call."""
    functions: dict[str, dict[Any, list[int]]] = {}
    places: dict[str, dict[Any, list[int]]] = {}
    turn, before = 0, None
    for i, line in enumerate(lines):
        place = line.record.place
        if not isinstance(place, _Called) or not place.calls or line.record.op is PARAMETER:
            continue
        # of calls of a function inside itself, the outermost
        outermost = {call.what: call for call in reversed(place.calls)}
        for what, call in outermost.items():
            # a loop or an expression is no function that could be named
            if "<lambda>" in what or "<" not in what.replace("<locals>", ""):
                functions.setdefault(what, {}).setdefault(call, []).append(i)
        here = place.calls[-1], place.number
        turn += here != before
        before = here
        what = f"the call at {where_of(place.bare)}"
        places.setdefault(what, {}).setdefault(turn, []).append(i)
    found = {**functions, **places}
    return {what: [(x[0], x[-1] + 1) for x in calls.values()] for what, calls in found.items()}


def where_of(place: Place) -> str:
    """A place in words, with its file's name alone."""
    return printable(str(Place(_base(place.file), place.number, place.text)))


def _base(file: str) -> str:
    return file.replace("\\", "/").rpartition("/")[2]
