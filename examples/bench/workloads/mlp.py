"""A net of two layers, with SGD and with AdamW."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

import tapegrad as tg
from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import cross_entropy, normal


def mlp_loss(ops: Ops, params: Any, x: Any, targets: Any) -> Any:
    """Two layers and the mean cross entropy."""
    w1, b1, w2, b2 = params
    return ops.cross_entropy(ops.affine(ops.relu(ops.affine(x, w1, b1)), w2, b2), targets)


def mlp_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`mlp_loss` and its gradients."""
    w1, b1, w2, b2 = params
    h = np.maximum(x @ w1 + b1, 0)
    loss, dz2 = cross_entropy(h @ w2 + b2, targets)
    dz1 = dz2 @ w2.T * (h > 0)
    return loss, [x.T @ dz1, dz1.sum(axis=0), h.T @ dz2, dz2.sum(axis=0)]


def mlp() -> Workload:
    """Make a net that is all matrix products."""
    model = tg.nn.Sequential(tg.nn.Linear(784, 256), tg.nn.Relu(), tg.nn.Linear(256, 10))

    def model_loss(params: Any, x: Any, targets: Any) -> Any:
        return tg.nn.cross_entropy_loss(model(params, x), targets)

    rng = np.random.default_rng(2)
    params = model.init(0, np.float32)
    data = (normal(rng, 128, 784), rng.integers(10, size=128))
    title = "MLP 784-256-10, batch 128, f32"
    peers = ("autograd", "torch", "jax")
    return Workload(title, params, data, mlp_loss, mlp_by_hand, 0.05, model_loss, peers=peers)


def adamw() -> Workload:
    """Make the net of `mlp`, trained by AdamW."""
    title = "MLP 784-256-10 with AdamW, batch 128, f32"
    return attrs.evolve(mlp(), title=title, decay=0.01, peers=("torch", "jax"))
