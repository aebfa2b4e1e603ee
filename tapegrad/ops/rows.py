"""Selections of rows or of one element of each row, their adjoints, and segments of rows."""

from __future__ import annotations

import math

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Primitive
from tapegrad.declare import linear_op, op
from tapegrad.declare.batching import (
    Batched,
    batch_all_operands,
    batch_elementwise,
    batch_size,
    flatten_examples,
    repeat_all_for_batch,
    repeat_for_batch,
)
from tapegrad.ops.adding import add_at_places_into, add_flat, sum_equal_rows
from tapegrad.ops.element_pairs import segment_pairs
from tapegrad.ops.indexing import HOLE, add_at_index, getitem, scatter
from tapegrad.ops.logic import is_extremum, select
from tapegrad.ops.partial_reduction import lowest
from tapegrad.ops.product import move_axis
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["index_select"]


def _segment_sum_vjp(g: Cotangent, y: Array, values: Array, indices: Array, n: int) -> Cotangent:
    """g at the operand's segments."""
    return index_select(g, indices)


def _segments_batch(
    op: Primitive, batched: Batched, values: Array, indices: Array, n: int
) -> Array:
    size = batch_size(batched, (values, indices))
    values = repeat_for_batch(values, batched[0], size)
    if batched[1]:
        # each example has other indices
        examples = np.arange(size).reshape(size, *(1,) * (indices.ndim - 1))
        shape = (size, n, *values.shape[indices.ndim :])
        if op is max_segments:
            y = apply(op, (values, indices + examples * n), {"n": size * n})
            return np.reshape(y, shape)
        return scatter(values, shape=shape, index=(examples, indices))
    sums = apply(op, (move_axis(values, 0, indices.ndim), indices), {"n": n})
    return np.swapaxes(sums, 0, 1)


@linear_op(
    _segment_sum_vjp,
    None,
    name="segment_sum",
    batch=_segments_batch,
    adds=True,
)
def sum_segments(values: Array, indices: Array, n: int) -> Array:
    """Sums of the rows with equal indices; the adjoint of `index_select`.

    Parameters
    ----------
    values
        An array of shape ``indices.shape + row``.
    indices
        For each row of `values`, the index of the row of the result to which it is added.
    n
        The number of rows of the result.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.rows import sum_segments
    >>> sum_segments(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 4)
    array([3., 0., 3., 0.])
    """
    return sum_equal_rows(values, np.asarray(indices), n)


def _max_segments_vjp(g: Cotangent, y: Array, values: Array, indices: Array, n: int) -> Cotangent:
    """g where a segment's maximum is, shared where several tie, and 0 elsewhere."""
    ties = is_extremum(values, index_select(y, indices))
    count = sum_segments(ties.astype(np.intp), indices, n=n)
    # a segment may be empty
    share = g / np.maximum(count, 1).astype(g.dtype)
    return select(ties, index_select(share, indices), 0)


@op(
    _max_segments_vjp,
    None,
    name="segment_max",
    kink="ties share equally",
    batch=_segments_batch,
    pairs=segment_pairs,
    flat="{op} takes no element of {x}{where}",
)
def max_segments(values: Array, indices: Array, n: int) -> Array:
    """The largest of the rows with equal indices, element by element.

    Parameters
    ----------
    values, n
        As for `sum_segments`.
    indices
        As for `sum_segments`, from 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.rows import max_segments
    >>> max_segments(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 4)
    array([  2., -inf,   3., -inf])
    """
    indices = np.asarray(indices)
    y = np.full((n, *values.shape[indices.ndim :]), lowest(values.dtype), values.dtype)
    add_flat(y, indices, values, np.maximum)
    return y


def _index_select_batch(op: Primitive, batched: Batched, x: Array, indices: Array) -> Array:
    if not batched[0]:
        return apply(op, (x, indices), {})
    if not batched[1]:
        return getitem(x, index=(slice(None), indices))
    examples = np.arange(len(x)).reshape(len(x), *(1,) * (indices.ndim - 1))
    return getitem(x, index=(examples, indices))


@linear_op(
    lambda g, y, x, indices: apply(sum_segments, (g, indices), {"n": x.shape[0]}),
    None,
    batch=_index_select_batch,
    add_into=lambda known, g, x, indices: add_at_index(known, g, x, indices, index=(HOLE,)),
    flat="{op} takes elements of {x} more than once, and their cotangents sum to zero",
)
def index_select(x: ArrayLike, indices: ArrayLike) -> Array:
    """The rows of x at integer indices of any shape: ``x[indices]``.

    A row that is selected more than once gets the sum of the gradients.

    Raises
    ------
    TypeError
        If the indices are not integers.
    IndexError
        If an index is out of bounds.

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


@op(None, name="check_indices", batch=batch_elementwise, view=True)
def from_zero(indices: Array) -> Array:
    """The indices themselves, after a check that none is negative.

    Raises
    ------
    TypeError
        If the indices are not integers.
    IndexError
        If an index is negative.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.rows import from_zero
    >>> from_zero(np.array([0, 2]))
    array([0, 2])
    """
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, not {indices.dtype}")
    # a call of min takes the time of six calls of argmin
    if indices.size and (least := indices.item(indices.argmin())) < 0:
        raise IndexError(f"index {least} is out of bounds: indices start from 0")
    return indices


def _pick_vjp(g: Cotangent, y: Array, a: Array, indices: Array) -> Cotangent:
    """g at the elements that were picked, 0 elsewhere."""
    return apply(unpick, (g, indices), {"n": a.shape[-1]})


@linear_op(
    _pick_vjp,
    None,
    name="take_along_axis",
    batch=batch_all_operands,
    flat="{op} takes elements of {x} more than once, and their cotangents sum to zero",
)
def pick(a: Array, indices: Array) -> Array:
    """One element of each row: ``a[..., indices]``, with an index for each row.

    Parameters
    ----------
    a
        An array with rows along its last axis.
    indices
        Integers from 0, of the shape of `a` without its last axis.

    Raises
    ------
    IndexError
        If an index is negative or too large.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.rows import pick
    >>> pick(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0]))
    array([2., 3.])
    """
    places = row_places.forward(indices, a.shape[-1])
    return a.reshape(-1).take(places).reshape(indices.shape)


@linear_op(
    lambda g, y, values, indices, n: pick(g, indices),
    None,
    name="put_along_axis",
    batch=batch_all_operands,
)
def unpick(values: Array, indices: Array, n: int) -> Array:
    """Rows of n zeros with one value each, at these indices; the adjoint of `pick`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.rows import unpick
    >>> unpick(np.array([5.0, 7.0]), np.array([1, 0]), 2)
    array([[0., 5.],
           [7., 0.]])
    """
    y = np.zeros((*indices.shape, n), values.dtype)
    y.reshape(-1)[row_places.forward(indices, n)] = values.reshape(-1)
    return y


def _row_places_batch(op: Primitive, batched: Batched, indices: Array, n: int) -> Array:
    flat_indices = flatten_examples(indices)
    size = flat_indices.shape[1] * n
    offsets = np.arange(len(flat_indices)).reshape(-1, 1) * size
    return np.reshape(apply(op, (flat_indices,), {"n": n}), flat_indices.shape) - offsets


@op(None, name="flat_indices", batch=_row_places_batch)
def row_places(indices: Array, n: int) -> Array:
    """The positions, in the flat array of rows of n, of the elements that `pick` selects.

    Raises
    ------
    IndexError
        If an index is negative or too large.
    """
    columns = np.asarray(indices).reshape(-1).astype(np.intp, copy=False)
    # as unsigned numbers, negative indices are large
    unsigned = columns.view(np.uintp)
    if columns.size and unsigned.item(unsigned.argmax()) >= n:
        bad = columns[(columns < 0) | (columns >= n)][0]
        raise IndexError(f"index {bad} is out of bounds: indices go from 0 to {n - 1}")
    return np.arange(0, columns.size * n, n or 1) + columns


def _add_at_places_batch(
    op: Primitive, batched: Batched, a: Array, values: Array, places: Array
) -> Array:
    a, values, places = repeat_all_for_batch(batched, (a, values, places))
    offsets = np.arange(len(a)).reshape(-1, 1) * math.prod(a.shape[1:])
    return apply(op, (a, values, np.reshape(flatten_examples(places) + offsets, -1)), {})


@op(
    lambda g, y, a, values, places: g,
    lambda g, y, a, values, places: index_select(g.reshape(-1), places).reshape(values.shape),
    None,
    name="scatter_add",
    batch=_add_at_places_batch,
    adds=True,
    complex=True,
)
def add_at_places(a: Array, values: Array, places: Array) -> Array:
    """A copy of `a` with values added at distinct positions of the flattened array.

    Examples
    --------
    >>> from tapegrad.ops.rows import add_at_places
    >>> add_at_places(np.zeros((2, 2)), np.ones(2), np.array([1, 2]))
    array([[0., 1.],
           [1., 0.]])
    """
    return add_at_places_into(a, values, places)
