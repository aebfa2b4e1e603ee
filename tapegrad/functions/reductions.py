"""Reductions composed of ops: variances, averages, segments, and variants that ignore nan."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.arraylike.reading import is_count
from tapegrad.core.op import Op
from tapegrad.declare import function
from tapegrad.ops.casting import (
    as_floating,
    as_scalar,
    deviations,
    read_values,
    sqrt_with_zero_slope,
    squared_modulus_by_ops,
    to_array,
    values_if_known,
)
from tapegrad.ops.partial_reduction import (
    cast_if_given,
    count,
    count_included,
    fill_excluded,
    sum_in_mean_dtype,
    weighted_average,
)
from tapegrad.ops.reduction import all, is_nan, max, mean, min, prod, replace_nan, sum
from tapegrad.ops.rows import max_segments, sum_segments
from tapegrad.ops.shape import broadcast_to
from tapegrad.types import Array, ArrayLike, Axis, DTypeLike

__all__ = ["average", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar"]
__all__ += ["ptp", "segment_max", "segment_sum", "std", "var"]


def _check_ddof(ddof: float) -> None:
    if np.ndim(ddof):
        raise TypeError(f"ddof must be a number; got an array of shape {np.shape(ddof)}")


@function(numpy=np.var, complex=True)
def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: ArrayLike = True,
    mean: ArrayLike | None = None,
    correction: float | None = None,
) -> Array:
    """The variance over an axis, several, or all.

    Parameters
    ----------
    a, axis, dtype, keepdims, where
        As for `sum`.
    ddof, correction
        The number to subtract from the number of elements, for the divisor.
    mean
        The mean with the reduced axes kept, if you have computed it already.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.var)(np.array([1.0, 3.0]))
    array([-1.,  1.])
    """
    a = as_floating(a, complex=True)
    if correction is not None and ddof != 0:
        raise ValueError("ddof and correction mean the same; give only one of them")
    ddof = ddof if correction is None else correction
    _check_ddof(ddof)
    options: dict[str, Any] = {"axis": axis, "keepdims": True, "where": where}
    if mean is not None:
        centered = a - mean
    else:
        center: Array = np.mean(a, dtype=dtype, **options)
        is_rounded = center.dtype.kind in "fc"
        mean_over_axis = functools.partial(np.mean, **options)
        centered = deviations(a, center, mean_over_axis) if is_rounded else a - center
    squares = fill_excluded(squared_modulus_by_ops(centered), where, 0, axis)
    n: float | Array = count_included(a, axis, keepdims, where)
    n = builtins.max(n - ddof, 0) if where is True else np.maximum(n - ddof, 0)
    y = weighted_average(cast_if_given(squares, dtype), n, axis, keepdims)
    return y if dtype is None else as_scalar(cast_if_given(y, dtype))


@function(numpy=np.std, kink="0 where nothing deviates", complex=True)
def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: ArrayLike = True,
    mean: ArrayLike | None = None,
    correction: float | None = None,
) -> Array:
    """The standard deviation over an axis, several, or all; arguments as for `var`.

    Where all elements are the same, the gradient is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.std)(np.array([1.0, 3.0])), tg.grad(tg.std)(np.ones(2))
    (array([-0.5,  0.5]), array([0., 0.]))
    """
    options: dict[str, Any] = {"ddof": ddof, "keepdims": keepdims, "where": where}
    return sqrt_with_zero_slope(var(a, axis, dtype, **options, mean=mean, correction=correction))


@function(numpy=np.average, complex=True)
def average(
    a: ArrayLike,
    axis: Axis = None,
    weights: ArrayLike | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The weighted mean over an axis, several, or all.

    Parameters
    ----------
    a, axis, keepdims
        As for `sum`.
    weights
        An array of the shape of `a`, or of the lengths of the given axes, in order; None for equal
        weights.
    returned
        Whether to return the sums of the weights too.

    Returns
    -------
    The mean, or a tuple of the mean and the sums of the weights.

    Raises
    ------
    TypeError, ValueError
        If the weights have neither shape.
    ZeroDivisionError
        If weights sum to 0; in a compiled function the mean is then not finite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = np.array([3.0, 1.0])
    >>> tg.grad(lambda x: tg.average(x, weights=w))(np.array([1.0, 2.0]))
    array([0.75, 0.25])
    """
    a = as_floating(a, complex=True)
    count(a, axis)
    if weights is None:
        y = mean(a, axis=axis, keepdims=keepdims)
        return (y, np.full(y.shape, count(a, axis), y.dtype)) if returned else y
    weights = to_array(weights)
    if weights.shape != a.shape:
        if axis is None:
            raise TypeError(
                f"weights of shape {weights.shape} for an array of shape {a.shape} need axis="
            )
        axes = normalize_axis_tuple(axis, a.ndim)
        if weights.shape != tuple(a.shape[i] for i in axes):
            raise ValueError(
                f"weights of shape {weights.shape} fit neither the shape {a.shape} nor its axes "
                f"{axes}"
            )
        aligned_shape = tuple(length if i in axes else 1 for i, length in enumerate(a.shape))
        weights = np.reshape(np.transpose(weights, np.argsort(axes).tolist()), aligned_shape)
    weights = weights.astype(np.result_type(a.dtype, weights.dtype))
    total = sum_in_mean_dtype(weights, axis, keepdims)
    known = values_if_known(total)
    if known is not None and (known == 0).any():
        raise ZeroDivisionError(
            f"average: weights of shape {weights.shape} sum to 0 over axis {axis}; give at least "
            "one another weight, or write the mean you want (np.sum(a * weights) / n)"
        )
    y = weighted_average(a * weights, total, axis, keepdims)
    return (y, broadcast_to(total.astype(y.dtype), y.shape)) if returned else y


@function(numpy=np.ptp, kink="ties share equally")
def ptp(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The largest element minus the smallest; arguments as for `sum`.

    Elements that tie for the largest or the smallest share its gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.ptp)(np.array([1.0, 4.0, 2.0]))
    array([-1.,  1.,  0.])
    """
    return max(a, axis=axis, keepdims=keepdims) - min(a, axis=axis, keepdims=keepdims)


@function(numpy=np.nansum, complex=True)
def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """`sum` with 0 for nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nansum)(np.array([1.0, np.nan]))
    array([1., 0.])
    """
    options: dict[str, Any] = {
        "dtype": dtype,
        "keepdims": keepdims,
        "initial": initial,
        "where": where,
    }
    return sum(replace_nan(a, 0), axis=axis, **options)


@function(numpy=np.nanprod, kink="right with any number of zeros", complex=True)
def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """`prod` with 1 for nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanprod)(np.array([2.0, np.nan, 3.0]))
    array([3., 0., 2.])
    """
    options: dict[str, Any] = {
        "dtype": dtype,
        "keepdims": keepdims,
        "initial": initial,
        "where": where,
    }
    return prod(replace_nan(a, 1), axis=axis, **options)


def _cast_floating(a: Array, dtype: DTypeLike | None) -> Array:
    """Cast a floating array to a dtype, which must be able to hold nan."""
    if dtype is not None and np.dtype(dtype).kind not in "fc":
        raise TypeError(f"dtype must be floating where there may be nan; got {np.dtype(dtype)}")
    return cast_if_given(a, dtype)


@function(numpy=np.nanmean, complex=True)
def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    where: ArrayLike = True,
) -> Array:
    """`mean`, ignoring nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmean)(np.array([1.0, np.nan, 3.0]))
    array([0.5, 0. , 0.5])
    """
    a = to_array(a)
    if a.dtype.kind not in "fc":
        return mean(a, axis=axis, dtype=dtype, keepdims=keepdims, where=where)
    a = _cast_floating(a, dtype)
    n = sum(np.equal(a, a), axis=axis, keepdims=keepdims, where=where)
    return weighted_average(fill_excluded(replace_nan(a, 0), where, 0, axis), n, axis, keepdims)


@function(numpy=np.nanvar, complex=True)
def nanvar(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: ArrayLike = True,
) -> Array:
    """`var`, ignoring nan, which gets no gradient; nan if too few elements are left.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanvar)(np.array([1.0, np.nan, 3.0]))
    array([-1.,  0.,  1.])
    """
    a = to_array(a)
    if a.dtype.kind not in "fc":
        return var(a, axis, dtype, ddof=ddof, keepdims=keepdims, where=where)
    a = _cast_floating(a, dtype)
    _check_ddof(ddof)
    is_number = fill_excluded(np.equal(a, a), where, False, axis)
    options: dict[str, Any] = {"axis": axis, "keepdims": True, "where": where}
    centered = deviations(a, nanmean(a, **options), functools.partial(nanmean, **options))
    centered = np.where(is_number, centered, 0)
    n = sum(is_number, axis=axis, keepdims=keepdims) - ddof
    too_few = np.less_equal(n, 0)
    variance = weighted_average(
        squared_modulus_by_ops(centered), np.where(too_few, 1, n), axis, keepdims
    )
    return as_scalar(np.where(too_few, np.nan, variance))


@function(numpy=np.nanstd, kink="0 where nothing deviates", complex=True)
def nanstd(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: ArrayLike = True,
) -> Array:
    """`std`, ignoring nan, which gets no gradient; nan if too few elements are left.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanstd)(np.array([1.0, np.nan, 3.0]))
    array([-0.5,  0. ,  0.5])
    """
    return sqrt_with_zero_slope(nanvar(a, axis, dtype, ddof=ddof, keepdims=keepdims, where=where))


def _nan_extremum(
    extremum: Callable[..., Array], fill: float, a: ArrayLike, axis: Axis, **options: Any
) -> Array:
    """Reduce by `max` or `min`, ignoring nan; nan if all elements are nan."""
    a = to_array(a)
    if a.dtype.kind != "f":
        return extremum(a, axis=axis, **options)
    y = extremum(replace_nan(a, fill), axis=axis, **options)
    if options["initial"] is not None:
        return y
    all_nan = all(is_nan(a), axis=axis, keepdims=options["keepdims"])
    return as_scalar(np.where(all_nan, np.nan, y))


@function(numpy=np.nanmax, kink="ties share equally")
def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """`max`, ignoring nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmax)(np.array([1.0, np.nan, 3.0]))
    array([0., 0., 1.])
    """
    return _nan_extremum(max, -np.inf, a, axis, keepdims=keepdims, initial=initial, where=where)


@function(numpy=np.nanmin, kink="ties share equally")
def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """`min`, ignoring nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmin)(np.array([1.0, np.nan, 3.0]))
    array([1., 0., 0.])
    """
    return _nan_extremum(min, np.inf, a, axis, keepdims=keepdims, initial=initial, where=where)


def _reduce_segments(
    name: str, op: Op[Any], data: ArrayLike, ids: ArrayLike, n: int | None
) -> Array:
    """Reduce the rows of each segment by an op; ids out of range are left out."""
    data, ids = to_array(data), to_array(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: segment_ids must be integers, not {ids.dtype}; write segment_ids.astype(int)"
        )
    if data.shape[: ids.ndim] != ids.shape:
        raise ValueError(
            f"{name}: data of shape {data.shape} need a segment id for each row, not segment_ids "
            f"of shape {ids.shape}"
        )
    if n is None:
        values = read_values(ids, f"{name} without num_segments")
        n = builtins.max(int(np.max(values)) + 1, 0) if values.size else 0
    elif not is_count(n):
        raise ValueError(f"{name}: num_segments must be a count from 0, not {n!r}")
    n, known_ids = int(n), values_if_known(ids)
    if known_ids is not None and ((known_ids >= 0) & (known_ids < n)).all():
        return op(data, ids, n)
    ids = ids.astype(np.intp)
    # ids out of range go to an extra segment, which is dropped
    return op(data, np.where((ids >= 0) & (ids < n), ids, n), n + 1)[:n]


@function(complex=True)
def segment_sum(data: ArrayLike, segment_ids: ArrayLike, num_segments: int | None = None) -> Array:
    """The sum of the rows of each segment, as ``jax.ops.segment_sum``.

    A scatter that adds: ``np.add.at(y, segment_ids, data)`` on zeros. `at` adds to another array.

    Parameters
    ----------
    data
        An array of shape ``segment_ids.shape + row``.
    segment_ids
        Integers: for each row the number of its segment, in any order. Rows whose number is not
        from 0 to ``num_segments - 1`` are left out.
    num_segments
        The number of segments; by default one more than the largest number. Inside `compile` it is
        needed where `segment_ids` is an argument.

    Returns
    -------
    An array of shape ``(num_segments,) + row``; 0 where a segment is empty.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.segment_sum(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 4)
    array([3., 0., 3., 0.])
    """
    return _reduce_segments("segment_sum", sum_segments, data, segment_ids, num_segments)


@function(kink="ties share equally")
def segment_max(data: ArrayLike, segment_ids: ArrayLike, num_segments: int | None = None) -> Array:
    """The maximum of the rows of each segment, as ``jax.ops.segment_max``.

    Elements that tie share the gradient equally, as in `max`.

    Parameters
    ----------
    data, segment_ids, num_segments
        As for `segment_sum`.

    Returns
    -------
    An array of shape ``(num_segments,) + row``; -inf, or the least integer, where a segment is
    empty.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.segment_max(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 4)
    array([  2., -inf,   3., -inf])
    >>> tg.grad(lambda x: tg.segment_max(x, np.array([0, 0, 1]))[0])(np.array([2.0, 2.0, 3.0]))
    array([0.5, 0.5, 0. ])
    """
    return _reduce_segments("segment_max", max_segments, data, segment_ids, num_segments)
