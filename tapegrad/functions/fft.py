"""The functions of ``np.fft`` that only move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import on_array
from tapegrad.ops.casting import to_array

__all__ = ["fftshift", "ifftshift"]
__dir__ = __all__.copy

_calls = on_array(
    lambda c, x: {"axes": c.among([None, c.axis(x.ndim), tuple(c.permutation(x.ndim))])},
    min_dims=1,
)


def _rolled(x: Any, axes: Any, sign: int) -> Any:
    x = to_array(x)
    axes = tuple(range(x.ndim)) if axes is None else axes
    if np.ndim(axes) == 0:
        return np.roll(x, sign * (x.shape[axes] // 2), axes)
    return np.roll(x, tuple(sign * (x.shape[i] // 2) for i in axes), tuple(axes))


@function(numpy=np.fft.fftshift, domain=_calls, complex=True)
def fftshift(x: Any, axes: Any = None) -> Any:
    """The array with frequency 0 moved from the first place to the middle, along axes or all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.fftshift(np.array([0, 1, 2, -2, -1]))
    array([-2, -1,  0,  1,  2])
    """
    return _rolled(x, axes, 1)


@function(numpy=np.fft.ifftshift, domain=_calls, complex=True)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """The array with frequency 0 moved back from the middle to the first place, along axes or all.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.fft.ifftshift(np.array([-2, -1, 0, 1, 2]))
    array([ 0,  1,  2, -2, -1])
    """
    return _rolled(x, axes, -1)
