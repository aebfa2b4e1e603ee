"""The table of what answers for NumPy's functions on a Tensor, and the one way into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# By NumPy's function; a ufunc's method by the pair of its name and the ufunc; a ufunc of a
# package that may not be there by its full name.
ANSWERS: dict[Any, Callable[..., Any]] = {}


def answers(functions: Iterable[Any], ours: Callable[..., Any]) -> None:
    """Let ours answer for functions of NumPy when they are called on a Tensor.

    Raises
    ------
    ValueError
        If the table has an entry for one of them already.
    """
    for function in functions:
        if function in ANSWERS:
            raise ValueError(f"{function!r} is already in the table of NumPy's functions")
        ANSWERS[function] = ours
