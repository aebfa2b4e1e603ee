"""The cost of a gradient, a jvp and an hvp in forward evaluations, for tapegrad alone."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import Entry, Workload, refuse
from bench.workloads.by_hand import normal


def transform_entries() -> tuple[Workload, list[Entry]]:
    """Make a net of three layers, and derivatives of its loss, recorded and compiled.

    The direction of the jvp and the hvp is a tree of all parameters.
    """
    sizes = (784, 256, 128, 10)
    linear = [tg.nn.Linear(m, n) for m, n in itertools.pairwise(sizes)]
    model = tg.nn.Sequential(linear[0], tg.nn.Tanh(), linear[1], tg.nn.Tanh(), linear[2])
    rng = np.random.default_rng(7)
    params = model.init(0, np.float32)
    direction = tg.tree.map(lambda p: normal(rng, *p.shape) / 8, params)
    x, targets = normal(rng, 128, sizes[0]), rng.integers(sizes[-1], size=128)

    def loss(p: Any) -> Any:
        return tg.nn.cross_entropy_loss(model(p, x), targets)

    taken: dict[str, Callable[[Any, Any], Any]] = {
        "forward": lambda p, v: loss(p),
        "value and gradient": lambda p, v: tg.value_and_grad(loss)(p),
        "jvp": lambda p, v: tg.jvp(loss, (p,), (v,)),
        "hvp": lambda p, v: tg.hvp(loss, (p,), (v,)),
    }
    entries = []
    for name, fn in taken.items():
        recorded = tg.record(fn) if name == "forward" else fn
        for kind, step in (("recorded", recorded), ("compiled", tg.compile(fn))):
            label = f"{name}, {kind}"
            entries.append(Entry(label, lambda: params, step, (direction,), tg.tree.leaves))
    title = f"MLP {'-'.join(map(str, sizes))} with tanh, batch 128, f32: loss and derivatives"
    return Workload(title, params, (direction,), refuse, refuse, None), entries


def check_transforms(w: Workload, entries: Sequence[Entry]) -> None:
    """Exit unless the derivatives agree with each other."""
    results = {entry.name: entry.step(w.params, *w.data) for entry in entries}
    (direction,) = map(tg.tree.leaves, w.data)
    for kind in {name.split(", ")[1] for name in results}:
        gradient = tg.tree.leaves(results[f"value and gradient, {kind}"][1])
        slope = sum(np.vdot(g, v) for g, v in zip(gradient, direction, strict=True))
        curved = tg.tree.map(lambda p, v: p + 1e-2 * v, w.params, *w.data)
        step = next(e.step for e in entries if e.name == f"value and gradient, {kind}")
        ahead = tg.tree.leaves(step(curved, *w.data)[1])
        hvp = tg.tree.leaves(results[f"hvp, {kind}"])
        change = [(a - g) / 1e-2 for a, g in zip(ahead, gradient, strict=True)]
        error = max(
            np.max(np.abs(h - c)) / np.max(np.abs(h)) for h, c in zip(hvp, change, strict=True)
        )
        if not (np.isclose(results[f"jvp, {kind}"][1], slope, rtol=1e-3) and error < 0.1):
            sys.exit(f"jvp or hvp, {kind}, disagree with the gradient")
