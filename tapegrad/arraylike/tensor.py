"""Tensor as an array: add operators, protocols and methods to the record, and text to the tape.

The core writes records without operators. Importing this module adds them to the class, once. For
a type checker, Tensor is a class with these bases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapegrad.arraylike.advice import AbsentAttributes
from tapegrad.arraylike.operators import Operators
from tapegrad.arraylike.pickling import Pickling
from tapegrad.arraylike.protocols import Protocols
from tapegrad.arraylike.reading import Reading
from tapegrad.arraylike.text import TapeText
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor as Record


def add_attributes(target: type, *parts: type) -> None:
    """Add the attributes of other classes to a class; an attribute that exists already stays."""
    for part in parts:
        for name, attribute in vars(part).items():
            if name not in _CLASS_ATTRIBUTES and name not in vars(target):
                setattr(target, name, attribute)


# attributes that a class statement makes
_CLASS_ATTRIBUTES = frozenset(
    ["__module__", "__doc__", "__slots__", "__qualname__", "__firstlineno__"]
)
_CLASS_ATTRIBUTES |= {"__static_attributes__", "__dict__", "__weakref__", "__annotations__"}

if TYPE_CHECKING:

    class Tensor(Reading, Operators, Protocols, Pickling, AbsentAttributes, Record):
        """A record, as users see it."""

else:
    Tensor = Record
    add_attributes(Record, Reading, Operators, Protocols, Pickling, AbsentAttributes)
    add_attributes(Tape, TapeText)
