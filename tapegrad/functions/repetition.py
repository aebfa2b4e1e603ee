"""Arrays with repeated elements."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tapegrad.declare import function
from tapegrad.declare.domain import Choices, axis_or_flat, on_array
from tapegrad.functions.selection import on_axis, take
from tapegrad.ops.record import array as as_array
from tapegrad.ops.record import known
from tapegrad.ops.shape import expand

__all__ = [
    "repeat",
    "resize",
    "tile",
]


def _repeats(choose: Choices, a: Any) -> Any:
    axis, n = axis_or_flat(choose, a)
    repeats = choose.among([choose.integer(0, 3), choose.integers((n,), 0, 3), [2]])
    return {"repeats": repeats, "axis": axis}


@function(numpy=np.repeat, domain=on_array(_repeats))
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element or row repeated.

    Parameters
    ----------
    a
        An array.
    repeats
        How often: a number, or one for each place along the axis.
    axis
        The axis to repeat along; None repeats the elements of the flattened array.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.repeat(np.array([1, 2]), [1, 3])
    array([1, 2, 2, 2])
    >>> tg.grad(lambda x: tg.sum(tg.repeat(x, 3)))(np.ones(2))
    array([3., 3.])
    """
    a, axis = on_axis(np.atleast_1d(a), axis)
    repeats = known(repeats)
    if np.ndim(repeats):
        return take(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)
    copies = operator.index(repeats)
    shape = (*a.shape[:axis], a.shape[axis] * copies, *a.shape[axis + 1 :])
    return np.reshape(expand(a, axis + 1, copies), shape)


@function(
    numpy=np.tile,
    domain=on_array(
        lambda c, a: {
            "reps": c.among(
                [c.integer(0, 3), tuple(c.integer(0, 2) for _ in range(c.integer(0, 3)))]
            )
        },
        max_dims=2,
    ),
)
def tile(A: Any, reps: Any) -> Any:  # noqa: N803, for it is NumPy's name
    """The whole array repeated, along its last axes and new ones before them.

    Parameters
    ----------
    A
        An array.
    reps
        How often: a number for the last axis, or a sequence for the last axes.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.tile(np.array([1, 2]), (2, 2))
    array([[1, 2, 1, 2],
           [1, 2, 1, 2]])
    """
    copies = [operator.index(n) for n in (reps if np.ndim(reps) else (reps,))]
    n = max(np.ndim(A), len(copies))
    copies = [1] * (n - len(copies)) + copies
    sides = [1] * (n - np.ndim(A)) + [*np.shape(A)]
    apart = np.reshape(A, [k for side in sides for k in (1, side)])
    pairs = [*zip(copies, sides, strict=True)]
    spread = np.broadcast_to(apart, tuple(k for pair in pairs for k in pair))
    return np.reshape(spread, [math.prod(pair) for pair in pairs])


@function(
    numpy=np.resize,
    domain=on_array(
        lambda c, a: {"new_shape": c.among([c.integer(0, 9), c.shape()])}, max_dims=2, min_side=1
    ),
)
def resize(a: Any, new_shape: Any) -> Any:
    """The elements in C order in a new shape, starting again from the first if it takes more.

    An array without elements gives zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.resize(np.array([1, 2, 3]), (2, 2))
    array([[1, 2],
           [3, 1]])
    """
    if isinstance(new_shape, bool | np.bool_):
        raise TypeError(f"resize: a shape is an integer or several, not {new_shape}")
    shape = tuple(new_shape) if np.ndim(new_shape) else (operator.index(new_shape),)
    if any(side < 0 for side in shape):
        raise ValueError(f"resize: a shape has no negative lengths; got {shape}")
    n, size = math.prod(shape), np.size(a)
    if size == 0:
        return np.zeros(shape, as_array(a).dtype)
    return np.reshape(tile(np.ravel(a), -(-n // size))[:n], shape)
