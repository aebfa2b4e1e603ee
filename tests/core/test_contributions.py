"""Contributions have the same sum, in place or not, whoever holds the arrays of rules."""

import inspect
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.core.rules import Joint, Rules
from tapegrad.core.sweep import pass_on
from tapegrad.core.writing import append


def recorded(fn, *args):
    """The records that a function writes, without its parameters."""
    _, tape = tg.record(fn)(*args)
    return [record for record in tape if record._operands]


def noted(record, g, recorded=False, reached=None):
    """The contributions of a record, each as it is noted."""
    notes = []
    pass_on(record, g, {}, set(), recorded, reached, lambda *note: notes.append(note))
    return notes


def sums(record, g, cotangents=(), summed=()):
    """The cotangents of a record's operands."""
    cotangents = dict(cotangents)
    pass_on(record, g, cotangents, set(summed))
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
        (lambda x: x * x, (X,)),
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
        (lambda x: x[[0, 1, 0]], (X,)),
        (lambda x: x[0, 1], (X,)),
        (lambda x: x[()], (3.0,)),
        (lambda x: x[::-1, ::2], (np.asfortranarray(X),)),
        (lambda x: tg.index_select(x, np.array([1, 1])), (X,)),
        (lambda x, y: tg.vecdot(x, y, axis=0), (X, X + 1)),
        (lambda x: tg.vecdot(ROW, x, axis=-1), (X,)),
        (lambda x: tg.where(x > 1, x, 0.0), (X,)),
        (lambda x: tg.concatenate([x, X, x]), (X,)),
        (lambda x, y: tg.stack([x, X, y, x], axis=1), (X, X + 1)),
        (lambda x, y: tg.einsum("ij,jk,il->k", x, y, x), (X, X.T.copy())),
    ],
)
def test_contributions_are_the_same_in_each_sweep(fn, args):
    for record in recorded(fn, *args):
        g = np.random.default_rng(0).normal(size=record.shape).astype(record.dtype)
        expected = {}
        for _, x, _, part in noted(record, g):
            expected[x] = expected[x] + part if x in expected else part
        found = sums(record, g)
        assert found.keys() == expected.keys()
        # beside what was there before, of the sweep's own and of others
        operands = [x for x in expected if type(x._primal) is np.ndarray]
        before = {x: np.ones(x.shape, x.dtype) for x in operands}
        others = sums(record, g, before)
        ours = sums(record, g, {x: c.copy() for x, c in before.items()}, operands)
        for x, c in found.items():
            np.testing.assert_array_equal(c, expected[x], strict=True)
            if x in before:
                np.testing.assert_array_equal(before[x], np.ones(x.shape))
                np.testing.assert_array_equal(ours[x], others[x], strict=True)
                np.testing.assert_allclose(others[x], 1 + c, rtol=1e-6)


def test_parts_of_an_array_are_added_to_the_sweeps_own():
    (record,) = recorded(lambda x: x[:, 1:], X)
    (x,) = record._operands
    cotangents, summed, g = {}, set(), np.ones((2, 2))
    pass_on(record, g, cotangents, summed)
    place = id(cotangents[x])
    pass_on(record, g, cotangents, summed)
    assert id(cotangents[x]) == place
    np.testing.assert_array_equal(cotangents[x], [[0, 2, 2], [0, 2, 2]])
    held = cotangents[x]
    pass_on(record, g, cotangents, set())
    np.testing.assert_array_equal(held, [[0, 2, 2], [0, 2, 2]])
    np.testing.assert_array_equal(cotangents[x], [[0, 3, 3], [0, 3, 3]])


@pytest.mark.parametrize(
    "op",
    [
        Rules("broken", lambda a: a, (lambda g, y, a: 1 / 0,), None),
        Rules("broken", lambda a: a, Joint(lambda g, y, a: 1 / 0), None),
        Rules(
            "broken", lambda a: a, (lambda g, y, a: g,), None, add_into=lambda known, g, a: 1 / 0
        ),
    ],
)
def test_an_error_in_a_rule_says_where(op):
    with pytest.raises(ZeroDivisionError) as caught:
        tg.grad(lambda x: append(op, (x,), {}))(np.ones(()))
    assert any("operand 0 of line 1 of the tape, broken" in x for x in caught.value.__notes__)


# --- whoever holds a cotangent ----------------------------------------------------------------


OWNERS = st.sampled_from(
    ["made", "its own", "view", "kept", "view of kept", "constant", "operand", "output"]
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), OWNERS, OWNERS, st.booleans()),
    min_size=4,
    max_size=12,
)
WAYS = {
    "grad": tg.grad,
    "checked": lambda loss: tg.grad(loss, check_finite=True),
    "vjp": lambda loss: lambda x: tg.vjp(loss, x)[1](np.ones(()))[0],
    "jacobian": lambda loss: tg.jacobian(loss, mode="reverse"),
    "steps": lambda loss: lambda x: _of_steps(*tg.record(loss)(x)),
}


def _of_steps(output, tape):
    (x,) = tape.parameters
    (found,) = [step.cotangent for step in tg.sweep_steps(tape, output) if step.record is x]
    return found


@given(STEPS)
def test_sums_are_the_same_whoever_holds_what_a_rule_gives(steps):
    def gradient(way, is_copied):
        kept, constant = [], np.array([1.0, -2.0])

        def rule(owner, g, y, x):
            c = {
                "its own": lambda: g,
                "view": lambda: g[::-1],
                "constant": lambda: constant,
                "operand": lambda: x,
                "output": lambda: y,
            }.get(owner, lambda: g * 0.5 + 1)()
            if is_copied or "kept" in owner:
                c = c.copy() if is_copied else c
                kept.append((c, c.copy()))
            return c[:] if owner == "view of kept" else c

        def loss(x):
            values = [x]
            for i, j, first, second, has_option in steps:
                rules = (
                    lambda g, y, a, b, shift=0.0, owner=first: rule(owner, g, y, a),
                    lambda g, y, a, b, shift=0.0, owner=second: rule(owner, g, y, b),
                )
                op = Rules("op", lambda a, b, shift=0.0: np.tanh(a + b + shift), rules, None)
                a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
                values.append(append(op, (a, b), {"shift": 0.5} if has_option else {}))
            return np.sum(values[-1])

        found = WAYS[way](loss)(np.array([0.25, -0.5]))
        for now, before in kept:
            np.testing.assert_array_equal(now, before)
        np.testing.assert_array_equal(constant, [1.0, -2.0])
        return found.tobytes()

    expected = gradient("grad", True)
    for way in WAYS:
        assert gradient(way, False) == expected, way


def _keeping(change):
    """An op whose rules keep what they get and return, and change it at the next call."""
    kept = []

    def rule(g, y, a, b):
        for x in kept if change else ():
            if type(x) is np.ndarray and x.flags.writeable:
                x *= -7.0
        c = g * 0.5
        kept.extend([c, g, c[:], g[:]])
        return c

    return tg.custom_op(vjps=(rule, lambda g, y, a, b: g))(lambda a, b: 0.5 * a + b)


@pytest.mark.parametrize("n", [3, 5000])
def test_rules_that_later_change_what_they_got_or_returned_change_no_gradient(n):
    def loss(op, x):
        y = op(x, x)
        for _ in range(3):
            y = op(y, x) + x * y
        return np.sum(y)

    x = np.linspace(0.5, 1.0, n)
    for way in (
        tg.grad,
        WAYS["checked"],
        WAYS["vjp"],
        lambda loss: lambda x: tg.vmap(tg.grad(loss))(np.stack([x, x]))[1],
    ):
        keeping, changing = _keeping(False), _keeping(True)
        expected = way(lambda x, op=keeping: loss(op, x))(x)
        gradient = way(lambda x, op=changing: loss(op, x))
        found = gradient(x)
        before = found.copy()
        gradient(x)
        np.testing.assert_array_equal(found, before)
        np.testing.assert_array_equal(found, expected)


def _handed_over(call):
    """How many arguments Python functions get in a call, of those that they take any number of."""
    n = 0

    def count(frame, event, arg):
        nonlocal n
        code = frame.f_code
        if event == "call" and code.co_flags & inspect.CO_VARARGS:
            name = code.co_varnames[code.co_argcount + code.co_kwonlyargcount]
            n += len(frame.f_locals[name])

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return n


@pytest.mark.parametrize("name", ["concatenate", "stack", "hstack", "vstack", "dstack", "block"])
def test_rules_of_many_operands_do_not_get_all_of_them_for_each(name):
    def handed_over(n):
        def loss(xs):
            # beside constants, which the tape copies
            return np.sum(getattr(tg, name)([*xs, *np.ones((n, 2))]))

        output, tape = tg.record(loss)([np.ones(2)] * n)
        recorded = _handed_over(lambda: tg.record(loss)([np.ones(2)] * n))
        return recorded, _handed_over(lambda: tg.reverse_sweep(tape, output))

    for few, many in zip(handed_over(20), handed_over(80), strict=True):
        assert 0 < many < 6 * few


def test_a_joint_rule_is_called_once():
    calls = []

    def joint(g, y, *operands):
        calls.append(len(operands))
        return [None if i % 3 == 0 else g * i for i in range(len(operands))]

    op = Rules("joint", lambda *xs: sum(xs), Joint(joint), None)
    found = tg.grad(lambda xs: append(op, (*xs, 2.0), {}))([np.ones(())] * 6)
    assert calls == [7]
    assert [float(c) for c in found] == [0, 1, 2, 0, 4, 5]
