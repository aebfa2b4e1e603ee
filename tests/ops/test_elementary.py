"""Functions element by element: exact values and slopes where floats or calculus are hard."""

import itertools
import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.testing import check_grads

INF, NAN, PI = float("inf"), float("nan"), math.pi
EPS = float(np.finfo(float).eps)


def slopes(fn: Any, *x: Any) -> Any:
    """The gradient of the sum by each argument."""
    got = tg.grad(lambda *x: tg.sum(fn(*x)), argnums=tuple(range(len(x))))(*map(np.array, x))
    return got if len(x) > 1 else got[0]


def derivative(fn: Any) -> Any:
    """The derivative of a function of one array element by element."""
    return lambda x: tg.vjp(fn, x)[1](np.ones(np.shape(x)))[0]


# --- values -----------------------------------------------------------------------------

ONE = [
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tan",
    "arcsin",
    "arccos",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "arccosh",
    "arctanh",
    "cbrt",
    "deg2rad",
    "rad2deg",
    "radians",
    "degrees",
    "fabs",
    "floor",
    "ceil",
    "trunc",
    "rint",
    "fix",
    "round",
    "around",
    "isfinite",
    "isinf",
    "isnan",
    "isposinf",
    "isneginf",
    "signbit",
    "spacing",
    "sinc",
    "i0",
    "nan_to_num",
    "real",
    "imag",
    "conj",
    "conjugate",
    "modf",
    "frexp",
]
TWO = [
    "hypot",
    "arctan2",
    "logaddexp",
    "logaddexp2",
    "fmax",
    "fmin",
    "remainder",
    "mod",
    "fmod",
    "floor_divide",
    "divmod",
    "float_power",
    "copysign",
    "heaviside",
    "nextafter",
    "isclose",
]
SPECIAL = np.array([NAN, INF, -INF, 0, -0.0, 1, -1, 0.5, -0.5, 2.5, -3, 1e-310, -1e308, 5e-324])


def outcome(f: Any, *args: Any) -> Any:
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


# --- exponentials and logarithms ------------------------------------------------------------


def test_what_is_exact_for_small_numbers_is_so_in_slope() -> None:
    for x in (1e-20, -1e-20, 5e-324):
        for fn in (tg.expm1, tg.log1p):
            value, slope = tg.value_and_grad(fn)(x)
            assert (value, slope) == (x, 1)
    assert tg.grad(tg.expm1)(-50.0) == math.exp(-50)
    assert tg.grad(tg.log1p)(-1 + 2.0**-53) == 2.0**53


def test_logarithms_of_the_largest_and_least_numbers_have_a_slope() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for x in (1.7e308, 3e-308):
            np.testing.assert_allclose(tg.grad(tg.log2)(x), 1 / math.log(2) / x, rtol=1e-15)
            np.testing.assert_allclose(tg.grad(tg.log10)(x), 1 / math.log(10) / x, rtol=1e-15)


@pytest.mark.parametrize("name", ["logaddexp", "logaddexp2"])
@pytest.mark.parametrize(
    ("x1", "x2", "want"),
    [
        (0.0, 0.0, (0.5, 0.5)),
        (1e4, 1e4, (0.5, 0.5)),
        (-1e300, 1e300, (0, 1)),
        (INF, 0.0, (1, 0)),
        (-INF, 0.0, (0, 1)),
        (INF, -INF, (1, 0)),
        (INF, INF, (0.5, 0.5)),
        (-INF, -INF, (0.5, 0.5)),
    ],
)
def test_shares_of_a_sum_of_exponentials(name: str, x1: float, x2: float, want: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert slopes(getattr(tg, name), x1, x2) == want
        assert np.isfinite(tg.hessian(getattr(tg, name))(x1, x2))


def test_a_vanishing_share_keeps_its_digits() -> None:
    np.testing.assert_allclose(slopes(tg.logaddexp, 0.0, 700.0)[0], math.exp(-700), rtol=1e-13)
    np.testing.assert_allclose(slopes(tg.logaddexp2, 0.0, 1000.0)[0], 2.0**-1000, rtol=1e-12)


# --- angles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [2.0**-53, 2.0**-30, 0.25])
def test_slopes_near_the_ends_are_exact(gap: float) -> None:
    x = 1 - gap
    want = 1 / math.sqrt((1 - Fraction(x)) * (1 + Fraction(x)))
    for sign in (1, -1):
        np.testing.assert_allclose(tg.grad(tg.arcsin)(sign * x), want, rtol=4 * EPS)
        np.testing.assert_allclose(tg.grad(tg.arccos)(sign * x), -want, rtol=4 * EPS)
        np.testing.assert_allclose(tg.grad(tg.arctanh)(sign * x), want**2, rtol=4 * EPS)
    above = 1 + 2 * gap
    want = 1 / math.sqrt((Fraction(above) - 1) * (Fraction(above) + 1))
    np.testing.assert_allclose(tg.grad(tg.arccosh)(above), want, rtol=4 * EPS)


@pytest.mark.parametrize("name", ["arcsin", "arccos", "arccosh", "arctanh", "cbrt"])
def test_infinite_slopes(name: str) -> None:
    x, want = (0.0 if name == "cbrt" else 1.0), (-INF if name == "arccos" else INF)
    with np.errstate(divide="ignore"):
        assert tg.grad(getattr(tg, name))(x) == want


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_slopes_of_large_numbers_do_not_overflow(dtype: Any) -> None:
    x = np.array(np.finfo(dtype).max / 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for fn, want in ((tg.arctan, 0), (tg.arcsinh, 1 / x), (tg.arccosh, 1 / x)):
            np.testing.assert_allclose(
                tg.grad(fn)(x), want, rtol=1e-2, atol=float(np.finfo(dtype).smallest_normal)
            )
    if dtype == np.float16:
        # where the square is too large already
        np.testing.assert_allclose(tg.grad(tg.arctan)(dtype(300)), 1 / 90001, rtol=1e-2)


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_hypot_and_arctan2_at_any_scale(scale: float) -> None:
    x, y = 3 * scale, -4 * scale
    np.testing.assert_allclose(slopes(tg.hypot, x, y), (0.6, -0.8), rtol=4 * EPS)
    got = np.array(slopes(tg.arctan2, x, y)) * scale
    np.testing.assert_allclose(got, (-0.16, -0.12), rtol=4 * EPS)


@pytest.mark.parametrize("name", ["hypot", "arctan2"])
def test_the_origin_has_no_direction(name: str) -> None:
    fn = getattr(tg, name)
    for zero in (0.0, -0.0):
        assert slopes(fn, zero, 0.0) == (0, 0)
        assert slopes(fn, np.zeros(2), np.full(2, zero))[0].tolist() == [0, 0]
        np.testing.assert_array_equal(tg.hessian(fn, argnums=(0, 1))(zero, 0.0), np.zeros((2, 2)))


def test_arctan2_goes_round() -> None:
    angles = np.arange(-7, 9) * (PI / 8)
    x1, x2 = 2 * np.sin(angles), 2 * np.cos(angles)
    np.testing.assert_allclose(tg.arctan2(x1, x2), angles, rtol=1e-14, atol=1e-15)
    g1, g2 = slopes(tg.arctan2, x1, x2)
    np.testing.assert_allclose(g1, x2 / 4, rtol=1e-14)
    np.testing.assert_allclose(g2, -x1 / 4, rtol=1e-14)


# --- sinc and i0 ------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.0, 1e-300, 1e-160, 1e-20, 1e-8, 1e-4, 1e-2])
def test_sinc_near_zero_is_its_series(x: float) -> None:
    z = PI * x
    series = [
        PI * (-z / 3 + z**3 / 30 - z**5 / 840),
        PI**2 * (-1 / 3 + z**2 / 10 - z**4 / 168 + z**6 / 6480),
        PI**3 * (z / 5 - z**3 / 42 + z**5 / 1080),
        PI**4 * (1 / 5 - z**2 / 14 + z**4 / 216 - z**6 / 7920),
    ]
    fn = tg.sinc
    for k, want in enumerate(series):
        fn = derivative(fn)
        np.testing.assert_allclose(fn(x), want, rtol=1e-12, atol=0)
        np.testing.assert_allclose(fn(-x), want if k % 2 else -want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("n", [1, -1, 2, 7, -20])
def test_sinc_at_whole_numbers(n: int) -> None:
    sign = (-1) ** n
    np.testing.assert_allclose(tg.grad(tg.sinc)(float(n)), sign / n, rtol=1e-12)
    np.testing.assert_allclose(tg.grad(tg.grad(tg.sinc))(float(n)), -2 * sign / n**2, rtol=1e-11)


@given(
    x=st.floats(-30, 30),
    y=st.floats(-6, 6) | st.sampled_from([0.0, 1e-310, 1e-9]),
    n=st.integers(1, 6),
)
def test_sinc_of_complex_numbers_obeys_its_recurrence(x: float, y: float, n: int) -> None:
    z = np.array(complex(x, y))
    low, high = tg.sinc(z), OPS["sinc_derivative"](z, 1)
    for k in range(1, n + 1):
        # z * sinc(z) is sin(pi z) / pi; derived k times, with the terms of a product
        sine = PI ** (k - 1) * np.sin(PI * z + k * PI / 2)
        size = PI**k * (k + 9) * np.cosh(PI * y)
        np.testing.assert_allclose(z * high + k * low, sine, rtol=1e-11, atol=1e-13 * size)
        low, high = high, OPS["sinc_derivative"](z, k + 1)


def test_sinc_of_small_complex_numbers_is_its_series() -> None:
    z = np.array([0, 1e-310, 1e-310j, 1e-310 + 1e-310j, 1e-160j, 1e-5 + 2e-5j, 0.01j])
    np.testing.assert_allclose(tg.sinc(z), 1 - (PI * z) ** 2 / 6 + (PI * z) ** 4 / 120, rtol=1e-11)
    got = OPS["sinc_derivative"](z, 1)
    np.testing.assert_allclose(got, PI * (-PI * z / 3 + (PI * z) ** 3 / 30), rtol=1e-7)
    for dtype in (np.complex64, np.complex128):
        assert (
            tg.sinc(z.astype(dtype)).dtype == tg.record(np.sinc)(z.astype(dtype))[0].dtype == dtype
        )


@given(x=st.floats(-30, 30), n=st.integers(1, 6))
def test_derivatives_of_sinc_obey_their_recurrence(x: float, n: int) -> None:
    # x * sinc(x) is sin(pi x) / pi; derived n times, with the terms of a product
    low, high = (
        tg.sinc(x) if k == 0 else OPS["sinc_derivative"](np.array(x), k) for k in (n - 1, n)
    )
    sine = PI ** (n - 1) * math.sin(PI * x + n * PI / 2)
    np.testing.assert_allclose(x * high + n * low, sine, rtol=1e-12, atol=1e-13 * PI**n * (n + 9))


@settings(max_examples=20)
@given(x=st.floats(-705, 705))
def test_i0_solves_bessels_equation(x: float) -> None:
    first, then = tg.grad(tg.i0), tg.grad(tg.grad(tg.i0))
    np.testing.assert_allclose(x * then(x) + first(x), x * tg.i0(x), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("x", [0.0, 1e-300, -1e-20, 1e-8])
def test_i0_near_zero(x: float) -> None:
    np.testing.assert_allclose(tg.grad(tg.i0)(x), x / 2, rtol=1e-14, atol=0)
    np.testing.assert_allclose(tg.grad(tg.grad(tg.i0))(x), 0.5, rtol=1e-14)


# --- powers -----------------------------------------------------------------------------------


def test_float_power_widens_before_it_computes() -> None:
    x = np.array([1e20, 2.0], np.float32)
    value, slope = tg.float_power(x, 3), slopes(lambda x: tg.float_power(x, 2), x)
    assert value.dtype == np.float64
    assert slope.dtype == np.float32
    np.testing.assert_array_equal(value, x.astype(float) ** 3)
    np.testing.assert_array_equal(slope, 2 * x)
    by_exponent = slopes(lambda p: tg.float_power([2, 4], p), [-1.0, 0.5])
    np.testing.assert_array_equal(by_exponent, [math.log(2) / 2, 2 * math.log(4)])
    # as for power: 0**0 is 1, and flat in the base
    assert slopes(tg.float_power, 0.0, 0.0)[0] == 0
    assert slopes(tg.float_power, 0.0, 2.0) == (0, 0)


# --- rounding and remainders --------------------------------------------------------------------

STEPS = [
    "floor",
    "ceil",
    "trunc",
    "rint",
    "fix",
    "round",
    "sign",
    "signbit",
    "isfinite",
    "spacing",
    "imag",
]


@pytest.mark.parametrize("name", STEPS)
def test_steps_pass_no_gradient_but_are_recorded(name: str) -> None:
    x = np.array([-1.5, 0.0, 2.0])
    fn = getattr(tg, name)
    output, tape = tg.record(fn)(x)
    assert output is tape.last
    np.testing.assert_array_equal(slopes(lambda x: fn(x) * x, x), np.asarray(fn(x), float))


def test_what_is_rounded_can_be_read_as_a_number() -> None:
    def fn(x: Any) -> Any:
        assert (int(x // 1), int(tg.floor(x)), float(round(x))) == (2, 2, 3.0)
        with pytest.raises(TypeError, match="gradient"):
            int(x)
        return x * int(np.ceil(x))

    assert tg.grad(fn)(2.75) == 3
    with pytest.raises(tg.TraceError):
        tg.compile(fn)(2.75)


@pytest.mark.parametrize(
    ("x1", "x2", "floored", "truncated"),
    [
        (7.5, 2.0, 3, 3),
        (-7.5, 2.0, -4, -3),
        (7.5, -2.0, -4, -3),
        (-7.5, -2.0, 3, 3),
        (6.0, 2.0, 3, 3),
        (-6.0, 2.0, -3, -3),
        (0.0, 2.0, 0, 0),
        (0.5, 2.0, 0, 0),
        # the quotient is not quite 10, but rounds to it
        (1.0, 0.1, 9, 9),
        (1e17, 3.0, 33333333333333333, 33333333333333333),
    ],
)
def test_remainders_slope_like_the_line_they_are_on(
    x1: float, x2: float, floored: int, truncated: int
) -> None:
    assert slopes(tg.remainder, x1, x2) == (1, -floored)
    assert slopes(tg.fmod, x1, x2) == (1, -truncated)
    assert slopes(lambda a, b: tg.divmod(a, b)[1], x1, x2) == (1, -floored)
    assert slopes(lambda a, b: tg.divmod(a, b)[0], x1, x2) == (0, 0)
    np.testing.assert_array_equal(
        tg.hessian(tg.remainder, argnums=(0, 1))(x1, x2), np.zeros((2, 2))
    )


@given(x=st.floats(-100, 100, allow_subnormal=False))
def test_parts_of_a_number_make_it_up(x: float) -> None:
    assert tg.grad(lambda x: sum(tg.modf(x)))(x) == 1
    assert tg.grad(lambda x: tg.modf(x)[0])(x) == 1
    mantissa, exponent = tg.frexp(x)
    assert tg.ldexp(mantissa, exponent) == x
    assert tg.grad(lambda x: tg.frexp(x)[0])(x) == 2.0**-exponent
    assert tg.grad(lambda x: tg.ldexp(*tg.frexp(x)))(x) == 1


# --- extrema and clip ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fmax", "fmin"])
def test_fmax_and_fmin_pass_over_nan(name: str) -> None:
    fn = getattr(tg, name)
    assert slopes(fn, NAN, 2.0) == (0, 1)
    assert slopes(fn, 2.0, NAN) == (1, 0)
    assert slopes(fn, 2.0, 2.0) == (0.5, 0.5)
    assert slopes(fn, 1.0, 2.0) == ((0, 1) if name == "fmax" else (1, 0))


@pytest.mark.parametrize(
    ("a", "low", "high", "want"),
    [
        (0.5, 0.0, 1.0, (1, 0, 0)),
        (-1.0, 0.0, 1.0, (0, 1, 0)),
        (2.0, 0.0, 1.0, (0, 0, 1)),
        (0.0, 0.0, 1.0, (0.5, 0.5, 0)),
        (-0.0, 0.0, 1.0, (0.5, 0.5, 0)),
        (1.0, 0.0, 1.0, (0.5, 0, 0.5)),
        (0.0, 1.0, 1.0, (0, 0.5, 0.5)),
        (2.0, 1.0, 1.0, (0, 0, 1)),
        (1.0, 1.0, 1.0, (0, 0, 1)),
        # the upper bound counts where it is below the lower one
        (0.0, 2.0, 1.0, (0, 0, 1)),
        (1.0, 2.0, 1.0, (0, 0, 1)),
        (2.0, 2.0, 1.0, (0, 0, 1)),
        (NAN, 0.0, 1.0, (0, 0, 0)),
    ],
)
def test_ties_of_clip(a: float, low: float, high: float, want: Any) -> None:
    assert slopes(tg.clip, a, low, high) == want
    assert slopes(lambda a, low, high: a.clip(low, high), a, low, high) == want
    if not math.isnan(a):
        check_grads(tg.clip, (a, low, high))


def test_clip_with_one_bound_or_none() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    assert slopes(lambda x: tg.clip(x, 0, None), x).tolist() == [0, 0.5, 1]
    assert slopes(lambda x: np.clip(x, None, 0.0), x).tolist() == [1, 0.5, 0]
    assert slopes(lambda x: np.clip(x, min=0.0), x).tolist() == [0, 0.5, 1]
    assert slopes(lambda x: np.clip(x, max=0.0), x).tolist() == [1, 0.5, 0]
    assert slopes(lambda x: np.clip(x, None, None), x).tolist() == [1, 1, 1]


def test_clip_keeps_float32_beside_python_numbers() -> None:
    x = np.array([-1, 0.25, 2], np.float32)
    for fn in (
        lambda t: t.clip(0.0, 1.0),
        lambda t: t.clip(0, None),
        lambda t: np.clip(t, None, 1),
    ):
        assert tg.record(fn)(x)[0].dtype == np.float32
    want = (x * np.clip(0.5, 0.0, 1.0)).dtype
    assert tg.record(lambda p, x: x * tg.clip(p, 0.0, 1.0))(0.5, x)[0].dtype == want


def test_clip_refuses_a_bound_that_is_given_twice() -> None:
    with pytest.raises(ValueError, match=r"clip.*max"):
        tg.record(lambda x: tg.clip(x, 0, 1, max=2))(1.0)
    with pytest.raises(ValueError, match=r"clip.*min"):
        tg.clip(np.ones(2), 0, 1, min=2)


# --- floating numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("x2", [2.0, -2.0, 0.0, -0.0, INF, -INF])
def test_copysign_slopes_like_an_absolute_value(x2: float) -> None:
    sign = math.copysign(1, x2)
    for x1, want in ((3.0, sign), (-3.0, -sign), (0.0, 0), (-0.0, 0)):
        assert slopes(tg.copysign, x1, x2) == (want, 0)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_nan_to_num_puts_has_no_slope(bad: float) -> None:
    fn = lambda x: tg.nan_to_num(x, nan=5.0, posinf=6.0, neginf=7.0) ** 2  # noqa: E731
    np.testing.assert_array_equal(slopes(fn, [bad, 3.0]), [0, 6])
    for options in ({"posinf": 6.0}, {"neginf": 7.0, "nan": -1.0}):
        output, _ = tg.record(lambda x, o=options: np.nan_to_num(x, **o))(np.array([bad, 3.0]))
        np.testing.assert_array_equal(output.value, np.nan_to_num([bad, 3.0], **options))


def test_nan_to_num_changes_nothing() -> None:
    with pytest.raises(TypeError, match="copy"):
        tg.nan_to_num(np.array([NAN]), copy=False)


def test_heaviside_passes_its_value_at_zero() -> None:
    g1, g2 = slopes(tg.heaviside, [-1.0, 0.0, -0.0, 2.0], [3.0, 4.0, 5.0, 6.0])
    assert (g1.tolist(), g2.tolist()) == ([0, 0, 0, 0], [0, 1, 1, 0])


def test_isclose_takes_numpys_options() -> None:
    a = np.array([1.0, 1.1, NAN])
    for options in ({}, {"rtol": 0.2}, {"atol": 0.2}, {"equal_nan": True}):
        output, _ = tg.record(lambda a, options=options: np.isclose(a, [1.0, 1.0, NAN], **options))(
            a
        )
        np.testing.assert_array_equal(output.value, np.isclose(a, [1.0, 1.0, NAN], **options))
    output, _ = tg.record(lambda a, rtol: np.isclose(a, [1.0, 1.0, 1.0], rtol, rtol * 0))(a, 0.2)
    assert output.value.tolist() == [True, True, False]
    for equal_nan in (False, True):
        output, _ = tg.record(lambda a, e=equal_nan: np.allclose(a, a, equal_nan=e))(a)
        assert bool(output) == equal_nan


# --- interpolation ------------------------------------------------------------------------------------

XP, FP = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("x", "slope", "by_xp", "by_fp"),
    [
        (0.5, 2, (-1, -1, 0), (0.5, 0.5, 0)),
        (2.0, -1, (0, 0.5, 0.5), (0, 0.5, 0.5)),
        (-1.0, 0, (0, 0, 0), (1, 0, 0)),
        (9.0, 0, (0, 0, 0), (0, 0, 1)),
        (-INF, 0, (0, 0, 0), (1, 0, 0)),
        # at a point the line to the right, at the last one that to the left
        (0.0, 2, (-2, 0, 0), (1, 0, 0)),
        (1.0, -1, (0, 1, 0), (0, 1, 0)),
        (3.0, -1, (0, 0, 1), (0, 0, 1)),
    ],
)
def test_interpolation_by_hand(x: float, slope: float, by_xp: Any, by_fp: Any) -> None:
    got = slopes(tg.interp, x, XP, FP)
    for one, want in zip(got, (slope, by_xp, by_fp), strict=True):
        np.testing.assert_array_equal(one, want)


def test_interpolation_passes_a_gradient_to_the_ends_results() -> None:
    x = np.array([-1.0, 0.5, 4.0, 5.0])
    fn = lambda left, right: tg.interp(x, XP, FP, left, right)  # noqa: E731
    assert slopes(fn, 7.0, 8.0) == (1, 2)


def test_interpolation_of_one_point_or_nan() -> None:
    x, xp, fp = np.array([-1.0, 0.0, 1.0]), np.zeros(1), np.array([4.0])
    np.testing.assert_array_equal(tg.interp(x, xp, fp), [4, 4, 4])
    assert [g.tolist() for g in slopes(tg.interp, x, xp, fp)] == [[0, 0, 0], [0], [3]]
    assert np.isnan(tg.interp(NAN, XP, FP))


@pytest.mark.parametrize(("xp", "fp"), [([], []), ([1.0], [1.0, 2.0]), (1.0, 1.0)])
def test_interpolation_of_points_that_do_not_fit_is_refused(xp: Any, fp: Any) -> None:
    with pytest.raises(ValueError, match="interp"):
        tg.record(lambda x: tg.interp(x, xp, fp))(1.0)


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


def test_a_neighbour_moves_as_its_number_does() -> None:
    x = np.array([1.0, -2.0])
    np.testing.assert_array_equal(tg.grad(lambda x: tg.sum(np.nextafter(x, 3.0)))(x), [1.0, 1.0])


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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_root_of_a_python_float_has_numpys_slope_at_0_and_below() -> None:
    slope = tg.grad(lambda x: x**0.5)
    assert slope(0.0) == math.inf
    assert math.isnan(slope(-1.0))  # it was the real part of a complex number
    assert tg.jvp(lambda x: x**-1.0, (0.0,), (1.0,))[1] == -math.inf


def test_convolve_of_python_floats_has_a_gradient() -> None:
    assert tg.grad(lambda a, v: tg.convolve(a, v)[0], argnums=(0, 1))(2.0, 3.0) == (3.0, 2.0)
