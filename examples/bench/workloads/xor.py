"""A net of two tiny layers, for the cost of a record, a call and a leaf."""

from __future__ import annotations

from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import PEERS, Array, Ops, Workload
from bench.workloads.by_hand import sigmoid


def xor_loss(ops: Ops, params: Any, x: Any, y: Any) -> Any:
    """Two layers and the sum of squared errors."""
    w1, b1, w2, b2 = params
    d = ops.sigmoid(ops.affine(ops.numpy.tanh(ops.affine(x, w1, b1)), w2, b2)) - y
    return ops.numpy.sum(d * d)


def xor_by_hand(params: Any, x: Array, y: Array) -> tuple[Any, list[Array]]:
    """`xor_loss` and its gradients."""
    w1, b1, w2, b2 = params
    h = np.tanh(x @ w1 + b1)
    p = sigmoid(h @ w2 + b2)
    d = p - y
    dz2 = 2 * d * p * (1 - p)
    dz1 = dz2 @ w2.T * (1 - h * h)
    return (d * d).sum(), [x.T @ dz1, dz1.sum(axis=0), h.T @ dz2, dz2.sum(axis=0)]


def xor() -> Workload:
    """Make a net of two tiny layers, for the cost of a record, a call and a leaf."""
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid())

    def model_loss(params: Any, x: Any, y: Any) -> Any:
        return tg.nn.mse_loss(model(params, x), y, reduction="sum")

    data = (np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [0], [1]]))
    title = "XOR net 2-3-1, batch 4, f64"
    peers = PEERS
    return Workload(title, model.init(0), data, xor_loss, xor_by_hand, 0.1, model_loss, peers)
