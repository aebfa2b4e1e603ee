"""What the files of the core promise one another."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.core.sweep import contributions
from tapegrad.declare import FUNCTIONS, OPS
from tapegrad.face.table import ANSWERS, answers
from tapegrad.testing import sample_calls
from tapegrad.testing.calls import declared_domain

# --- contributions --------------------------------------------------------------------


def test_a_contribution_is_told_before_and_after_broadcasting_is_undone():
    tape, a = tg.Tape().parameter(np.ones((2, 3)))
    tape, b = tape.parameter(np.arange(3.0))
    tape, y = tape.write(tg.multiply, a, b)
    g = np.full((2, 3), 2.0)
    (i, of_a, given_a, summed_a), (j, of_b, given_b, summed_b) = contributions(y, g)
    assert (i, of_a, j, of_b) == (0, a, 1, b)
    assert given_a is summed_a
    np.testing.assert_array_equal(summed_a, g * b.value)
    assert given_b.shape == (2, 3)
    np.testing.assert_array_equal(summed_b, [4.0, 4.0, 4.0])


def test_constants_and_records_that_are_not_reached_get_no_contribution():
    tape, a = tg.Tape().parameter(2.0)
    tape, b = tape.parameter(3.0)
    tape, y = tape.write(tg.multiply, a, b)
    tape, z = tape.write(tg.multiply, y, np.ones(()))
    assert [x for _, x, _, _ in contributions(z, np.ones(()))] == [y]
    assert [x for _, x, _, _ in contributions(y, np.ones(()), reached={b})] == [b]


def test_contributions_that_are_recorded_are_records():
    def loss(x):
        y = x * x
        return contributions(y, np.ones(2), recorded=True)[0][2]

    given, _ = tg.record(loss)(np.array([1.0, 2.0]))
    assert type(given) is tg.Tensor


# --- what is no op ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_what_is_composed_of_ops_is_no_op_and_write_says_what_it_is_made_of(name):
    function = FUNCTIONS[name]
    if declared_domain(function) is None:
        return
    for call in sample_calls(function, 3):
        tape = tg.Tape()

        def mark(x):
            nonlocal tape
            if isinstance(x, np.ndarray) and x.dtype.kind == "f":
                tape, x = tape.parameter(x)
            return x

        operands = tg.tree.map(mark, call.args)
        with pytest.raises(TypeError) as raised:
            tape.write(function, *operands, **call.kwargs)
        arrays = [x for x in tg.tree.leaves(operands) if type(x) is tg.Tensor]

        def again(*moving, operands=operands, kwargs=call.kwargs):
            rest = iter(moving)
            return function(
                *tg.tree.map(
                    lambda leaf: next(rest) if type(leaf) is tg.Tensor else leaf, operands
                ),
                **kwargs,
            )

        _, recorded = tg.record(again)(*[x.value for x in arrays])
        written = {x.op.name for x in recorded if x.operands}
        assert f"{name} is not an op" in str(raised.value) or not written
        for part in written:
            assert f"tg.{part}" in str(raised.value)


def test_write_of_a_function_leaves_the_recording_around_it_alone():
    tape, x = tg.Tape().parameter(np.arange(3.0))

    def inner(y):
        with pytest.raises(TypeError, match=r"var is not an op.*tg\.mean"):
            tape.write(tg.var, x)
        return y * 2.0

    _, recorded = tg.record(inner)(1.0)
    assert [r.op.name for r in recorded] == ["parameter", "multiply"]


def test_write_of_what_is_no_op_says_what_to_write():
    tape, x = tg.Tape().parameter(np.arange(3.0))
    with pytest.raises(TypeError, match=r"^np\.tanh is not an op.*tg\.tanh; write it, or call"):
        tape.write(np.tanh, x)
    with pytest.raises(TypeError, match=r"mse_loss is a function, and cannot.*'targets'"):
        tape.write(tg.nn.mse_loss, x)
    with pytest.raises(TypeError, match="is a function that writes nothing"):
        tape.write(lambda x: x, x)
    with pytest.raises(TypeError, match=r"an op is needed, such as tg\.multiply, not 3"):
        tape.write(3, x)
    several = [op for op in OPS.values() if hasattr(op, "results")]
    assert len(several) > 3
    for op in several:
        with pytest.raises(TypeError, match=f"{op.name} has several .*call it inside tg.record"):
            tape.write(op, x)


# --- NumPy's table -----------------------------------------------------------------------


@pytest.mark.parametrize("function", [np.add, np.sum, np.where])
def test_no_entry_of_the_table_is_written_twice(function):
    before = dict(ANSWERS)
    with pytest.raises(ValueError, match=function.__name__):
        answers([function], tg.multiply)
    assert before == ANSWERS
