"""Tensor as an array of NumPy's: what is put onto the record, and how a tape is printed.

The core writes records and knows no array's operators. Here the class gets them, once, when the
package is imported. A type checker reads the same as a class of these bases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapegrad.arraylike.advice import Absences
from tapegrad.arraylike.operators import Operators
from tapegrad.arraylike.pickling import Pickled
from tapegrad.arraylike.protocols import Protocols
from tapegrad.arraylike.reading import Reading
from tapegrad.arraylike.text import Tabled
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor as Record


def put_onto(target: type, *parts: type) -> None:
    """Give a class the attributes of others; its own stay, and of several the first one counts."""
    for part in parts:
        for name, attribute in vars(part).items():
            if name not in _OF_A_CLASS and name not in vars(target):
                setattr(target, name, attribute)


# attributes that a class statement makes
_OF_A_CLASS = frozenset(["__module__", "__doc__", "__slots__", "__qualname__", "__firstlineno__"])
_OF_A_CLASS |= {"__static_attributes__", "__dict__", "__weakref__", "__annotations__"}

if TYPE_CHECKING:

    class Tensor(Record, Reading, Operators, Protocols, Pickled, Absences):
        """A record, as users see it."""

else:
    Tensor = Record
    put_onto(Record, Reading, Operators, Protocols, Pickled, Absences)
    put_onto(Tape, Tabled)
