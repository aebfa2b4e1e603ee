"""Values that lie in memory in another order."""

import hypothesis.strategies as st
import numpy as np
import pytest
from depth import depth
from hypothesis import given

import tapegrad as tg
from tapegrad.program.expressions import in_order
from tapegrad.program.memory import layouts

RNG = np.random.default_rng(0)


def kinds(program):
    return [x.op.name for x in program.instructions]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (70, 130), (130, 70), (9000, 1), (0, 3)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_copy_is_in_order_whatever_its_size(shape, turned):
    x = np.arange(np.prod(shape, dtype=int), dtype=float).reshape(shape)
    x = x.T if turned else x
    for copy in (in_order(x), in_order(x, np.empty(x.shape))):
        assert copy.flags.c_contiguous
        assert not np.shares_memory(copy, x)
        np.testing.assert_array_equal(copy, x)


@depth("small step")
@given(st.data(), st.permutations(range(4)), st.booleans())
def test_stacks_of_products_are_right_in_any_order_of_axes(data, axes, twice):
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


def test_a_product_is_written_in_the_order_that_it_is_reshaped_in():
    def heads(a, b):
        whole = (a @ b).swapaxes(1, 2).reshape(2, 3, -1)
        return np.tanh(whole)

    a, b = RNG.normal(size=(2, 4, 3, 5)), RNG.normal(size=(2, 4, 5, 6))
    program = tg.compile(heads).program(a, b)
    assert list(layouts(program).values()) == [(0, 2, 1, 3)]
    _, run = str(program).split("def run")
    assert "reshape" not in run

    def both(a, b):
        product = a @ b
        return np.tanh(product.swapaxes(1, 2).reshape(2, 3, -1)), product + 1

    assert not layouts(tg.compile(both).program(a, b))
