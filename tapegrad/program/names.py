"""The names in a program's source: one allocator, which gives each name once."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapegrad.declare import OPS
from tapegrad.declare.abstract import whole_power
from tapegrad.ops.logic import keep_into
from tapegrad.ops.picking import add_at_places_into
from tapegrad.program.copies import in_order

# functions of this package that stand for ops in a source
HELPERS: Mapping[str, Any] = {
    "in_order": in_order,
    "keep": keep_into,
    "add_at_places": add_at_places_into,
    "whole_power": whole_power,
}


# names that a source may use
_RESERVED = frozenset({*dir(builtins), *dir(np), *keyword.kwlist, *HELPERS})
_NO_WORD = re.compile(r"\W", re.ASCII)


class Names:
    """The names of one source, and the values that it is run with.

    A name is as close to the wanted text as possible, and no two are the same: it differs from all
    names given before, and from those of Python, NumPy and ops.

    Attributes
    ----------
    namespace
        The values that the source needs from outside, by name.

    Examples
    --------
    >>> names = Names()
    >>> names.new("layer.w"), names.new("layer_w"), names.new("sum"), names.new("0")
    ('layer_w', 'layer_w_2', 'sum_2', '_0')
    """

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {}
        self._taken: set[str] = set()
        # for each wanted name, the last number appended to it
        self._count: dict[str, int] = {}
        # by identity; the namespace keeps the values alive
        self._known: dict[int, str] = {}

    def new(self, wanted: str) -> str:
        """A new name, made from any text."""
        if not (wanted.isascii() and wanted.isidentifier()):
            wanted = _NO_WORD.sub("_", wanted)
        name = wanted
        if not wanted.isidentifier():
            wanted = name = f"_{wanted}"
        while name in self._taken or name in _RESERVED or name in OPS:
            count = self._count[wanted] = self._count.get(wanted, 1) + 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def of(self, value: Any, wanted: str) -> str:
        """The name of a value from outside: the same one each time."""
        name = self._known.get(id(value))
        if name is None:
            name = self._known[id(value)] = self.new(wanted)
            self.namespace[name] = value
        return name

    def library(self, name: str, value: Any) -> str:
        """The name of a function of NumPy or of an op: its own, which nothing else is given."""
        if self.namespace.setdefault(name, value) is value:
            return name
        return self.of(value, name)
