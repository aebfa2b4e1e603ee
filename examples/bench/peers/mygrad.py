"""MyGrad, with its memory guard and without."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from bench.peers.plain import plain_step
from bench.workload import Entry, Ops, Workload


def mygrad_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make the entries of MyGrad."""
    mg: Any = importlib.import_module("mygrad")
    nnet: Any = importlib.import_module("mygrad.nnet")
    ops = Ops(mg, nnet.activations.sigmoid, nnet.losses.softmax_crossentropy)

    def both(params: Any, *data: Any) -> tuple[Any, Any]:
        tensors = [mg.tensor(p, copy=False) for p in params]
        loss = w.loss(ops, tensors, *data)
        loss.backward()
        return loss.data, [t.grad for t in tensors]

    step = plain_step(both, w)
    yield Entry("MyGrad", lambda: w.leaves, mg.mem_guard_on(step), w.data, list)
    yield Entry("MyGrad, no guard", lambda: w.leaves, mg.mem_guard_off(step), w.data, list)
