"""Arrays with elements inserted or deleted along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import Call, Choices, axis_or_flat, on_array
from tapegrad.functions.selection import on_axis, take
from tapegrad.ops.record import fitted, known

__all__ = [
    "delete",
    "insert",
]


def _places(choose: Choices, n: int) -> Any:
    """Places along an axis, given in any way that `insert` and `delete` allow."""
    if n == 0:
        return choose.among([[], slice(None)])
    ints = [choose.integer(-n, n - 1) for _ in range(choose.integer(0, 3))]
    mask = choose.booleans((n,))
    slices = [slice(None, None, 2), slice(2, 0, -1)]
    return choose.among([choose.integer(-n, n - 1), ints, mask, *slices])


def _inserts(choose: Choices) -> Call:
    arr = choose.array(choose.shape())
    axis, _ = axis_or_flat(choose, arr)
    sides = [arr.size] if axis is None else [*arr.shape]
    n = sides.pop(axis or 0)
    obj = _places(choose, n)
    if isinstance(obj, int):
        values = choose.among([[], sides, [2, *sides]])
    else:
        k = np.insert(np.zeros(n), obj, 0).size - n
        sides.insert((axis or 0) % max(1, arr.ndim), k)
        values = choose.among([[], sides])
    return Call((arr,), {"obj": obj, "values": choose.array(tuple(values)), "axis": axis})


@function(numpy=np.insert, domain=_inserts)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """An array with values inserted before the elements at some places.

    Parameters
    ----------
    arr
        An array.
    obj
        A place along the axis, several, a slice or a mask.
    values
        The values to insert. For one place they may have a length above 1 along the axis, which
        then is their first; for several places they broadcast to one value each.
    axis
        The axis; None inserts in the flattened array.

    Raises
    ------
    TypeError
        For a floating Tensor among the values for an array of integers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.insert(np.array([1, 2, 3]), 1, 5)
    array([1, 5, 2, 3])
    """
    arr, axis = on_axis(arr, axis)
    obj = known(obj)
    values = fitted(values, arr.dtype)
    values = np.reshape(values, (*(1,) * (arr.ndim - values.ndim), *values.shape))
    if not isinstance(obj, slice) and np.ndim(obj) == 0:
        values = np.moveaxis(values, 0, axis)
    n = arr.shape[axis]
    k = np.insert(np.zeros(n), obj, 0).size - n
    if k == 1:
        k = values.shape[axis]
    values = np.broadcast_to(values, (*arr.shape[:axis], k, *arr.shape[axis + 1 :]))
    # the new ones are joined at the end, and the places say where they go
    places = np.insert(np.arange(n), obj, np.arange(n, n + k))
    return take(np.concatenate([arr, values], axis=axis), places, axis)


def _deletes(choose: Choices, arr: Any) -> Any:
    axis, n = axis_or_flat(choose, arr)
    return {"obj": _places(choose, n), "axis": axis}


@function(numpy=np.delete, domain=on_array(_deletes))
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """An array without the elements at some places.

    Parameters
    ----------
    arr
        An array.
    obj
        A place along the axis, several, a slice or a mask.
    axis
        The axis; None deletes from the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.delete(np.array([1, 2, 3]), 1)
    array([1, 3])
    """
    arr, axis = on_axis(arr, axis)
    return take(arr, np.delete(np.arange(arr.shape[axis]), known(obj)), axis)
