"""Decompositions of matrices, with their eigenvalues and singular values."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from tapegrad.arraylike.table import lazy_import
from tapegrad.core.primitive import Parts
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.declare.batching import batch_stack
from tapegrad.declare.parts import parts_of
from tapegrad.errors import TraceError
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.casting import conjugate_of, real_of, values_if_known
from tapegrad.ops.inverses import diagonal_mask, op_of_stacks, pinv, solve, zeros_like_factors
from tapegrad.ops.product import adjoint, transpose_matrices
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["cholesky", "eig", "eigh", "eigvals", "eigvalsh", "svdvals"]


Triangle: TypeAlias = Literal["L", "U", "l", "u"]


class EighResult(NamedTuple):
    """The results of `eigh` for matrices of shape (..., n, n).

    Attributes
    ----------
    eigenvalues
        The eigenvalues, in ascending order, of shape (..., n).
    eigenvectors
        The eigenvectors, as columns, of shape (..., n, n).
    """

    eigenvalues: Array
    eigenvectors: Array


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

    U: Array
    S: Array
    Vh: Array


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

    Q: Array
    R: Array


# --- helpers of the rules -------------------------------------------------------------------


def _lower_mask(x: Array, k: int = 0) -> Array:
    """Return a mask of a matrix's k-th diagonal and the elements below."""
    n: int = x.shape[-1]
    return np.tri(n, k=k, dtype=bool)


def _pairwise_differences(w: Array) -> Array:
    """Return the difference of each pair of eigenvalues or singular values; 1 on the diagonal."""
    return np.expand_dims(w, -2) - np.expand_dims(w, -1) + np.eye(w.shape[-1], dtype=w.dtype)


def halve_diagonal(x: Array) -> Array:
    """Return the lower triangle with half of the real diagonal, for a Cholesky factor's slope."""
    halved = np.where(diagonal_mask(x), real_of(x) / 2, 0)
    return np.where(_lower_mask(x, -1), x, halved)


def cotangent_of_triangle(x: Array, upper: bool) -> Array:
    """Return the cotangent of a symmetric matrix's triangle, from the whole matrix's."""
    is_read = _lower_mask(x, -1)
    summed = np.where(is_read.T if upper else is_read, x + adjoint(x), 0)
    return np.where(diagonal_mask(x), real_of(x), summed)


def check_phases(name: str, *pairs: tuple[Array, Cotangent]) -> None:
    """Warn if cotangents depend on the phases of complex vectors, which LAPACK chooses.

    Each pair holds vectors, as columns, and their cotangents; all vectors have the same phases.
    """
    if pairs[0][0].dtype.kind != "c":
        return
    total, size = 0.0, 0.0
    for vectors, g in pairs:
        v, c = values_if_known(vectors), values_if_known(g)
        if v is None or c is None:
            return
        products = v.conj() * c
        total = total + np.sum(products, axis=-2).imag
        size = max(size, np.max(np.abs(products), initial=0))
    if np.any(np.abs(total) > np.sqrt(np.finfo(np.asarray(total).dtype).eps) * size):
        warnings.warn(
            f"{name}: the result depends on the phases of complex vectors, which are LAPACK's "
            "choice, so that it has no gradient; take what does not depend on them, such as "
            "np.abs of the vectors",
            stacklevel=2,
        )


# --- decompositions ------------------------------------------------------------------------


def _cholesky_vjp(g: Cotangent, y: Array, a: Array, upper: bool = False) -> Cotangent:
    return lazy_import("tapegrad.ops.triangular", "cotangent_from_factor")(y, g, upper)


@op_of_stacks(_cholesky_vjp, numpy=np.linalg.cholesky)
def cholesky(a: ArrayLike, *, upper: bool = False) -> Array:
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
    Murray, "Differentiation of the Cholesky decomposition" (2016). SciPy solves the triangular
    equations of second derivatives if it has been imported, or if matrices are large and it is
    installed; otherwise NumPy does. The results differ by rounding alone.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.sum(tg.cholesky(a)))(4 * np.eye(2))
    array([[0.25, 0.  ],
           [0.5 , 0.25]])
    """
    return np.linalg.cholesky(np.asarray(a), upper=upper)


def _eigvalsh_vjp(g: Cotangent, y: Array, a: Array, UPLO: Triangle = "L") -> Cotangent:  # noqa: N803
    v = np.linalg.eigh(a, UPLO).eigenvectors
    return cotangent_of_triangle(v * np.expand_dims(g, -2) @ adjoint(v), UPLO in "Uu")


@op_of_stacks(
    _eigvalsh_vjp,
    numpy=np.linalg.eigvalsh,
    kink="equal ones: by the vectors that LAPACK takes",
)
def eigvalsh(a: ArrayLike, UPLO: Triangle = "L") -> Array:  # noqa: N803
    """The eigenvalues of a symmetric matrix, in ascending order.

    Parameters
    ----------
    a
        A symmetric matrix, or a stack of them. Only one triangle is read, so the gradient is in
        that triangle.
    UPLO
        ``"L"`` for the lower triangle, ``"U"`` for the upper one.

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
    return np.linalg.eigvalsh(np.asarray(a), UPLO)


def _eigh_vjp(g: Parts, y: Parts, a: Array, UPLO: Triangle = "L") -> Cotangent:  # noqa: N803
    (w, v), (gw, gv) = parts_of(y), g.values
    diagonal = 0 if gw is None else np.expand_dims(gw, -2)
    if gv is None:
        c = v * diagonal @ adjoint(v)
    else:
        check_phases("eigh", (v, gv))
        inner = np.where(diagonal_mask(v), diagonal, adjoint(v) @ gv / _pairwise_differences(w))
        c = v @ inner @ adjoint(v)
    return cotangent_of_triangle(c, UPLO in "Uu")


@op_of_stacks(
    _eigh_vjp,
    results=EighResult,
    like=zeros_like_factors("eigh", lambda n, m: ((n,), (n, n)), real=0),
    numpy=np.linalg.eigh,
    kink="vectors of equal eigenvalues: nan",
)
def eigh(a: ArrayLike, UPLO: Triangle = "L") -> Parts:  # noqa: N803
    """The eigenvalues of a symmetric matrix, in ascending order, and its eigenvectors.

    Arguments as for `eigvalsh`.

    Returns
    -------
    eigenvalues, eigenvectors
        The vectors are columns, with LAPACK's signs.

    Notes
    -----
    Vectors of equal eigenvalues have no derivative: their gradient is nan. The eigenvalues alone
    have the gradient of `eigvalsh`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eigh(a).eigenvalues[-1])(np.diag([1.0, 2.0]))
    array([[0., 0.],
           [0., 1.]])
    """
    a = np.asarray(a)
    check_matrices("eigh", a, square=True)
    return Parts(tuple(np.linalg.eigh(a, UPLO)))


def _cotangent_from_singular_values(g: Cotangent, u: Array, s: Array, vh: Array) -> Cotangent:
    """Return the cotangent of a matrix from the cotangent of its singular values alone."""
    return u * np.expand_dims(np.where(np.equal(s, 0), 0, g), -2) @ vh


def _svdvals_vjp(g: Cotangent, y: Array, x: Array) -> Cotangent:
    return _cotangent_from_singular_values(g, *thin_svd(x))


@op_of_stacks(
    _svdvals_vjp,
    numpy=np.linalg.svdvals,
    kink="0 at 0; equal ones: by the vectors that LAPACK takes",
    iterates=True,
)
def svdvals(x: ArrayLike) -> Array:
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
    return np.linalg.svdvals(np.asarray(x))


def _svd_vjp(g: Parts, y: Parts, a: Array) -> Cotangent:
    (u, s, vh), (gu, gs, gvh), (n, m) = parts_of(y), g.values, a.shape[-2:]
    if gu is None and gvh is None:
        return _cotangent_from_singular_values(gs, u, s, vh)
    row, column = np.expand_dims(s, -2), np.expand_dims(s, -1)
    # fractions of the sum of two values, since a difference of squares could overflow
    sums = row + column + np.eye(s.shape[-1], dtype=s.dtype)
    diagonal = 0 if gs is None else np.expand_dims(gs, -2)
    pairs: list[Any] = [] if gu is None else [(u, gu)]
    check_phases("svd", *pairs, *([] if gvh is None else [(adjoint(vh), adjoint(gvh))]))
    inner: Any = 0
    outer: Any = 0  # the part outside the space that the vectors span
    if gu is not None:
        u_inner = adjoint(u) @ gu
        inner = (u_inner - adjoint(u_inner)) * (row / sums)
        if u.dtype.kind == "c":
            # both vectors of a singular value share a phase, which counts for the second
            diagonal = diagonal + 1j * np.imag(u_inner) / row
        if n > m:
            outer = (gu - u @ u_inner) / row @ vh
    if gvh is not None:
        v_inner = gvh @ adjoint(vh)
        inner = inner + (column / sums) * (adjoint(v_inner) - v_inner)
        if m > n:
            outer = outer + u @ ((gvh - v_inner @ vh) / column)
    inner = inner / _pairwise_differences(s)
    return u @ np.where(diagonal_mask(inner), diagonal, inner) @ vh + outer


@op_of_stacks(
    _svd_vjp,
    name="svd",
    results=SVDResult,
    like=zeros_like_factors(
        "svd", lambda n, m: ((n, min(n, m)), (min(n, m),), (min(n, m), m)), real=1
    ),
    kink="vectors of equal singular values: nan",
    iterates=True,
)
def thin_svd(a: Array) -> Parts:
    """The singular values, with one vector of each side for each."""
    return Parts(tuple(np.linalg.svd(a, full_matrices=False)))


def _qr_vjp(g: Parts, y: Parts, a: Array) -> Cotangent:
    (q, r), (gq, gr) = parts_of(y), g.values
    inner: Any = 0 if gr is None else r @ adjoint(gr)
    inner = inner if gq is None else inner - adjoint(gq) @ q
    mirrored = np.where(_lower_mask(r), inner, adjoint(inner))
    if r.dtype.kind == "c":
        mirrored = np.where(diagonal_mask(r), np.real(inner), mirrored)
    right = mirrored @ adjoint(q)
    return adjoint(solve(r, right if gq is None else adjoint(gq) + right))


@op_of_stacks(
    _qr_vjp,
    name="qr",
    results=QRResult,
    like=zeros_like_factors("qr", lambda n, m: ((n, min(n, m)), (min(n, m), m))),
)
def thin_qr(a: Array) -> Parts:
    """The two factors of a matrix with no more columns than rows."""
    return Parts(tuple(np.linalg.qr(a)))


def _complement_vjp(g: Cotangent, y: Array, a: Array, of: str = "u") -> Cotangent:
    # the columns change only as much as the matrix's columns require
    return -(y @ adjoint(g)) @ adjoint(pinv(a))


@op_of_stacks(_complement_vjp, iterates=True)
def complement(a: Array, of: str = "u") -> Array:
    """Orthonormal columns that complete the columns of a matrix of full rank to a basis.

    Parameters
    ----------
    a
        A matrix with more rows than columns, or a stack of them.
    of
        The source of the columns: the matrix's left singular vectors (``"u"``), the right singular
        vectors of its adjoint (``"v"``), or its complete ``"q"``.
    """
    n = np.shape(a)[-1]
    if of == "q":
        return np.linalg.qr(a, "complete").Q[..., n:]
    if of == "v":
        return adjoint(np.linalg.svd(adjoint(np.asarray(a))).Vh[..., n:, :])
    return np.linalg.svd(a).U[..., n:]


class EigResult(NamedTuple):
    """The results of `eig` for matrices of shape (..., n, n).

    Attributes
    ----------
    eigenvalues
        The eigenvalues, of shape (..., n), in LAPACK's order.
    eigenvectors
        The eigenvectors, as columns of length 1, of shape (..., n, n).
    """

    eigenvalues: Array
    eigenvectors: Array


def _drop_zero_imag(x: Array, matrix: Any, real: bool = False) -> Array:
    """Make LAPACK's result real if its imaginary parts are 0 and the matrix is real.

    Raises
    ------
    TraceError
        If the result of a real matrix must be real, and is not.
    """
    # some versions of NumPy always return complex numbers
    if matrix.dtype.kind == "c" or x.dtype.kind != "c":
        return x
    if not np.any(x.imag):
        return x.real
    if real:
        raise TraceError(
            "a real matrix has complex eigenvalues here, and compile, vmap and recorded loops "
            "need a dtype that does not depend on values; take those of a.astype(complex), which "
            "are complex for any matrix, or for a symmetric matrix eigh or eigvalsh"
        )
    return x


def _read_eig(a: Array | Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the operand, and the option that keeps the dtype independent of values."""
    return (a,), {"real": True} if type(a) is Tensor and a.origin.compiling else {}


def _leave_eigenbasis(v: Array, inner: Array) -> Array:
    """Return the cotangent of a matrix from its form in the basis of eigenvectors."""
    return solve(transpose_matrices(v), inner @ transpose_matrices(v))


def _eigvals_vjp(g: Cotangent, y: Array, a: Array, real: bool = False) -> Cotangent:
    # not np.linalg.eig, whose vectors are complex from NumPy 2.5 on
    eigen: Any = eig(a)
    v = eigen.eigenvectors
    return _leave_eigenbasis(v, np.where(diagonal_mask(a), np.expand_dims(g, -1), 0))


@op(
    _eigvals_vjp,
    numpy=np.linalg.eigvals,
    read=_read_eig,
    kink="equal ones: by the vectors that LAPACK takes",
    batch=batch_stack,
    complex=True,
)
def eigvals(a: ArrayLike, **strict: bool) -> Array:  # noqa: D417
    """The eigenvalues of a square matrix, in LAPACK's order.

    Parameters
    ----------
    a
        A square matrix, or a stack of them. For a real matrix the result is a real array if all
        eigenvalues are real.

    Raises
    ------
    TraceError
        If a real matrix has complex eigenvalues in a compiled program, under `vmap` or in a loop
        that is recorded: take ``a.astype(complex)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> a = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> tg.eigvals(a)
    array([2., 1.])
    >>> tg.grad(lambda a: tg.eigvals(a)[0])(a)
    array([[1., 0.],
           [1., 0.]])
    >>> tg.eigvals(np.array([[0.0, 1.0], [-1.0, 0.0]]))
    array([0.+1.j, 0.-1.j])
    """
    a = np.asarray(a)
    return _drop_zero_imag(np.linalg.eigvals(a), a, **strict)


def _eig_vjp(g: Parts, y: Parts, a: Array, real: bool = False) -> Cotangent:
    (w, v), (gw, gv) = parts_of(y), g.values
    inner: Any = 0
    if gv is not None:
        check_phases("eig", (v, conjugate_of(gv)))
        # the length of a vector is constant
        gv = gv - conjugate_of(v) * real_of(np.sum(v * gv, axis=-2, keepdims=True))
        inner = transpose_matrices(v) @ gv / _pairwise_differences(w)
    diagonal = 0 if gw is None else np.expand_dims(gw, -2)
    return _leave_eigenbasis(v, np.where(diagonal_mask(v), diagonal, inner))


@op(
    _eig_vjp,
    results=EigResult,
    like=zeros_like_factors("eig", lambda n, m: ((n,), (n, n))),
    numpy=np.linalg.eig,
    read=_read_eig,
    kink="vectors of equal eigenvalues: nan",
    batch=batch_stack,
    complex=True,
)
def eig(a: ArrayLike, **strict: bool) -> Parts:  # noqa: D417
    """The eigenvalues of a square matrix, and its eigenvectors.

    Parameters
    ----------
    a
        A square matrix, or a stack of them. For a real matrix the results are real arrays if all
        eigenvalues are real.

    Returns
    -------
    eigenvalues, eigenvectors
        In LAPACK's order. The vectors are columns of length 1, with LAPACK's signs or phases.

    Raises
    ------
    TraceError
        If a real matrix has complex eigenvalues in a compiled program, under `vmap` or in a loop
        that is recorded: take ``a.astype(complex)``.

    Notes
    -----
    Vectors of equal eigenvalues have no derivative: their gradient is nan. The eigenvalues alone
    have the gradient of `eigvals`. Giles, "An extended collection of matrix derivative results for
    forward and reverse mode algorithmic differentiation" (2008).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eig(a).eigenvalues[0])(np.array([[2.0, 1.0], [0.0, 1.0]]))
    array([[1., 0.],
           [1., 0.]])
    """
    a = np.asarray(a)
    check_matrices("eig", a, square=True)
    w, v = np.linalg.eig(a)
    # vectors of real values are real
    w = _drop_zero_imag(w, a, **strict)
    return Parts((w, v if w.dtype.kind == "c" else v.real))
