"""Derivatives of complex numbers are adjoints in every transform; calls without one are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alike import same
from complex_losses import LOSSES
from depth import THOROUGH
from messages import Refusal, check_refusals

import tapegrad as tg
from tapegrad.types import Array, DType, PyTree

Z = np.array([1 + 2j, -3 + 0.5j, 0.25 - 1j])
X = np.array([1.0, -2.0, 0.5])
W = np.array([0.5 - 1j, 2 + 0.25j, -1j])


def inner(a: Array, b: Array) -> Array:
    """The product under which a vjp is the adjoint."""
    return np.sum(np.real(np.conj(a) * b))


FUNCTIONS: dict[str, Any] = {
    "holomorphic": lambda z: np.exp(z) * z,
    "conjugate": lambda z: np.conj(z) * z[0] + z * 1j,
    "real": lambda z: np.abs(z) * np.angle(z),
    "of parts": lambda z: z.real * 1j - z.imag**2,
    "direction": lambda z: np.sign(z) * z.real,
    "of a batch": lambda z: tg.vmap(lambda x: x * np.conj(x) + 1j * x)(z),
    "repeated": lambda z: tg.checkpoint(lambda x: (np.conj(x) * x[1], np.abs(x)))(z)[0],
    "of an array": lambda z: tg.checkpoint(lambda w, x: np.conj(w) * x)(W, z),
    "custom op": tg.custom_op(vjps=(lambda g, y, x: g * np.conj(2 * x),))(np.square),
    "custom_vjp": tg.custom_vjp(lambda g, y, x: (g * np.conj(2 * x),))(np.square),
    "root": tg.implicit_root(lambda y, a: y * y - np.exp(a), lambda a: np.sqrt(np.exp(a))),
    "of a gradient": lambda z: tg.grad(lambda x: np.sum(np.abs(x) ** 3))(z) * z,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_two_modes_are_adjoint_and_agree_with_differences(name: str) -> None:
    f = FUNCTIONS[name]
    y, pullback = tg.vjp(f, Z)
    tangent = tg.jvp(f, (Z,), (W,))[1]
    _, push = tg.linearize(f, Z)
    g = np.cos(np.arange(3)) + (1j * np.sin(np.arange(3)) if y.dtype.kind == "c" else 0)
    np.testing.assert_allclose(inner(pullback(g)[0], W), inner(g, tangent))
    np.testing.assert_array_equal(push(W), tangent)
    numeric = (f(Z + 1e-6 * W) - f(Z - 1e-6 * W)) / 2e-6
    np.testing.assert_allclose(tangent, numeric, rtol=1e-7, atol=1e-7)
    tg.testing.check_grads(f, (Z,))
    of_real = tg.grad(lambda x: np.sum(np.abs(f(x * (1 + 0.5j)) + x) ** 2))
    assert of_real(X).dtype == X.dtype


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_part_of_a_derivative_is_a_negative_zero(name: str) -> None:
    f, z, g = FUNCTIONS[name], X + 0j, np.array([1.0, 0, -2])
    loss = lambda z: np.sum(np.abs(f(z)) ** 2)  # noqa: E731
    ways: list[Any] = [
        *(tg.grad(loss), lambda z: tg.vjp(f, z)[1](g + 0 * f(X + 0j))[0]),
        *(lambda z: tg.jvp(f, (z,), (g + 0j,))[1], lambda z: tg.hvp(loss, (z,), (g + 0j,))),
    ]
    tape, parameter = tg.Tape().parameter(z)
    tape, y = tape.write(tg.abs, parameter)
    derivatives = [tg.reverse_sweep(tape, y, g)[parameter]]
    for way in ways:
        derivatives += [way(z), tg.compile(way)(z)]
    for x in derivatives:
        for part in (x.real, x.imag) if x.dtype.kind == "c" else ():
            assert not np.any((part == 0) & np.signbit(part))


def test_python_complex_numbers_are_weak() -> None:
    def dtype(f: Callable[..., Any], x: Array | float) -> DType:
        return tg.record(f)(x)[0].dtype

    for narrow in (np.float32, np.float16, np.complex64):
        assert dtype(lambda x: 1j * x, np.ones(2, narrow)) == np.complex64
        assert dtype(lambda x: x**1j, np.ones(2, narrow)) == np.complex64
    assert dtype(lambda x: np.complex128(1j) * x, np.ones(2, np.float32)) == np.complex128
    assert dtype(lambda x: x * 1j * np.ones(1, np.float32), 2.0) == np.complex64


CUTS = [("sqrt", -2.0), ("log", -2.0), ("arcsin", 2.0), ("arccos", -2.0), ("arcsinh", 2j)]


@pytest.mark.parametrize(("name", "at"), [*CUTS, ("arccosh", -2.0), ("arctan", 2j)])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_slopes_follow_the_branch_that_the_sign_of_a_zero_chooses(
    name: str, at: complex, side: float
) -> None:
    imaginary = isinstance(at, complex)
    on = complex(side * 0.0, at.imag) if imaginary else complex(at, side * 0.0)
    beside = on + side * (1e-9 if imaginary else 1e-9j)
    f = getattr(np, name)
    one, other = (tg.vjp(f, np.array(z))[1](np.array(1 + 0j))[0] for z in (on, beside))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_jacobians_of_complex_results_are_exact_in_both_modes() -> None:
    def f(x: Array) -> dict[str, Array]:
        return {"y": np.exp(1j * x) * x[0], "n": np.sum(x)}

    want = 1j * np.diag(np.exp(1j * X) * X[0]) + np.outer(np.exp(1j * X), np.eye(3)[0])
    for mode in ("forward", "reverse"):
        got = tg.jacobian(f, mode=mode)(X)
        np.testing.assert_allclose(got["y"], want)
        np.testing.assert_array_equal(got["n"], np.ones(3))
        inside = tg.jvp(lambda x, m=mode: tg.jacobian(f, mode=m)(x)["y"], (X,), (X,))[1]
        numeric = [tg.jacobian(f)(X * (1 + s * 1e-6))["y"] for s in (1, -1)]
        np.testing.assert_allclose(inside, (numeric[0] - numeric[1]) / 2e-6, atol=1e-8)
    second = tg.hessian(lambda x: np.sum(np.abs(f(x)["y"] + x) ** 2))(X)
    np.testing.assert_allclose(second, second.T)
    assert tg.jacobian(lambda x: 1j * x)(X.astype(np.float32)).dtype == np.complex64


def step(optimizer: tg.optim.Adam, params: Array, grads: Array) -> Any:
    return optimizer.update(params, grads, optimizer.init(params))


def loss(z: Array) -> Array:
    return np.sum(np.abs(z) ** 2)


def on(fn: Callable[..., Any], x: Array = Z) -> Callable[..., Any]:
    return lambda: tg.record(fn)(x)


REFUSED: list[Refusal] = [
    *[
        (TypeError, lambda t=t: t(loss)(Z), "z is complex128|linear over the real|tg.vjp, tg.jvp")
        for t in (tg.jacobian, tg.hessian, tg.hessian_diag)
    ],
    (TypeError, lambda: tg.grad(np.sum)(Z), "real loss|the real part or the absolute value"),
    (TypeError, lambda: tg.reverse_sweep(*tg.record(np.sum)(Z)[::-1]), "real output|z.real"),
    (TypeError, on(lambda z: z.astype(float)), "imaginary part|write z.real"),
    (TypeError, on(lambda z: np.sum(z, dtype=float)), "imaginary part"),
    (TypeError, on(lambda z: tg.at(X)[0].set(z[0])), "complex values"),
    (TypeError, on(np.max), "max does not take complex numbers|z.real"),
    (
        ValueError,
        lambda: tg.testing.check_vjp(np.abs, lambda args, g: (g,), (Z,), convention="jax"),
        "convention must be 'adjoint' or 'conjugate', not 'jax'",
    ),
    (ValueError, lambda: step(tg.optim.Adam(0.1), X, Z), "params is float64|grads is complex128"),
]


def test_what_has_no_complex_form_is_refused_by_name() -> None:
    check_refusals(REFUSED)


LOOPS: dict[str, Any] = {
    "scan": lambda z, x: tg.scan(
        lambda c, r: (c * np.exp(1j * r[1]) + np.conj(r[0]) * z[0], np.abs(c) + r[0].real),
        1j,
        (z, x),
    ),
    "scan of real numbers": lambda z, x: tg.scan(
        tg.checkpoint(lambda c, r: (c + np.abs(r * z) ** 2, c * r * 1j)),
        np.zeros(3),
        x,
        reverse=True,
    ),
    "fori": lambda z, x: tg.fori_loop(0, 3, lambda i, c: c * z * x + np.conj(c) * i, z + x),
    "while": lambda z, x: tg.while_loop(
        lambda c: np.abs(c[0]) < 20.0,
        lambda c: (c[0] * (1.5 + 1j) + np.conj(z[1]), c[1] * x),
        (z[0], x),
    ),
    "cond": lambda z, x: tg.cond(np.sum(x) > 0, lambda a: a, lambda a: np.conj(a) * a * x, z),
    "branches": lambda z, x: tg.vmap(
        lambda a, b: tg.cond(b > 0, lambda a: a * np.conj(a) * b, lambda a: a * 1j, a)
    )(z, x),
    "batch": lambda z, x: tg.vmap(
        lambda a, b: tg.while_loop(lambda c: np.abs(c) < 9.0, lambda c: c * (1 + 1j) + b, a)
    )(z, x),
    "numbers": lambda z, x: tg.scan(lambda c, r: (c * r, (c, 1j)), 2.0, z),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_and_programs_take_complex_numbers(name: str) -> None:
    def f(z: Array, x: Array) -> list[Array]:
        return tg.tree.leaves(LOOPS[name](z, x))

    def loss(z: Array, x: Array) -> Array:
        return sum(np.sum(np.sin(np.real(y)) - np.abs(y) ** 2) for y in f(z, x))

    # the second derivatives are compared with differences below
    tg.testing.check_grads(f, (Z, X), order=1 + THOROUGH)
    tangents = (W, X[::-1].copy())
    gradient = tg.grad(loss, argnums=(0, 1))
    second = tg.jvp(gradient, (Z, X), tangents)[1]
    above, below = (
        gradient(*[p + e * t for p, t in zip((Z, X), tangents, strict=True)]) for e in (1e-6, -1e-6)
    )
    for got, a, b in zip(second, above, below, strict=True):
        np.testing.assert_allclose(got, (a - b) / 2e-6, rtol=1e-6, atol=1e-6)
    if THOROUGH:
        tg.testing.check_compiled(f, (Z, X))
    tg.compile(gradient).check(Z, X)


def test_a_python_complex_number_is_an_argument_that_varies() -> None:
    @tg.compile
    def turned(x: Array, by: Array | complex) -> tuple[Array, Array | complex, Array | complex]:
        return x * by, by * 2, by

    for by in (1j, 2 - 1j, 1j):
        same(turned(X, by), (X * by, by * 2, by), 0)
    assert str(turned.signatures) == "((float64[3], complex),)"
    assert turned(X.astype(np.float32), 1j)[0].dtype == np.complex64


@tg.custom_op(vjps=(lambda g, y, a, b: g * np.conj(b), lambda g, y, a, b: g * np.conj(a)))
def times(a: Array | complex, b: Array | complex) -> Array:
    return np.asarray(a * b)


# calls that a batch makes once for each example, or that are written again inside it
CALLED: dict[str, Any] = {
    "custom_op": times,
    "custom_vjp": tg.custom_vjp(lambda g, y, a, b: (g * np.conj(b), g * np.conj(a)))(np.multiply),
    "checkpoint": tg.checkpoint(lambda a, b: a * np.conj(b)),
    "correlate": lambda a, b: 0.3j * np.correlate(a, b, "full"),
    "in a loop": lambda a, b: tg.scan(lambda c, r: (times(c, r[0]), times(r[1], c)), 1j, (a, b))[1],
    "beside the batch": lambda a, b: times(b, b) * a,
    "custom_vjp, beside it": lambda a, b: CALLED["custom_vjp"](b, b) * a,
}


@pytest.mark.parametrize("transform", ["gradient", "tangent", "to complex"])
@pytest.mark.parametrize("name", CALLED)
def test_a_batch_of_complex_calls_is_a_loop_over_the_examples(name: str, transform: str) -> None:
    f = CALLED[name]

    def loss(a: Array, b: Array) -> Array:
        return np.sum(np.abs(f(a, b) + 1j) ** 2)

    def of_one(a: Array, b: Array) -> PyTree:
        if transform == "gradient":
            return tg.grad(loss, (0, 1))(a, b)
        if transform == "tangent":
            return tg.jvp(f, (a, b), (1j * a, b))[1]
        return tg.jacobian(lambda x: f(x * 1j, b))(a.real)

    rows = np.stack([Z[:2], W[1:]])
    for b, axes in ((W[1:], (0, None)), (rows[::-1] - 1j, 0))[: 1 + THOROUGH]:
        shown = np.broadcast_to(b, rows.shape)
        each = [of_one(*pair) for pair in zip(rows, shown, strict=True)]
        batch = tg.vmap(of_one, axes)
        compiled = tg.compile(batch, check=THOROUGH)
        for fn in (batch, compiled, *THOROUGH * [tg.vmap(tg.compile(of_one), axes)]):
            for got, *want in zip(*map(tg.tree.leaves, (fn(rows, b), *each)), strict=True):
                np.testing.assert_allclose(got, np.stack(want), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses_are_those_of_differences_and_the_same_compiled(name: str) -> None:
    f, args = LOSSES[name]
    # twice for every other, and for all in the thorough run
    tg.testing.check_grads(f, args, 2 if THOROUGH else 1 + list(LOSSES).index(name) % 2)
    gradient = tg.grad(f, tuple(range(len(args))))
    same(tg.compile(gradient)(*args), gradient(*args), 1e-9)
