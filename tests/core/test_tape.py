"""The tape, by hand: every step a value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tapes import check_tape

import tapegrad as tg

FLOATS = st.floats(-10, 10, allow_subnormal=False)
ARRAYS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3), elements=FLOATS
)


def squares() -> tuple[tg.Tape, tg.Tensor, tg.Tensor, tg.Tensor]:
    tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    tape, y = tape.write(tg.multiply, x, x)
    tape, z = tape.write(tg.sum, y)
    return tape, x, y, z


def test_a_tape_written_by_hand_has_its_records_in_order():
    tape, x, y, z = squares()
    check_tape(tape)
    assert len(tape) == 3
    for got, want in zip(tape, (x, y, z), strict=True):
        assert got is want
    for got, want in zip(reversed(tape), (z, y, x), strict=True):
        assert got is want
    assert len(tape.parameters) == 1
    assert tape.parameters[0] is x


def test_a_record_knows_how_it_came_about():
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


@given(ARRAYS)
def test_shape_dtype_ndim_and_size_are_the_values(array):
    tape, x = tg.Tape().parameter(array)
    check_tape(tape)
    assert x.shape == array.shape
    assert x.dtype == array.dtype
    assert x.ndim == array.ndim
    assert x.size == array.size
    assert x.value.tobytes() == array.tobytes()


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=3), elements=FLOATS))
def test_T_is_the_transpose_and_is_recorded(array):
    output, tape = tg.record(lambda x: x.T)(array)
    check_tape(tape)
    assert len(tape) == 2
    np.testing.assert_array_equal(output.value, array.T)


def test_an_empty_tape_has_no_records():
    tape = tg.Tape()
    check_tape(tape)
    assert len(tape) == 0
    assert list(tape) == []
    assert list(reversed(tape)) == []
    assert tape.parameters == ()


@given(st.lists(st.sampled_from(["parameter", "add", "sin", "sum"]), max_size=8))
def test_every_older_tape_still_reads_as_it_did(steps):
    tape, x = tg.Tape().parameter([1.0, 2.0])
    history = []
    for step in steps:
        history.append((tape, [id(r) for r in tape], tape.parameters, str(tape)))
        if step == "parameter":
            tape, x = tape.parameter([0.5, 0.25])
        elif step == "add":
            tape, x = tape.write(tg.add, x, 1.0)
        else:
            tape, x = tape.write(getattr(tg, step), x)
    for older, ids, parameters, text in history:
        assert [id(r) for r in older] == ids
        assert older.parameters is parameters
        assert str(older) == text
        check_tape(older)


def test_branches_share_their_stem_and_nothing_else():
    stem, x = tg.Tape().parameter(2.0)
    left, a = stem.write(tg.multiply, x, 3.0)
    right, b = stem.write(tg.multiply, x, x)
    assert a.index == b.index == 1
    assert next(iter(left)) is next(iter(right)) is x
    assert tg.reverse_sweep(left, a)[x] == 3.0
    assert tg.reverse_sweep(right, b)[x] == 4.0
    assert len(stem) == 1


@pytest.mark.parametrize(
    "value", [1.0, np.float32(1), [1.0, 2.0], np.ones((2, 0)), np.ones(2, "f2")]
)
def test_a_parameter_is_anything_that_makes_a_floating_array(value):
    tape, x = tg.Tape().parameter(value)
    check_tape(tape)
    assert x.dtype == np.asarray(value).dtype
    assert x.shape == np.shape(value)


@pytest.mark.parametrize(
    "operand", [np.ones(2), [1.0, 1.0], (1, 1), 1.0, 1, True, np.float32(1), np.ones(2, bool)]
)
def test_constant_operands_are_kept_where_nobody_can_write_to_them(operand):
    tape, x = tg.Tape().parameter(np.ones(2))
    tape, y = tape.write(tg.multiply, operand, x)
    check_tape(tape)
    assert y.operands[0] is not x
    np.testing.assert_array_equal(y.value, np.ones(2))


@given(ARRAYS)
def test_ops_on_plain_arrays_write_nothing_and_return_what_numpy_does(array):
    for ours, numpys in ((tg.sin, np.sin), (tg.sum, np.sum), (tg.negative, np.negative)):
        output, tape = tg.record(lambda a, f=ours: f(a.value))(array)
        assert len(tape) == 1
        assert not isinstance(output, tg.Tensor)
        np.testing.assert_array_equal(output, numpys(array))
        assert type(output) is type(numpys(array))


def test_everything_that_a_value_depends_on_is_written():
    def fn(x):
        return tg.where(x > 0, x[tg.argmax(x)], -x)

    output, tape = tg.record(fn)(np.array([1.0, -2.0, 3.0]))
    check_tape(tape)
    assert [r.op.name for r in tape][1:] == ["greater", "argmax", "getitem", "negative", "where"]
    assert output is tape.last


def test_a_record_is_a_key_by_identity_and_compares_by_element():
    _, x, y, _ = squares()
    assert {x: 1, y: 2}[x] == 1
    assert hash(x) != hash(y)

    def fn(x):
        assert {x: "x"}[x] == "x"
        return x == x

    output, tape = tg.record(fn)(np.ones(3))
    assert output.value.tolist() == [True] * 3
    assert tape.last is output


def test_a_record_unpacks_and_has_a_length():
    def fn(x):
        a, b = x
        return a * b + len(x)

    assert tg.record(fn)(np.array([2.0, 3.0]))[0].value == 8.0
    with pytest.raises(TypeError, match="0-d"):
        tg.record(len)(1.0)


def test_writing_in_another_recording_leaves_a_tape_as_it_is():
    tape, x, _, _ = squares()
    text = str(tape)
    tg.grad(lambda a: tg.sum(a * 2))(np.ones(3))
    with pytest.raises(tg.errors.TapeError):
        tg.record(lambda a: a * x)(np.ones(3))
    assert str(tape) == text
    check_tape(tape)


@given(ARRAYS, st.sampled_from([np.float16, np.float32, np.float64]))
def test_the_value_that_is_read_is_the_value_that_was_given(array, dtype):
    array = array.astype(dtype)
    output, tape = tg.record(lambda x: x)(array)
    check_tape(tape)
    assert output.value.dtype == dtype
    assert output.value.tobytes() == array.tobytes()


@pytest.mark.parametrize("symbol", ["&", "|", "^"])
def test_logical_operators_do_what_numpys_do_or_refuse(symbol):
    def apply(x, y):
        return eval(f"x {symbol} y", {"x": x, "y": y})

    a, b = np.array([True, True, False]), np.array([True, False, False])
    output, _ = tg.record(lambda x: apply(x > 0, b))(np.array([1.0, 1.0, -1.0]))
    np.testing.assert_array_equal(output.value, apply(a, b))
    # of integers they are bitwise, and of floats NumPy has none
    try:
        output, _ = tg.record(lambda x: apply(tg.argmax(x), 6))(np.array([0.0, 0.0, 0.0, 1.0]))
    except TypeError:
        pass
    else:
        assert output.value == apply(3, 6)
    with pytest.raises(TypeError):
        tg.record(lambda x: apply(x, 1))(1.0)


def test_the_inverse_is_numpys_or_is_refused():
    output, _ = tg.record(lambda x: ~(x > 0))(np.array([1.0, -1.0]))
    assert output.value.tolist() == [False, True]
    try:
        output, _ = tg.record(lambda x: ~tg.argmax(x))(np.array([0.0, 1.0]))
    except TypeError:
        pass
    else:
        assert output.value == -2
    with pytest.raises(TypeError):
        tg.record(lambda x: ~x)(1.0)
