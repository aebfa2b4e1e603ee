"""A program: a value that pickles, and equals any that means the same, however that is spelled."""

import pickle

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from programs import apply_passes, trace
from random_programs import programs

import tapegrad as tg
from tapegrad.program import PASSES


@depth("program, as text")
@given(programs(max_steps=16))
def test_program_pickles_and_compares_equal(written):
    program = trace(written.step, written.arguments[0], {})
    for kept in (program, apply_passes(program, PASSES)):
        restored = pickle.loads(pickle.dumps(kept))
        assert restored == kept
        assert str(restored) == str(kept)
        assert all(not x.value.flags.writeable for x in restored.constants)


@pytest.mark.parametrize(("first", "second"), [(0.0, -0.0), (1, True), (2, 2.0)])
def test_program_differs_by_operands_that_are_equal_but_not_the_same(first, second):
    def program_with(number):
        return tg.compile(lambda x: tg.maximum(x, number), passes=()).program(np.ones(3))

    assert program_with(first) != program_with(second)
    assert program_with(first) == program_with(first)


X = np.arange(24.0).reshape(2, 3, 4)
ROWS = np.array([1, 0])

ALIKE = {
    "reshape": [
        lambda x: x.reshape(-1, 4),
        lambda x: x.reshape(6, 4),
        lambda x: np.reshape(x, (6, -1)),
    ],
    "new axes": [
        lambda x: x[:, None],
        lambda x: x[:, None, ...],
        lambda x: np.expand_dims(x, 1),
        lambda x: np.expand_dims(x, -3),
        lambda x: x.reshape(2, 1, 3, 4),
    ],
    "an axis dropped": [lambda x: x[:1][0], lambda x: x[:1].reshape(3, 4), lambda x: x[:1][-1]],
    "transpose": [
        lambda x: np.swapaxes(x, 0, 1),
        lambda x: np.swapaxes(x, -2, -3),
        lambda x: np.transpose(x, (1, 0, -1)),
        lambda x: np.moveaxis(x, 0, 1),
    ],
    "axes backwards": [lambda x: x.T, lambda x: np.swapaxes(x, 0, 2)],
    "the last axis": [
        lambda x: np.sum(x, -1),
        lambda x: np.sum(x, 2),
        lambda x: np.sum(x, (2,), keepdims=False),
    ],
    "two axes": [lambda x: np.max(x, (2, 0)), lambda x: np.max(x, (0, -1))],
    "all axes": [lambda x: np.sum(x), lambda x: np.sum(x, (0, 1, 2)), lambda x: x.sum((-1, 0, 1))],
    "a place": [lambda x: np.argmax(x, -1), lambda x: np.argmax(x, axis=2)],
    "joined": [lambda x: np.concatenate([x, x], -1), lambda x: np.concatenate([x, x], 2)],
    "stacked": [lambda x: np.stack([x, x]), lambda x: np.stack([x, x], -4)],
    "a row": [lambda x: x[1], lambda x: x[-1], lambda x: x[-1, ..., :], lambda x: x[1, :, :]],
    "a slice": [lambda x: x[:, 1:], lambda x: x[..., 1:3, :], lambda x: x[:, -2:, 0:]],
    "rows": [lambda x: x[ROWS], lambda x: tg.index_select(x, ROWS)],
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_means_the_same_is_one_program(name):
    first, *others = [trace(fn, (X,), {}) for fn in ALIKE[name]]
    for fn, program in zip(ALIKE[name][1:], others, strict=True):
        assert program.instructions == first.instructions
        np.testing.assert_array_equal(tg.compile(fn)(X), fn(X))
