"""A layer of every kind with inputs for it, and how PyTorch has it."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

import tapegrad as tg

nn = tg.nn


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


KINDS = {
    "linear": Kind(nn.Linear(3, 4), ((2, 3),), lambda t: t.nn.Linear(3, 4), linear),
    "conv1d": Kind(nn.Conv1d(2, 3, 3), ((2, 2, 6),), lambda t: t.nn.Conv1d(2, 3, 3)),
    "conv2d": Kind(nn.Conv2d(1, 2, 3), ((2, 1, 4, 5),), lambda t: t.nn.Conv2d(1, 2, 3)),
    "conv2d, all": Kind(
        nn.Conv2d(4, 2, (2, 3), stride=(2, 1), padding=(0, 2), groups=2),
        ((2, 4, 5, 3),),
        lambda t: t.nn.Conv2d(4, 2, (2, 3), stride=(2, 1), padding=(0, 2), groups=2),
    ),
    "max pool": Kind(nn.MaxPool2d(2), ((2, 3, 4, 5),), lambda t: t.nn.MaxPool2d(2)),
    "max pool, overlapping": Kind(
        nn.MaxPool2d((3, 2), stride=1), ((1, 2, 4, 4),), lambda t: t.nn.MaxPool2d((3, 2), stride=1)
    ),
    "mean pool": Kind(nn.AvgPool2d(2), ((2, 3, 4, 5),), lambda t: t.nn.AvgPool2d(2)),
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
