"""Operands of a call: what they are, and lists with Tensors in them.

NumPy turns a list into an array, so a list with Tensors in it is stacked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.arraylike.table import ANSWERS
from tapegrad.core.tensor import Tensor


def primals(operands: Iterable[Any]) -> list[Any]:
    """The operands as forward functions and rules read them: values in place of records."""
    return [x._primal if type(x) is Tensor else x for x in operands]


def is_floating(x: Any) -> bool:
    """Whether a gradient can be taken for x: a floating or complex array, Tensor or number."""
    if type(x) is ndarray:
        return x.dtype.kind in "fc"
    if isinstance(x, float | complex):
        return True
    return isinstance(x, np.ndarray | np.generic | Tensor) and x.dtype.kind in "fc"


def is_count(n: Any, least: int = 0) -> bool:
    """Whether n is an integer, and at least `least`.

    Raises
    ------
    TraceError
        For an argument of a function that is compiled, whose value is not known.
    """
    if type(n) is Tensor and n.origin.compiling:
        n._read("use as a size")
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= least)


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a Tensor or anything that NumPy turns into an array."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


LISTS = (list, tuple)


def first_tensor(x: Any) -> Tensor | None:
    """The first Tensor in a list or a tuple, at any depth; None if there is none."""
    if type(x) is Tensor:
        return x
    if type(x) in LISTS:
        for part in x:
            tensor = first_tensor(part)
            if tensor is not None:
                return tensor
    return None


def stack_nested(x: Any) -> Any:
    """x itself; or, recorded, the array of a list with Tensors in it."""
    if type(x) not in LISTS or first_tensor(x) is None:
        return x
    return ANSWERS[np.stack]([stack_nested(part) for part in x])
