"""Array creation from numbers, lists, or the shape of another array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.arraylike.tensor import Tensor
from tapegrad.declare import function
from tapegrad.ops.casting import (
    as_common_dtype,
    as_double,
    cast_for_assignment,
    to_array,
    values_if_known,
)
from tapegrad.tree.lists import stack_nested
from tapegrad.tree.numbers import refuse_objects
from tapegrad.types import Array, ArrayLike, DTypeLike, Shape, ShapeLike

__all__ = ["array", "empty_like", "full", "full_like", "geomspace", "linspace", "logspace"]
__all__ += ["meshgrid", "ones_like", "zeros_like"]


def _stack_lists(x: ArrayLike) -> Array:
    """Return nested lists as one array; a Tensor in them is recorded."""
    if not isinstance(x, list | tuple):
        return to_array(x)
    parts = [_stack_lists(part) for part in x]
    return np.stack(parts) if any(isinstance(part, Tensor) for part in parts) else np.array(x)


@function(lists=("object",), complex=True)
def array(object: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """An array of nested lists that may hold Tensors, which `np.array` cannot take.

    Parameters
    ----------
    object
        Tensors, arrays and numbers in lists or tuples of equal length at each depth. As in NumPy,
        a Python float among them counts as float64.
    dtype
        The result's dtype; by default one that holds all parts.

    Raises
    ------
    ValueError
        If the parts' shapes differ.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.array([[1, 2.5], [3, 4]])
    array([[1. , 2.5],
           [3. , 4. ]])
    >>> tg.grad(lambda t: tg.sum(tg.array([[t, 1.0], [2.0, t * t]])))(3.0)
    array(7.)
    """
    y = _stack_lists(object)
    y = y if isinstance(y, Tensor) else np.array(y)
    return y if dtype is None else y.astype(dtype)


def _define_like_function(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """Return `zeros_like`, or a function like it, which reads only shape and dtype."""

    def array_like(
        a: Array, dtype: DTypeLike | None = None, *, shape: Shape | None = None
    ) -> Array:
        stacked = stack_nested(a)
        if not isinstance(stacked, Tensor):
            refuse_objects(name, stacked)
        a = to_array(stacked)
        return make(a.shape if shape is None else shape, a.dtype if dtype is None else dtype)

    array_like.__name__ = array_like.__qualname__ = name
    array_like.__doc__ = f"""A plain array of the shape and dtype of another, or of a Tensor.

    It has no gradient.

    Parameters
    ----------
    a
        An array or a Tensor.
    dtype, shape
        The dtype and the shape to use instead.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.{name}(np.ones((2, 3), np.float32)).dtype
    dtype('float32')
    """
    return array_like


zeros_like = _define_like_function("zeros_like", np.zeros)
ones_like = _define_like_function("ones_like", np.ones)
# zeros, so that each run of a function returns the same
empty_like = _define_like_function("empty_like", np.zeros)

answers([np.zeros_like], zeros_like)
answers([np.ones_like], ones_like)
answers([np.empty_like], empty_like)


@function(complex=True)
def full(shape: ShapeLike, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """An array of this shape, filled with a number, or with an array that broadcasts to it.

    A Tensor that fills it keeps its gradient.

    Parameters
    ----------
    shape
        A tuple or a number.
    fill_value
        A number, an array or a Tensor.
    dtype
        The result's dtype; by default the fill value's.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.full((2, 3), x)))(1.0)
    array(6.)
    """
    if not isinstance(fill_value, Tensor):
        return np.full(shape, fill_value, dtype)
    fill_value = fill_value if dtype is None else fill_value.astype(dtype)
    extra = fill_value.ndim - (len(shape) if isinstance(shape, tuple | list) else 1)
    if extra > 0 and fill_value.shape[:extra] == (1,) * extra:
        # NumPy's assignment drops leading axes of length 1
        fill_value = fill_value.reshape(fill_value.shape[extra:])
    return np.broadcast_to(fill_value, shape)


@function(numpy=np.full_like, complex=True)
def full_like(
    a: ArrayLike,
    fill_value: ArrayLike,
    dtype: DTypeLike | None = None,
    *,
    shape: ShapeLike | None = None,
) -> Array:
    """An array of the shape and dtype of another, filled as `full` does.

    Parameters
    ----------
    a
        An array or a Tensor.
    fill_value
        A number, an array or a Tensor, which keeps its gradient.
    dtype, shape
        The dtype and the shape to use instead.

    Raises
    ------
    TypeError
        If a floating Tensor would fill an array of integers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.full_like(np.ones(2), x)))(1.0)
    array(2.)
    """
    if not isinstance(a, Tensor):
        refuse_objects("full_like", a)
    dtype = to_array(a).dtype if dtype is None else dtype
    return full(
        np.shape(a) if shape is None else shape, cast_for_assignment(fill_value, dtype), dtype
    )


def _endpoint_weights(start: Array, stop: Array, num: int, endpoint: bool) -> tuple[Array, Array]:
    """Return the weights of start and of stop in num numbers, along a new first axis."""
    w = np.linspace(0, 1, num, endpoint=endpoint).reshape(-1, *(1,) * max(start.ndim, stop.ndim))
    dtype = np.result_type(start.dtype, stop.dtype)
    return (1 - w).astype(dtype), w.astype(dtype)


@function(numpy=np.linspace, complex=True)
def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    *,
    axis: int = 0,
) -> Any:
    """Evenly spaced numbers from start to stop.

    Parameters
    ----------
    start, stop
        Numbers, arrays or Tensors; they broadcast.
    num
        The number of values.
    endpoint
        Whether stop is the last value.
    retstep
        Whether to return the step as well.
    axis
        The axis of the result that holds the numbers.

    Returns
    -------
    The numbers; with `retstep`, a tuple of the numbers and the step.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.linspace(0, 1, 5)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    >>> tg.grad(lambda x: tg.sum(tg.linspace(0, x, 5)))(1.0)
    array(2.5)
    """
    start, stop = as_common_dtype(start, stop, beside=(1.0,))
    start_weights, stop_weights = _endpoint_weights(start, stop, num, endpoint)
    width = stop - start
    # the last one is exactly stop
    y = np.where(start_weights == 0, stop, start + width * stop_weights)
    y = np.moveaxis(y, 0, axis) if axis != 0 else y
    if not retstep:
        return y
    n_steps = num - 1 if endpoint else num
    return y, width / n_steps if n_steps > 0 else np.nan


@function(numpy=np.geomspace, complex=True)
def geomspace(
    start: ArrayLike, stop: ArrayLike, num: int = 50, endpoint: bool = True, *, axis: int = 0
) -> Array:
    """Numbers with equal ratios from start to stop; arguments as for `linspace`.

    Both ends are positive, or both negative; otherwise the result is nan. Between complex ends it
    lies on a spiral.

    Raises
    ------
    ValueError
        If an end is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.geomspace(1.0, 8.0, 4).round(6)
    array([1., 2., 4., 8.])
    """
    # NumPy's results are float64 or wider for any dtype of the ends
    start, stop = as_double(start, complex=True), as_double(stop, complex=True)
    for end in (start, stop):
        # inside `compile` the ends have no values yet: an end of 0 gives nan
        values = values_if_known(end)
        if values is not None and (values == 0).any():
            raise ValueError("geomspace: no ratios lead to or from 0")
    start_weights, stop_weights = _endpoint_weights(start, stop, num, endpoint)
    sign = np.sign(start)
    y = sign * (start / sign) ** start_weights * (stop / sign) ** stop_weights
    return np.moveaxis(y, 0, axis) if axis != 0 else y


# the slopes fit in float16
@function(numpy=np.logspace, complex=True)
def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    *,
    axis: int = 0,
) -> Array:
    """A base raised to the powers from `linspace`.

    Parameters
    ----------
    start, stop, num, endpoint, axis
        As for `linspace`.
    base
        The base, which broadcasts with start and stop.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.logspace(0, 3, 4, base=2.0)
    array([1., 2., 4., 8.])
    """
    if np.ndim(base):
        start = np.broadcast_to(start, np.broadcast_shapes(*map(np.shape, (start, stop, base))))
    y = np.power(base, linspace(start, stop, num, endpoint))
    return np.moveaxis(y, 0, axis) if axis != 0 else y


@function(numpy=np.meshgrid, complex=True)
def meshgrid(
    *xi: ArrayLike, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Array, ...]:
    """A tuple of the coordinates of a grid's points, from the positions along each axis.

    Parameters
    ----------
    *xi
        The positions along each axis.
    copy
        No effect, since nothing is ever written to.
    sparse
        Whether each array has length 1 along the axes of the others.
    indexing
        "ij" if the first of `xi` lies along the first axis; "xy" if the first lies along the second
        axis and the second along the first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x, y = tg.meshgrid(np.arange(3), np.arange(2))
    >>> x
    array([[0, 1, 2],
           [0, 1, 2]])
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing must be 'xy' or 'ij'; got {indexing!r}")
    axes = [*range(len(xi))]
    if indexing == "xy":
        axes[:2] = axes[:2][::-1]
    last = len(xi) - 1
    grids = tuple(
        np.reshape(x, (*(1,) * axis, -1, *(1,) * (last - axis)))
        for x, axis in zip(xi, axes, strict=True)
    )
    return grids if sparse else np.broadcast_arrays(*grids)


def _array_as_numpy(
    object: ArrayLike,
    dtype: DTypeLike | None = None,
    order: str | None = None,
    *,
    copy: bool | None = None,
    subok: bool = False,
    ndmin: int = 0,
    device: str | None = None,
) -> Array:
    """`tg.array` with the arguments of `np.array`; order and copies have no effect."""
    y = array(object, dtype)
    return np.reshape(y, (1,) * (ndmin - y.ndim) + y.shape) if ndmin > y.ndim else y


def _array_with_axis(object: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    return np.atleast_1d(_array_as_numpy(object, dtype))


def _full_as_numpy(
    shape: Shape,
    fill_value: Array,
    dtype: DTypeLike | None = None,
    order: str | None = None,
    *,
    device: str | None = None,
) -> Array:
    return full(shape, to_array(fill_value), dtype)


def _wrap_creation(make: Callable[..., Array]) -> Callable[..., Array]:
    """Return a function that calls NumPy's own, whose result is a plain array."""

    def create_array(*args: Any, **kwargs: Any) -> Array:
        return make(*args, **kwargs)

    return create_array


answers([np.array, np.asarray, np.asanyarray], _array_as_numpy)
answers([np.ascontiguousarray, np.asfortranarray], _array_with_axis)
answers([np.full], _full_as_numpy)
# np.empty returns zeros, so that each run of a function returns the same
answers([np.zeros, np.empty], _wrap_creation(np.zeros))
for _make in (np.arange, np.ones, np.eye, np.identity, np.tri):
    answers([_make], _wrap_creation(_make))
