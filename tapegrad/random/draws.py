"""Draws from distributions, and random orders and choices."""

from __future__ import annotations

import math

import numpy as np

from tapegrad.arraylike.reading import dtype_of, is_count
from tapegrad.core.tensor import Tensor
from tapegrad.errors.lines import warns_at_users_line
from tapegrad.ops.rows import index_select
from tapegrad.random import generator
from tapegrad.random.keys import as_key, explain_argument_order, is_integer
from tapegrad.types import Array, DType, DTypeLike, Key, Shape, ShapeLike

__all__ = ["bernoulli", "choice", "integers", "normal", "permutation", "truncated_normal"]
__all__ += ["uniform"]

# with less of the normal distribution between the bounds, rejection is slow
_MIN_MASS = 0.01


@warns_at_users_line
@explain_argument_order
def uniform(
    key: Key,
    shape: ShapeLike = (),
    low: Array | float = 0.0,
    high: Array | float = 1.0,
    dtype: DTypeLike = float,
) -> Array:
    """Draw uniform numbers from low (included) to high (excluded, up to rounding).

    Parameters
    ----------
    key
        The key.
    shape
        The shape of the result.
    low, high
        Numbers, arrays or Tensors that broadcast to the shape; gradients pass to them.
    dtype
        A floating dtype.

    Raises
    ------
    ValueError
        If neither bound is a Tensor, and low is above high, or one of them or their difference
        is not finite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x = tg.random.uniform(0, (2, 3), low=-1.0, high=1.0, dtype=np.float32)
    >>> x.shape, x.dtype, bool(np.all(np.abs(x) <= 1))
    ((2, 3), dtype('float32'), True)
    """
    shape, dtype = _as_shape(shape), _floating_dtype(dtype)
    _check_broadcasts(shape, low=low, high=high)
    unit = generator.uniform(as_key(key), shape=shape, dtype=dtype)
    if type(low) is type(high) is float and (low, high) == (0.0, 1.0):
        return unit
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        if not np.all(np.less_equal(low, high)):
            raise ValueError(
                f"uniform: low must not be above high; got low={low!r} and high={high!r}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [np.asarray(x).astype(dtype) for x in (low, high)]
            is_finite = np.all(np.isfinite(np.subtract(*ends)))
        if not is_finite:
            raise ValueError(
                f"uniform: low, high and their difference must be finite as {dtype}; got "
                f"low={low!r} and high={high!r}"
            )
    # the difference of small integers may overflow their dtype
    low, high = _to_floating(low, dtype), _to_floating(high, dtype)
    scaled = low + (high - low) * unit
    return scaled if scaled.dtype == dtype else scaled.astype(dtype)


@explain_argument_order
def normal(key: Key, shape: ShapeLike = (), dtype: DTypeLike = float) -> Array:
    """Draw normal numbers of mean 0 and variance 1.

    The real and the imaginary part of complex numbers have variance 1/2 each, so that the mean of
    ``abs(x)**2`` is 1.

    Parameters
    ----------
    key
        The key.
    shape
        The shape of the result.
    dtype
        A floating or a complex dtype.

    Examples
    --------
    >>> import tapegrad as tg
    >>> def loss(mean, scale):
    ...     return tg.sum(mean + scale * tg.random.normal(0, 3))
    >>> tg.grad(loss)(1.0, 2.0)
    array(3.)
    """
    return generator.normal(as_key(key), shape=_as_shape(shape), dtype=_floating_dtype(dtype, "fc"))


@explain_argument_order
def truncated_normal(
    key: Key,
    shape: ShapeLike = (),
    low: float = -2.0,
    high: float = 2.0,
    dtype: DTypeLike = float,
) -> Array:
    """Draw normal numbers between two bounds, by rejection.

    Parameters
    ----------
    key
        The key.
    shape
        The shape of the result.
    low, high
        The bounds, plain numbers, with at least 1% of the normal distribution between them.
    dtype
        A floating dtype.

    Raises
    ------
    ValueError
        If the bounds are too close together or too far out.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(np.all(np.abs(tg.random.truncated_normal(0, 1000)) <= 2))
    True
    """
    low, high = float(low), float(high)
    mass = _normal_cdf(high) - _normal_cdf(low)
    if not mass >= _MIN_MASS:
        raise ValueError(
            f"truncated_normal redraws numbers outside {low} and {high}; only {mass:.2g} of "
            f"the distribution is between them, and {_MIN_MASS} is needed"
        )
    return generator.truncated_normal(
        as_key(key), shape=_as_shape(shape), low=low, high=high, dtype=_floating_dtype(dtype)
    )


@explain_argument_order
def bernoulli(key: Key, p: Array | float = 0.5, shape: ShapeLike | None = None) -> Array:
    """Draw truth values, each True with probability p.

    Parameters
    ----------
    key
        The key.
    p
        A number, an array or a Tensor that broadcasts to the shape.
    shape
        The shape of the result; the shape of p by default.

    Raises
    ------
    ValueError
        If p is not between 0 and 1, also when a compiled program runs.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.random.bernoulli(0, 1.0, (2,))
    array([ True,  True])
    """
    shape = np.shape(p) if shape is None else _as_shape(shape)
    _check_broadcasts(shape, p=p)
    return generator.bernoulli(as_key(key), p, shape=shape)


@explain_argument_order
def integers(
    key: Key,
    low: Array | int,
    high: Array | int,
    shape: ShapeLike = (),
    dtype: DTypeLike = np.int64,
) -> Array:
    """Draw equally likely integers from low (included) to high (excluded).

    Parameters
    ----------
    key
        The key.
    low, high
        Integers, or integer arrays or Tensors that broadcast to the shape.
    shape
        The shape of the result.
    dtype
        An integer dtype.

    Raises
    ------
    ValueError
        If there is no integer from low up to high, or the dtype cannot hold them.

    Examples
    --------
    >>> import tapegrad as tg
    >>> throws = tg.random.integers(0, 1, 7, 1000)
    >>> int(throws.min()), int(throws.max())
    (1, 6)
    """
    shape = _as_shape(shape)
    for name, end in {"low": low, "high": high}.items():
        if not is_integer(end):
            raise TypeError(f"{name} must be an integer, or an array of integers; not {end!r}")
    _check_broadcasts(shape, low=low, high=high)
    if np.dtype(dtype).kind not in "iu":
        raise TypeError(f"an integer dtype is needed, not {dtype!r}")
    return generator.integers(as_key(key), low, high, shape=shape, dtype=np.dtype(dtype))


@explain_argument_order
def permutation(key: Key, x: Array | int) -> Array:
    """Shuffle the numbers from 0 to n - 1, or the rows of an array.

    Parameters
    ----------
    key
        The key.
    x
        The number n; or an array or a Tensor, whose rows are along the first axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> order = tg.random.permutation(0, 5)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    >>> tg.random.permutation(0, np.arange(5) * 10) == order * 10
    array([ True,  True,  True,  True,  True])
    """
    n, rows = _count_and_rows(x)
    order = generator.permutation(as_key(key), n=n)
    return order if rows is None else index_select(rows, order)


@explain_argument_order
def choice(
    key: Key,
    x: Array | int,
    shape: ShapeLike = (),
    replace: bool = True,
    p: Array | None = None,
) -> Array:
    """Choose from the numbers 0 to n - 1, or from the rows of an array, at random.

    Parameters
    ----------
    key
        The key.
    x
        The number n; or an array or a Tensor, whose rows are along the first axis.
    shape
        The shape of the choices.
    replace
        Whether an item may be chosen more than once.
    p
        The probability of each item, summing to 1; uniform by default.

    Raises
    ------
    ValueError
        If there is nothing to choose from, or not enough without replacement, or the probabilities
        do not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.random.choice(0, np.array([10.0, 20.0]), 3, p=np.array([0.0, 1.0]))
    array([20., 20., 20.])
    """
    n, rows = _count_and_rows(x)
    if p is not None and np.shape(p) != (n,):
        raise ValueError(
            f"choice: p must hold a probability for each of {n} items; got shape {np.shape(p)}"
        )
    # operands are arrays: an empty one stands for no probabilities
    chosen = generator.choice(
        as_key(key), np.empty(0) if p is None else p, n=n, shape=_as_shape(shape), replace=replace
    )
    return chosen if rows is None else index_select(rows, chosen)


def _as_shape(shape: ShapeLike) -> Shape:
    lengths = (shape,) if is_count(shape) else shape
    if not isinstance(lengths, tuple | list) or not all(map(is_count, lengths)):
        raise ValueError(f"a shape must be a tuple of non-negative integers; not {shape!r}")
    return tuple(map(int, lengths))


def _floating_dtype(dtype: DTypeLike, kinds: str = "f") -> DType:
    try:
        floating: DType = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be a floating dtype; not {dtype!r}") from None
    if floating.kind not in kinds:
        raise TypeError(f"a floating dtype such as float32 or float64 is needed; not {floating}")
    return floating


def _to_floating(x: Array | float, dtype: DType) -> Array | float:
    """Convert an array or a Tensor of integers to a floating dtype; return others unchanged."""
    return x.astype(dtype) if hasattr(x, "astype") and dtype_of(x).kind in "iub" else x


def _check_broadcasts(shape: Shape, **arrays: Array | float) -> None:
    """Raise for an array that does not broadcast to a shape: NumPy would repeat the draws."""
    for name, x in arrays.items():
        broadcasts = np.ndim(x) <= len(shape) and all(
            length in (1, n) for length, n in zip(np.shape(x)[::-1], shape[::-1], strict=False)
        )
        if not broadcasts:
            raise ValueError(f"{name} has shape {np.shape(x)}, which does not broadcast to {shape}")


def _count_and_rows(x: Array | int) -> tuple[int, Array | None]:
    """Return the number of items to choose from, and the array with these as rows, or None."""
    if isinstance(x, list | tuple):
        x = np.asarray(x)
    if not isinstance(x, int) and np.ndim(x):
        return len(x), x
    n = x.__index__() if is_integer(x) else None
    if n is None or n < 0:
        raise TypeError(f"an integer or an array to choose from is needed, not {x!r}")
    return n, None


def _normal_cdf(x: float) -> float:
    """The probability that a normal number is below x."""
    return (1 + math.erf(x / math.sqrt(2))) / 2
