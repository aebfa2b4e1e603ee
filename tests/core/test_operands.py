"""Lists of Tensors are arrays where an array is needed."""

from typing import Any

import numpy as np
import pytest
from op_cases import TABLE

import tapegrad as tg
from tapegrad.declare import OPS
from tapegrad.testing import check_grads, sample_calls
from tapegrad.testing.calls import declared_domain


def in_lists(x: Any, depth: int) -> Any:
    return [in_lists(part, depth - 1) for part in x] if depth else x


# these read a list as a sequence of arrays, or as coordinates
SEQUENCES = {
    "block",
    "concatenate",
    "stack",
    "hstack",
    "vstack",
    "dstack",
    "column_stack",
    "histogramdd",
}
INNER = {"asarray", "parameter", "stopped", "seed", "from_zero"}


@pytest.mark.thorough
@pytest.mark.parametrize("depth", [1, 2])
def test_every_function_takes_a_list_for_its_first_array(depth: int) -> None:
    asked = 0
    for name in sorted(set(TABLE) - SEQUENCES - INNER):
        if not declared_domain(TABLE[name]):
            continue
        for call in sample_calls(name, 6):
            first = call.args[0] if call.args else None
            if not isinstance(first, np.ndarray) or first.dtype != float or not 0 < first.size < 9:
                continue
            if first.ndim < depth:
                continue

            def fn(x: Any, depth: int = depth, name: str = name, call: Any = call) -> Any:
                return TABLE[name](in_lists(x, depth), *call.args[1:], **call.kwargs)

            whole = tg.record(fn)(first, depth=0)[0]
            output, tape = tg.record(fn)(first)
            for got, want in zip(tg.tree.leaves(output), tg.tree.leaves(whole), strict=True):
                assert type(got) is type(want), name
                if isinstance(got, tg.Tensor):
                    np.testing.assert_array_equal(got.value, want.value, err_msg=name)
                    assert got.dtype == want.dtype, name
            if isinstance(output, tg.Tensor) and output.dtype.kind == "f":
                ones = np.ones(output.shape)
                (g,) = tg.reverse_sweep(tape, output, ones).values()
                _, pullback = tg.vjp(lambda x, fn=fn: fn(x, depth=0), first)
                np.testing.assert_allclose(
                    g, pullback(ones)[0], rtol=1e-12, atol=1e-12, err_msg=name
                )
            asked += 1
            break
    assert asked > 80


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
def test_a_list_is_the_array_of_it(fn: Any) -> None:
    a, b = np.array(1.5), np.array(-0.5)
    check_grads(fn, (a, b), order=1)
    output = fn(a, b)
    np.testing.assert_array_equal(tg.record(fn)(a, b)[0].value, output)
    np.testing.assert_allclose(tg.compile(fn)(a, b), output, rtol=1e-15)


def test_a_list_is_stacked_on_the_tape_that_is_written_by_hand() -> None:
    tape, x = tg.Tape().parameter(2.0)
    tape, y = tape.write(tg.multiply, [x, 3.0], x)
    assert [r.op.name for r in tape] == ["parameter", "asarray", "stack", "multiply"]
    np.testing.assert_array_equal(y.value, [4.0, 6.0])
    assert tg.reverse_sweep(tape, y, np.ones(2))[x] == 7.0


def test_a_list_with_a_tensor_of_another_tape_is_refused() -> None:
    x, _ = tg.record(lambda x: x * 1.0)(2.0)
    for op in (tg.exp, OPS["add"]):
        with pytest.raises(tg.TapeError, match="no recording is running"):
            op(*([x, 1.0],) * op.arity)
