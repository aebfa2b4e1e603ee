"""Linear algebra: inverses, determinants, decompositions and eigenvalues."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, NamedTuple

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.op import EachOperand
from tapegrad.core.tensor import Parts, Tensor
from tapegrad.declare import op, wider_op
from tapegrad.declare.batching import Batched, aligned, batch_size, stacked, with_batch
from tapegrad.declare.domain import REAL, SHAPES, STACKS, WELL, Call, Choices, matrices, matrix
from tapegrad.declare.parts import parts_of
from tapegrad.errors import TraceError
from tapegrad.face.table import lazy_import
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.casting import conjugate_of, real_of, seen, to_array
from tapegrad.ops.product import LETTERS, adjoint, turned

__all__ = ["cholesky", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matrix_rank", "pinv"]
__all__ += ["slogdet", "solve", "svdvals"]


def of_adjoints(rule: Any) -> tuple[Any]:
    """The rules for a complex operand, given one for cotangents as users see them.

    Where a formula conjugates operands, so that for real ones it is what textbooks have.
    """

    def inside(g: Any, *args: Any, **options: Any) -> Any:
        if type(g) is Parts:
            g = Parts(tuple([x if x is None else conjugate_of(x) for x in g.values]))
            c = rule(g, *args, **options)
        else:
            c = rule(conjugate_of(g), *args, **options)
        return c if c is None else conjugate_of(c)

    return (inside,)


def _like(name: str, sides: Any, real: int = -1) -> Any:
    """What the results of a decomposition of n by m matrices are like: stacks of these shapes.

    The one at `real` has real numbers.
    """

    def like(a: Any, **options: Any) -> Parts:
        check_matrices(name, a, square=name not in ("qr", "svd"))
        of = np.zeros((), a.dtype if a.dtype.kind in "fc" else float)
        shapes = [(*a.shape[:-2], *side) for side in sides(*a.shape[-2:])]
        kinds = [(of.real if i == real else of).dtype for i in range(len(shapes))]
        return Parts(tuple(map(np.zeros, shapes, kinds)))

    return like


# --- inverses and equations -----------------------------------------------------------------


@op(
    lambda g, y, a: -(turned(y) @ g @ turned(y)),
    numpy=np.linalg.inv,
    domain=matrices(),
    batch=stacked,
    complex=True,
)
def inv(a: Any) -> Any:
    """The inverse.

    Raises
    ------
    LinAlgError
        If a matrix is singular.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.sum(tg.inv(a)))(2 * np.eye(1))
    array([[-0.25]])
    """
    return np.linalg.inv(a)


def _pinv_vjp(g: Any, y: Any, a: Any, **options: Any) -> Any:
    yt, gt = adjoint(y), adjoint(g)
    return -(yt @ g @ yt) + (gt - a @ (y @ gt)) @ y @ yt + yt @ y @ (gt - (gt @ y) @ a)


def _pinv_calls(choose: Choices) -> Call:
    call = matrices(*SHAPES, rcond=[None, 1e-3])(choose)
    n, m = call.args[0].shape[-2:]
    hermitian = n == m and choose.among([False, True])
    return Call(call.args, {**call.kwargs, "hermitian": True} if hermitian else call.kwargs)


def _of_triangle(
    a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue
) -> Any:
    """`pinv` of a symmetric matrix, by its lower triangle."""
    if hermitian:
        a = to_array(a)
        check_matrices("pinv", a, square=True)
        below = np.tril(a, -1)
        a = np.where(on_diagonal(a), real_of(a), below + adjoint(below))
    return np.linalg.pinv(a, rcond, rtol=rtol)


@wider_op(
    _of_triangle,
    _pinv_vjp,
    numpy=np.linalg.pinv,
    domain=_pinv_calls,
    kink="where the rank changes, as if it did not",
    batch=stacked,
    complex=of_adjoints(_pinv_vjp),
)
def pinv(a: Any, rcond: Any = None, *, rtol: Any = np._NoValue) -> Any:
    """The Moore-Penrose pseudo-inverse.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    rcond, rtol
        Singular values below this fraction of the largest count as 0, as in NumPy.

    With ``hermitian=True`` the matrix is taken to be symmetric, and only its lower triangle is
    read.

    Notes
    -----
    The derivative is that at constant rank; where the rank changes there is none. Golub and
    Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
    variables separate" (1973).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    return np.linalg.pinv(a, rcond, rtol=rtol)


def columns(x: Any, b: Any) -> Any:
    """The right side, or an array of its shape, as columns."""
    return np.expand_dims(x, -1) if b.ndim == 1 else x


def _solve_adjoint(g: Any, a: Any, b: Any) -> Any:
    """The cotangent of the columns of the right side."""
    return solve(turned(a), columns(g, b))


def _solve_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    """The solution z of a.T @ z = g."""
    c = _solve_adjoint(g, a, b)
    return np.squeeze(c, -1) if b.ndim == 1 else c


def _solve_calls(choose: Choices) -> Call:
    n, stack = choose.among([2, 3, 1, 0]), choose.among(STACKS)
    a = matrix(choose, n, n, stack)
    right = choose.among([(n,), (n, 2), (n, 0), (*stack, n, 1), (1, n, 2)])
    return Call((a, choose.array(right, REAL, "df")))


def _solve_batch(op: Any, batched: Batched, a: Any, b: Any) -> Any:
    vector = np.ndim(b) - batched[1] == 1
    if batched == (False, True) and a.ndim == 2 and b.size and (vector or b.ndim == 3):
        # all right sides side by side, so that the matrix is factorized once
        sides = b.T if vector else np.transpose(b, (1, 0, 2))
        y = apply(op, (a, sides.reshape(len(a), -1)), {})
        return y.T if vector else np.transpose(y.reshape(sides.shape), (1, 0, 2))
    right = np.expand_dims(b, -1) if vector else b
    y = apply(op, aligned(batched, (a, right)), {})
    return np.squeeze(y, -1) if vector else y


@op(
    lambda g, y, a, b: -(_solve_adjoint(g, a, b) @ turned(columns(y, b))),
    _solve_right,
    numpy=np.linalg.solve,
    domain=_solve_calls,
    batch=_solve_batch,
    complex=True,
)
def solve(a: Any, b: Any) -> Any:
    """The solution x of ``a @ x = b``.

    Parameters
    ----------
    a
        A square matrix, or a stack of them.
    b
        A vector if it has one axis; otherwise a matrix, or a stack of them.

    Raises
    ------
    LinAlgError
        If a matrix is singular.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda b: tg.sum(tg.solve(np.diag([2.0, 4.0]), b)))(np.ones(2))
    array([0.5 , 0.25])
    """
    return np.linalg.solve(a, b)


# --- determinants --------------------------------------------------------------------------


def _cofactor_vjp(i: int, g: Any, y: Any, a: Any, *directions: Any) -> Any:
    # symmetric in the directions, so g can stand for one of them
    rest = directions if i == 0 else (*directions[: i - 1], *directions[i:])
    return cofactor([a, *rest, g])


def _det_calls(choose: Choices) -> Call:
    """Calls on a matrix that may be singular."""
    (a,) = matrices()(choose).args
    if a.size and choose.among([False, True]):
        a = np.array(a)
        a[..., -1, :] = choose.among([0, 1]) * a[..., 0, :]
    return Call((a,))


def _cofactor_calls(choose: Choices) -> Call:
    (a,) = _det_calls(choose).args
    n = choose.integer(0, 1)
    return Call(([a, *[choose.array(a.shape, REAL, a.dtype.char) for _ in range(n)]],))


def _cofactor_batch(op: Any, batched: Batched, *arrays: Any) -> Any:
    n = batch_size(batched, arrays)
    return apply(op, tuple([with_batch(x, b, n) for x, b in zip(arrays, batched, strict=True)]), {})


@op(
    each_operand=EachOperand(_cofactor_vjp),
    read=lambda arrays: (tuple(arrays), {}),
    domain=_cofactor_calls,
    batch=_cofactor_batch,
    complex=True,
)
def cofactor(a: Any, *directions: Any) -> Any:
    """The gradient of the determinant, and its directional derivatives.

    ``cofactor([a])`` is the matrix of cofactors, and ``cofactor([a, d, ...])`` its derivative
    along `d`, then along the next direction, and so on. It is exact for singular matrices too.

    Notes
    -----
    For ``a = u diag(s) vh`` it is that of ``diag(s)`` along ``uH @ d @ v``, transformed back.
    There the determinant is expanded in the rows that the directions take: the derivative is a sum
    over distinct rows, one for each direction and one for the gradient, and over permutations of
    their columns, with the product of the other singular values.
    """
    u, s, vh = np.linalg.svd(a)
    n, order = s.shape[-1], len(directions) + 1
    inner = [adjoint(u) @ d @ adjoint(vh) for d in directions]
    rows = np.indices((n,) * order)
    taken = (rows[..., None] == np.arange(n)).sum(axis=0)
    values = s.reshape(*s.shape[:-1], *(1,) * order, n)
    others = np.where(taken > 0, 1, values).prod(axis=-1) * (taken < 2).all(axis=-1)
    y = np.zeros(u.shape, np.result_type(u, *inner))
    i = np.arange(n)
    row = LETTERS[:order]
    for columns in itertools.permutations(range(order)):
        odd = sum(x > z for x, z in itertools.combinations(columns, 2)) % 2
        terms = [row[j] + row[columns[j]] for j in range(order)]
        given = ",".join(["..." + term for term in (row, *terms[:-1])])
        on_diagonal = columns[-1] == order - 1
        place = y[..., i, i] if on_diagonal else y
        sum_ = np.einsum(f"{given}->...{row[-1] if on_diagonal else terms[-1]}", others, *inner)
        sum_ = place - sum_ if odd else place + sum_
        if on_diagonal:
            y[..., i, i] = sum_
        else:
            y = sum_
    # of length 1, up to rounding
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vh))
    return sign[..., None, None] * (u.conj() @ y @ vh.conj())


@op(
    lambda g, y, a: np.expand_dims(g, (-1, -2)) * cofactor([a]),
    numpy=np.linalg.det,
    domain=_det_calls,
    kink="right where it is 0",
    batch=stacked,
    complex=True,
)
def det(a: Any) -> Any:
    """The determinant; its derivatives are right for singular matrices too.

    The derivatives need a singular value decomposition, and memory for n**k numbers for order k;
    use `slogdet` for large matrices.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.det)(np.array([[1.0, 2.0], [2.0, 4.0]]))
    array([[ 4., -2.],
           [-2.,  1.]])
    """
    return np.linalg.det(a)


class SlogdetResult(NamedTuple):
    """The results of `slogdet` for matrices of shape (..., n, n).

    Attributes
    ----------
    sign
        1, -1 or 0, of shape (...), which passes no gradient; of a complex matrix the phase.
    logabsdet
        The logarithm of the absolute determinant, of shape (...).
    """

    sign: Any
    logabsdet: Any


def _slogdet_vjp(g: Any, y: Any, a: Any) -> Any:
    _, slope = g.values
    return None if slope is None else slope[..., None, None] * turned(inv(a))


def _complex_slogdet_vjp(g: Any, y: Any, a: Any) -> Any:
    turning, slope = g.values
    total = 0 if slope is None else slope
    if turning is not None:
        total = total + 1j * np.imag(np.conj(parts_of(y)[0]) * turning)
    return np.expand_dims(total, (-1, -2)) * adjoint(inv(a))


@op(
    _slogdet_vjp,
    results=SlogdetResult,
    like=_like("slogdet", lambda n, m: ((), ()), real=1),
    numpy=np.linalg.slogdet,
    domain=matrices(),
    batch=stacked,
    complex=of_adjoints(_complex_slogdet_vjp),
)
def slogdet(a: Any) -> Any:
    """The sign of the determinant, and the logarithm of its absolute value.

    The sign of a real one passes no gradient; of a complex one it is the phase, which does. A
    singular matrix has no gradient: computing it raises a LinAlgError.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.slogdet(a).logabsdet)(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return Parts(tuple(map(np.asarray, np.linalg.slogdet(a))))


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


# --- helpers of the rules -------------------------------------------------------------------


def _below(x: Any, k: int = 0) -> Any:
    """The elements of a matrix on the k-th diagonal or below."""
    n: int = x.shape[-1]
    return np.tri(n, k=k, dtype=bool)


def on_diagonal(x: Any) -> Any:
    """A mask of the diagonal of a square matrix."""
    return np.eye(x.shape[-1], dtype=bool)


def _gaps(w: Any) -> Any:
    """The differences of a matrix's values, for each pair of columns; 1 on the diagonal."""
    return np.expand_dims(w, -2) - np.expand_dims(w, -1) + np.eye(w.shape[-1], dtype=w.dtype)


def within_factor(x: Any) -> Any:
    """The lower triangle with half of the real diagonal: what a Cholesky factor varies in."""
    halved = np.where(on_diagonal(x), real_of(x) / 2, 0)
    return np.where(_below(x, -1), x, halved)


def of_triangular_factor(x: Any, upper: bool) -> Any:
    """The cotangent of the triangle that stands for a symmetric matrix, given that of the whole."""
    read = _below(x, -1)
    both = np.where(read.T if upper else read, x + adjoint(x), 0)
    return np.where(on_diagonal(x), real_of(x), both)


def check_phases(name: str, *pairs: tuple[Any, Any]) -> None:
    """Warn if cotangents ask for the phases of complex vectors, which are LAPACK's choice.

    Each pair is one of vectors, as columns, and of their cotangents; all have the same phases.
    """
    if pairs[0][0].dtype.kind != "c":
        return
    total, size = 0.0, 0.0
    for vectors, g in pairs:
        v, c = seen(vectors), seen(g)
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


def _cholesky_vjp(g: Any, y: Any, a: Any, upper: bool = False) -> Any:
    return lazy_import("tapegrad.ops.triangular", "pulled_by_factor")(y, g, upper)


@op(
    _cholesky_vjp,
    numpy=np.linalg.cholesky,
    domain=matrices(base=np.abs(WELL), upper=[False, True]),
    batch=stacked,
    complex=of_adjoints(_cholesky_vjp),
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
    Murray, "Differentiation of the Cholesky decomposition" (2016). SciPy solves the triangular
    equations of the rule if it has been imported, or if matrices are large and it is there; NumPy,
    which inverts the factor, does so otherwise. The results are the same but for rounding.

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
    return of_triangular_factor(v * np.expand_dims(g, -2) @ adjoint(v), UPLO in "Uu")


@op(
    _eigvalsh_vjp,
    numpy=np.linalg.eigvalsh,
    domain=matrices(UPLO=["L", "U"]),
    kink="equal ones: by the vectors that LAPACK takes",
    batch=stacked,
    complex=of_adjoints(_eigvalsh_vjp),
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
    (w, v), (gw, gv) = parts_of(y), g.values
    diagonal = 0 if gw is None else np.expand_dims(gw, -2)
    if gv is None:
        c = v * diagonal @ adjoint(v)
    else:
        check_phases("eigh", (v, gv))
        inner = np.where(on_diagonal(v), diagonal, adjoint(v) @ gv / _gaps(w))
        c = v @ inner @ adjoint(v)
    return of_triangular_factor(c, UPLO in "Uu")


@op(
    _eigh_vjp,
    results=EighResult,
    like=_like("eigh", lambda n, m: ((n,), (n, n)), real=0),
    numpy=np.linalg.eigh,
    domain=matrices(UPLO=["L", "U"]),
    kink="vectors of equal eigenvalues: nan",
    batch=stacked,
    complex=of_adjoints(_eigh_vjp),
)
def eigh(a: Any, UPLO: Any = "L") -> Any:  # noqa: N803
    """The eigenvalues of a symmetric matrix, in ascending order, and its eigenvectors.

    Arguments as for `eigvalsh`.

    Returns
    -------
    eigenvalues, eigenvectors
        The vectors are columns, with LAPACK's signs.

    Notes
    -----
    Vectors of equal eigenvalues have no derivative: the gradient is nan. That of the eigenvalues
    alone is as for `eigvalsh`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.eigh(a).eigenvalues[-1])(np.diag([1.0, 2.0]))
    array([[0., 0.],
           [0., 1.]])
    """
    check_matrices("eigh", np.asarray(a), square=True)
    return Parts(tuple(np.linalg.eigh(a, UPLO)))


def _of_values(g: Any, u: Any, s: Any, vh: Any) -> Any:
    """The cotangent of a matrix, from that of its singular values alone."""
    return u * np.expand_dims(np.where(np.equal(s, 0), 0, g), -2) @ vh


def _svdvals_vjp(g: Any, y: Any, x: Any) -> Any:
    return _of_values(g, *thin_svd(x))


@op(
    _svdvals_vjp,
    numpy=np.linalg.svdvals,
    domain=matrices(*SHAPES),
    kink="0 at 0; equal ones: by the vectors that LAPACK takes",
    batch=stacked,
    complex=of_adjoints(_svdvals_vjp),
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
    (u, s, vh), (gu, gs, gvh), (n, m) = parts_of(y), g.values, a.shape[-2:]
    if gu is None and gvh is None:
        return _of_values(gs, u, s, vh)
    row, column = np.expand_dims(s, -2), np.expand_dims(s, -1)
    diagonal = 0 if gs is None else np.expand_dims(gs, -2)
    pairs: list[Any] = [] if gu is None else [(u, gu)]
    check_phases("svd", *pairs, *([] if gvh is None else [(adjoint(vh), adjoint(gvh))]))
    inner: Any = 0
    outside: Any = 0  # of the space that the vectors span
    if gu is not None:
        of_u = adjoint(u) @ gu
        inner = (of_u - adjoint(of_u)) * row
        if u.dtype.kind == "c":
            # the phase that both vectors of a singular value share is left to the second
            diagonal = diagonal + 1j * np.imag(of_u) / row
        if n > m:
            outside = (gu - u @ of_u) / row @ vh
    if gvh is not None:
        of_v = gvh @ adjoint(vh)
        inner = inner + column * (adjoint(of_v) - of_v)
        if m > n:
            outside = outside + u @ ((gvh - of_v @ vh) / column)
    inner = inner / ((row - column) * (row + column) + np.eye(s.shape[-1], dtype=s.dtype))
    return u @ np.where(on_diagonal(inner), diagonal, inner) @ vh + outside


@op(
    _svd_vjp,
    name="svd",
    results=SVDResult,
    like=_like("svd", lambda n, m: ((n, min(n, m)), (min(n, m),), (min(n, m), m)), real=1),
    domain=matrices(*SHAPES, (3, 3)),
    kink="vectors of equal singular values: nan",
    batch=stacked,
    complex=of_adjoints(_svd_vjp),
)
def thin_svd(a: Any) -> Any:
    """The singular values, and as many vectors of each side."""
    return Parts(tuple(np.linalg.svd(a, full_matrices=False)))


def svd_calls(choose: Choices) -> Call:
    """Calls on matrices, with the options of `svd`."""
    call = matrices(*SHAPES)(choose)
    n, m = call.args[0].shape[-2:]
    given = choose.among([{"full_matrices": False}, {"compute_uv": False}, {}])
    hermitian = {"hermitian": True} if n == m and choose.among([False, True]) else {}
    return Call(call.args, {**given, **hermitian})


def _qr_vjp(g: Any, y: Any, a: Any) -> Any:
    (q, r), (gq, gr) = parts_of(y), g.values
    inner = 0 if gr is None else r @ adjoint(gr)
    inner = inner if gq is None else inner - adjoint(gq) @ q
    mirrored = np.where(_below(r), inner, adjoint(inner))
    if r.dtype.kind == "c":
        mirrored = np.where(on_diagonal(r), np.real(inner), mirrored)
    right = mirrored @ adjoint(q)
    return adjoint(solve(r, right if gq is None else adjoint(gq) + right))


@op(
    _qr_vjp,
    name="qr",
    results=QRResult,
    like=_like("qr", lambda n, m: ((n, min(n, m)), (min(n, m), m))),
    domain=matrices((2, 2), (3, 2), (3, 3), (1, 1), (2, 0)),
    batch=stacked,
    complex=of_adjoints(_qr_vjp),
)
def thin_qr(a: Any) -> Any:
    """The two factors of a matrix with no more columns than rows."""
    return Parts(tuple(np.linalg.qr(a)))


def _complement_vjp(g: Any, y: Any, a: Any, of: str = "u") -> Any:
    # these columns move only as the matrix's columns make them move
    return -(y @ adjoint(g)) @ adjoint(pinv(a))


@op(
    _complement_vjp,
    domain=matrices((2, 1), (3, 2), (2, 0), of=["u", "v", "q"]),
    batch=stacked,
    complex=of_adjoints(_complement_vjp),
)
def complement(a: Any, of: str = "u") -> Any:
    """Orthonormal columns that complete those of a matrix of full rank to the whole space.

    Parameters
    ----------
    a
        A matrix with more rows than columns, or a stack of them.
    of
        Where they come from: the matrix's left singular vectors (``"u"``), the right ones of its
        adjoint (``"v"``), or its complete ``"q"``.
    """
    n = np.shape(a)[-1]
    if of == "q":
        return np.linalg.qr(a, "complete").Q[..., n:]
    if of == "v":
        return adjoint(np.linalg.svd(adjoint(np.asarray(a))).Vh[..., n:, :])
    return np.linalg.svd(a).U[..., n:]


@op(
    None,
    numpy=np.linalg.matrix_rank,
    domain=matrices(*SHAPES, tol=[None, 1.5]),
    batch=stacked,
    complex=True,
)
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


class EigResult(NamedTuple):
    """The results of `eig` for matrices of shape (..., n, n).

    Attributes
    ----------
    eigenvalues
        Of shape (..., n), in LAPACK's order.
    eigenvectors
        Of shape (..., n, n), each a column of length 1.
    """

    eigenvalues: Any
    eigenvectors: Any


def _real(x: Any, of: Any, real: bool = False) -> Any:
    """LAPACK's result, real where it may be.

    Raises
    ------
    TraceError
        If that of a real matrix must be real, and is not.
    """
    # some versions of NumPy always return complex numbers
    if of.dtype.kind == "c" or x.dtype.kind != "c":
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


def _in_one_dtype(a: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's operand, and whether the result's dtype may not depend on values."""
    return (a,), {"real": True} if type(a) is Tensor and a.origin.compiling else {}


def _of_eigenbasis(v: Any, inner: Any) -> Any:
    """The cotangent of a matrix, from that in the basis of its eigenvectors."""
    return solve(turned(v), inner @ turned(v))


def _eigvals_vjp(g: Any, y: Any, a: Any, real: bool = False) -> Any:
    # not NumPy's own eig, whose vectors are complex from 2.5 on
    v = eig(a).eigenvectors
    return _of_eigenbasis(v, np.where(on_diagonal(a), np.expand_dims(g, -1), 0))


@op(
    _eigvals_vjp,
    numpy=np.linalg.eigvals,
    read=_in_one_dtype,
    domain=matrices(),
    kink="equal ones: by the vectors that LAPACK takes",
    batch=stacked,
    complex=True,
)
def eigvals(a: Any, **strict: bool) -> Any:  # noqa: D417
    """The eigenvalues of a square matrix, in LAPACK's order.

    Parameters
    ----------
    a
        A square matrix, or a stack of them. Those of a real one are real if all of them are.

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
    return _real(np.linalg.eigvals(a), np.asarray(a), **strict)


def _eig_vjp(g: Any, y: Any, a: Any, real: bool = False) -> Any:
    (w, v), (gw, gv) = parts_of(y), g.values
    inner: Any = 0
    if gv is not None:
        check_phases("eig", (v, conjugate_of(gv)))
        # a vector keeps its length
        gv = gv - conjugate_of(v) * real_of(np.sum(v * gv, axis=-2, keepdims=True))
        inner = turned(v) @ gv / _gaps(w)
    diagonal = 0 if gw is None else np.expand_dims(gw, -2)
    return _of_eigenbasis(v, np.where(on_diagonal(v), diagonal, inner))


@op(
    _eig_vjp,
    results=EigResult,
    like=_like("eig", lambda n, m: ((n,), (n, n))),
    numpy=np.linalg.eig,
    read=_in_one_dtype,
    domain=matrices(),
    kink="vectors of equal eigenvalues: nan",
    batch=stacked,
    complex=True,
)
def eig(a: Any, **strict: bool) -> Any:  # noqa: D417
    """The eigenvalues of a square matrix, and its eigenvectors.

    Parameters
    ----------
    a
        A square matrix, or a stack of them. The results for a real one are real if all
        eigenvalues are.

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
    Vectors of equal eigenvalues have no derivative: the gradient is nan. That of the eigenvalues
    alone is as for `eigvals`. Giles, "An extended collection of matrix derivative results for
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
    w = _real(w, a, **strict)
    return Parts((w, v if w.dtype.kind == "c" else v.real))
