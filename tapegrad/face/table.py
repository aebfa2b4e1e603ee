"""The table of the functions that NumPy's functions call for a Tensor, and the one way into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

# What is composed of ops is imported when it is first asked for, by the module of the function.
_COMPOSED = {
    "numpy.fft": "tapegrad.functions.fft",
    "numpy.linalg": "tapegrad.functions.linalg",
}


class _Answers(dict[Any, Callable[..., Any]]):
    """A table that is complete once something that it lacks has been looked up."""

    def __missing__(self, function: Any) -> Callable[..., Any]:
        module = getattr(function, "__module__", None)
        import_module(_COMPOSED.get(module or "", "tapegrad.functions"))
        found = self.get(function)
        if found is None:
            raise KeyError(function)
        return found


# By NumPy's function; for a ufunc's method, by the pair of its name and the ufunc; for a ufunc of
# a package that may be missing, by its full name.
ANSWERS = _Answers()


def answer_for(function: Any) -> Callable[..., Any] | None:
    """What answers for a key of the table; None if nothing does."""
    try:
        return ANSWERS[function]
    except KeyError:
        return None


def complete() -> Mapping[Any, Callable[..., Any]]:
    """The whole table, with all that is composed of ops."""
    for module in ("tapegrad.functions", *_COMPOSED.values()):
        import_module(module)
    return ANSWERS


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
