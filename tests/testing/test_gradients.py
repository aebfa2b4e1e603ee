"""check_grads finds each wrong rule, names the input and the op, and raises no false alarm.

At kinks any slope between the two sides is right, and none beyond them.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import check_refusals
from trees import Params

import tapegrad as tg
from tapegrad.testing import check_grads
from tapegrad.types import Array, DTypeLike, PyTree

X = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25]])
ROW = np.array([1.0, -2.0, 0.5])

MODES = [("reverse",), ("forward",), ("reverse", "forward")]
# both at once are each of them, one after the other
each_mode = pytest.mark.parametrize(
    "modes",
    MODES if THOROUGH else MODES[:2],
    ids=["reverse", "forward", "both"][: 3 if THOROUGH else 2],
)


def caught(fn: Callable[..., Any], *args: Any, **options: Any) -> str:
    """The message that check_grads fails with."""
    with pytest.raises(AssertionError) as error:
        check_grads(fn, args, **options)
    return str(error.value)


# --- planted wrong rules -----------------------------------------------------------------


def planted(forward: Callable[..., Any], *rules: Any) -> tg.Op:
    return tg.custom_op(vjps=rules)(forward)


def zero_one_entry(g: Array, y: Array, x: Array) -> Array:
    keep = np.ones(x.shape)
    keep[-1, -1] = 0
    return g * 2 * x * keep


WRONG: dict[str, tuple[Any, ...]] = {
    "sign flipped": (planted(np.square, lambda g, y, x: -g * 2 * x), X),
    "factor dropped": (planted(np.square, lambda g, y, x: g * x), X),
    "no rule": (planted(np.square, None), X),
    "summed over the wrong axis of a square": (
        planted(
            np.multiply,
            lambda g, y, a, b: g * b,
            lambda g, y, a, b: tg.sum(g * a, axis=1),
        ),
        np.vstack([X, ROW]),
        ROW,
    ),
    "one entry zeroed": (planted(np.square, zero_one_entry), X),
    "slightly off": (planted(np.sin, lambda g, y, x: g * tg.cos(x) * (1 + 1e-6)), X),
    "off by little beside much": (planted(lambda x: x + 1000.0, lambda g, y, x: g * 1.0001), X),
}


@each_mode
@pytest.mark.parametrize("fault", sorted(WRONG))
def test_a_wrong_rule_is_caught_at_order_one(fault: str, modes: tuple[str, ...]) -> None:
    fn, *args = WRONG[fault]
    assert "order 1" in caught(fn, *args, order=1, modes=modes)


# with the slope, and with the cotangent, held constant
CUBED = planted(lambda x: x**3, lambda g, y, x: g * 3 * tg.stop_gradient(x) ** 2)
TRIPLED = planted(lambda x: 3 * x, lambda g, y, x: 3 * tg.stop_gradient(g))


@pytest.mark.parametrize("fn", [CUBED, TRIPLED])
def test_a_wrong_second_order_is_caught_where_the_first_is_right(fn: tg.Op) -> None:
    check_grads(fn, (X,), order=1, modes=("reverse",))
    assert "order 2" in caught(fn, X, modes=("reverse",))
    caught(fn, X)


def test_a_wrong_third_order_is_caught_where_the_second_is_right() -> None:
    square = planted(lambda x: 3 * x * x, lambda g, y, x: g * 6 * tg.stop_gradient(x))
    cube = planted(lambda x: x**3, lambda g, y, x: g * square(x))
    check_grads(cube, (2.0,), modes=("reverse",))
    assert "order 3" in caught(cube, 2.0, order=3, modes=("reverse",))


@pytest.mark.parametrize("slopes", [np.linspace, np.geomspace])
@pytest.mark.parametrize("n", [2, 17, 64] if THOROUGH else [17])
def test_what_is_wrong_among_inputs_that_move_together_is_caught(
    n: int, slopes: Callable[..., Any]
) -> None:
    x, right, off = np.linspace(1.0, 2.0, n), slopes(1.0, 1e6, n), np.ones(n)
    off[0] += 1e-3  # much of the least slope, and nothing beside the largest
    for wrong in (right[::-1], right * off, np.full(n, np.mean(right)), -right, 0 * right):
        weighed = planted(lambda x: x * right, lambda g, y, x, wrong=wrong: g * wrong)
        for modes in MODES[:2]:
            message = caught(lambda x, f=weighed: tg.sum(f(x)), x, order=1, modes=modes)
            assert re.search(r"at x\[\d+\] ", message)


@each_mode
def test_more_inputs_take_no_more_calls_and_more_outputs_no_more_recordings(
    modes: tuple[str, ...],
) -> None:
    """Inputs that agree when they move together are not moved one by one; weights move alone."""
    calls: list[bool] = []

    def fn(x: Array | float, scale: Array | float) -> Array:
        calls.append(isinstance(x, tg.Tensor))
        return np.sin(x * scale)

    def counts(x: Array | float, scale: Array | float, order: int) -> tuple[int, int]:
        calls.clear()
        check_grads(lambda x: fn(x, scale), (x,), order=order, modes=modes)
        return len(calls), sum(calls)

    few, many = (counts(np.linspace(0.5, 1.0, n), 1.0, 1) for n in (2, 60))
    assert few == many
    if modes == ("reverse",):
        few, many = (counts(0.5, np.arange(1.0, n + 1), 2) for n in (1, 20))
        assert few[1] == many[1]


# --- the message ---------------------------------------------------------------------------


def test_the_message_says_which_number_is_which_and_where() -> None:
    half = planted(lambda x: x * x, lambda g, y, x: g * x)

    def model(params: dict[str, Params], x: Array) -> dict[str, Array]:
        return {"sin": tg.sin(x), "out": half(params["layer"].weight) * x + params["layer"].bias}

    params = {"layer": Params(np.array([[1.0, 0.0], [0.0, 3.0]]), 0.5)}
    for mode in ("reverse", "forward"):
        message = caught(model, params, np.array([[0.0, 0.0], [0.0, 2.0]]), modes=(mode,))
        first, *rest = message.splitlines()
        where = f"params.layer.weight[1, 1] (order 1, {mode} mode)"
        assert first == f"model has a wrong derivative at {where}"
        told = {line.split()[0]: line.split(maxsplit=1)[1] for line in rest}
        np.testing.assert_allclose(float(told["numeric"]), 2 * float(told["analytic"]), 1e-6)
        assert float(told["tolerance"].split(",")[0]) < 1e-6
        assert told["point"] == "params.layer.weight[1, 1] = 3.0"
        assert told["direction"] == "params.layer.weight[1, 1] alone"
        assert told["of"] == "output 1[1, 1]"


def test_the_message_names_the_op_that_is_wrong() -> None:
    @tg.custom_op(vjps=(lambda g, y, x: g * x,))
    def halved(x: Array) -> Array:
        return x * x

    message = caught(lambda x: tg.sum(tg.sin(x) * halved(x)[..., ::-1]), X)
    assert "op         halved, line 2 of the tape, is wrong by itself" in message
    # no op is wrong in its first derivative
    message = caught(CUBED, X, modes=("reverse",))
    assert message.startswith("the VJP of <lambda> has a wrong derivative at x[")
    assert "by itself" not in message
    assert message == caught(CUBED, X, modes=("reverse",))


def test_a_derivative_that_is_not_finite_is_reported() -> None:
    with np.errstate(divide="ignore"):
        assert "x[1]" in caught(lambda x: tg.sqrt(x), np.array([1.0, 0.0]))
    nan = planted(lambda x: x * x, lambda g, y, x: g * np.nan)
    for modes in MODES:
        assert "nan" in caught(nan, X, modes=modes)


# --- kinks -----------------------------------------------------------------------------------


def kinked(slope: float) -> tg.Op:
    """abs, with this slope at 0."""
    return planted(
        lambda x: np.abs(x), lambda g, y, x: g * tg.where(np.equal(x, 0), slope, np.sign(x))
    )


@each_mode
def test_a_slope_between_the_one_sided_ones_is_right_at_a_kink_and_no_other(
    modes: tuple[str, ...],
) -> None:
    for fn in map(kinked, (-1.0, -0.3, 0.0, 0.5, 1.0)):
        check_grads(fn, (np.array([-1.0, 0.0, 2.0]),), modes=modes)
        check_grads(lambda x, fn=fn: tg.sum(fn(x)), (np.zeros(3),), order=1, modes=modes)
    for slope in (-1.001, 1.001, 2.0, -5.0):
        message = caught(kinked(slope), np.array([1.0, 0.0]), modes=modes)
        assert "x[1]" in message
        assert "-1 to the left, 1 to the right: this is a kink" in message


TIED: dict[str, Any] = {
    "sort": np.sort,
    "partition": lambda x: np.partition(x, 1),
    "median": np.median,
    "quantile": lambda x: np.quantile(x, 0.3),
    "max": np.max,
    "middle": lambda x: np.minimum(np.maximum(x[0], x[1]), x[2]),
    "several": lambda x: (np.sort(x) * np.arange(x.size), np.median(x) + np.sum(x * x)),
}


@pytest.mark.parametrize("name", sorted(TIED) if THOROUGH else ["several", "middle"])
@pytest.mark.parametrize("n", [3, 5] if THOROUGH else [4])
@pytest.mark.parametrize("modes", MODES if THOROUGH else MODES[2:])
def test_ties_of_any_number_are_no_false_alarm(name: str, n: int, modes: tuple[str, ...]) -> None:
    tied = np.full(n, 0.3)
    check_grads(TIED[name], (np.append(tied, [2.0, 2.0]),), modes=modes)
    check_grads(TIED[name], (1e6 * tied,), 2 if THOROUGH else 1, modes)
    many = np.append(np.linspace(1, 2, 70 if THOROUGH else 20), tied)
    check_grads(TIED[name], (many,), order=1, modes=modes if THOROUGH else MODES[0])


@each_mode
@pytest.mark.parametrize("share", [-0.1, 1.1, 5.0])
def test_a_share_that_no_point_close_by_has_is_wrong_among_ties(
    share: float, modes: tuple[str, ...]
) -> None:
    middle = planted(np.median, lambda g, y, x: g * np.full(x.shape, share))
    message = caught(middle, np.ones(5), modes=modes)
    assert "numeric    from 0 to 1 at points close by: this is a kink," in message
    assert "tolerance" not in message


def test_a_kink_does_not_hide_a_wrong_entry_elsewhere() -> None:
    for n in (20, 200):
        x = np.where(np.arange(n) % 2 == 0, 0.0, 1.0)
        wrong = np.ones(n)
        wrong[11] = 1.5
        rule = planted(lambda x: np.maximum(x, 0), lambda g, y, x, w=wrong: g * (x > 0) * w)
        assert "x[11]" in caught(lambda x, rule=rule: rule(x), x)


@depth("check_grads")
@given(
    x=hnp.arrays(np.float64, 4, elements=st.sampled_from([0.0, -0.0, 1e-12, -1e-9, 1e-6, 1.0])),
    y=hnp.arrays(np.float64, 4, elements=st.sampled_from([0.0, 1e-12, -1e-9, 1e-6, 1.0])),
)
def test_kinks_at_and_close_to_the_point_are_no_false_alarm(x: Array, y: Array) -> None:
    check_grads(lambda x: (tg.relu(x), tg.abs(x), tg.max(x), tg.min(x)), (x,))
    check_grads(lambda x, y: (tg.maximum(x, y), tg.minimum(x, y)), (x, y))


# --- no false alarms -------------------------------------------------------------------------


NAN = np.array([1.5, np.nan, -2.0, np.inf])


@each_mode
def test_what_is_not_finite_in_an_argument_is_no_false_alarm(modes: tuple[str, ...]) -> None:
    def squares(x: Array) -> Array:
        return tg.where(np.isfinite(x), x * x, 0.0)

    for fn in (np.nansum, np.nanmean, np.nanmax, np.nanmedian, np.nanvar):
        check_grads(fn, (NAN[:3],), modes=modes)
    for fn in (squares, lambda x: np.tanh(x) * ~np.isnan(x), lambda x: tg.sum(squares(x))):
        with np.errstate(invalid="ignore"):
            check_grads(fn, (np.where(np.isnan(NAN), 0.0, NAN),), modes=modes)
    with np.errstate(invalid="ignore"):
        check_grads(squares, (NAN,), modes=modes)
        check_grads(squares, (np.append(NAN, np.linspace(1, 2, 70)),), order=1, modes=modes)
        # nothing is left to move
        check_grads(squares, (NAN[1:2],), modes=modes)


@each_mode
@pytest.mark.parametrize("more", [0, 70])
def test_what_is_not_finite_does_not_hide_a_wrong_rule(modes: tuple[str, ...], more: int) -> None:
    off = np.ones(4 + more)
    off[2] += 1e-4
    wrong = planted(lambda x: np.where(np.isfinite(x), x, 0), lambda g, y, x: g * off)
    assert "x[2]" in caught(wrong, np.append(NAN, np.linspace(1, 2, more)), modes=modes)


@pytest.mark.parametrize("condition", [340.0, 1e4] if THOROUGH else [1e4])
def test_the_rounding_of_the_inputs_is_no_false_alarm_and_excuses_no_wrong_rule(
    condition: float,
) -> None:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 2)))[0] for n in (3, 2))
    a = left * [1, 1 / condition] @ right
    check_grads(np.linalg.pinv, (a,), order=1)
    check_grads(np.linalg.inv, (a[:2],), order=1)
    wrong = planted(np.linalg.inv, lambda g, y, a: -(y.T @ g @ y.T) * (1 + 1e-4))
    for modes in MODES[:2]:
        caught(wrong, a[:2], order=1, modes=modes)


@pytest.mark.parametrize("k", [0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_the_noise_of_a_solver_that_chooses_its_steps_excuses_small_errors_alone(k: float) -> None:
    odeint = pytest.importorskip("scipy.integrate").odeint
    times = np.array([0.0, 1.0, 3.0, 7.0])
    # y' = -k (1 + sin(3 t) / 2) y from 1
    integral = times + (1 - np.cos(3 * times)) / 6

    def solved(k: Array | float) -> Array:
        return odeint(lambda y, t: -k * y * (1 + 0.5 * np.sin(3 * t)), 1.0, times)[:, 0]

    def rule(factor: float) -> tg.Op:
        return planted(
            solved, lambda g, y, k: tg.sum(-g * integral * tg.exp(-k * integral)) * factor
        )

    check_grads(rule(1.0), (k,), order=1)
    for factor in (1 + 1e-3, 0.5):
        caught(rule(factor), k, order=1)


# right functions at arguments of very different sizes, and the input that the wrong rule is for
MIXED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "logarithm": (np.log, (np.array([1e-13, 1.0, 1e8]),)),
    "reciprocal": (np.reciprocal, (np.array([1e-13, 1.0, 1e8]),)),
    "root": (np.sqrt, (np.array([1e-40, 1.0, 3.0]),)),
    "inverse": (np.linalg.inv, (np.array([[2e5, 3e-12], [-3e-8, 8e-12]]),)),
    "staircase": (lambda x: (np.floor(x), x - np.floor(x)), (np.array([2.4e7 + 0.25]),)),
    "remainder": (np.remainder, (np.array([-5.5]), np.array([-2.3e-8]))),
    "correlation": (
        np.corrcoef,
        (np.array([[-4.7e-6, -2.8e-6, 4.7e-6], [-9.5e-7, 2.8e-6, 9.5e-7]]),),
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_no_right_rule_is_told_wrong_beside_inputs_of_another_size_and_each_wrong_one_is(
    name: str,
) -> None:
    fn, args = MIXED[name]
    check_grads(fn, args, order=1)

    def wrong(*xs: Any) -> PyTree:
        # with a derivative of 0.95 times the right one
        return tg.tree.map(lambda y: 0.95 * y + 0.05 * tg.stop_gradient(y), fn(*xs))

    with pytest.raises(AssertionError, match="wrong derivative") as error:
        check_grads(wrong, args, order=1)
    assert "stop_gradient" not in str(error.value)


@pytest.mark.parametrize("value", [0.1, -3.7, 1e-74, 1e5])
def test_terms_that_cancel_are_compared_as_they_round(value: float) -> None:
    x = np.full(5, value)
    check_grads(lambda x: np.gradient(x, edge_order=2), (x,))
    tg.testing.check_compiled(lambda x: np.gradient(x, edge_order=2), (x,))

    def off(x: Array) -> Array:
        step = 0.0 if isinstance(x, np.ndarray) else 1e-8 * value
        return x - x + step

    with pytest.raises(AssertionError, match="another value recorded"):
        check_grads(off, (x,))
    with pytest.raises(AssertionError, match="another value recorded"):
        # it jumps, which no rounding does
        check_grads(lambda x: np.sign(x - value) + (isinstance(x, np.ndarray)), (x,))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_narrow_arguments_are_checked_in_float64_and_numbers_stay_numbers(dtype: DTypeLike) -> None:
    for number in (0.5, 0.5 + 0.25j):
        check_grads(
            lambda x, n=number: x * x if isinstance(x, type(n) | tg.Tensor) else 0, (number,)
        )
    seen = []

    def fn(x: Array) -> Array:
        seen.append(x.dtype)
        return tg.sin(x) * x

    check_grads(fn, (X.astype(dtype),))
    assert set(seen) == {np.dtype(np.float64)}
    caught(WRONG["slightly off"][0], X.astype(dtype))


def pieces(params: dict[str, Any], index: Array, flag: bool) -> tuple[PyTree, PyTree, PyTree]:
    rows = params["w"][index]
    return {"rows": rows, "loss": tg.sum(rows * params["b"].weight)}, index, [tg.argmax(rows)]


PASSES: list[tuple[Any, tuple[Any, ...]]] = [
    # rounds to float32 in its derivatives too
    (lambda x: np.std(x, dtype=np.float32), (np.arange(-7, 8.0, 2).astype(np.float16) * 0.4443,)),
    *[
        (lambda x: tg.sin(x) * x, (x,))
        for x in (0.5, np.float32(0.5), np.array(0.5), np.array(0.5, np.float16))
    ],
    (lambda x: tg.sum(x * x), (np.zeros((0, 3)),)),
    (lambda x: x * x, (np.zeros(0),)),
    (pieces, ({"w": X, "b": Params(2.0, None)}, np.array([0, 1, 1]), True)),
    (lambda x: x.at[0].set(x[1] * 2).T.reshape(-1), (X,)),
    # its selection changes a step away
    (lambda x: x[x > 0], (np.array([1e-4, 1.0, -1.0]),)),
    (lambda x: (x * x, np.ones(2)), (X,)),
    *[(fn, (x,)) for fn in (np.reciprocal, tg.log, tg.sqrt) for x in (1e-3, 1e-5, 1e-7)],
    (tg.grad(lambda x: tg.sum(tg.tanh(x) * x)), (X,)),
]


@pytest.mark.parametrize(("fn", "args"), PASSES)
def test_any_function_of_trees_is_checked_and_changes_nothing(
    fn: Callable[..., Any], args: tuple[PyTree, ...]
) -> None:
    before = [np.array(x) for x in tg.tree.leaves(args)]
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    check_grads(fn, args)
    for x, old in zip(tg.tree.leaves(args), before, strict=True):
        np.testing.assert_array_equal(x, old)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_where_plain_arrays_give_something_else_the_recorded_function_is_checked() -> None:
    plain = []

    def off(x: Array) -> Array:
        if isinstance(x, tg.Tensor):
            return tg.sin(x)
        plain.append(x)
        return np.nextafter(np.sin(x), 2.0) + (np.sum(x) != np.sum(ROW))

    def raising(x: Array) -> Array:
        if not isinstance(x, tg.Tensor) and not np.array_equal(x, ROW):
            raise TypeError("elsewhere")
        return tg.sin(x)

    check_grads(off, (ROW,), order=1)
    assert len(plain) < 4
    check_grads(raising, (ROW,))


# --- misuse ------------------------------------------------------------------------------------


def test_misuse_says_what_to_do() -> None:
    rng = np.random.default_rng(0)
    check = partial(check_grads, tg.sin, (X,))
    with np.errstate(divide="ignore"):
        check_refusals(
            (ValueError, call, words)
            for call, words in [
                (lambda: check(modes=("backward",)), "backward"),
                (lambda: check(modes="reverse"), "write ('reverse',)"),
                (lambda: check(modes=()), "modes"),
                *[(lambda n=n: check(order=n), "order") for n in (0, 1.5)],
                (lambda: check_grads(tg.log, (0.0,)), "not finite"),
                (lambda: check_grads(lambda x: x * rng.normal(), (X,)), "two values at one point"),
            ]
        )
