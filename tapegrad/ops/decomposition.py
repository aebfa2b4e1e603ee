"""Decompositions of matrices and of stacks of them, and the rank.

A decomposition has two parts: an op with the results side by side in one array, so that one rule
serves them all, and the function itself, which takes the array apart.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import stacked
from tapegrad.declare.domain import SHAPES, WELL, Call, Choices, matrices
from tapegrad.ops.inverse import inv, pinv, solve
from tapegrad.ops.product import turned

__all__ = ["cholesky", "eigvalsh", "matrix_rank", "svdvals"]


class EighResult(NamedTuple):
    """The results of `eigh` for matrices of shape (..., n, n).

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
    """The results of `svd` for matrices of shape (..., m, n); k is the smaller of m and n.

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


# --- one array for several results, and helpers of the rules --------------------------------


def joined(*parts: Any) -> Any:
    """Several stacks of matrices with the same number of rows, side by side."""
    return np.concatenate(parts, axis=-1)


def apart(joined: Any, *widths: int) -> list[Any]:
    """The parts of a `joined` array, given the numbers of columns."""
    ends = itertools.accumulate(widths)
    return [joined[..., end - n : end] for n, end in zip(widths, ends, strict=True)]


def _below(x: Any, k: int = 0) -> Any:
    """The elements of a matrix on the k-th diagonal or below."""
    n: int = x.shape[-1]
    return np.tri(n, k=k, dtype=bool)


def on_diagonal(x: Any) -> Any:
    """A mask of the diagonal of a square matrix."""
    return np.eye(x.shape[-1], dtype=bool)


def _of_triangle(x: Any, upper: bool) -> Any:
    """The cotangent of the triangle that stands for a symmetric matrix, given that of the whole."""
    read = _below(x, -1)
    both = np.where(read.T if upper else read, x + turned(x), 0)
    return np.where(on_diagonal(x), x, both)


# --- decompositions ------------------------------------------------------------------------


def _cholesky_vjp(g: Any, y: Any, a: Any, upper: bool = False) -> Any:
    if upper:
        g, y = turned(g), turned(y)
    inner = turned(y) @ g
    inner = np.where(_below(inner, -1), inner, np.where(on_diagonal(inner), inner / 2, 0))
    inverse = inv(y)
    return _of_triangle(turned(inverse) @ inner @ inverse, upper)


@op(
    _cholesky_vjp,
    numpy=np.linalg.cholesky,
    domain=matrices(base=np.abs(WELL), upper=[False, True]),
    batch=stacked,
)
def cholesky(a: Any, *, upper: bool = False) -> Any:
    """The Cholesky factor: the triangular matrix whose product with its transpose is the matrix.

    Parameters
    ----------
    a
        A positive definite matrix, or a stack of them. Only its lower triangle is read (with
        `upper`, its upper triangle), so the gradient is in that triangle.
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
    v = np.linalg.eigh(a, UPLO).eigenvectors
    return _of_triangle(v * np.expand_dims(g, -2) @ turned(v), UPLO in "Uu")


@op(
    _eigvalsh_vjp,
    numpy=np.linalg.eigvalsh,
    domain=matrices(UPLO=["L", "U"]),
    kink="equal ones: by the vectors that LAPACK takes",
    batch=stacked,
)
def eigvalsh(a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    """The eigenvalues of a symmetric matrix, in ascending order.

    Parameters
    ----------
    a
        A symmetric matrix, or a stack of them. Only one triangle is read, so the gradient is in
        that triangle.
    UPLO
        ``"L"`` for the lower triangle, ``"U"`` for the upper.

    Notes
    -----
    Where eigenvalues are equal, only symmetric functions of them, such as their sum, have
    derivatives; second derivatives there are nan.

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
    (w, vt), (gw, gvt) = apart(y, 1, n), apart(g, 1, n)
    gaps = turned(w) - w + np.eye(n, dtype=w.dtype)
    inner = np.where(on_diagonal(gaps), gw, vt @ turned(gvt) / gaps)
    return _of_triangle(turned(vt) @ inner @ vt, UPLO in "Uu")


@op(_eigh_vjp, domain=matrices(UPLO=["L", "U"]), batch=stacked)
def eigh_joined(a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    """The two results of `eigh`: each row has an eigenvalue, then its vector."""
    w, v = np.linalg.eigh(a, UPLO)
    return joined(w[..., None], turned(v))


def _svdvals_vjp(g: Any, y: Any, x: Any) -> Any:
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return u * np.expand_dims(np.where(np.equal(s, 0), 0, g), -2) @ vh


@op(
    _svdvals_vjp,
    numpy=np.linalg.svdvals,
    domain=matrices(*SHAPES),
    kink="0 at 0; equal ones: by the vectors that LAPACK takes",
    batch=stacked,
)
def svdvals(x: Any) -> Any:
    """The singular values, in descending order.

    Notes
    -----
    The gradient of a singular value that is 0 is 0. Where singular values are equal, only
    symmetric functions of them, such as their sum, have derivatives; second derivatives there are
    nan.

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
    (s, ut, vh), (gs, gut, gvh) = apart(y, 1, n, m), apart(g, 1, n, m)
    u, gu, v = turned(ut), turned(gut), turned(vh)
    row = turned(s)
    gaps = (row - s) * (row + s) + np.eye(s.shape[-2], dtype=s.dtype)
    of_u, of_v = ut @ gu, gvh @ v
    inner = ((of_u - turned(of_u)) * row + s * (turned(of_v) - of_v)) / gaps
    c = u @ np.where(on_diagonal(gaps), gs, inner) @ vh
    # the part of the vectors' cotangents outside the space that they span
    if n > m:
        c = c + (gu - u @ of_u) / row @ vh
    if m > n:
        c = c + u @ ((gvh - of_v @ vh) / s)
    return c


@op(_svd_vjp, domain=matrices(*SHAPES, (3, 3)), batch=stacked)
def svd_joined(a: Any) -> Any:
    """The three results of `svd`: each row has a singular value, then its vectors."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return joined(s[..., None], turned(u), vh)


def svd_calls(choose: Choices) -> Call:
    """Calls on matrices, with the options of `svd`."""
    call = matrices(*SHAPES)(choose)
    n, m = call.args[0].shape[-2:]
    given = choose.among([{"full_matrices": False}, {"compute_uv": False}, {}])
    hermitian = {"hermitian": True} if n == m and choose.among([False, True]) else {}
    return Call(call.args, {**given, **hermitian})


def _qr_vjp(g: Any, y: Any, a: Any) -> Any:
    n, m = a.shape[-2:]
    (qt, r), (gqt, gr) = apart(y, n, m), apart(g, n, m)
    inner = r @ turned(gr) - gqt @ turned(qt)
    mirrored = np.where(_below(inner), inner, turned(inner))
    return turned(solve(r, gqt + mirrored @ qt))


@op(_qr_vjp, domain=matrices((2, 2), (3, 2), (3, 3), (1, 1), (2, 0)), batch=stacked)
def qr_joined(a: Any) -> Any:
    """The two results of `qr`, for no more columns than rows: ``Q.T``, then ``R``."""
    q, r = np.linalg.qr(a)
    return joined(turned(q), r)


def _complement_vjp(g: Any, y: Any, a: Any, of: str = "u") -> Any:
    # these columns move only as the matrix's columns make them move
    return -(y @ turned(g)) @ turned(pinv(a))


@op(
    _complement_vjp,
    domain=matrices((2, 1), (3, 2), (2, 0), of=["u", "v", "q"]),
    batch=stacked,
)
def complement(a: Any, of: str = "u") -> Any:
    """Orthonormal columns that complete those of a matrix of full rank to the whole space.

    Parameters
    ----------
    a
        A matrix with more rows than columns, or a stack of them.
    of
        Where they come from: the matrix's left singular vectors (``"u"``), the right ones of its
        transpose (``"v"``), or its complete ``"q"``.
    """
    n = np.shape(a)[-1]
    if of == "q":
        return np.linalg.qr(a, "complete").Q[..., n:]
    if of == "v":
        return turned(np.linalg.svd(turned(np.asarray(a))).Vh[..., n:, :])
    return np.linalg.svd(a).U[..., n:]


@op(None, numpy=np.linalg.matrix_rank, domain=matrices(*SHAPES, tol=[None, 1.5]), batch=stacked)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:  # noqa: N803
    """The number of singular values above a tolerance. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> int(tg.matrix_rank(np.ones((3, 3))))
    1
    """
    if tol is None and 0 in np.shape(A)[-2:]:
        # NumPy before 2.4 fails to find the largest of no singular values
        tol, rtol = 0.0 if rtol is None else 0.0 * np.asarray(rtol), None
    return np.asarray(np.linalg.matrix_rank(A, tol, hermitian, rtol=rtol))
