"""Concatenation and stacking of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.primitive import Joint
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, all_with_batch, batch_axis, flattened

__all__ = ["concatenate", "stack"]


def _parts(arrays: Sequence[Any], axis: int = 0) -> tuple[tuple[Any, ...], dict[str, Any]]:
    # NumPy refuses 0.0
    return tuple(arrays), {} if type(axis) is int and axis == 0 else {"axis": axis}


def _joined(op: Any, tangents: Any, y: Any, *arrays: Any, **options: Any) -> Any:
    """The tangents, joined as the arrays are, with zeros for missing ones."""
    parts = [
        tangents[i] if i in tangents else np.zeros(np.shape(x), y.dtype)
        for i, x in enumerate(arrays)
    ]
    return apply(op, tuple(parts), options)


def _concatenate_vjp(g: Any, y: Any, *arrays: Any, axis: int | None = 0) -> list[Any]:
    """The operands' parts of g."""
    lengths = [np.size(x) if axis is None else np.shape(x)[axis] for x in arrays]
    before = () if axis is None else (slice(None),) * (axis % np.ndim(g))
    parts = [g[(*before, slice(*ends))] for ends in pairwise([0, *accumulate(lengths)])]
    if axis is None:
        return [part.reshape(np.shape(x)) for part, x in zip(parts, arrays, strict=True)]
    return parts


def _concatenate_batch(op: Any, batched: Batched, *arrays: Any, axis: int | None = 0) -> Any:
    arrays = all_with_batch(batched, arrays)
    if axis is None:
        return apply(op, tuple([flattened(x) for x in arrays]), {"axis": 1})
    return apply(op, arrays, {"axis": batch_axis(axis, arrays[0].ndim - 1)})


@op(
    each_operand=Joint(_concatenate_vjp),
    read=_parts,
    numpy=np.concatenate,
    takes_weak=True,
    batch=_concatenate_batch,
    jvp=_joined,
    complex=True,
)
def concatenate(*arrays: Any, axis: int | None = 0) -> Any:
    """A sequence of arrays joined along an existing axis, or flattened if it is None.

    Called as ``concatenate([a, b], axis=0)``.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.concatenate([np.zeros(2), np.ones(1)])
    array([0., 0., 1.])
    """
    return np.concatenate(arrays, axis=axis)


def _stack_vjp(g: Any, y: Any, *arrays: Any, axis: int = 0) -> list[Any]:
    """The operands' parts of g."""
    before = (slice(None),) * (axis % np.ndim(g))
    return [g[(*before, i)] for i in range(len(arrays))]


def _stack_batch(op: Any, batched: Batched, *arrays: Any, axis: int = 0) -> Any:
    arrays = all_with_batch(batched, arrays)
    return apply(op, arrays, {"axis": batch_axis(axis, arrays[0].ndim)})


@op(
    each_operand=Joint(_stack_vjp),
    read=_parts,
    numpy=np.stack,
    batch=_stack_batch,
    jvp=_joined,
    complex=True,
)
def stack(*arrays: Any, axis: int = 0) -> Any:
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
