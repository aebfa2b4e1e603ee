"""The objects that a function refers to, and whether it drew random numbers while it was recorded.

A program of a function that draws would return the same numbers in every call.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from ctypes import string_at
from itertools import islice
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from tapegrad.core.tensor import Tensor
from tapegrad.declare import declaration
from tapegrad.errors import TraceError
from tapegrad.errors.functions import label
from tapegrad.program.static import GENERATORS, record_fields
from tapegrad.tree.opaque import MOST_ELEMENTS, MOST_OBJECTS, OPAQUE, contents

# Modules of Python's whose objects hold others: containers, methods, partials.
_BOXES = frozenset({"builtins", "collections", "functools", "itertools", "types"})
# Top-level packages of which nothing is searched, and those whose classes are not.
_FOREIGN = sys.stdlib_module_names - _BOXES | {"numpy"}
_CLASSES_OF_OTHERS = _FOREIGN | {"builtins", "tapegrad"}
_NO_PLACE = (*OPAQUE, Tensor, MemberDescriptorType, GetSetDescriptorType)
# Folders of installed packages.
_INSTALLED = frozenset({"site-packages", "dist-packages"})
# Functions, which lead to what their module names.
_FUNCTIONS = (FunctionType, type(np.sum), type(np.random.default_rng))
# The bytes of a Mersenne Twister's state: 624 words and the position.
_BYTES = 625 * 4
# The generators that every function can name.
_METHODS: tuple[Any, Any] = (np.random.get_state, random.getstate)
_GLOBAL = [
    ("NumPy's global generator (np.random)", _METHODS[0].__self__),
    ("Python's global generator (random)", _METHODS[1].__self__),
]


# The objects that the functions refer to that are being recorded, of the innermost one first.
REACH: ContextVar[list[tuple[str, Any]]] = ContextVar("tapegrad_reach", default=[])  # noqa: B039


@contextlib.contextmanager
def without_draws(fn: Any) -> Iterator[list[tuple[str, Any]]]:
    """Raise at the end if a generator within a function's reach was drawn from meanwhile.

    They are NumPy's and Python's global ones, and those among the objects that it refers to
    (`reached`). It gives these, and those of the functions around it.
    """
    reach = reached(fn)
    known = {id(x) for _, x in _GLOBAL}
    own: list[tuple[str, Any]]
    own = [(f"the generator {name}", x) for name, x in reach if isinstance(x, GENERATORS)]
    own += [(f"the seed sequence {name}", x) for name, x in reach if isinstance(x, SeedSequence)]
    generators = [*_GLOBAL, *[pair for pair in own if id(pair[1]) not in known]]
    watched = [(name, read, read()) for name, x in generators for read in [_reader(x)]]
    outer = REACH.set(reach + REACH.get())
    try:
        yield REACH.get()
    finally:
        REACH.reset(outer)
    for name, read, state in watched:
        if read() != state:
            raise TraceError(
                f"{label(fn)} drew from {name} while it was compiled, and the program would give "
                "the same numbers in every call; draw before the call and pass the numbers, or "
                "pass a key (tg.random.key(0)) and draw with tg.random (should another thread "
                "have drawn meanwhile, call again)"
            )


def _reader(x: Any) -> Callable[[], Any]:
    """A function that reads the state of a random generator, to compare."""
    if isinstance(x, random.Random):
        return x.getstate if not isinstance(x, random.SystemRandom) else lambda: None
    if isinstance(x, SeedSequence):
        return lambda: x.n_children_spawned
    if isinstance(x, np.random.RandomState) and x.get_state(legacy=False)["has_gauss"]:
        return lambda: _content(x.get_state(legacy=False))
    # without a number that is kept, each draw moves the bit generator
    return lambda: _words(x if isinstance(x, np.random.BitGenerator) else x._bit_generator)


def _words(bits: Any) -> Any:
    """The state of a bit generator, and how many were spawned from it."""
    # the words of a Mersenne Twister would be copied one by one
    is_long = type(bits) is np.random.MT19937
    words = string_at(bits.ctypes.state_address, _BYTES) if is_long else _content(bits.state)
    # a generator that is spawned is another in every call, and moves no word
    return words, getattr(bits.seed_seq, "n_children_spawned", 0)


def _content(state: Any) -> Any:
    # of NumPy's generators it is a dict with arrays and further dicts
    if isinstance(state, dict):
        return [(name, _content(x)) for name, x in state.items()]
    return state.tobytes() if isinstance(state, np.ndarray) else state


def reached(fn: Any) -> list[tuple[str, Any]]:
    """The objects that a function names, and those that they refer to in turn, the nearest first.

    This is what is in its closure, its defaults, its object and the globals that its code names,
    and whatever these hold: a thousand objects in all, and of a container what the code names and a
    hundred elements, so that compiling does not depend on the size of the data beside the function.
    Installed packages come last, and only as long as there are less than a hundred objects.
    """
    objects: list[tuple[str, Any]] = []
    names: dict[str, None] = {}
    waiting, installed = deque([(getattr(fn, "__name__", ""), fn)]), deque[tuple[str, Any]]()
    # what is or was waiting, which keeps it alive
    seen = {id(fn)}
    while len(objects) < (MOST_OBJECTS if waiting else MOST_ELEMENTS) and (waiting or installed):
        name, x = (waiting or installed).popleft()
        objects.append((name, x))
        for path, part in _parts(name, x, names):
            of = None if id(part) in seen else _home(part)
            if of is not None and not (of in _CLASSES_OF_OTHERS and isinstance(part, type)):
                seen.add(id(part))
                (installed if _is_installed(of) else waiting).append((path, part))
    return objects


def _parts(name: str, x: Any, names: dict[str, None]) -> Iterable[tuple[str, Any]]:
    """The objects that an object refers to; one without a name of its own has that of the object.

    The `names` in a function's code are added; in large objects they are looked up first.
    """
    kind, home = type(x), _home(x)
    if kind is list or kind is tuple:
        return _items(name, x, names)
    if isinstance(x, weakref.ref):
        return [(name, x())]
    if home in _FOREIGN and not isinstance(x, np.ndarray):
        # as of `np.vectorize`
        holds = home == "numpy" and not isinstance(x, (type, *_FUNCTIONS))
        return _items(name, x, names) if holds else []
    if home == "tapegrad":
        if declaration(x) and _package(x) == "tapegrad":
            return []
        if hasattr(kind, "__compiled__"):
            return [(f"{name}.fn", part) for part in contents(x)]
    if isinstance(x, FunctionType):
        return [*_named(x, names).items(), *vars(x).items()]
    if isinstance(x, type):
        return [
            (f"{base.__name__}.{key}", part)
            for base in x.__mro__
            if _package(base) not in _CLASSES_OF_OTHERS
            for key, part in [*islice(vars(base).items(), MOST_OBJECTS)]
            if isinstance(part, FunctionType) or not key.startswith("__")
        ]
    if isinstance(x, functools.partial):
        named = dict(zip(_positional(x.func), x.args, strict=False)) | x.keywords
        return [(name, x.func), *named.items(), *[(name, part) for part in x.args]]
    held = getattr(x, "__dict__", None)
    rest = [(name, part) for part in contents(x) if part is not held]
    return _items(name, x, names) + rest


def _home(x: Any) -> str | None:
    """The top-level package of an object; None if it cannot lead to a generator."""
    kind: Any = type(x)
    home = _home_of(kind)
    return _package(x) if home == "" else home


@functools.lru_cache(256)
def _home_of(kind: type) -> str | None:
    """That of a class's objects; ``""`` if each has its own, as functions and classes have."""
    if issubclass(kind, (type, *_FUNCTIONS)):
        return ""
    return None if issubclass(kind, _NO_PLACE) else _package(kind)


def _package(x: Any) -> str:
    module = getattr(x, "__module__", "")
    # a class in C may have a descriptor there, for its objects
    return module.partition(".")[0] if isinstance(module, str) else ""


@functools.cache
def _is_installed(package: str) -> bool:
    """Whether a top-level package lies where packages are installed."""
    # there are generators of NumPy's, and wrappers of ours, which hold functions of the user's
    if package in _FOREIGN | {"tapegrad"}:
        return False
    path = getattr(sys.modules.get(package), "__file__", None) or ""
    return not _INSTALLED.isdisjoint(path.split(os.sep))


def _items(name: str, x: Any, names: Iterable[str]) -> list[tuple[str, Any]]:
    """The elements of a container by their keys, or the fields and attributes of an object."""
    pairs: list[tuple[Any, Any]]
    if type(x) in (list, tuple):
        pairs = [*enumerate(x[:MOST_ELEMENTS])]
    else:
        kind: Any = type(x)
        held = x if kind is dict else getattr(x, "__dict__", {})
        pairs = [(field, getattr(x, field, None)) for field in record_fields(kind) or ()]
        if len(held) > MOST_ELEMENTS:
            pairs += [(key, held[key]) for key in names if key in held]
        # at once, since another thread may add to it
        pairs += [*islice(held.items(), MOST_ELEMENTS)]
    start = f"{name}." if name else ""
    return [(f"{start}{key}", part) for key, part in pairs if _home(part) is not None]


def _positional(fn: Any) -> tuple[str, ...]:
    """The names of a function's positional parameters, if it is written in Python."""
    code = getattr(fn, "__code__", None)
    return code.co_varnames[: code.co_argcount] if isinstance(code, CodeType) else ()


@functools.lru_cache(256)
def _names(code: CodeType) -> Mapping[str, None]:
    """The names and the strings in the code of a function, in their order."""
    names = dict.fromkeys(code.co_names)
    names |= dict.fromkeys([x for x in code.co_consts if type(x) is str])
    for x in code.co_consts[::-1]:
        if isinstance(x, CodeType):
            names |= _names(x)
    return MappingProxyType(names)


def _named(fn: FunctionType, known: dict[str, None]) -> dict[str, Any]:
    """A function's closure, its defaults, and what its code names of globals and of modules."""
    cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
    # without the variables that are not bound yet
    captured = {name: x for name, cell in cells for x in contents(cell)}
    if _package(fn) == "tapegrad":
        # which may wrap a function of the user's
        return captured
    names, space, modules = _names(fn.__code__), fn.__globals__, sys.modules
    known |= names
    # a module may be imported within the function
    pairs = [(name, space.get(name, modules.get(name))) for name in names]
    pairs += captured.items()
    opened: set[ModuleType] = set()
    for path, x in pairs:
        if isinstance(x, ModuleType) and x not in opened:
            opened.add(x)
            held = vars(x)
            pairs += [(f"{path}.{name}", held[name]) for name in names if name in held]
    if fn.__defaults__:
        pairs += zip(_positional(fn)[-len(fn.__defaults__) :], fn.__defaults__, strict=False)
    return dict(pairs) | (fn.__kwdefaults__ or {})
