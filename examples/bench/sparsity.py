"""Sparse Jacobians and Hessians: tapegrad beside dense ones, and beside asdex under ``jax.jit``."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tapegrad as tg
from bench.timing import measure
from bench.workload import Entry, Workload, refuse

Fn = Callable[[Any, Any], Any]
HEADS = ("problem", "size", "places", "products", "first", "later", "dense", "asdex first")
COLUMNS = (*HEADS, "asdex later")


def brusselator(np_: Any, v: Any) -> Any:
    """A reaction of two substances that spread on a grid of 32 by 32 without ends."""

    def spread(u: Any) -> Any:
        return sum(np_.roll(u, k, i) for i in (0, 1) for k in (1, -1)) - 4 * u

    u, w = v.reshape(32, 32, 2)[..., 0], v.reshape(32, 32, 2)[..., 1]
    first = 1 + u * u * w - 4.4 * u + 0.1 * spread(u)
    return np_.stack([first, 3.4 * u - u * u * w + 0.1 * spread(w)], 2).reshape(-1)


def differences(np_: Any, x: Any) -> Any:
    """The squares of the differences of neighbors."""
    return (x[1:] - x[:-1]) ** 2


def broyden(np_: Any, x: Any) -> Any:
    """Broyden's tridiagonal equations."""
    y = np_.pad(x, 1)
    return (3 - 2 * x) * x - y[:-2] - 2 * y[2:] + 1


def nets(np_: Any, x: Any) -> Any:
    """A layer for each block of 6."""
    return np_.tanh(x.reshape(-1, 6) @ np.cos(np.arange(36.0)).reshape(6, 6)).reshape(-1)


def rosenbrock(np_: Any, x: Any) -> Any:
    """The sum of Rosenbrock's function over neighbors."""
    return np_.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def membrane(np_: Any, x: Any) -> Any:
    """The area of a surface over a grid of 20 by 20."""
    u = np_.pad(x.reshape(20, 20), 1)
    a, b = u[1:, :-1] - u[:-1, :-1], u[:-1, 1:] - u[:-1, :-1]
    return np_.sum(np_.sqrt(1 + a * a + b * b))


PROBLEMS: dict[str, tuple[Fn, int, bool]] = {
    "Brusselator, 32 by 32": (brusselator, 2048, False),
    "differences": (differences, 1000, False),
    "Broyden": (broyden, 500, False),
    "blocks of 6": (nets, 300, False),
    "Hessian of Rosenbrock": (rosenbrock, 400, True),
    "Hessian of a membrane": (membrane, 400, True),
}


def sparse_rows(peers: Sequence[str], seconds: float) -> list[list[str]]:
    """For each problem the first call in ms and later calls in us, checked."""
    peer = "asdex" in peers and importlib.util.find_spec("asdex") is not None
    return [[name, *_row(name, *problem, peer, seconds)] for name, problem in PROBLEMS.items()]


def _row(name: str, fn: Fn, n: int, twice: bool, peer: bool, seconds: float) -> list[str]:
    x = np.random.default_rng(0).uniform(0.5, 1.5, n)

    def own(v: Any) -> Any:
        return fn(np, v)

    of: Any = tg.hessian if twice else tg.jacobian
    dense = tg.compile(of(own))
    steps: dict[str, Any] = {"sparse": tg.compile(of(own, sparse=True)), "dense": dense}
    if peer:
        steps["asdex"] = _asdex(fn, n, twice)
    firsts, results = {}, {}
    for label, step in steps.items():
        start = time.perf_counter()
        results[label] = step(x)
        firsts[label] = time.perf_counter() - start
    for label, found in results.items():
        full = np.asarray(found.todense() if hasattr(found, "todense") else found)
        if not np.allclose(full, results["dense"], rtol=1e-4, atol=1e-4):
            sys.exit(f"{name}: {label} disagrees with the dense matrix")
    entries = [Entry(k, lambda: x, f, (), lambda y: y) for k, f in steps.items()]
    w = Workload(name, x, (), refuse, refuse, None)
    later = {k: t.median for k, t in measure(w, entries, seconds).items()}
    pattern = tg.sparsity(tg.grad(own) if twice else own, symmetric=twice)(x)
    row = [f"{pattern.shape[0]} x {n}", f"{pattern.nnz:,}", str(pattern.n_colors)]
    row += [f"{1e3 * firsts['sparse']:.0f}", f"{later['sparse']:.0f}", f"{later['dense']:.0f}"]
    return [
        *row,
        *([f"{1e3 * firsts['asdex']:.0f}", f"{later['asdex']:.0f}"] if peer else ["", ""]),
    ]


def _asdex(fn: Fn, n: int, twice: bool) -> Callable[[Any], Any]:
    """The peer's function under `jax.jit`; its pattern and colors are part of the first call."""
    jax: Any = importlib.import_module("jax")
    asdex: Any = importlib.import_module("asdex")
    jax.config.update("jax_enable_x64", True)
    compiled: list[Any] = []

    def step(x: Any) -> Any:
        if not compiled:
            of = asdex.hessian if twice else asdex.jacobian
            compiled.append(jax.jit(of(lambda v: fn(jax.numpy, v), jax.numpy.zeros(n))))
        return jax.block_until_ready(compiled[0](x))

    return step
