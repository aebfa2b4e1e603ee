"""Why a gradient is zero: each reason is told, and no other."""

import re

import numpy as np
import pytest
from depth import depth
from hypothesis import given

import tapegrad as tg
from tapegrad.testing import programs

X = np.array([1.0, 2.0])
ENCLOSED = np.array([3.0, 4.0])


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (lambda x: tg.sum(np.ones(2)), "never used"),
        (lambda x: tg.sum(x * 2) and tg.sum(np.ones(2)), "never used|does not depend"),
        (lambda x: tg.sum(tg.round(x) * 2), "without a rule: line 1, round"),
        (lambda x: tg.sum(tg.stop_gradient(x) * 2), "without a rule: line 1, stop_gradient"),
        (lambda x: tg.sum(tg.where(x > 5, 1.0, 2.0)), "without a rule: line 1, greater"),
        (lambda x: tg.sum(tg.astype(x, int) * 1.5), "without a rule: line 1, astype"),
        (lambda x: tg.sum(tg.relu(x - 5)), "from line 2, relu on: it is off everywhere"),
        (lambda x: tg.sum(tg.tanh(x * 1000)), "from line 2, tanh on: it is saturated"),
        (lambda x: tg.sum(x * 0.0), "from line 1, multiply on: a product with 0"),
        (lambda x: tg.sum(tg.where(x > 5, x, 0.0)), "line 2, where on: the other side"),
        (lambda x: tg.sum((x * 0 + 0.0) ** 2), "line 3, power on: its slope is 0 there"),
        (lambda x: tg.sum(x - x), "sums to zero"),
        (lambda x: 3.0, "never used"),
    ],
)
def test_the_reason_is_told(fn, said):
    reasons = tg.why_zero(fn, X)
    assert list(reasons) == ["x"]
    assert re.search(said, reasons["x"]), reasons["x"]
    assert "\n" not in reasons["x"]
    np.testing.assert_array_equal(tg.grad(fn)(X), np.zeros(2))


def test_an_array_that_the_function_closed_over_is_told():
    w = np.array([1.0, 2.0])
    assert "closed over the array (w)" in tg.why_zero(lambda v: tg.sum(w * 2), w)["v"]
    params = {"weight": w}
    assert "(params.weight)" in tg.why_zero(lambda v: tg.sum(params["weight"]), w)["v"]
    assert "(ENCLOSED)" in tg.why_zero(lambda v: tg.sum(ENCLOSED * 2), ENCLOSED)["v"]
    reasons = tg.why_zero(lambda v, x: tg.sum(w * x), w.copy(), X)
    assert list(reasons) == ["v"]
    assert "a constant of line 2, multiply" in reasons["v"]
    assert "has the same values" in reasons["v"]


def test_a_gradient_that_is_not_zero_has_no_reason():
    assert tg.why_zero(lambda p, x: tg.sum(p["a"] * x) * p["b"], {"a": X, "b": 2.0}, X) == {}


@depth("program")
@given(programs())
def test_a_leaf_has_a_reason_if_and_only_if_its_gradient_is_zero(program):
    args = program.arguments[0]

    def loss(*args):
        return sum(
            (
                tg.sum(y)
                for y in program.fn(*args)
                if isinstance(y, tg.Tensor) and y.dtype.kind == "f"
            ),
            start=tg.sum(np.zeros(())),
        )

    if not isinstance(tg.record(loss)(*args)[0], tg.Tensor):
        return
    gradients = tg.grad(loss, program.argnums)(*args)
    reasons = tg.why_zero(loss, *args)
    for i, g in zip(program.argnums, gradients, strict=True):
        assert (f"args.{i}" in reasons) == (not np.any(g)), reasons


def test_an_op_of_the_users_own_is_not_taken_for_one_of_the_same_name():
    @tg.custom_op(vjps=(lambda g, y, x: g * 0 * x,))
    def multiply(x):
        return x + 1

    (reason,) = tg.why_zero(lambda x: tg.sum(multiply(x)), X).values()
    assert "its slope is 0 there" in reason
    assert "product" not in reason


# --- unused -------------------------------------------------------------------------------


def test_an_unused_leaf_is_refused_where_that_is_asked_for():
    def loss(p, x):
        return tg.sum(p["a"] * x)

    p = {"a": X, "b": {"c": 2.0}}
    assert tg.grad(loss, unused="zero")(p, X)["b"]["c"] == 0.0
    for transform in (tg.grad, tg.value_and_grad):
        with pytest.raises(ValueError, match=r"loss does not depend on p\.b\.c;"):
            transform(loss, unused="raise")(p, X)
        transform(loss, argnums=1, unused="raise")(p, X)
    with pytest.raises(ValueError, match="does not depend on x"):
        tg.grad(lambda x: 1.0, unused="raise")(X)
    with pytest.raises(ValueError, match='"zero" or "raise"'):
        tg.grad(loss, unused="ignore")
    # what no gradient passes to is used all the same
    assert tg.grad(lambda x: tg.round(x), unused="raise")(1.5) == 0.0
    with pytest.raises(ValueError, match="does not depend on x"):
        tg.compile(tg.grad(lambda x: 1.0, unused="raise"))(X)
