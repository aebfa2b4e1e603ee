"""Calls to test reductions and statistics on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.domain import (
    NEAR_ONE,
    POSITIVE,
    REAL,
    TYING,
    Call,
    Choices,
    Domain,
    Elements,
    any_of,
    reduced,
)
from tapegrad.ops.partial_reduction import count


def _means(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_side=1))
    axis, where = choose.axes(x.ndim), choose.booleans(x.shape)
    options = {"axis": axis, "keepdims": choose.among([False, True])}
    options["dtype"] = choose.among([None, np.float32, np.float64])
    return Call((x,), options | ({"where": where} if np.any(where, axis).all() else {}))


def _truths(choose: Choices) -> Call:
    """Calls on numbers that are often 0, with axes to reduce, which may be kept."""
    x = choose.array(choose.shape())
    x = choose.laid_out(np.where(choose.booleans(x.shape), x, np.zeros_like(x)))
    where = choose.among([True, choose.booleans(x.shape)])
    options = {"axis": reduced_axes(choose, x), "keepdims": choose.among([False, True])}
    return Call((x,), options if where is True else {**options, "where": where})


def _places(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_side=1), TYING)
    axis = choose.among([None, choose.axis(x.ndim)]) if x.ndim else None
    return Call((x,), {"axis": axis, "keepdims": choose.among([False, True])})


def reduced_axes(choose: Choices, x: Any) -> Any:
    """The axes of a reduction; for a number NumPy takes axis 0 too."""
    return choose.axes(x.ndim) if x.ndim else choose.among([None, (), 0, -1])


def partly(elements: Elements = REAL, min_side: int = 0, dtype: bool = True) -> Domain:
    """Calls as in `reduced`, some of them with the arguments that are handled here."""

    def plainly(choose: Choices) -> Call:
        plain = reduced(elements, min_side)(choose)
        (x,) = plain.args
        return Call((x,), plain.kwargs if x.ndim else {"axis": reduced_axes(choose, x)})

    def call(choose: Choices) -> Call:
        plain = plainly(choose)
        (x,) = plain.args
        shape = x.shape[choose.integer(0, x.ndim) :]
        options: dict[str, Any] = {"where": choose.among([True, choose.booleans(shape)])}
        options["initial"] = choose.among([0.5, 2])
        if dtype:
            options["dtype"] = choose.among([None, np.float32, np.float64])
        return Call(plain.args, {**plain.kwargs, **options})

    return any_of(plainly, call)


def _spread_out(choose: Choices) -> Call:
    """Calls on an array whose elements are well apart, with axes to reduce."""
    x = choose.array(choose.shape(min_side=1), distinct=True)
    axis = choose.axes(x.ndim)
    options: dict[str, Any] = {"axis": axis, "keepdims": choose.among([False, True])}
    options["dtype"] = choose.among([None, None, np.float32, np.float64])
    where = choose.booleans(x.shape)
    if np.min(np.sum(where, axis), initial=2) > 1:
        options["where"] = where
    return Call((x,), options | {"ddof": choose.among([0, 1])} if count(x, axis) > 1 else options)


def _without(domain: Domain, name: str) -> Domain:
    """The same calls without an option."""

    def call(choose: Choices) -> Call:
        whole = domain(choose)
        return Call(whole.args, {x: y for x, y in whole.kwargs.items() if x != name})

    return call


# NumPy takes deviations in the array's dtype
_spread_and_dull = _without(_spread_out, "dtype")


def _spread_out_or_whole(choose: Choices) -> Call:
    """The same calls; some ask for integers, or pass the mean."""
    call = _spread_out(choose)
    options = dict(call.kwargs)
    kind = choose.among(["plain", "plain", "whole", "mean"])
    if kind == "whole":
        options["dtype"] = int
    if kind == "mean" and "where" not in options:
        options["mean"] = np.mean(call.args[0], options["axis"], keepdims=True)
    if "ddof" in options and choose.among([False, True]):
        options["correction"] = options.pop("ddof")
    return Call(call.args, options)


def _weighed(choose: Choices) -> Call:
    """Calls with weights for each element, or for the places along the axes."""
    a = choose.array(choose.shape(min_side=1))
    axis = choose.axes(a.ndim)
    shapes = [a.shape]
    if axis is not None:
        shapes.append(tuple(a.shape[i] for i in normalize_axis_tuple(axis, a.ndim)))
    weights = choose.among([None, choose.array(choose.among(shapes), POSITIVE)])
    returned = weights is not None and choose.among([False, True])
    return Call((a, axis, weights, returned), {"keepdims": choose.among([False, True])})


def _means_of_reductions(choose: Choices) -> Call:
    call = reduced(min_side=1)(choose)
    return Call(call.args, {**call.kwargs, "dtype": choose.among([None, np.float32, np.float64])})


def _observations(choose: Choices) -> tuple[list[Any], dict[str, Any]]:
    """One or two arrays of variables with distinct elements, and the axis of the variables."""
    n, rowvar = choose.integer(2, 4), choose.among([False, True])

    def some(*others: tuple[int, int]) -> Any:
        k = choose.integer(1, 2)
        shapes = [(n,), (k, n) if rowvar else (n, k), *others]
        return choose.array(choose.among(shapes), distinct=True)

    # one row is always one variable
    return [some(), choose.among([None, some((1, n))])], {"rowvar": rowvar}


def _covariances(choose: Choices) -> Call:
    args, options = _observations(choose)
    m = args[0]
    n = m.shape[-1] if options["rowvar"] or m.ndim == 1 else m.shape[0]
    weights: dict[str, Any] = choose.among(
        [
            {},
            {},
            {"fweights": choose.integers((n,), 1, 3)},
            {"aweights": choose.array((n,), POSITIVE, "d"), "fweights": np.full(n, 2)},
            {"aweights": choose.array((n,), POSITIVE, "d")},
        ]
    )
    options |= weights
    options |= choose.among([{}, {"bias": True}, {"ddof": 0}])
    if not weights:
        options["dtype"] = choose.among([None, np.float32])
    return Call(tuple(args), options)


def _correlations(choose: Choices) -> Call:
    args, options = _observations(choose)
    return Call(tuple(args), options)


def _binned(choose: Choices) -> Call:
    bins = np.sort(choose.array((choose.integer(1, 4),)))
    x = choose.array(choose.shape())
    bins = choose.laid_out(bins[:: choose.among([1, -1])])
    return Call((x, bins), {"right": choose.among([False, True])})


def _even(choose: Choices) -> Call:
    a = choose.array(choose.shape(max_dims=2))
    span = choose.among([None, (-2.5, 3.0)])
    return Call((a,), {"bins": choose.integer(1, 4), "range": span})


def _weighed_of_statistics(choose: Choices) -> Call:
    a = choose.array(choose.shape(max_dims=2))
    edges = choose.laid_out(np.sort(choose.array((choose.integer(2, 4),), distinct=True)))
    bins, span = choose.among([(3, None), (2, (-2.5, 3.0)), (edges, None)])
    weights = choose.among([None, choose.array(a.shape)])
    return Call((a,), {"bins": bins, "range": span, "weights": weights})


def _points(choose: Choices) -> Call:
    sample = choose.array((choose.integer(1, 4), choose.integer(1, 2)))
    weights = choose.among([None, choose.array(sample.shape[:1])])
    return Call((sample,), {"bins": choose.integer(1, 3), "weights": weights})


def _points_of_plane(choose: Choices) -> Call:
    n = choose.integer(1, 4)
    weights = choose.among([None, choose.array((n,))])
    bins = choose.among([2, [1, 3], np.array([-4.0, 0.0, 1.5]), [2, np.array([-1.0, 4.0])]])
    x, y = (choose.array((n,)) for _ in range(2))
    return Call((x, y), {"bins": bins, "weights": weights})


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "sum": partly(),
    "mean": any_of(reduced(min_side=1), _means),
    "prod": partly(NEAR_ONE),
    "max": partly(TYING, min_side=1, dtype=False),
    "min": partly(TYING, min_side=1, dtype=False),
    "any": _truths,
    "all": _truths,
    "count_nonzero": _without(_truths, "where"),
    "argmax": _places,
    "argmin": _places,
    "var": _spread_out_or_whole,
    "std": _spread_out,
    "average": _weighed,
    "ptp": reduced(min_side=1),
    "nansum": partly(),
    "nanprod": partly(NEAR_ONE),
    "nanmean": _means_of_reductions,
    "nanvar": _spread_and_dull,
    "nanstd": _spread_and_dull,
    "nanmax": partly(min_side=1, dtype=False),
    "nanmin": partly(min_side=1, dtype=False),
    "cov": _covariances,
    "corrcoef": _correlations,
    "digitize": _binned,
    "even_edges": _even,
    "histogram_bin_edges": _even,
    "histogram": _weighed_of_statistics,
    "histogramdd": _points,
    "histogram2d": _points_of_plane,
}
