"""Calls to test indexing, updates and selections on."""

from __future__ import annotations

from typing import Any

import numpy as np

from domains import words as w
from tapegrad.domain import Call, Choices, Domain, axis_or_flat
from tapegrad.domain import index as any_index
from tapegrad.domain import rows as numbers_of_rows
from tapegrad.functions.selection import MODES
from tapegrad.ops.rows import row_places


def _placings(choose: Choices) -> Call:
    shape = choose.shape()
    index = any_index(choose, shape)
    return Call((choose.array(np.empty(shape)[index].shape), shape, index))


def _updates(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    index = any_index(choose, a.shape)
    place = a[index].shape
    # values broadcast to the place that they are written to
    shape = [choose.among([side, 1]) for side in place[choose.integer(0, len(place)) :]]
    return Call((a, choose.array(tuple(shape), dtypes=a.dtype.char), index))


def _factors(choose: Choices) -> Call:
    a, values, index = _updates(choose).args
    # an element that is named often does not overflow
    return Call((a, values / 4, index))


def _scaled_rows(choose: Choices) -> Call:
    table = choose.array(choose.shape(1, 2, 1))
    indices = choose.integers((choose.integer(0, 5),), -len(table), len(table) - 1)
    values = choose.array((*indices.shape, *table.shape[1:]), dtypes=table.dtype.char)
    factor = choose.among([0.5, -2.0])
    return Call((table, values, indices, factor), {"subtract": choose.among(w.FLAG)})


def _segments(choose: Choices, low: int = 0, gaps: bool = True) -> Call:
    n = choose.integer(1, 4)
    indices = choose.integers(choose.shape(max_dims=2, max_side=4), low * n, n - 1)
    if not gaps:
        # the maximum of no elements is infinite
        known, numbers = np.unique(indices, return_inverse=True)
        indices, n = numbers.reshape(indices.shape), len(known)
    row = choose.shape(max_dims=2, max_side=2)
    return Call((choose.array((*indices.shape, *row)), indices, n))


def _few_classes(choose: Choices) -> tuple[Any, int]:
    """Some classes and their number; no classes if there are none."""
    n = choose.integer(0, 4)
    shape = choose.shape(max_dims=2) if n else (0, 2)
    return choose.integers(shape, 0, n - 1) if n else np.zeros(shape, np.intp), n


def _add_at_places_call(choose: Choices) -> Call:
    indices, n = _few_classes(choose)
    a = choose.array((*indices.shape, n))
    values = choose.array(indices.shape, dtypes=a.dtype.char)
    return Call((a, values, row_places(indices, n)))


def _places(choose: Choices, n: int, most: int) -> tuple[Any, str]:
    """Indices along an axis of n, in an array of so many dims, with the mode for those beyond."""
    mode = choose.among(MODES)
    beyond = 0 if mode == "raise" else 2 * n
    return choose.integers(choose.shape(max_dims=most), -n - beyond, n - 1 + beyond), mode


def _takes(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_side=1))
    axis, n = axis_or_flat(choose, a)
    axis = choose.among([None, 0, -1]) if a.ndim == 0 else axis
    indices, mode = _places(choose, n, 2)
    return Call((a, indices), {"axis": axis, "mode": mode})


def _puts(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_side=1))
    ind, mode = _places(choose, a.size, 1)
    v = choose.array(choose.shape(max_dims=1, min_side=1))
    return Call((a, ind, v.astype(a.dtype)), {"mode": mode})


def _alongs(choose: Choices, with_values: bool) -> Call:
    arr = choose.array(choose.shape(min_dims=1, min_side=1))
    axis, n = axis_or_flat(choose, arr)
    shape = [n] if axis is None else [choose.among([1, side]) for side in arr.shape]
    shape[axis or 0] = choose.integer(0, 3)
    indices = choose.integers(tuple(shape), -n, n - 1)
    if not with_values:
        return Call((arr, indices), {"axis": axis})
    # the shape that the other axes' places and the indices broadcast to
    whole = list(shape if axis is None else arr.shape)
    whole[axis or 0] = shape[axis or 0]
    values = choose.array(tuple(whole[choose.integer(0, len(whole)) :]))
    return Call((arr, indices, values.astype(arr.dtype)), {"axis": axis})


def _masks(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    axis, n = axis_or_flat(choose, a)
    return Call((choose.booleans((choose.integer(0, n),)), a), {"axis": axis})


def _selects(choose: Choices) -> Call:
    n = choose.integer(1, 2)
    shapes = choose.broadcastable(2 * n + 1)
    conditions = [choose.booleans(shape) for shape in shapes[:n]]
    first, *rest = (choose.array(shape) for shape in shapes[n:])
    # NumPy would overlook a Tensor that is only the default
    choices = [first, *(choose.among([0, 1.5, x]) for x in rest)]
    return Call((conditions, choices[:-1], choices[-1]))


def _chooses(choose: Choices) -> Call:
    n = choose.integer(1, 3)
    shapes = choose.broadcastable(n + 1)
    mode = choose.among(MODES)
    beyond = 0 if mode == "raise" else 4
    a = choose.integers(shapes[0], -beyond, n - 1 + beyond)
    return Call((a, [choose.array(shape) for shape in shapes[1:]]), {"mode": mode})


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "getitem": w.calls(w.array(), lambda c, a: any_index(c, a.shape)),
    "scatter": _placings,
    "index_set": _updates,
    "last_writes": w.calls(lambda c: c.shape(), any_index),
    **dict.fromkeys(("index_add", "index_max", "index_min"), _updates),
    "index_multiply": _factors,
    "add_scaled_rows": _scaled_rows,
    "sum_segments": lambda choose: _segments(choose, low=-1),
    "segment_sum": _segments,
    **dict.fromkeys(("max_segments", "segment_max"), lambda choose: _segments(choose, gaps=False)),
    "index_select": w.calls(w.array(1, 3, 1), lambda c, x: numbers_of_rows(c, len(x))),
    "from_zero": w.calls(lambda c: c.integers(c.shape(), 0, 9)),
    "pick": w.calls(
        lambda c: c.array((*c.shape(max_dims=2), 3)), lambda c, x: c.integers(x.shape[:-1], 0, 2)
    ),
    "unpick": w.calls(w.array(0, 2), lambda c, x: c.integers(x.shape, 0, 2), 3),
    "row_places": lambda choose: Call(_few_classes(choose)),
    "add_at_places": _add_at_places_call,
    "take": _takes,
    "take_along_axis": lambda choose: _alongs(choose, with_values=False),
    "put_along_axis": lambda choose: _alongs(choose, with_values=True),
    "put": _puts,
    "compress": _masks,
    "select": _selects,
    "choose": _chooses,
}
