"""Patches of images, for convolutions and pooling, and their adjoint."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tapegrad.core.forward import apply, linear
from tapegrad.declare import op
from tapegrad.declare.domain import Call, Choices

__all__: list[str] = []

# Shorter rows take longer to start than to add, so adding along the other axes is worth two copies.
_SHORT = 12


def _calls(choose: Choices) -> Call:
    n = choose.integer(1, 2)
    size = tuple(choose.integer(1, 3) for _ in range(n))
    stride = tuple(choose.integer(1, 3) for _ in range(n))
    sides = tuple(k + choose.integer(0, 3) for k in size)
    return Call((choose.array((*choose.shape(max_dims=1), *sides)), size, stride))


def _adjoint_calls(choose: Choices) -> Call:
    x, size, stride = _calls(choose).args
    return Call((choose.laid_out(patches(x, size, stride)), x.shape[-len(size) :], stride))


def _added(g: Any, sides: Any, stride: Any) -> Any:
    return add_patches(g, sides, stride)


@op(
    lambda g, y, x, size, stride: _added(g, x.shape[-len(size) :], stride),
    domain=_calls,
    jvp=linear,
    batch=lambda op, batched, x, **options: apply(op, (x,), options),
)
def patches(x: Any, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """All patches of a size, a stride apart, copied so that a product can use them.

    Parameters
    ----------
    x
        An array whose last axes are those of `size`.
    size, stride
        The sides of a patch, and the steps from one to the next.

    Returns
    -------
    An array of shape ``(..., *size, *counts)``: the place in the patch, then which patch.

    Raises
    ------
    ValueError
        If no patch fits.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.patch import patches
    >>> patches(np.arange(5), (2,), (2,))
    array([[0, 2],
           [1, 3]])
    >>> tg.grad(lambda x: tg.sum(patches(x, (2,), (1,))))(np.ones(4))
    array([1., 2., 2., 1.])
    """
    first = max(x.ndim - len(size), 0)
    sides, by_place = x.shape[first:], x.strides[first:]
    counts = tuple((n - k) // s + 1 for n, k, s in zip(sides, size, stride, strict=False))
    if len(counts) < len(size) or min(counts) < 1 or min(stride) < 1:
        raise ValueError(f"patches: none of {size} fits in an array of shape {x.shape}")
    by_patch = tuple(step * s for step, s in zip(by_place, stride, strict=True))
    shape = (*x.shape[:first], *size, *counts)
    return as_strided(x, shape, (*x.strides[:first], *by_place, *by_patch), writeable=False).copy()


@op(
    lambda g, y, values, sides, stride: patches(
        g, values.shape[-2 * len(sides) : -len(sides)], stride
    ),
    domain=_adjoint_calls,
    jvp=linear,
    batch=lambda op, batched, x, **options: apply(op, (x,), options),
)
def add_patches(values: Any, sides: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """Patches added where they overlap; the adjoint of `patches`.

    Parameters
    ----------
    values
        Patches, as `patches` returns them.
    sides
        The lengths of the result's last axes.
    stride
        The steps from one patch to the next.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.patch import add_patches
    >>> add_patches(np.ones((2, 3)), (4,), (1,))
    array([1., 2., 2., 1.])
    """
    n = len(sides)
    leading, counts = values.shape[: -2 * n], values.shape[-n:]
    many = math.prod(leading)
    parts = np.moveaxis(values.reshape(many, *values.shape[-2 * n :]), 0, -1)
    y = np.moveaxis(np.zeros((many, *sides), values.dtype), 0, -1)
    if counts[-1] < _SHORT < many:
        parts, y = np.ascontiguousarray(parts), np.zeros((*sides, many), values.dtype)
    # all patches at once, one place of each
    for place in itertools.product(*map(range, values.shape[-2 * n : -n])):
        of_place = [
            slice(i, i + s * count, s) for i, s, count in zip(place, stride, counts, strict=True)
        ]
        y[tuple(of_place)] += parts[place]
    return np.ascontiguousarray(np.moveaxis(y, -1, 0)).reshape(*leading, *sides)
