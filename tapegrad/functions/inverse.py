"""Inverses, linear equations and determinants, of matrices and stacks of them.

The rules of these and of the decompositions are those of Giles, "Collected matrix
derivative results for forward and reverse mode algorithmic differentiation" (2008),
where no other source is named.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import REAL, Call, Choices, matrices, matrix
from tapegrad.ops.axes import axes_of, check_matrices
from tapegrad.ops.inverse import inv, slogdet_joined, solve
from tapegrad.ops.record import array
from tapegrad.ops.updates import at

__all__ = ["matrix_power", "slogdet", "tensorinv", "tensorsolve"]


def _tensorsolve_calls(choose: Choices) -> Call:
    a = matrix(choose, 2, 2).reshape(2, 1, 2)
    axes = choose.among([None, (0,), [1, 2], (0, 1)])
    if isinstance(axes, tuple):
        a = np.transpose(a, (2, 0, 1) if len(axes) == 1 else (1, 2, 0))
    return Call((a, choose.array((2,), REAL, "df")), {"axes": axes})


@function(numpy=np.linalg.tensorsolve, domain=_tensorsolve_calls)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """The solution x of ``tensordot(a, x, x.ndim) = b``.

    Parameters
    ----------
    a
        An array of shape ``b.shape + x.shape``, a square matrix when each of these is one axis.
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
    a, b = array(a), array(b)
    last = () if axes is None else axes_of("tensorsolve", tuple(axes), a.ndim)
    a = np.transpose(a, (*[i for i in range(a.ndim) if i not in last], *last))
    shape = a.shape[b.ndim :]
    return np.reshape(solve(np.reshape(a, (-1, math.prod(shape))), np.reshape(b, -1)), shape)


def _tensorinv_calls(choose: Choices) -> Call:
    a = matrix(choose, 3, 3)
    return Call((a.reshape(3, 1, 3),), {"ind": choose.among([1, 2])})


@function(numpy=np.linalg.tensorinv, domain=_tensorinv_calls)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of `tensordot` with an array over its axes from `ind` on.

    Parameters
    ----------
    a
        An array that is a square matrix when the axes before `ind` are merged into one, and the
        others too.
    ind
        The number of leading axes of the array, which are the last axes of the inverse.

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
            f"tensorinv: an array of shape {a.shape} is not a square matrix when its first "
            f"{ind} axes are merged into one, and the others too"
        )
    return np.reshape(inv(np.reshape(a, (math.prod(first), -1))), (*last, *first))


def _power_calls(choose: Choices) -> Call:
    (a,) = matrices()(choose).args
    return Call((a, choose.integer(-3, 5)))


@function(numpy=np.linalg.matrix_power, domain=_power_calls)
def matrix_power(a: Any, n: int) -> Any:
    """A square matrix to an integer power; a negative one is a power of the inverse.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.matrix_power(a, 3)[0, 0])(2 * np.eye(1))
    array([[12.]])
    """
    a, n = array(a), operator.index(n)
    check_matrices("matrix_power", a, square=True)
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


class SlogdetResult(NamedTuple):
    """The results of `slogdet` for matrices of shape (..., n, n).

    Attributes
    ----------
    sign
        1, -1 or 0, of shape (...). It passes no gradient.
    logabsdet
        The logarithm of the absolute determinant, of shape (...).
    """

    sign: Any
    logabsdet: Any


@function(numpy=np.linalg.slogdet, domain=matrices())
def slogdet(a: Any) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its absolute value.

    The sign passes no gradient. A singular matrix has no gradient: computing it raises a
    LinAlgError.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda a: tg.slogdet(a).logabsdet)(np.diag([2.0, 4.0]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    joined = slogdet_joined(a)
    return SlogdetResult(joined[..., 0], joined[..., 1])
