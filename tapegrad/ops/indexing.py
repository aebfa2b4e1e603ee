"""Indexing and its adjoint: any index, and rows by their numbers.

An index is split into its arrays, which are operands, and the rest, a static option with a `HOLE`
where each array goes.
"""

from __future__ import annotations

import enum
import math
import operator
from functools import wraps
from typing import Any

import numpy as np

from tapegrad.core.forward import apply, linear
from tapegrad.core.op import EachOperand
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.declare.batching import (
    Batched,
    batch_size,
    flattened,
    pointwise,
    with_batch,
    with_ndim,
)
from tapegrad.declare.domain import Call, Choices, rows
from tapegrad.declare.domain import index as any_index
from tapegrad.face.constants import refuse_unreal
from tapegrad.face.table import lazy_import
from tapegrad.ops.casting import require_room
from tapegrad.ops.product import moved

__all__ = ["getitem", "index_select"]


class Hole(enum.Enum):
    """The place of an array in an index."""

    HOLE = "array"

    def __repr__(self) -> str:
        return "array"


HOLE = Hole.HOLE


_PLAIN = {int, type(None)}


def taken_out(index: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arrays of an index, and the index with holes for them."""
    arrays = []
    template: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            if not _PLAIN.issuperset(map(type, _ends(part))):
                part = slice(*[end if end is None else _end(end) for end in _ends(part)])
            template.append(part)
        elif part is None or part is Ellipsis or type(part) is int:
            template.append(part)
        elif isinstance(part, Tensor | np.ndarray | np.generic | bool | list | tuple):
            if type(part) is not np.ndarray and type(part) is not Tensor:
                refuse_unreal("an index", (part,))
            if isinstance(part, list | tuple):
                # NumPy makes a float array of an empty list
                part = np.asarray(part)
                part = part if part.size else part.astype(np.intp)
            part = part if isinstance(part, Tensor) else np.asarray(part)
            if part.dtype.kind not in "iub":
                raise _no_index(part.dtype)
            if isinstance(part, Tensor) and part.dtype.kind == "b":
                part._read("indexing with a mask")
            arrays.append(part)
            template.append(HOLE)
        elif hasattr(part, "__index__"):
            template.append(operator.index(part))
        else:
            raise _no_index(type(part).__name__)
    return tuple(arrays), tuple(template)


def _no_index(kind: Any) -> IndexError:
    return IndexError(f"an index must be integers or booleans, slices, None or ...; got {kind}")


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _end(end: Any) -> int:
    refuse_unreal("an index", (end,))
    return operator.index(end)


def put_back(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The index with the arrays back in their holes."""
    if not arrays:
        return index
    rest = iter(arrays)
    return tuple([next(rest) if part is HOLE else part for part in index])


def may_repeat(arrays: tuple[Any, ...]) -> bool:
    """Whether an index with these arrays can name an element more than once."""
    return any(array.dtype.kind != "b" and array.size > 1 for array in arrays)


# the dtypes of pairs of numbers, and from how many numbers on they are added in pairs
_PAIRS = {np.dtype("f"): np.dtype("F"), np.dtype("d"): np.dtype("D")}
_MANY = 1 << 11
# a histogram of more weights takes longer than adding pairs of them
_MOST_WEIGHTS = 1 << 14


def add_at(y: Any, index: tuple[Any, ...], values: Any) -> None:
    """``y[index] += values``, adding all values where an element is named more than once."""
    require_room(y.dtype, np.asarray(values).dtype, "added to")
    # add.at reads past the end of values that it has to broadcast itself
    full = np.broadcast_to(values, y[index].shape)
    np.add.at(y, index, np.ascontiguousarray(full) if full.ndim else full)


def add_rows(y: Any, indices: Any, values: Any) -> None:
    """``y[indices] += values``, adding all values where an index is repeated.

    A flat add.at takes a tenth of the time of one by rows, and rows that are taken, added
    to and written back take a third of that. `y` is in C order.
    """
    if y.size <= 2 * values.size:
        _add_flat(y, indices, values)
        return
    indices = indices.reshape(-1).astype(np.intp, copy=False)
    values = values.reshape(-1, *y.shape[1:])
    # this raises an IndexError for an index out of bounds
    added = y.take(indices, axis=0) + values
    place = np.arange(indices.size)
    written = np.empty(len(y), np.intp)
    written[indices] = place
    set_rows(y, indices, added)
    # of several rows with one index the last was written, in both assignments
    add_lost(y, indices, values, (written.take(indices) != place).nonzero()[0])


def add_scaled_rows_into(
    y: Any, indices: Any, values: Any, factor: Any, last: Any, taken: Any = None
) -> None:
    """``y[indices] += values * factor``, where rows with one index are summed before that.

    `last` has, for each row, the place of the last one with its index. `taken` are these rows of
    `y`, in an array that may be overwritten. `y` is in C order.
    """
    repeated = (last != np.arange(last.size)).nonzero()[0]
    if repeated.size:
        values = np.array(values, order="C")
        add_rows(values, last.take(repeated), values.take(repeated, axis=0))
    rows = y.take(indices, axis=0) if taken is None else taken
    np.add(rows, values * factor, rows)
    # of several rows with one index the last stays
    set_rows(y, indices, rows)


def last_places(indices: Any, n: int) -> Any:
    """For each of these indices below n, the place of the last one that is equal to it."""
    written = np.empty(n, np.intp)
    written[indices] = np.arange(indices.size)
    return written.take(indices)


def sum_rows(values: Any, indices: Any, n: int) -> Any:
    """The n sums of the rows with equal indices.

    Weights of a histogram are summed in float64, in the order of add.at, and sooner if few.
    """
    shape = (n, *values.shape[indices.ndim :])
    size = math.prod(shape)
    few = size <= 2 * values.size and 0 < values.size <= _MOST_WEIGHTS
    if few and values.dtype == np.float64:
        places = np.arange(size).reshape(shape).take(indices, axis=0)
        return np.bincount(places.reshape(-1), values.reshape(-1), size).reshape(shape)
    y = np.zeros(shape, values.dtype)
    add_rows(y, indices, values)
    return y


def add_lost(y: Any, indices: Any, values: Any, lost: Any) -> None:
    """`add_rows` for the rows that a later one overwrote, by number."""
    if lost.size:
        # rows that are repeated often are not added one by one
        add = _add_flat if 2 * lost.size > indices.size else add_rows
        add(y, indices.take(lost), values.take(lost, axis=0))


def set_rows(y: Any, indices: Any, rows: Any) -> None:
    """``y[indices] = rows``, where both are in C order and the indices have one axis.

    NumPy takes each row for one element here, which takes half to nine tenths of the time.
    """
    row = np.dtype((np.void, math.prod(y.shape[1:]) * y.itemsize))
    if row.itemsize:
        y.reshape(-1).view(row)[indices] = rows.reshape(-1).view(row)


def _add_flat(y: Any, indices: Any, values: Any) -> None:
    """`add_rows` by ``add.at`` on the elements, two at a time where the rows are of even length.

    NumPy adds a complex number in the time that it takes for a real one.
    """
    width = math.prod(y.shape[1:])
    flattened, added = y.reshape(-1), values.reshape(-1)
    pairs = _PAIRS.get(y.dtype) if values.dtype == y.dtype and width % 2 == 0 else None
    if pairs is not None and values.size >= _MANY:
        flattened, added, width = flattened.view(pairs), added.view(pairs), width // 2
    if flattened.size <= 2 * added.size:
        places = np.arange(flattened.size).reshape(len(y), width).take(indices, axis=0)
    else:
        places = (indices % len(y) * width)[..., None] + np.arange(width)
    np.add.at(flattened, places.reshape(-1), added)


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
    return apply(scatter, (g, *arrays), {"shape": np.shape(a), "index": index})


def _add_taken(known: Any, g: Any, a: Any, *arrays: Any, index: tuple[Any, ...]) -> None:
    """``known[index] += g``, adding all where an element was taken more than once."""
    if index == (HOLE,) and may_repeat(arrays) and known.flags.c_contiguous:
        add_rows(known, arrays[0], g)
    elif may_repeat(arrays):
        add_at(known, put_back(index, arrays), g)
    else:
        known[put_back(index, arrays)] += g


def _takings(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    return Call((a, any_index(choose, a.shape)))


def _getitem_batch(op: Any, batched: Batched, a: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    n = batch_size(batched, (a, *arrays))
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
    add_into=_add_taken,
    view=True,
    flat="it is not selected",
    complex=True,
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
    n = batch_size(batched, (values, *arrays))
    placed = lazy_import("tapegrad.ops.places", "placed")
    place = placed(index, arrays, batched[1:], len(shape), n, own=True)
    if place is None:
        return NotImplemented
    values = place.in_place(with_ndim(with_batch(values, batched[0], n), place.ndim))
    return apply(op, (values, *place.arrays), {"shape": (n, *shape), "index": place.index})


@op(
    each_operand=_first(lambda g, y, values, *arrays, shape, index: g[put_back(index, arrays)]),
    read=_scatter_arguments,
    domain=_placings,
    jvp=linear,
    batch=_scatter_batch,
    complex=True,
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
    size = batch_size(batched, (values, indices))
    values = with_batch(values, batched[0], size)
    if batched[1]:
        # each example has its own rows
        each = np.arange(size).reshape(size, *(1,) * (indices.ndim - 1))
        shape = (size, n, *values.shape[indices.ndim :])
        return scatter(values, shape=shape, index=(each, indices))
    sums = apply(op, (moved(values, 0, indices.ndim), indices), {"n": n})
    return np.swapaxes(sums, 0, 1)


@op(
    _segment_sum_vjp,
    None,
    domain=_segments,
    jvp=linear,
    batch=_segment_sum_batch,
    adds=True,
    complex=True,
)
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
    lambda g, y, x, indices: apply(segment_sum, (g, indices), {"n": x.shape[0]}),
    None,
    domain=_selections,
    jvp=linear,
    batch=_index_select_batch,
    add_into=lambda known, g, x, indices: _add_taken(known, g, x, indices, index=(HOLE,)),
    flat="it is not selected",
    complex=True,
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


@op(
    None,
    name="check_indices",
    domain=lambda choose: Call((choose.integers(choose.shape(), 0, 9),)),
    batch=pointwise,
    view=True,
)
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
        raise TypeError(f"indices must be integers, not {indices.dtype}")
    if indices.size and (least := np.minimum.reduce(indices, None)) < 0:
        raise IndexError(f"index {least} is out of bounds: indices start from 0")
    return indices


def _pick_vjp(g: Any, y: Any, a: Any, indices: Any) -> Any:
    """g at the places that were picked, 0 elsewhere."""
    return apply(unpick, (g, indices), {"n": a.shape[-1]})


def _choices(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    return Call((choose.array((*shape, 3)), choose.integers(shape, 0, 2)))


def _all_filled(op: Any, batched: Batched, *operands: Any, **options: Any) -> Any:
    """The batching rule of an op whose arrays may all have further axes in front."""
    n = batch_size(batched, operands)
    return apply(
        op,
        tuple([with_batch(x, b, n) for x, b in zip(operands, batched, strict=True)]),
        options,
    )


@op(
    _pick_vjp,
    None,
    name="take_along_axis",
    domain=_choices,
    jvp=linear,
    batch=_all_filled,
    flat="it is not selected",
    complex=True,
)
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
    >>> from tapegrad.ops.indexing import pick
    >>> pick(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0]))
    array([2., 3.])
    """
    places = row_places.forward(indices, a.shape[-1])
    return a.reshape(-1).take(places).reshape(indices.shape)


def _chosen(choose: Choices) -> Call:
    shape = choose.shape(max_dims=2)
    return Call((choose.array(shape), choose.integers(shape, 0, 2), 3))


@op(
    lambda g, y, values, indices, n: pick(g, indices),
    None,
    name="put_along_axis",
    domain=_chosen,
    jvp=linear,
    batch=_all_filled,
    complex=True,
)
def unpick(values: Any, indices: Any, n: int) -> Any:
    """Rows of n zeros with one value each, at these indices; the adjoint of `pick`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import unpick
    >>> unpick(np.array([5.0, 7.0]), np.array([1, 0]), 2)
    array([[0., 5.],
           [7., 0.]])
    """
    y = np.zeros((*indices.shape, n), values.dtype)
    y.reshape(-1)[row_places.forward(indices, n)] = values.reshape(-1)
    return y


def _few_classes(choose: Choices) -> tuple[Any, int]:
    """Some classes and their number; no classes if there are none."""
    n = choose.integer(0, 4)
    shape = choose.shape(max_dims=2) if n else (0, 2)
    return choose.integers(shape, 0, n - 1) if n else np.zeros(shape, np.intp), n


def _row_places_batch(op: Any, batched: Batched, indices: Any, n: int) -> Any:
    each = flattened(indices)
    size = each.shape[1] * n
    first = np.arange(len(each)).reshape(-1, 1) * size
    return np.reshape(apply(op, (each,), {"n": n}), each.shape) - first


@op(
    None,
    name="flat_indices",
    domain=lambda choose: Call(_few_classes(choose)),
    batch=_row_places_batch,
)
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
    n = batch_size(batched, (a, values, places))
    a, values, places = (
        with_batch(x, b, n) for x, b in zip((a, values, places), batched, strict=True)
    )
    first = np.arange(n).reshape(-1, 1) * math.prod(a.shape[1:])
    return apply(op, (a, values, np.reshape(flattened(places) + first, -1)), {})


@op(
    lambda g, y, a, values, places: g,
    lambda g, y, a, values, places: index_select(g.reshape(-1), places).reshape(values.shape),
    None,
    name="scatter_add",
    domain=_add_at_places_call,
    batch=_add_at_places_batch,
    adds=True,
    complex=True,
)
def add_at_places(a: Any, values: Any, places: Any) -> Any:
    """A copy of `a` with values added at distinct places of the flattened array.

    Examples
    --------
    >>> from tapegrad.ops.indexing import add_at_places
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
    require_room(out.dtype, values.dtype, "added to")
    out.reshape(-1)[places] += values.reshape(-1)
    return out
