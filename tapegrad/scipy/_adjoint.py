"""Derivatives of the solution of a stiff equation, from equations along it.

A tangent of the solution solves ``ds/dt = J s + df/dθ dθ``, beside the solution. A cotangent solves
the adjoint equation ``dλ/dt = -Jᵀ λ`` backward in time, along the interpolated solution: the
equation itself, whose solutions would grow, is never solved backward. Both are linear in the
tangent or cotangent, so derivatives of higher order are solutions of the tangent's equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import numpy as np
from scipy import integrate

from tapegrad.core.tensor import primals
from tapegrad.scipy._calls import Programmed, SolverCall, pullback, same, shape_and_dtype
from tapegrad.scipy._steps import slopes_at
from tapegrad.transforms.jacobians import jacobian
from tapegrad.transforms.products import jvp, vjp
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import substituted

__all__ = ["Equation", "Known", "solved", "values_at"]
__dir__ = __all__.copy

IMPLICIT = ("Radau", "BDF", "LSODA")


@attrs.frozen(eq=False)
class Equation:
    """An equation ``dy/dt = slope(t, y, *moving)``, and SciPy's options for solving it.

    Attributes
    ----------
    slope
        The right-hand side; `moving` are arrays or Tensors.
    method, options
        As `scipy.integrate.solve_ivp` takes them.
    jacobian
        ``jacobian(t, y)`` if the caller gave it.
    """

    slope: Callable[..., Any]
    method: Any
    options: Mapping[str, Any]
    jacobian: Any = None

    @property
    def rtol(self) -> float:
        """The relative tolerance."""
        return float(np.min(self.options.get("rtol", 1e-3)))

    def solution(self, t0: Any, end: Any, y0: Any, *moving: Any) -> Any:
        """The interpolated solution, on arrays."""
        options = dict(self.options)
        if self.jacobian is not None:
            options["jac"] = lambda t, y: self.jacobian(t, y, *moving)
        return solved(
            lambda t, y: self.slope(t, y, *moving),
            (float(t0), float(end)),
            y0,
            method=self.method,
            dense_output=True,
            **options,
        ).sol

    def beside_tangents(self, n: int) -> Equation:
        """The equation of a solution of n numbers and of its tangent."""

        def slope(t: Any, z: Any, *operands: Any) -> Any:
            moving, tangents = operands[: len(operands) // 2], operands[len(operands) // 2 :]
            which = [i for i, x in enumerate(moving) if is_floating(x)]

            f, change = jvp(
                lambda y, *xs: self.slope(t, y, *substituted(moving, which, xs)),
                (z[:n], *[moving[i] for i in which]),
                (z[n:], *[tangents[i] for i in which]),
            )
            return np.concatenate([f, change])

        options = {k: v for k, v in self.options.items() if k in ("rtol", "atol", "max_step")}
        for name in ("rtol", "atol"):
            if np.ndim(options.get(name, 0.0)):
                options[name] = np.tile(options[name], 2)
        return Equation(slope, self.method, options)


def solved(*args: Any, **kwargs: Any) -> Any:
    """The result of SciPy's `solve_ivp`; an error if SciPy fails."""
    result = integrate.solve_ivp(*args, **kwargs)
    if not result.success:
        raise RuntimeError(f"solve_ivp: {result.message}")
    return result


@attrs.frozen(eq=False)
class Known:
    """The solution for some operands: its values, and the interpolated solution.

    The latter is None if it has not been computed.
    """

    operands: tuple[Any, ...]
    values: Any
    solution: Any

    def holds(self, operands: Any) -> bool:
        """Whether this is the solution for these operands."""
        return same(self.operands, operands)


def values_at(equation: Equation, known: Known | None, *operands: Any) -> Any:
    """The solution at some times, a row for each: a function of (t0, times, y0, *moving)."""

    def run(t0: Any, times: Any, y0: Any, *moving: Any) -> Any:
        if known is not None and known.holds((t0, times, y0, *moving)):
            return (known.values,)
        if np.all(times == t0):
            return (np.broadcast_to(y0, (*times.shape, *y0.shape)),)
        # times are in order, and may begin at t0
        sol = equation.solution(t0, times[-1], y0, *moving)
        return (np.where(np.equal(times, t0), y0[:, None], sol(times)).T,)

    def back(cotangents: Any, *operands: Any) -> Any:
        return _adjoint(equation, known, operands, cotangents[0])

    def ahead(tangents: Mapping[int, Any], *operands: Any) -> Any:
        full = [
            tangents[i] if i in tangents else np.zeros(*shape_and_dtype(x))
            for i, x in enumerate(operands)
        ]
        return (_tangent(equation, operands, full),)

    times, y0 = operands[1:3]
    like = ((*times.shape, *y0.shape), np.dtype(float))
    return SolverCall(run, (like,), back, ahead)(*operands)[0]


def _tangent(equation: Equation, operands: Any, tangents: Any) -> Any:
    """The tangent of `values_at`, itself by `values_at`."""
    (t0, times, y0, *moving), (dt0, dtimes, dy0, *dmoving) = operands, tangents
    n = len(y0)
    start = dy0 - equation.slope(t0, y0, *moving) * dt0
    # scaled, since the equation is linear in the tangents, but SciPy's tolerance is absolute too
    sizes = [np.max(np.abs(x), initial=0.0) for x in primals((start, *dmoving))]
    scale = float(max(s for s in sizes if np.isfinite(s))) or 1.0
    z = values_at(
        equation.beside_tangents(n),
        None,
        t0,
        times,
        np.concatenate([y0, start / scale]),
        *moving,
        *[d / scale if is_floating(x) else d for x, d in zip(moving, dmoving, strict=True)],
    )
    slopes = slopes_at(equation.slope, times, z[:, :n], moving)
    return scale * z[:, n:] + slopes * np.expand_dims(dtimes, -1)


def _adjoint(equation: Equation, known: Known | None, operands: Any, g: Any) -> list[Any]:
    """The cotangents of the operands of `values_at`."""
    which = [i for i, x in enumerate(operands) if is_floating(x)]

    def run(g: Any, *operands: Any) -> Any:
        return _integrated(equation, known, g, which, *operands)

    def back(v: Any, g: Any, *operands: Any) -> Any:
        zeros = [np.zeros(*shape_and_dtype(x)) for x in operands]
        full = substituted(zeros, which, v)
        tangent, pull = pullback(lambda *xs: _tangent(equation, xs, full), operands)
        return [tangent, *pull(g)]

    call = SolverCall(run, tuple(shape_and_dtype(operands[i]) for i in which), back)
    return substituted([None] * len(operands), which, call(g, *operands))


def _integrated(
    equation: Equation, known: Known | None, g: Any, which: Any, *operands: Any
) -> list[Any]:
    """The adjoint equation solved backward on arrays, and its integrals."""
    t0, times, y0, *moving = operands
    if known is not None and not known.holds(operands):
        known = None
    values = values_at(equation, None, *operands) if known is None else known.values
    slopes = np.asarray(slopes_at(equation.slope, times, values, moving))
    by_times = np.sum(g * slopes, axis=-1)
    ends = [k for k in range(len(times)) if np.any(g[k])]
    weights = np.zeros(len(y0))
    total = [np.zeros(*shape_and_dtype(operands[i])) for i in which if i > 2]
    if ends and times[ends[-1]] != t0:
        sol = None if known is None else known.solution
        sol = sol or equation.solution(t0, times[-1], y0, *moving)
        along = _Along(equation, sol, tuple(moving))
        for k, end in zip(ends[::-1], [*ends[-2::-1], None], strict=True):
            weights = weights + g[k]
            stop = float(t0 if end is None else times[end])
            if times[k] != stop:
                weights, parts = along.back(
                    float(times[k]), stop, weights, [i - 3 for i in which if i > 2]
                )
                total = [a + b for a, b in zip(total, parts, strict=True)]
    else:
        weights = weights + sum(g[k] for k in ends)
    by_t0 = -np.dot(weights, equation.slope(t0, y0, *moving))
    cotangents = {0: by_t0, 1: by_times, 2: weights}
    return [cotangents[i] if i <= 2 else total.pop(0) for i in which]


@attrs.frozen(eq=False)
class _Along:
    """The adjoint equation along a solution."""

    equation: Equation
    solution: Any
    moving: tuple[Any, ...]
    pulled: Any = attrs.field(init=False)
    matrix: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        slope = self.equation.slope

        def pulled(t: Any, y: Any, weights: Any, *moving: Any) -> Any:
            return -vjp(lambda y: slope(t, y, *moving), y)[1](weights)[0]

        def matrix(t: Any, y: Any, *moving: Any) -> Any:
            return -np.transpose(jacobian(lambda y: slope(t, y, *moving))(y))

        set_field = partial(object.__setattr__, self)
        set_field("pulled", Programmed(pulled))
        set_field("matrix", Programmed(matrix))

    def back(self, start: float, stop: float, weights: Any, which: Any) -> Any:
        """The weights at an earlier time, and the integrals for the moving arrays."""
        scale = float(np.max(np.abs(weights)))
        equation, moving, y = self.equation, self.moving, self.solution
        options = {"rtol": equation.rtol, "atol": max(1e-3 * equation.rtol, 1e-15)}

        def matrix(t: Any, w: Any) -> Any:
            if equation.jacobian is not None:
                return -equation.jacobian(t, y(t), *moving).T
            return self.matrix(t, y(t), *moving)

        adjoint = solved(
            lambda t, w: self.pulled(t, y(t), w, *moving),
            (start, stop),
            weights / scale,
            method=equation.method if equation.method in IMPLICIT else "Radau",
            jac=matrix,
            dense_output=True,
            **options,
        )
        parts = self.integrals(adjoint.sol, start, stop, scale, which) if which else []
        return adjoint.y[:, -1] * scale, parts

    def integrals(self, sol: Any, start: float, stop: float, scale: float, which: Any) -> Any:
        """The integrals of the weights times the slope's derivatives, by Gauss's rule."""
        low, high = min(start, stop), max(start, stop)
        inside = [t for t in self.solution.ts if low < t < high]
        mesh = np.unique(np.concatenate([sol.ts, inside]))
        nodes, gauss = np.polynomial.legendre.leggauss(4)
        half = np.diff(mesh) / 2
        t = (mesh[:-1] + half)[:, None] + half[:, None] * nodes
        rule = (half[:, None] * gauss * (scale * np.sign(start - stop))).ravel()
        t = t.ravel()
        weights = sol(t).T * rule[:, None]
        states = self.solution(t).T

        def total(*xs: Any) -> Any:
            moving = substituted(self.moving, which, xs)
            return np.sum(weights * slopes_at(self.equation.slope, t, states, moving))

        return vjp(total, *[self.moving[i] for i in which])[1](1.0)
