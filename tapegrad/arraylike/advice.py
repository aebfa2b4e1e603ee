"""Advice for attributes that a Tensor lacks, with the code to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

from tapegrad.arraylike.table import remedy
from tapegrad.errors.remedies import TENSOR_ATTRIBUTES


class AbsentAttribute:
    """An attribute that a Tensor lacks.

    Each has a descriptor, since ``__getattr__`` would slow down all other attributes.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, record: object, kind: type | None = None) -> NoReturn:
        if record is not None:
            remedy("refuse_solver", record)
        raise AttributeError(
            f"a Tensor has no attribute {self.name!r}: {TENSOR_ATTRIBUTES[self.name]}"
        )


class AbsentAttributes:
    """Errors with advice for attributes of other arrays, and for calling the class."""

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "a Tensor is a record of a tape, not made by its class: tg.grad(fn)(x) and "
            "tg.record(fn)(x) call fn with Tensors for arrays, and by hand it is "
            "tape, t = tg.Tape().parameter(x)"
        )

    def __dir__(self) -> list[str]:
        own = vars(type(self))
        return [name for name in object.__dir__(self) if type(own.get(name)) is not AbsentAttribute]


for _name in TENSOR_ATTRIBUTES:
    setattr(AbsentAttributes, _name, AbsentAttribute(_name))
