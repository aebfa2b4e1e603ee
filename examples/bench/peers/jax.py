"""JAX, under jit."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tapegrad as tg
from bench.peers.plain import plain_attention, plain_step
from bench.peers.tapegrad import ON_JAX, tapegrad_ops
from bench.workload import Entry, Ops, Workload
from bench.workloads.embedding import EMBEDDING_RATE
from bench.workloads.lstm import lstm_step


def jax_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make the entries of JAX, under jit."""
    jax: Any = importlib.import_module("jax")
    jnp: Any = importlib.import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)

    def cross_entropy(logits: Any, targets: Any) -> Any:
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets])

    def convolution(x: Any, w: Any, b: Any, padding: int) -> Any:
        y = jax.lax.conv_general_dilated(x, w, (1, 1), [(padding, padding)] * 2)
        return y + b[:, None, None]

    def pool(x: Any) -> Any:
        window = (1, 1, 2, 2)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
        centered = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centered * centered, axis=-1, keepdims=True)
        return centered * jax.lax.rsqrt(variance + 1e-5) * weight + bias

    def spsolve(entries: Any, places: Any, b: Any) -> Any:
        rows, columns = places
        order, ends = np.lexsort((columns, rows)), np.cumsum(np.bincount(rows))
        start = np.concatenate([[0], ends]).astype(np.int32)
        linalg: Any = importlib.import_module("jax.experimental.sparse.linalg")
        return linalg.spsolve(entries[order], jnp.asarray(columns[order], jnp.int32), start, b)

    ops = Ops(
        jnp,
        jax.nn.sigmoid,
        cross_entropy,
        jax.nn.relu,
        plain_attention(jax.nn.softmax),
        convolution=convolution,
        pool=pool,
        layer_norm=layer_norm,
        spsolve=spsolve,
        scan=jax.lax.scan,
    )

    def start() -> Any:
        # a copy, since the step donates the memory
        return jax.block_until_ready(jax.tree.map(lambda a: jnp.array(a), w.start))

    def planned(entry: Entry) -> int:
        # by XLA's own plan of the memory
        step: Any = entry.step
        m = step.lower(entry.start(), *data).compile().memory_analysis()
        return int(m.temp_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes)

    def entry(label: str, step: Callable[..., Any]) -> Entry:
        def fresh() -> Any:
            # another function each time, since jit remembers what it has compiled
            def again(*args: Any) -> Any:
                return step(*args)

            return jax.jit(again, donate_argnums=() if w.rate is None else 0)

        return Entry(label, start, fresh(), data, w.read, jax.block_until_ready, fresh, planned)

    data = tuple(jnp.asarray(a, jnp.int32 if a.dtype.kind == "i" else a.dtype) for a in w.data)
    both = w.derivative(jax, functools.partial(w.loss, ops))
    label = {"lstm": "jax.jit unrolled", "embedding": "jax.jit dense"}.get(name, "jax.jit")
    yield entry(label, plain_step(both, w))
    own = w.derivative(tg, functools.partial(w.loss, tapegrad_ops()))
    if name != "sparse":  # the factors of a sparse array have no form in JAX
        yield entry(ON_JAX, tg.to_jax(plain_step(own, w)))
    if name == "lstm":

        def scan_loss(params: Any, x: Any, start: Any, targets: Any) -> Any:
            def body(state: Any, x_t: Any) -> tuple[Any, None]:
                return lstm_step(ops, params, x_t, *state), None

            (h, _), _ = jax.lax.scan(body, (start, start), x)
            return jnp.mean((h - targets) ** 2)

        yield entry("jax.jit scan", plain_step(jax.value_and_grad(scan_loss), w))
    if name == "embedding":

        def rows_step(params: Any, indices: Any, targets: Any) -> tuple[Any, Any]:
            d = params[0][indices] - targets
            return jnp.sum(d * d), [params[0].at[indices].add(-2 * EMBEDDING_RATE * d)]

        yield entry("jax.jit rows only", rows_step)
