"""Calls to test functions of shape on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from domains import words as w
from tapegrad.domain import (
    POSITIVE,
    REAL,
    Call,
    Choices,
    Domain,
    Elements,
    any_of,
    axis_or_flat,
    each,
)
from tapegrad.functions.padding import INDEX_MODES, STATISTICS
from tapegrad.types import Array, ArrayLike, PyTree


def _transpose_axes(choose: Choices, a: Array) -> Any:
    """All axes in any order, as a tuple or a list, or None."""
    order = w.from_either_end(choose, choose.permutation(a.ndim), a.ndim)
    return choose.among([None, tuple(order), order])


def _new_shape(choose: Choices, a: Array) -> Any:
    first = choose.among([d for d in range(1, a.size + 1) if a.size % d == 0] or [0])
    rest = a.size // first if first else 3
    shapes: list[Any] = [(first, rest), (first, 1, rest), (a.size,), a.size]
    return choose.among([*shapes, -1, (-1,), (first, -1)] if a.size else shapes)


def _new_axes(choose: Choices, a: Array) -> Any:
    n = choose.integer(1, 2)
    places = choose.permutation(a.ndim + n)[:n]
    axes = w.from_either_end(choose, places, a.ndim + n)
    return axes[0] if n == 1 and choose.among(w.FLAG) else tuple(axes)


def _squeeze_options(choose: Choices, a: Array) -> dict[str, Any]:
    if not a.ndim:
        return {"axis": choose.among([None, (), 0, -1])}
    ones = choose.subset([i for i, side in enumerate(a.shape) if side == 1])
    axes = w.from_either_end(choose, ones, a.ndim)
    return {"axis": choose.among([tuple(axes), *axes])} if axes else {}


def _wider(choose: Choices, array: Array) -> tuple[int, ...]:
    sides = [choose.integer(0, 3) if side == 1 else side for side in array.shape]
    return (*choose.shape(max_dims=2, max_side=2), *sides)


def _rolls(choose: Choices, a: Array) -> dict[str, Any]:
    axis: Any = choose.axes(a.ndim) if a.ndim else None
    shifts = tuple(choose.integer(-4, 4) for _ in np.atleast_1d(axis))
    return {"shift": shifts if isinstance(axis, tuple) else shifts[0], "axis": axis}


def _moves(choose: Choices, a: Array) -> dict[str, Any]:
    if a.ndim and choose.among(w.FLAG):
        return {"source": choose.axis(a.ndim), "destination": choose.axis(a.ndim)}
    n = choose.integer(0, a.ndim)
    source, destination = (choose.permutation(a.ndim)[:n] for _ in range(2))
    return {"source": source, "destination": tuple(axis - a.ndim for axis in destination)}


def _diagonals(choose: Choices, a: Array) -> dict[str, int]:
    axis1, axis2 = choose.permutation(a.ndim)[:2]
    return {"offset": choose.integer(-4, 4), "axis1": axis1, "axis2": axis2 - a.ndim}


def _repeats(choose: Choices, a: Array) -> dict[str, ArrayLike | None]:
    axis, n = axis_or_flat(choose, a)
    repeats = choose.among([choose.integer(0, 3), choose.integers((n,), 0, 3), [2]])
    return {"repeats": repeats, "axis": axis}


def _places(choose: Choices, n: int) -> Any:
    """Positions along an axis, in any form that `insert` and `delete` take."""
    if n == 0:
        return choose.among([[], slice(None)])
    ints = [choose.integer(-n, n - 1) for _ in range(choose.integer(0, 3))]
    mask = choose.booleans((n,))
    slices = [slice(None, None, 2), slice(2, 0, -1)]
    return choose.among([choose.integer(-n, n - 1), ints, mask, *slices])


def _inserts(choose: Choices) -> Call:
    arr = choose.array(choose.shape())
    axis, _ = axis_or_flat(choose, arr)
    sides = [arr.size] if axis is None else [*arr.shape]
    n = sides.pop(axis or 0)
    obj = _places(choose, n)
    if isinstance(obj, int):
        values = choose.among([[], sides, [2, *sides]])
    else:
        k = np.insert(np.zeros(n), obj, 0).size - n
        sides.insert((axis or 0) % max(1, arr.ndim), k)
        values = choose.among([[], sides])
    return Call((arr,), {"obj": obj, "values": choose.array(tuple(values)), "axis": axis})


def _deletes(choose: Choices, arr: Array) -> dict[str, Any]:
    axis, n = axis_or_flat(choose, arr)
    return {"obj": _places(choose, n), "axis": axis}


def _joinable(choose: Choices, shape: tuple[int, ...], axis: int | None, n: int) -> list[Any]:
    """n arrays of a shape, except for one axis if any."""
    shapes = [[*shape] for _ in range(n)]
    for sides in shapes:
        if axis is not None:
            sides[axis] = choose.integer(0, 3)
    return [choose.array(tuple(sides)) for sides in shapes]


def _stacks(choose: Choices, free: Callable[[int], int | None], max_dims: int = 3) -> Call:
    """Calls on a list of arrays, which may differ along the axis that is free for their ndim."""
    shape = choose.shape(max_dims=max_dims)
    return Call((_joinable(choose, shape, free(len(shape)), choose.integer(1, 3)),))


def _blocks(choose: Choices) -> Call:
    # numbers, vectors and matrices side by side, and rows of them
    heights = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    widths = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    grid = [[choose.array((h, w)) for w in widths] for h in heights]
    row = _joinable(choose, choose.shape(min_dims=1), -1, 2)
    mixed = [[choose.array(()), choose.array((2,))], [choose.array((3,))]]
    return Call((choose.among([grid, row, mixed, row[0], [[[row[0]]], [[row[0]]]]]),))


def _pieces(choose: Choices, n: int | None = None) -> Call:
    """Calls on arrays that can be joined along an axis, in a list or n of them one by one."""
    shape = choose.shape(min_dims=1)
    axis = choose.axis(len(shape))
    pieces = _joinable(choose, shape, axis, n or choose.integer(1, 3))
    return Call(tuple(pieces) if n else (pieces,), {"axis": choose.among([axis, axis, None])})


def _cuts(choose: Choices, n: int, even: bool = True) -> Any:
    """Indices to cut n at, or a number of parts, which divides n if the parts are even."""
    if choose.among(w.FLAG):
        return [choose.integer(-4, 4) for _ in range(choose.integer(0, 3))]
    return choose.among([k for k in range(1, 6) if not even or n % k == 0])


def _split(axis: int | None = None, min_dims: int = 1, even: bool = True) -> Domain:
    """Calls on an array and where to cut it, along one axis or a chosen one."""

    def ways(choose: Choices, ary: Array) -> dict[str, Any]:
        along = choose.axis(ary.ndim) if axis is None else min(axis, ary.ndim - 1)
        cuts = {"indices_or_sections": _cuts(choose, ary.shape[along], even)}
        return cuts | ({"axis": along} if axis is None else {})

    return w.calls(w.array(min_dims), ways=ways)


def _widths(choose: Choices, ndim: int) -> PyTree:
    """The widths of padding, in every form that `pad` takes."""
    pairs = [(choose.integer(0, 4), choose.integer(0, 4)) for _ in range(ndim)]
    kinds = [pairs, choose.integer(0, 2), (1, 2), [(2, 0)], [3]]
    if ndim:
        axis = choose.axis(ndim)
        kinds += [{axis: (1, 3)}, {axis: 2}, [(n,) for n, _ in pairs]]
    return choose.among(kinds if ndim else [0, (1, 2)])


def _pads(choose: Choices) -> Call:
    # only distinct extremes have the same positions at both sides of a difference
    array = choose.array(choose.shape(max_dims=2), Elements(), distinct=True)
    mode = choose.among(["constant", "constant", *INDEX_MODES, *STATISTICS, "linear_ramp"])
    arguments = {"pad_width": _widths(choose, array.ndim), "mode": mode}
    pairs = [(1.5, choose.integer(-2, 2)) for _ in range(array.ndim)]
    if mode == "constant":
        arguments["constant_values"] = choose.among([0, 2, (1, -0.5), pairs or 1])
    elif array.size == 0:
        arguments["pad_width"] = 0
    elif mode == "linear_ramp":
        arguments["end_values"] = choose.among([0, 2, (1, -0.5), pairs or 1])
    elif mode in STATISTICS:
        arguments["stat_length"] = choose.among([None, 1, (2, 3), [(1, 9)] * array.ndim or 2])
    elif mode in ("reflect", "symmetric"):
        arguments["reflect_type"] = choose.among(["even", "odd"])
    return Call((array,), arguments)


def _nested_call(choose: Choices) -> Call:
    shape = choose.shape(max_dims=1)

    def item() -> Array | float:
        return choose.among([1, 2.5, True]) if not shape and choose.integer(0, 1) else part()

    def part() -> Array:
        return choose.array(shape)

    m = choose.integer(1, 2)
    rows = [[part(), *(item() for _ in range(m))] for _ in range(choose.integer(1, 2))]
    return Call((choose.among([part(), rows[0], rows, tuple(rows)]),))


def _fills(choose: Choices, like: bool) -> Call:
    """Calls on a shape, or on an array of it, and a value that broadcasts to it."""
    whole, part = choose.broadcastable(2)
    shape = np.broadcast_shapes(whole, part)
    value = choose.array(part)
    return Call(
        (choose.array(shape) if like else shape, value), {"dtype": choose.among([None, np.float32])}
    )


def _between(elements: Elements) -> Domain:
    """Calls on two ends whose shapes broadcast."""

    def axis(choose: Choices, start: Array, stop: Array) -> int:
        return choose.axis(np.broadcast(start, stop).ndim + 1)

    return w.more(each(elements, elements), num=w.whole(0, 4), endpoint=w.FLAG, axis=axis)


_ONE = w.array()
_OFFSET = {"k": w.whole(-4, 4)}
_DIAGONALS = w.calls(w.array(2), ways=_diagonals)
_UP_TO_THREE = any_of(w.calls(_ONE), w.calls(_ONE, _ONE), w.calls(_ONE, _ONE, _ONE))
_LINE = w.array(0, 1)
_LINES = any_of(w.calls(_LINE), w.calls(_LINE, _LINE), w.calls(_LINE, _LINE, _LINE))

# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("transpose", "permute_dims"), w.calls(_ONE, axes=_transpose_axes)),
    "swapaxes": w.calls(w.array(1), w.axis, w.axis),
    "reshape": w.calls(_ONE, _new_shape, ways=[{}, {}, {"order": "F"}, {"order": "C"}]),
    "expand_dims": w.calls(_ONE, _new_axes),
    "squeeze": w.calls(w.array(0, 3, 0, 2), ways=_squeeze_options),
    "broadcast_to": w.calls(w.array(0, 2), _wider),
    "expand": w.calls(w.array(0, 2), lambda c, x: c.axis(x.ndim + 1), w.whole(0, 3)),
    "flip": w.calls(_ONE, axis=w.axes),
    "roll": w.calls(_ONE, ways=_rolls),
    "concatenate": _pieces,
    "stack": w.more(
        partial(_stacks, free=lambda n: None, max_dims=2), axis=lambda c, x: c.axis(x[0].ndim + 1)
    ),
    "moveaxis": w.calls(_ONE, ways=_moves),
    "rollaxis": w.calls(w.array(1), axis=w.axis, start=lambda c, a: c.integer(-a.ndim, a.ndim)),
    "matrix_transpose": w.calls(w.array(2)),
    "ravel": w.calls(_ONE, order=["C", "F"]),
    **dict.fromkeys(("atleast_1d", "atleast_2d", "atleast_3d"), _UP_TO_THREE),
    "broadcast_arrays": any_of(*[each(*[REAL] * n) for n in (1, 2, 3)]),
    "fliplr": w.calls(w.array(2)),
    "flipud": w.calls(w.array(1)),
    "rot90": w.calls(
        w.array(2), k=w.whole(-4, 4), axes=lambda c, m: tuple(c.permutation(m.ndim)[:2])
    ),
    "diagonal": _DIAGONALS,
    "trace": _DIAGONALS,
    "diag": w.calls(w.array(1, 2), **_OFFSET),
    "diagflat": w.calls(w.array(0, 2), **_OFFSET),
    **dict.fromkeys(("tril", "triu"), w.calls(w.array(1), **_OFFSET)),
    "repeat": w.calls(_ONE, ways=_repeats),
    "tile": w.calls(w.array(0, 2), reps=[w.whole(0, 3), lambda c, a: c.shape(0, 3, 0, 2)]),
    "resize": w.calls(w.array(0, 2, 1), new_shape=[w.whole(0, 9), lambda c, a: c.shape()]),
    "insert": _inserts,
    "delete": w.calls(_ONE, ways=_deletes),
    "hstack": partial(_stacks, free=lambda n: min(n - 1, 1) if n else None),
    "vstack": partial(_stacks, free=lambda n: 0 if n > 1 else None),
    "dstack": partial(_stacks, free=lambda n: 2 if n > 2 else None),
    "column_stack": partial(_stacks, free=lambda n: 1 if n == 2 else None, max_dims=2),
    "block": _blocks,
    "append": any_of(w.calls(_ONE, _ONE), partial(_pieces, n=2)),
    "array_split": _split(even=False),
    "split": _split(),
    "hsplit": _split(axis=1),
    "vsplit": _split(axis=0, min_dims=2),
    "dsplit": _split(axis=2, min_dims=3),
    "unstack": w.calls(w.array(1), axis=w.axis),
    "pad": _pads,
    "array": _nested_call,
    "full": partial(_fills, like=False),
    "full_like": partial(_fills, like=True),
    "linspace": _between(REAL),
    "geomspace": _between(POSITIVE),
    "logspace": _between(Elements(-3.0, 2.0)),
    "meshgrid": w.more(_LINES, sparse=w.FLAG, indexing=["xy", "ij"]),
}
