"""Each pass alone, together and in any order: the program computes what was recorded."""

import functools
import itertools
import pickle
from unittest import mock

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from programs import assert_close, scale_of

import tapegrad as tg
from tapegrad.ops.indexing import pick, scatter, segment_sum, unpick
from tapegrad.program import PASSES
from tapegrad.program.compiled import trace
from tapegrad.program.ir import Ref
from tapegrad.program.memory import MANY, planned
from tapegrad.program.passes import (
    GROUPS,
    add_before_parting,
    contract_sums,
    drop_dead,
    fold,
    join_factors,
    join_gathers,
    join_sigmoids,
    pick_first,
    share_common,
    stack_products,
    stack_sums,
    sums_as_products,
    type_numbers,
    update_rows,
)
from tapegrad.program.program import check_program
from tapegrad.program.text import runner
from tapegrad.testing import programs

DISTINCT = tuple(dict.fromkeys(PASSES))


def improved(program, passes):
    for improve in passes:
        program = improve(program)
    return program


def run(program, args):
    return runner(program)()(*args)


def assert_computes(written, program):
    for args in written.arguments:
        expected = written.step(*args)
        assert_close(run(program, args), expected, written.narrowest, scale_of(written.step, args))


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
def test_a_pass_alone_changes_no_result(improve):
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
def test_without_passes_a_program_computes_what_was_recorded(written):
    program = trace(written.step, written.arguments[0], {})
    check_program(program)
    assert_computes(written, program)


@depth("program")
@given(programs())
def test_a_program_is_well_formed_after_each_of_the_passes(written):
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


@depth("program, as text")
@given(programs(max_steps=16))
def test_no_pass_changes_the_inputs_or_the_tree_of_the_outputs(written):
    program = trace(written.step, written.arguments[0], {})
    after = improved(program, PASSES)
    assert after.inputs == program.inputs
    assert after.structure == program.structure
    assert len(after.outputs) == len(program.outputs)


@depth("program, as text")
@given(programs(max_steps=16))
def test_programs_pickle_and_compare_equal(written):
    program = trace(written.step, written.arguments[0], {})
    for kept in (program, improved(program, PASSES)):
        restored = pickle.loads(pickle.dumps(kept))
        assert restored == kept
        assert str(restored) == str(kept)
        assert all(not x.value.flags.writeable for x in restored.constants)


def test_programs_of_the_same_function_are_equal_and_of_another_are_not():
    def fn(x):
        return tg.sum(tg.tanh(x) * 2.0)

    x = np.ones(3)
    same, other = tg.compile(fn), tg.compile(lambda x: tg.sum(tg.tanh(x) * 3.0))
    assert tg.compile(fn).program(x) == same.program(x)
    assert other.program(x) != same.program(x)
    assert tg.compile(fn).program(np.ones(2)) != same.program(x)


@pytest.mark.parametrize(("first", "second"), [(0.0, -0.0), (1, True), (2, 2.0)])
def test_programs_with_operands_that_are_equal_but_not_the_same_differ(first, second):
    def program_with(number):
        return tg.compile(lambda x: tg.maximum(x, number), passes=()).program(np.ones(3))

    assert program_with(first) != program_with(second)
    assert program_with(first) == program_with(first)


def ops_of(fn, *args):
    return [x.op.name for x in tg.compile(fn).program(*args).instructions]


def test_what_is_computed_twice_is_computed_once():
    ops = ops_of(lambda x, y: (tg.tanh(x * y) + 1.0, tg.tanh(x * y) * y), np.ones(3), np.ones(3))
    assert ops.count("tanh") == ops_of(lambda x: tg.tanh(x), np.ones(3)).count("tanh") == 1


def test_what_no_output_needs_is_dropped():
    def fn(x):
        tg.exp(x)
        return tg.tanh(x)

    assert ops_of(fn, np.ones(3)) == ["tanh"]


def test_what_is_equal_but_not_the_same_is_not_merged():
    def fn(x):
        return x * 0.0, x * -0.0, x * 1, x * True, x / 0.5, x / -0.5

    x = np.array([1.0, -2.0])
    for got, wanted in zip(tg.compile(fn)(x), fn(x), strict=True):
        assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("improve", DISTINCT, ids=lambda f: f.__name__)
def test_signed_zeros_infinities_and_nans_survive_every_pass(improve):
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


def test_a_power_of_a_half_is_the_square_root():
    """As NumPy's operator has it: the function `np.power` has so from NumPy 2.3 on."""
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.0])
    with np.errstate(all="ignore"):
        recorded, _ = tg.record(lambda x: x**0.5)(x)
        for got in (recorded.value, tg.compile(lambda x: x**0.5)(x), x**0.5):
            assert repr(got) == repr(np.sqrt(x))


def test_a_shared_value_is_not_written_over_before_its_last_use():
    def fn(x):
        y = tg.tanh(x)
        z = y[::-1]
        for _ in range(6):
            y = tg.tanh(y * 2.0 + z)
        return y, z, z.reshape(2, 2).T + 1.0

    x = np.linspace(-1, 1, 4)
    for got, wanted in zip(tg.compile(fn)(x), fn(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("passes", [PASSES, *[(improve,) for improve in DISTINCT]])
def test_a_recurrent_network_is_improved_and_computes_the_same(dtype, passes):
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
def test_products_over_steps_compute_the_same_however_weights_are_shared(n, shape, which, chained):
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


@pytest.mark.parametrize("passes", [PASSES, *[(improve,) for improve in DISTINCT]])
@pytest.mark.parametrize("strange", [np.inf, np.nan])
def test_rows_that_are_not_selected_have_no_influence(strange, passes):
    rng = np.random.default_rng(0)
    table, w = rng.standard_normal((4, 3)), rng.standard_normal((3, 5))
    table[2] = strange
    indices = rng.choice([0, 1, 3], size=40)

    def loss(table, w, indices):
        return tg.sum(tg.tanh(tg.index_select(table, indices) @ w))

    step = tg.value_and_grad(loss, argnums=(0, 1))
    with np.errstate(invalid="ignore"):
        got = tg.compile(step, passes=passes)(table, w, indices)
    assert_close(got, step(table, w, indices), np.dtype(float), 10)


def test_indices_of_joined_rows_are_checked_at_once():
    table = tg.nn.Embedding(5, 3)

    def fn(params, words):
        return np.concatenate([table(params, words[:, i]) for i in range(4)])

    args = table.init(0), np.arange(8).reshape(2, 4) % 5
    assert ops_of(fn, *args).count("from_zero") == 1
    compiled = tg.compile(fn)
    np.testing.assert_array_equal(compiled(*args), fn(*args))
    with pytest.raises(IndexError, match="index -3 "):
        compiled(args[0], args[1] - 3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1,), (6,), (2, 3), (90,)])
@depth("small step")
@given(seed=st.integers(0, 1000), momentum=st.sampled_from([0.0, 0.5]))
def test_an_update_of_selected_rows_is_as_recorded(dtype, shape, seed, momentum):
    rng = np.random.default_rng(seed)
    optimizer = tg.optim.SGD(0.1, momentum)

    def step(table, state, indices, targets):
        def loss(table):
            d = tg.index_select(table, indices) - targets
            return tg.sum(d * d)

        value, g = tg.value_and_grad(loss)(table)
        return value, *optimizer.update(table, g, state)

    compiled = tg.compile(step)
    table = expected = rng.standard_normal((60, 2)).astype(dtype)
    state = expected_state = optimizer.init(table)
    kept = []
    for _ in range(4):
        indices = rng.integers(-60, 60, shape) // rng.choice([1, 30])
        targets = rng.standard_normal((*shape, 2)).astype(dtype)
        before = table.copy()
        value, after, state = compiled(table, state, indices, targets)
        wanted, expected, expected_state = step(expected, expected_state, indices, targets)
        assert_close(
            (value, after, state), (wanted, expected, expected_state), np.dtype(dtype), 100
        )
        assert table.tobytes() == before.tobytes()
        assert not np.shares_memory(table, after)
        with pytest.raises(IndexError):
            compiled(table, state, np.full(shape, 60), targets)
        kept.append((after, after.tobytes()))
        table = after
    assert all(x.tobytes() == data for x, data in kept)


def scaled(program):
    """The shapes of what is multiplied by a number."""
    made = [i for i in drop_dead(program).instructions if i.op.name in ("multiply", "negative")]
    return [i.shape for i in made]


# --- where a pass would be wrong ----------------------------------------------------------


SQUARE = np.arange(9.0).reshape(3, 3) / 4 - 1
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
def test_what_looks_like_a_case_for_a_pass_and_is_none(case):
    step, *args = case
    with np.errstate(all="ignore"):
        wanted, got = step(*args), tg.compile(step)(*args)
    assert_close(got, wanted, np.dtype(float), 1)
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
        if b.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a)[b == 0], np.signbit(b)[b == 0])


def test_a_long_sum_of_narrow_numbers_is_as_precise_as_recorded():
    x = np.full((2, 1 << 20), 0.1, np.float32)
    for laid in (x, np.ones_like(x).T * np.float32(0.1)):
        axis = int(laid.shape[0] == 2)
        got = tg.compile(lambda x: tg.sum(x, axis=axis))(laid)  # noqa: B023
        np.testing.assert_allclose(got, tg.sum(laid, axis=axis), rtol=1e-6)


# --- what each pass does --------------------------------------------------------------------


def kinds(program):
    return [x.op.name for x in program.instructions]


def after(improve, fn, *args):
    """The kinds of the instructions that a pass, and dropping what is dead, leaves of fn."""
    return kinds(drop_dead(improve(drop_dead(trace(fn, args, {})))))


def untouched(improve, fn, *args):
    return after(improve, fn, *args) == kinds(drop_dead(trace(fn, args, {})))


def test_join_sigmoids_needs_one_exponential():
    def fn(x):
        return tg.sigmoid(x) * tg.sigmoid(-x), tg.sigmoid(x)

    assert after(join_sigmoids, fn, SQUARE).count("exp") == 1
    assert "exp" not in after(join_sigmoids, fn, SQUARE.astype(np.float16))


def test_join_factors_leaves_one_number():
    assert after(join_factors, lambda x: -(x * 2.0) / 4.0, SQUARE) == ["multiply", "divide"]
    assert after(join_factors, lambda x: -(x * 2.0) * 4.0, SQUARE) == ["multiply"]
    assert after(join_factors, lambda x: 2.0 * (x * 0.1), SQUARE) == ["multiply"]
    assert after(join_factors, lambda x, y: x - (y * -2.0), SQUARE, SQUARE) == ["multiply", "add"]
    assert untouched(join_factors, lambda x, y: x * 2.0 - y * 2.0, SQUARE, SQUARE)
    assert untouched(join_factors, lambda x: (x * 2) * 3, np.arange(3))
    # products that would be rounded elsewhere, or overflow elsewhere
    assert untouched(join_factors, lambda x: (x * 0.3) * 0.1, SQUARE)
    assert untouched(join_factors, lambda x: (x * 3.0) * 0.5, SQUARE)


@given(
    st.lists(
        st.sampled_from([-1.0, 2.0, 0.5, -4.0, 3.0, 0.1, 2.0**60, 2.0**-60]),
        min_size=2,
        max_size=4,
    ),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.sampled_from([np.float32, np.float64]),
)
def test_join_factors_is_exact_but_for_the_smallest_numbers(numbers, divides, dtype):
    def fn(x):
        for number, divide in zip(numbers, divides, strict=False):
            x = x / number if divide else number * x
        return x

    info = np.finfo(dtype)
    size = np.geomspace(info.tiny, info.max, 200, dtype=np.longdouble).astype(dtype)
    x = np.concatenate([size, -size, [0.0, np.inf, -np.inf, np.nan, info.smallest_subnormal]])
    x = x.astype(dtype)
    with np.errstate(all="ignore"):
        program = trace(fn, (x,), {})
        got = run(improved(program, [join_factors] * 3), (x,))
        wanted = fn(x)
        difference = np.abs(got - wanted)
        least, y, grown = np.abs(x), x, 1.0
        for number, divide in zip(numbers, divides, strict=False):
            factor = 1 / abs(number) if divide else abs(number)
            y = (y * dtype(factor)).astype(dtype)
            least, grown = np.fmin(least, np.abs(y)), grown * max(factor, 1.0)
    # a product that is subnormal may be off by a few of the smallest numbers, and what is made of it
    few = 8 * float(info.smallest_subnormal) * grown
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    assert (same | (least < info.tiny) & (difference <= few)).all()


def test_stack_sums_makes_one_product_of_a_sum_of_products():
    x = np.ones((4, 2))

    def fn(a, b, c, d):
        return a.T @ b + c.T @ d

    assert after(stack_sums, fn, x, x, x, x) == [
        "concatenate", "concatenate", "transpose", "matmul"
    ]  # fmt: skip
    assert after(stack_sums, lambda b, d: SQUARE.T @ b + d.T @ d, SQUARE, SQUARE) == [
        "concatenate", "concatenate", "transpose", "matmul"
    ]  # fmt: skip
    assert untouched(stack_sums, lambda a, b: a.T @ b + a @ b.T, SQUARE, SQUARE)
    assert untouched(stack_sums, lambda a, b: a.T @ b + b, SQUARE, SQUARE)


def test_stack_sums_makes_one_product_of_a_sum_of_outer_products():
    def fn(a, b, c, d):
        return a[:, None] * b + d * c[:, None]

    x, y = np.arange(3.0), np.arange(4.0)
    assert after(stack_sums, fn, x, y[None], x, y[None])[-2:] == ["transpose", "matmul"]
    # the sum of other products of two factors is not one
    assert untouched(stack_sums, lambda a, b: a * b + b * a, SQUARE, SQUARE)
    assert untouched(stack_sums, lambda a, b: a[:1] * b + b * a[:1], SQUARE, SQUARE)


@st.composite
def products_to_sum(draw):
    """Two arrays that broadcast, the axes to sum over, and whether these are kept."""
    # whether the first is long along an axis, whether the second is, whether it is summed over
    kinds = {"inner": "fs+", "row": "f", "column": "s", "stack": "fs", "alone": "f+"}
    further = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=3))
    axes = [kinds[name] for name in draw(st.permutations(["inner", *further]))]
    lengths = draw(st.permutations((2, 3, 4, 5, 128)))
    shapes = [
        tuple(n if which in axis else 1 for n, axis in zip(lengths, axes, strict=False))
        for which in "fs"
    ]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    factors = [rng.normal(size=shape) for shape in shapes]
    if draw(st.booleans()) and shapes[1][0] == 1:
        factors[1] = factors[1][0]
    summed = tuple(k for k, axis in enumerate(axes, -len(axes)) if "+" in axis)
    return *draw(st.permutations(factors)), summed, draw(st.booleans())


@given(products_to_sum())
def test_sums_of_products_are_the_same_contracted(given_):
    a, b, axes, keepdims = given_

    def fn(a, b):
        return tg.sum(a * b, axes, keepdims=keepdims)

    program = trace(fn, (a, b), {})
    expected = np.sum(a * b, axes, keepdims=keepdims)
    for passes in ((contract_sums,), (fold, contract_sums, fold, drop_dead)):
        made = run(improved(program, passes), (a, b))
        assert np.shape(made) == np.shape(expected)
        np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-14)


def test_contract_sums_puts_the_axes_in_order():
    a, b = np.random.default_rng(0).normal(size=(2, 5, 2, 3))
    a, b = a[:, :, None, :], b[:, None, :, None, 0]
    program = contract_sums(trace(lambda a, b: tg.sum(a * b, 0), (a, b), {}))
    np.testing.assert_allclose(run(program, (a, b)), np.sum(a * b, 0), rtol=1e-12)


def test_contract_sums_makes_no_array_of_all_products():
    def outer(a, b):
        return tg.sum(a[:, :, None] * b[:, None, :], 0)

    def in_stacks(a, b):
        return tg.sum(a[:, :, :, None] * b[:, :, None, :], 0)

    def with_vector(a, b):
        return tg.sum(a * b, -1)

    a, b = np.ones((7, 3)), np.ones((7, 4))
    for fn, args in (
        (outer, (a, b)),
        (in_stacks, (np.ones((7, 5, 3)), np.ones((7, 5, 4)))),
        (with_vector, (a, np.ones(3))),
        (lambda a, b: tg.sum(a[:, :, None] * b, 1), (a, np.ones((7, 3, 2)))),
        (with_vector, (np.ones((7, 200)), np.ones((7, 200)))),
    ):
        program = drop_dead(contract_sums(trace(fn, args, {})))
        assert "multiply" not in [x.op.__name__ for x in program.instructions]
        assert "matmul" in [x.op.__name__ for x in program.instructions]
    # short rows by rows, by a number, and whole numbers stay
    assert untouched(contract_sums, lambda a, b: tg.sum(a * b, 1), a, a)
    assert untouched(contract_sums, lambda a: tg.sum(a * 2.0, 1), a)
    whole = np.ones((3, 3), int)
    assert untouched(contract_sums, lambda a, b: tg.sum(a[:, None] * b, 1), whole, whole)


@given(st.sampled_from([(4,), (2, 4), (5, 2, 4)]), st.booleans())
def test_products_with_a_vector_made_a_matrix_are_those_with_the_vector(shape, first):
    def by_column(x, v):
        return (x @ v[:, None]) * 1.5

    def by_row(x, v):
        return (v.reshape(1, -1) @ tg.swapaxes(x, 0, -1)) * 1.5

    fn = by_row if first and len(shape) == 2 else by_column
    x, v = np.arange(float(np.prod(shape))).reshape(shape), np.arange(4.0)
    program = fold(trace(fn, (x, v), {}))
    products = [y for y in program.instructions if y.op is tg.matmul]
    assert all(Ref("input", 1) in y.operands for y in products)
    np.testing.assert_array_equal(run(program, (x, v)), fn(x, v))


def test_stack_sums_sums_rows_and_scattered_rows_and_slices_at_once():
    i = np.array([0, 2, 2])

    def rows(a, b):
        return tg.sum(a, 0) + tg.sum(b, 0)

    def scattered(a, b, i):
        return segment_sum(a, i, 4) + segment_sum(b, i, 4)

    assert after(stack_sums, rows, SQUARE, SQUARE) == ["concatenate", "sum"]
    assert after(stack_sums, scattered, SQUARE, SQUARE, i) == [
        "concatenate", "concatenate", "segment_sum"
    ]  # fmt: skip
    assert after(stack_sums, two_slices, np.ones((4, 3))) == ["concatenate"]
    assert untouched(stack_sums, lambda a, b: tg.sum(a, 0) + tg.sum(b, 1), SQUARE, SQUARE)
    many = np.ones((2000, 3))
    assert untouched(stack_sums, rows, many, many)
    assert untouched(stack_sums, scattered, many, many, np.zeros(2000, int))


def test_rows_or_columns_stacked_in_order_are_the_array_itself():
    def rows(x, order):
        return functools.reduce(tg.add, [x[i].T @ x[i] for i in order[::-1]])

    def columns(x, order):
        return functools.reduce(tg.add, [x[:, i].T @ x[:, i] for i in order[::-1]])

    x = np.arange(24.0).reshape(4, 3, 2)
    whole = ["reshape", "reshape", "transpose", "matmul"]
    assert after(stack_sums, lambda x: rows(x, range(4)), x) == whole
    turned = ["transpose", "reshape", "transpose", *whole[1:]]
    assert after(stack_sums, lambda x: columns(x, range(3)), x) == turned
    for fn in (rows, columns):
        for order in ([0, 1], [1, 0, 2], [0, 1, 2, 2]):
            program = drop_dead(
                stack_sums(trace(lambda x, fn=fn, order=order: fn(x, order), (x,), {}))
            )
            np.testing.assert_array_equal(run(program, (x,)), fn(x, order))
            assert "concatenate" in kinds(program)


def each_after_the_other(z):
    first = tg.exp(tg.tanh(z[:2]))
    return first + tg.exp(tg.tanh(z[2:]) + first)


def each_less_the_other(z):
    a, b = tg.tanh(z[:2]), tg.tanh(z[2:])
    return (a - b) @ (b - a).T


def test_sums_of_sums_that_are_used_themselves_are_not_taken_apart():
    def running(xs, w):
        sums = [xs[0].T @ w]
        for x in xs[1:]:
            sums.append(sums[-1] + x.T @ w)
        return sums

    def sizes(n):
        ops = tg.compile(running).program([SQUARE] * n, SQUARE).instructions
        return sum(len(x.operands) for x in ops)

    assert sizes(16) < 2.5 * sizes(8)


def test_stack_products_multiplies_by_a_weight_once():
    def fn(x, y, w):
        return tg.tanh(x) @ w, tg.tanh(y) @ w

    ops = after(stack_products, fn, SQUARE, SQUARE, SQUARE)
    assert sorted(ops) == ["concatenate", "getitem", "getitem", "matmul", "tanh", "tanh"]
    assert untouched(stack_products, lambda x, w: tg.tanh(tg.tanh(x) @ w) @ w, SQUARE, SQUARE)


def test_stack_products_takes_what_it_can_of_weights_that_wait_for_each_other():
    assert after(stack_products, two_ways, SQUARE, SQUARE, SQUARE, SQUARE).count("matmul") == 3


@given(st.data(), st.integers(2, 12))
def test_products_by_weights_in_any_order_are_stacked_and_right(data, n):
    plan = data.draw(
        st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 2)), min_size=n)
    )

    def fn(x, *weights):
        made = [tg.tanh(x)]
        for i, j, k in plan:
            made.append(tg.tanh((made[i % len(made)] - made[j % len(made)] + x) @ weights[k]))
        return made

    args = SQUARE, SQUARE.T, SQUARE + 0.5, -SQUARE
    program = stack_products(trace(fn, args, {}))
    check_program(program)
    assert_close(run(program, args), fn(*args), np.dtype(float), 10)


def test_join_gathers_selects_once():
    table, i = SQUARE, np.zeros(8, int)

    def joined(table, i):
        return np.concatenate([tg.index_select(table, i), tg.index_select(table, i)])

    assert after(join_gathers, joined, table, i) == ["concatenate", "index_select"]


def test_what_is_added_to_all_parts_is_added_to_the_whole():
    def fn(x, w, b):
        y = x @ w
        return y[:2] + b, y[2:] + b

    ops = after(add_before_parting, fn, SQUARE, SQUARE, SQUARE[0])
    assert ops == ["matmul", "add", "getitem", "getitem"]
    assert untouched(
        add_before_parting, lambda x, w, b: (fn(x, w, b)[0], (x @ w)[:2]), SQUARE, SQUARE, SQUARE[0]
    )


def test_elements_are_picked_before_a_column_is_taken_off():
    i = np.array([0, 2, 1])

    def fn(x, i):
        return pick(x - tg.sum(x, -1, keepdims=True), i)

    ops = after(pick_first, fn, SQUARE, i)
    assert ops.index("subtract") > ops.index("index_select")
    program = trace(lambda x, i: (fn(x, i), x - tg.sum(x, -1, keepdims=True)), (SQUARE, i), {})
    assert kinds(pick_first(share_common(program))).count("subtract") == 1


def test_the_largest_of_wide_rows_is_found_by_its_index():
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


def test_rows_are_updated_alone_where_they_are_few():
    def fn(table, values, i):
        return table - 0.1 * segment_sum(values, i, len(table))

    table, values = np.ones((40, 3)), np.ones((5, 3))
    assert after(update_rows, fn, table, values, np.arange(5))[-1] == "add_scaled_rows"
    assert untouched(update_rows, fn, table[:8], values, np.arange(5))
    assert untouched(
        update_rows, lambda t, v, i: t - t * segment_sum(v, i, 40), table, values, np.arange(5)
    )


@given(
    st.sampled_from([8, 5000]),
    st.lists(st.integers(-8, 7), max_size=12),
    st.sampled_from([0.1, -3.0, 0.0, np.inf, -np.inf, np.nan]),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
)
def test_update_rows_gives_what_the_whole_table_would(n, indices, rate, dtype, subtract):
    rng = np.random.default_rng(len(indices))
    # what is added once is lost beside 1, but not what is added a thousand times
    table = np.where(rng.random((n, 3)) < 0.5, 1, rng.normal(size=(n, 3))).astype(dtype)
    indices = np.array(indices * (1000 if n > 8 and len(indices) < 2 else 1), int)
    values = (rng.normal(size=(len(indices), 3)) * np.finfo(dtype).eps / 9).astype(dtype)
    indices = indices if n == 8 else indices[: n // 4]
    values = values[: len(indices)]

    def fn(table, values, indices, rate):
        change = rate * segment_sum(values, indices, n)
        return table - change if subtract else table + change

    args = (table, values, indices, rate)
    with np.errstate(invalid="ignore"):
        program, wanted = trace(fn, args, {}), fn(*args)
        for made in (run(update_rows(program), args), *[tg.compile(fn)(*args) for _ in "123"]):
            np.testing.assert_allclose(made, wanted, rtol=2 * np.finfo(dtype).eps)
            # no number beside the rows is touched, and the sum of a row is added once
            assert (made == wanted).mean() > 0.9 or not np.isfinite(rate)


def test_sums_become_products():
    assert after(sums_as_products, lambda x: tg.sum(x, 0), SQUARE) == ["matmul"]
    assert after(sums_as_products, lambda x: tg.sum(x, -1), SQUARE) == ["matmul"]
    assert after(sums_as_products, lambda x: tg.sum(x * x), SQUARE)[-1] == "matmul"
    assert untouched(sums_as_products, lambda x: tg.sum(x), SQUARE)
    assert untouched(sums_as_products, lambda x: tg.sum(x, 0), np.arange(9).reshape(3, 3))
    assert untouched(sums_as_products, lambda x: tg.sum(x, 1), np.ones((2, 3, 2)))


@pytest.mark.parametrize("by", [np.full((2, 3), 2.5), np.full((1, 3), 2.5), np.full(1, 2.5)])
def test_an_array_full_of_one_number_is_a_number(by):
    x = np.ones((2, 3))
    for fn in (lambda x: x * by, lambda x: by / x, lambda x: np.sin(np.broadcast_to(by, x.shape))):
        (constant,) = tg.compile(fn).program(x).constants
        assert constant.shape == () or fn(x).shape == constant.shape
    program = tg.compile(lambda x: x * by).program(x)
    assert [constant.shape for constant in program.constants] == [()]


def test_a_transpose_that_is_often_the_right_operand_is_copied():
    def copies(fn):
        program = tg.compile(fn).program(np.ones((8, 8)), np.ones((4, 8)))
        return [x.op.name for x in program.instructions].count("copy")

    assert copies(lambda w, x: np.tanh(np.tanh(x @ w.T) @ w.T) @ w.T) == 1
    assert copies(lambda w, x: np.tanh(x @ w.T)) == 0
    assert copies(lambda w, x: np.tanh(np.tanh(x @ w) @ w) + np.sum(w.T, axis=0)) == 0


def test_numbers_are_typed_where_they_are_converted():
    program = type_numbers(trace(lambda x: x * 2, (SQUARE.astype(np.float32),), {}))
    (constant,) = program.constants
    assert constant.value.dtype == np.float32
    assert not type_numbers(trace(lambda x: x * 2, (np.arange(3),), {})).constants
    assert not type_numbers(trace(lambda x: tg.ldexp(x, 2), (SQUARE,), {})).constants


def test_a_number_too_large_for_its_dtype_warns_at_each_run_as_recorded():
    compiled = tg.compile(lambda x: x * 1e60)
    x = np.ones(3, np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x)
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x)


@pytest.mark.parametrize("axis", [0, -1, ()])
def test_the_sum_of_a_scalar_along_its_axis_is_the_scalar(axis):
    # NumPy takes axis 0 of none for no axis
    np.testing.assert_array_equal(tg.compile(lambda x: np.sum(x * 1.5, axis=axis))(2.0), 3.0)


# --- large arrays --------------------------------------------------------------------------


def test_each_group_of_passes_ends_with_nothing_shared_or_dead():
    assert (
        tuple(improve for group in GROUPS.values() for improve in (*group, share_common, drop_dead))
        == PASSES
    )
    w = {"a": np.ones((2, 3)), "b": np.ones(3)}

    def fn(w, x):
        def loss(w):
            return tg.sum(tg.relu(x @ w["a"] + w["b"]) ** 2)

        return {k: w[k] - 0.1 * g for k, g in tg.grad(loss)(w).items()}

    program = trace(fn, (w, np.ones((4, 2))), {})
    for group in GROUPS.values():
        program = improved(program, (*group, share_common, drop_dead))
        assert share_common(program) == drop_dead(program) == program


# --- beside the patterns that passes look for -------------------------------------------

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
def test_what_is_like_a_pattern_of_a_pass_is_computed_as_recorded(fn, x, z):
    def summed(x, z):
        return sum([np.sum(y * y) for y in tg.tree.leaves(fn(x, z))], start=0.0)

    for f in (fn, tg.grad(summed, argnums=(0, 1))):
        with np.errstate(all="ignore"):
            recorded, compiled = f(x, z), tg.compile(f)(x, z)
        for a, b in zip(tg.tree.leaves(recorded), tg.tree.leaves(compiled), strict=True):
            assert (np.shape(a), np.result_type(a)) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


def test_a_sum_is_stacked_by_itself_where_it_is_a_result_or_broadcast():
    a, b = np.ones((3, 4)), np.ones((3, 1))

    def result(x, z):
        return x.T @ z + z.T @ x, x[:1].T + z[:1]

    def broadcast(x, z):
        return x.T @ z + z.T @ z + x

    def products(fn, x, z):
        return after(stack_sums, fn, x, z).count("matmul")

    assert products(result, a, 2 * a) == 1
    assert products(broadcast, b, 2 * b) == 1


@depth("program")
@given(st.integers(1, 4).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.data())))
def test_transposes_of_transposes_are_one_or_none(drawn):
    order, data = drawn
    n = len(order)
    x = np.arange(float(np.prod(np.arange(2, 2 + n)))).reshape(np.arange(2, 2 + n))
    axis = st.integers(-n, n - 1)
    exchanges = data.draw(st.lists(st.tuples(axis, axis), max_size=3))

    def fn(x):
        x = np.transpose(x, order)
        for one, other in exchanges:
            x = np.swapaxes(x, one, other)
        return x.T * 2.0

    ops = ops_of(fn, x)
    expected = fn(x)
    assert len(ops) - 1 <= (expected.shape != x.shape)
    np.testing.assert_array_equal(tg.compile(fn)(x), expected)


@pytest.mark.parametrize(
    ("fn", "blocked"),
    [
        (lambda x: np.sum(np.sin(x) + 2.0), 3),
        (lambda x: np.sum(np.sin(x) + 2.0, axis=(0, 1)), 3),
        (lambda x: np.sum(np.sin(x) + 2.0, axis=0), 2),
        (lambda x: np.sum(np.sin(x) + 2.0, keepdims=True), 2),
        (lambda x: np.sin(x) * (np.cos(x) > 0.5), 4),
        (lambda x: np.sum(np.sin(x) * np.cos(x)), 3),
        (lambda x: np.sum(np.sin(x).astype(np.float32) * np.cos(x)), 3),
        (lambda x: np.sum((x * 2.0**40).astype(int) * 3 + (1 << 60)), 0),
    ],
)
def test_what_is_done_block_by_block_is_floating_and_whole(fn, blocked):
    x = np.linspace(-1.0, 1.0, 2 * MANY).reshape(512, -1)
    text = str(tg.compile(fn).program(x))
    assert (f"# {blocked} instructions, block by block" in text) == (blocked > 0)
    assert ("block by block" in text) == (blocked > 0)
    got, wanted = tg.compile(fn)(x), np.asarray(fn(x))
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    if blocked:
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-9)
    else:
        np.testing.assert_array_equal(got, wanted)


# on these numbers all of them are exact
OPERATIONS = (np.add, np.maximum, np.minimum, np.less, np.copysign)


@depth("program, in blocks")
@given(data=st.data())
def test_blocks_of_values_do_not_stand_in_each_others_way(data):
    n = data.draw(st.integers(1, 12))
    number = st.integers(0, n + 1)
    steps = data.draw(
        st.lists(st.tuples(st.sampled_from(OPERATIONS), number, number), min_size=n, max_size=n)
    )
    outputs = data.draw(st.lists(number, min_size=1, max_size=4))
    narrow = data.draw(st.booleans())

    def fn(x, y):
        values = [x, y]
        for op, i, j in steps:
            made = op(values[i % len(values)], values[j % len(values)])
            values.append(made.astype(np.float32) if narrow and op is np.maximum else made)
        return [values[i] for i in outputs], [np.sum(values[i] * x) for i in outputs[1:]]

    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, (2, 50)) / 2.0
    with mock.patch.multiple("tapegrad.program.memory", MANY=8, _BLOCK_BYTES=64):
        step = tg.compile(fn)
        step(y, x)
        got = step(x, y)
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(fn(x, y)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_values_stand_where_a_result_of_their_loop_will_be():
    def over(x):
        return np.tanh(x * 2.0) * np.exp(-x)

    def past(x):
        y = np.tanh(x)
        return x * 2.0, np.sum(y)

    x = np.linspace(0, 1, MANY)
    for fn in (over, past):
        # one factor has a buffer of its own, and so has what is summed when the place is taken
        assert len(planned(tg.compile(fn).program(x)).buffers) == 1
        assert_close(tg.compile(fn)(x), fn(x), x.dtype, 1)


@depth("program, in results")
@given(written=programs())
def test_what_is_computed_in_the_arrays_of_results_is_as_recorded(written):
    with mock.patch("tapegrad.program.memory.MANY", 9):
        step = tg.compile(written.step)
        got = [step(*args) for args in written.arguments]
    # a later call leaves what an earlier one gave
    for args, results in zip(written.arguments, got, strict=True):
        expected = written.step(*args)
        assert_close(results, expected, written.narrowest, scale_of(written.step, args))


def test_a_large_gradient_is_computed_where_the_new_parameter_will_be():
    def step(w, x, rate):
        def loss(w):
            return np.sum(np.tanh(x @ w) ** 2)

        return w - 2.0 * np.sin(rate * tg.grad(loss)(w))

    w, x = np.linspace(-1, 1, 64 * 128).reshape(64, 128), np.linspace(0, 1, 128).reshape(2, 64)
    program = tg.compile(step).program(w, x, 0.5)
    assert [x for x in planned(program).buffers if x.nbytes >= w.nbytes] == []
    first = tg.compile(step)(w, x, 0.5)
    assert_close(first, step(w, x, 0.5), w.dtype, 1)


def test_what_is_needed_after_a_result_is_not_computed_in_its_array():
    def used(x):
        y = np.sin(x @ x)
        return x - y, np.sum(np.tanh(y[:2]))

    def returned(x):
        y = np.sin(x @ x)
        turned = y.T
        return x - y, turned

    def twice(x):
        y = np.sin(x @ x)
        return x - y, x * y

    x = np.linspace(-1, 1, 64 * 64).reshape(64, 64)
    for fn in (used, returned, twice):
        assert_close(tg.compile(fn)(x), fn(x), x.dtype, 1)


def test_views_of_buffers_and_constants_are_made_once_and_copies_are_not():
    captured = np.arange(5000.0).reshape(50, 100)

    def fn(x):
        y = np.tanh(x)
        turned = y.T
        return (
            turned @ captured[:3],
            # a reshape of what is not in C order is a copy, and so is an element
            np.reshape(turned, (12,)) * y[0, 0],
            np.reshape(y, (12,))[1:] * captured.T[0, :1],
            np.sum(y[:, 1] * 2.0),
        )

    step = tg.compile(fn)
    text = str(step.program(np.ones((3, 4))))
    made, run = text.split("    def run(")
    assert "y_flat = buf0.reshape((12,))" in made
    assert "= y_flat[1:]" in made
    assert "turned_flat = turned.reshape((12,))" in run
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(size=(3, 4))
        for got, wanted in zip(step(x), fn(x), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.integers(0, 2),
    st.permutations(range(4)),
    st.sampled_from(["slices", "rows", "columns"]),
)
def test_parts_joined_in_order_are_the_array_and_no_others(lengths, width, order, kind):
    n = sum(lengths) if kind == "slices" else 4
    ends = np.cumsum([0, *lengths])
    x = np.arange(float(n * n * (width + 1))).reshape(n, n, width + 1)

    def fn(x):
        if kind == "slices":
            parts = [x[a:b] for a, b in itertools.pairwise(ends.tolist())]
            return np.concatenate([parts[i] for i in order if i < len(parts)])
        return np.concatenate([x[i] if kind == "rows" else x[:, i] for i in order])

    program = fold(trace(fn, (x,), {}))
    np.testing.assert_array_equal(run(program, (x,)), fn(x))
    if kind == "rows" and list(order) == [0, 1, 2, 3]:
        assert "concatenate" not in kinds(drop_dead(program))
