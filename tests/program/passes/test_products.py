"""stack_products: products by one matrix are one product."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from programs import SQUARE, after, assert_close, run, untouched

import tapegrad as tg
from tapegrad.program.compiled import trace
from tapegrad.program.passes import stack_products
from tapegrad.program.program import check_program


def two_ways(x, y, v, w):
    return tg.tanh(tg.tanh(x) @ w) @ v + tg.tanh(tg.tanh(y) @ v) @ w


def test_stack_products_multiplies_by_a_weight_once():
    def fn(x, y, w):
        return tg.tanh(x) @ w, tg.tanh(y) @ w

    ops = after(stack_products, fn, SQUARE, SQUARE, SQUARE)
    assert sorted(ops) == ["concatenate", "getitem", "getitem", "matmul", "tanh", "tanh"]
    assert untouched(stack_products, lambda x, w: tg.tanh(tg.tanh(x) @ w) @ w, SQUARE, SQUARE)


def test_stack_products_of_weights_that_wait_for_each_other():
    assert after(stack_products, two_ways, SQUARE, SQUARE, SQUARE, SQUARE).count("matmul") == 3


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
    check_program(program)
    assert_close(run(program, args), fn(*args), np.dtype(float), 10)
