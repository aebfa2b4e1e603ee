"""Order statistics, counts, and searches for elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.core.tensor import Tensor
from tapegrad.declare import function
from tapegrad.functions.selection import take
from tapegrad.ops.axes import as_integer, move_axes_to_front, move_axis_to_front, reduced_shape
from tapegrad.ops.casting import (
    as_floating,
    as_real,
    as_scalar,
    is_weak,
    read_values,
    to_array,
    values_if_known,
)
from tapegrad.ops.order import TIES, argwhere, sort
from tapegrad.ops.reduction import any, mean
from tapegrad.ops.rows import index_select, sum_segments
from tapegrad.types import Array, ArrayLike, Axis

__all__ = ["bincount", "flatnonzero", "median", "nanmedian", "nanpercentile", "nanquantile"]
__all__ += ["nonzero", "percentile", "quantile", "trim_zeros", "unique"]


_TIES_AND_STEPS = f"{TIES}; of `q`, the slope to the right, at the last element to the left"


def _finish_statistic(y: Array, rows: Array, a: Array, axis: Axis, keepdims: bool) -> Array:
    """Return a statistic of rows, nan where they have nan, and with axes kept if `keepdims`."""
    y = np.where(any(np.not_equal(rows, rows), axis=0), np.nan, y) if rows.dtype.kind == "f" else y
    leading = y.shape[: y.ndim - rows.ndim + 1]
    return np.reshape(y, (*leading, *reduced_shape(a.shape, axis))) if keepdims else as_scalar(y)


@function(numpy=np.median, kink=TIES)
def median(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The middle element, or the mean of the two middle ones; arguments as for `sum`.

    Elements that tie for a middle position share its gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.median)(np.array([3.0, 1.0, 2.0, 9.0]))
    array([0.5, 0. , 0.5, 0. ])
    """
    a = as_real(a, "median: the array")
    rows = sort(move_axes_to_front(a, axis), axis=0)
    n = len(rows)
    return _finish_statistic(mean(rows[(n - 1) // 2 : n // 2 + 1], axis=0), rows, a, axis, keepdims)


# the distances of the first and the last element from the ends of their distribution
_END_DISTANCES = {
    "linear": (1, 1),
    "hazen": (0.5, 0.5),
    "weibull": (0, 0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
    "interpolated_inverted_cdf": (0, 1),
}
_NEIGHBOR_METHODS = ("lower", "higher", "midpoint")
_STEP_METHODS = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")
METHODS = (*_END_DISTANCES, *_NEIGHBOR_METHODS, *_STEP_METHODS)


def _quantile_position(n: int, q: Array, method: str) -> Array:
    """Return the position of a quantile among n sorted elements; it may lie between two."""
    if method == "linear" or method in _NEIGHBOR_METHODS:
        return (n - 1) * q
    first, last = _END_DISTANCES[method]
    return n * q + (first + q * (1 - first - last)) - 1


def _check_fraction(q: ArrayLike, most: int) -> Any:
    """Return q as an array; a Python number stays one, since it does not affect dtypes."""
    if np.ndim(q) > 2:
        raise ValueError(f"q is a number or an array of up to two axes; its shape is {np.shape(q)}")
    values = values_if_known(q)
    if values is None:
        return q
    if not ((values >= 0) & (values <= most)).all():
        raise ValueError(f"q must be from 0 to {most}; got {values}")
    return q if isinstance(q, Tensor) or type(q) in (int, float) else values


def _mask_out_of_range(y: Array, q: Array) -> Array:
    """Replace quantiles by nan where the q of a compiled program is out of range."""
    if values_if_known(q) is not None or y.dtype.kind != "f":
        return y
    is_in_range = np.greater_equal(q, 0) & np.less_equal(q, 1)
    return np.where(np.reshape(is_in_range, (*q.shape, *(1,) * (y.ndim - q.ndim))), y, np.nan)


def _floor_index(position: Array, q: Array, last: int | Array) -> Array:
    """Return the index at or before a position, within bounds for any q of a program."""
    low = position.astype(np.intp)
    return low if values_if_known(q) is not None else np.minimum(np.maximum(low, 0), last)


def _step_quantile(rows: Array, q: Array, method: str) -> Array:
    """Return the element of sorted rows at a quantile, or the mean of two at a step."""
    n, weak = len(rows), is_weak(q)
    position = n * to_array(q) - (1.5 if method == "closest_observation" else 1)
    low = np.floor(position)
    at_step = np.equal(position, low)
    if method == "closest_observation":
        at_step = at_step & np.equal(np.remainder(low, 2), 1)
    low = low.astype(np.intp)
    low, after = (np.minimum(np.maximum(i, 0), n - 1) for i in (low, low + 1))
    if method != "averaged_inverted_cdf":
        return index_select(rows, np.where(at_step, low, after))
    dtype = position.dtype if not weak else rows.dtype if rows.dtype.kind == "f" else float
    weight = np.where(at_step, 0.5, 1.0).astype(dtype)
    weight = np.reshape(weight, (*weight.shape, *(1,) * (rows.ndim - 1)))
    below, above = index_select(rows, low), index_select(rows, after)
    return above - (above - below) * (1 - weight)


def _interpolate(below: Array, above: Array, weight: Array, at_end: Array) -> Array:
    """Interpolate between two elements, by the weight of the second."""
    step = above - below
    known = values_if_known(step)
    if known is None or not np.isfinite(known).all():
        # at the first and the last element, an infinite neighbour does not count
        step = np.where(at_end & np.logical_not(np.isfinite(step)), 0, step)
    # from the nearer element, so that rounding never passes the other
    return np.where(weight < 0.5, below + step * weight, above - step * (1 - weight))


def _interpolate_quantile(rows: Array, q: Array, method: str) -> Array:
    """Return the elements of sorted rows at a quantile, or interpolate between neighbours."""
    n = len(rows)
    if method in _STEP_METHODS:
        return _step_quantile(rows, q, method)
    weak = is_weak(q)
    position = to_array(_quantile_position(n, q, method))
    low = _floor_index(position, q, n - 1)
    between = np.greater(position, low)
    at_end = np.less_equal(position, 0) | np.greater_equal(position, n - 1)
    if method == "lower" or (method == "linear" and position.dtype.kind in "iu"):
        return index_select(rows, low)
    if method == "higher":
        return index_select(rows, np.minimum(low + between, n - 1))
    if method == "midpoint":
        weight = np.where(between, 0.5, 0.0)
    else:
        # the last position counts from the one before, where q has a slope
        last = max(n - 2, 0) if isinstance(q, Tensor) else n - 1
        low = np.minimum(np.maximum(low, 0), last)
        weight = position - low
        weight = np.where(weight < 0, 0, np.where(weight > 1, 1, weight))
    if weak:
        weight = weight.astype(rows.dtype if rows.dtype.kind == "f" else float)
    else:
        weight = weight.astype(position.dtype if position.dtype.kind == "f" else float)
    weight_shape = (*position.shape, *(1,) * (rows.ndim - 1))
    weight, at_end = np.reshape(weight, weight_shape), np.reshape(at_end, weight_shape)
    below, above = index_select(rows, low), index_select(rows, np.minimum(low + 1, n - 1))
    return _interpolate(below, above, weight, at_end)


@function(numpy=np.quantile, kink=_TIES_AND_STEPS)
def quantile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """The element that is larger than a fraction q of all, over an axis, several, or all.

    Elements that tie for a position share its gradient equally. Where a quantile is exactly an
    element, q has the slope to the right; at the last element, the slope to the left.

    Parameters
    ----------
    a, axis, keepdims
        As for `sum`.
    q
        A number or an array of numbers from 0 to 1, whose axes come first in the result.
    method
        The interpolation between two elements: ``"linear"``, ``"lower"``, ``"higher"``,
        ``"midpoint"``, or one of ``"hazen"``, ``"weibull"``, ``"median_unbiased"``,
        ``"normal_unbiased"``, ``"interpolated_inverted_cdf"``; or, without a slope in q,
        ``"inverted_cdf"``, ``"averaged_inverted_cdf"``, ``"closest_observation"``, as in NumPy.

    Raises
    ------
    ValueError
        If q is not between 0 and 1, or for another method. In a compiled function, where q has no
        value yet, the result is nan instead.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.quantile(x, 0.25))(np.array([3.0, 1.0, 2.0]))
    array([0. , 0.5, 0.5])
    """
    a, fraction = as_real(a, "quantile: the array"), _check_fraction(q, 1)
    if method not in METHODS:
        names = ", ".join(METHODS)
        raise ValueError(f"the method {method!r} is not supported; there are {names}")
    rows = sort(move_axes_to_front(a, axis), axis=0)
    y = _mask_out_of_range(_interpolate_quantile(rows, fraction, method), fraction)
    return _finish_statistic(y, rows, a, axis, keepdims)


@function(numpy=np.percentile, kink=_TIES_AND_STEPS)
def percentile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` with q in percent, from 0 to 100.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.percentile(np.array([3.0, 1.0, 2.0]), 75)
    np.float64(2.5)
    """
    return quantile(a, _check_fraction(q, 100) / 100, axis=axis, method=method, keepdims=keepdims)


def _sort_without_nan(name: str, a: ArrayLike, axis: Axis) -> tuple[Array, Array, Array]:
    """Return a floating array, its rows sorted, and the index of each row's last number."""
    original, a = to_array(a), as_floating(a)
    rows = sort(move_axes_to_front(a, axis), axis=0)
    if original.dtype.kind == "b":
        raise TypeError(f"{name}: there is nothing between truth values; write a.astype(float)")
    if len(rows) == 0:
        rows = np.full((1, *rows.shape[1:]), np.nan, rows.dtype)
    return a, rows, np.maximum(np.sum(np.equal(rows, rows), axis=0) - 1, 0)


@function(numpy=np.nanquantile, kink=TIES)
def nanquantile(a: ArrayLike, q: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """`quantile`, ignoring nan, which gets no gradient; nan if all elements are nan.

    It interpolates linearly between two elements. Its dtype does not depend on values: nan alone
    gives the dtype that numbers give, where NumPy gives the array's dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.nanquantile(x, 0.25))(np.array([3.0, np.nan, 1.0, 2.0]))
    array([0. , 0. , 0.5, 0.5])
    """
    q = _check_fraction(q, 1)
    weak = is_weak(q)
    a, rows, last = _sort_without_nan("nanquantile", a, axis)
    q = to_array(q)
    position = np.reshape(q, (-1, *(1,) * last.ndim)) * last
    # the last position counts from the one before, where q has a slope
    low = np.minimum(_floor_index(position, q, last), np.maximum(last - 1, 0))
    weight = (position - low).astype(rows.dtype if weak else np.result_type(rows, q))
    below, above = (np.take_along_axis(rows, i, axis=0) for i in (low, np.minimum(low + 1, last)))
    at_end = np.less_equal(position, 0) | np.greater_equal(position, last)
    y = _mask_out_of_range(_interpolate(below, above, weight, at_end), np.reshape(q, -1))
    return as_scalar(
        np.reshape(y, (*q.shape, *(reduced_shape(a.shape, axis) if keepdims else last.shape)))
    )


@function(numpy=np.nanpercentile, kink=TIES)
def nanpercentile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, keepdims: bool = False
) -> Array:
    """`nanquantile` with q in percent, from 0 to 100.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nanpercentile(np.array([3.0, np.nan, 1.0, 2.0]), 75)
    np.float64(2.5)
    """
    return nanquantile(a, _check_fraction(q, 100) / 100, axis=axis, keepdims=keepdims)


@function(numpy=np.nanmedian, kink=TIES)
def nanmedian(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """`median`, ignoring nan, which gets no gradient; nan if all elements are nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmedian)(np.array([3.0, np.nan, 1.0, 2.0]))
    array([0., 0., 0., 1.])
    """
    a, rows, last = _sort_without_nan("nanmedian", a, axis)
    # the middle element or two; the mean is right for infinite elements too
    middle = [np.expand_dims(i, 0) for i in (last // 2, (last + 1) // 2)]
    y = mean(np.take_along_axis(rows, np.concatenate(middle), axis=0), axis=0)
    return np.reshape(y, reduced_shape(a.shape, axis)) if keepdims else as_scalar(y)


@function(numpy=np.nonzero, complex=True)
def nonzero(a: ArrayLike) -> tuple[Array, ...]:
    """The indices of the elements that are not zero, a tuple with an array for each axis.

    They pass no gradient, and are not known inside `compile`, as for `argwhere`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(x[tg.nonzero(x > 1)]))(np.array([1.0, 2.0]))
    array([0., 1.])
    """
    a = to_array(a)
    if a.ndim == 0:
        raise ValueError("nonzero needs an array with an axis")
    indices = argwhere(a)
    return tuple([indices[:, i] for i in range(a.ndim)])


@function(numpy=np.flatnonzero, complex=True)
def flatnonzero(a: ArrayLike) -> Array:
    """`nonzero` of the flattened array: one array of indices.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.flatnonzero(np.array([[0, 1], [2, 0]]))
    array([1, 2])
    """
    return argwhere(move_axis_to_front(to_array(a), None))[:, 0]


@function(numpy=np.bincount)
def bincount(x: ArrayLike, weights: ArrayLike | None = None, minlength: int = 0) -> Array:
    """The number of occurrences of each integer, or the sum of their weights.

    Parameters
    ----------
    x
        Integers from 0, along one axis.
    weights
        The weight of each element of x; None for 1 each.
    minlength
        The least length of the result, which is as long as the largest number requires.

    Raises
    ------
    ValueError
        If x is not one-dimensional or contains a negative number, or if the weights' shape differs.
    TypeError
        If the elements of x are not integers.
    TraceError
        Inside `compile`, if x is a Tensor.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.bincount(np.array([0, 2, 2])), tg.bincount(np.array([0, 2]), np.array([0.5, 1.5]))
    (array([1, 0, 2]), array([0.5, 0. , 1.5]))
    """
    x = to_array(x)
    if x.dtype.kind not in "iub":
        raise TypeError(f"bincount counts integers, not {x.dtype}")
    minlength = as_integer("bincount: minlength", minlength)
    values = read_values(x, "counting what occurs")
    weights = np.ones(x.shape, np.intp) if weights is None else to_array(weights).astype(float)
    if x.ndim != 1 or weights.shape != x.shape or (values < 0).any() or minlength < 0:
        raise ValueError(
            "bincount takes integers from 0, along one axis, and weights of that shape; got shapes "
            f"{x.shape} and {weights.shape}, and minlength={minlength}"
        )
    n = max(minlength, int(values.max()) + 1 if values.size else 0)
    return sum_segments(weights, x.astype(np.intp), n)


def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
) -> Any:
    """The distinct elements of an array, in ascending order.

    Among equal elements, the first has the gradient.

    Parameters
    ----------
    ar
        An array.
    return_index, return_inverse, return_counts
        Whether to return also the first index of each unique element, the index of each element in
        the unique elements, and the number of occurrences. These pass no gradient.
    axis
        The axis along which to find unique parts; None for elements.
    equal_nan
        Whether nan equals nan.

    Returns
    -------
    The unique elements, or a tuple of them and the further results requested.

    Raises
    ------
    TraceError
        Inside `compile`, since the number of results depends on the values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unique(np.array([3.0, 1.0, 3.0]))
    array([1., 3.])
    >>> tg.grad(lambda x: tg.unique(x)[1])(np.array([3.0, 1.0, 3.0]))
    array([1., 0., 0.])
    """
    ar = to_array(ar)
    _, first, inverse, counts = np.unique(
        read_values(ar, "finding different elements"), True, True, True, axis, equal_nan=equal_nan
    )
    flags = (return_index, return_inverse, return_counts)
    more = [x for x, wanted in zip((first, inverse, counts), flags, strict=True) if wanted]
    y = take(ar, first, axis)
    return (y, *more) if more else y


def trim_zeros(filt: ArrayLike, trim: str = "fb") -> Array:
    """An array with one axis, without the zeros at its ends.

    Parameters
    ----------
    filt
        The array.
    trim
        ``"f"`` for the zeros in front, ``"b"`` for those at the back, ``"fb"`` for both.

    Raises
    ------
    ValueError
        For more than one axis, or another `trim`.
    TraceError
        Inside `compile`, since the number of results depends on the values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.trim_zeros(np.array([0.0, 1.0, 0.0, 2.0, 0.0]))
    array([1., 0., 2.])
    """
    filt = to_array(filt)
    ends = trim.lower()
    if filt.ndim != 1 or ends not in ("f", "b", "fb", "bf"):
        raise ValueError(
            f"trim_zeros takes an array of one axis, not {filt.ndim}, and trim 'f', 'b' or 'fb', "
            f"not {trim!r}"
        )
    nonzero_indices = np.flatnonzero(read_values(filt, "trimming zeros"))
    n = filt.shape[0]
    if not nonzero_indices.size:
        return filt[:0]
    start, stop = int(nonzero_indices[0]), int(nonzero_indices[-1]) + 1
    return filt[start if "f" in ends else 0 : stop if "b" in ends else n]


answers([np.unique], unique)
answers([np.trim_zeros], trim_zeros)
