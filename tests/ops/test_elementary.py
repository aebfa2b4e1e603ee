"""Functions element by element: values as NumPy's, slopes to the last digits, choices at kinks.

Special numbers and dtypes give NumPy's results. A table has slopes at the ends of domains, of huge
and tiny numbers, at ties and beside steps: what the table of ops promises there (`kink`).
"""

import itertools
import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.declare import OPS, is_elementwise
from tapegrad.types import Array

INF, NAN, PI = float("inf"), float("nan"), math.pi


def slopes(fn: Callable[..., Any], *x: Any) -> list[Any]:
    """The gradient of the sum by each argument."""
    got = tg.grad(lambda *x: tg.sum(fn(*x)), argnums=tuple(range(len(x))))(*map(np.array, x))
    return got if len(x) > 1 else got[0]


def derivative(fn: tg.Op) -> Callable[..., Any]:
    """The derivative of a function of one array element by element."""
    return lambda x: tg.vjp(fn, x)[1](np.ones(np.shape(x)))[0]


def remainder_of(x1: Array, x2: Array) -> Array:
    return tg.divmod(x1, x2)[1]


# --- values -----------------------------------------------------------------------------

SPECIAL = np.array([NAN, INF, -INF, 0, -0.0, 1, -1, 0.5, -0.5, 2.5, -3, 1e-310, -1e308, 5e-324])


def outcome(f: Callable[..., Any], *args: Any) -> Any:
    """What a call gives, or the exception's type."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            results = f(*args)
        except TypeError as error:
            return type(error)
    results = results if isinstance(results, tuple) else (results,)
    return [y.value if isinstance(y, tg.Tensor) else np.asarray(y) for y in results]


def agrees_with_numpy(name: str, *args: Any) -> None:
    wanted = outcome(getattr(np, name), *args)
    recorded = outcome(
        # record leaves whole numbers as they are
        lambda *args: tg.record(lambda *t: getattr(tg, name)(*map(tg.stop_gradient, t)))(*args)[0],
        *args,
    )
    for got in (outcome(getattr(tg, name), *args), recorded):
        if not isinstance(wanted, list):
            assert got is wanted
            continue
        for one, other in zip(got, wanted, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-14, atol=0)
            if one.dtype.kind == "f":
                number = ~np.isnan(other)
                np.testing.assert_array_equal(np.signbit(one)[number], np.signbit(other)[number])


UFUNCS = {name: op.forward for name, op in OPS.items() if is_elementwise(op)}
ONE = [name for name, f in UFUNCS.items() if f.nin == 1]
ONE += ["fix", "round", "isposinf", "isneginf", "sinc", "i0", "nan_to_num", "real", "imag"]
ONE += ["modf", "frexp"]
TWO = [name for name, f in UFUNCS.items() if f.nin == 2 and name != "ldexp"]
TWO += ["divmod", "float_power", "power", "isclose"]


@pytest.mark.parametrize("name", ONE)
def test_special_values_and_dtypes_of_one_operand_are_numpys(name: str) -> None:
    agrees_with_numpy(name, SPECIAL)
    for dtype in "?bBhil":
        agrees_with_numpy(name, np.array([1, 0, 1], dtype))


@pytest.mark.parametrize("name", TWO)
def test_special_values_and_dtypes_of_two_operands_are_numpys(name: str) -> None:
    agrees_with_numpy(name, SPECIAL[:, None], SPECIAL)
    for dtype in "?bBhil":
        agrees_with_numpy(name, np.array([1, 0, 1], dtype), np.ones(3, dtype))
        agrees_with_numpy(name, np.array([1, 0, 1], dtype), np.ones(3, np.float32))


# --- slopes -----------------------------------------------------------------------------------


def at_ends(gap: float) -> list[tuple[Any, tuple[Any, ...], Any]]:
    """Slopes near the ends of domains, by exact arithmetic."""
    x, above = 1 - gap, 1 + 2 * gap
    slope = 1 / math.sqrt((1 - Fraction(x)) * (1 + Fraction(x)))
    steep = 1 / math.sqrt((Fraction(above) - 1) * (Fraction(above) + 1))
    return [
        *[(tg.arcsin, (s * x,), slope) for s in (1, -1)],
        *[(tg.arccos, (s * x,), -slope) for s in (1, -1)],
        *[(tg.arctanh, (s * x,), slope**2) for s in (1, -1)],
        (tg.arccosh, (above,), steep),
    ]


# the difference that NumPy's remainders subtract, for one rounded down and one towards 0
REMAINDERS = [
    *[(7.5, 2.0, 3, 3), (-7.5, 2.0, -4, -3), (7.5, -2.0, -4, -3), (-7.5, -2.0, 3, 3)],
    *[(6.0, 2.0, 3, 3), (-6.0, 2.0, -3, -3), (0.0, 2.0, 0, 0), (0.5, 2.0, 0, 0)],
    # the quotient is not quite 10, but rounds to it
    *[(1.0, 0.1, 9, 9), (1e17, 3.0, 33333333333333333, 33333333333333333)],
]
ANGLES = np.arange(-7, 9) * (PI / 8)
HUGE = float(np.finfo(float).max / 4)
EXTREMA = (tg.maximum, tg.minimum, tg.fmax, tg.fmin)
# a function, its arguments, and its slope by each of them
SLOPES: list[tuple[Any, tuple[Any, ...], Any]] = [
    *[(f, (x,), 1) for f in (tg.expm1, tg.log1p) for x in (1e-20, -1e-20, 5e-324)],
    (tg.expm1, (-50.0,), math.exp(-50)),
    (tg.log1p, (-1 + 2.0**-53,), 2.0**53),
    *[
        (f, (x,), 1 / math.log(base) / x)
        for f, base in ((tg.log2, 2), (tg.log10, 10))
        for x in (1.7e308, 3e-308)
    ],
    *[
        (f, pair, want)
        for f in (tg.logaddexp, tg.logaddexp2)
        for pair, want in {
            **dict.fromkeys([(0.0, 0.0), (1e4, 1e4), (INF, INF), (-INF, -INF)], (0.5, 0.5)),
            **dict.fromkeys([(-1e300, 1e300), (-INF, 0.0)], (0, 1)),
            **dict.fromkeys([(INF, 0.0), (INF, -INF)], (1, 0)),
        }.items()
    ],
    (tg.logaddexp, (0.0, 700.0), (math.exp(-700), 1)),
    (tg.logaddexp2, (0.0, 1000.0), (2.0**-1000, 1)),
    *[row for gap in (2.0**-53, 2.0**-30, 0.25) for row in at_ends(gap)],
    *[(f, (1.0,), INF) for f in (tg.arcsin, tg.arccosh, tg.arctanh)],
    (tg.arccos, (1.0,), -INF),
    *[(f, (0.0,), INF) for f in (tg.cbrt, tg.sqrt)],
    *[(tg.arctan, (HUGE,), 0), (tg.arcsinh, (HUGE,), 1 / HUGE), (tg.arccosh, (HUGE,), 1 / HUGE)],
    *[(tg.hypot, (3 * x, -4 * x), (0.6, -0.8)) for x in (1.0, 1e-300, 1e300)],
    *[(tg.arctan2, (3 * x, -4 * x), (-0.16 / x, -0.12 / x)) for x in (1.0, 1e-300, 1e300)],
    *[(f, (x, 0.0), (0, 0)) for f in (tg.hypot, tg.arctan2) for x in (0.0, -0.0)],
    (
        tg.arctan2,
        (2 * np.sin(ANGLES), 2 * np.cos(ANGLES)),
        (np.cos(ANGLES) / 2, -np.sin(ANGLES) / 2),
    ),
    *[(tg.sinc, (float(n),), (-1) ** n / n) for n in (1, -1, 2, 7, -20)],
    *[(derivative(tg.sinc), (float(n),), -2 * (-1) ** n / n**2) for n in (1, -1, 2, 7, -20)],
    # by mpmath at 60 digits
    (derivative(tg.sinc), (1e6 + 0.25,), -2.2214423279313597e-06),
    (derivative(tg.sinc), (1e15 + 0.5,), -3.1415926535897918e-15),
    (derivative(tg.sinc), (-12345.5,), 0.0002544726944565072),
    *[(tg.i0, (x,), x / 2) for x in (0.0, 1e-300, -1e-20, 1e-8)],
    *[(derivative(tg.i0), (x,), 0.5) for x in (0.0, 1e-300, -1e-20, 1e-8)],
    *[(f, (0.0, p), (0, 0)) for f in (tg.float_power, tg.power) for p in (0.0, 2.0)],
    (lambda p: tg.float_power([2, 4], p), ([-1.0, 0.5],), [math.log(2) / 2, 2 * math.log(4)]),
    *[(lambda p: tg.power(0.0, p), (p,), 0) for p in (0.0, 0.5, 1.0, 2.0)],
    (lambda x: x**0.5, (-1.0,), NAN),  # it was the real part of a complex number
    *[(f, (a, b), (1, -q)) for a, b, q, _ in REMAINDERS for f in (tg.remainder, remainder_of)],
    *[(tg.fmod, (a, b), (1, -q)) for a, b, _, q in REMAINDERS],
    *[(lambda a, b: tg.divmod(a, b)[0], row[:2], (0, 0)) for row in REMAINDERS],
    *[(f, pair, (0.5, 0.5)) for f in EXTREMA for pair in ((1.0, 1.0), (0.0, -0.0))],
    *[(lambda x, f=f: f(x, x), (2.0,), 1) for f in EXTREMA],
    *[(f, (1.0, 2.0), want) for f, want in zip(EXTREMA, [(0, 1), (1, 0)] * 2, strict=True)],
    *[(f, (NAN, 2.0), (0, 1)) for f in (tg.fmax, tg.fmin)],
    *[(f, (2.0, NAN), (1, 0)) for f in (tg.fmax, tg.fmin)],
    *[(f, (x,), 0) for f in (tg.relu, tg.abs, abs, tg.sign) for x in (0.0, -0.0)],
    *[
        (f, row[:3], row[3])
        for f in (tg.clip, lambda a, low, high: a.clip(low, high))
        for row in (
            *[(0.5, 0.0, 1.0, (1, 0, 0)), (-1.0, 0.0, 1.0, (0, 1, 0)), (2.0, 0.0, 1.0, (0, 0, 1))],
            *[(x, 0.0, 1.0, (0.5, 0.5, 0)) for x in (0.0, -0.0)],
            *[(1.0, 0.0, 1.0, (0.5, 0, 0.5)), (0.0, 1.0, 1.0, (0, 0.5, 0.5))],
            # the upper bound counts where it is below the lower one
            *[(x, 2.0, 1.0, (0, 0, 1)) for x in (0.0, 1.0, 2.0)],
            *[(x, 1.0, 1.0, (0, 0, 1)) for x in (1.0, 2.0)],
            (NAN, 0.0, 1.0, (0, 0, 0)),
        )
    ],
    (lambda x: tg.clip(x, 0, None), ([-1.0, 0.0, 2.0],), [0, 0.5, 1]),
    (lambda x: np.clip(x, max=0.0), ([-1.0, 0.0, 2.0],), [1, 0.5, 0]),
    (lambda x: np.clip(x, None, None), ([-1.0, 0.0, 2.0],), [1, 1, 1]),
    *[
        (tg.copysign, (x1, x2), (math.copysign(1, x2) * np.sign(x1), 0))
        for x2 in (2.0, -2.0, 0.0, -0.0, INF, -INF)
        for x1 in (3.0, -3.0, 0.0, -0.0)
    ],
    (
        tg.heaviside,
        ([-1.0, 0.0, -0.0, 2.0], [3.0, 4.0, 5.0, 6.0]),
        ([0, 0, 0, 0], [0, 1, 1, 0]),
    ),
    (lambda x: np.nextafter(x, 3.0), ([1.0, -2.0],), [1, 1]),
]


def test_slopes_are_those_of_the_table() -> None:
    wrong = []
    for i, (fn, args, want) in enumerate(SLOPES):
        infinite = fn in (tg.cbrt, tg.sqrt) or np.any(np.isinf(want)) or np.any(np.isnan(want))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if infinite else "error", RuntimeWarning)
            got = slopes(fn, *args)
        for one, other in zip(*((x,) if len(args) == 1 else x for x in (got, want)), strict=True):
            if not np.allclose(one, other, rtol=1e-12, atol=1e-310, equal_nan=True):
                wrong.append(f"row {i}, {fn}{args}: {got} for {want}")
    assert not wrong, "\n".join(wrong)


def test_second_derivatives_at_kinks_are_finite() -> None:
    for f in (tg.hypot, tg.arctan2):
        np.testing.assert_array_equal(tg.hessian(f, argnums=(0, 1))(0.0, 0.0), np.zeros((2, 2)))
    for x1, x2, *_ in REMAINDERS:
        hessian = tg.hessian(tg.remainder, argnums=(0, 1))(x1, x2)
        np.testing.assert_array_equal(hessian, np.zeros((2, 2)))
    for f in (tg.relu, tg.abs):
        assert tg.grad(tg.grad(f))(0.0) == 0


@pytest.mark.parametrize("base", [-2.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0])
def test_powers_have_the_derivatives_of_polynomials(base: float) -> None:
    for p in (0, 1, 2, 3, 4):
        first = p * base ** (p - 1) if p else 0
        second = p * (p - 1) * base ** (p - 2) if p > 1 else 0
        for exponent in (p, float(p), np.float64(p), np.array(float(p)), np.array(p)):
            fn = lambda x, p=exponent: x**p  # noqa: E731
            assert (tg.grad(fn)(base), tg.grad(tg.grad(fn))(base)) == (first, second)
    if base > 0:
        for p in (-2.0, -1.0, 0.5):
            hessian = np.array(tg.hessian(tg.power, argnums=(0, 1))(base, p))
            mixed = base ** (p - 1) * (1 + p * np.log(base))
            want = p * (p - 1) * base ** (p - 2), mixed, mixed, base**p * np.log(base) ** 2
            np.testing.assert_allclose(hessian.ravel(), want, rtol=1e-12, atol=1e-12)


# --- sinc and i0 ------------------------------------------------------------------------------


@given(
    x=st.floats(-30, 30),
    y=st.floats(-6, 6) | st.sampled_from([0.0, 1e-310, 1e-9]),
    n=st.integers(1, 6),
    real=st.booleans(),
)
@example(x=0.0, y=0.01, n=1, real=False)
@example(x=1e-310, y=1e-310, n=1, real=False)
def test_sinc_obeys_its_recurrence(x: float, y: float, n: int, real: bool) -> None:
    z = np.array(x if real else complex(x, y))
    if abs(z) < 0.02:
        np.testing.assert_allclose(tg.sinc(z), 1 - (PI * z) ** 2 / 6, rtol=1e-6)
    low, high = tg.sinc(z), OPS["sinc_derivative"](z, 1)
    for k in range(1, n + 1):
        # z * sinc(z) is sin(pi z) / pi; derived k times, with the terms of a product
        sine = PI ** (k - 1) * np.sin(PI * z + k * PI / 2)
        size = PI**k * (k + 9) * np.cosh(PI * y)
        np.testing.assert_allclose(z * high + k * low, sine, rtol=1e-11, atol=1e-13 * size)
        low, high = high, OPS["sinc_derivative"](z, k + 1)


@settings(max_examples=20)
@given(x=st.floats(-705, 705))
def test_i0_solves_bessels_equation(x: float) -> None:
    first, then = tg.grad(tg.i0), tg.grad(tg.grad(tg.i0))
    np.testing.assert_allclose(x * then(x) + first(x), x * tg.i0(x), rtol=1e-13, atol=1e-300)


@given(x=st.floats(-100, 100, allow_subnormal=False))
def test_parts_of_a_number_make_it_up(x: float) -> None:
    assert tg.grad(lambda x: sum(tg.modf(x)))(x) == 1
    assert tg.grad(lambda x: tg.modf(x)[0])(x) == 1
    mantissa, exponent = tg.frexp(x)
    assert tg.ldexp(mantissa, exponent) == x
    assert tg.grad(lambda x: tg.frexp(x)[0])(x) == 2.0**-exponent
    assert tg.grad(lambda x: tg.ldexp(*tg.frexp(x)))(x) == 1


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_nan_to_num_puts_has_no_slope(bad: float) -> None:
    fn = lambda x: tg.nan_to_num(x, nan=5.0, posinf=6.0, neginf=7.0) ** 2  # noqa: E731
    np.testing.assert_array_equal(slopes(fn, [bad, 3.0]), [0, 6])
    for options in ({"posinf": 6.0}, {"neginf": 7.0, "nan": -1.0}):
        output, _ = tg.record(lambda x, o=options: np.nan_to_num(x, **o))(np.array([bad, 3.0]))
        np.testing.assert_array_equal(output.value, np.nan_to_num([bad, 3.0], **options))


XP, FP = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 0.0])


def test_interpolation_at_points_and_beyond_them() -> None:
    for x, *want in (
        (-INF, 0, (0, 0, 0), (1, 0, 0)),
        # at a point the line to the right, at the last one that to the left
        (0.0, 2, (-2, 0, 0), (1, 0, 0)),
        (1.0, -1, (0, 1, 0), (0, 1, 0)),
        (3.0, -1, (0, 0, 1), (0, 0, 1)),
    ):
        for one, other in zip(slopes(tg.interp, x, XP, FP), want, strict=True):
            np.testing.assert_array_equal(one, other, str(x))
    x = np.array([-1.0, 0.5, 4.0, 5.0])
    assert slopes(lambda left, right: tg.interp(x, XP, FP, left, right), 7.0, 8.0) == (1, 2)
    assert [g.tolist() for g in slopes(tg.interp, x, [0.0], [4.0])] == [[0] * 4, [0], [4]]
    assert np.isnan(tg.interp(NAN, XP, FP))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(fp=st.lists(st.sampled_from([1.0, -2.0, NAN, np.inf, -np.inf]), min_size=1, max_size=4))
@depth("batch")
def test_a_point_beside_nan_or_an_infinity_has_its_own_value(fp: list[float]) -> None:
    ys = np.array(fp)
    xp = np.arange(float(len(ys)))
    x = np.arange(-1.0, len(ys) + 1, 0.5)
    want = np.interp(x, xp, ys)
    for options in ({}, {"left": 9.0}):
        want = np.interp(x, xp, ys, **options)
        np.testing.assert_allclose(tg.interp(x, xp, ys, **options), want, rtol=1e-14, atol=1e-15)
    # the value moves with the point alone
    by_fp = tg.jacobian(lambda ys: tg.interp(xp, xp, ys))(ys)
    np.testing.assert_array_equal(by_fp, np.eye(len(ys)))


def test_interpolation_with_a_period_goes_round() -> None:
    x, xp = np.array([-1.0, 0.5, 3.5, 9.75]), np.array([2.0, 0.0, 1.0])
    for period in (3, -4.0):
        output, _ = tg.record(lambda x, p=period: np.interp(x, xp, FP, period=p))(x)
        np.testing.assert_allclose(output.value, np.interp(x, xp, FP, period=period), rtol=1e-14)
    # the same point comes once a period
    slope = tg.grad(lambda p: tg.interp(3.5, xp, FP, period=p))(3.0)
    np.testing.assert_allclose(slope, -tg.grad(lambda x: tg.interp(x, xp, FP, period=3.0))(0.5))
    for bad, kind in ((0, ValueError), (np.ones(2), TypeError)):
        with pytest.raises(kind, match="period"):
            tg.interp(x, xp, FP, period=bad)


SCALARS = [0.0, -1.0, -0.5, 1.0, 2.0, 7.5, 1e300, -1e300, 1e-310, math.inf]


@pytest.mark.parametrize("name", ["power", "remainder", "divide", "floor_divide", "arctan2"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_at_python_floats_are_those_at_arrays(name: str) -> None:
    # Python's own arithmetic raises at 0 and beyond its range, and has complex powers
    fn, both = getattr(tg, name), (0, 1)
    for point in itertools.product(SCALARS, SCALARS):
        arrays = tuple(map(np.array, point))
        if name == "power" and point[1] == 0:
            continue  # a number 0 is known to be an exponent without a slope
        np.testing.assert_array_equal(
            tg.grad(fn, argnums=both)(*point), tg.grad(fn, argnums=both)(*arrays), str(point)
        )
