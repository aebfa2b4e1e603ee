"""NumPy's Philox in JAX, for keys and uniform numbers: the same bits on any device.

`key`, `data` and the draws are JAX arrays. As in the table of ops, the first arguments are the
module ``jax`` and the shape and dtype of the result.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Philox4x64 with 10 rounds (Salmon et al. 2011): the two multipliers, and the numbers added to the
# two words of the key after each round
_M0, _M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_W0, _W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
# the highest word of the counter: draws, `split` and `fold_in`, as in `tapegrad.random`
_SPLIT, _FOLD = 1, 2


def split(jax: Any, out: Any, key: Any, n: int) -> Any:
    """The n keys that `tapegrad.random.split` makes."""
    return _blocks(jax, key, _numbers(jax, n), 0, _SPLIT)[:, :2]


def fold_in(jax: Any, out: Any, key: Any, data: Any) -> Any:
    """The key that `tapegrad.random.fold_in` makes."""
    first = jax.numpy.reshape(data, (1,)).astype(np.uint64) + np.uint64(1)
    carry = (first == 0).astype(np.uint64)
    return _blocks(jax, key, first, carry, _FOLD)[0, :2]


def bernoulli(jax: Any, out: Any, key: Any, p: Any, shape: tuple[int, ...]) -> Any:
    """Truth values, as `tapegrad.random.bernoulli` draws them."""
    return uniform(jax, key, shape, np.dtype(np.float64)) < p


def uniform(jax: Any, key: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """Uniform numbers from 0 to 1, of float64 or float32, as NumPy draws them."""
    n = math.prod(shape)
    if dtype == np.float64:
        words = _words(jax, key, n)
        drawn = (words >> np.uint64(11)).astype(dtype) * 2.0**-53
    else:
        words = _words(jax, key, -(-n // 2))
        # NumPy takes the lower half of a word first
        halves = jax.numpy.stack([words & np.uint64(2**32 - 1), words >> np.uint64(32)], axis=-1)
        drawn = (halves.reshape(-1) >> np.uint64(8)).astype(dtype) * np.float32(2.0**-24)
    return drawn[:n].reshape(shape)


def _words(jax: Any, key: Any, n: int) -> Any:
    """The first n words of a generator with this key."""
    return _blocks(jax, key, _numbers(jax, -(-n // 4)), 0, 0).reshape(-1)[:n]


def _numbers(jax: Any, n: int) -> Any:
    """The counters from 1 on; NumPy counts before it computes a block."""
    return jax.numpy.arange(1, n + 1, dtype=np.uint64)


def _blocks(jax: Any, key: Any, low: Any, second: Any, high: int) -> Any:
    """The four words of each block, for the lowest words of its counter."""
    c0, c1 = low, jax.numpy.zeros_like(low) + np.uint64(0) + second
    c2, c3 = jax.numpy.zeros_like(low), jax.numpy.full_like(low, high)

    def round_(_: Any, words: Any) -> Any:
        c0, c1, c2, c3, k0, k1 = words
        high0, low0 = _product(_M0, c0)
        high1, low1 = _product(_M1, c2)
        mixed = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        return *mixed, k0 + np.uint64(_W0), k1 + np.uint64(_W1)

    # a loop, because XLA takes long to compile the rounds written out
    words = jax.lax.fori_loop(0, _ROUNDS, round_, (c0, c1, c2, c3, key[0], key[1]))
    return jax.numpy.stack(words[:4], axis=-1)


def _product(m: int, x: Any) -> tuple[Any, Any]:
    """The upper and the lower word of a product, by halves."""
    half, mask = np.uint64(32), np.uint64(2**32 - 1)
    m0, m1 = np.uint64(m % 2**32), np.uint64(m >> 32)
    x0, x1 = x & mask, x >> half
    low, middle, other = m0 * x0, m1 * x0, m0 * x1
    carry = ((low >> half) + (middle & mask) + (other & mask)) >> half
    return m1 * x1 + (middle >> half) + (other >> half) + carry, np.uint64(m) * x
