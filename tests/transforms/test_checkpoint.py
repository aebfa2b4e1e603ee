"""A checkpointed function has the values and derivatives of the function, in less memory."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import alike
import numpy as np
import pytest
from counting import peak_of
from hypothesis import given
from mappings import FLOATS, VECTORS, Pair
from tapes import check_tape

import tapegrad as tg
from tapegrad.types import Array

close = functools.partial(alike.same, rtol=1e-9)


def busy(
    p: Pair, x: dict[str, Array | float], *, scale: Array | float = 1.0, mode: str = "sin"
) -> dict[str, Any]:
    """A function of trees that returns a tree: several arrays, numbers, integers, text."""
    wave = {"sin": tg.sin, "cos": tg.cos}[mode](p.first * x["x"]) * scale
    outer = tg.tanh(wave[:, None] * p.second)
    return {
        "outer": outer,
        "pair": Pair(tg.sum(wave * wave), wave),
        "places": np.argmax(outer, axis=0),
        "count": 3,
        "text": mode,
        "same": x["x"],
        "constant": np.ones(2),
        "none": None,
    }


def floating(tree: dict[str, Any]) -> Array:
    """The sum of a tree's floating leaves, each weighed in a way of its own."""
    leaves = [x for x in tg.tree.leaves(tree) if getattr(x, "dtype", np.dtype(int)).kind == "f"]
    return sum(tg.sum(tg.sin(x + i)) for i, x in enumerate(leaves))


def total(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of three vectors and a number made of one like `busy`."""

    def loss(a: Array, b: Array, x: Array, scale: Array | float) -> Array:
        output = fn(Pair(a, b), {"x": x, "n": 2}, scale=scale, mode="cos")
        assert output["text"] == "cos"
        assert output["count"] == 3
        return floating(output) * x[1]

    return loss


plain, kept = total(busy), total(tg.checkpoint(busy))
ALL = (0, 1, 2, 3)

# --- checkpoint ---------------------------------------------------------------------------


@given(VECTORS, VECTORS, VECTORS, FLOATS)
def test_a_checkpointed_function_has_the_values_and_derivatives_of_the_function(a, b, x, s):
    args = (a, b, x, s)
    close(tg.value_and_grad(kept, ALL)(*args), tg.value_and_grad(plain, ALL)(*args))
    close(tg.jvp(kept, args, args), tg.jvp(plain, args, args))
    close(tg.hvp(kept, args, args), tg.hvp(plain, args, args))

    def third(fn):
        return tg.grad(lambda *t: tg.sum(tg.hvp(fn, t, args)[0] * t[1]), ALL)

    def of_rows(fn):
        return tg.grad(lambda t: tg.sum(tg.jacobian(lambda a: a * fn(a, b, x, s))(t) ** 2))(a)

    close(third(kept)(*args), third(plain)(*args))
    close(of_rows(kept), of_rows(plain))
    close(tg.compile(tg.grad(kept, ALL))(*args), tg.grad(plain, ALL)(*args))


def test_a_checkpointed_call_returns_the_functions_tree():
    args = (Pair(np.ones(3), np.arange(3.0)), {"x": np.array([1.0, 2.0, 3.0])})
    want = busy(*args)
    for checkpointed in (busy, tg.checkpoint(busy)):
        output, tape = tg.record(checkpointed)(*args)
        check_tape(tape)
        assert tg.tree.flatten(output)[1] == tg.tree.flatten(want)[1]
        assert type(output["places"]) is tg.Tensor
        assert type(output["constant"]) is np.ndarray
        for got, expected in zip(tg.tree.leaves(output), tg.tree.leaves(want), strict=True):
            got = got.value if type(got) is tg.Tensor else got
            np.testing.assert_array_equal(got, expected)
            assert getattr(got, "dtype", None) == getattr(expected, "dtype", None)


def chain(segment: Callable[..., Any], n: int) -> Callable[..., Any]:
    def run(x: Array) -> Array:
        for _ in range(n):
            x = segment(x)
        return tg.sum(x)

    return run


def long_segment(steps: int) -> Callable[..., Any]:
    def segment(x: Array) -> Array:
        for _ in range(steps):
            x = tg.sin(x)
        return x

    return segment


@pytest.mark.thorough
def test_a_chain_takes_memory_for_one_segment_and_the_boundaries():
    n, steps = 12, 12
    x = np.linspace(0, 1, 10_000)
    segment = long_segment(steps)
    boundaries_and_segment = (n + steps) * x.nbytes
    lean, plain = chain(tg.checkpoint(segment), n), chain(segment, n)
    for derivative in (tg.grad, lambda f: lambda x: tg.jvp(f, (x,), (x,))):
        few, many = (peak_of(partial(derivative(f), x)) for f in (lean, plain))
        assert few < boundaries_and_segment + steps * x.nbytes
        assert n * steps * x.nbytes < many < (n + 1) * steps * x.nbytes
    assert peak_of(lambda: tg.hvp(lean, (x,), (x,))) < 8 * boundaries_and_segment


@pytest.mark.parametrize("order", [0, 1, 2])
def test_what_a_checkpointed_function_computes_is_not_on_the_tape(order):
    def length(steps):
        fn = chain(tg.checkpoint(long_segment(steps)), 3)
        for _ in range(order):
            fn = tg.grad(fn)
        return len(tg.record(fn)(0.3)[1])

    assert length(40) == length(1)


def test_a_result_may_be_an_argument_or_stand_twice():
    def several(x, y):
        z = x * 3
        return x, y, z, z

    for fn in (several, tg.checkpoint(several)):
        output, pullback = tg.vjp(lambda x, y, fn=fn: fn(x, y), 2.0, 5.0)
        assert output == (2.0, 5.0, 6.0, 6.0)
        assert pullback((1.0, 10.0, 100.0, 1000.0)) == (3301.0, 10.0)
        assert tg.jvp(fn, (2.0, 5.0), (1.0, 7.0))[1] == (1.0, 7.0, 3.0, 3.0)


def test_python_numbers_stay_weak_and_dtypes_what_they_are():
    x = np.ones(3, np.float32)

    @tg.checkpoint
    def fn(s, x):
        return s * 2, x * s, x.astype(np.float64)

    output, _ = tg.record(lambda s, x: tuple(y * x for y in fn(s, x)))(0.5, x)
    assert [y.dtype for y in output] == [np.float32, np.float32, np.float64]
    gs, gx = tg.grad(lambda s, x: sum(map(tg.sum, fn(s, x))), (0, 1))(0.5, x)
    assert (gs.dtype, gx.dtype) == (np.float64, np.float32)
    assert gs == 5.0
    np.testing.assert_array_equal(gx, [1.5, 1.5, 1.5])
    alone, _ = tg.record(lambda s: tg.checkpoint(lambda s: s * 2)(s) * x)(0.5)
    assert alone.dtype == np.float32


def test_a_function_that_is_not_pure_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"noisy is checkpointed.*random"):
        tg.grad(tg.checkpoint(noisy))(1.0, rng)
    grows: list[float] = []

    def growing(x):
        grows.append(1.0)
        return [x * 2 for _ in grows]

    with pytest.raises(ValueError, match=r"growing is checkpointed.*\[\*, \*\]"):
        tg.grad(lambda x: tg.checkpoint(growing)(x)[0])(1.0)


def noisy(x: Array, rng: Any) -> Array:
    """Not the same twice."""
    return x * rng.normal()
