"""Operands of a call: what they are, nested lists of Tensors, and Python ints.

NumPy turns a list into an array, so a list with Tensors in it is stacked. Arithmetic on Python
ints is exact; NumPy's wraps at 64 bits, and its division by zero gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.tensor import Origin, Rules, Tensor
from tapegrad.face.constants import (
    as_constant,
    refuse_unreal,
)
from tapegrad.face.lines import told
from tapegrad.face.table import lazy_import


def primals(operands: Iterable[Any]) -> list[Any]:
    """The operands as forward functions and rules read them: values in place of records."""
    return [x._primal if type(x) is Tensor else x for x in operands]


def is_floating(x: Any) -> bool:
    """Whether a gradient can be taken for x: a floating array, Tensor or number."""
    if type(x) is ndarray:
        return bool(x.dtype.kind == "f")
    if isinstance(x, float):
        return True
    return isinstance(x, np.ndarray | np.generic | Tensor) and x.dtype.kind == "f"


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a Tensor or anything that NumPy turns into an array."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def solvable(values: Iterable[Any]) -> list[Any]:
    """The same with identities for matrices, for use where only shapes matter.

    While compiling, the results of a loop are zeros, which have no inverse, and values computed
    from them may be nan.
    """
    return [
        np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape) if np.ndim(x) > 1 else x
        for x in values
    ]


def computed(op: Any, operands: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The result of an op on arrays alone, which writes nothing."""
    refuse_unreal(op.name, operands)
    return told(op.forward, *operands, **options)


LISTS = (list, tuple)


def first_tensor(x: Any) -> Tensor | None:
    """The first Tensor in a list or a tuple, at any depth; None if there is none."""
    if type(x) is Tensor:
        return x
    if type(x) in LISTS:
        for part in x:
            found = first_tensor(part)
            if found is not None:
                return found
    return None


def as_operand(
    write: Callable[..., Tensor], last: Tensor | Origin, x: Any, what: str
) -> tuple[Tensor | Origin, Any]:
    """The last record, and an operand that is not a Tensor as the tape may keep it.

    A list with Tensors in it is stacked, which writes records.
    """
    if first_tensor(x) is None:
        return last, as_constant(x, what)
    parts = []
    for part in x:
        if type(part) is not Tensor:
            last, part = as_operand(write, last, part, what)
        parts.append(part)
    record = write(last, lazy_import("tapegrad.ops.joining", "stack"), tuple(parts), {})
    return record, record


def stack_nested(x: Any) -> Any:
    """x itself; or, recorded, the array of a list with Tensors in it."""
    if type(x) not in LISTS or first_tensor(x) is None:
        return x
    stack = lazy_import("tapegrad.ops.joining", "stack")
    return stack([stack_nested(part) for part in x])


def whole_power(base: int, exponent: int) -> int:
    """A power of ints that is an int; a negative exponent would make it a float.

    Raises
    ------
    ValueError
        If the exponent is negative, as NumPy does.
    """
    if exponent < 0:
        raise ValueError(
            f"{base} ** {exponent}: integers to negative integer powers are not allowed; make the "
            "base a float"
        )
    power: int = base**exponent
    return power


def forward_of(op: Rules, values: list[Any]) -> Callable[..., Any]:
    """An op's forward function for these operands, while compiling."""
    if op.like is not None:
        return op.like
    if op.whole is None or not all(isinstance(x, int) for x in values):
        return op.forward
    return op.whole
