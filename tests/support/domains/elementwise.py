"""Calls to test elementwise functions on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from domains import words as w
from tapegrad.domain import (
    NONZERO,
    POSITIVE,
    REAL,
    TYING,
    Call,
    Choices,
    Domain,
    Elements,
    any_of,
    each,
)

_NUMBERS = each(REAL)
_BELOW, _LOW, _HIGH = Elements(0.125, 0.875), Elements(-3.5, -3.25), Elements(1.0, 4.0)
# no step is nearby: the quotients are in (0, 1) or in (2, 3)
_DIVISIONS = any_of(
    each(_BELOW, _HIGH),
    each(_BELOW, Elements(-4.0, -1.0)),
    each(_LOW, Elements(1.25, 1.5)),
    each(_LOW, Elements(-1.5, -1.25)),
)
_STEPS = tuple(sign * size for sign in (1, -1) for size in (0.0, 0.5, 1.0, 2.0, 4.0))
_NORMALISED = w.calls(w.array(0, 3, 1), axis=w.axes)
# zero half of the time
_TRUTH = Elements(-0.125, 0.125)


def _clip_calls(choose: Choices) -> Call:
    a, low, high = each(REAL, Elements(-4.0, 0.0), REAL)(choose).args
    bounds = choose.among([(low, high), (low, None), (None, high), (-1.0, 1), ()])
    named: dict[str, Any] = choose.among([{"min": -0.5}, {"max": 0.5}, {"a_min": -1, "a_max": 2}])
    return Call((a, *bounds), {} if bounds else named)


def _interp_calls(choose: Choices) -> Call:
    n = choose.integer(1, 3)
    xp = np.sort(choose.array((n,), distinct=True))
    options = choose.among([{}, {"period": 9.0}, {"left": -1.5}, {"left": 2.0, "right": 0.5}])
    # if these are given, there is a step at each end
    ends = Elements(poles=(float(xp[0]), float(xp[-1])) if options else ())
    x = choose.array(choose.shape(max_dims=2, max_side=2), ends)
    return Call((x, xp, choose.array((n,))), options)


def _bits(choose: Choices, n: int) -> Call:
    """Calls on integers and truth values, of shapes that broadcast."""
    drawn = w.broadcast(*[w.integers(-4, 9)] * n)(choose).args
    dtype = choose.among([np.int64, np.uint8, np.bool_])
    return Call(tuple(x.astype(dtype) for x in drawn))


def _pairs(elements: Elements) -> Domain:
    """Calls on two arrays, which are often the same."""
    same = w.calls(w.array(elements=elements), lambda choose, a: a)
    return any_of(each(elements, elements), same)


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("real", "imag", "stopped", "sigmoid", "softplus", "relu", "erf"), _NUMBERS),
    **dict.fromkeys(("nan_to_num", "asarray", "ascontiguousarray", "sinc", "i0"), _NUMBERS),
    **dict.fromkeys(("sigmoid_derivative", "silu", "isposinf", "isneginf"), _NUMBERS),
    **dict.fromkeys(("isreal", "iscomplex", "real_if_close"), _NUMBERS),
    **dict.fromkeys(("sqrt", "log", "log2", "log10"), each(POSITIVE)),
    **dict.fromkeys(("reciprocal", "cbrt", "exponent"), each(NONZERO)),
    **dict.fromkeys(("divide", "copysign"), each(REAL, NONZERO)),
    **dict.fromkeys(("power", "float_power"), each(POSITIVE, Elements(-2.0, 2.0))),
    **dict.fromkeys(("arcsin", "arccos", "arctanh"), each(Elements(-0.9375, 0.9375))),
    **dict.fromkeys(("floor_divide", "remainder", "fmod", "divmod"), _DIVISIONS),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal"), each(TYING, TYING)),
    **dict.fromkeys(("greater", "greater_equal", "maximum", "minimum"), each(TYING, TYING)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), each(_TRUTH, _TRUTH)),
    "logical_not": each(_TRUTH),
    "heaviside": any_of(
        each(NONZERO, REAL),
        w.calls(lambda c: c.integers((2, 3), -1, 1), lambda c, x: c.array((3,))),
    ),
    "log1p": each(Elements(-0.5, 4.0)),
    "tan": each(Elements(poles=(-math.pi / 2, math.pi / 2))),
    "arctan2": any_of(each(NONZERO, REAL), each(REAL, POSITIVE)),
    "arccosh": each(Elements(1.0625, 4.0)),
    "fix": _NUMBERS,
    "round": w.more(_NUMBERS, w.whole(-1, 2)),
    "ldexp": w.broadcast(w.reals, w.integers(-3, 3)),
    "copy": w.calls(w.array()),
    "astype": w.calls(w.array(), [np.float64, "float32", np.float16, np.int64, np.bool_]),
    "logsumexp": w.calls(w.array(0, 3, 1), axis=w.axes, keepdims=w.FLAG),
    "softmax": _NORMALISED,
    "log_softmax": _NORMALISED,
    "standardize": w.more(_NORMALISED, epsilon=[0.5, 1e-2], center=w.FLAG),
    **dict.fromkeys(("sinc_derivative", "i0_derivative"), w.more(_NUMBERS, w.whole(1, 3))),
    "clip": _clip_calls,
    "clip_both": each(REAL, REAL, REAL),
    "unwrap": w.calls(w.array(1), period=[1.0, 3, 2 * np.pi], discont=[None, 2.5], axis=w.axis),
    "modf": each(Elements(poles=tuple(range(-4, 5)))),
    "frexp": each(Elements(poles=_STEPS)),
    "gelu": w.more(_NUMBERS, approximate=w.FLAG),
    **dict.fromkeys(("leaky_relu", "elu"), w.more(_NUMBERS, [0.25, 1.0, 0.01])),
    "interp": _interp_calls,
    "isclose": w.more(each(REAL, REAL), ways=[{}, {"rtol": 0.5}, {"atol": 1.0, "equal_nan": True}]),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), lambda c: _bits(c, 2)),
    "invert": lambda c: _bits(c, 1),
    **dict.fromkeys(
        ("left_shift", "right_shift"), w.broadcast(w.integers(-9, 9), w.integers(0, 4))
    ),
    "where": w.broadcast(w.truths, w.reals, w.reals),
    "keep": w.calls(w.truths, lambda c, x: c.array(tuple(c.among([side, 1]) for side in x.shape))),
    "extract": w.calls(w.truths, w.same),
    "allclose": w.more(_pairs(REAL), ways=[{}, {"rtol": 0.5}, {"atol": 9.0}]),
    "array_equal": w.more(_pairs(TYING), equal_nan=w.FLAG),
    "array_equiv": _pairs(TYING),
    "angle": w.more(_NUMBERS, deg=w.FLAG),
}
