"""The root of a solver has the derivatives that the implicit function theorem gives it."""

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from messages import Refusal, check_refusals

import tapegrad as tg
from tapegrad.domain import Elements
from tapegrad.testing import arrays, check_grads, check_properties
from tapegrad.types import Array


def equations(x: dict[str, Array], a: Array, p: dict[str, Any]) -> dict[str, Array]:
    """Three equations for a tree of three unknowns, monotone in each."""
    u, v = x["u"], x["v"]
    return {
        "first": 2.0 * u + np.tanh(p["shift"] * v) - a,
        "second": v + v**3 + 0.1 * tg.sum(u) - p["target"],
    }


def newton(a: Array, p: dict[str, Array | float]) -> dict[str, Array]:
    """A solver that a tape does not see: it is called on arrays, and asks for their values."""
    assert isinstance(a, np.ndarray)
    shift, target, v = float(p["shift"]), float(p["target"]), 0.0
    for _ in range(60):
        bent = math.tanh(shift * v)
        left = v + v**3 + 0.1 * (float(a[0]) + float(a[1]) - 2 * bent) / 2 - target
        step = left / (1 + 3 * v * v - 0.1 * shift * (1 - bent * bent))
        v -= step
        if abs(step) < 1e-16:
            break
    return {"u": (a - math.tanh(shift * v)) / 2, "v": np.array(v)}


def by_columns(matvec: Callable[..., Any], b: Array) -> Array:
    """A solver that is given products alone, and writes to what it gets."""
    columns = []
    for e in np.eye(b.size, dtype=b.dtype):
        columns.append(matvec(e))
        e[:] = np.nan
    x = np.linalg.solve(np.stack(columns, 1), b)
    b[:] = np.nan
    return x


ROOT = tg.implicit_root(equations, newton)
BY_PRODUCTS = tg.implicit_root(equations, newton, by_columns)
A, P = np.array([0.5, -1.0]), {"shift": 0.75, "target": np.array(1.5)}


@pytest.mark.parametrize("root", [ROOT, BY_PRODUCTS], ids=["lu", "products"])
@depth("check_grads")
@given(
    arrays((2,), Elements(-1.0, 1.0), "d"),
    st.floats(-1.0, 1.0),
    arrays((), Elements(-1.0, 1.0), "d"),
)
def test_derivatives_of_any_order_and_mode_are_those_of_differences(
    root: Callable[..., Any], a: Array, shift: float, target: Array
) -> None:
    args = a, {"shift": shift, "target": target}
    left = tg.tree.ravel(equations(root(*args), *args))[0]
    np.testing.assert_allclose(left, 0.0, atol=1e-14)
    check_grads(root, args)
    check_properties(root, args, compiled=True)
    again = pickle.loads(pickle.dumps(root))
    assert tg.tree.all_close(again(*args), root(*args), rtol=0, atol=0)


def test_no_jacobian_is_made_where_products_are_enough() -> None:
    n, counted = 200, []

    def conjugate_gradients(matvec: Callable[..., Any], b: Array) -> Array:
        x, r, p = 0 * b, b, b
        while r @ r > 1e-24 * (b @ b):
            counted.append(len(b))
            q = matvec(p)
            x, new = x + (r @ r) / (p @ q) * p, r - (r @ r) / (p @ q) * q
            r, p = new, new + (new @ new) / (r @ r) * p
        return x

    def f(x: Array, a: Array) -> Array:
        return a[0] * x + a[1] * np.mean(x) - 1

    root = tg.implicit_root(f, lambda a: np.full(n, 1 / (a[0] + a[1])), conjugate_gradients)
    check_grads(lambda a: root(a)[:2], (np.array([2.0, 1.0]),))
    counted.clear()
    tg.grad(lambda a: tg.sum(root(a) ** 2))(np.array([2.0, 1.0]))
    assert len(counted) <= 3
    assert set(counted) == {n}


LOOPED: dict[str, Any] = {
    "captured": lambda root, a, xs: tg.scan(lambda c, x: (c + root(a), None), 0 * a, xs)[0],
    "rows": lambda root, a, xs: tg.scan(lambda c, x: (c + root(x), None), a, xs, reverse=True)[0],
    "while": lambda root, a, xs: tg.while_loop(lambda c: c < 9, lambda c: c + root(c * a), a),
    "nested": lambda root, a, xs: tg.fori_loop(
        0, 2, lambda i, c: tg.scan(lambda d, x: (d + root(d * x), None), c, xs)[0], 1.0
    ),
    "branch": lambda root, a, xs: tg.cond(a > 1, lambda a: root(a + xs[0]), np.abs, a),
}


@pytest.mark.parametrize("name", LOOPED)
def test_a_solver_in_a_loop_is_called_at_values_of_the_call_alone(name: str) -> None:
    called: set[float] = set()

    def solve(a: Array) -> Array:
        called.add(round(float(a), 9))
        return np.sqrt(a)

    root, a, xs = (
        tg.implicit_root(lambda x, a: x * x - a, solve),
        np.array(2.0),
        np.arange(3.0, 5.0),
    )
    LOOPED[name](root, a, xs)
    values = {*called}
    for way in (tg.grad, lambda f: tg.compile(tg.grad(f)), lambda f: tg.compile(tg.hessian(f))):
        way(lambda a, xs: LOOPED[name](root, a, xs))(a, xs)
        assert called == values


def test_no_gradient_passes_to_whole_numbers_and_float32_stays() -> None:
    def f(x: Array, a: Array, n: int) -> Array:
        return x**n - a

    root = tg.implicit_root(f, lambda a, n: a ** type(a.flat[0])(1 / n))
    a = np.array([4.0, 9.0], np.float32)
    gradient = tg.grad(lambda a: tg.sum(root(a, 2)))(a)
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, 0.5 / np.sqrt(a), rtol=1e-6)


def gradient(
    linear_solve: int | Callable[..., Any], f: Callable[..., Any] = lambda x, a: 2 * x - a
) -> Array:
    root = tg.implicit_root(f, lambda a: a / 2, linear_solve)
    return tg.grad(lambda a: tg.sum(root(a)))(np.ones(2))


def rooted(f: Callable[..., Any], solve: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    return lambda: tg.implicit_root(f, solve)(*args)


KEPT: list[Any] = []
NOTING = tg.implicit_root(lambda x, a: (KEPT.append(a * 2), x - a)[1], lambda a: a)
REFUSED: list[Refusal] = [
    (TypeError, lambda: tg.implicit_root(None, newton), "a function is needed"),
    (TypeError, lambda: tg.implicit_root(equations, 3), "a function is needed"),
    (TypeError, lambda: gradient(3), "implicit_root: linear_solve: a function is needed"),
    (ValueError, rooted(lambda x, a: a - x, lambda a: a[0], A), "2 numbers for a root of 1; there"),
    (
        TypeError,
        rooted(lambda x, a: x - a, lambda a: 1, 2.0),
        "returned a root of type int; a root",
    ),
    (TypeError, rooted(lambda x, a: x, lambda a: {"n": 1, "x": a}, 2.0), "a leaf (n) of type int"),
    # a gradient would be lost in silence
    (tg.TapeError, lambda: tg.grad(lambda c: rooted(lambda x, a: x - c, abs, 1.0)())(2.0), ""),
    (tg.TapeError, lambda: NOTING(2.0) * KEPT[-1], ""),
    (tg.TapeError, lambda: tg.grad(lambda a: NOTING(a) * KEPT[-1])(2.0), ""),
    (
        np.linalg.LinAlgError,
        lambda: gradient(lambda matvec, b: b),
        "left a residual of 1.4 from 1.4",
    ),
    (
        np.linalg.LinAlgError,
        lambda: gradient(lambda matvec, b: b, lambda x, a: (2 * x - a) ** 2),
        "singular derivative by its unknowns",
    ),
    (np.linalg.LinAlgError, lambda: gradient(lambda matvec, b: b * np.nan), "a residual of nan"),
    *[
        (ValueError, lambda u=u: gradient(lambda matvec, b: u), "must return the vector x")
        for u in (0.5, (np.ones(2) / 2, 0), None, np.ones(3))
    ],
]


def test_misuse_is_refused_and_says_what_to_do() -> None:
    check_refusals(REFUSED)
    np.testing.assert_allclose(gradient(lambda matvec, b: b / 2), 0.5)
    flat = tg.implicit_root(lambda x, a: (x - a) ** 2, lambda a: a)
    with pytest.raises(np.linalg.LinAlgError, match="singular derivative by its unknowns") as error:
        tg.grad(flat)(1.0)
    # the line of the call, and not the frames of the rule
    assert "test_implicit.py:" in error.value.__notes__[0]
    assert len(error.traceback) < 12


@pytest.mark.parametrize("linear_solve", [None, by_columns], ids=["lu", "products"])
@given(
    st.floats(-1e3, 1e3),
    st.sampled_from([1e-9, 1.0, 1e9]),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.floats(0.0, 1.0),
)
def test_equations_that_have_changed_are_told(
    linear_solve: Callable[..., Any] | None, c: float, scale: float, size: float, left: float
) -> None:
    """Whatever the equations are multiplied by, the size of the root, and what the solver left."""
    held = np.array([c, 2.0, -3.0])

    def gradient(change: float) -> Array:
        held[:] = [c, 2.0, -3.0]
        root = tg.implicit_root(
            lambda x, a: scale * (x - held * a), lambda a: a * held * (1 + left), linear_solve
        )

        def loss(a: Array) -> Array:
            x = root(a)
            held[1] += change
            return tg.sum(x * x)

        return tg.grad(loss)(size)

    want = 2 * size * (1 + left) * (c * c + 13)
    np.testing.assert_allclose(gradient(0.0), want, rtol=1e-9)
    with pytest.raises(ValueError, match="an array that has changed"):
        gradient(1.0 if size > 1e-6 else 10.0)
