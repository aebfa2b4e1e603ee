"""A printed tape has a line for each record: its op, operands, value, cotangent and source."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tapes import cotangents

import tapegrad as tg


def test_printed_tape_has_a_line_for_each_record():
    tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    tape, y = tape.write(tg.multiply, x, x)
    tape, _ = tape.write(tg.sum, y, axis=0)
    head, *lines = [" ".join(line.split()) for line in str(tape).splitlines()]
    assert head == "line record operands shape dtype value"
    assert lines == [
        "0 x (3,) float64 [1. 2. 3.]",
        "1 multiply %0, %0 (3,) float64 [1. 4. 9.]",
        "2 sum %1, axis=0 () float64 14.0",
    ]
    assert str(tg.Tape()).split() == head.split()


def test_repr_of_record_shows_value_name_and_line():
    tape, x = tg.Tape().parameter([1.0, 2.0], name="w")
    tape, y = tape.write(tg.multiply, x, 2.0)
    assert repr(x) == "Tensor([1., 2.], w, line 0: parameter)"
    assert repr(y) == "Tensor([2., 4.], line 1: multiply)"
    for n, is_cut in ((20, False), (21, True)):
        assert ("..." in repr(tg.Tape().parameter(np.arange(float(n)))[1])) == is_cut
    assert "2 records" in repr(tape)


# --- Tape.show, and reading a tape by position --------------------------------------------


def test_tape_is_shown_with_cotangents_and_gradient_marks():
    def fn(x, y, unused):
        return tg.sum(x * tg.round(x)) + tg.where(x[0] > 1, 0.0, y)

    output, tape = tg.record(fn)(np.array([2.5, 1.0]), 1.0, 2.0)
    text = tape.show(output)
    assert isinstance(text, str)
    assert repr(text) == text
    known_cotangents = cotangents(tg.sweep_steps(tape, output))
    head, *lines = text.splitlines()
    assert head.split()[-2:] == ["cotangent", "gradient"]
    for record, line in zip(tape, lines, strict=True):
        if record in known_cotangents and not record.shape:
            assert str(float(known_cotangents[record])) in line.split()
        assert line.endswith("stops here") == (record.op.name in ("round", "greater"))
        assert line.endswith("gets none") == (record.name == "unused")
    head, *lines = tape.show().splitlines()
    assert head.split() == [*str(tape).split()[:6], "gradient"]
    assert len(lines) == len(tape)
    # the column of marks is shown only if there are marks
    output, tape = tg.record(lambda x, y: x * y)(2.0, 3.0)
    assert tape.show().split("\n")[0].split()[-1] == "value"
    assert tape.show(output).split("\n")[0].split()[-1] == "cotangent"


def test_start_of_an_inner_recording_is_marked():
    output, tape = tg.record(lambda x: tg.grad(lambda y: y**3)(x) * x)(2.0)
    first_lines = [
        line for line in tape.show(output).splitlines() if "inner recording begins" in line
    ]
    assert [line.split()[:3] for line in first_lines] == [["1", "y", "%0"]]
    # only lines of the inner recording's rules are marked
    swept = [line.split()[0] for line in tape.show().splitlines() if "inner sweep" in line]
    assert swept == ["4", "5", "6", "7"]


@given(st.integers(0, 6), st.data())
def test_tape_is_indexed_like_a_tuple(n, data):
    tape, x = tg.Tape().parameter([0.5])
    for _ in range(n):
        tape, x = tape.write(tg.sin, x)
    records = list(tape)
    i = data.draw(st.integers(-n - 1, n))
    assert tape[i] is records[i]
    part = data.draw(st.slices(n + 1))
    assert isinstance(tape[part], tuple)
    assert [id(r) for r in tape[part]] == [id(r) for r in records[part]]
    for beyond in (n + 1, -n - 2):
        with pytest.raises(IndexError):
            tape[beyond]


# --- source lines -------------------------------------------------------------------------


def sum_of_cubes(x):
    y = x * x
    return tg.sum(y * x)


def test_record_has_its_source_line_with_lines_true():
    output, tape = tg.record(sum_of_cubes, lines=True)(np.ones(2))
    places = [r.place for r in tape[1:]]
    assert [p.text for p in places] == ["y = x * x", "return tg.sum(y * x)", "return tg.sum(y * x)"]
    assert {p.file for p in places} == {__file__}
    assert places[1].number == places[0].number + 1
    for text in (tape.show(output), tape.show(), tg.show.html(tape, output)):
        assert "y = x * x" in text
    assert all(r.place is None for r in tg.record(sum_of_cubes)(np.ones(2))[1])


def test_error_inside_a_rule_names_record_and_line():
    wrong = tg.custom_op(vjps=(lambda g, y, x: g @ x,), name="wrong")(lambda x: x * 2)

    output, tape = tg.record(lambda x: wrong(x), lines=True)(np.ones(()))
    with pytest.raises(ValueError, match="matmul") as error:
        tg.reverse_sweep(tape, output)
    note = error.value.__notes__[-1]
    assert note.startswith("in the VJP rule for operand 0 of line 1 of the tape, wrong, at ")
    assert note.endswith("tg.record(lambda x: wrong(x), lines=True)(np.ones(()))")
