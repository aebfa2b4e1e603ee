"""Checks of `argnums` and `argnames`, and calls with arguments moved from names to positions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tapegrad.errors.functions import argument_names, label

if TYPE_CHECKING:
    from inspect import Parameter

Fn = Callable[..., Any]
Argnames = str | tuple[str, ...]
_POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


def as_argnames(argnames: object) -> Argnames | None:
    """Return the name of an argument, or several names as a tuple."""
    if argnames is None or isinstance(argnames, str):
        return argnames
    if isinstance(argnames, tuple | list | set | frozenset):
        names = tuple(argnames)
        if all(isinstance(name, str) for name in names):
            return names
    raise TypeError(
        f"argnames must be the name of an argument, or a tuple of names, not {argnames!r}"
    )


def check_argnames(fn: Fn, argnums: object, argnames: Argnames | None) -> None:
    """Raise unless the names are parameters and `argnums` is left at its default."""
    if argnames is None:
        return
    if argnums != 0:
        raise ValueError(f"give argnums or argnames, not both: {argnums!r} and {argnames!r}")
    known = _parameter_names(fn)
    for name in (argnames,) if isinstance(argnames, str) else argnames:
        if known is not None and name not in known:
            raise ValueError(
                f"{label(fn)} has no argument {name!r} for argnames; it takes {', '.join(known)}"
            )


def _parameter_names(fn: Fn) -> tuple[str, ...] | None:
    """Return the names that a call can pass; None if it can pass any name."""
    parameters = _inspect_parameters(fn)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple([p.name for p in parameters if p.kind is not p.VAR_POSITIONAL])


def _inspect_parameters(fn: Fn) -> list[Parameter] | None:
    """Return the parameters of a function; None if they are unknown."""
    # inspect takes long to import
    import inspect

    try:
        return [*inspect.signature(fn).parameters.values()]
    except (TypeError, ValueError):
        return None


@attrs.frozen(eq=False)
class KeywordsByPosition:
    """A function that takes some keyword arguments by position, after the others."""

    func: Fn
    n: int
    names: tuple[str, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        named = dict(zip(self.names, args[self.n :], strict=True))
        return self.func(*args[: self.n], **named, **kwargs)

    @property
    def __argument_names__(self) -> tuple[str, ...]:
        return (*argument_names(self.func, self.n), *self.names)


def bind_argnames(
    fn: Fn, names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Fn, tuple[Any, ...], dict[str, Any], tuple[int, ...]]:
    """Return a call that passes the named arguments by position, and their positions.

    Raises
    ------
    TypeError
        If the call does not pass a named argument.
    """
    by_position = _positional_names(fn, len(args))
    by_keyword = tuple(dict.fromkeys([name for name in names if name in kwargs]))
    positions = []
    for name in names:
        if name in kwargs:
            positions.append(len(args) + by_keyword.index(name))
        elif name in by_position:
            positions.append(by_position.index(name))
        else:
            raise TypeError(
                f"{label(fn)} was called without {name}, which argnames names; pass it by position "
                "or by keyword, also where it has a default"
            )
    if not by_keyword:
        return fn, args, dict(kwargs), tuple(positions)
    rest = {name: x for name, x in kwargs.items() if name not in by_keyword}
    moved = (*args, *[kwargs[name] for name in by_keyword])
    return KeywordsByPosition(fn, len(args), by_keyword), moved, rest, tuple(positions)


def _positional_names(fn: Fn, n: int) -> tuple[str, ...]:
    """Return the names of the first n arguments by position."""
    parameters = _inspect_parameters(fn)
    if parameters is None:
        return argument_names(fn, n)
    return tuple([p.name for p in parameters if p.kind.name in _POSITIONAL][:n])


def check_positions(fn: Fn, what: str, numbers: tuple[int, ...]) -> None:
    """Raise for a position that is out of range for the parameters of a function."""
    parameters = _inspect_parameters(fn)
    if parameters is None or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    n = sum([p.kind.name in _POSITIONAL for p in parameters])
    if any(not -n <= i < n for i in numbers):
        raise TypeError(
            f"{what} is {numbers}, but {label(fn)} takes {n} argument{'s' * (n != 1)} by "
            "position, counted from 0"
        )


def as_positions(what: str, numbers: Any) -> int | tuple[int, ...]:
    """Return the position of an argument, or a tuple of positions, as integers."""
    several = isinstance(numbers, tuple | list | range | set | frozenset)
    try:
        if any(isinstance(i, bool | np.bool) for i in (numbers if several else (numbers,))):
            raise TypeError
        return tuple([operator.index(i) for i in numbers]) if several else operator.index(numbers)
    except TypeError:
        raise TypeError(
            f"{what} must be the position of an argument, or a tuple of positions, not "
            f"{numbers!r}; the arguments themselves go to the function that is returned: "
            "tg.grad(fn)(x)"
        ) from None
