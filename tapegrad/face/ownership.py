"""Ownership of arrays: nobody changes one that is on a tape or has been handed out.

Every array that enters the package goes through `keep` or `own`, and every array that leaves it
through `lend` or `give`:

======  =====================  =======================================
        who made the array     who sees the result
======  =====================  =======================================
`own`   the caller             the package alone
`keep`  the caller             the package, and whom it hands it on to
`lend`  the package, earlier   the caller, beside the package
`give`  the package, just now  the caller alone
======  =====================  =======================================

NumPy's flags cannot tell whether an array can still be written to: one that is
read-only and owns its data may have a writeable view. So `keep` copies every array except those
that `give` marked.

Flags are set by position here, which takes half the time.
"""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from pickle import PickleBuffer
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from tapegrad.face.text import a_kind

# as NDArray[Any] in numpy.typing, which takes long to import
Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]

# The size in bytes from which copying takes longer than marking an array as ours.
LARGE = 1 << 14


class _Made(np.ndarray[Any, Any]):
    """The base of each array that `give` marks: read-only memory that is ours alone."""


def _at_writes() -> bool:
    """Whether ``ufunc.at`` writes to read-only arrays, as it does in NumPy before 2.5.

    It does so wherever the index selects single elements, and nothing can prevent it. So on these
    versions nothing is shared: what comes in is copied, and so is what is lent.
    """
    x = np.zeros(1)
    x.setflags(write=False)
    try:
        np.add.at(x, np.zeros(1, np.intp), 1.0)
    except ValueError:
        return False
    return bool(x[0])


_AT_WRITES = _at_writes()


def keep(x: Any) -> Any:
    """A value that the package may hold: nothing that the caller does to `x` affects it.

    Parameters
    ----------
    x
        An array, which is copied unless `give` made it, or an option of an op: lists become
        tuples, sets frozen sets, and dicts read-only ones, at any depth. Functions, classes and
        immutable objects stay themselves. Other objects are copied deeply.

    Raises
    ------
    TypeError
        If an object can be neither shared nor copied.
    """
    kind = type(x)
    if kind is ndarray:
        # NumPy refuses to unlock a view
        return own(x).view()
    if kind in _CONSTANT or (kind is tuple and _CONSTANT.issuperset(map(type, x))):
        return x
    if kind is list or kind is tuple:
        return tuple([keep(part) for part in x])
    if kind is dict or kind is types.MappingProxyType:
        return _ReadOnlyDict({name: keep(part) for name, part in x.items()})
    return _keep_object(x)


def own(x: Array) -> Array:
    """An array that the package alone holds; like `keep`, but not to be handed out."""
    if x.nbytes >= LARGE and _is_made(x):
        # the caller may set the shape, dtype and strides of its own object
        return x.view()
    x = x.copy("K")
    x.setflags(False)  # type: ignore[call-arg]
    return x


def lend(x: Any) -> Any:
    """A value that the package or the caller still holds, for others to read.

    An array is a new object, so setting its shape, dtype or strides affects no other, and NumPy
    refuses to make it or its base writeable. If ``ufunc.at`` writes to read-only arrays, it is a
    copy. Lists, tuples, sets and dicts are new too, with such arrays in them at any depth.
    Everything else stays itself.
    """
    kind = type(x)
    if kind is not np.ndarray:
        if kind in (list, tuple, set):
            return kind([lend(part) for part in x])
        if kind is dict or kind is _ReadOnlyDict:
            return kind({name: lend(part) for name, part in x.items()})
        return x._make(map(lend, x)) if isinstance(x, tuple) and hasattr(x, "_make") else x
    if _is_made(x):
        return x.view()
    if _AT_WRITES or not x.flags.c_contiguous:
        return give(x.copy("K"))
    x = x.view()
    x.setflags(False)
    return np.ndarray(x.shape, x.dtype, PickleBuffer(x))  # type: ignore[arg-type]


def shown(x: Any) -> Any:
    """An array of the caller, for a function that the caller wrote, which must not write to it.

    Unlike what `lend` makes, it takes a tenth of a microsecond, and is for as long as the call.
    """
    if type(x) is not ndarray:
        return x
    x = x.view()
    x.setflags(False)
    return x


def give(x: Any) -> Array:
    """Hand out an array or number that was just made and that nothing else refers to.

    NumPy refuses to make it writeable. A large one is marked, and its base protected too, so
    `keep` accepts it without a copy.
    """
    if type(x) is not ndarray:
        x = np.asarray(x)
    elif x.base is not None:
        if _is_made(x):
            return x
        x = x.copy("K")
    x.setflags(False)
    if x.nbytes < LARGE:
        return x.view()  # type: ignore[no-any-return]
    if x.flags.c_contiguous:
        return _marked(x)
    return _marked(x.T).T if x.flags.f_contiguous else x.view()


def _marked(x: Array) -> Array:
    # one base of another class, and one that is not an array: NumPy looks through neither
    made = np.ndarray.__new__(_Made, x.shape, x.dtype, PickleBuffer(x))  # type: ignore[arg-type]
    return made.view(np.ndarray)


def _is_made(x: Array) -> bool:
    """Whether an array is, or is a view of, one that `give` marked, which cannot change."""
    base = x.base
    return not _AT_WRITES and (
        type(base) is _Made or (type(base) is ndarray and type(base.base) is _Made)
    )


# --- options ------------------------------------------------------------------------------


class _ReadOnlyDict(dict[Any, Any]):
    """A dict that is never changed."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("an option is never changed; change a copy: dict(option)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    update = setdefault = pop = popitem = clear = _refuse

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _ReadOnlyDict, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> _ReadOnlyDict:
        return self


# immutable types; an object() is a mark, compared by identity
_CONSTANT: frozenset[Any] = frozenset(
    {
        *(bool, int, float, complex, str, bytes, type(None), type(...), type(NotImplemented)),
        *(slice, range, object, _ReadOnlyDict, np.ufunc, type(np.sum)),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType),
    }
)


def _keep_object(x: Any) -> Any:
    """An option that is neither an array nor a plain container."""
    if isinstance(x, np.ndarray):
        x = x.copy("K")
        x.setflags(write=False)
        return x
    if isinstance(x, tuple) and hasattr(x, "_make"):
        return x._make(map(keep, x))
    if isinstance(x, set):
        return frozenset(map(keep, x))
    if isinstance(x, Mapping):
        return _ReadOnlyDict({name: keep(part) for name, part in x.items()})
    if isinstance(x, type | Enum | np.generic | np.dtype) or _is_own(x):
        return x
    try:
        return copy.deepcopy(x)
    except Exception as error:
        raise TypeError(
            f"an option is {a_kind(x)}, which may change and cannot be copied; pass "
            "arrays, numbers, strings, or containers of these"
        ) from error


def _is_own(x: Any) -> bool:
    """Whether an object is one of ours, which never changes."""
    kind: Any = type(x)
    return hasattr(kind, "__tree_leaf__") or hasattr(kind, "__compiled__")


# the largest size that counts, less some pages for what C adds to it
_MOST = (32 << 20) - (64 << 10)


def keep_freed_memory() -> None:
    """Let up to 64 MB of freed memory stay with the process, for the next recording.

    A tape keeps its values until it is swept, and frees them together. glibc gives free memory at
    the end of its heap back to the system where there is more than a limit. The next recording
    takes it again, page by page, which can take twice as long as computing. The limit is twice the
    size of the largest array that the process has freed, up to 32 MB (mallopt(3),
    M_MMAP_THRESHOLD): so it is enough to allocate and free one array of that size, of which
    nothing is read or written.

    Nothing changes where the environment sets glibc's limits, or with another C library.
    """
    if sys.platform == "linux":
        with suppress(MemoryError):
            np.empty(_MOST, np.uint8)
