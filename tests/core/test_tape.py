"""A tape is a value: it has all records of a result, and older tapes stay unchanged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tapes import check_tape, squares

import tapegrad as tg


def test_record_has_its_op_operands_and_options():
    tape, x, y, z = squares()
    tape, w = tape.write(tg.sum, y, axis=0, keepdims=True)
    assert y.op is tg.multiply
    assert y.operands[0] is x
    assert y.operands[1] is x
    assert dict(z.options) == {}
    assert dict(w.options) == {"axis": 0, "keepdims": True}
    assert [r.index for r in tape] == [0, 1, 2, 3]
    assert x.name == "x"
    assert y.name is None
    np.testing.assert_array_equal(y.value, [1.0, 4.0, 9.0])
    np.testing.assert_array_equal(w.value, [14.0])


@pytest.mark.parametrize(
    "value", [1.0, np.float32(1), [1.0, 2.0], np.ones((2, 0)), np.ones(2, "f2"), np.eye(2, 3)]
)
def test_parameter_is_any_floating_array_like(value):
    tape, x = tg.Tape().parameter(value)
    array = np.asarray(value)
    check_tape(tape)
    assert (x.shape, x.dtype, x.ndim, x.size) == (array.shape, array.dtype, array.ndim, array.size)
    assert x.value.tobytes() == array.tobytes()
    output, _ = tg.record(lambda x: x.T)(array)
    np.testing.assert_array_equal(output.value, array.T)
    assert (len(tg.Tape()), list(tg.Tape()), tg.Tape().parameters) == (0, [], ())


def test_every_op_that_a_value_depends_on_is_written():
    def fn(x):
        return tg.where(x > 0, x[tg.argmax(x)], -x)

    output, tape = tg.record(fn)(np.array([1.0, -2.0, 3.0]))
    check_tape(tape)
    assert [r.op.name for r in tape][1:] == ["greater", "argmax", "getitem", "negative", "where"]
    assert output is tape.last


def test_record_hashes_by_identity_and_compares_by_element():
    _, x, y, _ = squares()
    assert {x: 1, y: 2}[x] == 1
    assert hash(x) != hash(y)

    def fn(x):
        assert {x: "x"}[x] == "x"
        return x == x

    output, tape = tg.record(fn)(np.ones(3))
    assert output.value.tolist() == [True] * 3
    assert tape.last is output


def test_record_unpacks_and_has_a_length():
    def fn(x):
        a, b = x
        return a * b + len(x)

    assert tg.record(fn)(np.array([2.0, 3.0]))[0].value == 8.0
    with pytest.raises(TypeError, match="0-d"):
        tg.record(len)(1.0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.integers(0, 3))
def test_tape_finds_records_by_identity(chosen, wanted):
    tape, records = tg.Tape(), []
    for _ in range(4):
        # the values are equal, so only identity distinguishes the records
        tape, record = tape.parameter(np.ones(2))
        records.append(record)
    result = records[chosen[0]]
    for i in chosen[1:]:
        tape, result = tape.write(tg.add, result, records[i])
    n, x = len(tape), records[wanted]
    assert (x in tape.parameters, tape.parameters.index(x)) == (True, wanted)
    assert (x in tape, tape[:4].index(x), tape[4:].count(x)) == (True, wanted, 0)
    tape, last = tape.write(tg.where, np.array([True, False]), x, result)
    mask, *operands = last.operands
    assert last.operands == (mask, x, result)
    assert last.operands == (mask.copy(), *operands)
    assert (last.operands == (mask, result, x)) is (result is x)
    assert (last.operands != last.operands, x in last.operands) == (False, True)
    assert last.operands.count(x) == 1 + (result is x)
    assert hash(tape.parameters) == hash(tuple(records))
    with pytest.raises(ValueError, match="not in tuple"):
        tape.parameters.index(last)
    # no record was written
    assert len(tape) == n + 1
    assert tg.tree.flatten(tape.parameters)[1] == tg.tree.flatten(tuple(records))[1]
