"""Abstract evaluation of an op, while compiling: only the shape and dtype of its result matter.

Python ints keep their values: they may be shapes. Their arithmetic is exact; NumPy's wraps at 64
bits, and its division by zero gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from tapegrad.core.tensor import Rules
from tapegrad.face.lines import SILENT, STATE

R = TypeVar("R")


def evaluate(op: Rules, values: list[Any], options: Mapping[str, Any]) -> Any:
    """A value like an op's result, for the `Origin` of a recording without values.

    NumPy's warnings are left to the run: some values are placeholders, such as a loop's zeros.
    """
    return like_result(op, exactly(op, values), values, options)


def like_result(
    op: Rules, forward: Callable[..., Any], values: list[Any], options: Mapping[str, Any]
) -> Any:
    """A value like an op's result, by what says that without computing it, or else by `forward`."""
    # as `silently` calls it, which takes longer
    before = STATE.set(SILENT)
    try:
        return (op.like or forward)(*values, **options)
    except np.linalg.LinAlgError:
        return op.forward(*solvable(values), **options)
    finally:
        STATE.reset(before)


@lru_cache(1 << 10)
def loop_dtypes(op: Rules, *kinds: Any) -> Any:
    """The dtypes that a ufunc computes with; a Python number is given by its class."""
    ufunc: Any = op.forward
    return ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout))


def silently(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """A function's result, without NumPy's warnings about placeholder values."""
    before = STATE.set(SILENT)
    try:
        return fn(*args, **options)
    finally:
        STATE.reset(before)


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
    """The function to call for an op while compiling, with these operands."""
    return exactly(op, values) if op.like is None else op.like


def exactly(op: Rules, values: list[Any]) -> Callable[..., Any]:
    """The function that computes an op of these operands, without wrapping of Python ints."""
    if op.whole is None:
        return op.forward
    for x in values:
        if not isinstance(x, int):
            return op.forward
    return op.whole


def solvable(values: Iterable[Any]) -> list[Any]:
    """The same with identities for matrices, for use where only shapes matter.

    While compiling, the results of a loop are zeros, which have no inverse, and values computed
    from them may be nan.
    """
    return [
        np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape) if np.ndim(x) > 1 else x
        for x in values
    ]
