"""The memory plan: buffers, blocks, results, the order that takes less, values in another layout."""

import math
import re
import tracemalloc
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pytest
from alike import same
from depth import depth
from hypothesis import given
from programs import apply_passes, assert_close, scale_of, trace
from random_programs import programs

import tapegrad as tg
from tapegrad.program import PASSES, cost
from tapegrad.program.builder import Builder
from tapegrad.program.memory import plan_memory
from tapegrad.program.passes.order import _Schedule as Schedule
from tapegrad.program.passes.order import use_up

MANY_ARE_FEW = mock.patch("tapegrad.program.cost.BLOCKED_ELEMENTS", 9)
SMALL_ARE_LARGE = mock.patch("tapegrad.program.cost.DROPPED_BYTES", 1)

RNG = np.random.default_rng(0)


@depth("small step")
@given(st.data(), st.permutations(range(4)), st.booleans())
def test_layout_of_stacks_of_products_in_any_order_of_axes(data, axes, twice):
    sides = data.draw(st.tuples(*[st.integers(1, 3)] * 5))
    a, b = RNG.normal(size=(*sides[:2], *sides[2:4])), RNG.normal(size=(*sides[:2], *sides[3:]))

    def fn(a, b):
        product = a @ b
        turned = np.transpose(product, axes)
        first = turned.reshape(-1)
        other = turned * 2 if twice else product.swapaxes(0, 1)
        # something that might be written over the product while a view of it is read
        return first.reshape(1, -1) @ np.ones((first.size, 2)), other, np.tanh(turned)

    tg.compile(fn).check(a, b)


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
def test_blocks_are_of_whole_floating_arrays(fn, blocked):
    x = np.linspace(-1.0, 1.0, 2 * cost.BLOCKED_ELEMENTS).reshape(512, -1)
    text = str(tg.compile(fn).program(x))
    assert (f"# {blocked} instructions, block by block" in text) == (blocked > 0)
    assert ("block by block" in text) == (blocked > 0)
    got, wanted = tg.compile(fn)(x), np.asarray(fn(x))
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    if blocked:
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-9)
    else:
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.scan(lambda c, row: (np.sum(np.sin(row) * np.cos(c)), None), 0.0, x)[0],
        lambda x: tg.scan(lambda c, row: (np.sum(np.sin(row) * np.cos(c)), c), 0.0, x)[1],
        lambda x: tg.fori_loop(0, 3, lambda t, c: np.sum(np.sin(x * c)), 1.0),
        # a block of memory as large as the array that is computed in blocks
        lambda x: ((x[0] + x[1]) * np.cos(x[1])) @ np.eye(20),
    ],
)
def test_blocks_compute_what_is_needed_after_them(fn):
    x = np.linspace(-1.0, 2.0, 60).reshape(3, 20)
    with MANY_ARE_FEW, mock.patch("tapegrad.program.cost.BLOCK_BYTES", x[0].nbytes):
        step = tg.compile(fn)
        step(x + 1.0)
        got, text = step(x), str(step.program(x))
    assert "block by block" in text
    same(got, fn(x), 1e-12)


def total(x, y):
    """A number that is known after the last block, and read by later ones."""
    return np.sum(np.minimum(np.abs(x + y), 2.0))


def multiply_by_flip(x, y):
    """A product that ends a run of elementwise ops, and reads the run's last value."""
    return (np.maximum(x, y) + np.zeros(50)) @ np.eye(50)[::-1]


def join_halves(x, y):
    """Half of each, beside each other."""
    return np.concatenate([(x + np.zeros(50))[25:], (y + np.zeros(50))[25:]])


# on these numbers all of them are exact
OPERATIONS = (
    np.add,
    np.maximum,
    np.minimum,
    np.less,
    np.copysign,
    total,
    multiply_by_flip,
    join_halves,
)


@depth("program, in blocks")
@given(data=st.data())
def test_blocks_of_values_do_not_stand_in_each_others_way(data):
    n = data.draw(st.integers(1, 12))
    number = st.integers(0, n + 3)
    steps = data.draw(
        st.lists(st.tuples(st.sampled_from(OPERATIONS), number, number), min_size=n, max_size=n)
    )
    outputs = data.draw(st.lists(number, min_size=1, max_size=4))
    narrow = data.draw(st.booleans())
    # also one block that is as large as the arrays
    block = data.draw(st.sampled_from([64, 50 * 8]))
    turned = np.eye(50)[::-1]

    def fn(x, y):
        # products have memory of their own, over which a run may write
        product = x @ turned
        values = [product, y, y @ turned, product[::-1]]
        for op, i, j in steps:
            made = op(values[i % len(values)], values[j % len(values)])
            values.append(made.astype(np.float32) if narrow and op is np.maximum else made)
        return [values[i] for i in outputs], [np.sum(values[i] * x) for i in outputs[1:]]

    rng = np.random.default_rng(0)
    x, y = rng.integers(-3, 4, (2, 50)) / 2.0
    small = mock.patch.multiple("tapegrad.program.cost", PLACED_BYTES=1, ARENA_BYTES=0)
    with (
        SMALL_ARE_LARGE,
        small,
        mock.patch("tapegrad.program.memory.LARGE", 1),
        mock.patch.multiple("tapegrad.program.cost", BLOCKED_ELEMENTS=8, BLOCK_BYTES=block),
    ):
        step = tg.compile(fn)
        step(y, x)
        got = step(x, y)
    same(got, fn(x, y), 0)


def size_of(buffer):
    """The bytes of a buffer."""
    return math.prod(buffer.shape) * buffer.dtype.itemsize


def test_arena_holds_what_is_needed_at_one_time():
    n = 64

    def fn(x):
        for _ in range(3):
            x = np.tanh(np.sum(x.reshape(2, n, n).astype(np.float32) @ np.ones((n, 2 * n)), axis=1))
            x = np.repeat(x, n).astype(float)[: 2 * n * n]
            x = np.sin(x.reshape(n, 2 * n)) @ np.ones((2 * n, 2 * n))
        return np.sum(x)

    x = np.linspace(-1.0, 1.0, 2 * n * n)
    program = tg.compile(fn).program(x)
    separate = sum(map(size_of, plan_memory(program).buffers))
    (arena,) = re.findall(r"arena = buffer\(\((\d+),\)", str(program))
    assert int(arena) < 0.7 * separate
    tg.compile(fn).check(x)


def test_a_block_is_not_written_over_what_another_reads_through_a_view():
    def fn(x, y, turned):
        product = x @ turned
        a = np.maximum(product[::-1], y)
        return np.minimum(a + y, y), np.sum(a * x)

    x, y = RNG.normal(size=(2, 50))
    small = mock.patch("tapegrad.program.cost.BLOCK_BYTES", 64)
    with mock.patch("tapegrad.program.memory.LARGE", 1), MANY_ARE_FEW, small:
        same(tg.compile(fn)(x, y, np.eye(50)), fn(x, y, np.eye(50)), 1e-12)


def test_parts_are_joined_in_one_new_array():
    def fn(x, y):
        return np.concatenate([x, y]) * y[0]

    x, y = RNG.normal(size=(2, 50))
    with mock.patch("tapegrad.program.memory.LARGE", 1):
        step = tg.compile(fn)
        same(step(x, y), fn(x, y), 0)
        # another might lie in the same memory by chance
        assert str(step.program(x, y)).count("empty(") == 1


@depth("program, in results")
@given(written=programs())
def test_memory_of_results_holds_what_was_recorded(written):
    small = mock.patch.multiple("tapegrad.program.cost", PLACED_BYTES=1, ARENA_BYTES=0)
    with small, MANY_ARE_FEW, SMALL_ARE_LARGE:
        step = tg.compile(written.step)
        got = [step(*args) for args in written.arguments]
    # a later call leaves what an earlier one gave
    for args, results in zip(written.arguments, got, strict=True):
        expected = written.step(*args)
        assert_close(results, expected, written.narrowest, scale_of(written.step, args))


@pytest.mark.parametrize("n", [100, 400])
def test_memory_of_results_holds_what_they_are_made_of(n):
    """Without blocks, and in them."""

    def scale_exponential(w, x):
        return np.tanh(w * 2.0) * np.exp(-w)

    def update(w, x):
        return w - 2.0 * np.sin(x.T @ np.tanh(x @ w))

    w, x = RNG.normal(size=(n, n)), RNG.normal(size=(2, n))
    for fn, most in ((scale_exponential, n < 400), (update, 0)):
        program = tg.compile(fn).program(w, x)
        assert ("block by block" in str(program)) == (w.size > cost.BLOCKED_ELEMENTS)
        # of the second factor: a gradient is computed where the new parameter will be
        assert sum(size_of(x) == w.nbytes for x in plan_memory(program).buffers) <= most
        assert_close(tg.compile(fn)(w, x), fn(w, x), w.dtype, n)


@pytest.mark.parametrize("last", [False, True])
def test_a_result_is_written_where_memory_was_in_use_for_longest(last):
    def fn(x):
        old, new = np.cos(x), np.sin(x)
        new = new if last else np.tanh(new)
        old = np.exp(old * 2.0)
        return np.sum(old - (np.tanh(new) if last else new), axis=0)

    program = tg.compile(fn).program(RNG.normal(size=(4, 4)))
    plan = plan_memory(program)
    places = {program.definition(ref).op.name: place for ref, place in plan.buffer_of.items()}
    assert places["subtract"] is places["exp"] is places["cos"] is not places["sin"]


def test_arrays_without_a_buffer_live_until_their_last_use():
    def fn(x, n):
        for _ in range(n):
            turned = np.flip(np.sort(x, axis=0).T, 0)
            signs, _ = np.linalg.slogdet(turned)
            x = np.tile(turned, (2, 1))[: len(x)] + signs
            # a loop over blocks reads views
            x = np.sin(np.sort(x) * 2.0)
        return np.sum(x)

    x = RNG.normal(size=(363, 363))
    peaks = []
    for n in (1, 8):
        step = tg.compile(lambda x, n=n: fn(x, n))
        step(x)
        assert "block by block" in str(step.program(x))
        tracemalloc.start()
        step(x)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


OTHERS = tuple(x for x in PASSES if x is not use_up)


def size(program):
    """The bytes of all buffers of a program."""
    found = re.search(r"of ([\d,]+) bytes in all", str(program))
    return int(found[1].replace(",", "")) if found else 0


def test_a_value_is_used_up_before_the_next_is_made():
    def loss(w, x):
        for weight in w[:-1]:
            x = tg.relu(x @ weight)
        return np.sum((x @ w[-1]) ** 2)

    def step(w, x):
        return [a - 0.1 * g for a, g in zip(w, tg.grad(loss)(w, x), strict=True)]

    w = [RNG.normal(size=(20, 300)), RNG.normal(size=(300, 20))] * 2
    x = RNG.normal(size=(200, 20))
    first, then = (tg.compile(step, passes=passes) for passes in (OTHERS, PASSES))
    # the cotangent of the hidden layer lies where the layer did
    assert size(then.program(w, x)) < size(first.program(w, x)) - 0.8 * 8 * 200 * 300
    # no slope is held until its layer's turn comes: one of each width
    assert sum(y.dtype == bool for y in plan_memory(then.program(w, x)).buffers) == 2
    same(then(w, x), step(w, x), 1e-9)


def test_a_trajectory_that_is_returned_is_held_by_its_result_alone():
    def fn(x):
        return tg.scan(lambda c, _: (np.sin(c),) * 2, x, length=1000)

    x = RNG.normal(size=100)
    compiled = tg.compile(fn)
    assert size(compiled.program(x)) < 10 * x.nbytes
    same(compiled(x), fn(x), 0)


@mock.patch("tapegrad.program.cost.ORDERED_BYTES", 1)
@depth("program")
@given(programs(max_steps=16))
def test_no_more_is_held_in_an_order_that_uses_values_up(written):
    program = apply_passes(trace(written.step, written.arguments[0], {}), OTHERS)
    schedule = Schedule(Builder(program), list(program.instructions))
    order, place = [*schedule.order], np.argsort([*schedule.order])
    assert sorted(order) == list(range(len(order)))
    assert all(place[q] < place[p] for p in order for q in schedule.needs[p])

    def held_size(done):
        needed = [p for p in done if p not in schedule.large or not done >= {*schedule.users[p]}]
        return sum(schedule.size[p] for p in needed)

    for k, p in enumerate(order, 1):
        done, before = {*order[:k]}, {*range(p + 1)}
        # where all is done that was done before, and perhaps more
        assert not done >= before or held_size(done) <= held_size(before)
