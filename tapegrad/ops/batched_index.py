"""The index of a batch: an index, and the elements that it selects, with one more axis."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.types import Array


class ArrayPosition(enum.Enum):
    """The position of an array in an index."""

    HOLE = "array"

    def __repr__(self) -> str:
        return "array"


HOLE = ArrayPosition.HOLE


@attrs.frozen(eq=False)
class BatchedIndex:
    """The index of a batch.

    Attributes
    ----------
    index, arrays
        The index with holes, and the arrays that fill them.
    ndim
        The number of axes of the selection from one example.
    order
        The axes of the selection in the order that they have for one example, with the batch axis
        in front; None if they are in this order already.
    """

    index: tuple[Any, ...]
    arrays: tuple[Any, ...]
    ndim: int
    order: tuple[int, ...] | None

    def batch_first(self, y: Array) -> Array:
        """The elements that the index selects, with the batch axis in front."""
        return y if self.order is None else np.transpose(y, self.order)

    def as_taken(self, values: Array) -> Array:
        """The inverse: a batch of values, with the axes in the order of the selection."""
        if self.order is None:
            return values
        return np.transpose(values, tuple(np.argsort(self.order).tolist()))


def batched_index(
    index: tuple[Any, ...],
    arrays: Sequence[Any],
    batched: Sequence[bool],
    ndim: int,
    n: int,
    own: bool,
) -> BatchedIndex | None:
    """The index for a batch of n, from the index for one example.

    Parameters
    ----------
    index, arrays
        The index with holes, and the arrays that fill them.
    batched
        Flags of the arrays that differ between the examples, along a leading axis.
    ndim
        The number of axes of the indexed array, for one example.
    n
        The number of examples.
    own
        Whether each example has its own array to be indexed.

    Returns
    -------
    The index, or None if there is none.
    """
    parts, fillings, batched = _without_masks(index, arrays, batched)
    if any(x.dtype.kind == "b" for x in fillings):
        return None
    ndims = [x.ndim - b for x, b in zip(fillings, batched, strict=True)]
    rank = max(ndims, default=0)
    shape = _Shape.of(parts, rank, ndim)
    if not any(batched):
        # as NumPy, which ignores arrays without axes if all are
        apart = rank > 0 and not shape.together
        order = _ahead(rank, shape.ndim + 1) if apart else None
        return BatchedIndex((slice(None), *parts), fillings, shape.ndim, order)
    lifted = tuple(
        [
            x.reshape(n, *(1,) * (rank - d), *x.shape[1:]) if b and d < rank else x
            for x, b, d in zip(fillings, batched, ndims, strict=True)
        ]
    )
    if not own:
        order = _ahead(shape.before, shape.ndim + 1) if shape.together else None
        return BatchedIndex(parts, lifted, shape.ndim, order)
    each = np.arange(n).reshape(n, *(1,) * rank)
    order = None
    if shape.together and shape.before and rank:
        # NumPy puts the axes of arrays that are not adjacent in front of all others
        front, middle = range(1, rank + 1), range(rank + 1, rank + 1 + shape.before)
        order = (0, *middle, *front, *range(rank + 1 + shape.before, shape.ndim + 1))
    return BatchedIndex((HOLE, *parts), (each, *lifted), shape.ndim, order)


def _ahead(at: int, ndim: int) -> tuple[int, ...] | None:
    """The order of axes that puts one in front."""
    return (at, *range(at), *range(at + 1, ndim)) if at else None


@attrs.frozen
class _Shape:
    """The shape of the selection from one example.

    Attributes
    ----------
    ndim
        The number of axes.
    before
        The number of axes in front of the arrays' axes, if the arrays are adjacent.
    together
        Whether they are adjacent, counting integers.
    """

    ndim: int
    before: int
    together: bool

    @classmethod
    def of(cls, parts: tuple[Any, ...], rank: int, ndim: int) -> _Shape:
        advanced = [i for i, part in enumerate(parts) if part is HOLE or type(part) is int]
        used = len([part for part in parts if part is not None and part is not Ellipsis])
        hidden = ndim - used
        sides = [
            0 if i in advanced else hidden if part is Ellipsis else 1
            for i, part in enumerate(parts)
        ]
        rest = 0 if Ellipsis in parts else hidden
        first = advanced[0] if advanced else 0
        together = not advanced or advanced[-1] - first + 1 == len(advanced)
        return cls(rank + sum(sides) + rest, sum(sides[:first]), together)


def _without_masks(
    index: tuple[Any, ...], arrays: Sequence[Any], batched: Sequence[bool]
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[bool, ...]]:
    """The index with the positions of a mask's true elements instead of the mask."""
    rest = iter(zip(arrays, batched, strict=True))
    parts: list[Any] = []
    fillings: list[Any] = []
    flags: list[bool] = []
    for part in index:
        if part is not HOLE:
            parts.append(part)
            continue
        x, b = next(rest)
        positions = np.nonzero(x) if x.dtype.kind == "b" and x.ndim and not b else (x,)
        parts += [HOLE] * len(positions)
        fillings += positions
        flags += [b] * len(positions)
    return tuple(parts), tuple(fillings), tuple(flags)
