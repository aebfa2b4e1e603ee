"""Cotangents and tangents in the shape and dtype of what they belong to.

VJP rules may leave a cotangent in the shape that broadcasting gave the operand, and a tangent in
the shape of an operand. Only this file undoes that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.ownership import Array, give
from tapegrad.core.tensor import Tensor

# NumPy has one object for it, and asking which object takes less time than asking its kind
FLOAT64 = np.dtype(float)
# making these would take as long as adding up a small array
_ONES = give(np.ones(256))


def fit(c: Any, primal: Array, name: str, i: int | str) -> Any:
    """A rule's cotangent summed over broadcast axes, in the operand's dtype."""
    shape = primal.shape
    if c.ndim == 2 and c.shape[1:] == shape and type(c) is ndarray:
        # a bias: a product takes a third of the time of a sum over the first axis
        n = len(c)
        ones = _ONES[:n] if n <= 256 and c.dtype is FLOAT64 else filled((n,), 1, c.dtype)
        c = ones.dot(c)
    elif c.shape != shape:
        extra = c.ndim - len(shape)
        rest = c.shape[max(extra, 0) :]
        axes = tuple(range(extra))
        if rest != shape:
            if extra < 0 or any(n not in (1, m) for n, m in zip(shape, rest, strict=True)):
                raise ValueError(
                    f"the VJP rule of {name} for operand {i} gives a cotangent of shape "
                    f"{c.shape}, which does not fit the operand's {shape}"
                )
            axes += tuple(extra + j for j, m in enumerate(rest) if m != shape[j])
        c = np.add.reduce(c, axes) if type(c) is ndarray else np.sum(c, axes)
        if c.shape != shape:
            c = c.reshape(shape)
    return c if c.dtype == primal.dtype else c.astype(primal.dtype)


def plus(known: Any, c: Any, x: Tensor, summed: set[Tensor]) -> Any:
    """The cotangent of a record with another contribution.

    `summed` holds the records whose cotangent is an array made here, which nobody else sees: they
    are added to in place.
    """
    if x in summed and type(c) is ndarray:
        known += c
        return known
    total = known + c
    # a Tensor cannot be added to in place
    (summed.add if type(total) is ndarray else summed.discard)(x)
    return total


def filled(shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
    """``np.full``, in half the time for a small array."""
    x = np.empty(shape, dtype)
    x.fill(value)
    return x


def spread(t: Any, record: Tensor) -> Any:
    """A tangent in the shape and dtype of its record."""
    if t.shape != record.shape:
        t = np.broadcast_to(t, record.shape)
    return t if t.dtype == record.dtype else t.astype(record.dtype)
