"""Inverses, linear equations and determinants, of matrices and stacks of them.

The rules of these and of the decompositions are those of Giles, "Collected matrix
derivative results for forward and reverse mode algorithmic differentiation" (2008),
where no other source is named.
"""

from __future__ import annotations

import itertools
import math
import operator
import string
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.domain import REAL, SHAPES, STACKS, Call, Choices, matrices, matrix
from tapegrad.op import EachOperand, op
from tapegrad.ops.indexing import at
from tapegrad.ops.product import turned
from tapegrad.ops.record import array

__all__ = [
    "SlogdetResult",
    "det",
    "inv",
    "matrix_power",
    "pinv",
    "slogdet",
    "solve",
    "tensorinv",
    "tensorsolve",
]


# --- inverses and equations -----------------------------------------------------------------


@op(
    lambda g, y, a: -(turned(y) @ g @ turned(y)),
    numpy=np.linalg.inv,
    domain=matrices(),
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


@op(
    _pinv_vjp,
    numpy=np.linalg.pinv,
    domain=matrices(*SHAPES, rcond=[None, 1e-3]),
    kink="where the rank changes, as if it did not",
)
def pinv(a: Any, rcond: Any = None, *, rtol: Any = np._NoValue) -> Any:
    """The pseudo-inverse of Moore and Penrose.

    Parameters
    ----------
    a
        A matrix, or a stack of them.
    rcond, rtol
        Singular values below this part of the largest count as 0, as in NumPy.

    Notes
    -----
    The derivative is that at constant rank; where the rank changes there is none.
    Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least
    squares problems whose variables separate" (1973).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    return np.linalg.pinv(a, rcond, rtol=rtol)


def columns(x: Any, b: Any) -> Any:
    """The right side, or what has its shape, as columns."""
    return np.expand_dims(x, -1) if b.ndim == 1 else x


def _solve_adjoint(g: Any, a: Any, b: Any) -> Any:
    """The cotangent of the columns of the right side."""
    return solve(turned(a), columns(g, b))


def _solve_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    c = _solve_adjoint(g, a, b)
    return np.squeeze(c, -1) if b.ndim == 1 else c


def _solve_calls(choose: Choices) -> Call:
    n, stack = choose.among([2, 3, 1, 0]), choose.among(STACKS)
    a = matrix(choose, n, n, stack)
    right = choose.among([(n,), (n, 2), (n, 0), (*stack, n, 1), (1, n, 2)])
    return Call((a, choose.array(right, REAL, "df")))


@op(
    lambda g, y, a, b: -(_solve_adjoint(g, a, b) @ turned(columns(y, b))),
    _solve_right,
    numpy=np.linalg.solve,
    domain=_solve_calls,
)
def solve(a: Any, b: Any) -> Any:
    """The x with ``a @ x = b``.

    Parameters
    ----------
    a
        A square matrix, or a stack of them.
    b
        A vector if it has one axis; else a matrix, or a stack of them.

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


def _tensorsolve_calls(choose: Choices) -> Call:
    a = matrix(choose, 2, 2).reshape(2, 1, 2)
    axes = choose.among([None, (0,), [1, 2], (0, 1)])
    if isinstance(axes, tuple):
        a = np.transpose(a, (2, 0, 1) if len(axes) == 1 else (1, 2, 0))
    return Call((a, choose.array((2,), REAL, "df")), {"axes": axes})


@op(composite=True, numpy=np.linalg.tensorsolve, domain=_tensorsolve_calls)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The x whose sum of products with the last axes of `a` is `b`.

    Parameters
    ----------
    a
        An array of shape ``b.shape + x.shape``, square when these are one axis each.
    b
        An array.
    axes
        Axes of `a` to take to its end first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tensorsolve(2 * np.eye(4).reshape(2, 2, 4), np.ones((2, 2)))
    array([0.5, 0.5, 0.5, 0.5])
    """
    a, b = array(a), array(b)
    last = () if axes is None else normalize_axis_tuple(tuple(axes), a.ndim)
    a = np.transpose(a, (*[i for i in range(a.ndim) if i not in last], *last))
    shape = a.shape[b.ndim :]
    return np.reshape(solve(np.reshape(a, (-1, math.prod(shape))), np.reshape(b, -1)), shape)


def _tensorinv_calls(choose: Choices) -> Call:
    a = matrix(choose, 3, 3)
    return Call((a.reshape(3, 1, 3),), {"ind": choose.among([1, 2])})


@op(composite=True, numpy=np.linalg.tensorinv, domain=_tensorinv_calls)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of `tensordot` with an array, over its axes from `ind` on.

    Parameters
    ----------
    a
        An array, square when the axes before `ind` are one axis, and the others.
    ind
        How many axes of the array are the last axes of the inverse.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tensorinv(2 * np.eye(4).reshape(2, 2, 4)).shape
    (4, 2, 2)
    """
    a, ind = array(a), operator.index(ind)
    if ind <= 0:
        raise ValueError(f"tensorinv: ind is the number of axes before, 1 or more; not {ind}")
    first, last = a.shape[:ind], a.shape[ind:]
    if math.prod(first) != math.prod(last) or not last:
        raise np.linalg.LinAlgError(
            f"tensorinv: an array of shape {a.shape} is no square matrix when its first {ind} axes "
            "are one, and the others"
        )
    return np.reshape(inv(np.reshape(a, (math.prod(first), -1))), (*last, *first))


def _power_calls(choose: Choices) -> Call:
    (a,) = matrices()(choose).args
    return Call((a, choose.integer(-3, 5)))


@op(composite=True, numpy=np.linalg.matrix_power, domain=_power_calls)
def matrix_power(a: Any, n: int) -> Any:
    """A square matrix to a whole power; to a negative one, that of the inverse.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.matrix_power(a, 3)[0, 0])(2 * np.eye(1))
    array([[12.]])
    """
    a, n = array(a), operator.index(n)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"matrix_power takes square matrices; the shape is {a.shape}")
    if n == 0:
        return at(a)[...].set(np.eye(a.shape[-1], dtype=a.dtype))
    square, n = (inv(a), -n) if n < 0 else (a, n)
    y = None
    while True:
        n, odd = divmod(n, 2)
        if odd:
            y = square if y is None else y @ square
        if n == 0:
            return y
        square = square @ square


# --- determinants --------------------------------------------------------------------------


def _cofactor_vjp(i: int, g: Any, y: Any, a: Any, *directions: Any) -> Any:
    # symmetric in the directions, so that g may take the place of one
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


@op(
    each_operand=EachOperand(_cofactor_vjp),
    read=lambda arrays: (tuple(arrays), {}),
    domain=_cofactor_calls,
)
def cofactor(a: Any, *directions: Any) -> Any:
    """The gradient of the determinant, and its derivatives in directions.

    Called as ``cofactor([a])``, the matrix of cofactors, and ``cofactor([a, d, ...])``,
    the derivative of that along `d`, of this along the next, and so on. Exact for
    singular matrices too.

    Notes
    -----
    For ``a = u diag(s) vh`` it is that of ``diag(s)`` along ``u.T @ d @ vh.T``, turned
    back. There the determinant is expanded in the rows that the directions take: the
    derivative is a sum over distinct rows, one a direction and one for the gradient,
    and over permutations of their columns, with the product of the other singular
    values.
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
    row = string.ascii_letters[:order]
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
    # 1 or -1, but for rounding
    sign = np.rint(np.linalg.det(u) * np.linalg.det(vh))
    return sign[..., None, None] * (u @ y @ vh)


@op(
    lambda g, y, a: np.expand_dims(g, (-1, -2)) * cofactor([a]),
    numpy=np.linalg.det,
    domain=_det_calls,
    kink="right where it is 0",
)
def det(a: Any) -> Any:
    """The determinant, with derivatives of singular matrices too.

    These take a singular value decomposition, and memory for n**k numbers to order k;
    `slogdet` is for large matrices.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.det)(np.array([[1.0, 2.0], [2.0, 4.0]]))
    array([[ 4., -2.],
           [-2.,  1.]])
    """
    return np.linalg.det(a)


class SlogdetResult(NamedTuple):
    """What `slogdet` gives, of matrices of shape (..., n, n).

    Attributes
    ----------
    sign
        1, -1 or 0, of shape (...). It passes no gradient.
    logabsdet
        The logarithm of the absolute determinant, of shape (...).
    """

    sign: Any
    logabsdet: Any


@op(
    lambda g, y, a: g[..., 1, None, None] * turned(inv(a)),
    domain=matrices(),
)
def slogdet_joined(a: Any) -> Any:
    """The two results of `slogdet` along a last axis."""
    return np.stack(np.linalg.slogdet(a), axis=-1)


@op(composite=True, numpy=np.linalg.slogdet, domain=matrices())
def slogdet(a: Any) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its size.

    The sign passes no gradient. A singular matrix has no gradient, and raises where
    it is asked for: a LinAlgError.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.slogdet(a).logabsdet)(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    joined = slogdet_joined(a)
    return SlogdetResult(joined[..., 0], joined[..., 1])
