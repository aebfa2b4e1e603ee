"""Recorded functions on JAX. JAX is imported when `to_jax` is called."""

from tapegrad.interop.jax.evaluate import to_jax as to_jax
