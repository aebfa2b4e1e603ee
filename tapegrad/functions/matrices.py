"""Linear algebra composed of ops: norms, decompositions, solutions and powers."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.core.tensor import Tensor
from tapegrad.declare import function
from tapegrad.ops.axes import check_matrices, normalize_axes
from tapegrad.ops.casting import (
    as_floating,
    as_scalar,
    sqrt_with_zero_slope,
    squared_modulus_by_ops,
    stop_gradient,
    to_array,
)
from tapegrad.ops.decompositions import (
    QRResult,
    SVDResult,
    complement,
    eigh,
    eigvalsh,
    svdvals,
    thin_qr,
    thin_svd,
)
from tapegrad.ops.inverses import as_columns, inv, matrix_rank, pinv, solve
from tapegrad.ops.product import adjoint
from tapegrad.ops.updates import at
from tapegrad.types import Array, ArrayLike, Axis

__all__ = ["lstsq", "matrix_norm", "matrix_power", "norm", "qr", "svd", "tensorinv", "tensorsolve"]
__all__ += ["vector_norm"]

# an array too, since the order of a vector's norm may be a Tensor
Order: TypeAlias = float | str | Array


def _normalize_norm_axes(axis: Axis, n: int) -> tuple[int, ...]:
    if isinstance(axis, list | np.ndarray | set | range | dict):
        raise TypeError(f"an axis must be an integer, several a tuple; not {axis!r}")
    return tuple(range(n)) if axis is None else normalize_axis_tuple(axis, n)


def _vector_norm(x: Array, ord: Order, axis: Axis, keepdims: bool) -> Array:
    if isinstance(ord, str):
        raise ValueError(f"{ord!r} is not an order of a vector's norm")
    options: dict[str, Any] = {"axis": axis, "keepdims": keepdims}
    # the shorter forms have no derivative with respect to the order
    if ord == 2 and not isinstance(ord, Tensor) and x.dtype.kind == "f":
        return sqrt_with_zero_slope(np.sum(x * x, **options))
    size = np.absolute(x)
    if ord == 0:
        return np.sum(np.not_equal(x, 0).astype(size.dtype), **options)
    if ord == np.inf:
        return _max_or_zero(size, **options)
    if ord == -np.inf:
        return np.min(size, **options)
    if ord == 1 and not isinstance(ord, Tensor):
        return np.sum(size, **options)
    # derivatives of powers, and negative powers, are infinite at 0
    if x.dtype.kind == "c":
        # scale to numbers near 1, whose squares do not underflow
        largest = np.max(stop_gradient(size), axis=axis, keepdims=True, initial=0)
        largest = np.where(np.equal(largest, 0) | np.isinf(largest), 1, largest)
        if ord == 2:
            # tangents in units of subnormal numbers would overflow, and no quotient underflows
            largest = np.maximum(largest, np.finfo(size.dtype).tiny ** 0.7)
        y = _vector_norm(size / largest, ord, axis, keepdims)
        return as_scalar(y * (largest if keepdims else np.squeeze(largest, axis)))
    is_zero, limit = np.equal(size, 0), 0 if ord > 0 else np.inf
    total = np.sum(np.where(is_zero, limit, np.where(is_zero, 1, size) ** ord), **options)
    is_zero = np.equal(total, limit)
    return as_scalar(np.where(is_zero, 0, np.where(is_zero, 1, total) ** (1 / ord)))


def _max_or_zero(magnitudes: Array, **options: Any) -> Array:
    """Return the largest magnitude; 0 if there is none, as in NumPy from 2.4 on."""
    if 0 in magnitudes.shape:
        options["initial"] = 0
    return np.max(magnitudes, **options)


# reductions of singular values (nuc, 2, -2), or of sums of magnitudes
_REDUCTIONS: dict[Any, Any] = {"nuc": np.sum, 2: _max_or_zero, -2: np.min}
_REDUCTIONS |= {1: _max_or_zero, np.inf: _max_or_zero, -1: np.min, -np.inf: np.min}


def _check_plain_order(name: str, ord: Order | None) -> None:
    """Raise for a Tensor as the order of a matrix norm, which has no gradient."""
    if isinstance(ord, Tensor):
        raise TypeError(
            f"{name}: a matrix has norms of separate orders, without a gradient in them; pass the "
            "order's value (t.value)"
        )


def _matrix_norm(x: Array, ord: Order, axes: tuple[int, int], keepdims: bool) -> Array:
    _check_plain_order("norm", ord)
    if ord in ("fro", "f"):
        return _vector_norm(x, 2, axes, keepdims)
    if ord not in _REDUCTIONS:
        raise ValueError(f"{ord!r} is not an order of a matrix's norm")
    reduce = _REDUCTIONS[ord]
    if ord in ("nuc", 2, -2):
        other_axes = [i for i in range(x.ndim) if i not in axes]
        y = reduce(svdvals(np.transpose(x, (*other_axes, *axes))), axis=-1)
        return np.expand_dims(y, axes) if keepdims else y
    sum_axis, other_axis = axes if ord in (1, -1) else axes[::-1]
    y = reduce(np.sum(np.absolute(x), axis=sum_axis, keepdims=True), axis=other_axis, keepdims=True)
    return y if keepdims else np.squeeze(y, axis=axes)


@function(numpy=np.linalg.norm, kink="0 at 0; ties share equally", complex=True)
def norm(
    x: ArrayLike, ord: Order | None = None, axis: Axis = None, keepdims: bool = False
) -> Array:
    """The norms of vectors or of matrices.

    Parameters
    ----------
    x
        An array.
    ord
        For vectors any number, where inf means the largest and -inf the smallest magnitude; 2 by
        default. For matrices ``"fro"``, ``"nuc"``, 1, -1, 2, -2, inf or -inf; ``"fro"`` by
        default.
    axis
        An axis for vectors, a pair for matrices; by default all axes of a vector or a matrix, or,
        for the default `ord`, all elements as one vector.
    keepdims
        Whether the axes stay, with length 1.

    Raises
    ------
    ValueError
        If there is no norm of this order, or for more than two axes.
    TypeError
        If the order of a matrix's norm is a Tensor.

    Notes
    -----
    The gradient of each vector or matrix that is 0 is 0. Elements that tie for the largest
    or smallest share the gradient equally. The order 0 counts elements, and passes no gradient.
    The order of a vector's norm has a gradient too, which is 0 for the orders 0, inf and -inf.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.norm)(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    >>> tg.grad(tg.norm)(np.zeros(2))
    array([0., 0.])
    """
    x = as_floating(x, complex=True)
    axes = _normalize_norm_axes(axis, x.ndim)
    if len(axes) == 1 or (ord is None and (axis is None or len(axes) == 2)):
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if ord is None or len(axes) != 2:
        raise ValueError(f"norm takes one axis or two, not {len(axes)}; vector_norm takes more")
    return _matrix_norm(x, ord, (axes[0], axes[1]), keepdims)


@function(numpy=np.linalg.vector_norm, kink="0 at 0; ties share equally", complex=True)
def vector_norm(
    x: ArrayLike, *, axis: Axis = None, keepdims: bool = False, ord: Order = 2
) -> Array:
    """The norms of vectors, over an axis, several, or all; see `norm`.

    A gradient passes to the order too. For a plain array and an order that is a Tensor, call this
    function: ``np.linalg.vector_norm(array, ord=t)`` does not dispatch to the Tensor; it raises or
    passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.vector_norm(x, ord=1))(np.array([[3.0, -4.0]]))
    array([[ 1., -1.]])
    """
    x = as_floating(x, complex=True)
    return _vector_norm(x, ord, _normalize_norm_axes(axis, x.ndim), bool(keepdims))


@function(numpy=np.linalg.matrix_norm, kink="0 at 0; ties share equally", complex=True)
def matrix_norm(x: ArrayLike, *, keepdims: bool = False, ord: Order = "fro") -> Array:
    """The norms of matrices, over the last two axes; see `norm`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.matrix_norm(x, ord="nuc"))(np.diag([2.0, -1.0]))
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    x = as_floating(x, complex=True)
    first, last = _normalize_norm_axes((-2, -1), x.ndim)
    return _matrix_norm(x, ord, (first, last), bool(keepdims))


@function(
    numpy=np.linalg.cond,
    # for a 1 by 1 matrix it is 1, and its gradient consists of rounding errors
    kink="as `norm`; of order 2 as `svdvals`",
    complex=True,
)
def cond(x: ArrayLike, p: Order | None = None) -> Array:
    """The condition number: the norm of the matrix times the norm of its inverse.

    Parameters
    ----------
    x
        A matrix, or a stack of them; square unless `p` is 2 or -2.
    p
        The order of the `norm`, 2 by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linalg.cond(np.diag([4.0, 2.0])).item()
    2.0
    """
    x = as_floating(x, complex=True)
    _check_plain_order("cond", p)
    check_matrices("cond", x)
    if 0 in x.shape[-2:]:
        raise np.linalg.LinAlgError(f"cond: a matrix of shape {x.shape} has no condition number")
    if p is None or p in (2, -2):
        s = svdvals(x)
        first, last = s[..., 0], s[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            y = last / first if p == -2 else first / last
    else:
        y = matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)
    # as in NumPy: infinite unless the matrix itself has nan
    is_undefined = np.not_equal(y, y) & np.all(np.equal(x, x), axis=(-2, -1))
    return as_scalar(np.where(is_undefined, np.inf, y))


@function(numpy=np.linalg.svd, kink="vectors of equal singular values: nan", complex=True)
def svd(
    a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """The singular value decomposition.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    full_matrices
        Whether the vectors span the whole space. The vectors beyond the singular values are not
        unique; they change only as much as the others require.
    compute_uv
        Whether to compute vectors, or just the singular values.
    hermitian
        Whether the matrix is symmetric, in which case its lower triangle is read; see `eigh`.

    Returns
    -------
    U, S, Vh
        The singular values `S` in descending order, their vectors in the columns of `U` and the
        rows of `Vh`, with LAPACK's signs. Without `compute_uv`, just `S`.

    Notes
    -----
    Vectors of equal singular values, and of 0 if the matrix is not square, have no derivative:
    their gradient is nan. The singular values alone have the gradient of `svdvals`. Townsend,
    "Differentiating the singular value decomposition" (2016).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.svd(a, full_matrices=False).S[0])(np.array([[3.0], [4.0]]))
    array([[0.6],
           [0.8]])
    """
    a = to_array(a)
    check_matrices("svd", a, square=hermitian)
    if hermitian:
        return _svd_by_eigh(a, compute_uv)
    if not compute_uv:
        return svdvals(a)
    n, m = a.shape[-2:]
    u, s, vh = thin_svd(a)
    if full_matrices and n > m:
        u = np.concatenate([u, complement(a, "u")], axis=-1)
    if full_matrices and m > n:
        vh = np.concatenate([vh, adjoint(complement(adjoint(a), "v"))], axis=-2)
    return SVDResult(u, s, vh)


def _svd_by_eigh(a: Array, compute_uv: bool) -> Array | SVDResult:
    """Return the `svd` of symmetric matrices, by their eigenvectors."""
    if not compute_uv:
        return np.sort(np.abs(eigvalsh(a)), axis=-1)[..., ::-1]
    w, v = eigh(a)
    order = np.argsort(np.abs(w), axis=-1)[..., ::-1]
    w = np.take_along_axis(w, order, axis=-1)
    v = np.take_along_axis(v, np.expand_dims(order, -2), axis=-1)
    return SVDResult(v, np.abs(w), adjoint(v * np.expand_dims(np.copysign(1.0, w), -2)))


@function(numpy=np.linalg.qr, complex=True)
def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """The QR decomposition of a matrix of full rank.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    mode
        ``"reduced"``; ``"complete"`` for columns that span the whole space, where the added columns
        change only as much as the others require; or ``"r"`` for `R` alone.

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
    If the first columns (as many as the rows) do not have full rank, there is no derivative:
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
    a = to_array(a)
    check_matrices("qr", a)
    n, m = a.shape[-2:]
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode must be 'reduced', 'complete' or 'r'; got {mode!r}")
    q, r = thin_qr(a[..., :n] if m > n else a)
    if m > n:
        r = np.concatenate([r, adjoint(q) @ a[..., n:]], axis=-1)
    if mode == "r":
        return r
    if mode == "complete" and n > m:
        q = np.concatenate([q, complement(a, "q")], axis=-1)
        r = np.concatenate([r, np.zeros((*a.shape[:-2], n - m, m), r.dtype)], axis=-2)
    return QRResult(q, r)


# --- by singular values -------------------------------------------------------------------


@function(numpy=np.linalg.lstsq, kink="as `pinv`", complex=True)
def lstsq(
    a: ArrayLike, b: ArrayLike, rcond: float | None = None
) -> tuple[Array, Array, Array, Array]:
    """The least-squares solution; if there are several, the one with the least norm.

    Parameters
    ----------
    a
        A matrix.
    b
        A vector or a matrix with the same number of rows.
    rcond
        Singular values below this fraction of the largest count as 0; by default the dtype's
        machine epsilon times the larger side. A number that is no fraction, such as -1 or 1, stands
        for the epsilon alone, as in LAPACK.

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
    a, b = as_floating(a, complex=True), as_floating(b, complex=True)
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
    residuals = np.sum(as_columns(squared_modulus_by_ops(b - a @ x), b), axis=0)
    rank = matrix_rank(a, rtol=rcond).astype(np.int32)
    return x, residuals if n > m else residuals[:0], rank, svdvals(a)


@function(numpy=np.linalg.tensorsolve, complex=True)
def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Sequence[int] | None = None) -> Array:
    """The solution x of ``tensordot(a, x, x.ndim) = b``.

    Parameters
    ----------
    a
        An array of shape ``b.shape + x.shape``, which is a square matrix if both parts of the shape
        are merged into one axis each.
    b
        An array.
    axes
        Axes of `a` to move to the end first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tensorsolve(2 * np.eye(4).reshape(2, 2, 4), np.ones((2, 2)))
    array([0.5, 0.5, 0.5, 0.5])
    """
    a, b = to_array(a), to_array(b)
    moved_axes = () if axes is None else normalize_axes("tensorsolve", tuple(axes), a.ndim)
    a = np.transpose(a, (*[i for i in range(a.ndim) if i not in moved_axes], *moved_axes))
    shape = a.shape[b.ndim :]
    return np.reshape(solve(np.reshape(a, (-1, math.prod(shape))), np.reshape(b, -1)), shape)


@function(numpy=np.linalg.tensorinv, complex=True)
def tensorinv(a: ArrayLike, ind: int = 2) -> Array:
    """The inverse of `tensordot` with an array over its axes from `ind` on.

    Parameters
    ----------
    a
        An array that is a square matrix once the axes before `ind` are merged into one, and the
        others into another.
    ind
        The number of leading axes of the array, which are the last axes of the inverse.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tensorinv(2 * np.eye(4).reshape(2, 2, 4)).shape
    (4, 2, 2)
    """
    a, ind = to_array(a), operator.index(ind)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind must be the number of axes before, 1 or more; not {ind}")
    first, last = a.shape[:ind], a.shape[ind:]
    if math.prod(first) != math.prod(last) or not last:
        raise np.linalg.LinAlgError(
            f"tensorinv: an array of shape {a.shape} is not a square matrix when its first "
            f"{ind} axes are merged into one, and the others too"
        )
    return np.reshape(inv(np.reshape(a, (math.prod(first), -1))), (*last, *first))


@function(numpy=np.linalg.matrix_power, complex=True)
def matrix_power(a: ArrayLike, n: int) -> Array:
    """A square matrix to an integer power; a negative one is a power of the inverse.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.matrix_power(a, 3)[0, 0])(2 * np.eye(1))
    array([[12.]])
    """
    a, n = to_array(a), operator.index(n)
    check_matrices("matrix_power", a, square=True)
    if n == 0:
        return at(a)[...].set(np.eye(a.shape[-1], dtype=a.dtype))
    square, n = (inv(a), -n) if n < 0 else (a, n)
    y: Array | None = None
    while True:
        n, bit = divmod(n, 2)
        if bit:
            y = square if y is None else y @ square
        if n == 0 and y is not None:
            return y
        square = square @ square
