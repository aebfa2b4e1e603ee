"""Ops that move elements and change none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.op import EachOperand, op

__all__ = [
    "broadcast_to",
    "concatenate",
    "expand",
    "expand_dims",
    "reshape",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
]


_SMALL = 1 << 14


def _inverse(axes: Any) -> Any:
    return None if axes is None else tuple(np.argsort([axis % len(axes) for axis in axes]).tolist())


@op(
    lambda g, y, a, axes=None: np.transpose(g, _inverse(axes)),
    numpy=np.transpose,
    source="{0}.transpose({axes})",
    view=True,
    jvp="linear",
)
def transpose(a: Any, axes: Any = None) -> Any:
    """The axes in another order, reversed by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.transpose(np.array([[1, 2], [3, 4]]))
    array([[1, 3],
           [2, 4]])
    """
    return np.transpose(a, axes)


@op(
    lambda g, y, a, axis1, axis2: np.swapaxes(g, axis1, axis2),
    numpy=np.swapaxes,
    source="{0}.swapaxes({axis1}, {axis2})",
    view=True,
    jvp="linear",
)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.swapaxes(np.ones((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    return np.swapaxes(a, axis1, axis2)


@op(
    lambda g, y, a, shape: np.reshape(g, np.shape(a)),
    numpy=np.reshape,
    source="{0}.reshape({shape})",
    view=True,
    jvp="linear",
)
def reshape(a: Any, shape: Any) -> Any:
    """The same elements, in C order, in another shape; one length may be -1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.reshape(np.arange(4), (2, -1))
    array([[0, 1],
           [2, 3]])
    """
    return np.reshape(a, shape)


@op(
    lambda g, y, a, axis: np.reshape(g, np.shape(a)),
    numpy=np.expand_dims,
    source="{0}.reshape({shape})",
    view=True,
    jvp="linear",
)
def expand_dims(a: Any, axis: Any) -> Any:
    """New axes of length 1, at these places of the result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.expand_dims(np.ones(3), (0, 2)).shape
    (1, 3, 1)
    """
    return np.expand_dims(a, axis)


@op(
    lambda g, y, a, axis=None: np.reshape(g, np.shape(a)),
    numpy=np.squeeze,
    source="{0}.reshape({shape})",
    view=True,
    jvp="linear",
)
def squeeze(a: Any, axis: Any = None) -> Any:
    """Axes of length 1 removed: these, or all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.squeeze(np.ones((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    return np.squeeze(a, axis)


# the sweep undoes all broadcasting, this too
@op(
    lambda g, y, array, shape: g,
    numpy=np.broadcast_to,
    source="broadcast_to({0}, {shape})",
    view=True,
    jvp="linear",
)
def broadcast_to(array: Any, shape: Any) -> Any:
    """The array repeated to fill a shape, without a copy if that is large.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.broadcast_to(x, (2, 3))))(np.ones(3))
    array([2., 2., 2.])
    """
    # np.broadcast_to takes longer to start than a small array to fill
    if type(array) is np.ndarray and type(shape) is tuple and math.prod(shape) <= _SMALL:
        filled = np.empty(shape, array.dtype)
        filled[...] = array
        return filled
    return np.broadcast_to(array, shape)


@op(lambda g, y, x, axis, copies: np.sum(g, axis=axis), jvp="linear")
def expand(x: Any, axis: int, copies: int) -> Any:
    """A new axis at this place of the result, along which x is repeated.

    Parameters
    ----------
    x
        An array.
    axis
        Where the new axis stands in the result.
    copies
        Its length.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.expand(np.ones((2, 3)), 2, 4).shape
    (2, 3, 4)
    """
    return np.repeat(np.expand_dims(x, axis), copies, axis)


def _parts(arrays: Sequence[Any], axis: int = 0) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(arrays), {} if axis == 0 else {"axis": axis}


def _concatenate_vjp(i: int, g: Any, y: Any, *arrays: Any, axis: int | None = 0) -> Any:
    if axis is None:
        start = sum(np.size(array) for array in arrays[:i])
        return g[start : start + np.size(arrays[i])].reshape(np.shape(arrays[i]))
    start = sum(np.shape(array)[axis] for array in arrays[:i])
    part = slice(start, start + np.shape(arrays[i])[axis])
    return g[(slice(None),) * (axis % np.ndim(g)) + (part,)]


@op(
    each_operand=EachOperand(_concatenate_vjp),
    read=_parts,
    numpy=np.concatenate,
    source="concatenate({all}, {axis}, {out})",
)
def concatenate(*arrays: Any, axis: int | None = 0) -> Any:
    """A sequence of arrays joined along an axis they have, or flattened for None.

    Called as ``concatenate([a, b], axis=0)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.concatenate([np.zeros(2), np.ones(1)])
    array([0., 0., 1.])
    """
    return np.concatenate(arrays, axis=axis)


def _stack_vjp(i: int, g: Any, y: Any, *arrays: Any, axis: int = 0) -> Any:
    return g[(slice(None),) * (axis % np.ndim(g)) + (i,)]


@op(
    each_operand=EachOperand(_stack_vjp),
    read=_parts,
    numpy=np.stack,
    source="stack({all}, {axis}, {out})",
)
def stack(*arrays: Any, axis: int = 0) -> Any:
    """A sequence of arrays of one shape joined along a new axis.

    Called as ``stack([a, b], axis=0)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.stack([np.zeros(2), np.ones(2)], axis=1)
    array([[0., 1.],
           [0., 1.]])
    """
    return np.stack(arrays, axis=axis)
