"""The search for Tensors inside opaque objects, which would be lost to a gradient.

A gradient passes through the leaves of trees. A Tensor in a generator, a closure or an object of
any other class is out of reach, so such a leaf is refused wherever a gradient would be lost.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from itertools import islice
from types import CodeType, FrameType, FunctionType, ModuleType, TracebackType
from typing import Any

import numpy as np

from tapegrad.errors.words import a_kind
from tapegrad.tree.structure import is_record

# Values that refer to nothing, and values that refer to the rest of the program.
OPAQUE = (
    *(str, bytes, int, float, complex, type(None), np.generic),
    *(type, ModuleType, CodeType, FrameType, TracebackType, Context),
)

# The bounds of a search: the objects that it looks into, and the elements of a container.
MOST_OBJECTS = 1000
MOST_ELEMENTS = 100

_CONTAINERS: tuple[Any, ...] = (dict, list, tuple, set, frozenset, deque)


def refuse_hidden(leaf: object, what: str, recordings: bool = True) -> None:
    """Raise for a leaf that has a Tensor inside, at any depth.

    Parameters
    ----------
    leaf
        Any leaf of a tree. A Tensor itself hides nothing.
    what
        The name of the leaf in the message.
    recordings
        Whether a leaf may hold a recording, as a `Tape` or a pullback does, which is meant to keep
        its Tensors.

    Raises
    ------
    TypeError
        If there is a Tensor inside.
    """
    if is_record(leaf):
        return
    inside = tensor_inside(leaf, recordings)
    if inside is not None:
        name = getattr(leaf, "__qualname__", None)
        suffix = f" {name}" if isinstance(name, str) else ""
        raise TypeError(
            f"{what} is {a_kind(leaf)}{suffix} with Tensors in it ({inside._line()}), "
            "which is not a tree, so their gradients would be lost; trees consist of dict, list, "
            "tuple, NamedTuple, attrs classes and dataclasses"
        )


def tensor_inside(x: object, recordings: bool = False) -> Any:
    """The first Tensor found in an object, at any depth; None if there is none.

    The nearest thousand objects are searched, and of each container a hundred elements, so that a
    call takes no longer beside large data.

    Parameters
    ----------
    x
        Any object. The search runs no code of its class, so an iterator is not consumed.
    recordings
        Whether to pass over a `Tape` or a pullback.
    """
    # by identity; the objects are kept alive, since an identity may be reused
    seen: dict[int, Any] = {}
    waiting = deque([x])
    while waiting and len(seen) < MOST_OBJECTS:
        x = waiting.popleft()
        if is_record(x):
            return x
        is_passed_over = recordings and hasattr(type(x), "__recording__")
        if is_passed_over or isinstance(x, OPAQUE) or id(x) in seen:
            continue
        seen[id(x)] = x
        waiting += contents(x)
    return None


def contents(x: Any) -> Sequence[Any]:
    """Return the objects that an object refers to; of a container, at most a hundred elements."""
    if isinstance(x, _CONTAINERS):
        # by the methods of the builtin class, since a subclass may override them
        kind = next(kind for kind in _CONTAINERS if isinstance(x, kind))
        if kind.__len__(x) > MOST_ELEMENTS:
            parts = [*islice(kind.__iter__(x), MOST_ELEMENTS)]
            return [*parts, *islice(dict.values(x), MOST_ELEMENTS)] if kind is dict else parts
    elif isinstance(x, np.ndarray):
        # the collector does not see the objects in an array
        return x.flat[:MOST_ELEMENTS].tolist() if x.dtype.hasobject else ()
    elif isinstance(x, FunctionType):
        # the globals of a function belong to its module
        return x.__closure__, x.__defaults__, x.__kwdefaults__, vars(x)
    elif hasattr(type(x), "__compiled__"):
        # a compiled function's programs and passes hold thousands of objects, none of the caller's
        return (x.fn,)
    return gc.get_referents(x)
