"""Abstract evaluation of an op, while compiling: only the shape and dtype of its result matter.

Python ints keep their values: they may be shapes. Their arithmetic is exact; NumPy's wraps at 64
bits, and its division by zero gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from tapegrad.core.rules import Rules
from tapegrad.errors import TapegradError
from tapegrad.errors.lines import SILENT, STATE

R = TypeVar("R")


def evaluate(op: Rules, values: list[Any], options: Mapping[str, Any]) -> Any:
    """A value of the shape and dtype of an op's result, for a recording without values.

    NumPy's warnings are silenced, since some values are placeholders, such as a loop's zeros; the
    program warns when it runs.
    """
    return like_result(op, exactly(op, values), values, options)


def like_result(
    op: Rules, forward: Callable[..., Any], values: list[Any], options: Mapping[str, Any]
) -> Any:
    """A value of the shape and dtype of an op's result, by the op's `like` or else by `forward`."""
    # written out, since a call of `silently` takes longer
    before = STATE.set(SILENT)
    try:
        return by_shapes(op.like or forward, values, options)
    finally:
        STATE.reset(before)


def by_shapes(fn: Callable[..., R], values: list[Any], options: Mapping[str, Any]) -> R:
    """A function's result at values of which only shapes and dtypes matter.

    The values may be placeholders. If the function fails at them, it is called at values where
    most functions are defined. If it fails again, the cause is their shapes or dtypes.
    """
    try:
        return fn(*values, **options)
    except TapegradError:
        raise
    except Exception as error:
        try:
            return fn(*_usual(values), **options)
        except Exception:
            raise error from None


@lru_cache(1 << 10)
def loop_dtypes(op: Rules, *kinds: Any) -> Any:
    """The dtypes that a ufunc computes with; for a Python number, `kinds` has its class."""
    ufunc: Any = op.forward
    return ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout))


def silently(fn: Callable[..., R], /, *args: Any, **options: Any) -> R:
    """A function's result, without NumPy's warnings about placeholder values."""
    before = STATE.set(SILENT)
    try:
        return fn(*args, **options)
    finally:
        STATE.reset(before)


def whole_power(base: int, exponent: int) -> int:
    """A power of ints that is an int; a negative exponent would make it a float.

    Raises
    ------
    ValueError
        If the exponent is negative, as NumPy does.
    """
    if exponent < 0:
        raise ValueError(
            f"{base} ** {exponent}: integers to negative integer powers are not allowed; make the "
            "base a float"
        )
    power: int = base**exponent
    return power


def forward_of(op: Rules, values: list[Any]) -> Callable[..., Any]:
    """The function to call for an op while compiling, with these operands."""
    return exactly(op, values) if op.like is None else op.like


def exactly(op: Rules, values: list[Any]) -> Callable[..., Any]:
    """The function that computes an op of these operands; Python ints do not wrap."""
    if op.whole is None:
        return op.forward
    for x in values:
        if not isinstance(x, int):
            return op.forward
    return op.whole


def _usual(values: Iterable[Any]) -> list[Any]:
    """Values of the same shapes and dtypes at which most ops are defined.

    While compiling, the results of a loop are zeros, which have no inverse and are no denominator,
    and values computed from them may be nan. They are replaced: matrices by identities, vectors by
    increasing numbers between 0 and 1, as knots need. Integers stay, since they may be indices.
    """
    return [_usual_like(x) if np.asarray(x).dtype.kind in "fc" else x for x in values]


def _usual_like(x: Any) -> Any:
    if type(x) in (float, complex):
        return type(x)(0.5)
    if np.ndim(x) > 1:
        return np.broadcast_to(np.eye(*x.shape[-2:], dtype=x.dtype), x.shape)
    return np.linspace(0.25, 0.75, x.size).reshape(x.shape).astype(x.dtype)
