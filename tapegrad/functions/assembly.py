"""Arrays joined, split, repeated and cut out of others."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad import tree
from tapegrad.core.lists import stacked
from tapegrad.declare import function
from tapegrad.domain import Call, Choices, Domain, axis_or_flat, on_array
from tapegrad.functions.selection import on_axis, take
from tapegrad.ops.record import array as as_array
from tapegrad.ops.record import fitted, known
from tapegrad.ops.shape import expand

__all__ = [
    "append",
    "array_split",
    "block",
    "column_stack",
    "delete",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "insert",
    "repeat",
    "resize",
    "split",
    "tile",
    "unstack",
    "vsplit",
    "vstack",
]

# --- joined --------------------------------------------------------------------------------


def _joinable(choose: Choices, shape: Any, axis: int | None, n: int) -> list[Any]:
    """n arrays of a shape, but for one axis if any."""
    shapes = [[*shape] for _ in range(n)]
    for sides in shapes:
        if axis is not None:
            sides[axis] = choose.integer(0, 3)
    return [choose.array(tuple(sides)) for sides in shapes]


def _stacks(free: Callable[[int], int | None], max_dims: int = 3) -> Domain:
    """Calls on a list of arrays, which may differ along the axis that is free at their ndim."""

    def call(choose: Choices) -> Call:
        shape = choose.shape(max_dims=max_dims)
        return Call((_joinable(choose, shape, free(len(shape)), choose.integer(1, 3)),))

    return call


def _listed(arrays: Any) -> list[Any]:
    """What one of NumPy's functions for at least so many axes gives, as a list."""
    return [*arrays] if isinstance(arrays, tuple) else [arrays]


@function(lists=("tup",), numpy=np.hstack, domain=_stacks(lambda n: min(n - 1, 1) if n else None))
def hstack(tup: Any) -> Any:
    """Arrays joined along their second axis; vectors along their first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hstack([np.ones((2, 1)), np.zeros((2, 2))])
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """
    arrays = _listed(np.atleast_1d(*map(stacked, tup)))
    return np.concatenate(arrays, axis=0 if not arrays or arrays[0].ndim == 1 else 1)


@function(lists=("tup",), numpy=np.vstack, domain=_stacks(lambda n: 0 if n > 1 else None))
def vstack(tup: Any) -> Any:
    """Arrays joined along their first axis; vectors are rows.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.vstack([np.ones(2), np.zeros(2)])
    array([[1., 1.],
           [0., 0.]])
    """
    return np.concatenate(_listed(np.atleast_2d(*map(stacked, tup))), axis=0)


@function(lists=("tup",), numpy=np.dstack, domain=_stacks(lambda n: 2 if n > 2 else None))
def dstack(tup: Any) -> Any:
    """Arrays joined along their third axis, which vectors and matrices are given.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.dstack([np.ones(2), np.zeros(2)])
    array([[[1., 0.],
            [1., 0.]]])
    """
    return np.concatenate(_listed(np.atleast_3d(*map(stacked, tup))), axis=2)


@function(
    lists=("tup",),
    numpy=np.column_stack,
    domain=_stacks(lambda n: 1 if n == 2 else None, max_dims=2),
)
def column_stack(tup: Any) -> Any:
    """Vectors and matrices joined along their second axis; vectors are columns.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.column_stack([np.ones(2), np.zeros(2)])
    array([[1., 0.],
           [1., 0.]])
    """
    columns = [x if np.ndim(x) > 1 else np.reshape(x, (-1, 1)) for x in map(stacked, tup)]
    return np.concatenate(columns, axis=1)


def _blocks(choose: Choices) -> Call:
    # numbers, vectors and matrices beside each other, and rows of them
    heights = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    widths = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    grid = [[choose.array((h, w)) for w in widths] for h in heights]
    row = _joinable(choose, choose.shape(min_dims=1), -1, 2)
    mixed = [[choose.array(()), choose.array((2,))], [choose.array((3,))]]
    return Call((choose.among([grid, row, mixed, row[0], [[[row[0]]], [[row[0]]]]]),))


@function(lists=("arrays",), numpy=np.block, domain=_blocks)
def block(arrays: Any) -> Any:
    """Arrays in nested lists, joined as they stand there.

    The innermost lists are joined along the last axis, those around them along the
    last but one, and so on. Arrays with fewer axes than others are given new ones, in
    front.

    Raises
    ------
    ValueError
        If lists are nested to different depths, or the shapes do not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 3))]])
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 1., 1.]])
    """
    depth, first = 0, arrays
    while isinstance(first, list) and first:
        depth, first = depth + 1, first[0]
    ndim = max([depth, *map(np.ndim, tree.leaves(arrays))])

    def joined(x: Any, depth: int) -> Any:
        if isinstance(x, tuple):
            raise TypeError("block takes lists, which a tuple is not")
        if isinstance(x, list) != (depth > 0) or (depth and not x):
            raise ValueError("block takes lists nested to one depth, none of them empty")
        if depth:
            return np.concatenate([joined(part, depth - 1) for part in x], axis=-depth)
        return np.reshape(x, (*(1,) * (ndim - np.ndim(x)), *np.shape(x)))

    whole = joined(arrays, depth)
    return whole if depth else np.copy(whole)


def _appends(choose: Choices) -> Call:
    if choose.among([False, True]):
        return Call((choose.array(choose.shape()), choose.array(choose.shape())))
    shape = choose.shape(min_dims=1)
    axis = choose.axis(len(shape))
    return Call(tuple(_joinable(choose, shape, axis, 2)), {"axis": axis})


@function(numpy=np.append, domain=_appends)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Two arrays joined along an axis, or for None as if they had one axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.append(np.ones(2), 5.0)
    array([1., 1., 5.])
    """
    return np.concatenate([as_array(arr), as_array(values)], axis=axis)


# --- taken apart ---------------------------------------------------------------------------


def _cuts(choose: Choices, n: int, even: bool = True) -> Any:
    """Indices to cut n at, or a number of parts: one that divides n where they are even."""
    if choose.among([False, True]):
        return [choose.integer(-4, 4) for _ in range(choose.integer(0, 3))]
    return choose.among([k for k in range(1, 6) if not even or n % k == 0])


def _splits(axis: int | None = None, min_dims: int = 1, even: bool = True) -> Domain:
    """Calls on an array and where to cut it, along one axis or a chosen one."""

    def arguments(choose: Choices, ary: Any) -> Any:
        along = choose.axis(ary.ndim) if axis is None else min(axis, ary.ndim - 1)
        cuts = {"indices_or_sections": _cuts(choose, ary.shape[along], even)}
        return cuts | ({"axis": along} if axis is None else {})

    return on_array(arguments, min_dims=min_dims)


@function(numpy=np.array_split, domain=_splits(even=False))
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of the parts of an array, of nearly one length; see `split`.

    Where the axis does not divide evenly the first parts are longer by one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.array_split(np.arange(5), 2)
    [array([0, 1, 2]), array([3, 4])]
    """
    ary = as_array(ary)
    axis = normalize_axis_index(axis, ary.ndim)
    n = ary.shape[axis]
    if np.ndim(indices_or_sections):
        ends = [0, *map(operator.index, indices_or_sections), n]
    else:
        k = operator.index(indices_or_sections)
        if k <= 0:
            raise ValueError(f"an array is split into one part or more, not {k}")
        ends = [i * (n // k) + min(i, n % k) for i in range(k + 1)]
    return [ary[(slice(None),) * axis + (slice(*part),)] for part in pairwise(ends)]


@function(numpy=np.split, domain=_splits())
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of the parts of an array, cut along an axis.

    Parameters
    ----------
    ary
        An array.
    indices_or_sections
        The indices before which to cut, or the number of parts of one length.
    axis
        The axis that is cut.

    Raises
    ------
    ValueError
        If the axis does not divide into so many parts; see `array_split`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.split(np.arange(4), [1, 3])
    [array([0]), array([1, 2]), array([3])]
    """
    n = np.shape(ary)[normalize_axis_index(axis, np.ndim(ary))]
    if not np.ndim(indices_or_sections) and n % indices_or_sections:
        raise ValueError(
            f"split: an axis of length {n} has no {indices_or_sections} parts of one length; "
            "array_split allows others"
        )
    return array_split(ary, indices_or_sections, axis)


def _with_axes(name: str, ary: Any, ndim: int) -> Any:
    """The array, which must have so many axes for the function of this name."""
    if np.ndim(ary) < ndim:
        raise ValueError(f"{name} takes an array of {ndim} axes or more, not {np.ndim(ary)}")
    return ary


@function(numpy=np.hsplit, domain=_splits(axis=1))
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along the second axis, or the only one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hsplit(np.arange(4), 2)
    [array([0, 1]), array([2, 3])]
    """
    return split(_with_axes("hsplit", ary, 1), indices_or_sections, min(1, np.ndim(ary) - 1))


@function(numpy=np.vsplit, domain=_splits(axis=0, min_dims=2))
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along the first of two axes or more.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [part.shape for part in tg.vsplit(np.ones((3, 2)), [1])]
    [(1, 2), (2, 2)]
    """
    return split(_with_axes("vsplit", ary, 2), indices_or_sections, 0)


@function(numpy=np.dsplit, domain=_splits(axis=2, min_dims=3))
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along the third axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [part.shape for part in tg.dsplit(np.ones((3, 2, 2)), 2)]
    [(3, 2, 1), (3, 2, 1)]
    """
    return split(_with_axes("dsplit", ary, 3), indices_or_sections, 2)


@function(
    numpy=np.unstack,
    domain=on_array(lambda c, x: {"axis": c.axis(x.ndim)}, min_dims=1),
)
def unstack(x: Any, *, axis: int = 0) -> Any:
    """A tuple of the parts of an array along an axis, which they no longer have.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unstack(np.array([[1, 2], [3, 4]]), axis=1)
    (array([1, 3]), array([2, 4]))
    """
    return tuple(np.moveaxis(_with_axes("unstack", as_array(x), 1), axis, 0))


# --- repeated ------------------------------------------------------------------------------


def _repeats(choose: Choices, a: Any) -> Any:
    axis, n = axis_or_flat(choose, a)
    repeats = choose.among([choose.integer(0, 3), choose.integers((n,), 0, 3), [2]])
    return {"repeats": repeats, "axis": axis}


@function(numpy=np.repeat, domain=on_array(_repeats))
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element or row several times.

    Parameters
    ----------
    a
        An array.
    repeats
        How often: a number, or one for each place along the axis.
    axis
        The axis that grows; None repeats the elements as if there were one axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.repeat(np.array([1, 2]), [1, 3])
    array([1, 2, 2, 2])
    >>> tg.grad(lambda x: tg.sum(tg.repeat(x, 3)))(np.ones(2))
    array([3., 3.])
    """
    a, axis = on_axis(np.atleast_1d(a), axis)
    repeats = known(repeats)
    if np.ndim(repeats):
        return take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)
    copies = operator.index(repeats)
    shape = (*a.shape[:axis], a.shape[axis] * copies, *a.shape[axis + 1 :])
    return np.reshape(expand(a, axis + 1, copies), shape)


@function(
    numpy=np.tile,
    domain=on_array(
        lambda c, a: {
            "reps": c.among(
                [c.integer(0, 3), tuple(c.integer(0, 2) for _ in range(c.integer(0, 3)))]
            )
        },
        max_dims=2,
    ),
)
def tile(A: Any, reps: Any) -> Any:  # noqa: N803, for it is NumPy's name
    """The whole array several times, along its last axes and new ones before them.

    Parameters
    ----------
    A
        An array.
    reps
        How often: a number for the last axis, or a sequence for the last axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tile(np.array([1, 2]), (2, 2))
    array([[1, 2, 1, 2],
           [1, 2, 1, 2]])
    """
    copies = [operator.index(n) for n in (reps if np.ndim(reps) else (reps,))]
    n = max(np.ndim(A), len(copies))
    copies = [1] * (n - len(copies)) + copies
    sides = [1] * (n - np.ndim(A)) + [*np.shape(A)]
    apart = np.reshape(A, [k for side in sides for k in (1, side)])
    pairs = [*zip(copies, sides, strict=True)]
    spread = np.broadcast_to(apart, tuple(k for pair in pairs for k in pair))
    return np.reshape(spread, [math.prod(pair) for pair in pairs])


@function(
    numpy=np.resize,
    domain=on_array(
        lambda c, a: {"new_shape": c.among([c.integer(0, 9), c.shape()])}, max_dims=2, min_side=1
    ),
)
def resize(a: Any, new_shape: Any) -> Any:
    """The elements in C order, again from the first where a shape takes more.

    An array without elements gives zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.resize(np.array([1, 2, 3]), (2, 2))
    array([[1, 2],
           [3, 1]])
    """
    if isinstance(new_shape, bool | np.bool_):
        raise TypeError(f"resize: a shape is an integer or several, not {new_shape}")
    shape = tuple(new_shape) if np.ndim(new_shape) else (operator.index(new_shape),)
    if any(side < 0 for side in shape):
        raise ValueError(f"resize: a shape has no negative lengths; got {shape}")
    n, size = math.prod(shape), np.size(a)
    if size == 0:
        return np.zeros(shape, as_array(a).dtype)
    return np.reshape(tile(np.ravel(a), -(-n // size))[:n], shape)


# --- filled and cut ------------------------------------------------------------------------


def _places(choose: Choices, n: int) -> Any:
    """Places along an axis, said in all ways that `insert` and `delete` allow."""
    if n == 0:
        return choose.among([[], slice(None)])
    ints = [choose.integer(-n, n - 1) for _ in range(choose.integer(0, 3))]
    mask = choose.booleans((n,))
    slices = [slice(None, None, 2), slice(2, 0, -1)]
    return choose.among([choose.integer(-n, n - 1), ints, mask, *slices])


def _inserts(choose: Choices) -> Call:
    arr = choose.array(choose.shape())
    axis, _ = axis_or_flat(choose, arr)
    sides = [arr.size] if axis is None else [*arr.shape]
    n = sides.pop(axis or 0)
    obj = _places(choose, n)
    if isinstance(obj, int):
        values = choose.among([[], sides, [2, *sides]])
    else:
        k = np.insert(np.zeros(n), obj, 0).size - n
        sides.insert((axis or 0) % max(1, arr.ndim), k)
        values = choose.among([[], sides])
    return Call((arr,), {"obj": obj, "values": choose.array(tuple(values)), "axis": axis})


@function(numpy=np.insert, domain=_inserts)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """An array with values put before the elements at some places.

    Parameters
    ----------
    arr
        An array.
    obj
        A place along the axis, several, a slice or a mask.
    values
        What is inserted. For one place it may be longer than 1 along the axis, which
        is then its first; for several it broadcasts to one each.
    axis
        The axis; None inserts as if the array had one axis.

    Raises
    ------
    TypeError
        For a floating Tensor as value in an array of integers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.insert(np.array([1, 2, 3]), 1, 5)
    array([1, 5, 2, 3])
    """
    arr, axis = on_axis(arr, axis)
    obj = known(obj)
    values = fitted(values, arr.dtype)
    values = np.reshape(values, (*(1,) * (arr.ndim - values.ndim), *values.shape))
    if not isinstance(obj, slice) and np.ndim(obj) == 0:
        values = np.moveaxis(values, 0, axis)
    n = arr.shape[axis]
    k = np.insert(np.zeros(n), obj, 0).size - n
    if k == 1:
        k = values.shape[axis]
    values = np.broadcast_to(values, (*arr.shape[:axis], k, *arr.shape[axis + 1 :]))
    # the places say where the new ones go, which are joined at the end
    places = np.insert(np.arange(n), obj, np.arange(n, n + k))
    return take(np.concatenate([arr, values], axis=axis), places, axis)


def _deletes(choose: Choices, arr: Any) -> Any:
    axis, n = axis_or_flat(choose, arr)
    return {"obj": _places(choose, n), "axis": axis}


@function(numpy=np.delete, domain=on_array(_deletes))
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """An array without the elements at some places.

    Parameters
    ----------
    arr
        An array.
    obj
        A place along the axis, several, a slice or a mask.
    axis
        The axis; None deletes as if the array had one axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.delete(np.array([1, 2, 3]), 1)
    array([1, 3])
    """
    arr, axis = on_axis(arr, axis)
    return take(arr, np.delete(np.arange(arr.shape[axis]), known(obj)), axis)
