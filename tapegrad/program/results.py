"""What a compiled function may return, and the source that puts it together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.digits import as_text
from tapegrad.core.hidden import refuse_hidden
from tapegrad.core.tensor import Tensor
from tapegrad.program.names import Names
from tapegrad.program.static import static_key


def check_results(structure: tree.Structure, leaves: Sequence[Any], function: str) -> None:
    """Raise for a result that would be stale when a program returned it again.

    A program returns arrays and numbers, which it computes anew, and static values. A
    pullback, a tape, a generator or a function of Tensors belongs to the one recording
    that it was made in.
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
    """The expression that puts a tree together from the names of its leaves."""
    rest = iter(leaves)

    def write(structure: tree.Structure) -> str:
        node = structure.node
        if node is None:
            return next(rest)
        if node is type(None):
            return "None"
        parts = [write(child) for child in structure.children]
        if node is dict:
            keys = [_key(key, names) for key in structure.keys]
            pairs = [f"{key}: {part}" for key, part in zip(keys, parts, strict=True)]
            return f"{{{', '.join(pairs)}}}"
        if node is list:
            return f"[{', '.join(parts)}]"
        if node is tuple:
            return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
        if structure.keys:
            named = zip(tree.fields_of(node) or (), parts, strict=True)
            # by position as far as it goes, which takes less time
            places = iter(_positional(node))
            parts = [
                part if next(places, None) == name else f"{name}={part}"
                for (_, name), part in named
            ]
        return f"{names.of(node, node.__name__)}({', '.join(parts)})"

    return write(structure)


def _positional(node: Any) -> tuple[str, ...]:
    """What the class takes by position, up to the first field that it does not."""
    code = getattr(node.__init__, "__code__", None)
    taken = code.co_varnames[1 : code.co_argcount] if code is not None else ()
    names = [name for _, name in tree.fields_of(node) or ()]
    n = next((i for i, name in enumerate(names) if taken[i : i + 1] != (name,)), len(names))
    return tuple(names[:n])


def _key(key: Any, names: Names) -> str:
    """A dict's key as it is written; no class of a user's has a say in it."""
    return as_text(key) if type(key) in (str, bytes, int, bool) else names.of(key, "key")
