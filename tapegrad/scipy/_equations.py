"""The equations that a solution found by SciPy solves, and linear systems of their derivatives.

At a root the function stays zero, at a minimum the slope. The implicit function theorem gives the
derivative of the solution by the arguments (`tapegrad.transforms.implicit`). It holds only at a
solution, so each kind of equations judges SciPy's: one more step of Newton must change neither the
solution nor its derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NoReturn

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.errors.functions import keep_names, label
from tapegrad.transforms.gradients import grad
from tapegrad.transforms.products import jvp
from tapegrad.tree.numbers import is_floating
from tapegrad.types import Array, PyTree, Tangent

__all__ = [
    "DerivedFunction",
    "MinimumResidual",
    "RootResidual",
    "check_solution",
    "solve_by_cg",
    "solve_by_gmres",
]
__dir__ = __all__.copy

Fn = Callable[..., Any]
Matvec = Callable[[Array], Array]
# the lower and the upper bounds of the unknowns
Limits = tuple[Array, Array] | None

_sparse: Any = import_module("scipy.sparse.linalg")

# the number of unknowns from which on a linear system is solved by products instead of a matrix
MATRIX_FREE_SIZE = 256
# one more step of Newton may move a solution by this part of its size, or of its distance from x0;
# by the second number if both are 0
_STEP_RTOL, _STEP_ATOL = 1e-3, 1e-6
# and may change the derivative by this part; at a zero derivative, it would halve it
_DERIVATIVE_RTOL = 1e-2
# a change by the arguments counts as none below this part of a change by x
_MIN_CHANGE = 1e-4
# a variable lies on its bound within this distance
_BOUND_TOL = 1e-6


@attrs.frozen(slots=False)
class DerivedFunction:
    """A function derived from another one, whose name it has in messages."""

    f: Fn

    def __attrs_post_init__(self) -> None:
        keep_names(self, self.f)


@attrs.frozen(slots=False)
class RootResidual(DerivedFunction):
    """The residual, which is zero at a root for any arguments."""

    def __call__(self, v: Array, start: Array, limits: Limits, *args: PyTree) -> Array:
        return self.f(v, *args)

    def check(
        self,
        product: Array | Matvec,
        v: Array,
        start: Array,
        limits: Limits,
        *args: PyTree,
    ) -> None:
        """Raise unless the root moves with the arguments, and is one."""
        y = self.f(v, *args)
        if callable(product):
            step = solve_by_gmres(product, y, 1e-4)
        else:
            step = _solve_dense(label(self.f), product, y)
        _check_converged(self, step, (v, start, limits, *args))


@attrs.frozen(slots=False)
class MinimumResidual(DerivedFunction):
    """The residual at a minimum: the slope, or for a variable on its bound the distance to it."""

    def __call__(self, v: Array, start: Array, limits: Limits, *args: PyTree) -> Array:
        if limits is None:
            return grad(self.f)(v, *args)
        is_low, is_high = _bound_masks(v, *limits)
        bound = np.where(is_low, *limits)
        is_held = is_low | is_high
        # with the bounds in place, so that the derivative is symmetric
        slope = grad(self.f)(np.where(is_held, bound, v), *args)
        return np.where(is_held, v - bound, slope)

    def check(
        self,
        product: Array | Matvec,
        v: Array,
        start: Array,
        limits: Limits,
        *args: PyTree,
    ) -> None:
        """Raise unless the minimum moves with the arguments, and is one."""
        left = self(v, start, limits, *args)
        is_free = np.ones(v.shape, bool)
        if limits is not None:
            is_free = self._free_mask(left, v, limits, args)
        left = np.where(is_free, left, 0)
        # convergence first, since the curvature elsewhere says nothing of a minimum
        if callable(product):
            step = _solve_indefinite(product, left, 1e-4)
            _check_converged(self, step, (v, start, limits, *args))
            # no random vector is a product with a singular matrix
            random = np.random.default_rng(0).normal(size=v.shape)
            solve_by_cg(product, np.where(is_free, random, 0), 1e-3)
            return
        step = left.copy()
        among = product[np.ix_(is_free, is_free)]
        if np.any(is_free):
            step[is_free] = _solve_dense(label(self.f), among, left[is_free])
        _check_converged(self, step, (v, start, limits, *args))
        if np.any(is_free) and _has_negative_curvature(among):
            _raise_for_saddle(label(self.f))

    def _free_mask(
        self, left: Array, v: Array, limits: tuple[Array, Array], args: tuple[PyTree, ...]
    ) -> Array:
        """A mask of the variables that no bound holds; an error if a bound may hold or not."""
        is_low, is_high = _bound_masks(v, *limits)
        is_free = ~(is_low | is_high)
        slope = grad(self.f)(np.where(is_free, v, np.where(is_low, *limits)), *args)
        noise = 10 * np.max(np.abs(left), initial=0.0, where=is_free)
        is_loose = np.where(is_low, slope, -slope) <= noise
        for i in np.flatnonzero(is_loose & ~is_free & (limits[0] < limits[1])):
            raise ValueError(
                f"{label(self.f)} has no derivative of the minimum: variable {i} lies on its "
                f"bound {np.where(is_low, *limits)[i]}, where the slope is {slope[i]:.2g}, so that "
                "it leaves the bound for a small change of the arguments; move the bound, or pass "
                "a smaller tol"
            )
        return is_free


def check_solution(
    equations: RootResidual | MinimumResidual,
    place: str,
    report: tuple[Sequence[float], str] | None,
    product: Array | Matvec,
    v: Array,
    *args: Any,
) -> None:
    """Raise unless the solution moves with the arguments; an error says where SciPy left it.

    Without convergence, a singular matrix or the curvature means nothing.
    """
    try:
        equations.check(product, v, *args)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        numbers, reason = report or ((1,), "")
        what = "slope" if isinstance(equations, MinimumResidual) else "residual"
        size = np.max(np.abs(equations(v, *args)), initial=0.0)
        reason = reason and f", and SciPy said: {' '.join(reason.split())}"
        message = f"{error}; the largest number in the {what} is {size:.2g}{reason}"
        if not numbers[0] and isinstance(error, np.linalg.LinAlgError):
            message = f"SciPy has not converged to a solution with a derivative: {message}"
            error = RuntimeError(message)
        error.args = (message,)
        if place:
            error.add_note(f"of the solution found at {place}")
        raise error from None


def _bound_masks(v: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Masks of the variables on their lower bounds and of those on their upper bounds."""
    near = _BOUND_TOL * np.minimum(np.maximum(1, np.abs(v)), upper - lower)
    return v - lower <= near, upper - v <= near


def _solve_dense(name: str, matrix: Array, b: Array) -> Array:
    """The solution of a linear system, whatever the scales of its unknowns and its equations."""
    if not np.all(np.isfinite(matrix)):
        raise RuntimeError(f"{name} has no finite derivative by its unknowns at the solution")
    by_row = _largest_magnitudes(matrix, 1)
    by_column = _largest_magnitudes(matrix / by_row, 0)
    scaled = matrix / by_row / by_column
    sizes = np.linalg.svd(scaled, compute_uv=False)
    if not sizes[-1] > 10 * len(matrix) * np.finfo(matrix.dtype).eps * sizes[0]:
        raise np.linalg.LinAlgError(
            f"{name} has a singular matrix of derivatives by its unknowns at the solution, so "
            "that the solution has no derivative"
        )
    solution: Any = np.linalg.solve(scaled, b / by_row[:, 0]) / by_column[0]
    return solution


def _largest_magnitudes(matrix: Array, axis: int) -> Array:
    sizes = np.max(np.abs(matrix), axis=axis, keepdims=True)
    return np.where(sizes > 0, sizes, 1)


def _has_negative_curvature(hessian: Array) -> bool:
    """Whether a Hessian has a negative eigenvalue, whatever the scales of the unknowns."""
    diagonal = np.abs(np.diagonal(hessian))
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1))
    sizes = np.linalg.eigvalsh((hessian + hessian.T) / 2 / scale / scale[:, np.newaxis])
    noise = 10 * len(hessian) * np.finfo(hessian.dtype).eps * np.max(np.abs(sizes))
    return bool(sizes[0] < -noise)


def _raise_for_saddle(name: str) -> NoReturn:
    raise np.linalg.LinAlgError(
        f"{name} curves downwards at the solution: this is no minimum, and has no derivative"
    )


def _check_converged(f: Fn, step: Array, operands: tuple[Any, ...]) -> None:
    """Raise if one more step of Newton would change the solution or its derivative."""
    v, start, limits, *args = operands
    far, size = (np.max(np.abs(x), initial=0.0) for x in (step, np.append(v, v - start)))
    leaves, structure = tree.flatten(args)
    places = [i for i, leaf in enumerate(leaves) if is_floating(leaf)]
    rng, params = np.random.default_rng(0), [np.asarray(leaves[i]) for i in places]
    moved = [np.asarray(np.where(x, x, 1) * rng.normal(size=x.shape), x.dtype) for x in params]

    def equations(v: Array, *params: Array) -> Array:
        fill = dict(enumerate(leaves)) | dict(zip(places, params, strict=True))
        return f(v, start, limits, *tree.unflatten(structure, list(fill.values())))

    def along(x: Array, *directions: Tangent) -> Tangent:
        return jvp(equations, [x, *params], directions)[1]

    held, bent = [0 * x for x in moved], 0.0
    # each equation counts by how far x moves it, whatever its scale
    way = (size or _STEP_ATOL) * rng.normal(size=v.shape)
    scales = _largest_magnitudes(along(v, way, *held)[:, np.newaxis], 1)[:, 0]
    # a change by the arguments counts as none if it is small beside the change by x
    for directions, least in (((step, *held), 0.0), ((0 * step, *moved), _MIN_CHANGE)):
        slope = along(v, *directions)
        change = np.max(np.abs((slope - along(v - step, *directions)) / scales), initial=0.0)
        bent = max(bent, change / (np.max(np.abs(slope / scales), initial=least) or 1))
    if not (far <= (_STEP_RTOL * size or _STEP_ATOL) and bent <= _DERIVATIVE_RTOL):
        more = "" if limits is None else " (x may lie near a bound without reaching it)"
        raise RuntimeError(
            f"SciPy has not converged to a solution of {label(f)} with a derivative: a step of "
            f"Newton moves x by {far:.2g}, of {size:.2g}, and changes the derivative by "
            f"{bent:.2g} of it; pass a smaller tol, more steps (options), another method or "
            f"another x0{more}"
        )


# --- linear systems of many unknowns, by products ---------------------------------------------


def solve_by_cg(matvec: Matvec, b: Array, rtol: float = 1e-10) -> Array:
    """A system with the Hessian of a minimum, by conjugate gradients."""
    largest, noise = 0.0, 10 * len(b) * np.finfo(b.dtype).eps

    def checked_matvec(p: Array) -> Array:
        nonlocal largest
        q = matvec(p)
        largest = max(largest, float(np.linalg.norm(q) / (np.linalg.norm(p) or 1.0)))
        # along a direction of no curvature, rounding alone decides the sign
        if p @ q < -noise * largest * (p @ p):
            _raise_for_saddle("the function")
        return q

    cg = partial(_sparse.cg, rtol=rtol, atol=0.0, maxiter=min(len(b) + 100, 2000))
    return _solve_by_products(cg, checked_matvec, b)


def _solve_indefinite(matvec: Matvec, b: Array, rtol: float) -> Array:
    """A system with a Hessian that may have negative eigenvalues."""
    try:
        return solve_by_cg(matvec, b, rtol)
    except np.linalg.LinAlgError:
        return solve_by_gmres(matvec, b, rtol)


def solve_by_gmres(matvec: Matvec, b: Array, rtol: float = 1e-10) -> Array:
    """A system with the Jacobian of a root."""
    restart = min(len(b), 100)
    gmres = partial(_sparse.gmres, rtol=rtol, atol=0.0, restart=restart, maxiter=10)
    return _solve_by_products(gmres, matvec, b)


def _solve_by_products(solve: Fn, matvec: Matvec, b: Array) -> Array:
    n = len(b)
    with np.errstate(all="ignore"):
        x, failed = solve(_sparse.LinearOperator((n, n), matvec, dtype=b.dtype), b)
    failed = failed or not np.all(np.isfinite(x))
    if failed and n <= 8 * MATRIX_FREE_SIZE:
        x = _solve_dense(
            "the function", np.stack([matvec(e) for e in np.eye(n, dtype=b.dtype)], 1), b
        )
    elif failed:
        raise np.linalg.LinAlgError(
            "the linear system for the derivative of a solution is singular, or too "
            "ill-conditioned for conjugate gradients and GMRES"
        )
    return x.astype(b.dtype)
