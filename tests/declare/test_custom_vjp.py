"""A function of trees with a custom VJP has derivatives of every order and mode."""

import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mappings import VECTORS, close

import tapegrad as tg
from tapegrad.types import Array, ArrayLike


@tg.custom_vjp(lambda g, y, x: (g * tg.sigmoid(x),))
def log1pexp(x: ArrayLike) -> Array:
    """Return log(1 + exp(x)) without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def solve_backward(
    g: dict[str, Array],
    y: dict[str, Array],
    p: dict[str, Array],
    b: Array,
    name: str | None = None,
) -> tuple[dict[str, Array], Array]:
    """Return the cotangents of p and b for x = b / w - m."""
    db = g["x"] / p["w"] + g["twice"] * 2 / p["w"]
    return {"w": -db * (y["x"] + p["m"]), "m": -g["x"] - 2 * g["twice"]}, db


@tg.custom_vjp(solve_backward)
def solve(p: dict[str, Array], b: Array, name: str | None = None) -> dict[str, Any]:
    x = np.array(b) / p["w"] - p["m"]
    return {"x": x, "twice": 2 * x, "signs": x > 0, "name": name}


def solve_plain(p: dict[str, Array], b: Array, name: str | None = None) -> dict[str, Any]:
    x = b / p["w"] - p["m"]
    return {"x": x, "twice": 2 * x, "name": name}


def loss_of(fn: Callable[..., Any]) -> Callable[..., Any]:
    def loss(w: Array, m: Array, b: Array) -> Array:
        output = fn({"w": w, "m": m}, b, name="text")
        assert output["name"] == "text"
        return tg.sum(tg.sin(output["x"]) * output["twice"] * b)

    return loss


@given(st.floats(-1e4, 1e4))
def test_derivatives_of_stable_form_are_stable(x):
    slope, curvature = tg.grad(log1pexp), tg.grad(tg.grad(log1pexp))
    sigmoid = tg.sigmoid(x)
    close(slope(x), sigmoid)
    close(curvature(x), sigmoid * (1 - sigmoid))
    close(tg.jvp(log1pexp, (x,), (2.0,))[1], 2 * sigmoid)
    close(tg.compile(slope)(x), sigmoid)


@given(hnp.arrays(np.float64, 3, elements=st.floats(0.5, 2)), VECTORS, VECTORS)
def test_custom_vjp_of_trees_has_derivatives_of_any_order(w, m, b):
    custom, plain = loss_of(solve), loss_of(solve_plain)
    args = w, m, b
    close(tg.value_and_grad(custom, (0, 1, 2))(*args), tg.value_and_grad(plain, (0, 1, 2))(*args))
    close(tg.jvp(custom, args, args), tg.jvp(plain, args, args))
    close(tg.hessian(custom, (0, 1, 2))(*args), tg.hessian(plain, (0, 1, 2))(*args))
    close(tg.hessian(tg.checkpoint(custom))(*args), tg.hessian(plain)(*args))


def fixed_point_backward(g: Array, x: ArrayLike, a: ArrayLike) -> tuple[Array]:
    slope = tg.sin(a * x)
    return (-g * slope * x / (1 + a * slope),)


@tg.custom_vjp(fixed_point_backward)
def fixed_point(a: float) -> float:
    """Solve x == cos(a * x) by an iteration that reads values."""
    x = 0.5
    while abs(x - np.cos(a * x)) > 1e-15:
        x = float(np.cos(a * x)) / 2 + x / 2
    return x


def test_compiled_custom_vjp_calls_its_function_each_time():
    step = tg.compile(tg.value_and_grad(fixed_point))
    assert step(0.5) == tg.value_and_grad(fixed_point)(0.5)
    assert step(0.7) == tg.value_and_grad(fixed_point)(0.7)
    assert len(step.signatures) == 1
    x = np.arange(3.0)
    program = tg.compile(log1pexp).program(x)
    assert pickle.loads(pickle.dumps(program)) == program
    with pytest.raises(TypeError, match=r"solve has a custom VJP and returned an array.*astype"):
        tg.compile(loss_of(solve))(x + 1, x, x)


def test_none_passes_no_gradient_and_broadcast_axes_are_summed():
    @tg.custom_vjp(lambda g, y, p, x: (None, g * p[0]))
    def scale(p, x):
        return p[0] * x

    p, x = (np.array([[1.0], [2.0]]), 5.0), np.ones(3)
    gp, gx = tg.grad(lambda p, x: tg.sum(scale(p, x)), (0, 1))(p, x)
    np.testing.assert_array_equal(gp[0], [[0.0], [0.0]])
    assert gp[1] == 0.0
    np.testing.assert_array_equal(gx, [3.0, 3.0, 3.0])


def test_custom_vjp_raises_where_a_gradient_would_be_lost():
    scale = tg.custom_vjp(lambda g, y, x, k=1.0: (g * k,))(lambda x, k=1.0: x * k)
    assert tg.grad(lambda x: scale(x, k=2.0))(3.0) == 2.0
    assert tg.grad(lambda x: scale(x, k=tg.stop_gradient(x)))(3.0) == 3.0
    with pytest.raises(TypeError, match="passed by keyword: pass it by position"):
        tg.grad(lambda x: scale(x, k=x))(3.0)
    with pytest.raises(tg.errors.TapeError, match="belongs to the tape"):
        tg.grad(lambda x: tg.custom_vjp(lambda g, y, z: (g,))(lambda z: z * x)(x))(3.0)
    with pytest.raises(tg.errors.TapeError, match="belongs to the tape"):
        tg.grad(lambda x: tg.custom_vjp(lambda g, y, z: (g,))(lambda z: z * x)(2.0))(3.0)
    _, tape = tg.record(lambda x: x * 1)(2.0)
    with pytest.raises(tg.errors.TapeError, match="belongs to the tape"):
        log1pexp(tape.last)
    with pytest.raises(tg.errors.TapeError, match="belongs to the tape"):
        tg.grad(lambda x: log1pexp(tape.last) * x)(2.0)


def test_custom_vjp_pickles():
    assert pickle.loads(pickle.dumps(log1pexp)) is log1pexp
    bare = tg.custom_vjp(solve_backward)(solve_plain)
    assert pickle.loads(pickle.dumps(bare)) == bare
    assert pickle.loads(pickle.dumps(tg.grad(log1pexp)))(0.0) == 0.5
    output, tape = pickle.loads(pickle.dumps(tg.record(log1pexp)(0.0)))
    assert tg.reverse_sweep(tape, output)[tape.parameters[0]] == 0.5
    with pytest.raises(AttributeError):
        log1pexp.fn = np.sin
    with pytest.raises(TypeError, match="a function is needed"):
        tg.custom_vjp("rule")


# --- several results ------------------------------------------------------------------------


@tg.custom_vjp(lambda g, y, a, b: (g["sine"] * np.cos(a) + g["product"] * b, g["product"] * a))
def sine_and_product(a: Array, b: Array) -> dict[str, Array]:
    return {"sine": np.sin(a), "product": a * b, "unused": np.float32(2.0) * a[:1]}


def composed_sine_and_product(a: Array, b: Array) -> dict[str, Array]:
    return {"sine": np.sin(a), "product": a * b}


def loss_of_results(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b: np.sum(fn(a, b)["sine"] ** 2 * fn(a, b)["product"])


TRANSFORMS = {
    "grad": tg.grad,
    "vmap of grad": lambda f: tg.vmap(tg.grad(lambda a, b: f(a * np.ones(2), b * np.ones(2)))),
    "jacobian of grad": lambda f: tg.jacobian(tg.grad(f)),
    "jvp": lambda f: lambda a, b: tg.jvp(f, (a, b), (b, a)),
    "vmap of jvp": lambda f: tg.vmap(
        lambda a, b: tg.jvp(lambda a: f(a * np.ones(2), b * np.ones(2)), (a,), (b,))
    ),
    "hvp": lambda f: lambda a, b: tg.hvp(f, (a, b), (b, a)),
    "in a scan": lambda f: tg.grad(
        lambda a, b: tg.scan(lambda c, x: (c + f(c * x * np.ones(3), b), c), 0.1, a)[0]
    ),
    "checkpointed": lambda f: tg.grad(tg.checkpoint(f)),
}


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_several_results_are_differentiated_by_every_transform(
    transform: str, compiled: bool | None
) -> None:
    args = np.array([0.3, 0.7, -1.0]), np.array([1.0, 2.0, 0.5])
    fn = TRANSFORMS[transform](loss_of_results(sine_and_product))
    if compiled is not None:
        fn = tg.compile(fn, check=compiled)
    assert tg.tree.all_close(
        fn(*args), TRANSFORMS[transform](loss_of_results(composed_sine_and_product))(*args)
    )


def test_program_selects_results_by_index() -> None:
    program = tg.compile(loss_of_results(sine_and_product)).program(np.ones(3), np.ones(3))
    assert re.search(r"= custom_vjp_\d+\[1\]  #", str(program))


def test_record_of_several_results_shows_results_and_cotangents() -> None:
    def fn(a: Array) -> Array:
        return np.sum(sine_and_product(a, a)["product"])

    output, tape = tg.record(fn)(np.array([2.0, 3.0]))
    (whole,) = [x for x in tape if x.op.name == "custom_vjp"]
    (step,) = [x for x in tg.sweep_steps(tape, output) if x.record is whole]
    assert str(step.cotangent) == "(0, [1. 1.], 0)"
    assert "(0, [1. 1.], 0)" in tape.show(output)
    assert "([0.9093 0.1411], [4. 9.], [4.])" in repr(whole)
    assert tg.grad(fn)(np.array([2.0, 3.0])).tolist() == [4.0, 6.0]


def test_function_runs_outside_of_every_recording():
    """Inside a loop too, the function may take a gradient of arrays."""

    def slope(x):
        got = tg.grad(lambda x: x**4)(x)
        assert type(got) is np.ndarray
        return np.array(got)

    fn = tg.custom_vjp(lambda g, y, x: (g * 12 * x**2,))(slope)

    def loss_with_scan(x):
        return tg.scan(lambda c, _: (fn(c), None), x, length=2)[0]

    def loss_with_cond(x):
        return tg.cond(x > 0, fn, lambda x: x, fn(x))

    twice = 4 * (4 * 1.25**3) ** 3, 12 * (4 * 1.25**3) ** 2 * 12 * 1.25**2
    for f in (loss_with_scan, loss_with_cond, tg.compile(loss_with_scan)):
        np.testing.assert_allclose(tg.value_and_grad(f)(1.25), twice)
