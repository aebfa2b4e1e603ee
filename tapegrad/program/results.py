"""The results of a program, read-only and packed in their tree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from tapegrad import tree
from tapegrad.declare.parts import is_numeric
from tapegrad.errors.words import as_text
from tapegrad.program.source_names import Names
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
        if not is_numeric(x):
            static_key(x, what)
    keys_in(structure, what)


def keys_in(structure: tree.Structure, what: str) -> list[Hashable]:
    """Return hashable forms of the dict keys in a tree; raise a TypeError for a key that varies."""
    own = structure.keys if structure.node is dict else ()
    keys = [static_key(key, f"a dict's key in {what}") for key in own]
    return keys + [key for child in structure.children for key in keys_in(child, what)]


def packing_expression(structure: tree.Structure, leaves: Sequence[str], names: Names) -> str:
    """Return the expression that assembles a tree from the names of its leaves."""

    def value_name(x: Any) -> str:
        kind = type(x)
        # a user's class must not decide the source
        if kind in (str, bytes, int, bool):
            return as_text(x)
        is_static = hasattr(kind, "__tree_static__")
        return names.name_of(x, f"the_{kind.__name__.lower()}" if is_static else "key")

    def construct(node: type, parts: Sequence[str]) -> str:
        fields = tuple([name for _, name in tree.init_fields(node) or ()])
        if not _is_positional(node, fields):
            parts = [f"{name}={part}" for name, part in zip(fields, parts, strict=True)]
        return f"{names.name_of(node, node.__name__)}({', '.join(parts)})"

    return tree.format_structure(structure, iter(leaves), value_name, construct)


def _is_positional(node: Any, fields: tuple[str, ...]) -> bool:
    """Whether a class can be called with its fields in order; keywords take 1.5 times as long.

    A named tuple has no attrs fields, and takes its elements in order too.
    """
    code = getattr(node.__init__, "__code__", None)
    is_usual = type(node).__call__ is type.__call__ and node.__new__ is object.__new__
    in_order = is_usual and code and code.co_varnames[1 : code.co_argcount] == fields
    return not fields or bool(in_order)
