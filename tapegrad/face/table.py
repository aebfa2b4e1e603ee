"""The table of the functions that NumPy's functions call for a Tensor, and the one way into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

_COMPOSED = "tapegrad.functions"
# what answers for the functions of these modules, apart from functions composed of ops
_OTHERS = {
    "numpy.fft": "tapegrad.functions.fft",
    "numpy.linalg": "tapegrad.functions.linalg",
    **dict.fromkeys(("scipy.special", "scipy.special._ufuncs"), "tapegrad.ops.scipy_special"),
}


class _Answers(dict[Any, Callable[..., Any]]):
    """A table that is completed as something that it lacks is looked up.

    Not every program needs what is composed of ops, or SciPy's functions.
    """

    def __missing__(self, function: Any) -> Callable[..., Any]:
        is_name = type(function) is str
        module = function.rpartition(".")[0] if is_name else getattr(function, "__module__", None)
        import_module(_OTHERS.get(module or "", _COMPOSED))
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
    """The whole table, with all that is imported as it is looked up."""
    for module in (_COMPOSED, *_OTHERS.values()):
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


def lazy_import(module: str, name: str) -> Any:
    """An attribute of a module, which is imported only now, when it is needed."""
    return getattr(import_module(module), name)
