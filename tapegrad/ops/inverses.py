"""Inverses, solutions, determinants and ranks of matrices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.op import Op
from tapegrad.core.primitive import EachOperand, Parts, Primitive, Rule
from tapegrad.declare import op, wider_op
from tapegrad.declare.batching import Batched, align_examples, batch_all_operands, batch_stack
from tapegrad.declare.parts import parts_of
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.casting import conjugate_of, real_of, to_array
from tapegrad.ops.product import LETTERS, adjoint, transpose_matrices
from tapegrad.types import Array, ArrayLike, Cotangent, Shape

__all__ = ["det", "inv", "matrix_rank", "pinv", "slogdet", "solve"]

P = ParamSpec("P")


def rule_from_adjoint(rule: Rule) -> tuple[Rule]:
    """Return the rule for a complex operand, from a rule for cotangents as users see them.

    Such rules are textbook formulas, which conjugate operands.
    """

    def conjugated_rule(g: Cotangent | Parts, *args: Any, **options: Any) -> Cotangent | None:
        if isinstance(g, Parts):
            g = Parts(tuple([x if x is None else conjugate_of(x) for x in g.values]))
            c = rule(g, *args, **options)
        else:
            c = rule(conjugate_of(g), *args, **options)
        return c if c is None else conjugate_of(c)

    return (conjugated_rule,)


def op_of_stacks(rule: Rule, **facts: Any) -> Callable[[Callable[P, Any]], Op[P]]:
    """Declare an op of stacks of matrices; the rule takes cotangents as users see them."""
    return op(rule, batch=batch_stack, complex=rule_from_adjoint(rule), **facts)


def zeros_like_factors(
    name: str, factor_shapes: Callable[[int, int], Sequence[Shape]], real: int = -1
) -> Callable[..., Parts]:
    """Return a `like` for a decomposition of n by m matrices: stacks of zeros of these shapes.

    The result number `real` is real.
    """

    def make_zeros(a: Array, **options: Any) -> Parts:
        check_matrices(name, a, square=name not in ("qr", "svd"))
        example = np.zeros((), a.dtype if a.dtype.kind in "fc" else float)
        shapes = [(*a.shape[:-2], *shape) for shape in factor_shapes(*a.shape[-2:])]
        dtypes = [(example.real if i == real else example).dtype for i in range(len(shapes))]
        return Parts(tuple(map(np.zeros, shapes, dtypes)))

    return make_zeros


def diagonal_mask(x: Array) -> Array:
    """Return a mask of the diagonal of a square matrix."""
    return np.eye(x.shape[-1], dtype=bool)


# --- inverses and equations -----------------------------------------------------------------


@op(
    lambda g, y, a: -(transpose_matrices(y) @ g @ transpose_matrices(y)),
    numpy=np.linalg.inv,
    batch=batch_stack,
    complex=True,
)
def inv(a: ArrayLike) -> Array:
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
    return np.linalg.inv(np.asarray(a))


def _pinv_vjp(g: Cotangent, y: Array, a: Array, **options: Any) -> Cotangent:
    yt, gt = adjoint(y), adjoint(g)
    return -(yt @ g @ yt) + (gt - a @ (y @ gt)) @ y @ yt + yt @ y @ (gt - (gt @ y) @ a)


def _pinv_of_triangle(
    a: ArrayLike,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    rtol: Any = np._NoValue,
) -> Array:
    """Return the `pinv` of a matrix; `hermitian` reads its lower triangle alone."""
    a = to_array(a)
    if hermitian:
        check_matrices("pinv", a, square=True)
        below = np.tril(a, -1)
        a = np.where(diagonal_mask(a), real_of(a), below + adjoint(below))
    return np.linalg.pinv(a, rcond, rtol=rtol)


@wider_op(
    _pinv_of_triangle,
    _pinv_vjp,
    numpy=np.linalg.pinv,
    kink="where the rank changes, as if it did not",
    batch=batch_stack,
    complex=rule_from_adjoint(_pinv_vjp),
    iterates=True,
)
def pinv(a: ArrayLike, rcond: Any = None, *, rtol: Any = np._NoValue) -> Array:
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
    The derivative is taken at constant rank; where the rank changes there is none. Singular
    values that count as 0 are taken to be 0, which is inexact where they are larger. Golub
    and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose
    variables separate" (1973).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    return np.linalg.pinv(np.asarray(a), rcond, rtol=rtol)


def as_columns(x: Array, b: Array) -> Array:
    """Return the right side, or an array of its shape, as columns."""
    return np.expand_dims(x, -1) if b.ndim == 1 else x


def _solve_adjoint(g: Cotangent, a: Array, b: Array) -> Cotangent:
    """Return the cotangent of the right side's columns."""
    return solve(transpose_matrices(a), as_columns(g, b))


def _solve_right_vjp(g: Cotangent, y: Array, a: Array, b: Array) -> Cotangent:
    """The solution z of a.T @ z = g."""
    c = _solve_adjoint(g, a, b)
    return np.squeeze(c, -1) if b.ndim == 1 else c


def _solve_batch(op: Primitive, batched: Batched, a: Array, b: Array) -> Array:
    is_vector = np.ndim(b) - batched[1] == 1
    if batched == (False, True) and a.ndim == 2 and b.size and (is_vector or b.ndim == 3):
        # all right sides as columns of one matrix, so that `a` is factorized once
        right_sides = b.T if is_vector else np.transpose(b, (1, 0, 2))
        y = apply(op, (a, right_sides.reshape(len(a), -1)), {})
        return y.T if is_vector else np.transpose(y.reshape(right_sides.shape), (1, 0, 2))
    columns = np.expand_dims(b, -1) if is_vector else b
    y = apply(op, align_examples(batched, (a, columns)), {})
    return np.squeeze(y, -1) if is_vector else y


@op(
    lambda g, y, a, b: -(_solve_adjoint(g, a, b) @ transpose_matrices(as_columns(y, b))),
    _solve_right_vjp,
    numpy=np.linalg.solve,
    batch=_solve_batch,
    complex=True,
)
def solve(a: ArrayLike, b: ArrayLike) -> Array:
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
    return np.linalg.solve(np.asarray(a), np.asarray(b))


# --- determinants --------------------------------------------------------------------------


def _cofactor_vjp(i: int, g: Cotangent, y: Array, a: Array, *directions: Array) -> Cotangent:
    # the op is symmetric in the directions, so that g can replace one
    rest = directions if i == 0 else (*directions[: i - 1], *directions[i:])
    return cofactor([a, *rest, g])


@op(
    each_operand=EachOperand(_cofactor_vjp),
    read=lambda arrays: (tuple(arrays), {}),
    batch=batch_all_operands,
    complex=True,
    iterates=True,
)
def cofactor(a: ArrayLike, *directions: ArrayLike) -> Array:
    """The gradient of the determinant, and its directional derivatives.

    ``cofactor([a])`` is the matrix of cofactors, and ``cofactor([a, d, ...])`` its derivative
    along `d`, then along the next direction, and so on. It is exact for singular matrices too.

    Notes
    -----
    For ``a = u diag(s) vh`` the derivative is computed for ``diag(s)`` along ``uH @ d @ v``, and
    transformed back. For a diagonal matrix it is a sum over distinct rows, one for each direction
    and one for the gradient, and over permutations of their columns, with the product of the other
    singular values.
    """
    return cofactor_by(np, a, *directions)


def cofactor_by(numpy: Any, a: ArrayLike, *directions: ArrayLike) -> Array:
    """Compute `cofactor` by NumPy or by another library with its functions."""
    u, s, vh = numpy.linalg.svd(a)
    n, order = s.shape[-1], len(directions) + 1
    inner = [u.conj().mT @ d @ vh.conj().mT for d in directions]
    rows = np.indices((n,) * order)
    taken = (rows[..., None] == np.arange(n)).sum(axis=0)
    values = s.reshape(*s.shape[:-1], *(1,) * order, n)
    others = numpy.where(taken > 0, 1, values).prod(axis=-1) * (taken < 2).all(axis=-1)
    y, diagonal = numpy.zeros(u.shape, numpy.result_type(u, *inner)), np.eye(n, dtype=bool)
    row = LETTERS[:order]
    for columns in itertools.permutations(range(order)):
        odd = sum(x > z for x, z in itertools.combinations(columns, 2)) % 2
        terms = [row[j] + row[columns[j]] for j in range(order)]
        inputs = ",".join(["..." + term for term in (row, *terms[:-1])])
        on_diagonal = columns[-1] == order - 1
        result = row[-1] if on_diagonal else terms[-1]
        part = numpy.einsum(f"{inputs}->...{result}", others, *inner)
        if on_diagonal:
            part = numpy.where(diagonal, part[..., None], 0)
        y = y - part if odd else y + part
    # its absolute value is 1, up to rounding
    sign = numpy.sign(numpy.linalg.det(u) * numpy.linalg.det(vh))
    return sign[..., None, None] * (u.conj() @ y @ vh.conj())


@op(
    lambda g, y, a: np.expand_dims(g, (-1, -2)) * cofactor([a]),
    numpy=np.linalg.det,
    kink="right where it is 0",
    batch=batch_stack,
    complex=True,
)
def det(a: ArrayLike) -> Array:
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
    return np.linalg.det(np.asarray(a))


class SlogdetResult(NamedTuple):
    """The results of `slogdet` for matrices of shape (..., n, n).

    Attributes
    ----------
    sign
        1, -1 or 0, of shape (...), which passes no gradient; for a complex matrix the phase.
    logabsdet
        The logarithm of the absolute determinant, of shape (...).
    """

    sign: Array
    logabsdet: Array


def _slogdet_vjp(g: Parts, y: Parts, a: Array) -> Cotangent | None:
    _, g_log = g.values
    return None if g_log is None else g_log[..., None, None] * transpose_matrices(inv(a))


def _complex_slogdet_vjp(g: Parts, y: Parts, a: Array) -> Cotangent:
    g_sign, g_log = g.values
    total = 0 if g_log is None else g_log
    if g_sign is not None:
        total = total + 1j * np.imag(np.conj(parts_of(y)[0]) * g_sign)
    return np.expand_dims(total, (-1, -2)) * adjoint(inv(a))


@op(
    _slogdet_vjp,
    results=SlogdetResult,
    like=zeros_like_factors("slogdet", lambda n, m: ((), ()), real=1),
    numpy=np.linalg.slogdet,
    batch=batch_stack,
    complex=rule_from_adjoint(_complex_slogdet_vjp),
)
def slogdet(a: ArrayLike) -> Parts:
    """The sign of the determinant, and the logarithm of its absolute value.

    The sign of a real determinant passes no gradient; for a complex one it is the phase, which
    does. A singular matrix has no gradient: computing it raises a LinAlgError.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.slogdet(a).logabsdet)(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return Parts(tuple(map(np.asarray, np.linalg.slogdet(np.asarray(a)))))


# --- ranks ----------------------------------------------------------------------------------


@op(None, numpy=np.linalg.matrix_rank, batch=batch_stack, complex=True, iterates=True)
def matrix_rank(
    A: ArrayLike,  # noqa: N803
    tol: ArrayLike | None = None,
    hermitian: bool = False,
    *,
    rtol: ArrayLike | None = None,
) -> Array:
    """The number of singular values above a tolerance. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> int(tg.matrix_rank(np.ones((3, 3))))
    1
    """
    if tol is None and 0 in np.shape(A)[-2:]:
        # NumPy before 2.4 raises if there are no singular values
        tol, rtol = 0.0 if rtol is None else 0.0 * np.asarray(rtol), None
    tolerances: dict[str, Any] = {"tol": tol, "rtol": rtol}
    return np.asarray(np.linalg.matrix_rank(np.asarray(A), hermitian=hermitian, **tolerances))
