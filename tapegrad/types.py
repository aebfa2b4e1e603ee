"""The types in the signatures of the package. Only a type checker uses them.

Start with `Array` and `ArrayLike`: a function takes an `ArrayLike` and returns an `Array`. The
other names say which part an array, a number or a tuple plays. Some repeat a type of
`numpy.typing`, which takes long to import.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, SupportsIndex, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]
"""An array of any shape and dtype, or the Tensor that stands for one inside a recording.

A Tensor behaves as an array of NumPy's, so a function that is written for arrays keeps its types
when it is recorded.
"""

Scalar: TypeAlias = bool | int | float | complex | np.generic
"""A number: Python's, or a scalar of NumPy's."""


if TYPE_CHECKING:
    # numpy.typing.ArrayLike takes text too
    from numpy._typing import _NestedSequence, _SupportsArray

    _HasArray: TypeAlias = _SupportsArray[np.dtype[Any]]
    ArrayLike: TypeAlias = (
        _HasArray | complex | _NestedSequence[_HasArray] | _NestedSequence[complex]
    )
else:
    # numpy.typing takes long to import
    ArrayLike = object

Shape: TypeAlias = tuple[int, ...]
"""The shape of an array."""

ShapeLike: TypeAlias = int | Sequence[int]
"""A shape as a caller writes it: an int for one axis, or a sequence of ints."""

Axis: TypeAlias = int | tuple[int, ...] | None
"""The axes that a function works along: one, several, or None for all."""

DType: TypeAlias = np.dtype[Any]
"""A dtype."""

DTypeLike: TypeAlias = np.dtype[Any] | type[Any] | str
"""A dtype as a caller writes it: a dtype, a class such as ``float``, or its name."""

Index: TypeAlias = "SupportsIndex | slice | EllipsisType | ArrayLike | tuple[Index, ...] | None"
"""An index of an array: an integer, a slice, ``...``, None, an array, or a tuple of these."""

Cotangent: TypeAlias = Array
"""The derivative of a scalar with respect to an array; it has the array's shape."""

Tangent: TypeAlias = Array
"""A direction in which an array changes; it has the array's shape."""

# a string, since evaluating it would import numpy.random
Key: TypeAlias = "int | np.random.SeedSequence | Array"
"""A key of random numbers: an array that `tapegrad.random.key` makes, or an int for its seed."""

PyTree: TypeAlias = object
"""A tree of dicts, lists, tuples and attrs records, with any objects as its leaves.

A checker cannot follow the structure of a tree that it does not know, so a function that keeps
the structure has a type variable instead.
"""

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    class AttrsInstance(Protocol):
        """An object of an attrs class."""

        __attrs_attrs__: ClassVar[Any]

    AxisTree: TypeAlias = (
        int
        | np.integer
        | tuple[PyTree, ...]
        | list[Any]
        | dict[Any, Any]
        | AttrsInstance
        | DataclassInstance
        | None
    )
else:
    AxisTree = object
    """An axis of each leaf of a tree: one for all leaves, None for no axis, or a tree of these."""
