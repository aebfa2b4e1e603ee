"""Norms of vectors and matrices, and condition numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.core.tensor import Tensor
from tapegrad.declare import function
from tapegrad.declare.domain import REAL, SHAPES, Call, Choices, Elements, matrices
from tapegrad.ops.axes import check_matrices
from tapegrad.ops.decomposition import svdvals
from tapegrad.ops.inverse import inv
from tapegrad.ops.product import moved
from tapegrad.ops.record import floating, number

__all__ = [
    "matrix_norm",
    "norm",
    "vector_norm",
]


def _root(total: Any) -> Any:
    """The square root, with a slope of 0 at 0."""
    none = np.equal(total, 0)
    return number(np.where(none, 0, np.sqrt(np.where(none, 1, total))))


def _axes(axis: Any, n: int) -> tuple[int, ...]:
    if isinstance(axis, list | np.ndarray | set | range | dict):
        raise TypeError(f"an axis is an integer, several a tuple; not {axis!r}")
    return tuple(range(n)) if axis is None else normalize_axis_tuple(axis, n)


def _norm_of_vectors(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"{ord!r} is not an order of a vector's norm")
    of = {"axis": axis, "keepdims": keepdims}
    # the shorter forms have no slope in the order
    if ord == 2 and not isinstance(ord, Tensor):
        return _root(np.sum(x * x, **of))
    if ord == 0:
        return np.sum(np.not_equal(x, 0).astype(x.dtype), **of)
    size = np.absolute(x)
    if ord == np.inf:
        return np.max(size, **of)
    if ord == -np.inf:
        return np.min(size, **of)
    if ord == 1 and not isinstance(ord, Tensor):
        return np.sum(size, **of)
    # the slopes of powers are infinite at 0, as are negative powers themselves
    none, limit = np.equal(size, 0), 0 if ord > 0 else np.inf
    total = np.sum(np.where(none, limit, np.where(none, 1, size) ** ord), **of)
    none = np.equal(total, limit)
    return number(np.where(none, 0, np.where(none, 1, total) ** (1 / ord)))


# norms of singular values, and of sums of magnitudes
_REDUCTIONS: dict[Any, Any] = {"nuc": np.sum, 2: np.max, -2: np.min}
_REDUCTIONS |= {1: np.max, np.inf: np.max, -1: np.min, -np.inf: np.min}


def _check_single(name: str, ord: Any) -> None:
    """Raise for a Tensor as an order: matrix norms have separate orders, and no gradient."""
    if isinstance(ord, Tensor):
        raise TypeError(
            f"{name}: a matrix has norms of separate orders, without a gradient in them; pass the "
            "order's value (t.value)"
        )


def _norm_of_matrices(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    _check_single("norm", ord)
    if ord in ("fro", "f"):
        return _norm_of_vectors(x, 2, axes, keepdims)
    if ord not in _REDUCTIONS:
        raise ValueError(f"{ord!r} is not an order of a matrix's norm")
    reduce = _REDUCTIONS[ord]
    if ord in ("nuc", 2, -2):
        order = [i for i in range(x.ndim) if i not in axes]
        y = reduce(svdvals(np.transpose(x, (*order, *axes))), axis=-1)
        return np.expand_dims(y, axes) if keepdims else y
    summed, compared = axes if ord in (1, -1) else axes[::-1]
    y = reduce(np.sum(np.absolute(x), axis=summed, keepdims=True), axis=compared, keepdims=True)
    return y if keepdims else np.squeeze(y, axis=axes)


_ORDERS = [None, 2, 1, np.inf, -np.inf, 0, 3, 2.5, 0.5, -1, -2]
_MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]


def _vectors(choose: Choices, ord: Any) -> Any:
    """An array of vectors to take norms of."""
    # the slopes of powers below 1, and second slopes of those below 2, are infinite at 0
    elements = Elements(poles=(0.0,)) if ord in (2.5, 0.5, -1, -2) else REAL
    return choose.array(choose.shape(min_dims=1, min_side=1), elements)


def _norm_calls(choose: Choices) -> Call:
    ord: Any
    axis: Any
    if choose.among([False, True]):
        (x,) = matrices(*SHAPES[:4])(choose).args
        ord, axes = choose.among(_MATRIX_ORDERS), (x.ndim - 2, x.ndim - 1)
        axis = choose.among([axes, axes[::-1]] + [None] * (x.ndim == 2))
        if x.ndim == 3:
            x, axis = moved(x, 0, 1), choose.among([(0, 2), (-1, 0)])
    else:
        ord = choose.among(_ORDERS)
        x = _vectors(choose, ord)
        axis = choose.axis(x.ndim)
        if x.ndim == 1 or ord is None:
            axis = choose.among([None, axis])
    return Call((x,), {"ord": ord, "axis": axis, "keepdims": choose.among([False, True])})


@function(
    numpy=np.linalg.norm,
    domain=_norm_calls,
    kink="0 at 0; ties share equally",
)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
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
    The gradient at 0 is 0, for each vector or matrix on its own. Elements that tie for the largest
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
    x = floating(x)
    axes = _axes(axis, x.ndim)
    if len(axes) == 1 or (ord is None and (axis is None or len(axes) < 3)):
        return _norm_of_vectors(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError(f"norm takes one axis or two, not {len(axes)}; vector_norm takes more")
    return _norm_of_matrices(x, ord, (axes[0], axes[1]), keepdims)


def _vector_norm_calls(choose: Choices) -> Call:
    ord = choose.among(_ORDERS[1:])
    x = _vectors(choose, ord)
    axis = choose.axes(x.ndim) or None
    return Call((x,), {"axis": axis, "keepdims": choose.among([False, True]), "ord": ord})


@function(
    numpy=np.linalg.vector_norm,
    domain=_vector_norm_calls,
    kink="0 at 0; ties share equally",
)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norms of vectors, over an axis, several, or all; see `norm`.

    A gradient passes to the order too. With a plain array and a Tensor as its order, call this
    function: ``np.linalg.vector_norm(array, ord=t)`` does not ask the Tensor, and refuses it or
    passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.vector_norm(x, ord=1))(np.array([[3.0, -4.0]]))
    array([[ 1., -1.]])
    """
    x = floating(x)
    return _norm_of_vectors(x, ord, _axes(axis, x.ndim), keepdims)


@function(
    numpy=np.linalg.matrix_norm,
    domain=matrices(*SHAPES[:4], ord=_MATRIX_ORDERS, keepdims=[False, True]),
    kink="0 at 0; ties share equally",
)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norms of matrices, over the last two axes; see `norm`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.matrix_norm(x, ord="nuc"))(np.diag([2.0, -1.0]))
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    x = floating(x)
    first, last = _axes((-2, -1), x.ndim)
    return _norm_of_matrices(x, ord, (first, last), keepdims)


@function(
    numpy=np.linalg.cond,
    # for a 1 by 1 matrix it is 1, and its gradient only rounding errors
    domain=matrices((2, 2), (3, 3), p=[None, *_MATRIX_ORDERS]),
    kink="as `norm`; of order 2 as `svdvals`",
)
def cond(x: Any, p: Any = None) -> Any:
    """The condition number: the norm of the matrix times that of its inverse.

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
    x = floating(x)
    _check_single("cond", p)
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
    # as NumPy does: infinite unless the matrix itself has nan
    lost = np.not_equal(y, y) & np.all(np.equal(x, x), axis=(-2, -1))
    return number(np.where(lost, np.inf, y))
