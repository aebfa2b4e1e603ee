"""Functions that several workloads need, in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array


def sigmoid(z: Array) -> Any:
    """The logistic function."""
    return 1 / (1 + np.exp(-z))


def cross_entropy(logits: Array, targets: Array) -> tuple[Any, Array]:
    """Compute the mean cross entropy and its gradient."""
    n = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    total = exp.sum(axis=1, keepdims=True)
    gradient = exp / total
    gradient[n, targets] -= 1
    return np.mean(np.log(total[:, 0]) - shifted[n, targets]), gradient / len(targets)


def normal(rng: np.random.Generator, *shape: int) -> Array:
    """Draw float32 numbers from the standard normal distribution."""
    return rng.standard_normal(shape, np.float32)
