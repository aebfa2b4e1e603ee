"""Loops and branches in programs: written once, and computed as recorded."""

import re
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from depth import depth
from hypothesis import example, given
from loops import arguments, by_hand, losses, same, terms
from op_cases import CASES, SMOOTH
from programs import trace

import tapegrad as tg
from tapegrad.declare.parts import MultiOutputOp
from tapegrad.program import PASSES
from tapegrad.program.passes import hoist, split_loops, trim_loops
from tapegrad.testing import check_compiled


@pytest.fixture(autouse=True, scope="module")
def sharing():
    """Have arrays share memory by turns, however small they are."""
    with mock.patch.multiple("tapegrad.program.cost", PLACED_BYTES=1, ARENA_BYTES=0):
        yield


@depth("loop")
@given(
    terms,
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([PASSES, (trim_loops,), (hoist,), (split_loops,), (trim_loops, split_loops)]),
)
def test_scan_compiled_computes_the_same(terms, n, reverse, remember, passes):
    args, tangents = arguments(n), arguments(n, 1)
    scanned, unrolled = losses(terms, reverse, remember)
    both = tg.compile(
        lambda *args: (
            tg.value_and_grad(scanned, (0, 1, 2))(*args),
            tg.hvp(scanned, args, tangents),
        ),
        passes=passes,
    )
    expected = tg.value_and_grad(unrolled, (0, 1, 2))(*args), tg.hvp(unrolled, args, tangents)
    same(both(*args), expected)
    other = arguments(n, 2)
    same(both(*other)[0], tg.value_and_grad(unrolled, (0, 1, 2))(*other))


# terms of a sum over steps, and the loops that are left for small ones and for large
ACCUMULATED = {
    "constant @ varying": (lambda w, x: w @ x, 0, 1),
    "varying @ constant": (lambda w, x: x @ w, 0, 1),
    "constant @ varying @ constant": (lambda w, x: w @ x @ w.T, 0, 1),
    "varying @ varying": (lambda w, x: x @ np.sin(x), 0, 0),
    "turned @ varying": (lambda w, x: x.T @ x, 0, 0),
    "a sum of products": (lambda w, x: x.T @ x + np.tanh(x) @ x, 0, 0),
    "constant": (lambda w, x: np.sin(w), 1, 1),
}


@pytest.mark.parametrize("name", ACCUMULATED)
@pytest.mark.parametrize("n", [2, 20])
@pytest.mark.parametrize("also", [None, lambda x: x @ x])
def test_scan_that_only_accumulates_is_added_up_outside(name, n, also):
    term, *n_loops = ACCUMULATED[name]
    rng = np.random.default_rng(0)
    w, xs, start = rng.normal(size=(n, n)), rng.normal(size=(4, n, n)), rng.normal(size=(n, n))

    def total(start, w, xs):
        def step(c, x):
            c = c + term(w, x)
            return c if also is None else c + also(x), None

        return tg.scan(step, start, xs)[0]

    step = tg.compile(total)
    expected = start + sum(term(w, x) + (also or np.zeros_like)(x) for x in xs)
    np.testing.assert_allclose(step(start, w, xs), expected, rtol=1e-12, atol=1e-12)
    made = step.program(start, w, xs).instructions
    loops = [x.options["loop"] for x in made if x.op.name == "scan"]
    # large terms are held for all steps only where their products become one
    assert len(loops) == n_loops[n > 2]
    # and no product is left in a loop
    assert tg.matmul not in [x.op for loop in loops for x in loop.body.instructions]


def product_that_is_read(c, x):
    y = x @ x
    return c + y, (np.tanh(y), np.cos(x[0]))


# steps that need their carry, rows, and whether nothing else is done for all steps
NEEDING = [
    (lambda c, x: (np.tanh(c + x), c.T), np.ones((3, 2, 2)), True),
    (lambda c, x: (c + x, (c, np.cos(x))), np.ones((3, 2)), False),
    (product_that_is_read, np.ones((3, 80, 80)), False),
    # a sum over steps would have another dtype, and these products would not become one
    (lambda c, x: (c + x, np.cos(x)), np.ones((3, 2), "i4"), False),
    (lambda c, x: (c + x @ x, np.cos(x[0])), np.ones((3, 80, 80), complex), False),
    (lambda c, x: (c + x @ x, np.cos(x[0, 0])), np.ones((3, 2, 20, 20)), False),
]


@pytest.mark.parametrize(("step", "rows", "is_all"), NEEDING)
def test_scan_that_needs_its_carry_keeps_it(step, rows, is_all):
    program = trim_loops(trace(lambda x: tg.scan(step, x[0], x), (rows,), {}))
    before, after = (
        [y.options["loop"] for y in x.instructions if "loop" in y.options]
        for x in (program, split_loops(program))
    )
    assert after[-1].n_carry == 1
    assert (before[0] is after[0]) is is_all


@pytest.mark.parametrize(
    "loop",
    [
        lambda c: tg.scan(lambda s, x: ((s[0], np.sin(s[1]) * s[0]), None), c, None, length=3)[0],
        lambda c: tg.while_loop(lambda s: s[1] > 0.5, lambda s: (s[0], np.sin(s[1]) * s[0]), c),
    ],
)
@pytest.mark.parametrize("kept", [0.9, np.float32(0.9), np.ones(())])
def test_carry_that_never_changes_is_captured(loop, kept):
    step, start = tg.compile(loop), (kept, np.ones(()))
    tg.tree.map(same, step(start), loop(start))
    (only,) = [x.options["loop"] for x in step.program(start).instructions if "loop" in x.options]
    assert (only.n_captured, only.n_carry) == (1, 1)


@pytest.mark.parametrize(
    "result", [lambda c, y, z: c, lambda c, y, z: y, lambda c, y, z: y * y, lambda c, y, z: z]
)
@pytest.mark.parametrize("reverse", [False, True])
def test_views_of_what_a_loop_returns_are_made_once(result, reverse):
    def step(c, row):
        z = np.concatenate([np.sin(c), c * row])
        y = np.tanh(z[:3] + z[3:])
        return y, result(c, y, z)

    def fn(x):
        last, ys = tg.scan(step, x[0], x, reverse=reverse)
        return ys[:, 1] * 2.0, np.cos(ys.reshape(-1)), ys[1:], last

    compiled, x = tg.compile(fn), np.arange(1.0, 13.0).reshape(4, 3) / 7.0
    run, _, once = str(compiled.program(x)).partition("# made once")
    assert "[:, 1]  # (4,): a view of " in once
    assert "[:, 1]" not in run
    first = compiled(x), fn(x)
    for got, wanted in (first, (compiled(x[::-1]), fn(x[::-1])), first):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


# whose results have a shape that depends on the values of whole numbers or truth values
READING = {"bincount", "compress", "extract"}


MASKED = {"getitem", "index_add", "index_set", "scatter"}


def is_step(case):
    """Whether a call passes gradients, and its result's shape is known while tracing."""
    masked = case.name in MASKED and any(x.dtype == bool for x in case.operands)
    with np.errstate(all="ignore"):
        outputs = tg.tree.leaves(case.fn(*case.operands))
    return not masked and any(np.asarray(y).dtype.kind == "f" for y in outputs)


STEPS = sorted({*SMOOTH} - READING)
CALLS = st.sampled_from(STEPS).flatmap(CASES.__getitem__).filter(is_step)


@depth("loop")
@given(CALLS)
def test_scan_of_any_op_compiled_computes_the_same(case):
    def loop(*rows):
        return tg.scan(lambda c, row: (c, case.fn(*row)), 0.0, rows)[1]

    with np.errstate(all="ignore"):
        check_compiled(loop, [np.stack([x, x, x]) for x in case.operands])


# the operand of a step's decomposition, the use of its two results, and whether one call does all
SEVERAL = {
    "of rows, after": (lambda c, x: x, lambda c, x, w, v: (c / 2, w + v), True),
    "of rows, before": (lambda c, x: x, lambda c, x, w, v: (np.tanh(c @ v) + w, c), True),
    "of rows, one each": (lambda c, x: x, lambda c, x, w, v: (np.tanh(c + w), v * v), True),
    "of carries, after": (lambda c, x: c + x, lambda c, x, w, v: (np.tanh(c @ x), w * v), True),
    "of carries, one after": (lambda c, x: c + x, lambda c, x, w, v: (np.tanh(c) + w, v), False),
    "of carries, for them": (lambda c, x: c + x, lambda c, x, w, v: (np.tanh(c @ v) + w, c), False),
}


@pytest.mark.parametrize("way", SEVERAL)
@pytest.mark.parametrize("of", [tg.eigh, lambda x: tg.svd(x)[1:]])
def test_scan_takes_several_results_out_of_its_steps_together(way, of):
    a = np.array([[2.0, 1.0, 0.5], [0.25, 3.0, 1.0], [0.5, 0.25, 5.0]])
    rows = np.stack([a, a + 1, a.T, a * a])
    given, use, apart = SEVERAL[way]

    def step(c, x):
        w, v = of(given(c, x))
        return use(c, x, w[:, None], v)

    def fn(rows):
        c, ys = tg.scan(step, np.eye(3), rows)
        return np.sum(c) + np.sum(ys * np.cos(np.arange(ys.size)).reshape(ys.shape))

    compiled = tg.compile(fn)
    np.testing.assert_allclose(compiled(rows), fn(rows), rtol=1e-9)
    np.testing.assert_allclose(tg.compile(tg.grad(fn))(rows), tg.grad(fn)(rows), rtol=1e-7)
    ops = [made.op for made in compiled.program(rows).instructions]
    assert any(isinstance(op, MultiOutputOp) for op in ops) is apart


def _pulled_twice(loss):
    pull = tg.vjp(loss, 0.5)[1]
    return pull(1.0), pull(2.0)


@pytest.mark.parametrize(
    "way",
    [lambda f: tg.compile(tg.grad(f)).program(0.5), lambda f: tg.grad(f)(0.5), _pulled_twice],
    ids=["compiled", "recorded", "pulled twice"],
)
def test_step_is_differentiated_once(way):
    calls = []

    def slope(g, y, x):
        calls.append(y)
        return 3 * g * x**2

    cube = tg.custom_op(vjps=(slope,))(lambda x: x**3)
    way(lambda x: tg.scan(lambda c, _: (cube(c), None), x, length=3)[0])
    assert len(calls) == 1


def test_scan_is_written_once_whatever_its_length():
    def loss(w, xs):
        return tg.scan(lambda h, x: (np.tanh(x @ w + h), None), np.zeros(4), xs)[0].sum()

    step, w = tg.compile(tg.grad(loss)), np.ones((3, 4))
    texts = [str(step.program(w, np.ones((n, 3)))) for n in (20, 500)]
    assert len({text.count("\n") for text in texts}) == 1
    # its products and their gradients are outside of the loops
    loops = [
        x.options["loop"]
        for x in step.program(w, np.ones((20, 3))).instructions
        if x.op.name == "scan"
    ]
    assert [loop.n_carry for loop in loops] == [1, 1]
    assert not any(x.op is tg.matmul for loop in loops for x in loop.body.instructions)


@pytest.mark.parametrize(("outside", "times"), [(lambda f: f, 1), (tg.checkpoint, 2)])
def test_steps_of_a_loop_inside_are_computed_once_unless_asked(outside, times):
    def loss(w, xs):
        def step(h, x):
            return tg.scan(lambda d, y: (np.tanh(d @ w + y * x), None), h, xs)[0], np.sin(h)

        c, ys = tg.scan(outside(step), xs[0], xs)
        return np.sum(c) + np.sum(ys)

    args = np.eye(3) * 0.5, np.linspace(-1.0, 1.0, 12).reshape(4, 3)
    gradients = tg.grad(loss, (0, 1))
    compiled = tg.compile(gradients)
    assert str(compiled.program(*args)).count("= tanh(") == times
    tg.tree.map(same, compiled(*args), gradients(*args))


# views of a carry, of an intermediate value, and of an element, some of them views of views
VIEWS = [
    lambda x: x[0],
    lambda x: x[:, 1:],
    lambda x: x.T[1],
    lambda x: x.reshape(6)[::2],
    lambda x: x[1, 2],
    lambda x: x.T.reshape(6)[:4],
]
# the rows of a caller's array, and of arrays of the program's own in one order or another
ROWS = [
    lambda xs: xs,
    np.sin,
    lambda xs: np.sin(xs)[::-1],
    lambda xs: np.sin(xs)[:, ::-1],
    lambda xs: np.sin(xs.transpose(0, 2, 1)).transpose(0, 2, 1),
    lambda xs: np.sin(xs.transpose(1, 2, 0)).transpose(2, 0, 1)[1:],
]


@depth("loop")
@given(
    st.lists(st.sampled_from(VIEWS), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(ROWS),
)
@example([VIEWS[3]], False, ROWS[3])
def test_scan_makes_views_of_memory_that_stays_once(views, reverse, rows):
    def loss(loop):
        def step(c, x):
            y = np.tanh(c * x)
            parts = [part for view in views for part in (view(c) * view(x), view(y))]
            total = sum([np.sum(np.sin(part * k)) for k, part in enumerate(parts, 1)])
            return np.cos(y) * total, (parts[-1] * total, c)

        def run_loop(c, xs):
            c, (ys, cs) = loop(step, c, rows(xs))
            return np.sum(c) + np.sum(ys * np.sin(ys)) + np.sum(cs[0])

        return run_loop

    def given_rows(key):
        rng = np.random.default_rng(key)
        return rng.normal(size=(2, 3)), rng.normal(size=(5, 2, 3))

    scanned, unrolled = (loss(lambda *a, f=f: f(*a, reverse)) for f in (scan, by_hand))
    forward = tg.compile(scanned)
    both = tg.compile(tg.value_and_grad(scanned, (0, 1)))
    for key in range(2):
        value, gradients = tg.value_and_grad(unrolled, (0, 1))(*given_rows(key))
        same(forward(*given_rows(key)), value)
        same(both(*given_rows(key)), (value, gradients))
    # views left in a step are of a row of the caller's, or of a transpose that a reshape copies
    steps = [x for x in str(forward.program(*given_rows(0))).splitlines() if x[:8].isspace()]
    left = [x for x in steps if re.search(r"= \w+(\[|\.T|\.reshape)", x)]
    assert all(re.search(r"= (x(_\w+)?[.[]|\w+_(T\.reshape|flat\[))", x) for x in left), left


def scan(f, init, xs, reverse):
    return tg.scan(f, init, xs, reverse=reverse)


def test_cond_and_while_loop_are_written_as_if_and_as_a_loop_with_a_break():
    def root(x):
        return tg.while_loop(lambda y: np.abs(y * y - x) > 1e-9, lambda y: (y + x / y) / 2, x)

    step = tg.compile(lambda x: tg.cond(x > 1, root, lambda x: x * 2, x))
    text = str(step.program(2.0))
    assert "\n    if " in text
    assert "in zip(cycle(y_rows), cycle(y_next_rows)):\n" in text
    assert "    break\n" in text
    same(step(4.0), 2.0)
    same(step(0.5), 1.0)


def test_while_loop_is_ended_by_its_carry_whatever_its_step_has_ready():
    def fn(c, w):
        return tg.while_loop(lambda c: np.sum(c) < 5000.0, lambda c: c + w, c)

    args = np.ones((4, 16)), np.arange(16.0)
    compiled = tg.compile(fn)
    # a row is laid out once, before the loop
    assert "broadcast_to" in [x.op.name for x in compiled.program(*args).instructions]
    np.testing.assert_array_equal(compiled(*args), fn(*args))
