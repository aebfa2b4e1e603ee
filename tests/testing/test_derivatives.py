"""check_vjp and check_jvp find each fault of a derivative from anywhere, and nothing else.

By differences they work as check_grads, which has tests of its own for kinks and sizes.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from messages import check_refusals

import tapegrad as tg
from tapegrad.testing import check_jvp, check_vjp
from tapegrad.types import Array, DTypeLike, PyTree

X = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25]])
SQUARE = np.array([[0.5, -1.0, 2.0], [1.5, 3.0, -0.25], [0.75, -0.5, 1.0]])
MANY = np.linspace(-2.0, 2.0, 10_000)


def caught(check: Callable[..., Any], *args: Any, **options: Any) -> str:
    """The message that a check fails with."""
    with pytest.raises(AssertionError) as error:
        check(*args, **options)
    return str(error.value)


def softmax(x: Array) -> Array:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def softmax_vjp(args: tuple[Array, ...], g: Array, axis: int = -1) -> tuple[Array]:
    y = softmax(args[0])
    return (y * (g - np.sum(g * y, axis=axis, keepdims=True)),)


def softmax_jvp(args: tuple[Array, ...], tangents: tuple[Array, ...], axis: int = -1) -> Array:
    y = softmax(args[0])
    return y * (tangents[0] - np.sum(tangents[0] * y, axis=axis, keepdims=True))


def affine(p: dict[str, Array], x: Array) -> dict[str, Any]:
    return {"y": x @ p["w"] + p["b"], "rows": len(x)}


def affine_vjp(args: tuple[Any, ...], g: dict[str, Array]) -> tuple[dict[str, Array], Array]:
    p, x = args
    return {"w": x.T @ g["y"], "b": g["y"].sum(0)}, g["y"] @ p["w"].T


def affine_jvp(args: tuple[Any, ...], tangents: tuple[Any, ...]) -> dict[str, Array | None]:
    (p, x), (dp, dx) = args, tangents
    return {"y": dx @ p["w"] + x @ dp["w"] + dp["b"], "rows": None}


AFFINE = ({"w": X.T.copy(), "b": np.array([0.5, -1.0])}, SQUARE)


# --- right ones ---------------------------------------------------------------------------


def sine_vjp(args: tuple[Array, ...], g: Array) -> tuple[Array]:
    return (g * np.cos(args[0]),)


def sine_jvp(args: tuple[Array, ...], t: tuple[Array, ...]) -> Array:
    return t[0] * np.cos(args[0])


RIGHT: dict[str, Any] = {
    "elementwise": (np.sin, sine_vjp, sine_jvp, (X,)),
    "along an axis": (softmax, softmax_vjp, softmax_jvp, (SQUARE,)),
    "trees": (affine, affine_vjp, affine_jvp, AFFINE),
    "indices": (
        lambda x, i: x[i],
        lambda args, g: (np.bincount(args[1], g, len(args[0])), None),
        lambda args, t: t[0][args[1]],
        (X[0], np.array([2, 0, 2])),
    ),
    "many inputs": (
        lambda x: np.sum(np.sin(x)),
        sine_vjp,
        lambda args, t: np.sum(sine_jvp(args, t)),
        (MANY[::5],),
    ),
    "no entries": (np.sin, lambda args, g: g, lambda args, t: t[0], (np.ones((0, 3)),)),
}


@pytest.mark.parametrize("narrow", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("name", sorted(RIGHT))
def test_what_is_right_passes(name: str, narrow: bool) -> None:
    fn, vjp_fn, jvp_fn, args = RIGHT[name]
    if narrow:
        args = tg.tree.map(
            lambda x: x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x, args
        )
    check_vjp(fn, vjp_fn, args, jvp_fn=jvp_fn)
    check_jvp(fn, jvp_fn, args, vjp_fn=vjp_fn)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arguments_arrive_as_they_are_given(dtype: DTypeLike, order: str) -> None:
    seen = []

    def doubled(x: Array) -> Array:
        seen.append(x)
        return x + x

    x = X.astype(dtype, order=order)
    check_vjp(doubled, lambda args, g: (g + g,), (x,))
    kinds = {(a.dtype, a.flags.f_contiguous, type(a), a is x) for a in seen}
    assert kinds == {(np.dtype(dtype), order == "F", np.ndarray, False)}


# --- planted faults -----------------------------------------------------------------------


def one_entry(x: Array, at: int = 4321) -> Array:
    scale = np.ones(x.shape, x.dtype)
    scale.flat[at] = -1
    return scale


FAULTS: dict[str, Any] = {
    "a little": (
        np.sin,
        lambda a, g: (sine_vjp(a, g)[0] * np.float32(1.001),),
        lambda a, t: sine_jvp(a, t) * np.float32(1.001),
        (X,),
    ),
    "one entry in 10,000 of a sum": (
        lambda x: np.sum(np.sin(x)),
        lambda a, g: (sine_vjp(a, g)[0] * one_entry(a[0]),),
        lambda a, t: np.sum(sine_jvp(a, t) * one_entry(a[0])),
        (MANY,),
    ),
    "an axis": (softmax, partial(softmax_vjp, axis=0), partial(softmax_jvp, axis=0), (SQUARE,)),
    "an argument without": (
        np.multiply,
        lambda a, g: (g * a[1], None),
        lambda a, t: t[0] * a[1],
        (X, X + 1.0),
    ),
    "a NaN": (np.sin, lambda a, g: (g * np.nan,), lambda a, t: t[0] * np.inf, (X,)),
    "a shape": (np.sin, lambda a, g: (g.T,), lambda a, t: t[0].sum(0), (X,)),
}


@pytest.mark.parametrize("narrow", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_what_is_wrong_is_caught_in_either_mode(fault: str, narrow: bool) -> None:
    fn, vjp_fn, jvp_fn, args = FAULTS[fault]
    if narrow:
        args = tuple(x.astype(np.float32) for x in args)
    assert "vjp_fn" in caught(check_vjp, fn, vjp_fn, args)
    assert "jvp_fn" in caught(check_jvp, fn, jvp_fn, args)


def test_the_message_says_which_of_both_is_wrong_where_and_by_how_much() -> None:
    def vjp_fn(args: tuple[Array, ...], g: Array) -> tuple[Array]:
        return (g * np.cos(args[0]) * one_entry(g, 432),)

    x = MANY[::10]
    for check, by, wrong in (
        (check_vjp, "vjp_fn", vjp_fn),
        (check_jvp, "jvp_fn", lambda args, tangents: vjp_fn(args, tangents[0])[0]),
    ):
        first, got, numeric, *_, of = caught(check, np.sin, wrong, (x,)).split("\n")
        assert first == f"sin has a wrong derivative at arg0[432] ({by})"
        assert got.split()[0] == by
        slopes = [float(line.split()[1]) for line in (got, numeric)]
        np.testing.assert_allclose(slopes, [-np.cos(x[432]), np.cos(x[432])], 1e-6)
        assert of == "  of         output[432]"


Z = np.array([1 + 2j, -3 + 0.5j, 0.25 - 1j])
REALS = np.array([1.0, -2.0, 0.5])


def turned(z: Array, x: Array) -> dict[str, Array]:
    return {"y": np.conj(z) * z * x, "n": np.abs(z)}


def turned_vjp(args: tuple[Array, ...], g: dict[str, Array]) -> tuple[Array, Array]:
    (z, x), y, unit = args, g["y"], args[0] / np.abs(args[0])
    return 2 * np.real(y) * z * x + g["n"] * unit, np.real(y) * np.abs(z) ** 2


def turned_jvp(args: tuple[Array, ...], tangents: tuple[Array, ...]) -> dict[str, Array]:
    (z, x), (dz, dx) = args, tangents
    moved = np.real(np.conj(z) * dz)
    return {"y": 2 * moved * x + np.abs(z) ** 2 * dx + 0j, "n": moved / np.abs(z)}


def conjugated(vjp_fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda args, g: tg.tree.map(np.conj, vjp_fn(args, tg.tree.map(np.conj, g)))


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_complex_numbers_are_compared_in_either_convention(dtype: DTypeLike) -> None:
    square = lambda args, g: (g * np.conj(2 * args[0]),)  # noqa: E731
    z = Z.astype(dtype)
    check_vjp(np.square, square, (z,))
    check_vjp(np.square, conjugated(square), (z,), convention="conjugate")
    infinite = lambda args, g: (square(args, g)[0] + np.array([0, np.inf, 0]),)  # noqa: E731
    message = caught(check_vjp, np.square, infinite, (z,))
    assert "vjp_fn gives a cotangent of (inf" in message
    assert "at arg0[1].real = (-3+0.5j)" in message
    for wrong, convention in ((square, "conjugate"), (conjugated(square), "adjoint")):
        with pytest.raises(AssertionError, match=r"wrong derivative at arg0\[\d\].imag"):
            check_vjp(np.square, wrong, (z,), convention=convention)
    check_vjp(turned, turned_vjp, (z, REALS), jvp_fn=turned_jvp)
    check_jvp(turned, turned_jvp, (z, REALS), vjp_fn=turned_vjp)
    both = conjugated(turned_vjp)
    check_jvp(turned, turned_jvp, (z, REALS), vjp_fn=both, convention="conjugate")
    with pytest.raises(AssertionError, match="by jvp_fn is"):
        check_jvp(turned, turned_jvp, (z, REALS), vjp_fn=both)
    check_vjp(lambda z: z * z, lambda args, g: (g * (2 * args[0]).conjugate(),), (1 + 2j,))
    with pytest.raises(TypeError, match=r"arg1 that is an array of complex.*real numbers"):
        check_vjp(np.multiply, lambda a, g: (g * a[1], g * np.conj(a[0])), (Z, REALS))


def test_derivatives_of_different_functions_are_no_transposes() -> None:
    fn, vjp_fn, jvp_fn, args = RIGHT["elementwise"]
    message = caught(check_vjp, fn, vjp_fn, args, jvp_fn=lambda a, t: 2 * jvp_fn(a, t))
    assert message.startswith("sin: <u, J v> by jvp_fn is")
    message = caught(check_jvp, fn, jvp_fn, args, vjp_fn=lambda a, g: (2 * g,))
    assert "<J^T u, v> by vjp_fn is" in message


def test_what_differs_in_each_run_is_caught() -> None:
    numbers, lengths = itertools.count(), itertools.count(1)
    message = caught(check_vjp, lambda x: x + next(numbers), sine_vjp, (X,))
    assert message == (
        "<lambda> gives another value in the second run, of the same arguments: 0.5, then 1.5, "
        "at output[0, 0]"
    )

    def noisy(args: tuple[Array, ...], g: Array) -> tuple[Array]:
        return (g * np.cos(args[0]) * (1 + 1e-15 * next(numbers)),)

    assert "vjp_fn gives another value in the second run" in caught(check_vjp, np.sin, noisy, (X,))
    message = caught(check_vjp, lambda x: x[: next(lengths)], sine_vjp, (X,))
    assert "gives other shapes in the second run" in message


def test_what_changes_an_argument_is_caught_and_the_caller_s_stays() -> None:
    def overwriting(x: Array) -> Array:
        x *= 2
        return x

    def into_args(args: tuple[Array, ...], g: Array) -> tuple[Array]:
        return (g * np.cos(args[0], out=args[0]),)

    def into_weight(args: tuple[Array, ...], g: PyTree) -> Array:
        g = g if isinstance(g, tuple) else (g,)
        return np.multiply(g[0], np.cos(args[0]), out=g[0])

    def counting(x: Array, n: list[int]) -> Array:
        n[0] += 1
        return np.sin(x)

    x = X.copy()
    for check, fn, derivative, args, changed in (
        (check_vjp, overwriting, sine_vjp, (x,), "overwriting changes x"),
        (check_vjp, np.sin, into_args, (x,), "vjp_fn changes arg0"),
        (check_vjp, np.sin, into_weight, (x,), "vjp_fn changes the cotangent"),
        (check_jvp, np.sin, into_weight, (x,), "jvp_fn changes a tangent"),
        (check_vjp, counting, sine_vjp, (x, [0]), "counting changes n.0"),
    ):
        assert caught(check, fn, derivative, args) == f"{changed}, which it is given"
    assert (x == X).all()


def test_a_buffer_that_is_handed_out_again_is_no_fault() -> None:
    buffer, cotangents = np.empty(X.shape), np.empty(X.shape)

    def vjp_fn(args: tuple[Array, ...], g: Array) -> tuple[Array]:
        return (np.multiply(g, np.cos(args[0]), out=cotangents),)

    check_vjp(lambda x: np.sin(x, out=buffer), vjp_fn, (X,))
    runs = itertools.count()
    message = caught(check_vjp, lambda x: np.add(x, next(runs), out=buffer), vjp_fn, (X,))
    assert "gives another value in the second run" in message


def test_what_is_linear_near_the_weights_alone_is_caught() -> None:
    def clipped(g: Array) -> Array:
        return np.clip(g, -2.0, 2.0)

    message = caught(check_vjp, np.sin, lambda a, g: (clipped(g) * np.cos(a[0]),), (X,))
    assert "sin: vjp_fn of 2u - 3w is" in message
    assert "not 2 and -3 times theirs" in message
    message = caught(check_jvp, np.sin, lambda a, t: clipped(t[0]) * np.cos(a[0]), (X,))
    assert "sin: jvp_fn of 2v - 3w is" in message
    message = caught(check_vjp, np.sin, lambda a, g: (g * np.cos(a[0]) + 1e-300,), (X,))
    assert "sin: vjp_fn of zeros is 1e-300 at arg0[0, 0], not zero" in message


def test_a_function_that_reads_float32_is_checked_for_what_that_can_tell() -> None:
    def inside(x: Array) -> Array:
        return np.sin(x.astype(np.float32)).astype(np.float64)

    def scaled(by: float) -> Callable[..., Any]:
        def vjp_fn(args: tuple[Array, ...], g: Array) -> tuple[Array]:
            slope = np.cos(args[0].astype(np.float32)) * np.float32(by)
            return ((g.astype(np.float32) * slope).astype(np.float64),)

        return vjp_fn

    for x in (X, 100 + SQUARE):
        check_vjp(inside, scaled(1 + 1e-7), (x,))
        assert "vjp_fn" in caught(check_vjp, inside, scaled(1.01), (x,))
        # which float64 can tell
        assert "vjp_fn" in caught(check_vjp, np.sin, scaled(1 + 1e-7), (x,))


# --- what cannot be checked ---------------------------------------------------------------


def test_misuse_is_refused_and_says_what_to_do() -> None:
    refusals: list[Any] = []
    for check in (check_vjp, check_jvp):
        refusals += [
            (TypeError, partial(check, np.sin, None, (X,)), "a function is needed"),
            (ValueError, partial(check, lambda x: x * np.inf, sine_vjp, (X,)), "not finite at the"),
        ]
    for fn, vjp_fn, args, words in (
        (np.sin, lambda args, g: (g, g), (X,), "returned 2 cotangents; |each of the 1 arguments"),
        (np.multiply, lambda args, g: None, (X, X), "returned NoneType"),
        (np.sin, lambda args, g: ("none",), (X,), "cotangent for arg0 that is a str"),
    ):
        refusals.append((TypeError, partial(check_vjp, fn, vjp_fn, args), words))
    check_refusals(refusals)


# --- other libraries ----------------------------------------------------------------------


def test_complex_functions_of_pytorch_in_its_own_convention() -> None:
    torch = pytest.importorskip("torch")

    def spectrum(z: Any) -> Any:
        return torch.fft.fft(z) * z.conj()

    z = torch.tensor(Z, requires_grad=True)
    check_vjp(spectrum, lambda args, g: torch.autograd.grad(spectrum(*args), args, g), (z,))


def test_complex_functions_of_jax_in_their_own_convention() -> None:
    jax = pytest.importorskip("jax")

    def theirs(z: Any) -> Any:
        return jax.numpy.fft.fft(z) * z.conj()

    args = (jax.numpy.asarray(Z),)
    pull, push = (lambda a, g: jax.vjp(theirs, *a)[1](g)), (lambda a, v: jax.jvp(theirs, a, v)[1])
    check_vjp(theirs, pull, args, jvp_fn=push, convention="conjugate")
    with pytest.raises(AssertionError, match="wrong derivative"):
        check_vjp(theirs, pull, args)
