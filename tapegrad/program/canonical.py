"""One form for one meaning: resolve the options of instructions.

Passes can then compare options, and equal instructions are shared. Start with `CANONICAL`.

- Axes are counted from 0 and sorted. An axis that is the default is left out.
- A reshape names its shape. A view that only adds or drops axes is a reshape; so are its adjoint
  and a transpose that moves no axis.
- An exchange of two axes is a transpose.
- An index has a part for each axis up to the last that it changes. Its slices leave out the ends
  of the array. An index of one element selects an array without axes.
- Rows that one array of integers selects are an `index_select`; the adjoint is a `segment_sum`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.ops import reduction
from tapegrad.ops.indexing import HOLE, getitem, scatter
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.rows import index_select, sum_segments
from tapegrad.ops.shape import expand_dims, reshape, squeeze, swapaxes, transpose
from tapegrad.program.ir import Instruction

Shape = tuple[int, ...]
Resolved = tuple[Primitive, Mapping[str, Any]]


class Operands(Protocol):
    """A program that knows the shapes and dtypes of operands."""

    def shape(self, x: Any) -> Shape:
        """Return the shape of an operand."""

    def dtype(self, x: Any) -> Any:
        """Return the dtype of an operand; the class of a Python number."""


Resolve = Callable[[Instruction, Operands], Resolved]


def _reshape(x: Instruction, operands: Operands) -> Resolved:
    return reshape, {"shape": x.shape}


def _transpose(x: Instruction, operands: Operands) -> Resolved:
    n = len(x.shape)
    axes = list(range(n))
    if x.op is swapaxes:
        one, other = (x.options[name] % n for name in ("axis1", "axis2"))
        axes[one], axes[other] = other, one
    else:
        axes = [axis % n for axis in x.options.get("axes") or reversed(axes)]
    if axes == list(range(n)):
        return reshape, {"shape": x.shape}
    return transpose, {} if axes == list(range(n))[::-1] else {"axes": tuple(axes)}


def _reduction(x: Instruction, operands: Operands) -> Resolved:
    n, axis = len(operands.shape(x.operands[0])), x.options.get("axis")
    canonical: dict[str, Any] = {"keepdims": True} if x.options.get("keepdims") else {}
    # NumPy accepts axis 0 for an array without axes, and means none
    if axis is not None and n:
        axes = sorted({k % n for k in (axis if isinstance(axis, tuple) else (axis,))})
        if len(axes) < n:
            canonical["axis"] = axes[0] if len(axes) == 1 else tuple(axes)
    return x.op, canonical


def _concatenation(x: Instruction, operands: Operands) -> Resolved:
    axis = x.options.get("axis", 0)
    if axis is None:
        return x.op, x.options
    return x.op, {"axis": axis % len(x.shape)} if axis % len(x.shape) else {}


def _getitem(x: Instruction, operands: Operands) -> Resolved:
    taken, *places = x.operands
    if places:
        is_rows = _is_rows(x, operands.dtype(places[0]))
        return (index_select, {}) if is_rows else (x.op, x.options)
    shape, dtype = operands.shape(taken), x.dtype
    parts = _parts(x.options["index"], shape)
    if dtype != operands.dtype(taken):
        # a NumPy number, which has native byte order where the array has not
        return x.op, {"index": parts}
    if math.prod(shape) == math.prod(x.shape) and _are_forward(parts):
        return reshape, {"shape": x.shape}
    # NumPy converts a NumPy number in each call, so select an array; an integer stays a number, for
    # it may be an index
    is_array = x.shape == () and (dtype.kind in "fc" or not dtype.isnative)
    return x.op, {"index": (*parts, ...) if is_array else parts}


def _scatter(x: Instruction, operands: Operands) -> Resolved:
    (values, *places), shapes = x.operands, [*map(operands.shape, x.operands)]
    if places:
        # several values are added at their indices; a single value is assigned
        many = shapes[0] == shapes[1] + x.shape[1:] and math.prod(shapes[1]) > 1
        is_rows = many and _is_rows(x, operands.dtype(places[0]))
        return (sum_segments, {"n": x.shape[0]}) if is_rows else (x.op, x.options)
    parts = _parts(x.options["index"], x.shape)
    # a Python number has no shape, and one value may fill many places
    is_array = isinstance(operands.dtype(values), np.dtype)
    if is_array and math.prod(shapes[0]) == math.prod(x.shape) and _are_forward(parts):
        return reshape, {"shape": x.shape}
    return x.op, {"shape": x.shape, "index": parts}


def _is_rows(x: Instruction, dtype: Any) -> bool:
    """Whether an index is one array of integers."""
    return x.options["index"] == (HOLE,) and isinstance(dtype, np.dtype) and dtype.kind in "iu"


def _are_forward(parts: tuple[Any, ...]) -> bool:
    """Whether an index keeps the order of elements, and is a reshape if it selects all."""
    return all(type(part) is not slice or part.step is None or part.step > 0 for part in parts)


def _parts(index: tuple[Any, ...], shape: Shape) -> tuple[Any, ...]:
    """Resolve an index without arrays: a part for each axis up to the last that it changes."""
    if Ellipsis in index:
        at = index.index(Ellipsis)
        left = len(shape) - sum(part is not None for part in index) + 1
        index = (*index[:at], *[slice(None)] * left, *index[at + 1 :])
    lengths = iter(shape)
    parts = [None if part is None else _part(part, next(lengths)) for part in index]
    while parts and parts[-1] == slice(None):
        parts.pop()
    return tuple(parts)


def _part(part: Any, length: int) -> Any:
    if not isinstance(part, slice):
        return part % length
    start, stop, step = part.indices(length)
    if step != 1:
        return part
    stop = max(start, stop)
    return slice(start or None, None if stop == length else stop)


class Place(NamedTuple):
    """A row of an array, or a slice along an axis."""

    is_row: bool
    axis: int
    start: int
    stop: int


def place_of(index: tuple[Any, ...], shape: Shape) -> Place | None:
    """Return the row or the slice that a resolved index selects, or None for other indices."""
    *whole, last = index or (None,)
    if type(last) is int and not whole:
        return Place(True, 0, last, last + 1)
    if type(last) is slice and all(part == slice(None) for part in whole):
        start, stop, step = last.indices(shape[len(whole)])
        return Place(False, len(whole), start, stop) if step == 1 else None
    return None


def are_whole(places: Sequence[Place | None], shape: Shape) -> bool:
    """Whether places, in order, are rows or slices of one axis and cover an array.

    There is at least one place. None stands for an index that is neither row nor slice.
    """
    first, kinds = places[0], {place and place[:2] for place in places}
    starts = [place and place.start for place in places]
    ends = [0, *[place and place.stop for place in places]]
    return first is not None and len(kinds) == 1 and [*starts, shape[first.axis]] == ends


CANONICAL: Mapping[Any, Resolve] = {
    **dict.fromkeys((reshape, expand_dims, squeeze), _reshape),
    **dict.fromkeys((transpose, swapaxes), _transpose),
    **dict.fromkeys([getattr(reduction, name) for name in reduction.__all__], _reduction),
    **dict.fromkeys((concatenate, stack), _concatenation),
    getitem: _getitem,
    scatter: _scatter,
}
