"""Calls to test sorting, quantiles, scans and polynomials on."""

from __future__ import annotations

from typing import Any

import numpy as np

from domains import words as w
from tapegrad.domain import NEAR_ONE, POSITIVE, REAL, Call, Choices, Domain, Elements
from tapegrad.functions.sorting import METHODS
from tapegrad.types import Array

_WAYS: list[dict[str, Any]] = [{}, {"kind": "heapsort"}, {"kind": "stable"}, {"stable": True}]
_DISTINCT = w.array(0, 3, 1, distinct=True)


def _partition_options(choose: Choices, x: Array) -> dict[str, Any]:
    """Places along one axis of an array, or None."""
    axis = w.axis_or_none(choose, x)
    n = x.size if axis is None else x.shape[axis]
    places = [choose.integer(-n, n - 1) for _ in range(2)]
    return {"kth": choose.among([places[0], places]), "axis": axis}


def _searchsorted_call(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_dims=1, max_dims=1))
    v = choose.array(choose.shape(), dtypes=a.dtype.char)
    side = {"side": choose.among(["left", "right"])}
    in_order = Call((choose.laid_out(np.sort(a)), v), side)
    sorted_by = Call((a, v), {**side, "sorter": np.argsort(a)}, needed=("sorter",))
    return choose.among([in_order, sorted_by])


def _levels(most: int, min_dims: int, max_dims: int) -> w.Word:
    """A quantile, or an array of them, which is differentiated."""

    def word(choose: Choices, *_: Any) -> Array | float:
        some = choose.array(choose.shape(min_dims, max_dims, 1, 2), Elements(0, most), "d")
        return choose.among([0.0, 0.25 * most, 0.7 * most, most, some])

    return word


def _quantiles(most: int) -> Domain:
    ways = {"method": [*METHODS], "axis": w.axes, "keepdims": w.FLAG}
    return w.calls(_DISTINCT, _levels(most, 0, 2), **ways)


def _some_quantiles(most: int) -> Domain:
    # NumPy does not move more axes to the front
    return w.calls(_DISTINCT, _levels(most, 1, 1), axis=w.axes, keepdims=w.FLAG)


def _scan_calls(elements: Elements) -> Domain:
    return w.calls(w.array(elements=elements), axis=w.axis_or_none, dtype=[np.float32, np.float64])


def _from_initial(elements: Elements) -> Domain:
    """Calls on an array with one axis, with or without the initial element."""
    one = [
        w.axis,
        lambda choose, x: w.axis_or_none(choose, x) if x.ndim == 1 else choose.axis(x.ndim),
    ]
    return w.calls(w.array(1, elements=elements), axis=one, include_initial=w.FLAG)


def _differences(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_dims=1))
    axis = choose.axis(x.ndim)
    sides = list(x.shape)
    sides[axis] = choose.integer(0, 2)
    ends = [choose.array(choose.among([tuple(sides), ()])) for _ in range(2)]
    return Call((x, choose.integer(0, 2), axis, *ends[: choose.integer(0, 2)]))


def _integrals(choose: Choices) -> Call:
    y = choose.array(choose.shape(min_dims=1, min_side=1))
    axis = choose.axis(y.ndim)
    x = choose.among([None, choose.array(y.shape), choose.array((y.shape[axis],))])
    return Call((y, x), {"dx": choose.among([1.0, 0.5]), "axis": axis})


def _with_real_roots(choose: Choices) -> Call:
    coefficients = np.atleast_1d(np.poly([-2.0, 0.5, 3.0][: choose.integer(0, 3)]))
    near = choose.array(coefficients.shape, Elements(-0.0625, 0.0625), "df")
    return Call((near + coefficients.astype(near.dtype),))


def _fits(choose: Choices) -> Call:
    x = np.array([-1.0, 0.25, 1.5, 2.0]) + choose.array((4,), dtypes="d") / 32
    y = choose.array((4, *choose.shape(max_dims=1, min_side=1)), REAL, "d")
    return Call((choose.laid_out(x), y, choose.integer(0, 2)))


# a leading coefficient that is not 0, since NumPy drops zeros
_TWO = w.calls(*[w.array(1, 1, 1, 3, elements=POSITIVE)] * 2)
_OVERLAPS = w.calls(*[w.array(1, 1, 1)] * 2, mode=["full", "same", "valid"])

# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "sort": w.calls(w.array(1, distinct=True), w.axis_or_none, ways=_WAYS),
    "argsort": w.calls(w.array(1), w.axis_or_none, ways=_WAYS),
    "partition": w.calls(w.array(1, 3, 1, distinct=True), ways=_partition_options),
    "argpartition": w.calls(w.array(1, 3, 1), ways=_partition_options),
    "searchsorted": _searchsorted_call,
    **dict.fromkeys(("argwhere", "nonzero", "flatnonzero"), w.calls(w.sparse(1))),
    "piece": w.calls(w.array(dtypes="d"), lambda c, x: np.sort(w.array(1, 1, 1, 4, dtypes="d")(c))),
    **dict.fromkeys(("median", "nanmedian"), w.calls(_DISTINCT, w.axes, keepdims=w.FLAG)),
    "quantile": _quantiles(1),
    "percentile": _quantiles(100),
    "nanquantile": _some_quantiles(1),
    "nanpercentile": _some_quantiles(100),
    # without elements NumPy returns integers, even with weights
    "bincount": w.calls(
        lambda c: c.integers(c.shape(1, 1, 1), 0, 4), w.same, minlength=w.whole(0, 6)
    ),
    "linear_recurrence": w.calls(w.array(1, elements=NEAR_ONE), w.same, axis=w.axis),
    **dict.fromkeys(("cumsum", "nancumsum"), _scan_calls(REAL)),
    **dict.fromkeys(("cumprod", "nancumprod"), _scan_calls(NEAR_ONE)),
    "cumulative_sum": _from_initial(REAL),
    "cumulative_prod": _from_initial(NEAR_ONE),
    **dict.fromkeys(("convolve", "correlate"), _OVERLAPS),
    "diff": _differences,
    "ediff1d": w.calls(w.array(dtypes="d"), *[[None, w.array(0, 2)]] * 2),
    "trapezoid": _integrals,
    "polyval": w.calls(w.array(1, 1, 1, 4), w.array()),
    "roots": _with_real_roots,
    **dict.fromkeys(("polyadd", "polysub", "polymul"), _TWO),
    # NumPy drops numbers that it takes for zeros: in the remainder, and imaginary parts of roots in pairs
    "polydiv": w.calls(*[w.array(1, 1, 1, n, elements=POSITIVE, dtypes="d") for n in (4, 2)]),
    "poly": w.calls(w.array(1, 1, 1, 4, elements=POSITIVE)),
    "vander": w.calls(w.array(1, 1), [None, 0, 1, 3], w.FLAG),
    **dict.fromkeys(("polyder", "polyint"), w.calls(w.array(1, 1, 1, 5), w.whole(0, 3))),
    "polyfit": _fits,
}
