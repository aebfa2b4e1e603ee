"""Sliding windows over an array, and patches of images."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.stride_tricks import as_strided
from numpy.lib.stride_tricks import sliding_window_view as _windows

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Primitive
from tapegrad.declare import linear_op
from tapegrad.declare.batching import Batched, batch_all_operands, batch_axis
from tapegrad.types import Array, ArrayLike, Axis, Cotangent, Shape, ShapeLike

__all__ = ["sliding_window_view"]


def _overlap_add(g: Cotangent, shape: Shape, axis: Axis) -> Cotangent:
    return overlap_add(g, shape, axis)


def _windows_batch(
    op: Primitive, batched: Batched, x: Array, window_shape: ShapeLike, axis: Axis = None
) -> Array:
    axes = range(x.ndim - 1) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    batch_axes = tuple([batch_axis(i, x.ndim - 1) for i in axes])
    lengths = window_shape if isinstance(window_shape, tuple) else (window_shape,)
    return apply(op, (x,), {"window_shape": lengths, "axis": batch_axes})


@linear_op(
    lambda g, y, x, window_shape, axis=None: _overlap_add(g, x.shape, axis),
    numpy=_windows,
    batch=_windows_batch,
    view=True,
)
def sliding_window_view(x: ArrayLike, window_shape: ShapeLike, axis: Axis = None) -> Array:
    """All windows of a shape in an array, as a view.

    Parameters
    ----------
    x
        An array.
    window_shape
        The length of the window along each of the axes.
    axis
        The axes that the window slides along; all by default.

    Returns
    -------
    An array whose first axes are the position of a window, and whose last axes are the window.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.sliding_window_view(np.arange(4), 2)
    array([[0, 1],
           [1, 2],
           [2, 3]])
    >>> tg.grad(lambda x: tg.sum(tg.sliding_window_view(x, 2)))(np.ones(4))
    array([1., 2., 2., 1.])
    """
    return _windows(x, window_shape, axis)


def _overlap_batch(
    op: Primitive, batched: Batched, values: Array, shape: Shape, axis: Axis = None
) -> Array:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    axes = range(len(lengths)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    batch_axes = tuple([batch_axis(i, len(lengths)) for i in axes])
    return apply(op, (values,), {"shape": (values.shape[0], *lengths), "axis": batch_axes})


@linear_op(
    lambda g, y, values, shape, axis=None: sliding_window_view(
        g, values.shape[len(shape) :], tuple(range(len(shape))) if axis is None else axis
    ),
    batch=_overlap_batch,
    adds=True,
)
def overlap_add(values: Array, shape: Shape, axis: Axis = None) -> Array:
    """Windows added where they overlap; the adjoint of `sliding_window_view`.

    Parameters
    ----------
    values
        The windows, as `sliding_window_view` returns them.
    shape
        The shape of the result.
    axis
        The axes that the window slides along; all by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.window import overlap_add
    >>> overlap_add(np.ones((3, 2)), (4,))
    array([1., 2., 2., 1.])
    """
    y = np.zeros(shape, values.dtype)
    n = len(shape)
    axes = normalize_axis_tuple(range(n) if axis is None else axis, n, allow_duplicate=True)
    lengths = list(values.shape[:n])
    for i, window in zip(axes, values.shape[n:], strict=True):
        lengths[i] += window - 1
    if tuple(lengths) != tuple(shape):
        raise ValueError(f"windows of shape {values.shape} do not overlap to the shape {shape}")
    for offset in np.ndindex(values.shape[n:]):
        starts = [0] * n
        for i, start in zip(axes, offset, strict=True):
            starts[i] += start
        # add one element of each window at a time
        target = tuple(slice(s, s + m) for s, m in zip(starts, values.shape, strict=False))
        y[target] += values[(..., *offset)]
    return y


# In rows with fewer elements, the start of the loop takes longer than the additions: it pays to
# copy twice and add along the other axes. In rows with fewer bytes, it pays to form longer rows.
_SHORT_ROW, _LONG_ROW_BYTES = 12, 128


def _cut_stages(
    sides: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...], row: int
) -> list[tuple[int, ...]]:
    """Return the axes along which patches are cut, stage by stage; `row` is in bytes.

    If one axis is cut after another, all stages but the first copy elements that are contiguous in
    memory. An axis with patches one step apart is cut before the axes in front of it, and an axis
    with adjacent patches after them.
    """
    axes = tuple([i for i, pair in enumerate(zip(size, stride, strict=True)) if pair != (1, 1)])
    if size == stride and not any(m % k for m, k in zip(sides, size, strict=True)):
        return [(i,) for i in axes] or [()]
    if row < _LONG_ROW_BYTES and max(stride) == 1:
        return [(i,) for i in reversed(axes)]
    return [axes]


def _cut_patches(x: Array, n: int, axes: tuple[int, ...], size: Any, stride: Shape) -> Array:
    """Cut patches along some of the n last axes; the n axes before hold offsets in a patch."""
    shape, strides = list(x.shape), list(x.strides)
    for i in axes:
        place, along = i - 2 * n, i - n
        shape[place], strides[place] = size[i], strides[along]
        shape[along] = (shape[along] - size[i]) // stride[i] + 1
        strides[along] *= stride[i]
    return as_strided(x, shape, strides, writeable=False).copy()


def _add_cut_patches(
    values: Array, n: int, axes: tuple[int, ...], sides: Shape, stride: Shape, first: int
) -> Array:
    """Compute the adjoint of `_cut_patches`; the axes of offsets are `first` and the next."""
    shape, spans = list(values.shape), []
    for i in axes:
        spans.append((first + i, first + n + i, stride[i], stride[i] * shape[first + n + i]))
        shape[first + i], shape[first + n + i] = 1, sides[i]
    is_apart = all(values.shape[place] <= step for place, _, step, _ in spans)
    is_full = is_apart and all(
        values.shape[place] == step and shape[along] == length
        for place, along, step, length in spans
    )
    y = (np.empty if is_full else np.zeros)(shape, values.dtype)
    # add one element of each patch at a time
    for offsets in itertools.product(*[range(values.shape[place]) for place, *_ in spans]):
        target, source = [slice(None)] * y.ndim, [slice(None)] * y.ndim
        for j, (place, along, step, length) in zip(offsets, spans, strict=True):
            source[place], target[along] = slice(j, j + 1), slice(j, j + length - step + 1, step)
        if is_apart:
            y[tuple(target)] = values[tuple(source)]
        else:
            y[tuple(target)] += values[tuple(source)]
    return y


def _add_patches(g: Cotangent, sides: Shape, stride: Shape) -> Cotangent:
    return add_patches(g, sides, stride)


@linear_op(
    lambda g, y, x, size, stride: _add_patches(g, x.shape[-len(size) :], stride),
    batch=batch_all_operands,
)
def patches(x: Array, size: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    """All patches of a size, a stride apart, copied so that a product can use them.

    Parameters
    ----------
    x
        An array whose last axes are cut, as many as `size` has numbers.
    size, stride
        The sides of a patch, and the steps from one to the next.

    Returns
    -------
    An array of shape ``(..., *size, *counts)``: the offset in a patch, then the patch.

    Raises
    ------
    ValueError
        If no patch fits.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.window import patches
    >>> patches(np.arange(5), (2,), (2,))
    array([[0, 2],
           [1, 3]])
    >>> tg.grad(lambda x: tg.sum(patches(x, (2,), (1,))))(np.ones(4))
    array([1., 2., 2., 1.])
    """
    first = max(x.ndim - len(size), 0)
    sides = x.shape[first:]
    counts = tuple((n - k) // s + 1 for n, k, s in zip(sides, size, stride, strict=False))
    if len(counts) < len(size) or min(counts) < 1 or min(stride) < 1:
        raise ValueError(f"patches: none of {size} fits in an array of shape {x.shape}")
    n = len(size)
    y = x.reshape(*x.shape[:first], *(1,) * n, *sides)
    for axes in _cut_stages(sides, size, stride, counts[-1] * x.itemsize):
        y = _cut_patches(y, n, axes, size, stride)
    return y


@linear_op(
    lambda g, y, values, sides, stride: patches(
        g, values.shape[-2 * len(sides) : -len(sides)], stride
    ),
    batch=batch_all_operands,
    adds=True,
)
def add_patches(values: Array, sides: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    """Patches added where they overlap; the adjoint of `patches`.

    Parameters
    ----------
    values
        Patches, as `patches` returns them.
    sides
        The lengths of the result's last axes.
    stride
        The steps from one patch to the next.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.window import add_patches
    >>> add_patches(np.ones((2, 3)), (4,), (1,))
    array([1., 2., 2., 1.])
    """
    n = len(sides)
    leading, size, counts = values.shape[: -2 * n], values.shape[-2 * n : -n], values.shape[-n:]
    n_arrays = math.prod(leading)
    if size != stride and counts[-1] < _SHORT_ROW < n_arrays:
        y = values.reshape(n_arrays, *size, *counts)
        y = _add_cut_patches(
            np.ascontiguousarray(np.moveaxis(y, 0, -1)), n, tuple(range(n)), sides, stride, 0
        )
        return np.ascontiguousarray(np.moveaxis(y, -1, 0)).reshape(*leading, *sides)
    for axes in reversed(_cut_stages(sides, size, stride, counts[-1] * values.itemsize)):
        values = _add_cut_patches(values, n, axes, sides, stride, len(leading))
    return values.reshape(*leading, *sides)
