"""vmap gives what a loop over the examples gives: for each op, transform, draw and axis."""

import functools
import re
from collections.abc import Callable
from typing import Any

import alike
import numpy as np
import pytest
from depth import THOROUGH, depth, examples
from hypothesis import given
from hypothesis import strategies as st
from op_calls import sample_calls
from random_programs import programs

import tapegrad as tg
from tapegrad.core import forward
from tapegrad.declare import FUNCTIONS, OPS, declaration
from tapegrad.testing import check_batched, check_compiled, check_grads
from tapegrad.transforms import replay
from tapegrad.types import Array, PyTree

same = functools.partial(alike.same, rtol=1e-12)

X = np.array([[1.0, -2.0], [0.5, 3.0], [-1.5, 0.25]])
V = np.array([0.5, -1.0])


def test_every_op_but_one_has_a_batching_rule():
    # the number of rows of argwhere depends on the values
    assert [name for name, op in OPS.items() if op.batch is None] == ["argwhere"]


def has_a_loop(call):
    """Whether examples are computed one by one: they have no axis, or each has a mask."""
    arrays = [x for x in tg.tree.leaves(call.args) if isinstance(x, np.ndarray)]
    return any(x.ndim == 0 or x.dtype == bool for x in arrays)


@pytest.mark.parametrize("name", sorted(set(OPS) - {"argwhere"}))
def test_every_op_of_a_batch_is_what_a_loop_over_the_examples_gives(name, monkeypatch):
    looped = []

    def apply(op, operands, options):
        if op in (replay.EACH, replay.EACH_DRAWN):
            looped.append(options["of"].name)
        return forward.apply(op, operands, options)

    monkeypatch.setattr(replay, "apply", apply)
    for call in sample_calls(name, examples("op")):
        if any(isinstance(x, np.ndarray) for x in tg.tree.leaves(call.args)):
            with np.errstate(all="ignore"):
                check_batched(lambda *args, call=call: OPS[name](*args, **call.kwargs), call.args)
            assert has_a_loop(call) or not looped, call
            looped.clear()


# NumPy's functions that take an axis of a number, which has none
OF_NUMBERS = sorted(
    name
    for name, op in (OPS | FUNCTIONS).items()
    if "axis" in declaration(op).signature.names and hasattr(np, name)
)


@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("axis", [0, -1])
def test_an_axis_that_numpy_takes_of_a_number_is_taken_in_a_batch_and_by_rules(name, axis):
    op, xs = (OPS | FUNCTIONS)[name], np.array([0.5, -2.0])
    ways = [
        {},
        {"keepdims": True},
        {"where": np.array(True)},
        {"where": xs[0] > 0, "initial": 0.25},
    ]
    for options in ways:
        options = {"axis": axis} | options
        try:
            want = np.stack([getattr(np, name)(x, **options) for x in xs])
        except (TypeError, ValueError, IndexError):
            continue  # what NumPy refuses, or takes several arrays

        def fn(x: Array, options: dict[str, Array | float] = options) -> Array:
            return op(x, **options)

        def as_array(x: Array, options: dict[str, Array | float] = options) -> Array:
            return op(x[None], **options)

        same(tg.vmap(fn)(xs), want)
        if THOROUGH:
            same(tg.compile(tg.vmap(fn))(xs), want)
        if want.dtype.kind == "f":
            # as an array's along its only axis
            slopes = [tg.grad(lambda x, f=f: tg.sum(f(x)))(xs[0]) for f in (fn, as_array)]
            same(*slopes)


def loss(w: dict[str, Array], x: Array, y: Array) -> Array:
    return tg.sum((tg.tanh(x * w["a"]) @ w["b"] - y) ** 2)


W = {"a": np.array([0.5, 2.0]), "b": np.array([[1.0, -1.0, 0.5], [2.0, 0.25, -0.5]])}
Y = np.array([1.0, 0.0, -1.0])


def by_loop(fn: Callable[..., Any], *batches: Any) -> PyTree:
    """What `vmap` is to give, for functions of arrays batched along their first axes."""
    rows = [fn(*row) for row in zip(*batches, strict=True)]
    return tg.tree.map(lambda *parts: np.stack(parts), *rows)


# --- nesting -----------------------------------------------------------------------


def product_of_gauss_and_newton(fn: Callable[..., Any], x: Array, v: Array) -> Array:
    _, push = tg.linearize(fn, x)
    return push.transpose(push(v))[0]


TRANSFORMED = {
    "grad": lambda x, y: tg.grad(loss)(W, x, y),
    "value_and_grad": lambda x, y: tg.value_and_grad(loss, argnums=(0, 1))(W, x, y),
    "vjp": lambda x, y: tg.vjp(lambda x: tg.tanh(x) * y, x)[1](x),
    "jvp": lambda x, y: tg.jvp(lambda x: tg.softmax(x * y), (x,), (x + 1.0,)),
    "linearize, transposed": lambda x, y: product_of_gauss_and_newton(
        lambda x: tg.softmax(x * y), x, x + 1.0
    ),
    "jacobian": lambda x, y: tg.jacobian(lambda x: tg.cumprod(x * y))(x),
    "hessian": lambda x, y: tg.hessian(lambda x: loss(W, x, y))(x),
    "hvp": lambda x, y: tg.hvp(lambda x: loss(W, x, y), (x,), (x,)),
    "compile": lambda x, y: tg.compile(tg.grad(loss))(W, x, y),
    "checkpoint": lambda x, y: tg.grad(tg.checkpoint(lambda x: loss(W, x, y)))(x),
    "vmap": lambda x, y: tg.vmap(lambda a, b: tg.sin(a * b) * y, in_axes=(0, None))(x, x),
    "implicit_root": lambda x, y: tg.grad(
        lambda x: tg.sum(tg.implicit_root(lambda r, x: r - x**3, lambda x: x**3)(x * y))
    )(x),
}


@pytest.mark.parametrize("name", sorted(TRANSFORMED))
def test_a_transform_inside_is_its_loop_compiled_and_differentiated_too(name):
    def batched(x: Array) -> PyTree:
        return tg.vmap(TRANSFORMED[name])(x, Y)

    same(batched(X), by_loop(TRANSFORMED[name], X, Y))
    same(tg.compile(batched)(X), batched(X))
    check_grads(batched, (X,), order=1)


@depth("batch")
@given(programs(max_steps=8))
def test_programs_of_many_ops_are_what_they_are_in_a_loop(program):
    with np.errstate(all="ignore"):
        check_batched(program.fn, program.arguments[0])


def test_what_is_around_the_function_has_its_gradient():
    def fn(w: Array) -> Array:
        return tg.sum(tg.vmap(lambda x: tg.tanh(x @ w) * tg.grad(lambda v: v @ w)(x)[0])(X))

    check_grads(fn, (V,))
    check_compiled(fn, (V,))


def test_rules_of_a_users_own_are_called_for_each_example():
    @tg.custom_op(vjps=(lambda g, y, x: g * 3 * x**2,))
    def cube(x):
        assert np.ndim(x) == 0
        return x**3

    @tg.custom_vjp(lambda g, y, x: (g * 2 * x,))
    def squared(x):
        assert np.ndim(x) == 0
        return x * x

    def fn(x: Array) -> Array:
        return cube(x) * squared(x)

    same(tg.vmap(fn)(Y), Y**5)
    _, tape = tg.record(lambda x: tg.vmap(cube)(x))(Y)
    assert [record.op.name for record in tape] == ["parameter", "each"]
    with pytest.raises(TypeError, match="for each example of a batch; no file holds that"):
        tg.compile(tg.vmap(cube)).program(Y).save("never.npz")
    same(tg.vmap(tg.grad(fn))(Y), 5 * Y**4)
    check_grads(tg.vmap(fn), (Y,))


# --- keys -----------------------------------------------------------------------------


DRAWS = {
    "uniform": lambda key: tg.random.uniform(key, (2, 3)),
    "normal": lambda key: tg.random.normal(key),
    "bernoulli": lambda key: tg.random.bernoulli(key, 0.5, (5,)),
    "integers": lambda key: tg.random.integers(key, 0, 9, (4,)),
    "permutation": lambda key: tg.random.permutation(key, np.arange(4)),
    "choice": lambda key: tg.random.choice(key, X[:, 0], (2,)),
    "split": lambda key: tg.random.normal(tg.random.split(key)[1]),
    "fold_in": lambda key: tg.random.normal(tg.random.fold_in(key, 3)),
}


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_a_batch_of_keys_draws_what_each_key_draws(name):
    keys = tg.random.split(0, 3)
    batched = tg.vmap(DRAWS[name])
    want = by_loop(DRAWS[name], keys)
    np.testing.assert_array_equal(batched(keys), want)
    np.testing.assert_array_equal(tg.compile(batched)(keys), want)


# --- axes -----------------------------------------------------------------------------


@depth("batch")
@given(st.integers(-3, 2), st.integers(-3, 2))
def test_the_examples_lie_along_the_axes_that_are_named(i, o):
    x = np.arange(24.0).reshape(2, 3, 4)
    got = tg.vmap(lambda x: np.transpose(x) * 2.0, in_axes=i, out_axes=o)(x)
    rows = [np.transpose(row) * 2.0 for row in np.moveaxis(x, i, 0)]
    np.testing.assert_array_equal(got, np.stack(rows, axis=o))


def test_axes_are_trees_that_may_end_before_the_argument():
    def fn(p: dict[str, Any], x: list[Array], *, scale: Array) -> dict[str, Array | float]:
        return {"y": p["w"] * x[0] + p["b"][1] * scale, "b": p["b"][1]}

    args = ({"w": X, "b": (V, 3.0)}, [X.T, V])
    batched = tg.vmap(fn, in_axes=({"w": 1, "b": None}, [0, None]), out_axes={"y": 1, "b": None})
    got = batched(*args, scale=V)
    rows = [fn({"w": X[:, i], "b": (V, 3.0)}, [X.T[i], V], scale=V[i])["y"] for i in range(2)]
    same(got["y"], np.stack(rows, axis=1))
    assert float(got["b"]) == 3.0


def test_a_result_that_is_the_same_for_all_is_repeated():
    got = tg.vmap(lambda x: (1, V, "name", x))(Y)
    assert got[0].tolist() == [1, 1, 1]
    assert got[1].tolist() == [V.tolist()] * 3
    assert got[2] == "name"
    assert not got[1].flags.writeable


@pytest.mark.parametrize("made", ["a", b"a", print, range(3), ("a", "b"), {"a": "b"}])
def test_a_result_with_nothing_to_batch_is_refused(made):
    with pytest.raises(TypeError, match="is an array or a number"):
        tg.vmap(lambda x: made)(Y)
    assert tg.vmap(lambda x: (x, made))(Y)[1] == made


CUBES = {
    "custom_vjp": tg.custom_vjp(lambda g, y, x: (g * 3 * x**2,))(lambda x: x**3),
    "implicit_root": tg.implicit_root(lambda y, x: y - x**3, lambda x: x**3),
    "scan": lambda x: tg.scan(lambda c, _: (c * x, None), np.ones(2), length=3)[0],
    "fori_loop": lambda x: tg.fori_loop(0, 3, lambda i, c: c * x, np.ones(2)),
    "while_loop": lambda x: tg.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, np.ones(2)))[1],
    "cond": lambda x: tg.cond(x[0] > 0, lambda x: x**3, lambda x: x, x),
    "checkpoint": tg.checkpoint(lambda x: x**3),
}  # fmt: skip


@pytest.mark.parametrize("name", CUBES)
def test_what_all_examples_share_is_computed_and_no_placeholder(name):
    def f(x: Array) -> Array:
        return tg.sum(CUBES[name](x)) ** 2

    x = np.array([1.5, -2.0])
    value, slope = tg.vmap(lambda t: tg.jvp(f, (x,), (t,)))(np.eye(2))
    total = np.sum(x**3)
    np.testing.assert_allclose(value, [total**2] * 2)
    np.testing.assert_allclose(slope, 6 * total * x**2)


@given(st.sampled_from([(0,), (0, 2), (2, 0)]))
def test_a_batch_of_no_examples_has_the_shapes_of_one(shape):
    got = tg.vmap(
        lambda x: (np.sum(x), np.reshape(x, -1), tg.convolve(np.ones(2), np.ones(2)) * np.sum(x))
    )(np.zeros(shape))
    n = shape[0]
    assert [x.shape for x in got] == [(n,), (n, int(np.prod(shape[1:]))), (n, 3)]


WRONG = {
    "no such axis": (lambda: tg.vmap(loss, in_axes=(None, 2, 0))(W, X, Y), ValueError, r"vmap of loss: x has shape \(3, 2\), so there is no axis 2"),
    "a number": (lambda: tg.vmap(loss)({**W, "b": 1.0}, X, Y), ValueError, r"w.b is float 1.0, which has no axis 0; .*None in in_axes"),
    "sizes": (lambda: tg.vmap(loss, in_axes=(None, 0, 0))(W, X, V), ValueError, r"differ in size: 3 along axis 0 of x, of shape \(3, 2\); 2 along axis 0 of y"),
    "how many": (lambda: tg.vmap(loss, in_axes=(0, 0))(W, X, Y), ValueError, "in_axes has 2 entries, but loss was called with 3"),
    "no batch": (lambda: tg.vmap(loss, in_axes=None)(W, X, Y), ValueError, "vmap of loss has no batch"),
    "another tree": (lambda: tg.vmap(loss, in_axes=({"c": 0}, 0, 0))(W, X, Y), ValueError, r"in_axes does not fit at w: it has {'c': \*} where there is {'a': \*, 'b': \*}"),
    "no axis": (lambda: tg.vmap(loss, in_axes=({"a": 0.5, "b": 0}, 0, 0))(W, X, Y), TypeError, r"in_axes must be an axis.*; at w.a it is 0.5"),
    "out": (lambda: tg.vmap(lambda x: {"y": x}, out_axes=3)(X), ValueError, r"the result at y has shape \(2,\) for each example, so that out_axes cannot be 3"),
    "out None": (lambda: tg.vmap(lambda x: x, out_axes=None)(X), ValueError, "out_axes is None for the result .*differs between the examples"),
    "out tree": (lambda: tg.vmap(lambda x: x, out_axes=(0, 0))(X), ValueError, "out_axes does not fit at the result"),
    "pullback": (lambda: tg.vmap(lambda x: tg.vjp(np.sin, x))(X), TypeError, "the result at 1 is a Pullback with Tensors in it"),
    "if": (lambda: tg.vmap(lambda x: x if x > 0 else -x)(Y), tg.TraceError, r"bool\(\) while batching .*test_batches.py.*tg.where.*None in in_axes"),
    "value": (lambda: tg.vmap(lambda x: x.value)(Y), tg.TraceError, r"reading .value while batching"),
    "values": (lambda: tg.vmap(tg.argwhere)(X), tg.TraceError, r"while batching .*outside of the batched"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_error_says_what_is_wrong_and_where(name):
    call, kind, message = WRONG[name]
    with pytest.raises(kind, match=re.compile(message, re.DOTALL)):
        call()
