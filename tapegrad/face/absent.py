"""Attributes that a record lacks; reading one says what to use instead."""

from __future__ import annotations

from typing import Any, NoReturn

from tapegrad.face import advice


class Absent:
    """An attribute that a Tensor lacks.

    Each has a descriptor, since ``__getattr__`` would slow down all other attributes.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, kind: Any = None) -> NoReturn:
        raise AttributeError(
            f"a Tensor has no attribute {self.name!r}: {advice.ATTRIBUTES[self.name]}"
        )


class Absences:
    """Attributes that other arrays have, refused with advice; the last base of `Tensor`."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        absent = {name for name, x in vars(Absences).items() if type(x) is Absent}
        defined = {
            name for base in type(self).__mro__ if base is not Absences for name in vars(base)
        }
        return [name for name in object.__dir__(self) if name not in absent - defined]


for _name in advice.ATTRIBUTES:
    setattr(Absences, _name, Absent(_name))
