"""An LSTM."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import normal, sigmoid


def lstm_step(ops: Ops, params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    """Take one step: the new hidden state and cell."""
    w_x, w_h, b = params
    z = ops.affine(x, w_x, b) + h @ w_h
    n = h.shape[1]
    i, f = ops.sigmoid(z[:, :n]), ops.sigmoid(z[:, n : 2 * n])
    g, o = ops.numpy.tanh(z[:, 2 * n : 3 * n]), ops.sigmoid(z[:, 3 * n :])
    c = f * c + i * g
    return o * ops.numpy.tanh(c), c


def lstm_loss(ops: Ops, params: Any, x: Any, start: Any, targets: Any) -> Any:
    """Take the steps one after another; the mean square of the last hidden state."""
    h = c = start
    for t in range(x.shape[0]):
        h, c = lstm_step(ops, params, x[t], h, c)
    d = h - targets
    return ops.numpy.mean(d * d)


def lstm_by_hand(params: Any, x: Array, start: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`lstm_loss` and its gradients."""
    w_x, w_h, b = params
    n = start.shape[1]
    h = c = start
    saved = []
    for x_t in x:
        z = x_t @ w_x + h @ w_h + b
        i, f = sigmoid(z[:, :n]), sigmoid(z[:, n : 2 * n])
        g, o = np.tanh(z[:, 2 * n : 3 * n]), sigmoid(z[:, 3 * n :])
        before = h, c
        c = f * c + i * g
        u = np.tanh(c)
        h = o * u
        saved.append((x_t, *before, i, f, g, o, u))
    d = h - targets
    dh, dc = 2 * d / d.size, np.zeros_like(c)
    d_x, d_h, db = (np.zeros_like(p) for p in params)
    for x_t, h_t, c_t, i, f, g, o, u in reversed(saved):
        dc = dc + dh * o * (1 - u * u)
        gates = [dc * g * i * (1 - i), dc * c_t * f * (1 - f), dc * i * (1 - g * g)]
        dz = np.concatenate([*gates, dh * u * o * (1 - o)], axis=1)
        d_x += x_t.T @ dz
        d_h += h_t.T @ dz
        db += dz.sum(axis=0)
        dh = dz @ w_h.T
        dc = dc * f
    return np.mean(d * d), [d_x, d_h, db]


def lstm() -> Workload:
    """Make an LSTM with the gates side by side in its weights, split by slices."""
    rng = np.random.default_rng(4)
    params = tuple(normal(rng, *shape) * 0.1 for shape in ((128, 512), (128, 512), (512,)))
    data = (normal(rng, 20, 32, 128), np.zeros((32, 128), np.float32), normal(rng, 32, 128))
    title = "LSTM, batch 32, hidden 128, 20 steps, f32"
    peers = ("autograd", "torch", "jax")
    return Workload(title, params, data, lstm_loss, lstm_by_hand, 0.5, peers=peers)
