"""NumPy's functions of functions, and statistics and polynomials where cases tell more."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import TraceError
from tapegrad.testing import check_grads

X = np.array([[3.0, 1.0, 2.0], [0.5, 4.0, -2.5]])

CALLS: dict[str, Any] = {
    "scalars": lambda x: np.apply_along_axis(np.sum, 0, x**2),
    "last axis": lambda x: np.apply_along_axis(lambda row: np.sort(row) * row[0], -1, x),
    "shorter": lambda x: np.apply_along_axis(np.diff, 1, x),
    "matrices": lambda x: np.apply_along_axis(lambda row: row[:, None] * row, 1, x),
    "matrices in front": lambda x: np.apply_along_axis(lambda row: row[:, None] * row, 0, x),
    "arguments": lambda x: np.apply_along_axis(lambda row, a, b: row[0] * a + b, 1, x, 2.0, b=1.0),
    "over axes": lambda x: np.apply_over_axes(np.sum, x**2, [0, -1]),
    "over one": lambda x: np.apply_over_axes(np.cumsum, x**2, 1),
    "functions": lambda x: np.piecewise(x, [x < 1, x >= 1], [lambda t: t**2, lambda t: 2 * t]),
    "others": lambda x: np.piecewise(x, [x < 1], [5.0, np.log]),
    "none": lambda x: np.piecewise(x, [x > 2], [np.sqrt]),
    "one condition": lambda x: np.piecewise(x[0], x[0] > 2, [np.sqrt]),
    "one in a list": lambda x: np.piecewise(x[0], [True, False, True], [np.sqrt, 2.0]),
    "conditions in rows": lambda x: np.piecewise(
        x[0], np.stack([x[0] < 2, x[0] > 2]), [np.sqrt, np.exp]
    ),
    "the last counts": lambda x: np.piecewise(x, [x > 0, x > 2], [np.sqrt, lambda t: -t]),
    "with arguments": lambda x: np.piecewise(x, [x > 2], [lambda t, a, b: a * t**b], 2.0, b=3),
    "no axis": lambda x: np.piecewise(x[0, 0], [x[0, 0] > 2, x[0, 0] < 1], [np.sqrt, np.exp]),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_function_of_functions_is_numpys_with_right_derivatives(name: str) -> None:
    f = CALLS[name]
    y, _ = tg.record(f)(X)
    assert isinstance(y, tg.Tensor)
    want = f(X)
    assert (y.shape, y.dtype) == (want.shape, want.dtype)
    np.testing.assert_allclose(y.value, want, rtol=1e-15)
    check_grads(f, (X,))


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ValueError, lambda x: np.apply_along_axis(np.sum, 0, x[:, :0])),
        (ValueError, lambda x: np.apply_over_axes(lambda a, axis: np.sum(a), x, [0])),
        (ValueError, lambda x: np.piecewise(x, [x > 0], [1.0, 2.0, 3.0])),
        (ValueError, lambda x: np.vander(x)),
        (ValueError, lambda x: np.polyder(x[0], -1)),
        (ValueError, lambda x: np.polyint(x[0], -1)),
        (ValueError, lambda x: np.polyfit(x[0], x[1, :2], 1)),
        (TypeError, lambda x: np.polyfit(x[0], x[1], 1, full=True)),
        (ValueError, lambda x: np.cov(x[None])),
        (ValueError, lambda x: np.cov(x, x[:, :2])),
        (ValueError, lambda x: np.cov(x[:1], x[:1], rowvar=False)),
        (ValueError, lambda x: np.nanquantile(x, 1.5)),
        (TypeError, lambda x: np.nanquantile(x, 0.5, method="lower")),
    ],
)
def test_what_is_not_supported_raises(error: type[Exception], call: Any) -> None:
    with pytest.raises(error):
        tg.record(call)(X)


def test_parts_of_an_array_are_not_known_while_compiling() -> None:
    with pytest.raises(TraceError):
        tg.compile(CALLS["others"])(X)


def test_a_perfect_correlation_has_the_curvature_of_one() -> None:
    # near the largest value the square of the angle is lost, half of it
    y = np.array([1.0, 2.0, 4.0])
    check_grads(lambda x: np.corrcoef(x, y)[0, 1], (2 * y + 1,))
    check_grads(lambda x: np.corrcoef(x, y), (-y,))


def test_a_variable_alone_has_a_number() -> None:
    x = np.array([1.0, 2.0, 4.0])
    assert tg.cov(x).shape == tg.corrcoef(x).shape == ()
    np.testing.assert_allclose(tg.grad(tg.cov)(x), tg.grad(lambda x: tg.var(x, ddof=1))(x))


@pytest.mark.parametrize("q", [0.0, 0.3, 1.0, np.array([0.25, 0.75])])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_quantiles_of_all_but_nan_are_numpys(q: Any) -> None:
    x = np.array(
        [[3.0, np.nan, 1.0], [np.nan, np.nan, np.nan], [4.0, 2.0, 7.0], [np.nan, 5.0, 6.0]]
    )
    for axis in (None, 0, 1, (0, 1)):
        want = np.nanquantile(x, q, axis=axis, keepdims=True)
        np.testing.assert_allclose(tg.nanquantile(x, q, axis, keepdims=True), want)
        got = tg.record(lambda x, a=axis: tg.nanpercentile(x, 100 * q, a))(x)[0].value
        np.testing.assert_allclose(got, np.nanquantile(x, q, axis=axis))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_nan_gets_no_gradient_of_a_quantile(axis: Any) -> None:
    x = np.array([[3.0, 5.0, 1.0], [2.5, 2.0, 7.0], [4.0, 0.0, 6.0], [8.0, 5.5, -1.0]])
    missing = np.arange(12).reshape(4, 3) % 5 == 0
    check_grads(lambda x: np.nanquantile(np.where(missing, np.nan, x), 0.3, axis), (x,))
    holed = np.where(missing, np.nan, x)
    slopes = tg.grad(lambda x: tg.sum(np.nanmedian(x, axis)))(holed)
    np.testing.assert_array_equal(slopes[missing], 0.0)
    assert tg.sum(slopes) == np.size(np.nanmedian(holed, axis))


def test_a_quantile_of_all_but_nan_has_a_slope_in_q() -> None:
    x = np.array([1.0, np.nan, 2.0, 4.0])
    slopes = [tg.grad(lambda q: tg.nanquantile(x, q))(q) for q in (0.25, 0.5, 1.0)]
    np.testing.assert_array_equal(slopes, [2.0, 4.0, 4.0])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_quantile_of_nothing_is_nan() -> None:
    for axis in (None, 0, 1):
        want = np.nanmedian(np.zeros((0, 3)), axis)
        np.testing.assert_array_equal(tg.nanmedian(np.zeros((0, 3)), axis), want)
    assert tg.grad(tg.nanmedian)(np.zeros((0, 3))).shape == (0, 3)
