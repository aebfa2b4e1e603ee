"""Padding: elements added around an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.declare import function
from tapegrad.functions.creation import array as nested
from tapegrad.functions.creation import linspace
from tapegrad.functions.selection import take
from tapegrad.functions.sorting import median
from tapegrad.ops.casting import as_floating, cast_for_assignment, to_array
from tapegrad.ops.indexing import scatter
from tapegrad.types import Array, ArrayLike

__all__ = ["pad"]


# typed as Any, since NumPy's stubs require a literal for the mode
_pad: Any = np.pad
BY_PLACE = ("edge", "reflect", "symmetric", "wrap")
STATISTICS: Any = {"maximum": np.max, "minimum": np.min, "mean": np.mean, "median": median}
# the argument of each mode, and its default
_ASKS: dict[str, tuple[str, Any]] = {
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
    if mode not in _ASKS:
        raise ValueError(f"pad has the modes {', '.join(_ASKS)}; got {mode!r}")
    options = {
        "constant_values": constant_values,
        "end_values": end_values,
        "stat_length": stat_length,
        "reflect_type": reflect_type,
    }
    asked, default = _ASKS[mode]
    for name, option in options.items():
        if option is not None and name != asked:
            raise ValueError(f"pad: mode {mode!r} takes no {name}")
    value: Any = options.get(asked)
    value = default if value is None else value
    array = to_array(array)
    widths = _pairs(pad_width, array.ndim)
    if mode in ("constant", "empty"):
        return _with_constants(array, widths, 0 if mode == "empty" else value)
    if mode == "linear_ramp":
        ends = nested(value)
        as_elements = cast_for_assignment(ends, array.dtype)
        # a ramp of integers may begin between two of them
        ends = ends if array.dtype.kind in "iu" else as_elements
        value = np.broadcast_to(ends, (array.ndim, 2))
    elif mode in STATISTICS:
        value = _lengths(value, array.ndim)
    elif value is not None and value not in ("even", "odd"):
        raise ValueError(f"pad: reflect_type must be 'even' or 'odd'; got {value!r}")
    for axis, width in enumerate(widths):
        if any(width) and not array.shape[axis]:
            raise ValueError(
                f"pad: mode {mode!r} has nothing to repeat along the empty axis {axis}"
            )
        if any(width) and reflect_type == "odd":
            turned = np.moveaxis(array, axis, 0)
            array = np.moveaxis(_oddly(turned, width[0], width[1], mode == "symmetric"), 0, axis)
        elif any(width) and mode in BY_PLACE:
            array = take(array, _pad(np.arange(array.shape[axis]), width, mode), axis)
        elif any(width):
            turned = np.moveaxis(array, axis, 0)
            make = _ramp if mode == "linear_ramp" else _statistic
            before = make(turned, width[0], value[axis, 0], mode)
            after = make(turned[::-1], width[1], value[axis, 1], mode)[::-1]
            array = np.moveaxis(np.concatenate([before, turned, after]), 0, axis)
    return array


def _with_constants(array: Array, widths: list[list[int]], constant_values: ArrayLike) -> Array:
    sides = array.shape
    # -0.0 is another value
    if type(constant_values) in (int, float) and str(constant_values) in ("0", "0.0"):
        inner = [slice(start, start + n) for n, (start, _) in zip(sides, widths, strict=True)]
        shape = tuple(n + sum(width) for n, width in zip(sides, widths, strict=True))
        return scatter(array, shape=shape, index=tuple(inner))
    values = np.broadcast_to(
        cast_for_assignment(nested(constant_values), array.dtype), (array.ndim, 2)
    )
    for axis, width in enumerate(widths):
        shape = array.shape
        before, after = (
            np.broadcast_to(values[axis, end], (*shape[:axis], n, *shape[axis + 1 :]))
            for end, n in enumerate(width)
        )
        array = np.concatenate([before, array, after], axis=axis)
    return array


def _ramp(rows: Array, n: int, end: Array, mode: str) -> Array:
    """Steps from an end value to the first row, which is not included."""
    if rows.dtype.kind not in "iu":
        return linspace(end, rows[0], n, endpoint=False).astype(rows.dtype)
    step = (as_floating(rows[0]) - end) / max(n, 1)
    places = np.reshape(np.arange(n), (n, *(1,) * (rows.ndim - 1)))
    # integers are rounded down
    return np.floor(places * step + end).astype(rows.dtype)


def _lengths(stat_length: ArrayLike, ndim: int) -> Array:
    """The number of elements that count before and after, for each axis; 0 for all."""
    if stat_length is None:
        return np.zeros((ndim, 2), int)
    lengths = np.asarray(stat_length)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"stat_length must hold integers; got {lengths.dtype}")
    if lengths.size and lengths.min() < 1:
        raise ValueError("pad: a stat_length is 1 or more")
    return np.broadcast_to(lengths, (ndim, 2))


def _statistic(rows: Array, n: int, length: Array, mode: str) -> Array:
    """A statistic of the first rows, repeated n times."""
    of = rows[: int(length)] if length else rows
    y = np.expand_dims(STATISTICS[mode](of, axis=0), 0)
    if y.dtype != rows.dtype:
        # the mean of integers is rounded
        y = (np.rint(y) if rows.dtype.kind in "iu" else y).astype(rows.dtype)
    return np.broadcast_to(y, (n, *rows.shape[1:]))


def _oddly(rows: Array, before: int, after: int, with_edge: bool) -> Array:
    """Rows mirrored at both ends, repeatedly: twice the row at the end minus each row."""
    period = rows.shape[0]
    if period == 1:
        return take(rows, np.zeros(before + 1 + after, np.intp), 0)
    # the row at the edge is mirrored too, or not
    skipped = 0 if with_edge else 1
    step = period - skipped
    while before or after:
        n = rows.shape[0]
        most = (n - skipped) // step * step
        front, back = min(most, before), min(most, after)
        first = 2 * rows[:1] - rows[skipped : skipped + front][::-1]
        stop = n - skipped
        last = 2 * rows[n - 1 :] - rows[stop - back : stop][::-1]
        rows = np.concatenate([first, rows, last])
        before, after = before - front, after - back
    return rows


def _pairs(pad_width: ArrayLike | dict[int, Any], ndim: int) -> list[list[int]]:
    """The widths before and after, for each axis."""
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
