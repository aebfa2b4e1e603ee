"""Picking one number of each row, the adjoint, and additions at such places."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.core.forward import apply, linear
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, count, filled, flat
from tapegrad.declare.domain import Call, Choices
from tapegrad.ops.indexing import index_select

__all__: list[str] = []


def _pick_vjp(g: Any, y: Any, a: Any, indices: Any) -> Any:
    """g at the places that were picked, 0 elsewhere."""
    return unpick(g, indices, a.shape[-1])


def _choices(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    return Call((choose.array((*shape, 3)), choose.integers(shape, 0, 2)))


def _all_filled(op: Any, batched: Batched, *operands: Any, **options: Any) -> Any:
    """The batching rule of an op whose arrays may all have further axes in front."""
    n = count(batched, operands)
    return apply(
        op, tuple([filled(x, b, n) for x, b in zip(operands, batched, strict=True)]), options
    )


@op(_pick_vjp, None, domain=_choices, jvp=linear, batch=_all_filled)
def pick(a: Any, indices: Any) -> Any:
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
    >>> from tapegrad.ops.picking import pick
    >>> pick(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0]))
    array([2., 3.])
    """
    places = row_places(indices, a.shape[-1])
    return a.reshape(-1).take(places).reshape(indices.shape)


def _chosen(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    return Call((choose.array(shape), choose.integers(shape, 0, 2), 3))


@op(
    lambda g, y, values, indices, n: pick(g, indices),
    None,
    domain=_chosen,
    jvp=linear,
    batch=_all_filled,
)
def unpick(values: Any, indices: Any, n: int) -> Any:
    """Rows of n zeros with one value each, at these indices; the adjoint of `pick`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.picking import unpick
    >>> unpick(np.array([5.0, 7.0]), np.array([1, 0]), 2)
    array([[0., 5.],
           [7., 0.]])
    """
    y = np.zeros((*indices.shape, n), values.dtype)
    y.reshape(-1)[row_places(indices, n)] = values.reshape(-1)
    return y


def _few_classes(choose: Choices) -> tuple[Any, int]:
    """Some classes and their number; no classes if there are none."""
    n = choose.integer(0, 4)
    shape = choose.shape(max_dims=2) if n else (0, 2)
    return choose.integers(shape, 0, n - 1) if n else np.zeros(shape, np.intp), n


def _row_places_batch(op: Any, batched: Batched, indices: Any, n: int) -> Any:
    each = flat(indices)
    size = each.shape[1] * n
    first = np.arange(len(each)).reshape(-1, 1) * size
    return np.reshape(apply(op, (each,), {"n": n}), each.shape) - first


@op(None, domain=lambda choose: Call(_few_classes(choose)), batch=_row_places_batch)
def row_places(indices: Any, n: int) -> Any:
    """The places of the elements that `pick` takes in the flat array of rows of n.

    Raises
    ------
    IndexError
        If an index is negative or too large.
    """
    columns = np.asarray(indices).reshape(-1).astype(np.intp, copy=False)
    # without the sign, a negative index is a large one
    if columns.size and np.maximum.reduce(columns.view(np.uintp)) >= n:
        bad = columns[(columns < 0) | (columns >= n)][0]
        raise IndexError(f"index {bad} is out of bounds: indices go from 0 to {n - 1}")
    return np.arange(0, columns.size * n, n or 1) + columns


def _add_at_places_call(choose: Choices) -> Call:
    indices, n = _few_classes(choose)
    a = choose.array((*indices.shape, n))
    values = choose.array(indices.shape, dtypes=a.dtype.char)
    return Call((a, values, row_places(indices, n)))


def _add_at_places_batch(op: Any, batched: Batched, a: Any, values: Any, places: Any) -> Any:
    n = count(batched, (a, values, places))
    a, values, places = (filled(x, b, n) for x, b in zip((a, values, places), batched, strict=True))
    first = np.arange(n).reshape(-1, 1) * math.prod(a.shape[1:])
    return apply(op, (a, values, np.reshape(flat(places) + first, -1)), {})


@op(
    lambda g, y, a, values, places: g,
    lambda g, y, a, values, places: index_select(g.reshape(-1), places).reshape(values.shape),
    None,
    domain=_add_at_places_call,
    batch=_add_at_places_batch,
)
def add_at_places(a: Any, values: Any, places: Any) -> Any:
    """A copy of `a` with values added at distinct places of the flattened array.

    Examples
    --------
    >>> from tapegrad.ops.picking import add_at_places
    >>> add_at_places(np.zeros((2, 2)), np.ones(2), np.array([1, 2]))
    array([[0., 1.],
           [1., 0.]])
    """
    return add_at_places_into(a, values, places)


def add_at_places_into(a: Any, values: Any, places: Any, out: Any = None) -> Any:
    """`add_at_places` into a buffer, which may be that of `a`."""
    if out is None:
        out = np.array(a, order="C")
    elif out is not a:
        np.copyto(out, a)
    out.reshape(-1)[places] += values.reshape(-1)
    return out
