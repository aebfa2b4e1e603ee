"""Indexing, its adjoint, and functional updates.

An index is split into the arrays in it, which are operands, and the rest of it, a
static option with a `HOLE` where each array goes.
"""

from __future__ import annotations

import math
import operator
from functools import wraps
from typing import Any

import attrs
import numpy as np

from tapegrad.core.batch import Has, count, filled, lifted, pointwise
from tapegrad.core.forward import apply, linear
from tapegrad.core.op import EachOperand
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op
from tapegrad.domain import Call, Choices, rows
from tapegrad.domain import index as any_index
from tapegrad.face.table import answers
from tapegrad.ops.holes import HOLE
from tapegrad.ops.places import placed
from tapegrad.ops.product import moved

__all__ = ["at", "getitem", "index_select"]


def _split(index: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arrays of an index, and the index with holes for them."""
    arrays = []
    template: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            ends = [None if end is None else operator.index(end) for end in _ends(part)]
            template.append(slice(*ends))
        elif part is None or part is Ellipsis or type(part) is int:
            template.append(part)
        elif isinstance(part, Tensor | np.ndarray | np.generic | bool | list | tuple):
            if isinstance(part, list | tuple):
                # NumPy makes floats of none
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
    return IndexError(f"an index is integers or booleans, slices, None or ...; got {kind}")


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _filled(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The index with the arrays back in their holes."""
    rest = iter(arrays)
    return tuple([next(rest) if part is HOLE else part for part in index])


def _first(rule: Any) -> EachOperand:
    """The rules of an op whose first operand alone has one."""

    @wraps(rule)
    def first(i: int, *args: Any, **options: Any) -> Any:
        return rule(*args, **options)

    return EachOperand(first, last=0)


def _getitem_arguments(a: Any, index: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arrays, template = _split(index)
    return (a, *arrays), {"index": template}


def _getitem_vjp(g: Any, y: Any, a: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """g at the places that were taken, 0 elsewhere."""
    return scatter(g, shape=np.shape(a), index=_filled(index, arrays))


def _takings(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    return Call((a, any_index(choose, a.shape)))


def _getitem_batch(op: Any, has: Has, a: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    n = count(has, (a, *arrays))
    place = placed(index, arrays, has[1:], np.ndim(a) - has[0], n, own=has[0])
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
    """``a[index]``, with all of NumPy's ways to index.

    Called as ``getitem(a, index)``, or written ``t[index]``. An element taken more
    than once gets the sum of the gradients. A mask must not itself be a Tensor
    inside `compile`, for the result's shape depends on it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(x[[0, 0, 2]]))(np.ones(3))
    array([2., 0., 1.])
    """
    return a[_filled(index, arrays)]


def _scatter_arguments(
    values: Any, shape: tuple[int, ...], index: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arrays, template = _split(index)
    return (values, *arrays), {"shape": shape, "index": template}


def _placings(choose: Choices) -> Call:
    shape = choose.shape()
    index = any_index(choose, shape)
    return Call((choose.array(np.empty(shape)[index].shape), shape, index))


def _scatter_batch(
    op: Any, has: Has, values: Any, *arrays: Any, shape: tuple[int, ...], index: tuple[Any, ...]
) -> Any:
    n = count(has, (values, *arrays))
    place = placed(index, arrays, has[1:], len(shape), n, own=True)
    if place is None:
        return NotImplemented
    values = place.in_place(lifted(filled(values, has[0], n), place.ndim))
    return apply(op, (values, *place.arrays), {"shape": (n, *shape), "index": place.index})


@op(
    each_operand=_first(lambda g, y, values, *arrays, shape, index: g[_filled(index, arrays)]),
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
    if not _repeats(arrays):
        y[_filled(index, arrays)] = values
    elif index == (HOLE,) and values.shape == arrays[0].shape + y.shape[1:]:
        return segment_sum(values, arrays[0], len(y))
    else:
        _add_at(y, _filled(index, arrays), values)
    return y


def _repeats(arrays: tuple[Any, ...]) -> bool:
    """Whether an index with these arrays can name an element more than once."""
    return any(array.dtype.kind != "b" and array.size > 1 for array in arrays)


def _segment_sum_vjp(g: Any, y: Any, values: Any, indices: Any, n: int) -> Any:
    """g at the operand's segments."""
    return index_select(g, indices)


def _segments(choose: Choices) -> Call:
    n = choose.integer(1, 4)
    indices = choose.integers(choose.shape(max_dims=2, max_side=4), -n, n - 1)
    row = choose.shape(max_dims=2, max_side=2)
    return Call((choose.array((*indices.shape, *row)), indices, n))


def _segment_sum_batch(op: Any, has: Has, values: Any, indices: Any, n: int) -> Any:
    size = count(has, (values, indices))
    values = filled(values, has[0], size)
    if has[1]:
        # each example has rows of its own
        each = np.arange(size).reshape(size, *(1,) * (indices.ndim - 1))
        shape = (size, n, *values.shape[indices.ndim :])
        return scatter(values, shape=shape, index=(each, indices))
    sums = apply(op, (moved(values, 0, indices.ndim), indices), {"n": n})
    return np.swapaxes(sums, 0, 1)


@op(_segment_sum_vjp, None, domain=_segments, jvp=linear, batch=_segment_sum_batch)
def segment_sum(values: Any, indices: Any, n: int) -> Any:
    """Sums of the rows that have one index; the adjoint of `index_select`.

    Parameters
    ----------
    values
        An array of shape ``indices.shape + row``.
    indices
        Which of the n rows of the result each row is added to.
    n
        How many rows the result has.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import segment_sum
    >>> segment_sum(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 2]), 4)
    array([3., 0., 3., 0.])
    """
    indices = np.asarray(indices)
    y = np.zeros((n, *values.shape[indices.ndim :]), values.dtype)
    add_rows(y, indices, values)
    return y


def _add_at(y: Any, index: tuple[Any, ...], values: Any) -> None:
    """``y[index] += values``, all of them where an element is named more than once."""
    if y.dtype.kind != "f" and np.asarray(values).dtype.kind == "f":
        raise TypeError(
            f"floating values cannot be added in an array of {y.dtype}: use .astype(float)"
        )
    # add.at reads past the end of values that it has to broadcast itself
    full = np.broadcast_to(values, y[index].shape)
    np.add.at(y, index, np.ascontiguousarray(full) if full.ndim else full)


def add_rows(y: Any, indices: Any, values: Any) -> None:
    """``y[indices] += values``, all of them where an index is repeated.

    A flat add.at takes a tenth of the time of one by rows, and rows that are taken, added
    to and written back take a third of that.
    """
    if y.size <= 2 * values.size:
        _add_flat(y, indices, values)
        return
    indices = indices.reshape(-1).astype(np.intp, copy=False)
    values = values.reshape(-1, *y.shape[1:])
    n = len(y)
    if indices.size and ((bad := indices.min()) < -n or (bad := indices.max()) >= n):
        raise IndexError(f"index {bad} is out of bounds for axis 0 with size {n}")
    added = y.take(indices, axis=0) + values
    place = np.arange(indices.size)
    written = np.empty(n, np.intp)
    written[indices] = place
    y[indices] = added
    # of those with one index the last was written, here as there
    (lost,) = np.nonzero(written.take(indices) != place)
    if lost.size:
        _add_flat(y, indices[lost] % n, values[lost])


def _add_flat(y: Any, indices: Any, values: Any) -> None:
    """`add_rows` by add.at on the elements."""
    if y.size <= 2 * values.size:
        places = np.arange(y.size).reshape(y.shape).take(indices, axis=0)
    else:
        width = math.prod(y.shape[1:])
        places = np.add.outer(indices * width, np.arange(width))
    np.add.at(y.reshape(-1), places.reshape(-1), values.reshape(-1))


def _selections(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_dims=1, min_side=1))
    return Call((x, rows(choose, len(x))))


def _index_select_batch(op: Any, has: Has, x: Any, indices: Any) -> Any:
    if not has[0]:
        return apply(op, (x, indices), {})
    if not has[1]:
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
    """The rows of x at integer indices, which may have any shape: ``x[indices]``.

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
    """The indices themselves, where none is negative.

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
        raise IndexError(f"index {least} is out of bounds: they go from 0")
    return indices


def _last_writes(shape: tuple[int, ...], index: tuple[Any, ...]) -> Any:
    """Where, of the values written at an index, the one that stays was."""
    owner = np.zeros(shape, np.intp)
    numbers = np.arange(owner[index].size).reshape(owner[index].shape)
    owner[index] = numbers
    return owner[index] == numbers


def _update_arguments(a: Any, values: Any, index: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arrays, template = _split(index)
    return (a, values, *arrays), {"index": template}


def _index_set_vjp(
    i: int, g: Any, y: Any, a: Any, values: Any, *arrays: Any, index: tuple[Any, ...]
) -> Any:
    """g at the places that hold the operand, 0 elsewhere."""
    if i == 0:
        return index_set(g, 0.0, index=_filled(index, arrays))
    picked = g[_filled(index, arrays)]
    if not _repeats(arrays):
        return picked
    return np.where(last_writes(shape=np.shape(a), index=_filled(index, arrays)), picked, 0)


def _updates(choose: Choices) -> Call:
    a = choose.array(choose.shape())
    index = any_index(choose, a.shape)
    place = a[index].shape
    # values broadcast to the place they go to
    shape = [choose.among([side, 1]) for side in place[choose.integer(0, len(place)) :]]
    return Call((a, choose.array(tuple(shape), dtypes=a.dtype.char), index))


def _update_batch(
    op: Any, has: Has, a: Any, values: Any, *arrays: Any, index: tuple[Any, ...]
) -> Any:
    n = count(has, (a, values, *arrays))
    place = placed(index, arrays, has[2:], np.ndim(a) - has[0], n, own=True)
    if place is None:
        return NotImplemented
    if has[1] or place.order is not None:
        values = place.in_place(lifted(filled(values, has[1], n), place.ndim))
    return apply(op, (filled(a, has[0], n), values, *place.arrays), {"index": place.index})


@op(
    each_operand=EachOperand(_index_set_vjp, last=1),
    read=_update_arguments,
    domain=_updates,
    kink="of values set in one place, the one that stays",
    batch=_update_batch,
)
def index_set(a: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """A copy of `a` with the values at an index; ``t.at[index].set(values)``.

    Called as ``index_set(a, values, index)``. Where an index occurs more than once
    the last value stays, and only it has a gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import index_set
    >>> index_set(np.zeros(3), 5.0, slice(1, None))
    array([0., 5., 5.])
    """
    y = np.array(a)
    if y.dtype.kind != "f" and np.asarray(values).dtype.kind == "f":
        raise TypeError(
            f"floating values cannot be set in an array of {y.dtype}: use .astype(float)"
        )
    y[_filled(index, arrays)] = values
    return y


def _last_writes_arguments(
    shape: tuple[int, ...], index: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    arrays, template = _split(index)
    return arrays, {"shape": shape, "index": template}


def _writings(choose: Choices) -> Call:
    shape = choose.shape()
    return Call((shape, any_index(choose, shape)))


def _last_writes_batch(
    op: Any, has: Has, *arrays: Any, shape: tuple[int, ...], index: tuple[Any, ...]
) -> Any:
    n = count(has, arrays)
    place = placed(index, arrays, has, len(shape), n, own=True)
    if place is None:
        return NotImplemented
    options = {"shape": (n, *shape), "index": place.index}
    return place.in_order(apply(op, place.arrays, options))


@op(
    each_operand=EachOperand(lambda i, *args, **options: None, last=-1),
    read=_last_writes_arguments,
    domain=_writings,
    batch=_last_writes_batch,
)
def last_writes(*arrays: Any, shape: tuple[int, ...], index: tuple[Any, ...]) -> Any:
    """Which of the values written at an index stay; `index_set`'s rule needs it."""
    return _last_writes(shape, _filled(index, arrays))


@op(
    each_operand=EachOperand(
        lambda i, g, y, a, values, *arrays, index: g if i == 0 else g[_filled(index, arrays)],
        last=1,
    ),
    read=_update_arguments,
    domain=_updates,
    batch=_update_batch,
)
def index_add(a: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    """A copy of `a` with the values added at an index; ``t.at[index].add(values)``.

    Called as ``index_add(a, values, index)``. Where an index occurs more than once,
    all its values are added.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.indexing import index_add
    >>> index_add(np.zeros(3), 1.0, np.array([0, 0, 2]))
    array([2., 0., 1.])
    """
    # in C order, for the rows are added in a flat view
    y = np.array(a, order="C")
    rows = index == (HOLE,) and arrays[0].dtype.kind in "iu"
    if rows and np.shape(values) == arrays[0].shape + y.shape[1:] and values.dtype == y.dtype:
        add_rows(y, arrays[0], values)
    else:
        _add_at(y, _filled(index, arrays), values)
    return y


@attrs.frozen(eq=False)
class At:
    """Functional updates of a Tensor, as ``t.at[index]``."""

    tensor: Any

    def __getitem__(self, index: Any) -> Place:
        return Place(self.tensor, index)


@attrs.frozen(eq=False)
class Place:
    """The place that an update goes to: ``t.at[index]``."""

    tensor: Any
    index: Any

    def set(self, values: Any) -> Any:
        """A copy of the Tensor with `values` at the place.

        Where an index occurs more than once the last value stays, and only it
        has a gradient.

        Examples
        --------
        >>> import tapegrad as tg
        >>> tg.grad(lambda x: tg.sum(x.at[0].set(5.0) * 3))(np.ones(2))
        array([0., 3.])
        """
        return index_set(self.tensor, values, index=self.index)

    def add(self, values: Any) -> Any:
        """A copy of the Tensor with `values` added at the place.

        Where an index occurs more than once, all its values are added.

        Examples
        --------
        >>> import tapegrad as tg
        >>> output, _ = tg.record(lambda x: x.at[[0, 0]].add(1.0))(np.ones(2))
        >>> output.value
        array([3., 1.])
        """
        return index_add(self.tensor, values, index=self.index)


def at(a: Any) -> At:
    """Functional updates of an array or a Tensor.

    Parameters
    ----------
    a
        An array or a Tensor, which stays as it is.

    Returns
    -------
    ``at(a)[index].set(values)`` and ``.add(values)`` return an updated copy, as
    ``t.at[index].set(values)`` does for a Tensor. Of values that are set in one place the
    one that stays has the gradient; values that are added in one place all have it.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.at(np.zeros(3))[1].set(5.0)
    array([0., 5., 0.])
    """
    return At(a)


answers([operator.setitem], at)
