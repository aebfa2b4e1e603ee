"""A chain of elementwise operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload

CHAIN_RATE = 0.7


def chain_loss(ops: Ops, params: Any) -> Any:
    """Six operations on each element, and the sum."""
    (x,) = params
    return ops.numpy.sum(ops.numpy.tanh(CHAIN_RATE * x) * ops.numpy.exp(-(x * x)))


def chain_by_hand(params: Any) -> tuple[Any, list[Array]]:
    """`chain_loss` and its gradient."""
    (x,) = params
    u, e = np.tanh(CHAIN_RATE * x), np.exp(-(x * x))
    y = u * e
    return y.sum(), [CHAIN_RATE * (1 - u * u) * e - 2 * x * y]


def chain() -> Workload:
    """Make a chain of elementwise operations on an array beyond the caches."""
    params = (np.random.default_rng(3).standard_normal(1_000_000),)
    title = "value and gradient of sum(tanh(a * x) * exp(-x * x)), 1,000,000 elements, f64"
    peers = ("autograd", "torch", "jax")
    return Workload(title, params, (), chain_loss, chain_by_hand, None, peers=peers)
