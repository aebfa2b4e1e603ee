"""Padding: elements added around an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.declare import function
from tapegrad.functions.creation import array as stack_lists
from tapegrad.functions.creation import linspace
from tapegrad.functions.selection import take
from tapegrad.functions.sorting import median
from tapegrad.ops.casting import as_floating, cast_for_assignment, to_array
from tapegrad.ops.indexing import scatter
from tapegrad.types import Array, ArrayLike

__all__ = ["pad"]


# typed as Any, since NumPy's stubs require a literal for the mode
_pad: Any = np.pad
INDEX_MODES = ("edge", "reflect", "symmetric", "wrap")
STATISTICS: Any = {"maximum": np.max, "minimum": np.min, "mean": np.mean, "median": median}
# each mode's argument and default
_MODE_ARGUMENTS: dict[str, tuple[str, Any]] = {
    "constant": ("constant_values", 0),
    "linear_ramp": ("end_values", 0),
    **dict.fromkeys(STATISTICS, ("stat_length", None)),
    **dict.fromkeys(("reflect", "symmetric"), ("reflect_type", "even")),
    **dict.fromkeys(("edge", "wrap", "empty"), ("", None)),
}


@function(numpy=np.pad, complex=True, options=("pad_width",))
def pad(
    array: ArrayLike,
    pad_width: ArrayLike | dict[int, Any],
    mode: str = "constant",
    *,
    constant_values: ArrayLike | None = None,
    end_values: ArrayLike | None = None,
    stat_length: ArrayLike | None = None,
    reflect_type: str | None = None,
) -> Array:
    """An array with elements added around it.

    Parameters
    ----------
    array
        An array.
    pad_width
        The number of elements to add: a number, a pair (before, after), a pair for each axis, or a
        dict of axes and their pairs or numbers.
    mode
        The values to add: "constant" for constant values; "edge" for the nearest element; "reflect"
        or "symmetric" for the mirrored array, without or with the element at the edge; "wrap" for
        the array from its other end; "linear_ramp" for steps from the nearest element to an end
        value; "maximum", "minimum", "mean" or "median" for this statistic of the elements along the
        axis; "empty" for zeros that nothing may depend on. A function as mode, which writes into
        the array, is not supported.
    constant_values, end_values
        A number, a pair (before, after), or a pair for each axis; 0 by default. Where two axes are
        padded, the corner has the later axis's values. A Tensor keeps its gradient.
    stat_length
        The number of nearest elements that count, in the same forms; all by default.
    reflect_type
        "even", or "odd" for twice the element at the edge minus the mirrored one.

    Raises
    ------
    ValueError
        For another mode, an empty axis that would have to be repeated, or an argument that the
        mode does not take.
    TypeError
        For a function as mode, or a floating Tensor as a value in an array of integers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.pad(np.array([1, 2, 3]), (2, 1))
    array([0, 0, 1, 2, 3, 0])
    >>> tg.pad(np.array([1, 2, 3]), 2, mode="reflect")
    array([3, 2, 1, 2, 3, 2, 1])
    >>> tg.grad(lambda x: tg.pad(x, 1, mode="mean")[0])(np.ones(2))
    array([0.5, 0.5])
    """
    if callable(mode):
        raise TypeError("pad: a function as mode is not supported: it writes into the array")
    if mode not in _MODE_ARGUMENTS:
        raise ValueError(f"pad has the modes {', '.join(_MODE_ARGUMENTS)}; got {mode!r}")
    options = {
        "constant_values": constant_values,
        "end_values": end_values,
        "stat_length": stat_length,
        "reflect_type": reflect_type,
    }
    argument, default = _MODE_ARGUMENTS[mode]
    for name, option in options.items():
        if option is not None and name != argument:
            raise ValueError(f"pad: mode {mode!r} takes no {name}")
    argument_value: Any = options.get(argument)
    argument_value = default if argument_value is None else argument_value
    array = to_array(array)
    widths = _width_pairs(pad_width, array.ndim)
    if mode in ("constant", "empty"):
        return _pad_with_constants(array, widths, 0 if mode == "empty" else argument_value)
    if mode == "linear_ramp":
        ends = stack_lists(argument_value)
        cast_ends = cast_for_assignment(ends, array.dtype)
        # a ramp of integers may begin between two integers
        ends = ends if array.dtype.kind in "iu" else cast_ends
        argument_value = np.broadcast_to(ends, (array.ndim, 2))
    elif mode in STATISTICS:
        argument_value = _stat_lengths(argument_value, array.ndim)
    elif argument_value is not None and argument_value not in ("even", "odd"):
        raise ValueError(f"pad: reflect_type must be 'even' or 'odd'; got {argument_value!r}")
    for axis, width in enumerate(widths):
        if any(width) and not array.shape[axis]:
            raise ValueError(
                f"pad: mode {mode!r} has nothing to repeat along the empty axis {axis}"
            )
        if any(width) and reflect_type == "odd":
            rows = np.moveaxis(array, axis, 0)
            array = np.moveaxis(
                _reflect_odd(rows, width[0], width[1], mode == "symmetric"), 0, axis
            )
        elif any(width) and mode in INDEX_MODES:
            array = take(array, _pad(np.arange(array.shape[axis]), width, mode), axis)
        elif any(width):
            rows = np.moveaxis(array, axis, 0)
            make = _linear_ramp if mode == "linear_ramp" else _repeat_statistic
            before = make(rows, width[0], argument_value[axis, 0], mode)
            after = make(rows[::-1], width[1], argument_value[axis, 1], mode)[::-1]
            array = np.moveaxis(np.concatenate([before, rows, after]), 0, axis)
    return array


def _pad_with_constants(array: Array, widths: list[list[int]], constant_values: ArrayLike) -> Array:
    lengths = array.shape
    # by text, since -0.0 equals 0.0
    if type(constant_values) in (int, float) and str(constant_values) in ("0", "0.0"):
        inner = [slice(start, start + n) for n, (start, _) in zip(lengths, widths, strict=True)]
        shape = tuple(n + sum(width) for n, width in zip(lengths, widths, strict=True))
        return scatter(array, shape=shape, index=tuple(inner))
    values = np.broadcast_to(
        cast_for_assignment(stack_lists(constant_values), array.dtype), (array.ndim, 2)
    )
    for axis, width in enumerate(widths):
        shape = array.shape
        before, after = (
            np.broadcast_to(values[axis, end], (*shape[:axis], n, *shape[axis + 1 :]))
            for end, n in enumerate(width)
        )
        array = np.concatenate([before, array, after], axis=axis)
    return array


def _linear_ramp(rows: Array, n: int, end: Array, mode: str) -> Array:
    """Return n steps from an end value to the first row, which is excluded."""
    if rows.dtype.kind not in "iu":
        return linspace(end, rows[0], n, endpoint=False).astype(rows.dtype)
    step = (as_floating(rows[0]) - end) / max(n, 1)
    positions = np.reshape(np.arange(n), (n, *(1,) * (rows.ndim - 1)))
    # integers are rounded down
    return np.floor(positions * step + end).astype(rows.dtype)


def _stat_lengths(stat_length: ArrayLike, ndim: int) -> Array:
    """Return how many elements count before and after each axis; 0 for all."""
    if stat_length is None:
        return np.zeros((ndim, 2), int)
    lengths = np.asarray(stat_length)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"stat_length must hold integers; got {lengths.dtype}")
    if lengths.size and lengths.min() < 1:
        raise ValueError("pad: a stat_length is 1 or more")
    return np.broadcast_to(lengths, (ndim, 2))


def _repeat_statistic(rows: Array, n: int, length: Array, mode: str) -> Array:
    """Return a statistic of the first rows, repeated n times."""
    counted = rows[: int(length)] if length else rows
    y = np.expand_dims(STATISTICS[mode](counted, axis=0), 0)
    if y.dtype != rows.dtype:
        # the mean of integers is rounded
        y = (np.rint(y) if rows.dtype.kind in "iu" else y).astype(rows.dtype)
    return np.broadcast_to(y, (n, *rows.shape[1:]))


def _reflect_odd(rows: Array, before: int, after: int, with_edge: bool) -> Array:
    """Mirror rows at both ends, repeatedly: twice the row at the end minus each row."""
    period = rows.shape[0]
    if period == 1:
        return take(rows, np.zeros(before + 1 + after, np.intp), 0)
    n_skipped = 0 if with_edge else 1
    step = period - n_skipped
    while before or after:
        n = rows.shape[0]
        n_mirrored = (n - n_skipped) // step * step
        n_front, n_back = min(n_mirrored, before), min(n_mirrored, after)
        mirrored_front = 2 * rows[:1] - rows[n_skipped : n_skipped + n_front][::-1]
        stop = n - n_skipped
        mirrored_back = 2 * rows[n - 1 :] - rows[stop - n_back : stop][::-1]
        rows = np.concatenate([mirrored_front, rows, mirrored_back])
        before, after = before - n_front, after - n_back
    return rows


def _width_pairs(pad_width: ArrayLike | dict[int, Any], ndim: int) -> list[list[int]]:
    """Return a pair of widths, before and after, for each axis."""
    if isinstance(pad_width, dict):
        by_axis = {normalize_axis_index(axis, ndim): width for axis, width in pad_width.items()}
        pairs = [np.broadcast_to(by_axis.get(axis, 0), 2) for axis in range(ndim)]
        pad_width = np.reshape(pairs, (ndim, 2)) if pairs else 0
    widths = np.asarray(pad_width)
    if widths.dtype.kind != "i":
        raise TypeError(f"pad_width must hold integers; got {widths.dtype}")
    if widths.size and widths.min() < 0:
        raise ValueError("pad_width has a negative number; to cut elements off, write a[1:-1]")
    return np.broadcast_to(widths, (ndim, 2)).tolist()
