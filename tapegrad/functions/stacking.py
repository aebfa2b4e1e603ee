"""Joining, stacking and splitting arrays, and index tricks such as ``r_``."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import attrs
import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad import tree
from tapegrad.declare import function
from tapegrad.functions.creation import linspace
from tapegrad.ops.casting import as_common_dtype, is_weak, to_array
from tapegrad.tree.lists import stack_nested
from tapegrad.types import Array, ArrayLike

__all__ = ["append", "array_split", "block", "c_", "column_stack", "dsplit", "dstack", "hsplit"]
__all__ += ["hstack", "r_", "split", "unstack", "vsplit", "vstack"]

T = TypeVar("T", bound=ArrayLike)


def _as_list(arrays: Array | tuple[Array, ...]) -> list[Array]:
    """Return the result of `np.atleast_1d`, an array or a tuple of several, as a list."""
    return [*arrays] if isinstance(arrays, tuple) else [arrays]


@function(lists=("tup",), numpy=np.hstack, complex=True)
def hstack(tup: Sequence[ArrayLike]) -> Array:
    """Arrays joined along their second axis; vectors along their first.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hstack([np.ones((2, 1)), np.zeros((2, 2))])
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """
    arrays = _as_list(np.atleast_1d(*map(stack_nested, tup)))
    return np.concatenate(arrays, axis=0 if not arrays or arrays[0].ndim == 1 else 1)


@function(lists=("tup",), numpy=np.vstack, complex=True)
def vstack(tup: Sequence[ArrayLike]) -> Array:
    """Arrays joined along their first axis; vectors are rows.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.vstack([np.ones(2), np.zeros(2)])
    array([[1., 1.],
           [0., 0.]])
    """
    return np.concatenate(_as_list(np.atleast_2d(*map(stack_nested, tup))), axis=0)


@function(lists=("tup",), numpy=np.dstack, complex=True)
def dstack(tup: Sequence[ArrayLike]) -> Array:
    """Arrays joined along their third axis, which is added to vectors and matrices.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.dstack([np.ones(2), np.zeros(2)])
    array([[[1., 0.],
            [1., 0.]]])
    """
    return np.concatenate(_as_list(np.atleast_3d(*map(stack_nested, tup))), axis=2)


@function(lists=("tup",), numpy=np.column_stack, complex=True)
def column_stack(tup: Sequence[ArrayLike]) -> Array:
    """Vectors and matrices joined along their second axis; vectors are columns.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.column_stack([np.ones(2), np.zeros(2)])
    array([[1., 0.],
           [1., 0.]])
    """
    columns = [x if np.ndim(x) > 1 else np.reshape(x, (-1, 1)) for x in map(stack_nested, tup)]
    return np.concatenate(columns, axis=1)


@function(lists=("arrays",), numpy=np.block, complex=True)
def block(arrays: Sequence[Any]) -> Array:
    """Arrays in nested lists, joined in that arrangement.

    The innermost lists are joined along the last axis, those around them along the second-to-last,
    and so on. Arrays with fewer axes than others get new ones in front.

    Raises
    ------
    ValueError
        If lists are nested to different depths, or the shapes do not fit.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 3))]])
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 1., 1.]])
    """
    depth, first = 0, arrays
    while isinstance(first, list) and first:
        depth, first = depth + 1, first[0]
    ndim = max([depth, *map(np.ndim, tree.leaves(arrays))])
    joined = _join_block(arrays, depth, ndim)
    return joined if depth else np.copy(joined)


def _join_block(x: Any, depth: int, ndim: int) -> Array:
    """Join the arrays in nested lists of a depth."""
    if isinstance(x, tuple):
        raise TypeError("block takes lists, which a tuple is not")
    if isinstance(x, list) != (depth > 0) or (depth and not x):
        raise ValueError("block takes lists nested to one depth, none of them empty")
    if depth:
        return np.concatenate([_join_block(part, depth - 1, ndim) for part in x], axis=-depth)
    return np.reshape(x, (*(1,) * (ndim - np.ndim(x)), *np.shape(x)))


@function(numpy=np.append, complex=True)
def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Array:
    """Two arrays joined along an axis, or flattened first if it is None.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.append(np.ones(2), 5.0)
    array([1., 1., 5.])
    """
    return np.concatenate([to_array(arr), to_array(values)], axis=axis)


@function(numpy=np.array_split, complex=True)
def array_split(
    ary: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Array]:
    """A list of the parts of an array, of nearly equal length; see `split`.

    If the axis does not divide evenly, the first parts are longer by one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.array_split(np.arange(5), 2)
    [array([0, 1, 2]), array([3, 4])]
    """
    ary = to_array(ary)
    axis = normalize_axis_index(axis, ary.ndim)
    n = ary.shape[axis]
    sections: Any = indices_or_sections
    if np.ndim(sections):
        ends = [0, *map(operator.index, sections), n]
    else:
        k = operator.index(sections)
        if k <= 0:
            raise ValueError(f"an array must be split into one part or more, not {k}")
        ends = [i * (n // k) + min(i, n % k) for i in range(k + 1)]
    return [ary[(slice(None),) * axis + (slice(*part),)] for part in pairwise(ends)]


@function(numpy=np.split, complex=True)
def split(ary: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
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


def _check_axes(name: str, ary: T, ndim: int) -> T:
    """Return an array, and raise if it has too few axes for the function of this name."""
    if np.ndim(ary) < ndim:
        raise ValueError(f"{name} takes an array with {ndim} axes or more, not {np.ndim(ary)}")
    return ary


@function(numpy=np.hsplit, complex=True)
def hsplit(ary: ArrayLike, indices_or_sections: int | Sequence[int]) -> list[Array]:
    """`split` along the second axis, or the only one.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.hsplit(np.arange(4), 2)
    [array([0, 1]), array([2, 3])]
    """
    return split(_check_axes("hsplit", ary, 1), indices_or_sections, min(1, np.ndim(ary) - 1))


@function(numpy=np.vsplit, complex=True)
def vsplit(ary: ArrayLike, indices_or_sections: int | Sequence[int]) -> list[Array]:
    """`split` along the first of two axes or more.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [part.shape for part in tg.vsplit(np.ones((3, 2)), [1])]
    [(1, 2), (2, 2)]
    """
    return split(_check_axes("vsplit", ary, 2), indices_or_sections, 0)


@function(numpy=np.dsplit, complex=True)
def dsplit(ary: ArrayLike, indices_or_sections: int | Sequence[int]) -> list[Array]:
    """`split` along the third axis.

    Examples
    --------
    >>> import tapegrad as tg
    >>> [part.shape for part in tg.dsplit(np.ones((3, 2, 2)), 2)]
    [(3, 2, 1), (3, 2, 1)]
    """
    return split(_check_axes("dsplit", ary, 3), indices_or_sections, 2)


@function(numpy=np.unstack, complex=True)
def unstack(x: ArrayLike, *, axis: int = 0) -> tuple[Array, ...]:
    """A tuple of the parts of an array along an axis, which they lose.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unstack(np.array([[1, 2], [3, 4]]), axis=1)
    (array([1, 3]), array([2, 4]))
    """
    return tuple(np.moveaxis(_check_axes("unstack", to_array(x), 1), axis, 0))


@attrs.frozen(repr=False)
class Joined:
    """Joins arrays, Tensors, numbers and ranges in brackets, as `np.r_` does.

    `np.r_` itself turns each part into an array, which fails for a Tensor.

    Attributes
    ----------
    axis
        The axis that the parts are joined along.
    ndim
        The least number of axes; new ones come first.
    place
        The position, in the result, of the first axis of a part with fewer axes; -1 for the end.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.r_[np.ones(2), 5, 0:3], tg.r_[0:1:3j]
    (array([1., 1., 5., 0., 1., 2.]), array([0. , 0.5, 1. ]))
    >>> tg.c_[np.ones(2), np.zeros(2)]
    array([[1., 0.],
           [1., 0.]])
    >>> tg.grad(lambda t: tg.sum(tg.r_[t, t * t]))(3.0)
    array(7.)
    """

    axis: int
    ndim: int
    place: int
    __tree_leaf__: ClassVar[bool] = True

    def __getitem__(self, key: Any) -> Array:
        """Join the parts in brackets.

        Parameters
        ----------
        key
            Arrays, Tensors, numbers and slices. A slice stands for a range, or, with an
            imaginary step, for that number of evenly spaced numbers. A string of up to three
            integers, separated by commas, may come first, for the attributes.

        Raises
        ------
        ValueError
            For a string that does not consist of integers or does not come first, and for shapes
            that do not fit.
        """
        parts = key if isinstance(key, tuple) else (key,)
        if parts and isinstance(parts[0], str):
            return self._with_directive(parts[0])[parts[1:]]
        if any(isinstance(x, str) for x in parts):
            raise ValueError("a string comes before the arrays that it is for")
        arrays = as_common_dtype(
            *[_slice_to_range(x) if isinstance(x, slice) else _as_part(x) for x in parts]
        )
        # numbers take the least number of axes
        are_numbers = [not isinstance(x, slice) and is_weak(x) for x in parts]
        return np.concatenate(
            [
                np.reshape(x, (1,) * self.ndim) if is_number else self._add_axes(x)
                for x, is_number in zip(arrays, are_numbers, strict=True)
            ],
            axis=self.axis,
        )

    def _with_directive(self, text: str) -> Joined:
        """Return a joiner with the attributes in a string such as ``"0,2,1"``."""
        try:
            numbers = [int(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 3:
            raise ValueError(
                f"{text!r} is not one to three integers separated by commas: the axis, the least "
                "number of axes, and the place of a part's own among them"
            )
        return Joined(*numbers, *(self.axis, self.ndim, self.place)[len(numbers) :])

    def _add_axes(self, x: Array) -> Array:
        n_new = self.ndim - x.ndim
        if n_new <= 0:
            return x
        place = self.place + n_new + 1 if self.place < 0 else self.place
        return np.reshape(x, (*(1,) * place, *x.shape, *(1,) * (n_new - place)))


def _as_part(x: Array) -> Array:
    """Return a part as an array; a weakly typed number stays one."""
    return x if is_weak(x) else to_array(x)


def _slice_to_range(part: slice) -> Array:
    """Return the numbers in the range of a slice."""
    start, stop = 0 if part.start is None else part.start, part.stop
    step = 1 if part.step is None else part.step
    if isinstance(step, complex):
        return linspace(start, stop, int(abs(step)))
    return np.arange(start, stop, step)


r_ = Joined(0, 1, -1)
c_ = Joined(-1, 2, 0)
