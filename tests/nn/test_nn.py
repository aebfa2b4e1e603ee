"""Layers of every kind match their formulas, have derivatives, keep dtypes, and are values.

Parameters depend on the key alone, and are drawn from the documented distribution.
"""

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layer_kinds import KINDS, LAST, Kind
from mappings import close
from trees import bytes_of

import tapegrad as tg
from tapegrad.testing import check_grads, check_properties
from tapegrad.types import Array, ArrayLike


def test_layers_of_one_model_have_different_weights():
    model = tg.nn.Sequential(*[tg.nn.Linear(3, 3) for _ in range(4)])
    assert len({p.weight.tobytes() for p in model.init(0)}) == 4
    cell = tg.nn.RNNCell(3, 3, 3).init(0)
    assert len({p.weight.tobytes() for p in (cell.w_ih, cell.w_hh, cell.w_ho)}) == 3


def test_layer_init_takes_a_seed_and_compiles():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Embedding(3, 2), tg.nn.GRUCell(2, 2))
    draw = tg.compile(lambda key: model.init(key))
    for seed in range(3):
        key = tg.random.key(seed)
        params = model.init(seed)
        assert bytes_of(model.init(key)) == bytes_of(params)
        close(draw(key), params, 1e-12)
    assert len(draw.signatures) == 1


def test_layer_init_draws_from_documented_distribution():
    weight = tg.nn.Linear(50, 2000).init(0).weight
    assert weight.shape == (50, 2000)
    np.testing.assert_allclose(np.std(weight), np.sqrt(2 / 50), rtol=0.01)
    np.testing.assert_allclose(np.mean(weight), 0, atol=0.003)
    np.testing.assert_array_equal(tg.nn.Linear(2, 3).init(0).bias, np.zeros(3))
    for layer, n in ((tg.nn.Conv1d(8, 60, 5), 40), (tg.nn.Conv2d(4, 60, 3), 36)):
        params = layer.init(0)
        assert np.std(params.weight) == pytest.approx((2 / n) ** 0.5, rel=0.1)
        np.testing.assert_array_equal(params.bias, np.zeros(60))
    table = tg.nn.Embedding(2000, 50).init(0).weight
    assert table.shape == (2000, 50)
    assert -0.5 / 50 <= table.min() < -0.49 / 50
    assert 0.49 / 50 < table.max() < 0.5 / 50
    np.testing.assert_array_equal(tg.nn.RNNCell(2, 3, 4).initial_hidden(5), np.zeros((5, 3)))


@given(hnp.arrays(np.int64, st.sampled_from([(), (4,), (2, 3), (0,)]), elements=st.integers(0, 4)))
def test_embedding_selects_rows(indices):
    layer = tg.nn.Embedding(5, 3)
    params = layer.init(0)
    output, pullback = tg.vjp(lambda p: layer(p, indices), params)
    np.testing.assert_array_equal(output, params.weight[indices])
    (g,) = pullback(np.ones((*indices.shape, 3)))
    counts = np.bincount(indices.ravel(), minlength=5)
    np.testing.assert_array_equal(g.weight, np.repeat(counts[:, None], 3, axis=1))


nn = tg.nn


every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def multi_head_attention(
    heads: int, params: Any, x: Array, memory: Array, mask: ArrayLike
) -> Array:
    """Compute the published formula: attention of each head over its part of the last axis."""
    query, key, value = (
        np.split(z @ p.weight + p.bias, heads, axis=-1)
        for p, z in ((params.query, x), (params.key, memory), (params.value, memory))
    )
    parts = []
    for q, k, v in zip(query, key, value, strict=True):
        weights = np.exp(q @ k.mT / np.sqrt(q.shape[-1])) * mask
        parts.append(weights / weights.sum(axis=-1, keepdims=True) @ v)
    return np.concatenate(parts, axis=-1) @ params.output.weight + params.output.bias


def pool(
    reduce: Callable[..., Any], size: tuple[int, int], stride: tuple[int, int], x: Array
) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    return reduce(windows[:, :, :: stride[0], :: stride[1]], axis=(-1, -2))


def erf(x: Array) -> Array:
    return np.vectorize(math.erf)(x)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def normalize(p: Any, x: Array, mean: ArrayLike, variance: Array, epsilon: float = 1e-5) -> Array:
    return (x - mean) / np.sqrt(variance + epsilon) * p.weight + getattr(p, "bias", 0.0)


def standardize(p: Any, x: Array, axis: int) -> Array:
    return normalize(p, x, x.mean(axis, keepdims=True), x.var(axis, keepdims=True))


def affine(p: tg.nn.layers.LinearParams, x: Array) -> Array:
    return x @ p.weight + p.bias


def rnn_step(function: Callable[..., Any], p: Any, x: Array, hidden: Array) -> tuple[Array, Array]:
    new_hidden = function(affine(p.w_ih, x) + affine(p.w_hh, hidden))
    return affine(p.w_ho, new_hidden), new_hidden


def gru_step(p: Any, x: Array, hidden: Array) -> tuple[Array, Array]:
    """Compute a step by the published formula."""
    (a, c, e), (b, d, f) = (
        np.split(affine(w, z), 3, -1) for w, z in ((p.w_ih, x), (p.w_hh, hidden))
    )
    reset, update = sigmoid(a + b), sigmoid(c + d)
    new_hidden = (1 - update) * np.tanh(e + reset * f) + update * hidden
    return new_hidden, new_hidden


def lstm_step(p: Any, x: Array, hidden: Array, cell: Array) -> tuple[Array, tuple[Array, Array]]:
    """Compute a step by the published formula."""
    input_gate, forget, new, out = np.split(affine(p.w_ih, x) + affine(p.w_hh, hidden), 4, -1)
    cell = sigmoid(forget) * cell + sigmoid(input_gate) * np.tanh(new)
    new_hidden = sigmoid(out) * np.tanh(cell)
    return new_hidden, (new_hidden, cell)


FORMULAS: dict[str, Any] = {
    **dict.fromkeys(("linear", "linear, of a row"), affine),
    "max pool": lambda p, x: pool(np.max, (2, 2), (2, 2), x),
    "max pool, overlapping": lambda p, x: pool(np.max, (3, 2), (1, 1), x),
    "mean pool": lambda p, x: pool(np.mean, (2, 2), (2, 2), x),
    "flatten": lambda p, x: x.reshape(len(x), -1),
    "layer norm": lambda p, x: standardize(p, x, -1),
    "rms norm": lambda p, x: normalize(p, x, 0.0, np.mean(x**2, -1, keepdims=True), 1e-6),
    "batch norm, training": lambda p, x: standardize(p, x, 0),
    "rnn": lambda p, x, hidden: rnn_step(sigmoid, p, x, hidden),
    "rnn by tanh": lambda p, x, hidden: rnn_step(np.tanh, p, x, hidden),
    "gru": gru_step,
    "lstm": lstm_step,
    "attention": lambda p, x, memory: multi_head_attention(2, p, x, memory, True),
    "causal attention": lambda p, x: multi_head_attention(2, p, x, x, np.tri(3)),
    "masked attention": lambda p, x, memory: multi_head_attention(
        4, p, x, memory, LAST[:, None, :]
    ),
    "tanh": lambda p, x: np.tanh(x),
    "sigmoid": lambda p, x: sigmoid(x),
    "relu": lambda p, x: np.maximum(x, 0),
    "gelu": lambda p, x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu by tanh": lambda p, x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda p, x: x * sigmoid(x),
    "leaky relu": lambda p, x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda p, x: np.where(x > 0, x, 0.5 * np.expm1(x)),
    "softmax": lambda p, x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
    "softmax of columns": lambda p, x: np.exp(x) / np.exp(x).sum(axis=0),
    "log softmax": lambda p, x: x - np.log(np.exp(x).sum(axis=-1, keepdims=True)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_layers_match_their_formulas(name: str) -> None:
    for seed in (0, 1):
        args = KINDS[name].arguments(seed)
        got, want = KINDS[name].fn(*args), FORMULAS[name](*args)
        # another test checks the state of running means
        close(got[0] if name == "batch norm, training" else got, want, 1e-12)


@every_kind
def test_layer_derivatives_pass_all_checks(kind: Kind) -> None:
    args = kind.arguments()
    first = lambda *args: tg.tree.leaves(kind.fn(*args))[0]  # noqa: E731
    check_grads(first, args, order=1)
    check_properties(first, args, compiled=True)


@every_kind
def test_layer_keeps_float32(kind: Kind) -> None:
    args = kind.arguments(dtype=np.float32)
    output, pullback = tg.vjp(kind.fn, *args)
    y = tg.tree.leaves(output)[0]
    assert y.dtype == np.float32
    exact = tg.tree.leaves(kind.fn(*tg.tree.map(lambda x: x.astype(float), args)))[0]
    np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-4)
    cotangents = tg.tree.map(np.ones_like, output)
    assert all(g.dtype == np.float32 for g in tg.tree.leaves(pullback(cotangents)))
    compiled = tg.tree.leaves(tg.compile(kind.fn)(*args))[0]
    assert compiled.dtype == np.float32


@every_kind
def test_layer_is_a_value_and_parameters_depend_only_on_the_key(kind: Kind) -> None:
    layer = kind.layer
    fields = {f.name: getattr(layer, f.name) for f in attrs.fields(type(layer))}
    assert type(layer)(**fields) == layer
    assert hash(type(layer)(**fields)) == hash(layer)
    assert tg.tree.leaves(layer) == [layer]
    assert repr(layer).startswith(f"{type(layer).__name__}(")
    first, second = (tg.tree.leaves(layer.init(3)) for _ in range(2))
    assert bytes_of(first) == bytes_of(second)
    assert not any(p.flags.writeable for p in first)
    assert all(p.dtype == np.float32 for p in tg.tree.leaves(layer.init(0, np.float32)))


@pytest.mark.parametrize("cell", [nn.RNNCell(3, 2, 2), nn.GRUCell(3, 2), nn.LSTMCell(3, 2)])
def test_float64_state_keeps_float32_outputs(cell: nn.RNNCell | nn.GRUCell | nn.LSTMCell) -> None:
    params, x = cell.init(0, np.float32), np.ones((4, 3), np.float32)
    output, state = cell(params, x, cell.initial_hidden(4))
    again = cell(params, x, state)
    assert {y.dtype for y in tg.tree.leaves((output, state, again))} == {np.dtype(np.float32)}
