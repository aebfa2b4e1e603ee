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
    """Raised where a batch cannot be computed at once; each example then takes a call."""


# --- rules for declarations -----------------------------------------------------------------


def batch_elementwise(op: Primitive, batched: Batched, *operands: Any, **options: Any) -> Any:
    """Apply an elementwise op, whose rule only aligns the examples' axes."""
    return apply(op, align_examples(batched, operands), options)


def batch_stack(op: Primitive, batched: Batched, a: Any, **options: Any) -> Any:
    """Apply an op on stacks of matrices; the stack gets one more axis."""
    return apply(op, (a,), options) if a.ndim > 2 else NotImplemented


def batch_stacks(*ndims: int) -> Rule:
    """Return the rule of ops on stacks of operands that broadcast.

    `ndims` are the operands' ndims without the stack; matrices by default.
    """

    def rule(op: Primitive, batched: Batched, *operands: Any, **options: Any) -> Any:
        each = ndims or (2,) * len(operands)
        return apply(op, align_stacks(batched, operands, each), options)

    return rule


def batch_all_operands(op: Any, batched: Batched, *operands: Any, **options: Any) -> Any:
    """Apply an op whose operands may all have one more axis in front."""
    return apply(op, repeat_all_for_batch(batched, operands), options)


def batch_along_axis(op: Any, batched: Batched, a: Any, **options: Any) -> Any:
    """Apply an op along an axis of each example; None flattens the examples."""
    axis = options.get("axis", op.signature.defaults["axis"])
    if axis is None:
        a, axis = flatten_examples(a), 0
    elif a.ndim == 1:
        return NotImplemented
    return apply(op, (a,), {**options, "axis": batch_axis(axis, a.ndim - 1)})


# --- parts of rules ---------------------------------------------------------------------------


def align_examples(batched: Batched, operands: Sequence[Any]) -> tuple[Any, ...]:
    """Insert axes of length 1 after the leading one, so that the operands broadcast."""
    return align_stacks(batched, operands, (0,) * len(operands))


def align_stacks(
    batched: Batched, operands: Sequence[Any], ndims: Sequence[int]
) -> tuple[Any, ...]:
    """Align operands that are stacks of arrays with these ndims, so that the stacks broadcast."""
    most = max(
        [getattr(x, "ndim", 0) - b - n for x, b, n in zip(operands, batched, ndims, strict=True)]
    )
    return tuple(
        [
            expand_to_ndim(x, most + n) if b else x
            for x, b, n in zip(operands, batched, ndims, strict=True)
        ]
    )


def expand_to_ndim(x: Any, ndim: int) -> Any:
    """Give each array of a batch `ndim` axes; missing axes come first and have length 1."""
    missing = ndim - (x.ndim - 1)
    return x.reshape(x.shape[0], *(1,) * missing, *x.shape[1:]) if missing > 0 else x


def batch_axis(axis: Any, ndim: int) -> Any:
    """Return the position in a batch of one axis of an example, of several, or of all (None)."""
    if type(axis) is int and -ndim <= axis < ndim:
        return axis % ndim + 1
    axes = range(ndim) if axis is None else normalize_axis_tuple(axis, ndim)
    positions = tuple([i + 1 for i in axes])
    return positions[0] if len(positions) == 1 else positions


def flatten_examples(a: Any) -> Any:
    """Flatten each array of a batch."""
    return a if a.ndim == 2 else a.reshape(a.shape[0], math.prod(a.shape[1:]))


def repeat_for_batch(x: Any, batched: bool, n: int) -> Any:
    """Repeat an operand along a new leading axis, unless it has one."""
    return x if batched else np.broadcast_to(x, (n, *np.shape(x)))


def repeat_all_for_batch(batched: Batched, operands: Sequence[Any]) -> tuple[Any, ...]:
    """Give each operand the leading axis."""
    n = batch_size(batched, operands)
    return tuple([repeat_for_batch(x, b, n) for x, b in zip(operands, batched, strict=True)])


def batch_size(batched: Batched, operands: Sequence[Any]) -> int:
    """Return the number of examples."""
    n: int = operands[batched.index(True)].shape[0]
    return n
