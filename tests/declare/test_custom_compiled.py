"""Ops of the user's own in compiled programs."""

import numpy as np
import pytest
from programs import assert_runs, assert_same

import tapegrad as tg
from tapegrad.declare import OPS

X = np.linspace(-1.0, 1.0, 4)


def test_a_custom_op_may_call_the_compiled_function_it_is_in():
    depth = []

    @tg.custom_op(vjps=(lambda g, y, x: g,))
    def again(x):
        if not depth and x.flags.owndata is not None:
            depth.append(1)
            try:
                if ready:
                    return compiled(x * 0.5)
            finally:
                depth.pop()
        return x * 1.0

    def fn(x):
        a = tg.tanh(x * 3.0)
        b = again(a)
        return a + b + tg.tanh(a * 2.0)

    ready = False
    compiled = tg.compile(fn)
    compiled(X)
    ready = True
    got = compiled(X)
    a = np.tanh(X * 3.0)
    inner = np.tanh(a * 0.5 * 3.0)
    wanted = a + (inner + inner + np.tanh(inner * 2.0)) + np.tanh(a * 2.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_a_custom_op_runs_anew_in_each_call_and_its_arrays_are_its_own():
    seen = []

    @tg.custom_op(vjps=(lambda g, y, x: g * 2.0,))
    def doubled_and_kept(x):
        y = x * 2.0
        seen.append(y)
        return y

    compiled = tg.compile(
        tg.value_and_grad(lambda x: tg.sum(tg.tanh(doubled_and_kept(tg.tanh(x)))))
    )
    first = compiled(X)
    n = len(seen)
    second = compiled(X)
    assert len(seen) == n + 1
    seen[-1][:] = 99.0
    assert_same(first, second)
    assert_same(compiled(X), second)


def test_a_custom_op_cannot_write_to_an_argument_or_a_buffer():
    @tg.custom_op(vjps=(lambda g, y, x: g,))
    def writes(x):
        x[0] = 5.0
        return x

    x = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        tg.compile(lambda x: writes(tg.tanh(x)))(x)
    with pytest.raises(ValueError, match="read-only"):
        tg.compile(lambda x: writes(x))(x)
    np.testing.assert_array_equal(x, X)


def test_a_custom_op_that_returns_its_operand_is_no_view_of_a_buffer():
    same = tg.custom_op(vjps=(lambda g, y, x: g,), name="same")(lambda x: x)

    def fn(x):
        y = same(tg.tanh(x))
        z = tg.tanh(tg.tanh(x * 2.0) * 3.0)
        return y * 1.0 + z, y, z

    compiled = tg.compile(fn)
    for _ in range(2):
        assert_same(compiled(X), fn(X))


def test_an_error_in_a_custom_op_leaves_the_next_call_right():
    fail = []

    @tg.custom_op(vjps=(lambda g, y, x: g,))
    def sometimes(x):
        if fail:
            raise ArithmeticError("as asked")
        return x * 1.0

    compiled = tg.compile(lambda x: tg.tanh(sometimes(tg.tanh(x)) * 2.0))
    wanted = compiled(X)
    fail.append(1)
    with pytest.raises(ArithmeticError, match="as asked"):
        compiled(X)
    fail.clear()
    assert_same(compiled(X), wanted)


# --- names and options ----------------------------------------------------------------------


def scale(name, factor):
    """An op that multiplies; the factor is in its function, not its name."""

    def forward(x):
        return x * factor

    return tg.custom_op(vjps=(lambda g, y, x: g * factor,), name=name)(forward)


@pytest.mark.parametrize(
    "name",
    ["tanh", "add", "b0", "make", "run", "x", "array", "<lambda>", "my op", "class", "2", "f{0}"],
)
def test_any_name_of_a_custom_op_will_do(name):
    op = scale(name, 3.0)
    x = np.linspace(-1, 1, 4)
    assert_runs(tg.value_and_grad(lambda x: tg.sum(tg.tanh(op(x)) + op(tg.tanh(x)) + op(x))), x)


def test_custom_ops_of_one_name_are_told_apart():
    ops = [scale("f", factor) for factor in (2.0, 3.0, 5.0, 7.0)]
    x = np.linspace(1, 2, 4)
    assert_runs(tg.value_and_grad(lambda x: tg.sum(sum(op(x) * op(x + 1.0) for op in ops))), x)


@pytest.mark.parametrize("name", sorted(OPS))
def test_a_custom_op_is_not_taken_for_the_packages_op_of_that_name(name):
    rules = (lambda g, y, a, b: g * 3.0, lambda g, y, a, b: g * b)
    unary = scale(name, 3.0)
    binary = tg.custom_op(vjps=rules, name=name)(lambda a, b: 3.0 * a + 0.5 * b * b)

    def fn(x, y):
        z = unary(unary(x)) + binary(x, unary(y)) * 2.0
        return tg.sum(tg.tanh(z * 0.1)) + binary(tg.sum(z), 0.0)

    x = np.linspace(-1, 1, 4)
    assert_runs(tg.value_and_grad(fn, argnums=(0, 1)), x.reshape(2, 2), x.reshape(2, 2) + 2.0)


def test_a_custom_op_of_a_lambda_runs():
    double = tg.custom_op(vjps=(lambda g, y, x: g * 2,))(lambda x: 2 * x)
    assert_runs(tg.value_and_grad(lambda x: tg.sum(double(x))), np.ones(3))


OPTIONS = [
    2.0, np.float32(2.0), np.float64("inf"), float("inf"), float("nan"), "text", "{0}, {out}", "'",
    b"x", np.cos, len, np.dtype("f4"), np.float32, (1, None, "a"), slice(1, None), ...,
    np.arange(3.0), np.arange(3000.0), {"a": np.arange(2)}, object(),
]  # fmt: skip


@pytest.mark.parametrize(
    "option", OPTIONS, ids=[f"{type(x).__name__}-{i}" for i, x in enumerate(OPTIONS)]
)
def test_any_option_of_a_custom_op_reaches_it(option):
    seen = []

    @tg.custom_op(vjps=(lambda g, y, x, option: g,))
    def op(x, option):
        seen.append(option)
        return x * 1.0

    compiled = tg.compile(tg.value_and_grad(lambda x: tg.sum(op(x, option=option))))
    compiled(np.ones(3))
    seen.clear()
    compiled(np.ones(3))
    assert len(seen) == 1
    assert isinstance(seen[0], type(option))
    assert repr(seen[0]) == repr(option)


@pytest.mark.parametrize(
    "name", ["dtype", "index", "shape", "out", "all", "axis", "keepdims", "x1"]
)
def test_an_option_of_a_custom_op_may_have_any_name(name):
    namespace = {}
    exec(f"def forward(x, {name}): return x * {name}", namespace)
    op = tg.custom_op(vjps=(lambda g, y, x, **options: g * options[name],))(namespace["forward"])
    assert_runs(tg.value_and_grad(lambda x: tg.sum(op(tg.tanh(x), **{name: 3}))), np.ones(3))


def test_custom_ops_with_large_options_that_look_alike_are_told_apart():
    first = np.zeros(3000)
    second = first.copy()
    second[1500] = 1.0

    @tg.custom_op(vjps=(lambda g, y, x, weights: g * weights.sum(),))
    def op(x, weights):
        return x * weights.sum()

    assert repr(first) == repr(second)
    assert_runs(
        tg.value_and_grad(lambda x: tg.sum(op(x, weights=first) + op(x, weights=second))),
        np.ones(2),
    )
