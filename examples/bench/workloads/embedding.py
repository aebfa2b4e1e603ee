"""Few rows of a large table."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import normal

EMBEDDING_RATE = 1e-3


def embedding_loss(ops: Ops, params: Any, indices: Any, targets: Any) -> Any:
    """Sum the squares of some rows of a table minus targets."""
    d = ops.rows(params[0], indices) - targets
    return ops.numpy.sum(d * d)


def embedding_by_hand(params: Any, indices: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`embedding_loss` and its gradient, as large as the table."""
    d = params[0][indices] - targets
    gradient = np.zeros_like(params[0])
    np.add.at(gradient, indices, 2 * d)
    return (d * d).sum(), [gradient]


def embedding(zipf: bool = False) -> Workload:
    """Make a loss of few rows of a large table."""
    rng = np.random.default_rng(5)
    weights = 1 / np.arange(1, 50_001) if zipf else np.ones(50_000)
    indices = rng.choice(50_000, size=1024, p=weights / weights.sum())
    params = (normal(rng, 50_000, 64),)
    data = (indices, normal(rng, 1024, 64))
    title = f"embedding, 1024 {'Zipf' if zipf else 'uniform'} rows of 50,000 by 64, f32"
    return Workload(title, params, data, embedding_loss, embedding_by_hand, EMBEDDING_RATE)
