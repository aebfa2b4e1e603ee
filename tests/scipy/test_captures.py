"""A Tensor that a solver's function captures is an argument of the solution, or an error says so.

Ours takes it, in whatever the function holds and under any transform; SciPy's own names ours.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH

import tapegrad as tg
from tapegrad.types import Array

theirs: Any = pytest.importorskip("scipy.optimize")
integrate: Any = pytest.importorskip("scipy.integrate")
ours: Any = pytest.importorskip("tapegrad.scipy.optimize")
equations: Any = pytest.importorskip("tapegrad.scipy.integrate")

LOOSE = {"rtol": 1e-3, "atol": 1e-3}
# a function of x or (t, y) and of what it may capture, and a call of a solver with a function
SOLVERS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "minimize": (
        lambda x, k: np.sum((x - k["k"]) ** 2) + np.sum(x) ** 2,
        lambda f, args: ours.minimize(f, np.zeros(2), args, tol=1e-10).x,
    ),
    "root": (
        lambda x, k: x**3 + x - k["k"],
        lambda f, args: ours.root(f, np.ones(2), args, tol=1e-12).x,
    ),
    "least_squares": (
        lambda x, k: x - k["k"] * np.arange(3.0),
        lambda f, args: ours.least_squares(f, 1.0, args=args).x,
    ),
    "fixed_point": (
        lambda x, k: np.cos(x) / (2 + k["k"]),
        lambda f, args: ours.fixed_point(f, 0.5, args, xtol=1e-12),
    ),
    "solve_ivp": (
        lambda t, y, k: -k["k"] * y,
        lambda f, args: equations.solve_ivp(f, (0, 1), [1.0], t_eval=[1.0], args=args, **LOOSE).y,
    ),
    "solve_ivp, stiff": (
        lambda t, y, k: -k["k"] * y,
        lambda f, args: (
            equations.solve_ivp(
                f,
                (0, 1),
                [1.0],
                "LSODA",
                [1.0],
                jac=lambda t, y, *args: -2 * np.eye(1),
                args=args,
                **LOOSE,
            ).y
        ),
    ),
    "odeint": (
        lambda y, t, k: -k["k"] * y,
        lambda f, args: equations.odeint(f, 1.0, [0.0, 1.0], args, **LOOSE)[-1],
    ),
    "quad": (
        lambda x, k: np.exp(-k["k"] * x),
        lambda f, args: equations.quad(f, 0.0, 1.0, args)[0],
    ),
}


class Model:
    def __init__(self, fn: Callable[..., Any], k: dict[str, Array]) -> None:
        self.fn, self.held = fn, [{"deep": k}]

    def __call__(self, *args: Any) -> Array:
        return self.fn(*args, self.held[0]["deep"])


def swallowing(fn: Callable[..., Any], k: dict[str, Array]) -> Callable[..., Any]:
    """A function that goes on without what it captures, where it must not use that."""

    def called(*args: Any) -> Array:
        try:
            return fn(*args, k)
        except Exception:
            return fn(*args, {"k": 1.0})

    return called


HOLDERS: list[Callable[..., Any]] = [
    swallowing,
    lambda fn, k: lambda *args: fn(*args, k),
    lambda fn, k: partial(fn, k=k),
    lambda fn, k: Model(fn, k),
    lambda fn, k: Model(lambda *args: (lambda: fn(*args))(), k).__call__,
]
TRANSFORMS: list[Callable[..., Any]] = [
    tg.grad,
    lambda f: tg.compile(tg.value_and_grad(f)),
    lambda f: lambda k: tg.vmap(tg.grad(f))(np.stack([k, k + 1])),
    lambda f: tg.grad(lambda k: tg.scan(lambda c, _: (f(c), c), k, length=2)[0]),
    lambda f: lambda k: tg.jvp(tg.grad(f), (k,), (1.0,)),
]


@pytest.mark.parametrize("name", SOLVERS)
def test_a_captured_tensor_is_an_argument(name: str) -> None:
    (fn, solve), j = SOLVERS[name], [*SOLVERS].index(name)
    # in two ways, which differ from solver to solver, unless all are asked for
    for i in range(5) if THOROUGH else (-j % 5, (j + 1) % 5):
        transform, hold = TRANSFORMS[i], HOLDERS[(i + j) % len(HOLDERS)]
        got = transform(lambda k, hold=hold: np.sum(solve(hold(fn, {"k": 1.5 * k}), ())))(1.2)
        # an integer beside it has no derivative
        want = transform(
            lambda k: np.sum(solve(fn, ({"k": 1.5 * k, "n": np.floor(k).astype(int)},)))
        )(1.2)
        assert tg.tree.all_close(got, want, rtol=1e-12, atol=1e-13)


def test_all_solvers_of_a_function_are_among_these() -> None:
    names = {
        name
        for module in (ours, equations)
        for name in module.__all__
        if next(iter(inspect.signature(getattr(module, name)).parameters)) in ("fun", "func")
    }
    assert names - {"Objective", "objective"} == {name.split(",")[0] for name in SOLVERS}


@pytest.mark.parametrize("name", SOLVERS)
def test_one_that_is_captured_beside_a_choice_by_value_is_refused_with_args(name: str) -> None:
    fn, solve = SOLVERS[name]

    def value(k: Array | float) -> Any:
        return np.sum(solve(lambda *a: fn(*a, {"k": k if np.sum(a[0]) < 9 else 1.0}), ()))

    for transform in (tg.grad, lambda f: tg.compile(tg.grad(f))):
        with pytest.raises(tg.TapeError, match=rf"{name.split(',')[0]}: .*args=\(k,\)"):
            transform(value)(1.2)
        # an error of its own is no such reading
        with pytest.raises(ValueError, match=r"shapes|matmul"):
            transform(lambda k: np.sum(solve(lambda *a: fn(*a, {"k": k}) @ np.ones(9), ())))(1.2)


def line(k: Array) -> Callable[..., Any]:
    return lambda x: x - k


def square(k: Array) -> Callable[..., Any]:
    return lambda x: np.sum((x - k) ** 2)


def decay(k: Array) -> Callable[..., Any]:
    return lambda t, y: -k * y


MINIMIZE = "tapegrad.scipy.optimize.minimize.*implicit_root"
SOLVE = "tapegrad.scipy.integrate.solve_ivp"
BRACKETS = ("brentq", "brenth", "bisect", "ridder", "toms748")
# whose solver it is, what it names, a function of what that captures, and the other arguments
OF_SCIPY: dict[str, tuple[Any, str, Any, Any]] = {
    **dict.fromkeys(BRACKETS, (theirs, r"tg\.implicit_root", line, (0.0, 5.0))),
    "newton": (theirs, r"tg\.implicit_root", line, (0.5,)),
    "root_scalar": (theirs, r"tg\.implicit_root", line, ((), None, (0.0, 5.0))),
    "minimize": (theirs, MINIMIZE, square, ([1.0],)),
    "minimize_scalar": (theirs, MINIMIZE, square, ()),
    "differential_evolution": (theirs, MINIMIZE, square, ([(0, 5)],)),
    "root": (theirs, "tapegrad.scipy.optimize.root.*implicit_root", line, (np.zeros(2),)),
    "fixed_point": (
        theirs,
        "tapegrad.scipy.optimize.fixed_point.*implicit_root",
        lambda k: lambda x: np.cos(k * x),
        (0.5,),
    ),
    "least_squares": (
        theirs,
        "tapegrad.scipy.optimize.least_squares.*implicit_root",
        line,
        (np.zeros(2),),
    ),
    "curve_fit": (
        theirs,
        "tapegrad.scipy.optimize.least_squares.*implicit_root",
        lambda k: lambda t, a: a * t * k,
        (np.ones(3), np.ones(3)),
    ),
    "solve_ivp": (integrate, SOLVE, decay, ((0, 1), [1.0])),
    "RK45": (integrate, SOLVE, decay, (0.0, [1.0], 1.0)),
    "odeint": (integrate, f"tapegrad.scipy.integrate.odeint|{SOLVE}", decay, ([1.0], [0.0, 1.0])),
    "quad": (integrate, "tapegrad.scipy.integrate.quad", line, (0.0, 1.0)),
    "quad_vec": (integrate, "scipy.integrate.fixed_quad", line, (0.0, 1.0)),
}


@pytest.mark.parametrize("name", OF_SCIPY)
def test_scipys_own_solvers_name_ours(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    home, there, of, args = OF_SCIPY[name]

    def value(k: Array) -> Any:
        getattr(home, name)(of(k), *args)
        return k

    for transform in (tg.grad, tg.compile):
        with pytest.raises(tg.TapegradError, match=f"computes on arrays.*write {there}"):
            transform(value)(2.0)
    assert capfd.readouterr().err == ""
    # the sum is recorded
    fixed = tg.grad(lambda k: integrate.fixed_quad(lambda t: k * t, 0.0, 1.0)[0])
    np.testing.assert_allclose(fixed(2.0), 0.5)


def test_an_implicit_root_and_an_objective_say_where_a_tensor_goes() -> None:
    def rooted(k: Array | float, by_f: float, by_solve: float) -> Any:
        return tg.implicit_root(lambda x: x - 2.0 - by_f * k, lambda: 2.0 + by_solve * k)()

    for weights in ((1.0, 0.0), (0.0, 1.0)):
        with pytest.raises(tg.TapeError, match=r"implicit_root: .*root\(k\)"):
            tg.grad(rooted)(2.0, *weights)

    def lost(k: Array | float) -> Any:
        return ours.objective(lambda x: k * x, 1.0).fun([1.0])

    for transform in (tg.grad, tg.compile):
        with pytest.raises(tg.TapeError, match=r"write tapegrad.scipy.optimize.minimize"):
            transform(lost)(2.0)
