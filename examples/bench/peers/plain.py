"""Code that several libraries share: the update of plain parameters, and attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bench.workload import BETA1, BETA2, EPSILON, Step, Workload


def plain_step(both: Step, w: Workload) -> Step:
    """Add the update of a list of parameters to a function that returns the loss and gradients."""
    rate, decay = w.rate, w.decay or 0.0
    if rate is None:
        return both

    def step(params: Any, *data: Any) -> tuple[Any, Any]:
        loss, gradients = both(params, *data)
        return loss, [p - rate * g for p, g in zip(params, gradients, strict=True)]

    def adam_step(state: Any, *data: Any) -> tuple[Any, Any]:
        params, first, second, t = state
        loss, gradients = both(params, *data)
        t = t + 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, gradients, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, gradients, strict=True)]
        scale, shrink = rate / (1 - BETA1**t), (1 - BETA2**t) ** -0.5
        new = [
            p * (1 - rate * decay) - scale * m / (shrink * v**0.5 + EPSILON)
            for p, m, v in zip(params, first, second, strict=True)
        ]
        return loss, [new, first, second, t]

    return step if w.decay is None else adam_step


def plain_attention(softmax: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Write attention with a library's softmax."""

    def attention(q: Any, k: Any, v: Any) -> Any:
        return softmax(q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]))) @ v

    return attention
