"""Copies in C order."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.face.ownership import Array

# columns of a block, and from how many bytes, in the array and between columns, there are blocks
_BLOCK = 32
_MANY = 1 << 16
_APART = 1 << 8


def in_order(x: Array, out: Any = None) -> Array:
    """A copy in C order, in a buffer if one is given.

    A transposed matrix is copied by blocks of columns. NumPy copies row by row, each of them from
    a column; where the columns are a power of two apart, they all fall on a few lines of the
    cache, and the copy takes five times as long.
    """
    made: Array = np.empty(x.shape, x.dtype) if out is None else out
    turned = x.ndim == 2 and x.nbytes >= _MANY and x.strides[1] >= _APART
    if not turned:
        made[...] = x
        return made
    for start in range(0, x.shape[1], _BLOCK):
        made[:, start : start + _BLOCK] = x[:, start : start + _BLOCK]
    return made
