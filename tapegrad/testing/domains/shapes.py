"""Calls to test functions of shape on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.domain import (
    POSITIVE,
    REAL,
    Call,
    Choices,
    Domain,
    Elements,
    axis_or_flat,
    on_array,
    several,
)
from tapegrad.functions.padding import BY_PLACE, STATISTICS


def _turns(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    order = choose.permutation(a.ndim)
    axes = [axis - a.ndim if choose.among([False, True]) else axis for axis in order]
    return Call((a,), choose.among([{}, {"axes": None}, {"axes": tuple(axes)}, {"axes": axes}]))


def _swaps(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_dims=1))
    return Call((a, choose.axis(a.ndim), choose.axis(a.ndim)))


def _reshapes(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    first = choose.among([d for d in range(1, a.size + 1) if a.size % d == 0] or [0])
    rest = a.size // first if first else 3
    shapes: list[Any] = [(first, rest), (first, 1, rest), (a.size,), a.size]
    shape = choose.among([*shapes, -1, (-1,), (first, -1)] if a.size else shapes)
    return Call((a, shape), choose.among([{}, {}, {"order": "F"}, {"order": "C"}]))


def _new_axes(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    n = choose.integer(1, 2)
    places = choose.permutation(a.ndim + n)[:n]
    axes = [axis - a.ndim - n if choose.among([False, True]) else axis for axis in places]
    return Call((a, axes[0] if n == 1 and choose.among([False, True]) else tuple(axes)))


def _squeezes(choose: Choices) -> Call:
    a = choose.array(choose.shape(max_side=2))
    if not a.ndim:
        return Call((a,), {"axis": choose.among([None, (), 0, -1])})
    ones = choose.subset([i for i, side in enumerate(a.shape) if side == 1])
    axes = [axis - a.ndim if choose.among([False, True]) else axis for axis in ones]
    if not axes:
        return Call((a,))
    return Call((a,), {"axis": choose.among([tuple(axes), *axes])})


def _fillings(choose: Choices) -> Call:
    array = choose.array(choose.shape(max_dims=2))
    sides = [choose.integer(0, 3) if side == 1 else side for side in array.shape]
    return Call((array, (*choose.shape(max_dims=2, max_side=2), *sides)))


def _expansions(choose: Choices) -> Call:
    x = choose.array(choose.shape(max_dims=2))
    return Call((x, choose.axis(x.ndim + 1), choose.integer(0, 3)))


def _rolls(choose: Choices, a: Any) -> Any:
    axis = choose.axes(a.ndim) if a.ndim else None
    if not isinstance(axis, tuple):
        return {"shift": choose.integer(-4, 4), "axis": axis}
    return {"shift": tuple(choose.integer(-4, 4) for _ in axis), "axis": axis}


def _pieces(choose: Choices) -> Call:
    shape = choose.shape(min_dims=1)
    axis = choose.axis(len(shape))
    sides = [choose.integer(0, 3) for _ in range(choose.integer(1, 3))]
    i = axis % len(shape)
    pieces = [choose.array((*shape[:i], side, *shape[i + 1 :])) for side in sides]
    ways: list[dict[str, Any]] = [{"axis": axis}, {"axis": axis}, {"axis": None}]
    return Call((pieces,), choose.among([*ways, {}] if i == 0 else ways))


def _layers(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    layers = [choose.array(shape) for _ in range(choose.integer(1, 3))]
    return Call((layers,), choose.among([{}, {"axis": choose.axis(len(shape) + 1)}]))


def _moves(choose: Choices, a: Any) -> Any:
    if a.ndim and choose.among([False, True]):
        return {"source": choose.axis(a.ndim), "destination": choose.axis(a.ndim)}
    n = choose.integer(0, a.ndim)
    source, destination = (choose.permutation(a.ndim)[:n] for _ in range(2))
    return {"source": source, "destination": tuple(axis - a.ndim for axis in destination)}


_ARRAY = on_array(lambda c, a: {})


def _broadcastable(choose: Choices) -> Call:
    shapes = choose.broadcastable(choose.integer(1, 3))
    return Call(tuple(choose.array(shape) for shape in shapes))


def _offset(choose: Choices, x: Any) -> Any:
    return {"k": choose.integer(-4, 4)}


def _diagonals(choose: Choices, a: Any) -> Any:
    axis1, axis2 = choose.permutation(a.ndim)[:2]
    return {"offset": choose.integer(-4, 4), "axis1": axis1, "axis2": axis2 - a.ndim}


def _repeats(choose: Choices, a: Any) -> Any:
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


def _deletes(choose: Choices, arr: Any) -> Any:
    axis, n = axis_or_flat(choose, arr)
    return {"obj": _places(choose, n), "axis": axis}


def _joinable(choose: Choices, shape: Any, axis: int | None, n: int) -> list[Any]:
    """n arrays of a shape, except for one axis if any."""
    shapes = [[*shape] for _ in range(n)]
    for sides in shapes:
        if axis is not None:
            sides[axis] = choose.integer(0, 3)
    return [choose.array(tuple(sides)) for sides in shapes]


def _stacks(free: Callable[[int], int | None], max_dims: int = 3) -> Domain:
    """Calls on a list of arrays, which may differ along the axis that is free for their ndim."""

    def call(choose: Choices) -> Call:
        shape = choose.shape(max_dims=max_dims)
        return Call((_joinable(choose, shape, free(len(shape)), choose.integer(1, 3)),))

    return call


def _blocks(choose: Choices) -> Call:
    # numbers, vectors and matrices side by side, and rows of them
    heights = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    widths = [choose.integer(0, 2) for _ in range(choose.integer(1, 2))]
    grid = [[choose.array((h, w)) for w in widths] for h in heights]
    row = _joinable(choose, choose.shape(min_dims=1), -1, 2)
    mixed = [[choose.array(()), choose.array((2,))], [choose.array((3,))]]
    return Call((choose.among([grid, row, mixed, row[0], [[[row[0]]], [[row[0]]]]]),))


def _appends(choose: Choices) -> Call:
    if choose.among([False, True]):
        return Call((choose.array(choose.shape()), choose.array(choose.shape())))
    shape = choose.shape(min_dims=1)
    axis = choose.axis(len(shape))
    return Call(tuple(_joinable(choose, shape, axis, 2)), {"axis": axis})


def _cuts(choose: Choices, n: int, even: bool = True) -> Any:
    """Indices to cut n at, or a number of parts, which divides n if the parts are even."""
    if choose.among([False, True]):
        return [choose.integer(-4, 4) for _ in range(choose.integer(0, 3))]
    return choose.among([k for k in range(1, 6) if not even or n % k == 0])


def _splits(axis: int | None = None, min_dims: int = 1, even: bool = True) -> Domain:
    """Calls on an array and where to cut it, along one axis or a chosen one."""

    def arguments(choose: Choices, ary: Any) -> Any:
        along = choose.axis(ary.ndim) if axis is None else min(axis, ary.ndim - 1)
        cuts = {"indices_or_sections": _cuts(choose, ary.shape[along], even)}
        return cuts | ({"axis": along} if axis is None else {})

    return on_array(arguments, min_dims=min_dims)


def _widths(choose: Choices, ndim: int) -> Any:
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
    mode = choose.among(["constant", "constant", *BY_PLACE, *STATISTICS, "linear_ramp"])
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


def _nested(choose: Choices) -> Call:
    shape = choose.shape(max_dims=1)

    def item() -> Any:
        return choose.among([1, 2.5, True]) if not shape and choose.integer(0, 1) else part()

    def part() -> Any:
        return choose.array(shape)

    m = choose.integer(1, 2)
    rows = [[part(), *(item() for _ in range(m))] for _ in range(choose.integer(1, 2))]
    return Call((choose.among([part(), rows[0], rows, tuple(rows)]),))


def _fills(choose: Choices, like: Callable[..., Any] = lambda choose, shape: shape) -> Call:
    """Calls on a shape, or on an array of it, and a value that broadcasts to it."""
    whole, part = choose.broadcastable(2)
    first = like(choose, np.broadcast_shapes(whole, part))
    return Call((first, choose.array(part)), {"dtype": choose.among([None, np.float32])})


def _between(elements: Elements) -> Domain:
    """Calls on two ends whose shapes broadcast."""

    def call(choose: Choices) -> Call:
        shapes = choose.broadcastable(2)
        n = len(np.broadcast_shapes(*shapes)) + 1
        steps = {"num": choose.integer(0, 4), "endpoint": choose.among([True, False])}
        ends = [choose.array(shape, elements) for shape in shapes]
        return Call(tuple(ends), {**steps, "axis": choose.axis(n)})

    return call


def _grids(choose: Choices) -> Call:
    xi = [choose.array(choose.shape(max_dims=1)) for _ in range(choose.integer(1, 3))]
    options = {"sparse": choose.among([False, True]), "indexing": choose.among(["xy", "ij"])}
    return Call(tuple(xi), options)


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "transpose": _turns,
    "swapaxes": _swaps,
    "reshape": _reshapes,
    "expand_dims": _new_axes,
    "squeeze": _squeezes,
    "broadcast_to": _fillings,
    "expand": _expansions,
    "flip": on_array(lambda c, m: {"axis": c.axes(m.ndim)}),
    "roll": on_array(_rolls),
    "concatenate": _pieces,
    "stack": _layers,
    "permute_dims": on_array(lambda c, a: {"axes": c.among([None, tuple(c.permutation(a.ndim))])}),
    "moveaxis": on_array(_moves),
    "rollaxis": on_array(
        lambda c, a: {"axis": c.axis(a.ndim), "start": c.integer(-a.ndim, a.ndim)}, min_dims=1
    ),
    "matrix_transpose": on_array(lambda c, x: {}, min_dims=2),
    "ravel": on_array(lambda c, a: c.among([{}, {"order": "F"}])),
    "atleast_1d": several(_ARRAY),
    "atleast_2d": several(_ARRAY),
    "atleast_3d": several(_ARRAY),
    "broadcast_arrays": _broadcastable,
    "fliplr": on_array(lambda c, m: {}, min_dims=2),
    "flipud": on_array(lambda c, m: {}, min_dims=1),
    "rot90": on_array(
        lambda c, m: {"k": c.integer(-4, 4), "axes": tuple(c.permutation(m.ndim)[:2])}, min_dims=2
    ),
    "diagonal": on_array(_diagonals, min_dims=2),
    "trace": on_array(_diagonals, min_dims=2),
    "diag": on_array(_offset, min_dims=1, max_dims=2),
    "diagflat": on_array(_offset, max_dims=2),
    "tril": on_array(_offset, min_dims=1),
    "triu": on_array(_offset, min_dims=1),
    "repeat": on_array(_repeats),
    "tile": on_array(
        lambda c, a: {
            "reps": c.among(
                [c.integer(0, 3), tuple(c.integer(0, 2) for _ in range(c.integer(0, 3)))]
            )
        },
        max_dims=2,
    ),
    "resize": on_array(
        lambda c, a: {"new_shape": c.among([c.integer(0, 9), c.shape()])}, max_dims=2, min_side=1
    ),
    "insert": _inserts,
    "delete": on_array(_deletes),
    "hstack": _stacks(lambda n: min(n - 1, 1) if n else None),
    "vstack": _stacks(lambda n: 0 if n > 1 else None),
    "dstack": _stacks(lambda n: 2 if n > 2 else None),
    "column_stack": _stacks(lambda n: 1 if n == 2 else None, max_dims=2),
    "block": _blocks,
    "append": _appends,
    "array_split": _splits(even=False),
    "split": _splits(),
    "hsplit": _splits(axis=1),
    "vsplit": _splits(axis=0, min_dims=2),
    "dsplit": _splits(axis=2, min_dims=3),
    "unstack": on_array(lambda c, x: {"axis": c.axis(x.ndim)}, min_dims=1),
    "pad": _pads,
    "array": _nested,
    "full": _fills,
    "full_like": lambda choose: _fills(choose, lambda choose, shape: choose.array(shape)),
    "linspace": _between(REAL),
    "geomspace": _between(POSITIVE),
    "logspace": _between(Elements(-3.0, 2.0)),
    "meshgrid": _grids,
}
