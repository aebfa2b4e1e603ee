"""HIPS autograd."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any

from bench.peers.plain import plain_attention, plain_step
from bench.workload import Entry, Ops, Workload


def autograd_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make the entry of HIPS autograd."""
    anp: Any = importlib.import_module("autograd.numpy")
    autograd: Any = importlib.import_module("autograd")

    def cross_entropy(logits: Any, targets: Any) -> Any:
        z = logits - anp.max(logits, axis=1, keepdims=True)
        picked = z[anp.arange(len(targets)), targets]
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - picked)

    def softmax(z: Any) -> Any:
        e = anp.exp(z - anp.max(z, axis=-1, keepdims=True))
        return e / anp.sum(e, axis=-1, keepdims=True)

    ops = Ops(
        anp,
        lambda z: 1 / (1 + anp.exp(-z)),
        cross_entropy,
        lambda x: anp.maximum(x, 0),
        plain_attention(softmax),
    )
    both = autograd.value_and_grad(functools.partial(w.loss, ops))
    yield Entry("autograd", lambda: w.leaves, plain_step(both, w), w.data, list)
