"""Diagonals, triangles, and matrices made from diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import Choices, on_array
from tapegrad.ops.indexing import scatter
from tapegrad.ops.record import array as as_array

__all__ = ["diag", "diagflat", "diagonal", "trace", "tril", "triu"]


def _offset(choose: Choices, x: Any) -> Any:
    return {"k": choose.integer(-4, 4)}


def _diagonals(choose: Choices, a: Any) -> Any:
    axis1, axis2 = choose.permutation(a.ndim)[:2]
    return {"offset": choose.integer(-4, 4), "axis1": axis1, "axis2": axis2 - a.ndim}


def _flat(m: int, offset: int) -> slice:
    """The places of a diagonal among the elements, in C order, of rows of length m."""
    up, down = max(offset, 0), max(-offset, 0)
    start = up + down * m
    # a diagonal ends at column m, or at the last row
    return slice(start, start + max(0, m - up) * (m + 1), m + 1)


@function(numpy=np.diagonal, domain=on_array(_diagonals, min_dims=2))
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonals of the matrices formed by two axes, along a new last axis.

    Parameters
    ----------
    a
        An array of two axes or more.
    offset
        How far above the main diagonal; negative numbers are below.
    axis1, axis2
        The axis of the rows and that of the columns.

    Raises
    ------
    ValueError
        If the array has fewer than two axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diagonal(np.array([[1, 2], [3, 4]]))
    array([1, 4])
    """
    if np.ndim(a) < 2:
        raise ValueError(f"a diagonal needs an array with two axes or more, not {np.ndim(a)}")
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    n, m = a.shape[-2:]
    return np.reshape(a, (*a.shape[:-2], n * m))[..., _flat(m, offset)]


@function(numpy=np.trace, domain=on_array(_diagonals, min_dims=2))
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal, or of the diagonals of several matrices; see `diagonal`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.trace)(np.ones((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1)


@function(numpy=np.diag, domain=on_array(_offset, min_dims=1, max_dims=2))
def diag(v: Any, k: int = 0) -> Any:
    """For a vector, a matrix with it on the k-th diagonal; for a matrix, that diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diag(np.array([1.0, 2.0]))
    array([[1., 0.],
           [0., 2.]])
    >>> tg.diag(np.array([[1.0, 2.0], [3.0, 4.0]]), 1)
    array([2.])
    """
    v = as_array(v)
    if v.ndim == 2:
        return diagonal(v, k)
    if v.ndim != 1:
        raise ValueError(f"diag takes one axis or two, not {v.ndim}")
    n = len(v) + abs(k)
    return np.reshape(scatter(v, shape=(n * n,), index=(_flat(n, k),)), (n, n))


@function(numpy=np.diagflat, domain=on_array(_offset, max_dims=2))
def diagflat(v: Any, k: int = 0) -> Any:
    """A matrix with all elements of an array on its k-th diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.diagflat(np.array([[1.0], [2.0]]))
    array([[1., 0.],
           [0., 2.]])
    """
    return diag(np.ravel(v), k)


def _lower(m: Any, k: int) -> Any:
    """A mask of the k-th diagonal and all below, for a matrix of this shape."""
    return np.tri(m.shape[-2:][0], m.shape[-1], k, bool)


@function(numpy=np.tril, domain=on_array(_offset, min_dims=1))
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle of matrices, with 0 above the k-th diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tril(np.ones((2, 2)))
    array([[1., 0.],
           [1., 1.]])
    """
    m = as_array(m)
    return np.where(_lower(m, k), m, np.zeros((), m.dtype))


@function(numpy=np.triu, domain=on_array(_offset, min_dims=1))
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle of matrices, with 0 below the k-th diagonal.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.triu(np.ones((2, 2)))
    array([[1., 1.],
           [0., 1.]])
    """
    m = as_array(m)
    return np.where(_lower(m, k - 1), np.zeros((), m.dtype), m)
