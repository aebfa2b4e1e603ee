"""Arithmetic on cotangents, arrays and Tensors alike: sums over axes, dtypes, conjugates.

The sums are written as products where NumPy computes these faster.
"""

from __future__ import annotations

from operator import iadd

import numpy as np
from numpy import ndarray

from tapegrad.tree.ownership import readonly_array
from tapegrad.tree.structure import is_record
from tapegrad.types import Array, Cotangent, DType

# NumPy has one object for it, and asking which object takes less time than asking its kind
FLOAT64 = np.dtype(float)
# making these would take as long as adding up a small array
_ONES: dict[str, Array] = {char: readonly_array(np.ones(1024, char)) for char in "fd"}


def sum_rows(x: Array) -> Array:
    """Return the sum over all axes but the last; a product takes a third of the time of a sum."""
    x = x.reshape(-1, x.shape[-1])
    n, ones = len(x), _ONES.get(x.dtype.char)
    if ones is None or n > len(ones):
        ones = np.ones(n, x.dtype)
    total: Array = ones[:n].dot(x)
    return total


def sum_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """Return the sum over axes, in order; over few last elements a product takes half the time."""
    last, n, ones = x.ndim, 1, _ONES.get(x.dtype.char, ())
    while last - 1 in axes and n < len(ones):
        last, n = last - 1, n * x.shape[last - 1]
    if 1 < n < len(ones) and type(x) is ndarray:
        axes = axes[: len(axes) - x.ndim + last]
        x = x.reshape(-1, n).dot(ones[:n]).reshape(x.shape[:last])
    return (np.add.reduce if type(x) is ndarray else np.sum)(x, axes) if axes else x


def as_dtype(x: Array, dtype: DType) -> Array:
    """Return a cotangent or a tangent in a dtype; a real dtype takes the real part."""
    if x.dtype == dtype:
        return x
    x = x.real if x.dtype.kind == "c" and dtype.kind != "c" else x
    # a NumPy scalar cannot have another byte order
    return np.asarray(x, dtype) if isinstance(x, np.generic) else x.astype(dtype)


def conjugate_cotangent(c: Cotangent) -> Cotangent:
    """Conjugate a cotangent: convert between the users' and the internal convention, either way.

    To a user the cotangent of a real loss is ``dL/dx + i dL/dy``, so that ``z - rate * g``
    descends. Rules see the conjugate of this, for which the rule of a holomorphic function is the
    rule for real numbers, without a conjugate of any operand.
    """
    return drop_negative_zeros(c.conj()) if c.dtype.kind == "c" else c


def drop_negative_zeros(zs: Array) -> Array:
    """Return new complex numbers with 0.0 for each -0.0; the new array `zs` may be overwritten.

    The conjugate of a real derivative has the imaginary part -0.0. The sign of a zero tells the
    sides of a branch cut apart, but a rule reads the side off its operands, not off a cotangent.
    """
    return zs + 0 if is_record(zs) else readonly_array(iadd(zs, 0))  # type: ignore[no-untyped-call]
