"""Batching rules for vmap.

`vmap` replays a recording of one example on arrays with one more axis in front. For this each op
has a batching rule: a function of the op, of flags that mark the operands with the axis, of the
operands and of the options. It returns the results of all examples along a leading axis. An op
without a rule is called once for each example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Primitive, Rule

Batched = tuple[bool, ...]


class OneByOneError(Exception):
    """A batch cannot be computed at once; the function is called for each example instead."""


# --- rules for declarations -----------------------------------------------------------------


def pointwise(op: Primitive, batched: Batched, *operands: Any, **options: Any) -> Any:
    """The rule of elementwise ops, which only aligns the examples' axes."""
    return apply(op, aligned(batched, operands), options)


def stacked(op: Primitive, batched: Batched, a: Any, **options: Any) -> Any:
    """The rule of ops on stacks of matrices; the stack gets one more axis."""
    return apply(op, (a,), options) if a.ndim > 2 else NotImplemented


def stacks_of(*ndims: int) -> Rule:
    """The rule of ops on stacks of operands with these ndims, which broadcast; matrices if none."""

    def rule(op: Primitive, batched: Batched, *operands: Any, **options: Any) -> Any:
        each = ndims or (2,) * len(operands)
        return apply(op, align_stacks(batched, operands, each), options)

    return rule


def filled(op: Any, batched: Batched, *operands: Any, **options: Any) -> Any:
    """The rule of ops whose operands may all have one more axis in front."""
    return apply(op, all_with_batch(batched, operands), options)


def along_axis(op: Any, batched: Batched, a: Any, **options: Any) -> Any:
    """The rule of ops along an axis, which is counted behind the leading one; None flattens."""
    axis = options.get("axis", op.signature.defaults["axis"])
    if axis is None:
        a, axis = flattened(a), 0
    elif a.ndim == 1:
        return NotImplemented
    return apply(op, (a,), {**options, "axis": batch_axis(axis, a.ndim - 1)})


# --- parts of rules ---------------------------------------------------------------------------


def aligned(batched: Batched, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The operands with axes of length 1 after the leading one, so that they broadcast."""
    return align_stacks(batched, operands, (0,) * len(operands))


def align_stacks(
    batched: Batched, operands: Sequence[Any], ndims: Sequence[int]
) -> tuple[Any, ...]:
    """Operands of a batch that are stacks of arrays with these ndims; the stacks broadcast."""
    most = max(
        [getattr(x, "ndim", 0) - b - n for x, b, n in zip(operands, batched, ndims, strict=True)]
    )
    return tuple(
        [
            with_ndim(x, most + n) if b else x
            for x, b, n in zip(operands, batched, ndims, strict=True)
        ]
    )


def with_ndim(x: Any, ndim: int) -> Any:
    """A batch of arrays with `ndim` axes; missing axes come first and have length 1."""
    missing = ndim - (x.ndim - 1)
    return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:]) if missing > 0 else x


def batch_axis(axis: Any, ndim: int) -> Any:
    """The position in a batch of one axis of an example, of several axes, or of all (None)."""
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim + 1
    axes = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    places = tuple([i + 1 for i in axes])
    return places[0] if len(places) == 1 else places


def flattened(a: Any) -> Any:
    """A batch of flattened arrays."""
    return a if a.ndim == 2 else a.reshape(a.shape[0], math.prod(a.shape[1:]))


def with_batch(x: Any, batched: bool, n: int) -> Any:
    """An operand with the leading axis, along which it is repeated unless it is batched."""
    return x if batched else np.broadcast_to(x, (n, *np.shape(x)))


def all_with_batch(batched: Batched, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The operands, each with the leading axis."""
    n = batch_size(batched, operands)
    return tuple([with_batch(x, b, n) for x, b in zip(operands, batched, strict=True)])


def batch_size(batched: Batched, operands: Sequence[Any]) -> int:
    """The number of examples."""
    n: int = operands[batched.index(True)].shape[0]
    return n
