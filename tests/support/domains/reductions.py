"""Calls to test reductions and statistics on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from domains import words as w
from tapegrad.domain import NEAR_ONE, POSITIVE, REAL, TYING, Call, Choices, Domain, Elements, any_of
from tapegrad.ops.partial_reduction import count
from tapegrad.types import Array


def _reduction_axes(choose: Choices, x: Array) -> Any:
    """The axes of a reduction; for a number NumPy takes axis 0 too."""
    return choose.axes(x.ndim) if x.ndim else choose.among([None, (), 0, -1])


def _mask(choose: Choices, x: Array) -> Array | float:
    """The elements that a reduction takes."""
    return choose.among([True, choose.booleans(x.shape[choose.integer(0, x.ndim) :])])


_PLAIN: dict[str, Any] = {"axis": _reduction_axes, "keepdims": w.FLAG}
_MEANS = w.calls(w.array(0, 3, 1), axis=w.axes, keepdims=w.FLAG, dtype=w.DTYPES)
_TRUTHS = w.calls(w.sparse(), **_PLAIN)


def _partly(elements: Elements = REAL, min_side: int = 0, **options: Any) -> Domain:
    """Calls on an array with axes to reduce; half of them of some elements, or from a value."""
    plain = w.calls(w.array(0, 3, min_side, elements=elements), **_PLAIN)
    return any_of(plain, w.more(plain, where=_mask, initial=[0.5, 2], **options))


def _means(choose: Choices) -> Call:
    call = _MEANS(choose)
    (x,) = call.args
    where = choose.booleans(x.shape)
    full = np.any(where, call.kwargs["axis"]).all()
    return Call((x,), {**call.kwargs, "where": where} if full else call.kwargs)


def _spread_out(*dtypes: Any) -> Domain:
    """Calls on an array whose elements are well apart, with axes to reduce."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_side=1), distinct=True)
        axis, where = choose.axes(x.ndim), choose.booleans(x.shape)
        options: dict[str, Any] = {"axis": axis, "keepdims": choose.among(w.FLAG)}
        options |= {"dtype": choose.among(dtypes)} if dtypes else {}
        options |= {"ddof": choose.among([0, 1])} if count(x, axis) > 1 else {}
        enough = np.min(np.sum(where, axis), initial=2) > 1
        return Call((x,), options | ({"where": where} if enough else {}))

    return call


_SPREAD_OUT = _spread_out(None, *w.DTYPES)


def _spread_out_or_whole(choose: Choices) -> Call:
    """The same calls; some ask for integers, or pass the mean."""
    call = _SPREAD_OUT(choose)
    options = dict(call.kwargs)
    kind = choose.among(["plain", "plain", "whole", "mean"])
    if kind == "whole":
        options["dtype"] = int
    if kind == "mean" and "where" not in options:
        options["mean"] = np.mean(call.args[0], options["axis"], keepdims=True)
    if "ddof" in options and choose.among(w.FLAG):
        options["correction"] = options.pop("ddof")
    return Call(call.args, options)


def _weighted_call(choose: Choices) -> Call:
    """Calls with weights for each element, or for the places along the axes."""
    a = choose.array(choose.shape(min_side=1))
    axis = choose.axes(a.ndim)
    shapes = [a.shape]
    if axis is not None:
        shapes.append(tuple(a.shape[i] for i in normalize_axis_tuple(axis, a.ndim)))
    weights = choose.among([None, choose.array(choose.among(shapes), POSITIVE)])
    returned = weights is not None and choose.among(w.FLAG)
    return Call((a, axis, weights, returned), {"keepdims": choose.among(w.FLAG)})


def _observations(choose: Choices) -> Call:
    """Calls on one or two arrays of variables with distinct elements."""
    n, rowvar = choose.integer(2, 4), choose.among(w.FLAG)

    def some(*others: tuple[int, int]) -> Array:
        k = choose.integer(1, 2)
        shapes = [(n,), (k, n) if rowvar else (n, k), *others]
        return choose.array(choose.among(shapes), distinct=True)

    # one row is always one variable
    return Call((some(), choose.among([None, some((1, n))])), {"rowvar": rowvar})


def _covariances(choose: Choices, m: Array, *_: Any) -> dict[str, Any]:
    """The options of a covariance; each variable has as many observations."""
    n = max(m.shape)
    kinds = choose.among(["", "", "a", "f", "af"])
    options: dict[str, Any] = choose.among([{}, {"bias": True}, {"ddof": 0}])
    if "a" in kinds:
        options["aweights"] = choose.array((n,), POSITIVE, "d")
    if "f" in kinds:
        options["fweights"] = np.full(n, 2) if "a" in kinds else choose.integers((n,), 1, 3)
    return options if kinds else {**options, "dtype": choose.among([None, np.float32])}


def _edges(choose: Choices, a: Array) -> dict[str, Any]:
    edges = choose.laid_out(np.sort(choose.array((choose.integer(2, 4),), distinct=True)))
    bins, span = choose.among([(3, None), (2, (-2.5, 3.0)), (edges, None)])
    return {"bins": bins, "range": span}


def _bins(choose: Choices, x: Array) -> Array:
    return choose.laid_out(np.sort(w.array(1, 1, 1, 4)(choose))[:: choose.among([1, -1])])


_EVEN = w.calls(w.array(0, 2), bins=w.whole(1, 4), range=[None, (-2.5, 3.0)])
_OF_PLANE = [2, [1, 3], np.array([-4.0, 0.0, 1.5]), [2, np.array([-1.0, 4.0])]]

# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("sum", "nansum"), _partly(dtype=w.DTYPES)),
    **dict.fromkeys(("prod", "nanprod"), _partly(NEAR_ONE, dtype=w.DTYPES)),
    **dict.fromkeys(("max", "min"), _partly(TYING, 1)),
    **dict.fromkeys(("nanmax", "nanmin"), _partly(min_side=1)),
    "mean": _means,
    "nanmean": _MEANS,
    **dict.fromkeys(("any", "all"), w.more(_TRUTHS, where=_mask)),
    "count_nonzero": _TRUTHS,
    **dict.fromkeys(
        ("argmax", "argmin"),
        w.calls(w.array(0, 3, 1, elements=TYING), axis=w.axis_or_none, keepdims=w.FLAG),
    ),
    "var": _spread_out_or_whole,
    "std": _SPREAD_OUT,
    # NumPy takes deviations in the array's dtype
    **dict.fromkeys(("nanvar", "nanstd"), _spread_out()),
    "average": _weighted_call,
    "ptp": w.calls(w.array(0, 3, 1), axis=w.axes, keepdims=w.FLAG),
    "cov": w.more(_observations, ways=_covariances),
    "corrcoef": _observations,
    "digitize": w.calls(w.array(), _bins, right=w.FLAG),
    **dict.fromkeys(("even_edges", "histogram_bin_edges"), _EVEN),
    "histogram": w.calls(w.array(0, 2), ways=_edges, weights=[None, w.same]),
    "histogramdd": w.calls(
        lambda c: c.array((c.integer(1, 4), c.integer(1, 2))),
        bins=w.whole(1, 3),
        weights=[None, lambda c, sample: c.array(sample.shape[:1])],
    ),
    "histogram2d": w.calls(w.array(1, 1, 1, 4), w.same, bins=_OF_PLANE, weights=[None, w.same]),
}
