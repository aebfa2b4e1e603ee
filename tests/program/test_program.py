"""A program: a value that pickles, compares equal and computes what was recorded."""

import pickle

import numpy as np
import pytest
from depth import depth
from hypothesis import given
from programs import improved

import tapegrad as tg
from tapegrad.program import PASSES
from tapegrad.program.compiled import trace
from tapegrad.testing import programs


@depth("program, as text")
@given(programs(max_steps=16))
def test_program_pickles_and_compares_equal(written):
    program = trace(written.step, written.arguments[0], {})
    for kept in (program, improved(program, PASSES)):
        restored = pickle.loads(pickle.dumps(kept))
        assert restored == kept
        assert str(restored) == str(kept)
        assert all(not x.value.flags.writeable for x in restored.constants)


def test_program_equals_that_of_the_same_function_only():
    def fn(x):
        return tg.sum(tg.tanh(x) * 2.0)

    x = np.ones(3)
    same, other = tg.compile(fn), tg.compile(lambda x: tg.sum(tg.tanh(x) * 3.0))
    assert tg.compile(fn).program(x) == same.program(x)
    assert other.program(x) != same.program(x)
    assert tg.compile(fn).program(np.ones(2)) != same.program(x)


@pytest.mark.parametrize(("first", "second"), [(0.0, -0.0), (1, True), (2, 2.0)])
def test_program_differs_by_operands_that_are_equal_but_not_the_same(first, second):
    def program_with(number):
        return tg.compile(lambda x: tg.maximum(x, number), passes=()).program(np.ones(3))

    assert program_with(first) != program_with(second)
    assert program_with(first) == program_with(first)
