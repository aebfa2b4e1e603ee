"""Equations with matrices, decompositions, and functions of matrices, as in `scipy.linalg`.

SciPy solves the equations. A cotangent is pulled back by equations of the same kind, with the
adjoint, so each rule is written with the op itself, and derivatives of any order follow. All
functions but `block_diag`, `lstsq` and `toeplitz` take stacks of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg as _scipy

from tapegrad.core.rules import Joint, Parts
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.declare.batching import stacks_of
from tapegrad.declare.parts import parts_of
from tapegrad.errors.words import got
from tapegrad.functions import linalg as _numpy
from tapegrad.ops.casting import conjugate_of, floating, real_of, to_array
from tapegrad.ops.inverses import of_adjoints
from tapegrad.ops.product import adjoint, turned
from tapegrad.ops.triangular import STACKED, like_last, over_stacks, pulled_by_factor

# older files name these ops by this module
from tapegrad.ops.triangular import pulled as _pulled  # noqa: F401
from tapegrad.ops.triangular import triangular as _triangular
from tapegrad.scipy._options import with_scipys_options

__all__ = ["block_diag", "cho_factor", "cho_solve", "cholesky", "det", "eigh", "eigvalsh", "expm"]
__all__ += ["expm_frechet", "inv", "lstsq", "lu_factor", "lu_solve", "norm", "pinv", "qr", "solve"]
__all__ += ["solve_banded", "solve_sylvester", "solve_toeplitz", "solve_triangular"]
__all__ += ["solveh_banded", "sqrtm", "svd", "svdvals", "toeplitz"]
__dir__ = __all__.copy

# --- operands -------------------------------------------------------------------------------


def _matrix(x: Any) -> Any:
    """A matrix or a stack of them, floating."""
    return floating(x, complex=True)


def _square(x: Any) -> Any:
    x = _matrix(x)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"expected square matrix; the shape is {x.shape}")
    return x


def _for_columns(solve: Callable[[Any], Any], n: int, b: Any) -> Any:
    """A function of matrices with n rows, applied to such a matrix or to a vector."""
    b = _matrix(b)
    if b.ndim == 0 or b.shape[-2 if b.ndim > 1 else 0] != n:
        raise ValueError(f"shapes are incompatible: n = {n} rows are needed, b has shape {b.shape}")
    return solve(b) if b.ndim > 1 else np.squeeze(solve(np.expand_dims(b, -1)), -1)


# --- triangular matrices --------------------------------------------------------------------


def solve_triangular(
    a: Any,
    b: Any,
    trans: Any = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
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
    overwrite_b
        Without effect: nothing is overwritten.
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
    kind, a = kinds[trans], _square(a)
    flags = bool(lower), bool(unit_diagonal), bool(check_finite)
    if kind == 2:
        a = conjugate_of(a)
    return _for_columns(lambda b: _triangular(a, b, kind > 0, *flags), a.shape[-1], b)


def _factor_vjp(g: Any, y: Any, a: Any, lower: bool, finite: bool) -> Any:
    return pulled_by_factor(y, g, not lower)


@op(
    _factor_vjp,
    name="cho_factor",
    scipy="",
    batch=stacks_of(),
    like=like_last,
    complex=of_adjoints(_factor_vjp),
)
def _factored(a: Any, lower: bool, finite: bool) -> Any:
    """The Cholesky factors of a stack of matrices."""
    return over_stacks(_scipy.cholesky, a, lower=lower, check_finite=finite)


def cho_factor(
    a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Any, bool]:
    """The Cholesky factor of a matrix, for `cho_solve`, as `scipy.linalg.cho_factor`.

    Parameters
    ----------
    a
        A positive definite matrix. Only one triangle is read, so the gradient is in that triangle.
    lower
        Whether the lower triangle is read, and the factor is lower triangular.
    overwrite_a
        Without effect: nothing is overwritten.
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
    return _factored(_square(a), lower=bool(lower), finite=bool(check_finite)), bool(lower)


def cho_solve(
    c_and_lower: Any, b: Any, overwrite_b: bool = False, check_finite: bool = True
) -> Any:
    """The solution x of ``a @ x = b`` from the Cholesky factor, as `scipy.linalg.cho_solve`.

    Parameters
    ----------
    c_and_lower
        The result of `cho_factor`.
    b
        A vector (n,), or a matrix of columns (n, k).
    overwrite_b
        Without effect: nothing is overwritten.
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


def _places(lower: int, upper: int, n: int) -> tuple[Any, Any, Any]:
    """The rows and columns of a matrix's elements in banded form, and a mask of those inside."""
    cols = np.arange(n)
    rows = np.arange(lower + upper + 1)[:, None] - upper + cols
    return np.clip(rows, 0, max(n - 1, 0)), cols, (rows >= 0) & (rows < n)


def _banded_vjp(g: Any, y: Any, ab: Any, b: Any, lower: int, upper: int, finite: bool) -> list[Any]:
    n = ab.shape[-1]
    # the transpose in banded form: the diagonals in the opposite order, moved to other columns
    rows, cols, inside = _places(upper, lower, n)
    transposed = ab[..., lower + upper - np.arange(lower + upper + 1)[:, None], rows]
    c = _banded(np.where(inside, transposed, 0), g, upper, lower, finite)
    rows, cols, inside = _places(lower, upper, n)
    products = np.sum(c[..., rows, :] * y[..., cols, :][..., None, :, :], axis=-1)
    return [np.where(inside, -products, 0), c]


@op(
    each_operand=Joint(_banded_vjp),
    read=lambda ab, b, lower, upper, finite: (
        (ab, b),
        {"lower": lower, "upper": upper, "finite": finite},
    ),
    name="solve_banded",
    **STACKED,
)
def _banded(ab: Any, b: Any, lower: int, upper: int, finite: bool) -> Any:
    """The solution for stacks of matrices."""

    def solve(ab: Any, b: Any) -> Any:
        return _scipy.solve_banded((lower, upper), ab, b, check_finite=finite)

    return over_stacks(solve, ab, b)


def solve_banded(
    l_and_u: Sequence[int],
    ab: Any,
    b: Any,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Any:
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
    overwrite_ab, overwrite_b
        Without effect: nothing is overwritten.
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
    ab = _matrix(ab)
    if ab.ndim < 2 or lower + upper + 1 != ab.shape[-2]:
        raise ValueError(
            f"invalid values for the number of lower and upper diagonals: l + u + 1 is "
            f"{lower + upper + 1}, and ab has shape {ab.shape}"
        )
    finite = bool(check_finite)
    return _for_columns(lambda b: _banded(ab, b, lower, upper, finite), ab.shape[-1], b)


# --- the equation of Sylvester --------------------------------------------------------------


def _sylvester_vjp(g: Any, y: Any, a: Any, b: Any, q: Any) -> list[Any]:
    c = solve_sylvester(turned(a), turned(b), g)
    return [-(c @ turned(y)), -(turned(y) @ c), c]


def _sylvester_one(a: Any, b: Any, q: Any) -> Any:
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


@op(
    each_operand=Joint(_sylvester_vjp),
    read=lambda a, b, q: ((a, b, q), {}),
    name="solve_sylvester",
    **STACKED,
)
def _sylvester(a: Any, b: Any, q: Any) -> Any:
    """The solution for stacks of matrices."""
    return over_stacks(_sylvester_one, a, b, q)


def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
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
    a, b, q = _square(a), _square(b), _matrix(q)
    if q.shape[-2:] != (a.shape[-1], b.shape[-1]):
        raise ValueError(
            f"shapes are incompatible: a is {a.shape}, b is {b.shape}, and q is {q.shape}"
        )
    return _sylvester(a, b, q)


# --- functions of matrices ------------------------------------------------------------------


def _frechet_vjp(g: Any, y: Any, a: Any, e: Any) -> list[Any]:
    # the derivative is a block of the exponential of [[a, e], [0, a]]
    zero = np.zeros_like(a)
    n = a.shape[-1]
    block = np.block([[turned(a), zero], [turned(e), turned(a)]])
    c = expm_frechet(block, np.block([[zero, g], [zero, zero]]), compute_expm=False)
    return [c[..., :n, :n] + c[..., n:, n:], c[..., :n, n:]]


def _frechet_one(a: Any, e: Any) -> Any:
    derivative = _scipy.expm_frechet(a, e, compute_expm=False, check_finite=False)
    return derivative.astype(np.result_type(a, e), copy=False)


@op(
    each_operand=Joint(_frechet_vjp),
    read=lambda a, e: ((a, e), {}),
    name="expm_frechet",
    **STACKED,
)
def _frechet(a: Any, e: Any) -> Any:
    """The derivative along a direction, for stacks of matrices."""
    return over_stacks(_frechet_one, a, e)


def expm_frechet(
    A: Any,
    E: Any,
    method: str | None = None,
    compute_expm: bool = True,
    check_finite: bool = True,
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
    check_finite
        Without effect: numbers that are not finite give nan.

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
    A, E = _square(A), _square(E)
    if A.shape[-1] != E.shape[-1]:
        raise ValueError(f"A and E must have the same shape, not {A.shape} and {E.shape}")
    return (expm(A), _frechet(A, E)) if compute_expm else _frechet(A, E)


def _expm_jvp(op: Any, tangents: Any, y: Any, a: Any) -> Any:
    return _frechet(a, tangents[0])


@op(lambda g, y, a: _frechet(turned(a), g), jvp=_expm_jvp, name="expm", **STACKED)
def _expm(a: Any) -> Any:
    """The exponential for stacks of matrices."""
    return _scipy.expm(a)


def expm(A: Any) -> Any:
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
    try:
        return _expm(_square(A))
    except ValueError as error:
        raise np.linalg.LinAlgError(str(error)) from None


def _sqrtm_one(a: Any, real: bool) -> Any:
    with np.errstate(all="ignore"):
        y = _root(a)
    if np.isfinite(a).all() and not np.isfinite(y).all():
        raise np.linalg.LinAlgError("sqrtm: the matrix is singular, and has no square root")
    if real and y.dtype.kind == "c":
        raise TypeError(
            "sqrtm: the square root of a real matrix is complex here, which is not known while "
            "recording shapes alone; pass A.astype(complex)"
        )
    return y


def _root(a: Any) -> Any:
    y = _scipy.sqrtm(a)
    wide = np.result_type(a.dtype, np.complex64) if y.dtype.kind == "c" else a.dtype
    return y.astype(wide, copy=False)


def _sqrtm_vjp(g: Any, y: Any, a: Any, real: bool = False) -> Any:
    return solve_sylvester(turned(y), turned(y), g)


def _sqrtm_jvp(op: Any, tangents: Any, y: Any, a: Any, real: bool = False) -> Any:
    return solve_sylvester(y, y, tangents[0])


@op(_sqrtm_vjp, jvp=_sqrtm_jvp, name="sqrtm", **STACKED)
def _sqrtm(a: Any, real: bool = False) -> Any:
    """The square root for stacks of matrices."""
    return over_stacks(_sqrtm_one, a, real=real)


def sqrtm(A: Any) -> Any:
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
    try:
        A = _square(A)
    except ValueError as error:
        raise np.linalg.LinAlgError(str(error)) from None
    compiling = type(A) is Tensor and A.origin.compiling and A.dtype.kind != "c"
    return _sqrtm(A, real=True) if compiling else _sqrtm(A)


# --- matrices from parts --------------------------------------------------------------------


def block_diag(*arrs: Any) -> Any:
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


def toeplitz(c: Any, r: Any = None) -> Any:
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


# --- NumPy's decompositions, in SciPy's spelling --------------------------------------------

_like_scipy = with_scipys_options(_scipy)


@_like_scipy
def cholesky(a: Any, lower: bool = False, check_finite: bool = True) -> Any:
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


def _read(a: Any, kind: str, lower: bool) -> Any:
    """A square matrix of which only the elements that its kind needs are read."""
    off = np.arange(a.shape[-1]) - np.arange(a.shape[-1])[:, None]
    if kind in _BANDS:
        first, last = _BANDS[kind]
        return np.where((first <= off) & (off <= last), a, 0)
    turn, middle = (turned, a) if kind[0] == "s" else (adjoint, real_of(a))
    side = np.where(off < 0 if lower else off > 0, a, 0)
    return side + turn(side) + np.where(off == 0, middle, 0)


@_like_scipy
def solve(
    a: Any, b: Any, lower: bool = False, assume_a: str | None = None, transposed: bool = False
) -> Any:
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
    a = _square(a)
    if assume_a in ("pos", "positive definite"):
        return cho_solve(cho_factor(conjugate_of(a) if transposed else a, lower), b)
    if assume_a in _BANDS or assume_a in _MIRRORED:
        a = _read(a, assume_a, lower)
    elif assume_a not in (None, "gen", "general", "banded"):
        raise ValueError(f"solve: {assume_a!r} is not a kind of matrix")
    a = turned(a) if transposed else a
    return _for_columns(lambda b: _numpy.solve(a, b), a.shape[-1], b)


@_like_scipy
def inv(a: Any) -> Any:
    """The inverse of a matrix.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import inv
    >>> inv(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return _numpy.inv(_square(a))


@_like_scipy
def det(a: Any) -> Any:
    """The determinant of a matrix.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.linalg import det
    >>> tg.grad(det)(np.diag([2.0, 4.0]))
    array([[4., 0.],
           [0., 2.]])
    """
    return _numpy.det(_square(a))


@_like_scipy
def eigh(
    a: Any,
    b: Any = None,
    lower: bool = True,
    eigvals_only: bool = False,
    subset_by_index: Any = None,
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
    a = _square(a)
    factor = None
    if b is not None:
        factor = cho_factor(b, lower)[0]
        factor = factor if lower else adjoint(factor)
        half = solve_triangular(factor, _read(a, "her", lower), lower=True)
        a = adjoint(solve_triangular(factor, adjoint(half), lower=True))
    w, v = _numpy.eigh(a, "L" if lower else "U")
    first, last = (0, a.shape[-1] - 1) if subset_by_index is None else subset_by_index
    w, v = w[..., first : last + 1], v[..., first : last + 1]
    if eigvals_only:
        return w
    return w, v if factor is None else solve_triangular(factor, v, "C", lower=True)


@_like_scipy
def eigvalsh(a: Any, b: Any = None, lower: bool = True, subset_by_index: Any = None) -> Any:
    """The eigenvalues of a symmetric matrix, ascending; arguments as for `eigh`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import eigvalsh
    >>> eigvalsh(np.diag([3.0, 1.0, 2.0]), subset_by_index=[1, 2])
    array([2., 3.])
    """
    return eigh(a, b, lower=lower, eigvals_only=True, subset_by_index=subset_by_index)


@_like_scipy
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition, as `tapegrad.svd`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import svd
    >>> svd(np.diag([1.0, 2.0])).S
    array([2., 1.])
    """
    return _numpy.svd(_matrix(a), full_matrices, compute_uv)


@_like_scipy
def svdvals(a: Any) -> Any:
    """The singular values, in descending order.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import svdvals
    >>> svdvals(np.diag([1.0, 2.0]))
    array([2., 1.])
    """
    return _numpy.svdvals(_matrix(a))


@_like_scipy
def qr(a: Any, mode: str = "full") -> Any:
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
    q, r = _numpy.qr(_matrix(a), "reduced" if mode == "economic" else "complete")
    return (r,) if mode == "r" else (q, r)


@_like_scipy
def norm(a: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of a vector or a matrix, as `tapegrad.norm`.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import norm
    >>> norm([3.0, 4.0])
    np.float64(5.0)
    """
    return _numpy.norm(_matrix(a), ord, axis, keepdims)


@_like_scipy
def pinv(a: Any, rtol: Any = None, return_rank: bool = False) -> Any:
    """The Moore-Penrose pseudo-inverse, with derivatives at constant rank, as `tapegrad.pinv`.

    Singular values below `rtol` times the largest count as 0; by default it is the machine epsilon
    times the larger side.

    Examples
    --------
    >>> from tapegrad.scipy.linalg import pinv
    >>> pinv(np.array([[2.0], [0.0]]), return_rank=True)
    (array([[0.5, 0. ]]), array(1))
    """
    a = _matrix(a)
    rtol = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps) if rtol is None else rtol
    y = _numpy.pinv(a, rtol)
    return (y, _numpy.matrix_rank(a, rtol=rtol)) if return_rank else y


@_like_scipy
def lstsq(a: Any, b: Any, cond: Any = None) -> tuple[Any, Any, Any, Any]:
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
    a, b = _matrix(a), _matrix(b)
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

    lu: Any
    piv: Any


@op(None, name="permutation", scipy="", batch=stacks_of(1))
def _permutation(piv: Any) -> Any:
    """The order of rows that exchanges lead to."""
    order = np.broadcast_to(np.arange(piv.shape[-1]), piv.shape).copy()
    for i in np.ndindex(*piv.shape[:-1]):
        for j, k in enumerate(piv[i]):
            order[i][[j, k]] = order[i][[k, j]]
    return order


def _rows(x: Any, order: Any) -> Any:
    """The rows of stacks of matrices in another order."""
    stack = np.broadcast_shapes(x.shape[:-2], order.shape[:-1])
    x = np.broadcast_to(x, (*stack, *x.shape[-2:]))
    order = np.broadcast_to(order, (*stack, order.shape[-1]))
    return np.take_along_axis(x, np.expand_dims(order, -1), -2)


def _lu_vjp(g: Any, y: Any, a: Any, finite: bool) -> Any:
    (lu, piv), g = parts_of(y), g.values[0]
    below = np.tri(a.shape[-1], k=-1, dtype=bool)
    unit = np.where(below, lu, np.eye(a.shape[-1], dtype=lu.dtype))
    upper = np.where(below, 0, lu)
    inner = np.where(
        below, turned(unit) @ np.where(below, g, 0), np.where(below, 0, g) @ turned(upper)
    )
    half = _triangular(lu, inner, True, True, True, False)
    c = turned(_triangular(lu, turned(half), False, False, False, False))
    return _rows(c, np.argsort(_permutation(piv), axis=-1))


def _lu_like(a: Any, finite: bool) -> Parts:
    return Parts((np.zeros_like(a), np.zeros(a.shape[:-1], np.int32)))


@op(
    _lu_vjp,
    name="lu_factor",
    scipy="",
    results=LUResult,
    like=_lu_like,
    batch=stacks_of(),
    complex=True,
)
def _lu(a: Any, finite: bool) -> Any:
    """The factors of a stack of matrices, by SciPy."""
    lu, piv = y = _lu_like(a, finite).values
    for i in np.ndindex(*a.shape[:-2]):
        lu[i], piv[i] = _scipy.lu_factor(a[i], check_finite=finite)
    return Parts(y)


@_like_scipy
def lu_factor(a: Any, check_finite: bool = True) -> Any:
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
    return _lu(_square(a), finite=bool(check_finite))


@_like_scipy
def lu_solve(lu_and_piv: Any, b: Any, trans: int = 0, check_finite: bool = True) -> Any:
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
    lu, order, finite = _square(lu_and_piv[0]), _permutation(lu_and_piv[1]), bool(check_finite)

    def of_columns(b: Any) -> Any:
        b = b if trans else _rows(b, order)
        for lower in (False, True) if trans else (True, False):  # the lower one has ones
            b = solve_triangular(lu, b, trans, lower, lower, check_finite=finite)
        return _rows(b, np.argsort(order, axis=-1)) if trans else b

    return _for_columns(of_columns, lu.shape[-1], b)


# --- equations with structure, solved as others ---------------------------------------------


@_like_scipy
def solveh_banded(ab: Any, b: Any, lower: bool = False, check_finite: bool = True) -> Any:
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
    ab = _matrix(ab)
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


@_like_scipy
def solve_toeplitz(c_or_cr: Any, b: Any) -> Any:
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
    a = toeplitz(*c_or_cr) if type(c_or_cr) is tuple else toeplitz(c_or_cr)
    return solve(a, b)
