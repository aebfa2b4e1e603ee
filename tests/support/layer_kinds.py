"""A layer of every kind with inputs for it."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

import tapegrad as tg
from tapegrad.types import Array, DTypeLike, PyTree

nn = tg.nn


@attrs.frozen(eq=False)
class Kind:
    """A layer with inputs for it."""

    layer: Any
    shapes: tuple[tuple[int, ...], ...]  # of the inputs
    call: Callable[..., Any] = lambda layer, params, *xs: layer(params, *xs)

    def fn(self, params: Any, *xs: Any) -> PyTree:
        return self.call(self.layer, params, *xs)

    def arguments(self, seed: int = 0, dtype: DTypeLike = float) -> tuple[Any, ...]:
        """Parameters that are all different, none of them 0, and inputs without ties."""
        rng = np.random.default_rng(seed)
        params = tg.tree.map(
            lambda p: (p + rng.normal(size=p.shape) / 4).astype(dtype), self.layer.init(seed, dtype)
        )
        return params, *(rng.normal(size=shape).astype(dtype) for shape in self.shapes)


def train_layer(layer: tg.nn.BatchNorm, params: Any, x: Array) -> tuple[Array, Array, Array]:
    y, state = layer(params, x, layer.initial_state(), training=True)
    return y, state.mean, state.variance


def with_statistics(layer: tg.nn.BatchNorm, params: Any, x: Array) -> Array:
    state = tg.nn.normalization.BatchNormState(np.full(3, 0.5), np.full(3, 2.0))
    return layer(params, x, state)[0]


LAST = np.array([[True, True, False, True], [True, True, True, True]])
KINDS = {
    "linear": Kind(nn.Linear(3, 4), ((2, 5, 3),)),
    "linear, of a row": Kind(nn.Linear(3, 4), ((3,),)),
    "conv1d": Kind(nn.Conv1d(2, 3, 3), ((2, 2, 6),)),
    "conv2d": Kind(nn.Conv2d(1, 2, 3), ((2, 1, 4, 5),)),
    "conv2d, all": Kind(
        nn.Conv2d(4, 2, (2, 3), stride=(2, 1), padding=(0, 2), groups=2), ((2, 4, 5, 3),)
    ),
    "max pool": Kind(nn.MaxPool2d(2), ((2, 3, 4, 5),)),
    "max pool, overlapping": Kind(nn.MaxPool2d((3, 2), stride=1), ((1, 2, 4, 4),)),
    "mean pool": Kind(nn.AvgPool2d(2), ((2, 3, 4, 5),)),
    "flatten": Kind(nn.Flatten(), ((2, 3, 1, 2),)),
    "layer norm": Kind(nn.LayerNorm(4), ((2, 3, 4),)),
    "rms norm": Kind(nn.RMSNorm(4), ((2, 3, 4),)),
    "batch norm, training": Kind(nn.BatchNorm(3), ((4, 3),), train_layer),
    "batch norm": Kind(nn.BatchNorm(3), ((2, 3, 2, 2),), with_statistics),
    "rnn": Kind(nn.RNNCell(2, 3, 4), ((5, 2), (5, 3))),
    "rnn by tanh": Kind(nn.RNNCell(2, 3, 4, activation="tanh"), ((5, 2), (5, 3))),
    "gru": Kind(nn.GRUCell(3, 2), ((4, 3), (4, 2))),
    "lstm": Kind(
        nn.LSTMCell(3, 2),
        ((4, 3), (4, 2), (4, 2)),
        lambda layer, params, x, *state: layer(params, x, state),
    ),
    "attention": Kind(nn.MultiHeadAttention(4, 2), ((2, 3, 4), (2, 5, 4))),
    "causal attention": Kind(nn.MultiHeadAttention(4, 2, causal=True), ((2, 3, 4),)),
    "masked attention": Kind(
        nn.MultiHeadAttention(4, 4),
        ((2, 3, 4), (2, 4, 4)),
        lambda layer, params, x, memory: layer(params, x, memory, LAST[:, None, :]),
    ),
    "tanh": Kind(nn.Tanh(), ((5,),)),
    "sigmoid": Kind(nn.Sigmoid(), ((5,),)),
    "relu": Kind(nn.Relu(), ((5,),)),
    "gelu": Kind(nn.Gelu(), ((5,),)),
    "gelu by tanh": Kind(nn.Gelu(True), ((5,),)),
    "silu": Kind(nn.Silu(), ((5,),)),
    "leaky relu": Kind(nn.LeakyRelu(0.2), ((5,),)),
    "elu": Kind(nn.Elu(0.5), ((5,),)),
    "softmax": Kind(nn.Softmax(), ((2, 3),)),
    "softmax of columns": Kind(nn.Softmax(0), ((2, 3),)),
    "log softmax": Kind(nn.LogSoftmax(), ((2, 3),)),
}
