"""Calls to test comparisons, bits and selections on."""

from __future__ import annotations

import numpy as np

from tapegrad.domain import REAL, TYING, Call, Choices, Domain, Elements, axis_or_flat, each
from tapegrad.functions.selection import MODES

# zero half of the time
_TRUTH = Elements(-0.125, 0.125)


def _bits(n: int) -> Domain:
    """Calls on integers and truth values, of shapes that broadcast."""

    def call(choose: Choices) -> Call:
        dtype = choose.among([np.int64, np.uint8, np.bool_])
        shapes = choose.broadcastable(n)
        return Call(tuple(choose.integers(shape, -4, 9).astype(dtype) for shape in shapes))

    return call


def _isclose_calls(choose: Choices) -> Call:
    call = each(REAL, REAL)(choose)
    return Call(call.args, choose.among([{}, {"rtol": 0.5}, {"atol": 1.0, "equal_nan": True}]))


def _shifts(choose: Choices) -> Call:
    shapes = choose.broadcastable(2)
    return Call((choose.integers(shapes[0], -9, 9), choose.integers(shapes[1], 0, 4)))


def _selections(choose: Choices) -> Call:
    condition, x, y = choose.broadcastable(3)
    return Call((choose.booleans(condition), choose.array(x), choose.array(y)))


def _kept(choose: Choices) -> Call:
    shape = choose.shape()
    narrow = tuple(choose.among([side, 1]) for side in shape)
    return Call((choose.booleans(shape), choose.array(narrow)))


def _closenesses(choose: Choices) -> Call:
    call = each(REAL, REAL)(choose)
    b = call.args[choose.among([0, 0, 1])]
    return Call((call.args[0], b), choose.among([{}, {"rtol": 0.5}, {"atol": 9.0}]))


def _pairs(choose: Choices) -> Call:
    a, b = (choose.array(shape, TYING) for shape in choose.broadcastable(2))
    return Call((a, choose.among([a, b])))


def _equal_in_part(choose: Choices) -> Call:
    call = _pairs(choose)
    return Call(call.args, {"equal_nan": choose.among([False, True])})


def _angles(choose: Choices) -> Call:
    return Call(each(REAL)(choose).args, {"deg": choose.among([False, True])})


def _takes(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_side=1))
    axis, n = axis_or_flat(choose, a)
    axis = choose.among([None, 0, -1]) if a.ndim == 0 else axis
    mode = choose.among(MODES)
    beyond = 0 if mode == "raise" else 2 * n
    indices = choose.integers(choose.shape(max_dims=2), -n - beyond, n - 1 + beyond)
    return Call((a, indices), {"axis": axis, "mode": mode})


def _alongs(with_values: bool) -> Domain:
    def call(choose: Choices) -> Call:
        arr = choose.array(choose.shape(min_dims=1, min_side=1))
        axis, n = axis_or_flat(choose, arr)
        shape = [n] if axis is None else [choose.among([1, side]) for side in arr.shape]
        shape[axis or 0] = choose.integer(0, 3)
        indices = choose.integers(tuple(shape), -n, n - 1)
        if not with_values:
            return Call((arr, indices), {"axis": axis})
        # the shape that the other axes' places and the indices broadcast to
        whole = list(shape if axis is None else arr.shape)
        whole[axis or 0] = shape[axis or 0]
        values = choose.array(tuple(whole[choose.integer(0, len(whole)) :]))
        return Call((arr, indices, values.astype(arr.dtype)), {"axis": axis})

    return call


def _puts(choose: Choices) -> Call:
    a = choose.array(choose.shape(min_side=1))
    mode = choose.among(MODES)
    beyond = 0 if mode == "raise" else 2 * a.size
    ind = choose.integers(choose.shape(max_dims=1), -a.size - beyond, a.size - 1 + beyond)
    v = choose.array(choose.shape(max_dims=1, min_side=1))
    return Call((a, ind, v.astype(a.dtype)), {"mode": mode})


def _masks(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    axis, n = axis_or_flat(choose, a)
    return Call((choose.booleans((choose.integer(0, n),)), a), {"axis": axis})


def _extracts(choose: Choices) -> Call:
    shape = choose.shape()
    return Call((choose.booleans(shape), choose.array(shape)))


def _selects(choose: Choices) -> Call:
    n = choose.integer(1, 2)
    shapes = choose.broadcastable(2 * n + 1)
    conditions = [choose.booleans(shape) for shape in shapes[:n]]
    first, *rest = (choose.array(shape) for shape in shapes[n:])
    # NumPy would overlook a Tensor that is only the default
    choices = [first, *(choose.among([0, 1.5, x]) for x in rest)]
    return Call((conditions, choices[:-1], choices[-1]))


def _chooses(choose: Choices) -> Call:
    n = choose.integer(1, 3)
    shapes = choose.broadcastable(n + 1)
    mode = choose.among(MODES)
    beyond = 0 if mode == "raise" else 4
    a = choose.integers(shapes[0], -beyond, n - 1 + beyond)
    return Call((a, [choose.array(shape) for shape in shapes[1:]]), {"mode": mode})


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "equal": each(TYING, TYING),
    "not_equal": each(TYING, TYING),
    "less": each(TYING, TYING),
    "less_equal": each(TYING, TYING),
    "greater": each(TYING, TYING),
    "greater_equal": each(TYING, TYING),
    "isposinf": each(REAL),
    "isneginf": each(REAL),
    "isclose": _isclose_calls,
    "bitwise_and": _bits(2),
    "bitwise_or": _bits(2),
    "bitwise_xor": _bits(2),
    "left_shift": _shifts,
    "right_shift": _shifts,
    "invert": _bits(1),
    "logical_and": each(_TRUTH, _TRUTH),
    "logical_or": each(_TRUTH, _TRUTH),
    "logical_xor": each(_TRUTH, _TRUTH),
    "logical_not": each(_TRUTH),
    "where": _selections,
    "keep": _kept,
    "allclose": _closenesses,
    "array_equal": _equal_in_part,
    "array_equiv": _pairs,
    "isreal": each(REAL),
    "iscomplex": each(REAL),
    "real_if_close": each(REAL),
    "angle": _angles,
    "take": _takes,
    "take_along_axis": _alongs(with_values=False),
    "put_along_axis": _alongs(with_values=True),
    "put": _puts,
    "compress": _masks,
    "extract": _extracts,
    "select": _selects,
    "choose": _chooses,
}
