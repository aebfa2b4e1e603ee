"""Calls to test scans and polynomials on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.domain import NEAR_ONE, POSITIVE, REAL, Call, Choices, Domain, Elements


def scanned(elements: Elements) -> Any:
    """Calls on an array with one axis of it, or None."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(), elements)
        axis = choose.among([None, choose.axis(x.ndim)]) if x.ndim else None
        dtype = choose.among([np.float32, np.float64])
        return Call((x,), choose.among([{}, {"axis": axis}, {"axis": axis, "dtype": dtype}]))

    return call


def _recurrences(choose: Choices) -> Call:
    shape = choose.shape(min_dims=1)
    a, b = choose.array(shape, NEAR_ONE), choose.array(shape)
    return Call((a, b), {"axis": choose.axis(len(shape))})


def overlaps(choose: Choices) -> Call:
    """Calls on two vectors and a mode of convolution."""
    a, v = (choose.array(choose.shape(min_dims=1, max_dims=1, min_side=1)) for _ in range(2))
    return Call((a, v), {"mode": choose.among(["full", "same", "valid"])})


def _from_initial(elements: Elements) -> Any:
    """Calls on an array with one axis, with or without the initial element."""

    def call(choose: Choices) -> Call:
        x = choose.array(choose.shape(min_dims=1), elements)
        axis = choose.among([choose.axis(x.ndim), None]) if x.ndim == 1 else choose.axis(x.ndim)
        return Call((x,), {"axis": axis, "include_initial": choose.among([False, True])})

    return call


def _differences(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_dims=1))
    axis = choose.axis(x.ndim)
    sides = list(x.shape)
    sides[axis] = choose.integer(0, 2)
    ends = [choose.array(choose.among([tuple(sides), ()])) for _ in range(2)]
    call = (x, choose.integer(0, 2), axis)
    return choose.among([Call(call), Call((*call, *ends[:1])), Call((*call, *ends))])


def _padded_differences(choose: Choices) -> Call:
    x = choose.array(choose.shape(), dtypes="d")
    to_end, to_begin = (
        choose.among([None, choose.array(choose.shape(max_dims=2))]) for _ in range(2)
    )
    return Call((x, to_end, to_begin))


def _integrals(choose: Choices) -> Call:
    y = choose.array(choose.shape(min_dims=1, min_side=1))
    axis = choose.axis(y.ndim)
    x = choose.among([None, choose.array(y.shape), choose.array((y.shape[axis],))])
    return Call((y, x), {"dx": choose.among([1.0, 0.5]), "axis": axis})


def _evaluations(choose: Choices) -> Call:
    return Call((choose.array((choose.integer(1, 4),)), choose.array(choose.shape())))


def _with_real_roots(choose: Choices) -> Call:
    coefficients = np.atleast_1d(np.poly([-2.0, 0.5, 3.0][: choose.integer(0, 3)]))
    near = choose.array(coefficients.shape, Elements(-0.0625, 0.0625), "df")
    return Call((near + coefficients.astype(near.dtype),))


def _two(choose: Choices) -> Call:
    # a leading coefficient that is not 0, since NumPy drops zeros
    sides = (choose.integer(1, 3), choose.integer(1, 3))
    return Call(tuple(choose.array((n,), POSITIVE) for n in sides))


def _columns(choose: Choices) -> Call:
    x = choose.array((choose.integer(0, 3),))
    return Call((x, choose.among([None, 0, 1, 3]), choose.among([False, True])))


def _coefficients(choose: Choices) -> Call:
    return Call((choose.array((choose.integer(1, 5),)), choose.integer(0, 3)))


def _fits(choose: Choices) -> Call:
    x = np.array([-1.0, 0.25, 1.5, 2.0]) + choose.array((4,), dtypes="d") / 32
    y = choose.array((4, *choose.shape(max_dims=1, min_side=1)), REAL, "d")
    return Call((choose.laid_out(x), y, choose.integer(0, 2)))


# By the name of the op or the function.
DOMAINS: dict[str, Domain] = {
    "linear_recurrence": _recurrences,
    "cumsum": scanned(REAL),
    "cumprod": scanned(NEAR_ONE),
    "convolve": overlaps,
    "nancumsum": scanned(REAL),
    "nancumprod": scanned(NEAR_ONE),
    "cumulative_sum": _from_initial(REAL),
    "cumulative_prod": _from_initial(NEAR_ONE),
    "diff": _differences,
    "ediff1d": _padded_differences,
    "trapezoid": _integrals,
    "correlate": overlaps,
    "polyval": _evaluations,
    "roots": _with_real_roots,
    "polyadd": _two,
    "polysub": _two,
    "polymul": _two,
    "vander": _columns,
    "polyder": _coefficients,
    "polyint": _coefficients,
    "polyfit": _fits,
}
