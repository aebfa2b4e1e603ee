"""Decompositions, equations with matrices, and functions of matrices, as in `scipy.linalg`.

The decompositions are NumPy's in SciPy's spelling: with its arguments, defaults and results. All
functions but `block_diag`, `lstsq` and `toeplitz` take stacks of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg as _scipy

from tapegrad.core.primitive import Parts
from tapegrad.declare import op
from tapegrad.declare.batching import batch_stacks
from tapegrad.declare.parts import parts_of
from tapegrad.errors.names import list_names
from tapegrad.functions import linalg as _numpy
from tapegrad.functions.matrices import Order
from tapegrad.ops.casting import conjugate_of, real_of
from tapegrad.ops.product import adjoint, transpose_matrices

# older files name these ops by this module
from tapegrad.ops.triangular import pulled as _pulled  # noqa: F401
from tapegrad.ops.triangular import triangular as _triangular
from tapegrad.scipy._matrix_equations import _banded as _banded
from tapegrad.scipy._matrix_equations import _cho_factor as _cho_factor
from tapegrad.scipy._matrix_equations import _expm as _expm
from tapegrad.scipy._matrix_equations import _factored as _factored
from tapegrad.scipy._matrix_equations import _frechet as _frechet
from tapegrad.scipy._matrix_equations import _solve_banded as _solve_banded
from tapegrad.scipy._matrix_equations import _sqrtm as _sqrtm
from tapegrad.scipy._matrix_equations import _sylvester as _sylvester
from tapegrad.scipy._matrix_equations import (
    as_matrix,
    as_square,
    block_diag,
    cho_factor,
    cho_solve,
    expm,
    expm_frechet,
    like_scipy,
    solve_banded,
    solve_columns,
    solve_sylvester,
    solve_triangular,
    sqrtm,
    toeplitz,
)
from tapegrad.scipy._options import require_finite
from tapegrad.types import Array, ArrayLike, Axis, Cotangent

__all__ = ["block_diag", "cho_factor", "cho_solve", "cholesky", "det", "eigh", "eigvalsh", "expm"]
__all__ += ["expm_frechet", "inv", "lstsq", "lu_factor", "lu_solve", "norm", "pinv", "qr", "solve"]
__all__ += ["solve_banded", "solve_sylvester", "solve_toeplitz", "solve_triangular"]
__all__ += ["solveh_banded", "sqrtm", "svd", "svdvals", "toeplitz"]
list_names(globals())

# --- NumPy's decompositions, in SciPy's spelling --------------------------------------------


@like_scipy
def cholesky(a: ArrayLike, lower: bool = False, check_finite: bool = True) -> Array:
    """The Cholesky factor of a matrix, upper triangular unless `lower`.

    Only that triangle of the matrix is read, so the gradient is in that triangle.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import cholesky
    >>> tg.grad(lambda a: np.sum(cholesky(a)))(4 * np.eye(2))
    array([[0.25, 0.5 ],
           [0.  , 0.25]])
    """
    return cho_factor(a, lower, check_finite=check_finite)[0]


_BANDS = {"diagonal": (0.0, 0.0), "tridiagonal": (-1.0, 1.0)}
_BANDS |= {"lower triangular": (-np.inf, 0.0), "upper triangular": (0.0, np.inf)}
_MIRRORED = ("sym", "symmetric", "her", "hermitian")


def _read_structure(a: Array, kind: str, lower: bool) -> Array:
    """A square matrix of which only the elements that its kind needs are read."""
    off = np.arange(a.shape[-1]) - np.arange(a.shape[-1])[:, None]
    if kind in _BANDS:
        first, last = _BANDS[kind]
        return np.where((first <= off) & (off <= last), a, 0)
    turn, middle = (transpose_matrices, a) if kind[0] == "s" else (adjoint, real_of(a))
    side = np.where(off < 0 if lower else off > 0, a, 0)
    return side + turn(side) + np.where(off == 0, middle, 0)


@like_scipy
def solve(
    a: ArrayLike,
    b: ArrayLike,
    lower: bool = False,
    assume_a: str | None = None,
    transposed: bool = False,
) -> Array:
    """The solution x of ``a @ x = b``, as `scipy.linalg.solve`.

    Parameters
    ----------
    a
        A square matrix.
    b
        A vector (n,), or a matrix of columns (n, k).
    lower
        Which triangle is read of a matrix that is symmetric, Hermitian or positive definite.
    assume_a
        The kind of the matrix, in SciPy's words. Elements that it does not need are not read, and
        get no gradient.
    transposed
        Whether the transpose of `a` is meant.

    Raises
    ------
    LinAlgError
        If the matrix is singular, or is not positive definite and should be.
    ValueError
        If shapes do not fit, or for another kind.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import solve
    >>> a = np.array([[2.0, 1.0], [7.0, 4.0]])
    >>> tg.grad(lambda a: np.sum(solve(a, np.ones(2), assume_a="diagonal")))(a)
    array([[-0.25  ,  0.    ],
           [ 0.    , -0.0625]])
    """
    a = as_square(a)
    if assume_a in ("pos", "positive definite"):
        factor = cho_factor(conjugate_of(a) if transposed else a, lower, check_finite=False)
        return cho_solve(factor, b, check_finite=False)
    if assume_a in _BANDS or assume_a in _MIRRORED:
        a = _read_structure(a, assume_a, lower)
    elif assume_a not in (None, "gen", "general", "banded"):
        raise ValueError(f"solve: {assume_a!r} is not a kind of matrix")
    a = transpose_matrices(a) if transposed else a
    return solve_columns(lambda b: _numpy.solve(a, b), a.shape[-1], b)


@like_scipy
def inv(a: ArrayLike) -> Array:
    """The inverse of a matrix.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import inv
    >>> inv(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return _numpy.inv(as_square(a))


@like_scipy
def det(a: ArrayLike) -> Array:
    """The determinant of a matrix.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import det
    >>> tg.grad(det)(np.diag([2.0, 4.0]))
    array([[4., 0.],
           [0., 2.]])
    """
    return _numpy.det(as_square(a))


@like_scipy
def eigh(
    a: ArrayLike,
    b: ArrayLike | None = None,
    lower: bool = True,
    eigvals_only: bool = False,
    subset_by_index: Sequence[int] | None = None,
) -> Any:
    """The eigenvalues of a symmetric matrix, ascending, and its eigenvectors.

    Parameters
    ----------
    a
        The matrix.
    b
        A positive definite matrix, for the equation ``a @ v = w * b @ v``.
    lower
        Which triangle of the matrices is read.
    eigvals_only
        Whether eigenvalues alone are returned.
    subset_by_index
        The first and the last index of those that are returned.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import eigh
    >>> a, b = np.diag([1.0, 2.0]), np.diag([1.0, 4.0])
    >>> tg.grad(lambda b: eigh(a, b, eigvals_only=True)[0])(b)
    array([[ 0.   ,  0.   ],
           [ 0.   , -0.125]])
    """
    of_factor = partial(solve_triangular, lower=True, check_finite=False)
    a = as_square(a)
    factor = None
    if b is not None:
        factor = cho_factor(b, lower, check_finite=False)[0]
        factor = factor if lower else adjoint(factor)
        half = of_factor(factor, _read_structure(a, "her", lower))
        a = adjoint(of_factor(factor, adjoint(half)))
    w, v = _numpy.eigh(a, "L" if lower else "U")
    first, last = (0, a.shape[-1] - 1) if subset_by_index is None else subset_by_index
    w, v = w[..., first : last + 1], v[..., first : last + 1]
    if eigvals_only:
        return w
    return w, v if factor is None else of_factor(factor, v, "C")


@like_scipy
def eigvalsh(
    a: ArrayLike,
    b: ArrayLike | None = None,
    lower: bool = True,
    subset_by_index: Sequence[int] | None = None,
) -> Array:
    """The eigenvalues of a symmetric matrix, ascending; arguments as for `eigh`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import eigvalsh
    >>> eigvalsh(np.diag([3.0, 1.0, 2.0]), subset_by_index=[1, 2])
    array([2., 3.])
    """
    options = {"eigvals_only": True, "subset_by_index": subset_by_index, "check_finite": False}
    return eigh(a, b, lower=lower, **options)


@like_scipy
def svd(a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition, as `tapegrad.svd`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import svd
    >>> svd(np.diag([1.0, 2.0])).S
    array([2., 1.])
    """
    return _numpy.svd(as_matrix(a), full_matrices, compute_uv)


@like_scipy
def svdvals(a: ArrayLike) -> Array:
    """The singular values, in descending order.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import svdvals
    >>> svdvals(np.diag([1.0, 2.0]))
    array([2., 1.])
    """
    return _numpy.svdvals(as_matrix(a))


@like_scipy
def qr(a: ArrayLike, mode: str = "full") -> Any:
    """The QR decomposition of a matrix of full rank, as `tapegrad.qr`.

    Parameters
    ----------
    a
        A matrix.
    mode
        ``"full"`` for columns that span the whole space, ``"economic"`` for as many as are needed,
        or ``"r"`` for a tuple of the second factor alone.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import qr
    >>> tg.grad(lambda a: qr(a, mode="r")[0][0, 0] ** 2)(np.array([[3.0], [4.0]]))
    array([[6.],
           [8.]])
    """
    if mode not in ("full", "economic", "r"):
        raise ValueError(f"qr: mode must be 'full', 'economic' or 'r', not {mode!r}")
    q, r = _numpy.qr(as_matrix(a), "reduced" if mode == "economic" else "complete")
    return (r,) if mode == "r" else (q, r)


@like_scipy
def norm(
    a: ArrayLike, ord: Order | None = None, axis: Axis = None, keepdims: bool = False
) -> Array:
    """The norm of a vector or a matrix, as `tapegrad.norm`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import norm
    >>> norm([3.0, 4.0])
    np.float64(5.0)
    """
    return _numpy.norm(as_matrix(a), ord, axis, keepdims)


@like_scipy
def pinv(a: ArrayLike, rtol: float | None = None, return_rank: bool = False) -> Any:
    """The Moore-Penrose pseudo-inverse, with derivatives at constant rank, as `tapegrad.pinv`.

    Singular values below `rtol` times the largest count as 0; by default it is the machine epsilon
    times the larger side.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import pinv
    >>> pinv(np.array([[2.0], [0.0]]), return_rank=True)
    (array([[0.5, 0. ]]), array(1))
    """
    a = as_matrix(a)
    rtol = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps) if rtol is None else rtol
    y = _numpy.pinv(a, rtol)
    return (y, _numpy.matrix_rank(a, rtol=rtol)) if return_rank else y


@like_scipy
def lstsq(
    a: ArrayLike, b: ArrayLike, cond: float | None = None
) -> tuple[Array, Array, Array, Array]:
    """The least-squares solution, residuals, rank and singular values, as `tapegrad.lstsq`.

    Singular values below `cond` times the largest count as 0; by default it is the machine
    epsilon.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import lstsq
    >>> x, residual, rank, _ = lstsq(np.ones((2, 1)), np.array([1.0, 3.0]))
    >>> x.round(12), residual.round(12), rank
    (array([2.]), np.float64(2.0), array(1, dtype=int32))
    """
    a, b = as_matrix(a), as_matrix(b)
    eps = float(np.finfo(np.result_type(a, b)).eps)
    x, residuals, rank, s = _numpy.lstsq(a, b, eps if cond is None else cond)
    return x, residuals[0] if b.ndim == 1 and residuals.size else residuals, rank, s


# --- the LU decomposition -------------------------------------------------------------------


class LUResult(NamedTuple):
    """The results of `lu_factor`.

    Attributes
    ----------
    lu
        Both factors in one matrix; the diagonal is that of the upper one.
    piv
        The row that each row was exchanged with. It passes no gradient.
    """

    lu: Array
    piv: Array


@op(None, name="permutation", scipy="", batch=batch_stacks(1))
def _permutation(piv: Array) -> Array:
    """The order of rows that exchanges lead to."""
    order = np.broadcast_to(np.arange(piv.shape[-1]), piv.shape).copy()
    for i in np.ndindex(*piv.shape[:-1]):
        for j, k in enumerate(piv[i]):
            order[i][[j, k]] = order[i][[k, j]]
    return order


def _permute_rows(x: Array, order: Array) -> Array:
    """The rows of stacks of matrices in another order."""
    stack = np.broadcast_shapes(x.shape[:-2], order.shape[:-1])
    x = np.broadcast_to(x, (*stack, *x.shape[-2:]))
    order = np.broadcast_to(order, (*stack, order.shape[-1]))
    return np.take_along_axis(x, np.expand_dims(order, -1), -2)


def _lu_vjp(g: Parts, y: Parts, a: Array, finite: bool) -> Cotangent:
    (lu, piv), g = parts_of(y), g.values[0]
    below = np.tri(a.shape[-1], k=-1, dtype=bool)
    unit = np.where(below, lu, np.eye(a.shape[-1], dtype=lu.dtype))
    upper = np.where(below, 0, lu)
    inner = np.where(
        below,
        transpose_matrices(unit) @ np.where(below, g, 0),
        np.where(below, 0, g) @ transpose_matrices(upper),
    )
    half = _triangular(lu, inner, True, True, True, False)
    c = transpose_matrices(_triangular(lu, transpose_matrices(half), False, False, False, False))
    return _permute_rows(c, np.argsort(_permutation(piv), axis=-1))


def _lu_like(a: Array, finite: bool) -> Parts:
    return Parts((np.zeros_like(a), np.zeros(a.shape[:-1], np.int32)))


@op(
    _lu_vjp,
    name="lu_factor",
    scipy="",
    results=LUResult,
    like=_lu_like,
    batch=batch_stacks(),
    complex=True,
)
def _lu(a: Array, finite: bool) -> Parts:
    """The factors of a stack of matrices, by SciPy."""
    lu, piv = y = _lu_like(a, finite).values
    for i in np.ndindex(*a.shape[:-2]):
        lu[i], piv[i] = _scipy.lu_factor(a[i], check_finite=finite)
    return Parts(y)


@like_scipy
def lu_factor(a: ArrayLike, check_finite: bool = True) -> LUResult:
    """The LU decomposition of a square matrix, for `lu_solve`, as `scipy.linalg.lu_factor`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import lu_factor, lu_solve
    >>> def solution(a):
    ...     return np.sum(lu_solve(lu_factor(a), np.array([2.0, 4.0])))
    >>> tg.grad(solution)(np.array([[0.0, 2.0], [4.0, 0.0]]))
    array([[-0.5 , -0.5 ],
           [-0.25, -0.25]])
    """
    result: Any = _lu(as_square(a), finite=bool(check_finite))
    return result


@like_scipy
def lu_solve(
    lu_and_piv: tuple[ArrayLike, Array], b: ArrayLike, trans: int = 0, check_finite: bool = True
) -> Array:
    """The solution x of ``a @ x = b`` from the result of `lu_factor`, as `scipy.linalg.lu_solve`.

    With `trans` 1 the transpose of the matrix is meant, with 2 its adjoint.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import lu_factor, lu_solve
    >>> lu_solve(lu_factor(np.diag([2.0, 4.0])), np.array([1.0, 1.0]))
    array([0.5 , 0.25])
    """
    if trans not in (0, 1, 2):
        raise ValueError(f"trans must be 0, 1 or 2, not {trans!r}")
    lu, order, finite = as_square(lu_and_piv[0]), _permutation(lu_and_piv[1]), bool(check_finite)

    def of_columns(b: Array) -> Array:
        b = b if trans else _permute_rows(b, order)
        for lower in (False, True) if trans else (True, False):  # the lower one has ones
            b = solve_triangular(lu, b, trans, lower, lower, check_finite=finite)
        return _permute_rows(b, np.argsort(order, axis=-1)) if trans else b

    return solve_columns(of_columns, lu.shape[-1], b)


# --- equations with structure, solved as others ---------------------------------------------


@like_scipy
def solveh_banded(
    ab: ArrayLike, b: ArrayLike, lower: bool = False, check_finite: bool = True
) -> Array:
    """The solution x of ``a @ x = b`` for a banded positive definite matrix.

    It is solved as by `solve_banded`, so a matrix that is not positive definite is not refused.

    Parameters
    ----------
    ab
        The diagonals from the main one up, as rows that end with it; with `lower` from the main
        one down, as rows that begin with it. The gradient of elements outside the matrix is 0.
    b
        A vector (n,), or a matrix of columns (n, k).
    lower
        Whether diagonals below the main one are meant.
    check_finite
        Whether infinities and nan are refused.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import solveh_banded
    >>> ab = np.array([[0.0, 1.0], [2.0, 4.0]])
    >>> tg.grad(lambda ab: np.sum(solveh_banded(ab, np.ones(2))))(ab)
    array([[ 0.        , -0.12244898],
           [-0.18367347, -0.02040816]])
    """
    # elements outside the matrix are not passed on
    ab = require_finite(as_matrix(ab)) if check_finite else as_matrix(ab)
    rows = [ab[..., k, :] for k in range(ab.shape[-2])]
    middle, *rows = rows if lower else rows[::-1]
    stack = [real_of(middle).astype(ab.dtype)]
    for k, row in enumerate(rows, 1):
        edge, zeros = (
            row[..., :-k] if lower else row[..., k:],
            np.zeros((*row.shape[:-1], k), ab.dtype),
        )
        above, below = (conjugate_of(edge), edge) if lower else (edge, conjugate_of(edge))
        above, below = np.concatenate([zeros, above], -1), np.concatenate([below, zeros], -1)
        stack = [above, *stack, below]
    n = len(rows)
    return solve_banded((n, n), np.stack(stack, axis=-2), b, check_finite=check_finite)


@like_scipy
def solve_toeplitz(c_or_cr: ArrayLike | tuple[ArrayLike, ArrayLike], b: ArrayLike) -> Array:
    """The solution x of ``toeplitz(c, r) @ x = b``, by `solve`, as for any other matrix.

    Parameters
    ----------
    c_or_cr
        The first column, or a tuple of it and of the first row; by default its conjugate.
    b
        A vector (n,), or a matrix of columns (n, k).

    Examples
    --------
    >>> from tapegrad.scipy.linalg import solve_toeplitz
    >>> solve_toeplitz(([2.0, 1.0], [2.0, 0.0]), [2.0, 3.0])
    array([1., 1.])
    """
    a = toeplitz(*c_or_cr) if isinstance(c_or_cr, tuple) else toeplitz(c_or_cr)
    return solve(a, b, check_finite=False)
