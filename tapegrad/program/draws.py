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
from collections.abc import Iterable, Iterator
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
# Folders of installed packages.
_INSTALLED = {"site-packages", "dist-packages"}
_NUMPYS, _PYTHONS = "NumPy's global generator (np.random)", "Python's global generator (random)"

Named = tuple[str, Any]
# The objects that the functions refer to that are being recorded, of the innermost one first.
REACH: ContextVar[list[Named]] = ContextVar("tapegrad_reach", default=[])  # noqa: B039


@contextlib.contextmanager
def without_draws(fn: Any) -> Iterator[list[Named]]:
    """Raise at the end if a generator within a function's reach was drawn from meanwhile.

    They are NumPy's and Python's global ones, and those among the objects that it refers to
    (`reached`). It gives these, and those of the functions around it.
    """
    reach = reached(fn)
    generators: list[Named] = [
        (_NUMPYS, np.random.mtrand._rand),
        (_NUMPYS, np.random.mtrand._rand._bit_generator),
        (_PYTHONS, random._inst),
        *[(f"the generator {name}", x) for name, x in reach if isinstance(x, GENERATORS)],
        *[(f"the seed sequence {name}", x) for name, x in reach if isinstance(x, SeedSequence)],
    ]
    watched = [(name, x, _state(x)) for name, x in generators]
    outer = REACH.set(reach + REACH.get())
    try:
        yield REACH.get()
    finally:
        REACH.reset(outer)
    for name, x, state in watched:
        if _state(x) != state:
            raise TraceError(
                f"{label(fn)} drew from {name} while it was compiled, and the program would give "
                "the same numbers in every call; draw before the call and pass the numbers, or "
                "pass a key (tg.random.key(0)) and draw with tg.random (should another thread "
                "have drawn meanwhile, call again)"
            )


def _state(x: Any) -> Any:
    """What a draw from a generator, or a spawn from a seed sequence, changes in it.

    It is read from the memory behind the count of references, since Python and NumPy would copy the
    624 words of a Mersenne Twister one by one. The state of other bit generators may lie elsewhere.
    """
    if isinstance(x, BitGenerator) and not isinstance(x, MT19937):
        return pickle.dumps(x.state)
    head = object.__basicsize__
    # a generator of Python's keeps a number in an attribute
    kept = getattr(x, "gauss_next", None)
    return string_at(id(x) + head, type(x).__basicsize__ - head), kept


def reached(fn: Any) -> list[Named]:
    """The objects that a function names, and those that they refer to in turn, the nearest first.

    This is what is in its closure, its defaults, its object and the globals that its code names,
    and whatever these hold: a thousand objects in all, and of a container what the code names and a
    hundred elements, so that compiling does not depend on the size of the data beside the function.
    Of the functions of libraries, and of installed packages besides its own, only the closures
    count, which may hold functions of the user's.
    """
    objects: list[Named] = []
    names: dict[str, None] = {}
    own = str(getattr(fn, "__module__", "")).partition(".")[0]
    waiting = deque([(getattr(fn, "__name__", ""), fn)])
    # what is or was waiting, which keeps it alive
    seen = {id(fn)}
    while waiting and len(objects) < MOST_OBJECTS:
        name, x = waiting.popleft()
        objects.append((name, x))
        for path, part in _parts(name, x, names, own):
            kind: Any = type(part)
            if id(part) not in seen and _fields(kind) is not None:
                seen.add(id(part))
                waiting.append((path, part))
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
def _is_foreign(module: str, own: str) -> bool:
    """Whether a module is of a library, or installed and not of the package `own`."""
    path = getattr(sys.modules.get(module), "__file__", None) or ""
    is_installed = not _INSTALLED.isdisjoint(path.split(os.sep))
    return is_library(module) or (is_installed and module.partition(".")[0] != own)


def _parts(name: str, x: Any, names: dict[str, None], own: str) -> Iterable[Named]:
    """The objects that an object refers to; one without a name of its own has that of the object.

    The `names` in a function's code are added; in large objects they are looked up first.
    """
    kind: Any = type(x)
    start = f"{name}." if name else ""
    if kind is FunctionType:
        return _parts_of_function(x, names, own)
    if isinstance(x, (type, Op)) and _is_foreign(str(x.__module__), own):
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


def _parts_of_function(fn: FunctionType, known: dict[str, None], own: str) -> list[Named]:
    """A function's closure, its defaults, and what its code names of globals and of modules."""
    code, space = fn.__code__, fn.__globals__
    cells = zip(code.co_freevars, fn.__closure__ or (), strict=True)
    # without the variables that are not bound yet
    pairs = [(name, x) for name, cell in cells for x in contents(cell)]
    pairs += fn.__dict__.items()
    if _is_foreign(space.get("__name__", ""), own):
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
        if isinstance(x, ModuleType) and x not in opened and not _is_foreign(x.__name__, own):
            opened.add(x)
            held = vars(x)
            pairs += [(f"{path}.{name}", held[name]) for name in names if name in held]
    defaults, n = fn.__defaults__ or (), code.co_argcount
    pairs += zip(code.co_varnames[n - len(defaults) : n], defaults, strict=True)
    return [*pairs, *(fn.__kwdefaults__ or {}).items()]
