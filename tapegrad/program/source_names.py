"""The names of a source, and the values that they stand for."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.declare import OPS, declared_key
from tapegrad.ops.adding import add_at_places_into
from tapegrad.ops.logic import keep_into
from tapegrad.program.ir import Constant, number_text
from tapegrad.program.setup import Setup

# the functions that a source calls by fixed names: NumPy's functions, and some that stand for ops
LIBRARY: Mapping[str, Any] = {
    **vars(np),
    "fft": np.fft,
    "keep": keep_into,
    "scatter_add": add_at_places_into,
}

# names that no value of a program may have
_RESERVED = frozenset({*dir(builtins), *dir(np), *keyword.kwlist, *LIBRARY})


class Names:
    """The names of one source, and the values that they stand for.

    A name is as close to the wanted text as possible. It differs from all earlier names, and from
    the names of Python's builtins, of NumPy's functions and of ops.

    Attributes
    ----------
    literal
        Whether numbers are literals, for a reader. NumPy would convert them in each call, so the
        source that runs has names of arrays instead.
    namespace
        The values that the source needs from outside, by name.
    constants
        The constants of the program and of its bodies, by name.
    setup
        The lines that run once, before the first call: buffers, and views of them.
    known
        The names of values from outside, by their `id` (the namespace keeps them alive), and the
        names of shared views, by memory and expression.

    Examples
    --------
    >>> names = Names()
    >>> names.new("layer.w"), names.new("layer_w"), names.new("sum"), names.new("0")
    ('layer_w', 'layer_w_2', 'sum_2', '_0')
    """

    def __init__(self, literal: bool = False) -> None:
        self.literal = literal
        self.namespace: dict[str, Any] = {}
        self.constants: dict[str, Constant] = {}
        self.setup = Setup()
        # for each name that is taken or was wanted, the last number appended to it
        self._count: dict[str, int] = {}
        self.known: dict[Any, str] = {}

    def new(self, wanted: str) -> str:
        """Return a new name, made from any text."""
        if not (wanted.isascii() and wanted.isidentifier()):
            wanted = re.sub(r"\W", "_", wanted, flags=re.ASCII)
            if not wanted.isidentifier():
                wanted = f"_{wanted}"
        name = wanted
        while name in self._count or name in _RESERVED or name in OPS:
            count = self._count[wanted] = self._count.get(wanted, 1) + 1
            name = f"{wanted}_{count}"
        self._count.setdefault(name, 1)
        return name

    def name_of(self, value: Any, wanted: str, is_own: bool = False) -> str:
        """Return the name of a value from outside.

        NumPy's functions and the functions of ops have fixed names, which no other value gets.
        """
        name = self.known.get(id(value))
        if name is None:
            is_free = is_own and wanted not in self.namespace
            name = self.known[id(value)] = wanted if is_free else self.new(wanted)
            self.namespace[name] = value
        return name

    def number_text(self, x: Constant) -> str:
        """Return the text of a constant that is one number: a literal or a name."""
        if not self.literal:
            return self.name_of(x.array, "number")
        if x.dtype.kind == "b":
            return number_text(x.splat)
        return f"{self.library(x.dtype.type.__name__)}({x.literal})"

    def function(self, op: Primitive) -> str:
        """Return the name of an op's forward function: NumPy's, the op's, or a new name."""
        forward = op.forward
        if name := self.known.get(id(forward)):
            return name
        if isinstance(forward, np.ufunc) and LIBRARY.get(forward.__name__) is forward:
            return self.library(forward.__name__)
        is_ours = declared_key(op) is not None and (op.name in OPS or op.name in _RESERVED)
        return self.name_of(forward, op.name, is_ours)

    def library(self, name: str) -> str:
        """Return the name of a function in `LIBRARY`."""
        return self.name_of(LIBRARY[name], name, True)
