"""Calls to test indexing and updates on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.domain import Call, Choices, Domain
from tapegrad.domain import index as any_index
from tapegrad.domain import rows as numbers_of_rows
from tapegrad.ops.rows import row_places


def _takings(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    return Call((a, any_index(choose, a.shape)))


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


def _writings(choose: Choices) -> Call:
    shape = choose.shape()
    return Call((shape, any_index(choose, shape)))


def _scaled_rows(choose: Choices) -> Call:
    table = choose.array(choose.shape(min_dims=1, max_dims=2, min_side=1))
    indices = choose.integers((choose.integer(0, 5),), -len(table), len(table) - 1)
    values = choose.array((*indices.shape, *table.shape[1:]), dtypes=table.dtype.char)
    factor = choose.among([0.5, -2.0])
    return Call((table, values, indices, factor), {"subtract": choose.among([False, True])})


def _segments(choose: Choices, low: int = 0, gaps: bool = True) -> Call:
    n = choose.integer(1, 4)
    indices = choose.integers(choose.shape(max_dims=2, max_side=4), low * n, n - 1)
    if not gaps:
        # the maximum of no elements is infinite
        known, numbers = np.unique(indices, return_inverse=True)
        indices, n = numbers.reshape(indices.shape), len(known)
    row = choose.shape(max_dims=2, max_side=2)
    return Call((choose.array((*indices.shape, *row)), indices, n))


def _selections(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_dims=1, min_side=1))
    return Call((x, numbers_of_rows(choose, len(x))))


def _choices(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    return Call((choose.array((*shape, 3)), choose.integers(shape, 0, 2)))


def _chosen(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    return Call((choose.array(shape), choose.integers(shape, 0, 2), 3))


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


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "getitem": _takings,
    "scatter": _placings,
    "index_set": _updates,
    "last_writes": _writings,
    **dict.fromkeys(("index_add", "index_multiply", "index_max", "index_min"), _updates),
    "add_scaled_rows": _scaled_rows,
    "sum_segments": lambda choose: _segments(choose, low=-1),
    "segment_sum": _segments,
    **dict.fromkeys(("max_segments", "segment_max"), lambda choose: _segments(choose, gaps=False)),
    "index_select": _selections,
    "from_zero": lambda choose: Call((choose.integers(choose.shape(), 0, 9),)),
    "pick": _choices,
    "unpick": _chosen,
    "row_places": lambda choose: Call(_few_classes(choose)),
    "add_at_places": _add_at_places_call,
}
