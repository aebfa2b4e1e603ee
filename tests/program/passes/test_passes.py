"""Each pass alone, together and in any order: the program computes what was recorded."""

import functools
import pickle
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from loops import arguments, losses, terms
from programs import (
    SQUARE,
    after,
    assert_close,
    assert_computes,
    improved,
    kinds,
    ops_of,
    run,
    tidy,
)

import tapegrad as tg
from tapegrad.ops.indexing import scatter
from tapegrad.ops.rows import pick, segment_sum, unpick
from tapegrad.program import PASSES
from tapegrad.program.builder import Builder
from tapegrad.program.compiled import trace
from tapegrad.program.content import content, exact
from tapegrad.program.control.loop import codes_in
from tapegrad.program.ir import Ref
from tapegrad.program.passes import (
    GROUPS,
    fold,
    improve_bodies,
    join_sigmoids,
    pick_first,
)
from tapegrad.program.program import check_program, made
from tapegrad.testing import programs

DISTINCT = tuple(dict.fromkeys(PASSES))


@pytest.fixture(autouse=True, scope="module")
def _small_programs_in_any_order():
    with mock.patch("tapegrad.program.passes.order.LEAST", 1):
        yield


@functools.cache
def some_programs():
    """Random programs, the same for each pass: as written, traced, and a copy of that."""
    found = []

    @depth("program, by one pass")
    @given(programs(max_steps=16))
    def collect(written):
        program = trace(written.step, written.arguments[0], {})
        found.append((written, program, pickle.loads(pickle.dumps(program))))

    collect()
    return found


@pytest.mark.parametrize("improve", DISTINCT, ids=lambda f: f.__name__)
def test_passes_alone_change_no_result(improve):
    for written, program, before in some_programs():
        once = improve(program)
        assert program == before
        if once == program:
            continue  # that this computes what was recorded is the next test
        assert improve(before) == once
        check_program(once)
        assert_computes(written, once)
        twice = improve(once)
        check_program(twice)
        if twice != once:
            assert_computes(written, twice)


@depth("program")
@given(programs())
def test_passes_leave_a_well_formed_program(written):
    program = trace(written.step, written.arguments[0], {})
    for improve in PASSES:
        program = improve(program)
        check_program(program)
    assert_computes(written, program)
    again = improved(program, PASSES)
    check_program(again)
    assert_computes(written, again)


@depth("program")
@given(st.permutations(DISTINCT), programs(max_steps=24))
def test_passes_in_any_order_change_no_result(passes, written):
    program = trace(written.step, written.arguments[0], {})
    for improve in passes:
        program = improve(program)
        check_program(program)
    assert_computes(written, program)


@depth("program")
@given(programs(max_steps=24))
def test_what_a_builder_keeps_of_a_program_stays_true(written):
    program = trace(written.step, written.arguments[0], {})
    builder = Builder.of_program(program)
    for improve in PASSES:
        improve.change(builder)
        builder.tidy()
        program = improve(program)
        # a builder that begins anew finds the same, whatever the one before it has kept
        assert made(program, builder) == program
        instructions = dict(builder.in_order())
        assert sorted(instructions) == [i for i, is_here in enumerate(builder.here) if is_here]
        counts = Counter()
        for i, instruction in instructions.items():
            assert builder.op_of[i] is instruction.op
            counts.update((x, i) for x in instruction.operands if type(x) is Ref)
        counts.update((x, -1) for x in builder.outputs if type(x) is Ref)
        for x in {x for x, _ in counts}:
            found = Counter((x, i) for i in builder.users_of(x))
            assert found == {pair: n for pair, n in counts.items() if pair[0] == x}
        used = {x for x, _ in counts}
        assert all(builder.refs[i] in used for i in instructions)
        contents = [content(x, exact(x.operands)) for x in instructions.values()]
        assert len(set(contents)) == len(contents)


@depth("program, as text")
@given(programs(max_steps=16))
def test_passes_keep_inputs_and_the_tree_of_outputs(written):
    program = trace(written.step, written.arguments[0], {})
    after = improved(program, PASSES)
    assert after.inputs == program.inputs
    assert after.structure == program.structure
    assert len(after.outputs) == len(program.outputs)


def test_what_is_equal_is_computed_once():
    ops = ops_of(lambda x, y: (tg.tanh(x * y) + 1.0, tg.tanh(x * y) * y), np.ones(3), np.ones(3))
    assert ops.count("tanh") == ops_of(lambda x: tg.tanh(x), np.ones(3)).count("tanh") == 1
    # what another pass makes equal, after the others were compared
    assert ops_of(lambda x: (np.tanh(x), np.tanh(x * 1.0) * 2.0), np.ones(3)).count("tanh") == 1


def test_what_no_output_needs_is_dropped():
    def fn(x):
        tg.exp(x)
        return tg.tanh(x)

    assert ops_of(fn, np.ones(3)) == ["tanh"]


def test_what_is_equal_but_not_the_same_is_not_shared():
    def fn(x):
        return x * 0.0, x * -0.0, x * 1, x * True, x / 0.5, x / -0.5

    x = np.array([1.0, -2.0])
    for got, wanted in zip(tg.compile(fn)(x), fn(x), strict=True):
        assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("improve", DISTINCT, ids=lambda f: f.__name__)
def test_passes_keep_signed_zeros_infinities_and_nans(improve):
    def fn(x):
        return (
            x * 1.0, x + 0.0, 0.0 + x, x - 0.0, 0.0 - x, -x, tg.negative(-x), x / 1.0, x * 0.0,
            x**2, x**1, x**0, tg.maximum(x, -0.0), tg.where(x > 0, x, -0.0), tg.tanh(x) * 1.0,
            x**-1,
        )  # fmt: skip

    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.0])
    with np.errstate(all="ignore"):
        program = improve(trace(fn, (x,), {}))
        for got, wanted in zip(run(program, (x,)), fn(x), strict=True):
            np.testing.assert_array_equal(got, wanted)
            kept = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(got)[kept], np.signbit(wanted)[kept])


@depth("loop")
@given(terms, st.booleans())
def test_bodies_are_improved_by_the_passes_of_the_call(terms, remember):
    step, args = tg.grad(losses(terms, False, remember)[0], (0, 1, 2)), arguments(2)
    seen = []

    def watch(code):
        seen.append(code.instructions)
        return code

    recorded = codes_in(tg.compile(step, passes=()).program(*args))
    # by none but the one that hands them on, they are tidied alone
    for code in codes_in(tg.compile(step, passes=(improve_bodies,)).program(*args)):
        assert tidy(code) == improve_bodies(code) == code
    for passes in ((improve_bodies, watch), (fold, improve_bodies, watch)):
        seen.clear()
        codes = codes_in(tg.compile(step, passes=passes).program(*args))
        assert len(codes) == len(seen) == len(recorded) > 1
        assert all(code.instructions in seen for code in codes)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("passes", [PASSES, *[(improve,) for improve in DISTINCT]])
def test_passes_on_a_recurrent_network(dtype, passes):
    embedding, cell = tg.nn.Embedding(7, 4), tg.nn.RNNCell(4, 5, 7)
    params = {"table": embedding.init(0), "cell": cell.init(1)}
    params = tg.tree.map(lambda p: p.astype(dtype), params)

    def loss(params, words, targets):
        hidden = cell.initial_hidden(len(words)).astype(dtype)
        for t in range(words.shape[1]):
            output, hidden = cell(params["cell"], embedding(params["table"], words[:, t]), hidden)
        return tg.nn.cross_entropy_loss(output, targets)

    rng = np.random.default_rng(0)
    words, targets = rng.integers(7, size=(9, 4)), rng.integers(7, size=9)
    step = tg.value_and_grad(loss)
    compiled = tg.compile(step, passes=passes)
    assert_close(compiled(params, words, targets), step(params, words, targets), np.dtype(dtype), 1)


@given(
    st.integers(1, 5),
    st.sampled_from([(3, 4), (1, 2), (2, 2)]),
    st.sampled_from(["same", "own", "two"]),
    st.booleans(),
)
def test_passes_on_products_over_steps(n, shape, which, chained):
    rng = np.random.default_rng(n)
    weights = [rng.standard_normal((shape[1], shape[1])) / 2 for _ in range(n)]
    xs = rng.standard_normal((n, *shape))

    def loss(weights, xs):
        h, total = xs[0], 0.0
        for t in range(n):
            w = weights[{"same": 0, "own": t, "two": t % 2 if n > 1 else 0}[which]]
            h = tg.tanh((h if chained else 0.0) + xs[t] @ w)
            total = total + tg.sum(h * h) + tg.sum(tg.mean(h, axis=0))
        return total

    step = tg.value_and_grad(loss, argnums=(0, 1))
    assert_close(tg.compile(step)(weights, xs), step(weights, xs), np.dtype(float), 10)


STEPS = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])


def gradient(x):
    return tg.grad(lambda x: tg.sum(tg.tanh(x) * x))(x)


def after_row(x, rate):
    update = rate * gradient(x)
    return x - update, rate * (update + x), rate * update


def twice_scaled(x, rate):
    g = gradient(x)
    update = rate * g
    return update, rate * (update + g)


def two_ways(x, y, v, w):
    return tg.tanh(tg.tanh(x) @ w) @ v + tg.tanh(tg.tanh(y) @ v) @ w


def positions(table, place):
    rows = tg.index_select(table, STEPS)
    return rows[:2] + place, rows[2:] + place


def two_slices(values):
    left, right = (slice(None), slice(0, 3)), (slice(None), slice(3, 6))
    return scatter(values, (4, 6), left) + scatter(values, (4, 6), right)


def two_segments(values, w, i, j):
    return segment_sum(values @ w, i, 4) + segment_sum(values @ w, j, 4)


def two_options(x):
    op = tg.custom_op(vjps=(lambda g, y, x, of: g,))(lambda x, of: x + of[0].sum())
    first, second = np.zeros(3000), np.zeros(3000)
    second[1500] = 1.0
    return op(x, of=(first,)) + op(x, of=(second,))


def shifted(x, s):
    return tg.exp((x - tg.max(x)) - tg.log(s))


WRONG_BEFORE = {
    "a product with the rate that is multiplied again": (after_row, SQUARE, 0.1),
    "an update scaled and added to a gradient": (twice_scaled, SQUARE, 0.5),
    "products by two weights, each after the other": (two_ways, SQUARE, SQUARE, SQUARE.T, SQUARE),
    "what is added to selected rows is as long as the table": (
        positions, np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) / 8,
    ),
    "what is added to selected rows does not fit the table": (
        positions, np.arange(6.0).reshape(2, 3), np.arange(3.0),
    ),
    "slices that are broadcast to their place": (two_slices, np.ones((1, 3))),
    "slices of fewer axes": (two_slices, np.arange(3.0)),
    "indices of two dtypes": (
        two_segments, SQUARE, SQUARE, np.array([0, 1, 1]), np.array([0, 1, 3], np.uint64),
    ),
    "rows of a narrower dtype than their product": (
        two_segments, (SQUARE * 1.1).astype("f4"), SQUARE, np.zeros(3, int), np.zeros(3, int),
    ),
    "a sum that is wider than its rows": (
        lambda v: tg.sum(unpick(v, np.array([0, 1]), 3), -1), np.array([1, 2], np.int32),
    ),
    "an exponent that is an integer": (lambda x: tg.ldexp(x, 3), np.array([1.0, 2.0])),
    "numbers whose product is too large": (
        lambda x: (x * 1e30) * 1e30, np.full(3, 1e-30, np.float32),
    ),
    "numbers whose sum is too large": (
        lambda x: tg.sum(x * 1e-30), np.full(9, 1e38, np.float32),
    ),
    "numbers whose product is too small": (
        lambda x: (x * 1e-200) * 1e-200 * 1e100, np.full(3, 1e300),
    ),
    "zeros of both signs": (
        lambda x: (x / np.array([0.0, -0.0]), tg.where(x > 5, x, np.array([0.0, -0.0]))),
        np.ones(2),
    ),
    "less -0.0": (lambda x: (x - (-0.0), x - np.full(2, -0.0)), np.array([-0.0, 1.0])),
    "the logarithm of what is no sum": (shifted, np.arange(3.0), np.asarray(-2.0)),
    "options with arrays inside that look alike": (two_options, np.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_BEFORE.values(), ids=WRONG_BEFORE)
def test_passes_leave_what_looks_like_a_case(case):
    step, *args = case
    with np.errstate(all="ignore"):
        wanted, got = step(*args), tg.compile(step)(*args)
    assert_close(got, wanted, np.dtype(float), 1)
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
        if b.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a)[b == 0], np.signbit(b)[b == 0])


def test_join_sigmoids_needs_one_exponential():
    def fn(x):
        return tg.sigmoid(x) * tg.sigmoid(-x), tg.sigmoid(x)

    assert after(join_sigmoids, fn, SQUARE).count("exp") == 1
    assert "exp" not in after(join_sigmoids, fn, SQUARE.astype(np.float16))


def by_scan(cell):
    def loss(params, xs):
        def step(h, x):
            y, h = cell(params, x, h)
            return h, y

        return np.sum(tg.scan(step, cell.initial_hidden(2), xs)[1] ** 2)

    return tg.value_and_grad(loss)


@pytest.mark.parametrize(
    ("cell", "sigmoids"),
    [(tg.nn.RNNCell(3, 4, 2), 1), (tg.nn.GRUCell(3, 4), 1), (tg.nn.LSTMCell(3, 4), 3)],
    ids=lambda x: type(x).__name__,
)
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_join_sigmoids_needs_one_exponential_across_loops(cell, sigmoids, scale):
    xs = scale * np.linspace(-1.0, 1.0, 5 * 2 * 3).reshape(5, 2, 3)
    fn = tg.compile(by_scan(cell))
    assert str(fn.program(cell.init(0), xs)).count(" exp(") == sigmoids
    assert_close(fn(cell.init(0), xs), by_scan(cell)(cell.init(0), xs), np.dtype(float), 1)


@pytest.mark.parametrize("large", [1, 64])
def test_join_sigmoids_leaves_the_slope_of_another(large):
    # y is the sigmoid of another value than the one that is negated
    def fn(xs, zs):
        def forth(h, row):
            x, z = row
            y = tg.sigmoid(x + h)
            return y, (y, x + h, z + h)

        def back(h, row):
            y, x, z = row
            return h + y * tg.sigmoid(-z) + y[:, ::-1] * tg.sigmoid(-x), None

        first, rows = tg.scan(forth, np.zeros(xs.shape[1:]), (xs, zs))
        return tg.scan(back, first, rows)[0]

    xs, zs = np.random.default_rng(0).normal(size=(2, 4, large, large + 1))
    compiled = tg.compile(fn)
    assert_close(compiled(xs, zs), fn(xs, zs), np.dtype(float), 1)
    assert str(compiled.program(xs, zs)).count(" exp(") == 3


def test_join_sigmoids_leaves_the_slope_of_a_last_step():
    # rows of the second loop are of the last step of the first, not of each
    def fn(x):
        def forth(c, row):
            return (tg.sigmoid(row), row), None

        (y, z), _ = tg.scan(forth, (x[0], x[0]), x)
        return tg.scan(lambda h, row: (h + row[0] * tg.sigmoid(-row[1]), None), 0.0, (y, z))[0]

    assert_close(tg.compile(fn)(SQUARE), fn(SQUARE), np.dtype(float), 1)


def test_loops_return_no_value_twice():
    def fn(xs):
        def step(h, x):
            h = np.tanh(h + x)
            return h, (h, h * 2)

        return np.sum(tg.scan(step, 0.0, xs)[1][0] ** 2)

    program = tg.compile(tg.grad(fn)).program(SQUARE[0])
    loops = [x.options["loop"] for x in program.instructions if x.op.name == "scan"]
    for loop in loops:
        rows = loop.body.outputs[loop.n_carry :]
        assert len(set(rows)) == len(rows)
    assert len(loops) == 2


def test_pick_first_before_a_column_is_taken_off():
    i = np.array([0, 2, 1])

    def fn(x, i):
        return pick(x - tg.sum(x, -1, keepdims=True), i)

    ops = after(pick_first, fn, SQUARE, i)
    assert ops.index("subtract") > ops.index("index_select")
    program = trace(lambda x, i: (fn(x, i), x - tg.sum(x, -1, keepdims=True)), (SQUARE, i), {})
    assert kinds(pick_first(tidy(program))).count("subtract") == 1


def test_pick_first_finds_the_largest_of_wide_rows():
    x = np.ones((16, 32))
    assert "argmax" in after(pick_first, lambda x: tg.max(tg.tanh(x), axis=-1), x)
    for fn in (
        lambda x: tg.max(tg.tanh(x)),
        lambda x: tg.max(tg.tanh(x), 0),
        lambda x: tg.max(tg.tanh(x[:2, :2]), -1),
        lambda x: tg.max(tg.tanh(x).T, -1),
        lambda x: tg.max(x, -1),
    ):
        assert "argmax" not in after(pick_first, fn, x)


def test_a_pass_leaves_nothing_equal_or_unneeded():
    assert tuple(improve for group in GROUPS.values() for improve in group) == PASSES
    w = {"a": np.ones((2, 3)), "b": np.ones(3)}

    def fn(w, x):
        def loss(w):
            return tg.sum(tg.relu(x @ w["a"] + w["b"]) ** 2)

        return {k: w[k] - 0.1 * g for k, g in tg.grad(loss)(w).items()}

    program = trace(fn, (w, np.ones((4, 2))), {})
    for improve in PASSES:
        program = improve(program)
        assert tidy(program) == program


X, Z = (
    np.array([[0.5, -1.0, 2.0], [3.0, 0.25, -0.5]]),
    np.array([[1.0, 2.0, -3.0], [0.0, 1.5, 0.5]]),
)


# without the largest of its row taken off, the first row's exponentials are all 0
FAR = np.array([[-800.0, -900.0, -1800.0], [0.0, 1.0, 2.0]])


BIG = np.linspace(-1.0, 1.0, 1 << 18).reshape(512, 512)


def softmax(shifted, others=None):
    grown = np.exp(shifted if others is None else others)
    return np.exp(shifted - np.log(np.sum(grown, axis=1, keepdims=True)))


BESIDE = {
    "an empty part": (lambda x, z: np.concatenate([np.sin(x[3:]), np.cos(x)]), X, Z),
    "nothing but empty parts": (lambda x, z: np.concatenate([x[3:] * 2.0, z[2:]]), X, Z),
    "a softmax by the largest of another array": (
        lambda x, z: softmax(x - np.max(z, axis=1, keepdims=True)),
        *(FAR, Z),
    ),
    "a softmax by the largest along another axis": (
        lambda x, z: softmax(x - np.max(x, axis=0, keepdims=True)),
        *(FAR, Z),
    ),
    "a softmax by the sum of other exponentials": (
        lambda x, z: softmax(x - np.max(x, axis=1, keepdims=True), z),
        *(FAR, FAR),
    ),
    "a condition that is a number": (lambda x, z: np.where(z[0, 0] > 0, x, 0.0), X, Z),
    "a value that is a number": (lambda x, z: np.where(z > 0, x[0, 0], 0.0), X, Z),
    "numbers alone": (lambda x, z: np.where(z[0, 0] > 0, x[0, 0], 0.0), X, Z),
    "a condition that is not boolean": (lambda x, z: np.where(z.astype(int), x, 0.0), X, Z),
    "integers chosen": (lambda x, z: np.where(z > 0, x.astype(int), 0.0), X, Z),
    "another choice than zero": (lambda x, z: np.where(z > 0, x, 1.0), X, Z),
    "a sum of sums that broadcasts": (
        lambda x, z: x.T @ z + z.T @ x + (x[:1, :].T @ z[:1] + z[1:].T @ x[1:])[:, :1],
        *(X, Z),
    ),
    "a small sum in a larger one": (lambda x, z: (x[0] + z[0]) + (x + z), X, Z),
    "a sum that is a result too": (lambda x, z: ((s := x + z), s + x), X, Z),
    "a sum that is used twice": (lambda x, z: ((s := x.T @ z + z.T @ x) + x.T @ x) * s, X, Z),
    "a large sum along the first axis": (lambda x, z: np.sum(np.tanh(x * 2.0), axis=0), BIG, Z),
    "a large sum along all axes": (lambda x, z: np.sum(np.tanh(x * 2.0), axis=(0, 1)), BIG, Z),
    "a large sum that keeps its axes": (lambda x, z: np.sum(x * x, keepdims=True), BIG, Z),
    "a large sum in a wider dtype": (
        lambda x, z: np.sum((x * x).astype(np.float32)).astype(float),
        *(BIG, Z),
    ),
    "a large sum of integers": (lambda x, z: np.sum((x * 9.0).astype(int) * 2), BIG, Z),
    "large integers": (lambda x, z: (x * 9.0).astype(int) * 2 + 1, BIG, Z),
    "one element beside more": (
        lambda x, z: (x - z[:1, :1], z[:1, :1] / x, z[0, :1] - x[1], x[1] / z[:1, :1]),
        *(X, Z),
    ),
    "one element beside one": (lambda x, z: (x[:1, :1] - z[0, :1], z[:1, :1] / x[0, 0]), X, Z),
    "a carry that multiplies": (
        lambda x, z: tg.scan(lambda c, y: (c * y, None), z[0, 0], x[0])[0],
        *(X, Z),
    ),
    "a carry that is taken off": (
        lambda x, z: tg.scan(lambda c, y: (y - c, None), z[0, 0], x[0])[0],
        *(X, Z),
    ),
    "a table with itself added": (
        lambda x, z: tg.at(y := np.sin(x)[:, 0])[np.array([1, 0])].add(y),
        *(X, Z),
    ),
    "a table with its own rows added": (
        lambda x, z: tg.at(y := np.sin(x))[np.array([1, 0, 1])].add(y[np.array([0, 1, 1])]),
        *(X, Z),
    ),
    "values that end with an addition": (
        lambda x, z: tg.at(np.sin(x))[np.array([1, 0])].add(np.cos(z)),
        *(X, Z),
    ),
}


@pytest.mark.parametrize(("fn", "x", "z"), BESIDE.values(), ids=BESIDE)
def test_passes_beside_their_patterns(fn, x, z):
    def summed(x, z):
        return sum([np.sum(y * y) for y in tg.tree.leaves(fn(x, z))], start=0.0)

    for f in (fn, tg.grad(summed, argnums=(0, 1))):
        with np.errstate(all="ignore"):
            recorded, compiled = f(x, z), tg.compile(f)(x, z)
        for a, b in zip(tg.tree.leaves(recorded), tg.tree.leaves(compiled), strict=True):
            assert (np.shape(a), np.result_type(a)) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
