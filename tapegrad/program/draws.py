"""Whether a function drew random numbers while it was recorded.

A program would give the numbers of that one call for ever.
"""

from __future__ import annotations

import functools
import pickle
import random
from collections import deque
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from tapegrad.errors import TraceError

_LIBRARIES = ("numpy", "tapegrad", "builtins")
_HOLDS_NOTHING = (str, bytes, int, float, complex, type(None))


def states(fn: Any) -> dict[str, bytes]:
    """The states of the random generators within a function's reach, by what to call them.

    They are NumPy's and Python's global ones, and those that the function has in its
    closure, its defaults, its object or the globals that it names, and in containers and
    objects, and attributes of classes, that it finds there.
    """
    found: dict[str, Any] = {
        "NumPy's global generator (np.random)": np.random.get_state(legacy=False),  # noqa: NPY002
        "Python's global generator (random)": random.getstate(),
    }
    for name, x in _reached(fn):
        if isinstance(x, np.random.Generator):
            found[f"the generator {name}"] = x.bit_generator.state
        elif isinstance(x, np.random.BitGenerator):
            found[f"the generator {name}"] = x.state
        elif isinstance(x, np.random.RandomState):
            found[f"the generator {name}"] = x.get_state(legacy=False)
        elif isinstance(x, random.Random) and not isinstance(x, random.SystemRandom):
            found[f"the generator {name}"] = x.getstate()
    return {name: pickle.dumps(state) for name, state in found.items()}


def refuse_draws(before: dict[str, bytes], fn: Any, label: str) -> None:
    """Raise if a generator's state is not what it was before the function was recorded."""
    after = states(fn)
    for name, state in before.items():
        if after.get(name, state) != state:
            raise TraceError(
                f"{label} drew from {name} while it was compiled, and the program would give the "
                "same numbers in every call; draw before the call and pass the numbers, or pass "
                "a key (tg.random.key(0)) and draw with tg.random (should another thread have "
                "drawn meanwhile, call again)"
            )


def _reached(fn: Any) -> list[tuple[str, Any]]:
    """What a function refers to by name, and what that refers to in turn."""
    found: list[tuple[str, Any]] = []
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any]] = [(getattr(fn, "__name__", ""), fn)]
    while waiting:
        name, x = waiting.pop()
        if id(x) in seen or isinstance(x, (*_HOLDS_NOTHING, ModuleType, np.ndarray)):
            continue
        seen[id(x)] = x
        found.append((name, x))
        if isinstance(x, FunctionType):
            if not _is_of_library(x):
                waiting += _named(x).items()
            # what wraps a user's function may be ours
            waiting += zip(x.__code__.co_freevars, _contents(x), strict=True)
        elif isinstance(x, MethodType):
            waiting += [(x.__func__.__name__, x.__func__), (name, x.__self__)]
        elif isinstance(x, functools.partial):
            waiting += [(name, part) for part in (x.func, *x.args, *x.keywords.values())]
        elif isinstance(x, dict):
            waiting += [(f"{name}[{key!r}]", part) for key, part in x.items()]
        elif isinstance(x, list | tuple | set | frozenset | deque):
            waiting += [(f"{name}[{i}]", part) for i, part in enumerate(x)]
        elif not (isinstance(x, type) and _is_of_library(x)):
            waiting += [(f"{name}.{key}", part) for key, part in _attributes(x)]
            waiting.append((name, type(x)))
    return found


def _is_of_library(x: Any) -> bool:
    """Whether a function or class is NumPy's, Python's or this package's."""
    return (x.__module__ or "").split(".")[0] in _LIBRARIES


def _attributes(x: Any) -> list[tuple[str, Any]]:
    """What an object or class has in its ``__dict__`` and its slots."""
    slots = [
        name
        for name, part in (vars(type(x)).items() if not isinstance(x, type) else ())
        if isinstance(part, MemberDescriptorType) and hasattr(x, name)
    ]
    return [*getattr(x, "__dict__", {}).items(), *[(name, getattr(x, name)) for name in slots]]


def _contents(fn: FunctionType) -> list[Any]:
    """The values in a function's closure; None for one that is not bound yet."""
    contents = []
    for cell in fn.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(None)
    return contents


def _named(fn: FunctionType) -> dict[str, Any]:
    """A function's defaults and the globals that its code names."""
    names: set[str] = set()
    codes: list[CodeType] = [fn.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [x for x in code.co_consts if isinstance(x, CodeType)]
    defaults = {f"default {i}": x for i, x in enumerate(fn.__defaults__ or ())}
    known = {name: fn.__globals__[name] for name in names if name in fn.__globals__}
    return known | defaults | dict(fn.__kwdefaults__ or {})
