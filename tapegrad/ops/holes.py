"""An index without its arrays: these are operands, and a static option says where each goes."""

from __future__ import annotations

import enum
import operator
from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor


class Hole(enum.Enum):
    """The place of an array in an index."""

    HOLE = "array"

    def __repr__(self) -> str:
        return "array"


HOLE = Hole.HOLE


def taken_out(index: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arrays of an index, and the index with holes for them."""
    arrays = []
    template: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            ends = [None if end is None else operator.index(end) for end in _ends(part)]
            template.append(slice(*ends))
        elif part is None or part is Ellipsis or type(part) is int:
            template.append(part)
        elif isinstance(part, Tensor | np.ndarray | np.generic | bool | list | tuple):
            if isinstance(part, list | tuple):
                # NumPy makes a float array of an empty list
                part = np.asarray(part)
                part = part if part.size else part.astype(np.intp)
            part = part if isinstance(part, Tensor) else np.asarray(part)
            if part.dtype.kind not in "iub":
                raise _no_index(part.dtype)
            if isinstance(part, Tensor) and part.dtype.kind == "b":
                part._read("indexing with a mask")
            arrays.append(part)
            template.append(HOLE)
        elif hasattr(part, "__index__"):
            template.append(operator.index(part))
        else:
            raise _no_index(type(part).__name__)
    return tuple(arrays), tuple(template)


def _no_index(kind: Any) -> IndexError:
    return IndexError(f"an index is integers or booleans, slices, None or ...; got {kind}")


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def put_back(index: tuple[Any, ...], arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The index with the arrays back in their holes."""
    rest = iter(arrays)
    return tuple([next(rest) if part is HOLE else part for part in index])


def may_repeat(arrays: tuple[Any, ...]) -> bool:
    """Whether an index with these arrays can name an element more than once."""
    return any(array.dtype.kind != "b" and array.size > 1 for array in arrays)
