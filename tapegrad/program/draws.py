"""Raise an error if a function draws from a random generator while it is recorded.

Its program would return the same numbers in every call. `reachable_objects` finds the generators.
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
# Classes whose objects hold no object of the user.
_PLAIN = (
    *(kind for kind in OPAQUE if kind is not type),
    *(Tensor, MemberDescriptorType, GetSetDescriptorType, attrs.Attribute),
    type(np.random.default_rng),
)
# Modules of the standard library, without those whose objects hold others: containers, partials.
_PLAIN_MODULES = sys.stdlib_module_names - {
    *("builtins", "collections", "functools", "itertools", "random", "types")
}
# Methods of the generators that every function can name.
_GLOBAL: list[Named] = [
    ("NumPy's global generator (np.random)", np.random.get_state),
    ("Python's global generator (random)", random.getstate),
]
# NumPy makes this attribute on first use, which takes a fiftieth of a small first call.
_GLOBAL[0][1].__self__._bit_generator.ctypes  # noqa: B018

# The reachable objects of the functions that are being recorded, the innermost function's first.
REACH: ContextVar[list[Named]] = ContextVar("tapegrad_reach", default=[])  # noqa: B039


@contextlib.contextmanager
def without_draws(fn: Any) -> Iterator[list[Named]]:
    """Raise at the end of the context if a function has drawn from a random generator.

    The context watches the global generators of NumPy and Python, unless an enclosing context does,
    and the generators among the `reachable_objects` of the function. It yields all reachable
    objects of this function and of the functions of enclosing contexts.
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
    """Make a function that reads the state of a random generator, for comparison."""
    if isinstance(x, random.SystemRandom):
        return lambda: None
    if isinstance(x, random.Random):
        return x.getstate
    if isinstance(x, SeedSequence):
        return lambda: x.n_children_spawned
    if isinstance(x, np.random.RandomState) and x.get_state(legacy=False)["has_gauss"]:
        return lambda: pickle.dumps(x.get_state(legacy=False))
    # no number is cached, so each draw advances the bit generator
    return lambda: _words(x if isinstance(x, BitGenerator) else x._bit_generator)


def _words(bits: Any) -> Any:
    """Read the state of a bit generator, and the number of generators spawned from it."""
    # a Mersenne Twister has 624 words and a position; its .state copies them one by one
    is_long = type(bits) is MT19937
    words = string_at(bits.ctypes.state_address, 625 * 4) if is_long else pickle.dumps(bits.state)
    # spawning changes no word of the state, and gives other generators in each call
    return words, getattr(bits.seed_seq, "n_children_spawned", 0)


def reachable_objects(fn: Any) -> list[Named]:
    """Find the objects that a function refers to, directly or through others, the nearest first.

    The search starts with the function's closure, defaults, instance, and the globals that its code
    names. It visits at most a thousand objects, and of each container a hundred elements and the
    elements that the code names, so that compilation does not depend on the size of the data
    around the function. Of a library's function it visits the closure alone, which may hold
    functions of the user. Objects of other installed packages are visited last, and only while
    fewer than a hundred objects were found.
    """
    objects: list[Named] = []
    names: dict[str, None] = {}
    own = str(getattr(fn, "__module__", "")).partition(".")[0]
    waiting, installed = deque([(getattr(fn, "__name__", ""), fn)]), deque[Named]()
    # the ids of all objects that were put in a queue; the queues and `objects` keep these alive
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
    """Return the fields of a class; None if its objects refer to no object of the user."""
    if hasattr(kind, "__compiled__"):
        return ["fn"]
    if issubclass(kind, _PLAIN) or kind.__module__ in _PLAIN_MODULES:
        return None
    return record_fields(kind) or []


@functools.lru_cache(256)
def _is_installed(module: str) -> bool:
    """Whether a module is an installed package, and no library that is never searched."""
    folders = (getattr(sys.modules.get(module), "__file__", None) or "").split(os.sep)
    return not is_library(module) and ("site-packages" in folders or "dist-packages" in folders)


def _parts(name: str, x: Any, names: dict[str, None]) -> Iterable[Named]:
    """Return the objects that an object refers to; one without a name has the object's name.

    The names in a function's code are added to `names`. In a large container these are looked up
    first.
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
    # copy first, since another thread may add items
    pairs += [(f"{start}{key}", part) for key, part in [*islice(held.items(), MOST_ELEMENTS)]]
    rest = x.__mro__ if isinstance(x, type) else contents(x)
    return pairs + [(name, part) for part in rest if part is not held]


def _parts_of_function(fn: FunctionType, known: dict[str, None]) -> list[Named]:
    """Return a function's closure and defaults, and the globals and modules that its code names."""
    code, space = fn.__code__, fn.__globals__
    cells = zip(code.co_freevars, fn.__closure__ or (), strict=True)
    # an unbound variable has no contents
    pairs = [(name, x) for name, cell in cells for x in contents(cell)]
    pairs += fn.__dict__.items()
    if is_library(space.get("__name__", "")):
        return pairs
    codes = [code]
    for inner in codes:
        codes += [x for x in inner.co_consts if type(x) is CodeType]
    # strings too, which may be keys and names of attributes
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
