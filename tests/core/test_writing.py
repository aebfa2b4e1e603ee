"""`Tape.write` takes ops alone: of anything else it says which ops it is made of."""

import numpy as np
import pytest
from op_calls import declared_domain, sample_calls

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS, answers
from tapegrad.declare import FUNCTIONS, OPS

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
