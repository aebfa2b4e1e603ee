"""Particles that springs and the wind move: a loop of 20 small ops a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload

STEPS, DT = 20, 0.05


def physics_loss(ops: Ops, params: Any, p: Any, v: Any, targets: Any) -> Any:
    """Move particles step by step; the mean square of their distance from targets."""
    springs, drags, wind = params
    np_ = ops.numpy
    for _ in range(STEPS):
        length = np_.sqrt(np_.sum(p * p, 1)[:, None] + 1)
        relative = v - wind
        speed = np_.sqrt(np_.sum(relative * relative, 1)[:, None] + 1e-3)
        v = v - DT * (springs * (p / length) + drags * speed * relative)
        p = p + DT * v
    d = p - targets
    return np_.mean(d * d)


def physics_by_hand(params: Any, p: Array, v: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`physics_loss` and its gradients, by the adjoint of each step."""
    springs, drags, wind = params
    saved = []
    for _ in range(STEPS):
        length = np.sqrt((p * p).sum(axis=1)[:, None] + 1)
        relative = v - wind
        speed = np.sqrt((relative * relative).sum(axis=1)[:, None] + 1e-3)
        saved.append((p, length, relative, speed))
        v = v - DT * (springs * (p / length) + drags * speed * relative)
        p = p + DT * v
    d = p - targets
    gp, gv = 2 * d / d.size, np.zeros_like(v)
    d_springs, d_drags, d_wind = (np.zeros_like(x) for x in params)
    for p, length, relative, speed in reversed(saved):
        gv = gv + DT * gp
        g = -DT * gv
        along = (g * p).sum(axis=1)[:, None] / length
        d_springs += along
        gp = gp + springs * (g - p * along / length) / length
        along = (g * relative).sum(axis=1)[:, None]
        d_drags += speed * along
        g = drags * (speed * g + relative * along / speed)
        gv = gv + g
        d_wind -= g.sum(axis=0)
    return np.mean(d * d), [d_springs, d_drags, d_wind]


def physics() -> Workload:
    """Make 16 particles in a plane."""
    rng = np.random.default_rng(15)
    params = rng.uniform(0.5, 1.5, (16, 1)), rng.uniform(0.1, 0.3, (16, 1)), np.array([0.5, -0.2])
    data = tuple(rng.standard_normal((3, 16, 2)))
    title = "physics, 16 particles, 20 steps of 20 small ops, f64"
    peers = ("autograd", "torch", "jax")
    return Workload(title, params, data, physics_loss, physics_by_hand, 0.1, peers=peers)
