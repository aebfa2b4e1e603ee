"""Layers of every kind: PyTorch's values and gradients, the kit's properties, their refusals."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.ops.window import add_patches, patches
from tapegrad.testing import check_grads, check_properties


def linear(params: Any, prefix: str = "") -> dict[str, Any]:
    """What PyTorch calls the parameters of a `Linear`."""
    return {f"{prefix}weight": params.weight.T, f"{prefix}bias": params.bias}


def gates(params: Any) -> dict[str, Any]:
    return {
        "weight_ih": params.w_ih.weight.T,
        "bias_ih": params.w_ih.bias,
        "weight_hh": params.w_hh.weight.T,
        "bias_hh": params.w_hh.bias,
    }


def attended(params: Any) -> dict[str, Any]:
    into = [params.query, params.key, params.value]
    return {
        "in_proj_weight": np.concatenate([p.weight.T for p in into]),
        "in_proj_bias": np.concatenate([p.bias for p in into]),
        **linear(params.output, "out_proj."),
    }


@attrs.frozen(eq=False)
class Kind:
    """A layer with inputs for it, and how PyTorch has it."""

    layer: Any
    shapes: tuple[tuple[int, ...], ...]  # of the inputs
    theirs: Callable[[Any], Any]  # torch to a module or a function
    names: Callable[[Any], dict[str, Any]] = lambda p: dict(attrs.asdict(p)) if p else {}
    call: Callable[..., Any] = lambda layer, params, *xs: layer(params, *xs)
    call_theirs: Callable[..., Any] = lambda module, *xs: module(*xs)

    def fn(self, params: Any, *xs: Any) -> Any:
        return self.call(self.layer, params, *xs)

    def arguments(self, seed: int = 0, dtype: Any = float) -> tuple[Any, ...]:
        """Parameters that are all different, none of them 0, and inputs without ties."""
        rng = np.random.default_rng(seed)
        params = tg.tree.map(
            lambda p: (p + rng.normal(size=p.shape) / 4).astype(dtype), self.layer.init(seed, dtype)
        )
        return params, *(rng.normal(size=shape).astype(dtype) for shape in self.shapes)


def trained(layer: Any, params: Any, x: Any) -> Any:
    y, state = layer(params, x, layer.initial_state(), training=True)
    return y, state.mean, state.variance


def trained_theirs(module: Any, x: Any) -> Any:
    return module.train()(x), module.running_mean, module.running_var


def with_statistics(layer: Any, params: Any, x: Any) -> Any:
    state = tg.nn.normalization.BatchNormState(np.full(3, 0.5), np.full(3, 2.0))
    return layer(params, x, state)[0]


def with_statistics_theirs(module: Any, x: Any) -> Any:
    module.running_mean.fill_(0.5)
    module.running_var.fill_(2.0)
    return module.eval()(x)


def attends(**given: Any) -> Callable[..., Any]:
    return lambda module, x, memory: module(x, memory, memory, need_weights=False, **given)[0]


def causal_theirs(module: Any, x: Any) -> Any:
    import torch

    later = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
    return module(x, x, x, attn_mask=later, need_weights=False)[0]


LAST = np.array([[True, True, False, True], [True, True, True, True]])


def padded_theirs(module: Any, x: Any, memory: Any) -> Any:
    import torch

    hidden = torch.tensor(~LAST)
    return module(x, memory, memory, key_padding_mask=hidden, need_weights=False)[0]


nn = tg.nn
KINDS = {
    "linear": Kind(nn.Linear(3, 4), ((2, 3),), lambda t: t.nn.Linear(3, 4), linear),
    "conv1d": Kind(nn.Conv1d(2, 3, 3), ((2, 2, 6),), lambda t: t.nn.Conv1d(2, 3, 3)),
    "conv1d, all": Kind(
        nn.Conv1d(4, 6, 2, stride=3, padding=1, groups=2),
        ((2, 4, 7),),
        lambda t: t.nn.Conv1d(4, 6, 2, stride=3, padding=1, groups=2),
    ),
    "conv2d": Kind(nn.Conv2d(1, 2, 3), ((2, 1, 4, 5),), lambda t: t.nn.Conv2d(1, 2, 3)),
    "conv2d, all": Kind(
        nn.Conv2d(4, 2, (2, 3), stride=(2, 1), padding=(0, 2), groups=2),
        ((2, 4, 5, 3),),
        lambda t: t.nn.Conv2d(4, 2, (2, 3), stride=(2, 1), padding=(0, 2), groups=2),
    ),
    "depthwise": Kind(
        nn.Conv2d(3, 6, 2, padding=1, groups=3),
        ((1, 3, 3, 3),),
        lambda t: t.nn.Conv2d(3, 6, 2, padding=1, groups=3),
    ),
    "max pool": Kind(nn.MaxPool2d(2), ((2, 3, 4, 5),), lambda t: t.nn.MaxPool2d(2)),
    "max pool, overlapping": Kind(
        nn.MaxPool2d((3, 2), stride=1), ((1, 2, 4, 4),), lambda t: t.nn.MaxPool2d((3, 2), stride=1)
    ),
    "mean pool": Kind(nn.AvgPool2d(2), ((2, 3, 4, 5),), lambda t: t.nn.AvgPool2d(2)),
    "mean pool, overlapping": Kind(
        nn.AvgPool2d(3, stride=(1, 2)), ((1, 2, 4, 5),), lambda t: t.nn.AvgPool2d(3, (1, 2))
    ),
    "flatten": Kind(nn.Flatten(), ((2, 3, 1, 2),), lambda t: t.nn.Flatten()),
    "layer norm": Kind(nn.LayerNorm(4), ((2, 3, 4),), lambda t: t.nn.LayerNorm(4)),
    "rms norm": Kind(nn.RMSNorm(4), ((2, 3, 4),), lambda t: t.nn.RMSNorm(4, eps=1e-6)),
    "batch norm, training": Kind(
        nn.BatchNorm(3),
        ((4, 3),),
        lambda t: t.nn.BatchNorm1d(3),
        call=trained,
        call_theirs=trained_theirs,
    ),
    "batch norm of images, training": Kind(
        nn.BatchNorm(3, momentum=0.25, epsilon=1e-3),
        ((2, 3, 2, 2),),
        lambda t: t.nn.BatchNorm2d(3, momentum=0.25, eps=1e-3),
        call=trained,
        call_theirs=trained_theirs,
    ),
    "batch norm": Kind(
        nn.BatchNorm(3),
        ((2, 3, 2, 2),),
        lambda t: t.nn.BatchNorm2d(3),
        call=with_statistics,
        call_theirs=with_statistics_theirs,
    ),
    "gru": Kind(
        nn.GRUCell(3, 2),
        ((4, 3), (4, 2)),
        lambda t: t.nn.GRUCell(3, 2),
        gates,
        call=lambda layer, params, x, h: layer(params, x, h)[1],
    ),
    "lstm": Kind(
        nn.LSTMCell(3, 2),
        ((4, 3), (4, 2), (4, 2)),
        lambda t: t.nn.LSTMCell(3, 2),
        gates,
        call=lambda layer, params, x, *state: layer(params, x, state)[1],
        call_theirs=lambda module, x, *state: module(x, state),
    ),
    "attention": Kind(
        nn.MultiHeadAttention(4, 2),
        ((2, 3, 4), (2, 5, 4)),
        lambda t: t.nn.MultiheadAttention(4, 2, batch_first=True),
        attended,
        call_theirs=attends(),
    ),
    "causal attention": Kind(
        nn.MultiHeadAttention(4, 2, causal=True),
        ((2, 3, 4),),
        lambda t: t.nn.MultiheadAttention(4, 2, batch_first=True),
        attended,
        call_theirs=causal_theirs,
    ),
    "masked attention": Kind(
        nn.MultiHeadAttention(4, 4),
        ((2, 3, 4), (2, 4, 4)),
        lambda t: t.nn.MultiheadAttention(4, 4, batch_first=True),
        attended,
        call=lambda layer, params, x, memory: layer(params, x, memory, LAST[:, None, :]),
        call_theirs=padded_theirs,
    ),
    "gelu": Kind(nn.Gelu(), ((5,),), lambda t: t.nn.GELU()),
    "gelu by tanh": Kind(nn.Gelu(True), ((5,),), lambda t: t.nn.GELU("tanh")),
    "silu": Kind(nn.Silu(), ((5,),), lambda t: t.nn.SiLU()),
    "leaky relu": Kind(nn.LeakyRelu(0.2), ((5,),), lambda t: t.nn.LeakyReLU(0.2)),
    "elu": Kind(nn.Elu(0.5), ((5,),), lambda t: t.nn.ELU(0.5)),
    "softmax": Kind(nn.Softmax(0), ((2, 3),), lambda t: t.nn.Softmax(0)),
    "log softmax": Kind(nn.LogSoftmax(), ((2, 3),), lambda t: t.nn.LogSoftmax(-1)),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


# --- values and gradients -----------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("seed", [0, 1])
def test_values_and_gradients_are_pytorchs(kind: Kind, seed: int) -> None:
    torch = pytest.importorskip("torch")
    params, *xs = kind.arguments(seed)
    module = kind.theirs(torch).double()
    with torch.no_grad():
        for name, p in kind.names(params).items():
            module.get_parameter(name).copy_(torch.tensor(np.array(p)))
    inputs = [torch.tensor(x, requires_grad=True) for x in xs]
    expected = tg.tree.leaves(kind.call_theirs(module, *inputs))
    output, pullback = tg.vjp(kind.fn, params, *xs)
    rng = np.random.default_rng(2)
    cotangents = [rng.normal(size=y.shape) for y in tg.tree.leaves(output)]
    _, structure = tg.tree.flatten(output)
    loss = sum(
        (y * torch.tensor(g)).sum()
        for y, g in zip(expected, cotangents, strict=True)
        if y.requires_grad
    )
    loss.backward()
    close = {"rtol": 1e-10, "atol": 1e-10}
    for y, want in zip(tg.tree.leaves(output), expected, strict=True):
        np.testing.assert_allclose(y, want.detach().numpy(), **close)
    g, *gs = pullback(tg.tree.unflatten(structure, cotangents))
    for got, x in zip(gs, inputs, strict=True):
        np.testing.assert_allclose(got, x.grad.numpy(), **close)
    for name, got in kind.names(g).items():
        np.testing.assert_allclose(got, module.get_parameter(name).grad.numpy(), **close)


@every_kind
def test_derivatives_are_those_of_differences_and_have_the_properties_of_any(kind: Kind) -> None:
    args = kind.arguments()
    first = lambda *args: tg.tree.leaves(kind.fn(*args))[0]  # noqa: E731
    check_grads(first, args, order=1)
    check_properties(first, args, compiled=True)


@every_kind
def test_float32_stays_float32(kind: Kind) -> None:
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
def test_a_layer_is_a_value_and_its_parameters_hang_on_the_key_alone(kind: Kind) -> None:
    layer = kind.layer
    fields = {f.name: getattr(layer, f.name) for f in attrs.fields(type(layer))}
    assert type(layer)(**fields) == layer
    assert hash(type(layer)(**fields)) == hash(layer)
    assert tg.tree.leaves(layer) == [layer]
    one, same = (tg.tree.leaves(layer.init(3)) for _ in range(2))
    assert [p.tobytes() for p in one] == [p.tobytes() for p in same]
    assert not any(p.flags.writeable for p in one)
    assert all(p.dtype == np.float32 for p in tg.tree.leaves(layer.init(0, np.float32)))


@given(
    side=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    groups=st.integers(1, 3),
    inner=st.integers(1, 2),
    batch=st.integers(0, 2),
)
def test_a_convolution_is_its_sum(
    side: Any, size: Any, stride: Any, padding: Any, groups: int, inner: int, batch: int
) -> None:
    counts = [
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(side, size, stride, padding, strict=True)
    ]
    layer = nn.Conv2d(groups * inner, 2 * groups, size, stride, padding, groups)
    rng = np.random.default_rng(0)
    params = tg.tree.map(lambda p: rng.normal(size=p.shape), layer.init(0))
    x = rng.normal(size=(batch, groups * inner, *side))
    if min(counts) < 1:
        with pytest.raises(ValueError, match="fits"):
            layer(params, x)
        return
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    want = np.zeros((batch, 2 * groups, *counts))
    for out in range(2 * groups):
        channels = slice(out // 2 * inner, (out // 2 + 1) * inner)
        for place in np.ndindex(*counts):
            part = tuple(
                slice(i * s, i * s + k) for i, s, k in zip(place, stride, size, strict=True)
            )
            products = padded[:, channels, *part] * params.weight[out]
            want[:, out, *place] = products.sum(axis=(1, 2, 3)) + params.bias[out]
    np.testing.assert_allclose(layer(params, x), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_patches_of_many_small_images_are_added_as_those_of_each(stride: Any) -> None:
    values = patches(np.arange(30 * 63.0).reshape(5, 6, 7, 9), (3, 2), stride)
    got = add_patches(values, (7, 9), stride)
    assert got.flags.c_contiguous
    for place in np.ndindex(5, 6):
        np.testing.assert_array_equal(got[place], add_patches(values[place], (7, 9), stride))


def test_elements_of_a_patch_that_tie_share_the_gradient() -> None:
    pool = nn.MaxPool2d(2)
    x = np.array([[[[1.0, 1.0], [1.0, 0.0]]]])
    g = tg.grad(lambda x: tg.sum(pool(None, x)))(x)
    np.testing.assert_array_equal(g, [[[[1 / 3, 1 / 3], [1 / 3, 0]]]])


def test_a_query_that_may_look_nowhere_gives_no_nan() -> None:
    x = np.arange(6.0).reshape(3, 2)
    nowhere = np.zeros((3, 3), bool)
    value, g = tg.value_and_grad(lambda x: tg.sum(nn.attention(x, x, x, nowhere)))(x)
    np.testing.assert_allclose(value, x.sum())
    assert np.isfinite(g).all()


def test_what_is_later_does_not_change_causal_attention() -> None:
    layer = nn.MultiHeadAttention(4, 2, causal=True)
    params, x = KINDS["causal attention"].arguments()
    changed = np.concatenate([x[:, :2], x[:, 2:] + 5], axis=1)
    np.testing.assert_array_equal(layer(params, x)[:, :2], layer(params, changed)[:, :2])
    both = np.array([[True, False, False]] * 3)
    np.testing.assert_allclose(layer(params, x, mask=both)[:, 2], layer(params, x[:, :1])[:, 0])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [float, np.float32, int])
def test_a_mask_of_numbers_is_refused(causal: bool, dtype: Any) -> None:
    layer = nn.MultiHeadAttention(4, 2, causal=causal)
    params, x = layer.init(0), np.ones((3, 4))
    added = np.zeros((3, 3), dtype)  # elsewhere added to scores, where 0 lets a query look
    for mask in (added, added.tolist()):
        with pytest.raises(TypeError, match="mask == 0"):
            layer(params, x, mask=mask)
        with pytest.raises(TypeError, match="mask == 0"):
            nn.attention(x, x, x, mask)
    np.testing.assert_array_equal(layer(params, x, mask=added == 0), layer(params, x))


@given(
    st.sampled_from([(), (1,), (2,), (3, 1)]), st.sampled_from([(), (2,), (3, 2)]), st.booleans()
)
def test_leading_axes_of_attention_broadcast(mine: Any, others: Any, masked: bool) -> None:
    layer = nn.MultiHeadAttention(4, 2)
    params, rng = layer.init(0), np.random.default_rng(0)
    x, memory = rng.normal(size=(*mine, 3, 4)), rng.normal(size=(*others, 5, 4))
    mask = rng.random((*others, 3, 5)) < 0.7 if masked else None
    leading = np.broadcast_shapes(mine, others)
    got = layer(params, x, memory, mask)
    whole = None if mask is None else np.broadcast_to(mask, (*leading, 3, 5))
    want = layer(
        params,
        np.broadcast_to(x, (*leading, 3, 4)),
        np.broadcast_to(memory, (*leading, 5, 4)),
        whole,
    )
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "memory", "mask"),
    [
        ((4,), None, None),
        ((2, 3, 4), (4,), None),
        ((2, 3, 4), (3, 5, 4), None),
        ((2, 3, 4), None, (2, 3)),
        ((2, 3, 4), None, (2, 4, 3, 3)),
        ((3, 4), (5, 4), (5, 3)),
        ((3, 4), None, (2, 3, 3)),
    ],
)
def test_shapes_that_do_not_fit_attention_are_named(x: Any, memory: Any, mask: Any) -> None:
    layer = nn.MultiHeadAttention(4, 2)
    given_memory = None if memory is None else np.ones(memory)
    given_mask = None if mask is None else np.ones(mask, bool)
    with pytest.raises(
        ValueError, match=f"MultiHeadAttention.*{re.escape(str(mask or memory or x))}"
    ):
        layer(layer.init(0), np.ones(x), given_memory, given_mask)


def test_running_statistics_have_no_gradient_and_keep_their_dtype() -> None:
    layer = nn.BatchNorm(2)
    params, x = layer.init(0, np.float32), np.arange(6, dtype=np.float32).reshape(3, 2)

    def drift(x: Any) -> Any:
        state = layer(params, x, layer.initial_state(), training=True)[1]
        return tg.sum(state.mean) + tg.sum(state.variance)

    np.testing.assert_array_equal(tg.grad(drift)(x), np.zeros((3, 2)))
    for state in (layer.initial_state(), layer.initial_state(np.float32)):
        y, after = layer(params, x, state, training=True)
        assert y.dtype == layer(params, x, after)[0].dtype == np.float32
        assert after.mean.dtype == state.mean.dtype
        assert layer(params, x, after)[1] is after


# --- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "n_inputs=3"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "n_outputs=3"),
        (lambda: nn.Conv2d(3, 4, 0), "size"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "tuple of 2"),
        (lambda: nn.Conv1d(3, 4, 3, stride=(1, 1)), "stride"),
        (lambda: nn.Conv1d(3, 4, 3, padding=-1), "padding"),
        (lambda: nn.Conv1d(3, 4, True), "size"),
        (lambda: nn.Conv1d(0, 4, 3), "n_inputs"),
        (lambda: nn.MaxPool2d(2, stride=0), "stride"),
        (lambda: nn.AvgPool2d(1.5), "size"),
        (lambda: nn.LayerNorm(3, epsilon=0.0), "epsilon"),
        (lambda: nn.BatchNorm(3, momentum="0.1"), "momentum"),
        (lambda: nn.MultiHeadAttention(4, 3), "heads=3"),
        (lambda: nn.GRUCell(3, 0), "n_hidden"),
    ],
)
def test_a_layer_that_cannot_be_is_refused_with_the_arguments_name(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("convolution", [nn.Conv1d, nn.Conv2d])
def test_former_names_of_arguments_are_accepted_and_read(convolution: Any) -> None:
    layer = convolution(4, 6, 3, groups=2)
    assert convolution(n_in=4, n_out=6, size=3, groups=2) == layer
    assert convolution(4, n_out=6, size=3, groups=2) == layer
    assert (layer.n_in, layer.n_out) == (4, 6)
    assert list(inspect.signature(convolution).parameters)[:2] == ["n_inputs", "n_outputs"]
    with pytest.raises(TypeError, match="n_inputs twice: n_in is its former name"):
        convolution(n_inputs=4, n_in=4, n_outputs=6, size=3)
    with pytest.raises(TypeError, match="multiple values for argument 'n_inputs'"):
        convolution(4, n_in=4, n_outputs=6, size=3)


WITH_PARAMETERS = [name for name, kind in KINDS.items() if kind.layer.init(0) is not None]


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_wrong_parameters_and_shapes_are_refused_by_the_layers_name(name: str) -> None:
    kind = KINDS[name]
    params, x, *others = kind.arguments()
    title = type(kind.layer).__name__
    with pytest.raises(TypeError, match=title):
        kind.fn(tuple(tg.tree.leaves(params)), x, *others)
    longer = tg.tree.map(lambda p: np.concatenate([p, p]), params)
    with pytest.raises(ValueError, match=title):
        kind.fn(longer, x, *others)
    with pytest.raises(ValueError, match=title):
        kind.fn(params, np.ones((2, 9)), *others)


def test_what_is_shared_out_is_shared_out_along_the_last_axis_and_flat_is_all_but_the_first():
    x = np.arange(24.0).reshape(2, 3, 4) ** 0.5
    for shares in (nn.Softmax()(None, x), np.exp(nn.LogSoftmax()(None, x))):
        np.testing.assert_allclose(np.sum(shares, axis=-1), np.ones((2, 3)))
    np.testing.assert_array_equal(nn.Flatten()(None, x), x.reshape(2, 12))


@pytest.mark.parametrize(("layer", "n"), [(nn.Conv1d(8, 60, 5), 40), (nn.Conv2d(4, 60, 3), 36)])
def test_a_kernel_is_drawn_by_how_many_numbers_it_sums(layer, n):
    params = layer.init(0)
    assert np.std(params.weight) == pytest.approx((2 / n) ** 0.5, rel=0.1)
    np.testing.assert_array_equal(params.bias, np.zeros(60))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.Flatten(), nn.Relu(), nn.MaxPool2d(1)])
def test_a_layer_without_parameters_takes_none(layer: Any) -> None:
    # layer(x) or layer(x, key), with the parameters forgotten
    with pytest.raises(TypeError, match=rf"{type(layer).__name__}.*layer\(None, x\)"):
        layer(np.ones((2, 2)), tg.random.key(0))


@pytest.mark.parametrize("n_axes", [0, 1])
def test_pools_and_flatten_name_an_input_with_too_few_axes(n_axes: int) -> None:
    x = np.ones((4,) * n_axes)
    for pool in (nn.MaxPool2d(2), nn.AvgPool2d((1, 2))):
        with pytest.raises(ValueError, match=re.escape(f"shape {x.shape}")):
            pool(None, x)
    with pytest.raises(ValueError, match=r"Flatten.*axis"):
        nn.Flatten()(None, 1.0)


def test_what_a_call_lacks_is_said() -> None:
    norm, cell = nn.BatchNorm(2), nn.LSTMCell(2, 2)
    with pytest.raises(TypeError, match="state"):
        norm(norm.init(0), np.ones((3, 2)), None)
    with pytest.raises(ValueError, match="two numbers for each channel"):
        norm(norm.init(0), np.ones((1, 2)), norm.initial_state(), training=True)
    with pytest.raises(TypeError, match="pair"):
        cell(cell.init(0), np.ones((1, 2)), np.ones((1, 2)))


@pytest.mark.parametrize("cell", [nn.RNNCell(3, 2, 2), nn.GRUCell(3, 2), nn.LSTMCell(3, 2)])
def test_a_state_in_float64_widens_no_model_of_float32(cell: Any) -> None:
    params, x = cell.init(0, np.float32), np.ones((4, 3), np.float32)
    output, state = cell(params, x, cell.initial_hidden(4))
    again = cell(params, x, state)
    assert {y.dtype for y in tg.tree.leaves((output, state, again))} == {np.dtype(np.float32)}


# --- what a Sequential hands on ------------------------------------------------------------


def test_a_sequential_splits_its_key_among_the_layers_that_need_one() -> None:
    inner = nn.Sequential(np.tanh, nn.Dropout(0.5))
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 40), inner, nn.Dropout(0.5))
    params, x, key = model.init(0), np.ones((20, 50)), tg.random.key(1)
    np.testing.assert_array_equal(model(params, x), inner(params[2], model.layers[1](params[1], x)))
    k0, k1, k2 = tg.random.split(key, 3)
    y = model.layers[0](None, x, key=k0)
    y = inner(params[2], model.layers[1](params[1], y), key=k1)
    y = model.layers[3](None, y, key=k2)
    np.testing.assert_array_equal(model(params, x, key=key), y)
    # an integer stands for its key; another key drops others
    np.testing.assert_array_equal(model(params, x, key=1), y)
    assert np.any(model(params, x, key=2) != y)
    # a model that needs none does without
    plain = nn.Sequential(nn.Linear(50, 40), np.tanh)
    assert plain.initial_state() is None
    params = nn.Linear(50, 40).init(0), None
    np.testing.assert_array_equal(plain(params, x, key=key), plain(params, x))


def test_dropout_draws_with_the_key_of_each_call_of_a_compiled_program() -> None:
    model = nn.Sequential(nn.Linear(6, 50), tg.relu, nn.Dropout(0.4), nn.Linear(50, 3))
    params, x = model.init(0), np.linspace(-1, 1, 24).reshape(4, 6)

    def step(params: Any, x: Any, key: Any) -> Any:
        return tg.value_and_grad(lambda p: tg.sum(model(p, x, key=key) ** 2))(params)

    fast = tg.compile(step)
    values = set()
    for seed in range(3):
        key = tg.random.key(seed)
        value, grads = fast(params, x, key)
        want, want_grads = step(params, x, key)
        values.add(float(value))
        np.testing.assert_allclose(value, want, rtol=1e-12)
        for g, w in zip(tg.tree.leaves(grads), tg.tree.leaves(want_grads), strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-12)
    assert len(values) == 3
    assert len(fast.signatures) == 1


@given(rate=st.floats(0, 0.9), seed=st.integers(0, 1000))
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float, seed: int) -> None:
    x = np.linspace(1, 2, 4000)
    y = nn.Dropout(rate)(None, x, key=seed)
    kept = y != 0
    np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-12)
    assert abs(np.mean(kept) - (1 - rate)) < 0.05
    g = tg.grad(lambda x: tg.sum(nn.Dropout(rate)(None, x, key=seed)))(x)
    np.testing.assert_array_equal(g, np.where(kept, 1 / (1 - rate), 0))


def test_a_rate_is_any_real_number_below_one() -> None:
    assert nn.Dropout(np.float32(0.5)) == nn.Dropout(0.5)
    for rate in (1, -0.1, True, "0.5", np.bool_(True), np.nan, 0.5j):
        with pytest.raises(ValueError, match="rate must be a number"):
            nn.Dropout(rate)


def test_dropout_with_a_key_has_the_properties_of_any_function() -> None:
    def dropped(x: Any) -> Any:
        return nn.Dropout(0.5)(None, x, key=3) ** 2

    x = np.linspace(-1, 1, 12).reshape(3, 4)
    check_grads(dropped, (x,))
    check_properties(dropped, (x,), compiled=True)
    assert dropped(x.astype(np.float32)).dtype == np.float32


def test_a_sequential_with_state_takes_it_and_returns_it() -> None:
    norm, linear = nn.BatchNorm(3), nn.Linear(3, 2)
    inner = nn.Sequential(norm, np.tanh)
    model = nn.Sequential(inner, linear, nn.BatchNorm(2), nn.Dropout(0.5))
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


def test_a_state_goes_through_compiled_training_steps() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), tg.relu, nn.Linear(4, 1))
    params, state = model.init(0), model.initial_state()
    x = np.random.default_rng(0).normal(size=(8, 3))

    def step(params: Any, state: Any, x: Any) -> Any:
        def loss(p: Any) -> Any:
            y, after = model(p, x, state, training=True)
            return tg.mean(y**2), after

        (value, after), grads = tg.value_and_grad(loss, has_aux=True)(params)
        return value, tg.tree.map(lambda p, g: p - 0.1 * g, params, grads), after

    fast = tg.compile(step)
    recorded = compiled = params, state
    for _ in range(3):
        recorded, compiled = step(*recorded, x)[1:], fast(*compiled, x)[1:]
    for got, want in zip(tg.tree.leaves(compiled), tg.tree.leaves(recorded), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_a_layer_of_the_users_gets_what_its_call_asks_for() -> None:
    class Noise:
        def init(self, key: Any, dtype: Any = float) -> None:
            return None

        def __call__(self, params: None, x: Any, *, key: Any = None, training: bool = False) -> Any:
            return x + tg.random.normal(key, x.shape) if training and key is not None else x

    model = nn.Sequential(Noise(), np.tanh)
    params, x, key = model.init(0), np.zeros(3), tg.random.key(5)
    np.testing.assert_array_equal(model(params, x, key=key), np.zeros(3))
    (mine,) = tg.random.split(key, 1)
    want = np.tanh(tg.random.normal(mine, (3,)))
    np.testing.assert_array_equal(model(params, x, training=True, key=key), want)

    class Decorated(Noise):
        @functools.wraps(Noise.__call__)
        def __call__(self, *args: Any, **options: Any) -> Any:
            return Noise.__call__(self, *args, **options)

    model = nn.Sequential(Decorated(), np.tanh)
    np.testing.assert_array_equal(model(params, x, training=True, key=key), want)


# --- losses -------------------------------------------------------------------------------

LOSSES = {
    "l1": (nn.l1_loss, lambda t: t.nn.functional.l1_loss, {}),
    "huber": (nn.huber_loss, lambda t: t.nn.functional.huber_loss, {"delta": 0.75}),
    "huber, wide": (nn.huber_loss, lambda t: t.nn.functional.huber_loss, {}),
    "binary": (
        nn.binary_cross_entropy_loss,
        lambda t: t.nn.functional.binary_cross_entropy_with_logits,
        {},
    ),
    "kl": (
        nn.kl_loss,
        lambda t: (
            lambda x, target, reduction: (
                t.nn.functional.kl_div(
                    x.log_softmax(-1),
                    target,
                    reduction={"mean": "batchmean"}.get(reduction, reduction),
                )
                if reduction != "none"
                else t.nn.functional.kl_div(x.log_softmax(-1), target, reduction="none").sum(-1)
            )
        ),
        {},
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients_are_pytorchs(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs, given = LOSSES[name]
    rng = np.random.default_rng(0)
    x, targets = 2 * rng.normal(size=(4, 3)), rng.uniform(size=(4, 3))
    if name == "kl":
        targets[0] = [0, 1, 0]
        targets /= targets.sum(axis=-1, keepdims=True)
    tensor = torch.tensor(x, requires_grad=True)
    want = theirs(torch)(tensor, torch.tensor(targets), reduction=reduction, **given)
    cotangent = rng.normal(size=want.shape)
    want.backward(torch.tensor(cotangent))
    y, pullback = tg.vjp(lambda x: ours(x, targets, reduction=reduction, **given), x)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(pullback(cotangent)[0], tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_properties_of_any_function(name: str) -> None:
    loss, _, given = LOSSES[name]
    rng = np.random.default_rng(1)
    x, targets = 2 * rng.normal(size=(2, 3)), rng.uniform(0.25, 0.75, size=(2, 3))
    fn = lambda x, targets: loss(x, targets, **given)  # noqa: E731
    check_grads(fn, (x, targets), order=1 if "huber" in name else 2)
    check_properties(fn, (x, targets), compiled=True)
    narrow = tg.grad(fn)(x.astype(np.float32), targets.astype(np.float32))
    assert narrow.dtype == np.float32
    assert fn(x.astype(np.float32), targets.astype(np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=loss.__name__):
        fn(x, targets[:1])
    with pytest.raises(ValueError, match="reduction"):
        loss(x, targets, reduction="all")


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_binary_cross_entropy_is_stable(size: float) -> None:
    logits, targets = np.array([size, -size, size, -size]), np.array([0, 1, 1, 0])
    losses = nn.binary_cross_entropy_loss(logits, targets, reduction="none")
    np.testing.assert_allclose(losses, [size, size, np.exp(-size), np.exp(-size)], rtol=1e-12)
    g = tg.grad(nn.binary_cross_entropy_loss)(logits, targets, reduction="sum")
    np.testing.assert_allclose(g, [1, -1, -np.exp(-size), np.exp(-size)], rtol=1e-12)
    assert nn.binary_cross_entropy_loss(logits.astype(np.float32), targets).dtype == np.float32


@given(st.integers(0, 100), st.sampled_from([(), (5,), (2, 3)]))
def test_accuracy_counts_what_is_right(seed: int, shape: Any) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(*shape, 3)), rng.integers(0, 3, shape)
    want = np.mean(np.argmax(logits, axis=-1) == labels)
    assert nn.accuracy(logits, labels) == want
    assert tg.compile(nn.accuracy)(logits, labels) == want
    with pytest.raises(ValueError, match="labels"):
        nn.accuracy(logits, np.zeros((*shape, 1), int))
    with pytest.raises(ValueError, match="classes"):
        nn.accuracy(np.array(0.0), np.array(0))
