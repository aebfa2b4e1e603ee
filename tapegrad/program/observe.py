"""Names that a reader knows, observed in a call while it is recorded.

The tape says what was computed, but not what the user calls it. Python's frames do: when the
user's functions that led to a record have returned, the variables in their frames still hold
records. A recorded sweep says itself which cotangent belongs to which record. Only names and
comments in a program's text depend on this.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import CodeType, FrameType
from typing import Any, TypeVar

import attrs
import numpy as np

from tapegrad.core.sweep import SWEEP
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.errors.lines import Place, place_of
from tapegrad.program.control.loop import Branch, Loop, codes_in, inner
from tapegrad.program.ir import Code, Constant, Instruction
from tapegrad.tree.ownership import Array

AnyCode = TypeVar("AnyCode", bound=Code)


@attrs.frozen
class Seen:
    """The observations of a call.

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


# arrays of a function that a captured one is compared with
_MOST = 1000


def with_names(code: AnyCode, reach: Iterable[tuple[str, Any]]) -> AnyCode:
    """A program whose captured arrays, also those in bodies, are called what a function calls them.

    They are copies, made as they went on the tape, and are known by what they hold.

    Parameters
    ----------
    code
        The program.
    reach
        What the function refers to, by name.
    """
    constants = [x for held in codes_in(code) for x in held.constants]
    wanted = {
        (x.dtype, x.array.size) for x in constants if x.captured and not x.name and x.array.size > 1
    }
    if not wanted:
        return code
    arrays = [*islice(((name, x) for name, x in reach if type(x) is np.ndarray), _MOST)]
    arrays += [(x.name, x.array) for x in constants if x.name]
    known: defaultdict[Any, list[tuple[str, Array]]] = defaultdict(list)
    for name, x in arrays:
        if (x.dtype, x.size) in wanted:
            known[_sample(x)].append((name, x))
    return _named(code, known) if known else code


def _named(code: AnyCode, known: Mapping[Any, list[tuple[str, Array]]]) -> AnyCode:
    def constant(x: Constant) -> Constant:
        if x.name or not x.captured:
            return x
        alike = sorted(known.get(_sample(x.array), ()), key=lambda pair: pair[1].shape != x.shape)
        name = next((name for name, y in alike if y.tobytes() == x.array.tobytes()), "")
        return attrs.evolve(x, name=name) if name else x

    def option(x: Any) -> Any:
        if not isinstance(x, Loop | Branch):
            return x
        return attrs.evolve(x, **{name: _named(y, known) for name, y in x.bodies.items()})  # type: ignore[arg-type]

    def instruction(old: Instruction) -> Instruction:
        if not (old.options and inner(old.options)):
            return old
        return old.but(options={k: option(x) for k, x in old.options.items()})

    return attrs.evolve(
        code,
        constants=tuple(map(constant, code.constants)),
        instructions=tuple(map(instruction, code.instructions)),
    )


def _sample(array: Array) -> tuple[np.dtype[Any], int, bytes]:
    """Some of the elements of an array: where they are alike, arrays are compared as a whole."""
    return array.dtype, array.size, array.flat[:: max(1, array.size // 16)].tobytes()


def short_names(paths: Sequence[str]) -> list[str]:
    """For each path, its shortest ending that no other path has, as a name.

    Examples
    --------
    >>> short_names(["p.w", "p.b", "x", "state.velocity.w"])
    ['p_w', 'b', 'x', 'velocity_w']
    """
    ends = [
        ["_".join(endings[i:]) for i in reversed(range(len(endings)))] or [path]
        for path in paths
        for endings in [steps(path)]
    ]
    count = Counter(end for endings in ends for end in set(endings))
    return [
        next((x for x in endings if count[x] == 1 and x[:1].isalpha()), path)
        for path, endings in zip(paths, ends, strict=True)
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
        # the frames of the user's functions, and their depths
        self._depths: dict[FrameType, int] = {}
        # whether it is our code, by identity, since hashing code reads all of it
        self._is_ours: dict[int, bool] = {}
        self._codes: list[CodeType] = []  # kept alive
        # by the instruction that was reached: finding its line takes longer
        self._places: dict[tuple[int, int], Place] = {}

    def note(self) -> Place | None:
        """Keep the frames that lead to the caller, which writes a record; the user's line."""
        depths, known = self._depths, self._is_ours
        new: list[FrameType] = []
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            is_ours = known.get(id(code))
            if is_ours is None:
                module = str(frame.f_globals.get("__name__"))
                # NumPy's functions in Python lead to ours, as they ask for them
                is_ours = module.startswith(("tapegrad.", "numpy.")) and code is not self._end
                known[id(code)] = is_ours
                self._codes.append(code)
            if not is_ours:
                if frame in depths or code is self._end:
                    break
                new.append(frame)
            frame = frame.f_back
        depth = 0 if frame is None else depths.get(frame, 0)
        for user_frame in reversed(new):
            depths[user_frame] = depth = depth + 1
        users = new[0] if new else frame if frame in depths else None
        if users is None:
            return None
        key = id(users.f_code), users.f_lasti
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = place_of(users)
        return place

    def seen(self, last: Any) -> Seen:
        """The observations of a recording that ended with `last`."""
        variables: dict[Tensor, str] = {}
        for frame in _as_they_returned(self._depths):
            at = frame.f_locals
            variables.update((x, name) for name, x in at.items() if type(x) is Tensor)
        return Seen(variables, *_cotangents(last))

    def end(self) -> None:
        """Let the frames go, whose records lead back here by the tape's origin."""
        self._depths.clear()


def _cotangents(last: Any) -> tuple[dict[Tensor, Tensor], frozenset[Tensor]]:
    """The cotangents that sweeps came to, with what they belong to, and those of parameters.

    An op may pass a cotangent on unchanged, as an addition does: it belongs to the first record
    that it came to, unless nothing was computed from it before it reached a parameter.
    """
    sweeps: list[Tensor] = []
    first_use: dict[Any, int] = {}
    while type(last) is Tensor:
        if last.op is SWEEP:
            sweeps.append(last)
        first_use.update([(x, last.index) for x in last._operands if type(x) is Tensor])
        last = last.previous
    owners: dict[Tensor, Tensor] = {}
    straight: dict[Tensor, Tensor] = {}
    arrived: set[Tensor] = set()
    for written in reversed(sweeps):
        passed, ends = [written._options[name].values for name in ("passed", "gradients")]
        for record, g in zip(passed[::2], passed[1::2], strict=True):
            if type(g) is Tensor:
                owners.setdefault(g, record)
        for record, g in zip(ends[::2], ends[1::2], strict=True):
            arrived.add(g)
            if first_use.get(g, written.index) >= written.index:
                straight[g] = record
    return {**owners, **straight}, frozenset(arrived)


def _as_they_returned(depths: Mapping[FrameType, int]) -> Iterator[FrameType]:
    """Frames in the order in which they ended, from the order in which they began."""
    running: list[FrameType] = []
    for frame, depth in depths.items():
        while running and depths[running[-1]] >= depth:
            yield running.pop()
        running.append(frame)
    yield from reversed(running)
