"""A Jacobian of many rows and few columns, as a fit of a curve needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload


def tall_curve(ops: Ops, params: Any, t: Any) -> Any:
    """An oscillation that dies away, at many times."""
    p = params[0]
    return p[0] * ops.numpy.exp(-p[1] * t) * ops.numpy.cos(p[2] * t + p[3])


def tall_by_hand(params: Any, t: Array) -> tuple[Any, list[Array]]:
    """The curve, and its derivatives by the four parameters."""
    size, decay, rate, phase = params[0]
    e, angle = np.exp(-decay * t), rate * t + phase
    c, s = np.cos(angle), np.sin(angle)
    y = size * e * c
    return y, [np.stack([e * c, -t * y, -size * e * t * s, -size * e * s], axis=1)]


def _derivative(library: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    # JAX's jacobian uses reverse mode whatever the shape
    forward = getattr(library, "jacfwd", library.jacobian)

    def both(params: Any, t: Any) -> tuple[Any, Any]:
        return fn(params, t), forward(fn)(params, t)

    return both


def tall() -> Workload:
    """Make a curve of four parameters at 1,000 times."""
    params = [np.array([2.0, 1.0, 3.0, 0.1])]
    data = (np.linspace(0.0, 1.0, 1_000),)
    title = "values and Jacobian of a curve, 1,000 points by 4 parameters, f64"
    return Workload(
        title, params, data, tall_curve, tall_by_hand, None, peers=("jax",), derivative=_derivative
    )
