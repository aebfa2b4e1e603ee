"""Stochastic gradient descent, with momentum and without."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mappings import VECTORS

import tapegrad as tg

RATES = st.floats(0, 2, allow_subnormal=False)


MOMENTA = st.floats(0, 1, exclude_max=True, allow_subnormal=False)


@given(VECTORS, VECTORS, RATES)
def test_sgd_step_goes_down_the_gradient(p, g, rate):
    optimizer = tg.optim.SGD(rate)
    state = optimizer.init(p)
    new, after = optimizer.update(p, g, state)
    np.testing.assert_array_equal(new, p - rate * g)
    assert (state.step, after.step) == (0, 1)
    assert after.velocity is None


@pytest.mark.parametrize("dtype", "efdg")
@pytest.mark.parametrize("of_gradient", ["e", "d", "same"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_sgd_plain_step_is_its_formula(dtype, of_gradient, shape):
    p = np.full(shape, 1.3, dtype)
    g = np.full(shape, 0.7, dtype if of_gradient == "same" else of_gradient)
    optimizer = tg.optim.SGD(0.3)
    state = optimizer.init(p)
    if np.result_type(p, g) != p.dtype:
        with pytest.raises(ValueError, match="but grads is"):
            optimizer.update(p, g, state)
        return
    new, _ = optimizer.update(p, g, state)
    np.testing.assert_array_equal(new, np.asarray(p - 0.3 * g), strict=True)
    with pytest.raises(ValueError, match=r"WRITEABLE|writeable"):
        new.setflags(write=True)


@given(VECTORS, st.lists(VECTORS, min_size=1, max_size=5), RATES, MOMENTA)
def test_momentum_keeps_a_part_of_the_velocity(p, gradients, rate, momentum):
    optimizer = tg.optim.SGD(rate, momentum=momentum)
    params, state = {"p": p}, optimizer.init({"p": p})
    want, velocity = p, np.zeros(3)
    for g in gradients:
        params, state = optimizer.update(params, {"p": g}, state)
        velocity = momentum * velocity + g
        want = want - rate * velocity
        np.testing.assert_allclose(params["p"], want, rtol=1e-12, atol=1e-12)


def test_momentum_first_step_is_one_without():
    p, g = np.ones(3), np.arange(3.0)
    plain, heavy = tg.optim.SGD(0.1), tg.optim.SGD(0.1, momentum=0.9)
    np.testing.assert_array_equal(
        plain.update(p, g, plain.init(p))[0], heavy.update(p, g, heavy.init(p))[0]
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", [float, np.float64, np.float32, np.array])
def test_sgd_keeps_dtype_and_shape(dtype, momentum, number):
    optimizer = tg.optim.SGD(number(0.125), momentum=number(momentum))
    params = {"w": np.ones((2, 3), dtype), "b": np.zeros((), dtype)}
    state = optimizer.init(params)
    for _ in range(2):
        params, state = optimizer.update(params, params, state)
        assert params["w"].dtype == params["b"].dtype == dtype
        assert params["w"].shape == (2, 3)
        assert params["b"].shape == ()


def test_sgd_keeps_the_trees_structure():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1))
    params = model.init(0)
    structure = tg.tree.flatten(params)[1]
    for optimizer in (tg.optim.SGD(0.1), tg.optim.SGD(0.1, 0.9)):
        new, state = optimizer.update(params, params, optimizer.init(params))
        assert tg.tree.flatten(new)[1] == structure
        if state.velocity is not None:
            assert tg.tree.flatten(state.velocity)[1] == structure


def test_sgd_state_begins_with_zeros():
    params = {"w": np.array([1.0, np.inf, np.nan]), "b": np.float32(2)}
    velocity = tg.optim.SGD(0.1, momentum=0.9).init(params).velocity
    np.testing.assert_array_equal(velocity["w"], np.zeros(3))
    assert velocity["b"].dtype == np.float32
    assert tg.optim.SGD(0.1).init(params).velocity is None


def test_sgd_leaves_old_parameters_and_states():
    optimizer = tg.optim.SGD(0.1, momentum=0.5)
    p0 = {"w": np.ones(3)}
    s0 = optimizer.init(p0)
    p1, s1 = optimizer.update(p0, {"w": np.ones(3)}, s0)
    optimizer.update(p1, {"w": np.ones(3)}, s1)
    np.testing.assert_array_equal(p0["w"], np.ones(3))
    np.testing.assert_array_equal(s0.velocity["w"], np.zeros(3))
    np.testing.assert_array_equal(s1.velocity["w"], np.ones(3))
    # the same step again from the same values is the same step
    again, _ = optimizer.update(p0, {"w": np.ones(3)}, s0)
    assert again["w"].tobytes() == p1["w"].tobytes()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize(
    "gradient", [np.ones(2), np.ones(3, complex), np.ones(3, np.longdouble), np.array(["a"] * 3)]
)
def test_sgd_names_a_gradient_that_does_not_fit(gradient, momentum):
    optimizer = tg.optim.SGD(0.1, momentum)
    params = {"w": np.ones(3)}
    with pytest.raises(ValueError, match=r"SGD\.update: params\.w is float64 \(3,\), but grads\.w"):
        optimizer.update(params, {"w": gradient}, optimizer.init(params))


def test_sgd_names_a_velocity_that_does_not_fit():
    optimizer = tg.optim.SGD(0.1, 0.5)
    with pytest.raises(ValueError, match=r"but state\.velocity is"):
        optimizer.update(np.ones(3), np.ones(3), optimizer.init(np.ones(2)))
    with pytest.raises(TypeError, match="learning_rate must be a number, not True"):
        tg.optim.SGD(True)


@given(st.floats(0.01, 0.4), VECTORS)
def test_sgd_descends_a_bowl_to_its_bottom(rate, start):
    optimizer = tg.optim.SGD(rate)
    params, state = start, optimizer.init(start)
    loss = previous = float("inf")
    for _ in range(5):
        loss, g = tg.value_and_grad(lambda x: tg.sum((x - 1) ** 2))(params)
        assert loss <= previous
        params, state = optimizer.update(params, g, state)
        previous = loss
    assert loss <= np.sum((start - 1) ** 2)


def test_sgd_step_is_differentiable_in_the_learning_rate():
    # after one step from 1 on x**2, the loss is (1 - 2 r)**2
    def after_a_step(rate):
        optimizer = tg.optim.SGD(rate)
        x = np.array(1.0)
        x, _ = optimizer.update(x, tg.grad(lambda x: x * x)(x), optimizer.init(x))
        return x * x

    np.testing.assert_allclose(tg.grad(after_a_step)(0.1), -4 * (1 - 0.2))


def test_sgd_steps_are_differentiable_through_momentum():
    def after(start, momentum):
        optimizer = tg.optim.SGD(0.1, momentum=momentum)
        x, state = start, optimizer.init(start)
        for _ in range(3):
            x, state = optimizer.update(x, tg.grad(lambda x: x * x)(x), state)
        return x

    # by finite differences
    def slope(f, x, h=1e-6):
        return (float(f(x + h)) - float(f(x - h))) / (2 * h)

    def by_hand(start, momentum):
        x, v = start, 0.0
        for _ in range(3):
            v = momentum * v + 2 * x
            x = x - 0.1 * v
        return x

    gx, gm = tg.grad(after, argnums=(0, 1))(1.0, 0.5)
    np.testing.assert_allclose(gx, slope(lambda x: by_hand(x, 0.5), 1.0), rtol=1e-6)
    np.testing.assert_allclose(gm, slope(lambda m: by_hand(1.0, m), 0.5), rtol=1e-6)


def leaves(tree: Any) -> list[Any]:
    return tg.tree.leaves(tree)


def test_sgd_takes_a_python_float_for_a_parameter():
    optimizer = tg.optim.SGD(0.5)
    params = {"scale": 2.0}
    new, _ = optimizer.update(params, {"scale": np.array(1.0)}, optimizer.init(params))
    assert new["scale"] == 1.5
    assert leaves(params) == [2.0]
