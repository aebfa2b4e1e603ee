"""The table from NumPy's functions to tapegrad's, which NumPy calls in their place on a Tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

_COMPOSED = "tapegrad.functions"
# modules that replace the functions of other modules, apart from functions composed of ops
_OTHERS = {
    "numpy.fft": "tapegrad.functions.fft",
    "numpy.linalg": "tapegrad.functions.linalg",
    **dict.fromkeys(("scipy.special", "scipy.special._ufuncs"), "tapegrad.ops.scipy_special"),
}


class _Answers(dict[Any, Callable[..., Any]]):
    """A table that imports the module of an entry when the entry is first looked up.

    Not every program needs the functions composed of ops, or SciPy's.
    """

    def __missing__(self, function: object) -> Callable[..., Any]:
        module = getattr(function, "__module__", None)
        if isinstance(function, str):
            module = function.rpartition(".")[0]
        import_module(_OTHERS.get(module or "", _COMPOSED))
        answer = self.get(function)
        if answer is None:
            raise KeyError(function)
        return answer


# The key is NumPy's function; for a ufunc's method, a pair of the method's name and the ufunc; for
# a ufunc of a package that may be missing, its full name.
ANSWERS = _Answers()


def answer_for(function: object) -> Callable[..., Any] | None:
    """Return the function for a key of the table; None if there is none."""
    try:
        return ANSWERS[function]
    except KeyError:
        return None


def full_table() -> Mapping[Any, Callable[..., Any]]:
    """Return the whole table; this imports the modules of all entries."""
    for module in (_COMPOSED, *_OTHERS.values()):
        import_module(module)
    return ANSWERS


def answers(functions: Iterable[Any], ours: Callable[..., Any]) -> None:
    """Enter a function that NumPy calls in place of its own functions on a Tensor.

    Raises
    ------
    ValueError
        If the table already has an entry for one of NumPy's functions.
    """
    for function in functions:
        if function in ANSWERS:
            raise ValueError(f"{function!r} is already in the table of NumPy's functions")
        ANSWERS[function] = ours


def lazy_import(module: str, name: str) -> Any:
    """Import a module and return one of its attributes."""
    return getattr(import_module(module), name)


def lazy_function(module: str, name: str) -> Callable[..., Any]:
    """Return a function that imports its module when it is first called."""
    return lambda *args, **kwargs: lazy_import(module, name)(*args, **kwargs)


def remedy(name: str, *args: Any) -> Any:
    """Call a function of `tapegrad.arraylike.rewriting`, which only messages need."""
    return lazy_import("tapegrad.arraylike.rewriting", name)(*args)
