"""Initializers, random and constant; their arrays are read-only.

A key is a key of `tapegrad.random` or a seed. The same key gives the same arrays; there is no
global random state.
"""

from __future__ import annotations

import math

import numpy as np

from tapegrad import random
from tapegrad.arraylike.reading import is_count
from tapegrad.errors.names import list_names
from tapegrad.ops import ascontiguousarray
from tapegrad.random import Key as Key
from tapegrad.random import split as split
from tapegrad.tree.ownership import as_readonly_leaf, readonly_array
from tapegrad.types import Array, DTypeLike, Shape

__all__ = ["centred_uniform", "glorot_normal", "glorot_uniform", "he_normal", "lecun_normal"]
__all__ += ["ones", "orthogonal", "zeros"]
list_names(globals())


def he_normal(
    key: Key, shape: Shape, dtype: DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Draw normal numbers of variance 2 / fan-in, for layers followed by a relu.

    (He et al. 2015, arXiv:1502.01852.) For a complex dtype this is the sum of the variances of both
    parts.

    Parameters
    ----------
    key, shape, dtype
        The key to draw with, and the result's shape and dtype.
    in_axis, out_axis
        The axes of the inputs and of the outputs; the last two by default. The fan-in is the
        product of the lengths of all axes except the outputs', the fan-out of all except the
        inputs'. Kernels of a convolution need ``in_axis=1, out_axis=0``.

    Examples
    --------
    >>> kernels = he_normal(0, (64, 16, 3, 3), in_axis=1, out_axis=0)
    >>> float((np.var(kernels) * 16 * 3 * 3).round(1))
    2.0
    """
    return _draw_normal(key, shape, dtype, 2 / _fan_size(shape, dtype, out_axis))


def lecun_normal(
    key: Key, shape: Shape, dtype: DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Draw normal numbers of variance 1 / fan-in; see `he_normal` for the axes.

    (LeCun et al. 1998, Efficient BackProp, section 4.6.)

    Examples
    --------
    >>> import tapegrad as tg
    >>> weight = tg.nn.initializers.lecun_normal(0, (256, 64))
    >>> float((np.var(weight) * 256).round(1))
    1.0
    """
    return _draw_normal(key, shape, dtype, 1 / _fan_size(shape, dtype, out_axis))


def glorot_normal(
    key: Key, shape: Shape, dtype: DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Draw normal numbers of variance 2 / (fan-in + fan-out); see `he_normal` for the axes.

    (Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.)

    Examples
    --------
    >>> import tapegrad as tg
    >>> weight = tg.nn.initializers.glorot_normal(0, (256, 64))
    >>> float((np.var(weight) * (256 + 64)).round(1))
    2.0
    """
    return _draw_normal(key, shape, dtype, _glorot_variance(shape, dtype, in_axis, out_axis))


def glorot_uniform(
    key: Key, shape: Shape, dtype: DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Draw uniform numbers around 0, with the variance of `glorot_normal`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> weight = tg.nn.initializers.glorot_uniform(0, (256, 64))
    >>> float(np.abs(weight).max().round(3)), round((6 / (256 + 64)) ** 0.5, 3)
    (0.137, 0.137)
    """
    bound = math.sqrt(3 * _glorot_variance(shape, dtype, in_axis, out_axis))
    return as_readonly_leaf(random.uniform(key, shape, -bound, bound, dtype))


def orthogonal(
    key: Key, shape: Shape, dtype: DTypeLike = float, in_axis: int = -2, out_axis: int = -1
) -> Array:
    """Draw a matrix with orthonormal rows or columns, whichever are fewer, uniformly.

    (Saxe et al. 2014, arXiv:1312.6120.) The outputs are the columns; all other axes form the rows.

    Examples
    --------
    >>> import tapegrad as tg
    >>> weight = tg.nn.initializers.orthogonal(0, (3, 2))
    >>> np.allclose(weight.T @ weight, np.eye(2))
    True
    """
    rows = _fan_size(shape, dtype, out_axis)
    columns = shape[out_axis]
    is_complex = np.dtype(dtype).kind == "c"
    draw_dtype = complex if is_complex else float
    q, r = np.linalg.qr(random.normal(key, (max(rows, columns), min(rows, columns)), draw_dtype))
    # QR does not determine the signs, or phases; with these, all q are equally likely
    diagonal = np.diagonal(r)
    q = q * (np.sign(diagonal) if is_complex else np.where(diagonal < 0, -1, 1))
    q = q if rows >= columns else q.T
    row_axes = [n for i, n in enumerate(shape) if i != out_axis % len(shape)]
    weight = np.moveaxis(q.reshape(*row_axes, columns), -1, out_axis)
    return as_readonly_leaf(ascontiguousarray(weight).astype(dtype))


def centred_uniform(key: Key, shape: Shape, dtype: DTypeLike = float) -> Array:
    """Draw uniform numbers between -1/2 and 1/2, divided by ``shape[-1]``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> table = tg.nn.initializers.centred_uniform(0, (1000, 4))
    >>> float(np.abs(table).max().round(3))
    0.125
    """
    _check_shape_and_dtype(shape, dtype, least=1)
    bound = 0.5 / max(shape[-1], 1)
    return as_readonly_leaf(random.uniform(key, shape, -bound, bound, dtype))


def zeros(shape: Shape, dtype: DTypeLike = float) -> Array:
    """Make an array of zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.initializers.zeros((2, 3), np.float32)
    array([[0., 0., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    _check_shape_and_dtype(shape, dtype)
    return readonly_array(np.zeros(shape, dtype))


def ones(shape: Shape, dtype: DTypeLike = float) -> Array:
    """Make an array of ones.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.nn.initializers.ones((3,))
    array([1., 1., 1.])
    """
    _check_shape_and_dtype(shape, dtype)
    return readonly_array(np.ones(shape, dtype))


def _fan_size(shape: Shape, dtype: DTypeLike, axis: int) -> int:
    """The product of the lengths of all axes except one."""
    _check_shape_and_dtype(shape, dtype, least=1)
    lengths = [int(n) for i, n in enumerate(shape) if i != axis % len(shape)]
    return max(math.prod(lengths), 1)


def _glorot_variance(shape: Shape, dtype: DTypeLike, in_axis: int, out_axis: int) -> float:
    return 2 / (_fan_size(shape, dtype, in_axis) + _fan_size(shape, dtype, out_axis))


def _draw_normal(key: Key, shape: Shape, dtype: DTypeLike, variance: float) -> Array:
    return as_readonly_leaf(random.normal(key, shape, dtype) * math.sqrt(variance))


def _check_shape_and_dtype(shape: Shape, dtype: DTypeLike, least: int = 0) -> None:
    """Raise unless a shape has at least `least` axes, and the dtype is floating."""
    if not isinstance(shape, tuple) or len(shape) < least or not all(map(is_count, shape)):
        raise ValueError(
            f"a shape must be a tuple of non-negative integers{', not empty' * least}; "
            f"not {shape!r}"
        )
    if np.dtype(dtype).kind not in "fc":
        raise TypeError(f"parameters need a floating dtype to have a gradient; not {dtype!r}")
