"""A field in a plane whose conductivity varies: equations with a sparse array, by SciPy."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from bench.workload import Array, Ops, Workload


def entries_of(np_: Any, edges: Any, side: Any, top: Any) -> Any:
    """The numbers of the array, in the order of `places`: the diagonal, then the edges, twice."""
    join, (across, down) = np_.concatenate, edges
    degree = join([side, across], 1) + join([across, side], 1)
    degree = degree + join([top, down]) + join([down, top])
    flat = join([across.reshape(-1), down.reshape(-1)])
    return join([degree.reshape(-1) + 0.01, -flat, -flat])


@functools.cache
def places(n: int) -> tuple[Array, Array]:
    """The rows and columns of a grid's matrix."""
    nodes = np.arange(n * n).reshape(n, n)
    one = np.concatenate([nodes[:, :-1].ravel(), nodes[:-1].ravel()])
    other = np.concatenate([nodes[:, 1:].ravel(), nodes[1:].ravel()])
    return (
        np.concatenate([nodes.ravel(), one, other]),
        np.concatenate([nodes.ravel(), other, one]),
    )


def sparse_loss(ops: Ops, params: Any, source: Any, side: Any, top: Any, targets: Any) -> Any:
    """Solve for the field; the sum of squares of its distance from the one that is measured."""
    entries = entries_of(ops.numpy, params, side, top)
    d = ops.spsolve(entries, places(len(side)), source) - targets
    return ops.numpy.sum(d * d)


def sparse_by_hand(
    params: Any, source: Array, side: Array, top: Array, targets: Array
) -> tuple[Any, list[Array]]:
    """`sparse_loss` and its gradients; the factors serve both solutions."""
    linalg: Any = importlib.import_module("scipy.sparse.linalg")
    arrays: Any = importlib.import_module("scipy.sparse")
    n = len(side)
    entries = entries_of(np, params, side, top)
    factors = linalg.splu(arrays.csc_array((entries, places(n)), shape=(n * n, n * n)))
    field = factors.solve(source)
    d = field - targets
    u, back = field.reshape(n, n), factors.solve(2 * d, trans="T").reshape(n, n)
    return d @ d, [-np.diff(u, axis=i) * np.diff(back, axis=i) for i in (1, 0)]


def sparse(n: int = 64) -> Workload:
    """Make a grid of n by n points."""
    rng = np.random.default_rng(16)
    params = rng.uniform(0.5, 1.5, (n, n - 1)), rng.uniform(0.5, 1.5, (n - 1, n))
    source, targets = rng.standard_normal((2, n * n))
    data = source, np.zeros((n, 1)), np.zeros((1, n)), targets
    title = f"sparse solve on a grid of {n} by {n}, f64, no update"
    return Workload(title, params, data, sparse_loss, sparse_by_hand, None, peers=("jax",))
