"""Random and constant arrays to begin with, all read-only.

A key is an integer or a `numpy.random.SeedSequence`; the same key gives the same
arrays, and nothing is drawn from a global stream.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tapegrad.ownership import Array, give

# a string, for numpy.random takes long to import
Key: TypeAlias = "int | np.random.SeedSequence"


def split(key: Key, n: int) -> tuple[np.random.SeedSequence, ...]:
    """A number of independent keys made of one, which stays as it is.

    Examples
    --------
    >>> a, b = split(0, 2)
    >>> float(np.random.default_rng(a).random()) != float(np.random.default_rng(b).random())
    True
    """
    if not _is_count(n):
        raise ValueError(f"a key is split into a number of keys, not {n!r}")
    parent = _sequence(key)
    # SeedSequence.spawn would count its children in the parent
    return tuple(
        np.random.SeedSequence(
            parent.entropy, spawn_key=(*parent.spawn_key, i), pool_size=parent.pool_size
        )
        for i in range(n)
    )


def he_normal(key: Key, shape: tuple[int, ...], dtype: npt.DTypeLike = float) -> Array:
    """Normal, with variance 2 / ``shape[0]`` (He et al. 2015, arXiv:1502.01852)."""
    _check(shape, dtype, least=1)
    draws = _generator(key).standard_normal(shape)
    return give((draws * np.sqrt(2 / max(shape[0], 1))).astype(dtype))


def centred_uniform(key: Key, shape: tuple[int, ...], dtype: npt.DTypeLike = float) -> Array:
    """Uniform between -1/2 and 1/2, over ``shape[-1]``."""
    _check(shape, dtype, least=1)
    draws = _generator(key).random(shape)
    return give(((draws - 0.5) / max(shape[-1], 1)).astype(dtype))


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike = float) -> Array:
    """Zeros."""
    _check(shape, dtype)
    return give(np.zeros(shape, dtype))


def _is_count(n: Any) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= 0)


def _check(shape: Any, dtype: Any, least: int = 0) -> None:
    """Raise unless a shape has this many axes at least, and the dtype is floating."""
    if not isinstance(shape, tuple) or len(shape) < least or not all(map(_is_count, shape)):
        raise ValueError(
            f"a shape is a tuple of whole numbers, none negative{' and not empty' * least}; "
            f"not {shape!r}"
        )
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"parameters are floating, so that they have a gradient; not {dtype!r}")


def _sequence(key: Any) -> np.random.SeedSequence:
    if isinstance(key, np.random.SeedSequence):
        return key
    if _is_count(key):
        return np.random.SeedSequence(int(key))
    raise TypeError(f"a key is a non-negative integer or a numpy SeedSequence, not {key!r}")


def _generator(key: Key) -> np.random.Generator:
    return np.random.default_rng(_sequence(key))
