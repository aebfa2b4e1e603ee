"""Random and constant arrays to begin with, all read-only.

A key is an integer or a `numpy.random.SeedSequence`; the same key gives the same
arrays, and nothing is drawn from a global stream.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tapegrad.ownership import Array, give

# a string, for numpy.random takes long to import
Key: TypeAlias = "int | np.random.SeedSequence"
Shape = tuple[int, ...]


def split(key: Key, n: int) -> tuple[np.random.SeedSequence, ...]:
    """A number of independent keys made of one, which stays as it is.

    Examples
    --------
    >>> a, b = split(0, 2)
    >>> float(np.random.default_rng(a).random()) != float(np.random.default_rng(b).random())
    True
    """
    if not _is_count(n):
        raise ValueError(f"a key is split into a number of keys, not {n!r}")
    parent = _sequence(key)
    # SeedSequence.spawn would count its children in the parent
    return tuple(
        np.random.SeedSequence(
            parent.entropy, spawn_key=(*parent.spawn_key, i), pool_size=parent.pool_size
        )
        for i in range(n)
    )


def he_normal(
    key: Key, shape: Shape, dtype: npt.DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Normal, with variance 2 / fan-in, for what a relu follows.

    (He et al. 2015, arXiv:1502.01852.)

    Parameters
    ----------
    key, shape, dtype
        The key to draw with, and what to draw.
    in_axis, out_axis
        The axes of the inputs and of the outputs. The fan-in is the size without the
        axis of outputs, the fan-out that without the axis of inputs. By default these
        are the last two; the kernels of a convolution have them first, outputs before
        inputs: ``in_axis=1, out_axis=0``.

    Examples
    --------
    >>> kernels = he_normal(0, (64, 16, 3, 3), in_axis=1, out_axis=0)
    >>> float((np.var(kernels) * 16 * 3 * 3).round(1))
    2.0
    """
    return _normal(key, shape, dtype, 2 / _fan(shape, dtype, out_axis))


def lecun_normal(
    key: Key, shape: Shape, dtype: npt.DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Normal, with variance 1 / fan-in; see `he_normal` for the axes.

    (LeCun et al. 1998, Efficient BackProp, section 4.6.)
    """
    return _normal(key, shape, dtype, 1 / _fan(shape, dtype, out_axis))


def glorot_normal(
    key: Key, shape: Shape, dtype: npt.DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Normal, with variance 2 / (fan-in + fan-out); see `he_normal` for the axes.

    (Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.)
    """
    return _normal(key, shape, dtype, _glorot(shape, dtype, in_axis, out_axis))


def glorot_uniform(
    key: Key, shape: Shape, dtype: npt.DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Uniform around 0, with the variance of `glorot_normal`."""
    bound = np.sqrt(3 * _glorot(shape, dtype, in_axis, out_axis))
    return give(_generator(key).uniform(-bound, bound, shape).astype(dtype))


def orthogonal(
    key: Key, shape: Shape, dtype: npt.DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Orthonormal rows or columns, whichever are fewer, drawn uniformly.

    (Saxe et al. 2014, arXiv:1312.6120.) The rows are all axes but that of the outputs.
    """
    rows = _fan(shape, dtype, out_axis)
    columns = shape[out_axis]
    draws = _generator(key).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draws)
    # of the signs that QR leaves open, those with which all q are equally likely
    q = q * np.where(np.diagonal(r) < 0, -1, 1)
    q = q if rows >= columns else q.T
    others = [n for i, n in enumerate(shape) if i != out_axis % len(shape)]
    return give(np.ascontiguousarray(np.moveaxis(q.reshape(*others, -1), -1, out_axis), dtype))


def centred_uniform(key: Key, shape: Shape, dtype: npt.DTypeLike = float) -> Array:
    """Uniform between -1/2 and 1/2, over ``shape[-1]``."""
    _check(shape, dtype, least=1)
    draws = _generator(key).random(shape)
    return give(((draws - 0.5) / max(shape[-1], 1)).astype(dtype))


def zeros(shape: Shape, dtype: npt.DTypeLike = float) -> Array:
    """Zeros."""
    _check(shape, dtype)
    return give(np.zeros(shape, dtype))


def ones(shape: Shape, dtype: npt.DTypeLike = float) -> Array:
    """Ones."""
    _check(shape, dtype)
    return give(np.ones(shape, dtype))


def _fan(shape: Any, dtype: Any, axis: int) -> int:
    """The size of what is drawn without one axis."""
    _check(shape, dtype, least=1)
    sides = [int(n) for i, n in enumerate(shape) if i != axis % len(shape)]
    return max(math.prod(sides), 1)


def _glorot(shape: Shape, dtype: Any, in_axis: int, out_axis: int) -> float:
    return 2 / (_fan(shape, dtype, in_axis) + _fan(shape, dtype, out_axis))


def _normal(key: Key, shape: Shape, dtype: Any, variance: float) -> Array:
    return give((_generator(key).standard_normal(shape) * np.sqrt(variance)).astype(dtype))


def _is_count(n: Any) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= 0)


def _check(shape: Any, dtype: Any, least: int = 0) -> None:
    """Raise unless a shape has this many axes at least, and the dtype is floating."""
    if not isinstance(shape, tuple) or len(shape) < least or not all(map(_is_count, shape)):
        raise ValueError(
            f"a shape is a tuple of whole numbers, none negative{' and not empty' * least}; "
            f"not {shape!r}"
        )
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"parameters are floating, so that they have a gradient; not {dtype!r}")


def _sequence(key: Any) -> np.random.SeedSequence:
    if isinstance(key, np.random.SeedSequence):
        return key
    if _is_count(key):
        return np.random.SeedSequence(int(key))
    raise TypeError(f"a key is a non-negative integer or a numpy SeedSequence, not {key!r}")


def _generator(key: Key) -> np.random.Generator:
    return np.random.default_rng(_sequence(key))
