"""Inverses, linear equations and determinants, of matrices and stacks of them.

Unless another source is named, the rules of these and of the decompositions are those of
Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.op import EachOperand
from tapegrad.declare import op, wider_op
from tapegrad.declare.batching import Batched, aligned, count, filled, stacked
from tapegrad.declare.domain import REAL, SHAPES, STACKS, Call, Choices, matrices, matrix
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.contraction import LETTERS
from tapegrad.ops.product import turned
from tapegrad.ops.record import array

__all__ = [
    "det",
    "inv",
    "pinv",
    "solve",
]


# --- inverses and equations -----------------------------------------------------------------


@op(
    lambda g, y, a: -(turned(y) @ g @ turned(y)),
    numpy=np.linalg.inv,
    domain=matrices(),
    batch=stacked,
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
    yt, gt = turned(y), turned(g)
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
        a = array(a)
        check_matrices("pinv", a, square=True)
        a = np.tril(a) + turned(np.tril(a, -1))
    return np.linalg.pinv(a, rcond, rtol=rtol)


@wider_op(
    _of_triangle,
    _pinv_vjp,
    numpy=np.linalg.pinv,
    domain=_pinv_calls,
    kink="where the rank changes, as if it did not",
    batch=stacked,
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
    n = count(batched, arrays)
    return apply(op, tuple([filled(x, b, n) for x, b in zip(arrays, batched, strict=True)]), {})


@op(
    each_operand=EachOperand(_cofactor_vjp),
    read=lambda arrays: (tuple(arrays), {}),
    domain=_cofactor_calls,
    batch=_cofactor_batch,
)
def cofactor(a: Any, *directions: Any) -> Any:
    """The gradient of the determinant, and its directional derivatives.

    ``cofactor([a])`` is the matrix of cofactors, and ``cofactor([a, d, ...])`` its derivative
    along `d`, then along the next direction, and so on. It is exact for singular matrices too.

    Notes
    -----
    For ``a = u diag(s) vh`` it is that of ``diag(s)`` along ``u.T @ d @ vh.T``, transformed back.
    There the determinant is expanded in the rows that the directions take: the derivative is a sum
    over distinct rows, one for each direction and one for the gradient, and over permutations of
    their columns, with the product of the other singular values.
    """
    u, s, vh = np.linalg.svd(a)
    n, order = s.shape[-1], len(directions) + 1
    inner = [turned(u) @ d @ turned(vh) for d in directions]
    rows = np.indices((n,) * order)
    taken = (rows[..., None] == np.arange(n)).sum(axis=0)
    values = s.reshape(*s.shape[:-1], *(1,) * order, n)
    others = np.where(taken > 0, 1, values).prod(axis=-1) * (taken < 2).all(axis=-1)
    y = np.zeros_like(u)
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
    # 1 or -1, up to rounding
    sign = np.rint(np.linalg.det(u) * np.linalg.det(vh))
    return sign[..., None, None] * (u @ y @ vh)


@op(
    lambda g, y, a: np.expand_dims(g, (-1, -2)) * cofactor([a]),
    numpy=np.linalg.det,
    domain=_det_calls,
    kink="right where it is 0",
    batch=stacked,
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


@op(
    lambda g, y, a: g[..., 1, None, None] * turned(inv(a)),
    domain=matrices(),
    batch=stacked,
)
def slogdet_joined(a: Any) -> Any:
    """The two results of `slogdet` along a last axis."""
    return np.stack(np.linalg.slogdet(a), axis=-1)
