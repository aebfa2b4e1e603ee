"""Constant operands: the arrays and numbers that may stand on a tape beside Tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.face.ownership import keep
from tapegrad.face.text import a_kind

PYTHON_NUMBERS = frozenset({float, int, bool})
_DTYPES = frozenset(map(np.dtype, "dfebilq?"))
# of which most arguments are
_COMMON = frozenset({float, int, bool, str, type(None), np.float64, np.str_})
_NUMBERS = (np.ndarray, np.generic, complex)
# the kinds of dtypes that ops take
_REAL = "fiub"


# NumPy compares some options, such as the order of a norm, with strings
_COMPARED = ", and a Tensor is no option of a NumPy function: pass its value (t.value)"


def as_constant(x: Any, what: str) -> Any:
    """A constant operand as the tape may keep it: a Python number or an array.

    Raises
    ------
    TypeError
        For anything else; `what` names its op in the message.
    """
    kind = type(x)
    if kind is ndarray:
        if x.dtype.kind not in _REAL:
            require_real(x.dtype, f"{what}: an operand")
        return keep(x)
    if kind in PYTHON_NUMBERS:
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{what}: masked arrays are not supported; fill it first (x.filled(0))")
    if isinstance(x, np.matrix):
        raise TypeError(
            f"{what}: np.matrix is not supported, since its * and ** differ from those of arrays; "
            "convert it first (np.asarray(m)), and write @ for products of matrices"
        )
    # an array with its own __array_ufunc__ has more than its numbers, such as units
    is_array = isinstance(x, np.ndarray) and kind.__array_ufunc__ is np.ndarray.__array_ufunc__
    if is_array or isinstance(x, np.generic | list | tuple):
        return as_constant(np.asarray(x), what)
    remedy = "; pass its numbers (np.asarray of it)" if hasattr(kind, "__array__") else ""
    raise TypeError(
        f"{what}: an operand is {a_kind(x)}; an array or a number is needed"
        + (_COMPARED if kind is str else remedy)
    )


def refuse_unreal(what: str, given: Iterable[Any]) -> None:
    """Raise for an array or a number that a tape refuses, where none is written.

    A mask would be ignored, and formulas for real numbers are wrong for others. Lists are looked
    into, since NumPy makes arrays of them; anything that is not a number may be an option.
    """
    for x in given:
        kind = type(x)
        if kind is ndarray:
            # a set of dtypes is faster than their kinds, which are new strings
            if x.dtype not in _DTYPES and x.dtype.kind not in _REAL:
                as_constant(x, what)
        elif kind is list or kind is tuple:
            refuse_unreal(what, x)
        elif kind not in _COMMON and isinstance(x, _NUMBERS) and not _is_real(x):
            as_constant(x, what)


def refuse_lossy(what: str, leaves: Iterable[Any]) -> None:
    """Raise for an array whose class says more than its numbers, such as a mask or a unit.

    Wherever a leaf is handed on as an array, that is lost. Objects, texts and complex numbers are
    handed on as they are.
    """
    for x in leaves:
        if type(x) is not ndarray and isinstance(x, ndarray) and not _is_real(x):
            as_constant(x, what)


def _is_real(x: Any) -> bool:
    """Whether an array of another class, or a number, is one that a tape takes."""
    if not isinstance(x, np.ndarray):
        return isinstance(x, np.generic) and x.dtype.kind in _REAL
    is_array = type(x).__array_ufunc__ is ndarray.__array_ufunc__
    # named here, since NumPy loads masked arrays where they are first asked for
    return is_array and x.dtype.kind in _REAL and not isinstance(x, np.ma.MaskedArray | np.matrix)


def require_real(dtype: np.dtype[Any], what: str) -> None:
    """Raise unless a dtype holds real numbers: a sweep would lose the gradients of others."""
    if dtype.kind not in _REAL:
        raise TypeError(f"{what} is {dtype}; tapegrad takes real numbers only")


def require_64_bits(x: Any, what: str) -> None:
    """Raise for a Python int of which NumPy could only make an array of objects."""
    if type(x) is int and not -(2**63) <= x < 2**64:
        raise TypeError(f"{what} must be an integer of at most 64 bits; got {x.bit_length()} bits")
