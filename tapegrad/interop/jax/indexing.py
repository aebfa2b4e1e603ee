"""Indexing, gathering and scattering in JAX."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from tapegrad.ops.indexing import insert_arrays
from tapegrad.ops.partial_reduction import lowest
from tapegrad.types import Index, Shape

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from jax import ShapeDtypeStruct


def getitem(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, *arrays: JaxArray, index: tuple[Index, ...]
) -> JaxArray:
    """``a[index]``."""
    return jax.numpy.asarray(a)[insert_arrays(index, arrays)]


def lower_at_method(method: str) -> Callable[..., JaxArray]:
    """Make the lowering ``a.at[index].method(values)``, such as ``a.at[index].max(values)``."""

    def lower(
        jax: ModuleType,
        out: ShapeDtypeStruct,
        a: JaxArray,
        values: JaxArray,
        *arrays: JaxArray,
        index: tuple[Index, ...],
    ) -> JaxArray:
        at = jax.numpy.asarray(a, out.dtype).at[insert_arrays(index, arrays)]
        return getattr(at, method)(values.astype(out.dtype))

    return lower


def add_scaled_rows(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    table: JaxArray,
    values: JaxArray,
    indices: JaxArray,
    factor: JaxArray,
    subtract: bool = False,
) -> JaxArray:
    """Add a multiple of summed rows to a table."""
    summed = jax.numpy.zeros_like(table).at[indices].add(values)
    return table - factor * summed if subtract else table + factor * summed


def scatter(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    values: JaxArray,
    *arrays: JaxArray,
    shape: Shape,
    index: tuple[Index, ...],
) -> JaxArray:
    """Add values to zeros at an index."""
    return jax.numpy.zeros(shape, out.dtype).at[insert_arrays(index, arrays)].add(values)


def index_set(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    a: JaxArray,
    values: JaxArray,
    *arrays: JaxArray,
    index: tuple[Index, ...],
) -> JaxArray:
    """``a.at[index].set(values)``; the last of several values for one element stays."""
    a, values = jax.numpy.asarray(a), values.astype(out.dtype)
    if not arrays:
        return a.at[insert_arrays(index, arrays)].set(values)
    places, writers = _last_writers(jax, a.shape, insert_arrays(index, arrays))
    if not places.size:
        return a
    flat_values = jax.numpy.broadcast_to(values, places.shape).reshape(-1)
    flat = jax.numpy.where(writers < 0, a.reshape(-1), flat_values[jax.numpy.maximum(writers, 0)])
    return flat.reshape(a.shape)


def last_writes(
    jax: ModuleType,
    out: ShapeDtypeStruct,
    *arrays: JaxArray,
    shape: Shape,
    index: tuple[Index, ...],
) -> JaxArray:
    """A mask of the values written at an index that no later value overwrites."""
    places, writers = _last_writers(jax, shape, insert_arrays(index, arrays))
    numbers = jax.numpy.arange(places.size).reshape(places.shape)
    return writers[places] == numbers if places.size else numbers == 0


def _last_writers(
    jax: ModuleType, shape: Shape, index: tuple[Index, ...]
) -> tuple[JaxArray, JaxArray]:
    """Return the flat places of an index, and for each element the last value's number, or -1."""
    places = jax.numpy.arange(math.prod(shape)).reshape(shape)[index]
    writers = jax.numpy.full(math.prod(shape), -1)
    return places, writers.at[places.reshape(-1)].max(jax.numpy.arange(places.size))


def sum_segments(
    jax: ModuleType, out: ShapeDtypeStruct, values: JaxArray, indices: JaxArray, n: int
) -> JaxArray:
    """Sum the rows with equal indices."""
    return jax.numpy.zeros(out.shape, out.dtype).at[indices].add(values)


def max_segments(
    jax: ModuleType, out: ShapeDtypeStruct, values: JaxArray, indices: JaxArray, n: int
) -> JaxArray:
    """The elementwise maximum of the rows with equal indices."""
    start = jax.numpy.full(out.shape, lowest(np.dtype(out.dtype)), out.dtype)
    return start.at[indices].max(values)


def pick(jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, indices: JaxArray) -> JaxArray:
    """One element of each row."""
    return jax.numpy.take_along_axis(a, indices[..., None], axis=-1)[..., 0]


def unpick(
    jax: ModuleType, out: ShapeDtypeStruct, values: JaxArray, indices: JaxArray, n: int
) -> JaxArray:
    """Rows of zeros with one value each."""
    mask = np.arange(n) == indices[..., None]
    return jax.numpy.where(mask, values[..., None], jax.numpy.zeros((), out.dtype))


def row_places(jax: ModuleType, out: ShapeDtypeStruct, indices: JaxArray, n: int) -> JaxArray:
    """The flat places of one element of each row."""
    return indices.reshape(-1) + np.arange(indices.size) * n


def add_at_places(
    jax: ModuleType, out: ShapeDtypeStruct, a: JaxArray, values: JaxArray, places: JaxArray
) -> JaxArray:
    """Add values at flat places."""
    return a.reshape(-1).at[places.reshape(-1)].add(values.reshape(-1)).reshape(a.shape)


LOWERINGS = (
    *(getitem, add_scaled_rows, scatter, index_set, last_writes, sum_segments, max_segments),
    *(pick, unpick, row_places, add_at_places),
)
