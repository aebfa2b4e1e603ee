"""Decompositions of matrices and of stacks of them, and least squares.

Each function calls an op that has all results side by side in one array, so that one rule serves
them all, and takes the array apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import REAL, SHAPES, Call, Choices, matrices, matrix
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.decomposition import (
    EighResult,
    SVDResult,
    apart,
    complement,
    eigh_joined,
    eigvalsh,
    joined,
    matrix_rank,
    qr_joined,
    svd_calls,
    svd_joined,
    svdvals,
)
from tapegrad.ops.eigen import EigResult, eig_joined
from tapegrad.ops.inverse import columns, pinv
from tapegrad.ops.product import turned
from tapegrad.ops.record import array, floating

__all__ = ["eig", "eigh", "lstsq", "qr", "svd"]


class QRResult(NamedTuple):
    """The results of `qr` for matrices of shape (..., m, n).

    Attributes
    ----------
    Q
        Orthonormal columns: (..., m, k), where k is the smaller of m and n, or m with
        ``mode="complete"``.
    R
        Upper triangular: (..., k, n).
    """

    Q: Any
    R: Any


@function(
    numpy=np.linalg.eigh,
    domain=matrices(UPLO=["L", "U"]),
    kink="nan where eigenvalues are equal",
)
def eigh(a: Any, UPLO: Any = "L") -> EighResult:  # noqa: N803
    """The eigenvalues of a symmetric matrix, in ascending order, and its eigenvectors.

    Arguments as for `eigvalsh`.

    Returns
    -------
    eigenvalues, eigenvectors
        The vectors are columns, with LAPACK's signs.

    Notes
    -----
    Vectors of equal eigenvalues have no derivative: the gradient is nan, even that of the
    eigenvalues; use `eigvalsh` for these.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eigh(a).eigenvalues[-1])(np.diag([1.0, 2.0]))
    array([[0., 0.],
           [0., 1.]])
    """
    a = array(a)
    check_matrices("eigh", a, square=True)
    w, vt = apart(eigh_joined(a, UPLO=UPLO), 1, a.shape[-1])
    return EighResult(w[..., 0], turned(vt))


@function(
    numpy=np.linalg.svd,
    domain=svd_calls,
    kink="nan where singular values are equal",
)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """The singular value decomposition.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    full_matrices
        Whether the vectors span the whole space. Those beyond the singular values are not unique;
        they move only as the others make them move.
    compute_uv
        Whether to compute vectors, or just the singular values.
    hermitian
        Whether the matrix is symmetric, in which case its lower triangle is read; see `eigh`.

    Returns
    -------
    U, S, Vh
        The singular values `S` in descending order, their vectors in the columns of `U` and the
        rows of `Vh`, with LAPACK's signs. Without `compute_uv`, just `S`.

    Notes ----- Vectors of equal singular values, and of 0 if the matrix is not square, have no
    derivative: the gradient is nan, even that of the singular values; use `svdvals` for these.
    Townsend, "Differentiating the singular value decomposition" (2016).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.svd(a, full_matrices=False).S[0])(np.array([[3.0], [4.0]]))
    array([[0.6],
           [0.8]])
    """
    a = array(a)
    check_matrices("svd", a, square=hermitian)
    if hermitian:
        return _symmetric_svd(a, compute_uv)
    if not compute_uv:
        return svdvals(a)
    n, m = a.shape[-2:]
    s, ut, vh = apart(svd_joined(a), 1, n, m)
    u = turned(ut)
    if full_matrices and n > m:
        u = joined(u, complement(a, "u"))
    if full_matrices and m > n:
        vh = np.concatenate([vh, turned(complement(turned(a), "v"))], axis=-2)
    return SVDResult(u, s[..., 0], vh)


def _symmetric_svd(a: Any, compute_uv: bool) -> Any:
    """`svd` by eigenvalues and eigenvectors."""
    if not compute_uv:
        return np.sort(np.abs(eigvalsh(a)), axis=-1)[..., ::-1]
    w, v = eigh(a)
    order = np.argsort(np.abs(w), axis=-1)[..., ::-1]
    w = np.take_along_axis(w, order, axis=-1)
    v = np.take_along_axis(v, np.expand_dims(order, -2), axis=-1)
    return SVDResult(v, np.abs(w), turned(v * np.expand_dims(np.sign(w), -2)))


@function(numpy=np.linalg.qr, domain=matrices(*SHAPES, mode=["reduced", "r", "complete"]))
def qr(a: Any, mode: str = "reduced") -> Any:
    """The QR decomposition of a matrix of full rank.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    mode
        ``"reduced"``; ``"complete"`` for columns that span the whole space, where the added ones
        move only as the others make them move; or ``"r"`` for `R` alone.

    Returns
    -------
    Q, R
        With LAPACK's signs.

    Raises
    ------
    ValueError
        For another mode.

    Notes
    -----
    If the first columns (as many as there are rows) do not have full rank, there is no derivative:
    computing it raises an error for a singular matrix. Walter and Lehmann, "Algorithmic
    differentiation of linear algebra functions with application in optimum experimental design"
    (2010).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.qr(a).R[0, 0] ** 2)(np.array([[3.0], [4.0]]))
    array([[6.],
           [8.]])
    """
    a = array(a)
    check_matrices("qr", a)
    n, m = a.shape[-2:]
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode is 'reduced', 'complete' or 'r'; got {mode!r}")
    qt, r = apart(qr_joined(a[..., :n] if m > n else a), n, min(n, m))
    if m > n:
        r = joined(r, qt @ a[..., n:])
    if mode == "r":
        return r
    q = turned(qt)
    if mode == "complete" and n > m:
        q = joined(q, complement(a, "q"))
        r = np.concatenate([r, np.zeros((*a.shape[:-2], n - m, m), r.dtype)], axis=-2)
    return QRResult(q, r)


@function(
    numpy=np.linalg.eig,
    domain=matrices(),
    kink="nan where eigenvalues are equal",
)
def eig(a: Any) -> EigResult:
    """The eigenvalues of a square matrix, which must all be real, and its eigenvectors.

    Parameters
    ----------
    a
        A square matrix, or a stack of them.

    Returns
    -------
    eigenvalues, eigenvectors
        In LAPACK's order. The vectors are columns of length 1, with LAPACK's signs.

    Raises
    ------
    TypeError
        If eigenvalues are complex.

    Notes
    -----
    Vectors of equal eigenvalues have no derivative: the gradient is nan, even that of the
    eigenvalues; use `eigvals` for these. Giles, "An extended collection of matrix derivative
    results for forward and reverse mode algorithmic differentiation" (2008).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eig(a).eigenvalues[0])(np.array([[2.0, 1.0], [0.0, 1.0]]))
    array([[1., 0.],
           [1., 0.]])
    """
    a = array(a)
    check_matrices("eig", a, square=True)
    w, vt = apart(eig_joined(a), 1, a.shape[-1])
    return EigResult(w[..., 0], turned(vt))


# --- by singular values -------------------------------------------------------------------


def _lstsq_calls(choose: Choices) -> Call:
    n, m = choose.among(SHAPES)
    a = matrix(choose, n, m)
    right = choose.array(choose.among([(n,), (n, 2)]), REAL, "df")
    return Call((a, right), {"rcond": choose.among([None, -1, 0, 1e-3, 1.0, 2])})


@function(numpy=np.linalg.lstsq, domain=_lstsq_calls, kink="as `pinv`")
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """The least-squares solution; the one of least norm if there are several.

    Parameters
    ----------
    a
        A matrix.
    b
        A vector or a matrix with the same number of rows.
    rcond
        Singular values below this fraction of the largest count as 0; by default the dtype's
        machine epsilon times the larger side, and the epsilon alone for what is no fraction, such
        as -1 or 1, as LAPACK has it.

    Returns
    -------
    x
        The solution, with the derivative at constant rank, as for `pinv`.
    residuals
        The sum of squared residuals for each column of `b`; empty if `a` has no more rows than
        columns. In NumPy it is also empty if the rank is not full.
    rank
        The number of singular values that count. It passes no gradient.
    s
        The singular values, as from `svdvals`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.jacobian(lambda b: tg.lstsq(np.ones((2, 1)), b)[0])(np.array([1.0, 3.0]))
    array([[0.5, 0.5]])
    """
    a, b = floating(a), floating(b)
    if a.ndim != 2 or b.ndim not in (1, 2) or len(a) != len(b):
        raise np.linalg.LinAlgError(
            "lstsq takes a matrix, and a vector or a matrix with as many rows; got arrays of "
            f"{a.ndim} and {b.ndim} axes, of shapes {a.shape} and {b.shape}"
        )
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = a.astype(dtype), b.astype(dtype)
    eps = float(np.finfo(dtype).eps)
    rcond = None if rcond is None else float(rcond)
    if rcond is None:
        rcond = eps * max(a.shape)
    elif not 0 < rcond < 1:
        rcond = eps
    x = pinv(a, rcond=rcond) @ b
    n, m = a.shape
    residuals = np.sum(columns(np.square(b - a @ x), b), axis=0)
    rank = matrix_rank(a, rtol=rcond).astype(np.int32)
    return x, residuals if n > m else residuals[:0], rank, svdvals(a)
