"""Selection of elements by index, mask or condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.core.tensor import Tensor
from tapegrad.declare import function
from tapegrad.ops.casting import (
    as_common_dtype,
    as_scalar,
    cast_for_assignment,
    concrete_operand,
    to_array,
)
from tapegrad.ops.indexing import getitem
from tapegrad.ops.rows import index_select, pick
from tapegrad.ops.updates import index_set
from tapegrad.types import Array, ArrayLike

__all__ = ["choose", "compress", "extract", "put", "put_along_axis", "select", "take"]
__all__ += ["take_along_axis"]


def normalize_operand(a: ArrayLike, axis: int | None) -> tuple[Array, int]:
    """Return an array and its axis, counted from 0; None flattens the array."""
    if isinstance(axis, bool):
        raise TypeError(f"an axis must be an integer, not {axis}")
    a = to_array(a)
    return (np.ravel(a), 0) if axis is None else (a, normalize_axis_index(axis, a.ndim))


MODES = ("raise", "wrap", "clip")


def _apply_mode(indices: ArrayLike, n: int, mode: str) -> Array:
    """Map indices into the range of n by the mode."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")
    # as in NumPy, an int beyond the index dtype raises an OverflowError
    indices = to_array(np.intp(indices) if isinstance(indices, int) else indices)
    if mode == "wrap":
        return np.remainder(indices, n)
    return np.minimum(np.maximum(indices, 0), n - 1) if mode == "clip" else indices


@function(numpy=np.take, complex=True)
def take(
    a: ArrayLike, indices: ArrayLike, axis: int | None = None, *, mode: str = "raise"
) -> Array:
    """The elements at integer indices along an axis.

    Parameters
    ----------
    a
        An array.
    indices
        Integers in an array of any shape, which replaces the axis.
    axis
        The axis; None takes from the flattened array.
    mode
        The treatment of an index out of bounds: raise, wrap around, or clip to the ends. With clip,
        negative indices do not count from the end.

    Raises
    ------
    IndexError
        If an index is out of bounds and the mode is to raise.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.take(np.array([[1, 2], [3, 4]]), [1, 1, 0], axis=1)
    array([[2, 2, 1],
           [4, 4, 3]])
    """
    # NumPy treats an array without axes as if it had one
    a, axis = normalize_operand(np.atleast_1d(a), axis)
    indices = _apply_mode(indices, a.shape[axis], mode)
    new_axes = range(indices.ndim)
    rows = index_select(np.moveaxis(a, axis, 0) if axis else a, indices)
    return np.moveaxis(rows, new_axes, [axis + i for i in new_axes]) if axis else rows


def _index_on_axis(arr: Array, indices: ArrayLike, axis: int) -> tuple[Any, ...]:
    """Return the index with `indices` on one axis and all positions on the others."""
    indices = to_array(indices)
    if indices.dtype.kind not in "iu":
        raise IndexError(f"the indices along an axis must be integers; got {indices.dtype}")
    if indices.ndim != arr.ndim:
        raise ValueError(
            f"the indices along an axis must have as many axes as the array: {arr.ndim}; "
            f"got shape {indices.shape}"
        )
    index: list[Any] = [*np.indices(arr.shape, sparse=True)]
    index[axis] = indices
    return tuple(index)


@function(numpy=np.take_along_axis, complex=True)
def take_along_axis(arr: ArrayLike, indices: ArrayLike, axis: int | None = -1) -> Array:
    """The elements along an axis, at one index for each position of the other axes.

    Such indices are returned by `argmax` or `argsort`.

    Parameters
    ----------
    arr
        An array.
    indices
        Integers in an array with the same number of axes, which broadcasts against `arr`
        except along the axis.
    axis
        The axis; None takes from the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.array([[1, 5], [7, 3]])
    >>> tg.take_along_axis(x, tg.argmax(x, axis=1, keepdims=True), axis=1)
    array([[5],
           [7]])
    """
    arr, axis = normalize_operand(arr, axis)
    # call the op, since the array may be NumPy's and only the indices a Tensor
    return getitem(arr, index=_index_on_axis(arr, indices, axis))


@function(kink="as `index_set`", complex=True)
def put_along_axis(
    arr: ArrayLike, indices: ArrayLike, values: ArrayLike, axis: int | None
) -> Array:
    """A copy with values along an axis, at one index for each position of the other axes.

    NumPy's function of this name writes into the array, which a Tensor never allows. Where an
    index occurs more than once, the last value stays, and only it has a gradient.

    Parameters
    ----------
    arr, indices, axis
        As for `take_along_axis`.
    values
        An array that broadcasts to the indices.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.put_along_axis(np.array([[1, 5], [7, 3]]), np.array([[1], [0]]), 0, axis=1)
    array([[1, 0],
           [0, 3]])
    """
    shape = np.shape(arr)
    arr, axis = normalize_operand(arr, axis)
    y = index_set(arr, values, index=_index_on_axis(arr, indices, axis))
    return y if y.shape == shape else np.reshape(y, shape)


@function(kink="as `index_set`", complex=True)
def put(a: ArrayLike, ind: ArrayLike, v: ArrayLike, mode: str = "raise") -> Array:
    """A copy with values at some positions of the flattened array.

    NumPy's function of this name writes into the array, which a Tensor never allows. Where a
    position occurs more than once, the last value stays, and only it has a gradient.

    Parameters
    ----------
    a
        An array.
    ind
        The positions, as integers.
    v
        A value for each position; if they are too few, they are repeated from the first.
    mode
        The treatment of a position out of bounds; as for `take`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.put(np.array([[1, 5], [7, 3]]), [0, -1], [8, 9])
    array([[8, 5],
           [7, 9]])
    """
    a = to_array(a)
    positions = np.ravel(_apply_mode(ind, a.size, mode))
    if positions.size == 0:
        return np.copy(a)
    v = np.resize(cast_for_assignment(v, a.dtype), positions.shape)
    return np.reshape(index_set(np.ravel(a), v, index=(positions,)), a.shape)


@function(numpy=np.compress, complex=True)
def compress(condition: ArrayLike, a: ArrayLike, axis: int | None = None) -> Array:
    """The parts of an array along an axis for which a condition holds.

    Parameters
    ----------
    condition
        Truth values, at most as many as the length of the axis. Inside `compile` they cannot be a
        Tensor, because the result's shape depends on them.
    a
        An array.
    axis
        The axis; None selects from the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.compress([False, True], np.array([[1, 2], [3, 4]]), axis=0)
    array([[3, 4]])
    """
    if np.ndim(condition) != 1:
        raise ValueError(f"compress takes a condition with one axis, not {np.ndim(condition)}")
    return take(a, np.flatnonzero(concrete_operand(condition)), axis)


@function(numpy=np.extract, complex=True)
def extract(condition: ArrayLike, arr: ArrayLike) -> Array:
    """The elements for which a condition holds, along one axis.

    The condition has truth values, as many as the array has elements. Inside
    `compile` it cannot be a Tensor, because the result's shape depends on it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.array([1.0, -2.0, 3.0])
    >>> tg.grad(lambda t: tg.sum(tg.extract(x > 0, t)))(x)
    array([1., 0., 1.])
    """
    return take(arr, np.flatnonzero(concrete_operand(condition)))


def _promotion_operand(x: Any) -> Any:
    """Return the argument of `numpy.result_type` for x: its dtype, or a Python number."""
    x = x._primal if isinstance(x, Tensor) else x
    return x if type(x) in (int, float) else np.asarray(x).dtype


@function(lists=("condlist", "choicelist"), numpy=np.select, complex=True)
def select(
    condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0
) -> Array:
    """The first of several choices whose condition holds, element by element.

    Like `where`, it selects and never multiplies.

    Parameters
    ----------
    condlist
        Arrays of truth values.
    choicelist
        An array for each condition; all broadcast.
    default
        The value where no condition holds.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = np.array([-1.0, 0.5, 3.0])
    >>> tg.select([x < 0, x > 1], [x + 1, x**2], x)
    array([0. , 0.5, 9. ])
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            "select takes a choice for each condition, one or more; "
            f"got {len(condlist)} conditions and {len(choicelist)} choices"
        )
    # `where` would promote pair by pair, and could turn a Python number into float64
    y = to_array(default).astype(np.result_type(*map(_promotion_operand, [*choicelist, default])))
    for condition, choice in reversed([*zip(condlist, choicelist, strict=True)]):
        condition = to_array(condition)
        if condition.dtype.kind != "b":
            raise TypeError(f"select takes conditions that are booleans, not {condition.dtype}")
        y = np.where(condition, choice, y)
    return y


@function(lists=("choices",), numpy=np.choose, complex=True)
def choose(a: ArrayLike, choices: Sequence[ArrayLike], *, mode: str = "raise") -> Array:
    """At each position, the element of one of several arrays, chosen by its number.

    Parameters
    ----------
    a
        Numbers of choices, from 0.
    choices
        A sequence of arrays, which broadcast against each other and `a`.
    mode
        The treatment of a number out of bounds: raise, wrap around, or clip to the ends.

    Raises
    ------
    IndexError
        If a number is out of bounds and the mode is to raise.
    TypeError
        If the numbers are not integers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.choose([0, 1, 0], [np.zeros(3), np.ones(3)])
    array([0., 1., 0.])
    """
    a = to_array(a)
    if a.dtype.kind not in "iub":
        raise TypeError(f"choose: numbers of choices must be integers, not {a.dtype}")
    a, *choices = np.broadcast_arrays(a, *as_common_dtype(*choices))
    return as_scalar(pick(np.stack(choices, axis=-1), _apply_mode(a, len(choices), mode)))
