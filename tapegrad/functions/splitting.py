"""Arrays cut into parts along an axis."""

from __future__ import annotations

import operator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.declare import function
from tapegrad.declare.domain import Choices, Domain, on_array
from tapegrad.ops.record import array as as_array

__all__ = [
    "array_split",
    "dsplit",
    "hsplit",
    "split",
    "unstack",
    "vsplit",
]


def _cuts(choose: Choices, n: int, even: bool = True) -> Any:
    """Indices to cut n at, or a number of parts, which divides n if the parts are even."""
    if choose.among([False, True]):
        return [choose.integer(-4, 4) for _ in range(choose.integer(0, 3))]
    return choose.among([k for k in range(1, 6) if not even or n % k == 0])


def _splits(axis: int | None = None, min_dims: int = 1, even: bool = True) -> Domain:
    """Calls on an array and where to cut it, along one axis or a chosen one."""

    def arguments(choose: Choices, ary: Any) -> Any:
        along = choose.axis(ary.ndim) if axis is None else min(axis, ary.ndim - 1)
        cuts = {"indices_or_sections": _cuts(choose, ary.shape[along], even)}
        return cuts | ({"axis": along} if axis is None else {})

    return on_array(arguments, min_dims=min_dims)


@function(numpy=np.array_split, domain=_splits(even=False))
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of the parts of an array, of nearly equal length; see `split`.

    If the axis does not divide evenly, the first parts are longer by one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.array_split(np.arange(5), 2)
    [array([0, 1, 2]), array([3, 4])]
    """
    ary = as_array(ary)
    axis = normalize_axis_index(axis, ary.ndim)
    n = ary.shape[axis]
    if np.ndim(indices_or_sections):
        ends = [0, *map(operator.index, indices_or_sections), n]
    else:
        k = operator.index(indices_or_sections)
        if k <= 0:
            raise ValueError(f"an array is split into one part or more, not {k}")
        ends = [i * (n // k) + min(i, n % k) for i in range(k + 1)]
    return [ary[(slice(None),) * axis + (slice(*part),)] for part in pairwise(ends)]


@function(numpy=np.split, domain=_splits())
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of the parts of an array, cut along an axis.

    Parameters
    ----------
    ary
        An array.
    indices_or_sections
        The indices before which to cut, or the number of equal parts.
    axis
        The axis that is cut.

    Raises
    ------
    ValueError
        If the axis does not divide evenly; see `array_split`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.split(np.arange(4), [1, 3])
    [array([0]), array([1, 2]), array([3])]
    """
    n = np.shape(ary)[normalize_axis_index(axis, np.ndim(ary))]
    if not np.ndim(indices_or_sections) and n % indices_or_sections:
        raise ValueError(
            f"split: an axis of length {n} has no {indices_or_sections} parts of equal length; "
            "array_split allows others"
        )
    return array_split(ary, indices_or_sections, axis)


def _with_axes(name: str, ary: Any, ndim: int) -> Any:
    """The array, which must have enough axes for the function of this name."""
    if np.ndim(ary) < ndim:
        raise ValueError(f"{name} takes an array with {ndim} axes or more, not {np.ndim(ary)}")
    return ary


@function(numpy=np.hsplit, domain=_splits(axis=1))
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along the second axis, or the only one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hsplit(np.arange(4), 2)
    [array([0, 1]), array([2, 3])]
    """
    return split(_with_axes("hsplit", ary, 1), indices_or_sections, min(1, np.ndim(ary) - 1))


@function(numpy=np.vsplit, domain=_splits(axis=0, min_dims=2))
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along the first of two axes or more.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [part.shape for part in tg.vsplit(np.ones((3, 2)), [1])]
    [(1, 2), (2, 2)]
    """
    return split(_with_axes("vsplit", ary, 2), indices_or_sections, 0)


@function(numpy=np.dsplit, domain=_splits(axis=2, min_dims=3))
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """`split` along the third axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [part.shape for part in tg.dsplit(np.ones((3, 2, 2)), 2)]
    [(3, 2, 1), (3, 2, 1)]
    """
    return split(_with_axes("dsplit", ary, 3), indices_or_sections, 2)


@function(
    numpy=np.unstack,
    domain=on_array(lambda c, x: {"axis": c.axis(x.ndim)}, min_dims=1),
)
def unstack(x: Any, *, axis: int = 0) -> Any:
    """A tuple of the parts of an array along an axis, which they lose.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unstack(np.array([[1, 2], [3, 4]]), axis=1)
    (array([1, 3]), array([2, 4]))
    """
    return tuple(np.moveaxis(_with_axes("unstack", as_array(x), 1), axis, 0))
