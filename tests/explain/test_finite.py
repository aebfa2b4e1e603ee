"""check_finite names the record of a non-finite number, its operands, and the reason."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from messages import message_of

import tapegrad as tg
from tapegrad.types import Array

X = np.array([0.0, 1.0, 4.0])
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


error = partial(message_of, tg.errors.NonFiniteError)


def sweep_error(fn: Callable[..., Any], *args: Any) -> str:
    """Return the error message of a function's checked sweep."""
    return error(lambda: tg.value_and_grad(fn, check_finite=True)(*args))


def guarded_outside(x: Array) -> Array:
    return tg.sum(tg.where(x > 0, tg.log(x) * 2, 0.0))


def test_error_names_value_line_op_operands_and_remedy():
    assert sweep_error(guarded_outside, X).splitlines() == [
        "the value of line 2 of the tape of guarded_outside, log, is not finite: "
        "[ -inf 0. 1.3863], with -inf at [0]",
        f"  at {__file__}:{guarded_outside.__code__.co_firstlineno + 1}: return tg.sum(tg.where(x > 0, tg.log(x) * 2, 0.0))",
        "  operand 0: %0 x, [0. 1. 4.]",
        "  hint: the argument of a log is not positive; the where on line 4 selects among values "
        "that are all computed, and so are their slopes: guard the argument too, "
        "np.where(ok, np.log(np.where(ok, x, 1.0)), 0.0)",
    ]


def test_error_names_cotangent_incoming_cotangent_and_argument():
    def loss(x):
        return tg.sum(tg.where(x > 0, tg.sqrt(x * 2), 0.0))

    text = sweep_error(loss, X / 2)
    first, place, *rest = text.splitlines()
    assert first == (
        "the cotangent that line 3 of the tape of loss, sqrt, passes to operand 0 is not finite: "
        "[ nan 0.5 0.25], with nan at [0]"
    )
    assert place.endswith(": return tg.sum(tg.where(x > 0, tg.sqrt(x * 2), 0.0))")
    assert rest[:3] == [
        "  operand 0: %2 multiply, [0. 1. 4.]",
        "  value: [0. 1. 2.]",
        "  incoming cotangent: [0. 1. 1.]",
    ]
    assert text.endswith("np.where(ok, np.sqrt(np.where(ok, x, 1.0)), 0.0)")
    text = sweep_error(guarded_outside, np.array([1.0, np.inf]))
    assert text.startswith("the value of line 0 of the tape of guarded_outside, parameter 'x', is")
    assert "\n  operand 0: 1\n  operand 1: %0 x, [" in sweep_error(lambda x: tg.sum(1 / x), X)


@pytest.mark.parametrize(
    ("fn", "cause"),
    [
        (lambda x: tg.sum(1 / x), "a denominator is 0"),
        (lambda x: tg.sum(x**-1), "integer powers"),
        (lambda x: tg.sum(x**0.5), "infinite for powers below 1"),
        (lambda x: tg.sum(tg.exp(x * 1e3)), r"tg.softmax"),
        (tg.checkpoint(lambda x: tg.sum(tg.sqrt(x))), "an infinite slope at 0"),
    ],
)
def test_hint_names_the_cause(fn, cause):
    text = sweep_error(fn, X)
    assert cause in text.splitlines()[-1]
    assert "where" not in text.splitlines()[-1]


def test_nested_gradient_is_checked():
    def loss(x):
        return tg.sum(tg.grad(guarded_outside, check_finite=True)(x))

    def second(x):
        return tg.grad(lambda y: tg.sum(tg.sqrt(y)), check_finite=True)(x)[1]

    assert "line 3 of the tape of loss, log" in error(lambda: tg.grad(loss)(X))
    assert "line 2 of the tape of second, sqrt" in error(lambda: tg.grad(second)(X))
    # values are not known while compiling
    compiled = tg.compile(tg.grad(guarded_outside, check_finite=True))
    message_of(tg.TraceError, lambda: compiled(X), "check_finite reads values", "compiling")


@given(hnp.arrays(np.float64, 3, elements=st.sampled_from([-1.0, 0.0, 1e-300, 0.5, 3.0, 1e200])))
def test_error_is_raised_exactly_for_non_finite_values(x):
    def loss(x):
        y = tg.sqrt(x) / (x - 0.5)
        return tg.sum(tg.where(x > 2, x * x, y))

    _, tape = tg.record(loss)(x)
    finite = all(np.isfinite(record.value).all() for record in tape)
    value, g = tg.value_and_grad(loss)(x)
    # each cotangent here is passed to x, so a non-finite one shows there
    if finite and np.isfinite(g).all():
        checked = tg.value_and_grad(loss, check_finite=True)(x)
        np.testing.assert_array_equal(checked[0], value)
        np.testing.assert_array_equal(checked[1], g)
    else:
        sweep_error(loss, x)


# --- tangents, Jacobians and compiled functions ---------------------------------------------


def scaled_root(x):
    return tg.sqrt(x * 2) * 3


def scan_roots(x):
    return tg.scan(lambda c, r: (c * r, tg.sqrt(c * r)), 2.0, x)[1]


def test_error_names_tangent_and_tangents_of_operands():
    text = error(lambda: tg.jvp(scaled_root, (X,), (X + 1,), check_finite=True))
    assert text.splitlines()[0] == (
        "the tangent of line 2 of the tape of scaled_root, sqrt, is not finite: "
        "[ inf 1.4142 1.7678], with inf at [0]"
    )
    assert "return tg.sqrt(x * 2) * 3" in text
    assert "tangent of operand 0: [ 2. 4. 10.]" in text
    assert text.endswith("an infinite slope at 0")
    step = "tangent of line 4 of the tape of <lambda>, step 2 of the scan on line 1 of scan_roots"
    assert step in error(lambda: tg.jvp(scan_roots, (X[::-1],), (X,), check_finite=True))
    for fn in (scaled_root, scan_roots):
        checked = tg.jvp(fn, (X + 1,), (X,), check_finite=True)
        tg.tree.map(np.testing.assert_array_equal, checked, tg.jvp(fn, (X + 1,), (X,)))


@pytest.mark.parametrize(("mode", "what"), [("forward", "tangent of"), ("reverse", "cotangent")])
@pytest.mark.parametrize("transform", [tg.jacobian, tg.value_and_jacobian])
def test_error_of_jacobian_names_line_of_row_or_column(transform, mode, what):
    for fn, line in (
        (scaled_root, "line 2 of the tape of scaled_root, sqrt"),
        (scan_roots, "step 2 of the scan"),
    ):
        text = error(lambda fn=fn: transform(fn, mode=mode, check_finite=True)(X[::-1]))
        assert what in text.splitlines()[0]
        assert line in text.splitlines()[0]
        assert "an infinite slope at 0" in text
        checked = transform(fn, mode=mode, check_finite=True)(X + 1)
        tg.tree.map(np.testing.assert_array_equal, checked, transform(fn, mode=mode)(X + 1))
    assert "the value of line 1" in error(lambda: transform(tg.log, check_finite=True)(X))


def train_step(p, x):
    loss, g = tg.value_and_grad(lambda p: tg.sum(scan_roots(p["x"] * x)))(p)
    return loss, tg.tree.map(lambda p, g: p - 0.1 * g, p, g)


def test_error_of_compiled_function_names_line():
    step = tg.compile(train_step, check_finite=True)
    p = {"x": X[::-1]}
    for x in (X + 1, X + 2, X + 3):
        tg.tree.map(np.testing.assert_array_equal, step({"x": x}, 1.0), train_step({"x": x}, 1.0))
    for fn in (
        step,
        tg.compile(tg.grad(lambda p, x: tg.sum(scan_roots(p["x"] * x))), check_finite=True),
    ):
        text = error(lambda fn=fn: fn(p, 1.0))
        assert text.startswith("the cotangent that line 4 of the tape of <lambda>, step 2 of the")
        assert "sqrt, passes to operand 0 is not finite: inf" in text
        assert "return tg.scan(lambda c, r: (c * r, tg.sqrt(c * r)), 2.0, x)[1]" in text
    text = error(
        lambda: tg.compile(tg.grad(lambda x: tg.sum(scaled_root(x))), check_finite=True)(X)
    )
    assert text.startswith("the cotangent that line 3 of the tape of <lambda>, sqrt, passes to op")
    logs = tg.compile(lambda x, how: {how: tg.log(x)}, static_argnums=1, check_finite=True)
    assert logs(X + 1, "a")["a"][0] == 0.0
    assert "line 1 of the tape of <lambda>, log, is not finite" in error(lambda: logs(X, "a"))
    assert len(logs.signatures) == 1
    # nothing is checked without check_finite
    assert not np.isfinite(tg.compile(tg.log)(X)).all()


@pytest.mark.parametrize("slopes", [(1.0, np.inf), (1e308, 1e308), (np.nan, 1.0)])
def test_error_names_position_of_repeated_operand(slopes):
    first, second = slopes
    rules = (lambda g, y, a, b: g * first, lambda g, y, a, b: g * second)
    twice = tg.custom_op(vjps=rules)(lambda a, b: a + b)
    at = 0 if np.isnan(first) else 1
    assert f"to operand {at} is not finite" in sweep_error(
        lambda x: np.sum(twice(x, x)), np.ones(2)
    )
