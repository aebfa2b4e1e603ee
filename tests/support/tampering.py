"""Ways to write to an array that nobody may write to."""

import contextlib
from typing import Any

import numpy as np
import pytest

from tapegrad.types import Array

WRITES: tuple[Any, ...] = (
    lambda x: x.__setitem__(..., 7),
    lambda x: x.flat.__setitem__(0, 7),
    lambda x: x.T.fill(7),
    lambda x: x.put([0], 7),
    lambda x: x[..., None].sort(),
    lambda x: x.byteswap(inplace=True),
    lambda x: np.copyto(x, 7),
    lambda x: np.add(x, 1, out=x),
    lambda x: np.putmask(x, True, 7),
    lambda x: np.negative(x, out=x[...]),
    lambda x: x.resize((x.size + 1,), refcheck=False),
)


def vandalize(x: np.ndarray) -> None:
    """Write to a read-only array by NumPy's functions, which raise, and set its writable attributes."""
    for write in WRITES:
        if x.size:
            with pytest.raises(ValueError, match=r"read-only|resize"):
                write(x)
    if x.size and x.flags.c_contiguous and x.ndim:
        x.strides = (0,) * x.ndim
        x.strides = x.copy().strides
        x.dtype = np.int8
        x.shape = (-1, 1)


def is_locked(x: Array) -> bool:
    """Whether nothing that an array is a view of can be written to, nor made writeable."""
    with contextlib.suppress(ValueError):
        x.setflags(write=True)
        return False
    while isinstance(x, np.ndarray):
        if x.flags.writeable:
            return False
        x = x.base
    return True
