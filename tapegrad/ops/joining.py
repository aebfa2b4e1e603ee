"""Concatenation and stacking of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tapegrad.core.forward import Tangents, apply
from tapegrad.core.primitive import Joint, Primitive
from tapegrad.declare import op_with_reader
from tapegrad.declare.batching import Batched, batch_axis, flatten_examples, repeat_all_for_batch
from tapegrad.declare.signature import Arguments
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["concatenate", "stack"]


def _read_arrays(arrays: Array | Sequence[ArrayLike], axis: int | None = 0) -> Arguments:
    # axis 0.0 equals 0, but NumPy raises for it
    return tuple(arrays), {} if type(axis) is int and axis == 0 else {"axis": axis}


def _read_stack(arrays: Array | Sequence[ArrayLike], axis: int = 0) -> Arguments:
    return tuple(arrays), {} if type(axis) is int and axis == 0 else {"axis": axis}


def _join_jvp(op: Primitive, tangents: Tangents, y: Array, *arrays: Array, **options: Any) -> Array:
    """Join the tangents as the arrays are joined, with zeros for missing tangents."""
    parts = [
        tangents[i] if i in tangents else np.zeros(np.shape(x), y.dtype)
        for i, x in enumerate(arrays)
    ]
    return apply(op, tuple(parts), options)


def _concatenate_vjp(
    g: Cotangent, y: Array, *arrays: Array, axis: int | None = 0
) -> list[Cotangent]:
    """The operands' parts of g."""
    lengths = [np.size(x) if axis is None else np.shape(x)[axis] for x in arrays]
    before = () if axis is None else (slice(None),) * (axis % np.ndim(g))
    parts = [g[(*before, slice(*ends))] for ends in pairwise([0, *accumulate(lengths)])]
    if axis is None:
        return [part.reshape(np.shape(x)) for part, x in zip(parts, arrays, strict=True)]
    return parts


def _concatenate_batch(
    op: Primitive, batched: Batched, *arrays: Array, axis: int | None = 0
) -> Array:
    arrays = repeat_all_for_batch(batched, arrays)
    if axis is None:
        return apply(op, tuple([flatten_examples(x) for x in arrays]), {"axis": 1})
    return apply(op, arrays, {"axis": batch_axis(axis, arrays[0].ndim - 1)})


@op_with_reader(
    _read_arrays,
    each_operand=Joint(_concatenate_vjp),
    numpy=np.concatenate,
    takes_weak=True,
    batch=_concatenate_batch,
    jvp=_join_jvp,
    complex=True,
)
def concatenate(*arrays: ArrayLike, axis: int | None = 0) -> Array:
    """A sequence of arrays joined along an existing axis, or flattened if it is None.

    Called as ``concatenate([a, b], axis=0)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.concatenate([np.zeros(2), np.ones(1)])
    array([0., 0., 1.])
    """
    return np.concatenate(arrays, axis=axis)


def _stack_vjp(g: Cotangent, y: Array, *arrays: Array, axis: int = 0) -> list[Cotangent]:
    """The operands' parts of g."""
    before: tuple[Any, ...] = (slice(None),) * (axis % np.ndim(g))
    return [g[*before, i] for i in range(len(arrays))]


def _stack_batch(op: Primitive, batched: Batched, *arrays: Array, axis: int = 0) -> Array:
    arrays = repeat_all_for_batch(batched, arrays)
    return apply(op, arrays, {"axis": batch_axis(axis, arrays[0].ndim)})


@op_with_reader(
    _read_stack,
    each_operand=Joint(_stack_vjp),
    numpy=np.stack,
    batch=_stack_batch,
    jvp=_join_jvp,
    complex=True,
)
def stack(*arrays: ArrayLike, axis: int = 0) -> Array:
    """A sequence of arrays of one shape joined along a new axis.

    Called as ``stack([a, b], axis=0)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.stack([np.zeros(2), np.ones(2)], axis=1)
    array([[0., 1.],
           [0., 1.]])
    """
    return np.stack(arrays, axis=axis)
