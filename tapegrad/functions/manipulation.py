"""Array manipulation: shapes, axes, diagonals, repetition and insertion."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.functions.selection import normalize_operand, take
from tapegrad.ops.casting import cast_for_assignment, concrete_operand, to_array
from tapegrad.ops.indexing import scatter
from tapegrad.ops.shape import check_order, expand, stand_in
from tapegrad.types import Array, ArrayLike, Shape, ShapeLike

__all__ = ["atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "delete", "diag"]
__all__ += ["diagflat", "diagonal", "fliplr", "flipud", "insert", "matrix_transpose", "moveaxis"]
__all__ += ["permute_dims", "ravel", "repeat", "resize", "rollaxis", "rot90", "tile", "trace"]
__all__ += ["tril", "triu"]


def _axis_order(move: Callable[..., Array], a: ArrayLike, *args: Any) -> Shape:
    """Return the order of axes that a NumPy function produces."""
    # the length of each axis is its number
    return move(np.empty(tuple(range(np.ndim(a)))), *args).shape


@function(complex=True)
def permute_dims(a: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """`transpose`, by its name in the array API.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.permute_dims(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return np.transpose(a, axes)


@function(numpy=np.moveaxis, complex=True)
def moveaxis(a: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """The array with axes moved to other positions; the others keep their order.

    Parameters
    ----------
    a
        An array.
    source, destination
        An axis and its position in the result, or a sequence of each.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return np.transpose(a, _axis_order(np.moveaxis, a, source, destination))


@function(numpy=np.rollaxis, complex=True)
def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Array:
    """The array with an axis moved in front of another; `moveaxis` is easier to read.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.rollaxis(np.ones((2, 3, 4)), 2, 1).shape
    (2, 4, 3)
    """
    return np.transpose(a, _axis_order(np.rollaxis, a, axis, start))


@function(numpy=(np.matrix_transpose, np.linalg.matrix_transpose), complex=True)
def matrix_transpose(x: ArrayLike) -> Array:
    """The array with its last two axes exchanged.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.matrix_transpose(np.ones((2, 3, 4))).shape
    (2, 4, 3)
    """
    if np.ndim(x) < 2:
        raise ValueError(f"matrix_transpose takes two axes or more; the shape is {np.shape(x)}")
    return np.swapaxes(x, -1, -2)


@function(numpy=np.ravel, complex=True)
def ravel(a: ArrayLike, order: str = "C") -> Array:
    """The elements along one axis, in C order or, with the first index fastest, in F order.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ravel(np.array([[1, 2], [3, 4]]))
    array([1, 2, 3, 4])
    """
    return np.reshape(np.transpose(a) if check_order(order) == "F" else a, -1)


def _each_at_least(at_least: Callable[..., Array], arys: tuple[ArrayLike, ...]) -> Any:
    """Reshape arrays as `at_least` would; return one array, or a tuple of several."""
    results = tuple(np.reshape(a, at_least(stand_in(a)).shape) for a in arys)
    return results[0] if len(results) == 1 else results


@function(numpy=np.atleast_1d, complex=True)
def atleast_1d(*arys: ArrayLike) -> Any:
    """The array with an axis if it has none; a tuple for several arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.atleast_1d(3.0)
    array([3.])
    """
    return _each_at_least(np.atleast_1d, arys)


@function(numpy=np.atleast_2d, complex=True)
def atleast_2d(*arys: ArrayLike) -> Any:
    """The array with two axes or more, new ones first; a tuple for several arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.atleast_2d(np.ones(3)).shape
    (1, 3)
    """
    return _each_at_least(np.atleast_2d, arys)


@function(numpy=np.atleast_3d, complex=True)
def atleast_3d(*arys: ArrayLike) -> Any:
    """The array with three axes or more; a tuple for several arrays.

    A vector lies along the middle axis, a matrix along the first two.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.atleast_3d(np.ones(3)).shape
    (1, 3, 1)
    """
    return _each_at_least(np.atleast_3d, arys)


@function(numpy=np.broadcast_arrays, complex=True)
def broadcast_arrays(*args: ArrayLike) -> tuple[Array, ...]:
    """A tuple of the arrays, each repeated to the shape that they broadcast to.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [y.shape for y in tg.broadcast_arrays(np.ones((2, 1)), np.ones(3))]
    [(2, 3), (2, 3)]
    """
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(a, shape) for a in args)


@function(numpy=np.fliplr, complex=True)
def fliplr(m: ArrayLike) -> Array:
    """The columns in reverse order: `flip` along axis 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fliplr(np.array([[1, 2], [3, 4]]))
    array([[2, 1],
           [4, 3]])
    """
    return np.flip(m, 1)


@function(numpy=np.flipud, complex=True)
def flipud(m: ArrayLike) -> Array:
    """The rows in reverse order: `flip` along axis 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.flipud(np.array([[1, 2], [3, 4]]))
    array([[3, 4],
           [1, 2]])
    """
    return np.flip(m, 0)


@function(numpy=np.rot90, complex=True)
def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """A plane rotated by k quarter turns, from its first axis towards the second.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.rot90(np.array([[1, 2], [3, 4]]))
    array([[2, 4],
           [1, 3]])
    """
    k = operator.index(k)
    np.rot90(stand_in(m), k, axes)  # raises if the axes do not form a plane
    if k % 2:
        m = np.swapaxes(m, *axes)
    flipped = [axis for axis, turns in zip(axes, ((1, 2), (2, 3)), strict=True) if k % 4 in turns]
    return np.flip(m, tuple(flipped))


def _diagonal_slice(m: int, offset: int) -> slice:
    """Return the slice of a diagonal in a flattened matrix with rows of length m."""
    offset = int(np.intp(operator.index(offset)))
    column_offset, row_offset = max(offset, 0), max(-offset, 0)
    start = column_offset + row_offset * m
    # a diagonal ends at column m, or at the last row
    return slice(start, start + max(0, m - column_offset) * (m + 1), m + 1)


@function(numpy=np.diagonal, complex=True)
def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonals of the matrices formed by two axes, along a new last axis.

    Parameters
    ----------
    a
        An array of two axes or more.
    offset
        The distance above the main diagonal; negative numbers are below.
    axis1, axis2
        The axis of the rows and the axis of the columns.

    Raises
    ------
    ValueError
        If the array has fewer than two axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diagonal(np.array([[1, 2], [3, 4]]))
    array([1, 4])
    """
    if np.ndim(a) < 2:
        raise ValueError(f"a diagonal needs an array with two axes or more, not {np.ndim(a)}")
    matrices: Array = np.moveaxis(to_array(a), (axis1, axis2), (-2, -1))
    n, m = matrices.shape[-2:]
    return np.reshape(matrices, (*matrices.shape[:-2], n * m))[..., _diagonal_slice(m, offset)]


@function(numpy=np.trace, complex=True)
def trace(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum of a diagonal, or of the diagonals of several matrices; see `diagonal`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.trace)(np.ones((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


@function(numpy=np.diag, complex=True)
def diag(v: ArrayLike, k: int = 0) -> Array:
    """For a vector, a matrix with it on the k-th diagonal; for a matrix, that diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diag(np.array([1.0, 2.0]))
    array([[1., 0.],
           [0., 2.]])
    >>> tg.diag(np.array([[1.0, 2.0], [3.0, 4.0]]), 1)
    array([2.])
    """
    v = to_array(v)
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise ValueError(f"diag takes one axis or two, not {v.ndim}")
    n = len(v) + abs(k)
    return np.reshape(scatter(v, shape=(n * n,), index=(_diagonal_slice(n, k),)), (n, n))


@function(numpy=np.diagflat, complex=True)
def diagflat(v: ArrayLike, k: int = 0) -> Array:
    """A matrix with all elements of an array on its k-th diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diagflat(np.array([[1.0], [2.0]]))
    array([[1., 0.],
           [0., 2.]])
    """
    return diag(np.ravel(v), k)


def _lower_mask(m: Array, k: int) -> Array:
    """Return a mask of the k-th diagonal and all below, for a matrix of this shape."""
    return np.tri(m.shape[-2:][0], m.shape[-1], k, bool)


@function(numpy=np.tril, complex=True)
def tril(m: ArrayLike, k: int = 0) -> Array:
    """The lower triangle of matrices, with 0 above the k-th diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tril(np.ones((2, 2)))
    array([[1., 0.],
           [1., 1.]])
    """
    m = to_array(m)
    return np.where(_lower_mask(m, k), m, np.zeros((), m.dtype))


@function(numpy=np.triu, complex=True)
def triu(m: ArrayLike, k: int = 0) -> Array:
    """The upper triangle of matrices, with 0 below the k-th diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.triu(np.ones((2, 2)))
    array([[1., 1.],
           [0., 1.]])
    """
    m = to_array(m)
    return np.where(_lower_mask(m, k - 1), np.zeros((), m.dtype), m)


@function(numpy=np.repeat, complex=True)
def repeat(a: ArrayLike, repeats: ArrayLike, axis: int | None = None) -> Array:
    """Each element or row repeated.

    Parameters
    ----------
    a
        An array.
    repeats
        The number of repetitions: one for all, or one for each position along the axis.
    axis
        The axis to repeat along; None repeats the elements of the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.repeat(np.array([1, 2]), [1, 3])
    array([1, 2, 2, 2])
    >>> tg.grad(lambda x: tg.sum(tg.repeat(x, 3)))(np.ones(2))
    array([3., 3.])
    """
    a, axis = normalize_operand(np.atleast_1d(a), axis)
    counts: Any = concrete_operand(repeats)
    if np.ndim(counts):
        return take(a, np.repeat(np.arange(a.shape[axis]), counts), axis)
    copies = operator.index(counts)
    shape = (*a.shape[:axis], a.shape[axis] * copies, *a.shape[axis + 1 :])
    return np.reshape(expand(a, axis + 1, copies), shape)


@function(numpy=np.tile, complex=True)
def tile(A: ArrayLike, reps: ShapeLike) -> Array:  # noqa: N803, for it is NumPy's name
    """The whole array repeated, along its last axes and new ones before them.

    Parameters
    ----------
    A
        An array.
    reps
        The number of repetitions: one for the last axis, or a sequence for the last axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tile(np.array([1, 2]), (2, 2))
    array([[1, 2, 1, 2],
           [1, 2, 1, 2]])
    """
    counts: Any = reps if np.ndim(reps) else (reps,)
    copies = [operator.index(n) for n in counts]
    n = max(np.ndim(A), len(copies))
    copies = [1] * (n - len(copies)) + copies
    sides = [1] * (n - np.ndim(A)) + [*np.shape(A)]
    separated = np.reshape(A, [k for side in sides for k in (1, side)])
    pairs = [*zip(copies, sides, strict=True)]
    repeated = np.broadcast_to(separated, tuple(k for pair in pairs for k in pair))
    return np.reshape(repeated, [math.prod(pair) for pair in pairs])


@function(numpy=np.resize, complex=True)
def resize(a: ArrayLike, new_shape: ShapeLike) -> Array:
    """The elements in C order in a new shape, repeated from the first if the shape has more.

    An array without elements gives zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.resize(np.array([1, 2, 3]), (2, 2))
    array([[1, 2],
           [3, 1]])
    """
    if isinstance(new_shape, bool | np.bool_):
        raise TypeError(f"resize: a shape must be an integer or several, not {new_shape}")
    lengths: Any = new_shape
    shape = tuple(lengths) if np.ndim(lengths) else (operator.index(lengths),)
    if any(side < 0 for side in shape):
        raise ValueError(f"resize: a shape has no negative lengths; got {shape}")
    n, size = math.prod(shape), np.size(a)
    if size == 0:
        return np.zeros(shape, to_array(a).dtype)
    return np.reshape(tile(np.ravel(a), -(-n // size))[:n], shape)


@function(numpy=np.insert, complex=True)
def insert(
    arr: ArrayLike, obj: ArrayLike | slice, values: ArrayLike, axis: int | None = None
) -> Array:
    """An array with values inserted before the elements at some positions.

    Parameters
    ----------
    arr
        An array.
    obj
        A position along the axis, several, a slice or a mask.
    values
        The values to insert. For one position they may be several along the axis, which is then
        their first axis; for several positions they broadcast to one value each.
    axis
        The axis; None inserts in the flattened array.

    Raises
    ------
    TypeError
        For a floating Tensor among the values for an array of integers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.insert(np.array([1, 2, 3]), 1, 5)
    array([1, 5, 2, 3])
    """
    arr, axis = normalize_operand(arr, axis)
    positions: Any = concrete_operand(obj)
    values = cast_for_assignment(values, arr.dtype)
    values = np.reshape(values, (*(1,) * (arr.ndim - values.ndim), *values.shape))
    if not isinstance(positions, slice) and np.ndim(positions) == 0:
        values = np.moveaxis(values, 0, axis)
    n = arr.shape[axis]
    k = np.insert(np.zeros(n), positions, 0).size - n
    if k == 1:
        k = values.shape[axis]
    values = np.broadcast_to(values, (*arr.shape[:axis], k, *arr.shape[axis + 1 :]))
    # concatenate the values at the end; the indices then take each to its position
    order = np.insert(np.arange(n), positions, np.arange(n, n + k))
    return take(np.concatenate([arr, values], axis=axis), order, axis)


@function(numpy=np.delete, complex=True)
def delete(arr: ArrayLike, obj: ArrayLike | slice, axis: int | None = None) -> Array:
    """An array without the elements at some positions.

    Parameters
    ----------
    arr
        An array.
    obj
        A position along the axis, several, a slice or a mask.
    axis
        The axis; None deletes from the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.delete(np.array([1, 2, 3]), 1)
    array([1, 3])
    """
    arr, axis = normalize_operand(arr, axis)
    positions: Any = concrete_operand(obj)
    return take(arr, np.delete(np.arange(arr.shape[axis]), positions), axis)
