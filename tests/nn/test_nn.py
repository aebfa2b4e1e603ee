"""Layers of every kind are their formulas, have derivatives, keep dtypes, and are values themselves.

Parameters depend on the key alone, and are drawn as the layer's docstring says.
"""

import math
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from layer_kinds import KINDS, LAST, Kind
from trees import bytes_of

import tapegrad as tg
from tapegrad.testing import check_grads, check_properties

FLOATS = st.floats(-3, 3, allow_subnormal=False)


def test_layers_of_one_model_are_drawn_apart():
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
        for got, want in zip(tg.tree.leaves(draw(key)), tg.tree.leaves(params), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    assert len(draw.signatures) == 1


def test_layer_init_draws_as_its_docstring_says():
    weight = tg.nn.Linear(50, 2000).init(0).weight
    assert weight.shape == (50, 2000)
    np.testing.assert_allclose(np.std(weight), np.sqrt(2 / 50), rtol=0.01)
    np.testing.assert_allclose(np.mean(weight), 0, atol=0.003)
    np.testing.assert_array_equal(tg.nn.Linear(2, 3).init(0).bias, np.zeros(3))
    table = tg.nn.Embedding(2000, 50).init(0).weight
    assert table.shape == (2000, 50)
    assert -0.5 / 50 <= table.min() < -0.49 / 50
    assert 0.49 / 50 < table.max() < 0.5 / 50
    np.testing.assert_array_equal(tg.nn.RNNCell(2, 3, 4).initial_hidden(5), np.zeros((5, 3)))


def test_normalizations_are_their_formulas():
    def scaled(x, axes, params, mean, epsilon):
        spread = np.sqrt(np.mean((x - mean) ** 2, axis=axes, keepdims=True) + epsilon)
        return (x - mean) / spread * params.weight + getattr(params, "bias", 0.0)

    for kind, axes, centered in (("layer norm", -1, True), ("rms norm", -1, False)):
        layer, (params, x) = KINDS[kind].layer, KINDS[kind].arguments()
        mean = np.mean(x, axis=axes, keepdims=True) if centered else 0.0
        np.testing.assert_allclose(layer(params, x), scaled(x, axes, params, mean, layer.epsilon))
    layer, (params, x) = tg.nn.BatchNorm(3), KINDS["batch norm, training"].arguments()
    y, state = layer(params, x, layer.initial_state(), training=True)
    want = scaled(x, 0, params, np.mean(x, axis=0), layer.epsilon)
    np.testing.assert_allclose(y, want)
    still = (x - state.mean) / np.sqrt(state.variance + layer.epsilon) * params.weight + params.bias
    np.testing.assert_allclose(layer(params, x, state)[0], still)


@given(hnp.arrays(np.float64, st.sampled_from([(3,), (2, 3), (0, 3), (2, 4, 3)]), elements=FLOATS))
def test_linear_is_affine_along_the_last_axis(x):
    layer = tg.nn.Linear(3, 2)
    params = layer.init(0)
    params = type(params)(params.weight, np.array([1.0, 2.0]))
    y = layer(params, x)
    np.testing.assert_allclose(y, x @ params.weight + params.bias, rtol=1e-12, atol=1e-12)
    assert y.shape == (*x.shape[:-1], 2)
    g = tg.grad(lambda p: tg.sum(layer(p, x)))(params)
    rows = x.reshape(-1, 3)
    want = np.repeat(rows.sum(axis=0)[:, None], 2, axis=1)
    np.testing.assert_allclose(g.weight, want, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(g.bias, [len(rows)] * 2)


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (tg.nn.Tanh(), np.tanh),
        (tg.nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (tg.nn.Relu(), lambda x: np.maximum(x, 0)),
    ],
    ids=["tanh", "sigmoid", "relu"],
)
def test_activation_layers_are_their_functions(layer, function):
    x = np.linspace(-3, 3, 10).reshape(2, 5)
    assert layer.init(0) is None
    np.testing.assert_allclose(layer(None, x), function(x), rtol=1e-12)


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


def attended(heads: int, params: Any, x: Any, memory: Any, mask: Any) -> Any:
    """Attention as it is published: of each head over its part of the last axis."""
    query, key, value = (
        np.split(z @ p.weight + p.bias, heads, axis=-1)
        for p, z in ((params.query, x), (params.key, memory), (params.value, memory))
    )
    parts = []
    for q, k, v in zip(query, key, value, strict=True):
        shares = np.exp(q @ k.mT / np.sqrt(q.shape[-1])) * mask
        parts.append(shares / shares.sum(axis=-1, keepdims=True) @ v)
    return np.concatenate(parts, axis=-1) @ params.output.weight + params.output.bias


def pooled(of: Any, size: tuple[int, int], stride: tuple[int, int], x: Any) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    return of(windows[:, :, :: stride[0], :: stride[1]], axis=(-1, -2))


def erf(x: Any) -> Any:
    return np.vectorize(math.erf)(x)


FORMULAS: dict[str, Any] = {
    "linear": lambda p, x: x @ p.weight + p.bias,
    "max pool": lambda p, x: pooled(np.max, (2, 2), (2, 2), x),
    "max pool, overlapping": lambda p, x: pooled(np.max, (3, 2), (1, 1), x),
    "mean pool": lambda p, x: pooled(np.mean, (2, 2), (2, 2), x),
    "flatten": lambda p, x: x.reshape(len(x), -1),
    "attention": lambda p, x, memory: attended(2, p, x, memory, True),
    "causal attention": lambda p, x: attended(2, p, x, x, np.tri(3)),
    "masked attention": lambda p, x, memory: attended(4, p, x, memory, LAST[:, None, :]),
    "gelu": lambda p, x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu by tanh": lambda p, x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "silu": lambda p, x: x / (1 + np.exp(-x)),
    "leaky relu": lambda p, x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda p, x: np.where(x > 0, x, 0.5 * np.expm1(x)),
    "softmax": lambda p, x: np.exp(x) / np.exp(x).sum(axis=0),
    "log softmax": lambda p, x: x - np.log(np.exp(x).sum(axis=-1, keepdims=True)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_layers_are_their_formulas(name: str) -> None:
    for seed in (0, 1):
        args = KINDS[name].arguments(seed)
        np.testing.assert_allclose(
            KINDS[name].fn(*args), FORMULAS[name](*args), rtol=1e-12, atol=1e-12
        )


@every_kind
def test_layer_derivatives_have_the_properties_of_any(kind: Kind) -> None:
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
def test_layer_is_a_value_and_its_parameters_hang_on_the_key(kind: Kind) -> None:
    layer = kind.layer
    fields = {f.name: getattr(layer, f.name) for f in attrs.fields(type(layer))}
    assert type(layer)(**fields) == layer
    assert hash(type(layer)(**fields)) == hash(layer)
    assert tg.tree.leaves(layer) == [layer]
    assert repr(layer).startswith(f"{type(layer).__name__}(")
    one, same = (tg.tree.leaves(layer.init(3)) for _ in range(2))
    assert bytes_of(one) == bytes_of(same)
    assert not any(p.flags.writeable for p in one)
    assert all(p.dtype == np.float32 for p in tg.tree.leaves(layer.init(0, np.float32)))


@pytest.mark.parametrize(("layer", "n"), [(nn.Conv1d(8, 60, 5), 40), (nn.Conv2d(4, 60, 3), 36)])
def test_layer_kernel_is_drawn_by_how_many_numbers_it_sums(layer, n):
    params = layer.init(0)
    assert np.std(params.weight) == pytest.approx((2 / n) ** 0.5, rel=0.1)
    np.testing.assert_array_equal(params.bias, np.zeros(60))


@pytest.mark.parametrize("cell", [nn.RNNCell(3, 2, 2), nn.GRUCell(3, 2), nn.LSTMCell(3, 2)])
def test_layer_state_in_float64_widens_no_model(cell: Any) -> None:
    params, x = cell.init(0, np.float32), np.ones((4, 3), np.float32)
    output, state = cell(params, x, cell.initial_hidden(4))
    again = cell(params, x, state)
    assert {y.dtype for y in tg.tree.leaves((output, state, again))} == {np.dtype(np.float32)}
