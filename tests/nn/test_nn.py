"""Layers, initializers and losses: frozen, keyed and pure."""

import math
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapegrad as tg
from tapegrad.nn import initializers

ROOT = Path(__file__).parents[2]
FLOATS = st.floats(-3, 3, allow_subnormal=False)
LAYERS = {
    "linear": tg.nn.Linear(3, 4),
    "embedding": tg.nn.Embedding(5, 3),
    "tanh": tg.nn.Tanh(),
    "sigmoid": tg.nn.Sigmoid(),
    "relu": tg.nn.Relu(),
    "sequential": tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.Tanh(), tg.nn.Linear(4, 2)),
    "nested": tg.nn.Sequential(
        tg.nn.Sequential(tg.nn.Embedding(5, 3), tg.nn.Tanh()), tg.nn.Linear(3, 1)
    ),
    "rnn": tg.nn.RNNCell(3, 4, 2),
}


def bytes_of(tree):
    return [x.tobytes() for x in tg.tree.leaves(tree)]


# --- init ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@given(key=st.integers(0, 2**64))
def test_the_same_key_gives_the_same_parameters(layer, key):
    params = layer.init(key)
    assert bytes_of(layer.init(key)) == bytes_of(params)
    assert bytes_of(layer.init(np.random.SeedSequence(key))) == bytes_of(params)


def test_a_key_gives_the_same_parameters_in_another_process():
    code = """
        import tapegrad as tg
        params = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.RNNCell(2, 2, 2)).init(7)
        print("".join(x.tobytes().hex() for x in tg.tree.leaves(params)))
    """.replace("        ", "")
    here = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.RNNCell(2, 2, 2)).init(7)
    there = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=300,
    )
    assert there.stdout.strip() == b"".join(bytes_of(here)).hex()


def test_other_keys_give_other_parameters():
    for layer in (LAYERS["linear"], LAYERS["embedding"], LAYERS["rnn"]):
        assert len({tuple(bytes_of(layer.init(key))) for key in range(20)}) == 20


def test_layers_of_one_model_are_drawn_apart():
    model = tg.nn.Sequential(*[tg.nn.Linear(3, 3) for _ in range(4)])
    assert len({p.weight.tobytes() for p in model.init(0)}) == 4
    cell = tg.nn.RNNCell(3, 3, 3).init(0)
    assert len({p.weight.tobytes() for p in (cell.w_ih, cell.w_hh, cell.w_ho)}) == 3


def test_a_seed_stands_for_its_key_and_a_compiled_program_draws_as_it_runs():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Embedding(3, 2), tg.nn.GRUCell(2, 2))
    draw = tg.compile(lambda key: model.init(key))
    for seed in range(3):
        key = tg.random.key(seed)
        params = model.init(seed)
        assert bytes_of(model.init(key)) == bytes_of(params)
        for got, want in zip(tg.tree.leaves(draw(key)), tg.tree.leaves(params), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    assert len(draw.signatures) == 1


# of 12 inputs and 40 outputs with 3 by 3 places: fan-in 108, fan-out 360
KERNELS = ((40, 12, 3, 3), {"in_axis": 1, "out_axis": 0})
IMAGES_LAST = ((3, 3, 12, 40), {})


@pytest.mark.parametrize(("shape", "axes"), [KERNELS, IMAGES_LAST])
@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (initializers.he_normal, 2 / 108),
        (initializers.lecun_normal, 1 / 108),
        (initializers.glorot_normal, 2 / 468),
        (initializers.glorot_uniform, 2 / 468),
    ],
)
def test_the_variance_of_kernels_goes_by_their_fans(initializer, variance, shape, axes):
    drawn = initializer(0, shape, **axes)
    np.testing.assert_allclose(np.var(drawn), variance, rtol=0.1)
    np.testing.assert_allclose(np.mean(drawn), 0, atol=0.01)
    assert initializer(0, shape, np.float32, **axes).dtype == np.float32


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (2, 3, 4), (1, 5)])
@pytest.mark.parametrize("out_axis", [0, -1])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(shape, out_axis):
    drawn = initializers.orthogonal(3, shape, out_axis=out_axis)
    assert drawn.shape == shape
    matrix = np.moveaxis(drawn, out_axis, -1).reshape(-1, shape[out_axis])
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_weights_take_either_sign():
    signs = {float(np.sign(initializers.orthogonal(key, (1, 1))[0, 0])) for key in range(20)}
    assert signs == {-1.0, 1.0}


def test_init_draws_as_the_notebook_does():
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


def test_the_shapes_of_an_rnn_cells_parameters():
    params = tg.nn.RNNCell(2, 3, 4).init(0)
    assert [x.shape for x in tg.tree.leaves(params)] == [(2, 3), (3,), (3, 3), (3,), (3, 4), (4,)]
    assert params.w_ih.weight.shape == (2, 3)
    assert params.w_ho.bias.shape == (4,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("hidden_dtype", [None, np.float16, np.float32, np.float64])
def test_a_hidden_state_does_not_widen_a_model(dtype, hidden_dtype):
    cell = tg.nn.RNNCell(2, 3, 4)
    params, x = cell.init(0, dtype), np.ones((5, 2), dtype)
    hidden = cell.initial_hidden(5)
    hidden = hidden if hidden_dtype is None else hidden.astype(hidden_dtype)

    def loss(params, hidden):
        output, after = cell(params, x, hidden)
        assert output.dtype == after.dtype == dtype
        return tg.sum(output) + tg.sum(after)

    grads = tg.grad(loss, argnums=(0, 1))(params, hidden)
    assert all(g.dtype == dtype for g in tg.tree.leaves(grads[0]))
    assert grads[1].dtype == hidden.dtype
    assert grads[1].any()


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_parameters_may_be_float32_and_stay_so(layer):
    params = layer.init(0, np.float32)
    assert all(x.dtype == np.float32 for x in tg.tree.leaves(params))
    if layer is LAYERS["rnn"]:
        x, hidden = np.ones((2, 3), np.float32), layer.initial_hidden(2, np.float32)

        def loss(p):
            output, after = layer(p, x, hidden)
            return tg.sum(output) + tg.sum(after)
    else:
        indices = layer in (LAYERS["embedding"], LAYERS["nested"])
        x = np.array([0, 1]) if indices else np.ones((2, 3), np.float32)

        def loss(p):
            return tg.mean(layer(p, x))

    value, grads = tg.value_and_grad(loss)(params)
    assert value.dtype == np.float32
    assert all(x.dtype == np.float32 for x in tg.tree.leaves(grads))


# --- calls --------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.sampled_from([(3,), (2, 3), (0, 3), (2, 4, 3)]), elements=FLOATS))
def test_a_linear_layer_is_affine_along_the_last_axis(x):
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
def test_activations_have_no_parameters_and_are_their_functions(layer, function):
    x = np.linspace(-3, 3, 10).reshape(2, 5)
    assert layer.init(0) is None
    np.testing.assert_allclose(layer(None, x), function(x), rtol=1e-12)


@given(hnp.arrays(np.int64, st.sampled_from([(), (4,), (2, 3), (0,)]), elements=st.integers(0, 4)))
def test_an_embedding_selects_rows(indices):
    layer = tg.nn.Embedding(5, 3)
    params = layer.init(0)
    output, pullback = tg.vjp(lambda p: layer(p, indices), params)
    np.testing.assert_array_equal(output, params.weight[indices])
    (g,) = pullback(np.ones((*indices.shape, 3)))
    counts = np.bincount(indices.ravel(), minlength=5)
    np.testing.assert_array_equal(g.weight, np.repeat(counts[:, None], 3, axis=1))


def test_a_sequential_applies_its_layers_in_order():
    a, b = tg.nn.Linear(3, 4), tg.nn.Linear(4, 2)
    model = tg.nn.Sequential(a, tg.nn.Tanh(), b)
    params = model.init(0)
    assert type(params) is tuple
    assert params[1] is None
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    np.testing.assert_array_equal(model(params, x), b(params[2], np.tanh(a(params[0], x))))
    assert tg.nn.Sequential()((), x) is x
    assert tg.nn.Sequential().init(0) == ()


def test_a_function_is_a_layer_without_parameters():
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


class Affine:
    """What a layer is not: it keeps its weight to itself."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, x):
        return x @ self.weight

    def apply(self, x):
        return self(x)


class Slotted:
    __slots__ = ("parts",)

    def __init__(self, parts):
        self.parts = parts

    def __call__(self, x):
        return x


@attrs.frozen
class Frozen:
    inner: object

    def __call__(self, x):
        return self.inner(x)


AFFINE = Affine(np.eye(2))


def test_an_init_that_takes_no_dtype_is_refused_before_it_is_called():
    class Scale:
        def init(self, key):
            return np.ones(2)

        def __call__(self, params, x):
            return params * x

    with pytest.raises(TypeError, match=r"Scale\.init must .*def init\(self, key, dtype=float\)"):
        tg.nn.Sequential(Scale())


@pytest.mark.parametrize(
    ("thing", "where"),
    [
        (AFFINE, "weight"),
        (AFFINE.apply, "weight"),
        (Affine({"w": [np.float32(1) * np.ones(2)]}), "weight"),
        (Slotted((1, np.ones(2))), "parts"),
        (Slotted([np.tanh, AFFINE]), "parts.weight"),
        (Frozen(AFFINE), "inner.weight"),
        (Frozen(Frozen(AFFINE.apply)), "inner.weight"),
    ],
)
def test_a_callable_that_keeps_arrays_to_itself_is_no_layer(thing, where):
    with pytest.raises(TypeError, match=rf"holds an array in {where}, .* layer\(params, x\)"):
        tg.nn.Sequential(tg.nn.Tanh(), thing)


def test_a_callable_without_arrays_is_a_function_of_x():
    loop = Affine(2.0)
    loop.itself = loop
    for thing in (Frozen(np.tanh), Slotted((1, "a")), loop, tg.checkpoint(np.sin), math.sin):
        assert tg.nn.Sequential(thing).init(0) == (None,)


def test_models_made_without_an_argument_share_nothing():
    assert tg.nn.Sequential().layers == ()
    assert tg.nn.Sequential(tg.nn.Tanh()).layers == (tg.nn.Tanh(),)
    assert tg.nn.Sequential().layers == ()


@pytest.mark.parametrize(
    ("activation", "function"),
    [("sigmoid", lambda x: 1 / (1 + np.exp(-x))), ("tanh", np.tanh)],
)
def test_an_rnn_cell_is_one_step_of_its_formula(activation, function):
    cell = tg.nn.RNNCell(2, 3, 4, activation=activation)
    params = cell.init(0)
    x, hidden = np.linspace(-1, 1, 10).reshape(5, 2), np.linspace(0, 1, 15).reshape(5, 3)
    output, after = cell(params, x, hidden)
    want = function(
        x @ params.w_ih.weight + params.w_ih.bias + hidden @ params.w_hh.weight + params.w_hh.bias
    )
    np.testing.assert_allclose(after, want, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        output, want @ params.w_ho.weight + params.w_ho.bias, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("activation", ["step", "", None, ["tanh"], tg.tanh, 0])
def test_an_activation_that_there_is_not_is_refused(activation):
    with pytest.raises(ValueError, match="activation must be one of relu, sigmoid, tanh"):
        tg.nn.RNNCell(2, 3, 4, activation=activation)


def test_an_rnn_cell_is_a_sigmoid_by_default():
    assert tg.nn.RNNCell(2, 3, 4) == tg.nn.RNNCell(2, 3, 4, activation="sigmoid")


def test_the_gradient_goes_back_through_time():
    cell = tg.nn.RNNCell(2, 2, 1, activation="tanh")
    params = cell.init(3)
    xs = np.linspace(-1, 1, 12).reshape(6, 1, 2)

    def last(params, xs):
        hidden = cell.initial_hidden(1)
        for x in xs:
            output, hidden = cell(params, x, hidden)
        return tg.sum(output)

    g = tg.grad(last, argnums=1)(params, xs)
    assert np.all(g != 0)
    h = 1e-6
    for place in np.ndindex(xs.shape):
        step = np.zeros(xs.shape)
        step[place] = h
        slope = (last(params, xs + step) - last(params, xs - step)) / (2 * h)
        np.testing.assert_allclose(g[place], slope, rtol=1e-6, atol=1e-9)


def test_a_layer_called_on_arrays_returns_arrays():
    x = np.ones((2, 3))
    for name in ("linear", "tanh", "sigmoid", "relu", "sequential"):
        layer = LAYERS[name]
        assert type(layer(layer.init(0), x)) is np.ndarray


def test_layers_compare_and_hash_by_content():
    assert tg.nn.Linear(2, 3) == tg.nn.Linear(2, 3)
    assert tg.nn.Linear(2, 3) != tg.nn.Linear(3, 2)
    assert tg.nn.Tanh() != tg.nn.Sigmoid()
    one, two = (tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh()) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert repr(tg.nn.RNNCell(1, 2, 3)) == (
        "RNNCell(n_inputs=1, n_hidden=2, n_outputs=3, activation='sigmoid')"
    )


# --- losses -------------------------------------------------------------------------------

PAIRS = st.sampled_from([(), (3,), (2, 3), (0, 2)]).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=FLOATS),
        hnp.arrays(np.float64, shape, elements=FLOATS),
    )
)


@given(PAIRS)
def test_mse_is_the_squared_error(pair):
    predictions, targets = pair
    squares = np.square(predictions - targets)
    np.testing.assert_array_equal(tg.nn.mse_loss(predictions, targets, "none"), squares)
    np.testing.assert_allclose(
        tg.nn.mse_loss(predictions, targets, reduction="sum"), np.sum(squares)
    )
    slope = 2 * (predictions - targets)
    loss = tg.grad(tg.nn.mse_loss, argnums=(0, 1))
    if predictions.size:
        np.testing.assert_allclose(tg.nn.mse_loss(predictions, targets), np.mean(squares))
        gp, gt = loss(predictions, targets)
        np.testing.assert_allclose(gp, slope / predictions.size, rtol=1e-12, atol=1e-300)
        np.testing.assert_array_equal(gt, -gp)
    gp, gt = loss(predictions, targets, reduction="sum")
    np.testing.assert_array_equal(gp, slope)
    np.testing.assert_array_equal(gt, -slope)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@given(st.sampled_from([(), (4,), (2, 3)]), st.integers(1, 4), st.integers(0, 1000))
def test_cross_entropy_is_minus_the_log_probability_of_the_class(shape, n_classes, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(*shape, n_classes)) * 3
    targets = rng.integers(0, n_classes, shape)
    one_hot = np.eye(n_classes)[targets]
    losses = -np.sum(np.log(softmax(logits)) * one_hot, axis=-1)
    close = {"rtol": 1e-9, "atol": 1e-12}
    loss = tg.nn.cross_entropy_loss
    np.testing.assert_allclose(loss(logits, targets, reduction="none"), losses, **close)
    np.testing.assert_allclose(loss(logits, targets, reduction="sum"), np.sum(losses), **close)
    np.testing.assert_allclose(loss(logits, targets), np.mean(losses), **close)
    g = tg.grad(loss)(logits, targets)
    np.testing.assert_allclose(g, (softmax(logits) - one_hot) / max(targets.size, 1), **close)
    g = tg.grad(loss)(logits, targets, reduction="sum")
    np.testing.assert_allclose(g, softmax(logits) - one_hot, **close)


def test_the_gradient_of_cross_entropy_takes_the_cotangent_into_account():
    logits, targets = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([0, 1])
    _, pullback = tg.vjp(lambda x: tg.nn.cross_entropy_loss(x, targets, "none"), logits)
    weights = np.array([3.0, -2.0])
    want = (softmax(logits) - np.eye(2)[targets]) * weights[:, None]
    np.testing.assert_allclose(pullback(weights)[0], want, rtol=1e-12)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_cross_entropy_is_stable(size):
    logits = np.array([[0.0, size], [size, 0.0], [-size, -size]])
    targets = np.array([0, 0, 1])
    loss, g = tg.value_and_grad(lambda x: tg.nn.cross_entropy_loss(x, targets, "sum"))(logits)
    np.testing.assert_allclose(loss, size + np.log(2))
    np.testing.assert_allclose(g, [[-1, 1], [0, 0], [0.5, -0.5]], atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_targets_may_be_any_integers_or_lists(dtype):
    logits = np.array([[1.0, 2.0], [3.0, 4.0]])
    want = tg.nn.cross_entropy_loss(logits, np.array([0, 1]))
    assert tg.nn.cross_entropy_loss(logits, np.array([0, 1], dtype)) == want
    assert tg.nn.cross_entropy_loss(logits, [0, 1]) == want


def test_a_model_learns_exclusive_or():
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([0, 1, 1, 0])
    model = tg.nn.Sequential(tg.nn.Linear(2, 8), tg.nn.Tanh(), tg.nn.Linear(8, 2))
    optimizer = tg.optim.SGD(0.3, momentum=0.9)
    params = model.init(0)
    state = optimizer.init(params)
    step = tg.value_and_grad(lambda p: tg.nn.cross_entropy_loss(model(p, x), y))
    first, _ = step(params)
    for _ in range(150):
        _, grads = step(params)
        params, state = optimizer.update(params, grads, state)
    assert step(params)[0] < 0.02 < first
    np.testing.assert_array_equal(np.argmax(model(params, x), axis=1), y)
