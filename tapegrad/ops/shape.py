"""Shapes and axes: ops that move or repeat elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tapegrad.core.forward import apply, linear_jvp
from tapegrad.core.primitive import Primitive
from tapegrad.declare import linear_op, wider_op
from tapegrad.declare.batching import Batched, batch_axis, expand_to_ndim, flatten_examples
from tapegrad.types import Array, ArrayLike, Axis, Shape, ShapeLike

__all__ = ["broadcast_to", "expand", "expand_dims", "flip", "reshape", "roll", "squeeze"]
__all__ += ["swapaxes", "transpose"]


def _inverse_order(axes: Sequence[int] | None) -> Shape | None:
    """Return the axes that undo a transpose."""
    return None if axes is None else tuple(np.argsort([axis % len(axes) for axis in axes]).tolist())


def _transpose_batch(
    op: Primitive, batched: Batched, a: Array, axes: Sequence[int] | None = None
) -> Array:
    n = a.ndim - 1
    order = range(n)[::-1] if axes is None else [axis % n for axis in axes]
    return apply(op, (a,), {"axes": (0, *[axis + 1 for axis in order])})


@linear_op(
    lambda g, y, a, axes=None: np.transpose(g, _inverse_order(axes)),
    numpy=np.transpose,
    batch=_transpose_batch,
    view=True,
)
def transpose(a: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """The array with its axes in another order, reversed by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.transpose(np.array([[1, 2], [3, 4]]))
    array([[1, 3],
           [2, 4]])
    """
    return np.transpose(a, axes)


def stand_in(a: ArrayLike) -> Array:
    """Return an array of the shape of `a` without its elements, to compute shapes with."""
    return np.broadcast_to(False, np.shape(a))


def _swapaxes_batch(op: Primitive, batched: Batched, a: Array, axis1: int, axis2: int) -> Array:
    n = a.ndim - 1
    return apply(op, (a,), {"axis1": batch_axis(axis1, n), "axis2": batch_axis(axis2, n)})


@linear_op(
    lambda g, y, a, axis1, axis2: np.swapaxes(g, axis1, axis2),
    numpy=np.swapaxes,
    batch=_swapaxes_batch,
    view=True,
)
def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> Array:
    """The array with two axes exchanged.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.swapaxes(np.ones((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    return np.swapaxes(a, axis1, axis2)


def check_order(order: str) -> str:
    """Return an order: C if the last index changes fastest, F if the first does.

    Raises
    ------
    TypeError
        For NumPy's other orders.
    ValueError
        For anything else.
    """
    if order in ("A", "K"):
        raise TypeError(
            f"order={order!r} is not supported: it depends on an array's layout in memory, which a "
            "Tensor does not say; name C or F"
        )
    if order not in ("C", "F"):
        raise ValueError(f"order must be 'C' or 'F'; got {order!r}")
    return order


def _reshape_order(
    a: ArrayLike, shape: ShapeLike, order: Literal["C", "F"] = "C", *, copy: bool | None = None
) -> Array:
    """Reshape, with the elements read and placed in an order; `copy` has no effect."""
    if check_order(order) == "C":
        return np.reshape(a, shape)
    lengths: list[int] = np.ravel(shape).tolist()
    return np.transpose(np.reshape(np.transpose(a), lengths[::-1]))


def _reshape_batch(op: Primitive, batched: Batched, a: Array, shape: Shape) -> Array:
    lengths = list(shape) if isinstance(shape, tuple) else [shape]
    if -1 in lengths:
        # a batch of no examples does not determine this length
        at = lengths.index(-1)
        lengths[at] = math.prod(a.shape[1:]) // max(math.prod(lengths[:at] + lengths[at + 1 :]), 1)
    return apply(op, (a,), {"shape": (a.shape[0], *lengths)})


@wider_op(
    _reshape_order,
    lambda g, y, a, shape: np.reshape(g, np.shape(a)),
    numpy=np.reshape,
    jvp=linear_jvp,
    batch=_reshape_batch,
    view=True,
    complex=True,
)
def reshape(a: ArrayLike, shape: ShapeLike) -> Array:
    """The same elements, in C order, in another shape; one of its lengths may be -1.

    With ``order="F"`` the first index changes fastest, before and after.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.reshape(np.arange(4), (2, -1))
    array([[0, 1],
           [2, 3]])
    """
    return np.reshape(a, shape)


def _expand_dims_batch(
    op: Primitive, batched: Batched, a: Array, axis: int | tuple[int, ...]
) -> Array:
    n = a.ndim - 1 + (len(axis) if isinstance(axis, tuple) else 1)
    return apply(op, (a,), {"axis": batch_axis(axis, n)})


@linear_op(
    lambda g, y, a, axis: np.reshape(g, np.shape(a)),
    numpy=np.expand_dims,
    batch=_expand_dims_batch,
    view=True,
)
def expand_dims(a: ArrayLike, axis: int | tuple[int, ...]) -> Array:
    """The array with new axes of length 1 at these positions in the result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.expand_dims(np.ones(3), (0, 2)).shape
    (1, 3, 1)
    """
    return np.expand_dims(np.asarray(a), axis)


def _squeeze_batch(op: Primitive, batched: Batched, a: Array, axis: Axis = None) -> Array:
    if axis is None:
        axis = tuple([i for i, length in enumerate(a.shape[1:]) if length == 1])
    # NumPy accepts axis 0 of a number too
    return apply(op, (a,), {"axis": batch_axis(axis, a.ndim - 1) if a.ndim > 1 else ()})


@linear_op(
    lambda g, y, a, axis=None: np.reshape(g, np.shape(a)),
    numpy=np.squeeze,
    batch=_squeeze_batch,
    view=True,
)
def squeeze(a: ArrayLike, axis: Axis = None) -> Array:
    """The array without these axes of length 1, or without all of them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.squeeze(np.ones((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    return np.squeeze(a, axis)


# the reverse pass sums cotangents over broadcast axes, for this op too


def _broadcast_to_batch(op: Primitive, batched: Batched, array: Array, shape: Shape) -> Array:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    return apply(op, (expand_to_ndim(array, len(lengths)),), {"shape": (array.shape[0], *lengths)})


@linear_op(
    lambda g, y, array, shape: g,
    numpy=np.broadcast_to,
    batch=_broadcast_to_batch,
    view=True,
)
def broadcast_to(array: ArrayLike, shape: ShapeLike) -> Array:
    """The array repeated to fill a shape, without a copy if the result is large.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.broadcast_to(x, (2, 3))))(np.ones(3))
    array([2., 2., 2.])
    """
    return np.broadcast_to(array, shape)


@linear_op(
    lambda g, y, x, axis, copies: np.sum(g, axis=axis),
    batch=lambda op, batched, x, axis, copies: apply(
        op, (x,), {"axis": batch_axis(axis, x.ndim), "copies": copies}
    ),
)
def expand(x: ArrayLike, axis: int, copies: int) -> Array:
    """The array with a new axis, along which it is repeated.

    Parameters
    ----------
    x
        An array.
    axis
        The position of the new axis in the result.
    copies
        The length of the new axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.expand(np.ones((2, 3)), 2, 4).shape
    (2, 3, 4)
    """
    return np.repeat(np.expand_dims(x, axis), copies, axis)


@linear_op(
    lambda g, y, m, axis=None: np.flip(g, axis),
    numpy=np.flip,
    batch=lambda op, batched, m, axis=None: apply(op, (m,), {"axis": batch_axis(axis, m.ndim - 1)}),
    view=True,
)
def flip(m: ArrayLike, axis: Axis = None) -> Array:
    """The array with its elements in reverse order along an axis, several, or all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.flip(np.array([[1, 2], [3, 4]]), axis=1)
    array([[2, 1],
           [4, 3]])
    """
    return np.flip(m, axis)


def _roll_batch(
    op: Primitive, batched: Batched, a: Array, shift: ShapeLike, axis: Axis = None
) -> Array:
    if axis is None:
        y = apply(op, (flatten_examples(a),), {"shift": shift, "axis": 1})
        return np.reshape(y, a.shape)
    axes = tuple(
        [batch_axis(i, a.ndim - 1) for i in (axis if isinstance(axis, tuple) else (axis,))]
    )
    return apply(op, (a,), {"shift": shift, "axis": axes})


def _negate_shift(shift: ShapeLike) -> ShapeLike:
    # in a signed dtype: booleans have no negative, and unsigned integers wrap around
    return -shift if type(shift) is int else (-np.asarray(shift, np.intp)).tolist()


def _roll(a: Array, shift: ShapeLike, axis: Axis) -> Array:
    """Roll as ``np.roll``, in a tenth of the time for a small array and one axis."""
    ndim = a.ndim
    i = 0 if axis is None and ndim == 1 else axis
    is_plain = type(a) is np.ndarray and type(shift) is int
    if not is_plain or type(i) is not int or not -ndim <= i < ndim:
        return np.roll(a, shift, axis)
    i %= ndim
    n = a.shape[i]
    k = shift % n if n else 0
    before = (slice(None),) * i
    rolled = np.empty_like(a)
    rolled[(*before, slice(k, None))] = a[(*before, slice(None, n - k))]
    rolled[(*before, slice(None, k))] = a[(*before, slice(n - k, None))]
    return rolled


@linear_op(
    lambda g, y, a, shift, axis=None: _roll(g, _negate_shift(shift), axis=axis),
    numpy=np.roll,
    batch=_roll_batch,
)
def roll(a: ArrayLike, shift: ShapeLike, axis: Axis = None) -> Array:
    """The elements shifted along axes; elements beyond the end return at the beginning.

    Parameters
    ----------
    a
        An array.
    shift
        The number of positions to shift by, or a tuple with one number for each axis.
    axis
        An axis or a tuple of axes; None rolls the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.roll(np.array([1, 2, 3]), 1)
    array([3, 1, 2])
    """
    return _roll(np.asarray(a), shift, axis)
