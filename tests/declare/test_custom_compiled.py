"""A custom op in a program runs in each call, whatever its name and its options are."""

from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from programs import assert_runs

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.types import Array

X = np.linspace(-1.0, 1.0, 4)


def test_custom_op_may_call_its_compiled_function():
    depth = []

    @tg.custom_op(vjps=(None,))
    def recurse_once(x):
        if len(depth) != 1:  # except for the call below
            return x * 1.0
        depth.append(1)
        return compiled(x * 0.5)

    def fn(x, recurse_once=lambda x: x):
        a = np.tanh(x * 3.0)
        return a + recurse_once(a) + np.tanh(a * 2.0)

    compiled = tg.compile(lambda x: fn(x, recurse_once))
    compiled(X)
    depth.append(1)
    np.testing.assert_allclose(compiled(X), fn(X, lambda a: fn(a * 0.5)), rtol=1e-12)


# --- names and options ----------------------------------------------------------------------


def make_scaling_op(name, factor):
    """Return an op that multiplies; the factor is in its function, not its name."""

    def forward(x):
        return x * factor

    return tg.custom_op(vjps=(lambda g, y, x: g * factor,), name=name)(forward)


NAMES = ["b0", "make", "run", "x", "array", "<lambda>", "my op", "class", "2", "f{0}"]


def test_custom_ops_of_equal_names_are_distinct():
    rules = (lambda g, y, a, b: g * 3.0, lambda g, y, a, b: g * b)
    ops = [
        (
            make_scaling_op(name, 3.0),
            make_scaling_op(name, 5.0),
            tg.custom_op(vjps=rules, name=name)(three_and_square),
        )
        for name in [*NAMES, *sorted(OPS)[:: 1 if THOROUGH else 5]]
    ]

    def fn(x, y):
        total = 0.0
        for first, second, binary in ops:
            z = first(first(x)) * second(x + 1.0) + binary(x, first(y)) * 2.0
            total = total + tg.tanh(z * 0.1) + binary(tg.sum(z), 0.0)
        return tg.sum(total)

    x = np.linspace(-1, 1, 4).reshape(2, 2)
    assert_runs(tg.value_and_grad(fn, argnums=(0, 1)), x, x + 2.0)


def three_and_square(a, b):
    return 3.0 * a + 0.5 * b * b


OPTIONS = [
    2.0, np.float32(2.0), np.float64("inf"), float("inf"), float("nan"), "text", "{0}, {out}", "'",
    b"x", np.cos, len, np.dtype("f4"), np.float32, (1, None, "a"), slice(1, None), ...,
    np.arange(3.0), np.arange(3000.0), {"a": np.arange(2)}, object(),
]  # fmt: skip
OPTION_NAMES = ["option", "dtype", "index", "shape", "out", "all", "axis", "keepdims", "x1"]


def test_custom_op_receives_any_option_by_any_name():
    seen = []

    def make_op(name):
        space = {"seen": seen}
        exec(f"def forward(x, *, {name}): seen.append({name}); return x * 1.0", space)
        return tg.custom_op(vjps=(lambda g, y, x, **options: g,))(space["forward"])

    for name, option in [*[("option", x) for x in OPTIONS], *[(x, 3) for x in OPTION_NAMES]]:
        custom = make_op(name)
        compiled = tg.compile(
            tg.value_and_grad(lambda x, f=custom, o={name: option}: tg.sum(f(tg.tanh(x), **o)))
        )
        compiled(np.ones(3))
        seen.clear()
        compiled(np.ones(3))
        assert [(type(x), repr(x)) for x in seen] == [(type(option), repr(option))], name


def test_custom_ops_with_options_of_equal_repr_are_distinct():
    first, second = np.zeros(3000), np.zeros(3000)
    second[1500] = 1.0
    assert repr(first) == repr(second)
    op = tg.custom_op(vjps=(lambda g, y, x, weights: g * weights.sum(),))(
        lambda x, *, weights: x * weights.sum()
    )
    assert_runs(lambda x: op(x, weights=first) + op(x, weights=second), np.ones(2))


class CountingOp:
    """An op that keeps the results of its function, one for each call."""

    def __init__(self, step: float = 0.0) -> None:
        self.results: list[Any] = []

        @tg.custom_op(vjps=(lambda g, y, x, by: g * by * x,))
        def half_square(x: Array, by: float = 1.0) -> Array:
            y = np.asarray(x * x * (by / 2) + step * len(self.results))
            self.results.append(y)
            return y

        self.op = half_square


FUNCTIONS: dict[str, Any] = {
    "an argument": lambda c: c,
    "a number": lambda c: lambda x: c(x[0], by=3.0),
    "a computed value": lambda c: lambda x: np.cos(c(np.sin(x) @ np.eye(2))),
    "with its gradient": lambda c: tg.value_and_grad(lambda x: np.sum(c(np.sin(x)))),
    "in a gradient of it": lambda c: lambda x: tg.jvp(c, (x,), (x,)),
    "compiled again": lambda c: tg.compile(lambda x: c(np.tanh(x))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_of_custom_op_is_called_once_per_compiled_call(name: str) -> None:
    counting = CountingOp()
    fn = FUNCTIONS[name](counting.op)
    step = tg.compile(fn)
    x = np.array([0.5, -1.5])
    for args in (x, x, 2 * x):
        before = len(counting.results)
        result = step(args)
        assert len(counting.results) == before + 1
        counting.results[-1][...] = 99.0  # its own array, which is no result
        for got, expected in zip(tg.tree.leaves(result), tg.tree.leaves(fn(args)), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_every_call_of_a_stateful_custom_op_is_made() -> None:
    counting = CountingOp(step=1.0)
    step = tg.compile(lambda x: (counting.op(x), counting.op(x, by=2.0), counting.op(x + 1.0)))
    x = np.zeros(3)
    for _ in range(3):
        before = len(counting.results)
        first, second, third = step(x)
        returned = [y.tolist() for y in counting.results[before:]]
        assert [y.tolist() for y in (first, second, third)] == returned
        assert len(returned) == 3


def test_result_computed_while_recording_is_not_reused_for_other_operands() -> None:
    counting = CountingOp()
    step = tg.compile(lambda x: counting.op(x) + 1.0)
    step.program(np.ones(2))
    np.testing.assert_array_equal(step(np.full(2, 2.0)), [3.0, 3.0])
    np.testing.assert_array_equal(step(-np.zeros(2)), [1.0, 1.0])
    # a returned result does not change with the kept array
    first = step(np.ones(2))
    np.testing.assert_array_equal(first, [1.5, 1.5])
