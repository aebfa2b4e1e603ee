"""Products, scans and order statistics: zeros, ties, nan and infinities.

Derivatives of products are those of polynomials; elements that tie share a gradient equally; nan
that is left out gets none; statistics and their dtypes are NumPy's for ties and infinite numbers.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.domain import Elements
from tapegrad.functions import sorting as order_functions
from tapegrad.testing import arrays, check_grads
from tapegrad.testing.strategies import HypothesisChoices
from tapegrad.types import Array, ArrayLike

NAN = float("nan")


def tied(shape: tuple[int, ...], dtypes: str = "dfe") -> Any:
    """Arrays of few whole numbers, which tie."""
    return arrays(shape, dtypes=dtypes).map(np.round)


def gradient(fn: Callable[..., Any], x: ArrayLike, *args: Any, **options: Any) -> Array:
    return tg.grad(lambda x: tg.sum(fn(x, *args, **options)))(np.array(x, float))


# --- products ------------------------------------------------------------------------


def polynomial(x: list[float], orders: tuple[int, ...]) -> float:
    """A derivative of the product of x: by each element at most once, or 0."""
    if len(set(orders)) < len(orders):
        return 0.0
    return math.prod(x[i] for i in range(len(x)) if i not in orders)


ZEROS = [
    [2.0, -3.0, 0.5, 4.0],
    [2.0, 0.0, 0.5, 4.0],
    [0.0, -3.0, 0.0, 4.0],
    [0.0, -0.0, 0.0, 4.0],
    [0.0, 0.0, 0.0, 0.0],
]


@pytest.mark.parametrize("x", ZEROS, ids=["none", "one", "two", "three", "all"])
def test_products_are_differentiated_as_the_polynomials_they_are(x: list[float]) -> None:
    point, n = np.array(x), len(x)
    first = tg.grad(tg.prod)
    second = tg.jacobian(first)
    for derivative, order_ in ((first, 1), (second, 2), (tg.jacobian(second), 3)):
        got = derivative(point)
        for at in itertools.product(range(n), repeat=order_):
            assert got[at] == polynomial(x, at)
    first, second = tg.jacobian(tg.cumprod)(point), tg.jacobian(tg.jacobian(tg.cumprod))(point)
    for k, *at in itertools.product(range(n), repeat=3):
        assert first[k, at[0]] == (polynomial(x[: k + 1], (at[0],)) if at[0] <= k else 0)
        assert second[k, *at] == (polynomial(x[: k + 1], tuple(at)) if max(at) <= k else 0)


def test_a_product_that_overflows_later_leaves_earlier_gradients_finite() -> None:
    x = np.full(2000, 2.0)
    with np.errstate(over="ignore"):
        g = tg.grad(lambda x: tg.cumprod(x)[9])(x)
    np.testing.assert_array_equal(g, [2.0**9] * 10 + [0] * 1990)


# --- deviations ----------------------------------------------------------------------


@pytest.mark.parametrize("x", [[0.0, 0.0], [3.0, 3.0, 3.0], [2.0]])
def test_a_deviation_of_zero_has_the_gradient_zero(x: list[float]) -> None:
    np.testing.assert_array_equal(gradient(tg.std, x), np.zeros(len(x)))
    np.testing.assert_array_equal(tg.hessian(tg.std)(np.array(x)), np.zeros((len(x),) * 2))


def test_weights_may_belong_to_axes_in_any_order() -> None:
    x, weights = np.arange(24.0).reshape(2, 3, 4) ** 2, np.arange(8.0).reshape(4, 2) + 1
    got, _ = tg.record(lambda x, w: np.average(x, (2, 0), w, returned=True))(x, weights)
    for ours, numpys in zip(got, np.average(x, (2, 0), weights, returned=True), strict=True):
        np.testing.assert_allclose(ours.value, numpys)


# --- nan -----------------------------------------------------------------------------

# with their options
WITHOUT_NAN: dict[str, dict[str, Any]] = {
    **{f"nan{x}": {} for x in ("sum", "prod", "mean", "max", "min", "var", "std", "median")},
    "nancumsum": {},
    "nancumprod": {},
    "nanquantile": {"q": 0.3},
    "nanpercentile": {"q": 70.0},
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", WITHOUT_NAN)
@depth("check_grads, of few inputs")
@given(data=st.data())
def test_nan_is_left_out_and_gets_no_gradient(name: str, data: st.DataObject) -> None:
    x = data.draw(arrays(hnp.array_shapes(min_dims=0, max_dims=3, max_side=3), Elements(-1, 1)))
    missing = data.draw(hnp.arrays(bool, x.shape))
    if "cum" in name:
        axis = st.integers(-x.ndim, x.ndim - 1) if x.ndim else st.none()
        options = {"axis": data.draw(st.none() | axis)}
    else:
        options = {
            "axis": HypothesisChoices(data.draw).axes(x.ndim),
            "keepdims": data.draw(st.booleans()),
        }
    fn, numpys = (partial(getattr(s, name), **WITHOUT_NAN[name]) for s in (tg, np))
    holed = np.where(missing, np.nan, x).astype(x.dtype)
    want, dtype = numpys(holed, **options), numpys(x, **options).dtype
    for got in (fn(holed, **options), tg.record(fn)(holed, **options)[0].value):
        assert (got.shape, got.dtype) == (np.shape(want), dtype)
        eps = float(np.finfo(x.dtype).eps)
        np.testing.assert_allclose(got, want, rtol=64 * eps, atol=64 * eps)
    if np.isfinite(want).all():
        check_grads(lambda x: fn(tg.where(missing, NAN, x), **options), (x,), order=1)
        assert not gradient(fn, holed, **options)[missing].any()


def test_the_extrema_of_all_but_nan_may_be_anything() -> None:
    for far in (-1e30, 1e30, -math.inf, math.inf):
        assert tg.nanmax(np.array([far, NAN])) == tg.nanmin(np.array([far, NAN])) == far


# --- ties ----------------------------------------------------------------------------


def shares(x: Array, weights: Array) -> Array:
    """What each element gets of weights for the sorted places: the mean over its ties."""
    weights = np.asarray(weights, float)
    return np.array([weights[np.sort(x) == element].mean() for element in x])


@given(data=st.data())
def test_elements_that_tie_share_the_gradient_of_their_places(data: st.DataObject) -> None:
    x = data.draw(tied((5,), "d"))
    weights = np.arange(5.0) ** 2
    want = shares(x, weights)
    g = tg.grad(lambda x: tg.sum(tg.sort(x) * weights))(x)
    np.testing.assert_allclose(g, want)
    k = data.draw(st.integers(0, 4))
    one = np.eye(5)[k]
    g = tg.grad(lambda x: tg.partition(x, k)[k])(x)
    np.testing.assert_allclose(g, shares(x, one))
    np.testing.assert_allclose(tg.grad(lambda x: tg.quantile(x, k / 4))(x), shares(x, one))
    np.testing.assert_allclose(tg.grad(tg.median)(x), shares(x, np.eye(5)[2]))


@pytest.mark.parametrize(
    "method",
    [
        *order_functions._END_DISTANCES,
        *order_functions._NEIGHBOR_METHODS,
        *order_functions._STEP_METHODS,
    ],
)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_quantiles_of_every_method_are_numpys(method: str, n: int) -> None:
    x = np.arange(n) ** 2 - 3.0
    q = np.linspace(0, 1, 13)
    # where rounding decides which elements a quantile is between, both are right
    want = np.quantile(x, q, method=method)
    np.testing.assert_allclose(tg.quantile(x, q, method=method), want, atol=1e-12)
    recorded, _ = tg.record(lambda x, q: np.percentile(x, q * 100, method=method))(x, q)
    if method in order_functions._END_DISTANCES:
        np.testing.assert_allclose(recorded.value, want, atol=1e-12)
    for one, value in zip(q.tolist(), want, strict=True):
        narrow = tg.quantile(x.astype(np.float32), one, method=method)
        assert narrow.dtype == np.float32
        np.testing.assert_allclose(narrow, value, rtol=1e-5, atol=1e-5)


def test_a_quantile_has_a_slope_in_q_up_to_either_end() -> None:
    x = np.array([4.0, 1.0, 2.0])
    for q, slope in ((0.0, 2.0), (0.25, 2.0), (0.5, 4.0), (0.75, 4.0), (1.0, 4.0)):
        assert tg.grad(lambda q: tg.quantile(x, q))(q) == slope
        assert tg.grad(lambda q: tg.percentile(x, q))(100 * q) == slope / 100
    far = np.array([-1e20, 1.0])
    assert tg.record(lambda q: tg.quantile(far, q))(1.0)[0].value == tg.quantile(far, 1.0) == 1


# --- neighbours ----------------------------------------------------------------------


@depth("check_grads, of few inputs")
@given(data=st.data())
def test_slopes_between_neighbours_are_numpys(data: st.DataObject) -> None:
    f = data.draw(arrays(hnp.array_shapes(max_dims=2, min_side=3, max_side=4)))
    axis = data.draw(st.none() | st.integers(-f.ndim, f.ndim - 1))
    along = range(f.ndim) if axis is None else [axis]
    steps = st.floats(0.25, 2, width=16)
    spaced = [np.cumsum(data.draw(hnp.arrays(float, (f.shape[i],), elements=steps))) for i in along]
    spacing = data.draw(st.sampled_from([[], [0.5], [0.5] * len(spaced), spaced]))
    options = {"axis": axis, "edge_order": data.draw(st.sampled_from([1, 2]))}
    fn = lambda f, *spacing: np.gradient(f, *spacing, **options)  # noqa: E731
    got, _ = tg.record(fn)(f, *spacing)
    for ours, numpys in zip(tg.tree.leaves(got), tg.tree.leaves(fn(f, *spacing)), strict=True):
        assert (ours.shape, ours.dtype) == (numpys.shape, numpys.dtype)
        eps = float(np.finfo(f.dtype).eps)
        np.testing.assert_allclose(ours.value, numpys, rtol=64 * eps, atol=256 * eps)
    check_grads(fn, (f, *spacing), order=1)


# --- compiled ------------------------------------------------------------------------


def test_weights_of_known_numbers_are_counted_in_a_program() -> None:
    counted = tg.compile(tg.grad(lambda w: tg.sum(np.bincount(np.array([0, 2, 2]), w) ** 2)))
    np.testing.assert_array_equal(counted(np.array([1.0, 2.0, 3.0])), [2, 10, 10])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["quantile", "nanquantile", "percentile", "nanpercentile"])
@given(
    q=st.lists(st.floats(-2, 3) | st.just(NAN), min_size=1, max_size=3),
    keepdims=st.booleans(),
    method=st.sampled_from(["linear", "lower", "higher", "midpoint", "hazen", "inverted_cdf"]),
)
@depth("small step")
def test_a_quantile_that_only_a_program_knows_is_nan_out_of_range(
    name: str, q: list[float], keepdims: bool, method: str
) -> None:
    options = {} if "nan" in name else {"method": method}
    function = partial(getattr(tg, name), **options)
    x, places = np.array([[3.0, 1.0], [2.0, 5.0]]), np.array(q)
    top = 100.0 if "percentile" in name else 1.0
    got = tg.compile(lambda q: function(x, q * top, keepdims=keepdims))(places)
    fits = (places >= 0) & (places <= 1)
    want = np.array(function(x, np.where(fits, places, 0) * top, keepdims=keepdims))
    want[~fits] = np.nan
    np.testing.assert_allclose(got, want)
    if not fits.all():
        with pytest.raises(ValueError, match=f"q must be from 0 to {top:.0f}"):
            tg.record(lambda q: function(x, q * top))(places)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@given(x=st.lists(st.sampled_from([-np.inf, -1.0, 0.5, 2.0, np.inf, NAN]), min_size=1, max_size=5))
@depth("batch")
def test_infinite_numbers_are_in_order_like_others(x: list[float]) -> None:
    a = np.array(x)
    for f in (lambda fn: fn(a), lambda fn: tg.record(fn)(a)[0].value, lambda fn: tg.compile(fn)(a)):
        np.testing.assert_equal(f(tg.nanmedian), np.nanmedian(a))
        np.testing.assert_equal(f(tg.median), np.median(a))
        for prefix in ("", "nan"):
            quantile = getattr(tg, f"{prefix}quantile")
            ends = np.array([0.0, 1.0])
            want = [getattr(np, f"{prefix}{end}")(a) for end in ("min", "max")]
            np.testing.assert_equal(f(lambda a, q=quantile, e=ends: q(a, e)), want)
            for q, end in zip(ends.tolist(), want, strict=True):
                np.testing.assert_equal(f(lambda a, quantile=quantile, q=q: quantile(a, q)), end)


def test_small_integers_are_unwrapped_without_overflow() -> None:
    p = np.array([200, 100, 0], np.uint8)
    np.testing.assert_allclose(tg.unwrap(p, period=300.0), np.unwrap(p.astype(float), period=300.0))
    whole = np.array([0, 3, 1, 7, 2, 2])
    for period in (3, 4, 5):
        got = tg.unwrap(whole, period=period)
        np.testing.assert_array_equal(got, np.unwrap(whole, period=period), strict=True)
    with pytest.raises(TypeError, match="backwards"):
        tg.unwrap(p, period=3)
    with pytest.raises(ValueError, match="discont, of shape"):
        tg.compile(lambda p: tg.unwrap(p, np.ones(3)))(np.ones(2))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("p", [None, -2, 1, "fro"])
def test_a_condition_number_is_infinite_or_none_as_numpys(p: int | str | None) -> None:
    zero = np.zeros((2, 2))
    if p in (None, -2):
        assert tg.linalg.cond(zero, p) == tg.compile(lambda x: tg.linalg.cond(x, p))(zero) == np.inf
    for fn in (tg.linalg.cond, tg.compile(lambda x, p=p: tg.linalg.cond(x, p), static_argnums=1)):
        with pytest.raises(np.linalg.LinAlgError):
            fn(zero[:0], p)
