"""Broadcasting undone: a cotangent in the shape of its operand, a tangent in that of its record.

VJP rules may leave a cotangent in the shape that broadcasting gave the operand, and a tangent in
the shape of an operand. Only this file undoes that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.tensor import Tensor
from tapegrad.tree.ownership import readonly_array
from tapegrad.types import Array

# NumPy has one object for it, and asking which object takes less time than asking its kind
FLOAT64 = np.dtype(float)
# making these would take as long as adding up a small array
_ONES: dict[str, Any] = {char: readonly_array(np.ones(1024, char)) for char in "fd"}


def unbroadcast(c: Any, primal: Array, name: str, i: int | str) -> Any:
    """A rule's cotangent summed over broadcast axes, in the operand's dtype."""
    shape = primal.shape
    if c.ndim > 1 and c.shape[-1:] == shape and type(c) is ndarray and c.size:
        # a bias: a product takes a third of the time of a sum over the first axes
        c = c.reshape(-1, shape[0])
        n, ones = len(c), _ONES.get(c.dtype.char, ())
        c = (ones[:n] if n < len(ones) else np.ones(n, c.dtype)).dot(c)
    elif c.shape != shape:
        whole = (*(1,) * (c.ndim - len(shape)), *shape)
        if len(whole) > c.ndim or any(n not in (1, m) for n, m in zip(whole, c.shape, strict=True)):
            raise ValueError(
                f"the VJP rule of {name} for operand {i} gives a cotangent of shape {c.shape}, "
                f"which does not fit the operand's {shape}"
            )
        c = sums(c, tuple([j for j, m in enumerate(c.shape) if m != whole[j]]))
        c = c if c.shape == shape else c.reshape(shape)
    return c if c.dtype == primal.dtype else cast(c, primal.dtype)


def cast(c: Any, dtype: np.dtype[Any]) -> Any:
    """A cotangent or a tangent in a dtype: of complex numbers, the real part in a real one."""
    c = c.real if c.dtype.kind == "c" and dtype.kind != "c" else c
    return c if c.dtype == dtype else c.astype(dtype)


def sums(x: Any, axes: tuple[int, ...]) -> Any:
    """The sums over axes, in order; those over few last elements as a product, in half the time."""
    last, n, ones = x.ndim, 1, _ONES.get(x.dtype.char, ())
    while last - 1 in axes and n < len(ones):
        last, n = last - 1, n * x.shape[last - 1]
    if 1 < n < len(ones) and type(x) is ndarray:
        axes = axes[: len(axes) - x.ndim + last]
        x = x.reshape(-1, n).dot(ones[:n]).reshape(x.shape[:last])
    return (np.add.reduce if type(x) is ndarray else np.sum)(x, axes) if axes else x


def broadcast_tangent(t: Any, record: Tensor) -> Any:
    """A tangent in the shape and dtype of its record."""
    t = t if t.shape == record.shape else np.broadcast_to(t, record.shape)
    return t if t.dtype == record.dtype else cast(t, record.dtype)
