"""Numbers and arrays as constant operands: which ones a tape takes, and the refusal of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import EllipsisType
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from tapegrad.errors.words import a_kind
from tapegrad.tree.ownership import owned_copy
from tapegrad.tree.structure import ARRAYS

PYTHON_NUMBERS = frozenset({float, int, bool, complex})
_DTYPES = frozenset(map(np.dtype, "dfebilq?"))
# the classes of most arguments
_COMMON = frozenset({float, int, bool, str, type(None), np.float64, np.str_})
_NUMBERS = (np.ndarray, np.generic, complex)
# the classes of options that are no text and no functions
_OPTIONS = (np.dtype, slice, EllipsisType)
# the kinds of real dtypes
_REAL = "fiub"
_TAKEN = _REAL + "c"


_PARTS = "; of complex ones take z.real, z.imag or np.abs(z)"
# NumPy compares some options, such as the order of a norm, with strings
_COMPARED = ", and a Tensor is no option of a NumPy function: pass its value (t.value)"


def as_constant(x: Any, what: str, takes_complex: bool = False) -> Any:
    """Return a constant operand in the form that a tape keeps: a Python number or an owned array.

    Raises
    ------
    TypeError
        For anything else, and for complex numbers unless the op takes them; `what` names the op
        in the message.
    """
    kind = type(x)
    if kind is ndarray:
        if x.dtype.kind not in (_TAKEN if takes_complex else _REAL):
            require_real(x.dtype, f"{what}: an operand")
        return owned_copy(x)
    if kind in PYTHON_NUMBERS:
        if kind is complex and not takes_complex:
            refuse_complex(what, x)
        return x
    if is_masked(x):
        raise TypeError(f"{what}: masked arrays are not supported; fill it first (x.filled(0))")
    if isinstance(x, np.matrix):
        raise TypeError(
            f"{what}: np.matrix is not supported, since its * and ** differ from those of arrays; "
            "convert it first (np.asarray(m)), and write @ for products of matrices"
        )
    # an array class with its own __array_ufunc__ carries more than numbers, such as units
    is_array = isinstance(x, np.ndarray) and kind.__array_ufunc__ is np.ndarray.__array_ufunc__
    if is_array or isinstance(x, np.generic | list | tuple):
        return as_constant(np.asarray(x), what, takes_complex)
    remedy = ""
    if hasattr(kind, "__array__"):
        # a mask or a condition has no unit, so a column of a table, for instance, may be one
        array = np.asarray(x)
        if array.dtype.kind == "b":
            return owned_copy(array)
        remedy = "; pass its numbers (np.asarray of it)"
    raise TypeError(
        f"{what}: an operand is {a_kind(x)}; an array or a number is needed"
        + (_COMPARED if kind is str else remedy)
    )


def is_masked(x: object) -> bool:
    """Whether x is a masked array."""
    # NumPy imports masked arrays, which takes longer than most programs, at their first use
    is_other = isinstance(x, ndarray) and type(x) is not ndarray
    return is_other and isinstance(x, np.ma.MaskedArray)


def refuse_unreal(
    what: str, values: Iterable[Any], takes_complex: object = False, takes_none: bool = True
) -> None:
    """Raise for an array or a number that a tape refuses, in a call that writes no record.

    A mask would be ignored. Formulas for real numbers are wrong for complex numbers, which are
    refused unless `takes_complex`. Lists are searched too, since NumPy turns them into arrays. A
    text, a function or a class may be an option, and passes, and so does None if `takes_none`; of
    another object, such as a dict, NumPy would make an array of objects.
    """
    for x in values:
        kind = type(x)
        if kind is ndarray:
            # a set of dtypes is faster than their kinds, which are new strings
            if x.dtype not in _DTYPES and x.dtype.kind not in (_TAKEN if takes_complex else _REAL):
                as_constant(x, what)
        elif kind is list or kind is tuple:
            refuse_unreal(what, x, takes_complex, takes_none=False)
        elif kind in _COMMON:
            if x is None and not takes_none:
                as_constant(x, what)
        elif isinstance(x, _NUMBERS):
            if not _is_real(x):
                as_constant(x, what, bool(takes_complex))
        elif kind in ARRAYS:
            if x.dtype.kind == "c" and not takes_complex:
                refuse_complex(what, x)
        elif not (isinstance(x, _OPTIONS) or callable(x)):
            refuse_objects(what, x)


def refuse_objects(what: str, x: object) -> None:
    """Raise for an operand that NumPy would turn into an array of objects, such as a dict."""
    if np.asarray(x).dtype.kind == "O":
        as_constant(x, what)


def refuse_lossy(what: str, leaves: Iterable[Any], find_paths: Callable[[], Sequence[str]]) -> None:
    """Raise for an array in a result whose class carries more than numbers: a mask, or a unit.

    A leaf that is passed on as an array would lose the mask or the unit. Objects, strings and
    complex numbers are passed on unchanged.
    """
    for i, x in enumerate(leaves):
        if type(x) is not ndarray and isinstance(x, ndarray) and not _is_real(x):
            path = find_paths()[i]
            as_constant(x, f"{what}: the result{path and f' at {path}'}")


def _is_real(x: object) -> bool:
    """Whether a tape takes x, an array of a subclass or a number."""
    if not isinstance(x, np.ndarray):
        return isinstance(x, np.generic) and x.dtype.kind in _REAL
    is_array = type(x).__array_ufunc__ is ndarray.__array_ufunc__
    return is_array and x.dtype.kind in _REAL and not (is_masked(x) or isinstance(x, np.matrix))


def require_real(dtype: np.dtype[Any], what: str, takes_complex: bool = False) -> None:
    """Raise unless a dtype holds real numbers, or complex ones if `takes_complex`."""
    if dtype.kind not in _REAL and not (takes_complex and dtype.kind == "c"):
        raise TypeError(f"{what} is {dtype}, but must hold real numbers{_PARTS}")


def refuse_complex(what: str, x: object) -> NoReturn:
    """Raise for complex numbers where real numbers are needed; `x` is a value or a dtype."""
    dtype = x if isinstance(x, np.dtype) else getattr(x, "dtype", "complex")
    raise TypeError(
        f"{what} does not take complex numbers ({dtype}): it orders numbers, or its formula is "
        f"one for real numbers{_PARTS}"
    )


def require_64_bits(x: object, what: str) -> None:
    """Raise for a Python int that NumPy could only hold in an array of objects."""
    if type(x) is int and not -(2**63) <= x < 2**64:
        raise TypeError(f"{what} must be an integer of at most 64 bits; got {x.bit_length()} bits")


def is_floating(x: Any) -> bool:
    """Whether x has a gradient: a floating or complex array, Tensor or number."""
    if type(x) is ndarray:
        return x.dtype.kind in "fc"
    if isinstance(x, float | complex):
        return True
    return (isinstance(x, np.ndarray | np.generic) or type(x) in ARRAYS) and x.dtype.kind in "fc"


def describe(x: Any) -> str:
    """Describe an operand in a few words: its dtype and shape, or its type and value."""
    if isinstance(x, np.ndarray) or type(x) in ARRAYS:
        return f"{x.dtype} {x.shape}"
    if is_foreign_array(x):
        return f"{type(x).__name__} of {x.dtype} {x.shape}"
    return f"{type(x).__name__} {x!r}"


def is_foreign_array(x: object) -> bool:
    """Whether an object is an array of another library, which NumPy reads."""
    like_one = all(hasattr(x, name) for name in ("__array__", "dtype", "shape"))
    return like_one and not isinstance(x, np.generic)


def refuse_leaf(name: str, leaf: object, path: str) -> NoReturn:
    """Raise for a leaf that is not floating, in an argument to differentiate."""
    parent, _, place = path.rpartition(".")
    remedy = (
        f"pass {path}.astype(float)"
        if isinstance(leaf, np.ndarray)
        else f"pass float({path}), or np.array({parent}, float) if {parent} is one vector"
        if isinstance(leaf, int) and parent and place.isdigit()
        else f"pass float({path})"
        if isinstance(leaf, int)
        else f"pass its numbers (np.asarray({path}))"
        if is_foreign_array(leaf)
        else "make it a tree (dict, list, tuple, NamedTuple, attrs class), take it out of the "
        "differentiated argument"
        if hasattr(leaf, "__dict__") or isinstance(leaf, Mapping)
        else "take it out of the differentiated argument"
    )
    raise TypeError(
        f"cannot differentiate {name} with respect to {path}, which is "
        f"{describe(leaf)}: only floating leaves have a gradient; {remedy}, or leave the "
        "argument out of argnums"
    )
