"""tapegrad recorded and compiled, and NumPy by hand."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tapegrad as tg
from bench.peers.plain import plain_attention, plain_step
from bench.workload import BETA1, BETA2, EPSILON, Array, Entry, Ops, Step, Workload
from bench.workloads.embedding import EMBEDDING_RATE

RECORDED, COMPILED, ANSWERS = "tapegrad recorded", "tapegrad compiled", "NumPy by hand"
ON_JAX = "tapegrad on JAX"


def tapegrad_step(w: Workload, loss: Callable[..., Any] | None = None) -> Step:
    """Write the training step as a user of tapegrad would: with its layers, or from a function."""
    both = w.derivative(tg, loss or w.model_loss or functools.partial(w.loss, tapegrad_ops()))
    if w.rate is None:
        return both
    if w.decay is not None:
        adam = adam_of(w)

        def adam_step(state: Any, *data: Any) -> tuple[Any, Any]:
            params, moments = state
            loss, gradients = both(params, *data)
            return loss, adam.update(params, gradients, moments)

        return adam_step
    optimizer = tg.optim.SGD(w.rate)
    state = optimizer.init(w.params)

    def step(params: Any, *data: Any) -> tuple[Any, Any]:
        loss, gradients = both(params, *data)
        params, _ = optimizer.update(params, gradients, state)
        return loss, params

    return step


def adam_of(w: Workload) -> Any:
    """Make tapegrad's optimizer for a workload with Adam."""
    assert w.rate is not None
    assert w.decay is not None
    return tg.optim.AdamW(w.rate, BETA1, BETA2, EPSILON, weight_decay=w.decay)


def tapegrad_start(w: Workload, params: Any) -> Any:
    """Make the initial state of such a step: parameters and, with Adam, the optimizer's state."""
    return params if w.decay is None else (params, adam_of(w).init(params))


def own_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make the entries of tapegrad, compiled if possible, and of NumPy."""
    same = functools.partial(w.loss, tapegrad_ops())
    leaves = w.leaves
    recorded = tapegrad_start(w, leaves)
    yield Entry(RECORDED, lambda: recorded, tapegrad_step(w, same), w.data, w.read)
    compiled = tapegrad_start(w, w.params)

    def fresh() -> Step:
        return tg.compile(tapegrad_step(w))

    yield Entry(COMPILED, lambda: compiled, fresh(), w.data, w.read, fresh=fresh)
    by_hand = w.start
    yield Entry(ANSWERS, lambda: by_hand, plain_step(w.by_hand, w), w.data, w.read)
    if name == "embedding":
        # one array for all bursts: a fresh copy of 12 MB would be cold
        table, indices = leaves[0].copy(), w.data[0]

        def restored() -> list[Array]:
            table[indices] = leaves[0][indices]
            return [table]

        def rows_step(params: Any, indices: Array, targets: Array) -> tuple[Any, Any]:
            d = params[0][indices] - targets
            np.subtract.at(params[0], indices, 2 * EMBEDDING_RATE * d)
            return (d * d).sum(), params

        yield Entry("NumPy, rows in place", restored, rows_step, w.data, list)


def _spsolve(entries: Any, places: Any, b: Any) -> Any:
    sparse = importlib.import_module("tapegrad.scipy.sparse")
    linalg = importlib.import_module("tapegrad.scipy.sparse.linalg")
    return linalg.spsolve(sparse.coo_array((entries, places)), b)


def tapegrad_ops() -> Ops:
    """Name the functions of tapegrad."""
    losses, attention = tg.nn.cross_entropy_loss, plain_attention(tg.softmax)
    return Ops(
        tg,
        tg.sigmoid,
        losses,
        tg.relu,
        attention,
        affine=lambda x, w, b: tg.add(tg.matmul(x, w), b),
        rows=tg.index_select,
        convolution=lambda x, w, b, padding: tg.nn.Conv2d(
            w.shape[1], w.shape[0], w.shape[2:], padding=padding
        )(tg.nn.convolution.ConvParams(w, b), x),
        pool=lambda x: tg.nn.MaxPool2d(2)(None, x),
        layer_norm=lambda x, weight, bias: tg.nn.LayerNorm(x.shape[-1])(
            tg.nn.normalization.NormParams(weight, bias), x
        ),
        spsolve=_spsolve,
        scan=tg.scan,
    )
