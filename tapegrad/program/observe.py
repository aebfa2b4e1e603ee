"""Names that a reader knows, observed in a call while it is recorded.

The tape says what was computed, but not what the user calls it. Python's frames do: when the
user's functions that led to a record have returned, the variables in their frames still hold
records. A recorded sweep says itself which cotangent belongs to which record. Only names and
comments in a program's text depend on this.
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
from tapegrad.errors.lines import PLACE, Place, place_of, users_frame
from tapegrad.program.ir import STAGES
from tapegrad.transforms.reverse import SEED
from tapegrad.types import Array


def describe_records(
    records: Sequence[Tensor], inputs: Mapping[Tensor, str], variables: Mapping[Tensor, str] | None
) -> Iterable[tuple[Tensor, str, str, Any]]:
    """Each record of a tape with the name by which a reader knows it, its stage and its place.

    The name is that of a variable, or ``""``; the cotangent of a value is ``d_`` and the value's
    name. The last cotangent to reach a parameter ends the backward stage.

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
    """``d_`` and the name of the value that a cotangent belongs to."""
    record, prefix, later = cotangent, "", {cotangent}
    # two values may be the cotangents of each other, as those of a product are
    while record in owners and owners[record] not in later:
        record, prefix = owners[record], f"d_{prefix}"
        later.add(record)
    while record.op is PARAMETER and record._operands:
        (record,) = record._operands
    return prefix + known.get(record, record.op.name)


def _owners(records: Sequence[Tensor], sweeps: Sequence[Tensor]) -> dict[Tensor, Tensor]:
    """The cotangents that sweeps came to, with what they belong to.

    An op may pass a cotangent on unchanged, as an addition does: it belongs to the first record
    that it came to, unless it reached a parameter and the sweep computed nothing from it.
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
    """A function of a captured array that gives the name that the recorded function has for it.

    Captured arrays are copies, made as they went on the tape, and are known by what they hold.

    Parameters
    ----------
    reach
        What the function refers to, by name.
    """
    known: defaultdict[Any, list[tuple[str, Array]]] = defaultdict(list)
    rest = iter(reach)

    def name_of(array: Array) -> str:
        if array.size < 2:
            return ""
        # all of them, at the first array
        for name, x in rest:
            if type(x) is np.ndarray:
                known[_sample(x)].append((name, x))
                if x.ndim == 2:
                    known[_sample(x.T)].append((f"{name}_T", x.T))
        alike = sorted(known[_sample(array)], key=lambda pair: pair[1].shape != array.shape)
        return next((name for name, x in alike if x.tobytes() == array.tobytes()), "")

    return name_of


def _sample(array: Array) -> Any:
    """Facts of an array and some elements: where they are alike, arrays are compared as a whole."""
    return array.dtype, array.size, array.flat[:: max(1, array.size // 16)].tobytes()


def short_names(paths: Sequence[str]) -> list[str]:
    """For each path, its shortest ending that no other path has, as a name.

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
    """The names and indices that a path is made of."""
    parts = path.replace("[", ".").replace("]", ".").split(".")
    return tuple([part for part in parts if part])


class Watch:
    """Notes, as each record is written, which frames of the user's led there.

    A profiler would see every return, but would be called twenty times for a record. The frames
    around that of the call in which the Watch is made do not count.
    """

    def __init__(self) -> None:
        # the depths of the frames within, and 0 for that around them
        self._depths: dict[Any, int] = {None: 0, users_frame(sys._getframe(1)): 0}
        # by the instruction that was reached: finding its line takes longer
        self._places: dict[tuple[int, int], Place] = {}

    def note(self) -> Place | None:
        """Keep the user's frames that lead to a record that is written; the user's line."""
        reached, is_known = PLACE.get()
        # this function's caller writes the record, and is called by an op or the like
        frame: Any = None if is_known else users_frame(sys._getframe(3))
        if frame not in self._depths:
            # with those around it
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
            place = self._places[key] = place_of(frame)
        return reached or place

    def variables(self) -> dict[Tensor, str]:
        """Records that a variable held when its function returned, and the variable's name.

        That of the outermost function counts, and among those of the last that was called.
        """
        frames = sorted(self._depths, key=self._depths.__getitem__, reverse=True)
        pairs = [pair for x in frames if self._depths[x] for pair in x.f_locals.items()]
        return {x: name for name, x in pairs if type(x) is Tensor}

    def close(self) -> None:
        """Let the frames go, whose records lead back here by the tape's origin."""
        self._depths = {None: 0}
