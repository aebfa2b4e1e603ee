"""Pickling: of records, a linked list of any length, and of what stands for a function."""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.core.ownership import keep


class Pickled:
    """A record that pickle can follow back to the beginning of its tape."""

    __slots__ = ()

    def __reduce__(self: Any) -> tuple[Any, ...]:
        fields = (self._primal, self.op, self._operands, dict(self._options), self.index)
        links = _landmarks(self), self.previous
        return _restored, (type(self), *links, *fields, self.origin, self.name, self.place)


def _landmarks(record: Any) -> tuple[Any, ...]:
    """Records that pickle must visit first, the oldest first.

    Pickle follows the links by recursion. A record whose index is a multiple of a power
    of 16 sends it to its peers before, up to the next power, so that each link leads a
    few records back to one that is pickled already.
    """
    kind, stride = type(record), 1
    while record.index and record.index % (stride * 16) == 0:
        stride *= 16
    if stride == 1:
        return ()
    peers = []
    earlier = record.previous
    while type(earlier) is kind and earlier.index % (stride * 16):
        if earlier.index % stride == 0:
            peers.append(earlier)
        earlier = earlier.previous
    if type(earlier) is kind:
        peers.append(earlier)
    return tuple(reversed(peers))


def _restored(
    kind: Any,
    landmarks: Any,
    previous: Any,
    primal: Any,
    op: Any,
    operands: tuple[Any, ...],
    options: dict[str, Any],
    index: int,
    origin: Any,
    name: str | None,
    place: Any,
) -> Any:
    """Unpickle a record; the landmarks have served by being pickled before it."""
    # an unpickled array may be in a buffer of the caller's
    operands = tuple(keep(x) if type(x) is np.ndarray else x for x in operands)
    kept = MappingProxyType({option: keep(value) for option, value in options.items()})
    record = kind(keep(primal), op, operands, kept, index, previous, origin, name)
    if place is not None:
        object.__setattr__(record, "_place", place)
    return record


def by_name(thing: Any, *parts: Any) -> str | tuple[Any, ...]:
    """What ``__reduce__`` returns for a thing that a decorator may put in a function's place.

    Its name, where it is found by that, as functions are pickled: the function inside no
    longer can be. Else what is given: a class and its arguments.
    """
    module, name = thing.__dict__.get("__module__"), thing.__dict__.get("__qualname__") or ""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    # joblib, Ray and Dask send what is in __main__ whole: their workers cannot import it
    if found is not thing or (module == "__main__" and _is_cloudpickle(sys._getframe(2))):
        return parts
    return name


def _is_cloudpickle(caller: Any) -> bool:
    """Whether a frame is one of cloudpickle, which others bring along under names of theirs."""
    return "cloudpickle" in caller.f_globals.get("__name__", "")
