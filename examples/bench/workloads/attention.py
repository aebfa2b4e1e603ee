"""A transformer layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import normal

N_HEADS = 4


def _heads(x: Any, batch: int) -> Any:
    return x.reshape(batch, -1, N_HEADS, x.shape[-1] // N_HEADS).swapaxes(1, 2)


def attention_loss(ops: Ops, params: Any, x: Any, targets: Any) -> Any:
    """Attention and feed-forward with residuals, and the mean square."""
    w_q, w_k, w_v, w_o, w_1, w_2 = params
    q, k, v = (_heads(x @ w, x.shape[0]) for w in (w_q, w_k, w_v))
    a = x + ops.attention(q, k, v).swapaxes(1, 2).reshape(*x.shape) @ w_o
    d = a + ops.relu(a @ w_1) @ w_2 - targets
    return ops.numpy.mean(d * d)


def attention_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`attention_loss` and its gradients."""
    w_q, w_k, w_v, w_o, w_1, w_2 = params
    batch, width = len(x), x.shape[-1]
    scale = 1 / math.sqrt(width // N_HEADS)
    x, targets = x.reshape(-1, width), targets.reshape(-1, width)
    q, k, v = (_heads(x @ w, batch) for w in (w_q, w_k, w_v))
    scores = q @ k.swapaxes(-1, -2) * scale
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    mixed = (p @ v).swapaxes(1, 2).reshape(-1, width)
    a = x + mixed @ w_o
    r = np.maximum(a @ w_1, 0)
    d = a + r @ w_2 - targets
    g = 2 * d / d.size
    dr = g @ w_2.T * (r > 0)
    da = g + dr @ w_1.T
    dm = _heads(da @ w_o.T, batch)
    dp = dm @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
    dq, dk, dv = ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dm
    d_qkv = [x.T @ dy.swapaxes(1, 2).reshape(-1, width) for dy in (dq, dk, dv)]
    return np.mean(d * d), [*d_qkv, mixed.T @ da, a.T @ dr, r.T @ g]


def attention() -> Workload:
    """Make a transformer layer with residuals, without biases."""
    rng = np.random.default_rng(6)
    shapes = [(64, 64)] * 4 + [(64, 128), (128, 64)]
    params = tuple(normal(rng, *shape) / 8 for shape in shapes)
    data = (normal(rng, 16, 64, 64), normal(rng, 16, 64, 64))
    title = "attention with 4 heads and feed-forward 128, 16 by 64 by 64, f32"
    peers = ("autograd", "torch", "jax")
    return Workload(title, params, data, attention_loss, attention_by_hand, 0.1, peers=peers)
