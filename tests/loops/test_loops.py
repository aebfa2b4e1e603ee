"""Loops and branches against plain Python: values, derivatives of any order, compiled too."""

import itertools
import pickle
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import given
from op_cases import CASES, SMOOTH

import tapegrad as tg
from tapegrad.testing import check_compiled, check_grads

VIEWS = (lambda c, x, w: c[::-1], lambda c, x, w: np.reshape(c, (1, 3)).T[:, 0])
TERMS = (
    *VIEWS,
    lambda c, x, w: np.tanh(c * x),
    lambda c, x, w: w @ c,
    lambda c, x, w: np.sin(x) * w[0],
    lambda c, x, w: np.where(c > 0, c * c, x),
    lambda c, x, w: np.cumsum(c) * 0.5,
    lambda c, x, w: tg.grad(lambda c: tg.sum(np.sin(c) * w[1] * x))(c),
    lambda c, x, w: tg.stop_gradient(c) * x,
    lambda c, x, w: tg.cond(np.sum(c) > 0, lambda c: c * w[2], lambda c: x - c, c),
    lambda c, x, w: tg.scan(lambda a, b: (a * b + w[0, 0], a), c[0], x)[1],
    lambda c, x, w: tg.while_loop(lambda a: np.sum(a * a) < 1, lambda a: 1.5 * a + 0.3, c * x),
    lambda c, x, w: x,
    lambda c, x, w: np.ones(3),
)
terms = st.lists(st.sampled_from(TERMS), min_size=1, max_size=3)


def step_of(terms, w):
    def step(carry, x):
        c, n = carry
        total = sum((term(c, x, w) for term in terms), start=0.25 * c)
        return (np.sin(total), n + 1), {"y": total * n, "c": c}

    return step


def by_hand(f, init, xs, reverse):
    carry, ys = init, []
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        carry, y = f(carry, xs[t])
        ys.append(y)
    ys = ys[::-1] if reverse else ys
    return carry, tg.tree.map(lambda *rows: np.stack(rows), *ys)


def losses(terms, reverse, remember=True):
    """One function by scan and by hand."""

    def loss(loop, c, xs, w):
        (c, n), ys = loop(step_of(terms, w), (c, 0), xs)
        return tg.sum(c * w[0]) + 0.1 * tg.sum(ys["y"] ** 2) + tg.sum(ys["c"]) * n

    def scanned(f, init, xs):
        return tg.scan(f if remember else tg.checkpoint(f), init, xs, reverse=reverse)

    def unrolled(f, init, xs):
        return by_hand(f, init, xs, reverse)

    return (lambda *args: loss(scanned, *args)), (lambda *args: loss(unrolled, *args))


def arguments(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=3), rng.normal(size=(n, 3)), rng.normal(size=(3, 3)) * 0.5


def same(a, b):
    tg.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9), a, b)


@depth("loop")
@given(terms, st.integers(1, 3), st.booleans(), st.booleans(), st.integers(0, 3))
def test_a_scan_has_the_values_and_derivatives_of_the_loop_it_stands_for(
    terms, n, reverse, remember, seed
):
    args, tangents = arguments(n, seed), arguments(n, seed + 10)
    scanned, unrolled = losses(terms, reverse, remember)
    same(scanned(*args), unrolled(*args))
    same(tg.grad(scanned, (0, 1, 2))(*args), tg.grad(unrolled, (0, 1, 2))(*args))
    same(tg.jvp(scanned, args, tangents), tg.jvp(unrolled, args, tangents))
    same(tg.hvp(scanned, args, tangents), tg.hvp(unrolled, args, tangents))


@depth("loop")
@given(terms, st.integers(1, 3), st.booleans(), st.booleans())
def test_a_scan_is_compiled_to_the_same(terms, n, reverse, remember):
    args, tangents = arguments(n), arguments(n, 1)
    scanned, unrolled = losses(terms, reverse, remember)
    both = tg.compile(
        lambda *args: (
            tg.value_and_grad(scanned, (0, 1, 2))(*args),
            tg.hvp(scanned, args, tangents),
        )
    )
    expected = tg.value_and_grad(unrolled, (0, 1, 2))(*args), tg.hvp(unrolled, args, tangents)
    same(both(*args), expected)
    other = arguments(n, 2)
    same(both(*other)[0], tg.value_and_grad(unrolled, (0, 1, 2))(*other))


@pytest.mark.parametrize("outer", [tg.grad, lambda f: tg.jacobian(f)], ids=["grad", "jacobian"])
def test_third_derivatives_pass_through_a_loop(outer):
    def power(x):
        return tg.fori_loop(0, 4, lambda i, y: y * x, 1.0)

    third = outer(tg.grad(lambda x: tg.jvp(power, (x,), (1.0,))[1]))
    same(third(1.5), 4 * 3 * 2 * 1.5)
    same(tg.compile(third)(1.5), 4 * 3 * 2 * 1.5)


# --- while_loop and fori_loop ---------------------------------------------------------------


def doubled(x, most):
    return tg.while_loop(lambda y: np.sum(y) < most, lambda y: y * x[1] + x[0], x)


def doubled_by_hand(x, most):
    y = x
    while np.sum(y) < most:
        y = y * x[1] + x[0]
    return y


@depth("loop")
@given(st.floats(0.5, 2.0), st.floats(1.1, 3.0), st.floats(0.0, 60.0))
def test_a_while_loop_goes_back_as_many_steps_as_it_went(a, b, most):
    x = np.array([a, b])
    first, second = (lambda f: lambda x: f(x, most))(doubled), lambda x: doubled_by_hand(x, most)
    same(first(x), second(x))
    same(tg.jacobian(first)(x), tg.jacobian(second)(x))
    square = [lambda x, f=f: tg.sum(f(x) ** 2) for f in (first, second)]
    same(*[tg.hessian(f)(x) for f in square])
    same(tg.hvp(square[0], (x,), (x,)), tg.hvp(square[1], (x,), (x,)))


def test_one_program_makes_as_many_steps_as_each_call_needs():
    def loss(f):
        return lambda x, most: tg.sum(f(x, most) ** 2)

    step = tg.compile(lambda x, most: (doubled(x, most), tg.hessian(loss(doubled))(x, most)))
    for most in (0.0, 3.0, 1000.0):
        x = np.array([0.5, 1.5])
        same(
            step(x, most),
            (doubled_by_hand(x, most), tg.hessian(loss(doubled_by_hand))(x, most)),
        )
    assert len(step.signatures) == 1


# --- loops in loops -------------------------------------------------------------------------


def rolled(kind, body, c):
    """A loop of a few steps around a step of a vector; how many may depend on its values."""
    if kind == "scan":
        last, ys = tg.scan(lambda c, x: (body(c) + x, tg.sum(c)), c, np.arange(2.0))
        return last + 0.1 * tg.sum(ys)
    if kind == "fori":
        return tg.fori_loop(0, 2, lambda i, c: body(c) * (i + 1), c)
    if kind == "cond":
        return tg.cond(tg.sum(c) > 0, body, lambda c: body(-c), c)
    most = 2 if kind == "while" else np.where(tg.sum(c) > 0, 2, 1)
    return tg.while_loop(lambda s: s[0] < most, lambda s: (s[0] + 1, body(s[1])), (0, c))[1]


def unrolled(kind, body, c):
    """The same in plain Python."""
    if kind == "scan":
        ys = []
        for x in np.arange(2.0):
            c, y = body(c) + x, tg.sum(c)
            ys.append(y)
        return c + 0.1 * sum(ys)
    if kind == "fori":
        return 2 * body(body(c))
    if kind == "cond":
        return body(c if tg.sum(c) > 0 else -c)
    return body(body(c)) if kind == "while" or tg.sum(c) > 0 else body(c)


def nest(loop, kinds, x):
    """Loops of these kinds, one in the other, around a step that captures x."""

    def step(c):
        return np.sin(c) * x + np.cos(c) * np.sum(x)

    for kind in kinds:
        step = partial(loop, kind, step)
    return tg.sum(step(x))


KINDS = ("while", "until", "scan", "fori", "cond")
PAIRS = (
    tuple(itertools.product(KINDS, KINDS)) if THOROUGH else (("while", "fori"), ("until", "scan"))
)


@pytest.mark.parametrize("kinds", PAIRS, ids=" in ".join)
def test_loops_in_loops_have_derivatives_of_any_order_one_by_one_and_in_batches(kinds):
    xs = np.array([[0.7, -0.3], [-1.1, 0.2]])
    first, second = (partial(nest, loop, kinds) for loop in (rolled, unrolled))
    for _ in range(3):
        first, second = (
            lambda x, f=f: tg.sum(tg.grad(f)(x) * np.array([1.0, 0.5])) for f in (first, second)
        )
        want = np.stack([second(x) for x in xs])
        same(np.stack([first(x) for x in xs]), want)
        same(tg.vmap(first)(xs), want)
    if THOROUGH:
        same(tg.compile(tg.vmap(first))(xs), want)


def test_a_number_of_steps_may_vary():
    power = tg.compile(tg.value_and_grad(lambda x, n: tg.fori_loop(0, n, lambda i, y: y * x, 1.0)))
    for n in (0, 1, 5):
        same(power(2.0, n), (2.0**n, n * 2.0 ** (n - 1)))
    assert len(power.signatures) == 1
    backwards = tg.compile(lambda x, n: tg.fori_loop(-n, 3, lambda i, y: y * x + i, 1.0))
    for n in (-3, 0, 2):
        same(backwards(2.0, n), tg.fori_loop(-n, 3, lambda i, y: y * 2.0 + i, 1.0))
    same(tg.fori_loop(2, 5, lambda i, y: y + i, 0), 9)
    same(tg.fori_loop(5, 2, lambda i, y: y + i, 1.5), 1.5)


# --- cond -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_branch_has_the_derivatives_of_the_side_taken(sign):
    def on_true(x, w):
        return tg.sum(x**3) * w, {"x": x}

    def on_false(x, w):
        return tg.sum(np.exp(x)), {"x": x * w}

    def loss(x, w):
        a, b = tg.cond(np.sum(x) > 0, on_true, on_false, x, w)
        return a + tg.sum(b["x"] ** 2)

    def taken(x, w):
        a, b = (on_true if sign > 0 else on_false)(x, w)
        return a + tg.sum(b["x"] ** 2)

    x, w = sign * np.array([1.0, 2.0]), 0.5
    for derive in (
        lambda f: tg.value_and_grad(f, (0, 1)),
        lambda f: tg.hessian(f, (0, 1)),
        lambda f: lambda *args: tg.jvp(f, args, args),
        lambda f: lambda *args: tg.hvp(f, args, args),
    ):
        same(derive(loss)(x, w), derive(taken)(x, w))
        same(tg.compile(derive(loss))(x, w), derive(taken)(x, w))


def test_the_side_not_taken_is_not_computed():
    root = tg.compile(lambda x: tg.cond(x > 0, np.sqrt, np.zeros_like, x))
    with np.errstate(all="raise"):
        same(root(-4.0), 0.0)
        same(tg.grad(lambda x: tg.cond(x > 0, np.sqrt, lambda x: -x, x))(-1.0), -1.0)


def test_a_branch_takes_arrays_and_numbers_beside_tensors():
    def choose(x):
        return tg.cond(x[0] > 0, lambda *a: a[0] * a[1] * a[2], lambda *a: a[0] - a[1], x, w, 3.0)

    w = np.array([2.0, 5.0])
    for x in (np.array([1.0, 2.0]), np.array([-1.0, 2.0])):
        same(tg.compile(choose)(x), x * w * 3.0 if x[0] > 0 else x - w)


def test_a_branch_on_a_plain_value_is_a_plain_branch():
    assert tg.cond(True, lambda x: x, lambda x: x[:1], "ab") == "ab"
    assert tg.cond(np.array(0.0), lambda x: x, lambda x: x[:1], "ab") == "a"


# --- the record -----------------------------------------------------------------------------


def test_the_number_of_records_does_not_depend_on_the_length():
    def loss(xs):
        return tg.scan(lambda c, x: (np.tanh(c + x), c), 0.0, xs)[0]

    lengths = {len(tg.record(loss)(np.ones(n))[1]) for n in (1, 10, 100)}
    assert len(lengths) == 1
    _, tape = tg.record(loss)(np.ones(5))
    assert [x.op.name for x in tape][1:] == ["loop", "getitem", "getitem"]
    program = tg.compile(tg.grad(loss)).program(np.ones(100))
    assert len(program.instructions) < 20
    assert pickle.loads(pickle.dumps(program)) == program


def test_a_checkpointed_body_keeps_its_carry_alone():
    def body(c, x):
        return np.sin(np.exp(np.tanh(c) * x)), None

    def kept(f, loop):
        _, tape = tg.record(lambda xs: loop(f, xs))(np.ones((4, 2)))
        loop = next(x for x in tape if x.op.name == "loop")
        return loop.options["loop"].n_kept

    def alike(f, made):
        return tg.checkpoint(made) if isinstance(f, type(tg.checkpoint(body))) else made

    for loop in (
        lambda f, xs: tg.scan(f, xs[0], xs)[0],
        lambda f, xs: tg.fori_loop(0, 4, alike(f, lambda i, c: body(c, xs[0])[0]), xs[0]),
    ):
        assert kept(body, loop) > kept(tg.checkpoint(body), loop) == 1


def test_a_body_may_use_a_pullback_and_gradients_of_what_is_around_it():
    def loss(loop, w):
        y, pullback = tg.vjp(lambda w: np.sin(w) * w, w)

        def step(c, x):
            (d,) = pullback(c * x)
            return d + tg.grad(lambda w: tg.sum(w**3) * x[0])(w), y

        c, ys = loop(step, w, np.ones((3, 2)))
        return tg.sum(c) + tg.sum(ys)

    w = np.array([0.3, 0.6])
    expected = tg.grad(lambda w: loss(lambda *a: by_hand(*a, False), w))(w)
    same(tg.grad(lambda w: loss(tg.scan, w))(w), expected)
    same(tg.compile(tg.grad(lambda w: loss(tg.scan, w)))(w), expected)


def test_a_scan_of_captured_tensors_alone_is_recorded():
    def loss(w):
        return tg.scan(lambda c, x: (c * w + x, None), np.ones(2), np.ones((3, 2)))[0].sum()

    same(tg.grad(loss)(2.0), 2 * (3 * 4 + 2 * 2 + 1.0))

    def none(w):
        return tg.scan(lambda c, x: (c * 2 + x, None), np.ones(2), np.ones((3, 2)))[0].sum()

    output, tape = tg.record(none)(2.0)
    assert (output, len(tape)) == (30.0, 1)


@pytest.mark.parametrize("begun", [0.0, 1.0, np.array(0.0), np.array(2.0)])
def test_tensors_may_be_captured_at_some_of_the_steps_alone(begun):
    def weighed(w, c):
        return tg.cond(c > 1.5, lambda: c * w, lambda: c + 1.0)

    def by_scan(w):
        return tg.scan(lambda c, _: (weighed(w, c), c), begun, length=4)[0]

    def by_while(w):
        return tg.while_loop(lambda c: c < 6.0, lambda c: weighed(w, c), begun)

    def by_condition(w):
        # the condition alone captures it, from the second step on
        return tg.while_loop(
            lambda c: tg.cond(c > 0.5, lambda: c < w, lambda: c < 9.0), lambda c: c + 1.0, begun
        )

    order = 1 if isinstance(begun, np.ndarray) and not THOROUGH else 2
    check_grads(by_scan, (1.5,), order)
    check_grads(by_while, (1.5,), order)
    check_grads(by_condition, (2.5,), order)


def test_a_recording_of_a_body_reads_no_values():
    for body in (lambda c, x: (c if c > 0 else -c, x), lambda c, x: (c * float(x), x)):
        with pytest.raises(tg.TraceError, match=r"tg\.cond.*tg\.while_loop or tg\.scan"):
            tg.grad(lambda c, body=body: tg.scan(body, c, np.ones(2))[0])(1.0)


def test_a_body_that_draws_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(tg.TraceError, match="drew from"):
        tg.grad(lambda c: tg.scan(lambda c, x: (c * rng.normal(), x), c, np.ones(2))[0])(1.0)


def test_keys_go_through_a_loop():
    def walk(scale, keys):
        def step(c, key):
            return c + scale * tg.random.normal(key, ()), None

        return tg.scan(step, 0.0, keys)[0]

    keys = tg.random.split(tg.random.key(0), 4)
    total = sum(tg.random.normal(key, ()) for key in keys)
    same(tg.grad(walk)(2.0, keys), total)
    same(tg.compile(tg.grad(walk))(2.0, keys), total)


# --- numbers, dtypes, lengths ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_in_the_carry_takes_the_dtype_that_the_body_gives_it(dtype):
    xs = np.ones(3, dtype)

    def loss(xs):
        return tg.scan(lambda c, x: ((c[0] + x, c[1] + 1), c[0]), (0.0, 0), xs)

    for result in (loss(xs), tg.record(loss)(xs)[0], tg.compile(loss)(xs)):
        (c, n), ys = result
        assert (c.dtype, n.dtype.kind, ys.dtype) == (dtype, "i", dtype)
    assert tg.grad(lambda xs: loss(xs)[0][0])(xs).dtype == dtype


def test_no_steps_give_the_first_carry_and_empty_results():
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
    # what would be wrong with a step is not asked if there is none
    flat, x = np.zeros((2, 2)), np.ones(2)

    def steps(a, x, n):
        return tg.fori_loop(0, n, lambda i, c: np.linalg.inv(a) @ c, x)

    for n in (0, -2):
        for f in (steps, tg.compile(steps)):
            np.testing.assert_array_equal(f(flat, x, n), x)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_on_arrays_is_the_loop_and_changes_nothing(reverse):
    c, xs, w = arguments(4)
    step = step_of(TERMS[2:5], w)
    for got, want in zip(
        tg.scan(step, (c, 0), xs, reverse=reverse), by_hand(step, (c, 0), xs, reverse), strict=True
    ):
        assert tg.tree.all_close(tg.tree.map(np.asarray, got), tg.tree.map(np.asarray, want))

    def careless(c, x):
        x += 1
        return c, x

    before = xs.copy()
    for body in (careless, lambda c, x: careless(x, c)):
        with pytest.raises(ValueError, match="read-only"):
            tg.scan(body, c, xs, reverse=reverse)
    np.testing.assert_array_equal(xs, before)


LENT = {
    "scan": lambda c, xs: tg.scan(lambda c, x: (np.sin(c + x), (c, c * 2)), c, xs),
    "reversed": lambda c, xs: tg.scan(lambda c, x: (np.sin(c + x),) * 2, c, xs, reverse=True),
    "while": lambda c, xs: tg.while_loop(lambda c: c[0] < 3, lambda c: c + xs[1], c),
    "branch": lambda c, xs: tg.cond(c[0] > 0, lambda c: (c, xs[0]), lambda c: (np.sin(c), c), c),
    "gradient": lambda c, xs: tg.vjp(lambda c: tg.scan(lambda c, x: (np.sin(c + x), c), c, xs), c)[
        1
    ]((c, xs)),
}


@pytest.mark.parametrize("loop", LENT)
def test_what_a_loop_gave_is_apart_from_its_memory_and_from_later_calls(loop):
    c, xs = np.linspace(0.1, 1, 3), np.linspace(0.2, 1, 12).reshape(4, 3)
    compiled = tg.compile(LENT[loop])
    first = tg.tree.leaves(compiled(c, xs))
    before = tg.tree.map(np.array, first)
    for scale in (2.0, -1.0):
        tg.tree.map(same, compiled(c * scale, xs), LENT[loop](c * scale, xs))
    tg.tree.map(np.testing.assert_array_equal, first, before)
    for i, x in enumerate(first):
        assert not any(np.shares_memory(x, y) for y in (*first[:i], c, xs))


def test_results_share_no_memory_with_what_was_given():
    def loop(c, xs):
        return tg.scan(lambda c, x: (x, c), c, xs)

    c, xs = np.zeros(2), np.ones((3, 2))
    for result in (tg.compile(loop)(c, xs), tg.record(loop)(c, xs)[0]):
        for x in tg.tree.leaves(result):
            x = x.value if isinstance(x, tg.Tensor) else x
            assert not x.flags.writeable
            assert not np.shares_memory(x, xs)
            assert not np.shares_memory(x, c)


# --- errors ---------------------------------------------------------------------------------

CARRIES = {
    "has shape": (ValueError, lambda c, x: ({"a": c["a"][:1]}, x), r"carry\.a has shape \(2,\)"),
    "dtype": (TypeError, lambda c, x: ({"a": c["a"] > 0}, x), r"carry\.a is float64 .* bool"),
    "lost": (TypeError, lambda c, x: ({"b": c["a"]}, x), r"carry\.a and after it carry\.b"),
    "pair": (TypeError, lambda c, x: c, r"returns \(carry, y\)"),
    "three": (TypeError, lambda c, x: (c, x, x), r"returns \(carry, y\)"),
}


@pytest.mark.parametrize("case", CARRIES)
def test_a_carry_that_changes_is_refused_with_its_path(case):
    kind, body, message = CARRIES[case]
    xs = np.ones(3)
    with pytest.raises(kind, match=message):
        tg.scan(body, {"a": np.ones(2)}, xs)
    with pytest.raises(kind, match=message):
        tg.grad(lambda a: tg.scan(body, {"a": a}, xs)[0]["a"].sum())(np.ones(2))
    if case not in ("pair", "three"):
        for a in (lambda a: a, tg.grad):
            with pytest.raises(kind, match=message):
                a(
                    lambda a: tg.while_loop(
                        lambda c: c["a"].sum() < 9, lambda c: body(c, 1.0)[0], {"a": a}
                    )["a"].sum()
                )(np.ones(2))


@pytest.mark.parametrize(
    ("carry", "body", "message"),
    [
        ((1.0, 2.0), lambda c, x: (list(c), None), "the structures differ"),
        (1.5, lambda c, x: (np.argmax(x), None), "carry is float64 before a step and int64"),
        # what the numbers become makes another dtype of the first in the second step
        ((1, 1.0), lambda c, x: ((x[0] * c[1], c[0] * c[1]), None), r"carry\.0 is float32 before"),
    ],
)
def test_numbers_in_a_carry_are_refused_where_a_step_makes_something_else_of_them(
    carry, body, message
):
    xs = np.ones((3, 2), np.float32)
    for run in (lambda f: f(xs), lambda f: tg.record(f)(xs)):
        with pytest.raises(TypeError, match=message):
            run(lambda xs: tg.scan(body, carry, xs))


def test_a_carry_that_is_no_number_is_refused_with_its_path():
    def body(c, x):
        return c, x

    for loop in (tg.scan, lambda *args: tg.grad(lambda a: tg.scan(*args)[0]["a"] * a)(1.0)):
        with pytest.raises(TypeError, match=r"scan: carry\.b: an operand is a str"):
            loop(body, {"a": 1.0, "b": "text"}, np.ones(2))


def test_a_tensor_that_leaves_a_body_is_refused():
    kept = []

    def body(c, x):
        kept.append(c)
        return c * x, None

    tg.grad(lambda c: tg.scan(body, c, np.ones(2))[0])(1.0)
    with pytest.raises(tg.TapeError, match="belongs to the tape of body"):
        tg.grad(lambda c: kept[-1] * c)(1.0)


def test_a_long_loop_that_is_recorded_is_written_out_for_its_run():
    def body(c, x):
        return np.sin(c) + x, np.tanh(c)

    def loss(loop, xs):
        c, ys = loop(body, xs[0], xs)
        return c + tg.sum(ys)

    xs = np.linspace(0.0, 1.0, 5000)
    unrolled = tg.grad(loss, 1)(lambda *args: by_hand(*args, False), xs[:400])
    same(tg.grad(loss, 1)(tg.scan, xs)[-1], 1.0)
    same(tg.grad(loss, 1)(tg.scan, xs[:400]), unrolled)
    same(tg.grad(loss, 1)(tg.scan, xs), tg.compile(tg.grad(loss, 1), static_argnums=0)(tg.scan, xs))


def test_lengths_that_differ_or_are_unknown_are_refused_with_their_paths():
    def body(c, x):
        return c, x

    for args, kwargs, message in (
        (({"a": np.ones(3), "b": np.ones(4)},), {}, r"xs\.a 3, xs\.b 4"),
        ((np.ones(3),), {"length": 4}, "length 4, xs 3"),
        ((), {}, "length must say"),
        ((), {"length": -1}, "0 or more"),
        (({"a": 1.0},), {}, r"xs\.a has no axis"),
    ):
        with pytest.raises(ValueError, match=message):
            tg.scan(body, 0.0, *args, **kwargs)


def test_branches_that_differ_are_refused_with_the_path():
    for kind, other, message in (
        (
            ValueError,
            lambda x: {"a": x[:1]},
            r"result\.a of on_true is float64 \(2,\), and float64 \(1,\)",
        ),
        (TypeError, lambda x: {"a": x > 0}, r"result\.a of on_true is float64 .* bool"),
        (TypeError, lambda x: {"b": x}, r"only on_true returns result\.a"),
        (TypeError, lambda x: {"a": x, "b": x}, r"only on_false returns result\.b"),
        (TypeError, lambda x: {"a": (x,)}, r"only on_true returns result\.a"),
        (TypeError, lambda x: {"a": "text"}, "returned a str as a"),
    ):
        with pytest.raises(kind, match=message):
            tg.compile(lambda x, f=other: tg.cond(x[0] > 0, lambda x: {"a": x}, f, x))(np.ones(2))
    with pytest.raises(TypeError, match=r"shape \(2,\).*tg\.where"):
        tg.cond(np.ones(2) > 0, abs, abs, 1.0)
    with pytest.raises(TypeError, match="the structures differ"):
        tg.compile(lambda x: tg.cond(x > 0, lambda x: (x,), lambda x: [x], x))(1.0)
    for run in (lambda f: f(np.ones(2)), lambda f: tg.record(f)(np.ones(2))):
        with pytest.raises(TypeError, match=r"of shape \(2,\); one truth value"):
            run(lambda c: tg.while_loop(lambda c: c > 0, lambda c: c, c))


def test_what_is_no_function_is_refused():
    for call in (
        lambda: tg.scan(1, 0.0, np.ones(2)),
        lambda: tg.while_loop(1, abs, 0.0),
        lambda: tg.while_loop(abs, 1, 0.0),
        lambda: tg.fori_loop(0, 1, 1, 0.0),
        lambda: tg.cond(True, 1, abs, 0.0),
        lambda: tg.cond(True, abs, 1, 0.0),
    ):
        with pytest.raises(TypeError, match="a function is needed"):
            call()


@pytest.mark.parametrize("bound", [2.5, np.array(2.0), np.ones(2, int), "2"])
def test_the_bounds_of_a_loop_by_number_are_integers(bound):
    for at, bounds in (("start", (bound, 4)), ("stop", (0, bound))):
        loop = lambda *given: tg.fori_loop(*given, lambda i, c: c + i, 0)  # noqa: E731
        with pytest.raises(TypeError, match=f"fori_loop: {at} must be an integer, not"):
            loop(*bounds)
        if not isinstance(bound, str):
            with pytest.raises(TypeError, match=f"fori_loop: {at} must be an integer, not"):
                tg.compile(loop)(*bounds)


def test_one_array_may_stand_twice_in_a_carry():
    def loop(x, xs):
        return tg.fori_loop(0, 3, lambda i, c: (c[0] * 2, c[1] + c[0] * xs[0]), (x, x))

    x = np.ones(2)
    recorded = tg.tree.map(lambda x: x.value, tg.record(loop)(x, x)[0])
    same(recorded, loop(x, x))
    same(tg.compile(loop)(x, x), loop(x, x))


# --- what is compiled -----------------------------------------------------------------------


def cell_loss(loop):
    def loss(p, h, xs):
        def step(h, x):
            z = tg.sigmoid(x @ p["w"][0] + h @ p["u"][0] + p["b"])
            h = (1 - z) * h + z * np.tanh(x @ p["w"][1] + (z * h) @ p["u"][1])
            return h, np.sum(h**2, axis=1)

        h, ys = loop(step, h, xs)
        return tg.sum(h) + tg.mean(ys)

    return loss


def cell_arguments(n):
    rng = np.random.default_rng(0)
    p = {"w": rng.normal(size=(2, 3, 4)), "u": rng.normal(size=(2, 4, 4)), "b": rng.normal(size=4)}
    return p, rng.normal(size=(2, 4)), rng.normal(size=(n, 2, 3))


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("reverse", [True, False])
def test_a_cell_is_compiled_to_loops_of_what_its_carry_needs(reverse, remember):
    def scanned(f, init, xs):
        return tg.scan(f if remember else tg.checkpoint(f), init, xs, reverse=reverse)

    args = cell_arguments(5)
    step = tg.compile(tg.value_and_grad(cell_loss(scanned), (0, 1, 2)))
    expected = tg.value_and_grad(cell_loss(lambda *a: by_hand(*a, reverse)), (0, 1, 2))(*args)
    same(step(*args), expected)
    program = step.program(*args)
    loops = [x.options["loop"] for x in program.instructions if x.op.name == "loop"]
    assert len(loops) == 2
    # a product with the carry a gate, forward and back; those with the rows are outside
    products = [sum(x.op is tg.matmul for x in loop.body.instructions) for loop in loops]
    assert products[0] == 2
    assert products[1] <= 2 if remember else 4
    # the gradients of the weights are not carried
    assert [loop.n_carry for loop in loops] == [1, 1]
    assert str(program).count("\n        for ") == 2


ACCUMULATED = {
    "constant @ varying": (lambda w, x: w @ x, 1),
    "varying @ constant": (lambda w, x: x @ w, 1),
    "constant @ varying @ constant": (lambda w, x: w @ x @ w.T, 1),
    "varying @ varying": (lambda w, x: x @ np.sin(x), 0),
    "turned @ varying": (lambda w, x: x.T @ x, 0),
    "a sum of products": (lambda w, x: x.T @ x + np.tanh(x) @ x, 0),
}


@pytest.mark.parametrize("name", ACCUMULATED)
@pytest.mark.parametrize("n", [2, 20])
def test_a_carry_that_only_accumulates_is_added_up_outside(name, n):
    term, n_loops = ACCUMULATED[name]
    rng = np.random.default_rng(0)
    w, xs, start = rng.normal(size=(n, n)), rng.normal(size=(4, n, n)), rng.normal(size=(n, n))

    def total(start, w, xs):
        return tg.scan(lambda c, x: (c + term(w, x), None), start, xs)[0]

    step = tg.compile(total)
    expected = start + sum(term(w, x) for x in xs)
    np.testing.assert_allclose(step(start, w, xs), expected, rtol=1e-12, atol=1e-12)
    made = step.program(start, w, xs).instructions
    # large terms are held for all steps only where their products become one
    assert sum(x.op.name == "loop" for x in made) == (n_loops if n > 2 else 0)
    # and no product is left in a loop
    inside = [
        y.op for x in made if x.op.name == "loop" for y in x.options["loop"].body.instructions
    ]
    assert tg.matmul not in inside


BOUNDS = [np.int8(-3), np.uint8(250), np.array(300, np.int16), -2, 130]


@pytest.mark.parametrize("start", BOUNDS)
def test_a_range_is_counted_in_wide_integers_whatever_its_bounds_are(start):
    def fn(start, stop):
        return tg.fori_loop(start, stop, lambda i, c: (c[0] + 1, c[1] + i), (0, 0))

    def batched(start, stop):
        return tg.tree.map(lambda x: x[1], tg.vmap(fn)(np.stack([start] * 2), np.stack([stop] * 2)))

    for stop in (*BOUNDS, np.uint8(255)):
        numbers = range(int(start), int(stop))
        for f in (fn, tg.compile(fn), batched):
            for x, wanted in zip(f(start, stop), (len(numbers), sum(numbers)), strict=True):
                assert np.asarray(x).dtype == np.int64
                assert x == wanted


# whose results have a shape that depends on the values of whole numbers or truth values
READING = {"bincount", "compress", "extract"}
MASKED = {"getitem", "index_add", "index_set", "scatter"}


def is_step(case):
    """Whether a call passes gradients, and the shape of what it returns is known while tracing."""
    masked = case.name in MASKED and any(x.dtype == bool for x in case.operands)
    with np.errstate(all="ignore"):
        outputs = tg.tree.leaves(case.fn(*case.operands))
    return not masked and any(np.asarray(y).dtype.kind == "f" for y in outputs)


CALLS = st.sampled_from(sorted({*SMOOTH} - READING)).flatmap(CASES.__getitem__).filter(is_step)


@depth("loop")
@given(CALLS)
def test_steps_that_call_any_op_are_compiled_to_the_same(case):
    def loop(*rows):
        return tg.scan(lambda c, row: (c, case.fn(*row)), 0.0, rows)[1]

    with np.errstate(all="ignore"):
        check_compiled(loop, [np.stack([x, x, x]) for x in case.operands])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.quantile(x, 0.3),
        lambda x: tg.partition(x, 0),
        lambda x: tg.interp(x, np.ones(1), np.ones(1)),
        lambda x: x[np.argmax(x)],
        lambda x: np.take_along_axis(x, np.argsort(x), 0),
    ],
)
def test_places_that_a_step_finds_along_an_axis_of_one_are_compiled(fn):
    def loop(xs):
        return tg.scan(lambda c, x: (c, fn(x)), 0.0, xs)[1]

    check_compiled(loop, (np.arange(3.0)[:, None],))


def test_a_compiled_loop_is_written_once_whatever_its_length():
    step = tg.compile(tg.grad(cell_loss(tg.scan)))
    texts = [str(step.program(*cell_arguments(n))) for n in (50, 500)]
    assert len({text.count("\n") for text in texts}) == 1


def test_a_program_runs_its_loops_again_with_nothing_left_of_the_last_call():
    step = tg.compile(tg.value_and_grad(cell_loss(tg.scan), (0, 1, 2)))
    p, h, xs = cell_arguments(4)
    first = step(p, h, xs)
    copies = tg.tree.map(np.array, first)
    step(p, h + 1, xs * 2)
    same(step(p, h, xs), copies)
    tg.tree.map(np.testing.assert_array_equal, first, copies)


def test_a_branch_and_a_while_loop_are_an_if_and_a_while():
    def root(x):
        return tg.while_loop(lambda y: np.abs(y * y - x) > 1e-9, lambda y: (y + x / y) / 2, x)

    step = tg.compile(lambda x: tg.cond(x > 1, root, lambda x: x * 2, x))
    text = str(step.program(2.0))
    assert "\n        if " in text
    assert "while True:" in text
    same(step(4.0), 2.0)
    same(step(0.5), 1.0)


# --- batches --------------------------------------------------------------------------------


def one_by_one(f, w, xs):
    return tg.tree.map(lambda *rows: np.stack(rows), *[f(w, x) for x in xs])


def test_loops_and_branches_are_batched():
    def loss(w, x):
        def step(c, xi):
            c = tg.cond(np.sum(c) > 0.5, lambda c: c * 0.5 + w, lambda c: c * xi + 0.3, c)
            inner = tg.scan(lambda a, b: (a * np.sin(b) + xi, a), c[0], tg.stack([xi, xi * 2]))
            return c + 0.1 * inner[0] * w, (inner[1], c)

        c, (ys, cs) = tg.scan(step, w, x)
        return np.sum(c) * np.sum(ys) + np.sum(cs**2)

    w, xs = np.array([0.3, 0.8]), np.random.default_rng(0).normal(size=(3, 4))
    both = tg.value_and_grad(loss, (0, 1))
    same(tg.vmap(loss, (None, 0))(w, xs), one_by_one(loss, w, xs))
    same(tg.vmap(both, (None, 0))(w, xs), one_by_one(both, w, xs))
    same(tg.compile(tg.vmap(both, (None, 0)))(w, xs), one_by_one(both, w, xs))
    same(
        tg.grad(lambda w: np.sum(tg.vmap(loss, (None, 0))(w, xs)))(w),
        sum(tg.grad(loss)(w, x) for x in xs),
    )


def test_a_while_loop_of_a_batch_goes_on_as_long_as_each_example_needs():
    def root(a):
        return tg.while_loop(lambda y: np.abs(y * y - a) > 1e-9, lambda y: (y + a / y) / 2, 1.0)

    a = np.array([4.0, 9.0, 1.0])
    same(tg.vmap(root)(a), np.sqrt(a))
    same(tg.compile(tg.vmap(root))(a), np.sqrt(a))
    powers = tg.vmap(lambda x, n: tg.fori_loop(0, n, lambda i, y: y * x, 1.0))
    same(powers(np.array([2.0, 3.0]), np.array([2, 3])), np.array([4.0, 27.0]))
    # its derivative is taken for each example; of no steps it is 0
    same(tg.vmap(tg.grad(root))(a), np.array([0.25, 1 / 6, 0.0]))


def test_what_has_no_inverse_while_it_is_recorded_may_have_one_when_it_is_run():
    def loss(loop, a, xs):
        def step(c, x):
            m = np.outer(c, x) + np.eye(2) * c[0]
            return np.linalg.solve(m, x), np.linalg.cholesky(m @ m.T + np.eye(2))

        c, ys = loop(step, a, xs)
        return tg.sum(np.linalg.inv(ys[0])) + tg.sum(c)

    a, xs = np.array([1.0, 0.5]), np.array([[0.5, 0.2], [0.1, 0.7]])
    expected = tg.value_and_grad(loss, 1)(lambda *args: by_hand(*args, False), a, xs)
    same(tg.value_and_grad(loss, 1)(tg.scan, a, xs), expected)
    compiled = tg.compile(lambda a, xs: tg.value_and_grad(loss, 1)(tg.scan, a, xs))
    same(compiled(a, xs), expected)


LARGE_CARRIES = (
    lambda n: tg.while_loop(lambda c: abs(c) < 1e20, lambda c: c * 1.5, n),
    lambda n: tg.while_loop(lambda c: c[1] < 3, lambda c: (c[0] * 1.5, c[1] + 1), (n, 0))[0],
    lambda n: tg.scan(lambda c, x: (c * x, c), n, np.arange(3.0))[0],
)


@pytest.mark.parametrize("n", [2**64, -(2**63) - 1, 2**70, 10**400])
def test_an_int_that_no_array_holds_begins_no_loop(n):
    ranges = (
        lambda n: tg.fori_loop(n, n + 2, lambda i, c: c + i * 1.0, 0.0),
        lambda n: tg.fori_loop(0, n, lambda i, c: c, 0.0),
    )
    for loop in (*LARGE_CARRIES, *ranges):
        for way in (loop, tg.compile(loop)):
            with pytest.raises(TypeError, match="must be an integer of at most 64 bits"):
                way(n)


@pytest.mark.parametrize("n", [2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
def test_a_large_int_becomes_the_float_that_a_step_makes_of_it(n):
    for loop in LARGE_CARRIES:
        assert loop(n) == tg.compile(loop)(n) == loop(float(n))
