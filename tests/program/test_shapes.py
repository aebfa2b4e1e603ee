"""Shapes and dtypes are inferred: a first call makes no array of the user's size to learn them."""

import gc
import tracemalloc
import warnings
import weakref

import numpy as np
import pytest
from op_calls import sample_calls
from programs import trace

import tapegrad as tg
from tapegrad.core.primitive import Parts
from tapegrad.declare import OPS
from tapegrad.declare.abstract import evaluate, stand_in, stand_in_for
from tapegrad.program.passes import PASSES
from tapegrad.program.program import run_passes
from tapegrad.program.text import make_runner

# the shape of its result is the values'; it refuses a Tensor while compiling
BY_VALUE = {"argwhere"}


def calls_of(op):
    """Operands and options of sample calls that the op itself takes."""
    for is_complex in {False, bool(op.complex)}:
        for call in sample_calls(op, 6, complex=is_complex):
            try:
                operands, options = op.bind(call.args, call.kwargs)
            except TypeError:  # it is answered by several ops
                continue
            values = [x if type(x) in (int, float, complex) else np.asarray(x) for x in operands]
            unreal = any(np.iscomplexobj(x) for x in values) and op.complex is not True
            yield op.complex if unreal else op, values, options


def likes(value):
    parts = value.values if type(value) is Parts else (value,)
    return [(np.shape(x), np.asarray(x).dtype) for x in parts]


def without_elements(values):
    """Stand-ins for all but masks, which say how many elements they select."""
    return [x if np.asarray(x).dtype == bool else stand_in_for(x) for x in values]


@pytest.mark.parametrize("name", sorted(OPS.keys() - BY_VALUE))
def test_what_is_inferred_is_what_the_op_gives(name):
    for op, values, options in calls_of(OPS[name]):
        with np.errstate(all="ignore"):
            wanted = likes(op.forward(*values, **options))
        known = without_elements(values)
        # the second time it is remembered
        for _ in range(2):
            assert likes(evaluate(op, known, options)) == wanted, (known, options)


def misfits(x):
    """The array with an axis more, with one less, and with other lengths of each."""
    yield x[None]
    for i in range(x.ndim):
        yield x.take(0, i)
        yield x.take([0], i)
        yield np.concatenate([x, x.take([0], i)], i)


# bins must be sorted, and scattered values have the shape of a selection
@pytest.mark.parametrize("name", sorted(OPS.keys() - BY_VALUE - {"digitize", "scatter"}))
def test_what_the_op_refuses_is_refused_without_values(name):
    for op, values, options in calls_of(OPS[name]):
        # any element is a place
        values = [x * 0 if np.asarray(x).dtype.kind in "iu" else x for x in values]
        at = [i for i, x in enumerate(values) if isinstance(x, np.ndarray) and x.size]
        for k, other in [(i, y) for i in at for y in misfits(values[i])]:
            changed = [*values[:k], other, *values[k + 1 :]]
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    wanted = likes(op.forward(*map(np.copy, changed), **options))
                except Exception:
                    wanted = None
                try:
                    got = likes(evaluate(op, without_elements(changed), options))
                except Exception:
                    got = None
            assert got == wanted, ([np.shape(x) for x in changed], options)


def test_options_that_are_equal_are_told_apart_by_their_kind():
    a = stand_in((3, 4), np.dtype(float))
    op = tg.getitem
    assert evaluate(op, [a], {"index": (1,)}).shape == (4,)
    assert evaluate(op, [a], {"index": (1.0 == 1,)}).shape == (1, 3, 4)
    assert evaluate(op, [a], {"index": (slice(0, 1),)}).shape == (1, 4)
    assert evaluate(op, [a], {"index": (slice(0, 2),)}).shape == (2, 4)


N = 1 << 20
WIDE = np.ones((1 << 10, 1 << 10))


def _chain(x):
    return tg.sum(tg.tanh(x) * tg.exp(-x))


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (tg.value_and_grad(_chain), (np.ones(N),)),
        (lambda x: tg.jvp(_chain, (x,), (x,)), (np.ones(N),)),
        (lambda x: tg.hvp(_chain, (x,), (x,)), (np.ones(N),)),
        (tg.grad(lambda x: tg.sum(tg.log_softmax(x, axis=1)[:, 0])), (WIDE,)),
        (tg.grad(lambda x: tg.sum(np.var(x, axis=0) + np.max(x, axis=0))), (WIDE,)),
        (tg.grad(lambda x: tg.sum(np.pad(x, 1) ** 2)), (WIDE,)),
        (tg.grad(lambda x: tg.sum(tg.einsum("ij,ik->jk", x, x[:, :3]) ** 2)), (WIDE,)),
        (lambda x, i: tg.grad(lambda x: tg.sum(x[i] * 2))(x), (np.ones(N), np.zeros(N, int))),
        (tg.grad(lambda x: tg.sum(tg.fori_loop(0, 9, lambda k, y: tg.sin(y), x))), (np.ones(N),)),
        (lambda key: tg.random.normal(key, (N,)), (tg.random.key(0),)),
    ],
)
def test_a_first_call_makes_no_array_of_a_users_size_to_learn_a_shape(fn, args):
    # constants and buffers are allocated when the program runs
    tracemalloc.start()
    try:
        program = run_passes(trace(fn, args, {}), PASSES)
        make_runner(program)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < N * 8 / 2


def test_a_users_function_gets_the_values_of_the_call():
    seen = []

    def double_until_ten(x):
        # it would not end at 0
        steps = 0
        while x * 2**steps < 10:
            steps += 1
            assert steps < 100
        seen.append(float(x))
        return x * 2.0

    custom = tg.custom_vjp(lambda g, y, x: (2.0 * g,))(double_until_ten)
    step = tg.compile(tg.grad(lambda x: custom(tg.square(x)) * x))
    assert step(np.array(3.0)) == 54.0
    assert set(seen) == {9.0}


def _scan_rows(x):
    return tg.scan(lambda c, row: (c + tg.sum(row), custom_double(row)), 0.0, x[None])[1]


@tg.custom_vjp(lambda g, y, x: (2.0 * g,))
def custom_double(x):
    return x * 2.0


@pytest.mark.parametrize(
    "fn",
    [
        tg.compile(lambda x: custom_double(tg.sin(x))),
        _scan_rows,
        tg.vmap(lambda x: custom_double(tg.sin(x))),
        tg.compile(tg.grad(lambda x: tg.sum(_scan_rows(x)))),
    ],
)
def test_a_recording_lets_the_values_of_the_call_go(fn):
    x = np.linspace(0.0, 1.0, 1 << 12)
    values = weakref.ref(x)
    gc.collect()
    gc.disable()
    try:
        fn(x)
        del x
        assert values() is None
    finally:
        gc.enable()
