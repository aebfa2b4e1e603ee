"""Scans composed of ops, differences, integrals and correlations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.declare import function
from tapegrad.ops.axes import move_axis_to_front, reduced_shape
from tapegrad.ops.casting import conjugate_of, to_array
from tapegrad.ops.partial_reduction import cast_if_given
from tapegrad.ops.reduction import replace_nan
from tapegrad.ops.scan import (
    ZEROS,
    convolve,
    cumprod,
    cumsum,
    diff_along_axis,
    lay_along_axis,
    slice_along_axis,
)
from tapegrad.types import Array, ArrayLike, DTypeLike

__all__ = ["correlate", "cumulative_prod", "cumulative_sum", "diff", "ediff1d", "nancumprod"]
__all__ += ["nancumsum", "trapezoid"]


@function(numpy=np.nancumsum, complex=True)
def nancumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """`cumsum` with 0 for nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nancumsum(np.array([1.0, np.nan, 3.0]))
    array([1., 1., 4.])
    """
    return cumsum(replace_nan(a, 0), axis=axis, dtype=dtype)


@function(numpy=np.nancumprod, kink=ZEROS, complex=True)
def nancumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """`cumprod` with 1 for nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nancumprod(np.array([2.0, np.nan, 3.0]))
    array([2., 2., 6.])
    """
    return cumprod(replace_nan(a, 1), axis=axis, dtype=dtype)


def _scan_with_initial(
    scan: Callable[..., Array],
    initial: int,
    x: ArrayLike,
    axis: int | None,
    dtype: DTypeLike | None,
    include_initial: bool,
) -> Array:
    """Scan as in the array API: along one axis, with or without an initial element."""
    x = cast_if_given(x, dtype)
    if axis is None and x.ndim > 1:
        raise ValueError(f"an array with {x.ndim} axes needs axis=, the one to go along")
    y = scan(x, axis=axis)
    if not include_initial:
        return y
    along = 0 if axis is None else axis
    return np.concatenate([np.full(reduced_shape(y.shape, along), initial, y.dtype), y], axis=along)


@function(numpy=np.cumulative_sum, complex=True)
def cumulative_sum(
    x: ArrayLike,
    *,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Array:
    """`cumsum` along an axis, which may be omitted for an array with one axis.

    Parameters
    ----------
    x
        An array.
    axis
        The axis, for an array that has several.
    dtype
        The dtype to add in.
    include_initial
        Whether 0, the sum of no elements, comes first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumulative_sum(np.array([1.0, 2.0]), include_initial=True)
    array([0., 1., 3.])
    """
    return _scan_with_initial(cumsum, 0, x, axis, dtype, include_initial)


@function(numpy=np.cumulative_prod, kink=ZEROS, complex=True)
def cumulative_prod(
    x: ArrayLike,
    *,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Array:
    """`cumprod` along an axis; arguments as for `cumulative_sum`, and 1 comes first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumulative_prod(np.array([2.0, 3.0]), include_initial=True)
    array([1., 2., 6.])
    """
    return _scan_with_initial(cumprod, 1, x, axis, dtype, include_initial)


def _join_ends(a: Array, ends: tuple[Any, Any], axis: int) -> Array:
    """Join arrays before and after an array; numbers are repeated along the other axes."""
    parts = [to_array(end) for end in ends if end is not None]
    parts = [np.broadcast_to(x, reduced_shape(a.shape, axis)) if x.ndim == 0 else x for x in parts]
    if not parts:
        return a
    return np.concatenate([a, *parts] if ends[0] is None else [parts[0], a, *parts[1:]], axis=axis)


@function(numpy=np.diff, complex=True)
def diff(
    a: ArrayLike,
    n: int = 1,
    axis: int = -1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Array:
    """The differences of neighbouring elements.

    Parameters
    ----------
    a
        An array.
    n
        The number of times to take differences.
    axis
        The axis of the neighbours.
    prepend, append
        A number or an array to join before and after the array, or None.

    Raises
    ------
    ValueError
        If n is negative, or the array has no axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diff(np.array([1.0, 4.0, 9.0])), tg.diff(np.array([1.0, 4.0, 9.0]), n=2)
    (array([3., 5.]), array([2.]))
    """
    a = to_array(a)
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    if a.ndim == 0:
        raise ValueError("diff needs an array with an axis")
    axis = normalize_axis_index(axis, a.ndim)
    if n > 0:
        a = _join_ends(a, (prepend, append), axis)
    for _ in range(n):
        a = diff_along_axis(a, axis)
    return a


@function(numpy=np.ediff1d, complex=True)
def ediff1d(
    ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None
) -> Array:
    """The differences of the flattened array, with other numbers joined before and after.

    Parameters
    ----------
    ary
        An array.
    to_end, to_begin
        Numbers to join after and before the differences, or None.

    Raises
    ------
    TypeError
        If the dtype of these numbers does not fit the array's.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ediff1d(np.array([1.0, 4.0, 9.0]), to_begin=0.0)
    array([0., 3., 5.])
    """
    a = move_axis_to_front(to_array(ary), None)
    if a.dtype.kind == "b":
        raise TypeError(
            "ediff1d: truth values have no differences; np.diff tells where they change"
        )
    parts = [to_array(x) for x in (to_begin, to_end) if x is not None]
    for x in parts:
        if not np.can_cast(x.dtype, a.dtype, casting="same_kind"):
            raise TypeError(f"differences of {a.dtype} cannot be joined with {x.dtype}")
    ends = [move_axis_to_front(x, None).astype(a.dtype) for x in parts]
    y = diff_along_axis(a)
    if not ends:
        return y
    return np.concatenate([y, *ends] if to_begin is None else [ends[0], y, *ends[1:]])


@function(numpy=np.trapezoid, complex=True)
def trapezoid(
    y: ArrayLike, x: ArrayLike | None = None, dx: float | Array = 1.0, axis: int = -1
) -> Array:
    """The integral of a function that is linear between the points (the trapezoidal rule).

    Parameters
    ----------
    y
        The function's values at the points.
    x
        The points: an array of the shape of `y`, or with one axis, or None.
    dx
        The distance of the points, if `x` is None.
    axis
        The axis to integrate along.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda y: tg.trapezoid(y, dx=2.0))(np.ones(3))
    array([1., 2., 1.])
    """
    y = to_array(y)
    normalize_axis_index(axis, y.ndim)
    if x is not None:
        x = to_array(x)
        dx = (
            lay_along_axis(diff_along_axis(x), y, axis) if x.ndim == 1 else diff_along_axis(x, axis)
        )
    endpoint_sums = slice_along_axis(y, axis, 1, None) + slice_along_axis(y, axis, None, -1)
    return np.sum(dx * endpoint_sums / 2.0, axis=axis)


@function(numpy=np.correlate, complex=True)
def correlate(a: ArrayLike, v: ArrayLike, mode: str = "valid") -> Array:
    """The correlation of two sequences: ``y[k]`` is the sum of ``a[i + k] * conj(v[i])`` over i.

    Arguments as for `convolve`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.correlate(np.array([1.0, 2.0, 4.0]), np.array([-1.0, 1.0]))
    array([1., 2.])
    """
    a, v = to_array(a), to_array(v)
    if a.ndim != 1 or v.ndim != 1:
        raise ValueError(f"correlate takes arrays of one axis; got shapes {a.shape} and {v.shape}")
    v = conjugate_of(v)
    if a.size < v.size:
        return convolve(v, a[::-1], mode=mode)[::-1]
    return convolve(a, v[::-1], mode=mode)
