"""NumPy's Philox in JAX, for keys and uniform numbers: the same bits on any device.

As in the table of ops, the first arguments are the module ``jax`` and the shape and dtype of the
result.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from tapegrad.types import DType, Shape

if TYPE_CHECKING:
    from jax import Array as JaxArray
    from jax import ShapeDtypeStruct

# Philox4x64 with 10 rounds (Salmon et al. 2011): the two multipliers, and the summands of the two
# words of the key after each round
_M0, _M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
# the highest word of the counter, which is 0 for draws; see `tapegrad.random`
_SPLIT, _FOLD = 1, 2


def split(jax: ModuleType, out: ShapeDtypeStruct, key: JaxArray, n: int) -> JaxArray:
    """Derive the n keys of `tapegrad.random.split`."""
    return _philox_blocks(jax, key, _counters(jax, n), 0, _SPLIT)[:, :2]


def fold_in(jax: ModuleType, out: ShapeDtypeStruct, key: JaxArray, data: JaxArray) -> JaxArray:
    """Derive the key of `tapegrad.random.fold_in`."""
    low = jax.numpy.reshape(data, (1,)).astype(np.uint64) + np.uint64(1)
    carry = (low == 0).astype(np.uint64)
    return _philox_blocks(jax, key, low, carry, _FOLD)[0, :2]


def bernoulli(
    jax: ModuleType, out: ShapeDtypeStruct, key: JaxArray, p: JaxArray, shape: Shape
) -> JaxArray:
    """Draw the truth values of `tapegrad.random.bernoulli`."""
    return uniform(jax, key, shape, np.dtype(np.float64)) < p


def uniform(jax: ModuleType, key: JaxArray, shape: Shape, dtype: DType) -> JaxArray:
    """Draw NumPy's uniform numbers from 0 to 1 in float64 or float32."""
    n = math.prod(shape)
    if dtype == np.float64:
        words = _words(jax, key, n)
        x = (words >> np.uint64(11)).astype(dtype) * 2.0**-53
    else:
        words = _words(jax, key, -(-n // 2))
        # NumPy takes the lower half of a word first
        halves = jax.numpy.stack([words & np.uint64(2**32 - 1), words >> np.uint64(32)], axis=-1)
        x = (halves.reshape(-1) >> np.uint64(8)).astype(dtype) * np.float32(2.0**-24)
    return x[:n].reshape(shape)


def _words(jax: ModuleType, key: JaxArray, n: int) -> JaxArray:
    """The first n words of a generator with this key."""
    return _philox_blocks(jax, key, _counters(jax, -(-n // 4)), 0, 0).reshape(-1)[:n]


def _counters(jax: ModuleType, n: int) -> JaxArray:
    """The first n counters; NumPy starts at 1, since it counts before it computes a block."""
    return jax.numpy.arange(1, n + 1, dtype=np.uint64)


def _philox_blocks(
    jax: ModuleType, key: JaxArray, low: JaxArray, second: JaxArray | int, high: int
) -> JaxArray:
    """Compute the four words of each block from the words of its counter."""
    c0, c1 = low, jax.numpy.zeros_like(low) + np.uint64(0) + second
    c2, c3 = jax.numpy.zeros_like(low), jax.numpy.full_like(low, high)

    def apply_round(i: JaxArray, words: tuple[JaxArray, ...]) -> tuple[JaxArray, ...]:
        c0, c1, c2, c3, k0, k1 = words
        high0, low0 = _multiply_wide(_M0, c0)
        high1, low1 = _multiply_wide(_M1, c2)
        mixed = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        return *mixed, k0 + np.uint64(_W0), k1 + np.uint64(_W1)

    # a loop, because XLA takes long to compile unrolled rounds
    words = jax.lax.fori_loop(0, _ROUNDS, apply_round, (c0, c1, c2, c3, key[0], key[1]))
    return jax.numpy.stack(words[:4], axis=-1)


def _multiply_wide(m: int, x: JaxArray) -> tuple[JaxArray, JaxArray]:
    """Return the upper and the lower word of a product, from products of half words."""
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    m0, m1 = np.uint64(m % 2**32), np.uint64(m >> 32)
    x0, x1 = x & mask, x >> half
    low, middle0, middle1 = m0 * x0, m1 * x0, m0 * x1
    carry = ((low >> half) + (middle0 & mask) + (middle1 & mask)) >> half
    return m1 * x1 + (middle0 >> half) + (middle1 >> half) + carry, np.uint64(m) * x
