"""Updates of a few rows of a table: in place where nobody would notice."""

import contextlib
import math
import tracemalloc
import weakref
from unittest import mock

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from programs import assert_same

import tapegrad as tg
from tapegrad.program import reuse

N_ROWS, WIDTH = 4096, 32


def embedding_step(table, indices, targets):
    """Descent on the squares of some rows less targets."""
    loss = tg.value_and_grad(lambda p: tg.sum(tg.square(tg.index_select(p, indices) - targets)))
    value, gradient = loss(table)
    return value, table - 0.125 * gradient


def rows_given(data, shape):
    n = math.prod(shape)
    some = st.lists(st.integers(-N_ROWS, N_ROWS - 1) | st.integers(0, 2), min_size=n, max_size=n)
    targets = np.full((*shape, WIDTH), data.draw(st.integers(-3, 3)) / 2.0)
    return np.array(data.draw(some), int).reshape(shape), targets


def in_a_cycle(table):
    holder = [table]
    holder.append(holder)
    return holder


HOLDS = {
    "keep": lambda x: x,
    "view": lambda x: x[:3, ::2],
    "memory": memoryview,
    "weak": weakref.ref,
    "cycle": in_a_cycle,
}


@depth("formula")
@given(data=st.data())
def test_table_updated_in_few_rows_whoever_keeps_older_ones(data):
    compiled = tg.compile(embedding_step)
    table = expected = np.zeros((N_ROWS, WIDTH), order=data.draw(st.sampled_from("CF")))
    kept = []
    # few shapes, since each has a program, which has its own memory
    shapes = data.draw(st.lists(st.sampled_from([(4,), (1, 6), (3, 1), (0,)]), min_size=1))
    for _ in range(data.draw(st.integers(1, 8))):
        indices, targets = rows_given(data, data.draw(st.sampled_from(shapes[:2])))
        what = data.draw(st.sampled_from(["go on", "go on", "go on", "fail", *HOLDS, "back"]))
        if what in HOLDS:
            hold = HOLDS[what]
            kept.append((what, hold(table), expected if what == "weak" else hold(expected)))
        elif what == "fail":
            with pytest.raises(IndexError):
                compiled(table, np.array([0, N_ROWS]), np.ones((2, WIDTH)))
        elif what == "back" and kept and kept[-1][0] == "keep":
            _, table, expected = kept[-1]
        _, table = compiled(table, indices, targets)
        _, expected = embedding_step(expected, indices, targets)
        assert not table.flags.writeable
        np.testing.assert_array_equal(table, expected)
    for what, held, was in kept:
        if what == "cycle":
            held, was = held[0], was[0]
        array = held() if what == "weak" else held
        if array is not None:
            np.testing.assert_array_equal(np.asarray(array), np.asarray(was))


def test_table_that_nobody_keeps_is_not_copied():
    compiled = tg.compile(embedding_step)
    table = np.zeros((N_ROWS, WIDTH))
    for i in range(8):
        if i == 4:
            tracemalloc.start()
        _, table = compiled(table, np.array([i, i + 1]), np.ones((2, WIDTH)))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < table.nbytes / 2


def test_table_rows_needed_after_an_update():
    def both(table, i):
        rows = tg.index_select(table, i)
        doubled, squares = 2.0 * rows, rows * rows
        return tg.at(table)[i].add(doubled), tg.at(table)[i].add(squares)

    def return_rows(table, i):
        rows = tg.index_select(table, i)
        return tg.at(table)[i].add(2.0 * rows), rows.T[1:]

    def sum_rows_later(table, i):
        rows = tg.index_select(table, i)
        table = tg.at(table)[i].add(tg.sin(rows))
        return table, tg.sum(tg.tanh(rows[1:]))

    table, i = np.linspace(0, 1, N_ROWS * WIDTH).reshape(N_ROWS, WIDTH), np.array([5, 2, 5])
    for fn in (both, return_rows, sum_rows_later):
        assert "rows_" in str(tg.compile(fn).program(table, i))
        assert_same(tg.compile(fn)(table, i), tg.tree.map(np.asarray, fn(table, i)))


@pytest.mark.parametrize("shape", [(), (WIDTH,), (1, WIDTH), (3, 1), (3, WIDTH)])
def test_table_with_values_of_any_shape_added(shape):
    table, values = np.zeros((N_ROWS, WIDTH)), np.ones(shape)
    mask = np.zeros(N_ROWS, bool)
    mask[[0, 7, 9]] = True
    for rows in (np.array([4, 4, 1]), mask):
        step = tg.compile(lambda table, values, rows=rows: tg.at(table)[rows].add(values))
        wanted = tg.at(table)[rows].add(values)
        for _ in range(3):
            np.testing.assert_array_equal(step(table, values), wanted)


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("name", ["set_rows", "add_overwritten_rows", "readonly_array"])
def test_table_after_an_interrupted_update(name, left):
    compiled = tg.compile(embedding_step)
    whole = getattr(reuse, name)
    table = expected = np.zeros((N_ROWS, WIDTH))
    targets = np.ones((2, WIDTH))
    for i in range(12):
        # the steps before this one left an older table, whose memory is used again
        if i % 4 == 3:
            places = iter([None] * left)

            def call_and_count(*args, places=places):
                result = whole(*args)
                next(places)
                return result

            with mock.patch.object(reuse, name, call_and_count), contextlib.suppress(StopIteration):
                compiled(table, np.array([0, i + 8]), targets)
        indices = np.array([i, 7])
        _, table = compiled(table, indices, targets)
        _, expected = embedding_step(expected, indices, targets)
        np.testing.assert_array_equal(table, expected)
