"""Indexing, gathering and scattering in JAX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.indexing import insert_arrays
from tapegrad.ops.partial_reduction import lowest


def getitem(jax: Any, out: Any, a: Any, *arrays: Any, index: Any) -> Any:
    """``a[index]``."""
    return jax.numpy.asarray(a)[insert_arrays(index, arrays)]


def combined(method: str) -> Any:
    """``a.at[index].max(values)``, or another method of this name."""

    def lowering(jax: Any, out: Any, a: Any, values: Any, *arrays: Any, index: Any) -> Any:
        at = jax.numpy.asarray(a, out.dtype).at[insert_arrays(index, arrays)]
        return getattr(at, method)(values.astype(out.dtype))

    return lowering


def add_scaled_rows(
    jax: Any, out: Any, table: Any, values: Any, indices: Any, factor: Any, subtract: bool = False
) -> Any:
    """A table plus a multiple of summed rows."""
    summed = jax.numpy.zeros_like(table).at[indices].add(values)
    return table - factor * summed if subtract else table + factor * summed


def scatter(jax: Any, out: Any, values: Any, *arrays: Any, shape: Any, index: Any) -> Any:
    """Values added at an index of zeros."""
    return jax.numpy.zeros(shape, out.dtype).at[insert_arrays(index, arrays)].add(values)


def index_set(jax: Any, out: Any, a: Any, values: Any, *arrays: Any, index: Any) -> Any:
    """``a.at[index].set(values)``; the last of several values for one place stays."""
    a, values = jax.numpy.asarray(a), values.astype(out.dtype)
    if not arrays:
        return a.at[insert_arrays(index, arrays)].set(values)
    places, owner = _owners(jax, a.shape, insert_arrays(index, arrays))
    if not places.size:
        return a
    written = jax.numpy.broadcast_to(values, places.shape).reshape(-1)
    flat = jax.numpy.where(owner < 0, a.reshape(-1), written[jax.numpy.maximum(owner, 0)])
    return flat.reshape(a.shape)


def last_writes(jax: Any, out: Any, *arrays: Any, shape: Any, index: Any) -> Any:
    """Which of the values written at an index stay."""
    places, owner = _owners(jax, shape, insert_arrays(index, arrays))
    numbers = jax.numpy.arange(places.size).reshape(places.shape)
    return owner[places] == numbers if places.size else numbers == 0


def _owners(jax: Any, shape: Any, index: Any) -> tuple[Any, Any]:
    """The flat places of an index, and for each place the number of the last value, or -1."""
    places = jax.numpy.arange(math.prod(shape)).reshape(shape)[index]
    owner = jax.numpy.full(math.prod(shape), -1)
    return places, owner.at[places.reshape(-1)].max(jax.numpy.arange(places.size))


def sum_segments(jax: Any, out: Any, values: Any, indices: Any, n: int) -> Any:
    """Rows added where the indices say."""
    return jax.numpy.zeros(out.shape, out.dtype).at[indices].add(values)


def max_segments(jax: Any, out: Any, values: Any, indices: Any, n: int) -> Any:
    """The largest of the rows with equal indices."""
    start = jax.numpy.full(out.shape, lowest(np.dtype(out.dtype)), out.dtype)
    return start.at[indices].max(values)


def pick(jax: Any, out: Any, a: Any, indices: Any) -> Any:
    """One element of each row."""
    return jax.numpy.take_along_axis(a, indices[..., None], axis=-1)[..., 0]


def unpick(jax: Any, out: Any, values: Any, indices: Any, n: int) -> Any:
    """Rows of zeros except for one value."""
    here = np.arange(n) == indices[..., None]
    return jax.numpy.where(here, values[..., None], jax.numpy.zeros((), out.dtype))


def row_places(jax: Any, out: Any, indices: Any, n: int) -> Any:
    """The places of one element of each row in the flat array."""
    return np.arange(indices.size) * n + indices.reshape(-1)


def add_at_places(jax: Any, out: Any, a: Any, values: Any, places: Any) -> Any:
    """Values added at flat places."""
    return a.reshape(-1).at[places.reshape(-1)].add(values.reshape(-1)).reshape(a.shape)


LOWERINGS = (
    *(getitem, add_scaled_rows, scatter, index_set, last_writes, sum_segments, max_segments),
    *(pick, unpick, row_places, add_at_places),
)
