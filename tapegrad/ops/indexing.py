"""Indexing with any index that NumPy takes, and its adjoint.

An index is split into its arrays, which are operands, and the rest, a static option with a `HOLE`
where each array goes.
"""

from __future__ import annotations

import operator
from typing import Any, SupportsIndex

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.primitive import EachOperand, Primitive
from tapegrad.core.tensor import Tensor
from tapegrad.declare import linear_op
from tapegrad.declare.batching import Batched, batch_size, expand_to_ndim, repeat_for_batch
from tapegrad.ops.adding import add_at, add_rows, sum_equal_rows
from tapegrad.ops.batched_index import HOLE as HOLE
from tapegrad.ops.batched_index import ArrayPosition as ArrayPosition  # for pickles
from tapegrad.ops.batched_index import batched_index
from tapegrad.tree.numbers import refuse_unreal
from tapegrad.types import Array, ArrayLike, Cotangent, DType, Index

__all__ = ["getitem"]


_BOUND_TYPES = {int, type(None)}
_ARRAY_LIKES = (Tensor, np.ndarray, np.generic, bool, list, tuple, range)


def extract_arrays(index: Index) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the arrays of an index, and the index with holes for them."""
    parts: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
    arrays = []
    template: list[Any] = []
    for part in parts:
        if isinstance(part, slice):
            bounds = _slice_bounds(part)
            if not _BOUND_TYPES.issuperset(map(type, bounds)):
                part = slice(*[x if x is None else _as_bound(x) for x in bounds])
            template.append(part)
        elif part is None or part is Ellipsis or type(part) is int:
            template.append(part)
        elif isinstance(part, _ARRAY_LIKES) or hasattr(type(part), "__array__"):
            if type(part) is not np.ndarray and type(part) is not Tensor:
                refuse_unreal("an index", (part,))
            if isinstance(part, list | tuple | range):
                # NumPy makes a float array of an empty list
                part = np.asarray(part)
                part = part if part.size else part.astype(np.intp)
            part = part if isinstance(part, Tensor) else np.asarray(part)
            if part.dtype.kind not in "iub":
                raise _index_error(part.dtype)
            if isinstance(part, Tensor) and part.dtype.kind == "b":
                part._read("indexing with a mask")
            arrays.append(part)
            template.append(HOLE)
        elif hasattr(part, "__index__"):
            template.append(operator.index(part))
        else:
            raise _index_error(type(part).__name__)
    return tuple(arrays), tuple(template)


def _index_error(kind: DType | str) -> IndexError:
    return IndexError(f"an index must be integers or booleans, slices, None or ...; got {kind}")


def _slice_bounds(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _as_bound(end: SupportsIndex) -> int:
    refuse_unreal("an index", (end,))
    return operator.index(end)


def insert_arrays(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the index with the arrays back in their holes."""
    if not arrays:
        return index
    rest = iter(arrays)
    return tuple([next(rest) if part is HOLE else part for part in index])


def may_repeat(arrays: tuple[Any, ...]) -> bool:
    """Return whether an index with these arrays can select an element more than once."""
    return bool(arrays) and any(x.dtype.kind != "b" and x.size > 1 for x in arrays)


def bind_index(
    index: Index, *operands: ArrayLike, **options: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the operands and options of an op at an index; its arrays are operands."""
    arrays, template = extract_arrays(index)
    return (*operands, *arrays), {**options, "index": template}


def _getitem_vjp(
    i: int, g: Cotangent, y: Array, a: Array, *arrays: Array, index: tuple[Any, ...]
) -> Cotangent:
    """g at the elements that were selected, 0 elsewhere."""
    return apply(scatter, (g, *arrays), {"shape": a.shape, "index": index})


def add_at_index(
    total: Array, g: Cotangent, a: Array, *arrays: Array, index: tuple[Any, ...]
) -> None:
    """Add g to a cotangent at an index in place; elements taken twice get both terms."""
    if not may_repeat(arrays):
        total[insert_arrays(index, arrays)] += g
    elif index == (HOLE,) and total.flags.c_contiguous:
        add_rows(total, arrays[0], g)
    else:
        add_at(total, insert_arrays(index, arrays), g)


def _getitem_batch(
    op: Primitive, batched: Batched, a: Array, *arrays: Array, index: tuple[Any, ...]
) -> Array:
    n = batch_size(batched, (a, *arrays))
    ndim = np.ndim(a) - batched[0]
    lifted = batched_index(index, arrays, batched[1:], ndim, n, own_array=batched[0])
    if lifted is None:
        return NotImplemented
    return lifted.move_batch_first(apply(op, (a, *lifted.arrays), {"index": lifted.index}))


@linear_op(
    each_operand=EachOperand(_getitem_vjp, last=0),
    numpy=operator.getitem,
    read=lambda a, index: bind_index(index, a),
    batch=_getitem_batch,
    add_into=add_at_index,
    view=True,
    flat="{op} takes elements of {x} more than once, and their cotangents sum to zero",
)
def getitem(a: Array, *arrays: Array, index: tuple[Any, ...]) -> Array:
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
    return a[insert_arrays(index, arrays)]


def _scatter_batch(
    op: Primitive,
    batched: Batched,
    values: Array,
    *arrays: Array,
    shape: tuple[int, ...],
    index: tuple[Any, ...],
) -> Array:
    n = batch_size(batched, (values, *arrays))
    lifted = batched_index(index, arrays, batched[1:], len(shape), n, own_array=True)
    if lifted is None:
        return NotImplemented
    values = expand_to_ndim(repeat_for_batch(values, batched[0], n), lifted.ndim)
    values = lifted.to_selection_order(values)
    return apply(op, (values, *lifted.arrays), {"shape": (n, *shape), "index": lifted.index})


@linear_op(
    each_operand=EachOperand(
        lambda i, g, y, values, *arrays, shape, index: g[insert_arrays(index, arrays)], last=0
    ),
    read=lambda values, shape, index: bind_index(index, values, shape=shape),
    batch=_scatter_batch,
    adds=True,
)
def scatter(values: Array, *arrays: Array, shape: tuple[int, ...], index: tuple[Any, ...]) -> Array:
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
        y[insert_arrays(index, arrays)] = values
    elif index == (HOLE,) and values.shape == arrays[0].shape + y.shape[1:]:
        return sum_equal_rows(values, arrays[0], len(y))
    else:
        add_at(y, insert_arrays(index, arrays), values)
    return y
