"""Calls to test elementwise functions on."""

from __future__ import annotations

import math

import numpy as np

from tapegrad.domain import (
    NONZERO,
    POSITIVE,
    REAL,
    Call,
    Choices,
    Domain,
    Elements,
    along,
    any_of,
    each,
    on_array,
    reduced,
)


def _whole_steps(choose: Choices) -> Call:
    return Call((choose.integers((2, 3), -1, 1), choose.array((3,))))


_INSIDE = each(Elements(-0.9375, 0.9375))
_ABOVE_ONE = each(Elements(1.0625, 4.0))
_BETWEEN_POLES = each(Elements(poles=(-math.pi / 2, math.pi / 2)))


def _round_calls(choose: Choices) -> Call:
    (a,) = each(Elements())(choose).args
    return choose.among([Call((a,)), Call((a, choose.integer(-1, 2)))])


# no step is nearby: the quotients are in (0, 1) or in (2, 3)
DIVISIONS = any_of(
    each(Elements(0.125, 0.875), Elements(1.0, 4.0)),
    each(Elements(0.125, 0.875), Elements(-4.0, -1.0)),
    each(Elements(-3.5, -3.25), Elements(1.25, 1.5)),
    each(Elements(-3.5, -3.25), Elements(-1.5, -1.25)),
)


def _ldexp_calls(choose: Choices) -> Call:
    shape, other = choose.broadcastable(2)
    return Call((choose.array(shape), choose.integers(other, -3, 3)))


def _casts(choose: Choices) -> Call:
    dtype = choose.among([np.float64, "float32", np.float16, np.int64, np.bool_])
    return Call((choose.array(choose.shape()), dtype))


def _normalised(choose: Choices) -> Call:
    if choose.among([False, True]):
        call = reduced(min_side=1)(choose)
        return Call(call.args, {"axis": call.kwargs["axis"]})
    call = along()(choose)
    return call if choose.among([False, True]) else Call(call.args)


def _standardized(choose: Choices) -> Call:
    call = _normalised(choose)
    options = {"epsilon": choose.among([0.5, 1e-2]), "center": choose.among([True, False])}
    return Call(call.args, {**call.kwargs, **options})


def _derivative_calls(choose: Choices) -> Call:
    (x,) = each(REAL)(choose).args
    return Call((x, choose.integer(1, 3)))


def _clip_calls(choose: Choices) -> Call:
    a, low, high = each(REAL, Elements(-4.0, 0.0), REAL)(choose).args
    return choose.among(
        [
            Call((a, low, high)),
            Call((a, low, None)),
            Call((a, None, high)),
            Call((a, -1.0, 1)),
            Call((a,), {"min": -0.5}),
            Call((a,), {"max": 0.5}),
            Call((a,), {"a_min": -1, "a_max": 2}),
        ]
    )


def _turns(choose: Choices) -> Call:
    p = choose.array(choose.shape(min_dims=1))
    options = {"period": choose.among([1.0, 3, 2 * np.pi]), "discont": choose.among([None, 2.5])}
    return Call((p,), {**options, "axis": choose.axis(p.ndim)})


_STEPS = tuple(sign * size for sign in (1, -1) for size in (0.0, 0.5, 1.0, 2.0, 4.0))


def _gelu_calls(choose: Choices) -> Call:
    return Call(each(REAL)(choose).args, {"approximate": choose.among([False, True])})


def _slope_calls(choose: Choices) -> Call:
    return Call((*each(REAL)(choose).args, choose.among([0.25, 1.0, 0.01])))


def _interp_calls(choose: Choices) -> Call:
    n = choose.integer(1, 3)
    xp = np.sort(choose.array((n,), distinct=True))
    options = choose.among([{}, {"period": 9.0}, {"left": -1.5}, {"left": 2.0, "right": 0.5}])
    # if these are given, there is a step at each end
    ends = Elements(poles=(float(xp[0]), float(xp[-1])) if options else ())
    x = choose.array(choose.shape(max_dims=2, max_side=2), ends)
    return Call((x, xp, choose.array((n,))), options)


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "divide": each(REAL, NONZERO),
    "power": each(POSITIVE, Elements(-2, 2)),
    "reciprocal": each(NONZERO),
    "sqrt": each(POSITIVE),
    "cbrt": each(NONZERO),
    "heaviside": any_of(each(NONZERO, REAL), _whole_steps),
    "real": each(REAL),
    "imag": each(REAL),
    "log": each(POSITIVE),
    "log1p": each(Elements(-0.5, 4.0)),
    "log2": each(POSITIVE),
    "log10": each(POSITIVE),
    "tan": _BETWEEN_POLES,
    "arcsin": _INSIDE,
    "arccos": _INSIDE,
    "arctan2": any_of(each(NONZERO, REAL), each(REAL, POSITIVE)),
    "arccosh": _ABOVE_ONE,
    "arctanh": _INSIDE,
    "fix": each(Elements()),
    "round": _round_calls,
    "floor_divide": DIVISIONS,
    "remainder": DIVISIONS,
    "fmod": DIVISIONS,
    "copysign": each(REAL, NONZERO),
    "ldexp": _ldexp_calls,
    "exponent": each(NONZERO),
    "nan_to_num": each(REAL),
    "asarray": each(REAL),
    "ascontiguousarray": each(REAL),
    "copy": on_array(lambda c, a: {}),
    "astype": _casts,
    "stopped": each(REAL),
    "sigmoid": each(REAL),
    "softplus": each(REAL),
    "relu": each(REAL),
    "logsumexp": reduced(min_side=1),
    "softmax": _normalised,
    "log_softmax": _normalised,
    "standardize": _standardized,
    "erf": each(REAL),
    "sinc_derivative": _derivative_calls,
    "sinc": each(REAL),
    "i0_derivative": _derivative_calls,
    "i0": each(REAL),
    "float_power": each(POSITIVE, Elements(-2.0, 2.0)),
    "clip": _clip_calls,
    "unwrap": _turns,
    "divmod": DIVISIONS,
    "modf": each(Elements(poles=tuple(range(-4, 5)))),
    "frexp": each(Elements(poles=_STEPS)),
    "silu": each(REAL),
    "gelu": _gelu_calls,
    "leaky_relu": _slope_calls,
    "elu": _slope_calls,
    "interp": _interp_calls,
}
