"""Equations with triangular matrices, and the rule of Cholesky factors that is made of them.

SciPy computes them where it is there, and NumPy, by more operations, where it is not; results
differ by rounding alone. So a program that was saved with SciPy runs without it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.core.op import Joint
from tapegrad.declare import op
from tapegrad.declare.batching import stacks_of
from tapegrad.face.table import lazy_import
from tapegrad.ops.casting import conjugate_of
from tapegrad.ops.decompositions import of_triangular_factor, within_factor
from tapegrad.ops.inverses import inv
from tapegrad.ops.product import adjoint, turned

# from this size on the time that SciPy saves pays for its import
LARGE = 400
# up to this size NumPy is faster with a stack of matrices, which it takes at once
SMALL = 16
# rows and columns of a block, which BLAS multiplies in the time of any other
BLOCK = 64


def over_stacks(fn: Callable[..., Any], *xs: Any, **options: Any) -> Any:
    """A function of matrices called for each of a stack; the result is like the last operand."""
    stack = np.broadcast_shapes(*[x.shape[:-2] for x in xs])
    if not stack:
        return fn(*xs, **options)
    xs = tuple([np.broadcast_to(x, (*stack, *x.shape[-2:])) for x in xs])
    found = [fn(*[x[i] for x in xs], **options) for i in np.ndindex(*stack)]
    return np.stack(found).reshape(*stack, *xs[-1].shape[-2:]) if found else like_last(*xs)


def like_last(*xs: Any, **options: Any) -> Any:
    """A value like the result, where the last operand has its matrices' shape."""
    stack = np.broadcast_shapes(*[x.shape[:-2] for x in xs])
    return np.zeros((*stack, *xs[-1].shape[-2:]), np.result_type(*xs))


# of ops here: they take stacks of matrices, and while compiling shapes are enough
STACKED: dict[str, Any] = {"scipy": "", "batch": stacks_of(), "like": like_last, "complex": True}


def _scipys(a: Any) -> Any:
    """SciPy's linear algebra for matrices of this size, if it has been imported or pays for it."""
    if a.shape[-1] >= LARGE:
        try:
            return importlib.import_module("scipy.linalg")
        except ImportError:
            return None
    if a.ndim > 2 and a.shape[-1] <= SMALL:
        return None
    found = sys.modules.get("scipy.linalg")
    # another thread may still be importing it
    return (
        found if hasattr(found, "get_blas_funcs") and hasattr(found, "solve_triangular") else None
    )


def _triangular_vjp(
    g: Any, y: Any, a: Any, b: Any, trans: bool, lower: bool, unit: bool, finite: bool
) -> list[Any]:
    c = triangular(a, g, not trans, lower, unit, finite)
    products = y @ turned(c) if trans else c @ turned(y)
    read = np.tri(a.shape[-1], k=-1 if unit else 0, dtype=bool)
    return [np.where(read if lower else read.T, -products, 0), c]


@op(
    each_operand=Joint(_triangular_vjp),
    read=lambda a, b, trans, lower, unit, finite: (
        (a, b),
        {"trans": trans, "lower": lower, "unit": unit, "finite": finite},
    ),
    name="solve_triangular",
    **STACKED,
)
def triangular(a: Any, b: Any, trans: bool, lower: bool, unit: bool, finite: bool) -> Any:
    """The solution for stacks of matrices."""
    if (scipy := _scipys(a)) is not None:
        options = {"trans": int(trans), "lower": lower, "unit_diagonal": unit}
        return over_stacks(scipy.solve_triangular, a, b, check_finite=finite, **options)
    if finite and not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("array must not contain infs or NaNs")
    a = np.tril(a) if lower else np.triu(a)
    if unit:
        a = np.where(np.eye(a.shape[-1], dtype=bool), 1, a).astype(a.dtype)
    return np.linalg.solve(a.mT if trans else a, b)


def _pulled_by_ops(y: Any, g: Any) -> Any:
    inner = within_factor(adjoint(y) @ g)
    turned_y = conjugate_of(y)
    once = triangular(turned_y, inner, True, True, False, False)
    whole = adjoint(triangular(turned_y, adjoint(once), True, True, False, False))
    return of_triangular_factor(whole, False)


def _blocks(n: int) -> list[slice]:
    return [slice(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def _inner(factor: Any, g: Any) -> Any:
    """`within_factor` of ``adjoint(factor) @ g``, without the part that meets the zeros."""
    shape = np.broadcast_shapes(factor.shape, g.shape)
    x = np.zeros(shape, np.result_type(factor, g))
    for s in _blocks(shape[-1]):
        x[..., s, : s.stop] = adjoint(factor[..., s.start :, s]) @ g[..., s.start :, : s.stop]
        x[..., s, s] = within_factor(x[..., s, s])
    return x


def _folded(x: Any) -> Any:
    """`of_triangular_factor`, of the lower triangle, written over what was made on the way."""
    for s in _blocks(x.shape[-1]):
        x[..., s, : s.start] += adjoint(x[..., : s.start, s])
        x[..., : s.start, s] = 0
        x[..., s, s] = of_triangular_factor(x[..., s, s], False)
    return x


def _pulled_one(y: Any, g: Any, scipy: Any) -> Any:
    (trsm,) = scipy.get_blas_funcs(("trsm",), (y, g))
    x = np.asfortranarray(_inner(y, g))
    # BLAS would copy it in each call
    y = np.asfortranarray(y)
    x = trsm(1.0, y, x, lower=1, trans_a=2, overwrite_b=1)
    x = trsm(1.0, y, x, side=1, lower=1, overwrite_b=1)
    # in C order; the conjugate, since it is of the transpose
    return conjugate_of(_folded(x.T))


def _pulled_vjp(c: Any, y: Any, factor: Any, g: Any) -> list[Any]:
    # by name, since it is of a higher folder
    vjp = lazy_import("tapegrad.transforms.products", "vjp")
    pull = vjp(_pulled_by_ops, factor, g)[1]
    return [conjugate_of(x) for x in pull(conjugate_of(c))]


@op(
    each_operand=Joint(_pulled_vjp),
    read=lambda factor, g: ((factor, g), {}),
    name="cholesky_pulled",
    **STACKED,
)
def pulled(factor: Any, g: Any) -> Any:
    """`_pulled_by_ops`, in one piece of memory; by SciPy with half of the operations."""
    if (scipy := _scipys(factor)) is not None:
        return over_stacks(_pulled_one, factor, g, scipy=scipy)
    x = _inner(factor, g)
    # by blocks: what is solved already is taken off, and the rest is a product
    inverses = [(s, inv(np.tril(factor[..., s, s]))) for s in _blocks(x.shape[-1])[::-1]]
    for s, inverse in inverses:
        below = factor[..., s.stop :, s]
        x[..., s, :] = adjoint(inverse) @ (x[..., s, :] - adjoint(below) @ x[..., s.stop :, :])
    for s, inverse in inverses:
        x[..., s] = (x[..., s] - x[..., s.stop :] @ factor[..., s.stop :, s]) @ inverse
    return _folded(x)


def pulled_by_factor(factor: Any, g: Any, upper: bool) -> Any:
    """The cotangent of a matrix, in one triangle, from its factor and that of the factor."""
    return adjoint(pulled(adjoint(factor), adjoint(g))) if upper else pulled(factor, g)
