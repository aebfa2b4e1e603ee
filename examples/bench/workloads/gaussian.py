"""A Gaussian process, fitted by its marginal likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload

NOISE = 1e-2


def gaussian_loss(ops: Ops, params: Any, x: Any, y: Any, unit: Any) -> Any:
    """Minus the logarithm of the likelihood, but for a constant.

    The parameters are logarithms: of a scale for each input, of the size, and of the noise.
    """
    np_, (p,) = ops.numpy, params
    z = x * np_.exp(-p[:-2])
    square = np_.sum(z * z, 1)
    kernel = np_.exp(p[-2] - 0.5 * (square[:, None] + square[None, :]) + z @ z.T)
    factor = np_.linalg.cholesky(kernel + np_.exp(p[-1]) * unit)
    white, place = np_.linalg.solve(factor, y), np.arange(len(y))
    return 0.5 * np_.sum(white * white) + np_.sum(np_.log(factor[place, place]))


def gaussian_by_hand(params: Any, x: Array, y: Array, unit: Array) -> tuple[Any, list[Array]]:
    """`gaussian_loss` and its gradient, by the inverse of the covariance."""
    p = params[0]
    z = x * np.exp(-p[:-2])
    square = (z * z).sum(axis=1)
    kernel = np.exp(p[-2] - 0.5 * (square[:, None] + square) + z @ z.T)
    noise = np.exp(p[-1])
    covariance = kernel + noise * unit
    inverse = np.linalg.inv(covariance)
    a = inverse @ y
    loss = 0.5 * (y @ a) + np.log(np.diagonal(np.linalg.cholesky(covariance))).sum()
    g = 0.5 * (inverse - np.outer(a, a))
    m = g * kernel
    by_scale = 2 * (m.sum(axis=1) @ (z * z) - (z * (m @ z)).sum(axis=0))
    return loss, [np.array([*by_scale, m.sum(), noise * np.trace(g)])]


def gaussian() -> Workload:
    """Make 300 points with 5 inputs."""
    rng = np.random.default_rng(14)
    x = rng.uniform(-2, 2, (300, 5))
    y = np.sin(x[:, 0]) * x[:, 1] + 0.1 * rng.standard_normal(300)
    params = [np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.0, np.log(NOISE)])]
    title = "Gaussian process, likelihood of 300 points by 7 parameters, f64, no update"
    peers = ("autograd", "torch", "jax")
    data = x, y, np.eye(300)
    return Workload(title, params, data, gaussian_loss, gaussian_by_hand, None, peers=peers)
