"""Reductions of a part of an array, in another dtype, or from a first value on.

What NumPy's functions do with ``where``, ``dtype`` and ``initial``, by the ops without.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.domain import REAL, Call, Choices, Domain, Elements, any_of, reduced
from tapegrad.ops.record import array, fitted


def partly(
    elements: Elements = REAL, min_side: int = 0, dtype: bool = True, initial: bool = True
) -> Domain:
    """Calls as of `reduced`, of which some have what is answered for here."""

    def call(choose: Choices) -> Call:
        plain = reduced(elements, min_side)(choose)
        (x,) = plain.args
        shape = x.shape[choose.integer(0, x.ndim) :]
        given: dict[str, Any] = {"where": choose.among([True, choose.booleans(shape)])}
        if dtype:
            given["dtype"] = choose.among([None, np.float32, np.float64])
        if initial:
            given["initial"] = choose.among([0.5, 2])
        return Call(plain.args, {**plain.kwargs, **given})

    return any_of(reduced(elements, min_side), call)


def count(x: Any, axis: Any) -> int:
    """How many elements each result is reduced from; an AxisError for a bad axis, of 0-d too."""
    shape = np.shape(x)
    axes = range(len(shape)) if axis is None else normalize_axis_tuple(axis, len(shape))
    return math.prod(shape[i] for i in axes)


def part(a: Any, where: Any, instead: Any) -> Any:
    """The array with a number for the elements that are left out."""
    if where is True:
        return a
    # of a list NumPy makes truth values
    where = np.array(where, bool) if isinstance(where, list | tuple) else array(where)
    if where.dtype.kind != "b":
        raise TypeError(f"where is of truth values, not {where.dtype}")
    if np.broadcast_shapes(where.shape, a.shape) != a.shape:
        raise ValueError(f"where, of shape {where.shape}, does not fit the array's {a.shape}")
    return np.where(where, a, instead)


def number_of(a: Any, axis: Any, keepdims: bool, where: Any) -> Any:
    """How many elements are not left out."""
    if where is True:
        return count(a, axis)
    ones = part(np.ones(a.shape, np.intp), where, 0)
    return np.sum(ones, axis=axis, keepdims=keepdims)


def typed(a: Any, dtype: Any) -> Any:
    """The array, in the dtype that is asked for."""
    a = array(a)
    return a if dtype is None else a.astype(dtype)


def _from(y: Any, initial: Any, join: Any) -> Any:
    """The result joined with a first value, if there is one."""
    if initial is None:
        return y
    if np.shape(initial) != ():
        raise ValueError(f"initial is a number; got an array of shape {np.shape(initial)}")
    return join(y, fitted(initial, y.dtype))


def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The sum of a part, and of a first value."""
    y = np.sum(part(typed(a, dtype), where, 0), axis=axis, keepdims=keepdims)
    return _from(y if dtype is None else y.astype(dtype), initial, np.add)


def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The product of a part, and of a first value."""
    y = np.prod(part(typed(a, dtype), where, 1), axis=axis, keepdims=keepdims)
    return _from(y if dtype is None else y.astype(dtype), initial, np.multiply)


def mean(
    a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    """The mean of a part."""
    a = array(a)
    wide = np.dtype(dtype) if dtype is not None else a.dtype if a.dtype.kind == "f" else float
    # as NumPy does: the sum would soon overflow
    a = a.astype(np.float32 if wide == np.float16 else wide)
    y = np.sum(part(a, where, 0), axis=axis, keepdims=keepdims)
    n = array(number_of(a, axis, keepdims, where))
    return (y / n.astype(y.dtype)).astype(wide)


def _least(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def _most(dtype: Any) -> Any:
    return np.inf if dtype.kind == "f" else True if dtype.kind == "b" else np.iinfo(dtype).max


def _extremum(
    extremum: Any,
    join: Any,
    worst: Any,
    a: Any,
    axis: Any,
    keepdims: bool,
    initial: Any,
    where: Any,
) -> Any:
    """An extremum of a part, which has to have a first value."""
    a = array(a)
    if initial is None:
        if where is True:
            return extremum(a, axis=axis, keepdims=keepdims)
        raise ValueError("where needs an initial value too, for what is all left out")
    a = part(a, where, worst(a.dtype))
    if not count(a, axis):
        # of no elements there is only the first value
        y = np.sum(a, axis=axis, keepdims=keepdims).astype(a.dtype)
        return _from(np.where(True, worst(a.dtype), y), initial, join)
    return _from(extremum(a, axis=axis, keepdims=keepdims), initial, join)


def max(
    a: Any, axis: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """The largest of a part and a first value, which share the gradient if they tie."""
    return _extremum(np.max, np.maximum, _least, a, axis, keepdims, initial, where)


def min(
    a: Any, axis: Any = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """The smallest of a part and a first value, which share the gradient if they tie."""
    return _extremum(np.min, np.minimum, _most, a, axis, keepdims, initial, where)


def any(a: Any, axis: Any = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """Whether any of a part is true."""
    return np.any(part(array(a), where, False), axis=axis, keepdims=keepdims)


def all(a: Any, axis: Any = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """Whether all of a part are true."""
    return np.all(part(array(a), where, True), axis=axis, keepdims=keepdims)


def cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The sums of the elements up to each, in a dtype."""
    return np.cumsum(typed(a, dtype), axis=axis)


def cumprod(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The products of the elements up to each, in a dtype."""
    return np.cumprod(typed(a, dtype), axis=axis)
