"""A tape to look at."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg


def test_a_printed_tape_has_a_line_for_each_record():
    tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    tape, y = tape.write(tg.multiply, x, x)
    tape, _ = tape.write(tg.sum, y, axis=0)
    head, *lines = str(tape).splitlines()
    assert head.split() == ["line", "record", "operands", "shape", "dtype", "value"]
    assert lines[0].split() == ["0", "x", "(3,)", "float64", "[1.", "2.", "3.]"]
    assert lines[1].split() == ["1", "multiply", "%0,", "%0", "(3,)", "float64", "[1.", "4.", "9.]"]
    assert lines[2].split() == ["2", "sum", "%1,", "axis=0", "()", "float64", "14.0"]


@given(st.lists(st.sampled_from(["sin", "cos", "tanh", "negative"]), max_size=6))
def test_lines_name_the_ops_and_point_to_their_operands(names):
    tape, x = tg.Tape().parameter(0.5, name="start")
    y = x
    for name in names:
        tape, y = tape.write(getattr(tg, name), y)
    lines = str(tape).splitlines()[1:]
    assert len(lines) == len(tape)
    for line, record in zip(lines, tape, strict=True):
        cells = line.split()
        assert cells[0] == str(record.index)
        assert cells[1] == (record.name or record.op.name)
        for x in record.operands:
            assert f"%{x.index}" in cells


def test_large_values_take_one_line():
    tape, x = tg.Tape().parameter(np.arange(1e6).reshape(1000, 1000))
    tape, _ = tape.write(tg.multiply, x, np.ones((1000, 1000)))
    lines = str(tape).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) < 150
    assert "..." in lines[1]
    assert "float64[1000, 1000]" in lines[2]


def test_an_empty_tape_prints_its_head():
    assert str(tg.Tape()).split() == ["line", "record", "operands", "shape", "dtype", "value"]


def test_printing_changes_nothing_and_is_the_same_each_time():
    output, tape = tg.record(lambda x: tg.tanh(x) * 2)(np.ones(2))
    assert str(tape) == str(tape)
    assert repr(tape) == repr(tape)
    assert output is tape.last
    assert len(tape) == 3


def test_the_repr_of_a_record_shows_its_value_name_and_line():
    tape, x = tg.Tape().parameter([1.0, 2.0], name="w")
    tape, y = tape.write(tg.multiply, x, 2.0)
    assert repr(x) == "Tensor([1., 2.], w, line 0: parameter)"
    assert repr(y) == "Tensor([2., 4.], line 1: multiply)"
    assert "2 records" in repr(tape)


def test_the_tape_of_a_nested_recording_prints_its_own_lines():
    tapes = []

    def fn(x):
        y, inner = tg.record(lambda a: a * a)(x)
        tapes.append(inner)
        return y

    tg.record(fn)(2.0)
    (inner,) = tapes
    assert [line.split()[0] for line in str(inner).splitlines()[1:]] == ["1", "2"]
