"""The fast path of the sweep does what the general one does."""

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.core.sweep import accumulate_fast, contributions
from tapegrad.core.tensor import Tensor


def recorded(fn, *args):
    """What a function writes, the parameters left out."""
    _, tape = tg.record(fn)(*args)
    return [record for record in tape if record._operands]


def passed(record, g, known=()):
    cotangents = dict(known)
    assert accumulate_fast(record, g, cotangents)
    return cotangents


@tg.custom_op(vjps=(lambda g, y, a, b: g * b, None))
def scaled(a, b):
    return a * b


X, ROW = np.arange(6.0).reshape(2, 3), np.arange(1.0, 4.0)


@pytest.mark.parametrize(
    ("fn", "args"),
    [
        (lambda x: tg.tanh(x), (X,)),
        (lambda x, y: x * y, (X, X + 1)),
        (lambda x, y: x - y, (X, ROW)),
        (lambda x, y: x - y, (ROW, X)),
        (lambda x: x * ROW, (X,)),
        (lambda x: ROW - x, (X,)),
        (lambda x, y: x * y, (2.0, X)),
        (lambda x, y: x * y, (X.astype(np.float32), X)),
        (lambda x: x * tg.argmax(X * x), (X,)),
        (lambda x: tg.argmax(X * x) * x, (X,)),
        (lambda x, y: scaled(x, y), (X, X)),
        (lambda x, y: x @ y, (X, X.T.copy())),
        (lambda x: x > 1.0, (X,)),
        (lambda x: tg.sum(x, axis=0), (X,)),
        (lambda x: x[:, 1:], (X,)),
        (lambda x: tg.index_select(x, np.array([1, 1])), (X,)),
        (lambda x, y: tg.vecdot(x, y, axis=0), (X, X + 1)),
        (lambda x: tg.vecdot(ROW, x, axis=-1), (X,)),
    ],
)
def test_contributions_are_those_of_the_long_way(fn, args):
    for record in recorded(fn, *args):
        g = np.random.default_rng(0).normal(size=record.shape).astype(record.dtype)
        if not record.op.passing:
            continue
        expected = {x: c for _, x, _, c in contributions(record, g)}
        found = passed(record, g)
        assert found.keys() == expected.keys()
        for x, c in found.items():
            np.testing.assert_array_equal(c, expected[x], strict=True)


def test_contributions_to_one_operand_are_added():
    (record,) = recorded(lambda x: x * x, 3.0)
    (x, _) = record._operands
    assert passed(record, np.array(1.0), {x: np.array(10.0)}) == {x: 16.0}


def test_parts_are_added_where_their_array_is_if_the_sweep_alone_has_it():
    (record,) = recorded(lambda x: x[:, 1:], X)
    (x,) = record._operands
    cotangents, g = {x: np.ones((2, 3))}, np.ones((2, 2))
    place = id(cotangents[x])
    assert accumulate_fast(record, g, cotangents)
    assert id(cotangents[x]) == place
    np.testing.assert_array_equal(cotangents[x], [[1, 2, 2], [1, 2, 2]])
    held = cotangents[x]
    assert accumulate_fast(record, g, cotangents)
    np.testing.assert_array_equal(held, [[1, 2, 2], [1, 2, 2]])
    np.testing.assert_array_equal(cotangents[x], [[1, 3, 3], [1, 3, 3]])


def test_parts_of_constants_pass_nothing():
    def fn(i):
        return tg.index_select(X, tg.astype(tg.stop_gradient(i), int)) * i

    np.testing.assert_array_equal(tg.grad(lambda i: tg.sum(fn(i)))(1.0), X[1].sum())


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.where(x > 1, x, 0.0),
        lambda x: tg.concatenate([x, x]),
    ],
)
def test_other_records_take_the_long_way(fn):
    record = recorded(fn, X)[-1]
    cotangents: dict[Tensor, object] = {}
    assert not accumulate_fast(record, np.ones(record.shape), cotangents)
    assert not cotangents


def test_a_parameter_of_another_part_of_the_tape_passes_nothing_on():
    tape, x = tg.Tape().parameter(2.0)
    tape, y = tape.write(tg.multiply, x, x)
    bare = tg.Tape(tape.last)
    assert not tg.reverse_sweep(bare, y)


def test_an_error_in_a_rule_says_where():
    @tg.custom_op(vjps=(lambda g, y, a: 1 / 0,))
    def broken(a):
        return a

    with pytest.raises(ZeroDivisionError) as caught:
        tg.grad(broken)(1.0)
    assert any("operand 0 of line 1 of the tape, broken" in x for x in caught.value.__notes__)
