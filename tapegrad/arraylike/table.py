"""The table of our functions that answer for NumPy's on a Tensor, and the one way into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

_COMPOSED = "tapegrad.functions"
# the modules that answer for the functions of others, apart from functions composed of ops
_OTHERS = {
    "numpy.fft": "tapegrad.functions.fft",
    "numpy.linalg": "tapegrad.functions.linalg",
    **dict.fromkeys(("scipy.special", "scipy.special._ufuncs"), "tapegrad.ops.scipy_special"),
}


class _Answers(dict[Any, Callable[..., Any]]):
    """A table that imports the module of a missing entry when that is looked up.

    Not every program needs the functions composed of ops, or SciPy's.
    """

    def __missing__(self, function: Any) -> Callable[..., Any]:
        is_name = type(function) is str
        module = function.rpartition(".")[0] if is_name else getattr(function, "__module__", None)
        import_module(_OTHERS.get(module or "", _COMPOSED))
        answer = self.get(function)
        if answer is None:
            raise KeyError(function)
        return answer


# By NumPy's function; for a ufunc's method, by the pair of its name and the ufunc; for a ufunc of
# a package that may be missing, by its full name.
ANSWERS = _Answers()


def answer_for(function: Any) -> Callable[..., Any] | None:
    """The function that answers for a key of the table; None if there is none."""
    try:
        return ANSWERS[function]
    except KeyError:
        return None


def complete() -> Mapping[Any, Callable[..., Any]]:
    """The whole table, with the entries that are otherwise imported when they are looked up."""
    for module in (_COMPOSED, *_OTHERS.values()):
        import_module(module)
    return ANSWERS


def answers(functions: Iterable[Any], ours: Callable[..., Any]) -> None:
    """Have NumPy call our function when one of these of its own is called on a Tensor.

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
    """An attribute of a module, which is imported only at this call."""
    return getattr(import_module(module), name)


def called_lazily(module: str, name: str) -> Callable[..., Any]:
    """A function of a module, which is imported when the function is first called."""
    return lambda *args, **kwargs: lazy_import(module, name)(*args, **kwargs)


def remedy(name: str, *args: Any) -> Any:
    """The result of a function of `tapegrad.arraylike.rewriting`, which only messages need."""
    return lazy_import("tapegrad.arraylike.rewriting", name)(*args)
