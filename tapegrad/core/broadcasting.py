"""Broadcasting, undone for cotangents and repeated for tangents.

VJP rules may leave a cotangent in the shape that broadcasting gave the operand, and JVP rules may
leave a tangent in the shape of an operand. Only this file changes that.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from tapegrad.core.tensor import Tensor
from tapegrad.tree.cotangents import as_dtype, sum_axes, sum_rows
from tapegrad.types import Array, Cotangent, Tangent


def unbroadcast(c: Cotangent, primal: Array, name: str, i: int | str) -> Cotangent:
    """Return a rule's cotangent summed over broadcast axes, in the operand's dtype."""
    shape = primal.shape
    if c.ndim > 1 and c.shape[-1:] == shape and type(c) is ndarray and c.size:
        c = sum_rows(c)  # a bias
    elif c.shape != shape:
        new = c.ndim - len(shape)
        axes = [j for j, m in enumerate(c.shape) if j < new or m != shape[j - new]]
        if new < 0 or any(j >= new and shape[j - new] != 1 for j in axes):
            raise ValueError(
                f"the VJP rule of {name} for operand {i} gives a cotangent of shape {c.shape}, "
                f"which does not fit the operand's {shape}"
            )
        c = sum_axes(c, tuple(axes))
        c = c if c.shape == shape else c.reshape(shape)
    return as_dtype(c, primal.dtype)


def broadcast_tangent(t: Tangent, record: Tensor) -> Tangent:
    """Return a tangent in the shape and dtype of its record."""
    return as_dtype(
        t if t.shape == record.shape else np.broadcast_to(t, record.shape), record.dtype
    )
