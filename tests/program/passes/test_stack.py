"""stack_sums and stack_products: sums of products or rows, and products by one matrix, at once."""

import functools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from programs import SQUARE, after, assert_close, kinds, run, untouched

import tapegrad as tg
from tapegrad.ops.indexing import scatter
from tapegrad.ops.rows import sum_segments
from tapegrad.program.checking import check_code
from tapegrad.program.compiled import trace
from tapegrad.program.passes import stack_products, stack_sums


def two_slices(values):
    left, right = (slice(None), slice(0, 3)), (slice(None), slice(3, 6))
    return scatter(values, (4, 6), left) + scatter(values, (4, 6), right)


X, Y, INDEX = np.arange(3.0), np.arange(4.0)[None], np.array([0, 2, 2])
TALL, MANY = np.ones((4, 2)), np.ones((2000, 3))


def rows(a, b):
    return tg.sum(a, 0) + tg.sum(b, 0)


def scattered(a, b, i):
    return sum_segments(a, i, 4) + sum_segments(b, i, 4)


# functions, their arguments, and the last ops that are left of them
STACKED = [
    (lambda a, b, c, d: a.T @ b + c.T @ d, (TALL,) * 4, ["concatenate", "transpose", "matmul"]),
    (lambda b, d: SQUARE.T @ b + d.T @ d, (SQUARE,) * 2, ["concatenate", "transpose", "matmul"]),
    (lambda a, b, c, d: a[:, None] * b + d * c[:, None], (X, Y) * 2, ["transpose", "matmul"]),
    (rows, (SQUARE, SQUARE), ["concatenate", "sum"]),
    (scattered, (SQUARE, SQUARE, INDEX), ["concatenate", "concatenate", "segment_sum"]),
    (two_slices, (np.ones((4, 3)),), ["concatenate"]),
]
# other products and sums, and many rows
APART = [
    (lambda a, b: a.T @ b + a @ b.T, (SQUARE, SQUARE)),
    (lambda a, b: a.T @ b + b, (SQUARE, SQUARE)),
    (lambda a, b: a * b + b * a, (SQUARE, SQUARE)),
    (lambda a, b: a[:1] * b + b * a[:1], (SQUARE, SQUARE)),
    (lambda a, b: tg.sum(a, 0) + tg.sum(b, 1), (SQUARE, SQUARE)),
    (lambda a, b: a.T @ b + a.T @ b[:, :1], (SQUARE, SQUARE)),
    (lambda a, b: a[:1, :1] * b[:1, :1] + b[:1, :1] * b[:1, :1], (SQUARE, SQUARE)),
    (lambda a, b: a.T @ b + a.T.astype(int) @ b.astype(int), (SQUARE, SQUARE)),
    (lambda b: scatter(b[:1], (1, 3), (0,)) + scatter(b, (2, 3), (slice(0, 1),)), (SQUARE[:1],)),
    (rows, (MANY, MANY)),
    (scattered, (MANY, MANY, np.zeros(2000, int))),
]


def test_stack_sums_makes_one_product_or_sum_of_sums():
    for fn, args, ops in STACKED:
        assert after(stack_sums, fn, *args)[-len(ops) :] == ops
    for fn, args in APART:
        assert untouched(stack_sums, fn, *args)


def test_stack_sums_takes_all_rows_in_order_as_the_array():
    def rows(x, order):
        return functools.reduce(tg.add, [x[i].T @ x[i] for i in order[::-1]])

    def columns(x, order):
        return functools.reduce(tg.add, [x[:, i].T @ x[:, i] for i in order[::-1]])

    x = np.arange(24.0).reshape(4, 3, 2)
    whole = ["reshape", "transpose", "matmul"]
    assert after(stack_sums, lambda x: rows(x, range(4)), x) == whole
    turned = ["transpose", *whole]
    assert after(stack_sums, lambda x: columns(x, range(3)), x) == turned
    for fn in (rows, columns):
        for order in ([0, 1], [1, 0, 2], [0, 1, 2, 2]):
            program = stack_sums(trace(lambda x, fn=fn, order=order: fn(x, order), (x,), {}))
            np.testing.assert_array_equal(run(program, (x,)), fn(x, order))
            assert ("concatenate" in kinds(program)) == (len({*order}) == len(order))


@given(st.permutations(range(3)), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())
def test_stack_sums_adds_at_once_what_is_placed_last(order, at, left, sliced, twice):
    def fn(x):
        total = np.sin(x)
        for k, i in enumerate([*order, *order[:1]] if twice else order):
            if k == at:
                total = total + np.cos(x)
            index = (slice(i, i + 1),) if sliced else (i,)
            part = scatter(np.exp(x[index]), x.shape, index)
            total = part + total if left else total + part
        return total

    x = np.random.default_rng(0).normal(size=(3, 4))
    made = stack_sums(trace(fn, (x,), {}))
    # of the same numbers in the same order
    np.testing.assert_array_equal(run(made, (x,)), fn(x))
    at_once = {tg.stack, tg.concatenate} & {made.op for made in made.instructions}
    assert bool(at_once) == (at in ((0, 1) if twice else (0, 3)))


def test_stack_products_multiplies_by_a_weight_once():
    def fn(x, y, w):
        return tg.tanh(x) @ w, tg.tanh(y) @ w

    ops = after(stack_products, fn, SQUARE, SQUARE, SQUARE)
    assert sorted(ops) == ["concatenate", "getitem", "getitem", "matmul", "tanh", "tanh"]
    for apart in (
        lambda x, y, w: tg.tanh(tg.tanh(x) @ w) @ w,
        lambda x, y, w: (x @ w, y @ w, SQUARE @ w, y.T @ w),
        lambda x, y, w: (tg.tanh(x) @ w, tg.tanh(y[:2]) @ w, tg.tanh(y) @ w[:, :2]),
    ):
        assert untouched(stack_products, apart, SQUARE, SQUARE + 1, SQUARE)


@given(st.data(), st.integers(2, 12))
def test_stack_products_in_any_order(data, n):
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
    check_code(program)
    assert_close(run(program, args), fn(*args), np.dtype(float), 10)
