"""Histograms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.declare import function, op
from tapegrad.declare.domain import Call, Choices
from tapegrad.functions.creation import array, linspace
from tapegrad.ops.indexing import segment_sum
from tapegrad.ops.record import alike, floating, real, seen, stopped
from tapegrad.ops.record import array as as_array

__all__ = ["digitize", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd"]


def _binned(choose: Choices) -> Call:
    bins = np.sort(choose.array((choose.integer(1, 4),)))
    x = choose.array(choose.shape())
    bins = choose.laid_out(bins[:: choose.among([1, -1])])
    return Call((x, bins), {"right": choose.among([False, True])})


@op(None, None, numpy=np.digitize, domain=_binned)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the bin of each element. It passes no gradient.

    Parameters
    ----------
    x
        An array.
    bins
        The bins' edges, ascending or descending: an array with one axis.
    right
        Whether an edge belongs to the bin before it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.digitize(np.array([0.5, 1.0, 2.5]), np.array([0.0, 1.0, 2.0]))
    array([1, 2, 3])
    """
    return np.digitize(x, bins, right)


def _even(choose: Choices) -> Call:
    a = choose.array(choose.shape(max_dims=2))
    span = choose.among([None, (-2.5, 3.0)])
    return Call((a,), {"bins": choose.integer(1, 4), "range": span})


@op(None, domain=_even)
def even_edges(a: Any, bins: int, range: Any = None) -> Any:
    """NumPy's edges for bins of equal width, as it counts by them."""
    return np.histogram_bin_edges(a, bins, range)


def _edges(a: Any, bins: Any, range: Any, weights: Any = None) -> Any:
    """The edges of bins: given, or derived from the elements, in which they have a gradient."""
    if weights is not None:
        real(weights, "weights")
        if weights.shape != a.shape:
            raise ValueError(f"weights of shape {weights.shape} for elements of shape {a.shape}")
    if isinstance(bins, str):
        known = a._read(f"choosing bins as {bins!r}") if isinstance(a, Tensor) else a
        if weights is not None:
            raise TypeError(f"bins={bins!r} is not for weighted elements")
        bins = len(np.histogram_bin_edges(known, bins, range)) - 1
    if np.ndim(bins):
        bins = real(array(bins), "bins")
        if bins.ndim != 1:
            raise ValueError(f"bins are a number or an array of one axis, not {bins.ndim}")
        known = seen(bins)
        if known is not None and not (known[:-1] <= known[1:]).all():
            raise ValueError(f"bins are in ascending order; got {known}")
        return bins
    edges = even_edges(a, bins, range=range)
    if range is not None or not isinstance(a, Tensor) or not a.size:
        return edges
    first, last = np.min(a), np.max(a)
    moving = linspace(first, last, bins + 1)
    # if all elements are equal, the edges are as far away as NumPy says
    return edges + (moving - stopped(moving)).astype(edges.dtype)


@function(numpy=np.histogram_bin_edges, domain=_even, kink="of `min` and `max`")
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The edges of the bins that `histogram` counts by.

    Parameters
    ----------
    a, bins, range, weights
        As for `histogram`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.histogram_bin_edges(np.array([0.0, 1.0, 4.0]), 2)
    array([0., 2., 4.])
    """
    return _edges(as_array(a), bins, range, None if weights is None else as_array(weights))


def _places(a: Any, edges: Any) -> Any:
    """The bin of each element; for elements outside all bins, the number of bins."""
    edges, n = stopped(edges), edges.shape[0] - 1
    i = np.searchsorted(edges, a, side="right") - 1
    # the last edge belongs to the last bin
    i = np.where(np.equal(a, edges[-1]), n - 1, i)
    inside = np.greater_equal(a, edges[0]) & np.less_equal(a, edges[-1])
    return np.where(inside, i, n)


def _weighed(choose: Choices) -> Call:
    a = choose.array(choose.shape(max_dims=2))
    edges = choose.laid_out(np.sort(choose.array((choose.integer(2, 4),), distinct=True)))
    bins, span = choose.among([(3, None), (2, (-2.5, 3.0)), (edges, None)])
    weights = choose.among([None, choose.array(a.shape)])
    return Call((a,), {"bins": bins, "range": span, "weights": weights})


@function(numpy=np.histogram, domain=_weighed)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    """The number of elements in each bin, or their weight, and the bins' edges.

    A gradient passes to the weights, and from the edges to the smallest and the largest element if
    the edges depend on them. The counts have none in the elements.

    Parameters
    ----------
    a
        An array.
    bins
        The number of bins of equal width; their edges, ascending; or the name of one of NumPy's
        rules, but not inside `compile`, since the number of bins depends on the elements.
    range
        Where bins of equal width begin and end; by default at the extreme elements.
    density
        Whether to divide by the sum and by the widths.
    weights
        The weight of each element: an array of the shape of `a`.

    Returns
    -------
    histogram, edges

    Raises
    ------
    ValueError
        If the weights have another shape, or the edges are not in ascending order (which a
        compiled function does not know of its inputs).
    TypeError
        If the weights are truth values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x, w = np.array([0.0, 1.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0])
    >>> tg.histogram(x, 2)
    (array([2, 2]), array([0., 2., 4.]))
    >>> tg.grad(lambda w: tg.histogram(x, 2, weights=w)[0][1])(w)
    array([0., 0., 1., 1.])
    """
    a = as_array(a)
    weights = None if weights is None else as_array(weights)
    edges = _edges(a, bins, range, weights)
    if weights is not None and weights.dtype.kind == "b":
        raise TypeError(
            "histogram: truth values do not add up; select (a[weights]), or .astype(int)"
        )
    n = edges.shape[0] - 1
    each = np.ones(a.shape, np.intp) if weights is None else weights
    sums = segment_sum(np.ravel(each), np.ravel(_places(a, edges)), n + 1)[:n]
    if density:
        sums = sums / np.diff(edges).astype(float) / np.sum(sums)
    return sums, edges


def _several_edges(columns: list[Any], bins: Any, range: Any) -> list[Any]:
    """The edges of the bins along each axis."""
    bins = bins if isinstance(bins, list | tuple) or np.ndim(bins) else [bins] * len(columns)
    range = [None] * len(columns) if range is None else range
    if len(bins) != len(columns) or len(range) != len(columns):
        raise ValueError(f"there are {len(columns)} axes, and bins and range for each of them")
    return [_edges(*given) for given in zip(columns, bins, range, strict=True)]


def _points(choose: Choices) -> Call:
    sample = choose.array((choose.integer(1, 4), choose.integer(1, 2)))
    weights = choose.among([None, choose.array(sample.shape[:1])])
    return Call((sample,), {"bins": choose.integer(1, 3), "weights": weights})


@function(numpy=np.histogramdd, domain=_points, lists=("sample", "bins"))
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    """`histogram` for points in several dimensions.

    Parameters
    ----------
    sample
        An array with a row for each point, or a list with an array for each axis.
    bins, range
        As for `histogram`, or a list with one for each axis.
    density, weights
        As for `histogram`, with a weight for each point.

    Returns
    -------
    histogram, edges
        The sums, with one axis for each dimension, and a tuple of the edges along each.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.histogramdd(np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]), 2)[0]
    array([[1., 0.],
           [1., 1.]])
    """
    if isinstance(sample, list | tuple):
        columns = alike(*[array(x) for x in sample])
    else:
        sample = as_array(sample)
        if sample.ndim not in (1, 2):
            raise ValueError(f"histogramdd takes points in rows, not {sample.ndim} axes")
        columns = [*(np.expand_dims(sample, 0) if sample.ndim == 1 else sample.T)]
    edges = _several_edges(columns, bins, range)
    sides = [x.shape[0] - 1 for x in edges]
    total = math.prod(sides)
    place: Any = 0
    outside: Any = False
    for column, ends, n in zip(columns, edges, sides, strict=True):
        i = _places(column, ends)
        outside = outside | np.equal(i, n)
        place = place * n + i
    place = np.where(outside, total, place)
    each = np.ones(place.shape) if weights is None else floating(weights).astype(float)
    if each.shape != place.shape:
        raise ValueError(f"weights of shape {each.shape} for points of shape {place.shape}")
    sums = np.reshape(segment_sum(each, place, total + 1)[:total], tuple(sides))
    if density:
        sums = sums / _volumes(edges) / np.sum(sums)
    return sums, tuple(edges)


def _volumes(edges: list[Any]) -> Any:
    """The volume of each bin."""
    volumes: Any = 1.0
    for axis, ends in enumerate(edges):
        volumes = volumes * np.reshape(np.diff(ends), (-1, *(1,) * (len(edges) - 1 - axis)))
    return volumes


def _points_of_plane(choose: Choices) -> Call:
    n = choose.integer(1, 4)
    weights = choose.among([None, choose.array((n,))])
    bins = choose.among([2, [1, 3], np.array([-4.0, 0.0, 1.5]), [2, np.array([-1.0, 4.0])]])
    x, y = (choose.array((n,)) for _ in range(2))
    return Call((x, y), {"bins": bins, "weights": weights})


@function(numpy=np.histogram2d, domain=_points_of_plane, lists=("bins",))
def histogram2d(
    x: Any, y: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    """`histogramdd` in two dimensions.

    Parameters
    ----------
    x, y
        The points' coordinates.
    bins, range
        As for `histogram`, for both axes, or a list with one for each.
    density, weights
        As for `histogramdd`.

    Returns
    -------
    histogram, x_edges, y_edges

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.histogram2d(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 2)[0]
    array([[1., 0.],
           [0., 1.]])
    """
    if np.shape(x) != np.shape(y) or np.ndim(x) != 1:
        raise ValueError(
            "histogram2d takes x and y of one axis, with as many elements; got shapes "
            f"{np.shape(x)} and {np.shape(y)}"
        )
    # two are one for each axis; more are the edges for both
    if isinstance(bins, int | np.integer) or len(bins) not in (1, 2):
        bins = [bins, bins]
    sums, (first, second) = histogramdd([x, y], bins, range, density, weights)
    return sums, first, second
