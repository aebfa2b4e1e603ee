"""Minima, roots, fits and fixed points have SciPy's values, and derivatives of any order.

Those are of the solution, not of the steps; where there is none, the error says why.
"""

import itertools
import pickle
import re
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import depth
from hypothesis import given, reject
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.domain import Elements
from tapegrad.testing import arrays, check_batched, check_compiled, check_grads, check_properties
from tapegrad.types import Array, ArrayLike

theirs: Any = pytest.importorskip("scipy.optimize")
ours: Any = pytest.importorskip("tapegrad.scipy.optimize")

A, B, START = np.array([1.0, 2.0, -1.0]), 0.5, np.zeros(3)
METHODS = ["nelder-mead", "powell", "cg", "bfgs", "newton-cg", "l-bfgs-b", "tnc", "cobyla"]
METHODS += ["cobyqa", "slsqp", "trust-constr", "dogleg", "trust-ncg", "trust-exact", "trust-krylov"]
BOUNDED = ["nelder-mead", "l-bfgs-b", "tnc", "slsqp", "cobyla", "cobyqa", "trust-constr"]
NEEDS_MORE = {"trust-constr": 1e-10}


def loss(x: Array, a: Array, b: Array | float) -> Array:
    return tg.sum((x - a) ** 2) + b * tg.sum(x) ** 2 + 0.1 * tg.sum(x**4)


def slope(x: Array, a: Array, b: Array | float) -> Array:
    return 2 * (x - a) + 2 * b * np.sum(x) + 0.4 * x**3


def smallest(a: Array, b: Array | float) -> tuple[Array, Array, Array]:
    found = ours.minimize(loss, START, (a, b), tol=1e-11)
    return found.x, found.fun, found.jac


def pair(x: Array, a: Array) -> list[Array]:
    return [x[0] + x[1] ** 2 - a[0], x[0] * x[1] - a[1]]


TIMES = np.linspace(0.0, 2.0, 9)


def residuals(p: dict[str, Array], y: Array) -> Array:
    return p["size"] * np.exp(-p["rate"] * TIMES) - y


MEASURED = 2 * np.exp(-1.5 * TIMES) + 0.05 * np.sin(9 * TIMES)


# --- values --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_minimum_is_scipys_by_any_method(method: str) -> None:
    given = {} if method in METHODS[:2] or method.startswith("cob") else {"jac": slope}
    if method in ("newton-cg", "dogleg") or method.startswith("trust"):
        given["hess"] = lambda x, a, b: np.diag(2 + 1.2 * x**2) + 2 * b
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = ours.minimize(loss, START, (A, B), method)
    want = theirs.minimize(loss, START, (A, B), method, **given)
    np.testing.assert_allclose(got.x, want.x, atol=1e-4)
    np.testing.assert_allclose(got.fun, want.fun, rtol=1e-8)
    assert got.success is True
    assert (got.status, got.message) == (want.status, want.message)
    exact = tg.jacobian(lambda b: smallest(A, b)[0])(B)
    by_b = tg.jacobian(lambda b: ours.minimize(loss, START, (A, b), method).x)(B)
    np.testing.assert_allclose(by_b, exact, rtol=2e-3)
    if method in ("bfgs", "cg", "l-bfgs-b", "slsqp"):
        np.testing.assert_allclose(got.x, want.x, rtol=1e-10)
        assert (got.nfev, got.njev, got.nit) == (want.nfev, want.njev, want.nit)
        np.testing.assert_allclose(got.jac, want.jac, atol=1e-9)


@pytest.mark.parametrize("method", ["hybr", "lm", "broyden1", "krylov", "df-sane"])
def test_a_root_is_scipys_by_any_method(method: str) -> None:
    a = np.array([3.0, 1.5])
    given = (
        {} if method not in ("hybr", "lm") else {"jac": lambda x, a: [[1, 2 * x[1]], [x[1], x[0]]]}
    )
    got = ours.root(pair, [1.0, 1.0], (a,), method, tol=1e-10)
    want = theirs.root(pair, [1.0, 1.0], (a,), method, tol=1e-10, **given)
    np.testing.assert_allclose(got.x, want.x, rtol=1e-12)
    np.testing.assert_allclose(got.fun, 0.0, atol=1e-9)
    assert (got.success, got.nfev, got.message) == (want.success, want.nfev, want.message)
    exact = np.linalg.inv([[1, 2 * want.x[1]], [want.x[1], want.x[0]]])
    got = tg.jacobian(lambda a: ours.root(pair, [1.0, 1.0], a, method, tol=1e-10).x)(a)
    np.testing.assert_allclose(got, exact, rtol=1e-6)


@pytest.mark.parametrize("loss", ["linear", "huber", "soft_l1", "cauchy", "arctan"])
@pytest.mark.parametrize("method", ["trf", "dogbox", "lm"])
def test_least_squares_are_scipys(loss: str, method: str) -> None:
    if method == "lm" and loss != "linear":
        return
    tight = {"method": method, "ftol": 1e-14, "xtol": 1e-14, "gtol": 1e-14}
    start = {"rate": 1.0, "size": 1.0}

    def fit(y: Array) -> Any:
        return ours.least_squares(
            residuals, start, args=(y,), loss=loss, f_scale=0.03, x_scale=1.0, **tight
        )

    def jac(p: Array, y: Array) -> Array:
        e = np.exp(-p[0] * TIMES)
        return np.stack([-p[1] * TIMES * e, e], 1)

    want = theirs.least_squares(
        lambda p, y: residuals({"size": p[1], "rate": p[0]}, y), [1.0, 1.0], jac, args=(MEASURED,),
        loss=loss, f_scale=0.03, x_scale=1.0, **tight,
    )  # fmt: skip
    got = fit(MEASURED)
    np.testing.assert_allclose(tg.tree.ravel(got.x)[0], want.x, rtol=1e-8)
    same(got.fun, want.fun, 1e-7)
    np.testing.assert_allclose(got.cost, want.cost, rtol=1e-12)
    assert got.success is True
    if loss == "linear":
        assert (got.nfev, got.message) == (want.nfev, want.message)
        np.testing.assert_allclose(got.jac, want.jac, rtol=1e-7)
    # by the envelope theorem
    slopes = -tg.grad(lambda y: fit(y).cost)(MEASURED)
    weights = {
        "linear": 1.0,
        "huber": np.minimum(1, 0.03 / np.abs(want.fun)),
        "soft_l1": (1 + (want.fun / 0.03) ** 2) ** -0.5,
        "cauchy": 1 / (1 + (want.fun / 0.03) ** 2),
        "arctan": 1 / (1 + (want.fun / 0.03) ** 4),
    }
    np.testing.assert_allclose(slopes, weights[loss] * want.fun, rtol=1e-5, atol=1e-10)


def test_a_fixed_point_is_scipys() -> None:
    def func(x: Array, c1: Array | float, c2: Array | float) -> Array:
        return np.sqrt(c1 / (x + c2))

    c = np.array([10.0, 12.0]), np.array([3.0, 5.0])
    for method in ("del2", "iteration"):
        got = ours.fixed_point(func, [1.2, 1.3], c, method=method)
        np.testing.assert_array_equal(got, theirs.fixed_point(func, [1.2, 1.3], c, method=method))
    check_grads(lambda *c: ours.fixed_point(func, [1.2, 1.3], c, xtol=1e-15), c, order=1)
    assert ours.fixed_point(func, 1.2, (10.0, 3.0)).shape == ()


# --- derivatives -----------------------------------------------------------------------------


def polished(found: Array, f: Callable[..., Any], *args: Any) -> Array:
    """Steps of Newton from a solution, which are differentiated as they stand."""
    x = tg.stop_gradient(found)
    for _ in range(3):
        x = x - tg.solve(tg.jacobian(f)(x, *args), f(x, *args))
    return x


@depth("solution")
@given(arrays((3,), Elements(-2.0, 2.0), "d"), st.floats(0.1, 2.0))
def test_derivatives_of_any_order_are_those_of_newtons_steps(a: Array, b: float) -> None:
    def minimum(a: Array, b: Array) -> Array:
        return ours.minimize(loss, START, (a, b), "trust-exact", tol=1e-13).x

    def root(a: Array, b: Array) -> Array:
        return ours.root(slope, START, (a, b), tol=1e-13).x

    def fixed(a: Array, b: Array) -> Array:
        try:
            return ours.fixed_point(step, START, (a, b), xtol=1e-13)
        except RuntimeError:  # SciPy gets no nearer than its rounding errors
            reject()

    def step(x: Array, a: Array, b: Array | float) -> Array:
        return x - slope(x, a, b) / (4 + 6 * b)

    def fit(a: Array, b: Array) -> Array:
        tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
        return ours.least_squares(uneven, START, args=(a, b), loss="soft_l1", **tight).x

    def uneven(x: Array, a: Array, b: Array | float) -> dict[str, Array]:
        return {"near": 2 * (x - a) + x**3 / 9, "small": b * x, "all": tg.sum(x)}

    def cost(x: Array, a: Array, b: Array) -> Array:
        f = tg.tree.ravel(uneven(x, a, b))[0]
        return tg.sum(np.sqrt(1 + f**2))

    weights = np.array([1.0, -2.0, 0.5])
    for found, f in ((minimum, slope), (root, slope), (fixed, slope), (fit, tg.grad(cost))):

        def value(a: Array, b: Array, found: Callable[..., Any] = found) -> Array:
            return found(a, b) @ weights

        def wanted(
            a: Array, b: Array, found: Callable[..., Any] = found, f: Callable[..., Any] = f
        ) -> Array:
            return polished(found(a, b), f, a, b) @ weights

        for transform in (tg.grad, tg.hessian):
            got, want = (transform(g, (0, 1))(a, b) for g in (value, wanted))
            assert tg.tree.all_close(got, want, rtol=1e-5, atol=1e-6)
        got, want = (tg.jvp(g, (a, b), (weights, 0.5)) for g in (value, wanted))
        assert tg.tree.all_close(got, want, rtol=1e-5, atol=1e-6)


def test_it_is_held_to_what_any_op_is() -> None:
    check_properties(smallest, (A, B), compiled=True)
    check_batched(smallest, (A, np.array(B)))

    def found(a: Array) -> Array:
        return ours.root(pair, [1.0, 1.0], a, tol=1e-14).x

    check_compiled(found, (np.array([3.0, 1.5]),))


@pytest.mark.parametrize("method", BOUNDED)
def test_a_variable_on_its_bound_moves_with_it_and_the_others_without_it(method: str) -> None:
    tol = NEEDS_MORE.get(method, 1e-9)

    def held(a: Array, low: Array) -> Array:
        bounds = [(low, None)] * 3 if method < "n" else theirs.Bounds(low, np.inf)
        return ours.minimize(loss, START, (a, B), method, bounds=bounds, tol=tol).x

    def free(a: Array, low: Array) -> Array:
        def partly(x: Array, a: Array, low: Array) -> Array:
            return loss(tg.concatenate([x, low[None]]), a, B)

        x = ours.minimize(partly, START[:2], (a, tg.asarray(low)), tol=1e-11).x
        return tg.concatenate([x, low[None]])

    low = np.array(-0.25)
    for got, want in zip(
        tg.jacobian(held, (0, 1))(A, low), tg.jacobian(free, (0, 1))(A, low), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_bounds_are_read_as_scipy_reads_them() -> None:
    bounds = theirs.Bounds([0.0, -np.inf, -np.inf], [0.25, 0.5, np.inf])
    want = theirs.minimize(loss, START, (A, B), jac=slope, bounds=bounds, tol=1e-10).x
    for given_ in (bounds, [(0.0, 0.25), (None, 0.5), (None, None)]):
        got = ours.minimize(loss, START, (A, B), bounds=given_, tol=1e-10)
        np.testing.assert_allclose(got.x, want, atol=1e-9)
    by_a = tg.jacobian(lambda a: ours.minimize(loss, START, (a, B), bounds=bounds, tol=1e-10).x)(A)
    assert np.all(by_a[:2] == 0)
    assert by_a[2, 2] > 0.1

    def held(low: Array | float) -> Array:
        bounds = [(low, low), (0, 9), (-9, 9)]
        return ours.minimize(loss, START, (A, B), bounds=bounds, tol=1e-12).x

    got = tg.jacobian(held)(-0.5)
    np.testing.assert_allclose(got, (held(-0.499) - held(-0.501)) / 2e-3, rtol=1e-4, atol=1e-6)

    def fit(y: Array) -> Array:
        start, bounds = [1.0, 1.0], ([0.0, 0.0], np.inf)
        return ours.least_squares(
            lambda p, y: p[0] * TIMES + p[1] - y, start, bounds=bounds, args=y
        ).x

    got = tg.jacobian(fit)(TIMES - 1)
    assert np.all(got[1] == 0)
    np.testing.assert_allclose(got[0], TIMES / np.sum(TIMES**2), rtol=1e-6)


# --- what has no derivative --------------------------------------------------------------------


def refused(error: type[Exception], match: str, fn: Callable[..., Any], *args: Any) -> None:
    """The value is SciPy's; that it has no derivative is told in both modes, and compiled."""
    assert np.isfinite(fn(*args))
    for gradient in (tg.grad(fn), tg.compile(tg.grad(fn)), tg.hessian(fn)):
        with pytest.raises(error, match=match):
            gradient(*args)
    with pytest.raises(error, match=match):
        tg.jvp(fn, args, tuple(np.ones_like(x) for x in args))


def of_minimum(fn: Callable[..., Any], start: ArrayLike, **options: Any) -> Callable[..., Any]:
    return lambda a: tg.sum(ours.minimize(fn, start, a, **options).x)


def test_a_derivative_where_scipy_has_not_converged_is_an_error() -> None:
    for unit in (1.0, 1e-12):
        scaled = lambda x, a, unit=unit: np.arange(1, 4) @ (x / unit - a) ** 2  # noqa: E731
        short = of_minimum(scaled, START, method="CG", options={"maxiter": 1})
        refused(RuntimeError, "not converged to a solution of <lambda>.*moves x by", short, A)
    assert not ours.minimize(loss, START, (A, B), options={"maxiter": 1}).success
    # a ridge: linear in x, so that the Hessian says nothing
    ridge = of_minimum(
        lambda x, a: tg.sum((x - 1) ** 2) + a * tg.sum(x**2), START, options={"maxiter": 0}
    )
    refused(RuntimeError, "not converged", lambda a: ridge(a), 2.0)
    # the curvature where SciPy stopped, lost in rounding or downwards, says nothing of a minimum
    steep = lambda x, a: tg.sum(tg.logaddexp(0.0, 2 * x - a) + tg.logaddexp(0.0, a - x))  # noqa: E731
    wavy = lambda x, a: tg.sum(x**2 + a * np.cos(3 * x))  # noqa: E731
    for (fn, at), n in itertools.product(((steep, 9e3), (wavy, 2.0)), (3, 300)):
        stopped = of_minimum(fn, np.full(n, at + 0.1), options={"maxiter": 0})
        with pytest.raises(RuntimeError, match="not converged") as error:
            tg.grad(stopped)(2.0)
        said = r"slope is \S+, and SciPy said: Maximum number"
        assert re.search(said, str(error.value))
        assert "test_optimize.py:" in error.value.__notes__[0]
        assert len(error.traceback) < 12
    no_root = lambda a: ours.root(lambda x, a: np.exp(x) + a, 1.0, a, options={"maxfev": 5}).x[0]  # noqa: E731
    refused(RuntimeError, "not converged|no finite", no_root, 1.0)


@pytest.mark.parametrize("n", [2, 300])
def test_a_singular_hessian_is_an_error(n: int) -> None:
    flat = of_minimum(lambda x, a: (tg.sum(x) - a) ** 2 + tg.sum((x[2:] - a) ** 2), np.ones(n))
    refused(np.linalg.LinAlgError, "singular", flat, 2.0)


def quadratic(n: int, least: float, spread: float) -> Callable[..., Any]:
    """The minimum of a form whose least eigenvalue is given, of unknowns of several scales."""
    rng = np.random.default_rng(n)
    basis = np.linalg.qr(rng.normal(size=(n, n)))[0]
    hessian = basis @ np.diag([least, *np.linspace(1, 2, n - 1)]) @ basis.T
    scale = 10.0 ** np.linspace(-spread, spread, n)

    def form(x: Array, a: Array | float) -> Array:
        moved = scale * (x - a)
        return moved @ (hessian @ moved) / 2

    return of_minimum(form, np.ones(n), options={"maxiter": 1})


@pytest.mark.parametrize(("n", "spread"), [(2, 0), (7, 0), (7, 3), (300, 0)])
def test_curvature_is_judged_by_its_scale(n: int, spread: float) -> None:
    """Rounding gives a direction of no curvature a sign, and large scales hide a small one."""
    np.testing.assert_allclose(tg.grad(quadratic(n, 0.5, spread))(1.0), n, rtol=1e-5)
    with pytest.raises(np.linalg.LinAlgError, match="curves downwards"):
        tg.grad(quadratic(n, -0.5, spread))(1.0)
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        tg.grad(quadratic(n, 0.0, 0))(1.0)


def test_a_root_or_a_minimum_of_a_higher_order_is_an_error() -> None:
    """Its derivative is infinite, and finite at any point nearby."""
    double = lambda a: ours.root(lambda x, a: (x - 0.3) ** 2 - a, 1.0, a).x[0]  # noqa: E731
    refused(RuntimeError, "changes the derivative by 0.5", double, 0.0)
    # beside an equation in other units

    def beside(x: Array, a: Array | float) -> Array:
        return np.stack([(x[0] - 0.3) ** 2 - a, 1e10 * (x[1] ** 3 + x[1] - 1.7 - a)])

    mixed = lambda a: ours.root(beside, np.ones(2), a, tol=1e-13).x[0]  # noqa: E731
    refused(RuntimeError, "changes the derivative by 0.5", mixed, 0.0)
    quartic = of_minimum(lambda x, a: tg.sum((x - 0.3) ** 4) - a * tg.sum(x), np.ones(1), tol=1e-12)
    refused(RuntimeError, "changes the derivative by 0.56", quartic, 0.0)


def test_a_variable_that_just_touches_its_bound_is_an_error() -> None:
    touching = of_minimum(lambda x, a: tg.sum((x - a) ** 2), [1.0], bounds=[(0, None)])
    refused(ValueError, "variable 0 lies on its bound 0.0, where the slope is", touching, 0.0)
    assert tg.grad(touching)(-0.1) == 0
    np.testing.assert_allclose(tg.grad(touching)(0.1), 1)


def test_arguments_without_effect_are_no_sign_of_it() -> None:
    """At the minimum of Rosenbrock's function, the height of its walls does not matter."""

    def walls(x: Array, a: Array | float) -> Array:
        return tg.sum(a * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    value = of_minimum(walls, np.full(5, 1.3), tol=1e-7)
    np.testing.assert_allclose(tg.grad(value)(100.0), 0.0, atol=1e-7)
    assert tg.grad(of_minimum(lambda x, a: tg.sum(x**2), START))(1.0) == 0


def test_solvers_are_found_in_functions_that_others_minimize_and_in_loops() -> None:
    def inner(y: Array, x: Array, a: Array | float) -> Array:
        return tg.sum((y - x) ** 2) + a * tg.sum(y**4)

    def outer(x: Array, a: Array | float) -> Array:
        y = ours.minimize(inner, np.zeros(2), (x, a), tol=1e-10).x
        return tg.sum((y - 1) ** 2) + 0.1 * tg.sum(x**2)

    def value(a: Array | float) -> Array:
        return tg.sum(ours.minimize(outer, np.ones(2), a, tol=1e-9).x)

    want = (value(0.3001) - value(0.2999)) / 2e-4
    np.testing.assert_allclose(tg.grad(value)(0.3), want, rtol=1e-4)

    def step(a: Array) -> Array:
        return ours.root(lambda x, a: x**3 + x - a, [0.5], a, tol=1e-13).x[0]

    looped = tg.grad(lambda a: tg.scan(lambda c, _: (step(c), c), a, length=3)[0])
    np.testing.assert_allclose(looped(2.0), tg.grad(lambda a: step(step(step(a))))(2.0), rtol=1e-9)


@pytest.mark.parametrize("name", ["minimize", "root", "fixed_point", "minimize by products"])
def test_a_loop_is_recorded_at_no_value_at_which_its_solver_fails(name: str) -> None:
    # at a = 0 there is no solution, or it has no derivative
    x0: Any = np.ones(300 if "products" in name else 2)
    solve = {
        "minimize": lambda a: ours.minimize(lambda x: a * np.sum((x - 1 / a) ** 2), x0).x,
        "root": lambda a: ours.root(lambda x, a: a * x - 1, x0, a).x,
        "fixed_point": lambda a: ours.fixed_point(lambda x, a: x / 2 + 0.5 / a, x0, a),
    }[name.split()[0]]
    # of what is known, and of the carry, which is not
    for known, transform in ((1, tg.grad), (0, lambda f: tg.compile(tg.grad(f)))):

        def step(c: Array | float, a: Array, known: int = known) -> tuple[Any, ...]:
            return (c + solve(a)[0] if known else solve(c)[0] * a), None

        got = transform(lambda a, f=step: tg.scan(f, 1.0, np.stack([a, 3 * a]))[0])(2.0)
        want = tg.grad(lambda a, f=step: f(f(1.0, a)[0], 3 * a)[0])(2.0)
        np.testing.assert_allclose(got, want, rtol=1e-6)


# --- arguments ---------------------------------------------------------------------------------


def test_the_start_may_be_any_tree_and_has_no_gradient() -> None:
    def fitted(p: dict[str, Any], a: Array) -> Array:
        return tg.sum((p["w"] - a) ** 2) + (p["b"] - 3.0) ** 2

    found = ours.minimize(fitted, {"w": np.zeros((2, 2), np.float32), "b": 1}, (np.eye(2),))
    assert found.x["w"].dtype == np.float32 and found.x["b"].dtype == float  # noqa: PT018
    np.testing.assert_allclose(found.x["w"], np.eye(2), atol=1e-6)
    assert found.jac.keys() == found.x.keys()
    grid = ours.root(lambda x, a: x**3 - a, np.ones((2, 2)), np.full((2, 2), 8.0))
    np.testing.assert_allclose(grid.x, np.full((2, 2), 2.0))
    for start in (1.0, 1, [1.0], np.float64(1.0)):
        same(ours.minimize(lambda x, a: (x - a) ** 2, start, 3.0).x, np.array([3.0]))
    gradient = tg.grad(lambda x0: tg.sum(ours.minimize(loss, [x0, 1.0, x0], (A, B)).x))(0.5)
    assert gradient == 0

    def of_pair(x: Array, a: dict[str, Any]) -> Array:
        return (x[0] - a["left"][0]) ** a["n"] + tg.sum((x - a["left"][1]) ** 2)

    def first(left: tuple[Any, ...]) -> Array:
        return ours.minimize(of_pair, [0.0] * 2, ({"left": left, "n": 2},)).x[0]

    got = tg.grad(first)((1.0, np.ones(2)))
    np.testing.assert_allclose(tg.tree.ravel(got)[0], [0.5, 0.5, 0.0], atol=1e-9)


def test_float32_stays() -> None:
    found = ours.minimize(
        lambda x, a: tg.sum((x - a) ** 2), np.ones(2, np.float32), np.float32(3.0)
    )
    assert found.x.dtype == found.fun.dtype == found.jac.dtype == np.float32
    gradient = tg.grad(
        lambda a: tg.sum(ours.root(lambda x, a: x**2 - a, np.ones(2, np.float32), a).x)
    )
    assert gradient(np.float32(4.0)).dtype == np.float32
    np.testing.assert_allclose(gradient(np.float32(4.0)), 0.5, rtol=1e-5)


def test_what_scipy_says_is_read_under_any_transform() -> None:
    def said(a: Array) -> tuple[Any, ...]:
        found = ours.minimize(loss, START, (a, B))
        return found.success, found.nit, found.message

    success, nit, message = said(A)
    assert (success, nit > 3) == (True, True)
    assert tg.record(said)(A)[0] == (success, nit, message)
    for got in (tg.compile(said)(A), tg.vmap(said)(np.stack([A, A]))):
        np.testing.assert_array_equal(got[0], success)
        np.testing.assert_array_equal(got[1], nit)
        assert "not known" in got[2]
    result = ours.minimize(loss, START, (A, B))
    with pytest.raises(AttributeError):
        result.x = A
    assert pickle.loads(pickle.dumps(result)).message == message


# a function, options, and how it refuses them
NOT_SUPPORTED: list[tuple[Any, dict[str, Any], str]] = [
    *[
        (ours.minimize, {x: slope}, f"{x} is not .*tapegrad derives")
        for x in ("jac", "hess", "hessp")
    ],
    (
        ours.minimize,
        {"constraints": {"type": "eq", "fun": tg.sum}},
        "constraints is not .*into fun",
    ),
    (ours.minimize, {"method": "BFGS", "bounds": [(0, 1)] * 3}, "bounds is not .*BFGS takes none"),
    (ours.minimize, {"method": lambda *args, **kwargs: None}, "method is not .*pass the name"),
    (ours.least_squares, {"loss": np.square}, "loss is not .*pass the name"),
    (ours.least_squares, {"jac_sparsity": np.eye(2)}, "jac_sparsity is not"),
    (ours.minimize, {"fun": None}, "fun: a function is needed, not None"),
]


@pytest.mark.parametrize(("fn", "options", "said"), NOT_SUPPORTED)
def test_what_is_not_supported_is_refused_by_name(
    fn: Callable[..., Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=f"{fn.__name__}: {said}"):
        fn(**{"fun": loss, "x0": START, "args": (A, B), **options})


WRONG: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "solver", lambda s: s.minimize(loss, START, (A, B), method="other")),
    (ValueError, "bound", lambda s: s.minimize(loss, START, (A, B), bounds=[(0, 1)] * 2)),
    (ValueError, "bound", lambda s: s.minimize(loss, START, (A, B), bounds=[(1, 0)] * 3)),
    (ValueError, "scalar", lambda s: s.minimize(lambda x: x * 2, START)),
    (TypeError, "mismatch", lambda s: s.root(lambda x: x[:1], START)),
    (ValueError, "nknown", lambda s: s.root(pair, [1.0, 1.0], A, "other")),
    (ValueError, "loss", lambda s: s.least_squares(pair, [1.0, 1.0], loss="other", args=(A,))),
    (RuntimeError, "Failed to converge", lambda s: s.fixed_point(lambda x: x + 1, 0.0)),
]


@pytest.mark.parametrize(("error", "said", "call"), WRONG)
def test_wrong_arguments_are_refused_as_by_scipy(
    error: type[Exception], said: str, call: Callable[..., Any]
) -> None:
    for s in (ours, theirs):
        with pytest.raises(error, match=said):
            call(s)


def test_an_objective_is_what_scipys_own_solvers_take() -> None:
    def fitted(p: dict[str, Array], scale: float = 1.0) -> Array:
        return tg.sum((p["w"] - A) ** 4) + scale * (p["b"] - 3.0) ** 2

    tree = {"w": np.zeros(3), "b": np.float32(1.0)}
    fun, jac, hessp, x0, unravel = objective = ours.objective(fitted, tree)
    for x in (x0, jac(x0), hessp(x0, x0)):
        assert x.flags.writeable and x.flags.owndata and x.dtype == float  # noqa: PT018
    assert type(fun(x0)) is float
    want = tg.grad(fitted)(tree)
    np.testing.assert_array_equal(jac(x0), tg.tree.ravel(want)[0])
    v = np.arange(4.0)
    want = tg.hvp(fitted, (tree, 2.0), (unravel(v), 0.0))[0]
    np.testing.assert_allclose(hessp(x0, v, 2.0), tg.tree.ravel(want)[0])
    assert fun(x0, 2.0) == fitted(tree, 2.0)
    for by in ({"method": "BFGS"}, {"method": "trust-krylov", "hessp": hessp}):
        found = theirs.minimize(fun, x0, (2.0,), jac=jac, tol=1e-6, **by)
        np.testing.assert_allclose(found.fun, 0.0, atol=1e-4)
        assert unravel(found.x)["b"].dtype == np.float32
    x0[:] = np.nan  # a copy, which the others do not see
    assert tree["b"] == 1.0 and not np.isnan(objective.fun(objective.jac(v)))  # noqa: PT018


@pytest.mark.parametrize("kind", ["pure", "compiled", "reading", "drawing", "changing"])
def test_an_objective_runs_once_at_a_point_unless_it_cannot_be_compiled(kind: str) -> None:
    runs, rng, settings = [0], np.random.default_rng(0), SimpleNamespace(a=0.0)

    def fn(x: Array, a: dict[str, Any]) -> Array:
        runs[0] += 1
        if kind == "reading":
            return tg.sum(x**4) if x[0] > a["a"] else tg.sum(x) * a["a"]
        a = getattr(a["a"], "a", a["a"])
        return tg.sum((x - a) ** 4) * (rng.normal() if kind == "drawing" else 1.0)

    parts = ours.objective(tg.compile(fn) if kind == "compiled" else fn, np.zeros(3))
    for _ in range(3):
        for x in (np.arange(3.0), np.ones(3)):
            for a in ({"a": 0.5}, {"a": np.full(3, 0.0)}, {"a": np.full(3, -0.0)}):
                a = {"a": 0.25} if kind == "reading" else a
                if kind == "changing":
                    settings.a, a = a["a"], {"a": settings}
                state = rng.bit_generator.state
                got = parts.fun(x, a), parts.jac(x, a), parts.hess(x, a).toarray()
                got = *got, parts.hessp(x, x, a)
                assert kind == "drawing" or parts.fun(x, a) == got[0]
                if kind == "drawing":  # anew in each call
                    assert parts.fun(x, a) != parts.fun(x, a)
                    continue
                before, rng.bit_generator.state = runs[0], state
                want = fn(x, a), tg.grad(fn)(x, a), tg.hessian(fn)(x, a)
                same(got, (*want, want[2] @ x), 1e-12)
                x, runs[0] = x.copy(), before
    # for each kind of argument: values, slopes, Hessians and products, and the pattern of zeros
    assert runs[0] <= 3 * 7 if kind in ("pure", "compiled") else runs[0] > 50


def test_the_gaussian_process_is_fitted_and_moves_with_its_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import gaussian_process as process

    found, influence = process.main(24)
    x, y = process.measure(0, 24)
    slope = tg.grad(process.surprise)(found.x, x, y)
    np.testing.assert_allclose(tg.tree.ravel(slope)[0], 0, atol=1e-4)
    i = int(np.argmax(np.abs(influence)))
    step = 1e-2 * np.eye(24)[i]
    after, before = (np.exp(process.fit(x, y + e).x["length"]) for e in (step, -step))
    np.testing.assert_allclose(influence[i], (after - before) / 2e-2, rtol=1e-3)
    assert f"moves by {influence[i]:+.4f} of y[{i}]" in capsys.readouterr().out
