"""Rows added at indices, which may be repeated: in place, and faster than by ``np.add.at``.

Other ufuncs combine elements with values likewise, such as their maximum.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.casting import require_dtype_holds
from tapegrad.types import Array, ArrayLike, DType

# the dtypes of pairs of numbers, and from how many numbers on they are added in pairs
_PAIRS: dict[DType, DType] = {np.dtype("f"): np.dtype("F"), np.dtype("d"): np.dtype("D")}
_MANY = 1 << 11
# up to this number, adding one by one is faster than adding rows that may be repeated
_FEW = 1 << 13


def add_at(y: Array, index: tuple[Any, ...], values: ArrayLike, ufunc: np.ufunc = np.add) -> None:
    """``y[index] += values``, adding all values where an element is named more than once.

    With another ufunc, such as `numpy.maximum`, they are combined instead.
    """
    if type(values) is int and y.dtype.kind in "iu":
        # an integer that is out of bounds raises, where ufunc.at would wrap it
        values = np.asarray(values, y.dtype)
    done = "added to" if ufunc is np.add else "combined with"
    require_dtype_holds(y.dtype, np.asarray(values).dtype, done)
    # add.at reads past the end of values that it has to broadcast itself
    full = np.broadcast_to(values, y[index].shape)
    _combine(ufunc, y, index, np.ascontiguousarray(full) if full.ndim else full)


def _combine(ufunc: np.ufunc, y: Array, index: Array | tuple[Any, ...], values: Array) -> None:
    if ufunc is np.maximum or ufunc is np.minimum:
        # these warn of nan here, and nowhere else
        with np.errstate(invalid="ignore"):
            ufunc.at(y, index, values)
    else:
        ufunc.at(y, index, values)


def add_rows(y: Array, indices: Array, values: Array) -> None:
    """``y[indices] += values``, adding all values where an index is repeated.

    A flat add.at takes a tenth of the time of an add.at by rows. Many rows are faster still, in a
    third of that time, if they are selected, added to and written back. `y` is in C order.
    """
    if y.size <= 2 * values.size or values.size <= _FEW:
        add_flat(y, indices, values)
        return
    indices = indices.reshape(-1).astype(np.intp, copy=False)
    values = values.reshape(indices.size, *y.shape[1:])
    # this raises an IndexError for an index out of bounds
    added = y.take(indices, axis=0) + values
    place = np.arange(indices.size)
    written = np.empty(len(y), np.intp)
    written[indices] = place
    set_rows(y, indices, added)
    # both assignments write the last of several rows with one index
    add_overwritten_rows(y, indices, values, (written.take(indices) != place).nonzero()[0])


def add_scaled_rows_into(
    y: Array, indices: Array, values: Array, factor: Array, last: Array, taken: Array | None = None
) -> None:
    """``y[indices] += values * factor``, where rows with one index are summed first.

    `last` has, for each row, the position of the last row with its index. `taken` has these rows
    of `y`, in an array that may be overwritten. `y` is in C order.
    """
    repeated = (last != np.arange(last.size)).nonzero()[0]
    if repeated.size:
        values = np.array(values, order="C")
        add_rows(values, last.take(repeated), values.take(repeated, axis=0))
    rows = y.take(indices, axis=0) if taken is None else taken
    np.add(rows, values * factor, rows)
    # the last of several rows with one index stays
    set_rows(y, indices, rows)


def last_positions(indices: Array, n: int) -> Array:
    """For each of these indices below n, the position of the last one that equals it."""
    written = np.empty(n, np.intp)
    written[indices] = np.arange(indices.size)
    return written.take(indices)


def sum_equal_rows(values: Array, indices: Array, n: int) -> Array:
    """The n sums of the rows with equal indices."""
    y = np.zeros((n, *values.shape[indices.ndim :]), values.dtype)
    add_rows(y, indices, values)
    return y


def add_overwritten_rows(y: Array, indices: Array, values: Array, lost: Array) -> None:
    """`add_rows` for the rows that a later one overwrote; `lost` has their positions."""
    if lost.size:
        # rows that are repeated often are not added one by one
        add = add_flat if 2 * lost.size > indices.size else add_rows
        add(y, indices.take(lost), values.take(lost, axis=0))


def set_rows(y: Array, indices: Array, rows: Array) -> None:
    """``y[indices] = rows``, where both are in C order and the indices have one axis.

    Each row is written as one element, which takes half to nine tenths of the time.
    """
    row = np.dtype((np.void, math.prod(y.shape[1:]) * y.itemsize))
    if row.itemsize:
        # NumPy's results have their bytes in the order of the machine
        rows = rows.astype(y.dtype, copy=False)
        y.reshape(-1).view(row)[indices] = rows.reshape(-1).view(row)


def add_flat(y: Array, indices: Array, values: Array, ufunc: np.ufunc = np.add) -> None:
    """`add_rows` by ``add.at`` on the elements, two at a time if the rows have an even length.

    NumPy adds a complex number in the time of a real one. Another ufunc takes one at a time.
    """
    width = math.prod(y.shape[1:])
    flattened, added = y.reshape(-1), values.reshape(-1)
    pairs = _PAIRS.get(y.dtype) if values.dtype == y.dtype and width % 2 == 0 else None
    if pairs is not None and values.size >= _MANY and ufunc is np.add:
        flattened, added, width = flattened.view(pairs), added.view(pairs), width // 2
    if flattened.size <= 2 * added.size:
        places = np.arange(flattened.size).reshape(len(y), width).take(indices, axis=0)
    else:
        n, flat = len(y), indices.reshape(-1)
        for i in (flat.argmin(), flat.argmax()) if flat.size else ():
            if not -n <= flat.item(i) < n:
                raise IndexError(f"index {flat.item(i)} is out of bounds for axis 0 with size {n}")
        # in a narrow dtype the positions would overflow
        places = (indices.astype(np.intp, copy=False) % n * width)[..., None] + np.arange(width)
    _combine(ufunc, flattened, places.reshape(-1), added)


def add_at_places_into(a: Array, values: Array, places: Array, out: Array | None = None) -> Array:
    """`add_at_places` into a buffer, which may be `a` itself."""
    if out is None:
        out = np.array(a, order="C")
    elif out is not a:
        np.copyto(out, a)
    require_dtype_holds(out.dtype, values.dtype, "added to")
    out.reshape(-1)[places] += values.reshape(-1)
    return out
