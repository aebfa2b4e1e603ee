"""Recorded functions on JAX. JAX is imported when `to_jax` is called."""

from tapegrad.program.jax.evaluate import to_jax as to_jax
