"""What the ops do where calculus leaves a choice, and where floats run out."""

import math
import warnings
from typing import Any
from unittest import mock

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.ops.indexing import scatter
from tapegrad.ops.rows import segment_sum
from tapegrad.testing import arrays, check_grads, operands_for

INF, NAN = float("inf"), float("nan")


FAR = hnp.arrays(np.float64, hnp.array_shapes(max_side=3), elements=st.floats(-1e4, 1e4))


def gradient(fn: Any, x: Any, **options: Any) -> Any:
    return tg.grad(lambda x: tg.sum(fn(x, **options)))(np.array(x))


# --- ties ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_both_sides_of_a_tie_get_half(name: str) -> None:
    fn = getattr(tg, name)
    both = tg.grad(lambda a, b: tg.sum(fn(a, b)), argnums=(0, 1))(np.ones(2), np.ones(2))
    np.testing.assert_array_equal(both, np.full((2, 2), 0.5))


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@given(data=st.data())
def test_one_tensor_on_both_sides_gets_all(name: str, data: Any) -> None:
    x = data.draw(arrays())
    fn = getattr(tg, name)
    g = tg.grad(lambda x: tg.sum(fn(x, x)))(x)
    np.testing.assert_array_equal(g, np.ones(x.shape))


def test_zeros_of_either_sign_tie() -> None:
    for name in ("maximum", "minimum"):
        g = tg.grad(getattr(tg, name), argnums=(0, 1))(0.0, -0.0)
        assert g == (0.5, 0.5)
    np.testing.assert_array_equal(gradient(tg.max, [0.0, -0.0, -1.0]), [0.5, 0.5, 0])
    np.testing.assert_array_equal(gradient(tg.min, [0.0, -0.0, 1.0]), [0.5, 0.5, 0])


@pytest.mark.parametrize("name", ["max", "min"])
@given(data=st.data())
def test_elements_that_tie_for_an_extremum_share_equally(name: str, data: Any) -> None:
    call = data.draw(operands_for(name))
    (x,), axis = call.args, call.kwargs.get("axis")
    keepdims = call.kwargs.get("keepdims", False)
    g = gradient(getattr(tg, name), x, axis=axis, keepdims=keepdims)
    ties = x == getattr(np, name)(x, axis=axis, keepdims=True)
    want = ties / ties.sum(axis=axis, keepdims=True)
    np.testing.assert_array_equal(g, want.astype(x.dtype))


def test_ties_in_a_row_share_along_that_row_alone() -> None:
    x = np.array([[1.0, 1.0, 0.0], [2.0, 3.0, 3.0]])
    np.testing.assert_array_equal(gradient(tg.max, x, axis=1), [[0.5, 0.5, 0], [0, 0.5, 0.5]])
    np.testing.assert_array_equal(gradient(tg.max, x), [[0, 0, 0], [0, 0.5, 0.5]])
    np.testing.assert_array_equal(gradient(tg.min, x, axis=0), [[1, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("n", [255, 256, 300])
def test_any_number_of_elements_shares(n: int) -> None:
    np.testing.assert_allclose(gradient(tg.max, np.ones((n, 2)), axis=0), np.full((n, 2), 1 / n))


@pytest.mark.parametrize("many", [0, 1 << 30])
@given(data=st.data())
def test_where_selects_what_numpy_selects_to_the_last_bit(many: int, data: Any) -> None:
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
            with mock.patch("tapegrad.ops.logic._MANY", many):
                got = tg.where(condition, *pair)
            np.testing.assert_array_equal(got, want, strict=True)
            np.testing.assert_array_equal(np.signbit(np.real(got)), np.signbit(np.real(want)))


# --- slopes at 0 ---------------------------------------------------------------------


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_slope_at_zero(zero: float) -> None:
    assert tg.grad(tg.relu)(zero) == 0
    assert tg.grad(tg.abs)(zero) == 0
    assert tg.grad(abs)(zero) == 0
    assert tg.grad(lambda x: tg.maximum(x, 0))(zero) == 0.5
    assert tg.grad(lambda x: tg.minimum(x, 0))(zero) == 0.5
    assert tg.grad(tg.grad(tg.relu))(zero) == 0
    assert tg.grad(tg.grad(tg.abs))(zero) == 0
    assert tg.grad(tg.sign)(zero) == 0


def test_sqrt_has_an_infinite_slope_at_zero() -> None:
    with np.errstate(divide="ignore"):
        assert tg.grad(tg.sqrt)(0.0) == INF


# --- power ---------------------------------------------------------------------------

BASES = [-2.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("base", BASES)
def test_power_zero_has_slope_zero_in_the_base(base: float) -> None:
    for exponent in (0, 0.0, -0.0, np.float64(0), np.zeros(()), np.zeros((), int)):
        assert tg.grad(lambda x, p=exponent: x**p)(base) == 0
        assert tg.grad(tg.grad(lambda x, p=exponent: x**p))(base) == 0


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("exponent", [1, 2, 3, 4])
def test_whole_powers_have_the_derivatives_of_polynomials(base: float, exponent: int) -> None:
    first, second = exponent, exponent * (exponent - 1)
    for p in (exponent, float(exponent), np.float64(exponent), np.array(float(exponent))):
        fn = lambda x, p=p: x**p  # noqa: E731
        assert tg.grad(fn)(base) == first * base ** (exponent - 1)
        assert tg.grad(tg.grad(fn))(base) == (second * base ** (exponent - 2) if second else 0)


@pytest.mark.parametrize("base", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])
def test_power_of_positive_bases_has_all_second_derivatives(base: float, exponent: float) -> None:
    hessian = np.array(tg.hessian(tg.power, argnums=(0, 1))(base, exponent))
    log = np.log(base)
    mixed = base ** (exponent - 1) * (1 + exponent * log)
    want = [
        [exponent * (exponent - 1) * base ** (exponent - 2), mixed],
        [mixed, base**exponent * log**2],
    ]
    np.testing.assert_allclose(hessian, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_exponent_has_slope_zero_at_base_zero(exponent: float) -> None:
    assert tg.grad(lambda p: tg.power(0.0, p))(exponent) == 0
    assert tg.grad(lambda p: tg.power(np.zeros(()), p))(exponent) == 0


def test_zero_power_zero_beside_others_in_an_array() -> None:
    x, p = np.array([0.0, 0.0, 2.0, -3.0]), np.array([0.0, 2.0, 0.0, 2.0])
    assert gradient(lambda x: x**p, x).tolist() == [0, 0, 0, -6]
    assert tg.grad(lambda x: tg.sum(tg.grad(lambda x: tg.sum(x**p))(x)))(x).tolist() == [0, 2, 0, 2]


def test_negative_base_has_a_gradient_for_whole_exponents() -> None:
    assert tg.grad(lambda x: x ** np.array(3.0))(-2.0) == 12
    assert tg.grad(lambda x: x**-1)(-2.0) == -0.25


# --- where ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
def test_the_side_not_taken_gets_exactly_zero(bad: float) -> None:
    condition = np.array([True, False])
    x, y = np.array([1.0, bad]), np.array([bad, 2.0])
    gx, gy = tg.grad(lambda x, y: tg.sum(tg.where(condition, x, y)), argnums=(0, 1))(x, y)
    np.testing.assert_array_equal(gx, [1, 0])
    np.testing.assert_array_equal(gy, [0, 1])


@pytest.mark.parametrize("bad", [INF, NAN])
def test_a_bad_cotangent_stays_on_the_side_that_was_taken(bad: float) -> None:
    _, pullback = tg.vjp(
        lambda x, y: tg.where(np.array([True, False]), x, y), np.ones(2), np.ones(2)
    )
    gx, gy = pullback(np.array([bad, 1.0]))
    np.testing.assert_array_equal(gx, [bad, 0])
    np.testing.assert_array_equal(gy, [0, 1])


def test_where_guards_a_slope_that_would_be_infinite() -> None:
    def guarded(x: Any) -> Any:
        positive = x > 0
        return tg.where(positive, tg.sqrt(tg.where(positive, x, 1.0)), 0.0)

    np.testing.assert_array_equal(gradient(guarded, [0.0, 4.0, -1.0]), [0, 0.25, 0])


def test_where_broadcasts_each_operand() -> None:
    condition = np.array([[True], [False]])
    gx, gy = tg.grad(lambda x, y: tg.sum(tg.where(condition, x, y)), argnums=(0, 1))(
        np.ones(3), np.ones(())
    )
    np.testing.assert_array_equal(gx, np.ones(3))
    assert gy == 3


# --- indices that repeat ---------------------------------------------------------------


def test_the_last_of_repeated_writes_stays_and_has_the_gradient() -> None:
    index = np.array([0, 2, 0])
    gx, gv = tg.grad(
        lambda x, v: tg.sum(x.at[index].set(v) * np.array([10.0, 20.0, 30.0])), argnums=(0, 1)
    )(np.ones(3), np.ones(3))
    np.testing.assert_array_equal(gx, [0, 20, 0])
    np.testing.assert_array_equal(gv, [0, 30, 10])


def test_one_index_from_both_ends_is_repeated() -> None:
    gv = tg.grad(lambda v: tg.sum(tg.at(np.zeros(3))[np.array([2, -1])].set(v)))(np.ones(2))
    np.testing.assert_array_equal(gv, [0, 1])


def test_repeated_additions_all_count() -> None:
    index = np.array([0, 2, 0])
    gx, gv = tg.grad(
        lambda x, v: tg.sum(x.at[index].add(v) * np.array([10.0, 20.0, 30.0])), argnums=(0, 1)
    )(np.ones(3), np.ones(3))
    np.testing.assert_array_equal(gx, [10, 20, 30])
    np.testing.assert_array_equal(gv, [10, 30, 10])


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
            with mock.patch("tapegrad.ops.adding._FEW", few):
                got = segment_sum(values, indices, n)
                narrow = segment_sum(values, (indices % min(n, 100)).astype(np.int8), n)
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, expected)
            wide = segment_sum(values, indices % min(n, 100), n)
            np.testing.assert_array_equal(narrow, wide)


def test_a_scalar_written_to_repeated_places_has_the_sum_of_what_stays() -> None:
    g = tg.grad(lambda v: tg.sum(tg.at(np.zeros(3))[np.array([0, 0, 1])].set(v)))(1.0)
    assert g == 2
    g = tg.grad(lambda v: tg.sum(tg.at(np.zeros(3))[np.array([0, 0, 1])].add(v)))(1.0)
    assert g == 3


def test_elements_taken_repeatedly_sum_their_gradients() -> None:
    np.testing.assert_array_equal(gradient(lambda x: x[[0, 0, -1]], np.ones(3)), [2, 0, 1])
    np.testing.assert_array_equal(
        gradient(lambda x: x[[[0, 1]], [[1], [1]]], np.ones((2, 2))), [[0, 2], [0, 2]]
    )


# --- stability ---------------------------------------------------------------------------


def precise_sigmoid(x: Any) -> Any:
    x = np.asarray(x, np.longdouble)
    return 1 / (1 + np.exp(-x))


@given(x=FAR, n_near=st.sampled_from([0, 1000]))
def test_sigmoid_is_stable(x: Any, n_near: int) -> None:
    # few among many too
    x = np.append(x, np.linspace(-400, 40, n_near))
    exact = precise_sigmoid(x)
    np.testing.assert_allclose(tg.sigmoid(x), exact.astype(float), rtol=1e-14, atol=1e-300)
    slope = exact * precise_sigmoid(-x)
    np.testing.assert_allclose(
        gradient(tg.sigmoid, x), slope.astype(float), rtol=1e-13, atol=1e-300
    )


@given(x=FAR)
def test_softplus_is_stable(x: Any) -> None:
    exact = np.logaddexp(np.longdouble(0), x.astype(np.longdouble))
    np.testing.assert_allclose(tg.softplus(x), exact.astype(float), rtol=1e-14, atol=1e-300)
    slope = precise_sigmoid(x).astype(float)
    np.testing.assert_allclose(gradient(tg.softplus, x), slope, rtol=1e-13, atol=1e-300)


def precise_softmax(x: Any, axis: int = -1) -> Any:
    x = np.asarray(x, np.longdouble)
    weights = np.exp(x - x.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True)


@given(x=FAR)
def test_logsumexp_and_its_gradient_are_stable(x: Any) -> None:
    wide = x.astype(np.longdouble)
    shift = wide.max(axis=-1, keepdims=True)
    exact = np.log(np.sum(np.exp(wide - shift), axis=-1)) + shift[..., 0]
    np.testing.assert_allclose(
        tg.logsumexp(x, axis=-1), exact.astype(float), rtol=1e-14, atol=1e-14
    )
    np.testing.assert_allclose(
        gradient(tg.logsumexp, x, axis=-1), precise_softmax(x).astype(float), atol=1e-11
    )


@given(x=FAR)
def test_log_softmax_is_stable_and_keeps_its_gradient(x: Any) -> None:
    wide = x.astype(np.longdouble)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    exact = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    np.testing.assert_allclose(tg.log_softmax(x), exact.astype(float), rtol=1e-14, atol=1e-14)
    _, pullback = tg.vjp(tg.log_softmax, x)
    g = np.zeros_like(x)
    g[..., 0] = 1
    np.testing.assert_allclose(
        pullback(g)[0], (g - precise_softmax(x)).astype(float), rtol=1e-10, atol=1e-11
    )


@given(x=FAR)
def test_softmax_is_stable(x: Any) -> None:
    exact = precise_softmax(x).astype(float)
    np.testing.assert_allclose(tg.softmax(x), exact, rtol=1e-13, atol=1e-300)
    _, pullback = tg.vjp(tg.softmax, x)
    g = np.arange(x.size, dtype=float).reshape(x.shape)
    want = exact * (g - np.sum(exact * g, axis=-1, keepdims=True))
    np.testing.assert_allclose(pullback(g)[0], want, rtol=1e-10, atol=1e-10)


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
    fn: Any, dtype: Any, width: int
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


def test_what_is_standardized_in_float16_or_far_from_0_is_as_precise_as_it_can_be() -> None:
    z = np.random.default_rng(0).normal(size=(3, 50))
    exact = (z - z.mean(axis=1, keepdims=True)) / z.std(axis=1, keepdims=True)
    # squares, and sums, would be infinite
    halves = tg.standardize((3000 * z).astype(np.float16))
    assert halves.dtype == np.float16
    np.testing.assert_allclose(halves, exact, atol=2e-2)
    np.testing.assert_allclose(tg.standardize(z + 1e6, epsilon=1e-12), exact, atol=1e-8)
    g = np.cos(np.arange(150.0)).reshape(3, 50)
    want = tg.vjp(tg.standardize, z)[1](g)[0]
    np.testing.assert_allclose(tg.vjp(tg.standardize, z + 1e6)[1](g)[0], want, atol=1e-8)


@given(
    logits=hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e4, 1e4)),
    targets=hnp.arrays(np.int64, 3, elements=st.integers(0, 3)),
)
def test_cross_entropy_is_stable_and_keeps_its_gradient(logits: Any, targets: Any) -> None:
    loss, g = tg.value_and_grad(lambda z: tg.nn.cross_entropy_loss(z, targets, "sum"))(logits)
    wide = logits.astype(np.longdouble)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))
    np.testing.assert_allclose(
        loss, -float(np.sum(logs[np.arange(3), targets])), rtol=1e-13, atol=1e-13
    )
    want = precise_softmax(logits) - np.eye(4)[targets]
    np.testing.assert_allclose(g, want.astype(float), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, 6e4])
@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("sigmoid", (0, 0), (1, 0)),
        ("softplus", (0, 0), (None, 1)),
        ("tanh", (-1, 0), (1, 0)),
        ("relu", (0, 0), (None, 1)),
    ],
)
def test_saturated_values_and_slopes(
    name: str, below: Any, above: Any, size: float, dtype: Any
) -> None:
    fn = getattr(tg, name)
    for x, (value, slope) in ((-size, below), (size, above)):
        got, g = tg.value_and_grad(fn)(np.array(x, dtype))
        want = np.array(x if value is None else value, dtype)
        np.testing.assert_allclose(got, want, atol=float(np.finfo(dtype).smallest_normal))
        np.testing.assert_allclose(g, slope, atol=float(np.finfo(dtype).smallest_normal))
        assert got.dtype == g.dtype == dtype


def test_mean_of_more_elements_than_float16_can_count_keeps_its_gradient() -> None:
    g = tg.grad(tg.mean)(np.ones(70_000, np.float16))
    np.testing.assert_array_equal(g, np.full(70_000, 1 / 70_000, np.float16))


@pytest.mark.parametrize("x", [30.0, 40.0, 100.0, 700.0])
def test_sigmoid_keeps_its_slope_where_it_rounds_to_one(x: float) -> None:
    for sign in (1, -1):
        np.testing.assert_allclose(tg.grad(tg.sigmoid)(sign * x), np.exp(-x), rtol=1e-12)


@pytest.mark.parametrize("size", [1.0, 88.0, 1e4])
@depth("check_grads")
@given(x=hnp.arrays(np.float64, 3, elements=st.floats(-1, 1)))
def test_stable_forms_have_right_second_derivatives(size: float, x: Any) -> None:
    for fn in (tg.sigmoid, tg.softplus, tg.softmax, tg.log_softmax, tg.logsumexp):
        check_grads(fn, (size * x,))


LOGSUMEXP = tg.value_and_grad(tg.logsumexp)


@pytest.mark.parametrize("fn", [LOGSUMEXP, tg.compile(LOGSUMEXP)], ids=["recorded", "compiled"])
@given(
    x=hnp.arrays(float, st.integers(1, 4), elements=st.sampled_from([-INF, -1e4, 0.0, 2.0, INF]))
)
def test_logsumexp_of_infinities(fn: Any, x: Any) -> None:
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


@pytest.mark.parametrize("fn", [tg.sigmoid, tg.softplus, tg.relu, tg.tanh, tg.abs])
def test_nan_in_is_nan_out(fn: Any) -> None:
    assert np.isnan(fn(np.array(NAN)))


@pytest.mark.parametrize(
    ("fn", "x", "value"),
    [
        (tg.sigmoid, INF, 1),
        (tg.sigmoid, -INF, 0),
        (tg.softplus, INF, INF),
        (tg.softplus, -INF, 0),
        (tg.relu, INF, INF),
        (tg.relu, -INF, 0),
    ],
)
def test_activations_of_infinities(fn: Any, x: float, value: float) -> None:
    np.testing.assert_allclose(fn(np.array(x)), value, atol=1e-300)


@pytest.mark.parametrize("name", ["max", "min"])
def test_gradient_of_an_extremum_of_nan_does_not_warn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        value, _ = tg.value_and_grad(getattr(tg, name))(np.array([1.0, NAN]))
    assert np.isnan(value)
