"""LeNet-5, trained by Adam."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import cross_entropy, normal


def lenet_loss(ops: Ops, params: Any, x: Any, targets: Any) -> Any:
    """Two convolutions with pools, three layers, and the mean cross entropy."""
    w1, b1, w2, b2, *others = params
    x = ops.pool(ops.relu(ops.convolution(x, w1, b1, 2)))
    x = ops.pool(ops.relu(ops.convolution(x, w2, b2, 0)))
    w3, b3, w4, b4, w5, b5 = others
    x = ops.relu(ops.affine(x.reshape(x.shape[0], -1), w3, b3))
    return ops.cross_entropy(ops.affine(ops.relu(ops.affine(x, w4, b4)), w5, b5), targets)


def _columns(x: Array, size: int) -> Array:
    """The patches of images, (batch, channels * size * size, places)."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    batch, channels, height, width = windows.shape[:4]
    shape = batch, channels * size * size, height * width
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(shape)


def _convolved(x: Array, w: Array, b: Array, padding: int) -> tuple[Array, Array]:
    """A convolution, and the patches that it multiplied."""
    columns = _columns(np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)), w.shape[-1])
    side = x.shape[-1] + 2 * padding - w.shape[-1] + 1
    y = w.reshape(len(w), -1) @ columns + b[:, None]
    return y.reshape(len(x), len(w), side, side), columns


def _convolved_back(g: Array, w: Array, columns: Array) -> tuple[Array, Array]:
    """The gradients of a convolution's kernels and biases."""
    flat = g.reshape(*g.shape[:2], -1)
    return (flat @ columns.mT).sum(axis=0).reshape(w.shape), flat.sum(axis=(0, 2))


def _corners(x: Array) -> list[Array]:
    return [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]


def _pooled_back(g: Array, y: Array, x: Array) -> Array:
    """The gradient of a relu and the pool that follows."""
    d = np.empty_like(x)
    for part, of_x in zip(_corners(d), _corners(x), strict=True):
        np.multiply(g, (of_x == y) & (y > 0), out=part)
    return d


def lenet_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`lenet_loss` and its gradients."""
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = params
    r1, columns1 = _convolved(x, w1, b1, 2)
    np.maximum(r1, 0, out=r1)
    p1 = functools.reduce(np.maximum, _corners(r1))
    r2, columns2 = _convolved(p1, w2, b2, 0)
    np.maximum(r2, 0, out=r2)
    p2 = functools.reduce(np.maximum, _corners(r2))
    h0 = p2.reshape(len(x), -1)
    h1 = np.maximum(h0 @ w3 + b3, 0)
    h2 = np.maximum(h1 @ w4 + b4, 0)
    loss, dz5 = cross_entropy(h2 @ w5 + b5, targets)
    dz4 = dz5 @ w5.T * (h2 > 0)
    dz3 = dz4 @ w4.T * (h1 > 0)
    dr2 = _pooled_back((dz3 @ w3.T).reshape(p2.shape), p2, r2)
    d_columns = w2.reshape(len(w2), -1).T @ dr2.reshape(*dr2.shape[:2], -1)
    size, side = w2.shape[-1], dr2.shape[-1]
    parts = d_columns.reshape(len(x), w2.shape[1], size, size, side, side)
    dp1 = np.zeros_like(p1)
    for i, j in itertools.product(range(size), repeat=2):
        dp1[:, :, i : i + side, j : j + side] += parts[:, :, i, j]
    dr1 = _pooled_back(dp1, p1, r1)
    dense = [h0.T @ dz3, dz3.sum(axis=0), h1.T @ dz4, dz4.sum(axis=0), h2.T @ dz5, dz5.sum(axis=0)]
    first, second = _convolved_back(dr1, w1, columns1), _convolved_back(dr2, w2, columns2)
    return loss, [*first, *second, *dense]


def lenet() -> Workload:
    """Make LeNet-5, with relu and max pooling, trained by Adam."""
    convolutions: list[Any] = [
        *(tg.nn.Conv2d(1, 6, 5, padding=2), tg.nn.Relu(), tg.nn.MaxPool2d(2)),
        *(tg.nn.Conv2d(6, 16, 5), tg.nn.Relu(), tg.nn.MaxPool2d(2), tg.nn.Flatten()),
    ]
    dense: list[Any] = [tg.nn.Linear(400, 120), tg.nn.Relu(), tg.nn.Linear(120, 84), tg.nn.Relu()]
    model = tg.nn.Sequential(*convolutions, *dense, tg.nn.Linear(84, 10))

    def model_loss(params: Any, x: Any, targets: Any) -> Any:
        return tg.nn.cross_entropy_loss(model(params, x), targets)

    rng = np.random.default_rng(9)
    params = model.init(0, np.float32)
    data = (normal(rng, 64, 1, 28, 28), rng.integers(10, size=64))
    title = "LeNet-5 with Adam, batch 64 of 28 by 28, f32"
    return Workload(title, params, data, lenet_loss, lenet_by_hand, 1e-3, model_loss, decay=0.0)
