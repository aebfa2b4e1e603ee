"""Functions that move elements and change none of them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import Call, Choices, on_array, several
from tapegrad.ops.shape import checked_order, stand_in

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "fliplr",
    "flipud",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "rollaxis",
    "rot90",
]


def _order(move: Any, a: Any, *args: Any) -> Any:
    """The order of axes that a NumPy function produces."""
    # the length of each axis is its number
    return move(np.empty(tuple(range(np.ndim(a)))), *args).shape


@function(
    domain=on_array(lambda c, a: {"axes": c.among([None, tuple(c.permutation(a.ndim))])}),
)
def permute_dims(a: Any, axes: Any = None) -> Any:
    """`transpose`, by its name in the array API.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.permute_dims(np.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return np.transpose(a, axes)


def _moves(choose: Choices, a: Any) -> Any:
    if a.ndim and choose.among([False, True]):
        return {"source": choose.axis(a.ndim), "destination": choose.axis(a.ndim)}
    n = choose.integer(0, a.ndim)
    source, destination = (choose.permutation(a.ndim)[:n] for _ in range(2))
    return {"source": source, "destination": tuple(axis - a.ndim for axis in destination)}


@function(numpy=np.moveaxis, domain=on_array(_moves))
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """The array with axes moved to other places; the others keep their order.

    Parameters
    ----------
    a
        An array.
    source, destination
        An axis and its place in the result, or a sequence of each.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return np.transpose(a, _order(np.moveaxis, a, source, destination))


@function(
    numpy=np.rollaxis,
    domain=on_array(
        lambda c, a: {"axis": c.axis(a.ndim), "start": c.integer(-a.ndim, a.ndim)}, min_dims=1
    ),
)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """The array with an axis moved to before another; `moveaxis` is easier to read.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.rollaxis(np.ones((2, 3, 4)), 2, 1).shape
    (2, 4, 3)
    """
    return np.transpose(a, _order(np.rollaxis, a, axis, start))


@function(
    numpy=(np.matrix_transpose, np.linalg.matrix_transpose),
    domain=on_array(lambda c, x: {}, min_dims=2),
)
def matrix_transpose(x: Any) -> Any:
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


_ARRAY = on_array(lambda c, a: {})


@function(numpy=np.ravel, domain=on_array(lambda c, a: c.among([{}, {"order": "F"}])))
def ravel(a: Any, order: str = "C") -> Any:
    """The elements along one axis, in C order or, with the first index fastest, in F order.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.ravel(np.array([[1, 2], [3, 4]]))
    array([1, 2, 3, 4])
    """
    return np.reshape(np.transpose(a) if checked_order(order) == "F" else a, -1)


def _each_at_least(at_least: Any, arys: tuple[Any, ...]) -> Any:
    """NumPy's function of one or several arrays, as a change of shape."""
    results = tuple(np.reshape(a, at_least(stand_in(a)).shape) for a in arys)
    return results[0] if len(results) == 1 else results


@function(numpy=np.atleast_1d, domain=several(_ARRAY))
def atleast_1d(*arys: Any) -> Any:
    """The array with an axis if it has none; a tuple for several arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.atleast_1d(3.0)
    array([3.])
    """
    return _each_at_least(np.atleast_1d, arys)


@function(numpy=np.atleast_2d, domain=several(_ARRAY))
def atleast_2d(*arys: Any) -> Any:
    """The array with two axes or more, new ones first; a tuple for several arrays.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.atleast_2d(np.ones(3)).shape
    (1, 3)
    """
    return _each_at_least(np.atleast_2d, arys)


@function(numpy=np.atleast_3d, domain=several(_ARRAY))
def atleast_3d(*arys: Any) -> Any:
    """The array with three axes or more; a tuple for several arrays.

    A vector lies along the middle one, a matrix along the first two.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.atleast_3d(np.ones(3)).shape
    (1, 3, 1)
    """
    return _each_at_least(np.atleast_3d, arys)


def _broadcastable(choose: Choices) -> Call:
    shapes = choose.broadcastable(choose.integer(1, 3))
    return Call(tuple(choose.array(shape) for shape in shapes))


@function(numpy=np.broadcast_arrays, domain=_broadcastable)
def broadcast_arrays(*args: Any) -> Any:
    """A tuple of the arrays, each repeated to the shape that they broadcast to.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [y.shape for y in tg.broadcast_arrays(np.ones((2, 1)), np.ones(3))]
    [(2, 3), (2, 3)]
    """
    shape = np.broadcast_shapes(*map(np.shape, args))
    return tuple(np.broadcast_to(a, shape) for a in args)


@function(numpy=np.fliplr, domain=on_array(lambda c, m: {}, min_dims=2))
def fliplr(m: Any) -> Any:
    """The columns in reverse order: `flip` along axis 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fliplr(np.array([[1, 2], [3, 4]]))
    array([[2, 1],
           [4, 3]])
    """
    return np.flip(m, 1)


@function(numpy=np.flipud, domain=on_array(lambda c, m: {}, min_dims=1))
def flipud(m: Any) -> Any:
    """The rows in reverse order: `flip` along axis 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.flipud(np.array([[1, 2], [3, 4]]))
    array([[3, 4],
           [1, 2]])
    """
    return np.flip(m, 0)


@function(
    numpy=np.rot90,
    domain=on_array(
        lambda c, m: {"k": c.integer(-4, 4), "axes": tuple(c.permutation(m.ndim)[:2])}, min_dims=2
    ),
)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
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
    turned = [axis for axis, back in zip(axes, ((1, 2), (2, 3)), strict=True) if k % 4 in back]
    return np.flip(m, tuple(turned))
