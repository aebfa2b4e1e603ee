"""Batching of an index: the index of all examples, and the order of the axes it selects."""

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
        The permutation of the selection's axes that puts the batch axis first and the others in
        the order for one example; None if they are in this order already.
    """

    index: tuple[Any, ...]
    arrays: tuple[Any, ...]
    ndim: int
    order: tuple[int, ...] | None

    def move_batch_first(self, y: Array) -> Array:
        """Move the batch axis of the selected elements to the front."""
        return y if self.order is None else np.transpose(y, self.order)

    def to_selection_order(self, values: Array) -> Array:
        """Invert `move_batch_first`: put the axes of a batch of values in selection order."""
        if self.order is None:
            return values
        return np.transpose(values, tuple(np.argsort(self.order).tolist()))


def batched_index(
    index: tuple[Any, ...],
    arrays: Sequence[Any],
    batched: Sequence[bool],
    ndim: int,
    n: int,
    own_array: bool,
) -> BatchedIndex | None:
    """Return the index for a batch of n, from the index for one example.

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
    own_array
        Whether each example indexes a separate array.

    Returns
    -------
    The index; None if NumPy has no such index.
    """
    parts, fillings, batched = _without_masks(index, arrays, batched)
    if any(x.dtype.kind == "b" for x in fillings):
        return None
    ndims = [x.ndim - b for x, b in zip(fillings, batched, strict=True)]
    rank = max(ndims, default=0)
    shape = _SelectionShape.from_parts(parts, rank, ndim)
    if not any(batched):
        # NumPy ignores the positions of arrays that all have no axes
        is_separated = rank > 0 and not shape.together
        order = _axis_to_front(rank, shape.ndim + 1) if is_separated else None
        return BatchedIndex((slice(None), *parts), fillings, shape.ndim, order)
    lifted = tuple(
        [
            x.reshape(n, *(1,) * (rank - d), *x.shape[1:]) if b and d < rank else x
            for x, b, d in zip(fillings, batched, ndims, strict=True)
        ]
    )
    if not own_array:
        order = _axis_to_front(shape.before, shape.ndim + 1) if shape.together else None
        return BatchedIndex(parts, lifted, shape.ndim, order)
    example_indices = np.arange(n).reshape(n, *(1,) * rank)
    order = None
    if shape.together and shape.before and rank:
        # NumPy puts the axes of arrays that are not adjacent in front of all others
        front, middle = range(1, rank + 1), range(rank + 1, rank + 1 + shape.before)
        order = (0, *middle, *front, *range(rank + 1 + shape.before, shape.ndim + 1))
    return BatchedIndex((HOLE, *parts), (example_indices, *lifted), shape.ndim, order)


def _axis_to_front(axis: int, ndim: int) -> tuple[int, ...] | None:
    """Return the order of axes that puts one in front; None if it is first already."""
    return (axis, *range(axis), *range(axis + 1, ndim)) if axis else None


@attrs.frozen
class _SelectionShape:
    """The shape of the selection from one example.

    Attributes
    ----------
    ndim
        The number of axes.
    before
        The number of axes in front of the arrays' axes, if the arrays are adjacent.
    together
        Whether the arrays and integers are adjacent.
    """

    ndim: int
    before: int
    together: bool

    @classmethod
    def from_parts(cls, parts: tuple[Any, ...], rank: int, ndim: int) -> _SelectionShape:
        """Return the shape that an index selects from an array with `ndim` axes."""
        advanced = [i for i, part in enumerate(parts) if part is HOLE or type(part) is int]
        used = len([part for part in parts if part is not None and part is not Ellipsis])
        hidden = ndim - used
        selected_axes = [
            0 if i in advanced else hidden if part is Ellipsis else 1
            for i, part in enumerate(parts)
        ]
        rest = 0 if Ellipsis in parts else hidden
        first = advanced[0] if advanced else 0
        together = not advanced or advanced[-1] - first + 1 == len(advanced)
        return cls(rank + sum(selected_axes) + rest, sum(selected_axes[:first]), together)


def _without_masks(
    index: tuple[Any, ...], arrays: Sequence[Any], batched: Sequence[bool]
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[bool, ...]]:
    """Replace the masks of an index by the positions of their true elements."""
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
