"""Convert recorded functions to JAX, which is imported when `to_jax` is called."""

from tapegrad.interop.jax.evaluate import to_jax as to_jax
