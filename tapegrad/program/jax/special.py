"""Special functions in JAX that ``jax.numpy`` lacks."""

from __future__ import annotations

from typing import Any

import numpy as np


def i0_derivative(jax: Any, out: Any, x: Any, order: int) -> Any:
    """See `tapegrad.ops.special.i0_derivative`; this adds up all terms at once."""
    cosine = np.cos((np.arange(64) + 0.5) * (np.pi / 128)).astype(out.dtype)
    both = jax.numpy.sinh if order % 2 else jax.numpy.cosh
    terms = cosine**order / 64 * both(x.astype(out.dtype)[..., None] * cosine)
    return terms.sum(axis=-1)


def sinc(jax: Any, out: Any, x: Any) -> Any:
    """``sin(pi * x) / (pi * x)``."""
    return _sinc(jax, x.astype(out.dtype), 0)


def sinc_derivative(jax: Any, out: Any, x: Any, order: int) -> Any:
    """See `tapegrad.ops.special.sinc_derivative`."""
    return _sinc(jax, x.astype(out.dtype), order)


def _sinc(jax: Any, x: Any, n: int) -> Any:
    """A power series near 0, where quotients would cancel, and a recurrence elsewhere."""
    where, z = jax.numpy.where, np.asarray(np.pi, x.dtype) * x
    near = abs(z) < n + 1
    small, large = where(near, z, 0), where(near, 1, z)
    term, series = jax.numpy.ones_like(z), jax.numpy.zeros_like(z)
    for k in range(6 * n + 24):
        if (n + k) % 2 == 0:
            series += (-1) ** ((n + k) // 2) * term / (n + k + 1)
        term = term * small / (k + 1)
    sines = jax.numpy.sin(large), jax.numpy.cos(large)
    quotient = sines[0] / large
    for k in range(1, n + 1):
        quotient = (sines[k % 2] * (1, 1, -1, -1)[k % 4] - k * quotient) / large
    return np.asarray(np.pi**n, x.dtype) * where(near, series, quotient)
