"""Arguments to differentiate, by position and by name (`argnums`, `argnames`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.errors.functions import argument_names, label

Fn = Callable[..., Any]
Argnames = str | tuple[str, ...]
_POSITIONAL = ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")


def as_argnames(argnames: Any) -> Argnames | None:
    """Names of arguments: one, or several as a tuple."""
    if argnames is None or isinstance(argnames, str):
        return argnames
    several = isinstance(argnames, tuple | list | set | frozenset)
    if not several or not all(isinstance(name, str) for name in argnames):
        raise TypeError(
            f"argnames must be the name of an argument, or a tuple of names, not {argnames!r}"
        )
    return tuple(argnames)


def check_argnames(fn: Fn, argnums: Any, argnames: Argnames | None) -> None:
    """Raise unless the names are parameters, and no positions are given beside them."""
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
    """The parameters that a name can mean; None if any can be one."""
    parameters = _inspect_parameters(fn)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple([p.name for p in parameters if p.kind is not p.VAR_POSITIONAL])


def _inspect_parameters(fn: Fn) -> list[Any] | None:
    """The parameters of a function; None if they are not known."""
    # here, because it takes long to import
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
    """A call with the named arguments by position: a function, its arguments, and where.

    Raises
    ------
    TypeError
        If the call does not pass one of them.
    """
    by_position = _positional_names(fn, len(args))
    by_keyword = tuple(dict.fromkeys([name for name in names if name in kwargs]))
    places = []
    for name in names:
        if name in kwargs:
            places.append(len(args) + by_keyword.index(name))
        elif name in by_position:
            places.append(by_position.index(name))
        else:
            raise TypeError(
                f"{label(fn)} was called without {name}, which argnames names; pass it by position "
                "or by keyword, also where it has a default"
            )
    if not by_keyword:
        return fn, args, dict(kwargs), tuple(places)
    rest = {name: x for name, x in kwargs.items() if name not in by_keyword}
    moved = (*args, *[kwargs[name] for name in by_keyword])
    return KeywordsByPosition(fn, len(args), by_keyword), moved, rest, tuple(places)


def _positional_names(fn: Fn, n: int) -> tuple[str, ...]:
    """The names of the first n arguments by position."""
    parameters = _inspect_parameters(fn)
    if parameters is None:
        return argument_names(fn, n)
    return tuple([p.name for p in parameters if p.kind.name in _POSITIONAL][:n])


def check_positions(fn: Fn, what: str, numbers: tuple[int, ...]) -> None:
    """Raise for a position that no argument of a function can have."""
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
    """The position of an argument, or positions, as integers; `what` names them in messages."""
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
