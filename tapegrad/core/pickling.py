"""Pickling of records: a linked list of any length, without deep recursion."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.core.ownership import keep


class Pickled:
    """A record that pickle can follow back to the beginning of its tape."""

    __slots__ = ()

    def __reduce__(self: Any) -> tuple[Any, ...]:
        fields = (self._primal, self.op, self.operands, dict(self.options), self.index)
        links = _landmarks(self), self.previous
        return _restored, (type(self), *links, *fields, self.origin, self.name)


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
) -> Any:
    """Unpickle a record; the landmarks have served by being pickled before it."""
    # an unpickled array may be in a buffer of the caller's
    operands = tuple(keep(x) if type(x) is np.ndarray else x for x in operands)
    kept = MappingProxyType({option: keep(value) for option, value in options.items()})
    return kind(keep(primal), op, operands, kept, index, previous, origin, name)
