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
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import islice
from types import CodeType, FrameType
from typing import Any

import numpy as np

from tapegrad.core.sweep import SEED, SWEEP, sweep
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.errors.lines import Place, place_of
from tapegrad.program.ir import STAGES
from tapegrad.tree.ownership import Array


def noted(
    records: Sequence[Tensor], inputs: Mapping[Tensor, str], variables: Mapping[Tensor, str] | None
) -> Iterable[tuple[Tensor, str, str, Any]]:
    """Each record of a tape with the name by which a reader knows it, its stage and its place.

    The name is that of a variable, or ``""``; the cotangent of a value is ``d_`` and the value's
    name. The last cotangent to reach a parameter ends the backward stage. A line that a sweep wrote
    has the place of the record that the sweep had reached.

    Parameters
    ----------
    records
        The records.
    inputs
        The names of those that are inputs.
    variables
        The names of others in the caller's functions; None if no names are wanted.
    """
    sweeps = [x for x in records if x.op is SWEEP]
    places = [x.place for x in records]
    for written in sweeps:
        origin = written.origin
        passed, at = written._options["passed"].values[::2], written._options["at"]
        for x, after, last in zip(passed, at, (*at, written.index - 1)[1:], strict=True):
            place = places[x.index] if x.origin is origin else x.place
            places[after + 1 : last + 1] = [place] * (last - after)
    n = len(records)
    first = next((x.index for x in records if x.op is SEED), n)
    if variables is None:
        names, end = [""] * n, n
    else:
        owners, arrived = _cotangents(records, sweeps)
        known = {**variables, **inputs}
        names = [_name(x, owners, known) if x in owners else known.get(x, "") for x in records]
        last = max([x.index for x in arrived], default=n)
        end = min(n, max(first, last) + 1)
    forward, backward, update = STAGES
    stages = [*[forward] * first, *[backward] * (end - first), *[update] * (n - end)]
    return zip(records, names, stages, places, strict=True)


def _name(cotangent: Tensor, owners: Mapping[Tensor, Tensor], known: Mapping[Tensor, str]) -> str:
    """``d_`` and the name of the value that a cotangent belongs to."""
    record, prefix, later = cotangent, "", {cotangent}
    # two values may be the cotangents of each other, as those of a product are
    while record in owners and owners[record] not in later:
        record, prefix = owners[record], f"d_{prefix}"
        later.add(record)
    while record.op is PARAMETER and record._operands:
        (record,) = record._operands
    return prefix + known.get(record, record.op.name)


def _cotangents(
    records: Sequence[Tensor], sweeps: Sequence[Tensor]
) -> tuple[dict[Tensor, Tensor], set[Tensor]]:
    """The cotangents that sweeps came to, with what they belong to, and those of parameters.

    An op may pass a cotangent on unchanged, as an addition does: it belongs to the first record
    that it came to, unless nothing was computed from it before it reached a parameter.
    """
    ends = [x._options["gradients"].values for x in sweeps]
    arrived = {g for pairs in ends for g in pairs[1::2]}
    first_use: dict[Tensor, int] = {}
    since = min([x.index for x in arrived], default=len(records))
    for x in records[since:]:
        for y in x._operands:
            if type(y) is Tensor and y in arrived:
                first_use.setdefault(y, x.index)
    owners: dict[Tensor, Tensor] = {}
    straight: dict[Tensor, Tensor] = {}
    for written, pairs in zip(sweeps, ends, strict=True):
        passed = written._options["passed"].values
        for x, g in zip(passed[::2], passed[1::2], strict=True):
            if type(g) is Tensor:
                owners.setdefault(g, x)
        for x, g in zip(pairs[::2], pairs[1::2], strict=True):
            if first_use.get(g, written.index) >= written.index:
                straight[g] = x
    return {**owners, **straight}, arrived


# arrays of a function that a captured one is compared with
_MOST = 1000


def array_names(reach: Sequence[tuple[str, Any]]) -> Callable[[Array], str]:
    """A function of a captured array that gives the name that the recorded function has for it.

    Captured arrays are copies, made as they went on the tape, and are known by what they hold.

    Parameters
    ----------
    reach
        What the function refers to, by name.
    """

    @cache
    def samples(dtype: np.dtype[Any], size: int) -> Mapping[bytes, list[tuple[str, Array]]]:
        known: defaultdict[bytes, list[tuple[str, Array]]] = defaultdict(list)
        arrays = ((name, x) for name, x in reach if type(x) is np.ndarray)
        for name, x in islice(arrays, _MOST):
            if (x.dtype, x.size) == (dtype, size):
                known[_sample(x)].append((name, x))
        return known

    def name_of(array: Array) -> str:
        if array.size < 2:
            return ""
        alike = samples(array.dtype, array.size).get(_sample(array), [])
        alike = sorted(alike, key=lambda pair: pair[1].shape != array.shape)
        return next((name for name, x in alike if x.tobytes() == array.tobytes()), "")

    return name_of


def _sample(array: Array) -> bytes:
    """Some of the elements of an array: where they are alike, arrays are compared as a whole."""
    return array.flat[:: max(1, array.size // 16)].tobytes()


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


@lru_cache(1 << 10)
def steps(path: str) -> tuple[str, ...]:
    """The names and indices that a path is made of."""
    return tuple(re.findall(r"[^.\[\]]+", path))


# our codes that led to a record, by identity, since hashing code reads all of it
_OURS: dict[int, CodeType] = {}


def _is_ours(frame: FrameType) -> bool:
    # NumPy's functions in Python lead to ours, as they ask for them
    is_ours = str(frame.f_globals.get("__name__")).startswith(("tapegrad.", "numpy."))
    # a sweep writes many records, so its frame is known
    if is_ours and frame.f_code is not sweep.__code__:
        _OURS[id(frame.f_code)] = frame.f_code
    return is_ours


class Watch:
    """Notes, as each record is written, which frames led there.

    A profiler would see every return, but would be called twenty times for a record. The search
    ends at the function that makes the Watch.
    """

    def __init__(self) -> None:
        self._end = sys._getframe(1).f_code
        # the frames of the user's functions, and their depths
        self._depths: dict[FrameType, int] = {}
        # the user's frame that each of these is, or that a sweep's leads to
        self._users: dict[FrameType | None, FrameType] = {}
        # by the instruction that was reached: finding its line takes longer
        self._places: dict[tuple[int, int], Place] = {}

    def note(self) -> Place | None:
        """Keep the user's frames that lead to a record that is written; the user's line."""
        # this function's caller writes the record, and is called by an op or the like
        frame: FrameType | None = sys._getframe(3)
        # five steps for each record, so they do only what is necessary
        while frame is not None and id(frame.f_code) in _OURS:
            frame = frame.f_back
        users = self._users.get(frame) or self._kept(frame)
        if users is None:
            return None
        key = id(users.f_code), users.f_lasti
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = place_of(users)
        return place

    def _kept(self, first: FrameType | None) -> FrameType | None:
        """The first of the user's frames from here, after they are kept."""
        new: list[FrameType] = []
        frame = first
        while frame is not None and frame not in self._users and frame.f_code is not self._end:
            if not _is_ours(frame):
                new.append(frame)
            frame = frame.f_back
        users = self._users.get(frame)
        depth = 0 if users is None else self._depths[users]
        for users in reversed(new):
            self._depths[users] = depth = depth + 1
            self._users[users] = users
        if first is not None and first.f_code is sweep.__code__ and users is not None:
            self._users[first] = users
        return users

    def variables(self) -> dict[Tensor, str]:
        """Records that a variable held when its function returned, and the variable's name.

        That of the outermost function counts, and among those of the last that was called.
        """
        frames = sorted(self._depths, key=self._depths.__getitem__, reverse=True)
        pairs = [pair for frame in frames for pair in frame.f_locals.items()]
        return {x: name for name, x in pairs if type(x) is Tensor}

    def end(self) -> None:
        """Let the frames go, whose records lead back here by the tape's origin."""
        self._depths.clear()
        self._users.clear()
