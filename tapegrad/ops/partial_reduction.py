"""Reductions with NumPy's ``where``, ``dtype`` or ``initial``, by several ops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.ops.casting import astype, cast_for_assignment, to_array
from tapegrad.types import Array, ArrayLike, Axis, DType, DTypeLike


def count(x: Array, axis: Axis) -> int:
    """Return the number of elements in each reduction; a bad axis raises an AxisError."""
    shape: tuple[int, ...] = np.shape(x)
    if type(axis) is int and -len(shape) <= axis < len(shape):
        return shape[axis]
    if axis is None:
        return math.prod(shape)
    return math.prod(shape[i] for i in normalize_axis_tuple(axis, len(shape)))


def fill_excluded(a: Array, where: ArrayLike, instead: float, axis: Axis = None) -> Array:
    """Replace the elements that `where` excludes from a reduction by a number.

    A bad axis always raises an AxisError.
    """
    if where is True:
        return a
    if a.ndim or axis not in (0, -1):
        count(a, axis)
    if isinstance(where, list | tuple):
        # NumPy reads a list as truth values; other numbers than 0 and 1 raise below
        numbers = np.asarray(where)
        where = numbers.astype(bool)
        where = where if (where == numbers).all() else numbers
    where = to_array(where)
    if where.dtype.kind != "b":
        raise TypeError(f"where must hold truth values, not {where.dtype}")
    if np.broadcast_shapes(where.shape, a.shape) != a.shape:
        raise ValueError(f"where, of shape {where.shape}, does not fit the array's {a.shape}")
    return np.where(where, a, instead)


def count_included(a: Array, axis: Axis, keepdims: bool, where: ArrayLike) -> int | Array:
    """Return the number of elements that `where` includes."""
    if where is True:
        return count(a, axis)
    ones = fill_excluded(np.ones(a.shape, np.intp), where, 0, axis)
    return np.sum(ones, axis=axis, keepdims=keepdims)


# the dtype in which a mean is summed, as in NumPy, if it is not the array's dtype
_MEAN_SUM_DTYPES: dict[str, DType] = {
    "e": np.dtype(np.float32),
    **dict.fromkeys("?bBhHiIlLqQ", np.dtype(float)),
}
# typed as Any, since NumPy's stubs require a literal for keepdims
reduce_add: Any = np.add.reduce


def sum_in_mean_dtype(a: Array, axis: Axis, keepdims: bool) -> Array:
    """Sum an array in the dtype in which a mean is summed."""
    sum_dtype = _MEAN_SUM_DTYPES.get(a.dtype.char)
    if type(a) is np.ndarray:
        return reduce_add(a, axis, sum_dtype, None, keepdims)
    return np.sum(cast_if_given(a, sum_dtype), axis=axis, keepdims=keepdims)


def weighted_average(a: Array, n: float | Array, axis: Axis, keepdims: bool) -> Array:
    """Return the sums of an array, divided by numbers of elements or sums of weights."""
    total = sum_in_mean_dtype(a, axis, keepdims)
    y = total / (n if isinstance(n, int | float) else to_array(n).astype(total.dtype))
    return y.astype(a.dtype) if a.dtype.char == "e" else y


def cast_if_given(a: ArrayLike, dtype: DTypeLike | None) -> Array:
    """Cast an array to a dtype; None keeps its dtype."""
    a = to_array(a)
    return a if dtype is None else astype(a, dtype)


def _combine_initial(y: Array, initial: ArrayLike | None, join: np.ufunc) -> Array:
    """Combine a result with an initial value, if there is one."""
    if initial is None:
        return y
    if np.shape(initial) != ():
        raise ValueError(f"initial must be a number; got an array of shape {np.shape(initial)}")
    return join(y, cast_for_assignment(initial, y.dtype))


def sum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """Return the sum of part of an array and an initial value."""
    y = np.sum(fill_excluded(cast_if_given(a, dtype), where, 0, axis), axis=axis, keepdims=keepdims)
    return _combine_initial(y if dtype is None else y.astype(dtype), initial, np.add)


def prod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """Return the product of part of an array and an initial value."""
    y = np.prod(
        fill_excluded(cast_if_given(a, dtype), where, 1, axis), axis=axis, keepdims=keepdims
    )
    return _combine_initial(y if dtype is None else y.astype(dtype), initial, np.multiply)


def mean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    where: ArrayLike = True,
) -> Array:
    """Return the mean of part of an array."""
    a = cast_if_given(a, dtype)
    n = count_included(a, axis, keepdims, where)
    y = weighted_average(fill_excluded(a, where, 0, axis), n, axis, keepdims)
    return y if dtype is None else y.astype(dtype)


def lowest(dtype: DType) -> float:
    """Return the smallest value of a dtype, the identity of the maximum."""
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def highest(dtype: DType) -> float:
    """Return the largest value of a dtype, the identity of the minimum."""
    return np.inf if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


def _extremum(
    extremum: Callable[..., Array],
    join: np.ufunc,
    identity: Callable[[DType], float],
    a: ArrayLike,
    axis: Axis,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike,
) -> Array:
    """Return an extremum of part of an array, which needs an initial value."""
    a = to_array(a)
    if initial is None:
        if where is True:
            return extremum(a, axis=axis, keepdims=keepdims)
        raise ValueError("where needs an initial value too, in case all elements are left out")
    a = fill_excluded(a, where, identity(a.dtype), axis)
    if not a.size and not count(a, axis):
        # without elements the result is the initial value
        y = np.sum(a, axis=axis, keepdims=keepdims).astype(a.dtype)
        return _combine_initial(np.where(True, identity(a.dtype), y), initial, join)
    return _combine_initial(extremum(a, axis=axis, keepdims=keepdims), initial, join)


def max(
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """Return the maximum of part of an array and an initial value; ties share the gradient."""
    return _extremum(np.max, np.maximum, lowest, a, axis, keepdims, initial, where)


def min(
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike = True,
) -> Array:
    """Return the minimum of part of an array and an initial value; ties share the gradient."""
    return _extremum(np.min, np.minimum, highest, a, axis, keepdims, initial, where)


def any(
    a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, where: ArrayLike = True
) -> Array:
    """Return whether any element of part of an array is true."""
    return np.any(fill_excluded(to_array(a), where, False, axis), axis=axis, keepdims=keepdims)


def all(
    a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, where: ArrayLike = True
) -> Array:
    """Return whether all elements of part of an array are true."""
    return np.all(fill_excluded(to_array(a), where, True, axis), axis=axis, keepdims=keepdims)


def cumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """Return the cumulative sums, in a dtype."""
    return np.cumsum(cast_if_given(a, dtype), axis=axis)


def cumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """Return the cumulative products, in a dtype."""
    return np.cumprod(cast_if_given(a, dtype), axis=axis)
