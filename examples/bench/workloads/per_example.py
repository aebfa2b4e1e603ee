"""A gradient for each example of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload


def per_example_loss(ops: Ops, params: Any, x: Any, target: Any) -> Any:
    """Cross entropy of a net with a hidden layer, of one example."""
    w_1, b_1, w_2, b_2 = params
    logits = ops.numpy.tanh(x @ w_1 + b_1) @ w_2 + b_2
    return ops.cross_entropy(logits[None], target[None])


def per_example_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """The losses and gradients of all examples."""
    w_1, b_1, w_2, b_2 = params
    hidden = np.tanh(x @ w_1 + b_1)
    logits = hidden @ w_2 + b_2
    n = np.arange(len(x))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    total = exp.sum(axis=1, keepdims=True)
    g = exp / total
    g[n, targets] -= 1
    d = g @ w_2.T * (1 - hidden * hidden)
    losses = np.log(total[:, 0]) - shifted[n, targets]
    return losses, [x[:, :, None] * d[:, None], d, hidden[:, :, None] * g[:, None], g]


def _derivative(library: Any, loss: Callable[..., Any]) -> Callable[..., Any]:
    fn: Callable[..., Any] = library.vmap(library.value_and_grad(loss), in_axes=(None, 0, 0))
    return fn


def per_example() -> Workload:
    """Make a net and a batch, each example of which has its own gradient."""
    rng = np.random.default_rng(11)
    params = [
        rng.standard_normal((64, 32)) / 8,
        np.zeros(32),
        rng.standard_normal((32, 10)) / 6,
        np.zeros(10),
    ]
    data = (rng.standard_normal((128, 64)), rng.integers(10, size=128))
    title = "a gradient for each example, net 64-32-10, 128 examples, f64"
    return Workload(
        title,
        params,
        data,
        per_example_loss,
        per_example_by_hand,
        None,
        peers=("jax",),
        derivative=_derivative,
    )
