"""Pickling records, which are a linked list of any length."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from tapegrad.arraylike.reading import TensorMixin
from tapegrad.core.primitive import Primitive
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.tree.ownership import owned_copy


class Pickling(TensorMixin):
    """Pickling of a record with all records before it, without deep recursion."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self._primal, self.op, self._operands, dict(self._options), self.index)
        links = _landmarks(self), self.previous
        return _restore_record, (type(self), *links, *fields, self.origin, self.name, self.place)


def _landmarks(record: Tensor) -> tuple[Any, ...]:
    """Return the records that pickle must visit first, the oldest first.

    Pickle follows the links recursively. A record whose index is a multiple of a power of 16 sends
    it first to its earlier peers, up to the next power, so that each link leads back only a few
    records to one that is pickled already.
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


def _restore_record(
    kind: type[Tensor],
    landmarks: tuple[Tensor, ...],
    previous: Tensor | Origin,
    primal: object,
    op: Primitive,
    operands: tuple[Any, ...],
    options: dict[str, Any],
    index: int,
    origin: Origin,
    name: str | None,
    place: object,
) -> Tensor:
    """Unpickle a record; the landmarks only had to be pickled before it."""
    # an unpickled array may share a buffer with the caller
    operands = tuple(owned_copy(x) if type(x) is np.ndarray else x for x in operands)
    kept = MappingProxyType({option: owned_copy(value) for option, value in options.items()})
    record = kind.__new__(kind)
    record.__attrs_init__(owned_copy(primal), op, operands, kept, index, previous, origin, name)
    if place is not None:
        object.__setattr__(record, "_place", place)
    return record


# older pickles have this name
_restored = _restore_record
