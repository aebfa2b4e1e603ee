"""Scans along an axis, slopes and convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tapegrad.arraylike.table import answers
from tapegrad.core.forward import apply, linear_jvp
from tapegrad.core.primitive import Primitive
from tapegrad.declare import linear_op, op, wider_op
from tapegrad.declare.batching import (
    Batched,
    batch_along_axis,
    batch_axis,
    batch_size,
    expand_to_ndim,
    repeat_all_for_batch,
    repeat_for_batch,
)
from tapegrad.ops import partial_reduction
from tapegrad.ops.axes import lift_to_axis, move_axis_to_front, shift_forward
from tapegrad.ops.casting import as_floating, conjugate_of, is_weak, to_array
from tapegrad.ops.indexing import scatter
from tapegrad.ops.window import sliding_window_view
from tapegrad.types import Array, ArrayLike, Axis, Cotangent

__all__ = ["convolve", "cumprod", "cumsum"]

ZEROS = "right with any number of zeros"

# typed as Any, since NumPy's stubs require a literal for mode
_convolve: Any = np.convolve


def _accumulate(g: Cotangent, a: Array) -> Cotangent:
    """The cotangent of each step, with the contributions of all later steps."""
    return linear_recurrence(shift_forward(a[::-1], 0), g[::-1])[::-1]


def _times_previous(c: Cotangent, previous: Array) -> Cotangent:
    """Multiply a cotangent by the previous step; 0 times an overflow is 0."""
    is_overflow = np.equal(c, 0) & ~np.less(np.abs(previous), np.inf)
    return c * np.where(is_overflow, 0, previous)


def _recurrence_batch(op: Primitive, batched: Batched, a: Array, b: Array, axis: int = 0) -> Array:
    a, b = repeat_all_for_batch(batched, (a, b))
    return apply(op, (a, b), {"axis": batch_axis(axis, a.ndim - 1)})


@op(
    lift_to_axis(lambda g, y, a, b: _times_previous(_accumulate(g, a), shift_forward(y, 0)), 0),
    lift_to_axis(lambda g, y, a, b: _accumulate(g, a), 0),
    batch=_recurrence_batch,
    complex=True,
)
def linear_recurrence(a: Array, b: Array, axis: int = 0) -> Array:
    """``y[k] = a[k] * y[k - 1] + b[k]`` along an axis, from ``y[0] = b[0]``.

    Parameters
    ----------
    a
        The factor of the previous step; the first factor is not used.
    b
        The term that each step adds: an array of the shape of `a`.
    axis
        The axis of the steps.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.scan import linear_recurrence
    >>> linear_recurrence(np.full(4, 0.5), np.array([1.0, 0.0, 0.0, 1.0]))
    array([1.   , 0.5  , 0.25 , 1.125])
    >>> tg.grad(lambda b: linear_recurrence(np.full(4, 0.5), b)[-1])(np.ones(4))
    array([0.125, 0.25 , 0.5  , 1.   ])
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"a and b must have the same shape; got {a.shape} and {b.shape}")
    y = np.array(b, np.result_type(a, b))
    steps, factors = np.swapaxes(y, 0, axis), np.swapaxes(a, 0, axis)
    for k in range(1, len(steps)):
        steps[k] += factors[k] * steps[k - 1]
    return y


@wider_op(
    partial_reduction.cumsum,
    lift_to_axis(lambda g, y, a: np.cumsum(g[::-1], axis=0)[::-1], None),
    numpy=np.cumsum,
    batch=batch_along_axis,
    jvp=linear_jvp,
    adds=True,
    complex=True,
)
def cumsum(a: ArrayLike, axis: int | None = None) -> Array:
    """The cumulative sums, along an axis or of the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumsum(np.array([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    >>> tg.grad(lambda x: tg.sum(tg.cumsum(x)))(np.ones(3))
    array([3., 2., 1.])
    """
    return np.cumsum(a, axis)


@wider_op(
    partial_reduction.cumprod,
    lift_to_axis(lambda g, y, a: _times_previous(_accumulate(g, a), shift_forward(y, 1)), None),
    numpy=np.cumprod,
    kink=ZEROS,
    batch=batch_along_axis,
    complex=True,
)
def cumprod(a: ArrayLike, axis: int | None = None) -> Array:
    """The cumulative products, along an axis or of the flattened array.

    The gradient is right with any number of zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.cumprod(np.array([2.0, 0.0, 3.0]))
    array([2., 0., 0.])
    >>> tg.grad(lambda x: tg.sum(tg.cumprod(x)))(np.array([2.0, 0.0, 3.0]))
    array([1., 8., 0.])
    """
    return np.cumprod(np.asarray(a), axis)


def slice_along_axis(x: Array, axis: int, start: int | None, stop: int | None) -> Array:
    """Slice an array along an axis."""
    return x[(slice(None),) * normalize_axis_index(axis, x.ndim) + (slice(start, stop),)]


def diff_along_axis(x: Array, axis: int = 0) -> Array:
    """Return differences of neighbours along an axis; for booleans, whether they differ."""
    after, before = slice_along_axis(x, axis, 1, None), slice_along_axis(x, axis, None, -1)
    return np.not_equal(after, before) if x.dtype.kind == "b" else after - before


def lay_along_axis(x: Array, y: Array, axis: int) -> Array:
    """Reshape a vector to lie along an axis of another array."""
    return np.reshape(x, (-1, *(1,) * (y.ndim - 1 - axis % y.ndim)))


def _edge_slope(f: Array, h: Array | tuple[Array, Array], edge_order: int) -> Array:
    """Return the slope at the first point, from the first two or three points."""
    if edge_order == 1:
        return (f[1] - f[0]) / h[0]
    near, far = h[0], h[0] + h[1]
    return ((f[1] - f[0]) * (far / near) - (f[2] - f[0]) * (near / far)) / h[1]


def _slopes(f: Array, h: Array, axis: int, edge_order: int) -> Array:
    """Return the slopes along one axis, for points at these distances."""
    rows = move_axis_to_front(f, axis)
    if len(rows) <= edge_order:
        raise ValueError(
            f"gradient with edge_order={edge_order} needs {edge_order + 1} points or more along "
            f"axis {axis}; it has {len(rows)}"
        )
    if np.ndim(h):
        h = lay_along_axis(h, rows, 0)
        left, right = h[:-1], h[1:]
        backward, forward = (rows[1:-1] - rows[:-2]) / left, (rows[2:] - rows[1:-1]) / right
        inner = (backward * right + forward * left) / (left + right)
        edges: list[Array | tuple[Array, Array]] = [h[:2], h[::-1]]
    else:
        inner = (rows[2:] - rows[:-2]) / (2.0 * h)
        edges = [(h, h), (h, h)]
    first = _edge_slope(rows, edges[0], edge_order)
    last = -_edge_slope(rows[::-1], edges[1], edge_order)
    y = np.concatenate([np.expand_dims(first, 0), inner, np.expand_dims(last, 0)])
    return np.swapaxes(y, 0, axis).astype(f.dtype)


# not a public name, since it would be mistaken for `grad`
def gradient(
    f: ArrayLike, *varargs: ArrayLike, axis: Axis = None, edge_order: int = 1
) -> Array | tuple[Array, ...]:
    """``np.gradient`` on a Tensor: slopes by differences between neighbouring points.

    Parameters
    ----------
    f
        The values at the points.
    *varargs
        The distance between neighbours, for all axes or for each; or the points' positions along
        each axis.
    axis
        The axes along which slopes are taken; all by default.
    edge_order
        1 or 2: the order of the differences at the edges.

    Returns
    -------
    The slopes along the axis, or a tuple of the slopes along each of several axes.
    """
    f = as_floating(f, complex=True)
    axes = normalize_axis_tuple(range(f.ndim) if axis is None else axis, f.ndim)
    if edge_order not in (1, 2):
        raise ValueError(f"edge_order must be 1 or 2, not {edge_order}")
    distances: tuple[Any, ...] = varargs or (1.0,)
    if len(distances) == 1 and np.ndim(distances[0]) == 0:
        distances *= len(axes)
    if len(distances) != len(axes):
        raise TypeError(f"gradient takes one distance, or one for each of {len(axes)} axes")
    slopes = []
    for i, h in zip(axes, distances, strict=True):
        if np.ndim(h):
            h = to_array(h)
            if h.dtype.kind == "b":
                raise TypeError("gradient: positions are numbers, not truth values")
            h = as_floating(h)
            if h.shape != f.shape[i : i + 1]:
                raise ValueError(f"axis {i} has {f.shape[i]} points, not shape {h.shape} of them")
            h = diff_along_axis(h)
        elif not is_weak(h):
            # the sum of two distances could overflow an integer dtype
            h = as_floating(h, complex=True)
        slopes.append(_slopes(f, h, i, edge_order))
    return slopes[0] if len(axes) == 1 else tuple(slopes)


answers([np.gradient], gradient)


def _convolve_vjp(g: Cotangent, x: Array, other: Array, mode: str) -> Cotangent:
    """The correlation of g, padded with zeros, with the other operand."""
    # either operand may be a Python number
    n, shorter = np.size(x) + np.size(other) - 1, min(np.size(x), np.size(other))
    start = {"full": 0, "same": (shorter - 1) // 2, "valid": shorter - 1}[mode]
    padded = scatter(g, shape=(n,), index=(slice(start, start + g.size),))
    return np.reshape(
        convolve(padded, move_axis_to_front(other, None)[::-1], mode="valid"), np.shape(x)
    )


def _convolve_batch(
    op: Primitive, batched: Batched, a: Array, v: Array, mode: str = "full"
) -> Array:
    """Multiply the longer sequence's windows by the shorter sequence in reverse."""
    n = batch_size(batched, (a, v))
    a, v = (
        expand_to_ndim(repeat_for_batch(x, flag, n), 1) if flag else np.reshape(x, (1, -1))
        for x, flag in zip((a, v), batched, strict=True)
    )
    a, v = (a, v) if a.shape[1] >= v.shape[1] else (v, a)
    short = v.shape[1]
    # the number of zeros on each side, one for each position of partial overlap
    left, right = {
        "full": (short - 1, short - 1),
        "same": (short // 2, (short - 1) // 2),
        "valid": (0, 0),
    }[mode]
    zeros = [np.zeros((len(a), k), a.dtype) for k in (left, right)]
    windows = sliding_window_view(np.concatenate([zeros[0], a, zeros[1]], axis=1), short, axis=1)
    # vecdot conjugates its first operand
    return np.vecdot(conjugate_of(v[:, None, ::-1]), windows)


@linear_op(
    lambda g, y, a, v, mode="full": _convolve_vjp(g, a, v, mode),
    lambda g, y, a, v, mode="full": _convolve_vjp(g, v, a, mode),
    batch=_convolve_batch,
    numpy=np.convolve,
    adds=True,
)
def convolve(a: ArrayLike, v: ArrayLike, mode: str = "full") -> Array:
    """The convolution of two sequences: ``y[k]`` is the sum of ``a[i] * v[k - i]`` over i.

    Parameters
    ----------
    a, v
        Arrays with one axis.
    mode
        ``"full"`` for all positions where they overlap, ``"same"`` for the middle positions, as
        many as the longer array has elements, ``"valid"`` for positions of complete overlap.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.convolve(np.array([1.0, 2.0, 3.0]), np.array([1.0, -1.0]))
    array([ 1.,  1.,  1., -3.])
    """
    # NumPy accepts the first letters too
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"mode must be 'full', 'same' or 'valid', not {mode!r}")
    return _convolve(a, v, mode)
