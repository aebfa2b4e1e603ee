"""The objects that a function refers to, and whether it drew random numbers while it was recorded.

A program of a function that draws would return the same numbers in every call.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from ctypes import string_at
from itertools import islice
from types import CodeType, FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

import attrs
import numpy as np
from numpy.random import MT19937, BitGenerator, SeedSequence

from tapegrad.core.op import Op
from tapegrad.core.tensor import Tensor
from tapegrad.errors import TraceError
from tapegrad.errors.functions import argument_names, label
from tapegrad.errors.lines import is_library
from tapegrad.program.static import GENERATORS, record_fields
from tapegrad.tree.opaque import MOST_ELEMENTS, MOST_OBJECTS, OPAQUE, contents

Named = tuple[str, Any]
# Classes of objects that hold none of the user's.
_PLAIN = (
    *(kind for kind in OPAQUE if kind is not type),
    *(Tensor, MemberDescriptorType, GetSetDescriptorType, attrs.Attribute),
    type(np.random.default_rng),
)
# Modules of Python's, without those whose objects hold others: containers, methods, partials.
_PLAIN_MODULES = sys.stdlib_module_names - {
    *("builtins", "collections", "functools", "itertools", "random", "types")
}
# Methods of the generators that every function can name.
_GLOBAL: list[Named] = [
    ("NumPy's global generator (np.random)", np.random.get_state),
    ("Python's global generator (random)", random.getstate),
]
# NumPy makes this when it is first asked for, which takes a fiftieth of a small first call.
_GLOBAL[0][1].__self__._bit_generator.ctypes  # noqa: B018

# The objects that the functions refer to that are being recorded, of the innermost one first.
REACH: ContextVar[list[Named]] = ContextVar("tapegrad_reach", default=[])  # noqa: B039


@contextlib.contextmanager
def without_draws(fn: Any) -> Iterator[list[Named]]:
    """Raise at the end if a generator within a function's reach was drawn from meanwhile.

    The generators are NumPy's and Python's global ones, unless an enclosing call watches these, and
    the generators among the `reachable_objects` of the function. The context yields all watched
    objects, those of enclosing calls included.
    """
    reach, around = reachable_objects(fn), REACH.get()
    generators: list[Named] = [
        *[(name, method.__self__) for name, method in _GLOBAL if not around],
        *[(f"the {type(x).__name__} {name}", x) for name, x in reach if isinstance(x, GENERATORS)],
    ]
    watched = [(name, read, read()) for name, x in generators for read in [_reader(x)]]
    outer = REACH.set(reach + around)
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
    if isinstance(x, random.SystemRandom):
        return lambda: None
    if isinstance(x, random.Random):
        return x.getstate
    if isinstance(x, SeedSequence):
        return lambda: x.n_children_spawned
    if isinstance(x, np.random.RandomState) and x.get_state(legacy=False)["has_gauss"]:
        return lambda: pickle.dumps(x.get_state(legacy=False))
    # without a number that is kept, each draw moves the bit generator
    return lambda: _words(x if isinstance(x, BitGenerator) else x._bit_generator)


def _words(bits: Any) -> Any:
    """The state of a bit generator, and how many were spawned from it."""
    # of a Mersenne Twister 624 words and the position, which would be copied one by one
    is_long = type(bits) is MT19937
    words = string_at(bits.ctypes.state_address, 625 * 4) if is_long else pickle.dumps(bits.state)
    # a generator that is spawned is another in every call, and moves no word
    return words, getattr(bits.seed_seq, "n_children_spawned", 0)


def reachable_objects(fn: Any) -> list[Named]:
    """The objects that a function names, and those that they refer to in turn, the nearest first.

    This is what is in its closure, its defaults, its object and the globals that its code names,
    and whatever these hold: a thousand objects in all, and of a container what the code names and a
    hundred elements, so that compiling does not depend on the size of the data beside the function.
    Of the functions of libraries only the closures count, which may hold functions of the user's.
    Installed packages besides its own come last, as long as there are less than a hundred objects.
    """
    objects: list[Named] = []
    names: dict[str, None] = {}
    own = str(getattr(fn, "__module__", "")).partition(".")[0]
    waiting, installed = deque([(getattr(fn, "__name__", ""), fn)]), deque[Named]()
    # what is or was waiting, which keeps it alive
    seen = {id(fn)}
    while len(objects) < (MOST_OBJECTS if waiting else MOST_ELEMENTS) and (waiting or installed):
        name, x = (waiting or installed).popleft()
        objects.append((name, x))
        for path, part in _parts(name, x, names):
            kind: Any = type(part)
            if id(part) not in seen and _fields(kind) is not None:
                seen.add(id(part))
                home = str((part if issubclass(kind, FunctionType | type) else kind).__module__)
                is_late = _is_installed(home) and home.partition(".")[0] != own
                (installed if is_late else waiting).append((path, part))
    return objects


@functools.lru_cache(256)
def _fields(kind: Any) -> list[str] | None:
    """The names of the fields in the objects of a class; None if no generator is within reach."""
    if hasattr(kind, "__compiled__"):
        return ["fn"]
    if issubclass(kind, _PLAIN) or kind.__module__ in _PLAIN_MODULES:
        return None
    return record_fields(kind) or []


@functools.lru_cache(256)
def _is_installed(module: str) -> bool:
    """Whether a module that is no library lies where packages are installed."""
    folders = (getattr(sys.modules.get(module), "__file__", None) or "").split(os.sep)
    return not is_library(module) and ("site-packages" in folders or "dist-packages" in folders)


def _parts(name: str, x: Any, names: dict[str, None]) -> Iterable[Named]:
    """The objects that an object refers to; one without a name of its own has that of the object.

    The `names` in a function's code are added; in large objects they are looked up first.
    """
    kind: Any = type(x)
    start = f"{name}." if name else ""
    if kind is FunctionType:
        return _parts_of_function(x, names)
    if isinstance(x, (type, Op)) and is_library(str(x.__module__)):
        return ()
    if kind is list or kind is tuple:
        return [(f"{start}{i}", part) for i, part in enumerate(x[:MOST_ELEMENTS])]
    if kind is functools.partial:
        positional = argument_names(x.func, len(x.args))
        return [(name, x.func), *zip(positional, x.args, strict=True), *x.keywords.items()]
    fields = _fields(kind) or ()
    pairs: list[Any] = [(f"{start}{field}", getattr(x, field, None)) for field in fields]
    if fields and is_library(kind.__module__):
        return pairs
    held = x if kind is dict else getattr(x, "__dict__", {})
    if len(held) > MOST_ELEMENTS:
        pairs += [(f"{start}{key}", held[key]) for key in names if key in held]
    # at once, since another thread may add to it
    pairs += [(f"{start}{key}", part) for key, part in [*islice(held.items(), MOST_ELEMENTS)]]
    rest = x.__mro__ if isinstance(x, type) else contents(x)
    return pairs + [(name, part) for part in rest if part is not held]


def _parts_of_function(fn: FunctionType, known: dict[str, None]) -> list[Named]:
    """A function's closure, its defaults, and what its code names of globals and of modules."""
    code, space = fn.__code__, fn.__globals__
    cells = zip(code.co_freevars, fn.__closure__ or (), strict=True)
    # without the variables that are not bound yet
    pairs = [(name, x) for name, cell in cells for x in contents(cell)]
    pairs += fn.__dict__.items()
    if is_library(space.get("__name__", "")):
        return pairs
    codes = [code]
    for inner in codes:
        codes += [x for x in inner.co_consts if type(x) is CodeType]
    # and the strings, which may be keys and names of attributes
    words = [x for inner in codes for x in (*inner.co_names, *inner.co_consts) if type(x) is str]
    names = dict.fromkeys(words)
    known |= names
    # a module may be imported within the function
    pairs += [(name, space.get(name, sys.modules.get(name))) for name in names]
    opened: set[ModuleType] = set()
    for path, x in pairs:
        if isinstance(x, ModuleType) and x not in opened and not is_library(x.__name__):
            opened.add(x)
            held = vars(x)
            pairs += [(f"{path}.{name}", held[name]) for name in names if name in held]
    defaults, n = fn.__defaults__ or (), code.co_argcount
    pairs += zip(code.co_varnames[n - len(defaults) : n], defaults, strict=True)
    return [*pairs, *(fn.__kwdefaults__ or {}).items()]
