"""Statistics: averages, spreads, correlations and histograms."""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.arraylike.tensor import Tensor
from tapegrad.core.forward import apply
from tapegrad.core.primitive import Primitive
from tapegrad.declare import function, op
from tapegrad.declare.batching import Batched
from tapegrad.functions.creation import array, linspace
from tapegrad.ops.casting import (
    as_common_dtype,
    as_double,
    as_floating,
    as_real,
    deviations,
    read_values,
    real_of,
    stopped,
    to_array,
    values_if_known,
)
from tapegrad.ops.order import count_before
from tapegrad.ops.product import adjoint
from tapegrad.ops.rows import sum_segments
from tapegrad.types import Array, ArrayLike, DTypeLike

__all__ = ["corrcoef", "cov", "digitize", "histogram", "histogram2d", "histogram_bin_edges"]
__all__ += ["histogramdd"]


@function(numpy=np.cov, complex=True)
def cov(
    m: ArrayLike,
    y: ArrayLike | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: float | None = None,
    fweights: ArrayLike | None = None,
    aweights: ArrayLike | None = None,
    *,
    dtype: DTypeLike | None = None,
) -> Array:
    """The covariance matrix of variables.

    Parameters
    ----------
    m
        A variable's observations, or several variables, each in a row.
    y
        More variables, with the same number of observations.
    rowvar
        Whether each row is a variable, rather than each column; a single row of `y` is one
        variable in any case.
    bias
        Whether to divide by the number of observations, rather than by one less.
    ddof
        The number to subtract from the number of observations instead.
    fweights
        The number of times that each observation counts: integers.
    aweights
        The weight of each observation. A gradient passes to them.
    dtype
        The dtype to compute in; float64 or wider by default.

    Returns
    -------
    A square array of float64, or a number for one variable.

    Raises
    ------
    ValueError
        If there are more than two axes, or the numbers of observations differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cov(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    >>> tg.grad(lambda x: tg.cov(x, np.array([0.0, 1.0, 2.0]))[0, 1])(np.zeros(3))
    array([-0.5,  0. ,  0.5])
    """
    variables = [
        as_double(x, complex=True) if dtype is None else to_array(x).astype(dtype)
        for x in (m, y)
        if x is not None
    ]
    if builtins.max(x.ndim for x in variables) > 2:
        raise ValueError("cov takes arrays of up to two axes")
    rows = [v if rowvar or v.ndim < 2 else v.T for v in variables[:1]]
    # as in NumPy, a single row of y is one variable
    rows += [v if rowvar or v.ndim < 2 or v.shape[0] == 1 else v.T for v in variables[1:]]
    observations = [np.atleast_2d(v) for v in rows]
    if observations[0].shape[1] != observations[-1].shape[1]:
        raise ValueError(
            f"cov: m and y have {observations[0].shape[1]} and {observations[-1].shape[1]} "
            f"observations with rowvar={rowvar!r}; they must be as many"
        )
    x = np.concatenate(observations)
    # as in NumPy, where None is not 0
    ddof = int(bias == 0) if ddof is None else ddof
    if ddof != int(ddof):
        raise ValueError(f"cov: ddof must be an integer, not {ddof!r}")
    weights, divisor = _observation_weights(x.shape[1], ddof, fweights, aweights)
    mean = functools.partial(np.average, axis=1, weights=weights, keepdims=True)
    centered = deviations(x, mean(x), mean)
    if weights is None:
        return np.squeeze(centered @ adjoint(centered) / builtins.max(divisor, 0))
    return np.squeeze(centered @ adjoint(centered * weights) / np.maximum(divisor, 0))


def _observation_weights(
    n: int, ddof: float, fweights: ArrayLike | None, aweights: ArrayLike | None
) -> tuple[Any, Any]:
    """Return the weights of n observations, None if equal, and the divisor."""
    factors = []
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is None:
            continue
        weights = as_real(weights, name)
        if weights.ndim != 1 or weights.shape[0] != n:
            raise ValueError(f"{name}, of shape {weights.shape}, are not for {n} observations")
        values = values_if_known(weights)
        if values is not None:
            if name == "fweights" and (values != np.round(values)).any():
                raise TypeError("fweights are integers")
            if (values < 0).any():
                raise ValueError(f"{name} are not negative")
        factors.append(weights.astype(float))
    if not factors:
        return None, n - ddof
    product = factors[0] if len(factors) == 1 else factors[0] * factors[1]
    total = np.sum(product)
    if ddof == 0 or aweights is None:
        return product, total - ddof
    return product, total - ddof * np.sum(product * factors[-1]) / total


@function(numpy=np.corrcoef, complex=True)
def corrcoef(x: ArrayLike, y: ArrayLike | None = None, rowvar: bool = True) -> Array:
    """The correlation matrix of variables, from -1 to 1; arguments as for `cov`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.corrcoef(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    matrix = to_array(cov(x, y, rowvar))
    if matrix.ndim == 0:
        return matrix / matrix
    deviation = np.sqrt(real_of(np.diagonal(matrix)))
    matrix = matrix / deviation[:, None] / deviation
    clipped = np.clip(real_of(matrix), -1, 1)
    if matrix.dtype.kind == "c":
        clipped = clipped + 1j * np.clip(np.imag(matrix), -1, 1)
    # clip rounding errors, but not derivatives
    return matrix + stopped(clipped - matrix)


def _digitize_batch(
    op: Primitive, batched: Batched, x: Array, bins: Array, right: bool = False
) -> Array:
    if not batched[1]:
        return apply(op, (x, bins), {"right": right})
    edges = values_if_known(bins)
    if edges is not None:
        steps = np.diff(edges)
        if not ((steps >= 0).all(-1) | (steps <= 0).all(-1)).all():
            raise ValueError("digitize: bins must be monotonically increasing or decreasing")
    ascending, side = np.less_equal(bins[:, :1], bins[:, -1:]), "left" if right else "right"
    below = count_before(batched[::-1], bins, x, side)
    above = bins.shape[-1] - count_before(batched[::-1], bins[:, ::-1], x, side)
    return np.where(np.reshape(ascending, (-1, *(1,) * (below.ndim - 1))), below, above)


@op(None, None, numpy=np.digitize, batch=_digitize_batch)
def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Array:
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
    return np.digitize(np.asarray(x), np.asarray(bins), right)


def _even_edges_batch(op: Primitive, batched: Batched, a: Array, **options: Any) -> Array:
    return apply(op, (a,), {**options, "by_rows": True})


@op(None, batch=_even_edges_batch)
def even_edges(
    a: Array, bins: int, range: tuple[float, float] | None = None, by_rows: bool = False
) -> Array:
    """Return NumPy's edges of bins of equal width, bit for bit; of each row if `by_rows`."""
    if by_rows:
        return np.stack([np.histogram_bin_edges(row, bins, range) for row in a])
    return np.histogram_bin_edges(a, bins, range)


def _bin_edges(
    a: Array, bins: Any, range: tuple[float, float] | None, weights: Array | None = None
) -> Array:
    """Return the edges in `bins`, or edges from the elements, which pass a gradient to them."""
    if weights is not None:
        as_real(weights, "weights")
        if weights.shape != a.shape:
            raise ValueError(f"weights of shape {weights.shape} for elements of shape {a.shape}")
    if isinstance(bins, str):
        values = read_values(a, f"choosing bins as {bins!r}")
        if weights is not None:
            raise TypeError(f"bins={bins!r} is not for weighted elements")
        bins = len(np.histogram_bin_edges(values, bins, range)) - 1
    if np.ndim(bins):
        bins = as_real(array(bins), "bins")
        if bins.ndim != 1:
            raise ValueError(f"bins must be a number or an array of one axis, not {bins.ndim}")
        edges = values_if_known(bins)
        if edges is not None and not (edges[:-1] <= edges[1:]).all():
            raise ValueError(f"bins must be in ascending order; got {edges}")
        return bins
    edges = even_edges(a, bins, range=range)
    if range is not None or not isinstance(a, Tensor) or not a.size:
        return edges
    low, high = np.min(a), np.max(a)
    traced_edges = linspace(low, high, bins + 1)
    # if all elements are equal, the edges keep NumPy's distance
    return edges + (traced_edges - stopped(traced_edges)).astype(edges.dtype)


@function(numpy=np.histogram_bin_edges, kink="of `min` and `max`")
def histogram_bin_edges(
    a: ArrayLike,
    bins: ArrayLike = 10,
    range: tuple[float, float] | None = None,
    weights: ArrayLike | None = None,
) -> Array:
    """The edges of the bins of `histogram`.

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
    return _bin_edges(to_array(a), bins, range, None if weights is None else to_array(weights))


def _bin_indices(a: Array, edges: Array) -> Array:
    """Return the bin of each element, and the number of bins for elements outside."""
    edges, n = stopped(edges), edges.shape[0] - 1
    i = np.searchsorted(edges, a, side="right") - 1
    # the last edge belongs to the last bin
    i = np.where(np.equal(a, edges[-1]), n - 1, i)
    inside = np.greater_equal(a, edges[0]) & np.less_equal(a, edges[-1])
    return np.where(inside, i, n)


@function(numpy=np.histogram)
def histogram(
    a: ArrayLike,
    bins: ArrayLike = 10,
    range: tuple[float, float] | None = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array]:
    """The number of elements in each bin, or their weight, and the bins' edges.

    A gradient passes to the weights, and from the edges to the smallest and the largest element if
    the edges depend on them. No gradient passes from the counts to the elements.

    Parameters
    ----------
    a
        An array.
    bins
        The number of bins of equal width; their edges, ascending; or the name of one of NumPy's
        rules, but not inside `compile`, since the number of bins depends on the elements.
    range
        The ends of bins of equal width; by default the extreme elements.
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
        compiled function cannot check).
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
    a = to_array(a)
    weights = None if weights is None else to_array(weights)
    edges = _bin_edges(a, bins, range, weights)
    if weights is not None and weights.dtype.kind == "b":
        raise TypeError(
            "histogram: truth values do not add up; select (a[weights]), or .astype(int)"
        )
    n = edges.shape[0] - 1
    counted = np.ones(a.shape, np.intp) if weights is None else weights
    sums = sum_segments(np.ravel(counted), np.ravel(_bin_indices(a, edges)), n + 1)[:n]
    if density:
        sums = sums / np.diff(edges).astype(float) / np.sum(sums)
    return sums, edges


def _axis_edges(
    columns: Sequence[Array], bins: Any, range: Sequence[tuple[float, float] | None] | None
) -> list[Array]:
    """Return the edges of the bins along each axis."""
    bins = bins if isinstance(bins, list | tuple) or np.ndim(bins) else [bins] * len(columns)
    range = [None] * len(columns) if range is None else range
    if len(bins) != len(columns) or len(range) != len(columns):
        raise ValueError(f"there are {len(columns)} axes, and bins and range for each of them")
    return [_bin_edges(*axis_bins) for axis_bins in zip(columns, bins, range, strict=True)]


@function(numpy=np.histogramdd, lists=("sample", "bins"))
def histogramdd(
    sample: ArrayLike | Sequence[ArrayLike],
    bins: ArrayLike | Sequence[ArrayLike] = 10,
    range: Sequence[tuple[float, float] | None] | None = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, tuple[Array, ...]]:
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
        columns = [array(x) for x in sample]
        # numbers are points along one axis
        columns = as_common_dtype(*columns) if any(x.ndim for x in columns) else [array(sample)]
    else:
        rows: Any = sample
        points = to_array(rows)
        if points.ndim not in (1, 2):
            raise ValueError(f"histogramdd takes points in rows, not {points.ndim} axes")
        columns = [*(np.expand_dims(points, 0) if points.ndim == 1 else points.T)]
    edges = _axis_edges(columns, bins, range)
    n_bins = [x.shape[0] - 1 for x in edges]
    n_all = math.prod(n_bins)
    flat_bin: Any = 0
    outside: Any = False
    for column, ends, n in zip(columns, edges, n_bins, strict=True):
        i = _bin_indices(column, ends)
        outside = outside | np.equal(i, n)
        flat_bin = flat_bin * n + i
    flat_bin = np.where(outside, n_all, flat_bin)
    counted = np.ones(flat_bin.shape) if weights is None else as_floating(weights).astype(float)
    if counted.shape != flat_bin.shape:
        raise ValueError(f"weights of shape {counted.shape} for points of shape {flat_bin.shape}")
    sums = np.reshape(sum_segments(counted, flat_bin, n_all + 1)[:n_all], tuple(n_bins))
    if density:
        sums = sums / _bin_volumes(edges) / np.sum(sums)
    return sums, tuple(edges)


def _bin_volumes(edges: list[Array]) -> Array:
    """Return the volume of each bin."""
    volumes: Any = 1.0
    for axis, ends in enumerate(edges):
        volumes = volumes * np.reshape(np.diff(ends), (-1, *(1,) * (len(edges) - 1 - axis)))
    return volumes


@function(numpy=np.histogram2d, lists=("bins",))
def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: ArrayLike | Sequence[ArrayLike] = 10,
    range: Sequence[tuple[float, float] | None] | None = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
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
    # two entries are one for each axis; more entries are the edges of both axes
    axis_bins: Any = bins
    if isinstance(bins, int | np.integer) or len(axis_bins) not in (1, 2):
        axis_bins = [bins, bins]
    sums, (first, second) = histogramdd([x, y], axis_bins, range, density, weights)
    return sums, first, second
