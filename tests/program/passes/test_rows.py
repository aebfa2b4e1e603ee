"""update_rows and stacks of rows: selected at once, and updated without the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import is_untouched, ops_after, ops_of, run, trace

import tapegrad as tg
from tapegrad.ops.rows import sum_segments
from tapegrad.program.passes import update_rows


def test_stacked_rows_of_a_table_are_selected_at_once():
    table = tg.nn.Embedding(5, 3)

    def fn(params, weight, words):
        return [table(params, words[:, i]) @ weight for i in range(4)]

    params, weight, words = table.init(0), np.ones((3, 3)), np.arange(8).reshape(2, 4) % 5
    ops = ops_of(fn, params, weight, words)
    assert ops.count("check_indices") == ops.count("index_select") == ops.count("matmul") == 1
    compiled = tg.compile(fn)
    np.testing.assert_array_equal(compiled(params, weight, words), fn(params, weight, words))
    with pytest.raises(IndexError, match="index -3 "):
        compiled(params, weight, words - 3)


@pytest.mark.parametrize("indices", [(1, 2), ([0, 1], [1, 2]), ([0, 1], np.array([1, 2], "u8"))])
@pytest.mark.parametrize("same", [True, False])
def test_rows_that_are_no_one_selection(indices, same):
    def fn(one, other, w, i, j):
        return one[i] @ w, (one if same else other)[j] @ w

    one, indices = np.arange(27.0).reshape(3, 3, 3), [*map(np.asarray, indices)]
    one = one[0] if indices[0].ndim else one
    args = one, one + 1, np.eye(3), *indices
    np.testing.assert_array_equal(tg.compile(fn)(*args), fn(*args))


@given(
    st.sampled_from([8, 5000]),
    st.lists(st.integers(-8, 7), max_size=12),
    st.sampled_from([0.1, -3.0, 0.0, np.inf, -np.inf, np.nan]),
    st.sampled_from([np.float32, np.float64]),
    st.booleans(),
)
def test_update_rows_gives_what_the_whole_table_would(n, indices, rate, dtype, subtract):
    rng = np.random.default_rng(len(indices))
    # one addend is lost beside 1, but a thousand of them are not
    table = np.where(rng.random((n, 3)) < 0.5, 1, rng.normal(size=(n, 3))).astype(dtype)
    indices = np.array(indices * (1000 if n > 8 and len(indices) < 2 else 1), int)
    values = (rng.normal(size=(len(indices), 3)) * np.finfo(dtype).eps / 9).astype(dtype)
    indices = indices if n == 8 else indices[: n // 4]
    values = values[: len(indices)]

    def fn(table, values, indices, rate):
        change = rate * sum_segments(values, indices, n)
        return table - change if subtract else table + change

    args = (table, values, indices, rate)
    with np.errstate(invalid="ignore"):
        program, wanted = trace(fn, args, {}), fn(*args)
        for made in (run(update_rows(program), args), *[tg.compile(fn)(*args) for _ in "123"]):
            np.testing.assert_allclose(made, wanted, rtol=2 * np.finfo(dtype).eps)
            # no number beside the rows is touched, and the sum of a row is added once
            assert (made == wanted).mean() > 0.9 or not np.isfinite(rate)


def test_update_rows_where_they_are_few():
    def sum_rows(values, i):
        return sum_segments(values, i, 40)

    args = np.ones((40, 3)), np.ones((5, 3)), np.arange(5)
    for few in (lambda t, v, i: t - 0.1 * sum_rows(v, i), lambda t, v, i: t + sum_rows(v, i) * 0.1):
        assert ops_after(update_rows, few, *args)[-1] == "add_scaled_rows"
    for other in (
        lambda t, v, i: t[:8] - sum_segments(v, i, 8),
        lambda t, v, i: t - v[:1] * sum_rows(v, i),
        lambda t, v, i: t[0] - 0.1 * sum_rows(v, i),
    ):
        assert is_untouched(update_rows, other, *args)


@given(st.integers(1, 40), st.lists(st.integers(0, 39), max_size=60), st.integers(0, 3))
def test_rows_of_any_length_are_updated_as_without_compiling(n, indices, width):
    rows = np.array(indices, int) % n

    def update(table):
        return table - 0.1 * tg.grad(lambda t: np.sum(t[rows] ** 2))(table)

    table = np.arange(float(n * width)).reshape(n, width)
    np.testing.assert_allclose(tg.compile(update)(table), update(table), rtol=1e-15)
