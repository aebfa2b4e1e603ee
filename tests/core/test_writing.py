"""`Tape.write` takes ops alone; its error for a function names the ops of the function."""

import numpy as np
import pytest
from op_calls import declared_domain, sample_calls

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS, answers
from tapegrad.declare import FUNCTIONS, OPS

# --- functions --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_write_of_a_composed_function_names_its_ops(name):
    function = FUNCTIONS[name]
    if declared_domain(function) is None:
        return
    for call in sample_calls(function, 3):
        tape = tg.Tape()

        def add_parameter(x):
            nonlocal tape
            if isinstance(x, np.ndarray) and x.dtype.kind == "f":
                tape, x = tape.parameter(x)
            return x

        operands = tg.tree.map(add_parameter, call.args)
        with pytest.raises(TypeError) as raised:
            tape.write(function, *operands, **call.kwargs)
        arrays = [x for x in tg.tree.leaves(operands) if type(x) is tg.Tensor]

        def recompute(*moving, operands=operands, kwargs=call.kwargs):
            rest = iter(moving)
            return function(
                *tg.tree.map(
                    lambda leaf: next(rest) if type(leaf) is tg.Tensor else leaf, operands
                ),
                **kwargs,
            )

        _, recorded = tg.record(recompute)(*[x.value for x in arrays])
        written = {x.op.name for x in recorded if x.operands}
        assert f"{name} is not an op" in str(raised.value) or not written
        for part in written:
            assert f"tg.{part}" in str(raised.value)


def test_write_of_a_function_leaves_the_outer_recording_unchanged():
    tape, x = tg.Tape().parameter(np.arange(3.0))

    def inner(y):
        with pytest.raises(TypeError, match=r"var is not an op.*tg\.mean"):
            tape.write(tg.var, x)
        return y * 2.0

    _, recorded = tg.record(inner)(1.0)
    assert [r.op.name for r in recorded] == ["parameter", "multiply"]


def test_write_of_a_wrong_object_names_a_remedy():
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
def test_function_in_the_table_cannot_be_replaced(function):
    before = dict(ANSWERS)
    with pytest.raises(ValueError, match=function.__name__):
        answers([function], tg.multiply)
    assert before == ANSWERS
