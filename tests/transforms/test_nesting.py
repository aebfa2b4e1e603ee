"""Transforms nest in any order and to any depth, and keep their perturbations apart."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from mappings import FLOATS, close

import tapegrad as tg
from tapegrad.core.writing import CURRENT
from tapegrad.types import Array


def test_perturbations_are_not_confused():
    # d/dx (x * d/dy (x + y)) is 1; who mixes up the two derivatives gets 2
    assert tg.grad(lambda x: x * tg.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert tg.grad(lambda x: x * tg.jvp(lambda y: x + y, (1.0,), (1.0,))[1])(1.0) == 1.0
    forward = tg.jvp(lambda x: x * tg.grad(lambda y: x + y)(1.0), (1.0,), (1.0,))
    assert forward == (1.0, 1.0)
    both = tg.jvp(lambda x: x * tg.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))
    assert both == (1.0, 1.0)


def test_one_function_differentiates_itself():
    # the mark is the call's, never the function's
    def fn(x, depth):
        return x * x if depth == 0 else x * tg.grad(fn)(x, depth - 1)

    # x^2 -> x * 2x = 2 x^2 -> x * 4x = 4 x^2, derivative 8 x
    assert tg.grad(fn)(3.0, 2) == 24.0


def test_a_pullback_may_leave_its_recording():
    def fn(x):
        y, pullback = tg.vjp(lambda a: a * a * x, x)
        kept.append(pullback)
        return y

    kept: list[Any] = []
    tg.grad(fn)(3.0)
    (g,) = kept[0](1.0)
    assert type(g) is np.ndarray
    assert g == 18.0


def test_a_pullback_of_an_outside_recording_is_differentiable_in_its_cotangent():
    _, pullback = tg.vjp(lambda a: a * a, 3.0)
    assert tg.grad(lambda c: pullback(c * c)[0])(2.0) == 24.0


def scanned(f: Callable[..., Any], checkpoint: Any) -> Callable[..., Any]:
    """A function as a sum of parts, in steps that capture its argument."""
    parts = np.array([0.5, -0.25, 1.0, 0.25, -0.5])
    return lambda x: tg.scan(lambda c, w: (c + w * f(x), c), 0.0, parts, checkpoint=checkpoint)[0]


def counted(f: Callable[..., Any], checkpoint: Any) -> Callable[..., Any]:
    """A function of the carry in the third of five steps."""

    def body(i: Array, c: Array | float) -> Array | float:
        return tg.cond(i == 2, f, lambda c: c * 1.0, c)

    return lambda x: tg.fori_loop(0, 5, body, x, checkpoint)


def ended(f: Callable[..., Any], checkpoint: Any) -> Callable[..., Any]:
    """A function as a sum of parts, which a value ends."""

    def fn(x: Array | float) -> Array:
        def body(carry: tuple[Array | float, ...]) -> tuple[Array | float, ...]:
            return carry[0] + 0.25, carry[1] + 0.25 * f(x)

        return tg.while_loop(lambda carry: carry[0] < 1 + 0 * x, body, (0.0, 0.0), checkpoint)[1]

    return fn


LOOPS: dict[str, tuple[int, Any]] = {
    f"{loop.__name__} {checkpoint}": (0, partial(loop, checkpoint=checkpoint))
    for loop in (scanned, counted, ended)
    for checkpoint in (None, 2, "binomial")
}

# what makes a function of a number of one: the derivatives it takes, and how
NESTED: dict[str, tuple[int, Any]] = {
    "grad": (1, tg.grad),
    "value_and_grad": (1, lambda f: lambda x: tg.value_and_grad(f)(x)[1]),
    "vjp": (1, lambda f: lambda x: tg.vjp(f, x)[1](1.0)[0]),
    "jvp": (1, lambda f: lambda x: tg.jvp(f, (x,), (1.0,))[1]),
    "jacobian": (1, tg.jacobian),
    "hessian": (2, tg.hessian),
    "hessian_diag": (2, tg.hessian_diag),
    "hvp": (2, lambda f: lambda x: tg.hvp(f, (x,), (1.0,))),
    "compile": (0, tg.compile),
    "checkpoint": (0, tg.checkpoint),
    "record": (0, lambda f: lambda x: read(tg.record(f)(x)[0])),
    "aux": (1, lambda f: lambda x: tg.grad(lambda x: (f(x), x), has_aux=True)(x)[0]),
    "captured": (1, lambda f: lambda x: tg.grad(lambda y: f(x + y))(0.0)),
    "captured and checkpointed": (
        1,
        lambda f: lambda x: tg.grad(lambda y: tg.checkpoint(lambda z: f(x + z))(y))(0.0),
    ),
    "checked": (1, lambda f: tg.grad(f, check_finite=True)),
    "cond": (0, lambda f: lambda x: tg.cond(x < 9.0, f, lambda x: x, x)),
    "vmap": (0, lambda f: lambda x: tg.vmap(f)(np.stack([x, 2.0 * x]))[0]),
    **LOOPS,
}


def read(x: Array) -> Array:
    """A record's value where no recording goes on, which could still use it."""
    return x if CURRENT.get() is not None or type(x) is not tg.Tensor else x.value


@tg.custom_vjp(lambda g, y, x: (g * wave(x + np.pi / 2),))
def wave(x: Array | float) -> Array:
    return np.sin(x)


def polynomial(x: Array | float) -> Array | float:
    return ((0.5 * x - 1) * x + 2) * x * x + x


def damped(x: Array) -> Array:
    return tg.exp(-0.5 * x) * 2


# functions, and their derivatives of any order
CLOSED: dict[str, tuple[Any, Any]] = {
    "sin": (lambda x: tg.sin(2 * x + 1), lambda n, x: 2**n * np.sin(2 * x + 1 + n * np.pi / 2)),
    "wave": (wave, lambda n, x: np.sin(x + n * np.pi / 2)),
    "polynomial": (
        polynomial,
        lambda n, x: np.polynomial.Polynomial([0, 1, 2, -1, 0.5]).deriv(n)(x),
    ),
    "damped": (damped, lambda n, x: 2 * (-0.5) ** n * np.exp(-0.5 * x)),
}


@depth("nested")
@given(
    st.sampled_from(sorted(CLOSED)),
    st.lists(st.sampled_from(sorted(NESTED)), min_size=1, max_size=4),
    FLOATS,
)
def test_transforms_nest_in_any_order_four_levels_deep(function, names, x):
    fn, derivative = CLOSED[function]
    order = 0
    for name in names:
        taken, transform = NESTED[name]
        # values are not known while compiling, batching and in steps
        if name == "checked" and {"compile", "vmap", "cond", *LOOPS} & {*names}:
            transform = tg.grad
        order, fn = order + taken, transform(fn)
    close(fn(x), derivative(order, x), 1e-8)
