"""What the user's functions and rules are given and return is kept apart from theirs."""

from typing import Any

import numpy as np
import pytest
from tampering import vandalize

import tapegrad as tg


def naughty_forward(x: Any) -> Any:
    x *= 99.0
    return x


def test_a_forward_that_writes_to_its_operand_changes_nothing():
    op = tg.custom_op(vjps=(lambda g, y, x: g,))(naughty_forward)
    x = np.ones(3)
    with pytest.raises(ValueError, match="read-only"):
        tg.grad(lambda x: tg.sum(op(x)))(x)
    np.testing.assert_array_equal(x, np.ones(3))
    tape, p = tg.Tape().parameter(x)
    with pytest.raises(ValueError, match="read-only"):
        tape.write(op, p)
    np.testing.assert_array_equal(p.value, np.ones(3))


def test_a_rule_that_writes_to_what_it_is_given_changes_nothing():
    def to_cotangent(g, y, x):
        g *= 99.0
        return g

    def to_output(g, y, x):
        y *= 99.0
        return g

    def to_operand(g, y, x):
        x *= 99.0
        return g

    for rule in (to_cotangent, to_output, to_operand):
        op = tg.custom_op(vjps=(rule,))(lambda x: x * 2)
        cotangent = np.ones(3)
        _, pullback = tg.vjp(lambda x, op=op: op(x), np.ones(3))
        with pytest.raises(ValueError, match="read-only"):
            pullback(cotangent)
        np.testing.assert_array_equal(cotangent, np.ones(3))


def test_a_rules_own_array_is_neither_frozen_nor_followed():
    own = np.array([1.0, 2.0, 3.0])
    op = tg.custom_op(vjps=(lambda g, y, x: own,))(lambda x: x * 1)
    g = tg.grad(lambda x: tg.sum(op(x)))(np.ones(3))
    twice = tg.grad(lambda x: tg.sum(op(x)) + tg.sum(op(x)))(np.ones(3))
    assert own.flags.writeable
    np.testing.assert_array_equal(own, [1.0, 2.0, 3.0])
    own[:] = 99.0
    np.testing.assert_array_equal(g, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(twice, [2.0, 4.0, 6.0])


def test_a_forward_that_returns_its_operand_does_not_freeze_the_callers():
    op = tg.custom_op(vjps=(lambda g, y, x: g,))(lambda x: x)
    x = np.ones(3)
    y = op(x)
    assert x.flags.writeable
    x[:] = 99.0
    np.testing.assert_array_equal(y, np.ones(3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("custom", ["op", "vjp"])
def test_a_users_function_and_rule_cannot_change_what_they_are_given(custom, recorded):
    def fn(x):
        y = x * 2
        vandalize(x)
        return y

    def rule(g, y, x):
        c = g * 2 + 0 * y + 0 * x
        for array in (g, y, x):
            vandalize(array)
        return c

    if custom == "op":
        called = tg.custom_op(vjps=(rule,))(fn)
    else:
        called = tg.custom_vjp(lambda *args: (rule(*args),))(fn)
    x = np.linspace(0.5, 1, 6)
    if recorded:
        output, pullback = tg.vjp(lambda x: called(x) * 3, x)
        for _ in range(2):
            np.testing.assert_array_equal(pullback(np.ones(6))[0], np.full(6, 6.0))
        np.testing.assert_array_equal(output, 6 * np.linspace(0.5, 1, 6))
    else:
        np.testing.assert_array_equal(called(x), 2 * np.linspace(0.5, 1, 6))
    np.testing.assert_array_equal(x, np.linspace(0.5, 1, 6))
    assert x.shape == (6,)


@pytest.mark.parametrize("custom", ["op", "vjp"])
def test_a_rule_may_return_one_buffer_each_time(custom):
    buffer = np.zeros(3)

    def rule(g, y, x):
        np.multiply(g, 6.0, out=buffer)
        return buffer

    if custom == "op":
        fn = tg.custom_op(vjps=(rule,))(lambda x: x * 6)
    else:
        fn = tg.custom_vjp(lambda *args: (rule(*args),))(lambda x: x * 6)
    _, pullback = tg.vjp(lambda a, b: (fn(a), fn(b)), np.ones(3), np.ones(3))
    first, second = pullback((np.ones(3), np.full(3, 10.0)))
    assert first.tolist() == [6.0] * 3
    assert second.tolist() == [60.0] * 3


@pytest.mark.parametrize("custom", [tg.checkpoint, tg.custom_vjp(lambda g, y, x: (g[0] * y[1],))])
def test_a_result_that_is_not_floating_is_kept_too(custom):
    counts = np.array([1, 2])

    def fn(x):
        return x * 2.0, counts

    (_, given), pullback = tg.vjp(lambda x: custom(fn)(x), np.ones(2))
    before = pullback((np.ones(2), np.zeros(2)))[0].tolist()
    counts[:] = 100
    assert given.tolist() == [1, 2]
    assert pullback((np.ones(2), np.zeros(2)))[0].tolist() == before
    assert counts.flags.writeable
