"""Static values, which a program can depend on: they compare by content and never change."""

from __future__ import annotations

import dataclasses
import enum
import functools
import random
import types
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.random import BitGenerator, Generator, RandomState, SeedSequence

from tapegrad.core.op import Op
from tapegrad.errors.functions import Wrapper
from tapegrad.errors.words import a_kind, as_text
from tapegrad.tree.structure import is_frozen

# classes of values that compare by class and repr, since 1, True and 1.0 differ, and 0.0 and -0.0
_WRITTEN = (type(None), bool, int, float, complex, str, bytes, range, type(...), np.dtype)
# classes of code, which compares by identity
_CODE = (
    *(types.FunctionType, types.ModuleType, type, Op, np.ufunc, type(np.sum)),
    *(types.MethodDescriptorType, types.WrapperDescriptorType, type(functools.cache(len))),
)
# random generators and their parts
GENERATORS = (Generator, RandomState, BitGenerator, SeedSequence, random.Random)


def static_key(x: Any, what: str) -> Hashable:
    """Return a key of a static value. Values for which programs may differ have different keys.

    The key of a value that equals only itself holds its `id`, so a key is valid as long as its
    value is kept.

    Static values are strings, None, bools, enums and other plain Python values, functions,
    classes and ops, and tuples, frozensets, slices, partial functions, methods and frozen
    records (attrs classes, such as layers, and dataclasses) of these.

    Parameters
    ----------
    x
        The value.
    what
        Its name in messages.

    Raises
    ------
    TypeError
        If the value may change, compares by identity, or is a record with attributes that are not
        fields.
    """
    kind = type(x)
    if kind in _WRITTEN or isinstance(x, np.dtype):
        return kind, x if kind is int else as_text(x)
    if isinstance(x, (*_CODE, enum.Enum)) or hasattr(kind, "__compiled__"):
        return id(x)
    inside = parts(x)
    if inside is not None:
        _check_attributes(x, what)
        return id(kind), tuple([static_key(part, what) for part in inside])
    if kind is frozenset:
        # in the order of iteration, in which equal sets may differ
        return kind, tuple([static_key(part, what) for part in x])
    if isinstance(x, np.generic) and not x.dtype.hasobject:
        return id(kind), x.dtype.str, x.tobytes()
    raise TypeError(
        f"{what} holds {a_kind(x)}, which is neither an array nor a number that may vary, "
        f"nor a static value that a program can be made for; {_remedy(x)}"
    )


def parts(x: Any) -> Any:
    """Return the parts of a static value, besides its class; None if it has none."""
    kind: Any = type(x)
    if kind is tuple or (isinstance(x, tuple) and hasattr(kind, "_fields")):
        return x
    if kind is slice:
        return x.start, x.stop, x.step
    if isinstance(x, types.MethodType | types.BuiltinFunctionType):
        return getattr(x, "__func__", None) or x.__name__, x.__self__
    if isinstance(x, functools.partial):
        return x.func, x.args, *x.keywords.items()
    names = record_fields(kind)
    if names is None or not is_frozen(kind):
        return None
    return [getattr(x, name, None) for name in names]


def record_fields(kind: Any) -> list[str] | None:
    """Return the names of a record's fields; None for other classes."""
    if hasattr(kind, "__attrs_attrs__"):
        # the caches of a transform depend on its other fields
        all_count = not issubclass(kind, Wrapper)
        return [field.name for field in kind.__attrs_attrs__ if field.init or all_count]
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return None


def _check_attributes(x: Any, what: str) -> None:
    """Raise for a record with attributes that are not fields, since these may change.

    Those that are computed from the fields and cached may be there, and so may the names that a
    transform takes over from its function.
    """
    kind: Any = type(x)
    fields = None if isinstance(x, Wrapper) else record_fields(kind)
    more = [
        name
        for name in getattr(x, "__dict__", ())
        if fields is not None
        and name not in fields
        # attrs caches hashes under a special name
        and not name.startswith("_attrs_")
        and not isinstance(getattr(kind, name, None), functools.cached_property)
    ]
    if more:
        raise TypeError(
            f"{what} holds {a_kind(x)} that has more than its fields: {', '.join(more)}; a "
            "program is made for what cannot change, so make them fields of the class"
        )


def _remedy(x: Any) -> str:
    if isinstance(x, GENERATORS):
        return (
            "its numbers would be drawn once and for all: draw before the call and pass the "
            "numbers, or draw with tg.random and pass a key, which is an array and varies "
            "(tg.random.key(0) or tg.random.key(seed_sequence))"
        )
    if isinstance(x, np.ndarray):
        return "an array varies: leave it out of static_argnums, or pass it as a tuple of numbers"
    if isinstance(x, Mapping) and type(x) is not dict:
        return "of mappings a dict alone is a tree: pass a dict with its items"
    if isinstance(x, list | dict | set | bytearray):
        return "it can change: pass a tuple, a frozenset or a frozen record instead"
    return (
        "it can change, or is known by its identity alone: pass the arrays and numbers that it "
        "holds as a tree, or make its class frozen (attrs.frozen)"
    )
