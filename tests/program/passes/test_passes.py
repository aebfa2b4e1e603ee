"""Each pass alone, together and in any order: the program keeps the recorded function's results."""

import functools
import pickle
from unittest import mock

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from programs import (
    SQUARE,
    assert_close,
    assert_computes,
    ops_after,
    ops_of,
    trace,
    two_slices,
)
from random_programs import programs

import tapegrad as tg
from tapegrad.ops.rows import pick, sum_segments, unpick
from tapegrad.program import PASSES
from tapegrad.program.builder import Builder
from tapegrad.program.checking import check_code
from tapegrad.program.ir import Ref, content_key
from tapegrad.program.passes import find_largest, pick_first
from tapegrad.program.program import rule, run_passes

DISTINCT = tuple(dict.fromkeys(PASSES))


@pytest.fixture(autouse=True, scope="module")
def _small_programs_in_any_order():
    with mock.patch("tapegrad.program.cost.ORDERED_BYTES", 1):
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
        assert (once.inputs, once.structure) == (program.inputs, program.structure)
        if once == program:
            continue  # the next test checks its results
        assert improve(before) == once
        check_code(once)
        assert_computes(written, once)
        twice = improve(once)
        check_code(twice)
        if twice != once:
            assert_computes(written, twice)


def inline_constants(program):
    """The instructions and the outputs of a program, with its constants in their places."""

    def operand(x):
        if type(x) is not Ref or x.kind != "constant":
            return x
        array = program.definition(x).array
        return array.dtype, array.shape, array.tobytes()

    found = [(x, [*map(operand, x.operands)]) for x in program.instructions]
    return [(x.with_operands(()), operands) for x, operands in found], [
        *map(operand, program.outputs)
    ]


@depth("program")
@given(programs(max_steps=24))
def test_what_a_builder_keeps_of_a_program_stays_true(written):
    program = trace(written.step, written.arguments[0], {})
    builder = Builder(program)
    for improve in PASSES:
        improve.change(builder)
        builder.drop_unused()
        program = improve(program)
        # a builder that begins anew finds the same, whatever the one before it has kept
        assert inline_constants(builder.build()) == inline_constants(program)
        instructions = dict(zip(builder.order, builder.list_instructions(), strict=True))
        users = {
            i: {j for j, y in instructions.items() if builder.refs[i] in y.operands}
            for i in instructions
        }
        assert {i: builder.users[i] for i in instructions} == users
        assert sorted(builder.order, key=builder.ranks.__getitem__) == builder.order
        assert all(
            builder.forms[i] == (x.op, *map(builder.op_of, x.operands))
            for i, x in instructions.items()
        )
        used = {x for y in instructions.values() for x in y.operands} | {*builder.outputs}
        assert all(builder.refs[i] in used for i in instructions)
        contents = [*map(content_key, instructions.values())]
        assert len(set(contents)) == len(contents)


def test_rewriting_keeps_the_numbers_and_ranks_of_the_example_in_the_builders_docstring():
    @rule(tg.log)
    def drop_log(builder, log):
        return builder.producer(log.operands[0], tg.exp).operands[0]

    def fn(x):
        return tg.sin(tg.log(tg.exp(x))), tg.sin(x)

    builder = Builder(trace(fn, [np.ones(2)], {}))
    assert builder.ranks == {0: (0,), 1: (1,), 2: (2,), 3: (3,)}
    drop_log.change(builder)
    assert builder.ranks == {0: (0,), 2: (2,)}
    assert builder.by_content[content_key(builder.instructions[2])] == 2
    assert builder.outputs == (builder.refs[2],) * 2
    builder.drop_unused()
    assert builder.order == [2]
    visited = builder.instructions[2]

    def append(builder, sin):
        return builder.emit(tg.cos, builder.emit(tg.negative, *sin.operands))

    builder.rewrite(append, [tg.sin])
    assert visited.op is tg.sin
    assert builder.ranks == {4: (1, 4), 5: (1, 5)}


def test_a_rule_of_real_numbers_sees_no_complex_ones_that_others_wrote():
    seen = []

    @rule()
    def see(builder, x):
        seen.append(x.op)

    @rule(tg.sin, complex=True)
    def through(builder, x):
        return builder.emit(tg.real, builder.emit(tg.multiply, *x.operands, 1j))

    program = trace(lambda x: np.tanh(np.sin(x)), (np.ones(3),), {})
    run_passes(program, (see, through, see))
    assert seen == [tg.sin, tg.tanh, tg.tanh]


def test_what_is_equal_is_computed_once():
    ops = ops_of(lambda x, y: (tg.tanh(x * y) + 1.0, tg.tanh(x * y) * y), np.ones(3), np.ones(3))
    assert ops.count("tanh") == ops_of(lambda x: tg.tanh(x), np.ones(3)).count("tanh") == 1
    # what another pass makes equal, after the others were compared
    assert ops_of(lambda x: (np.tanh(x), np.tanh(x * 1.0) * 2.0), np.ones(3)).count("tanh") == 1


def test_a_rule_sees_and_shares_what_stands_there_by_now():
    @rule(where=lambda form: form[0] is tg.sin or form[1:] == (tg.cos,))
    def replace_sin(builder, x):
        return x.evolve(op=tg.cos) if x.op is tg.sin else x.operands[0]

    @rule(tg.sin)
    def early(builder, x):
        return builder.emit(tg.cos, *x.operands)

    x = np.ones(3)
    assert ops_after(replace_sin, lambda x: np.tanh(np.sin(x)), x) == ["cos"]
    # the same is computed later, so far
    assert ops_after(early, lambda x: np.sin(x) - np.cos(x), x) == ["cos", "subtract"]


def test_pick_first_picks_by_flat_indices_and_the_largest_of_wide_rows():
    ops = ops_after(pick_first, pick, SQUARE, np.array([0, 2, 1]))
    assert ops == ["flat_indices", "reshape", "index_select"]
    for n, wide in ((32, True), (2, False)):
        ops = ops_after(find_largest, lambda x: tg.max(tg.tanh(x), axis=-1), np.ones((16, n)))
        assert ("argmax" in ops) == wide


# --- near misses of the pattern of a pass -----------------------------------------------------

X = np.array([[0.5, -1, 2], [3, 0.25, -0.5]])
STEPS = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])


def after_row(x, rate):
    update = rate * tg.grad(lambda x: tg.sum(tg.tanh(x) * x))(x)
    return x - update, rate * (update + x), rate * update


def positions(table, place):
    rows = tg.index_select(table, STEPS)
    return rows[:2] + place, rows[2:] + place


def two_segments(values, w, i, j):
    return sum_segments(values @ w, i, 4) + sum_segments(values @ w, j, 4)


def two_options(x):
    op = tg.custom_op(vjps=(lambda g, y, x, of: g,))(lambda x, *, of: x + of[0].sum())
    second = np.zeros(3000)
    second[1500] = 1.0
    return op(x, of=(np.zeros(3000),)) + op(x, of=(second,))


BESIDE = {
    "a product with the rate that is multiplied again": (after_row, SQUARE, 0.1),
    "added rows are as long as the table": (positions, X, X / 8),
    "added rows do not fit the table": (positions, X, X[0]),
    "slices that are broadcast to their place": (two_slices, np.ones((1, 3))),
    "slices of fewer axes": (two_slices, X[0]),
    "sums over rows of two kinds": (
        lambda x, i: x.T @ x + sum_segments(x, i, 3), np.arange(9).reshape(3, 3), np.array([0, 1, 1]),
    ),
    "indices of two dtypes": (
        two_segments, SQUARE, SQUARE, np.array([0, 1, 1]), np.array([0, 1, 3], np.uint64),
    ),
    "rows of a narrower dtype than their product": (
        two_segments, (SQUARE * 1.1).astype("f4"), SQUARE, np.zeros(3, int), np.zeros(3, int),
    ),
    "a sum that is wider than its rows": (
        lambda v: tg.sum(unpick(v, np.array([0, 1]), 3), -1), np.array([1, 2], np.int32),
    ),
    "options with arrays inside that look alike": (two_options, np.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("case", BESIDE.values(), ids=BESIDE)
def test_passes_leave_what_looks_like_a_case(case):
    step, *args = case
    of = [i for i, x in enumerate(args) if np.asarray(x).dtype.kind == "f"]
    dtype = min((np.asarray(args[i]).dtype for i in of), default=np.dtype(float))

    def total(*args):
        return sum([np.sum(y * y) for y in tg.tree.leaves(step(*args))], start=0.0)

    for fn in (step, tg.grad(total, of)) if of else (step,):
        with np.errstate(all="ignore"):
            wanted, got = fn(*args), tg.compile(fn)(*args)
        assert_close(got, wanted, dtype, 10)
        for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(wanted), strict=True):
            if b.dtype.kind == "f" and fn is step:
                np.testing.assert_array_equal(np.signbit(a)[b == 0], np.signbit(b)[b == 0])
