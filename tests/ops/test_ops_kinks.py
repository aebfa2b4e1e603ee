"""Ties, places written twice, and forms that stay precise at any size.

Elements that tie share a gradient; all that is added in one place counts, and of values set there
the last; activations neither overflow nor cancel. `examples/kinks.md` has a row of each convention.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from op_calls import operands_for

import tapegrad as tg
from tapegrad.ops.indexing import scatter
from tapegrad.ops.rows import sum_segments
from tapegrad.types import Array, DTypeLike

INF, NAN = float("inf"), float("nan")


FAR = hnp.arrays(np.float64, hnp.array_shapes(max_side=3), elements=st.floats(-1e4, 1e4))


def gradient(fn: Any, x: Any, **options: Any) -> Any:
    return tg.grad(lambda x: tg.sum(fn(x, **options)))(np.array(x))


# --- ties ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["max", "min"])
@given(data=st.data())
def test_elements_that_tie_for_an_extremum_share_equally(name: str, data: st.DataObject) -> None:
    call = data.draw(operands_for(name))
    (plain,), axis = call.args, call.kwargs.get("axis")
    keepdims = call.kwargs.get("keepdims", False)
    lost = data.draw(hnp.arrays(bool, plain.shape))
    # NumPy takes nan for the extremum
    for x in (plain, np.where(lost, np.array(NAN, plain.dtype), plain)):
        y = getattr(np, name)(x, axis=axis, keepdims=True)
        ties = (x == y) | np.isnan(x)
        want = (ties / ties.sum(axis=axis, keepdims=True)).astype(x.dtype)
        loss = tg.grad(lambda x: tg.sum(getattr(tg, name)(x, axis=axis, keepdims=keepdims)))
        np.testing.assert_array_equal(loss(x), want)
    np.testing.assert_array_equal(tg.compile(loss)(x), want)


def test_a_nan_in_a_segment_or_at_an_index_is_its_extremum() -> None:
    x, at = np.array([1.0, NAN, NAN, 2.0, 3.0]), np.array([0, 0, 0, 1, 1])
    for slope in (
        tg.grad(lambda x: tg.sum(tg.segment_max(x, at, 2))),
        tg.grad(lambda x: tg.sum(tg.at(np.full(2, -INF))[at].max(x))),
    ):
        for of in (slope, tg.compile(slope)):
            np.testing.assert_array_equal(of(x), [0, 0.5, 0.5, 0, 1])


@pytest.mark.parametrize("many", [0, 1 << 30])
@given(data=st.data())
def test_where_selects_what_numpy_selects_to_the_last_bit(many: int, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from("efdgFDil"))
    shape = data.draw(st.sampled_from([(), (3,), (2, 3), (0, 3)]))
    condition = data.draw(hnp.arrays(bool, shape))
    narrow = data.draw(hnp.broadcastable_shapes(shape or (1,), max_dims=3, max_side=3))
    values = [1.0, -0.0, 0.0, np.inf, -np.inf, np.nan, 3.0][: 3 if dtype in "il" else 7]
    x = np.resize(np.array(values), narrow).astype(dtype)
    condition, x = (a.T.copy().T if data.draw(st.booleans()) else a for a in (condition, x))
    for zero in (0, 0.0, -0.0, False, 1, 0j):
        for pair in ((x, zero), (zero, x)):
            try:
                want = np.where(condition, *pair)
            except ValueError:
                return
            with mock.patch("tapegrad.ops.logic._LARGE", many):
                got = tg.where(condition, *pair)
            np.testing.assert_array_equal(got, want, strict=True)
            np.testing.assert_array_equal(np.signbit(np.real(got)), np.signbit(np.real(want)))


# --- indices that repeat ---------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (3, 2), (1, 2), (3, 1, 2), (2, 2, 2)])
def test_values_that_broadcast_over_repeated_places_all_count(shape: tuple[int, ...]) -> None:
    index, values = np.zeros(shape, int), np.array([1.0, 2.0])
    times = index.size // 2
    added, pullback = tg.vjp(lambda x, v: x.at[index].add(v), np.zeros(1), values)
    assert added.tolist() == [3 * times]
    assert pullback(np.ones(1))[1].tolist() == [times, times]
    assert tg.at(np.zeros(1))[index].add(values).tolist() == [3 * times]
    assert scatter(values, (1,), index).tolist() == [3 * times]


@pytest.mark.parametrize("n", [3, 40, 3000])
@pytest.mark.parametrize("width", [0, 1, 6, 7])
@pytest.mark.parametrize("dtype", ["e", "f", "d", ">f", ">d"])
def test_rows_that_repeat_are_summed_however_many_they_are(n: int, width: int, dtype: str) -> None:
    for count in (0, 5, 700, 3000):
        # whole numbers, whose sums have no rounding errors; an index of both signs for each row
        indices = np.arange(count) * 7 % n - n * (np.arange(count) % 2)
        values = (np.arange(count * width) % 5 - 2.0).astype(dtype).reshape(count, width)
        expected = np.zeros((n, width), dtype)
        np.add.at(expected, indices, values)
        for few in (0, 1 << 13):
            with mock.patch("tapegrad.ops.adding._MAX_FLAT", few):
                got = sum_segments(values, indices, n)
                narrow = sum_segments(values, (indices % min(n, 100)).astype(np.int8), n)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, expected)
            wide = sum_segments(values, indices % min(n, 100), n)
            np.testing.assert_array_equal(narrow, wide)
        for beyond in (n, -n - 1) if count else ():
            indices[-1] = beyond
            with pytest.raises(IndexError, match=f"index {beyond} "):
                sum_segments(values, indices, n)


# --- stability ---------------------------------------------------------------------------


def precise_sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def precise_softmax(x: Array, g: Array) -> tuple[Any, Any]:
    weights = np.exp(x - x.max(axis=-1, keepdims=True))
    y = weights / weights.sum(axis=-1, keepdims=True)
    return y, y * (g - np.sum(y * g, axis=-1, keepdims=True))


def precise_logarithms(x: Array, g: Array) -> tuple[Any, Any]:
    shifted = x - x.max(axis=-1, keepdims=True)
    y = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    return y, g - np.exp(y) * np.sum(g, axis=-1, keepdims=True)


def precise_logsumexp(x: Array, g: Array) -> tuple[Any, Any]:
    most = x.max(axis=-1, keepdims=True)
    y = np.log(np.sum(np.exp(x - most), axis=-1, keepdims=True)) + most
    return y, np.exp(x - y) * g


# of a long double and a cotangent, the value and what is pulled back, and how near each comes
STABLE: dict[Any, tuple[Any, float, float]] = {
    tg.sigmoid: (
        lambda x, g: (precise_sigmoid(x), g * precise_sigmoid(x) * precise_sigmoid(-x)),
        1e-300,
        1e-300,
    ),
    tg.softplus: (lambda x, g: (np.logaddexp(0, x), g * precise_sigmoid(x)), 1e-300, 1e-300),
    tg.softmax: (precise_softmax, 1e-300, 1e-10),
    tg.log_softmax: (precise_logarithms, 1e-14, 1e-10),
    lambda x: tg.logsumexp(x, axis=-1, keepdims=True): (precise_logsumexp, 1e-14, 1e-10),
}


@given(x=FAR, n_near=st.sampled_from([0, 1000]))
def test_activations_are_stable_and_keep_their_gradients(x: Array, n_near: int) -> None:
    # few among many too
    many = np.append(x, np.linspace(-400, 40, n_near))
    for fn, (precise, near, near_slope) in STABLE.items():
        a = many if fn in (tg.sigmoid, tg.softplus) else x
        value, pullback = tg.vjp(fn, a)
        g = np.arange(1.0, value.size + 1).reshape(value.shape)
        with np.errstate(over="ignore"):
            exact, pulled = (
                y.astype(float) for y in precise(a.astype(np.longdouble), g.astype(np.longdouble))
            )
        np.testing.assert_allclose(value, exact, rtol=1e-13, atol=near)
        np.testing.assert_allclose(pullback(g)[0], pulled, rtol=1e-10, atol=near_slope * g.size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "fn",
    [
        tg.softmax,
        tg.log_softmax,
        tg.relu,
        tg.sigmoid,
        tg.softplus,
        tg.erf,
        lambda x: tg.maximum(x, 0),
        tg.square,
    ],
)
@pytest.mark.parametrize("width", [64, 9])
def test_of_a_large_array_an_op_makes_what_it_makes_of_its_rows(
    fn: Callable[..., Any], dtype: DTypeLike, width: int
) -> None:
    rng, each = np.random.default_rng(0), np.arange(240)
    x = rng.normal(scale=5, size=(240, width)).astype(dtype)
    # rows about one number each, near to where exponentials overflow or vanish, and beyond
    x += np.array([0, 30, 64, 85, 900, -4, -15, -50, -100, -900], dtype)[each % 10, None]
    x[:, 0] = np.array([0, -0.0, NAN, INF, -INF, np.finfo(dtype).min], dtype)[each // 40]
    g = rng.normal(size=x.shape).astype(dtype)
    near = {"rtol": 5 * np.finfo(dtype).eps, "atol": np.finfo(dtype).tiny * 1e6}
    if fn is tg.log_softmax:
        # close to 0 it has the rounding errors of a sum that is close to 1
        near["atol"] = 5 * np.finfo(dtype).eps
    rough = {"rtol": 1e-4, "atol": 100 * np.finfo(dtype).eps}
    with np.errstate(all="ignore"):
        of_rows = [tg.vjp(fn, row) for row in x]
        rows = np.array([y for y, _ in of_rows])
        pulled = np.array([pull(h)[0] for (_, pull), h in zip(of_rows, g, strict=True)])
        finite, most = np.isfinite(x).all(axis=1), np.max(x, axis=1)
        # other rows are no reason to take another way for one
        for some in (each, each[finite], each[most < 60], each[finite & (most > 0)], each[200:]):
            large = np.concatenate([some, some, some])
            order = np.dtype(dtype).newbyteorder(">" if len(some) % 3 else "<")
            laid = np.asarray(x[large], order, order="F" if len(some) % 2 else "C")
            y, pull = tg.vjp(fn, laid)
            assert y.dtype.isnative
            np.testing.assert_allclose(y, rows[large], **near)
            np.testing.assert_allclose(pull(g[large])[0], pulled[large], **rough)


def test_erf_of_float32_is_within_four_of_the_last_digit_and_never_decreases() -> None:
    x = np.concatenate([np.linspace(-5, 5, 4001), [0.0, 1e-30, 1e-10, 1e-4, 3e38, INF]])
    x = np.sort(x.astype(np.float32))
    with np.errstate(over="raise", invalid="raise"):
        y = tg.erf(x)
    exact = np.array([math.erf(v) for v in x.tolist()])
    assert np.all(np.abs(y - exact) <= 4 * np.spacing(np.abs(exact).astype(np.float32)))
    assert np.all(np.diff(y) >= 0)
    np.testing.assert_array_equal(y[np.abs(x) >= 4.2], np.sign(x[np.abs(x) >= 4.2]))


@pytest.mark.parametrize("where", [{}, {"where": np.ones(70_000, bool)}])
@pytest.mark.parametrize("name", ["mean", "nanmean", "var", "nanvar", "std", "nanstd", "average"])
def test_more_elements_than_float16_can_count(name: str, where: dict[str, Array]) -> None:
    fn = partial(getattr(np, name), **where)
    if name == "average" and where:
        fn = lambda x: np.average(x, weights=np.ones(x.shape, x.dtype))  # noqa: E731
    # the sum of the larger ones overflows too
    for x in (np.arange(70_000) % 8 / 256, np.arange(70_000) % 8):
        for of in (tg.value_and_grad(fn), tg.compile(tg.value_and_grad(fn))):
            value, g = of(x.astype(np.float16))
            assert value.dtype == g.dtype == np.float16
            np.testing.assert_allclose(value, fn(x.astype(float)), rtol=2e-3)
            np.testing.assert_allclose(g, tg.grad(fn)(x.astype(float)), rtol=2e-3, atol=2.0**-22)


LOGSUMEXP = tg.value_and_grad(tg.logsumexp)


@pytest.mark.parametrize("fn", [LOGSUMEXP, tg.compile(LOGSUMEXP)], ids=["recorded", "compiled"])
@given(
    x=hnp.arrays(float, st.integers(1, 4), elements=st.sampled_from([-INF, -1e4, 0.0, 2.0, INF]))
)
def test_logsumexp_of_infinities(fn: Callable[..., Any], x: Array) -> None:
    with np.errstate(divide="raise", over="raise", invalid="ignore"):
        y, weights = fn(x)
    np.testing.assert_allclose(y, np.logaddexp.reduce(x), rtol=1e-14)
    if np.isfinite(y):
        np.testing.assert_allclose(weights, np.exp(x - y), rtol=1e-12)
    else:  # no weights where there is nothing, and none that are known between infinities
        np.testing.assert_array_equal(weights, np.where(x == INF, NAN, 0))


def test_a_masked_logit_has_no_weight_and_no_gradient() -> None:
    x = np.array([-INF, 0.0, 0.0])
    np.testing.assert_array_equal(tg.softmax(x), [0, 0.5, 0.5])
    _, pullback = tg.vjp(tg.softmax, x)
    np.testing.assert_array_equal(pullback(np.array([0.0, 1.0, 0.0]))[0], [0, 0.25, -0.25])
    assert tg.log_softmax(x).tolist() == [-INF, -np.log(2), -np.log(2)]
    _, pullback = tg.vjp(tg.log_softmax, x)
    np.testing.assert_array_equal(pullback(np.array([0.0, 1.0, 0.0]))[0], [0, 0.5, -0.5])
