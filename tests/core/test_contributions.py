"""Contributions have the same sum, in place or not, whatever holds the arrays of rules."""

import inspect
import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.core.primitive import Joint, Primitive
from tapegrad.core.writing import append_record

X, ROW = np.arange(6.0).reshape(2, 3), np.arange(1.0, 4.0)
USES = [
    lambda x: x,
    lambda x: x[:, 1:],
    lambda x: x[::-1, ::2],
    lambda x: x[[0, 1, 0]],
    lambda x: tg.index_select(x, np.array([1, 1])),
    lambda x: ROW - x,
    lambda x: x * (X > 1),
    lambda x: x @ x.T,
    lambda x: tg.vecdot(x, x + 1, axis=0),
    lambda x: tg.where(x > 1, x, 0.0),
    lambda x: tg.stack([x, X, x], axis=1),
    lambda x: x.astype(np.float32) * tg.argmax(x),
]


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_contributions_add_up_in_any_order(layout):
    def loss(*uses):
        return lambda x: sum(np.sum(np.sin(use(x))) for use in uses)

    single = {use: tg.jacobian(loss(use), mode="forward")(X) for use in USES}
    for first, second in itertools.product(USES, repeat=2):
        want = 2 * single[first] + single[second]
        slope = tg.grad(loss(first, second, first))(layout(X))
        np.testing.assert_allclose(slope, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "op",
    [
        Primitive("broken", lambda a: a, (lambda g, y, a: 1 / 0,), None),
        Primitive("broken", lambda a: a, Joint(lambda g, y, a: 1 / 0), None),
        Primitive(
            "broken", lambda a: a, (lambda g, y, a: g,), None, add_into=lambda known, g, a: 1 / 0
        ),
    ],
)
def test_error_in_a_rule_names_op_operand_and_line(op):
    with pytest.raises(ZeroDivisionError) as caught:
        tg.grad(lambda x: append_record(op, (x,), {}))(np.ones(()))
    assert any("operand 0 of line 1 of the tape, broken" in x for x in caught.value.__notes__)


# --- owners of a cotangent --------------------------------------------------------------------


OWNERS = st.sampled_from(
    ["new", "cotangent", "view", "kept", "view of kept", "constant", "operand", "output"]
)
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), OWNERS, OWNERS, st.booleans()),
    min_size=4,
    max_size=12,
)
TRANSFORMS = {
    "grad": tg.grad,
    "checked": lambda loss: tg.grad(loss, check_finite=True),
    "vjp": lambda loss: lambda x: tg.vjp(loss, x)[1](np.ones(()))[0],
    "jacobian": lambda loss: tg.jacobian(loss, mode="reverse"),
    "steps": lambda loss: lambda x: gradient_by_steps(*tg.record(loss)(x)),
}


def gradient_by_steps(output, tape):
    (x,) = tape.parameters
    (result,) = [step.cotangent for step in tg.sweep_steps(tape, output) if step.record is x]
    return result


@given(STEPS)
def test_sums_do_not_depend_on_the_owner_of_a_contribution(steps):
    def gradient(transform, is_copied):
        kept, constant = [], np.array([1.0, -2.0])

        def rule(owner, g, y, x):
            c = {
                "cotangent": lambda: g,
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
                op = Primitive("op", lambda a, b, shift=0.0: np.tanh(a + b + shift), rules, None)
                a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
                values.append(append_record(op, (a, b), {"shift": 0.5} if has_option else {}))
            return np.sum(values[-1])

        result = TRANSFORMS[transform](loss)(np.array([0.25, -0.5]))
        for after, before in kept:
            np.testing.assert_array_equal(after, before)
        np.testing.assert_array_equal(constant, [1.0, -2.0])
        return result.tobytes()

    expected = gradient("grad", True)
    for transform in TRANSFORMS:
        assert gradient(transform, False) == expected, transform


def count_variadic_arguments(call):
    """Return how many arguments a call passes to Python functions by `*args`."""
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
def test_rules_of_many_operands_take_linear_work(name):
    def count_in_record_and_sweep(n):
        def loss(xs):
            # the constants, which the tape copies, are operands too
            return np.sum(getattr(tg, name)([*xs, *np.ones((n, 2))]))

        output, tape = tg.record(loss)([np.ones(2)] * n)
        recorded = count_variadic_arguments(lambda: tg.record(loss)([np.ones(2)] * n))
        return recorded, count_variadic_arguments(lambda: tg.reverse_sweep(tape, output))

    for few, many in zip(count_in_record_and_sweep(20), count_in_record_and_sweep(80), strict=True):
        assert 0 < many < 6 * few


def test_joint_rule_is_called_once():
    calls = []

    def joint(g, y, *operands):
        calls.append(len(operands))
        return [None if i % 3 == 0 else g * i for i in range(len(operands))]

    op = Primitive("joint", lambda *xs: sum(xs), Joint(joint), None)
    result = tg.grad(lambda xs: append_record(op, (*xs, 2.0), {}))([np.ones(())] * 6)
    assert calls == [7]
    assert [float(c) for c in result] == [0, 1, 2, 0, 4, 5]
