"""Find the names that the user gave to values, while a call is recorded.

A tape has the values and no names; the frames of the user's functions have the names. When these
functions have returned, the variables in their frames still hold records. A recorded sweep says
which cotangent belongs to which record. Only names and comments in a program's text depend on this.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

import numpy as np

from tapegrad.core.sweep import SWEEP
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.errors.lines import PLACE, Place, frame_place, users_frame
from tapegrad.program.ir import STAGES
from tapegrad.transforms.reverse import SEED
from tapegrad.types import Array


def describe_records(
    records: Sequence[Tensor], inputs: Mapping[Tensor, str], variables: Mapping[Tensor, str] | None
) -> Iterable[tuple[Tensor, str, str, Any]]:
    """Yield each record of a tape with its name, its stage and its place in the source.

    The name is the name of a variable, or ``""``. The name of a cotangent is ``d_`` and the name of
    its value. The backward stage ends with the last cotangent that reaches a parameter.

    Parameters
    ----------
    records
        The records.
    inputs
        The names of the inputs.
    variables
        The names of other records in the caller's functions; None if no names are wanted.
    """
    sweeps = [x for x in records if x.op is SWEEP]
    n = end = len(records)
    first = next((x.index for x in records if x.op is SEED), n)
    names = [""] * n
    if variables is not None:
        owners, known = _owners(records, sweeps), {**variables, **inputs}
        names = [_name(x, owners, known) if x in owners else known.get(x, "") for x in records]
        arrived = [g.index for x in sweeps for g in x._options["gradients"].values[1::2]]
        end = min(n, max(first, max(arrived, default=n)) + 1)
    forward, backward, update = STAGES
    stages = [*[forward] * first, *[backward] * (end - first), *[update] * (n - end)]
    return zip(records, names, stages, [x.place for x in records], strict=True)


def _name(cotangent: Tensor, owners: Mapping[Tensor, Tensor], known: Mapping[Tensor, str]) -> str:
    """Return ``d_`` and the name of the value that a cotangent belongs to."""
    record, prefix, later = cotangent, "", {cotangent}
    # two values may be the cotangents of each other, as the factors of a product
    while record in owners and owners[record] not in later:
        record, prefix = owners[record], f"d_{prefix}"
        later.add(record)
    while record.op is PARAMETER and record._operands:
        (record,) = record._operands
    return prefix + known.get(record, record.op.name)


def _owners(records: Sequence[Tensor], sweeps: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """Map each cotangent of the sweeps to the record that it belongs to.

    Several records may have one cotangent, since some ops, such as an addition, return theirs
    unchanged. It then belongs to the first record that the sweep gave it to; but if it reached a
    parameter and the sweep computed nothing from it, it belongs to the parameter.
    """
    owners: dict[Tensor, Tensor] = {}
    straight: dict[Tensor, Tensor] = {}
    for written in sweeps:
        passed, ends = [written._options[name].values for name in ("passed", "gradients")]
        for x, g in zip(passed[::2], passed[1::2], strict=True):
            if type(g) is Tensor:
                owners.setdefault(g, x)
        own = records[written._options["since"] : written.index]
        used = {y for x in own for y in x._operands if type(y) is Tensor}
        straight |= {g: x for x, g in zip(ends[::2], ends[1::2], strict=True) if g not in used}
    return {**owners, **straight}


def array_namer(reach: Sequence[tuple[str, Any]]) -> Callable[[Array], str]:
    """Make a function that finds the user's name of a captured array, by comparing contents.

    A captured array on the tape is a copy, so its identity is lost.

    Parameters
    ----------
    reach
        The objects that the recorded function refers to, with their names.
    """
    known: defaultdict[Any, list[tuple[str, Array]]] = defaultdict(list)
    rest = iter(reach)

    def name_of(array: Array) -> str:
        if array.size < 2:
            return ""
        # the first call reads all objects
        for name, x in rest:
            if type(x) is np.ndarray:
                known[_sample(x)].append((name, x))
                if x.ndim == 2:
                    known[_sample(x.T)].append((f"{name}_T", x.T))
        alike = sorted(known[_sample(array)], key=lambda pair: pair[1].shape != array.shape)
        return next((name for name, x in alike if x.tobytes() == array.tobytes()), "")

    return name_of


def _sample(array: Array) -> Any:
    """Return a key for a fast comparison: dtype, size and some elements of an array."""
    return array.dtype, array.size, array.flat[:: max(1, array.size // 16)].tobytes()


def short_names(paths: Sequence[str]) -> list[str]:
    """Name each path after its shortest ending that no other path has.

    Examples
    --------
    >>> short_names(["p.w", "p.b", "x", "state.velocity.w"])
    ['p_w', 'b', 'x', 'velocity_w']
    """
    ends = [
        [*accumulate(reversed(split_path(path)), lambda end, step: f"{step}_{end}")] or [path]
        for path in paths
    ]
    count = Counter(chain(*ends))
    return [
        next((x for x in endings if count[x] == 1 and x[:1].isalpha()), path)
        for path, endings in zip(paths, ends, strict=True)
    ]


@lru_cache(1 << 10)
def split_path(path: str) -> tuple[str, ...]:
    """Split a path into its names and indices."""
    parts = path.replace("[", ".").replace("]", ".").split(".")
    return tuple([part for part in parts if part])


class Watch:
    """Collects the frames of the user's functions in which records are written.

    A profiler would see every return, but would be called twenty times for each record. Frames
    outside of the function that makes the Watch do not count.
    """

    def __init__(self) -> None:
        # the depth of each frame, 0 for the outermost
        self._depths: dict[Any, int] = {None: 0, users_frame(sys._getframe(1)): 0}
        # places by code and bytecode position, since finding a line takes long
        self._places: dict[tuple[int, int], Place] = {}

    def note(self) -> Place | None:
        """Note the user's frames for a record that is written now; return the user's line."""
        reached, is_known = PLACE.get()
        # skip this function, its caller, which writes the record, and the op
        frame: Any = None if is_known else users_frame(sys._getframe(3))
        if frame not in self._depths:
            # the frame, and the frames outside of it
            new, around = [], frame
            while around not in self._depths:
                new.append(around)
                around = users_frame(around.f_back)
            for depth, x in enumerate(reversed(new), self._depths[around] + 1):
                self._depths[x] = depth
        if not self._depths[frame]:
            return reached
        key = id(frame.f_code), frame.f_lasti
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = frame_place(frame)
        return reached or place

    def variables(self) -> dict[Tensor, str]:
        """Map each record that a variable held when its function returned to the variable's name.

        Of several names the one in the outermost function counts, and of several such functions the
        last call.
        """
        frames = sorted(self._depths, key=self._depths.__getitem__, reverse=True)
        pairs = [pair for x in frames if self._depths[x] for pair in x.f_locals.items()]
        return {x: name for name, x in pairs if type(x) is Tensor}

    def close(self) -> None:
        """Drop the frames: their records refer to this object, which would be a cycle."""
        self._depths = {None: 0}
