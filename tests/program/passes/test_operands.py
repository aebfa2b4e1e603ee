"""straighten and lay_out: operands as NumPy takes them quickest."""

import functools
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes
from programs import ops_after, run, trace

import tapegrad as tg
from tapegrad.program.builder import Builder
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import content_key
from tapegrad.program.passes import fold, lay_out, straighten
from tapegrad.program.passes.operands import is_in_c_order


def test_lay_out_leaves_numbers_that_overflow_to_each_run():
    compiled = tg.compile(lambda x: x * 1e60)
    x = np.ones(3, np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x)
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x)


def test_straighten_copies_a_transpose_for_several_products():
    x, w = np.ones((3, 4)), np.ones((5, 4))
    for fn, copies in ((lambda x, w: x @ w.T, 0), (lambda x, w: (x @ w.T, (x + 1.0) @ w.T), 1)):
        assert ops_after(straighten, fn, x, w).count("copy") == copies


@given(
    mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=5),
    st.sampled_from([np.add, np.subtract, np.maximum, np.divide, np.less, np.arctan2]),
    st.sampled_from(["f", "d", "i", "F"]),
    st.booleans(),
)
def test_lay_out_writes_out_what_is_broadcast_to_the_other_operand(given, fn, kind, captured):
    if kind == "F" and fn not in (np.add, np.subtract):
        return
    rng = np.random.default_rng(0)
    x, y = [np.asarray(rng.uniform(1, 9, shape)).astype(kind) for shape in given.input_shapes]
    args = (x,) if captured else (x, y)
    program = trace(lambda x, y=y: fn(x, y), args, {})
    better = lay_out(program)
    shape = np.broadcast_shapes(x.shape, y.shape)
    apart = x.shape != y.shape and () not in (x.shape, y.shape) and math.prod(shape) > 1
    if apart and shape in (x.shape, y.shape):
        assert [better.spec(z).shape for z in better.instructions[-1].operands] == [shape] * 2
    else:
        assert better == program
    for code in (program, better):
        got = run(code, args)
        assert (got.dtype, got.shape, got.tobytes()) == (
            *(fn(x, y).dtype, fn(x, y).shape),
            np.ascontiguousarray(fn(x, y)).tobytes(),
        )


def test_lay_out_serves_several_calls_with_one_copy_and_leaves_what_is_large():
    def fn(x, row):
        return np.tanh(np.tanh(x + row) * row) / row

    row = np.arange(1.0, 4.0)
    assert ops_after(lay_out, fn, np.ones((4, 3)), row).count("broadcast_to") == 1
    text = str(tg.compile(fn).program(np.ones((4, 3)), row))
    assert text.count("[...] = row") == 1
    assert "broadcast_to(" not in text
    assert ops_after(lay_out, fn, np.ones((4000, 3)), row).count("broadcast_to") == 0


PLACES = st.one_of(
    st.integers(-2, 1),
    st.builds(slice, st.integers(-2, 1), st.none(), st.sampled_from([None, 1, 2, -1])),
    st.just(slice(None)),
)


@given(st.lists(PLACES, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_lay_out_copies_what_numpy_would_go_through_row_by_row(index, turned, unary):
    def fn(x, index=tuple(index)):
        view = x.T[index] if turned else x[index]
        y = np.tanh(view) if unary else view * ones
        return np.sum(y * y)

    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    view = (x.T if turned else x)[tuple(index)]
    ones = np.ones(view.shape)
    # of one axis any order is quick
    rows = 0 in view.shape or view.squeeze().ndim < 2 or view.squeeze().flags.c_contiguous
    program = fold(trace(fn, (x,), {}))
    better = lay_out(program)
    copies = [made.op.name for made in better.instructions].count("copy")
    # the pass looks at a slice's stride for one element too
    assert copies == (not rows) or (copies == 1 and 1 in view.shape)
    np.testing.assert_allclose(run(better, (x,)), run(program, (x,)), rtol=1e-15)


@given(st.sampled_from(["f", "d", "F"]), st.sampled_from([(4,), (3, 1), (3, 4), ()]))
def test_lay_out_converts_a_mask_before_the_product(kind, shape):
    x = np.arange(12.0).reshape(3, 4).astype(kind)
    mask = np.resize([True, False, False], shape)

    def fn(x, mask):
        return x * mask

    ops = ops_after(lay_out, fn, x, mask)
    assert ("astype" in ops) == (kind != "F" and shape != ())
    got = tg.compile(fn)(x, mask)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, x * mask)


def test_what_is_laid_out_in_a_new_array_is_written_to_that_array():
    def fn(a, d):
        e = np.sin(d)
        return a.reshape(64, 63) + e[:, :63] + e[:, 1:]

    # and in a large elementwise program beside a number, which has no shape
    tg.compile(fn).check(np.linspace(0, 1, 64 * 63), np.linspace(0, 1, 64 * 64).reshape(64, 64))
    tg.compile(lambda x, a: np.sum(np.maximum(np.sin(x) * a, 0.5) * a)).check(np.ones(1 << 17), 0.7)


@st.composite
def views(draw, x):
    """Draw a function that returns a view of a view of an array, up to four views deep."""
    steps = []
    for _ in range(draw(st.integers(2, 4))):
        shape = x.shape
        kind = draw(st.sampled_from([np.reshape, np.transpose, np.expand_dims, operator.getitem]))
        if kind is np.reshape:
            option = shape[::-1]
        elif kind is np.transpose:
            option = tuple(draw(st.permutations(range(len(shape)))))
        elif kind is np.expand_dims:
            option = draw(st.integers(0, len(shape)))
        else:
            option = tuple(slice(draw(st.integers(0, 1)), None) for _ in shape)
        steps.append((kind, option))
        x = kind(x, option)

    return lambda x: functools.reduce(lambda y, step: step[0](y, step[1]), steps, x)


@given(st.data(), st.lists(st.integers(2, 3), min_size=1, max_size=3))
def test_a_view_that_is_taken_to_be_in_c_order_is_in_c_order(data, shape):
    x = np.ones(shape)
    view = data.draw(views(x))
    program = trace(lambda x: view(x) * 1.0, (x,), {})
    builder, arrays = Builder(program), {}

    def apply(instruction, operands):
        result = instruction.op.forward(*operands, **instruction.options)
        arrays[builder.by_content[content_key(instruction)]] = result
        return result

    make_interpreter(program, apply)([x])
    for i, ref in enumerate(builder.refs[:-1]):
        # elements at one distance, as in x[:, 0], need no inner loop for each row either
        is_copied = arrays[i].size and not np.shares_memory(arrays[i].reshape(-1), arrays[i])
        assert not (is_copied and is_in_c_order(builder, ref))
