"""straighten and type_numbers: operands as NumPy takes them quickest."""

import numpy as np
import pytest
from programs import SQUARE

import tapegrad as tg
from tapegrad.program.compiled import trace
from tapegrad.program.passes import type_numbers


def test_straighten_copies_a_transpose_used_often():
    def copies(fn):
        program = tg.compile(fn).program(np.ones((8, 8)), np.ones((4, 8)))
        return [x.op.name for x in program.instructions].count("copy")

    assert copies(lambda w, x: np.tanh(np.tanh(x @ w.T) @ w.T) @ w.T) == 1
    assert copies(lambda w, x: np.tanh(x @ w.T)) == 0
    assert copies(lambda w, x: np.tanh(np.tanh(x @ w) @ w) + np.sum(w.T, axis=0)) == 0


def test_type_numbers_where_they_are_converted():
    program = type_numbers(trace(lambda x: x * 2, (SQUARE.astype(np.float32),), {}))
    (constant,) = program.constants
    assert constant.value.dtype == np.float32
    assert not type_numbers(trace(lambda x: x * 2, (np.arange(3),), {})).constants
    assert not type_numbers(trace(lambda x: tg.ldexp(x, 2), (SQUARE,), {})).constants


def test_type_numbers_warns_of_overflow_at_each_run():
    compiled = tg.compile(lambda x: x * 1e60)
    x = np.ones(3, np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x)
    with pytest.warns(RuntimeWarning, match="overflow"):
        compiled(x)
