"""Order: extremes of two numbers, sorting, and positions in a sorted array."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Primitive, Rule
from tapegrad.core.tensor import Tensor
from tapegrad.declare import op, wider_op
from tapegrad.declare.batching import (
    Batched,
    batch_along_axis,
    batch_elementwise,
    batch_size,
    repeat_for_batch,
)
from tapegrad.ops.axes import lift_to_axis
from tapegrad.ops.casting import to_array, values_if_known
from tapegrad.ops.indexing import getitem
from tapegrad.ops.logic import select
from tapegrad.ops.rows import index_select, sum_segments
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["argpartition", "argsort", "argwhere", "fmax", "fmin", "maximum", "minimum", "partition"]
__all__ += ["searchsorted", "sort"]


SortKind: TypeAlias = Literal["quicksort", "mergesort", "heapsort", "stable"]
Side: TypeAlias = Literal["left", "right"]

# in smaller arrays, a search for ties takes the time that it saves
_LARGE = 1 << 11


def _split_at_ties(g: Cotangent, winner: Array, loser: Array, larger: Array) -> Cotangent:
    """Return the cotangent where one side wins, half of it at a tie, and 0 elsewhere."""
    is_tie = np.equal(winner, loser)
    if type(is_tie) is np.ndarray and is_tie.size >= _LARGE and not is_tie.any():
        return select(larger, g, 0)
    return np.where(is_tie, g * 0.5, select(larger, g, 0))


def _extremum_rules(compare: np.ufunc, passes_nan: bool = False) -> tuple[Rule, Rule]:
    """Return the rules of an extremum of two; `passes_nan` if a number wins over nan."""

    def share(g: Cotangent, own: Array, other: Array) -> Cotangent:
        wins = compare(own, other)
        return _split_at_ties(g, own, other, wins | np.isnan(other) if passes_nan else wins)

    return lambda g, y, x1, x2: share(g, x1, x2), lambda g, y, x1, x2: share(g, x2, x1)


TIES = "ties share equally"
_OTHER = ", so {op} passes all of the cotangent to {other}"
_LARGER: dict[str, Any] = {"kink": TIES, "flat": "{x} is below {other}{where}" + _OTHER}
_SMALLER: dict[str, Any] = {"kink": TIES, "flat": "{x} is above {other}{where}" + _OTHER}
_OUTSIDE = (
    "{x} is below {1} or above {2}{where}, so clip passes all of the cotangent to these bounds",
    "{0} is above {1}{where}, so clip passes nothing on to {1}",
    "{0} is below {2}{where}, so clip passes nothing on to {2}",
)


@op(*_extremum_rules(np.greater), ufunc=np.maximum, keeps_weak=True, whole=builtins.max, **_LARGER)
def maximum(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The larger of two, element by element.

    At a tie both sides get half the gradient, so ``maximum(x, 0)`` has the slope 0.5
    at 0, while `relu` has the slope 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.maximum(x, 0.0)))(np.array([-1.0, 0.0, 1.0]))
    array([0. , 0.5, 1. ])
    """


@op(*_extremum_rules(np.less), ufunc=np.minimum, keeps_weak=True, whole=builtins.min, **_SMALLER)
def minimum(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The smaller of two, element by element. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.minimum(x, 0.0)))(np.array([-1.0, 0.0, 1.0]))
    array([1. , 0.5, 0. ])
    """


@op(*_extremum_rules(np.greater, True), ufunc=np.fmax, keeps_weak=True, **_LARGER)
def fmax(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The larger of two, or the one that is not nan. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.fmax, argnums=(0, 1))(1.0, np.nan)
    (array(1.), array(0.))
    """


@op(*_extremum_rules(np.less, True), ufunc=np.fmin, keeps_weak=True, **_SMALLER)
def fmin(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The smaller of two, or the one that is not nan. At a tie both get half the gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.fmin, argnums=(0, 1))(1.0, np.nan)
    (array(1.), array(0.))
    """


def _clip_vjp(i: int, g: Cotangent, y: Array, a: Array, low: Array, high: Array) -> Cotangent:
    """g where the operand is the result, half of it where two tie, 0 elsewhere."""
    is_result = [
        np.less_equal(low, a) & np.less_equal(a, high) & np.less(low, high),
        np.less_equal(a, low) & np.less_equal(low, high) & np.less(a, high),
        np.less_equal(high, np.maximum(a, low)),
    ]
    is_own = is_result.pop(i)
    return np.where(is_own, np.where(is_result[0] | is_result[1], g * 0.5, g), 0)


_CLIP_VJPS = [partial(_clip_vjp, i) for i in range(3)]


@op(*_CLIP_VJPS, name="clip", keeps_weak=True, batch=batch_elementwise, flat=_OUTSIDE)
def clip_both(a: ArrayLike, low: ArrayLike, high: ArrayLike) -> Array:
    """`clip` with two bounds."""
    return np.clip(a, low, high)


def _take_along_first_axis(x: Array, order: Array) -> Array:
    """Reorder the elements along the first axis, by an index for each element."""
    others = [
        np.arange(n).reshape(-1, *(1,) * (x.ndim - 1 - i)) for i, n in enumerate(x.shape[1:], 1)
    ]
    # call the op, since x may be an array and the order a Tensor
    return getitem(x, index=(order, *others))


def _average_ties(g: Cotangent, y: Array) -> Cotangent:
    """Average the cotangent of an array sorted along the first axis where elements tie."""
    if y.size == 0:
        return g
    if g.dtype == np.float16:
        # sum in float32, which is more precise
        g = g.astype(np.float32)
    first = np.full((1, *y.shape[1:]), True)
    # transposed, so that runs of equal elements are numbered through all columns
    starts = np.concatenate([first, np.not_equal(y[1:], y[:-1])]).T
    run_numbers = np.cumsum(starts) - 1
    total = sum_segments(np.reshape(g.T, -1), run_numbers, n=y.size)
    count = sum_segments(np.ones(y.size, g.dtype), run_numbers, n=y.size)
    return np.reshape(index_select(total / np.maximum(count, 1), run_numbers), starts.shape).T


def _sort_vjp(g: Cotangent, y: Array, a: Array) -> Cotangent:
    ranks = np.argsort(np.argsort(a, axis=0), axis=0)
    return _take_along_first_axis(_average_ties(g, y), ranks)


def _partition_vjp(g: Cotangent, y: Array, a: Array) -> Cotangent:
    order = np.argsort(y, axis=0)
    return _sort_vjp(_take_along_first_axis(g, order), _take_along_first_axis(y, order), a)


@op(
    lift_to_axis(lambda g, y, a, kind=None, stable=None: _sort_vjp(g, y, a), -1),
    numpy=np.sort,
    kink=TIES,
    batch=batch_along_axis,
)
def sort(
    a: ArrayLike, axis: int | None = -1, kind: SortKind | None = None, *, stable: bool | None = None
) -> Array:
    """The elements in ascending order, along an axis or of the flattened array.

    Elements that tie share the gradient of their positions equally.

    Parameters
    ----------
    a
        An array.
    axis
        The axis to sort along; None for all elements.
    kind, stable
        The algorithm, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sort(x) @ np.array([1.0, 2.0, 4.0]))(np.array([3.0, 1.0, 1.0]))
    array([4. , 1.5, 1.5])
    """
    return np.sort(a, axis, kind, stable=stable)


@op(None, numpy=np.argsort, batch=batch_along_axis)
def argsort(
    a: ArrayLike, axis: int | None = -1, kind: SortKind | None = None, *, stable: bool | None = None
) -> Array:
    """The indices that sort; arguments as for `sort`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.argsort(np.array([3.0, 1.0, 2.0]))
    array([1, 2, 0])
    """
    return np.argsort(a, axis, kind, stable=stable)


@op(
    lift_to_axis(lambda g, y, a, kth, kind=None: _partition_vjp(g, y, a), -1),
    numpy=np.partition,
    kink=TIES,
    batch=batch_along_axis,
)
def partition(
    a: ArrayLike,
    kth: int | Sequence[int],
    axis: int | None = -1,
    kind: Literal["introselect"] = "introselect",
) -> Array:
    """The elements partitioned: the k-th as if sorted, with no larger element before it.

    Elements that tie share the gradient of their positions equally.

    Parameters
    ----------
    a
        An array.
    kth
        A position, or several.
    axis
        The axis to partition along; None for the flattened array.
    kind
        The algorithm, as in NumPy.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.partition(x, 0)[0])(np.array([3.0, 1.0, 2.0]))
    array([0., 1., 0.])
    """
    return np.partition(a, kth, axis, kind)


@op(None, numpy=np.argpartition, batch=batch_along_axis)
def argpartition(
    a: ArrayLike,
    kth: int | Sequence[int],
    axis: int | None = -1,
    kind: Literal["introselect"] = "introselect",
) -> Array:
    """The indices that partition; arguments as for `partition`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> int(tg.argpartition(np.array([3.0, 1.0, 2.0]), 0)[0])
    1
    """
    return np.argpartition(a, kth, axis, kind)


def count_before(batched: Batched, a: Array, v: Array, side: str) -> Array:
    """Return the positions of v in the sorted array of each example, by counting elements.

    As in NumPy's order, nan comes after all numbers.
    """
    n = batch_size(batched, (a, v))
    v = repeat_for_batch(v, batched[1], n)
    a = np.reshape(repeat_for_batch(a, batched[0], n), (n, *(1,) * (v.ndim - 1), np.shape(a)[-1]))
    v = np.expand_dims(v, -1)
    is_nan = np.not_equal(v, v)
    if side == "right":
        before = np.less_equal(a, v) | is_nan
    else:
        before = np.less(a, v) | (is_nan & np.equal(a, a))
    return np.sum(before, axis=-1)


def _searchsorted_batch(
    op: Primitive, batched: Batched, a: Array, v: Array, side: Side = "left"
) -> Array:
    return count_before(batched, a, v, side) if batched[0] else apply(op, (a, v), {"side": side})


def _searchsorted_with_sorter(
    a: ArrayLike, v: ArrayLike, side: Side = "left", sorter: ArrayLike | None = None
) -> Array:
    """Search in an array that `sorter` puts in order."""
    if np.ndim(a) != 1:
        raise ValueError(f"searchsorted takes an array with one axis, not {np.ndim(a)}")
    if sorter is None:
        return np.searchsorted(a, v, side)
    a, sorter = to_array(a), to_array(sorter)
    positions = values_if_known(sorter)
    if sorter.dtype.kind not in "iu":
        raise TypeError(f"searchsorted: sorter must hold indices, not {sorter.dtype}")
    if sorter.shape != a.shape or (positions is not None and (positions < 0).any()):
        raise ValueError(
            f"searchsorted: sorter must have an index from 0 for each element of an array of shape "
            f"{a.shape}, as argsort returns; got {sorter.shape if positions is None else positions}"
        )
    return np.searchsorted(np.take(a, sorter), v, side)


@wider_op(_searchsorted_with_sorter, None, None, numpy=np.searchsorted, batch=_searchsorted_batch)
def searchsorted(a: ArrayLike, v: ArrayLike, side: Side = "left") -> Array:
    """The positions at which elements belong in a sorted array. It passes no gradient.

    Parameters
    ----------
    a
        An array of one axis, in ascending order.
    v
        An array of the values to place.
    side
        Whether they go to the ``"left"`` or to the ``"right"`` of equal elements.

    With ``sorter=``, indices such as `argsort` returns, the array need not be in order.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.searchsorted(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0]))
    array([0, 1, 3])
    """
    return np.searchsorted(a, v, side)


def _read_argwhere(a: Array) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(a, Tensor):
        a._read("finding elements that are not zero")
    return (a,), {}


@op(None, read=_read_argwhere, numpy=np.argwhere, complex=True)
def argwhere(a: ArrayLike) -> Array:
    """The indices of the elements that are not zero, one row for each. It passes no gradient.

    Raises
    ------
    TraceError
        Inside `compile`, since the number of rows depends on the values.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.argwhere(np.array([[0, 1], [2, 0]]))
    array([[0, 1],
           [1, 0]])
    """
    return np.argwhere(a)


def _piece_batch(op: Primitive, batched: Batched, x: Array, xp: Array) -> Array:
    if not batched[1]:
        return apply(op, (x, xp), {})
    position = count_before(batched[::-1], xp, x, "right") - 1
    return np.clip(position, 0, max(xp.shape[-1] - 2, 0))


@op(None, None, batch=_piece_batch)
def piece(x: Array, xp: Array) -> Array:
    """The index of the interval between increasing points that contains x or is nearest to it."""
    return np.clip(np.searchsorted(xp, x, side="right") - 1, 0, max(len(xp) - 2, 0))
