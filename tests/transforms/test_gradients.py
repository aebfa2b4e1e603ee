"""grad and value_and_grad: the derivative, in trees, shapes and dtypes like the arguments."""

from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mappings import FLOATS, VECTORS, Pair, close, mixed, mixed_jacobian

import tapegrad as tg


@attrs.frozen
class Affine:
    weight: Any
    bias: Any


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=5), FLOATS)
def test_grad_of_a_polynomial_is_its_derivative(coefficients, x):
    polynomial = np.polynomial.Polynomial(coefficients)

    def horner(x):
        total = 0.0 * x
        for c in reversed(coefficients):
            total = total * x + c
        return total

    value, g = tg.value_and_grad(horner)(x)
    close(value, polynomial(x))
    close(g, polynomial.deriv()(x))
    f = horner
    for order in (1, 2, 3):
        f = tg.grad(f)
        close(f(x), polynomial.deriv(order)(x))


@given(VECTORS)
def test_grad_is_the_second_of_value_and_grad(x):
    def fn(x):
        return tg.sum(mixed(x))

    value, g = tg.value_and_grad(fn)(x)
    np.testing.assert_array_equal(tg.grad(fn)(x), g)
    close(value, np.sum(np.sin(x) * np.sum(x * x) + x[::-1] * np.tanh(x[0])))
    close(g, mixed_jacobian(x).sum(axis=0))


def test_argnums_chooses_the_arguments():
    def fn(a, b, c):
        return a * b * c

    assert tg.grad(fn)(2.0, 3.0, 5.0) == 15.0
    assert tg.grad(fn, argnums=1)(2.0, 3.0, 5.0) == 10.0
    assert tg.grad(fn, 2)(2.0, 3.0, 5.0) == 6.0
    assert tg.grad(fn, -1)(2.0, 3.0, 5.0) == 6.0
    assert tg.grad(fn, argnums=(2, 0))(2.0, 3.0, 5.0) == (6.0, 15.0)
    value, g = tg.value_and_grad(fn, argnums=(1,))(2.0, 3.0, 5.0)
    assert value == 30.0
    assert g == (10.0,)


def test_grad_is_a_tree_like_the_argument():
    params = {
        "b": [np.array([1.0, 2.0]), None, 3.0],
        "a": (Pair(1.0, {"x": np.float32(2)}), Affine(np.ones((2, 2)), np.zeros(2)), ()),
    }

    def fn(p):
        pair, affine, _ = p["a"]
        total = tg.sum(p["b"][0]) * 2 + p["b"][2] * 3 + pair.first * 5 + pair.second["x"] * 7
        return total + tg.sum(affine.weight) * 11 + tg.sum(affine.bias) * 13

    g = tg.grad(fn)(params)
    assert list(g) == ["b", "a"]
    assert type(g["b"]) is list
    np.testing.assert_array_equal(g["b"][0], [2.0, 2.0])
    assert g["b"][1] is None
    assert g["b"][2] == 3.0
    pair, affine, empty = g["a"]
    assert type(pair) is Pair
    assert (pair.first, pair.second["x"]) == (5.0, 7.0)
    assert pair.second["x"].dtype == np.float32
    assert type(affine) is Affine
    np.testing.assert_array_equal(affine.weight, np.full((2, 2), 11.0))
    np.testing.assert_array_equal(affine.bias, np.full(2, 13.0))
    assert empty == ()


def test_grad_through_plain_python():
    def fn(x):
        while x < 10:
            x = x * 2 if x > 1 else x + 1
        return x

    assert tg.grad(fn)(3.0) == 4.0
    assert tg.grad(fn)(0.5) == 8.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_grad_stays_in_the_dtype_of_its_parameter(dtype):
    x = np.array([0.5, 1.5, -1.0], dtype)
    wide = np.ones(3)

    def fn(x, scale=2.0):
        return tg.sum(tg.tanh(x * scale) + x * wide)

    value, g = tg.value_and_grad(fn)(x)
    assert g.dtype == dtype
    assert value.dtype == np.float64
    narrow, pullback = tg.vjp(lambda x: 2.0 * x * x + 1, x)
    assert narrow.dtype == pullback(np.ones(3))[0].dtype == dtype
    output, tangent = tg.jvp(lambda x: 2.0 * x * x + 1, (x,), (np.ones(3),))
    assert output.dtype == tangent.dtype == dtype
    assert tg.jacobian(lambda x: 2.0 * x * x)(x).dtype == dtype
    assert tg.hessian(lambda x: tg.sum(x * x * x))(x).dtype == dtype


@given(FLOATS)
def test_stop_gradient_keeps_the_value_and_passes_no_gradient(x):
    value, g = tg.value_and_grad(lambda x: tg.stop_gradient(x * x) * x)(x)
    close(value, x**3)
    close(g, x * x)
    close(tg.grad(lambda x: tg.stop_gradient(x))(x), 0.0)
    close(tg.jvp(lambda x: tg.stop_gradient(x * x) * x, (x,), (1.0,))[1], x * x)
    # of the inner derivative y x at y = x, all is differentiable from outside but the stopped y
    close(tg.grad(lambda x: tg.grad(lambda y: tg.stop_gradient(y) * y * x)(x))(x), x)
    assert tg.stop_gradient(x) == x


def test_stop_gradient_takes_trees():
    def fn(p):
        q = tg.stop_gradient({"w": p["w"], "n": 3, "list": [p["b"], None]})
        assert q["n"] == 3
        assert q["list"][1] is None
        return tg.sum(q["w"] * p["w"]) + q["list"][0] * 5

    g = tg.grad(fn)({"w": np.array([1.0, 2.0]), "b": 4.0})
    np.testing.assert_array_equal(g["w"], [1.0, 2.0])
    assert g["b"] == 0.0


def test_grad_of_python_floats_is_not_widened():
    x = np.array([0.5, 1.5], np.float32)

    def fn(scale, x):
        scale = -(scale * 2 + 1) / 3 - scale**2  # Python numbers all the way
        return tg.sum(scale * x)

    value, (gs, gx) = tg.value_and_grad(fn, argnums=(0, 1))(2.0, x)
    assert value.dtype == gx.dtype == np.float32
    assert gs.dtype == np.float64
    assert tg.record(fn)(2.0, x)[0].dtype == np.float32
    strong, _ = tg.record(fn)(np.array(2.0), x)
    assert strong.dtype == np.float64
