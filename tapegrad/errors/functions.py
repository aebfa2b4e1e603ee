"""Functions passed in by the user: names for them and their arguments, for messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from inspect import CO_VARARGS
from types import MethodType
from typing import Any, ClassVar

import attrs

from tapegrad.errors.lines import called_from
from tapegrad.errors.names import describe_parameter
from tapegrad.errors.words import a_kind


class Named:
    """An object that can have a name, a docstring and a module, as functions do."""

    __slots__ = ("__dict__",)


class Wrapper:
    """A function made of another, which binds to an instance as that does: its first argument.

    An attrs class of them has the other for its field `fn`, whose names an object takes over.
    """

    __slots__ = ()
    __tree_leaf__: ClassVar[bool] = True
    # the name of the class in reprs
    kind: ClassVar[str]

    def __attrs_post_init__(self: Any) -> None:
        keep_names(self, self.fn)

    def __repr__(self: Any) -> str:
        return f"<{self.kind} of {title(self.fn)}>"

    def __reduce__(self: Any) -> str | tuple[Any, ...]:
        fields = [getattr(self, field.name) for field in attrs.fields(type(self)) if field.init]
        return by_name(self, type(self), tuple(fields))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)  # type: ignore[arg-type]


def check_callable(fn: Any, what: str = "") -> None:
    """Raise a TypeError unless `fn` is callable; `what` names the call and its parameter."""
    if not callable(fn):
        where = f"{what}: " * bool(what)
        raise TypeError(f"{where}a function is needed, not {fn!r}, {a_kind(fn)}")


def name_parameters(cls: Any) -> None:
    """Let the errors of a class about its arguments name the parameters."""
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

    cls.__init__ = explaining(init, explanation)


def explaining(method: Any, explanation: Callable[[Any, TypeError], str]) -> Any:
    """A method that explains, given its object and the error, which arguments it takes."""

    @wraps(method)
    def called(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except TypeError as error:
            # raised by the call itself, and not within
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise TypeError(explanation(self, error)) from None
            raise

    return called


def label(fn: Callable[..., Any]) -> str:
    """The name of a function in messages; of one without a name, that of the function in it."""
    for layer in _layers(fn):
        if name := getattr(layer, "__name__", None):
            return str(name)
    return type(layer).__name__


def _layers(fn: Any) -> Iterator[Any]:
    """A function, and in turn the one in it: of a partial, of a method, or that which it wraps."""
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
    """A function's name in a repr; for one of ours, also what it is made of."""
    ours = any(hasattr(type(fn), mark) for mark in ("__tree_leaf__", "__compiled__"))
    shown = repr(fn) if ours else ""
    return shown[1:-1] if shown.startswith("<") else label(fn)


def code_of(fn: Any) -> Any:
    """The code of a function, or of that in it; None if it is not written in Python."""
    *_, innermost = _layers(fn)
    return getattr(innermost, "__code__", None)


def first_line(fn: Callable[..., Any]) -> int:
    """The line of source where a function begins; 0 if it is not written in Python."""
    return getattr(code_of(fn), "co_firstlineno", 0)


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
        Of the function; see `label` and `first_line`.
    names
        Of the positional arguments, as far as they are known.
    rest
        Of the parameter that takes further ones; "" if there is none.
    """

    label: str
    line: int
    names: tuple[str, ...]
    rest: str = ""

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> Description:
        """The description of a function.

        Raises
        ------
        TypeError
            If it is none.
        """
        check_callable(fn)
        return cls(label(fn), first_line(fn), *_known_names(fn))

    def argument(self, i: int) -> str:
        """The name of a positional argument; "rest.0" in ``*rest``, "arg0" where unknown."""
        known = self.names
        if i < len(known):
            return known[i]
        return f"{self.rest}.{i - len(known)}" if self.rest else f"arg{i}"

    def arguments(self, n: int) -> tuple[str, ...]:
        """The names of the first n positional arguments."""
        return tuple([self.argument(i) for i in range(n)])


def argument_names(fn: Callable[..., Any], n: int) -> tuple[str, ...]:
    """The names of the first n positional arguments, "arg0" where unknown."""
    return Description.of(fn).arguments(n)


def note_lists(error: Exception, fn: Callable[..., Any], args: Iterable[Any]) -> None:
    """Note on an error of a function which of its arguments are lists of numbers, and no arrays."""
    # Python's messages about lists, and ours where NumPy was given one
    if not any(word in str(error) for word in ("list", "sequence", "gradient")):
        return
    names = Description.of(fn)
    for i, x in enumerate(args):
        name = names.argument(i)
        code = name if name.isidentifier() else "..."
        note = f"{name} is a list; write np.array({code}) where an array is meant"
        if type(x) is list and _is_numeric(x) and note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _is_numeric(x: Any) -> bool:
    """Whether x is a number, or a list of numbers, at any depth."""
    if type(x) is list:
        return bool(x) and all(map(_is_numeric, x))
    return isinstance(x, int | float | complex) or getattr(x, "shape", None) == ()


def _known_names(fn: Callable[..., Any]) -> tuple[tuple[str, ...], str]:
    """The names of the positional parameters, and of the one that takes the rest; "" for none."""
    taken = 0
    for layer in _layers(fn):
        if (known := getattr(layer, "__argument_names__", None)) is not None:
            return tuple(known)[taken:], ""
        taken += len(layer.args) if isinstance(layer, partial) else isinstance(layer, MethodType)
    code = code_of(fn)
    if code is None:
        return (), ""
    n, named = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    # those that a partial gives to the rest have no names
    takes_rest = code.co_flags & CO_VARARGS and taken <= n
    return code.co_varnames[taken:n], code.co_varnames[named] if takes_rest else ""


def by_name(thing: Any, *parts: Any) -> str | tuple[Any, ...]:
    """The result of ``__reduce__`` for an object that a decorator may put in a function's place.

    That is its name, if the name leads to it, as functions are pickled, because the function
    inside no longer can be. Otherwise it is the given class and its arguments.
    """
    module, name = thing.__dict__.get("__module__"), thing.__dict__.get("__qualname__") or ""
    named: Any = sys.modules.get(module)
    for part in name.split("."):
        named = getattr(named, part, None)
    # joblib, Ray and Dask pickle what is in __main__ by value, for workers that cannot import it;
    # they have copies of cloudpickle under their own names
    if named is not thing or (module == "__main__" and "cloudpickle" in called_from(2)[1]):
        return parts
    return name
