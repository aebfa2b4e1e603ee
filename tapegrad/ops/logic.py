"""Comparisons, logic and selection.

Comparisons and logic are recorded like any op, so that a program made of the tape
decides anew on its own input, but they pass no gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.op import op

__all__ = [
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "equal",
    "greater",
    "greater_equal",
    "invert",
    "keep",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "where",
]


@op(None, None, ufunc=np.equal)
def equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 == x2``, element by element. It passes no gradient."""


@op(None, None, ufunc=np.not_equal)
def not_equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 != x2``, element by element. It passes no gradient."""


@op(None, None, ufunc=np.less)
def less(x1: Any, x2: Any) -> Any:
    """Where ``x1 < x2``, element by element. It passes no gradient."""


@op(None, None, ufunc=np.less_equal)
def less_equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 <= x2``, element by element. It passes no gradient."""


@op(None, None, ufunc=np.greater)
def greater(x1: Any, x2: Any) -> Any:
    """Where ``x1 > x2``, element by element. It passes no gradient."""


@op(None, None, ufunc=np.greater_equal)
def greater_equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 >= x2``, element by element. It passes no gradient."""


@op(None, None, ufunc=np.bitwise_and)
def bitwise_and(x1: Any, x2: Any) -> Any:
    """The bits that both have; of booleans, whether both are true. It passes no gradient."""


@op(None, None, ufunc=np.bitwise_or)
def bitwise_or(x1: Any, x2: Any) -> Any:
    """The bits that either has; of booleans, whether either is true. It passes no gradient."""


@op(None, None, ufunc=np.bitwise_xor)
def bitwise_xor(x1: Any, x2: Any) -> Any:
    """The bits that just one has; of booleans, whether just one is true. It passes no gradient."""


@op(None, ufunc=np.invert)
def invert(x: Any) -> Any:
    """The bits that x has not; of booleans, whether x is false. It passes no gradient."""


@op(None, None, ufunc=np.logical_and)
def logical_and(x1: Any, x2: Any) -> Any:
    """Where both are true (not zero). It passes no gradient."""


@op(None, None, ufunc=np.logical_or)
def logical_or(x1: Any, x2: Any) -> Any:
    """Where either is true (not zero). It passes no gradient."""


@op(None, None, ufunc=np.logical_xor)
def logical_xor(x1: Any, x2: Any) -> Any:
    """Where just one is true (not zero). It passes no gradient."""


@op(None, ufunc=np.logical_not)
def logical_not(x: Any) -> Any:
    """Where x is false (zero). It passes no gradient."""


@op(
    None,
    lambda g, y, condition, x, otherwise: np.where(condition, g, 0),
    lambda g, y, condition, x, otherwise: np.where(condition, 0, g),
    numpy=np.where,
    keeps_weak=True,
    source="where({0}, {1}, {2})",
    jvp="rule",
)
def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, y elsewhere, with broadcasting.

    It selects and never multiplies: the side not taken gets a cotangent of exactly
    0. But if that side's own slope is infinite there, 0 times infinity is nan
    further down; guard its argument too (`sqrt` of ``where(x > 0, x, 1)``).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.where(x > 0, 5 * x, 0.0)))(np.array([-1.0, 3.0]))
    array([0., 5.])
    """
    return np.where(condition, x, y)


@op(
    None,
    lambda g, y, condition, x: np.where(condition, g, 0),
    source="keep({0}, {1}, {out})",
    jvp="rule",
)
def keep(condition: Any, x: Any) -> Any:
    """x where the condition holds, 0 elsewhere, for two arrays of one shape.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.keep(np.array([True, False]), np.array([1.0, np.inf]))
    array([1., 0.])
    """
    return np.where(condition, x, 0)


_WHOLE = {4: np.int32, 8: np.int64}


def keep_into(condition: Any, x: Any, out: Any = None) -> Any:
    """`keep` of float32 or float64, by masking bits: a tenth of the time of a selection."""
    whole = _WHOLE[x.dtype.itemsize]
    if out is None:
        out = np.empty(x.shape, x.dtype)
    if not (x.flags.c_contiguous and condition.flags.c_contiguous):
        out[...] = np.where(condition, x, 0)
        return out
    mask = out.view(whole)
    # -1 has all bits, 0 none
    np.negative(condition.view(np.int8), out=mask)
    np.bitwise_and(x.view(whole), mask, out=mask)
    return out
