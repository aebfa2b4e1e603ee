"""Equations with matrices, and functions of matrices, as in `scipy.linalg`.

SciPy solves the equations. A cotangent is pulled back by equations of the same kind, with the
adjoint, so each rule is written with the op itself, and derivatives of any order follow. All
functions but `block_diag` and `toeplitz` take stacks of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import linalg as _scipy

from tapegrad.core.forward import Tangents
from tapegrad.core.primitive import Joint, Primitive
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.declare.batching import batch_stacks
from tapegrad.errors.words import got
from tapegrad.ops.casting import as_floating, conjugate_of, to_array
from tapegrad.ops.inverses import rule_from_adjoint
from tapegrad.ops.product import transpose_matrices
from tapegrad.ops.triangular import (
    STACKED,
    apply_to_stack,
    cotangent_from_factor,
    triangular,
    zeros_like_last,
)
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.types import Array, ArrayLike, Cotangent, Tangent

__all__ = ["block_diag", "cho_factor", "cho_solve", "expm", "expm_frechet", "solve_banded"]
__all__ += ["solve_sylvester", "solve_triangular", "sqrtm", "toeplitz"]
__dir__ = __all__.copy

like_scipy = with_scipy_parameters(_scipy)

# --- operands -------------------------------------------------------------------------------


def as_matrix(x: ArrayLike) -> Array:
    """A matrix or a stack of them, floating."""
    return as_floating(x, complex=True)


def as_square(x: ArrayLike) -> Array:
    x = as_matrix(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        # a ValueError, which some of SciPy's functions raise
        raise np.linalg.LinAlgError(f"expected square matrix; the shape is {x.shape}")
    return x


def solve_columns(solve: Callable[[Array], Array], n: int, b: ArrayLike) -> Array:
    """A function of matrices with n rows, applied to such a matrix or to a vector."""
    b = as_matrix(b)
    if b.ndim == 0 or b.shape[-2 if b.ndim > 1 else 0] != n:
        raise ValueError(f"shapes are incompatible: n = {n} rows are needed, b has shape {b.shape}")
    return solve(b) if b.ndim > 1 else np.squeeze(solve(np.expand_dims(b, -1)), -1)


# --- triangular matrices --------------------------------------------------------------------


@like_scipy
def solve_triangular(
    a: ArrayLike,
    b: ArrayLike,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    check_finite: bool = True,
) -> Array:
    """The solution x of ``a @ x = b`` for a triangular matrix, as `scipy.linalg.solve_triangular`.

    Parameters
    ----------
    a
        A matrix (n, n). Only one triangle is read, so the gradient is in that triangle.
    b
        A vector (n,), or a matrix of columns (n, k).
    trans
        0 or ``"N"``; 1 or ``"T"`` for the transpose of `a`; 2 or ``"C"`` for its adjoint.
    lower
        Whether the lower triangle is read.
    unit_diagonal
        Whether the diagonal is taken to be 1, and not read.
    check_finite
        Whether infinities and nan are refused.

    Raises
    ------
    LinAlgError
        If a number on the diagonal is 0.
    ValueError
        If shapes do not fit, or numbers are not finite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import solve_triangular
    >>> a = np.array([[2.0, 0.0], [1.0, 4.0]])
    >>> tg.grad(lambda a: np.sum(solve_triangular(a, np.ones(2), lower=True)))(a)
    array([[-0.1875 ,  0.     ],
           [-0.125  , -0.03125]])
    """
    kinds = {0: 0, 1: 1, 2: 2, "N": 0, "T": 1, "C": 2}
    if trans not in kinds:
        raise ValueError(f"trans must be 0, 1, 2, 'N', 'T' or 'C', not {trans!r}")
    kind, a = kinds[trans], as_square(a)
    flags = bool(lower), bool(unit_diagonal), bool(check_finite)
    if kind == 2:
        a = conjugate_of(a)
    return solve_columns(lambda b: triangular(a, b, kind > 0, *flags), a.shape[-1], b)


def _factor_vjp(g: Cotangent, y: Array, a: Array, lower: bool, finite: bool) -> Cotangent:
    return cotangent_from_factor(y, g, not lower)


@op(
    _factor_vjp,
    name="cho_factor",
    scipy="",
    batch=batch_stacks(),
    like=zeros_like_last,
    complex=rule_from_adjoint(_factor_vjp),
)
def _cho_factor(a: Array, lower: bool, finite: bool) -> Array:
    """The Cholesky factors of a stack of matrices."""
    return apply_to_stack(_scipy.cholesky, a, lower=lower, check_finite=finite)


@like_scipy
def cho_factor(a: ArrayLike, lower: bool = False, check_finite: bool = True) -> tuple[Array, bool]:
    """The Cholesky factor of a matrix, for `cho_solve`, as `scipy.linalg.cho_factor`.

    Parameters
    ----------
    a
        A positive definite matrix. Only one triangle is read, so the gradient is in that triangle.
    lower
        Whether the lower triangle is read, and the factor is lower triangular.
    check_finite
        Whether infinities and nan are refused.

    Returns
    -------
    c, lower
        The factor; its other triangle is 0, while SciPy leaves any numbers there.

    Raises
    ------
    LinAlgError
        If the matrix is not positive definite.
    ValueError
        If it is not square, or not finite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import cho_factor, cho_solve
    >>> def solution(a):
    ...     return np.sum(cho_solve(cho_factor(a), np.array([2.0, 4.0])))
    >>> tg.grad(solution)(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[-0.5 , -0.75],
           [ 0.  , -0.25]])
    """
    return _cho_factor(as_square(a), lower=bool(lower), finite=bool(check_finite)), bool(lower)


@like_scipy
def cho_solve(
    c_and_lower: tuple[ArrayLike, bool], b: ArrayLike, check_finite: bool = True
) -> Array:
    """The solution x of ``a @ x = b`` from the Cholesky factor, as `scipy.linalg.cho_solve`.

    Parameters
    ----------
    c_and_lower
        The result of `cho_factor`.
    b
        A vector (n,), or a matrix of columns (n, k).
    check_finite
        Whether infinities and nan are refused.

    Raises
    ------
    ValueError
        If shapes do not fit, or numbers are not finite.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import cho_factor, cho_solve
    >>> cho_solve(cho_factor(np.diag([2.0, 4.0])), np.array([1.0, 1.0]))
    array([0.5 , 0.25])
    """
    c, lower = c_and_lower
    first, then = (0, 2) if lower else (2, 0)
    options = {"lower": bool(lower), "check_finite": check_finite}
    return solve_triangular(c, solve_triangular(c, b, first, **options), then, **options)


# --- banded matrices ------------------------------------------------------------------------


def _band_indices(lower: int, upper: int, n: int) -> tuple[Array, Array, Array]:
    """The rows and columns of a matrix's elements in banded form, and a mask of those inside."""
    cols = np.arange(n)
    rows = np.arange(lower + upper + 1)[:, None] - upper + cols
    return np.clip(rows, 0, max(n - 1, 0)), cols, (rows >= 0) & (rows < n)


def _banded_vjp(
    g: Cotangent, y: Array, ab: Array, b: Array, lower: int, upper: int, finite: bool
) -> list[Cotangent]:
    n = ab.shape[-1]
    # the transpose in banded form: the diagonals in the opposite order, moved to other columns
    rows, cols, inside = _band_indices(upper, lower, n)
    transposed = ab[..., lower + upper - np.arange(lower + upper + 1)[:, None], rows]
    c = _solve_banded(np.where(inside, transposed, 0), g, upper, lower, finite)
    rows, cols, inside = _band_indices(lower, upper, n)
    products = np.sum(c[..., rows, :] * y[..., cols, :][..., None, :, :], axis=-1)
    return [np.where(inside, -products, 0), c]


@op(each_operand=Joint(_banded_vjp, 2), name="solve_banded", **STACKED)
def _solve_banded(ab: Array, b: Array, lower: int, upper: int, finite: bool) -> Array:
    """The solution for stacks of matrices."""

    def solve(ab: Array, b: Array) -> Array:
        return _scipy.solve_banded((lower, upper), ab, b, check_finite=finite)

    return apply_to_stack(solve, ab, b)


@like_scipy
def solve_banded(
    l_and_u: Sequence[int],
    ab: ArrayLike,
    b: ArrayLike,
    check_finite: bool = True,
) -> Array:
    """The solution x of ``a @ x = b`` for a banded matrix, as `scipy.linalg.solve_banded`.

    Parameters
    ----------
    l_and_u
        The numbers of diagonals below and above the main one.
    ab
        The diagonals, of shape (l + u + 1, n): ``ab[u + i - j, j] == a[i, j]``. The gradient of
        elements that lie outside the matrix is 0.
    b
        A vector (n,), or a matrix of columns (n, k).
    check_finite
        Whether infinities and nan are refused.

    Raises
    ------
    LinAlgError
        If the matrix is singular.
    ValueError
        If shapes do not fit, or numbers are not finite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import solve_banded
    >>> ab = np.array([[0.0, 1.0], [2.0, 4.0]])
    >>> tg.grad(lambda ab: np.sum(solve_banded((0, 1), ab, np.ones(2))))(ab)
    array([[ 0.     , -0.125  ],
           [-0.1875 , -0.03125]])
    """
    lower, upper = map(int, l_and_u)
    ab = as_matrix(ab)
    if ab.ndim < 2 or lower + upper + 1 != ab.shape[-2]:
        raise ValueError(
            f"invalid values for the number of lower and upper diagonals: l + u + 1 is "
            f"{lower + upper + 1}, and ab has shape {ab.shape}"
        )
    finite = bool(check_finite)
    return solve_columns(lambda b: _solve_banded(ab, b, lower, upper, finite), ab.shape[-1], b)


# --- the equation of Sylvester --------------------------------------------------------------


def _sylvester_vjp(g: Cotangent, y: Array, a: Array, b: Array, q: Array) -> list[Cotangent]:
    c = solve_sylvester(transpose_matrices(a), transpose_matrices(b), g)
    return [-(c @ transpose_matrices(y)), -(transpose_matrices(y) @ c), c]


def _sylvester_one(a: Array, b: Array, q: Array) -> Array:
    # of a real and a complex matrix SciPy's solution is wrong where the real one turns
    dtype = np.result_type(a, b, q)
    a, b, q = (x.astype(dtype, copy=False) for x in (a, b, q))
    x = _scipy.solve_sylvester(a, b, q).astype(dtype, copy=False)
    # LAPACK perturbs equations that have no solution, without an error
    eps, scale = np.finfo(dtype).eps, np.abs(q).max(initial=0)
    most = np.abs(x).max(initial=0) * (np.abs(a).max(initial=0) + np.abs(b).max(initial=0))
    left = np.abs(a @ x + x @ b - q).max(initial=0)
    if not (most * eps <= scale and left <= np.sqrt(eps) * (most + scale)):
        raise np.linalg.LinAlgError(
            "solve_sylvester: a and -b have a common eigenvalue, so there is no single solution"
        )
    return x


@op(each_operand=Joint(_sylvester_vjp, 3), name="solve_sylvester", **STACKED)
def _sylvester(a: Array, b: Array, q: Array) -> Array:
    """The solution for stacks of matrices."""
    return apply_to_stack(_sylvester_one, a, b, q)


def solve_sylvester(a: ArrayLike, b: ArrayLike, q: ArrayLike) -> Array:
    """The solution x of ``a @ x + x @ b = q``, as `scipy.linalg.solve_sylvester`.

    Parameters
    ----------
    a, b, q
        Matrices of shapes (m, m), (n, n) and (m, n).

    Raises
    ------
    LinAlgError
        If `a` and ``-b`` have a common eigenvalue, for which SciPy returns large numbers.
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import solve_sylvester
    >>> one = np.eye(1)
    >>> tg.grad(lambda a: np.sum(solve_sylvester(a, 3 * one, 8 * one)))(one)
    array([[-0.5]])
    """
    a, b, q = as_square(a), as_square(b), as_matrix(q)
    if q.shape[-2:] != (a.shape[-1], b.shape[-1]):
        raise ValueError(
            f"shapes are incompatible: a is {a.shape}, b is {b.shape}, and q is {q.shape}"
        )
    return _sylvester(a, b, q)


# --- functions of matrices ------------------------------------------------------------------


def _frechet_vjp(g: Cotangent, y: Array, a: Array, e: Array) -> list[Cotangent]:
    # the derivative is a block of the exponential of [[a, e], [0, a]]
    zero = np.zeros_like(a)
    n = a.shape[-1]
    at, et = transpose_matrices(a), transpose_matrices(e)
    block = np.block([[at, zero], [et, at]])
    c = expm_frechet(block, np.block([[zero, g], [zero, zero]]), compute_expm=False)
    return [c[..., :n, :n] + c[..., n:, n:], c[..., :n, n:]]


def _frechet_one(a: Array, e: Array) -> Array:
    derivative = _scipy.expm_frechet(a, e, compute_expm=False, check_finite=False)
    return derivative.astype(np.result_type(a, e), copy=False)


@op(each_operand=Joint(_frechet_vjp, 2), name="expm_frechet", **STACKED)
def _frechet(a: Array, e: Array) -> Array:
    """The derivative along a direction, for stacks of matrices."""
    return apply_to_stack(_frechet_one, a, e)


@like_scipy
def expm_frechet(
    A: ArrayLike,
    E: ArrayLike,
    method: str | None = None,
    compute_expm: bool = True,
) -> Any:
    """The derivative of `expm` at A along E, as `scipy.linalg.expm_frechet`.

    Parameters
    ----------
    A, E
        Square matrices of the same shape.
    method
        ``"SPS"``, or None, which means the same.
    compute_expm
        Whether the exponential is returned too, and first.

    Notes
    -----
    It is the upper right block of ``expm([[A, E], [0, A]])`` (Higham, Functions of Matrices, 2008,
    section 3.2), and so are its own derivatives, of any order.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import expm_frechet
    >>> expm_frechet(np.zeros((1, 1)), np.ones((1, 1)), compute_expm=False)
    array([[1.]])
    """
    if method not in (None, "SPS"):
        raise ValueError(f"method must be None or 'SPS', not {method!r}")
    A, E = as_square(A), as_square(E)
    if A.shape[-1] != E.shape[-1]:
        raise ValueError(f"A and E must have the same shape, not {A.shape} and {E.shape}")
    return (expm(A), _frechet(A, E)) if compute_expm else _frechet(A, E)


def _expm_jvp(op: Primitive, tangents: Tangents, y: Array, a: Array) -> Tangent:
    return _frechet(a, tangents[0])


@op(lambda g, y, a: _frechet(transpose_matrices(a), g), jvp=_expm_jvp, name="expm", **STACKED)
def _expm(a: Array) -> Array:
    """The exponential for stacks of matrices."""
    return _scipy.expm(a)


def expm(A: ArrayLike) -> Array:
    """The exponential of a matrix, as `scipy.linalg.expm`.

    Parameters
    ----------
    A
        A square matrix.

    Raises
    ------
    LinAlgError
        If it is not square.

    Notes
    -----
    A tangent E is pushed forward as ``expm_frechet(A, E)``, and a cotangent g pulled back with the
    adjoint, as ``expm_frechet(A^H, g)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import expm
    >>> turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    >>> tg.grad(lambda t: expm(t * turn)[0, 0])(0.5).round(6)
    np.float64(-0.479426)
    """
    return _expm(as_square(A))


def _sqrtm_one(a: Array, real: bool) -> Array:
    with np.errstate(all="ignore"):
        y = _scipy.sqrtm(a)
        wide = np.result_type(a, np.complex64) if y.dtype.kind == "c" else a.dtype
        y = y.astype(wide, copy=False)
    if np.isfinite(a).all() and not np.isfinite(y).all():
        raise np.linalg.LinAlgError("sqrtm: the matrix is singular, and has no square root")
    if real and y.dtype.kind == "c":
        raise TypeError(
            "sqrtm: the square root of a real matrix is complex here, which is not known while "
            "recording shapes alone; pass A.astype(complex)"
        )
    return y


def _sqrtm_vjp(g: Cotangent, y: Array, a: Array, real: bool = False) -> Cotangent:
    return solve_sylvester(transpose_matrices(y), transpose_matrices(y), g)


def _sqrtm_jvp(
    op: Primitive, tangents: Tangents, y: Array, a: Array, real: bool = False
) -> Tangent:
    return solve_sylvester(y, y, tangents[0])


@op(_sqrtm_vjp, jvp=_sqrtm_jvp, name="sqrtm", **STACKED)
def _sqrtm(a: Array, real: bool = False) -> Array:
    """The square root for stacks of matrices."""
    return apply_to_stack(_sqrtm_one, a, real=real)


def sqrtm(A: ArrayLike) -> Array:
    """The principal square root of a matrix, as `scipy.linalg.sqrtm`.

    Parameters
    ----------
    A
        A square matrix. The root of a real matrix is complex if it must be; in compiled
        functions and under `vmap` that is a TypeError, so pass ``A.astype(complex)`` there.

    Raises
    ------
    LinAlgError
        If the matrix is not square, or has no square root; in the backward pass, if it is singular,
        since then there is no derivative.

    Notes
    -----
    The derivative solves the Sylvester equation ``dX @ X + X @ dX = dA``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import sqrtm
    >>> tg.grad(lambda a: np.sum(sqrtm(a)))(np.diag([1.0, 4.0])).round(6)
    array([[0.5     , 0.333333],
           [0.333333, 0.25    ]])
    """
    A = as_square(A)
    compiling = isinstance(A, Tensor) and A.origin.compiling and A.dtype.kind != "c"
    return _sqrtm(A, real=True) if compiling else _sqrtm(A)


# --- matrices from parts --------------------------------------------------------------------


def block_diag(*arrs: ArrayLike) -> Array:
    """A matrix with other matrices along its diagonal, as `scipy.linalg.block_diag`.

    Parameters
    ----------
    *arrs
        Matrices; a vector is one row, and a number one element.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import block_diag
    >>> block_diag([1.0, 2.0], 3.0)
    array([[1., 2., 0.],
           [0., 0., 3.]])
    """
    parts = [to_array(x) for x in arrs] or [np.zeros((1, 0))]
    parts = [x.reshape(1, -1) if x.ndim < 2 else x for x in parts]
    for x in parts:
        if x.ndim > 2:
            raise ValueError(f"block_diag takes matrices; {got(x)} has shape {x.shape}")
    n, before, rows = sum(x.shape[1] for x in parts), 0, []
    dtype = np.result_type(*[x.dtype for x in parts])
    for x in parts:
        m, k = x.shape
        row = [np.zeros((m, before), dtype), x, np.zeros((m, n - before - k), dtype)]
        rows.append(np.concatenate(row, axis=1))
        before += k
    return np.concatenate(rows, axis=0)


def toeplitz(c: ArrayLike, r: ArrayLike | None = None) -> Array:
    """A matrix with constant diagonals, as `scipy.linalg.toeplitz`.

    Parameters
    ----------
    c
        The first column, a vector (m,) or a number.
    r
        The first row, (n,), whose first number is not read; by default the conjugate of `c`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import toeplitz
    >>> toeplitz([1.0, 2.0], [9.0, 3.0, 4.0])
    array([[1., 3., 4.],
           [2., 1., 3.]])
    """
    c = to_array(c)
    r = conjugate_of(c) if r is None else to_array(r)
    c, r = (x.reshape(1) if x.ndim == 0 else x for x in (c, r))
    if c.ndim != 1 or r.ndim != 1:
        raise ValueError(f"toeplitz takes vectors, not arrays of shapes {c.shape} and {r.shape}")
    m, n = len(c), len(r)
    values = np.concatenate([r[:0:-1], c])
    return values[max(n - 1, 0) + np.arange(m)[:, None] - np.arange(n)]


# names of these ops in older files
_factored, _banded = _cho_factor, _solve_banded
