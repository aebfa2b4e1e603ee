"""Derivatives of the solution of a stiff equation, from equations along it.

A tangent of the solution solves ``ds/dt = J s + df/dθ dθ``, beside the solution. A cotangent solves
the adjoint equation ``dλ/dt = -Jᵀ λ`` backward in time, along the interpolated solution: the
equation itself, whose solutions would grow, is never solved backward. Both are linear in the
tangent or cotangent, so derivatives of higher order are solutions of the tangent's equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
from scipy import integrate

from tapegrad.core.forward import Tangents
from tapegrad.core.tensor import primals
from tapegrad.scipy._calls import MaybeCompiled, SolverCall, are_equal, pullback, shape_and_dtype
from tapegrad.scipy._protocols import IvpResult, OdeSolution, OdeSolver
from tapegrad.scipy._steps import evaluate_slope, transposed_jacobians
from tapegrad.transforms.jacobians import jacobian
from tapegrad.transforms.products import jvp, vjp
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, Cotangent, PyTree, Tangent

__all__ = ["Equation", "KnownSolution", "run_solve_ivp", "solution_at"]
__dir__ = __all__.copy

IMPLICIT = ("Radau", "BDF", "LSODA")


@attrs.frozen(eq=False)
class Equation:
    """An equation ``dy/dt = slope(t, y, *params)``, and SciPy's options for solving it.

    Attributes
    ----------
    slope
        The right-hand side; `params` are arrays or Tensors.
    method, options
        As `scipy.integrate.solve_ivp` takes them.
    jacobian
        ``jacobian(t, y)`` if the caller gave it.
    """

    slope: Callable[..., Array]
    method: str | type[OdeSolver]
    options: Mapping[str, Any]
    jacobian: Callable[..., Array] | None = None

    @property
    def rtol(self) -> float:
        """The relative tolerance."""
        return float(np.min(self.options.get("rtol", 1e-3)))

    def solution(self, t0: Array, end: Array, y0: Array, *params: PyTree) -> OdeSolution:
        """The interpolated solution, on arrays."""
        options = dict(self.options)
        if self.jacobian is not None:
            options["jac"] = lambda t, y: self.jacobian(t, y, *params)
        return run_solve_ivp(
            lambda t, y: self.slope(t, y, *params),
            (float(t0), float(end)),
            y0,
            method=self.method,
            dense_output=True,
            **options,
        ).sol

    def with_tangent(self, n: int) -> Equation:
        """The equation of a solution of n numbers and of its tangent."""

        def slope(t: Array | float, z: Array, *operands: Array) -> Array:
            params, tangents = operands[: len(operands) // 2], operands[len(operands) // 2 :]
            which = [i for i, x in enumerate(params) if is_floating(x)]

            f, change = jvp(
                lambda y, *xs: self.slope(t, y, *replace_leaves(params, which, xs)),
                [z[:n], *[params[i] for i in which]],
                [z[n:], *[tangents[i] for i in which]],
            )
            return np.concatenate([f, change])

        options = {k: v for k, v in self.options.items() if k in ("rtol", "atol", "max_step")}
        for name in ("rtol", "atol"):
            if np.ndim(options.get(name, 0.0)):
                options[name] = np.tile(options[name], 2)
        return Equation(slope, self.method, options)


def run_solve_ivp(*args: Any, **kwargs: Any) -> IvpResult:
    """The result of SciPy's `solve_ivp`; an error if SciPy fails."""
    result = integrate.solve_ivp(*args, **kwargs)
    if not result.success:
        raise RuntimeError(f"solve_ivp: {result.message}")
    return result


@attrs.frozen(eq=False)
class KnownSolution:
    """The solution for some operands: its values, and the interpolated solution.

    The latter is None if it has not been computed.
    """

    operands: tuple[Array, ...]
    values: Array
    solution: OdeSolution | None

    def has_operands(self, operands: Sequence[Array]) -> bool:
        """Whether this is the solution for these operands."""
        return are_equal(self.operands, operands)


def solution_at(equation: Equation, known: KnownSolution | None, *operands: Array) -> Array:
    """The solution at some times, a row for each: a function of (t0, times, y0, *params)."""

    def run(t0: Array, times: Array, y0: Array, *params: Array) -> tuple[Array]:
        if known is not None and known.has_operands((t0, times, y0, *params)):
            return (known.values,)
        if np.all(times == t0):
            return (np.broadcast_to(y0, (*times.shape, *y0.shape)),)
        # times are in order, and may begin at t0
        sol = equation.solution(t0, times[-1], y0, *params)
        return (np.where(np.equal(times, t0), y0[:, None], sol(times)).T,)

    def pull(cotangents: tuple[Cotangent], *operands: Array) -> list[Cotangent | None]:
        return _solution_cotangents(equation, known, operands, cotangents[0])

    def ahead(tangents: Tangents, *operands: Array) -> tuple[Tangent]:
        full = [
            tangents[i] if i in tangents else np.zeros(*shape_and_dtype(x))
            for i, x in enumerate(operands)
        ]
        return (_solution_tangent(equation, operands, full),)

    times, y0 = operands[1:3]
    like = ((*times.shape, *y0.shape), np.dtype(float))
    return SolverCall(run, (like,), pull, ahead)(*operands)[0]


def _solution_tangent(
    equation: Equation, operands: Sequence[Array], tangents: Sequence[Tangent]
) -> Tangent:
    """Return the tangent of `solution_at`, which is itself a solution."""
    (t0, times, y0, *params), (dt0, dtimes, dy0, *dmoving) = operands, tangents
    n = len(y0)
    start = dy0 - equation.slope(t0, y0, *params) * dt0
    # scaled, since the equation is linear in the tangents, but SciPy's tolerance is absolute too
    sizes = [np.max(np.abs(x), initial=0.0) for x in primals((start, *dmoving))]
    scale = float(max(s for s in sizes if np.isfinite(s))) or 1.0
    z = solution_at(
        equation.with_tangent(n),
        None,
        t0,
        times,
        np.concatenate([y0, start / scale]),
        *params,
        *[d / scale if is_floating(x) else d for x, d in zip(params, dmoving, strict=True)],
    )
    slopes = evaluate_slope(equation.slope, times, z[:, :n], params)
    return scale * z[:, n:] + slopes * np.expand_dims(dtimes, -1)


def _solution_cotangents(
    equation: Equation, known: KnownSolution | None, operands: Sequence[Array], g: Cotangent
) -> list[Cotangent | None]:
    """Return the cotangents of the operands of `solution_at`."""
    which = [i for i, x in enumerate(operands) if is_floating(x)]

    def run(g: Cotangent, *operands: Array) -> list[Cotangent]:
        return _solve_adjoint(equation, known, g, which, *operands)

    def back(v: Sequence[Tangent], g: Cotangent, *operands: Array) -> list[Cotangent | None]:
        zeros = [np.zeros(*shape_and_dtype(x)) for x in operands]
        full = replace_leaves(zeros, which, v)
        tangent, pull = pullback(lambda *xs: _solution_tangent(equation, xs, full), operands)
        return [tangent, *pull(g)]

    call = SolverCall(run, tuple(shape_and_dtype(operands[i]) for i in which), back)
    return replace_leaves([None] * len(operands), which, call(g, *operands))


def _solve_adjoint(
    equation: Equation,
    known: KnownSolution | None,
    g: Cotangent,
    which: Sequence[int],
    *operands: Array,
) -> list[Cotangent]:
    """The adjoint equation solved backward on arrays, and its integrals."""
    t0, times, y0, *params = operands
    if known is not None and not known.has_operands(operands):
        known = None
    values = solution_at(equation, None, *operands) if known is None else known.values
    slopes = np.asarray(evaluate_slope(equation.slope, times, values, params))
    by_times = np.sum(g * slopes, axis=-1)
    by_moving = [i - 3 for i in which if i > 2]
    parts = [np.zeros(*shape_and_dtype(params[i])) for i in by_moving]
    jumps: dict[float, Any] = {}
    for t, jump in zip(times.tolist(), g, strict=True):
        if np.any(jump):
            jumps[t] = jumps.get(t, 0.0) + jump
    weights = jumps.pop(float(t0), np.zeros(len(y0)))
    if jumps:
        sol = None if known is None else known.solution
        sol = sol or equation.solution(t0, times[-1], y0, *params)
        along = _AdjointEquation(equation, sol, tuple(params), jumps, float(t0))
        end, at, states, sums = along.solve_by_steps() or along.solve_by_scipy()
        weights = weights + end

        def total(*xs: Array) -> Array:
            full = replace_leaves(params, by_moving, xs)
            return np.sum(sums * evaluate_slope(equation.slope, at, states, full))

        if by_moving:
            parts = list(vjp(total, *[params[i] for i in by_moving])[1](1.0))
    by_t0 = -np.dot(weights, equation.slope(t0, y0, *params))
    cotangents = [by_t0, by_times, weights]
    return [cotangents[i] for i in which if i <= 2] + parts


# the largest number of elements in the systems of all steps
_MAX_SYSTEM_SIZE = 1_000_000
# Radau's method with three stages: its nodes, and the integrals of the polynomials through them
_NODES = np.array([4 - 6**0.5, 4 + 6**0.5, 10]) / 10
_POWERS = np.vander(_NODES, increasing=True)
_STAGES = _POWERS * _NODES[:, None] / np.arange(1, 1 + len(_NODES)) @ np.linalg.inv(_POWERS)


@attrs.frozen(eq=False)
class _AdjointEquation:
    """The adjoint equation along a solution, solved back to `t0`.

    Its solution, the weights, jumps at the times that have a cotangent. The derivatives by
    `params` are sums over points of weights and of the right-hand side's derivatives.
    """

    equation: Equation
    solution: OdeSolution
    params: tuple[Array, ...]
    jumps: Mapping[float, Array]
    t0: float

    def jump_times(self) -> list[float]:
        """The times of jumps, back to `t0`."""
        return [*sorted(self.jumps, key=lambda t: -abs(t - self.t0)), self.t0]

    def mesh(self, start: float, stop: float, others: Sequence[float] | Array = ()) -> Array:
        """The ends of the solution's steps between two times, with others and these."""
        low, high = min(start, stop), max(start, stop)
        mesh = np.unique([low, high, *[t for t in self.solution.ts if low < t < high], *others])
        return mesh if start < stop else mesh[::-1]

    def solve_by_steps(self) -> tuple[Array, Array, Array, Array] | None:
        """The weights at `t0`; points, states there, and factors of the derivatives there.

        An interval is halved until two steps over it agree with one. All steps are taken at once:
        each is a matrix, by which the weights at its start are multiplied. None if they are many.
        """
        ends = self.jump_times()
        mesh = self.mesh(ends[0], ends[-1], ends)
        size = 3 * (len(self.jumps[ends[0]]) * len(_NODES)) ** 2
        if size * len(mesh) > _MAX_SYSTEM_SIZE:
            return None
        # above rounding
        rtol, least = max(self.equation.rtol, 1e-12), 1e-17 * abs(mesh[-1] - mesh[0])
        parts = self._solve_stages(mesh[:-1], mesh[1:])
        while True:
            starts, stops, at, states, stages = parts
            one, first, second = stages[:, :, -1].swapaxes(0, 1)
            whole = second @ first
            weights, begun = np.zeros(one.shape[-1]), np.empty(one.shape[:2])
            for k, start in enumerate(starts.tolist()):
                begun[k] = weights = weights + self.jumps.get(start, 0.0)
                weights = whole[k] @ weights
            ended, errors = ((x @ begun[..., None])[..., 0] for x in (whole, whole - one))
            sizes = np.abs(ended) + 1e-3 * np.max(np.abs(begun), axis=1, keepdims=True)
            halves = (starts + stops) / 2
            is_coarse = np.any(np.abs(errors) > 10 * rtol * sizes, axis=1)
            is_coarse &= np.abs(halves - starts) > 1e-14 * np.abs(starts) + least
            if not np.any(is_coarse):
                break
            if size * len(starts) > 4 * _MAX_SYSTEM_SIZE:
                return None
            low, high, between = (x[is_coarse] for x in (starts, stops, halves))
            tried = self._solve_stages(np.append(low, between), np.append(between, high))
            parts = [np.append(x[~is_coarse], y, axis=0) for x, y in zip(parts, tried, strict=True)]
            order = np.argsort(parts[0])[:: 1 if mesh[0] < mesh[-1] else -1]
            parts = [x[order] for x in parts]
        begun = np.stack([begun, (first @ begun[..., None])[..., 0]], axis=1)[:, :, None, :, None]
        rule = (starts - stops)[:, None, None, None] / 2 * _STAGES[-1][:, None]
        factors = rule * (stages[:, 1:] @ begun)[..., 0]
        n = len(weights)
        return weights, at[:, 1:].ravel(), states[:, 1:].reshape(-1, n), factors.reshape(-1, n)

    def _solve_stages(self, starts: Array, stops: Array) -> list[Array]:
        """Intervals in one step and in two: with the points, the states and the stages of each.

        The weights at stages are matrices, by which those at the start of the step are multiplied.
        """
        halves, s = (starts + stops) / 2, len(_NODES)
        begun = np.stack([starts, starts, halves], axis=1)[..., None]
        h = np.stack([stops, halves, stops], axis=1)[..., None] - begun
        at = begun + h * _NODES
        states = self.solution(at.ravel()).T
        n = states.shape[1]
        transposed = transposed_jacobians(self.equation.slope, at.ravel(), states, self.params)
        transposed = transposed.reshape(*at.shape, n, n) * h[..., None, None]
        systems = np.einsum("ij,kljab->kliajb", _STAGES, transposed).reshape(-1, 3, s * n, s * n)
        stages = np.linalg.solve(np.eye(s * n) + systems, np.tile(np.eye(n), (s, 1)))
        return [starts, stops, at, states.reshape(*at.shape, n), stages.reshape(*at.shape, n, n)]

    def solve_by_scipy(self) -> tuple[Array, Array, Array, Array]:
        """The same by SciPy's solver, from jump to jump, and Gauss's rule."""
        equation, params, y = self.equation, self.params, self.solution
        slope, users, parts = equation.slope, equation.jacobian, []
        pulled = MaybeCompiled(
            lambda t, y, w, *params: -vjp(lambda y: slope(t, y, *params), y)[1](w)[0]
        )
        derived = MaybeCompiled(lambda t, y, *params: jacobian(lambda y: slope(t, y, *params))(y))
        nodes, gauss = np.polynomial.legendre.leggauss(4)
        ends = self.jump_times()
        weights = np.zeros(len(self.jumps[ends[0]]))
        for start, stop in pairwise(ends):
            weights = weights + self.jumps[start]
            scale = float(np.max(np.abs(weights))) or 1.0
            adjoint = run_solve_ivp(
                lambda t, w: pulled(t, y(t), w, *params),
                (start, stop),
                weights / scale,
                method=equation.method if equation.method in IMPLICIT else "Radau",
                jac=lambda t, w: -(users or derived)(t, y(t), *params).T,
                dense_output=True,
                rtol=equation.rtol,
                atol=max(1e-3 * equation.rtol, 1e-15),
            )
            weights = adjoint.y[:, -1] * scale
            mesh = self.mesh(start, stop, adjoint.sol.ts)
            half = np.diff(mesh)[:, None] / 2
            at = (mesh[:-1, None] + half + half * nodes).ravel()
            parts.append((at, adjoint.sol(at).T * (-scale * half * gauss).reshape(-1, 1)))
        points, factors = (np.concatenate(x) for x in zip(*parts, strict=True))
        return weights, points, y(points).T, factors
