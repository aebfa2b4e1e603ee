"""Reductions along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.forward import apply, linear_jvp
from tapegrad.core.primitive import Primitive
from tapegrad.declare import op, wider_op
from tapegrad.declare.batching import Batched, batch_along_axis, batch_axis, flatten_examples
from tapegrad.ops import partial_reduction
from tapegrad.ops.axes import move_axes_to_front, reduced_shape, restore_axes, shift_forward
from tapegrad.ops.casting import to_array
from tapegrad.ops.logic import is_extremum, select
from tapegrad.ops.partial_reduction import count, reduce_add
from tapegrad.ops.shape import broadcast_to
from tapegrad.types import Array, ArrayLike, Axis, Cotangent

__all__ = ["all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod", "sum"]

# typed as Any, since NumPy's stubs require a literal for keepdims
_reduce_multiply: Any = np.multiply.reduce
_reduce_maximum: Any = np.maximum.reduce
_reduce_minimum: Any = np.minimum.reduce
_argmax: Any = np.argmax
_argmin: Any = np.argmin


def restore_reduced_axes(g: Cotangent, x: Array, axis: Axis, keepdims: bool) -> Cotangent:
    """Restore the reduced axes, with length 1, of a reduction's output or cotangent."""
    return g if keepdims or not x.ndim else g.reshape(reduced_shape(x.shape, axis))


_LARGE = 1 << 13


def _broadcast_cotangent(g: Cotangent, x: Array, axis: Axis, keepdims: bool) -> Cotangent:
    """g, broadcast to all elements that were reduced."""
    # the cotangent of a scalar may be a Python number
    if getattr(g, "ndim", 0):
        return apply(
            broadcast_to, (restore_reduced_axes(g, x, axis, keepdims),), {"shape": x.shape}
        )
    if type(g) is not np.ndarray and not isinstance(g, np.generic):
        return apply(broadcast_to, (g,), {"shape": x.shape})
    # a view repeats one number in memory, but filling a small array is faster than making a view
    return np.broadcast_to(g, x.shape) if x.size >= _LARGE else np.full(x.shape, g)


def reduce_each_example(
    op: Primitive,
    batched: Batched,
    a: Array,
    axis: Axis = None,
    keepdims: bool = False,
    **options: Any,
) -> Array:
    """Reduce each example of a batch."""
    if keepdims:
        options["keepdims"] = True
    # NumPy accepts axis 0 of a number too
    axis = batch_axis(axis, a.ndim - 1) if a.ndim > 1 else ()
    return apply(op, (a,), {**options, "axis": axis})


@wider_op(
    partial_reduction.sum,
    lambda g, y, a, axis=None, keepdims=False: _broadcast_cotangent(g, a, axis, keepdims),
    numpy=np.sum,
    jvp=linear_jvp,
    batch=reduce_each_example,
    adds=True,
    complex=True,
)
def sum(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The sum over an axis, several, or all.

    Parameters
    ----------
    a
        An array.
    axis
        An axis, a tuple of axes, or None for all; negative ones count from the end.
    keepdims
        Whether the reduced axes stay, with length 1.

    With NumPy's ``dtype=``, ``initial=`` (a number to start from) or ``where=`` (a mask of the
    elements to add) several ops are recorded.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.sum(np.array([[1, 2, 3], [4, 5, 6]]), axis=0)
    array([5, 7, 9])
    >>> tg.grad(lambda x: tg.sum(x * x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    return reduce_add(np.asarray(a), axis, None, None, keepdims)


def _mean_vjp(g: Cotangent, a: Array, axis: Axis, keepdims: bool) -> Cotangent:
    """``g / n``, for each of the n elements."""
    n = count(a, axis)
    # in float16 n may be infinite
    c = g * (1 / n) if a.dtype == np.float16 and a.size else g / n
    return _broadcast_cotangent(c, a, axis, keepdims)


@wider_op(
    partial_reduction.mean,
    lambda g, y, a, axis=None, keepdims=False: _mean_vjp(g, a, axis, keepdims),
    numpy=np.mean,
    jvp=linear_jvp,
    batch=reduce_each_example,
    composite=True,
    adds=True,
    complex=True,
)
def mean(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The mean over an axis, several, or all; arguments as for `sum`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.mean)(np.array([1.0, 2.0]))
    array([0.5, 0.5])
    """
    a = to_array(a)
    return partial_reduction.weighted_average(a, count(a, axis), axis, keepdims)


def _products_of_others(a: Array, axis: Axis) -> Array:
    """Return, for each element, the product of the others in its `prod`."""
    axis = axis if a.ndim else None
    rows = move_axes_to_front(a, axis)
    before = shift_forward(np.cumprod(rows, axis=0), 1)
    after = shift_forward(np.cumprod(rows[::-1], axis=0), 1)[::-1]
    return restore_axes(before * after, a.shape, axis)


@wider_op(
    partial_reduction.prod,
    lambda g, y, a, axis=None, keepdims=False: (
        restore_reduced_axes(g, a, axis, keepdims) * _products_of_others(a, axis)
    ),
    numpy=np.prod,
    kink="right with any number of zeros",
    batch=reduce_each_example,
    complex=True,
)
def prod(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The product over an axis, several, or all; arguments as for `sum`.

    The gradient is right with any number of zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.prod)(np.array([2.0, 0.0, 3.0]))
    array([0., 6., 0.])
    """
    return _reduce_multiply(np.asarray(a), axis, None, None, keepdims)


def _extremum_vjp(
    g: Cotangent, y: Array, a: Array, axis: Axis = None, keepdims: bool = False
) -> Cotangent:
    """g where the extremum is, shared where several tie, and 0 elsewhere."""
    ties = is_extremum(a, restore_reduced_axes(y, a, axis, keepdims))
    n = np.sum(ties, axis=axis, keepdims=True)
    share = restore_reduced_axes(g, a, axis, keepdims) / n.astype(g.dtype)
    return select(ties, share, 0)


_EXTREMUM_FACTS: dict[str, Any] = {
    "kink": "ties share equally",
    "batch": reduce_each_example,
    "flat": "{op} takes no element of {x}{where}",
}


@wider_op(partial_reduction.max, _extremum_vjp, numpy=(np.max, np.amax), **_EXTREMUM_FACTS)
def max(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The largest element over an axis, several, or all; arguments as for `sum`.

    Elements that tie share the gradient equally. As in NumPy, nan counts as the largest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.max)(np.array([1.0, 3.0, 3.0]))
    array([0. , 0.5, 0.5])
    """
    return _reduce_maximum(np.asarray(a), axis, None, None, keepdims)


@wider_op(partial_reduction.min, _extremum_vjp, numpy=(np.min, np.amin), **_EXTREMUM_FACTS)
def min(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The smallest element over an axis, several, or all; arguments as for `sum`.

    Elements that tie share the gradient equally. As in NumPy, nan counts as the smallest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.min)(np.array([1.0, 1.0, 3.0]))
    array([0.5, 0.5, 0. ])
    """
    return _reduce_minimum(np.asarray(a), axis, None, None, keepdims)


def is_nan(a: Array) -> Array:
    """Return a mask of the elements that are nan."""
    return np.not_equal(a, a)


def replace_nan(a: ArrayLike, instead: float) -> Array:
    """Replace nan by a number."""
    a = to_array(a)
    return np.where(is_nan(a), instead, a) if a.dtype.kind in "fc" else a


@wider_op(partial_reduction.any, None, numpy=np.any, batch=reduce_each_example, complex=True)
def any(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Whether any element is true (not zero); arguments as for `sum`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.any(np.array([[0, 1], [0, 0]]), axis=1)
    array([ True, False])
    """
    return np.any(a, axis, keepdims=keepdims)


@wider_op(partial_reduction.all, None, numpy=np.all, batch=reduce_each_example, complex=True)
def all(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Whether all elements are true (not zero); arguments as for `sum`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.all(np.array([[0, 1], [2, 1]]), axis=1)
    array([False,  True])
    """
    return np.all(a, axis, keepdims=keepdims)


@op(None, numpy=np.count_nonzero, batch=reduce_each_example, complex=True)
def count_nonzero(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array | np.intp:
    """The number of elements that are not zero; arguments as for `sum`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.count_nonzero(np.array([[0, 1], [2, 1]]), axis=1)
    array([1, 2])
    """
    total = np.count_nonzero(a, axis, keepdims=keepdims)
    # older versions of NumPy return a Python int
    return np.intp(total) if type(total) is int else total


def _argmax_batch(
    op: Primitive, batched: Batched, a: Array, axis: Axis = None, keepdims: bool = False
) -> Array:
    if axis is not None:
        return batch_along_axis(op, batched, a, axis=axis, keepdims=keepdims)
    y = apply(op, (flatten_examples(a),), {"axis": 1})
    return np.reshape(y, (len(a), *(1,) * (a.ndim - 1))) if keepdims else y


@op(None, numpy=np.argmax, batch=_argmax_batch)
def argmax(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The index of the first largest element along an axis, or of the flattened array.

    It passes no gradient. NaN counts as the largest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.argmax(np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]), axis=1)
    array([1, 0])
    """
    return _argmax(a, axis=axis, keepdims=keepdims)


@op(None, numpy=np.argmin, batch=_argmax_batch)
def argmin(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The index of the first smallest element along an axis, or of the flattened array.

    It passes no gradient. NaN counts as the smallest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.argmin(np.array([[1.0, 3.0, 1.0], [2.0, 0.0, 1.0]]), axis=1)
    array([0, 1])
    """
    return _argmin(a, axis=axis, keepdims=keepdims)
