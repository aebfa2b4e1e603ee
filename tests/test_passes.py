"""Each pass alone, together and in any order: the program computes what was recorded."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import assert_close, many, scale_of

import tapegrad as tg
from tapegrad.program import PASSES
from tapegrad.program.compiled import trace
from tapegrad.program.emit import runner
from tapegrad.program.program import check_program
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


@pytest.mark.parametrize("improve", DISTINCT, ids=lambda f: f.__name__)
@many(thorough=12, default=8)
@given(programs(max_steps=16))
def test_a_pass_alone_changes_no_result(improve, written):
    program = trace(written.step, written.arguments[0], {})
    before = pickle.loads(pickle.dumps(program))
    once = improve(program)
    check_program(once)
    assert program == before
    assert improve(before) == once
    twice = improve(once)
    check_program(twice)
    assert_computes(written, once)
    assert_computes(written, twice)


@many(thorough=150)
@given(programs())
def test_without_passes_a_program_computes_what_was_recorded(written):
    program = trace(written.step, written.arguments[0], {})
    check_program(program)
    assert_computes(written, program)


@many(thorough=200)
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


@many(thorough=150)
@given(st.permutations(DISTINCT), programs(max_steps=24))
def test_passes_in_any_order_change_no_result(passes, written):
    program = trace(written.step, written.arguments[0], {})
    for improve in passes:
        program = improve(program)
        check_program(program)
    assert_computes(written, program)


@many(thorough=30)
@given(programs(max_steps=16))
def test_no_pass_changes_the_inputs_or_the_tree_of_the_outputs(written):
    program = trace(written.step, written.arguments[0], {})
    after = improved(program, PASSES)
    assert after.inputs == program.inputs
    assert after.structure == program.structure
    assert len(after.outputs) == len(program.outputs)


@many(thorough=30)
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
            x**-1, x**0.5,
        )  # fmt: skip

    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.0])
    with np.errstate(all="ignore"):
        program = improve(trace(fn, (x,), {}))
        for got, wanted in zip(run(program, (x,)), fn(x), strict=True):
            np.testing.assert_array_equal(got, wanted)
            kept = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(got)[kept], np.signbit(wanted)[kept])


def test_a_shared_value_is_not_written_over_before_its_last_use():
    def fn(x):
        y = tg.tanh(x)
        z = y[::-1]
        for _ in range(6):
            y = tg.tanh(y * 2.0 + z)
        return y, z, z.reshape(2, 2).T + 1.0

    x = np.linspace(-1, 1, 4)
    for got, wanted in zip(tg.compile(fn)(x), fn(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


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
@many(thorough=10, default=5)
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
