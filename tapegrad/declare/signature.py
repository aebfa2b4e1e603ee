"""Signature, which divides a call's arguments into operands and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import attrs
import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.errors.words import as_text

# Arguments of NumPy's functions, with the values that have no effect.
HARMLESS: Mapping[str, Any] = {"out": None, "where": True, "dtype": None, "initial": None}

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
"""The operands of a call, and its options by name."""


@attrs.frozen
class Signature:
    """The parameters of an op, or of a function composed of ops.

    Attributes
    ----------
    name
        Its name in messages.
    names
        The names of the parameters.
    n_positional
        The number of parameters that may be passed by position.
    defaults
        The default values.
    n_operands
        The number of leading parameters that are operands; the others are options.
    is_variadic
        Whether it takes any number of further positional arguments, as in ``*arrays``.
    read
        A function that turns a call's arguments into operands and options; None if the operands
        are simply the first arguments.
    mutable_defaults
        The options whose default value can change: each call passes its present value.
    """

    name: str
    names: tuple[str, ...]
    n_positional: int
    defaults: Mapping[str, Any] = attrs.field(repr=as_text)
    n_operands: int = 0
    is_variadic: bool = False
    read: Callable[..., Arguments] | None = None
    mutable_defaults: dict[str, Any] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        options = self.names[self.n_operands :]
        mutable = {n: v for n, v in self.defaults.items() if n in options and _can_change(v)}
        object.__setattr__(self, "mutable_defaults", mutable)

    @property
    def arity(self) -> int:
        """Return the number of arguments, if they are simply the operands; -1 otherwise."""
        return -1 if self.mutable_defaults or self.read else self.n_operands or -1

    @classmethod
    def from_function(cls, function: Any, name: str, n_operands: int = 0) -> Signature:
        """Read the signature of a Python function or a ufunc.

        Raises
        ------
        TypeError
            If `function` is neither, or has fewer parameters than operands.
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
        is_variadic = bool(code.co_flags & 0x04)
        return cls(name, names, n, defaults, n_operands, is_variadic)

    def has_unknown_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Return whether a call has unknown arguments with an effect."""
        if len(args) > self.n_positional:
            return True
        # a loop, since most calls have no such argument and a generator takes longer
        for name, value in kwargs.items():
            if name not in self.names and not _is_harmless(name, value):
                return True
        return False

    def bind_names(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, without unknown ones that have no effect.

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

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        """Divide a call's arguments into operands, and options that differ from the defaults.

        Raises
        ------
        TypeError
            For an unknown or a missing argument, or a Tensor where no gradient would pass.
        """
        if self.read is None:
            operands, options = self.split(args, kwargs)
        elif not kwargs and len(args) == self.n_positional == len(self.names):
            operands, options = self.read(*args)
        else:
            operands, options = self.read(**self.bind_names(args, kwargs))
        for name, value in options.items():
            if type(value) is Tensor:
                _refuse_option(self.name, name, value)
        return operands, options

    def split(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
        """Return the operands, and the options that differ from the defaults."""
        n = self.n_operands
        # most calls, in half the time that reading them by name takes
        if len(args) == n and (not kwargs or set(kwargs) <= set(self.names[n:])):
            return args, self.changed_options(kwargs)
        if n < len(args) <= self.n_positional and not kwargs:
            return args[:n], self.changed_options(dict(zip(self.names[n:], args[n:], strict=False)))
        options = self.bind_names(args, kwargs)
        operands = [options.pop(x) if x in options else self.defaults[x] for x in self.names[:n]]
        return tuple(operands), self.changed_options(options)

    def changed_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that differ from the defaults or have a mutable default."""
        changed = {n: v for n, v in options.items() if v is not self.defaults.get(n, self)}
        return self.mutable_defaults | changed if self.mutable_defaults else changed


def _refuse_option(op: str, name: str, value: Tensor) -> NoReturn:
    """Raise for a Tensor as an option of an op."""
    if value.origin.compiling:
        value._read(f"{name} of {op}, an option,")
    raise TypeError(
        f"{op}: {name} is an option, which passes no gradient, and a Tensor was given; pass its "
        "value (t.value), or make it an operand with a VJP rule of its own"
    )


def _can_change(default: Any) -> bool:
    if type(default) is tuple:
        return any(map(_can_change, default))
    return isinstance(default, np.ndarray | list | dict | set)


def _is_harmless(name: str, value: Any) -> bool:
    return name in HARMLESS and value is HARMLESS[name]
