"""What a compiled function may return, and the expression that assembles it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.tensor import Tensor
from tapegrad.face.text import as_text
from tapegrad.program.names import Names
from tapegrad.program.static import static_key
from tapegrad.tree.opaque import refuse_hidden


def check_results(structure: tree.Structure, leaves: Sequence[Any], function: str) -> None:
    """Raise for a result that would be stale if a program returned it again.

    A program returns static values, and arrays and numbers that it computes anew. A pullback, a
    tape, a generator or a function of Tensors belongs to the one recording in which it was made.
    """
    what = f"what {function} returns"
    for x in leaves:
        refuse_hidden(x, what, recordings=False)
        if not isinstance(x, Tensor | np.ndarray | np.generic | float | int):
            static_key(x, what)
    check_keys(structure, what)


def check_keys(structure: tree.Structure, what: str) -> None:
    """Raise for a dict whose keys are not static."""
    if structure.node is dict:
        for key in structure.keys:
            static_key(key, f"a dict's key in {what}")
    for child in structure.children:
        check_keys(child, what)


def packed(structure: tree.Structure, leaves: Sequence[str], names: Names) -> str:
    """The expression that assembles a tree from the names of its leaves."""
    return _packed(structure, iter(leaves), names, {})


def _packed(
    structure: tree.Structure,
    rest: Iterator[str],
    names: Names,
    makers: dict[Any, Callable[..., Any] | None],
) -> str:
    node = structure.node
    if node is None:
        return next(rest)
    if node is type(None):
        return "None"
    parts = [_packed(child, rest, names, makers) for child in structure.children]
    if node is dict:
        keys = [_key(key, names) for key in structure.keys]
        pairs = [f"{key}: {part}" for key, part in zip(keys, parts, strict=True)]
        return f"{{{', '.join(pairs)}}}"
    if node is list:
        return f"[{', '.join(parts)}]"
    if node is tuple:
        return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if structure.keys:
        if node not in makers:
            makers[node] = _maker(node)
        make = makers[node]
        if make is not None:
            return f"{names.of(make, f'new_{node.__name__}')}({', '.join(parts)})"
        named = zip(tree.fields_of(node) or (), parts, strict=True)
        # by position as far as possible, which is faster
        places = iter(_positional(node))
        parts = [
            part if next(places, None) == name else f"{name}={part}" for (_, name), part in named
        ]
    return f"{names.of(node, node.__name__)}({', '.join(parts)})"


def _maker(node: Any) -> Callable[..., Any] | None:
    """A function that makes a plain record in two thirds of the time of its ``__init__``.

    None for a class whose ``__init__`` is not attrs's, or does more than set the fields: one with
    converters, validators, hooks or caches, or without slots.
    """
    fields = getattr(node, "__attrs_attrs__", ())
    names = [field.name for field in fields]
    slots = {x for part in node.__mro__[:-1] for x in part.__dict__.get("__slots__", ("__dict__",))}
    written = getattr(node.__init__, "__code__", None)
    is_plain = (
        slots - {"__weakref__"} == set(names)
        and node.__new__ is object.__new__
        and written is not None
        and written.co_filename.startswith("<attrs generated")
        and not hasattr(node, "__attrs_pre_init__")
        and not hasattr(node, "__attrs_post_init__")
        and all(x.init and x.converter is None and x.validator is None for x in fields)
    )
    places: list[Any] = [getattr(node, name, None) for name in names]
    if not (is_plain and names and {*map(type, places)} == {types.MemberDescriptorType}):
        return None
    given = [f"x{i}" for i in range(len(names))]
    lines = [f"def make({', '.join(given)}):", "    made = new(node)"]
    lines += [f"    set_{x}(made, {x})" for x in given]
    namespace: dict[str, Any] = {"__name__": __name__, "new": object.__new__, "node": node}
    for x, place in zip(given, places, strict=True):
        namespace[f"set_{x}"] = place.__set__
    exec("\n".join([*lines, "    return made"]), namespace)
    # which holds the namespace
    make: Callable[..., Any] = namespace.pop("make")
    return make


def _positional(node: Any) -> tuple[str, ...]:
    """The leading fields that the class takes by position."""
    code = getattr(node.__init__, "__code__", None)
    taken = code.co_varnames[1 : code.co_argcount] if code is not None else ()
    names = [name for _, name in tree.fields_of(node) or ()]
    n = next((i for i, name in enumerate(names) if taken[i : i + 1] != (name,)), len(names))
    return tuple(names[:n])


def _key(key: Any, names: Names) -> str:
    """A dict's key as it is written; a user's class has no influence on that."""
    return as_text(key) if type(key) in (str, bytes, int, bool) else names.of(key, "key")
