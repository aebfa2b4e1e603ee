"""Axes of an op: normalized, moved to the front, and moved back."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.types import Array, Axis

Rule = Callable[..., Any]


def _order(ndim: int, axis: Axis) -> tuple[tuple[int, ...], int]:
    """All axes, the axes of `axis` first, and the number of these."""
    axes = tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)
    return (*axes, *[i for i in range(ndim) if i not in axes]), len(axes)


def move_axes_to_front(x: Array, axis: Axis) -> Array:
    """The array with an axis, several, or all merged into one, in front of the others."""
    order, n = _order(x.ndim, axis)
    moved = np.transpose(x, order)
    return np.reshape(moved, (math.prod(moved.shape[:n]), *moved.shape[n:]))


def restore_axes(rows: Array, shape: tuple[int, ...], axis: Axis) -> Array:
    """An array of this shape, given its `move_axes_to_front`."""
    order, _ = _order(len(shape), axis)
    moved = np.reshape(rows, tuple(shape[i] for i in order))
    return np.transpose(moved, tuple(np.argsort(order).tolist()))


def reduced_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape with the axes reduced to length 1."""
    sides = list(shape)
    axes = (axis,) if type(axis) is int else range(len(sides)) if axis is None else axis
    for i in axes if np.iterable(axes) else (axes,):
        sides[i] = 1
    return tuple(sides)


def as_integer(what: str, x: SupportsIndex) -> int:
    """Return an integer of at most 64 bits; raise for a truth value, as functions in C do."""
    if isinstance(x, bool | np.bool):
        raise TypeError(f"{what} must be an integer, not {x}")
    return int(np.intp(operator.index(x)))


def normalize_axes(name: str, axes: Axis | Sequence[int], ndim: int) -> tuple[int, ...]:
    """An axis or several, counted from 0; truth values are refused, though they are ints."""
    several: Any = axes if np.iterable(axes) else (axes,)
    if any(isinstance(axis, bool | np.bool) for axis in several):
        raise TypeError(f"{name}: an axis must be an integer; got {axes!r}")
    return normalize_axis_tuple(tuple(several), ndim)


def check_matrices(name: str, x: Array, square: bool = False) -> None:
    """Raise NumPy's error unless an array has the two axes of a matrix, or of a square one."""
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise np.linalg.LinAlgError(
            f"{name} takes {kind}, along the last two axes; got an array of shape {x.shape}"
        )


def move_axis_to_front(x: Array, axis: int | None) -> Array:
    """The array with the axis first, or flat for None."""
    return np.swapaxes(x, 0, axis) if axis is not None and x.ndim else np.reshape(x, -1)


def on_first_axis(rule: Rule, default: int | None) -> Rule:
    """Turn a VJP rule for the first axis into one for any axis, or None for the flattened array.

    The rule receives the cotangent, output and operands with the axis in front.
    """

    @functools.wraps(rule)
    def along(*arrays: Array, axis: int | None = default, **options: Any) -> Array:
        shape = np.shape(arrays[-1])
        if axis is not None and shape and axis % len(shape) == 0:
            return rule(*arrays, **options)
        c = rule(*[move_axis_to_front(x, axis) for x in arrays], **options)
        return np.reshape(c, shape) if axis is None or not shape else np.swapaxes(c, 0, axis)

    return along


def shift_forward(y: Array, first: float) -> Array:
    """The elements shifted by one along the first axis, with a new first element."""
    head = np.full((1, *y.shape[1:]), first, y.dtype)
    return np.concatenate([head, y])[: y.shape[0]]
