"""Indexing and its adjoint: any index, and rows by their numbers.

An index is split into its arrays, which are operands, and the rest, a static option with a `HOLE`
where each array goes.
"""

from __future__ import annotations

import operator
from functools import wraps
from typing import Any

import numpy as np

from tapegrad.core.forward import apply, linear
from tapegrad.core.op import EachOperand
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, count, filled, lifted, pointwise
from tapegrad.declare.domain import Call, Choices, rows
from tapegrad.declare.domain import index as any_index
from tapegrad.face.table import lazy_import
from tapegrad.ops.adding import add_at, sum_rows
from tapegrad.ops.holes import HOLE, may_repeat, put_back, taken_out
from tapegrad.ops.product import moved

__all__ = ["getitem", "index_select"]


def _first(rule: Any) -> EachOperand:
    """The rules of an op that has one only for its first operand."""

    @wraps(rule)
    def first(i: int, *args: Any, **options: Any) -> Any:
        return rule(*args, **options)

    return EachOperand(first, last=0)


def _getitem_arguments(a: Any, index: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arrays, template = taken_out(index)
    return (a, *arrays), {"index": template}


def _getitem_vjp(g: Any, y: Any, a: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """g at the places that were taken, 0 elsewhere."""
    return scatter(g, shape=np.shape(a), index=put_back(index, arrays))


def _takings(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    return Call((a, any_index(choose, a.shape)))


def _getitem_batch(op: Any, batched: Batched, a: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    n = count(batched, (a, *arrays))
    placed = lazy_import("tapegrad.ops.places", "placed")
    place = placed(index, arrays, batched[1:], np.ndim(a) - batched[0], n, own=batched[0])
    if place is None:
        return NotImplemented
    return place.in_order(apply(op, (a, *place.arrays), {"index": place.index}))


@op(
    each_operand=_first(_getitem_vjp),
    numpy=operator.getitem,
    read=_getitem_arguments,
    domain=_takings,
    jvp=linear,
    batch=_getitem_batch,
)
def getitem(a: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """``a[index]``, for every kind of index in NumPy.

    Called as ``getitem(a, index)``, or written ``t[index]``. An element that is taken more than
    once gets the sum of the gradients. A mask must not itself be a Tensor inside `compile`,
    because the result's shape depends on it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(x[[0, 0, 2]]))(np.ones(3))
    array([2., 0., 1.])
    """
    return a[put_back(index, arrays)]


def _scatter_arguments(
    values: Any, shape: tuple[int, ...], index: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arrays, template = taken_out(index)
    return (values, *arrays), {"shape": shape, "index": template}


def _placings(choose: Choices) -> Call:
    shape = choose.shape()
    index = any_index(choose, shape)
    return Call((choose.array(np.empty(shape)[index].shape), shape, index))


def _scatter_batch(
    op: Any,
    batched: Batched,
    values: Any,
    *arrays: Any,
    shape: tuple[int, ...],
    index: tuple[Any, ...],
) -> Any:
    n = count(batched, (values, *arrays))
    placed = lazy_import("tapegrad.ops.places", "placed")
    place = placed(index, arrays, batched[1:], len(shape), n, own=True)
    if place is None:
        return NotImplemented
    values = place.in_place(lifted(filled(values, batched[0], n), place.ndim))
    return apply(op, (values, *place.arrays), {"shape": (n, *shape), "index": place.index})


@op(
    each_operand=_first(lambda g, y, values, *arrays, shape, index: g[put_back(index, arrays)]),
    read=_scatter_arguments,
    domain=_placings,
    jvp=linear,
    batch=_scatter_batch,
)
def scatter(values: Any, *arrays: Any, shape: tuple[int, ...], index: tuple[Any, ...]) -> Any:
    """Zeros of a shape with the values added at an index; the adjoint of indexing.

    Called as ``scatter(values, shape, index)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import scatter
    >>> scatter(np.array([1.0, 2.0, 3.0]), (4,), np.array([0, 0, 2]))
    array([3., 0., 3., 0.])
    """
    values = np.asarray(values)
    y = np.zeros(shape, values.dtype)
    if not may_repeat(arrays):
        y[put_back(index, arrays)] = values
    elif index == (HOLE,) and values.shape == arrays[0].shape + y.shape[1:]:
        return segment_sum(values, arrays[0], len(y))
    else:
        add_at(y, put_back(index, arrays), values)
    return y


def _segment_sum_vjp(g: Any, y: Any, values: Any, indices: Any, n: int) -> Any:
    """g at the operand's segments."""
    return index_select(g, indices)


def _segments(choose: Choices) -> Call:
    n = choose.integer(1, 4)
    indices = choose.integers(choose.shape(max_dims=2, max_side=4), -n, n - 1)
    row = choose.shape(max_dims=2, max_side=2)
    return Call((choose.array((*indices.shape, *row)), indices, n))


def _segment_sum_batch(op: Any, batched: Batched, values: Any, indices: Any, n: int) -> Any:
    size = count(batched, (values, indices))
    values = filled(values, batched[0], size)
    if batched[1]:
        # each example has its own rows
        each = np.arange(size).reshape(size, *(1,) * (indices.ndim - 1))
        shape = (size, n, *values.shape[indices.ndim :])
        return scatter(values, shape=shape, index=(each, indices))
    sums = apply(op, (moved(values, 0, indices.ndim), indices), {"n": n})
    return np.swapaxes(sums, 0, 1)


@op(_segment_sum_vjp, None, domain=_segments, jvp=linear, batch=_segment_sum_batch)
def segment_sum(values: Any, indices: Any, n: int) -> Any:
    """Sums of the rows with equal indices; the adjoint of `index_select`.

    Parameters
    ----------
    values
        An array of shape ``indices.shape + row``.
    indices
        For each row, the row of the result that it is added to.
    n
        The number of rows of the result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import segment_sum
    >>> segment_sum(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 4)
    array([3., 0., 3., 0.])
    """
    return sum_rows(values, np.asarray(indices), n)


def _selections(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_dims=1, min_side=1))
    return Call((x, rows(choose, len(x))))


def _index_select_batch(op: Any, batched: Batched, x: Any, indices: Any) -> Any:
    if not batched[0]:
        return apply(op, (x, indices), {})
    if not batched[1]:
        return getitem(x, index=(slice(None), indices))
    each = np.arange(len(x)).reshape(len(x), *(1,) * (indices.ndim - 1))
    return getitem(x, index=(each, indices))


@op(
    lambda g, y, x, indices: segment_sum(g, indices, n=x.shape[0]),
    None,
    domain=_selections,
    jvp=linear,
    batch=_index_select_batch,
)
def index_select(x: Any, indices: Any) -> Any:
    """The rows of x at integer indices of any shape: ``x[indices]``.

    A row that is selected more than once gets the sum of the gradients.

    Raises
    ------
    TypeError
        If the indices are not integers.
    IndexError
        If one is out of bounds.

    Examples
    --------
    >>> import tapegrad as tg
    >>> indices = np.array([[1, 2, 3], [2, 3, 4]])
    >>> tg.grad(lambda x: tg.sum(tg.index_select(x, indices)))(np.eye(5))[:, 0]
    array([0., 1., 2., 2., 1.])
    """
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"index_select takes integer indices, not {indices.dtype}")
    return np.asarray(x).take(indices, axis=0)


@op(None, domain=lambda choose: Call((choose.integers(choose.shape(), 0, 9),)), batch=pointwise)
def from_zero(indices: Any) -> Any:
    """The indices themselves, after a check that none is negative.

    Raises
    ------
    TypeError
        If the indices are not integers.
    IndexError
        If one is negative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import from_zero
    >>> from_zero(np.array([0, 2]))
    array([0, 2])
    """
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices are integers, not {indices.dtype}")
    if indices.size and (least := np.minimum.reduce(indices, None)) < 0:
        raise IndexError(f"index {least} is out of bounds: indices start from 0")
    return indices
