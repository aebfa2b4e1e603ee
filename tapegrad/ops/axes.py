"""Normalize the axes of an op, and move them to the front and back."""

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


def _axes_to_front(ndim: int, axis: Axis) -> tuple[tuple[int, ...], int]:
    """Return the order of axes that puts `axis` first, and the number of axes in `axis`."""
    axes = tuple(range(ndim)) if axis is None else normalize_axis_tuple(axis, ndim)
    return (*axes, *[i for i in range(ndim) if i not in axes]), len(axes)


def move_axes_to_front(x: Array, axis: Axis) -> Array:
    """Merge an axis, several, or all into one axis in front of the others."""
    order, n = _axes_to_front(x.ndim, axis)
    moved = np.transpose(x, order)
    return np.reshape(moved, (math.prod(moved.shape[:n]), *moved.shape[n:]))


def restore_axes(rows: Array, shape: tuple[int, ...], axis: Axis) -> Array:
    """Invert `move_axes_to_front` of an array of this shape."""
    order, _ = _axes_to_front(len(shape), axis)
    moved = np.reshape(rows, tuple(shape[i] for i in order))
    return np.transpose(moved, tuple(np.argsort(order).tolist()))


def reduced_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Return a shape with the reduced axes kept, of length 1."""
    lengths = list(shape)
    axes = (axis,) if type(axis) is int else range(len(lengths)) if axis is None else axis
    for i in axes if np.iterable(axes) else (axes,):
        lengths[i] = 1
    return tuple(lengths)


def as_integer(what: str, x: SupportsIndex) -> int:
    """Return an integer of at most 64 bits; raise for a truth value, as functions in C do."""
    if isinstance(x, bool | np.bool):
        raise TypeError(f"{what} must be an integer, not {x}")
    return int(np.intp(operator.index(x)))


def normalize_axes(name: str, axes: Axis | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return axes as a tuple counted from 0; raise for truth values, though they are ints."""
    sequence: Any = axes if np.iterable(axes) else (axes,)
    if any(isinstance(axis, bool | np.bool) for axis in sequence):
        raise TypeError(f"{name}: an axis must be an integer; got {axes!r}")
    return normalize_axis_tuple(tuple(sequence), ndim)


def check_matrices(name: str, x: Array, square: bool = False) -> None:
    """Raise NumPy's error unless an array has the two axes of a matrix, or of a square one."""
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise np.linalg.LinAlgError(
            f"{name} takes {kind}, along the last two axes; got an array of shape {x.shape}"
        )


def move_axis_to_front(x: Array, axis: int | None) -> Array:
    """Return an array with an axis first, or flattened for None."""
    return np.swapaxes(x, 0, axis) if axis is not None and x.ndim else np.reshape(x, -1)


def lift_to_axis(rule: Rule, default: int | None) -> Rule:
    """Generalize a VJP rule for the first axis to any axis, or None for the flattened array.

    The rule receives the cotangent, output and operands with the axis in front.
    """

    @functools.wraps(rule)
    def rule_along_axis(*arrays: Array, axis: int | None = default, **options: Any) -> Array:
        shape = np.shape(arrays[-1])
        if axis is not None and shape and axis % len(shape) == 0:
            return rule(*arrays, **options)
        c = rule(*[move_axis_to_front(x, axis) for x in arrays], **options)
        return np.reshape(c, shape) if axis is None or not shape else np.swapaxes(c, 0, axis)

    return rule_along_axis


def shift_forward(y: Array, first: float) -> Array:
    """Shift elements by one along the first axis, and insert a new first element."""
    head = np.full((1, *y.shape[1:]), first, y.dtype)
    return np.concatenate([head, y])[: y.shape[0]]
