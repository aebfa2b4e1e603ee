"""Lists of Tensors are arrays where an array is needed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.testing import check_grads


@pytest.mark.parametrize(
    "fn",
    [
        lambda a, b: tg.sum([a, b]),
        lambda a, b: tg.multiply(a, (a, b)),
        lambda a, b: tg.multiply([1.0, b], [a, b]),
        lambda a, b: np.dot([a, b], tg.array([b, a])),
        lambda a, b: tg.var(a=[a, b]),
        lambda a, b: tg.hstack([[a, b], [1.0, b]]),
        lambda a, b: tg.column_stack([[a, b], [1.0, b]]),
        lambda a, b: tg.where([True, False], [a, b], 1.0),
        lambda a, b: tg.interp(a, [0.0, 9.0], [a, b]),
    ],
)
def test_list_of_tensors_is_an_array_operand(fn: Callable[..., Any]) -> None:
    a, b = np.array(1.5), np.array(-0.5)
    check_grads(fn, (a, b), order=1)
    output = fn(a, b)
    np.testing.assert_array_equal(tg.record(fn)(a, b)[0].value, output)
    np.testing.assert_allclose(tg.compile(fn)(a, b), output, rtol=1e-15)


def test_list_is_stacked_on_a_hand_written_tape() -> None:
    tape, x = tg.Tape().parameter(2.0)
    tape, y = tape.write(tg.multiply, [x, 3.0], x)
    assert [r.op.name for r in tape] == ["parameter", "asarray", "stack", "multiply"]
    np.testing.assert_array_equal(y.value, [4.0, 6.0])
    assert tg.reverse_sweep(tape, y, np.ones(2))[x] == 7.0


def test_list_with_a_tensor_of_another_tape_raises() -> None:
    x, _ = tg.record(lambda x: x * 1.0)(2.0)
    for op in (tg.exp, OPS["add"]):
        with pytest.raises(tg.TapeError, match="no recording is running"):
            op(*([x, 1.0],) * op.arity)
