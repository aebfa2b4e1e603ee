"""A differential equation, and how its solution depends on its coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload

STEPS, DT = 500, 0.01


def ode_loss(ops: Ops, params: Any, start: Any, targets: Any) -> Any:
    """Solve the predator-prey equations of Lotka and Volterra by the Runge-Kutta method."""
    (rates,) = params

    def slope(s: Any) -> Any:
        prey, predator = s[0], s[1]
        met = prey * predator
        return ops.numpy.stack(
            [rates[0] * prey - rates[1] * met, rates[2] * met - rates[3] * predator]
        )

    def step(s: Any, _: Any) -> tuple[Any, None]:
        k1 = slope(s)
        k2 = slope(s + DT / 2 * k1)
        k3 = slope(s + DT / 2 * k2)
        k4 = slope(s + DT * k3)
        return s + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    s, _ = ops.scan(step, start, None, STEPS)
    d = s - targets
    return ops.numpy.mean(d * d)


def ode_by_hand(params: Any, start: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`ode_loss` and its gradient, by the adjoint of each step."""
    (rates,) = params
    a, b, c, d = rates

    def slope(s: Array) -> Array:
        met = s[0] * s[1]
        return np.stack([a * s[0] - b * met, c * met - d * s[1]])

    def pulled(s: Array, g: Array) -> tuple[Array, Array]:
        met = s[0] * s[1]
        of_met = c * g[1] - b * g[0]
        of_rates = [s[0] * g[0], -met * g[0], met * g[1], -s[1] * g[1]]
        state = np.stack([a * g[0] + of_met * s[1], of_met * s[0] - d * g[1]])
        return state, np.array([x.sum() for x in of_rates])

    s = start
    saved = []
    for _ in range(STEPS):
        k1 = slope(s)
        k2 = slope(s + DT / 2 * k1)
        k3 = slope(s + DT / 2 * k2)
        k4 = slope(s + DT * k3)
        saved.append((s, s + DT / 2 * k1, s + DT / 2 * k2, s + DT * k3))
        s = s + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    error = s - targets
    g, total = 2 * error / error.size, np.zeros(4)
    for s1, s2, s3, s4 in reversed(saved):
        v4, r4 = pulled(s4, DT / 6 * g)
        v3, r3 = pulled(s3, DT / 3 * g + DT * v4)
        v2, r2 = pulled(s2, DT / 3 * g + DT / 2 * v3)
        v1, r1 = pulled(s1, DT / 6 * g + DT / 2 * v2)
        g = g + v1 + v2 + v3 + v4
        total = total + r1 + r2 + r3 + r4
    return np.mean(error * error), [total]


def ode() -> Workload:
    """Make predators and prey with 64 initial states."""
    rng = np.random.default_rng(10)
    params = (np.array([1.1, 0.4, 0.1, 0.4]),)
    data = (rng.uniform(1, 10, (2, 64)), rng.uniform(1, 10, (2, 64)))
    title = "ODE by scan, 64 starts, 500 steps of Runge and Kutta, f64"
    return Workload(title, params, data, ode_loss, ode_by_hand, 1e-3)
