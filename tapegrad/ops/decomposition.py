"""Decompositions of matrices and of stacks of them, and what singular values tell.

A decomposition is written as two: one record that has its results side by side in
one array, so that one rule serves them together, and the function itself, which
takes the array apart.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tapegrad.domain import REAL, SHAPES, WELL, Call, Choices, matrices, matrix
from tapegrad.op import op
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.inverse import columns, inv, pinv, solve
from tapegrad.ops.product import turned
from tapegrad.ops.record import array, floating
from tapegrad.tensor import NUMPY

__all__ = [
    "EighResult",
    "QRResult",
    "SVDResult",
    "cholesky",
    "eigh",
    "eigvalsh",
    "lstsq",
    "matrix_rank",
    "qr",
    "svd",
    "svdvals",
]


class EighResult(NamedTuple):
    """What `eigh` gives, of matrices of shape (..., n, n).

    Attributes
    ----------
    eigenvalues
        In ascending order, of shape (..., n).
    eigenvectors
        Of shape (..., n, n), each a column.
    """

    eigenvalues: Any
    eigenvectors: Any


class SVDResult(NamedTuple):
    """What `svd` gives, of matrices of shape (..., m, n); k is the smaller side.

    Attributes
    ----------
    U
        The left vectors, as columns: (..., m, m), or (..., m, k) without `full_matrices`.
    S
        The singular values, in descending order: (..., k).
    Vh
        The right vectors, as rows: (..., n, n) or (..., k, n).
    """

    U: Any
    S: Any
    Vh: Any


class QRResult(NamedTuple):
    """What `qr` gives, of matrices of shape (..., m, n).

    Attributes
    ----------
    Q
        Orthonormal columns: (..., m, k), with the smaller side for k, or m with
        ``mode="complete"``.
    R
        Upper triangular: (..., k, n).
    """

    Q: Any
    R: Any


# --- one array for several results, and what rules share -----------------------------------


def _joined(*parts: Any) -> Any:
    """Several stacks of matrices with equally many rows, side by side."""
    return np.concatenate(parts, axis=-1)


def _apart(joined: Any, *widths: int) -> list[Any]:
    """What `_joined` joined, given the numbers of columns."""
    ends = itertools.accumulate(widths)
    return [joined[..., end - n : end] for n, end in zip(widths, ends, strict=True)]


def _below(x: Any, k: int = 0) -> Any:
    """Where a matrix is on the k-th diagonal or below."""
    n: int = x.shape[-1]
    return np.tri(n, k=k, dtype=bool)


def _on_diagonal(x: Any) -> Any:
    return np.eye(x.shape[-1], dtype=bool)


def _of_triangle(x: Any, upper: bool) -> Any:
    """The cotangent of the one triangle that stands for a symmetric matrix, given the whole's."""
    read = _below(x, -1)
    both = np.where(read.T if upper else read, x + turned(x), 0)
    return np.where(_on_diagonal(x), x, both)


# --- decompositions ------------------------------------------------------------------------


def _cholesky_vjp(g: Any, y: Any, a: Any, upper: bool = False) -> Any:
    if upper:
        g, y = turned(g), turned(y)
    inner = turned(y) @ g
    inner = np.where(_below(inner, -1), inner, np.where(_on_diagonal(inner), inner / 2, 0))
    inverse = inv(y)
    return _of_triangle(turned(inverse) @ inner @ inverse, upper)


@op(
    _cholesky_vjp,
    numpy=np.linalg.cholesky,
    domain=matrices(base=np.abs(WELL), upper=[False, True]),
)
def cholesky(a: Any, *, upper: bool = False) -> Any:
    """The triangular matrix whose product with its transpose is the matrix.

    Parameters
    ----------
    a
        A positive definite matrix, or a stack of them. Just its lower triangle is
        read, with `upper` its upper triangle, so the gradient is in this alone.
    upper
        Whether the result is upper triangular.

    Raises
    ------
    LinAlgError
        If a matrix is not positive definite.

    Notes
    -----
    Murray, "Differentiation of the Cholesky decomposition" (2016).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.sum(tg.cholesky(a)))(4 * np.eye(2))
    array([[0.25, 0.  ],
           [0.5 , 0.25]])
    """
    return np.linalg.cholesky(a, upper=upper)


def _eigvalsh_vjp(g: Any, y: Any, a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    v = eigh(a, UPLO=UPLO).eigenvectors
    return _of_triangle(v * np.expand_dims(g, -2) @ turned(v), UPLO in "Uu")


@op(
    _eigvalsh_vjp,
    numpy=np.linalg.eigvalsh,
    domain=matrices(UPLO=["L", "U"]),
    kink="equal ones: by the vectors that LAPACK takes",
)
def eigvalsh(a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    """The eigenvalues of a symmetric matrix, in ascending order.

    Parameters
    ----------
    a
        A symmetric matrix, or a stack of them, of which one triangle is read; the
        gradient is in this alone.
    UPLO
        ``"L"`` for the lower triangle, ``"U"`` for the upper.

    Notes
    -----
    Where eigenvalues are equal they have derivatives if these do not tell them apart,
    as that of their sum; second derivatives there are nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eigvalsh(a)[-1])(np.diag([1.0, 2.0]))
    array([[0., 0.],
           [0., 1.]])
    """
    return np.linalg.eigvalsh(a, UPLO)


def _eigh_vjp(g: Any, y: Any, a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    n = a.shape[-1]
    (w, vt), (gw, gvt) = _apart(y, 1, n), _apart(g, 1, n)
    gaps = turned(w) - w + np.eye(n, dtype=w.dtype)
    inner = np.where(_on_diagonal(gaps), gw, vt @ turned(gvt) / gaps)
    return _of_triangle(turned(vt) @ inner @ vt, UPLO in "Uu")


@op(_eigh_vjp, domain=matrices(UPLO=["L", "U"]))
def eigh_joined(a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    """The two results of `eigh`: in each row an eigenvalue, then its vector."""
    w, v = np.linalg.eigh(a, UPLO)
    return _joined(w[..., None], turned(v))


@op(
    composite=True,
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
    Vectors of equal eigenvalues have no derivative: the gradient is nan, also that
    of the eigenvalues, which `eigvalsh` has.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eigh(a).eigenvalues[-1])(np.diag([1.0, 2.0]))
    array([[0., 0.],
           [0., 1.]])
    """
    a = array(a)
    w, vt = _apart(eigh_joined(a, UPLO=UPLO), 1, a.shape[-1])
    return EighResult(w[..., 0], turned(vt))


def _svdvals_vjp(g: Any, y: Any, x: Any) -> Any:
    u, s, vh = svd(x, full_matrices=False)
    return u * np.expand_dims(np.where(np.equal(s, 0), 0, g), -2) @ vh


@op(
    _svdvals_vjp,
    numpy=np.linalg.svdvals,
    domain=matrices(*SHAPES),
    kink="0 at 0; equal ones: by the vectors that LAPACK takes",
)
def svdvals(x: Any) -> Any:
    """The singular values, in descending order.

    Notes
    -----
    The gradient of one that is 0 is 0. Where singular values are equal they have
    derivatives if these do not tell them apart, as that of their sum; second
    derivatives there are nan.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.svdvals(x)[0])(np.diag([1.0, -2.0]))
    array([[ 0.,  0.],
           [ 0., -1.]])
    """
    return np.linalg.svdvals(x)


def _svd_vjp(g: Any, y: Any, a: Any) -> Any:
    n, m = a.shape[-2:]
    (s, ut, vh), (gs, gut, gvh) = _apart(y, 1, n, m), _apart(g, 1, n, m)
    u, gu, v = turned(ut), turned(gut), turned(vh)
    row = turned(s)
    gaps = (row - s) * (row + s) + np.eye(s.shape[-2], dtype=s.dtype)
    of_u, of_v = ut @ gu, gvh @ v
    inner = ((of_u - turned(of_u)) * row + s * (turned(of_v) - of_v)) / gaps
    c = u @ np.where(_on_diagonal(gaps), gs, inner) @ vh
    # what is left of the vectors' cotangents where they do not span the whole space
    if n > m:
        c = c + (gu - u @ of_u) / row @ vh
    if m > n:
        c = c + u @ ((gvh - of_v @ vh) / s)
    return c


@op(_svd_vjp, domain=matrices(*SHAPES, (3, 3)))
def svd_joined(a: Any) -> Any:
    """The three results of `svd`: in each row a singular value, then its vectors."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return _joined(s[..., None], turned(u), vh)


def _svd_calls(choose: Choices) -> Call:
    call = matrices(*SHAPES)(choose)
    given = choose.among([{"full_matrices": False}, {"compute_uv": False}, {}])
    n, m = call.args[0].shape[-2:]
    return Call(call.args, given if given or n == m else {"full_matrices": False})


@op(
    composite=True,
    numpy=np.linalg.svd,
    domain=_svd_calls,
    kink="nan where singular values are equal",
)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    full_matrices
        Whether there are vectors for the whole space. These have no derivative, so
        this is False but for square matrices, where it is the same.
    compute_uv
        Whether there are vectors at all, or just the singular values.

    Returns
    -------
    U, S, Vh
        The singular values `S` in descending order, their vectors in the columns of
        `U` and the rows of `Vh`, with LAPACK's signs. Without `compute_uv`, `S`.

    Raises
    ------
    ValueError
        For full matrices of what is not square.

    Notes
    -----
    Vectors of equal singular values, and of 0 where the matrix is not square, have no
    derivative: the gradient is nan, also that of the singular values, which `svdvals`
    has. Townsend, "Differentiating the singular value decomposition" (2016).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.svd(a, full_matrices=False).S[0])(np.array([[3.0], [4.0]]))
    array([[0.6],
           [0.8]])
    """
    a = array(a)
    check_matrices("svd", a)
    if not compute_uv:
        return svdvals(a)
    n, m = a.shape[-2:]
    if full_matrices and n != m:
        raise ValueError(
            f"svd: the shape is {a.shape}, and full matrices of what is not square have no "
            "derivative; pass full_matrices=False"
        )
    s, ut, vh = _apart(svd_joined(a), 1, n, m)
    return SVDResult(turned(ut), s[..., 0], vh)


def _qr_vjp(g: Any, y: Any, a: Any) -> Any:
    n, m = a.shape[-2:]
    (qt, r), (gqt, gr) = _apart(y, n, m), _apart(g, n, m)
    inner = r @ turned(gr) - gqt @ turned(qt)
    mirrored = np.where(_below(inner), inner, turned(inner))
    return turned(solve(r, gqt + mirrored @ qt))


@op(_qr_vjp, domain=matrices((2, 2), (3, 2), (3, 3), (1, 1), (2, 0)))
def qr_joined(a: Any) -> Any:
    """The two results of `qr` of no more columns than rows: ``Q.T``, then ``R``."""
    q, r = np.linalg.qr(a)
    return _joined(turned(q), r)


def _qr_calls(choose: Choices) -> Call:
    call = matrices(*SHAPES, mode=["reduced", "r", "complete"])(choose)
    n, m = call.args[0].shape[-2:]
    return call if n <= m or call.kwargs["mode"] == "r" else Call(call.args)


@op(composite=True, numpy=np.linalg.qr, domain=_qr_calls)
def qr(a: Any, mode: str = "reduced") -> Any:
    """The QR decomposition of a matrix of full rank.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    mode
        ``"reduced"``; ``"complete"`` for what has no more rows than columns, where
        it is the same; or ``"r"`` for `R` alone.

    Returns
    -------
    Q, R
        With LAPACK's signs.

    Raises
    ------
    ValueError
        For another mode, or a complete `Q` of more rows than columns, some of whose
        columns have no derivative.

    Notes
    -----
    If the first columns, as many as there are rows, are not of full rank there is no
    derivative; where it is asked for, a singular matrix raises. Walter and Lehmann,
    "Algorithmic differentiation of linear algebra functions with application in
    optimum experimental design" (2010).

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
    if mode not in ("reduced", "complete", "r") or (mode == "complete" and n > m):
        raise ValueError(
            f"qr: mode {mode!r} of shape {a.shape} is not supported; 'reduced' and 'r' are"
        )
    qt, r = _apart(qr_joined(a[..., :n] if m > n else a), n, min(n, m))
    if m > n:
        r = _joined(r, qt @ a[..., n:])
    return r if mode == "r" else QRResult(turned(qt), r)


def _refuse_complex(a: Any) -> NoReturn:
    raise TypeError(
        "numpy.linalg.eig and eigvals are not supported on a Tensor, for what they give is "
        "complex; of a symmetric matrix take eigh or eigvalsh, else declare what you need "
        "with tg.custom_op"
    )


NUMPY.update({np.linalg.eig: _refuse_complex, np.linalg.eigvals: _refuse_complex})


# --- by singular values -------------------------------------------------------------------


def _lstsq_calls(choose: Choices) -> Call:
    n, m = choose.among(SHAPES)
    a = matrix(choose, n, m)
    right = choose.array(choose.among([(n,), (n, 2)]), REAL, "df")
    return Call((a, right), {"rcond": choose.among([None, -1, 1e-3])})


@op(composite=True, numpy=np.linalg.lstsq, domain=_lstsq_calls, kink="as `pinv`")
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """The solution of least squares, of least norm where there are several.

    Parameters
    ----------
    a
        A matrix.
    b
        A vector or a matrix with as many rows.
    rcond
        Singular values below this part of the largest count as 0; by default the
        dtype's rounding times the larger side, for -1 the rounding alone.

    Returns
    -------
    x
        The solution, with the derivative at constant rank, as `pinv`.
    residuals
        The sum of squares that is left, for each column of `b`; none if `a` has no
        more rows than columns. NumPy gives none either where the rank is less than
        full.
    rank
        How many singular values count. It passes no gradient.
    s
        The singular values, as `svdvals`.

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
    if rcond is None or rcond == -1:
        rcond = eps if rcond == -1 else eps * max(a.shape)
    x = pinv(a, rcond=rcond) @ b
    n, m = a.shape
    residuals = np.sum(columns(np.square(b - a @ x), b), axis=0)
    rank = matrix_rank(a, rtol=rcond).astype(np.int32)
    return x, residuals if n > m else residuals[:0], rank, svdvals(a)


@op(None, numpy=np.linalg.matrix_rank, domain=matrices(*SHAPES, tol=[None, 1.5]))
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:  # noqa: N803
    """How many singular values are larger than a tolerance. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> int(tg.matrix_rank(np.ones((3, 3))))
    1
    """
    if tol is None and 0 in np.shape(A)[-2:]:
        # NumPy before 2.4 asks for the largest of no singular values
        tol, rtol = 0.0, None
    return np.linalg.matrix_rank(A, tol, hermitian, rtol=rtol)
