"""In-place addition of rows at indices that may repeat, faster than ``np.add.at``.

Other ufuncs, such as the maximum, combine elements with values likewise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.casting import require_dtype_holds
from tapegrad.types import Array, ArrayLike, DType

# dtypes that hold a pair of numbers, and the least number of elements to add in pairs
_COMPLEX_DTYPES: dict[DType, DType] = {np.dtype("f"): np.dtype("F"), np.dtype("d"): np.dtype("D")}
_MIN_PAIRED = 1 << 11
# up to this number of elements, adding them one by one is faster than adding rows
_MAX_FLAT = 1 << 13


def add_at(y: Array, index: tuple[Any, ...], values: ArrayLike, ufunc: np.ufunc = np.add) -> None:
    """Add values at an index in place; where an index repeats, all its values are added.

    Another ufunc, such as `numpy.maximum`, combines them instead.
    """
    if type(values) is int and y.dtype.kind in "iu":
        # an integer out of the dtype's bounds raises here, where ufunc.at would wrap it
        values = np.asarray(values, y.dtype)
    action = "added to" if ufunc is np.add else "combined with"
    require_dtype_holds(y.dtype, np.asarray(values).dtype, action)
    # add.at reads past the end of values that it has to broadcast itself
    full = np.broadcast_to(values, y[index].shape)
    _apply_at(ufunc, y, index, np.ascontiguousarray(full) if full.ndim else full)


def _apply_at(ufunc: np.ufunc, y: Array, index: Array | tuple[Any, ...], values: Array) -> None:
    if ufunc is np.maximum or ufunc is np.minimum:
        # only their `at` warns of nan
        with np.errstate(invalid="ignore"):
            ufunc.at(y, index, values)
    else:
        ufunc.at(y, index, values)


def add_rows(y: Array, indices: Array, values: Array) -> None:
    """Add rows at indices in place; where an index repeats, all its rows are added.

    A flat add.at takes a tenth of the time of an add.at by rows. Many rows take a third of that
    time if they are selected, added to and written back. `y` is in C order.
    """
    if y.size <= 2 * values.size or values.size <= _MAX_FLAT:
        add_flat(y, indices, values)
        return
    indices = indices.reshape(-1).astype(np.intp, copy=False)
    values = values.reshape(indices.size, *y.shape[1:])
    # this raises an IndexError for an index out of bounds
    sums = y.take(indices, axis=0) + values
    positions = np.arange(indices.size)
    last = np.empty(len(y), np.intp)
    last[indices] = positions
    set_rows(y, indices, sums)
    # both assignments keep the last row of a repeated index
    add_overwritten_rows(y, indices, values, (last.take(indices) != positions).nonzero()[0])


def add_scaled_rows_into(
    y: Array, indices: Array, values: Array, factor: Array, last: Array, taken: Array | None = None
) -> None:
    """Add ``values * factor`` at indices in place, and sum the rows of a repeated index first.

    `last` holds, for each row, the position of the last row with its index. `taken` holds
    ``y[indices]``, and may be overwritten. `y` is in C order.
    """
    repeated = (last != np.arange(last.size)).nonzero()[0]
    if repeated.size:
        values = np.array(values, order="C")
        add_rows(values, last.take(repeated), values.take(repeated, axis=0))
    rows = y.take(indices, axis=0) if taken is None else taken
    np.add(rows, values * factor, rows)
    # the last row of a repeated index stays
    set_rows(y, indices, rows)


def last_positions(indices: Array, n: int) -> Array:
    """Return, for each index below n, the position of the last index equal to it."""
    last = np.empty(n, np.intp)
    last[indices] = np.arange(indices.size)
    return last.take(indices)


def sum_equal_rows(values: Array, indices: Array, n: int) -> Array:
    """Return n sums, each of the rows with one index."""
    y = np.zeros((n, *values.shape[indices.ndim :]), values.dtype)
    add_rows(y, indices, values)
    return y


def add_overwritten_rows(y: Array, indices: Array, values: Array, overwritten: Array) -> None:
    """Add the rows that a later row overwrote; `overwritten` holds their positions."""
    if overwritten.size:
        # if most rows repeat, adding them by rows again would take many rounds
        add = add_flat if 2 * overwritten.size > indices.size else add_rows
        add(y, indices.take(overwritten), values.take(overwritten, axis=0))


def set_rows(y: Array, indices: Array, rows: Array) -> None:
    """Assign rows at indices with one axis, where both arrays are in C order.

    Each row is written as one element, which takes half to nine tenths of the time.
    """
    row = np.dtype((np.void, math.prod(y.shape[1:]) * y.itemsize))
    if row.itemsize:
        # NumPy's results are in native byte order
        rows = rows.astype(y.dtype, copy=False)
        y.reshape(-1).view(row)[indices] = rows.reshape(-1).view(row)


def add_flat(y: Array, indices: Array, values: Array, ufunc: np.ufunc = np.add) -> None:
    """Add rows by ``add.at`` on elements, as complex pairs if the rows have an even length.

    NumPy adds a complex number in the time of a real one. Other ufuncs take one element each.
    """
    width = math.prod(y.shape[1:])
    flattened, terms = y.reshape(-1), values.reshape(-1)
    pairs = _COMPLEX_DTYPES.get(y.dtype) if values.dtype == y.dtype and width % 2 == 0 else None
    if pairs is not None and values.size >= _MIN_PAIRED and ufunc is np.add:
        flattened, terms, width = flattened.view(pairs), terms.view(pairs), width // 2
    if flattened.size <= 2 * terms.size:
        positions = np.arange(flattened.size).reshape(len(y), width).take(indices, axis=0)
    else:
        n, flat = len(y), indices.reshape(-1)
        for i in (flat.argmin(), flat.argmax()) if flat.size else ():
            if not -n <= flat.item(i) < n:
                raise IndexError(f"index {flat.item(i)} is out of bounds for axis 0 with size {n}")
        # positions could overflow a narrow dtype
        positions = (indices.astype(np.intp, copy=False) % n * width)[..., None] + np.arange(width)
    _apply_at(ufunc, flattened, positions.reshape(-1), terms)


def add_at_places_into(a: Array, values: Array, places: Array, out: Array | None = None) -> Array:
    """Compute `add_at_places` in a buffer, which may be `a` itself."""
    if out is None:
        out = np.array(a, order="C")
    elif out is not a:
        np.copyto(out, a)
    require_dtype_holds(out.dtype, values.dtype, "added to")
    out.reshape(-1)[places] += values.reshape(-1)
    return out
