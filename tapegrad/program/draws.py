"""What a function refers to, and whether it drew random numbers while it was recorded.

A program of a function that draws would return the same numbers in every call.
"""

from __future__ import annotations

import functools
import gc
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import attrs
import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.declare import declaration
from tapegrad.errors import TraceError
from tapegrad.tree.opaque import OPAQUE

_CONTAINERS = frozenset({list, tuple, dict, set, frozenset, deque})
_NO_PLACE = (*OPAQUE, Tensor)


def _top(x: Any) -> str:
    """The top-level package of a function or a class, if it names its module."""
    module = getattr(x, "__module__", "")
    # a class in C may have a descriptor there, for its objects
    return module.partition(".")[0] if isinstance(module, str) else ""


def _is_ours(x: Any) -> bool:
    """Whether a function or a class belongs to this package."""
    return _top(x) == "tapegrad"


def _is_library(x: Any) -> bool:
    """Whether a function or a class belongs to Python or to an installed package.

    Only what the user wrote is searched: libraries refer to thousands of objects.
    """
    top = _top(x)
    file = getattr(sys.modules.get(top), "__file__", None) or ""
    return top in sys.stdlib_module_names or ("-packages" in file and top != "tapegrad")


@attrs.frozen
class Watched:
    """A random generator within a function's reach.

    Attributes
    ----------
    name
        What to call it.
    state
        A function that reads its state.
    before
        The state when it was found.
    """

    name: str
    state: Callable[[], Any]
    before: Any


def watched(reach: Iterable[tuple[str, Any]]) -> list[Watched]:
    """The random generators within a function's reach.

    They are NumPy's and Python's global ones, and those that it refers to (`reached`).
    """
    found: list[tuple[str, Callable[[], Any]]] = [
        (
            "NumPy's global generator (np.random)",
            functools.partial(np.random.get_state, legacy=False),
        ),
        ("Python's global generator (random)", random.getstate),
    ]
    for name, x in reach:
        state = _reader(x)
        if state is not None:
            found.append((f"the generator {name}", state))
    return [Watched(name, state, _content(state())) for name, state in found]


def _reader(x: Any) -> Callable[[], Any] | None:
    """A function that reads the state of a random generator; None for anything else."""
    if isinstance(x, np.random.Generator):
        x = x.bit_generator
    if isinstance(x, np.random.BitGenerator):
        return lambda: x.state
    if isinstance(x, np.random.RandomState):
        return functools.partial(x.get_state, legacy=False)
    if isinstance(x, random.Random) and not isinstance(x, random.SystemRandom):
        return x.getstate
    return None


def _content(state: Any) -> Any:
    # of NumPy's generators it is a dict with arrays and further dicts
    if isinstance(state, dict):
        return [(name, _content(x)) for name, x in state.items()]
    return state.tobytes() if isinstance(state, np.ndarray) else state


def refuse_draws(generators: list[Watched], label: str) -> None:
    """Raise if a generator's state has changed since it was found."""
    for x in generators:
        if _content(x.state()) != x.before:
            raise TraceError(
                f"{label} drew from {x.name} while it was compiled, and the program would give "
                "the same numbers in every call; draw before the call and pass the numbers, or "
                "pass a key (tg.random.key(0)) and draw with tg.random (should another thread "
                "have drawn meanwhile, call again)"
            )


def reached(fn: Any) -> list[tuple[str, Any]]:
    """What a function refers to by name, and what that refers to in turn.

    This is what is in its closure, its defaults, its object and the globals that it names, and
    whatever these hold, modules included. The internals of installed libraries are not searched.
    """
    found: list[tuple[str, Any]] = []
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any]] = [(getattr(fn, "__name__", ""), fn)]
    while waiting:
        name, x = waiting.pop()
        if isinstance(x, type) and id(x) not in seen:
            seen[id(x)] = x
            waiting += _attributes(x)
        if id(x) in seen or isinstance(x, _NO_PLACE):
            continue
        if declaration(x) and _is_ours(x):
            continue  # there are hundreds, and nothing of the user's is in them
        seen[id(x)] = x
        found.append((name, x))
        if isinstance(x, np.ndarray):
            continue
        if isinstance(x, FunctionType):
            if not _is_library(x) and not _is_ours(x):
                waiting += _named(x).items()
            # what wraps a user's function may be ours
            waiting += zip(x.__code__.co_freevars, _contents(x), strict=True)
        elif isinstance(x, MethodType):
            waiting += [(x.__func__.__name__, x.__func__), (name, x.__self__)]
        elif isinstance(x, functools.partial):
            given = {**dict(zip(_positional(x.func), x.args, strict=False)), **x.keywords}
            waiting += [(name, x.func), *[(name, part) for part in x.args], *given.items()]
        elif type(x) in _CONTAINERS or not _is_library(type(x)):
            if type(x) not in (list, tuple):
                # what is in sets is named after the whole
                waiting += [(name, part) for part in gc.get_referents(x)]
            waiting += [(f"{name}.{key}".lstrip("."), part) for key, part in _parts(x)]
    return found


def _parts(x: Any) -> list[tuple[Any, Any]]:
    """What a container or an object holds, by its keys or the names of its fields."""
    if type(x) in (list, tuple):
        return list(enumerate(x))
    if type(x) is dict:
        return list(x.items())
    fields = [field.name for field in getattr(type(x), "__attrs_attrs__", ())]
    fields += getattr(type(x), "__dataclass_fields__", ())
    return [(f, getattr(x, f, None)) for f in fields] + list(getattr(x, "__dict__", {}).items())


def _attributes(kind: type) -> list[tuple[str, Any]]:
    """The class attributes of a user's class and of its bases."""
    return [
        (f"{base.__name__}.{name}", x)
        for base in kind.__mro__
        if not _is_library(base) and not _is_ours(base)
        for name, x in vars(base).items()
        if not name.startswith("__") and not callable(x)
    ]


def _contents(fn: FunctionType) -> list[Any]:
    """The values in a function's closure; None for a variable that is not bound yet."""
    contents = []
    for cell in fn.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(None)
    return contents


def _positional(fn: Any) -> tuple[str, ...]:
    """The names of a function's positional parameters, if it is written in Python."""
    code = getattr(fn, "__code__", None)
    return code.co_varnames[: code.co_argcount] if isinstance(code, CodeType) else ()


def _named(fn: FunctionType) -> dict[str, Any]:
    """A function's defaults, and the globals and attributes of modules that its code names."""
    # in the order of the code
    names: dict[str, None] = {}
    codes: list[CodeType] = [fn.__code__]
    while codes:
        code = codes.pop()
        names.update(dict.fromkeys(code.co_names))
        codes += [x for x in code.co_consts if isinstance(x, CodeType)]
    given = fn.__defaults__ or ()
    defaults = dict(zip(reversed(_positional(fn)), reversed(given), strict=False))
    known = {name: fn.__globals__[name] for name in names if name in fn.__globals__}
    modules = {name: x for name, x in known.items() if isinstance(x, ModuleType)}
    opened: list[ModuleType] = []
    while modules:
        path, module = modules.popitem()
        if module not in opened:
            opened.append(module)
            held = vars(module)
            inside = {f"{path}.{name}": held[name] for name in names if name in held}
            modules |= {name: x for name, x in inside.items() if isinstance(x, ModuleType)}
            known |= inside
    return known | defaults | dict(fn.__kwdefaults__ or {})
