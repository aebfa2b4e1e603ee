"""Operands of a call: what they are, and lists with Tensors in them.

NumPy turns a list into an array, so a list with Tensors in it is stacked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy import ndarray

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
