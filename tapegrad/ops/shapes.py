"""Rules for the shapes of results, which the compiler computes beside their dtypes.

A rule takes the shapes of the operands, and the options. The compiler also calls the op on arrays
of one element, for the dtype. A rule raises for wrong shapes that this call would accept; if either
raises, the op itself is called, and its error says what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tapegrad.core.primitive import Primitive
from tapegrad.core.writing import ASARRAY, PARAMETER
from tapegrad.declare.abstract import (
    BY_MOVING,
    SAME_DTYPE,
    SAME_REAL_DTYPE,
    SHAPES,
    Shape,
    broadcast_shape,
    stand_in,
)
from tapegrad.ops import (
    activation,
    casting,
    indexing,
    inverses,
    joining,
    order,
    product,
    reduction,
    rows,
    scan,
    shape,
)
from tapegrad.ops.indexing import insert_arrays
from tapegrad.types import Axis


def _require(fits: bool) -> None:
    """Raise if operands do not fit together."""
    if not fits:
        raise ValueError("the op is called, and says what does not fit")


def _reduction_shape(a: Shape, axis: Axis = None, keepdims: bool = False, **options: Any) -> Shape:
    axes = range(len(a)) if axis is None else normalize_axis_tuple(axis, len(a))
    if keepdims:
        return tuple([1 if i in axes else n for i, n in enumerate(a)])
    return tuple([n for i, n in enumerate(a) if i not in axes])


def _first_shape(a: Shape, *others: Shape, **options: Any) -> Shape:
    return a


def _shape_along_axis(a: Shape, axis: int | None = -1, **options: Any) -> Shape:
    return a if axis is not None else (math.prod(a),)


def _scan_shape(a: Shape, axis: int | None = None) -> Shape:
    return _shape_along_axis(a, axis)


def _matmul(a: Shape, b: Shape) -> Shape:
    inner = b[-2] if len(b) > 1 else b[0]
    _require(a[-1] == inner)
    return (*broadcast_shape(a[:-2], b[:-2]), *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def _vecdot(a: Shape, b: Shape, axis: int = -1) -> Shape:
    n, m = a[axis], b[axis]
    first, second = list(a), list(b)
    del first[axis], second[axis]
    _require(n == m)
    return broadcast_shape(tuple(first), tuple(second))


def _matvec(a: Shape, b: Shape) -> Shape:
    return _matmul(a, (*b, 1))[:-1]


def _vecmat(a: Shape, b: Shape) -> Shape:
    shape = _matmul((*a[:-1], 1, a[-1]), b)
    return (*shape[:-2], shape[-1])


def _contract(
    *shapes: Shape, subscripts: str, optimize: bool | str | Sequence[Any] = False
) -> Shape:
    inputs, output = subscripts.split("->")
    letter_sizes: dict[str, int] = {}
    for letters, sizes in zip(inputs.split(","), shapes, strict=True):
        operand_sizes = dict(zip(letters, sizes, strict=True))
        for letter, n in zip(letters, sizes, strict=True):
            _require(n == operand_sizes[letter])
            if letter_sizes.get(letter, 1) == 1:
                letter_sizes[letter] = n
            _require(n in (1, letter_sizes[letter]))
    return tuple([letter_sizes[letter] for letter in output])


def _concatenate(*shapes: Shape, axis: int | None = 0) -> Shape:
    if axis is None:
        return (sum(map(math.prod, shapes)),)
    first = list(shapes[0])
    axis = normalize_axis_index(axis, len(first))
    first[axis] = sum([x[axis] for x in shapes])
    _require(len({(*x[:axis], *x[axis + 1 :]) for x in shapes}) == 1)
    return tuple(first)


def _stack(*shapes: Shape, axis: int = 0) -> Shape:
    first = list(shapes[0])
    _require({*shapes} == {shapes[0]})
    first.insert(normalize_axis_index(axis, len(first) + 1), len(shapes))
    return tuple(first)


def _expand(x: Shape, axis: int, copies: int) -> Shape:
    _require(type(copies) is int)
    i = normalize_axis_index(axis, len(x) + 1)
    return (*x[:i], copies, *x[i:])


def _inner_product(a: Shape, b: Shape) -> Shape:
    _require(a == b)
    return ()


def _segments(values: Shape, indices: Shape, n: int) -> Shape:
    _require(values[: len(indices)] == indices and type(n) is int)
    return (n, *values[len(indices) :])


def _add_at_places(a: Shape, values: Shape, places: Shape) -> Shape:
    _require(broadcast_shape(values, places) == places)
    return a


def _inv(a: Shape) -> Shape:
    _require(a[-2] == a[-1])
    return a


def _scatter(values: Shape, *arrays: Shape, shape: Shape, index: tuple[Any, ...]) -> Shape:
    # stand-ins, which take no memory
    places = insert_arrays(index, tuple([stand_in(x, np.dtype(int)) for x in arrays]))
    selected = stand_in(tuple(shape), np.dtype("V0"))[places].shape
    _require(broadcast_shape(values, selected) == selected)
    return tuple(shape)


def _det(a: Shape) -> Shape:
    return _inv(a)[:-2]


_RULES: dict[Any, Any] = {
    PARAMETER: broadcast_shape,
    ASARRAY: broadcast_shape,
    **dict.fromkeys([getattr(reduction, name) for name in reduction.__all__], _reduction_shape),
    activation.logsumexp: _reduction_shape,
    **dict.fromkeys((activation.softmax, activation.log_softmax), _first_shape),
    **dict.fromkeys((activation.standardize, casting.copy, shape.roll), _first_shape),
    casting.ascontiguousarray: lambda a: a or (1,),
    order.sort: _shape_along_axis,
    order.argsort: _shape_along_axis,
    scan.cumsum: _scan_shape,
    scan.cumprod: _scan_shape,
    shape.expand: _expand,
    product.matmul: _matmul,
    product.vecdot: _vecdot,
    product.matvec: _matvec,
    product.vecmat: _vecmat,
    product.inner_product: _inner_product,
    product.contract: _contract,
    joining.concatenate: _concatenate,
    joining.stack: _stack,
    indexing.getitem: BY_MOVING,
    rows.index_select: BY_MOVING,
    indexing.scatter: _scatter,
    rows.sum_segments: _segments,
    rows.max_segments: _segments,
    rows.add_at_places: _add_at_places,
    inverses.inv: _inv,
    inverses.det: _det,
}
for _op, _rule in _RULES.items():
    SHAPES[_op] = _rule
    if isinstance(_op.complex, Primitive):
        SHAPES[_op.complex] = _rule
    if _op in (indexing.scatter, rows.sum_segments, rows.max_segments, shape.expand):
        SAME_DTYPE.add(_op)
SAME_REAL_DTYPE |= {
    *[getattr(activation, name) for name in (*activation.__all__, "sigmoid_derivative")],
    *(reduction.max, reduction.mean, reduction.min, reduction.prod, reduction.sum),
    *(casting.copy, joining.concatenate, joining.stack),
}
