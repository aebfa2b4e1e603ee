"""Layers in sequence are applied in order, each with its key, its mode and its state."""

import functools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.types import Array, DTypeLike

nn = tg.nn


def test_batch_norm_statistics_have_no_gradient() -> None:
    layer = nn.BatchNorm(2)
    params, x = layer.init(0, np.float32), np.arange(6, dtype=np.float32).reshape(3, 2)

    def sum_of_statistics(x: Array) -> Array:
        state = layer(params, x, layer.initial_state(), training=True)[1]
        return tg.sum(state.mean) + tg.sum(state.variance)

    np.testing.assert_array_equal(tg.grad(sum_of_statistics)(x), np.zeros((3, 2)))
    state = nn.BatchNorm(2, momentum=0.25)(params, x, layer.initial_state(), training=True)[1]
    np.testing.assert_allclose(state.mean, 0.25 * x.mean(0))
    np.testing.assert_allclose(state.variance, 0.75 + 0.25 * x.var(0, ddof=1))
    images = np.arange(24.0).reshape(3, 2, 2, 2) ** 2
    y, _ = layer(params, images, layer.initial_state(), training=True)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, rtol=1e-3)
    for state in (layer.initial_state(), layer.initial_state(np.float32)):
        y, after = layer(params, x, state, training=True)
        assert y.dtype == layer(params, x, after)[0].dtype == np.float32
        assert after.mean.dtype == state.mean.dtype
        assert layer(params, x, after)[1] is after


def test_sequential_splits_its_key() -> None:
    inner = nn.Sequential(np.tanh, nn.Dropout(0.5))
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 40), inner, nn.Dropout(0.5))
    params, x, key = model.init(0), np.ones((20, 50)), tg.random.key(1)
    np.testing.assert_array_equal(model(params, x), inner(params[2], model.layers[1](params[1], x)))
    k0, k1, k2 = tg.random.split(key, 3)
    y = model.layers[0](None, x, key=k0)
    y = inner(params[2], model.layers[1](params[1], y), key=k1)
    y = model.layers[3](None, y, key=k2)
    np.testing.assert_array_equal(model(params, x, key=key), y)
    # an integer is a seed for the key; another key drops other elements
    np.testing.assert_array_equal(model(params, x, key=1), y)
    assert np.any(model(params, x, key=2) != y)
    # a model without dropout ignores the key
    plain = nn.Sequential(nn.Linear(50, 40), np.tanh)
    assert plain.initial_state() is None
    params = nn.Linear(50, 40).init(0), None
    np.testing.assert_array_equal(plain(params, x, key=key), plain(params, x))


@given(rate=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_dropout_drops_its_rate_and_keeps_the_mean(rate: float, seed: int) -> None:
    x = np.linspace(1, 2, 4000)
    y = nn.Dropout(rate)(None, x, key=seed)
    is_kept = y != 0
    np.testing.assert_allclose(y[is_kept], x[is_kept] / (1 - rate), rtol=1e-12)
    assert abs(np.mean(is_kept) - (1 - rate)) < 0.05
    g = tg.grad(lambda x: tg.sum(nn.Dropout(rate)(None, x, key=seed)))(x)
    np.testing.assert_array_equal(g, np.where(is_kept, 1 / (1 - rate), 0))


def test_sequential_takes_and_returns_state() -> None:
    norm, linear = nn.BatchNorm(3), nn.Linear(3, 2)
    inner = nn.Sequential(norm, np.tanh)
    model = nn.Sequential(inner, linear, nn.BatchNorm(2), nn.Dropout(0.0))
    params, state = model.init(0), model.initial_state()
    assert tg.tree.paths(state) == ["0.0.mean", "0.0.variance", "2.mean", "2.variance"]
    assert state[1] is state[3] is state[0][1] is None
    x = np.random.default_rng(0).normal(size=(5, 3))
    y, after = model(params, x, state, training=True)
    h, first = norm(params[0][0], x, state[0][0], training=True)
    h = linear(params[1], np.tanh(h))
    want, second = nn.BatchNorm(2)(params[2], h, state[2], training=True)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(after[0][0].mean, first.mean)
    np.testing.assert_array_equal(after[2].variance, second.variance)
    assert tg.tree.flatten(after)[1] == tg.tree.flatten(state)[1]
    evaluated, same = model(params, x, after)
    assert [s.tobytes() for s in tg.tree.leaves(same)] == [
        s.tobytes() for s in tg.tree.leaves(after)
    ]
    assert np.any(evaluated != y)
    with pytest.raises(TypeError, match="initial_state"):
        model(params, x)
    with pytest.raises(ValueError, match="state has trees"):
        model(params, x, state[:1])
    with pytest.raises(TypeError, match="no layer has state"):
        nn.Sequential(linear)(params[1:2], x, state[:1])


def test_sequential_passes_key_and_training_to_a_custom_layer() -> None:
    class NoiseLayer:
        def init(self, key: Array, dtype: DTypeLike = float) -> None:
            return None

        def __call__(
            self, params: None, x: Array, *, key: Array | None = None, training: bool = False
        ) -> Array:
            return x + tg.random.normal(key, x.shape) if training and key is not None else x

    model = nn.Sequential(NoiseLayer(), np.tanh)
    params, x, key = model.init(0), np.zeros(3), tg.random.key(5)
    np.testing.assert_array_equal(model(params, x, key=key), np.zeros(3))
    (noise_key,) = tg.random.split(key, 1)
    want = np.tanh(tg.random.normal(noise_key, (3,)))
    np.testing.assert_array_equal(model(params, x, training=True, key=key), want)

    class DecoratedNoise(NoiseLayer):
        @functools.wraps(NoiseLayer.__call__)
        def __call__(self, *args: Any, **options: Any) -> Array:
            return NoiseLayer.__call__(self, *args, **options)

    model = nn.Sequential(DecoratedNoise(), np.tanh)
    np.testing.assert_array_equal(model(params, x, training=True, key=key), want)

    class DoublingLayer(nn.layers.BaseLayer):
        __call__ = functools.partialmethod(lambda self, factor, params, x: factor * x, 2.0)

    assert DoublingLayer()(None, 3.0) == 6.0


def test_sequential_applies_layers_and_functions_in_order():
    a = tg.nn.Linear(3, 4)
    flat = tg.nn.Sequential(a, np.tanh, tg.relu, lambda x: x.reshape(-1))
    params = flat.init(0)
    assert params[1:] == (None, None, None)
    assert tg.tree.paths(params) == ["0.weight", "0.bias"]
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    want = np.maximum(np.tanh(a(params[0], x)), 0).reshape(-1)
    np.testing.assert_array_equal(flat(params, x), want)
    g = tg.grad(lambda p: tg.sum(flat(p, x)))(params)
    assert np.any(g[0].weight != 0)
    assert tg.nn.Sequential(a, np.tanh) == tg.nn.Sequential(a, np.tanh)
    assert tg.nn.Sequential(a, np.tanh) != tg.nn.Sequential(a, np.sin)
    identity = tg.nn.Sequential()
    assert identity((), x) is x
    assert identity.init(0) == ()


class AffineCallable:
    """A callable that is no layer, since it holds its weight."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, x):
        return x @ self.weight

    def apply(self, x):
        return self(x)


class SlottedCallable:
    __slots__ = ("parts",)

    def __init__(self, parts):
        self.parts = parts

    def __call__(self, x):
        return x


AFFINE = AffineCallable(np.eye(2))


@pytest.mark.parametrize(
    ("fn", "where"),
    [
        (AFFINE, "weight"),
        (AFFINE.apply, "weight"),
        (AffineCallable({"w": [np.float32(1) * np.ones(2)]}), "weight"),
        (SlottedCallable((1, np.ones(2))), "parts"),
        (SlottedCallable([np.tanh, AFFINE]), "parts.weight"),
        (SlottedCallable(SlottedCallable(AFFINE.apply)), "parts.parts.weight"),
    ],
)
def test_sequential_raises_for_a_callable_with_arrays(fn, where):
    with pytest.raises(TypeError, match=rf"holds an array in {where}, .* layer\(params, x\)"):
        tg.nn.Sequential(tg.nn.Tanh(), fn)


def test_sequential_takes_a_callable_without_arrays():
    loop = AffineCallable(2.0)
    loop.itself = loop
    for fn in (SlottedCallable((1, "a")), loop, tg.checkpoint(np.sin), math.sin):
        assert tg.nn.Sequential(fn).init(0) == (None,)
