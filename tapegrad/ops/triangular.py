"""Equations with triangular matrices, and the rule of Cholesky factors, which solves them.

SciPy solves them if it is installed; otherwise NumPy does, by more operations. Results differ by
rounding alone, so a program that was saved with SciPy runs without it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.arraylike.table import lazy_import
from tapegrad.core.primitive import Joint
from tapegrad.declare import op
from tapegrad.declare.batching import batch_stacks
from tapegrad.ops.casting import conjugate_of
from tapegrad.ops.decompositions import cotangent_of_triangle, halve_diagonal
from tapegrad.ops.inverses import inv
from tapegrad.ops.product import adjoint, transpose_matrices
from tapegrad.types import Array, Cotangent

# from this size on, SciPy saves more time than its import takes
LARGE = 400
# up to this size NumPy is faster with a stack of matrices, which takes one call
SMALL = 16
# the rows and columns of a block, large enough for BLAS to be efficient
BLOCK = 64


def apply_to_stack(fn: Callable[..., Any], *xs: Array, **options: Any) -> Array:
    """Call a function for each matrix of stacks; its results have the last operand's shape."""
    stack = np.broadcast_shapes(*[x.shape[:-2] for x in xs])
    if not stack:
        return fn(*xs, **options)
    xs = tuple([np.broadcast_to(x, (*stack, *x.shape[-2:])) for x in xs])
    results = [fn(*[x[i] for x in xs], **options) for i in np.ndindex(*stack)]
    return (
        np.stack(results).reshape(*stack, *xs[-1].shape[-2:]) if results else zeros_like_last(*xs)
    )


def zeros_like_last(*xs: Array, **options: Any) -> Array:
    """Return zeros like the result, whose matrices have the last operand's shape."""
    stack = np.broadcast_shapes(*[x.shape[:-2] for x in xs])
    return np.zeros((*stack, *xs[-1].shape[-2:]), np.result_type(*xs))


# settings of the ops here, which take stacks of matrices
STACKED: dict[str, Any] = {
    "scipy": "",
    "batch": batch_stacks(),
    "like": zeros_like_last,
    "complex": True,
}


def _import_scipy_linalg(a: Array) -> Any:
    """Return ``scipy.linalg`` if it has been imported, or matrices are large enough for it."""
    if a.shape[-1] >= LARGE:
        try:
            return importlib.import_module("scipy.linalg")
        except ImportError:
            return None
    if a.ndim > 2 and a.shape[-1] <= SMALL:
        return None
    scipy = sys.modules.get("scipy.linalg")
    # another thread may still be importing it
    return (
        scipy if hasattr(scipy, "get_blas_funcs") and hasattr(scipy, "solve_triangular") else None
    )


def _triangular_vjp(
    g: Cotangent, y: Array, a: Array, b: Array, trans: bool, lower: bool, unit: bool, finite: bool
) -> list[Cotangent]:
    c = triangular(a, g, not trans, lower, unit, finite)
    products = y @ transpose_matrices(c) if trans else c @ transpose_matrices(y)
    is_read = np.tri(a.shape[-1], k=-1 if unit else 0, dtype=bool)
    return [np.where(is_read if lower else is_read.T, -products, 0), c]


@op(each_operand=Joint(_triangular_vjp, 2), name="solve_triangular", **STACKED)
def triangular(a: Array, b: Array, trans: bool, lower: bool, unit: bool, finite: bool) -> Array:
    """The solution for stacks of matrices."""
    if (scipy := _import_scipy_linalg(a)) is not None:
        options = {"trans": int(trans), "lower": lower, "unit_diagonal": unit}
        return apply_to_stack(scipy.solve_triangular, a, b, check_finite=finite, **options)
    if finite and not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("array must not contain infs or NaNs")
    a = np.tril(a) if lower else np.triu(a)
    if unit:
        a = np.where(np.eye(a.shape[-1], dtype=bool), 1, a).astype(a.dtype)
    return np.linalg.solve(a.mT if trans else a, b)


def _pull_by_ops(y: Array, g: Cotangent) -> Cotangent:
    """Return the cotangent of a matrix from its Cholesky factor's, by ops that differentiate."""
    inner = halve_diagonal(adjoint(y) @ g)
    conjugate_y = conjugate_of(y)
    half_solved = triangular(conjugate_y, inner, True, True, False, False)
    solved = adjoint(triangular(conjugate_y, adjoint(half_solved), True, True, False, False))
    return cotangent_of_triangle(solved, False)


def _blocks(n: int) -> list[slice]:
    return [slice(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def _halved_product(factor: Array, g: Cotangent) -> Cotangent:
    """Compute `halve_diagonal` of ``adjoint(factor) @ g`` without the factor's zeros."""
    shape = np.broadcast_shapes(factor.shape, g.shape)
    x = np.zeros(shape, np.result_type(factor, g))
    for s in _blocks(shape[-1]):
        x[..., s, : s.stop] = adjoint(factor[..., s.start :, s]) @ g[..., s.start :, : s.stop]
        x[..., s, s] = halve_diagonal(x[..., s, s])
    return x


def _fold_to_lower(x: Array) -> Array:
    """Compute `cotangent_of_triangle` of the lower triangle in the argument's memory."""
    for s in _blocks(x.shape[-1]):
        x[..., s, : s.start] += adjoint(x[..., : s.start, s])
        x[..., : s.start, s] = 0
        x[..., s, s] = cotangent_of_triangle(x[..., s, s], False)
    return x


def _pull_vjp(c: Cotangent, y: Array, factor: Array, g: Cotangent) -> list[Cotangent]:
    # imported late, since transforms imports ops
    vjp = lazy_import("tapegrad.transforms.products", "vjp")
    pull = vjp(_pull_by_ops, factor, g)[1]
    return [conjugate_of(x) for x in pull(conjugate_of(c))]


@op(each_operand=Joint(_pull_vjp, 2), name="cholesky_pulled", **STACKED)
def pulled(factor: Array, g: Cotangent) -> Cotangent:
    """The same as `_pull_by_ops`, in one array and with half of the operations."""
    x = _halved_product(factor, g)
    # block by block: subtract the solved part, then multiply by the inverse of the block
    inverses = [(s, inv(np.tril(factor[..., s, s]))) for s in _blocks(x.shape[-1])[::-1]]
    for s, inverse in inverses:
        below = factor[..., s.stop :, s]
        x[..., s, :] = adjoint(inverse) @ (x[..., s, :] - adjoint(below) @ x[..., s.stop :, :])
    for s, inverse in inverses:
        x[..., s] = (x[..., s] - x[..., s.stop :] @ factor[..., s.stop :, s]) @ inverse
    return _fold_to_lower(x)


def cotangent_from_factor(factor: Array, g: Cotangent, upper: bool) -> Cotangent:
    """Return the cotangent of a matrix, in one triangle, from its factor's cotangent."""
    return adjoint(pulled(adjoint(factor), adjoint(g))) if upper else pulled(factor, g)
