"""compile: a compiled function is the function that it was made of."""

import pickle
import sys
import threading
from unittest import mock

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from hypothesis import strategies as st
from programs import assert_close, assert_same, assert_unshared_and_read_only, scale_of
from random_programs import programs
from trees import Empty, Level, Mode, Nothing, trees_of

import tapegrad as tg
from tapegrad.program import cost
from tapegrad.testing.strategies import HypothesisChoices
from tapegrad.tree.numbers import is_floating

X = np.linspace(-1.0, 1.0, 4)


@depth("program, compiled")
@given(programs())
def test_compiled_computes_what_is_recorded(written):
    compiled = tg.compile(written.step)
    for args in written.arguments:
        before = pickle.dumps(args)
        # twice, for the second run finds the buffers full
        results = [compiled(*args), compiled(*args)]
        assert pickle.dumps(args) == before
        expected, scale = written.step(*args), scale_of(written.step, args)
        for got in results:
            assert_close(got, expected, written.narrowest, scale)
        compiled.check(*args)
    assert len(compiled.signatures) == 1


@depth("program, as text")
@given(programs(max_steps=12))
def test_compiled_function_inside_a_gradient(written):
    def gradient(fn):
        def total(*args):
            results = fn(*args)
            return sum(tg.sum(tg.tanh(y)) for y in results if isinstance(y, tg.Tensor)) + 0.0

        return tg.grad(total, written.argnums)(*written.arguments[0])

    assert_close(gradient(tg.compile(written.fn)), gradient(written.fn), written.narrowest, 1.0)


@depth("program, as text")
@given(st.data(), programs(max_steps=12), st.sampled_from([9, cost.BLOCKED_ELEMENTS]))
def test_compiled_arguments_lie_in_memory_in_any_way(data, written, many):
    compiled = tg.compile(written.step)
    wanted = written.step(*written.arguments[0])
    args = [
        HypothesisChoices(data.draw).laid_out(x.copy()) if isinstance(x, np.ndarray) else x
        for x in written.arguments[0]
    ]
    before = [np.array(x) for x in args]
    scale = scale_of(written.step, written.arguments[0])
    with mock.patch.multiple("tapegrad.program.cost", BLOCKED_ELEMENTS=many, BLOCK_BYTES=64):
        for _ in range(2):
            assert_close(compiled(*args), wanted, written.narrowest, scale)
    assert all(np.array_equal(x, y) for x, y in zip(args, before, strict=True))
    assert len(compiled.signatures) == 1


KEYS = st.sampled_from(["w", np.str_("w2"), b"w", 3, Level.LOW, Mode.FAST, ("x", 1), None])
LEAVES = st.sampled_from([X, X.reshape(2, 2), np.float32(2.0), np.array(3.0), 1.5, X.astype("f4")])


STATICS = st.sampled_from([None, "text", True, len, (), [], {}, Empty(), Nothing()])


TREES = trees_of(LEAVES | STATICS, KEYS, max_leaves=8)


def double_leaves(tree):
    return tg.tree.map(lambda x: x * 2.0 if is_floating(x) else x, tree)


@given(TREES, TREES)
def test_compiled_arguments_and_results_are_any_trees(first, second):
    compiled = tg.compile(lambda a, *, b: (double_leaves(a), {"b": double_leaves(b)}))
    got = compiled(first, b=second)
    expected = (double_leaves(first), {"b": double_leaves(second)})
    assert tg.tree.flatten(got)[1] == tg.tree.flatten(expected)[1]
    for a, b in zip(tg.tree.leaves(got), tg.tree.leaves(expected), strict=True):
        if isinstance(b, np.ndarray | np.generic):
            assert isinstance(a, np.ndarray)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert type(a) is type(b)
            assert a == b
    assert_unshared_and_read_only(got, (first, second))
    # from the third call on, straight-line code reads the arguments
    for _ in range(2):
        assert tg.tree.flatten(compiled(first, b=second))[1] == tg.tree.flatten(expected)[1]
    assert len(compiled.signatures) == 1


@pytest.mark.parametrize(
    ("fn", "captured", "x"),
    [
        (lambda x, c: x * c, np.ones(4), X),
        (lambda x, c: x + c.T, np.ones((4, 4)), X),
        (lambda x, c: (x > 0) == c, np.ones(4, bool), X),
        (lambda x, c: x + c, np.full(4, 200, np.uint8), np.arange(4, dtype=np.uint8)),
    ],
    ids=["folded", "transposed", "boolean", "unsigned"],
)
def test_check_reports_a_changed_captured_array_that_the_program_holds_as_it_was(fn, captured, x):
    captured = captured.copy()
    compiled = tg.compile(lambda x: fn(x, captured))
    compiled.check(x)
    before = compiled(x)
    captured.flat[0] = 0 if captured.flat[0] == 1 else captured.flat[0] - 1
    np.testing.assert_array_equal(compiled(x), before)
    match = f"differs.*captured arrays: captured {captured.dtype}"
    with pytest.raises(AssertionError, match=match):
        compiled.check(x)


def test_check_lets_rounding_errors_of_narrow_parts_pass():
    def wide(x):
        y = tg.astype(x, np.float32)
        return tg.astype(tg.sum(y / 3 / 7) + tg.sum(tg.tanh(y) ** 3), np.float64)

    x = np.linspace(-2, 2, 999)
    for fn in (wide, lambda x: tg.scan(lambda c, x: (c + wide(x), c), 0.0, x.reshape(27, 37))):
        tg.compile(tg.vmap(fn)).check(np.stack([x, 2 * x]))
        tg.compile(tg.value_and_grad(lambda x, fn=fn: tg.tree.leaves(fn(x))[0])).check(x)


def test_compiled_arrays_of_other_classes():
    compiled = tg.compile(lambda x: (x * x) @ x)
    x = np.arange(4.0).reshape(2, 2)
    wanted = compiled(x)

    class Own(np.ndarray):
        def __matmul__(self, other):
            return other

    assert_same(compiled(x.view(Own)), wanted)
    for strange in (np.ma.masked_array(x, x > 1), x.view(np.matrix)):
        with pytest.raises(TypeError, match="not supported"):
            compiled(strange)


def test_compiling_warns_of_no_placeholder():
    # of a loop whose values are not known when it is recorded; here a warning is an error
    def fn(x):
        end, _ = tg.scan(lambda c, _: (2 * c, None), x, length=3)
        return tg.sum(tg.log(end) / end)

    np.testing.assert_allclose(tg.compile(fn)(np.ones(2)), 2 * np.log(8) / 8)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        tg.compile(tg.log)(np.zeros(2))


def test_compiled_function_in_two_threads_at_once():
    compiled = tg.compile(
        tg.value_and_grad(lambda w, x: tg.sum(tg.tanh(tg.tanh(w @ x) @ x)), (0, 1))
    )
    wrong = []
    start = threading.Barrier(4, timeout=300)

    def work(seed):
        rng = np.random.default_rng(seed)
        w, x = rng.standard_normal((40, 40)), rng.standard_normal((40, 40)) / 8
        alone = tg.compile(compiled.__wrapped__)(w, x)
        start.wait()
        for _ in range(60):
            for a, b in zip(tg.tree.leaves(compiled(w, x)), tg.tree.leaves(alone), strict=True):
                if a.tobytes() != b.tobytes():
                    wrong.append(seed)

    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(old)
    assert wrong == []
    assert len(compiled.signatures) == 1


def test_compiled_function_calls_itself_while_it_is_recorded():
    """With arrays, not Tensors, so that the inner call is compiled for itself."""

    def fn(x):
        table = compiled(np.ones(2)) if x.shape == (3,) else np.ones(2)
        return tg.sum(x) * table

    compiled = tg.compile(fn)
    result = []
    thread = threading.Thread(target=lambda: result.append(compiled(np.ones(3))), daemon=True)
    thread.start()
    thread.join(300)
    assert result
    np.testing.assert_array_equal(result[0], np.full(2, 6.0))
