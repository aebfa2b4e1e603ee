"""A recurrent cell over many steps, in each framework's own loop."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Ops, Workload
from bench.workloads.lstm import lstm_by_hand, lstm_step


def cell_loss(ops: Ops, params: Any, x: Any, start: Any, targets: Any) -> Any:
    """Compute the mean square of the last hidden state."""

    def step(state: Any, x_t: Any) -> tuple[Any, None]:
        return lstm_step(ops, params, x_t, *state), None

    (h, _), _ = ops.scan(step, (start, start), x)
    d = h - targets
    return ops.numpy.mean(d * d)


def cell() -> Workload:
    """Make a small LSTM and a long sequence."""
    rng = np.random.default_rng(9)
    params = tuple(rng.normal(size=shape) * 0.3 for shape in ((8, 64), (16, 64), (64,)))
    data = (rng.normal(size=(1024, 4, 8)), np.zeros((4, 16)), rng.normal(size=(4, 16)))
    title = "LSTM by scan, batch 4, hidden 16, 1,024 steps, f64"
    return Workload(title, params, data, cell_loss, lstm_by_hand, 0.1)
