"""Signature: a call's arguments divided into operands and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.core.tensor import LISTS, first_tensor
from tapegrad.errors.words import as_text

# Arguments that NumPy's functions have, with the values that ask for nothing.
HARMLESS: Mapping[str, Any] = {"out": None, "where": True, "dtype": None, "initial": None}


@attrs.frozen
class Signature:
    """How an op is called, or a function composed of ops.

    Attributes
    ----------
    name
        Its name in messages.
    names
        The parameters.
    n_positional
        How many of them may be passed by position.
    defaults
        The values of those that may be omitted.
    n_operands
        How many of the first are operands; the others are options.
    is_variadic
        Whether it takes any number of further positional arguments, as in ``*arrays``.
    unsettled
        The options whose default can change: a call is made with what it holds then.
    """

    name: str
    names: tuple[str, ...]
    n_positional: int
    defaults: Mapping[str, Any] = attrs.field(repr=as_text)
    n_operands: int = 0
    is_variadic: bool = False
    unsettled: dict[str, Any] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        options = self.names[self.n_operands :]
        unsettled = {n: v for n, v in self.defaults.items() if n in options and _can_change(v)}
        object.__setattr__(self, "unsettled", unsettled)

    @property
    def arity(self) -> int:
        """The number of arguments of a call that are simply its operands; -1 if it varies."""
        return -1 if self.unsettled else self.n_operands or -1

    @classmethod
    def of(cls, function: Any, name: str, n_operands: int = 0) -> Signature:
        """The signature of a Python function or a ufunc.

        Raises
        ------
        TypeError
            If it is neither, or has fewer parameters than operands.
        """
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        if isinstance(function, np.ufunc):
            names = tuple(f"x{i + 1}" for i in range(function.nin))
            return cls(name, names, function.nin, {}, n_operands)
        if not hasattr(function, "__code__"):
            raise TypeError(
                f"an op must be made of a Python function or a ufunc, not of {function!r}"
            )
        # inspect.signature would say the same, but takes long to import
        code = function.__code__
        n = code.co_argcount
        names = code.co_varnames[: n + code.co_kwonlyargcount]
        values = function.__defaults__ or ()
        defaults = dict(zip(names[n - len(values) : n], values, strict=True))
        defaults.update(function.__kwdefaults__ or {})
        if n_operands > len(names):
            raise TypeError(
                f"{name} takes {len(names)} arguments but has {n_operands} VJP rules; give one "
                "rule an operand, None where no gradient passes"
            )
        # a flag of code objects, which inspect uses too
        is_variadic = not n_operands and bool(code.co_flags & 0x04)
        return cls(name, names, n, defaults, n_operands, is_variadic)

    def lacks(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call has unknown arguments that ask for something."""
        if len(args) > self.n_positional:
            return True
        # a loop, since most calls have no such argument and a generator takes longer
        for name, value in kwargs.items():
            if name not in self.names and not _is_harmless(name, value):
                return True
        return False

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, without unknown ones that ask for nothing.

        Raises
        ------
        TypeError
            For an unknown or a missing argument.
        """
        arguments = dict(zip(self.names[: self.n_positional], args, strict=False))
        if len(args) > self.n_positional and not self.is_variadic:
            names = ", ".join(self.names[: self.n_positional])
            raise TypeError(f"{self.name} takes {names} by position; got {len(args)}")
        for name, value in kwargs.items():
            if name in arguments:
                raise TypeError(f"{self.name} got {name} twice")
            if name in self.names:
                arguments[name] = value
            elif not _is_harmless(name, value):
                raise TypeError(
                    f"{self.name} does not support the argument {name!r}; "
                    f"it takes {', '.join(self.names)}"
                )
        missing = [
            name for name in self.names if name not in arguments and name not in self.defaults
        ]
        if missing:
            raise TypeError(f"{self.name} needs {', '.join(missing)}")
        return arguments

    def split(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The operands, and the options that differ from the defaults."""
        n = self.n_operands
        # most calls, in half the time that reading them by name takes
        if len(args) == n and (not kwargs or set(kwargs) <= set(self.names[n:])):
            return args, self.changed(kwargs)
        if n < len(args) <= self.n_positional and not kwargs:
            return args[:n], self.changed(dict(zip(self.names[n:], args[n:], strict=False)))
        options = self.named(args, kwargs)
        operands = [options.pop(x) if x in options else self.defaults[x] for x in self.names[:n]]
        return tuple(operands), self.changed(options)

    def changed(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options that differ from the defaults, and those whose default can change."""
        changed = {n: v for n, v in options.items() if v is not self.defaults.get(n, self)}
        return self.unsettled | changed if self.unsettled else changed


def _can_change(default: Any) -> bool:
    if type(default) is tuple:
        return any(map(_can_change, default))
    return isinstance(default, np.ndarray | list | dict | set)


def _is_harmless(name: str, value: Any) -> bool:
    return name in HARMLESS and value is HARMLESS[name]


def stack_nested(x: Any) -> Any:
    """x itself; or, recorded, the array of a list with Tensors in it."""
    if type(x) not in LISTS or first_tensor(x) is None:
        return x
    return np.stack([stack_nested(part) for part in x])
