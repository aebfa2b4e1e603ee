"""Lists of Tensors, which NumPy's functions take for arrays: the first Tensor, and the stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from tapegrad.tree.structure import is_record
from tapegrad.types import ArrayLike

LISTS = (list, tuple)


def first_tensor(x: object) -> Any:
    """Return the first Tensor in a list or a tuple, at any depth; None if there is none."""
    if type(x) is list or type(x) is tuple:
        return next((t for t in map(first_tensor, x) if t is not None), None)
    return x if is_record(x) else None


def has_tensor(x: object) -> TypeGuard[Sequence[ArrayLike]]:
    """Whether x is a list or a tuple with a Tensor in it, at any depth."""
    return type(x) in LISTS and first_tensor(x) is not None


def stack_nested(x: ArrayLike) -> ArrayLike:
    """Return x itself; of a list with Tensors in it, the stack, which is recorded."""
    return np.stack([stack_nested(part) for part in x]) if has_tensor(x) else x
