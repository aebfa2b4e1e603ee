"""A net with residuals and layer norms."""

from __future__ import annotations

from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import cross_entropy, normal

WIDTH, HIDDEN, CLASSES, BLOCKS = 128, 256, 10, 4


def residual_loss(ops: Ops, params: Any, x: Any, targets: Any) -> Any:
    """Compute the cross entropy after blocks of a norm and two layers, each added to its input."""
    *blocks, weight, bias, w, b = params
    for i in range(0, len(blocks), 6):
        scale, shift, w_1, b_1, w_2, b_2 = blocks[i : i + 6]
        hidden = ops.relu(ops.affine(ops.layer_norm(x, scale, shift), w_1, b_1))
        x = x + ops.affine(hidden, w_2, b_2)
    return ops.cross_entropy(ops.affine(ops.layer_norm(x, weight, bias), w, b), targets)


def _norm(x: Array) -> tuple[Array, Array]:
    # the normalized rows, and what they were multiplied by
    centered = x - x.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + np.float32(1e-5))
    return centered * inverse, inverse


def _norm_pulled(g: Array, normed: Array, inverse: Array) -> Any:
    along = (g * normed).mean(axis=-1, keepdims=True)
    return inverse * (g - g.mean(axis=-1, keepdims=True) - normed * along)


def residual_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`residual_loss` and its gradients."""
    *flat, weight, bias, w, b = params
    blocks = [flat[i : i + 6] for i in range(0, len(flat), 6)]
    saved = []
    for scale, shift, w_1, b_1, w_2, b_2 in blocks:
        normed, inverse = _norm(x)
        scaled = normed * scale + shift
        hidden = np.maximum(scaled @ w_1 + b_1, 0)
        saved.append((normed, inverse, scaled, hidden))
        x = x + (hidden @ w_2 + b_2)
    normed, inverse = _norm(x)
    scaled = normed * weight + bias
    loss, dz = cross_entropy(scaled @ w + b, targets)
    ds = dz @ w.T
    gradients = [(ds * normed).sum(axis=0), ds.sum(axis=0), scaled.T @ dz, dz.sum(axis=0)]
    dx = _norm_pulled(ds * weight, normed, inverse)
    for block, kept in zip(reversed(blocks), reversed(saved), strict=True):
        scale, _, w_1, _, w_2, _ = block
        normed, inverse, scaled, hidden = kept
        dh = dx @ w_2.T * (hidden > 0)
        ds = dh @ w_1.T
        of_layers = [scaled.T @ dh, dh.sum(axis=0), hidden.T @ dx, dx.sum(axis=0)]
        gradients = [(ds * normed).sum(axis=0), ds.sum(axis=0), *of_layers, *gradients]
        dx = dx + _norm_pulled(ds * scale, normed, inverse)
    return loss, gradients


def residual() -> Workload:
    """Make a residual net of four blocks."""
    norm, last = tg.nn.LayerNorm(WIDTH), tg.nn.Linear(WIDTH, CLASSES)
    first, second = tg.nn.Linear(WIDTH, HIDDEN), tg.nn.Linear(HIDDEN, WIDTH)

    def model_loss(params: Any, x: Any, targets: Any) -> Any:
        blocks, end = params
        for scale, before, after in blocks:
            x = x + second(after, tg.relu(first(before, norm(scale, x))))
        return tg.nn.cross_entropy_loss(last(end[1], norm(end[0], x)), targets)

    def made(key: int) -> tuple[Any, ...]:
        layers: tuple[Any, ...] = norm, first, second
        return tuple(layer.init(key + i, np.float32) for i, layer in enumerate(layers))

    rng = np.random.default_rng(12)
    end = norm.init(0, np.float32), last.init(1, np.float32)
    params = [made(3 * i) for i in range(BLOCKS)], end
    data = normal(rng, 128, WIDTH), rng.integers(CLASSES, size=128)
    title = "residual net, 4 blocks 128-256-128 with layer norms, batch 128, f32"
    return Workload(title, params, data, residual_loss, residual_by_hand, 0.1, model_loss)
