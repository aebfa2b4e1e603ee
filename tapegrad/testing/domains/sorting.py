"""Calls to test sorting, order and quantiles on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.domain import REAL, TYING, Call, Choices, Domain, Elements, each
from tapegrad.functions.sorting import METHODS


def _sorted(distinct: bool) -> Domain:
    """Calls on an array with one axis of it, or None, and a way to sort."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_dims=1), distinct=distinct)
        axis = choose.among([None, choose.axis(x.ndim)])
        ways: list[dict[str, Any]] = [{}, {"kind": "heapsort"}, {"kind": "stable"}]
        return Call((x, axis), choose.among([*ways, {"stable": True}]))

    return call


def _parted(distinct: bool) -> Domain:
    """Calls on an array with places along one axis of it, or None."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_dims=1, min_side=1), distinct=distinct)
        axis = choose.among([None, choose.axis(x.ndim)])
        n = x.size if axis is None else x.shape[axis]
        places = [choose.integer(-n, n - 1) for _ in range(2)]
        return Call((x, choose.among([places[0], places]), axis))

    return call


def _searched(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_dims=1, max_dims=1))
    v = choose.array(choose.shape(), dtypes=a.dtype.char)
    side = {"side": choose.among(["left", "right"])}
    in_order = Call((choose.laid_out(np.sort(a)), v), side)
    sorted_by = Call((a, v), {**side, "sorter": np.argsort(a)}, needed=("sorter",))
    return choose.among([in_order, sorted_by])


def with_zeros(choose: Choices) -> Call:
    """Calls on an array with some zeros."""
    x = choose.array(choose.shape(min_dims=1))
    return Call((choose.laid_out(np.where(choose.booleans(x.shape), x, np.zeros_like(x))),))


def _piece_calls(choose: Choices) -> Call:
    xp = choose.array((choose.integer(1, 4),), dtypes="d")
    return Call((choose.array(choose.shape(), dtypes="d"), np.sort(xp)))


def _distinct(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_side=1), distinct=True)
    return Call((x, choose.axes(x.ndim)), {"keepdims": choose.among([False, True])})


def _quantiles(most: int) -> Domain:
    """Calls with one quantile or several, which are differentiated if they form an array."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_side=1), distinct=True)
        shape = choose.shape(max_dims=2, min_side=1, max_side=2)
        some = choose.array(shape, Elements(0, most), "d")
        q = choose.among([0.0, 0.25 * most, 0.7 * most, most, some])
        options = {"method": choose.among(METHODS), "axis": choose.axes(x.ndim)}
        return Call((x, q), options | {"keepdims": choose.among([False, True])})

    return call


def _some_quantiles(most: int) -> Domain:
    """Calls with one quantile or a line of them; NumPy does not move more axes to the front."""

    def call(choose: Choices) -> Call:
        drawn = _distinct(choose)
        x, axis = drawn.args
        some = choose.array((choose.integer(1, 2),), Elements(0, most), "d")
        q = choose.among([0.0, 0.25 * most, most, some])
        return Call((x, q), {"axis": axis, **drawn.kwargs})

    return call


def _counted(choose: Choices) -> Call:
    # without elements NumPy returns integers, even with weights
    x = choose.integers(choose.shape(min_dims=1, max_dims=1, min_side=1), 0, 4)
    return Call((x, choose.array(x.shape)), {"minlength": choose.integer(0, 6)})


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "maximum": each(TYING, TYING),
    "minimum": each(TYING, TYING),
    "clip_both": each(REAL, REAL, REAL),
    "sort": _sorted(distinct=True),
    "argsort": _sorted(distinct=False),
    "partition": _parted(distinct=True),
    "argpartition": _parted(distinct=False),
    "searchsorted": _searched,
    "argwhere": with_zeros,
    "piece": _piece_calls,
    "median": _distinct,
    "quantile": _quantiles(1),
    "percentile": _quantiles(100),
    "nanquantile": _some_quantiles(1),
    "nanpercentile": _some_quantiles(100),
    "nanmedian": _distinct,
    "nonzero": with_zeros,
    "flatnonzero": with_zeros,
    "bincount": _counted,
}
