"""Gradients, pullbacks, tangents, second derivatives, and all of them nested."""

import inspect
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg

FLOATS = st.floats(-2, 2, allow_subnormal=False)
VECTORS = hnp.arrays(np.float64, 3, elements=FLOATS)
MATRICES = hnp.arrays(np.float64, (2, 3), elements=FLOATS)


class Pair(NamedTuple):
    first: Any
    second: Any


@attrs.frozen
class Affine:
    weight: Any
    bias: Any


def close(got: Any, want: Any, tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def mixed(x: Any) -> Any:
    """A vector to a vector, with every kind of dependence."""
    return tg.sin(x) * tg.sum(x * x) + x[::-1] * tg.tanh(x[0])


def mixed_jacobian(x: Any) -> Any:
    reverse = np.eye(len(x))[::-1]
    jacobian = np.diag(np.cos(x) * np.sum(x * x)) + np.outer(np.sin(x), 2 * x)
    jacobian = jacobian + reverse * np.tanh(x[0])
    jacobian[:, 0] += x[::-1] * (1 - np.tanh(x[0]) ** 2)
    return jacobian


# --- grad and value_and_grad ----------------------------------------------------------


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=5), FLOATS)
def test_the_gradient_of_a_polynomial_is_its_derivative(coefficients, x):
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


@pytest.mark.parametrize("transform", [tg.grad, tg.jacobian])
def test_an_argument_chosen_twice_has_its_derivative_twice(transform):
    assert transform(lambda a, b: a * a * b, (0, 1, -2))(2.0, 3.0) == (12.0, 4.0, 12.0)


def test_other_arguments_may_be_anything():
    def fn(x, mode, *, scale, table=None):
        assert mode == "double"
        assert table == {"a": [1]}
        return x * scale

    assert tg.grad(fn)(2.0, "double", scale=3, table={"a": [1]}) == 3.0


@pytest.mark.parametrize("transform", [tg.grad, tg.jacobian])
def test_keyword_arguments_are_passed_on(transform):
    assert transform(lambda x, k=1.0: x * k)(2.0, k=5.0) == 5.0


def test_hessian_passes_keyword_arguments_on():
    assert tg.hessian(lambda x, k=1.0: x * x * k)(2.0, k=5.0) == 10.0


def test_aux_is_handed_on_and_holds_no_records():
    def fn(x):
        y = x * x
        return tg.sum(y), {"y": y, "n": 3, "text": "t", "none": None}

    (value, aux), g = tg.value_and_grad(fn, has_aux=True)(np.array([1.0, 2.0]))
    assert value == 5.0
    np.testing.assert_array_equal(g, [2.0, 4.0])
    np.testing.assert_array_equal(aux.pop("y"), [1.0, 4.0])
    assert aux == {"n": 3, "text": "t", "none": None}
    g, aux = tg.grad(fn, has_aux=True)(np.array([1.0, 2.0]))
    assert type(aux["y"]) is np.ndarray
    np.testing.assert_array_equal(g, [2.0, 4.0])


def test_gradients_are_trees_like_the_argument():
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


def test_a_leaf_that_stands_in_two_places_has_a_gradient_in_each():
    w = np.array([1.0, 2.0])
    g = tg.grad(lambda p: tg.sum(p[0] * 3 + p[1] * p[1]))((w, w))
    np.testing.assert_array_equal(g[0], [3.0, 3.0])
    np.testing.assert_array_equal(g[1], [2.0, 4.0])


def test_a_constant_has_a_zero_gradient():
    np.testing.assert_array_equal(tg.grad(lambda x: 3.0)(np.ones(2)), [0.0, 0.0])
    value, g = tg.value_and_grad(lambda x: 3.0)(2.0)
    assert (value, g) == (3.0, 0.0)
    assert tg.grad(tg.grad(lambda x: 3.0 * x))(1.0) == 0.0
    assert tg.jvp(lambda x: 3.0, (1.0,), (1.0,)) == (3.0, 0.0)
    np.testing.assert_array_equal(tg.jacobian(lambda x: np.ones(3))(np.ones(2)), np.zeros((3, 2)))


def test_a_transform_keeps_the_name_docstring_and_signature():
    def loss(params: Any, x: Any = 1.0) -> Any:
        """How wrong it is."""
        return params * x

    for transform in (tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian):
        made = transform(loss)
        assert made.__name__ == "loss"
        assert made.__doc__ == "How wrong it is."
        assert inspect.signature(made) == inspect.signature(loss)


def test_the_repr_of_what_is_recorded_says_of_what_it_is():
    def product(x: Any, y: Any) -> Any:
        return x * y

    assert repr(tg.vjp(product, 2.0, 3.0)[1]) == "<pullback over 3 records of product>"
    assert repr(tg.linearize(product, 2.0, 3.0)[1]) == "<pushforward over 3 records of product>"
    assert repr(tg.record(product)).startswith("<function record(product) at")


def test_a_transform_is_a_decorator():
    @tg.grad
    def slope(x):
        return x**3

    assert slope(2.0) == 12.0


def test_control_flow_is_plain_python():
    def fn(x):
        while x < 10:
            x = x * 2 if x > 1 else x + 1
        return x

    assert tg.grad(fn)(3.0) == 4.0
    assert tg.grad(fn)(0.5) == 8.0


@given(VECTORS)
def test_the_same_in_gives_the_same_out_to_the_byte(x):
    def fn(x):
        return tg.sum(mixed(x))

    assert tg.grad(fn)(x).tobytes() == tg.grad(fn)(x).tobytes()
    assert tg.hessian(fn)(x).tobytes() == tg.hessian(fn)(x).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gradients_stay_in_the_dtype_of_their_parameters(dtype):
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


@given(st.sampled_from([(), (1,), (3,), (2, 1), (2, 3), (4, 2, 3), (0, 3)]), st.data())
def test_broadcasting_is_undone(shape, data):
    x = data.draw(hnp.arrays(np.float64, shape, elements=FLOATS))
    full = np.broadcast_shapes(shape, (2, 3)) if shape != (0, 3) else (0, 3)
    other = np.random.default_rng(0).normal(size=full)
    g = tg.grad(lambda x: tg.sum(x * other))(x)
    assert g.shape == shape
    # what an element is repeated to, it sums
    want = other
    while want.ndim > len(shape):
        want = want.sum(axis=0)
    for axis, n in enumerate(shape):
        if n == 1:
            want = want.sum(axis=axis, keepdims=True)
    close(g, want)


# --- vjp, jvp, jacobian, hessian, hvp ---------------------------------------------------


@given(VECTORS, VECTORS, VECTORS)
def test_vjp_and_jvp_agree_with_the_jacobian(x, u, v):
    want = mixed_jacobian(x)
    output, pullback = tg.vjp(mixed, x)
    same, tangent = tg.jvp(mixed, (x,), (v,))
    np.testing.assert_array_equal(output, same)
    close(tangent, want @ v)
    close(pullback(u)[0], u @ want)
    close(np.dot(u, tangent), np.dot(pullback(u)[0], v))
    close(tg.jacobian(mixed)(x), want)


@given(VECTORS, VECTORS, VECTORS, FLOATS)
def test_a_pullback_is_linear_and_may_be_called_at_will(x, u, v, c):
    _, pullback = tg.vjp(mixed, x)
    (both,) = pullback(c * u + v)
    close(both, c * pullback(u)[0] + pullback(v)[0])
    assert pullback(u)[0].tobytes() == pullback(u)[0].tobytes()


@given(VECTORS, VECTORS, VECTORS, FLOATS)
def test_a_tangent_is_linear(x, u, v, c):
    def tangent(direction):
        return tg.jvp(mixed, (x,), (direction,))[1]

    close(tangent(c * u + v), c * tangent(u) + tangent(v))


@given(MATRICES, MATRICES)
def test_vjp_takes_and_gives_trees(a, b):
    def fn(p, q):
        return {"product": p["w"] * q, "sum": (tg.sum(p["w"]), 7)}

    output, pullback = tg.vjp(fn, {"w": a}, b)
    assert set(output) == {"product", "sum"}
    np.testing.assert_array_equal(output["product"], a * b)
    assert output["sum"][1] == 7
    gp, gq = pullback({"product": np.ones((2, 3)), "sum": (2.0, 0.0)})
    close(gp["w"], b + 2)
    close(gq, a)


@given(FLOATS, FLOATS, FLOATS, FLOATS)
def test_jvp_of_several_arguments_sums_their_parts(a, b, da, db):
    output, tangent = tg.jvp(lambda a, b: (a * b, a - b), (a, b), (da, db))
    close(output, (a * b, a - b))
    close(tangent, (da * b + a * db, da - db))


def test_a_tangent_is_an_array_of_its_own():
    for v in (np.array(2.0), np.array([1.0, 2.0]), np.arange(3000.0)):
        x = np.ones_like(v)
        for fn in (lambda x: x, lambda x: x[...], lambda x: (x, x), lambda x: (x.T, x.T, x.T)):
            for tangent in tg.tree.leaves(tg.jvp(fn, (x,), (v,))[1]):
                assert not np.shares_memory(tangent, v)
                assert not tangent.flags.writeable
        v[...] = 5.0


def test_no_tangent_passes_through_integers():
    fn = lambda x: x.astype(int).astype(float) * x  # noqa: E731
    x, v = np.array([1.5, -2.5]), np.array([4.0, 8.0])
    np.testing.assert_array_equal(tg.jvp(fn, (x,), (v,))[1], [4.0, -16.0])
    output, tangent = tg.jvp(lambda x: (np.argmax(x), x > 0, x), (x,), (v,))
    assert output[0] == 0
    assert tangent[0] == 0.0
    np.testing.assert_array_equal(tangent[1], [0.0, 0.0])


@pytest.mark.parametrize(
    ("fn", "kinds"),
    [
        (lambda x: (np.argmax(x), x > 0), "int64, bool"),
        (lambda x: "a", "str"),
        (lambda x: 3, "int"),
        (lambda x: None, "there is none"),
    ],
)
def test_a_result_without_a_floating_leaf_has_no_derivative_in_either_mode(fn, kinds):
    x = np.ones(2)
    for derive in (
        lambda: tg.jvp(fn, (x,), (x,)),
        lambda: tg.vjp(fn, x),
        lambda: tg.jacobian(fn)(x),
    ):
        with pytest.raises(TypeError, match=rf"no derivative.*\({kinds}\)"):
            derive()


def test_tangents_have_the_dtype_of_what_they_are_of():
    x = np.ones(2, np.float32)

    def recorded(x):
        return tg.jvp(lambda y: (y.astype(np.float64), y * np.ones(2), y), (x,), (x,))

    for outputs in (recorded(x), tg.record(recorded)(x)[0]):
        for output, tangent in zip(*outputs, strict=True):
            assert output.dtype == tangent.dtype


def test_one_cotangent_of_two_operands_gives_both_tangents():
    total = tg.custom_op(vjps=(lambda g, y, a, b: g, lambda g, y, a, b: g))(lambda a, b: a + b)
    assert tg.jvp(total, (1.0, 2.0), (10.0, 100.0)) == (3.0, 110.0)
    x, b = np.ones((2, 3)), np.ones(3)
    tangent = tg.jvp(total, (x, b), (10 * x, np.arange(3.0)))[1]
    np.testing.assert_array_equal(tangent, [[10.0, 11.0, 12.0]] * 2)


def test_an_output_that_is_an_argument_passes_its_cotangent():
    output, pullback = tg.vjp(lambda x, y: (x, x, y), 2.0, 3.0)
    assert output == (2.0, 2.0, 3.0)
    assert pullback((1.0, 10.0, 100.0)) == (11.0, 100.0)


def test_a_jacobian_has_the_outputs_axes_and_then_the_arguments():
    x = np.arange(6.0).reshape(2, 3)
    jacobian = tg.jacobian(lambda x: x.T * 2)(x)
    assert jacobian.shape == (3, 2, 2, 3)
    for i, j in np.ndindex(3, 2):
        want = np.zeros((2, 3))
        want[j, i] = 2
        np.testing.assert_array_equal(jacobian[i, j], want)


def test_a_jacobian_of_trees_is_the_outputs_tree_of_the_arguments():
    def fn(p):
        return {"square": p["a"] ** 2, "product": p["a"] * p["b"]}

    jacobian = tg.jacobian(fn)({"a": np.array([1.0, 2.0]), "b": 3.0})
    np.testing.assert_array_equal(jacobian["square"]["a"], np.diag([2.0, 4.0]))
    np.testing.assert_array_equal(jacobian["square"]["b"], np.zeros(2))
    np.testing.assert_array_equal(jacobian["product"]["a"], np.diag([3.0, 3.0]))
    np.testing.assert_array_equal(jacobian["product"]["b"], [1.0, 2.0])


def test_a_jacobian_of_an_empty_array_is_empty():
    assert tg.jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)
    assert tg.jacobian(lambda x: tg.sum(x))(np.ones(0)).shape == (0,)


def test_a_jacobian_of_several_arguments_is_a_tuple():
    first, second = tg.jacobian(lambda a, b: a * b, argnums=(0, 1))(np.array([1.0, 2.0]), 3.0)
    np.testing.assert_array_equal(first, np.diag([3.0, 3.0]))
    np.testing.assert_array_equal(second, [1.0, 2.0])


@given(VECTORS, VECTORS)
def test_hvp_is_the_hessian_times_the_vector_and_the_hessian_is_symmetric(x, v):
    def fn(x):
        return tg.sum(mixed(x))

    hessian = tg.hessian(fn)(x)
    assert hessian.shape == (3, 3)
    close(hessian, hessian.T)
    close(tg.hvp(fn, (x,), (v,)), hessian @ v)


@given(VECTORS)
def test_seven_ways_to_a_second_derivative_agree(x):
    def fn(x):
        return tg.sum(tg.sin(x) * x * x)

    want = np.diag(2 * np.sin(x) + 4 * x * np.cos(x) - x * x * np.sin(x))
    basis = np.eye(3)
    close(tg.hessian(fn)(x), want)
    close(tg.jacobian(tg.grad(fn))(x), want)
    close(tg.jacobian(lambda x: tg.value_and_grad(fn)(x)[1])(x), want)
    close([tg.hvp(fn, (x,), (e,)) for e in basis], want)
    close([tg.grad(lambda x, e=e: tg.sum(tg.grad(fn)(x) * e))(x) for e in basis], want)
    close([tg.grad(lambda x, e=e: tg.jvp(fn, (x,), (e,))[1])(x) for e in basis], want)
    forward = [
        [tg.jvp(lambda x, e=e: tg.jvp(fn, (x,), (e,))[1], (x,), (d,))[1] for d in basis]
        for e in basis
    ]
    close(forward, want)
    close([tg.vjp(tg.grad(fn), x)[1](e)[0] for e in basis], want)


def test_hvp_of_several_arguments_is_a_tuple():
    def fn(a, b):
        return a * a * b

    first, second = tg.hvp(fn, (2.0, 3.0), (1.0, 10.0))
    assert (first, second) == (2 * 3.0 + 4.0 * 10, 4.0)


def test_a_hessian_of_trees_is_a_tree_of_trees():
    hessian = tg.hessian(lambda p: p["a"] ** 2 * p["b"])({"a": 3.0, "b": 5.0})
    assert hessian["a"]["a"] == 10.0
    assert hessian["a"]["b"] == hessian["b"]["a"] == 6.0
    assert hessian["b"]["b"] == 0.0


# --- stop_gradient ------------------------------------------------------------------------


@given(FLOATS)
def test_stop_gradient_keeps_the_value_and_passes_no_gradient(x):
    value, g = tg.value_and_grad(lambda x: tg.stop_gradient(x * x) * x)(x)
    close(value, x**3)
    close(g, x * x)
    close(tg.grad(lambda x: tg.stop_gradient(x))(x), 0.0)
    close(tg.jvp(lambda x: tg.stop_gradient(x * x) * x, (x,), (1.0,))[1], x * x)


def test_stop_gradient_takes_trees():
    def fn(p):
        q = tg.stop_gradient({"w": p["w"], "n": 3, "list": [p["b"], None]})
        assert q["n"] == 3
        assert q["list"][1] is None
        return tg.sum(q["w"] * p["w"]) + q["list"][0] * 5

    g = tg.grad(fn)({"w": np.array([1.0, 2.0]), "b": 4.0})
    np.testing.assert_array_equal(g["w"], [1.0, 2.0])
    assert g["b"] == 0.0


def test_stop_gradient_of_plain_values_is_those_values():
    x = np.ones(2)
    np.testing.assert_array_equal(tg.stop_gradient(x), x)
    assert tg.stop_gradient(2.0) == 2.0


def test_stop_gradient_stops_the_inner_derivative_and_the_outer():
    def fn(x):
        return tg.grad(lambda y: tg.stop_gradient(y) * y * x)(x)

    # y x at y = x, all of it differentiable from outside but the stopped y
    assert tg.grad(fn)(3.0) == 3.0


# --- custom ops -----------------------------------------------------------------------------


def test_a_hessian_of_several_arguments_is_a_tuple_of_tuples():
    hessian = tg.hessian(lambda a, b: a * a * b + b**3, argnums=(0, 1))(2.0, 3.0)
    assert hessian == ((6.0, 4.0), (4.0, 18.0))
    assert tg.hessian(lambda a, b: a * a * b + b**3, argnums=1)(2.0, 3.0) == 18.0


def test_python_floats_do_not_widen_what_they_meet():
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


# --- aux, and what is refused -------------------------------------------------------------


def test_every_transform_hands_aux_on():
    def fn(x):
        return tg.sum(x**3), {"x": x * 2, "text": "t"}

    x = np.array([1.0, 2.0])
    output, pullback, aux = tg.vjp(fn, x, has_aux=True)
    same, tangent, aux2 = tg.jvp(fn, (x,), (x,), has_aux=True)
    jacobian, aux3 = tg.jacobian(fn, has_aux=True)(x)
    hessian, aux4 = tg.hessian(fn, has_aux=True)(x)
    assert output == same == 9.0
    np.testing.assert_array_equal(pullback(1.0)[0], 3 * x**2)
    assert tangent == 3 + 24
    np.testing.assert_array_equal(jacobian, 3 * x**2)
    np.testing.assert_array_equal(hessian, np.diag(6 * x))
    for found in (aux, aux2, aux3, aux4):
        assert found["text"] == "t"
        assert type(found["x"]) is np.ndarray
        np.testing.assert_array_equal(found["x"], 2 * x)
    for call in (
        lambda: tg.vjp(tg.sum, x, has_aux=True),
        lambda: tg.jvp(tg.sum, (x,), (x,), has_aux=True),
        lambda: tg.jacobian(tg.sum, has_aux=True)(x),
    ):
        with pytest.raises(TypeError, match=r"with has_aux, sum returns \(value, aux\)"):
            call()


@pytest.mark.parametrize("transform", [tg.jacobian, tg.hessian])
def test_derivatives_of_trees_by_several_arguments_are_trees(transform):
    def fn(p, q, n):
        return p["a"] ** 2 * q[0] * n + q[1] * p["a"]

    p, q = {"a": 3.0}, (5.0, 7.0)
    derivative = transform(fn, argnums=(1, 0))(p, q, 2)
    if transform is tg.jacobian:
        assert derivative == ((18.0, 3.0), {"a": 67.0})
    else:
        assert derivative == (
            (((0.0, 0.0), {"a": 12.0}), ((0.0, 0.0), {"a": 1.0})),
            {"a": ((12.0, 1.0), {"a": 20.0})},
        )


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: tg.jvp(tg.sum, np.ones(2), (np.ones(2),)),
        TypeError,
        r"primals must be a tuple.*\(x,\)",
    ),
    (
        lambda: tg.jvp(tg.sum, (np.ones(2),), np.ones(2)),
        TypeError,
        r"tangents must be a tuple.*an array",
    ),
    (lambda: tg.hvp(tg.sum, np.ones(2), (np.ones(2),)), TypeError, r"primals must be a tuple"),
    (lambda: tg.hvp(tg.sum, (np.ones(2),), np.ones(2)), TypeError, r"tangents must be a tuple"),
    (lambda: tg.jvp(square, (2.0, 3.0), (1.0,)), ValueError, "2 primals but 1 tangents"),
    (
        lambda: tg.jvp(first, ({"a": [2.0, 3.0]},), ({"a": [1.0, np.ones(3)]},)),
        ValueError,
        r"tangent of p.a.1 has shape \(3,\), its primal \(\)",
    ),
    (
        lambda: tg.jvp(first, ({"a": [2.0]},), ({"a": [1.0, 2.0]},)),
        ValueError,
        "the trees differ at 0.a",
    ),
    (lambda: tg.jvp(square, (2.0,), (1j,)), TypeError, "tangent of p is real numbers, not complex"),
    (lambda: tg.jvp(square, (2.0,), ("x",)), TypeError, "tangent of p is real numbers"),
    (
        lambda: tg.vjp(lambda p: {"y": (p, p)}, 2.0)[1]({"y": (1.0, np.ones(2))}),
        ValueError,
        r"cotangent of y.1 has shape \(2,\), its output \(\)",
    ),
    (lambda: tg.vjp(square, 2.0)[1](1j), TypeError, "the cotangent is real numbers"),
    (lambda: tg.vjp(square, 2.0)[1]((1.0,)), ValueError, "tuple|must be the same"),
    (
        lambda: tg.grad(square)({"a": [2.0, 3]}),
        TypeError,
        r"respect to p.a.1, which is int 3.*float",
    ),
    (lambda: tg.vjp(square, {"a": [2.0, 3]}), TypeError, r"respect to p.a.1, which is int 3"),
    (lambda: tg.jvp(square, (3,), (1.0,)), TypeError, r"respect to p, which is int 3"),
    (lambda: tg.grad("relu"), TypeError, "a function is needed, not 'relu', a str"),
    (lambda: tg.jvp("relu", (1.0,), (1.0,)), TypeError, "a function is needed, not 'relu'"),
    (lambda: tg.vjp("relu", 1.0), TypeError, "a function is needed, not 'relu'"),
    (lambda: tg.hvp("relu", (1.0,), (1.0,)), TypeError, "a function is needed, not 'relu'"),
    (lambda: tg.record("relu"), TypeError, "a function is needed, not 'relu'"),
    (lambda: tg.grad(square, "p"), TypeError, "argnums must be the position.*not 'p'"),
    (lambda: tg.grad(square, (0, "p")), TypeError, "argnums must be the position"),
    (lambda: tg.grad(square, None), TypeError, "argnums must be the position.*not None"),
    (lambda: tg.grad(square, 1)(2.0), TypeError, "called with 1 positional"),
]


def square(p: Any) -> Any:
    return p * p


def first(p: Any) -> Any:
    return p["a"][0]


@pytest.mark.parametrize("i", range(len(REFUSED)))
def test_what_a_transform_cannot_take_is_told(i):
    call, error, text = REFUSED[i]
    with pytest.raises(error, match=text):
        call()


def test_a_numpy_integer_is_a_position():
    assert tg.grad(lambda a, b: a * b, np.int64(1))(2.0, 3.0) == 2.0
    assert tg.grad(lambda a, b: a * b, [np.int64(1), 0])(2.0, 3.0) == (2.0, 3.0)


# --- cotangents that are not quite like the output ------------------------------------------


def several(x):
    return {"pair": Pair(2 * x, [3 * x, 5 * x]), "alone": 7 * x}


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.booleans(), st.booleans())
def test_none_in_a_tree_of_cotangents_is_zero(left_out, whole, plain):
    a, b, c, d = (None if none else 1.0 for none in left_out)
    pair: Any = (a, [b, c]) if plain else Pair(a, [b, c])
    if whole:
        pair, left_out = None, [True, True, True, left_out[3]]
    (g,) = tg.vjp(several, 1.0)[1]({"pair": pair, "alone": d})
    assert g == sum(w for w, none in zip((2, 3, 5, 7), left_out, strict=True) if not none)


def test_none_for_all_cotangents_is_zero():
    pullback = tg.vjp(several, np.ones(2))[1]
    np.testing.assert_array_equal(pullback(None)[0], [0.0, 0.0])
    np.testing.assert_array_equal(tg.vjp(square, np.ones(2))[1](None)[0], [0.0, 0.0])


@pytest.mark.parametrize(
    "function", [np.linalg.eigh, np.linalg.svd, np.linalg.qr, np.linalg.slogdet]
)
def test_a_plain_tuple_passes_for_a_named_one(function):
    x = np.array([[2.0, 1.0], [1.0, 3.0]])
    output, pullback = tg.vjp(function, x)
    weights = tg.tree.map(lambda y: np.cos(np.arange(np.size(y))).reshape(np.shape(y)), output)
    np.testing.assert_array_equal(pullback(tuple(weights))[0], pullback(weights)[0])
    # but not one that is longer, nor a list
    for wrong in ((*weights, 1.0), list(weights)):
        with pytest.raises(ValueError, match="the trees differ"):
            pullback(wrong)


def test_a_tangent_may_be_a_plain_tuple_where_the_primal_is_named():
    assert tg.jvp(lambda p: p.first * p.second, (Pair(2.0, 3.0),), ((1.0, 0.0),))[1] == 3.0
