"""Arrays joined along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.operands import stack_nested
from tapegrad.declare import function
from tapegrad.declare.domain import Call, Choices, Domain
from tapegrad.ops.record import array as as_array

__all__ = [
    "append",
    "block",
    "column_stack",
    "dstack",
    "hstack",
    "vstack",
]


def _joinable(choose: Choices, shape: Any, axis: int | None, n: int) -> list[Any]:
    """n arrays of a shape, except for one axis if any."""
    shapes = [[*shape] for _ in range(n)]
    for sides in shapes:
        if axis is not None:
            sides[axis] = choose.integer(0, 3)
    return [choose.array(tuple(sides)) for sides in shapes]


def _stacks(free: Callable[[int], int | None], max_dims: int = 3) -> Domain:
    """Calls on a list of arrays, which may differ along the axis that is free for their ndim."""

    def call(choose: Choices) -> Call:
        shape = choose.shape(max_dims=max_dims)
        return Call((_joinable(choose, shape, free(len(shape)), choose.integer(1, 3)),))

    return call


def _listed(arrays: Any) -> list[Any]:
    """The results, as a list, of one of NumPy's functions that ensure a number of axes."""
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
    arrays = _listed(np.atleast_1d(*map(stack_nested, tup)))
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
    return np.concatenate(_listed(np.atleast_2d(*map(stack_nested, tup))), axis=0)


@function(lists=("tup",), numpy=np.dstack, domain=_stacks(lambda n: 2 if n > 2 else None))
def dstack(tup: Any) -> Any:
    """Arrays joined along their third axis, which vectors and matrices get.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.dstack([np.ones(2), np.zeros(2)])
    array([[[1., 0.],
            [1., 0.]]])
    """
    return np.concatenate(_listed(np.atleast_3d(*map(stack_nested, tup))), axis=2)


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
    columns = [x if np.ndim(x) > 1 else np.reshape(x, (-1, 1)) for x in map(stack_nested, tup)]
    return np.concatenate(columns, axis=1)


def _blocks(choose: Choices) -> Call:
    # numbers, vectors and matrices side by side, and rows of them
    heights = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    widths = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    grid = [[choose.array((h, w)) for w in widths] for h in heights]
    row = _joinable(choose, choose.shape(min_dims=1), -1, 2)
    mixed = [[choose.array(()), choose.array((2,))], [choose.array((3,))]]
    return Call((choose.among([grid, row, mixed, row[0], [[[row[0]]], [[row[0]]]]]),))


@function(lists=("arrays",), numpy=np.block, domain=_blocks)
def block(arrays: Any) -> Any:
    """Arrays in nested lists, joined as they are arranged there.

    The innermost lists are joined along the last axis, those around them along the second-to-last,
    and so on. Arrays with fewer axes than others get new ones in front.

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
    whole = _block(arrays, depth, ndim)
    return whole if depth else np.copy(whole)


def _block(x: Any, depth: int, ndim: int) -> Any:
    """A part of nested lists, joined."""
    if isinstance(x, tuple):
        raise TypeError("block takes lists, which a tuple is not")
    if isinstance(x, list) != (depth > 0) or (depth and not x):
        raise ValueError("block takes lists nested to one depth, none of them empty")
    if depth:
        return np.concatenate([_block(part, depth - 1, ndim) for part in x], axis=-depth)
    return np.reshape(x, (*(1,) * (ndim - np.ndim(x)), *np.shape(x)))


def _appends(choose: Choices) -> Call:
    if choose.among([False, True]):
        return Call((choose.array(choose.shape()), choose.array(choose.shape())))
    shape = choose.shape(min_dims=1)
    axis = choose.axis(len(shape))
    return Call(tuple(_joinable(choose, shape, axis, 2)), {"axis": axis})


@function(numpy=np.append, domain=_appends)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Two arrays joined along an axis, or flattened first if it is None.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.append(np.ones(2), 5.0)
    array([1., 1., 5.])
    """
    return np.concatenate([as_array(arr), as_array(values)], axis=axis)
