"""stack_sums and stack_products: sums of products or rows, and products by one matrix, at once."""

import functools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from programs import (
    SQUARE,
    assert_close,
    is_untouched,
    kinds,
    ops_after,
    ops_of,
    run,
    trace,
    two_slices,
)

import tapegrad as tg
from tapegrad.ops.indexing import scatter
from tapegrad.ops.rows import sum_segments
from tapegrad.program.checking import check_code
from tapegrad.program.passes import fold, stack_products, stack_sums


def scatter_and_add(values, shape, *indices):
    """Each of some values placed in zeros, added up."""
    parts = [scatter(x, shape, index) for x, index in zip(values, indices, strict=True)]
    return functools.reduce(tg.add, parts)


def summed_again(a, b):
    total = a.T @ b + b.T @ a
    return total, total + a.T @ a


def placed_on_what_is_read(a):
    rest = tg.sin(a[:2]) + scatter(a[0], (2, 3), (0,))
    return rest, rest + scatter(a[1], (2, 3), (1,))


X, Y, INDEX = np.arange(3.0), np.arange(4.0)[None], np.array([0, 2, 2])
ALL, BACK, LEFT, RIGHT = slice(None), slice(None, None, -1), slice(0, 2), slice(2, 4)
TALL, MANY = np.ones((4, 2)), np.ones((2000, 3))


def rows(a, b):
    return tg.sum(a, 0) + tg.sum(b, 0)


def add_segment_sums(a, b, i):
    return sum_segments(a, i, 4) + sum_segments(b, i, 4)


# functions, their arguments, and the last ops that are left of them
STACKED = [
    (lambda a, b, c, d: a.T @ b + c.T @ d, (TALL,) * 4, ["concatenate", "transpose", "matmul"]),
    (lambda b, d: SQUARE.T @ b + d.T @ d, (SQUARE,) * 2, ["concatenate", "transpose", "matmul"]),
    (lambda a, b, c, d: a[:, None] * b + d * c[:, None], (X, Y) * 2, ["transpose", "matmul"]),
    (rows, (SQUARE, SQUARE), ["concatenate", "sum"]),
    (lambda a, b: a.T @ b + b.T @ a + np.ones((2, 3, 3)), (SQUARE,) * 2, ["matmul", "add"]),
    (summed_again, (SQUARE, SQUARE), ["transpose", "matmul", "matmul", "add"]),
    (add_segment_sums, (SQUARE, SQUARE, INDEX), ["concatenate", "concatenate", "segment_sum"]),
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
    (lambda a, b, i: a.T @ b + i.T @ i, (SQUARE, SQUARE, np.eye(3, dtype=int))),
    (lambda a, b: tg.transpose(a, (0, 1)) @ b + tg.transpose(b, (0, 1)) @ a, (SQUARE, SQUARE)),
    (lambda a, b: tg.transpose(a) @ b + tg.transpose(b) @ a, (np.ones((2, 2, 2)),) * 2),
    (
        lambda a: scatter_and_add([a, a[:, :1]], (3, 4), (ALL, LEFT), (ALL, slice(3, 4))),
        (SQUARE[:, :2],),
    ),
    (lambda a: scatter_and_add([a, a], (3, 4), (BACK, LEFT), (BACK, RIGHT)), (SQUARE[:, :2],)),
    (lambda a: scatter_and_add([a[:1], a[1]], (2, 3), (slice(0, 1),), (1,)), (SQUARE,)),
    (lambda a: scatter_and_add(a, (3, 3), (ALL, 0), (ALL, 1), (ALL, 2)), (SQUARE,)),
    (lambda a: scatter_and_add(a, (2, 3), (), (), ()), (SQUARE,)),
    (lambda a: scatter_and_add([a, a], (3, 4), (ALL, LEFT), (ALL, slice(1, 3))), (SQUARE[:, :2],)),
    (
        lambda a, b: (
            scatter_and_add([a], (1, 4), (ALL, LEFT)) + scatter_and_add([b], (3, 4), (ALL, RIGHT))
        ),
        (SQUARE[:1, :2], SQUARE[:, :2]),
    ),
    (placed_on_what_is_read, (SQUARE,)),
    # a stack of matrices by a vector, as in derivatives of a product for all directions
    (lambda a, b: np.ones((2, 2, 3)) @ a + b.T @ b, (X, TALL)),
    (lambda a, b: b.T @ b + X @ a, (np.ones((2, 3, 2)), TALL)),
    (rows, (MANY, MANY)),
    (add_segment_sums, (MANY, MANY, np.zeros(2000, int))),
]


def test_stack_sums_makes_one_product_or_sum_of_sums():
    for fn, args, ops in STACKED:
        assert ops_after(stack_sums, fn, *args)[-len(ops) :] == ops
    for fn, args in APART:
        assert is_untouched(stack_sums, fn, *args)


def test_stack_sums_takes_all_rows_in_order_as_the_array():
    def rows(x, order):
        return functools.reduce(tg.add, [x[i].T @ x[i] for i in order[::-1]])

    def columns(x, order):
        return functools.reduce(tg.add, [x[:, i].T @ x[:, i] for i in order[::-1]])

    x = np.arange(24.0).reshape(4, 3, 2)
    whole = ["reshape", "transpose", "matmul"]
    stacked = stack_sums(trace(lambda x: rows(x, range(4)), (x,), {}))
    assert kinds(fold(stacked)) == whole
    for fn in (rows, columns):
        for order in ([0, 1], [1, 0, 2], [0, 1, 2, 2]):
            program = stack_sums(trace(lambda x, fn=fn, order=order: fn(x, order), (x,), {}))
            np.testing.assert_array_equal(run(program, (x,)), fn(x, order))
            assert ("concatenate" in kinds(program)) == (len({*order}) == len(order))


PLACES = st.permutations(range(3)) | st.lists(st.integers(0, 2), max_size=4)


@given(st.lists(PLACES, max_size=3), st.integers(0, 9), st.booleans(), st.booleans())
def test_stack_sums_adds_what_is_placed_in_the_same_order(groups, at, left, sliced):
    places = [i for group in groups for i in group]

    def fn(x):
        total = np.sin(x)
        for k, i in enumerate(places):
            if k == at:
                total = total + np.cos(x)
            index = (slice(i, i + 1),) if sliced else (i,)
            part = scatter(np.exp(x[index] * (k + 1)), x.shape, index)
            total = part + total if left else total + part
        return total

    x = np.random.default_rng(0).normal(size=(3, 9))
    program = stack_sums(trace(fn, (x,), {}))
    np.testing.assert_array_equal(run(program, (x,)), fn(x))
    tail = places[-3:] if at >= len(places) else places[max(at, len(places) - 3) :]
    if sorted(tail) == [0, 1, 2]:
        assert ("concatenate" if sliced else "stack") in kinds(program)


def test_stack_products_multiplies_by_a_weight_once():
    def fn(x, y, w):
        return tg.tanh(x) @ w, tg.tanh(y) @ w

    ops = ops_after(stack_products, fn, SQUARE, SQUARE, SQUARE)
    assert sorted(ops) == ["concatenate", "getitem", "getitem", "matmul", "tanh", "tanh"]
    assert ops_after(stack_products, fn, SQUARE[:0], SQUARE[:0], SQUARE).count("matmul") == 1
    for apart in (
        lambda x, y, w: tg.tanh(tg.tanh(x) @ w) @ w,
        lambda x, y, w: (x @ w, y @ w, SQUARE @ w, y.T @ w),
        lambda x, y, w: (tg.tanh(x) @ w, tg.tanh(y[:2]) @ w, tg.tanh(y) @ w[:, :2]),
        lambda x, y, w: (tg.tanh(x).T @ w, tg.tanh(y).T @ w),
        lambda x, y, w: (tg.tanh(x[0]) @ w, tg.tanh(y[0]) @ w),
        lambda x, y, w: (tg.tanh(x) @ w[None], tg.tanh(y) @ w[None]),
    ):
        assert is_untouched(stack_products, apart, SQUARE, SQUARE + 1, SQUARE)


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


def test_stacks_are_in_the_order_of_the_steps_and_shared():
    def loss(w, u, x):
        h = np.zeros((2, 3))
        for row in x:
            h = tg.tanh(tg.sin(row) @ w + h @ u)
        return tg.sum(h * h)

    step = tg.grad(loss, (0, 1, 2))
    ops = ops_of(step, np.ones((4, 3)), np.ones((3, 3)), np.ones((5, 2, 4)))
    # of the steps' inputs, of their states, and of the cotangents of both
    assert ops.count("concatenate") == 3
