"""Real losses of complex and real arguments: one table for every way to differentiate them.

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

UNARY = "exp exp2 expm1 log log2 log10 log1p sqrt square reciprocal sin cos tan arcsin arccos "
UNARY += "arctan sinh cosh tanh arcsinh arccosh arctanh negative positive conj real imag abs angle "
UNARY += "sign sum mean prod cumsum cumprod var std diff flip ravel"


def elementwise() -> Iterator[Loss]:
    for name in UNARY.split():
        yield Loss(name, lambda np, z, f=name: getattr(np, f)(z), (Z,))
    for n in (0, 1, 2, 3, -1, -2, 0.5, 2.5, -0.5, 1 + 1j, -1j):
        yield Loss(f"z ** {n}", lambda np, z, n=n: z**n, (Z,))
    for a in (2.0, 0.5, 1j, -2.0 + 0.5j):
        yield Loss(f"{a} ** z", lambda np, z, a=a: a**z, (Z,))
    f: Fn
    for name in ("add", "subtract", "multiply", "divide", "power"):
        for kinds, pair in PAIRS.items():
            if name == "power" and kinds == "real, complex":
                pair = np.abs(X), W
            yield Loss(f"{name}({kinds})", lambda np, a, b, f=name: getattr(np, f)(a, b), pair)
        f = lambda np, a, b, f=name: getattr(np, f)(a, b)  # noqa: E731
        yield Loss(f"{name}, broadcast", f, (M, Z))
        yield Loss(f"{name} by real ones, broadcast", f, (np.abs(R), Z))
        yield Loss(f"{name} of a row by a number", f, (np.abs(X[:1]), N))
    written: dict[str, tuple[Fn, tuple[Any, ...]]] = {
        "abs(z)**2": (lambda np, z: np.abs(z) ** 2, (Z,)),
        "z conj(z)": (lambda np, z: z * np.conj(z), (Z,)),
        "magnitude and phase": (lambda np, r, p: r * np.exp(1j * p), (X, X)),
        "1j * x": (lambda np, x: 1j * x, (X,)),
        "x + 2j": (lambda np, x: (x + 2j) ** 3, (X,)),
        "complex / x": (lambda np, x: (1 + 2j) / x, (X,)),
        "z / abs(z)": (lambda np, z: z / np.abs(z), (Z,)),
        "z.real, z.imag": (lambda np, z: (z.real**2, z.imag * z.real), (Z,)),
        "z.conj()": (lambda np, z: z.conj() * 1j * z[0], (Z,)),
        "real of real": (lambda np, x: (np.real(x) * 2, np.imag(x), np.conj(x)), (X,)),
        "abs of conj": (lambda np, z: np.abs(np.conj(z) * z[1] - z), (Z,)),
        "sqrt of a square": (lambda np, z: np.sqrt(z * z), (Z,)),
        "square of a root": (lambda np, z: np.sqrt(z) ** 2, (Z,)),
        "exp of log": (lambda np, z: np.exp(np.log(z)), (Z,)),
        "angle in degrees": (lambda np, z: np.angle(z * z[2]) * 2, (Z,)),
        "Mobius": (lambda np, a, z: (a * z + 1) / (np.conj(a) * z - 1j), (W, Z)),
        "negative real axis": (lambda np, z: np.sqrt(-np.abs(z) + 0.25j * z), (Z,)),
        "phase of a product": (lambda np, a, b: np.angle(a * np.conj(b)), (Z, W)),
        "log of abs": (lambda np, z: np.log(np.abs(z)), (Z,)),
        "abs of a difference": (lambda np, z, x: np.abs(z - x), (Z, X)),
        "used twice": (lambda np, z: z * z.real + np.conj(z) * np.abs(z), (Z,)),
        "astype": (lambda np, x: x.astype(complex) * 1j * x, (X,)),
        "where of sizes": (lambda np, z: np.where(np.abs(z) > 0.8, z * z, np.conj(z)), (Z,)),
    }
    for name, (f, args) in written.items():
        yield Loss(name, f, args)


def products() -> Iterator[Loss]:
    two: dict[str, tuple[Fn, Any, Any]] = {
        "matmul": (lambda np, a, b: a @ b, M, N),
        "matmul of vectors": (lambda np, a, b: a @ b, Z, W),
        "matrix @ vector": (lambda np, a, b: a @ b, M, Z),
        "vector @ matrix": (lambda np, a, b: a @ b, Z, N),
        "stack @ matrix": (lambda np, a, b: a @ b, STACK, S),
        "dot": (lambda np, a, b: np.dot(a, b), M, N),
        "inner": (lambda np, a, b: np.inner(a, b), M, N.T.copy()),
        "outer": (lambda np, a, b: np.outer(a, b), Z, W),
        "vdot": (lambda np, a, b: np.vdot(a, b), Z, W),
        "vdot of matrices": (lambda np, a, b: np.vdot(a, b), M, N),
        "kron": (lambda np, a, b: np.kron(a, b), M[:2, :2], N[:2, :2]),
        "tensordot": (lambda np, a, b: np.tensordot(a, b, axes=1), M, N),
        "tensordot of two axes": (lambda np, a, b: np.tensordot(a, b, ((0, 1), (1, 0))), M, N),
        "einsum": (lambda np, a, b: np.einsum("ij,jk->ik", a, b), M, N),
        "einsum, transposed": (lambda np, a, b: np.einsum("ij,ji->i", a, b), M, N),
        "einsum of an outer": (lambda np, a, b: np.einsum("i,jk->kij", a, b), Z, N),
        "cross": (lambda np, a, b: np.cross(a, b), Z[:3], W[:3]),
        "convolve": (lambda np, a, b: np.convolve(a, b), Z, W[:3]),
        "convolve, same": (lambda np, a, b: np.convolve(a, b, "same"), Z, W[:3]),
        "convolve, valid": (lambda np, a, b: np.convolve(a, b, "valid"), Z, W[:2]),
        "correlate, full": (lambda np, a, b: np.correlate(a, b, "full"), Z, W[:3]),
        "correlate, valid": (lambda np, a, b: np.correlate(a, b, "valid"), Z, W[:2]),
        "vecdot": (lambda np, a, b: np.vecdot(a, b), M, M[::-1] * 1j),
        "Hermitian form": (lambda np, a, b: np.vdot(b, a @ b), S, Z[:3]),
        "polyval": (lambda np, a, b: np.polyval(a, b), Z, W),
        "polymul": (lambda np, a, b: np.polymul(a, b), Z, W[:2]),
    }
    for name, (f, a, b) in two.items():
        yield Loss(name, f, (a, b))
        yield Loss(f"{name}, real first", f, (a.real.copy(), b))
        yield Loss(f"{name}, real second", f, (a, b.real.copy()))
    yield Loss("a @ a.conj().T", lambda np, a: a @ np.conj(a).T, (M,))
    yield Loss("einsum of three", lambda np, a, b, x: np.einsum("ij,jk,k", a, b, x), (M, N, X[:3]))
    yield Loss("multi_dot", lambda np, a, b, c: np.linalg.multi_dot([a, b, c]), (M, N, S))
    yield Loss("matrix_power", lambda np, a: np.linalg.matrix_power(a, 3), (S,))
    yield Loss("inverse power", lambda np, a: np.linalg.matrix_power(a, -2), (S,))


def moves() -> Iterator[Loss]:
    one: dict[str, tuple[Fn, Any]] = {
        "reshape": (lambda np, z: z.reshape(4, 3), M),
        "transpose": (lambda np, z: z.T * z.T, M),
        "slice": (lambda np, z: z[1:, ::2] ** 2, M),
        "steps back": (lambda np, z: z[::-1] * z, Z),
        "rows": (lambda np, z: z[[0, 2, 0]] ** 2, M),
        "elements": (lambda np, z: z[[0, 2, 2], [1, 3, 3]], M),
        "take": (lambda np, z: np.take(z, np.asarray([0, 2, 0]), 1), M),
        "roll": (lambda np, z: np.roll(z, 1) * z, Z),
        "pad": (lambda np, z: np.pad(z, 2), Z),
        "pad, reflected": (lambda np, z: np.pad(z, 2, mode="reflect"), Z),
        "pad, wrapped": (lambda np, z: np.pad(z, 3, mode="wrap"), Z),
        "tile": (lambda np, z: np.tile(z, 3), Z),
        "repeat": (lambda np, z: np.repeat(z, 3), Z),
        "broadcast_to": (lambda np, z: np.broadcast_to(z, (3, 4)), Z),
        "expand_dims": (lambda np, z: np.expand_dims(z, 0) * z[:, None], Z),
        "moveaxis": (lambda np, z: np.moveaxis(z, 0, -1) * 1j, STACK),
        "rot90": (lambda np, z: np.rot90(z), M),
        "tril": (lambda np, z: np.tril(z), S),
        "triu": (lambda np, z: np.triu(z, 1), S),
        "diag": (lambda np, z: np.diag(z), Z),
        "diagonal": (lambda np, z: np.diagonal(z, 1), S),
        "trace": (lambda np, z: np.trace(z), S),
        "split": (lambda np, z: tuple(np.split(z, 2)), Z),
        "ptp by hand": (lambda np, z: z[np.argmax(np.abs(z))] - z[np.argmin(np.abs(z))], Z),
        "sorted by size": (lambda np, z: z[np.argsort(np.abs(z))], Z),
        "vander": (lambda np, z: np.vander(z, 3), Z),
        "meshgrid": (lambda np, z: np.meshgrid(z, z)[0] * np.meshgrid(z, z)[1], Z),
        "sum of an axis": (lambda np, z: np.sum(z, 0, keepdims=True) * z, M),
        "mean of an axis": (lambda np, z: np.mean(z, -1), M),
        "var of an axis": (lambda np, z: np.var(z, 1, ddof=1), M),
        "std of an axis": (lambda np, z: np.std(z, 0), M),
        "prod of an axis": (lambda np, z: np.prod(z, 0), M),
        "cumprod of an axis": (lambda np, z: np.cumprod(z, 1), M),
        "prod with a zero": (lambda np, z: np.prod(z * np.asarray([1, 1, 0, 1])), Z),
        "average": (lambda np, z: np.average(z, weights=np.asarray([1.0, 2, 3, 4])), Z),
        "second differences": (lambda np, z: np.diff(z, 2), Z),
        "trapezoid": (lambda np, z: np.trapezoid(z, dx=0.5), Z),
        "cov": (lambda np, z: np.cov(z), M),
        "nansum": (lambda np, z: np.nansum(z, 0), M),
    }
    for name, (f, z) in one.items():
        yield Loss(name, f, (z,))
    two: dict[str, Fn] = {
        "where": lambda np, a, b: np.where(np.asarray([True, False, True, False]), a, b),
        "concatenate": lambda np, a, b: np.concatenate([a, b * 2]),
        "stack": lambda np, a, b: np.stack([a, b, a]),
        "hstack": lambda np, a, b: np.hstack([b, a]) ** 2,
        "column_stack": lambda np, a, b: np.column_stack([b, a]),
        "outer difference": lambda np, a, b: a[:, None] - b,
    }
    for name, f in two.items():
        for kinds, pair in PAIRS.items():
            yield Loss(f"{name}({kinds})", f, pair)


def matrices() -> Iterator[Loss]:
    two: dict[str, tuple[Fn, Any]] = {
        "solve": (lambda np, a, b: np.linalg.solve(a, b), N[:3]),
        "solve of a vector": (lambda np, a, b: np.linalg.solve(a, b), Z[:3]),
        "inv @": (lambda np, a, b: np.linalg.inv(a) @ b, N[:3]),
        "pinv @": (lambda np, a, b: np.linalg.pinv(a) @ b, N[:3]),
        "lstsq": (lambda np, a, b: np.linalg.lstsq(a[:, :2], b, rcond=None)[0], N[:3]),
    }
    for name, (f, b) in two.items():
        yield Loss(name, f, (S, b))
        yield Loss(f"{name}, real first", f, (Q, b))
        yield Loss(f"{name}, real second", f, (S, b.real.copy()))
    one: dict[str, tuple[Fn, Any]] = {
        "inv": (lambda np, a: np.linalg.inv(a), S),
        "inv of a stack": (lambda np, a: np.linalg.inv(a), STACK),
        "det": (lambda np, a: np.linalg.det(a), S),
        "det of a stack": (lambda np, a: np.linalg.det(a), STACK),
        "det of rank 2": (lambda np, a: np.linalg.det(a * np.asarray([1, 1, 0])), S),
        "slogdet's log": (lambda np, a: np.linalg.slogdet(a)[1], S),
        "slogdet's sign": (lambda np, a: np.linalg.slogdet(a)[0], S),
        "pinv, tall": (lambda np, a: np.linalg.pinv(a), N),
        "pinv, wide": (lambda np, a: np.linalg.pinv(a), M),
        "cholesky": (lambda np, a: np.linalg.cholesky(a @ np.conj(a).T), M),
        "qr": (lambda np, a: tuple(np.linalg.qr(a)), N),
        "qr, square": (lambda np, a: tuple(np.linalg.qr(a)), S),
        "svdvals": (lambda np, a: np.linalg.svd(a, compute_uv=False), M),
        "svd, without phases": (lambda np, a: root(np, a), M),
        "svd's left vectors": (lambda np, a: np.abs(np.linalg.svd(a, False)[0]) ** 2, N),
        "svd's right vectors": (lambda np, a: np.abs(np.linalg.svd(a, False)[2]), M),
        "eigvalsh": (lambda np, a: np.linalg.eigvalsh(a + np.conj(a).T), S),
        "eigh, without phases": (lambda np, a: projector(np, a + np.conj(a).T), S),
        "eigvals": (lambda np, a: np.linalg.eigvals(a), S),
        "eigvals of a stack": (lambda np, a: np.linalg.eigvals(a), STACK),
        "eig's vectors, by size": (lambda np, a: np.abs(np.linalg.eig(a)[1]), S),
        "eig, function of a matrix": (lambda np, a: exponential(np, a), S),
        "eigvals of a real matrix": (lambda np, a: np.linalg.eigvals(a.astype(complex)), Q),
        "roots": (lambda np, z: np.abs(np.roots(z)), Z),
    }
    for name, (f, a) in one.items():
        yield Loss(name, f, (a,))
    for order in (None, 0.5, 1, 2, 3, -1, np.inf, -np.inf):
        yield Loss(f"norm {order}", lambda np, z, p=order: np.linalg.norm(z, p), (Z,))
    for order in ("fro", "nuc", 1, 2, -1, -2, np.inf, -np.inf):
        yield Loss(f"matrix norm {order}", lambda np, z, p=order: np.linalg.norm(z, p), (M,))
    yield Loss("norms of rows", lambda np, z: np.linalg.norm(z, axis=1), (M,))
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
    def of(name: str, **options: Any) -> Fn:
        return lambda np, z: getattr(np.fft, name)(z, **options)

    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
        operands = {"": Z, ", real": X} if name not in ("rfft", "ihfft") else {"": X}
        for kind, z in operands.items():
            for norm in ("backward", "ortho", "forward"):
                yield Loss(f"{name} {norm}{kind}", of(name, norm=norm), (z,))
            for n in (1, 3, 5, 8):
                yield Loss(f"{name}, n={n}{kind}", of(name, n=n), (z,))
        yield Loss(f"{name} of an axis", of(name, axis=0), (M if len(operands) > 1 else R,))
        yield Loss(f"{name}, odd", of(name), (operands[""][:3],))
    for name in ("fft", "ifft", "rfft", "irfft"):
        z, odd = (R, R[:, :3]) if name == "rfft" else (M, M[:, :3])
        for options in ({}, {"s": (2, 5)}, {"axes": (1, 0)}, {"norm": "ortho", "s": (4, 3)}):
            yield Loss(f"{name}2 {options or ''}", of(f"{name}2", **options), (z,))
        yield Loss(f"{name}n, odd", of(f"{name}n", norm="forward"), (odd,))
    yield Loss("fftshift", lambda np, z: np.fft.fftshift(z) * z, (Z,))
    yield Loss("ifftshift", lambda np, z: np.fft.ifftshift(z[:3]) * z[:3], (Z,))
    yield Loss("power spectrum", lambda np, x: np.abs(np.fft.rfft(x)) ** 2, (X,))
    yield Loss("filter", lambda np, x, h: np.fft.irfft(np.fft.rfft(x) * h, 4), (X, Z[:3]))
    yield Loss("step", lambda np, z, x: np.fft.ifft(np.fft.fft(z) * np.exp(1j * x)), (Z, X))
    yield Loss(
        "autocorrelation", lambda np, z: np.fft.ifft(np.fft.fft(z) * np.conj(np.fft.fft(z))), (Z,)
    )


LOSSES = {
    loss.name: loss
    for group in (elementwise, products, moves, matrices, transforms)
    for loss in group()
}


def differences(f: Fn, args: tuple[Any, ...]) -> list[Any]:
    """``dL/dx + i dL/dy`` for each number, by central differences of the fourth order."""
    gradients = []
    for i, arg in enumerate(args):
        g = np.zeros_like(arg)
        for at in np.ndindex(arg.shape):
            for unit in (1, 1j) if arg.dtype.kind == "c" else (1,):

                def moved(t: float, i: int = i, at: Any = at, unit: Any = unit) -> float:
                    x = args[i].copy()
                    x[at] += t * unit
                    return float(f(*args[:i], x, *args[i + 1 :]))

                h = 1e-4
                near, far = moved(h) - moved(-h), moved(2 * h) - moved(-2 * h)
                g[at] += unit * (8 * near - far) / (12 * h)
        gradients.append(g)
    return gradients
