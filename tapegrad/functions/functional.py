"""Functions that apply functions along axes, and the methods of ufuncs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.arraylike.table import ANSWERS, answers
from tapegrad.functions.creation import array, zeros_like
from tapegrad.ops.activation import logsumexp
from tapegrad.ops.casting import to_array
from tapegrad.ops.reduction import all, any, max, min, prod, sum
from tapegrad.ops.scan import cumprod, cumsum
from tapegrad.ops.updates import at
from tapegrad.types import Array, ArrayLike, Axis, DTypeLike

__all__ = ["apply_along_axis", "apply_over_axes", "piecewise"]


def apply_along_axis(
    func1d: Callable[..., ArrayLike], axis: int, arr: ArrayLike, *args: Any, **kwargs: Any
) -> Array:
    """The results of a function for each line along an axis, in place of that axis.

    Parameters
    ----------
    func1d
        A function of an array with one axis.
    axis
        The axis of the lines.
    arr
        An array.
    *args, **kwargs
        Further arguments of the function.

    Raises
    ------
    ValueError
        If there is no line.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.apply_along_axis(np.sort, 1, np.array([[2.0, 1.0], [3.0, 4.0]]))
    array([[1., 2.],
           [3., 4.]])
    """
    arr = array(arr)
    axis = normalize_axis_index(axis, arr.ndim)
    moved = np.moveaxis(arr, axis, -1)
    *outer_shape, line_length = moved.shape
    if math.prod(outer_shape) == 0:
        raise ValueError(f"there is no line along axis {axis} of an array of shape {arr.shape}")
    results = [array(func1d(row, *args, **kwargs)) for row in np.reshape(moved, (-1, line_length))]
    y = np.reshape(np.stack(results), (*outer_shape, *results[0].shape))
    n_new_axes = results[0].ndim
    return np.moveaxis(y, range(y.ndim - n_new_axes, y.ndim), range(axis, axis + n_new_axes))


def apply_over_axes(func: Callable[..., Array], a: ArrayLike, axes: ArrayLike) -> Array:
    """Apply a reduction such as `sum` to each axis in turn, and keep the axes with length 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.apply_over_axes(np.sum, np.ones((2, 3)), [0, 1])
    array([[6.]])
    """
    y = array(a)
    ndim = y.ndim
    for axis in np.ravel(axes).tolist():
        axis = normalize_axis_index(axis, ndim)
        reduced = func(y, axis)
        y = reduced if reduced.ndim == ndim else np.expand_dims(reduced, axis)
        if y.ndim != ndim:
            raise ValueError("the function returns an array without the axis, or with it")
    return y


def piecewise(
    x: ArrayLike,
    condlist: ArrayLike | Sequence[ArrayLike],
    funclist: Sequence[Any],
    *args: ArrayLike,
    **kw: Any,
) -> Array:
    """One function or another, depending on which condition holds.

    Each function receives only its own elements, so none gets a gradient where it is not defined.

    Parameters
    ----------
    x
        An array.
    condlist
        Conditions, each of the shape of `x`; if several hold, the last one counts.
    funclist
        For each condition a number or a function of elements; and one more, 0 by default, for the
        elements where none holds.
    *args, **kw
        Further arguments of the functions.

    Raises
    ------
    ValueError
        If the numbers of conditions and functions do not match.
    TraceError
        Inside `compile`, since the number of elements depends on the values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> f = lambda x: tg.piecewise(x, [x > 0], [np.sqrt, 0.0])
    >>> tg.grad(lambda x: tg.sum(f(x)))(np.array([-1.0, 4.0]))
    array([0.  , 0.25])
    """
    x = array(x)
    # NumPy's rule for a single condition, which is not in a list
    given: Any = condlist
    first = given[0] if isinstance(given, list | tuple) or np.ndim(given) else None
    is_list = first is not None and (x.ndim == 0 or isinstance(first, list) or np.ndim(first) > 0)
    conditions = [array(c, bool) for c in (given if is_list else [given])]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    if len(funclist) != len(conditions):
        raise ValueError(
            f"with {len(conditions)} conditions piecewise takes as many functions or one more, "
            f"not {len(funclist)}"
        )
    y: Any = zeros_like(x)
    for condition, f in zip(conditions, funclist, strict=True):
        y = at(y)[condition].set(f(x[condition], *args, **kw) if callable(f) else f)
    return y


answers([np.apply_along_axis], apply_along_axis)
answers([np.apply_over_axes], apply_over_axes)
answers([np.piecewise], piecewise)


def _reduce(
    function: Callable[..., Array],
    a: ArrayLike,
    axis: Axis = 0,
    dtype: DTypeLike | None = None,
    out: Any = None,
    **options: Any,
) -> Array:
    """Reduce an array as ``ufunc.reduce`` does, whose default axis is the first."""
    return function(a, axis=axis, dtype=dtype, out=out, **options)


def _outer(ufunc: np.ufunc, x1: Array, x2: Array, **options: Any) -> Array:
    """Apply a ufunc to each pair of an element of x1 and an element of x2."""
    x1, x2 = to_array(x1), to_array(x2)
    return ufunc(np.reshape(x1, x1.shape + (1,) * x2.ndim), x2, **options)


_REDUCTIONS: dict[np.ufunc, Callable[..., Array]] = {
    np.add: sum,
    np.multiply: prod,
    np.maximum: max,
    np.minimum: min,
    np.logaddexp: logsumexp,
    np.logical_and: all,
    np.logical_or: any,
}
_SCANS = {np.add: cumsum, np.multiply: cumprod}

for _ufunc, _function in _REDUCTIONS.items():
    answers([("reduce", _ufunc)], partial(_reduce, _function))
for _ufunc, _scan in _SCANS.items():
    answers([("accumulate", _ufunc)], partial(_reduce, _scan))
for _ufunc in list(ANSWERS):
    if isinstance(_ufunc, np.ufunc) and (_ufunc.nin, _ufunc.nout, _ufunc.signature) == (2, 1, None):
        answers([("outer", _ufunc)], partial(_outer, _ufunc))
