"""A GRU."""

from __future__ import annotations

from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import normal, sigmoid


def gru_loss(ops: Ops, params: Any, x: Any, start: Any, targets: Any) -> Any:
    """Take the steps one after another; the mean square of the last hidden state."""
    w_x, b_x, w_h, b_h = params
    n, h = start.shape[1], start
    for t in range(x.shape[0]):
        from_x, from_h = ops.affine(x[t], w_x, b_x), ops.affine(h, w_h, b_h)
        gates = ops.sigmoid(from_x[:, : 2 * n] + from_h[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        new = ops.numpy.tanh(from_x[:, 2 * n :] + r * from_h[:, 2 * n :])
        h = new + z * (h - new)
    d = h - targets
    return ops.numpy.mean(d * d)


def gru_by_hand(params: Any, x: Array, start: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`gru_loss` and its gradients."""
    w_x, b_x, w_h, b_h = params
    n, h = start.shape[1], start
    saved = []
    for x_t in x:
        from_x, from_h = x_t @ w_x + b_x, h @ w_h + b_h
        gates = sigmoid(from_x[:, : 2 * n] + from_h[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        new = np.tanh(from_x[:, 2 * n :] + r * from_h[:, 2 * n :])
        saved.append((x_t, h, r, z, new, from_h[:, 2 * n :]))
        h = new + z * (h - new)
    d = h - targets
    dh = 2 * d / d.size
    d_x, db_x, d_h, db_h = (np.zeros_like(p) for p in params)
    for x_t, before, r, z, new, hidden in reversed(saved):
        d_new = dh * (1 - z) * (1 - new * new)
        d_z = dh * (before - new) * z * (1 - z)
        d_r = d_new * hidden * r * (1 - r)
        d_from_x = np.concatenate([d_r, d_z, d_new], axis=1)
        d_from_h = np.concatenate([d_r, d_z, d_new * r], axis=1)
        d_x += x_t.T @ d_from_x
        d_h += before.T @ d_from_h
        db_x += d_from_x.sum(axis=0)
        db_h += d_from_h.sum(axis=0)
        dh = d_from_h @ w_h.T + dh * z
    return np.mean(d * d), [d_x, db_x, d_h, db_h]


def gru() -> Workload:
    """Make a GRU with the gates side by side in its weights."""
    cell = tg.nn.GRUCell(128, 128)

    def model_loss(params: Any, x: Any, hidden: Any, targets: Any) -> Any:
        for t in range(x.shape[0]):
            output, hidden = cell(params, x[t], hidden)
        return tg.nn.mse_loss(output, targets)

    rng = np.random.default_rng(8)
    params = cell.init(0, np.float32)
    data = (normal(rng, 20, 32, 128), np.zeros((32, 128), np.float32), normal(rng, 32, 128))
    title = "GRU, batch 32, hidden 128, 20 steps, f32"
    return Workload(title, params, data, gru_loss, gru_by_hand, 0.5, model_loss)
