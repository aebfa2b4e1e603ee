"""Comparisons, logic and selection.

Comparisons and logic are recorded like any op, so that a program computes them from its inputs, but
they pass no gradient.
"""

from __future__ import annotations

import operator
from typing import Any, TypeGuard

import numpy as np

from tapegrad.arraylike.table import ANSWERS, answers
from tapegrad.core.forward import elementwise_jvp
from tapegrad.declare import op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.ops.element_pairs import selection_pairs
from tapegrad.types import Array, ArrayLike, Shape

__all__ = ["bitwise_and", "bitwise_or", "bitwise_xor", "equal", "greater", "greater_equal"]
__all__ += ["invert", "isclose", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "left_shift"]
__all__ += ["less", "less_equal", "logical_and", "logical_not", "logical_or", "logical_xor"]
__all__ += ["not_equal", "right_shift", "where"]


@op(None, None, ufunc=np.equal, complex=True)
def equal(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether ``x1 == x2``, element by element. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.equal(np.array([1.0, 2.0, 3.0]), 2.0)
    array([False,  True, False])
    """


@op(None, None, ufunc=np.not_equal, complex=True)
def not_equal(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether ``x1 != x2``, element by element. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.not_equal(np.array([1.0, 2.0, 3.0]), 2.0)
    array([ True, False,  True])
    """


@op(None, None, ufunc=np.less, complex=True)
def less(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether ``x1 < x2``, element by element. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.less(np.array([1.0, 2.0, 3.0]), 2.0)
    array([ True, False, False])
    """


@op(None, None, ufunc=np.less_equal, complex=True)
def less_equal(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether ``x1 <= x2``, element by element. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.less_equal(np.array([1.0, 2.0, 3.0]), 2.0)
    array([ True,  True, False])
    """


@op(None, None, ufunc=np.greater, complex=True)
def greater(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether ``x1 > x2``, element by element. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.greater(np.array([1.0, 2.0, 3.0]), 2.0)
    array([False, False,  True])
    """


@op(None, None, ufunc=np.greater_equal, complex=True)
def greater_equal(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether ``x1 >= x2``, element by element. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.greater_equal(np.array([1.0, 2.0, 3.0]), 2.0)
    array([False,  True,  True])
    """


@op(None, ufunc=np.isfinite, complex=True)
def isfinite(x: ArrayLike) -> Array:
    """Whether x is a number, neither infinite nor nan. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isfinite(np.array([1.0, np.inf, -np.inf, np.nan]))
    array([ True, False, False, False])
    """


@op(None, ufunc=np.isinf, complex=True)
def isinf(x: ArrayLike) -> Array:
    """Whether x is infinite. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isinf(np.array([1.0, np.inf, -np.inf, np.nan]))
    array([False,  True,  True, False])
    """


@op(None, ufunc=np.isnan, complex=True)
def isnan(x: ArrayLike) -> Array:
    """Whether x is nan. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isnan(np.array([1.0, np.inf, -np.inf, np.nan]))
    array([False, False, False,  True])
    """


@op(None, numpy=np.isposinf, batch=batch_elementwise)
def isposinf(x: ArrayLike) -> Array:
    """Whether x is plus infinity. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isposinf(np.array([1.0, np.inf, -np.inf, np.nan]))
    array([False,  True, False, False])
    """
    return np.isposinf(np.asarray(x))


@op(None, numpy=np.isneginf, batch=batch_elementwise)
def isneginf(x: ArrayLike) -> Array:
    """Whether x is minus infinity. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isneginf(np.array([1.0, np.inf, -np.inf, np.nan]))
    array([False, False,  True, False])
    """
    return np.isneginf(np.asarray(x))


def _read_isclose(
    a: ArrayLike,
    b: ArrayLike,
    rtol: ArrayLike = 1e-5,
    atol: ArrayLike = 1e-8,
    equal_nan: bool = False,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # the tolerances may be arrays, or depend on a Tensor
    return (a, b, rtol, atol), {"equal_nan": equal_nan} if equal_nan else {}


@op(
    None,
    None,
    None,
    None,
    numpy=np.isclose,
    read=_read_isclose,
    batch=batch_elementwise,
    complex=True,
)
def isclose(
    a: ArrayLike,
    b: ArrayLike,
    rtol: ArrayLike = 1e-5,
    atol: ArrayLike = 1e-8,
    equal_nan: bool = False,
) -> Array:
    """Whether a and b differ by no more than ``atol + rtol * abs(b)``. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.isclose(np.array([1.0, 2.0]), 1 + 1e-9)
    array([ True, False])
    """
    return np.isclose(a, b, rtol, atol, equal_nan)


@op(None, None, ufunc=np.bitwise_and, keeps_weak=True, whole=operator.and_)
def bitwise_and(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The bits that both have; for booleans, whether both are true. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.bitwise_and(np.array([5, 6]), 3)
    array([1, 2])
    """


@op(None, None, ufunc=np.bitwise_or, keeps_weak=True, whole=operator.or_)
def bitwise_or(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The bits that either has; for booleans, whether either is true. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.bitwise_or(np.array([5, 6]), 3)
    array([7, 7])
    """


@op(None, None, ufunc=np.bitwise_xor, keeps_weak=True, whole=operator.xor)
def bitwise_xor(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The bits that just one has; for booleans, whether just one is true. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.bitwise_xor(np.array([5, 6]), 3)
    array([6, 5])
    """


@op(None, None, ufunc=np.left_shift, keeps_weak=True, whole=operator.lshift)
def left_shift(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The bits of integers x1, shifted x2 places up. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.left_shift(np.array([5, 6]), 1)
    array([10, 12])
    """


@op(None, None, ufunc=np.right_shift, keeps_weak=True, whole=operator.rshift)
def right_shift(x1: ArrayLike, x2: ArrayLike) -> Array:
    """The bits of integers x1, shifted x2 places down. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.right_shift(np.array([5, 6]), 1)
    array([2, 3])
    """


@op(None, ufunc=np.invert, keeps_weak=True, whole=operator.invert)
def invert(x: ArrayLike) -> Array:
    """The inverted bits of x; for booleans, whether x is false. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.invert(np.array([5, 6]))
    array([-6, -7])
    """


@op(None, None, ufunc=np.logical_and, complex=True)
def logical_and(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether both are true (not zero). It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.logical_and(np.array([0.0, 2.0]), 1.0)
    array([False,  True])
    """


@op(None, None, ufunc=np.logical_or, complex=True)
def logical_or(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether either is true (not zero). It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.logical_or(np.array([0.0, 2.0]), 0.0)
    array([False,  True])
    """


@op(None, None, ufunc=np.logical_xor, complex=True)
def logical_xor(x1: ArrayLike, x2: ArrayLike) -> Array:
    """Whether just one is true (not zero). It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.logical_xor(np.array([0.0, 2.0]), 1.0)
    array([ True, False])
    """


@op(None, ufunc=np.logical_not, complex=True)
def logical_not(x: ArrayLike) -> Array:
    """Whether x is false (zero). It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.logical_not(np.array([0.0, 2.0]))
    array([ True, False])
    """


@op(
    None,
    lambda g, y, condition, x, otherwise: select(condition, g, 0),
    lambda g, y, condition, x, otherwise: select(condition, 0, g),
    keeps_weak=True,
    kink="an exact 0 for the side not taken",
    jvp=elementwise_jvp,
    pairs=selection_pairs,
    flat=(
        "",
        "{0} is False{where}, so {op} passes all of the cotangent to {2}",
        "{0} is True{where}, so {op} passes all of the cotangent to {1}",
    ),
    complex=True,
)
def where(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Array:
    """x where the condition holds, y elsewhere, with broadcasting.

    It selects and never multiplies: the side that is not taken gets a cotangent of
    exactly 0. But if that side's slope is infinite there, its rule multiplies 0
    by infinity, which is nan; guard its argument too (`sqrt` of ``where(x > 0, x, 1)``).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.where(x > 0, 5 * x, 0.0)))(np.array([-1.0, 3.0]))
    array([0., 5.])
    """
    return select(condition, x, y)


def _where_or_nonzero(condition: Array, *sides: Array) -> Array:
    """Call `where`; with only a condition, `nonzero`."""
    return where(condition, *sides) if sides else ANSWERS[np.nonzero](condition)


answers([np.where], _where_or_nonzero)


@op(
    None,
    lambda g, y, condition, x: select(condition, g, 0),
    jvp=elementwise_jvp,
    pairs=selection_pairs,
    flat=("", "{0} is False{where}, so {op} passes nothing on to {1}"),
    complex=True,
)
def keep(condition: ArrayLike, x: ArrayLike) -> Array:
    """x where the condition holds, 0 elsewhere, in the shape of the condition.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.ops.logic import keep
    >>> keep(np.array([True, False]), np.array([1.0, np.inf]))
    array([1., 0.])
    """
    return select(condition, x, 0)


_INT_DTYPES: dict[int, Any] = {2: np.int16, 4: np.int32, 8: np.int64}


def keep_into(condition: Array, x: Array, out: Array | None = None) -> Array:
    """Compute `keep` for floating arrays by integer products, in a tenth of the time of `where`.

    `out` may be x.
    """
    int_dtype = _INT_DTYPES.get(x.dtype.itemsize)
    if out is None:
        out = np.empty_like(condition, x.dtype)
    if int_dtype is None:
        out[...] = np.where(condition, x, 0)
    else:
        np.multiply(x.view(int_dtype), condition, out=out.view(int_dtype))
    return out


# in smaller arrays, the checks take longer than the selection
_LARGE = 1 << 11


def select(condition: ArrayLike, x: ArrayLike, y: ArrayLike) -> Array:
    """Select as ``np.where``, by `keep_into` if one side of a large selection is 0.

    NumPy branches for each element, which takes ten times as long if branches are mispredicted.
    """
    if type(condition) is np.ndarray and condition.dtype == bool and condition.size >= _LARGE:
        is_first = _is_zero(y)
        if (is_first or _is_zero(x)) and _can_keep(kept := x if is_first else y, condition.shape):
            return keep_into(condition if is_first else ~condition, kept)
    return np.where(condition, x, y)


def _can_keep(x: ArrayLike, shape: Shape) -> TypeGuard[Array]:
    """Whether x is a floating array that `keep_into` takes, and broadcasts to the shape."""
    if type(x) is not np.ndarray or x.dtype.char not in "efdF" or x.ndim > len(shape):
        return False
    lengths = zip(reversed(x.shape), reversed(shape), strict=False)
    return all(m in (1, n) for m, n in lengths) and x.dtype.isnative


def _is_zero(x: ArrayLike) -> bool:
    """Whether x is Python's 0, or 0.0 without a sign."""
    return type(x) in (int, float) and str(x) in ("0", "0.0")


def is_extremum(a: Array, y: Array) -> Array:
    """Return where an array equals its extremum; as in NumPy, nan is one."""
    ties = np.equal(a, y)
    is_concrete = isinstance(ties, np.ndarray | np.generic)
    # most arrays have no nan; a search for it takes two more passes over the elements
    if is_concrete and not np.not_equal(y, y).any():
        return ties
    return ties | np.not_equal(a, a)
