"""Real losses of complex and real arguments: one table for every way to differentiate them.

Each is of several ops; calls of one op are drawn (`op_cases`).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.types import Array

Fn = Callable[..., Any]


def make_loss(fn: Fn) -> Fn:
    """A loss of the function: a weighted sum of its results' parts, and their squares."""

    def loss(*args: Any) -> Array:
        results = fn(*args)
        return sum(map(score, results if isinstance(results, tuple) else (results,)))

    return loss


def score(y: Array) -> Array:
    a, b, c = (np.cos(k + np.arange(y.size)).reshape(y.shape) for k in range(3))
    real, imag = np.real(y), np.imag(y)
    return np.sum(a * real + b * imag + 0.25 * c * (real * real + imag * real + imag * imag))


def numbers(*shape: int, seed: int = 0) -> Array:
    """Complex numbers away from the axes and from the unit circle."""
    return reals(*shape, seed=2 * seed) + 1j * reals(*shape, seed=2 * seed + 1)


def reals(*shape: int, seed: int = 0) -> Array:
    rng = np.random.default_rng([seed, *shape])
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.2, 1.2, shape)


Z, W, X = numbers(4), numbers(4, seed=1), reals(4, seed=9)
M, N, R = numbers(3, 4), numbers(4, 3, seed=1), reals(3, 4, seed=9)
S, STACK = numbers(3, 3), numbers(2, 3, 3, seed=2)


def root(a: Array) -> Array:
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return (u * np.sqrt(s)) @ vh


def projector(a: Array) -> Array:
    w, v = np.linalg.eigh(a + np.conj(a).T)
    return v[:, :1] @ np.conj(v[:, :1]).T * w[1]


def exponential(a: Array) -> Array:
    w, v = np.linalg.eig(a)
    return (v * np.exp(w)) @ np.linalg.inv(v)


# of two operands, each of which may be real
TWO: dict[str, tuple[Fn, Any, Any]] = {
    "matrix @ vector": (lambda a, b: a @ b, M, Z),
    "stack @ matrix": (lambda a, b: a @ b, STACK, S),
    "einsum": (lambda a, b: np.einsum("ij,jk->ik", a, b), M, N),
    "convolve, same": (lambda a, b: np.convolve(a, b, "same"), Z, W[:3]),
    "Hermitian form": (lambda a, b: np.vdot(b, a @ b), S, Z[:3]),
    "joined": (lambda a, b: (np.concatenate([a, b * 2]), np.stack([a, b, a])), Z, W),
    "solve": (lambda a, b: np.linalg.solve(a, b), S, N[:3]),
    "lstsq": (lambda a, b: np.linalg.lstsq(a[:, :2], b, rcond=None)[0], S, N[:3]),
}
LOSSES: dict[str, tuple[Fn, tuple[Any, ...]]] = {
    "powers": (lambda z: (z**0.5, z ** (1 + 1j), (-2.0 + 0.5j) ** z), (Z,)),
    "by real ones, broadcast": (lambda r, z: (r * z, z / r, np.abs(r) ** z), (R, Z)),
    "magnitude and phase": (lambda r, p: r * np.exp(1j * p), (X, X)),
    "real of real": (lambda x: (np.real(x) * 2, np.imag(x), np.conj(x)), (X,)),
    "Mobius": (lambda a, z: (a * z + 1) / (np.conj(a) * z - 1j), (W, Z)),
    "negative real axis": (lambda z: np.sqrt(-np.abs(z) + 0.25j * z), (Z,)),
    "phase of a product": (lambda a, b: np.angle(a * np.conj(b)), (Z, W)),
    "where of sizes": (lambda z: np.where(np.abs(z) > 0.8, z * z, np.conj(z)), (Z,)),
    "einsum of three": (lambda a, b, x: np.einsum("ij,jk,k", a, b, x), (M, N, X[:3])),
    "sorted by size": (lambda z: z[np.argsort(np.abs(z))], (Z,)),
    "prod with a zero": (lambda z: np.prod(z * np.asarray([1, 1, 0, 1])), (Z,)),
    "det of rank 2": (lambda a: np.linalg.det(a * np.asarray([1, 1, 0])), (S,)),
    "cholesky": (lambda a: np.linalg.cholesky(a @ np.conj(a).T), (M,)),
    "svd, without phases": (root, (M,)),
    "svd's right vectors": (lambda a: np.abs(np.linalg.svd(a, False)[2]), (M,)),
    "eigh, without phases": (projector, (S,)),
    "eig, function of a matrix": (exponential, (S,)),
    "roots": (lambda z: np.abs(np.roots(z)), (Z,)),
    "matrix norms": (lambda z: (np.linalg.norm(z, "nuc"), np.linalg.norm(z, -2)), (M,)),
    "power spectrum": (lambda x: np.abs(np.fft.rfft(x)) ** 2, (X,)),
    "filter": (lambda x, h: np.fft.irfft(np.fft.rfft(x) * h, 4), (X, Z[:3])),
    **{name: (f, (a, b)) for name, (f, a, b) in TWO.items()},
    **{f"{name}, real first": (f, (a.real.copy(), b)) for name, (f, a, b) in TWO.items()},
    **{f"{name}, real second": (f, (a, b.real.copy())) for name, (f, a, b) in TWO.items()},
}
LOSSES = {name: (make_loss(fn), args) for name, (fn, args) in LOSSES.items()}
