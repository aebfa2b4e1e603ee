"""Solutions of differential equations are SciPy's, to the last bit, with derivatives of any order.

Those are compared with exact ones: by the state, the times and the arguments, in either direction.
So are integrals, by their ends and arguments or by values and points.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import FIRST, prove, refuses_alike

import tapegrad as tg
from tapegrad.testing import check_grads
from tapegrad.types import Array, Scalar

theirs: Any = pytest.importorskip("scipy.integrate")
ours: Any = pytest.importorskip("tapegrad.scipy.integrate")
linalg: Any = pytest.importorskip("scipy.linalg")

EXPLICIT = ["RK23", "RK45", "DOP853"]
IMPLICIT = ["Radau", "BDF", "LSODA"]
# a decay rate of 200 beside slow ones
MATRIX = np.array([[-200.0, 1.0], [0.5, -1.0]])
START = np.array([1.0, 2.0])
TIMES = np.array([0.0, 0.01, 0.5, 1.0])
WEIGHTS = np.array([[1.0, -0.5, 0.75, 2.0], [0.5, 1.0, -2.0, 1.5]])


def linear(t: Array | float, y: Array, a: Array) -> Array:
    return a @ y


def oscillation(t: Array | float, y: Array, p: dict[str, Any]) -> Array:
    """Not autonomous, not linear."""
    return np.stack([y[1], -p["k"] * np.sin(y[0]) - p["c"][0] * y[1] + np.cos(t)])


P = {"k": np.array(2.0), "c": [np.array(0.3)]}


@pytest.mark.parametrize("method", EXPLICIT + IMPLICIT)
@pytest.mark.parametrize("end", [2.0, -1.5])
@pytest.mark.parametrize("among", [None, [0.0, 0.25, 0.5, 1.0]])
def test_the_values_are_scipys(method: str, end: float, among: list[float] | None) -> None:
    t_eval = None if among is None else np.array(among) * end
    call = {"method": method, "t_eval": t_eval}
    there = theirs.solve_ivp(oscillation, (0.0, end), START, args=(P,), **call)
    for wrap in (lambda fn: fn, lambda fn: lambda y0: tg.record(fn)(y0)[0]):
        found = wrap(
            lambda y0, call=call: ours.solve_ivp(oscillation, (0.0, end), y0, args=(P,), **call)
        )(START)
        for name in ("t", "y"):
            x = getattr(found, name)
            x = x.value if isinstance(x, tg.Tensor) else x
            np.testing.assert_array_equal(x, getattr(there, name))
        for name in ("nfev", "njev", "nlu", "status", "message", "success"):
            assert getattr(found, name) == getattr(there, name)


def weighed(
    method: type[Any] | str, a: Array, y0: Array, rtol: float = 1e-10, **call: Any
) -> Array:
    call = {"t_eval": TIMES, "t_span": (0.0, 1.0), **call}
    found = ours.solve_ivp(
        linear, y0=y0, method=method, args=(a,), rtol=rtol, atol=rtol / 100, **call
    )
    return np.sum(found.y * WEIGHTS)


def exact_gradients(a: Array, y0: Array) -> tuple[Array, Array]:
    at, weights = list(zip(TIMES, WEIGHTS.T, strict=True)), np.eye(4).reshape(4, 2, 2)
    by_a = [
        sum(linalg.expm_frechet(a * t, e * t, compute_expm=False) @ y0 @ w for t, w in at)
        for e in weights
    ]
    return np.reshape(by_a, (2, 2)), sum(linalg.expm(a * t).T @ w for t, w in at)


# Radau and BDF are as right, but take many more steps at the tolerance that 7 digits need
_RTOL = {"Radau": 1e-5, "BDF": 1e-6, theirs.BDF: 1e-5}


@pytest.mark.parametrize("method", ["RK45", "DOP853", *IMPLICIT, theirs.RK45, theirs.BDF])
def test_a_stiff_system_has_the_gradients_of_its_exponential(method: type[Any] | str) -> None:
    rtol = 1e-9 if THOROUGH else _RTOL.get(method, 1e-9)
    found = tg.grad(partial(weighed, method, rtol=rtol), (0, 1))(MATRIX, START)
    same(found, exact_gradients(MATRIX, START), 100 * rtol)


@pytest.mark.parametrize(("method", "many"), [*[(x, False) for x in IMPLICIT], ("LSODA", True)])
def test_cotangents_that_swing_where_the_solution_rests(
    method: str, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps are as long as the interval, and too long for the adjoint equation."""
    if many:
        monkeypatch.setattr("tapegrad.scipy._adjoint._MAX_SYSTEM_SIZE", 0)
    swing, rest = np.array([[0.0, 1.0], [-900.0, -0.5]]), np.zeros(2)
    _, by_start = tg.grad(partial(weighed, method, rtol=1e-7), (0, 1))(swing, rest)
    np.testing.assert_allclose(
        by_start, exact_gradients(swing, rest)[1], rtol=1e-3 if many else 1e-5
    )


# forward in time it decays, backward it grows
SLOW = np.array([[-1.0, 0.5], [0.25, -0.75]])


@pytest.mark.parametrize("method", ["RK45", "DOP853", "LSODA"])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_time_has_the_slopes_of_the_solution(method: str, direction: float) -> None:
    a = SLOW

    def last(t0: Array | float, tf: Array | float) -> Array:
        call = {"method": method, "rtol": 1e-9, "atol": 1e-9}
        return ours.solve_ivp(linear, (t0, tf), START, args=(a,), **call).y[:, -1]

    def between(t0: Array | float, at: Array) -> Array:
        call = {"method": method, "rtol": 1e-9, "atol": 1e-9, "t_eval": at}
        return ours.solve_ivp(linear, (t0, 2.0 * direction), START, args=(a,), **call).y

    t0, tf = 0.25 * direction, 1.5 * direction
    there = a @ linalg.expm(a * (tf - t0)) @ START
    for by, sign in zip(tg.jacobian(last, (0, 1))(t0, tf), (-1, 1), strict=True):
        np.testing.assert_allclose(by, sign * there, rtol=3e-6)
    at = np.array([0.25, 0.5, 1.75, 2.0]) * direction
    slopes = np.stack([a @ linalg.expm(a * (t - t0)) @ START for t in at], axis=1)
    by_t0, by_at = tg.jacobian(between, (0, 1))(t0, at)
    np.testing.assert_allclose(by_t0, -slopes, rtol=3e-6)
    np.testing.assert_allclose(by_at, slopes[..., None] * np.eye(4), rtol=3e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["RK23", "RK45", "DOP853", "LSODA"])
@pytest.mark.parametrize("at", [None, np.array([0.5, 2.0])] if THOROUGH else [np.array([0.5, 2.0])])
def test_every_mode_and_order_agrees(method: str, at: Array) -> None:
    """Of an equation that is neither linear nor autonomous, in trees."""
    rtol = {"RK23": 1e-4, "LSODA": 1e-7}.get(method, 1e-8)
    # one of them backward in time
    end = -2.0 if method == "DOP853" else 2.0
    at = None if at is None else at * end / 2.0
    call = {"method": method, "t_eval": at, "rtol": rtol, "atol": rtol}
    y0 = np.array([0.5, -0.25])

    def fn(p: dict[str, Any], y0: Array) -> Array:
        found = ours.solve_ivp(oscillation, (0.0, end), y0, args=(p,), **call)
        return np.sum(found.y[:, -1] ** 2) + found.y[1, 0]

    direction = {"k": np.array(0.5), "c": [np.array(-1.0)]}, np.array([0.25, 1.0])
    # the steps of an explicit method have a derivative; along a solution it is as accurate as it
    tolerance = 1e-4 if method == "LSODA" else 1e-9
    gradient = tg.grad(fn, (0, 1))
    along = sum(map(np.vdot, tg.tree.leaves(gradient(P, y0)), tg.tree.leaves(direction)))
    np.testing.assert_allclose(tg.jvp(fn, (P, y0), direction)[1], along, tolerance)
    again = tg.jvp(gradient, (P, y0), direction)[1]
    reverse = tg.grad(lambda *x: tg.jvp(fn, x, direction)[1], (0, 1))(P, y0)
    same(again, reverse, tolerance)
    # of an accurate solution, by differences of its gradients
    if rtol < 1e-6:
        step = 1e-3
        moved = [
            tg.tree.leaves(gradient(*tg.tree.map(lambda x, d, s=s: x + s * d, (P, y0), direction)))
            for s in (step, -step)
        ]
        for a, high, low in zip(tg.tree.leaves(again), *moved, strict=True):
            np.testing.assert_allclose(a, (high - low) / (2 * step), rtol=1e-4, atol=1e-4)


def test_complex_numbers_have_adjoints() -> None:
    """An oscillator in one complex number is one in two real ones."""

    def spin(t: Array | float, z: Array, w: Array) -> Array:
        return 1j * w * z - 0.25 * np.abs(z) ** 2 * z

    def split(t: Array | float, y: Array, w: Array) -> Array:
        z = spin(t, y[:1] + 1j * y[1:], w[0] + 1j * w[1])
        return np.concatenate([np.real(z), np.imag(z)])

    call = {"rtol": 1e-8, "atol": 1e-8}

    def of_complex(z: Array, w: Array) -> Array:
        y = ours.solve_ivp(spin, (0.0, 1.0), z, args=(w,), **call).y[0, -1]
        return y.real + 2 * y.imag**2

    def of_real(y: Array, w: Array) -> Array:
        y = ours.solve_ivp(split, (0.0, 1.0), y, args=(w,), **call).y[:, -1]
        return y[0] + 2 * y[1] ** 2

    by_z, by_w = tg.grad(of_complex, (0, 1))(np.array([1.0 + 0.5j]), np.array(2.0 + 0.25j))
    by_y, by_parts = tg.grad(of_real, (0, 1))(np.array([1.0, 0.5]), np.array([2.0, 0.25]))
    np.testing.assert_allclose([by_z[0].real, by_z[0].imag], by_y, rtol=1e-6)
    np.testing.assert_allclose([by_w.real, by_w.imag], by_parts, rtol=1e-6)
    with pytest.raises(NotImplementedError, match="explicit method alone, such as RK45, not with"):
        tg.record(lambda z: ours.solve_ivp(spin, (0, 1), z, "BDF", args=(2.0,)))(START + 0j)


@pytest.mark.parametrize("method", ["RK45", "LSODA"])
def test_compiled_batched_and_in_a_loop_it_runs_as_it_does_outside(method: str) -> None:
    fn = partial(weighed, method, rtol=1e-8)
    others = np.stack([MATRIX, MATRIX / 2, MATRIX * [[1.0], [2.0]]])
    gradients = np.stack([tg.grad(fn)(a, START) for a in others])
    compiled = tg.compile(tg.value_and_grad(fn))
    for a, gradient in zip(others, gradients, strict=True):
        value, found = compiled(a, START)
        np.testing.assert_allclose(value, fn(a, START), rtol=1e-14)
        np.testing.assert_allclose(found, gradient, rtol=1e-12)
    found = tg.vmap(tg.grad(fn), (0, None))(others, START)
    np.testing.assert_allclose(found, gradients, rtol=1e-12)
    total = lambda others: tg.scan(lambda s, a: (s + fn(a, START), None), 0.0, others)[0]  # noqa: E731
    np.testing.assert_allclose(tg.grad(total)(others), gradients, rtol=1e-12)
    if method == "LSODA" and not THOROUGH:
        return
    direction = np.ones((2, 2))
    again = lambda a: tg.jvp(tg.grad(lambda a: fn(a, START)), (a,), (direction,))[1]  # noqa: E731
    np.testing.assert_allclose(tg.compile(again)(MATRIX), again(MATRIX), rtol=1e-9)
    with pytest.raises(tg.TraceError, match=r"number of steps depends .* pass the times in t_eval"):
        tg.compile(partial(fn, t_eval=None))(MATRIX, START)


@pytest.mark.parametrize("method", ["RK45", "LSODA"])
def test_a_function_that_reads_values_has_first_derivatives(method: str) -> None:
    def switched(t: Array | float, y: Array, rate: Array | float) -> Array:
        return -rate * y if t < 1.0 else -2.0 * rate * y

    def last(rate: Array) -> Array:
        call = {"rtol": 1e-9, "atol": 1e-9, "max_step": 0.125, "method": method}
        return ours.solve_ivp(switched, (0.0, 2.0), [1.0], args=(rate,), **call).y[0, -1]

    np.testing.assert_allclose(tg.grad(last)(0.5), -3.0 * np.exp(-1.5), rtol=1e-5)


def test_float32_stays_float32() -> None:
    y0, a = START.astype(np.float32), MATRIX.astype(np.float32)
    for method in ("RK45", "LSODA"):
        gradients = tg.grad(partial(weighed, method), (0, 1))(a, y0)
        for c, e in zip(gradients, exact_gradients(MATRIX, START), strict=True):
            assert c.dtype == np.float32
            np.testing.assert_allclose(c, e, rtol=0, atol=1e-5 * np.max(np.abs(e)))


@pytest.mark.parametrize("method", EXPLICIT + IMPLICIT)
def test_no_time_at_all(method: str) -> None:
    def fn(tf: Array, y0: Array, at: Array | None) -> Array:
        return ours.solve_ivp(linear, (1.0, tf), y0, method, at, args=(MATRIX,)).y

    for at in (None, np.array([1.0])):
        by_end, by_start = tg.jacobian(fn, (0, 1))(1.0, START, at)
        slope = 0.0 if at is not None else MATRIX @ START
        np.testing.assert_allclose(by_end[:, -1], slope)
        np.testing.assert_allclose(by_start[:, -1], np.eye(2))


# LSODA takes ever smaller steps and does not end
@pytest.mark.parametrize("method", ["RK45", "BDF"])
def test_a_solver_that_fails_is_an_error(method: str) -> None:
    def explodes(t: Scalar, y: Array) -> Array:
        return y**2

    for wrap in (lambda fn: fn, tg.record):
        with np.errstate(all="ignore"), pytest.raises(RuntimeError, match="solve_ivp: "):
            wrap(lambda y0: ours.solve_ivp(explodes, (0.0, 2.0), y0, method))(np.ones(1))


def test_what_it_does_not_do_is_refused_by_name() -> None:
    call = partial(ours.solve_ivp, linear, (0.0, 1.0), START, args=(MATRIX,))
    with pytest.raises(NotImplementedError, match="events"):
        call(events=lambda t, y, a: y[0])
    with pytest.raises(NotImplementedError, match=r"dense_output .* t_eval"):
        call(dense_output=True)
    with pytest.raises(NotImplementedError, match="full_output"):
        ours.odeint(linear, START, TIMES, (MATRIX,), tfirst=True, full_output=True)
    with pytest.raises(TypeError, match="rtol is an option, which passes no gradient"):
        tg.record(lambda rtol: call(rtol=rtol))(1e-3)
    with pytest.raises(ValueError, match=r"returned an array of shape \(3,\) for a state of"):
        tg.grad(lambda y: ours.solve_ivp(lambda t, y: np.ones(3), (1.0, 1.0), y).y[0, 0])(START)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "Euler"},
        {"t_span": (0.0, 1.0, 2.0)},
        {"t_eval": np.array([0.5, 0.25])},
        {"t_eval": np.array([2.0])},
        {"t_eval": np.zeros((1, 1))},
        {"y0": np.zeros((2, 2))},
        {"args": 1.0},
        {"max_step": -1.0},
        {"atol": np.zeros(3)},
    ],
)
def test_wrong_arguments_are_refused_as_by_scipy(wrong: dict[str, Any]) -> None:
    call: Any = {"t_span": (0.0, 1.0), "y0": START, "args": (MATRIX,), **wrong}
    y0 = call.pop("y0")
    there = lambda y0: theirs.solve_ivp(linear, y0=y0, **call)  # noqa: E731
    refuses_alike(lambda y0: ours.solve_ivp(linear, y0=y0, **call), there, y0)
    here = lambda y0: ours.solve_ivp(linear, y0=y0, **{"t_eval": TIMES, **call})  # noqa: E731
    for transform in (tg.record, tg.compile):
        refuses_alike(transform(here), there, y0)


def test_odeint_is_scipys_with_derivatives() -> None:
    def func(y: Array, t: Array | float, a: Array) -> Array:
        return a @ y

    call: Any = {"args": (MATRIX,), "rtol": 1e-10, "atol": 1e-12}
    there = theirs.odeint(func, START, TIMES, **call)
    np.testing.assert_array_equal(ours.odeint(func, START, TIMES, **call), there)
    jacobians: list[Any] = [
        {},
        {"Dfun": lambda y, t, a: a},
        {"Dfun": lambda y, t, a: a.T, "col_deriv": True},
    ]
    expected = (*exact_gradients(MATRIX, START), np.sum((there @ MATRIX.T).T * WEIGHTS, axis=0))
    for more in jacobians:

        def fn(
            a: Array, y0: Array, t: Array, more: dict[str, bool | Callable[..., Any]] = more
        ) -> Array:
            return np.sum(ours.odeint(func, y0, t, **{**call, "args": (a,), **more}) * WEIGHTS.T)

        t_fixed = lambda a, y0, fn=fn: fn(a, y0, TIMES)  # noqa: E731
        for way in (tg.grad(fn, (0, 1)), tg.compile(tg.grad(fn, (0, 1)))):
            for c, e in zip(way(MATRIX, START, TIMES), expected, strict=False):
                np.testing.assert_allclose(c, e, rtol=0, atol=1e-7 * np.max(np.abs(e)))
        assert tg.grad(t_fixed)(MATRIX, START).shape == (2, 2)
    # the state at the first time is y0, whatever the time is
    by_t = tg.grad(fn, 2)(MATRIX, START, TIMES)
    np.testing.assert_allclose(by_t[1:], expected[2][1:], rtol=1e-6)
    np.testing.assert_allclose(by_t[0], -np.sum(by_t[1:]), rtol=1e-6)
    with pytest.raises(RuntimeError, match="odeint: Excess work"):
        tg.record(lambda y0: ours.odeint(func, y0, TIMES * 1e3, (MATRIX,), mxstep=3))(START)


@pytest.mark.parametrize("method", ["RK45", "DOP853", "LSODA"])
@pytest.mark.parametrize("at", [None, np.array([0.0, 0.3, 0.31, 2.0])])
def test_steps_taken_one_by_one_pull_back_what_all_at_once_do(
    method: str, at: Array | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tapegrad.scipy import _adjoint, _steps

    is_explicit = method != "LSODA"
    rtol = 1e-9 if is_explicit else 1e-7

    def gradients(end: float = 2.0, **more: Any) -> list[Array]:
        def fn(t0: Array, tf: Array, y0: Array, p: dict[str, Any]) -> Array:
            t_eval = at if at is None else at * end / 2
            call = {"method": method, "t_eval": t_eval, "rtol": 10 * rtol, "atol": rtol, **more}
            y = ours.solve_ivp(oscillation, (t0, tf), y0, args=(p,), **call).y
            return np.sum(np.sin(y) * np.arange(y.shape[1]))

        return tg.tree.leaves(tg.grad(fn, (0, 1, 2, 3))(0.0, end, START, P))

    at_once = gradients()
    backward = None if is_explicit else gradients(-2.0)
    again = [gradients(checkpoint=checkpoint) for checkpoint in (3, "binomial")]
    monkeypatch.setattr(_steps, "_MAX_JACOBIAN_SIZE", 0)
    monkeypatch.setattr(_adjoint, "_MAX_SYSTEM_SIZE", 0)
    for taken in (*again, gradients()):
        for a, b in zip(taken, at_once, strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol * (1 if is_explicit else 500), atol=1e-9)
    if backward:
        same(gradients(-2.0), backward, 500 * rtol)
    for wrong in (0, "often", True):
        with pytest.raises((TypeError, ValueError), match="solve_ivp: checkpoint must be None"):
            gradients(checkpoint=wrong)


@pytest.mark.parametrize("method", IMPLICIT)
def test_rates_of_very_different_sizes_have_all_digits(method: str) -> None:
    """Robertson's reaction: rates that differ by nine orders, over six decades of time."""

    def reaction(t: Array | float, y: Array, k: Array) -> Array:
        a, b, c = k[0] * y[0], k[1] * y[1] * y[2], k[2] * y[1] ** 2
        return np.stack([b - a, a - b - c, c])

    def loss(k: Array) -> Array:
        at = np.concatenate([[0.0], 4 * 10.0 ** np.arange(-1, 6)])
        call = {"t_eval": at, "rtol": 1e-6, "atol": 1e-10, "args": (k,), "method": method}
        y = ours.solve_ivp(reaction, (0.0, at[-1]), np.array([1.0, 0.0, 0.0]), **call).y
        return np.sum(y * np.array([[1.0], [1e4], [0.5]]))

    # by Radau at a tolerance of 1e-11
    there = [-3.402845189, 2.2599072261e-05, -1.5392741359e-08]
    np.testing.assert_allclose(tg.grad(loss)(np.array([0.04, 1e4, 3e7])), there, rtol=1e-5)


def test_a_proof_draws_no_rate_that_takes_forever() -> None:
    def decayed(k: Array | float) -> Array:
        ends = {"t_eval": [0.5, 1.0], "args": (k,)}
        return ours.solve_ivp(lambda t, y, k: -k * y, (0.0, 1.0), [1.0, 2.0], **ends).y[0, -1]

    def looped(k: Array | float) -> Array:
        return tg.scan(lambda total, rate: (total + decayed(rate), None), 0.0, np.stack([k, k]))[0]

    for fn in (tg.grad(decayed), looped):
        np.testing.assert_allclose(tg.compile(fn, check=True)(0.7), fn(0.7), rtol=1e-12)


# --- integrals ------------------------------------------------------------------------------


def wave(x: Array | float, k: Array | float, s: Array) -> Array:
    return np.exp(-k * x) * np.sin(s[0] * x) + s[1]


def test_an_integral_is_scipys_with_derivatives_by_leibniz() -> None:
    def fn(s: ModuleType, **options: Any) -> Callable[..., Any]:
        return lambda a, b, k, c: s.quad(wave, a, b, (k, c), **options)[0]

    args = (0.3, 2.0, np.array(1.5), np.array([2.0, 0.1]))
    if THOROUGH:
        prove(fn(ours), fn(theirs), args)
    prove(
        *[lambda a, k, s=s: fn(s)(a, 2.0, k, args[3]) for s in (ours, theirs)], args[::2], order=1
    )
    # from the right to the left, and with SciPy's options
    options = {"points": [1.0], "epsabs": 1e-12, "limit": 40}
    prove(fn(ours, **options), fn(theirs, **options), (2.0, 0.3, *args[2:]), **FIRST)
    assert ours.quad(wave, 0.0, 1.0, (1.0, [2.0, 3.0])) == theirs.quad(
        wave, 0, 1, (1.0, [2.0, 3.0])
    )
    # a Tensor among the ends alone, or captured
    by_end = tg.grad(lambda b: ours.quad(np.sin, 0.0, b)[0])(1.25)
    np.testing.assert_allclose(by_end, np.sin(1.25))
    for way in (tg.grad, lambda fn: tg.compile(tg.grad(fn))):
        by_k = way(lambda k: ours.quad(lambda x: np.exp(k * x), 0.0, 1.0)[0])(2.0)
        np.testing.assert_allclose(by_k, (np.exp(2.0) + 1) / 4, rtol=1e-12)


# an integrand of x and of one argument, the ends, the argument, and two derivatives by it
EXACT: dict[str, tuple[Any, Any, Any, float, float, float]] = {
    "both ends infinite": (
        lambda x, k: np.exp(-k * x * x),
        -np.inf,
        np.inf,
        2.0,
        -np.sqrt(np.pi) / 2 * 2**-1.5,
        np.sqrt(np.pi) * 0.75 * 2**-2.5,
    ),
    "one end infinite": (lambda x, k: 1 / (x * x + k * k), 0.0, np.inf, 0.5, -2 * np.pi, 8 * np.pi),
    "no slope at the end": (lambda x, k: x**k, 0.0, 1.0, -0.5, -4.0, 16.0),
    "tiny": (lambda x, k: 1e-30 * np.exp(k * x), 0.0, 1.0, 0.0, 5e-31, 1e-30 / 3),
    "constant": (lambda x, k: 2.0, 0.0, 1.0, 1.0, 0.0, 0.0),
}


@pytest.mark.parametrize("case", EXACT)
def test_integrals_have_exact_derivatives(case: str) -> None:
    fn, a, b, k, first, second = EXACT[case]
    gradient = tg.grad(lambda k: ours.quad(fn, a, b, k)[0])
    # of a tiny integral, whatever the absolute tolerance
    np.testing.assert_allclose(gradient(k), first, rtol=1e-9)
    np.testing.assert_allclose(tg.grad(gradient)(k), second, rtol=1e-9)
    if np.isinf(b):
        assert tg.grad(lambda b: ours.quad(fn, a, b, k)[0])(b) == 0.0


def test_the_tolerance_of_an_integral_does_not_go_by_its_cotangent() -> None:
    def loss(k: Array, weight: float) -> Array:
        return weight * ours.quad(lambda x, k: k / (x * x + k * k), -1.0, 2.0, (k,))[0]

    k = 1e-3
    exact = -1 / (1 + k * k) - 2 / (4 + k * k)
    for weight in (1.0, 1e-12):
        np.testing.assert_allclose(tg.grad(loss)(k, weight), weight * exact, rtol=1e-8)


def test_integrals_refuse_by_name() -> None:
    with pytest.raises(NotImplementedError, match="quad takes no weight but None"):
        ours.quad(np.sin, 0.0, 1.0, weight="cos", wvar=2.0)
    with pytest.raises(TypeError, match="epsabs is an option, which passes no gradient"):
        tg.record(lambda e: ours.quad(np.sin, 0.0, 1.0, epsabs=e))(1e-3)
    refuses_alike(*[lambda s=s: s.quad(np.sin, 0.0, 1.0, limit=0) for s in (ours, theirs)])
    refuses_alike(*[lambda s=s: s.quad(lambda x: np.ones(2), 0.0, 1.0) for s in (ours, theirs)])


POINTS = np.array([0.0, 0.5, 0.75, 2.0, 2.25, 3.5, 3.0])
VALUES = np.sin(np.arange(21.0)).reshape(3, 7)


@pytest.mark.parametrize("n", [2, 3, 4, 7])
@pytest.mark.parametrize("name", ["trapezoid", "simpson", "cumulative_trapezoid"])
def test_integrals_of_values_are_scipys(name: str, n: int) -> None:
    def both(**options: Any) -> list[Callable[..., Any]]:
        return [lambda *args, s=s: getattr(s, name)(*args, **options) for s in (ours, theirs)]

    y, x = VALUES[:, :n], POINTS[:n]
    # SciPy before 1.18 computes some of these in float64
    whole: dict[str, Any] = dict.fromkeys(("compiled", "batched", "proved"), n == 4)
    prove(*both(), (y, x), single=name != "simpson", **whole)
    prove(*both(axis=0), (y.T, np.cumsum(y.T, axis=0)), single=name != "simpson", **FIRST)
    prove(*both(dx=0.25), (y[0] + 1j * y[1],), single=name != "simpson", **FIRST)
    here, there = both(axis=-2)
    short = VALUES.T.astype(np.float32)
    same(here(short), there(short).astype(np.float32), 1e-6)
    same(here(np.arange(n)[:, None]), there(np.arange(n)[:, None]))
    # by the distance
    check_grads(lambda dx: getattr(ours, name)(y, dx=dx), (0.25,))


def test_points_that_coincide_have_simpsons_values() -> None:
    for x in (
        [0.0, 0.0, 1.0, 2.0, 2.0],
        [0.0, 1.0, 1.0, 1.0],
        [1.0, 1.0, 1.0, 1.0],
        [0.0, 1.0, 1.0, 3.0],
    ):
        y = VALUES[0, : len(x)]
        same(ours.simpson(y, x), theirs.simpson(y, x))
        assert np.isfinite(tg.grad(lambda y, x=x: ours.simpson(y, x))(y)).all()
    same(
        ours.cumulative_trapezoid(VALUES, initial=0), theirs.cumulative_trapezoid(VALUES, initial=0)
    )


@pytest.mark.parametrize("name", ["simpson", "cumulative_trapezoid"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"x": POINTS[:3]},
        {"x": VALUES},
        {"y": VALUES[0, :0]},
        {"axis": 1},
    ],
)
def test_values_and_points_that_do_not_fit_are_refused(
    name: str, wrong: dict[str, Array | float]
) -> None:
    call = {"y": VALUES[0], **wrong}
    refuses_alike(*[lambda s=s: getattr(s, name)(**call) for s in (ours, theirs)])
