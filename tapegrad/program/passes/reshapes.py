"""Views undone: the array that a value reshapes, or that several values are parts of."""

from __future__ import annotations

import itertools
from typing import Any

from tapegrad.ops.indexing import getitem
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Operand


def before_reshape(builder: Builder, x: Any) -> Operand | None:
    """The operand that a value only reshapes, if it does: for ``x[:, None]``, ``x``."""
    made = builder.source(x, reshape)
    return None if made is None else made.operands[0]


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths of a shape other than 1, which adding or dropping axes keeps."""
    return tuple(length for length in shape if length != 1)


def rejoined(builder: Builder, parts: tuple[Any, ...]) -> Operand | None:
    """The array whose rows, or columns, the parts are, in order: joining them copies each part."""
    made = [builder.source(x, getitem) for x in parts]
    sources = {x.operands if x is not None else () for x in made}
    of = sources.pop()
    if sources or len(of) != 1:
        return None
    shape = builder.shape(of[0])
    places = [x.options["index"] for x in made if x is not None]
    if shape and all(len(place) == 1 and type(place[0]) is slice for place in places):
        ends = [place[0].indices(shape[0]) for place in places]
        joined = itertools.pairwise([(0, 0, 1), *ends, (shape[0], 0, 1)])
        if all(one[1] == other[0] and one[2] == 1 for one, other in joined):
            return of[0]
    if len(shape) < 2:
        return None
    for axis in (0, 1):
        rest = shape[:axis] + shape[axis + 1 :]
        rows = [(*[slice(None)] * axis, i) for i in range(shape[axis])]
        if rows and places == rows:
            order = (1, 0, *range(2, len(shape)))
            first = builder.emit(transpose, of[0], axes=order) if axis else of[0]
            return builder.emit(reshape, first, shape=(shape[axis] * rest[0], *rest[1:]))
    return None
