"""scan has the values of the loop in plain Python, and its derivatives of any order."""

import pickle
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import given
from loops import arguments, by_hand, losses, same, terms

import tapegrad as tg
from tapegrad.testing import check_grads


@depth("loop")
@given(
    terms,
    st.integers(1, 7),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, None, 1, 2, 3, 5, "binomial"]),
)
def test_scan_has_the_values_and_derivatives_of_the_loop(terms, n, reverse, remember, checkpoint):
    args, tangents = arguments(n), arguments(n, 1)
    scanned, unrolled = losses(terms, reverse, remember, checkpoint)

    def derivatives(f):
        return lambda *args: (tg.value_and_grad(f, (0, 1, 2))(*args), tg.hvp(f, args, tangents))

    expected = derivatives(unrolled)(*args)
    same(derivatives(scanned)(*args), expected)
    same(tg.compile(derivatives(scanned))(*args), expected)
    same(tg.jvp(scanned, args, tangents), tg.jvp(unrolled, args, tangents))


# loops in a step: a loop with two carries, and a loop without steps, which has no residuals
NESTED_LOOPS = [
    lambda c, x, w: np.sum(
        tg.scan(lambda a, b: ((np.tanh(a[0] * b + c), a[1] + a[0][0]), a[0] * a[1]), (c, x[0]), w)[
            1
        ],
        axis=0,
    ),
    lambda c, x, w: tg.fori_loop(0, 0, lambda i, a: np.tanh(a * w[0] + x), c * x),
]


def test_scan_of_loops_has_the_second_derivatives_of_the_loop():
    args, tangents = arguments(1), arguments(1, 1)
    scanned, unrolled = losses(NESTED_LOOPS, False)
    same(tg.hvp(scanned, args, tangents), tg.hvp(unrolled, args, tangents))


def test_number_of_records_does_not_depend_on_the_length():
    def loss(xs):
        return tg.scan(lambda c, x: (np.tanh(c + x), c), 0.0, xs)[0]

    lengths = {len(tg.record(loss)(np.ones(n))[1]) for n in (1, 10, 100)}
    assert len(lengths) == 1
    _, tape = tg.record(loss)(np.ones(5))
    assert [x.op.name for x in tape][1:] == ["scan", "part", "part"]
    program = tg.compile(tg.grad(loss)).program(np.ones(100))
    assert len(program.instructions) < 20
    assert pickle.loads(pickle.dumps(program)) == program


def test_scan_of_checkpointed_body_keeps_only_the_carry():
    def body(c, x):
        return np.sin(np.exp(np.tanh(c) * x)), None

    def n_residuals(f, loop):
        _, tape = tg.record(lambda xs: loop(f, xs))(np.ones((4, 2)))
        loop_options = next(x.options["loop"] for x in tape if "loop" in x.options)
        return len(loop_options.body.outputs) - loop_options.first_residual

    def checkpoint_like(f, made):
        return tg.checkpoint(made) if isinstance(f, type(tg.checkpoint(body))) else made

    for loop in (
        lambda f, xs: tg.scan(f, xs[0], xs)[0],
        lambda f, xs: tg.fori_loop(0, 4, checkpoint_like(f, lambda i, c: body(c, xs[0])[0]), xs[0]),
    ):
        assert n_residuals(body, loop) > n_residuals(tg.checkpoint(body), loop) == 1


def square_rule_by_scan(g, y, x):
    """Return the cotangent of x for x**2, by a scan that has two results."""
    last, each = tg.scan(lambda c, t: (c + t * x, t * x), 0 * x, np.ones(3))
    return g * (last - each[0])


def loop_with_pullback(loop, w):
    """Return a loop whose steps use an outer pullback and a gradient."""
    y, pullback = tg.vjp(lambda w: np.sin(w) * w, w)

    def step(c, x):
        (d,) = pullback(c * x)
        return d + tg.grad(lambda w: tg.sum(w**3) * x[0])(w), y

    return loop(step, w, np.ones((3, 2)))


def loop_with_rules(loop, w):
    """Return a loop of functions whose rules compute several results."""
    a = np.diag(w) + np.array([[2.0, 0.5], [0.3, 5.0]])
    square = tg.custom_op(vjps=(square_rule_by_scan,))(lambda x: x**2)

    def step(c, t):
        functions = (np.linalg.eigvalsh, np.linalg.svdvals, square)
        c = c + 0.1 * sum(np.sum(f(c + t * a)) for f in functions)
        return c, np.linalg.eigh(c).eigenvalues

    return loop(step, a, np.array([0.5, 1.0]))


@pytest.mark.parametrize("fn", [loop_with_pullback, loop_with_rules], ids=lambda fn: fn.__name__)
def test_scan_differentiates_derivatives_in_its_body(fn):
    def loss(loop, w):
        c, ys = fn(loop, w)
        return tg.sum(np.sin(c)) + tg.sum(ys**2)

    w = np.array([0.3, 0.6])
    gradient = tg.grad(partial(loss, tg.scan))
    expected = tg.grad(lambda w: loss(partial(by_hand, reverse=False), w))(w)
    same(gradient(w), expected)
    same(tg.compile(gradient)(w), expected)


def test_scan_without_tensors_is_not_recorded():
    def scan_constants(w):
        return tg.scan(lambda c, x: (c * 2 + x, None), np.ones(2), np.ones((3, 2)))[0].sum()

    output, tape = tg.record(scan_constants)(2.0)
    assert (output, len(tape)) == (30.0, 1)


@pytest.mark.parametrize("start", [0.0, 1.0, np.array(0.0), np.array(2.0)])
def test_scan_captures_tensors_of_some_steps(start):
    def scale_or_increment(w, c):
        return tg.cond(c > 1.5, lambda: c * w, lambda: c + 1.0)

    def scan_fn(w):
        return tg.scan(lambda c, _: (scale_or_increment(w, c), c), start, length=4)[0]

    def while_fn(w):
        return tg.while_loop(lambda c: c < 6.0, lambda c: scale_or_increment(w, c), start)

    def while_with_cond(w):
        # only the condition captures w, from the second step on
        return tg.while_loop(
            lambda c: tg.cond(c > 0.5, lambda: c < w, lambda: c < 9.0), lambda c: c + 1.0, start
        )

    order = 1 if isinstance(start, np.ndarray) and not THOROUGH else 2
    check_grads(scan_fn, (1.5,), order)
    check_grads(while_fn, (1.5,), order)
    check_grads(while_with_cond, (2.5,), order)


def test_scan_without_steps_returns_its_carry():
    def loop(c, xs):
        return tg.scan(lambda c, x: (c + x, {"y": c * x, "n": x > 0, "x": x}), c, xs)

    xs = np.ones((0, 3), np.float32)
    for result in (
        loop(np.ones(3), xs),
        tg.record(loop)(np.ones(3), xs)[0],
        tg.compile(loop)(np.ones(3), xs),
    ):
        c, ys = tg.tree.map(lambda x: x.value if isinstance(x, tg.Tensor) else x, result)
        np.testing.assert_array_equal(c, np.ones(3))
        assert (ys["y"].shape, ys["y"].dtype, ys["n"].dtype) == ((0, 3), np.float64, bool)
        assert (ys["x"].shape, ys["x"].dtype) == ((0, 3), np.float32)
    same(tg.grad(lambda c: tg.sum(loop(c, xs)[0] ** 2))(np.ones(3)), 2 * np.ones(3))
    assert tg.scan(lambda c, _: (c * 2, None), 3.0, length=0) == (3.0, None)
    # a step that would fail is not computed if there is none
    flat, x = np.zeros((2, 2)), np.ones(2)

    def solve_repeatedly(a, x, n):
        return tg.fori_loop(0, n, lambda i, c: np.linalg.inv(a) @ c, x)

    for n in (0, -2):
        for f in (solve_repeatedly, tg.compile(solve_repeatedly)):
            np.testing.assert_array_equal(f(flat, x, n), x)
