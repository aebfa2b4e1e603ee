"""What can be observed of a call while it is recorded: the names that a reader knows.

The tape says what was computed, but not what the user calls it. Python's frames do: when the
user's functions that led to a record have returned, the variables in their frames still hold
records. The frames of the sweep say which cotangent belongs to which record. Only names and
comments in a program's text depend on this.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from inspect import unwrap
from types import CodeType, FrameType
from typing import Any

import attrs

from tapegrad.core.sweep import contributions, sweep
from tapegrad.core.tape import PARAMETER
from tapegrad.core.tensor import Tensor


@attrs.frozen
class Seen:
    """What was observed of a call.

    Attributes
    ----------
    variables
        Records that a variable held when its function returned, and the variable's name.
    cotangents
        Records that are cotangents, and the records that they belong to.
    gradients
        The cotangents that reached a parameter.
    """

    variables: Mapping[Tensor, str] = attrs.Factory(dict)
    cotangents: Mapping[Tensor, Tensor] = attrs.Factory(dict)
    gradients: frozenset[Tensor] = frozenset()

    def name(self, record: Tensor, inputs: Mapping[Tensor, str]) -> str:
        """The name by which a reader knows a record, or ``""``.

        The cotangent of a value is ``d_`` and the value's name.
        """
        prefix = ""
        while record in self.cotangents:
            record, prefix = self.cotangents[record], f"d_{prefix}"
        while record.op is PARAMETER and record._operands:
            (record,) = record._operands
        known = inputs.get(record) or self.variables.get(record, "")
        return prefix + (known or record.op.name) if prefix else known


NOTHING = Seen()


def short_names(paths: Sequence[str]) -> list[str]:
    """For each path, its shortest ending that no other path has, as a name.

    Examples
    --------
    >>> short_names(["p.w", "p.b", "x", "state.velocity.w"])
    ['p_w', 'b', 'x', 'velocity_w']
    """
    ends = [
        ["_".join(found[i:]) for i in reversed(range(len(found)))] or [path]
        for path in paths
        for found in [steps(path)]
    ]
    count = Counter(end for found in ends for end in set(found))
    return [
        next((x for x in found if count[x] == 1 and x[:1].isalpha()), path)
        for path, found in zip(paths, ends, strict=True)
    ]


def steps(path: str) -> tuple[str, ...]:
    """The names and indices that a path is made of."""
    return tuple(re.findall(r"[^.\[\]]+", path))


class Watch:
    """Notes, as each record is written, which frames led there.

    A profiler would see every return, but would be called twenty times for a record. The search
    ends at the function that makes the Watch.
    """

    def __init__(self) -> None:
        self._end = sys._getframe(1).f_code
        # the frames of the user's functions and of sweeps, and their depths
        self._depths: dict[FrameType, int] = {}
        self._cotangents: dict[Tensor, Tensor] = {}
        # by identity, since hashing code reads all of it; the code is kept alive
        self._passed: dict[int, tuple[bool, CodeType]] = {
            id(code): (passed, code)
            for code, passed in ((contributions.__code__, True), (unwrap(sweep).__code__, False))
        }

    def note(self) -> None:
        """Keep the frames that lead to the caller, which writes a record."""
        depths, passed, end = self._depths, self._passed, self._end
        new: list[FrameType] = []
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame not in depths:
            code = frame.f_code
            if code is end:
                break
            known = passed.get(id(code))
            if known is None:
                module = str(frame.f_globals.get("__name__"))
                # NumPy's functions in Python lead to ours, as they ask for them
                is_ours = module.startswith(("tapegrad.", "numpy."))
                known = passed[id(code)] = is_ours, code
            if not known[0]:
                new.append(frame)
            elif code is contributions.__code__:
                at = frame.f_locals
                if type(at["g"]) is Tensor:
                    self._cotangents.setdefault(at["g"], at["record"])
            frame = frame.f_back
        depth = 0 if frame is None else depths.get(frame, 0)
        for found in reversed(new):
            depths[found] = depth = depth + 1

    def seen(self, last: Any) -> Seen:
        """What was observed of a recording that ended with `last`."""
        variables: dict[Tensor, str] = {}
        cotangents = self._cotangents
        # a rule made these for the parameter itself: no op passed them on unchanged
        gradients: dict[Tensor, Tensor] = {}
        arrived: set[Tensor] = set()
        for frame in _as_they_returned(self._depths):
            at = frame.f_locals
            if frame.f_code is not unwrap(sweep).__code__:
                variables.update((x, name) for name, x in at.items() if type(x) is Tensor)
                continue
            for parameter, gradient in at["gradients"].items():
                if type(gradient) is Tensor:
                    arrived.add(gradient)
                    if gradient not in cotangents:
                        gradients[gradient] = parameter
        named = {**_first({**cotangents, **gradients}, last), **gradients}
        return Seen(variables, named, frozenset(arrived))

    def end(self) -> None:
        """Let the frames and the records go, which lead back here by the tape's origin."""
        self._depths.clear()
        self._cotangents.clear()


def _first(cotangents: Mapping[Tensor, Tensor], last: Any) -> Mapping[Tensor, Tensor]:
    """For each cotangent, the first record that it belonged to.

    A cotangent that an op passes on unchanged, as an addition does, is noted only where a rule
    writes a record. If that record has a single user, the cotangent came from there.
    """
    seen = set(cotangents.values())
    users: defaultdict[Tensor, list[Tensor]] = defaultdict(list)
    while type(last) is Tensor:
        for x in last._operands:
            if type(x) is Tensor:
                users[x].append(last)
        last = last.previous
    found: dict[Tensor, Tensor] = {}
    for g, record in cotangents.items():
        before = [record]
        while len(before) == 1 and (before[0] is record or before[0] not in seen):
            (record,) = before
            before = [user for user in users.get(record, ()) if user.index < g.index]
        found[g] = record
    return found


def _as_they_returned(depths: Mapping[FrameType, int]) -> Iterator[FrameType]:
    """Frames in the order in which they ended, from the order in which they began."""
    running: list[FrameType] = []
    for frame, depth in depths.items():
        while running and depths[running[-1]] >= depth:
            yield running.pop()
        running.append(frame)
    yield from reversed(running)
