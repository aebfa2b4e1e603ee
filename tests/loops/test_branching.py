"""cond has the value and the derivatives of the side taken, and computes no other."""

import numpy as np
import pytest
from loops import same

import tapegrad as tg


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond_has_the_derivatives_of_the_side_taken(sign):
    def on_true(x, w):
        return tg.sum(x**3) * w, {"x": x}

    def on_false(x, w):
        return tg.sum(np.exp(x)), {"x": x * w}

    def loss(x, w):
        a, b = tg.cond(np.sum(x) > 0, on_true, on_false, x, w)
        return a + tg.sum(b["x"] ** 2)

    def taken(x, w):
        a, b = (on_true if sign > 0 else on_false)(x, w)
        return a + tg.sum(b["x"] ** 2)

    x, w = sign * np.array([1.0, 2.0]), 0.5
    for derive in (
        lambda f: tg.value_and_grad(f, (0, 1)),
        lambda f: tg.hessian(f, (0, 1)),
        lambda f: lambda *args: tg.jvp(f, args, args),
        lambda f: lambda *args: tg.hvp(f, args, args),
    ):
        same(derive(loss)(x, w), derive(taken)(x, w))
        same(tg.compile(derive(loss))(x, w), derive(taken)(x, w))


def test_cond_computes_one_side():
    root = tg.compile(lambda x: tg.cond(x > 0, np.sqrt, np.zeros_like, x))
    with np.errstate(all="raise"):
        same(root(-4.0), 0.0)
        same(tg.grad(lambda x: tg.cond(x > 0, np.sqrt, lambda x: -x, x))(-1.0), -1.0)


def test_cond_takes_arrays_and_numbers_beside_tensors():
    def choose(x):
        return tg.cond(x[0] > 0, lambda *a: a[0] * a[1] * a[2], lambda *a: a[0] - a[1], x, w, 3.0)

    w = np.array([2.0, 5.0])
    for x in (np.array([1.0, 2.0]), np.array([-1.0, 2.0])):
        same(tg.compile(choose)(x), x * w * 3.0 if x[0] > 0 else x - w)


def test_cond_on_a_plain_value_is_a_plain_branch():
    assert tg.cond(True, lambda x: x, lambda x: x[:1], "ab") == "ab"
    assert tg.cond(np.array(0.0), lambda x: x, lambda x: x[:1], "ab") == "a"


def test_cond_refuses_branches_that_differ():
    shapes = r"result\.a of on_true is float64 \(2,\), and float64 \(1,\)"
    for kind, other, message in (
        (ValueError, lambda x: {"a": x[:1]}, shapes),
        (TypeError, lambda x: {"a": x > 0}, r"result\.a of on_true is float64 .* bool"),
        (TypeError, lambda x: {"b": x}, r"only on_true returns result\.a"),
        (TypeError, lambda x: {"a": x, "b": x}, r"only on_false returns result\.b"),
        (TypeError, lambda x: {"a": (x,)}, r"only on_true returns result\.a"),
        (TypeError, lambda x: {"a": "text"}, "returned a str as a"),
    ):
        with pytest.raises(kind, match=message):
            tg.compile(lambda x, f=other: tg.cond(x[0] > 0, lambda x: {"a": x}, f, x))(np.ones(2))
    with pytest.raises(TypeError, match=r"shape \(2,\).*tg\.where"):
        tg.cond(np.ones(2) > 0, abs, abs, 1.0)
    with pytest.raises(TypeError, match="the structures differ"):
        tg.compile(lambda x: tg.cond(x > 0, lambda x: (x,), lambda x: [x], x))(1.0)
    for run in (lambda f: f(np.ones(2)), lambda f: tg.record(f)(np.ones(2))):
        with pytest.raises(TypeError, match=r"of shape \(2,\); one truth value"):
            run(lambda c: tg.while_loop(lambda c: c > 0, lambda c: c, c))
