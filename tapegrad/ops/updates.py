"""Functional updates: copies with values set, added or otherwise combined at an index.

An index is split into operands and an option, as for indexing.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec

import attrs
import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.core.forward import apply
from tapegrad.core.op import Op
from tapegrad.core.primitive import EachOperand, Primitive, Rule
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, batch_size, expand_to_ndim, repeat_for_batch
from tapegrad.ops.adding import (
    add_at,
    add_rows,
    add_scaled_rows_into,
    last_positions,
    sum_equal_rows,
)
from tapegrad.ops.batched_index import HOLE, batched_index
from tapegrad.ops.casting import astype, require_dtype_holds
from tapegrad.ops.element_pairs import update_pairs
from tapegrad.ops.indexing import bind_index, getitem, insert_arrays, may_repeat
from tapegrad.ops.logic import is_extremum, select
from tapegrad.ops.rows import index_select, sum_segments
from tapegrad.ops.shape import broadcast_to
from tapegrad.types import Array, ArrayLike, Cotangent, Index

__all__ = ["at"]

P = ParamSpec("P")


def _index_set_vjp(
    i: int, g: Cotangent, y: Array, a: Array, values: Array, *arrays: Array, index: tuple[Any, ...]
) -> Cotangent:
    """g at the elements that hold the operand's values, 0 elsewhere."""
    if i == 0:
        return index_set(g, 0.0, index=insert_arrays(index, arrays))
    selected = g[insert_arrays(index, arrays)]
    if may_repeat(arrays):
        is_last = last_writes(shape=np.shape(a), index=insert_arrays(index, arrays))
        selected = np.where(is_last, selected, 0)
    # an assignment drops leading axes of length 1
    n_extra = np.ndim(values) - selected.ndim
    return selected if n_extra <= 0 else np.reshape(selected, (1,) * n_extra + selected.shape)


def _update_batch(
    op: Primitive, batched: Batched, a: Array, values: Array, *arrays: Array, index: tuple[Any, ...]
) -> Array:
    n = batch_size(batched, (a, values, *arrays))
    lifted = batched_index(index, arrays, batched[2:], np.ndim(a) - batched[0], n, own_array=True)
    if lifted is None:
        return NotImplemented
    if batched[1] or lifted.order is not None:
        values = repeat_for_batch(values, batched[1], n)
        if op is index_set and (n_extra := values.ndim - 1 - lifted.ndim) > 0:
            values = np.reshape(values, (n, *values.shape[1 + n_extra :]))
        values = lifted.to_selection_order(expand_to_ndim(values, lifted.ndim))
    return apply(
        op, (repeat_for_batch(a, batched[0], n), values, *lifted.arrays), {"index": lifted.index}
    )


def _update_op(rule: Rule, **facts: Any) -> Callable[[Callable[P, Any]], Op[P]]:
    """`op` for an update, with a rule for the array and the values."""
    return op(
        each_operand=EachOperand(rule, last=1),
        read=lambda a, values, index: bind_index(index, a, values),
        batch=_update_batch,
        **facts,
    )


@_update_op(_index_set_vjp, kink="of values set in one place, the one that stays", complex=True)
def index_set(a: ArrayLike, values: ArrayLike, *arrays: Array, index: tuple[Any, ...]) -> Array:
    """A copy of `a` with the values at an index; ``t.at[index].set(values)``.

    Called as ``index_set(a, values, index)``. Where an index occurs more than once, the last value
    stays, and only it has a gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.updates import index_set
    >>> index_set(np.zeros(3), 5.0, slice(1, None))
    array([0., 5., 5.])
    """
    y = np.array(a)
    require_dtype_holds(y.dtype, np.asarray(values).dtype, "set in")
    y[insert_arrays(index, arrays)] = values
    return y


def _last_writes_batch(
    op: Primitive, batched: Batched, *arrays: Array, shape: tuple[int, ...], index: tuple[Any, ...]
) -> Array:
    n = batch_size(batched, arrays)
    lifted = batched_index(index, arrays, batched, len(shape), n, own_array=True)
    if lifted is None:
        return NotImplemented
    options = {"shape": (n, *shape), "index": lifted.index}
    return lifted.move_batch_first(apply(op, lifted.arrays, options))


@op(
    each_operand=EachOperand(lambda i, *args, **options: None, last=-1),
    read=lambda shape, index: bind_index(index, shape=shape),
    batch=_last_writes_batch,
)
def last_writes(*arrays: Array, shape: tuple[int, ...], index: tuple[Any, ...]) -> Array:
    """A mask of the values that stay when they are written at an index, for `index_set`'s rule."""
    whole_index, last = insert_arrays(index, arrays), np.zeros(shape, np.intp)
    order = np.arange(last[whole_index].size).reshape(last[whole_index].shape)
    last[whole_index] = order
    return last[whole_index] == order


@_update_op(
    lambda i, g, y, a, values, *arrays, index: g if i == 0 else g[insert_arrays(index, arrays)],
    adds=True,
    complex=True,
)
def index_add(a: ArrayLike, values: ArrayLike, *arrays: Array, index: tuple[Any, ...]) -> Array:
    """A copy of `a` with the values added at an index; ``t.at[index].add(values)``.

    Called as ``index_add(a, values, index)``. Where an index occurs more than once,
    all its values are added.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.updates import index_add
    >>> index_add(np.zeros(3), 1.0, np.array([0, 0, 2]))
    array([2., 0., 1.])
    """
    # in C order: the rows are added in a flat view
    y = np.array(a, order="C")
    if (
        index == (HOLE,)
        and arrays[0].dtype.kind in "iu"
        and isinstance(values, np.ndarray)
        and values.dtype == y.dtype
        and values.shape == arrays[0].shape + y.shape[1:]
    ):
        add_rows(y, arrays[0], values)
    else:
        add_at(y, insert_arrays(index, arrays), values)
    return y


def _index_extremum_vjp(
    i: int, g: Cotangent, y: Array, a: Array, values: Array, *arrays: Array, index: tuple[Any, ...]
) -> Cotangent:
    """g where the operand has the extremum, shared where several tie, and 0 elsewhere."""
    index = insert_arrays(index, arrays)
    # compare values after rounding to the array's dtype
    own, ties = is_extremum(a, y), is_extremum(astype(values, y.dtype), getitem(y, index=index))
    n = index_add(own.astype(np.intp), ties.astype(np.intp), index=index)
    share = g / n.astype(g.dtype)
    return select(own, share, 0) if i == 0 else select(ties, getitem(share, index=index), 0)


def _combine_at(ufunc: np.ufunc, a: ArrayLike, values: ArrayLike, index: tuple[Any, ...]) -> Array:
    """Return a copy of `a` whose elements at an index are combined with values."""
    y = np.array(a)
    add_at(y, index, values, ufunc)
    return y


_EXTREMUM: dict[str, Any] = {
    "kink": "ties share equally",
    "pairs": update_pairs,
    "flat": "{op} takes no element of {x}{where}",
}


@_update_op(_index_extremum_vjp, **_EXTREMUM)
def index_max(a: ArrayLike, values: ArrayLike, *arrays: Array, index: tuple[Any, ...]) -> Array:
    """A copy of `a` with the larger of its elements and the values; ``t.at[index].max(values)``.

    Called as ``index_max(a, values, index)``. Where an index occurs more than once, the largest of
    all its values counts. Values that tie share the gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.updates import index_max
    >>> index_max(np.zeros(3), np.array([1.0, 2.0, -1.0]), np.array([0, 0, 2]))
    array([2., 0., 0.])
    """
    return _combine_at(np.maximum, a, values, insert_arrays(index, arrays))


@_update_op(_index_extremum_vjp, **_EXTREMUM)
def index_min(a: ArrayLike, values: ArrayLike, *arrays: Array, index: tuple[Any, ...]) -> Array:
    """A copy of `a` with the smaller of its elements and the values, as `index_max`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.updates import index_min
    >>> index_min(np.zeros(3), np.array([1.0, -2.0, -1.0]), np.array([0, 0, 2]))
    array([-2.,  0., -1.])
    """
    return _combine_at(np.minimum, a, values, insert_arrays(index, arrays))


def _products_of_others(values: Array, positions: Array) -> Array:
    """Return, for each value, the product of the others at its position; zeros are allowed."""
    order = np.argsort(positions, kind="stable")
    x, keys = index_select(values, order), index_select(positions, order)
    products = _exclusive_products(x, keys) * _exclusive_products(x[::-1], keys[::-1])[::-1]
    return index_select(products, np.argsort(order))


def _exclusive_products(x: Array, keys: Array) -> Array:
    """Return, for each element, the product of the previous ones in its run of equal keys."""
    x = np.concatenate([np.ones_like(x[:1]), np.where(np.equal(keys[1:], keys[:-1]), x[:-1], 1)])
    step = 1
    while step < len(x):
        products = x[step:] * np.where(np.equal(keys[step:], keys[:-step]), x[:-step], 1)
        x = np.concatenate([x[:step], products])
        step *= 2
    return x


def _index_multiply_vjp(
    i: int, g: Cotangent, y: Array, a: Array, values: Array, *arrays: Array, index: tuple[Any, ...]
) -> Cotangent:
    """g times the other factors of each product."""
    index = insert_arrays(index, arrays)
    if i == 0:
        return index_multiply(g, values, index=index)
    factors = getitem(g * a, index=index)
    if not may_repeat(arrays):
        return factors
    shape = np.shape(a)
    positions = getitem(np.arange(math.prod(shape)).reshape(shape), index=index)
    flat_values = np.reshape(broadcast_to(values, factors.shape), -1)
    others = _products_of_others(flat_values, np.reshape(positions, -1))
    return factors * np.reshape(others, factors.shape)


@_update_op(
    _index_multiply_vjp,
    kink="right with any number of zeros",
    pairs=update_pairs,
    complex=True,
)
def index_multiply(
    a: ArrayLike, values: ArrayLike, *arrays: Array, index: tuple[Any, ...]
) -> Array:
    """A copy of `a` times the values at an index; ``t.at[index].multiply(values)``.

    Called as ``index_multiply(a, values, index)``. Where an index occurs more than once, all its
    values are factors.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.updates import index_multiply
    >>> index_multiply(np.ones(3), np.array([2.0, 3.0, 4.0]), np.array([0, 0, 2]))
    array([6., 1., 4.])
    """
    return _combine_at(np.multiply, a, values, insert_arrays(index, arrays))


def _add_scaled_rows_batch(
    op: Primitive,
    batched: Batched,
    table: Array,
    values: Array,
    indices: Array,
    factor: Array,
    subtract: bool = False,
) -> Array:
    n, n_rows = batch_size(batched, (table, values, indices, factor)), table.shape[batched[0]]
    table, values, indices = [
        repeat_for_batch(x, b, n) for x, b in zip((table, values, indices), batched, strict=False)
    ]
    if batched[3]:
        factor = np.reshape(factor, (n, *(1,) * (table.ndim - 1)))
    # row i of example b is row b * n_rows + i of all
    indices = np.reshape(indices, (n, -1)) % n_rows + n_rows * np.arange(n)[:, None]
    rows = np.reshape(values, (indices.size, *table.shape[2:]))
    summed = sum_segments(rows, np.reshape(indices, -1), n * n_rows)
    change = np.reshape(summed, table.shape) * factor
    return table - change if subtract else table + change


@op(None, None, None, None, batch=_add_scaled_rows_batch)
def add_scaled_rows(
    table: Array, values: Array, indices: Array, factor: Array, subtract: bool = False
) -> Array:
    """``table + factor * segment_sum(values, indices, len(table))``, computed in few rows.

    The values of one row are summed before they are added to the table, and a factor that is
    infinite or nan makes the other rows nan.

    Examples
    --------
    >>> from tapegrad.ops.updates import add_scaled_rows
    >>> add_scaled_rows(np.zeros(3), np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 0.5)
    array([1.5, 0. , 1.5])
    """
    y, indices = np.array(table, order="C"), indices.reshape(-1)
    # not -1, which is undetermined for empty rows
    values = values.reshape(indices.size, *y.shape[1:])
    factor = -factor if subtract else factor
    if not np.isfinite(factor):
        return y + sum_equal_rows(values, indices, len(y)) * factor
    # this raises an IndexError for an index out of bounds
    taken = y.take(indices, axis=0)
    add_scaled_rows_into(y, indices, values, factor, last_positions(indices, len(y)), taken)
    return y


@attrs.frozen(eq=False)
class At:
    """Functional updates of a Tensor, as ``t.at[index]``."""

    tensor: ArrayLike

    def __getitem__(self, index: Index) -> IndexedUpdate:
        return IndexedUpdate(self.tensor, index)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"at has no attribute {name!r}: write t.at[index].set(values), with an index"
        )


@attrs.frozen(eq=False)
class IndexedUpdate:
    """An update of the elements at an index: ``t.at[index]``."""

    tensor: ArrayLike
    index: Any

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"an update has no attribute {name!r}, but set, add, multiply, max and min; for any "
            "other function write tg.at(t)[index].set(f(t[index]))"
        )

    def set(self, values: ArrayLike) -> Array:
        """A copy of the Tensor with `values` set at the index.

        Where an index occurs more than once, the last value stays, and only it has a gradient.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tg.grad(lambda x: tg.sum(x.at[0].set(5.0) * 3))(np.ones(2))
        array([0., 3.])
        """
        return index_set(self.tensor, values, index=self.index)

    def add(self, values: ArrayLike) -> Array:
        """A copy of the Tensor with `values` added at the index.

        Where an index occurs more than once, all its values are added.

        Examples
        --------
        >>> import tapegrad as tg
        >>> output, _ = tg.record(lambda x: x.at[[0, 0]].add(1.0))(np.ones(2))
        >>> output.value
        array([3., 1.])
        """
        return index_add(self.tensor, values, index=self.index)

    def multiply(self, values: ArrayLike) -> Array:
        """A copy of the Tensor multiplied by `values` at the index.

        Where an index occurs more than once, all its values are factors.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tg.at(np.ones(2))[[0, 0]].multiply(np.array([2.0, 3.0]))
        array([6., 1.])
        """
        return index_multiply(self.tensor, values, index=self.index)

    def max(self, values: ArrayLike) -> Array:
        """A copy of the Tensor with the larger of its elements and `values` at the index.

        Where an index occurs more than once, the largest of all its values counts. An element
        and values that tie share the gradient equally, as in `tapegrad.max`.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tg.grad(lambda v: tg.sum(tg.at(np.zeros(2))[[0, 0]].max(v)))(np.array([3.0, 3.0]))
        array([0.5, 0.5])
        """
        return index_max(self.tensor, values, index=self.index)

    def min(self, values: ArrayLike) -> Array:
        """A copy of the Tensor with the smaller of its elements and `values` at the index.

        Ties and repeated indices are treated as by `max`.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tg.at(np.zeros(2))[[0, 0]].min(np.array([-1.0, -3.0]))
        array([-3.,  0.])
        """
        return index_min(self.tensor, values, index=self.index)


def at(a: ArrayLike) -> At:
    """Functional updates of an array or a Tensor.

    Parameters
    ----------
    a
        An array or a Tensor, which is not changed.

    Returns
    -------
    ``at(a)[index].set(values)``, ``.add``, ``.multiply``, ``.max`` and ``.min`` return an updated
    copy, as ``t.at[index].set(values)`` does for a Tensor. If several values are set in one place,
    the last one stays and has the gradient; if several are combined in one place, as by
    ``np.add.at``, all count, and values that tie for an extremum share the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.at(np.zeros(3))[1].set(5.0)
    array([0., 5., 0.])
    """
    return At(a)


answers([operator.setitem], at)
