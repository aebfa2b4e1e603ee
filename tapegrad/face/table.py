"""The table of the functions that NumPy's functions call for a Tensor, and the one way into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

# By NumPy's function; for a ufunc's method, by the pair of its name and the ufunc; for a ufunc of
# a package that may be missing, by its full name.
ANSWERS: dict[Any, Callable[..., Any]] = {}


def answers(functions: Iterable[Any], ours: Callable[..., Any]) -> None:
    """Have ours called in place of functions of NumPy when these are called on a Tensor.

    Raises
    ------
    ValueError
        If the table has an entry for one of them already.
    """
    for function in functions:
        if function in ANSWERS:
            raise ValueError(f"{function!r} is already in the table of NumPy's functions")
        ANSWERS[function] = ours
