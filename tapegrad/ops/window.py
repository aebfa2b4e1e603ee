"""Sliding windows over an array, and patches of images."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.stride_tricks import as_strided
from numpy.lib.stride_tricks import sliding_window_view as _windows

from tapegrad.core.forward import apply, linear
from tapegrad.declare import op
from tapegrad.declare.batching import batch_axis
from tapegrad.declare.domain import Call, Choices, on_array

__all__ = ["sliding_window_view"]


def _arguments(choose: Choices, x: Any) -> Any:
    axis = choose.axes(x.ndim)
    if isinstance(axis, int):
        return {"window_shape": choose.integer(0, x.shape[axis]), "axis": axis}
    axes = range(x.ndim) if axis is None else axis
    return {"window_shape": tuple(choose.integer(0, x.shape[i]) for i in axes), "axis": axis}


def _overlapped(g: Any, shape: Any, axis: Any) -> Any:
    return overlap_add(g, shape, axis)


def _windows_batch(op: Any, batched: Any, x: Any, window_shape: Any, axis: Any = None) -> Any:
    axes = range(x.ndim - 1) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    places = tuple([batch_axis(i, x.ndim - 1) for i in axes])
    lengths = window_shape if isinstance(window_shape, tuple) else (window_shape,)
    return apply(op, (x,), {"window_shape": lengths, "axis": places})


@op(
    lambda g, y, x, window_shape, axis=None: _overlapped(g, x.shape, axis),
    numpy=_windows,
    domain=on_array(_arguments),
    jvp=linear,
    batch=_windows_batch,
    view=True,
    complex=True,
)
def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
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
    An array whose first axes are the window's position, and whose last axes are the window's own.

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


def _overlaps(choose: Choices) -> Call:
    x = choose.array(choose.shape(max_dims=2))
    arguments = _arguments(choose, x)
    windows = _windows(x, **arguments)
    return Call((windows.copy(), x.shape), {"axis": arguments["axis"]})


def _overlap_batch(op: Any, batched: Any, values: Any, shape: Any, axis: Any = None) -> Any:
    sides = shape if isinstance(shape, tuple) else (shape,)
    axes = range(len(sides)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    places = tuple([batch_axis(i, len(sides)) for i in axes])
    return apply(op, (values,), {"shape": (values.shape[0], *sides), "axis": places})


@op(
    lambda g, y, values, shape, axis=None: sliding_window_view(
        g, values.shape[len(shape) :], tuple(range(len(shape))) if axis is None else axis
    ),
    domain=_overlaps,
    jvp=linear,
    batch=_overlap_batch,
    adds=True,
    complex=True,
)
def overlap_add(values: Any, shape: Any, axis: Any = None) -> Any:
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
    sides = list(values.shape[:n])
    for i, window in zip(axes, values.shape[n:], strict=True):
        sides[i] += window - 1
    if tuple(sides) != tuple(shape):
        raise ValueError(f"windows of shape {values.shape} do not overlap to the shape {shape}")
    for place in np.ndindex(values.shape[n:]):
        starts = [0] * n
        for i, start in zip(axes, place, strict=True):
            starts[i] += start
        # all windows at once, one element of each
        part = tuple(slice(s, s + m) for s, m in zip(starts, values.shape, strict=False))
        y[part] += values[(..., *place)]
    return y


# Shorter rows take longer to start than to add, so adding along the other axes is worth two copies.
_SHORT = 12


def _calls(choose: Choices) -> Call:
    n = choose.integer(1, 2)
    size = tuple(choose.integer(1, 3) for _ in range(n))
    stride = tuple(choose.integer(1, 3) for _ in range(n))
    sides = tuple(k + choose.integer(0, 3) for k in size)
    return Call((choose.array((*choose.shape(max_dims=1), *sides)), size, stride))


def _adjoint_calls(choose: Choices) -> Call:
    x, size, stride = _calls(choose).args
    return Call((choose.laid_out(patches(x, size, stride)), x.shape[-len(size) :], stride))


def _added(g: Any, sides: Any, stride: Any) -> Any:
    return add_patches(g, sides, stride)


@op(
    lambda g, y, x, size, stride: _added(g, x.shape[-len(size) :], stride),
    domain=_calls,
    jvp=linear,
    batch=lambda op, batched, x, **options: apply(op, (x,), options),
    complex=True,
)
def patches(x: Any, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """All patches of a size, a stride apart, copied so that a product can use them.

    Parameters
    ----------
    x
        An array whose last axes are those of `size`.
    size, stride
        The sides of a patch, and the steps from one to the next.

    Returns
    -------
    An array of shape ``(..., *size, *counts)``: the place in the patch, then which patch.

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
    sides, by_place = x.shape[first:], x.strides[first:]
    counts = tuple((n - k) // s + 1 for n, k, s in zip(sides, size, stride, strict=False))
    if len(counts) < len(size) or min(counts) < 1 or min(stride) < 1:
        raise ValueError(f"patches: none of {size} fits in an array of shape {x.shape}")
    by_patch = tuple(step * s for step, s in zip(by_place, stride, strict=True))
    shape = (*x.shape[:first], *size, *counts)
    return as_strided(x, shape, (*x.strides[:first], *by_place, *by_patch), writeable=False).copy()


@op(
    lambda g, y, values, sides, stride: patches(
        g, values.shape[-2 * len(sides) : -len(sides)], stride
    ),
    domain=_adjoint_calls,
    jvp=linear,
    batch=lambda op, batched, x, **options: apply(op, (x,), options),
    adds=True,
    complex=True,
)
def add_patches(values: Any, sides: tuple[int, ...], stride: tuple[int, ...]) -> Any:
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
    leading, counts = values.shape[: -2 * n], values.shape[-n:]
    many = math.prod(leading)
    parts = np.moveaxis(values.reshape(many, *values.shape[-2 * n :]), 0, -1)
    y = np.moveaxis(np.zeros((many, *sides), values.dtype), 0, -1)
    if counts[-1] < _SHORT < many:
        parts, y = np.ascontiguousarray(parts), np.zeros((*sides, many), values.dtype)
    # all patches at once, one place of each
    for place in itertools.product(*map(range, values.shape[-2 * n : -n])):
        of_place = [
            slice(i, i + s * count, s) for i, s, count in zip(place, stride, counts, strict=True)
        ]
        y[tuple(of_place)] += parts[place]
    return np.ascontiguousarray(np.moveaxis(y, -1, 0)).reshape(*leading, *sides)
