"""Ownership of arrays: nobody changes one that is on a tape or has been handed out.

An array that comes in is copied once (`owned_copy`), unless a marker says that the package made
it. Flags cannot say so: an array that is read-only and owns its data may have a writeable view. An
array that goes out is a read-only view of read-only memory: of an array that the package holds
(`readonly_view`), or of a new array (`readonly_array`). No function of NumPy writes to it, except
``ufunc.at`` before NumPy 2.5, and NumPy refuses to make it writeable.

In this module flags are set by position, which takes half the time.
"""

from __future__ import annotations

import copy
import os
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, NoReturn, Self

import numpy as np
from numpy import ndarray

from tapegrad.errors.words import a_kind
from tapegrad.tree.structure import Tree, is_record
from tapegrad.types import Array


class Unchanging:
    """The base of objects that never change: a copy is the object itself."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


# The size in bytes from which copying an array takes longer than marking it.
LARGE = 1 << 14


class _Ours(np.ndarray[Any, Any]):
    """The base of read-only memory that the package allocated, and that nobody can write to."""


def owned_copy(x: Any) -> Any:
    """Return a copy that the package may hold: changes to `x` do not affect it.

    Parameters
    ----------
    x
        An array, which is copied unless the package marked it, or an option of an op: lists become
        tuples, sets become frozen sets, and dicts become read-only dicts, at any depth. Functions,
        classes and immutable objects are returned themselves. Other objects are copied deeply.

    Raises
    ------
    TypeError
        If an object can be neither shared nor copied.
    """
    kind = type(x)
    if kind is ndarray:
        if x.nbytes >= LARGE and _is_ours(x):
            # a view, since the caller may set the shape, dtype and strides of its object
            return x.view()
        x = x.copy("K")
        x.setflags(False)
        return x
    if kind in _CONSTANT or (kind is tuple and _CONSTANT.issuperset(map(type, x))):
        return x
    if kind is list or kind is tuple:
        return tuple([owned_copy(part) for part in x])
    return _copy_object(x)


def readonly_view(x: Tree) -> Tree:
    """Return a read-only view of a value that the package or the caller holds.

    An array is a new object, so setting its shape, dtype or strides affects no other. Lists,
    tuples, sets and dicts are new too, with such arrays in them at any depth. Any other object is
    returned itself.
    """
    kind = type(x)
    if kind is ndarray:
        x = x.view()
        x.setflags(False)
        return x
    if kind in (list, tuple, set):
        return kind([readonly_view(part) for part in x])
    if kind is dict or kind is _ReadOnlyDict:
        return kind({name: readonly_view(part) for name, part in x.items()})
    return x._make(map(readonly_view, x)) if isinstance(x, tuple) and hasattr(x, "_make") else x


def readonly_array(x: object) -> Array:
    """Turn a new array or number into a read-only array of read-only memory, to hand out.

    A large array is marked, so that `owned_copy` need not copy it. A view is copied, unless its
    base has the mark.
    """
    if type(x) is not ndarray:
        x = np.asarray(x)
    elif x.base is not None:
        if _is_ours(x):
            return x.view()
        x = x.copy("K")
    x.setflags(False)  # type: ignore[call-arg]
    if x.nbytes < LARGE:
        return x.view()
    # twice, since NumPy takes the base of a view's base where that has the class of the view
    return x.view(_Ours).view(_Ours).view(ndarray)


def as_primal(value: Any, is_weak: bool) -> Any:
    """Return a result in the form that a tape keeps: a read-only array, or a Python number.

    NumPy promotes a Python number weakly (NEP 50), so a result of Python numbers alone stays one if
    `is_weak`.
    """
    if is_weak:
        return value.item() if isinstance(value, np.generic) else value
    value = np.asarray(value)
    value.setflags(False)
    return value


def as_readonly_leaf(x: object) -> Array:
    """Return a record itself, and any other new leaf as a read-only array."""
    return x if is_record(x) else readonly_array(x)


def _is_ours(x: Array) -> bool:
    """Whether `readonly_array` marked an array or its base."""
    base = x.base
    return type(base) is _Ours or (type(base) is ndarray and type(base.base) is _Ours)


# --- options ------------------------------------------------------------------------------


class _ReadOnlyDict(dict[Any, Any]):
    """A dict that refuses changes."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("an option is never changed; change a copy: dict(option)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _ReadOnlyDict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> _ReadOnlyDict:
        return self


# immutable types; an object() serves as a sentinel, compared by identity
_CONSTANT: frozenset[Any] = frozenset(
    {
        *(bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented)),
        *(slice, range, object, _ReadOnlyDict, np.ufunc, type(np.sum)),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType),
    }
)


def _copy_object(x: object) -> Any:
    """Copy an option that is neither an array nor a plain container."""
    if isinstance(x, np.ndarray):
        x = x.copy("K")
        x.setflags(write=False)
        return x
    if isinstance(x, tuple) and hasattr(x, "_make"):
        return x._make(map(owned_copy, x))
    if isinstance(x, set):
        return frozenset(map(owned_copy, x))
    if isinstance(x, type | Enum | np.generic | np.dtype) or _is_package_object(x):
        return x
    if isinstance(x, Mapping):
        return _ReadOnlyDict({name: owned_copy(part) for name, part in x.items()})
    try:
        return copy.deepcopy(x)
    except Exception as error:
        raise TypeError(
            f"an option is {a_kind(x)}, which may change and cannot be copied; pass "
            "arrays, numbers, strings, or containers of these"
        ) from error


def _is_package_object(x: object) -> bool:
    """Whether x belongs to a class of this package whose objects never change."""
    kind: Any = type(x)
    return hasattr(kind, "__tree_leaf__") or hasattr(kind, "__compiled__")


# the largest size that raises glibc's limit, less some pages for the allocator's own data
_MOST = (32 << 20) - (64 << 10)


def keep_freed_memory() -> None:
    """Let up to 64 MB of freed memory stay with the process, for the next recording.

    A tape keeps its values until it is swept, and frees them together. If more memory than a limit
    is free at the end of its heap, glibc gives it back to the system. The next recording takes it
    again, page by page, which can take twice as long as computing. The limit is twice the size of
    the largest array that the process has freed, up to 32 MB (mallopt(3), M_MMAP_THRESHOLD). So it
    is enough to allocate and free one array of that size; its elements are not touched.

    Nothing changes where the environment sets glibc's limits or ``TAPEGRAD_KEEP_MEMORY=0``, or with
    another C library.
    """
    if sys.platform == "linux" and os.environ.get("TAPEGRAD_KEEP_MEMORY") != "0":
        with suppress(MemoryError):
            np.empty(_MOST, np.uint8)
