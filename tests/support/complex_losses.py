"""Real losses of complex and real arguments: one table for every way to differentiate them.

Calls of one op are drawn elsewhere (`op_cases`); most losses here are of several.

Each is written for a namespace like NumPy, so that it also runs on that of another library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np

Fn = Callable[..., Any]


@attrs.frozen(eq=False)
class Loss:
    """A function ``fn(np, *args)`` whose result is scored by one real number."""

    name: str
    fn: Fn
    args: tuple[Any, ...]

    def __call__(self, xp: Any, *args: Any) -> Any:
        results = self.fn(xp, *args)
        results = results if isinstance(results, tuple | list) else (results,)
        return sum(score(xp, y) for y in results)


def score(xp: Any, y: Any) -> Any:
    """A sum of each number's parts with weights, and of its square, so that every one matters."""
    n = int(np.prod(y.shape, dtype=int))
    a, b, c = (xp.asarray(np.cos(k + np.arange(n)).reshape(y.shape)) for k in range(3))
    if "complex" not in str(y.dtype):  # as PyTorch has it too
        return xp.sum(a * y + 0.25 * c * y * y)
    real, imag = xp.real(y), xp.imag(y)
    return xp.sum(a * real + b * imag + 0.25 * c * (real * real + imag * real + imag * imag))


def numbers(*shape: int, seed: int = 0) -> Any:
    """Complex numbers, none of which is close to an axis or to the unit circle."""
    return reals(*shape, seed=2 * seed) + 1j * reals(*shape, seed=2 * seed + 1)


def reals(*shape: int, seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.2, 1.2, shape)


Z, W, X = numbers(4), numbers(4, seed=1), reals(4, seed=9)
M, N, R = numbers(3, 4), numbers(4, 3, seed=1), reals(3, 4, seed=9)
S, T, Q = numbers(3, 3), numbers(3, 3, seed=1), reals(3, 3, seed=9)
STACK = numbers(2, 3, 3, seed=2)
PAIRS = {"complex, complex": (Z, W), "real, complex": (X, W), "complex, real": (Z, X)}


def elementwise() -> Iterator[Loss]:
    losses: dict[str, tuple[Fn, tuple[Any, ...]]] = {
        "powers": (lambda np, z: (z**0.5, z ** (1 + 1j), (-2.0 + 0.5j) ** z), (Z,)),
        "power(real, complex)": (lambda np, x, z: np.abs(x) ** z, (X, W)),
        "by real ones, broadcast": (lambda np, r, z: (r * z, z / r, np.abs(r) ** z), (R, Z)),
        "abs(z)**2": (lambda np, z: np.abs(z) ** 2, (Z,)),
        "magnitude and phase": (lambda np, r, p: r * np.exp(1j * p), (X, X)),
        "z / abs(z)": (lambda np, z: z / np.abs(z), (Z,)),
        "real of real": (lambda np, x: (np.real(x) * 2, np.imag(x), np.conj(x)), (X,)),
        "Mobius": (lambda np, a, z: (a * z + 1) / (np.conj(a) * z - 1j), (W, Z)),
        "negative real axis": (lambda np, z: np.sqrt(-np.abs(z) + 0.25j * z), (Z,)),
        "phase of a product": (lambda np, a, b: np.angle(a * np.conj(b)), (Z, W)),
        "used twice": (lambda np, z: z * z.real + np.conj(z) * np.abs(z), (Z,)),
        "where of sizes": (lambda np, z: np.where(np.abs(z) > 0.8, z * z, np.conj(z)), (Z,)),
    }
    for name, (f, args) in losses.items():
        yield Loss(name, f, args)


def products() -> Iterator[Loss]:
    two: dict[str, tuple[Fn, Any, Any]] = {
        "matrix @ vector": (lambda np, a, b: a @ b, M, Z),
        "stack @ matrix": (lambda np, a, b: a @ b, STACK, S),
        "vdot": (lambda np, a, b: np.vdot(a, b), Z, W),
        "einsum": (lambda np, a, b: np.einsum("ij,jk->ik", a, b), M, N),
        "convolve, same": (lambda np, a, b: np.convolve(a, b, "same"), Z, W[:3]),
        "Hermitian form": (lambda np, a, b: np.vdot(b, a @ b), S, Z[:3]),
    }
    for name, (f, a, b) in two.items():
        yield Loss(name, f, (a, b))
        yield Loss(f"{name}, real first", f, (a.real.copy(), b))
        yield Loss(f"{name}, real second", f, (a, b.real.copy()))
    yield Loss("a @ a.conj().T", lambda np, a: a @ np.conj(a).T, (M,))
    yield Loss("einsum of three", lambda np, a, b, x: np.einsum("ij,jk,k", a, b, x), (M, N, X[:3]))


def moves() -> Iterator[Loss]:
    one: dict[str, tuple[Fn, Any]] = {
        "rows": (lambda np, z: z[[0, 2, 0]] ** 2, M),
        "pad, reflected": (lambda np, z: np.pad(z, 2, mode="reflect"), Z),
        "sorted by size": (lambda np, z: z[np.argsort(np.abs(z))], Z),
        "prod with a zero": (lambda np, z: np.prod(z * np.asarray([1, 1, 0, 1])), Z),
        "cov": (lambda np, z: np.cov(z), M),
    }
    for name, (f, z) in one.items():
        yield Loss(name, f, (z,))
    joined: Fn = lambda np, a, b: (np.concatenate([a, b * 2]), np.stack([a, b, a]))  # noqa: E731
    for kinds, pair in PAIRS.items():
        yield Loss(f"joined({kinds})", joined, pair)


def matrices() -> Iterator[Loss]:
    two: dict[str, tuple[Fn, Any]] = {
        "solve": (lambda np, a, b: np.linalg.solve(a, b), N[:3]),
        "inv @": (lambda np, a, b: np.linalg.inv(a) @ b, N[:3]),
        "lstsq": (lambda np, a, b: np.linalg.lstsq(a[:, :2], b, rcond=None)[0], N[:3]),
    }
    for name, (f, b) in two.items():
        yield Loss(name, f, (S, b))
        yield Loss(f"{name}, real first", f, (Q, b))
        yield Loss(f"{name}, real second", f, (S, b.real.copy()))
    one: dict[str, tuple[Fn, Any]] = {
        "det of rank 2": (lambda np, a: np.linalg.det(a * np.asarray([1, 1, 0])), S),
        "cholesky": (lambda np, a: np.linalg.cholesky(a @ np.conj(a).T), M),
        "qr": (lambda np, a: tuple(np.linalg.qr(a)), N),
        "svd, without phases": (lambda np, a: root(np, a), M),
        "svd's right vectors": (lambda np, a: np.abs(np.linalg.svd(a, False)[2]), M),
        "eigh, without phases": (lambda np, a: projector(np, a + np.conj(a).T), S),
        "eig, function of a matrix": (lambda np, a: exponential(np, a), S),
        "eigvals of a real matrix": (lambda np, a: np.linalg.eigvals(a.astype(complex)), Q),
        "roots": (lambda np, z: np.abs(np.roots(z)), Z),
    }
    for name, (f, a) in one.items():
        yield Loss(name, f, (a,))
    for order in ("nuc", -2):
        yield Loss(f"matrix norm {order}", lambda np, z, p=order: np.linalg.norm(z, p), (M,))
    yield Loss("cond", lambda np, z: np.linalg.cond(z), (S,))


def root(xp: Any, a: Any) -> Any:
    u, s, vh = xp.linalg.svd(a, full_matrices=False)
    return (u * xp.sqrt(s)) @ vh


def projector(xp: Any, a: Any) -> Any:
    w, v = xp.linalg.eigh(a)
    return v[:, :1] @ xp.conj(v[:, :1]).T * w[1]


def exponential(xp: Any, a: Any) -> Any:
    w, v = xp.linalg.eig(a)
    return (v * xp.exp(w)) @ xp.linalg.inv(v)


def transforms() -> Iterator[Loss]:
    for name in ("fft", "irfft", "hfft"):
        yield Loss(name, lambda np, z, f=name: getattr(np.fft, f)(z, n=8, norm="ortho"), (Z,))
    yield Loss("power spectrum", lambda np, x: np.abs(np.fft.rfft(x)) ** 2, (X,))
    yield Loss("filter", lambda np, x, h: np.fft.irfft(np.fft.rfft(x) * h, 4), (X, Z[:3]))
    yield Loss(
        "autocorrelation", lambda np, z: np.fft.ifft(np.fft.fft(z) * np.conj(np.fft.fft(z))), (Z,)
    )


LOSSES = {
    loss.name: loss
    for group in (elementwise, products, moves, matrices, transforms)
    for loss in group()
}
