"""Names of users' functions and of their arguments, for tapes and messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from inspect import CO_VARARGS
from types import MethodType
from typing import Any, ClassVar

import attrs

from tapegrad.errors.lines import caller_name
from tapegrad.errors.names import describe_parameter
from tapegrad.errors.words import a_kind


class Named:
    """An object that can have a name, a docstring and a module, as functions do."""

    __slots__ = ("__dict__",)


class Wrapper:
    """A base of attrs classes that wrap the function in their field `fn`.

    An object takes over the function's names, and binds to an instance as the function does.
    """

    __slots__ = ()
    __tree_leaf__: ClassVar[bool] = True
    # the name in reprs
    kind: ClassVar[str]

    def __attrs_post_init__(self: Any) -> None:
        keep_names(self, self.fn)

    def __repr__(self: Any) -> str:
        return f"<{self.kind} of {title(self.fn)}>"

    def __reduce__(self: Any) -> str | tuple[Any, ...]:
        fields = [getattr(self, field.name) for field in attrs.fields(type(self)) if field.init]
        return reduce_by_name(self, type(self), tuple(fields))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)  # type: ignore[arg-type]


def check_callable(fn: Any, what: str = "") -> None:
    """Raise a TypeError unless `fn` is callable; `what` names the call and its parameter."""
    if not callable(fn):
        where = f"{what}: " * bool(what)
        raise TypeError(f"{where}a function is needed, not {fn!r}, {a_kind(fn)}")


def name_parameters(cls: Any) -> None:
    """Name a class's parameters in its errors about arguments."""
    init = vars(cls).get("__init__")
    code = getattr(init, "__code__", None)
    # attrs builds a class again for its slots
    if code is None or hasattr(init, "__wrapped__"):
        return
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]

    def explanation(self: Any, error: TypeError) -> str:
        fault = str(error).partition("() ")[2]
        unexpected = fault.partition("unexpected keyword argument '")[2].partition("'")[0]
        advice = describe_parameter(unexpected, names)
        return f"{type(self).__name__}({', '.join(names)}) {fault}{advice}"

    cls.__init__ = explain_errors(init, explanation)


def explain_errors(method: Any, explanation: Callable[[Any, TypeError], str]) -> Any:
    """Wrap a method so that a call with wrong arguments raises an error with an explanation."""

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except TypeError as error:
            # raised by the call itself, and not within
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise TypeError(explanation(self, error)) from None
            raise

    return call


def label(fn: Callable[..., Any]) -> str:
    """Return a function's name for messages; without one, the name of the function it wraps."""
    for layer in _layers(fn):
        if name := getattr(layer, "__name__", None):
            return str(name)
    return type(layer).__name__


def _layers(fn: Any) -> Iterator[Any]:
    """Yield a function, and in turn the function inside: of a partial, a method or a wrapper."""
    seen: list[Any] = []
    # a function may wrap itself
    while fn is not None and not any(fn is x for x in seen):
        seen.append(fn)
        yield fn
        if isinstance(fn, partial | MethodType):
            fn = fn.func if isinstance(fn, partial) else fn.__func__
        else:
            fn = getattr(fn, "__wrapped__", None)


def title(fn: Callable[..., Any]) -> str:
    """Return a function's name in a repr; a wrapper of tapegrad also shows the function inside."""
    ours = any(hasattr(type(fn), mark) for mark in ("__tree_leaf__", "__compiled__"))
    shown = repr(fn) if ours else ""
    return shown[1:-1] if shown.startswith("<") else label(fn)


def find_code(fn: Any) -> Any:
    """Return the code of a function, or of the function inside; None if not written in Python."""
    *_, innermost = _layers(fn)
    return getattr(innermost, "__code__", None)


def first_line(fn: Callable[..., Any]) -> int:
    """Return the line of source where a function begins; 0 if it is not written in Python."""
    return getattr(find_code(fn), "co_firstlineno", 0)


def keep_names(wrapper: Any, fn: Callable[..., Any]) -> None:
    """Give a wrapper the name, docstring and signature of its function."""
    check_callable(fn)
    for name in ("__name__", "__qualname__", "__doc__", "__module__"):
        if hasattr(fn, name):
            wrapper.__dict__[name] = getattr(fn, name)
    wrapper.__dict__["__wrapped__"] = fn


@attrs.frozen(slots=False)
class Description:
    """The names of a function and its arguments in tapes and messages.

    Attributes
    ----------
    label, line
        The function's name and first line; see `label` and `first_line`.
    names
        The known names of positional arguments.
    rest
        The name of the parameter that takes further arguments; "" if there is none.
    """

    label: str
    line: int
    names: tuple[str, ...]
    rest: str = ""

    @classmethod
    def from_function(cls, fn: Callable[..., Any]) -> Description:
        """Describe a function.

        Raises
        ------
        TypeError
            If `fn` is not callable.
        """
        check_callable(fn)
        return cls(label(fn), first_line(fn), *_parameter_names(fn))

    def argument(self, i: int) -> str:
        """Return the name of a positional argument: "rest.0" in ``*rest``, "arg0" if unknown."""
        known = self.names
        if i < len(known):
            return known[i]
        return f"{self.rest}.{i - len(known)}" if self.rest else f"arg{i}"

    def arguments(self, n: int) -> tuple[str, ...]:
        """Return the names of the first n positional arguments."""
        return tuple([self.argument(i) for i in range(n)])


def argument_names(fn: Callable[..., Any], n: int) -> tuple[str, ...]:
    """Return the names of the first n positional arguments, "arg0" if unknown."""
    return Description.from_function(fn).arguments(n)


def note_lists(error: Exception, fn: Callable[..., Any], args: Iterable[Any]) -> None:
    """Add a note to an error that names the arguments that are lists of numbers."""
    # Python's messages about lists, and tapegrad's where NumPy was given a list
    if not any(word in str(error) for word in ("list", "sequence", "gradient")):
        return
    names = Description.from_function(fn)
    for i, x in enumerate(args):
        name = names.argument(i)
        code = name if name.isidentifier() else "..."
        note = f"{name} is a list; write np.array({code}) where an array is meant"
        if type(x) is list and _is_numeric(x) and note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _is_numeric(x: Any) -> bool:
    """Return whether x is a number, or a list of numbers, at any depth."""
    if type(x) is list:
        return bool(x) and all(map(_is_numeric, x))
    return isinstance(x, int | float | complex) or getattr(x, "shape", None) == ()


def _parameter_names(fn: Callable[..., Any]) -> tuple[tuple[str, ...], str]:
    """Return the names of the positional parameters, and of ``*rest``; "" if there is none."""
    taken = 0
    for layer in _layers(fn):
        if (known := getattr(layer, "__argument_names__", None)) is not None:
            return tuple(known)[taken:], ""
        taken += len(layer.args) if isinstance(layer, partial) else isinstance(layer, MethodType)
    code = find_code(fn)
    if code is None:
        return (), ""
    n, named = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    # further arguments that a partial holds have no names
    takes_rest = code.co_flags & CO_VARARGS and taken <= n
    return code.co_varnames[taken:n], code.co_varnames[named] if takes_rest else ""


def reduce_by_name(thing: Any, *parts: Any) -> str | tuple[Any, ...]:
    """Return the result of ``__reduce__`` for an object in a decorated function's place.

    If the object's name leads to the object, it is pickled by name, because the function inside
    cannot be pickled. Otherwise `parts` are returned: a class and its arguments.
    """
    module, name = thing.__dict__.get("__module__"), thing.__dict__.get("__qualname__") or ""
    named: Any = sys.modules.get(module)
    for part in name.split("."):
        named = getattr(named, part, None)
    # joblib, Ray and Dask pickle objects of __main__ by value, for workers that cannot import it;
    # they use copies of cloudpickle under other names
    if named is not thing or (module == "__main__" and "cloudpickle" in caller_name(2)[1]):
        return parts
    return name
