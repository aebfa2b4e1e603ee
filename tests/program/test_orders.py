"""What lies in memory in another order, limits in full, and rows that are shifted."""

import hypothesis.strategies as st
import numpy as np
import pytest
from depth import depth
from hypothesis import given

import tapegrad as tg
from tapegrad.program.compiled import trace
from tapegrad.program.copies import in_order
from tapegrad.program.layouts import layouts
from tapegrad.program.passes import fill_limits, straighten_stacks

RNG = np.random.default_rng(0)


def kinds(program):
    return [x.op.name for x in program.instructions]


def of(improve, fn, *args):
    return kinds(improve(trace(fn, args, {})))


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


def test_transposed_stacks_on_the_right_of_products_are_copied_once():
    a, b = RNG.normal(size=(4, 64, 32)), RNG.normal(size=(4, 64, 32))

    def fn(a, b):
        turned = b.swapaxes(1, 2)
        return a @ turned, (a + 1) @ turned

    assert of(straighten_stacks, fn, a, b).count("copy") == 1
    # in order already, and too little to do
    assert "copy" not in of(straighten_stacks, lambda a, b: a @ (b + 1), a, b.swapaxes(1, 2))
    assert "copy" not in of(straighten_stacks, fn, a[:1, :20], b[:1, :20])


def test_numbers_that_limit_an_array_are_written_in_full():
    x = RNG.normal(size=(20, 20))
    written = fill_limits(trace(lambda x: np.maximum(x, np.array(0.0)), (x,), {}))
    assert written.constants[written.instructions[0].operands[1].index].shape == (20, 20)
    few = trace(lambda x: np.maximum(x, np.array(0.0)), (x[:2],), {})
    assert fill_limits(few) == few


def own_softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.expand_dims(np.sum(e, axis=-1), -1)


SHIFTED = {
    "softmax": tg.softmax,
    "softmax and its sweep": lambda x: tg.grad(lambda x: np.sum(tg.softmax(x) ** 2))(x),
    "log_softmax": tg.log_softmax,
    "cross entropy": lambda x: tg.value_and_grad(
        lambda x: tg.nn.cross_entropy_loss(x, np.arange(len(x)) % 3)
    )(x),
    "written by hand": own_softmax,
}


@pytest.mark.parametrize("fn", SHIFTED.values(), ids=SHIFTED)
@pytest.mark.parametrize("scale", [1.0, 20.0, 1e4])
def test_rows_are_shifted_by_one_number_where_none_is_far_below(fn, scale):
    x = RNG.normal(size=(40, 8)) * scale
    x[3] = 0.0
    compiled = tg.compile(fn)
    assert "below_largest" in kinds(compiled.program(x))
    compiled.check(x)


@pytest.mark.parametrize("fn", SHIFTED.values(), ids=SHIFTED)
def test_rows_near_zero_are_shifted_where_logarithms_are_taken_of_sums(fn):
    x = np.linspace(-15.0, 15.0, 400).reshape(40, 10)
    compiled = tg.compile(fn)
    (shift,) = [y for y in compiled.program(x).instructions if y.op.name == "below_largest"]
    takes = any(name in kinds(trace(fn, (x,), {})) for name in ("log_softmax", "log"))
    assert shift.options["logs"] == takes
    np.testing.assert_array_equal(shift.op.forward(x, logs=False), x)
    assert shift.op.forward(x, logs=True).max() == 0
    compiled.check(x)


NOT_SHIFTED = {
    "the shifted rows": lambda x: x - np.max(x, axis=-1, keepdims=True),
    "a sum that is not divided by": lambda x: np.sum(
        np.exp(x - np.max(x, axis=-1, keepdims=True)), axis=-1
    ),
    "the largest added back": tg.logsumexp,
    "columns": lambda x: tg.softmax(x, axis=0),
    "a sum over columns": lambda x: (
        (e := np.exp(x - np.max(x, axis=-1, keepdims=True))) / np.sum(e, axis=0)
    ),
    "factors of two rows": lambda x: (
        (e := np.sum(np.exp(x - np.max(x, axis=-1, keepdims=True)), axis=-1)) / e[:, None]
    ),
}


@pytest.mark.parametrize("fn", NOT_SHIFTED.values(), ids=NOT_SHIFTED)
def test_what_depends_on_the_shift_is_left(fn):
    x = RNG.normal(size=(20, 20)) * 3
    compiled = tg.compile(fn)
    assert "below_largest" not in kinds(compiled.program(x))
    compiled.check(x)


def test_shifted_rows_do_not_warn_of_infinities_that_the_function_has_no_warning_for():
    x = np.where(np.arange(400).reshape(20, 20) % 3, RNG.normal(size=(20, 20)), -np.inf)
    with np.errstate(all="raise", under="ignore"):
        np.testing.assert_allclose(tg.compile(tg.softmax)(x), tg.softmax(x), rtol=1e-13)
