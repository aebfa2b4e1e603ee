"""The cost of a gradient in SciPy's forward solutions: sparse equations, initial values."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

import tapegrad as tg
from bench.peers.tapegrad import tapegrad_ops
from bench.workload import Entry, Workload
from bench.workloads.sparse import entries_of, places, sparse, sparse_loss

RATES = np.array([1.1, 0.4, 0.1, 0.4])
START, TIMES = np.array([10.0, 5.0]), np.linspace(0.0, 10.0, 21)
EXACT: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8}


def slope(np_: Any) -> Callable[[Any, Any, Any], Any]:
    """The equations of Lotka and Volterra, by a module with NumPy's names."""

    def fn(t: Any, s: Any, rates: Any) -> Any:
        met = s[0] * s[1]
        return np_.stack([rates[0] * s[0] - rates[1] * met, rates[2] * met - rates[3] * s[1]])

    return fn


def solver_entries(peers: Sequence[str], grid: int = 200) -> tuple[Workload, list[Entry]]:
    """Make SciPy's solutions, and values with gradients by tapegrad and HIPS autograd."""
    theirs: Any = importlib.import_module("scipy.integrate")
    ours: Any = importlib.import_module("tapegrad.scipy.integrate")
    arrays: Any = importlib.import_module("scipy.sparse")
    linalg: Any = importlib.import_module("scipy.sparse.linalg")
    w, ops = sparse(grid), tapegrad_ops()

    def equations(field: Any) -> Any:
        source, side, top, _ = w.data
        entries = entries_of(np, field, side, top)
        matrix = arrays.csc_array((entries, places(grid)), shape=(grid**2, grid**2))
        return linalg.spsolve(matrix, source)

    def through(
        module: Any, solver: str, np_: Any, pack: Callable[[Any], Any] = tuple
    ) -> Callable[[Any], Any]:
        def ivp(rates: Any) -> Any:
            ends = TIMES[0], TIMES[-1]
            found = module.solve_ivp(slope(np_), ends, START, t_eval=TIMES, args=(rates,), **EXACT)
            return np_.mean(found.y**2)

        def odeint(rates: Any) -> Any:
            fn = slope(np_)
            y = module.odeint(lambda s, t, r: fn(t, s, r), START, TIMES, pack([rates]), **EXACT)
            return np_.mean(y**2)

        return ivp if solver == "solve_ivp" else odeint

    def entry(label: str, step: Callable[[Any], Any], argument: Any) -> Entry:
        return Entry(label, lambda: argument, step, (), tg.tree.leaves)

    sparse_gradient = tg.value_and_grad(lambda field: sparse_loss(ops, field, *w.data))
    kind = f"spsolve of {grid**2:,}"
    entries = [entry(f"forward, {kind}", equations, w.params)]
    entries.append(entry(f"gradient, {kind}", sparse_gradient, w.params))
    for solver in ("solve_ivp", "odeint"):
        entries.append(entry(f"forward, {solver}", through(theirs, solver, np), RATES))
        own = tg.value_and_grad(through(ours, solver, np))
        entries.append(entry(f"gradient, {solver}", own, RATES))
    if "autograd" in peers:
        autograd: Any = importlib.import_module("autograd")
        peer: Any = importlib.import_module("autograd.scipy.integrate")
        anp: Any = importlib.import_module("autograd.numpy")
        their = autograd.value_and_grad(through(peer, "odeint", anp, autograd.builtins.tuple))
        entries.append(entry("autograd, odeint", their, RATES))
    title = "SciPy's solution, and a loss of it with its gradient, f64"
    return attrs.evolve(w, title=title), entries


def check_solvers(w: Workload, entries: Sequence[Entry]) -> None:
    """Exit unless the gradients agree: with that by hand, and with each other."""
    found = [e.step(e.start()) for e in entries if not e.name.startswith("forward")]
    wanted = [(found[0], w.by_hand(w.leaves, *w.data), 1e-8)]
    wanted += [(result, found[1], 1e-4) for result in found[2:]]
    for (value, gradient), (other, same), tolerance in wanted:
        pairs = [(value, other), *zip(tg.tree.leaves(gradient), tg.tree.leaves(same), strict=True)]
        if not all(np.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs):
            sys.exit("gradients through SciPy's solvers disagree")
