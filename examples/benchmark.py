"""Timings of tapegrad beside NumPy by hand, HIPS autograd, MyGrad, PyTorch and JAX.

Run ``python examples/benchmark.py``; ``--help`` lists the options. The extra
``bench`` installs the peers, and those that are missing are left out.

All implementations of a workload run in one process, in rounds of random order; at
its turn each makes one call to warm up, and then as many as last a few milliseconds.
Before anything is timed, each must agree with the NumPy code: in its loss, and in its
new parameters to a fraction of the update.

A call is a training step: forward, backward and the update of plain SGD, or of Adam for
`lenet` and AdamW for `adamw`. tapegrad and NumPy return new parameters and keep the old.
The peers run in their best form: JAX under ``jit`` with the parameters donated, PyTorch
with one in-place update of all parameters, MyGrad with its memory guard and without.
tapegrad recorded differentiates the function that the peers do, of a list of arrays;
compiled, a model of its own layers, with trees of parameters going in and coming out.
Each workload is described by the function that makes it, near the middle of this file;
`chain` alone has no update, and is ``sum(tanh(a * x) * exp(-(x * x)))`` with its gradient.
The last, `transforms`, is of tapegrad alone: what a gradient, a jvp and an hvp cost in
forward evaluations, recorded beside a forward evaluation that is recorded, compiled
beside one that is compiled.

glibc gives freed memory back to the system until the process has freed a large array
for the first time, and the page faults can double the time of code that makes many
arrays. So that figures do not hang on what ran before, such an array is freed at the
start; ``--fresh-heap`` leaves that out. With ``--threads 2`` leave the machine alone:
threads that wait for a busy core make products take a hundred times as long.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

import tapegrad as tg

Array = np.ndarray[Any, np.dtype[Any]]
Step = Callable[..., tuple[Any, Any]]

RECORDED, COMPILED, ANSWERS = "tapegrad recorded", "tapegrad compiled", "NumPy by hand"
PEERS = ("autograd", "mygrad", "torch", "jax")
BURST_SECONDS = 0.003
CHAIN_RATE = 0.7
N_HEADS = 4
EMBEDDING_RATE = 1e-3
TRANSFORMS = "transforms"
BETA1, BETA2 = 0.9, 0.999
# so large that a first step of Adam is no jump where a gradient is 0 up to rounding, and
# implementations can be compared
EPSILON = 1e-3
WARM_UP = 3  # calls, after which memory that is used again has been used once
HEAP_BYTES = 31 * 2**20  # the largest that glibc takes notice of is 32 MiB
# absent where tapegrad has no compiler
COMPILE: Callable[..., Any] | None = getattr(tg, "compile", None)


def _refuse(*args: Any) -> Any:
    raise NotImplementedError("not written for this framework")


@attrs.frozen
class Ops:
    """What a framework calls the functions that the losses are written with."""

    numpy: Any  # its module with NumPy's names
    sigmoid: Callable[[Any], Any]
    cross_entropy: Callable[[Any, Any], Any]
    relu: Callable[[Any], Any] = _refuse
    attention: Callable[[Any, Any, Any], Any] = _refuse
    affine: Callable[[Any, Any, Any], Any] = lambda x, w, b: x @ w + b
    rows: Callable[[Any, Any], Any] = lambda table, indices: table[indices]
    convolution: Callable[[Any, Any, Any, int], Any] = _refuse
    pool: Callable[[Any], Any] = _refuse  # the largest of each 2 by 2 elements


@attrs.frozen(eq=False)
class Workload:
    """What is to be computed; the loss is written once for all frameworks."""

    title: str
    params: Any  # the tree that tapegrad trains; the others take its leaves
    data: tuple[Array, ...]
    loss: Callable[..., Any]  # loss(ops, leaves, *data)
    by_hand: Callable[..., tuple[Any, list[Array]]]  # loss and gradients of (leaves, *data)
    rate: float | None  # of the optimizer; None where value and gradient are all
    model_loss: Callable[..., Any] | None = None  # (params, *data), with tapegrad's own layers
    peers: tuple[str, ...] = ("torch", "jax")
    decay: float | None = None  # of weights, by AdamW, which is Adam with 0; None for SGD

    @property
    def leaves(self) -> list[Array]:
        """The parameters as a list."""
        return tg.tree.leaves(self.params)

    @property
    def start(self) -> Any:
        """The parameters as a list; with Adam, its moments and count of steps too."""
        if self.decay is None:
            return self.leaves
        zeros = [np.zeros_like(p) for p in self.leaves]
        return [self.leaves, zeros, zeros, np.float32(0)]

    def read(self, state: Any) -> list[Any]:
        """The parameters in such a state, or in one of tapegrad's."""
        return tg.tree.leaves(state if self.decay is None else state[0])


@attrs.frozen(eq=False)
class Entry:
    """One way to compute a workload, with parameters and data in a form of its own."""

    name: str
    start: Callable[[], Any]  # the state that a burst begins with
    step: Step  # (state, *data) to loss and new state, or gradients
    data: tuple[Any, ...]
    read: Callable[[Any], Sequence[Any]]  # the arrays in a state, or gradients
    wait: Callable[[Any], Any] = lambda result: None  # until the result is there


@attrs.frozen
class Timing:
    """Microseconds a call, over the bursts."""

    median: float
    minimum: float
    calls: int
    bursts: int


# --- the losses, and the same by hand ---------------------------------------------------


def _sigmoid(z: Array) -> Any:
    return 1 / (1 + np.exp(-z))


def _cross_entropy(logits: Array, targets: Array) -> tuple[Any, Array]:
    """Compute the mean cross entropy and its gradient."""
    n = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    total = exp.sum(axis=1, keepdims=True)
    gradient = exp / total
    gradient[n, targets] -= 1
    return np.mean(np.log(total[:, 0]) - shifted[n, targets]), gradient / len(targets)


def xor_loss(ops: Ops, params: Any, x: Any, y: Any) -> Any:
    """Two layers and the sum of squared errors."""
    w1, b1, w2, b2 = params
    d = ops.sigmoid(ops.affine(ops.numpy.tanh(ops.affine(x, w1, b1)), w2, b2)) - y
    return ops.numpy.sum(d * d)


def xor_by_hand(params: Any, x: Array, y: Array) -> tuple[Any, list[Array]]:
    """`xor_loss` and its gradients."""
    w1, b1, w2, b2 = params
    h = np.tanh(x @ w1 + b1)
    p = _sigmoid(h @ w2 + b2)
    d = p - y
    dz2 = 2 * d * p * (1 - p)
    dz1 = dz2 @ w2.T * (1 - h * h)
    return (d * d).sum(), [x.T @ dz1, dz1.sum(axis=0), h.T @ dz2, dz2.sum(axis=0)]


def rnn_loss(ops: Ops, params: Any, words: Any, h: Any, targets: Any) -> Any:
    """Compute the cross entropy of the word after the last."""
    table, w_ih, b_ih, w_hh, b_hh, w_ho, b_ho = params
    for t in range(words.shape[1]):
        x = ops.rows(table, words[:, t])
        h = ops.sigmoid(ops.affine(x, w_ih, b_ih) + ops.affine(h, w_hh, b_hh))
    return ops.cross_entropy(ops.affine(h, w_ho, b_ho), targets)


def rnn_by_hand(params: Any, words: Array, h: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`rnn_loss` and its gradients."""
    table, w_ih, b_ih, w_hh, b_hh, w_ho, b_ho = params
    hidden = [h]
    inputs = []
    for t in range(words.shape[1]):
        x = table[words[:, t]]
        h = _sigmoid(x @ w_ih + b_ih + h @ w_hh + b_hh)
        inputs.append(x)
        hidden.append(h)
    loss, dz = _cross_entropy(h @ w_ho + b_ho, targets)
    d_ho, db_ho, dh = h.T @ dz, dz.sum(axis=0), dz @ w_ho.T
    d_table, d_ih, d_hh, db = (np.zeros_like(p) for p in (table, w_ih, w_hh, b_ih))
    for t in reversed(range(words.shape[1])):
        dz = dh * hidden[t + 1] * (1 - hidden[t + 1])
        d_ih += inputs[t].T @ dz
        d_hh += hidden[t].T @ dz
        db += dz.sum(axis=0)
        np.add.at(d_table, words[:, t], dz @ w_ih.T)
        dh = dz @ w_hh.T
    return loss, [d_table, d_ih, db, d_hh, db, d_ho, db_ho]


def mlp_loss(ops: Ops, params: Any, x: Any, targets: Any) -> Any:
    """Two layers and the mean cross entropy."""
    w1, b1, w2, b2 = params
    return ops.cross_entropy(ops.affine(ops.relu(ops.affine(x, w1, b1)), w2, b2), targets)


def mlp_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`mlp_loss` and its gradients."""
    w1, b1, w2, b2 = params
    h = np.maximum(x @ w1 + b1, 0)
    loss, dz2 = _cross_entropy(h @ w2 + b2, targets)
    dz1 = dz2 @ w2.T * (h > 0)
    return loss, [x.T @ dz1, dz1.sum(axis=0), h.T @ dz2, dz2.sum(axis=0)]


def chain_loss(ops: Ops, params: Any) -> Any:
    """Six operations on each element, and the sum."""
    (x,) = params
    return ops.numpy.sum(ops.numpy.tanh(CHAIN_RATE * x) * ops.numpy.exp(-(x * x)))


def chain_by_hand(params: Any) -> tuple[Any, list[Array]]:
    """`chain_loss` and its gradient."""
    (x,) = params
    u, e = np.tanh(CHAIN_RATE * x), np.exp(-(x * x))
    y = u * e
    return y.sum(), [CHAIN_RATE * (1 - u * u) * e - 2 * x * y]


def _lstm_step(ops: Ops, params: Any, x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    w_x, w_h, b = params
    z = ops.affine(x, w_x, b) + h @ w_h
    n = h.shape[1]
    i, f = ops.sigmoid(z[:, :n]), ops.sigmoid(z[:, n : 2 * n])
    g, o = ops.numpy.tanh(z[:, 2 * n : 3 * n]), ops.sigmoid(z[:, 3 * n :])
    c = f * c + i * g
    return o * ops.numpy.tanh(c), c


def lstm_loss(ops: Ops, params: Any, x: Any, start: Any, targets: Any) -> Any:
    """Take the steps one after another; the mean square of the last hidden state."""
    h = c = start
    for t in range(x.shape[0]):
        h, c = _lstm_step(ops, params, x[t], h, c)
    d = h - targets
    return ops.numpy.mean(d * d)


def lstm_by_hand(params: Any, x: Array, start: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`lstm_loss` and its gradients."""
    w_x, w_h, b = params
    n = start.shape[1]
    h = c = start
    saved = []
    for x_t in x:
        z = x_t @ w_x + h @ w_h + b
        i, f = _sigmoid(z[:, :n]), _sigmoid(z[:, n : 2 * n])
        g, o = np.tanh(z[:, 2 * n : 3 * n]), _sigmoid(z[:, 3 * n :])
        before = h, c
        c = f * c + i * g
        u = np.tanh(c)
        h = o * u
        saved.append((x_t, *before, i, f, g, o, u))
    d = h - targets
    dh, dc = 2 * d / d.size, np.zeros_like(c)
    d_x, d_h, db = (np.zeros_like(p) for p in params)
    for x_t, h_t, c_t, i, f, g, o, u in reversed(saved):
        dc = dc + dh * o * (1 - u * u)
        gates = [dc * g * i * (1 - i), dc * c_t * f * (1 - f), dc * i * (1 - g * g)]
        dz = np.concatenate([*gates, dh * u * o * (1 - o)], axis=1)
        d_x += x_t.T @ dz
        d_h += h_t.T @ dz
        db += dz.sum(axis=0)
        dh = dz @ w_h.T
        dc = dc * f
    return np.mean(d * d), [d_x, d_h, db]


def gru_loss(ops: Ops, params: Any, x: Any, start: Any, targets: Any) -> Any:
    """Take the steps one after another; the mean square of the last hidden state."""
    w_x, b_x, w_h, b_h = params
    n, h = start.shape[1], start
    for t in range(x.shape[0]):
        from_x, from_h = ops.affine(x[t], w_x, b_x), ops.affine(h, w_h, b_h)
        gates = ops.sigmoid(from_x[:, : 2 * n] + from_h[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        new = ops.numpy.tanh(from_x[:, 2 * n :] + r * from_h[:, 2 * n :])
        h = new + z * (h - new)
    d = h - targets
    return ops.numpy.mean(d * d)


def gru_by_hand(params: Any, x: Array, start: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`gru_loss` and its gradients."""
    w_x, b_x, w_h, b_h = params
    n, h = start.shape[1], start
    saved = []
    for x_t in x:
        from_x, from_h = x_t @ w_x + b_x, h @ w_h + b_h
        gates = _sigmoid(from_x[:, : 2 * n] + from_h[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        new = np.tanh(from_x[:, 2 * n :] + r * from_h[:, 2 * n :])
        saved.append((x_t, h, r, z, new, from_h[:, 2 * n :]))
        h = new + z * (h - new)
    d = h - targets
    dh = 2 * d / d.size
    d_x, db_x, d_h, db_h = (np.zeros_like(p) for p in params)
    for x_t, before, r, z, new, hidden in reversed(saved):
        d_new = dh * (1 - z) * (1 - new * new)
        d_z = dh * (before - new) * z * (1 - z)
        d_r = d_new * hidden * r * (1 - r)
        d_from_x = np.concatenate([d_r, d_z, d_new], axis=1)
        d_from_h = np.concatenate([d_r, d_z, d_new * r], axis=1)
        d_x += x_t.T @ d_from_x
        d_h += before.T @ d_from_h
        db_x += d_from_x.sum(axis=0)
        db_h += d_from_h.sum(axis=0)
        dh = d_from_h @ w_h.T + dh * z
    return np.mean(d * d), [d_x, db_x, d_h, db_h]


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
    loss, dz5 = _cross_entropy(h2 @ w5 + b5, targets)
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


def embedding_loss(ops: Ops, params: Any, indices: Any, targets: Any) -> Any:
    """Sum the squares of some rows of a table, less targets."""
    d = ops.rows(params[0], indices) - targets
    return ops.numpy.sum(d * d)


def embedding_by_hand(params: Any, indices: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`embedding_loss` and its gradient, as large as the table."""
    d = params[0][indices] - targets
    gradient = np.zeros_like(params[0])
    np.add.at(gradient, indices, 2 * d)
    return (d * d).sum(), [gradient]


def _heads(x: Any, batch: int) -> Any:
    return x.reshape(batch, -1, N_HEADS, x.shape[-1] // N_HEADS).swapaxes(1, 2)


def attention_loss(ops: Ops, params: Any, x: Any, targets: Any) -> Any:
    """Attention and feed-forward with residuals, and the mean square."""
    w_q, w_k, w_v, w_o, w_1, w_2 = params
    q, k, v = (_heads(x @ w, x.shape[0]) for w in (w_q, w_k, w_v))
    a = x + ops.attention(q, k, v).swapaxes(1, 2).reshape(*x.shape) @ w_o
    d = a + ops.relu(a @ w_1) @ w_2 - targets
    return ops.numpy.mean(d * d)


def attention_by_hand(params: Any, x: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`attention_loss` and its gradients."""
    w_q, w_k, w_v, w_o, w_1, w_2 = params
    batch, width = len(x), x.shape[-1]
    scale = 1 / math.sqrt(width // N_HEADS)
    x, targets = x.reshape(-1, width), targets.reshape(-1, width)
    q, k, v = (_heads(x @ w, batch) for w in (w_q, w_k, w_v))
    scores = q @ k.swapaxes(-1, -2) * scale
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    mixed = (p @ v).swapaxes(1, 2).reshape(-1, width)
    a = x + mixed @ w_o
    r = np.maximum(a @ w_1, 0)
    d = a + r @ w_2 - targets
    g = 2 * d / d.size
    dr = g @ w_2.T * (r > 0)
    da = g + dr @ w_1.T
    dm = _heads(da @ w_o.T, batch)
    dp = dm @ v.swapaxes(-1, -2)
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
    dq, dk, dv = ds @ k, ds.swapaxes(-1, -2) @ q, p.swapaxes(-1, -2) @ dm
    d_qkv = [x.T @ dy.swapaxes(1, 2).reshape(-1, width) for dy in (dq, dk, dv)]
    return np.mean(d * d), [*d_qkv, mixed.T @ da, a.T @ dr, r.T @ g]


# --- the workloads --------------------------------------------------------------------


def xor() -> Workload:
    """Make a net of two tiny layers: what a record, a call, a leaf cost."""
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid())

    def model_loss(params: Any, x: Any, y: Any) -> Any:
        return tg.nn.mse_loss(model(params, x), y, reduction="sum")

    data = (np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [0], [1]]))
    title = "XOR net 2-3-1, batch 4, f64"
    peers = PEERS
    return Workload(title, model.init(0), data, xor_loss, xor_by_hand, 0.1, model_loss, peers)


def rnn() -> Workload:
    """Make a recurrent language model.

    `tg.nn.RNNCell` computes the outputs at all words, the others only the last.
    """
    embedding, cell = tg.nn.Embedding(80, 16), tg.nn.RNNCell(16, 16, 80)

    def model_loss(params: Any, words: Any, hidden: Any, targets: Any) -> Any:
        for t in range(words.shape[1]):
            x = embedding(params["embedding"], words[:, t])
            output, hidden = cell(params["cell"], x, hidden)
        return tg.nn.cross_entropy_loss(output, targets)

    rng = np.random.default_rng(1)
    params = {"embedding": embedding.init(0), "cell": cell.init(1)}
    words, targets = rng.integers(80, size=(100, 5)), rng.integers(80, size=100)
    data = (words, np.zeros((100, 16)), targets)
    title = "RNN language model, vocabulary 80, width 16, 100 by 5 words, f64"
    return Workload(title, params, data, rnn_loss, rnn_by_hand, 0.05, model_loss, PEERS)


def mlp() -> Workload:
    """Make a net that is all matrix products."""
    model = tg.nn.Sequential(tg.nn.Linear(784, 256), tg.nn.Relu(), tg.nn.Linear(256, 10))

    def model_loss(params: Any, x: Any, targets: Any) -> Any:
        return tg.nn.cross_entropy_loss(model(params, x), targets)

    rng = np.random.default_rng(2)
    params = model.init(0, np.float32)
    data = (_normal(rng, 128, 784), rng.integers(10, size=128))
    title = "MLP 784-256-10, batch 128, f32"
    return Workload(title, params, data, mlp_loss, mlp_by_hand, 0.05, model_loss)


def chain() -> Workload:
    """Make a chain of elementwise operations on an array beyond the caches."""
    params = (np.random.default_rng(3).standard_normal(1_000_000),)
    title = "value and gradient of sum(tanh(a * x) * exp(-x * x)), 1,000,000 elements, f64"
    return Workload(title, params, (), chain_loss, chain_by_hand, None)


def lstm() -> Workload:
    """Make an LSTM with the gates side by side in its weights, split by slices."""
    rng = np.random.default_rng(4)
    params = tuple(_normal(rng, *shape) * 0.1 for shape in ((128, 512), (128, 512), (512,)))
    data = (_normal(rng, 20, 32, 128), np.zeros((32, 128), np.float32), _normal(rng, 32, 128))
    title = "LSTM, batch 32, hidden 128, 20 steps, f32"
    return Workload(title, params, data, lstm_loss, lstm_by_hand, 0.5)


def gru() -> Workload:
    """Make a GRU with the gates side by side in its weights."""
    cell = tg.nn.GRUCell(128, 128)

    def model_loss(params: Any, x: Any, hidden: Any, targets: Any) -> Any:
        for t in range(x.shape[0]):
            output, hidden = cell(params, x[t], hidden)
        return tg.nn.mse_loss(output, targets)

    rng = np.random.default_rng(8)
    params = cell.init(0, np.float32)
    data = (_normal(rng, 20, 32, 128), np.zeros((32, 128), np.float32), _normal(rng, 32, 128))
    title = "GRU, batch 32, hidden 128, 20 steps, f32"
    return Workload(title, params, data, gru_loss, gru_by_hand, 0.5, model_loss)


def lenet() -> Workload:
    """Make LeNet-5, with relu and pools of the largest, trained by Adam."""
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
    data = (_normal(rng, 64, 1, 28, 28), rng.integers(10, size=64))
    title = "LeNet-5 with Adam, batch 64 of 28 by 28, f32"
    return Workload(title, params, data, lenet_loss, lenet_by_hand, 1e-3, model_loss, decay=0.0)


def adamw() -> Workload:
    """Make the net of `mlp`, trained by AdamW."""
    return attrs.evolve(mlp(), title="MLP 784-256-10 with AdamW, batch 128, f32", decay=0.01)


def embedding(zipf: bool = False) -> Workload:
    """Make a loss of few rows of a large table."""
    rng = np.random.default_rng(5)
    weights = 1 / np.arange(1, 50_001) if zipf else np.ones(50_000)
    indices = rng.choice(50_000, size=1024, p=weights / weights.sum())
    params = (_normal(rng, 50_000, 64),)
    data = (indices, _normal(rng, 1024, 64))
    title = f"embedding, 1024 {'Zipf' if zipf else 'uniform'} rows of 50,000 by 64, f32"
    return Workload(title, params, data, embedding_loss, embedding_by_hand, EMBEDDING_RATE)


def attention() -> Workload:
    """Make a transformer layer with residuals, without biases."""
    rng = np.random.default_rng(6)
    shapes = [(64, 64)] * 4 + [(64, 128), (128, 64)]
    params = tuple(_normal(rng, *shape) / 8 for shape in shapes)
    data = (_normal(rng, 16, 64, 64), _normal(rng, 16, 64, 64))
    title = "attention with 4 heads and feed-forward 128, 16 by 64 by 64, f32"
    return Workload(title, params, data, attention_loss, attention_by_hand, 0.1)


def _normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, np.float32)


WORKLOADS: Mapping[str, Callable[[], Workload]] = {
    make.__name__: make
    for make in (xor, rnn, mlp, chain, lstm, gru, embedding, attention, lenet, adamw)
}


# --- the implementations ----------------------------------------------------------------


def tapegrad_step(w: Workload, loss: Callable[..., Any] | None = None) -> Step:
    """Write the training step as a user of tapegrad does: with its layers, or of a function."""
    both = tg.value_and_grad(loss or w.model_loss or functools.partial(w.loss, tapegrad_ops()))
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
    """Make tapegrad's optimizer of a workload with Adam."""
    return tg.optim.AdamW(w.rate, BETA1, BETA2, EPSILON, weight_decay=w.decay)


def tapegrad_start(w: Workload, params: Any) -> Any:
    """Make what such a step begins with: parameters, and with Adam the optimizer's state."""
    return params if w.decay is None else (params, adam_of(w).init(params))


def plain_step(both: Step, w: Workload) -> Step:
    """Add the update of a list of parameters to a function that gives loss and gradients."""
    rate, decay = w.rate, w.decay or 0.0
    if rate is None:
        return both

    def step(params: Any, *data: Any) -> tuple[Any, Any]:
        loss, gradients = both(params, *data)
        return loss, [p - rate * g for p, g in zip(params, gradients, strict=True)]

    def adam_step(state: Any, *data: Any) -> tuple[Any, Any]:
        params, first, second, t = state
        loss, gradients = both(params, *data)
        t = t + 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, gradients, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, gradients, strict=True)]
        scale, shrink = rate / (1 - BETA1**t), (1 - BETA2**t) ** -0.5
        new = [
            p * (1 - rate * decay) - scale * m / (shrink * v**0.5 + EPSILON)
            for p, m, v in zip(params, first, second, strict=True)
        ]
        return loss, [new, first, second, t]

    return step if w.decay is None else adam_step


def own_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make those of tapegrad, compiled where it can be, and of NumPy."""
    same = functools.partial(w.loss, tapegrad_ops())
    leaves = w.leaves
    recorded = tapegrad_start(w, leaves)
    yield Entry(RECORDED, lambda: recorded, tapegrad_step(w, same), w.data, w.read)
    if COMPILE is not None:
        step, compiled = COMPILE(tapegrad_step(w)), tapegrad_start(w, w.params)
        yield Entry(COMPILED, lambda: compiled, step, w.data, w.read)
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


def _plain_attention(softmax: Callable[[Any], Any]) -> Callable[[Any, Any, Any], Any]:
    def attention(q: Any, k: Any, v: Any) -> Any:
        return softmax(q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]))) @ v

    return attention


def tapegrad_ops() -> Ops:
    """Name the functions of tapegrad."""
    losses, attention = tg.nn.cross_entropy_loss, _plain_attention(tg.softmax)
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
    )


def autograd_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make that of HIPS autograd."""
    anp: Any = importlib.import_module("autograd.numpy")
    autograd: Any = importlib.import_module("autograd")

    def cross_entropy(logits: Any, targets: Any) -> Any:
        z = logits - anp.max(logits, axis=1, keepdims=True)
        picked = z[anp.arange(len(targets)), targets]
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - picked)

    ops = Ops(anp, lambda z: 1 / (1 + anp.exp(-z)), cross_entropy)
    both = autograd.value_and_grad(functools.partial(w.loss, ops))
    yield Entry("autograd", lambda: w.leaves, plain_step(both, w), w.data, list)


def mygrad_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make that of MyGrad."""
    mg: Any = importlib.import_module("mygrad")
    nnet: Any = importlib.import_module("mygrad.nnet")
    ops = Ops(mg, nnet.activations.sigmoid, nnet.losses.softmax_crossentropy)

    def both(params: Any, *data: Any) -> tuple[Any, Any]:
        tensors = [mg.tensor(p, copy=False) for p in params]
        loss = w.loss(ops, tensors, *data)
        loss.backward()
        return loss.data, [t.grad for t in tensors]

    step = plain_step(both, w)
    yield Entry("MyGrad", lambda: w.leaves, mg.mem_guard_on(step), w.data, list)
    yield Entry("MyGrad, no guard", lambda: w.leaves, mg.mem_guard_off(step), w.data, list)


def torch_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make those of PyTorch, eager."""
    torch: Any = importlib.import_module("torch")
    functional = torch.nn.functional
    ops = Ops(
        torch,
        torch.sigmoid,
        functional.cross_entropy,
        torch.relu,
        functional.scaled_dot_product_attention,
        affine=lambda x, w, b: torch.addmm(b, x, w),
        rows=lambda table, indices: functional.embedding(indices, table),
        convolution=lambda x, w, b, padding: functional.conv2d(x, w, b, padding=padding),
        pool=lambda x: functional.max_pool2d(x, 2),
    )

    def tensors(arrays: Sequence[Array]) -> list[Any]:
        return [torch.from_numpy(np.array(a)) for a in arrays]

    def start() -> tuple[list[Any], Any]:
        # the parameters, and the same memory outside of autograd to update, or an optimizer
        raw = tensors(w.leaves)
        params = [t.detach().requires_grad_() for t in raw]
        if w.decay is None:
            return params, raw
        given: dict[str, Any] = {"betas": (BETA1, BETA2), "eps": EPSILON, "foreach": True}
        return params, torch.optim.AdamW(params, w.rate, weight_decay=w.decay, **given)

    def read(state: Any) -> list[Any]:
        return [t.detach().numpy() for t in state[0]]

    def step_of(loss_of: Callable[..., Any]) -> Step:
        def step(state: Any, *data: Any) -> tuple[Any, Any]:
            params, raw = state
            loss = loss_of(params, *data)
            gradients = torch.autograd.grad(loss, params)
            if w.rate is None:
                return loss.detach(), (gradients, raw)
            if w.decay is not None:
                for p, g in zip(params, gradients, strict=True):
                    p.grad = g
                raw.step()
                return loss.detach(), state
            torch._foreach_add_(raw, gradients, alpha=-w.rate)
            return loss.detach(), state

        return step

    data = tuple(tensors(w.data))
    plain = functools.partial(w.loss, ops)
    label = {"lstm": "torch loop", "embedding": "torch dense"}.get(name, "torch")
    yield Entry(label, start, step_of(plain), data, read)
    if name == "lstm":
        module = torch.nn.LSTM(w.data[0].shape[-1], w.data[1].shape[-1])
        weights = [module.weight_ih_l0, module.weight_hh_l0, module.bias_ih_l0]
        module.bias_hh_l0.requires_grad_(False).zero_()

        def module_start() -> tuple[list[Any], list[Any]]:
            raw = [p.detach() for p in weights]
            for p, a in zip(raw, tensors(w.leaves), strict=True):
                p.copy_(a.T if a.ndim == 2 else a)
            return weights, raw

        def module_loss(params: Any, x: Any, start: Any, targets: Any) -> Any:
            _, (h, _) = module(x, (start[None], start[None]))
            return functional.mse_loss(h[0], targets)

        def module_read(state: Any) -> list[Any]:
            return [a.T for a in read(state)]

        yield Entry("torch nn.LSTM", module_start, step_of(module_loss), data, module_read)
    if name == "embedding":

        def sparse_step(state: Any, indices: Any, targets: Any) -> tuple[Any, Any]:
            (table,), (raw,) = state
            d = functional.embedding(indices, table, sparse=True) - targets
            loss = (d * d).sum()
            raw.add_(torch.autograd.grad(loss, table)[0], alpha=-EMBEDDING_RATE)
            return loss.detach(), state

        yield Entry("torch sparse", start, sparse_step, data, read)


def jax_entries(name: str, w: Workload) -> Iterator[Entry]:
    """Make those of JAX, under jit."""
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

    ops = Ops(
        jnp,
        jax.nn.sigmoid,
        cross_entropy,
        jax.nn.relu,
        _plain_attention(jax.nn.softmax),
        convolution=convolution,
        pool=pool,
    )

    def start() -> Any:
        # a copy, for the step gives the memory away
        return jax.block_until_ready(jax.tree.map(lambda a: jnp.array(a), w.start))

    def entry(label: str, step: Callable[..., Any]) -> Entry:
        jitted = jax.jit(step, donate_argnums=() if w.rate is None else 0)
        return Entry(label, start, jitted, data, w.read, jax.block_until_ready)

    data = tuple(jnp.asarray(a, jnp.int32 if a.dtype.kind == "i" else a.dtype) for a in w.data)
    both = jax.value_and_grad(functools.partial(w.loss, ops))
    label = {"lstm": "jax.jit unrolled", "embedding": "jax.jit dense"}.get(name, "jax.jit")
    yield entry(label, plain_step(both, w))
    if name == "lstm":

        def scan_loss(params: Any, x: Any, start: Any, targets: Any) -> Any:
            def body(state: Any, x_t: Any) -> tuple[Any, None]:
                return _lstm_step(ops, params, x_t, *state), None

            (h, _), _ = jax.lax.scan(body, (start, start), x)
            return jnp.mean((h - targets) ** 2)

        yield entry("jax.jit scan", plain_step(jax.value_and_grad(scan_loss), w))
    if name == "embedding":

        def rows_step(params: Any, indices: Any, targets: Any) -> tuple[Any, Any]:
            d = params[0][indices] - targets
            return jnp.sum(d * d), [params[0].at[indices].add(-2 * EMBEDDING_RATE * d)]

        yield entry("jax.jit rows only", rows_step)


MAKERS: Mapping[str, Callable[[str, Workload], Iterator[Entry]]] = {
    "autograd": autograd_entries,
    "mygrad": mygrad_entries,
    "torch": torch_entries,
    "jax": jax_entries,
}


# --- checking and timing -----------------------------------------------------------------


def check(w: Workload, entry: Entry) -> None:
    """Exit unless a step agrees with NumPy, to a fraction of the update."""
    tolerance = 1e-10 if all(p.dtype == np.float64 for p in w.leaves) else 1e-3
    loss, gradients = w.by_hand(w.leaves, *w.data)
    before: Sequence[Any] = w.leaves if w.rate is not None else np.zeros(len(w.leaves)).tolist()
    rate = -1 if w.rate is None else w.rate
    if w.decay is not None:
        # of the moments that it is divided by, a first step leaves the sign
        gradients = [
            g / (np.abs(g) + EPSILON) + w.decay * p for p, g in zip(before, gradients, strict=True)
        ]
    got_loss, result = entry.step(entry.start(), *entry.data)
    arrays = entry.read(result)
    wanted: list[tuple[str, Any, Any, Any]] = [("the loss", 0, loss, got_loss)]
    for i, (p, g, got) in enumerate(zip(before, gradients, arrays, strict=True)):
        wanted.append((f"result {i}", p, -rate * g, got))
    for what, old, change, got in wanted:
        got = np.asarray(got)
        error = np.max(np.abs(got - (old + change))) / np.max(np.abs(change))
        if got.shape != change.shape or got.dtype != change.dtype or not error <= tolerance:
            sys.exit(
                f"{entry.name} disagrees with NumPy in {what}: relative error {error:.2g}, "
                f"{got.dtype} {got.shape} for {change.dtype} {change.shape}"
            )


def burst(entry: Entry, calls: int, carry: bool) -> float:
    """Seconds for a number of calls in a row, after some to warm up."""
    step, data = entry.step, entry.data
    state = entry.start()
    for _ in range(WARM_UP):
        result = step(state, *data)
        if carry:
            state = result[1]
    entry.wait(result)
    begin = time.perf_counter()
    for _ in range(calls):
        result = step(state, *data)
        if carry:
            state = result[1]
    entry.wait(result)
    return time.perf_counter() - begin


def calibrate(entry: Entry, carry: bool) -> int:
    """How many calls a burst has."""
    calls = 1
    while (seconds := burst(entry, calls, carry)) < BURST_SECONDS / 2:
        calls *= 2
    return max(1, round(calls * BURST_SECONDS / seconds))


def measure(w: Workload, entries: Sequence[Entry], seconds: float) -> dict[str, Timing]:
    """Time the entries in rounds of random order, at least three rounds."""
    carry = w.rate is not None
    calls = {entry.name: calibrate(entry, carry) for entry in entries}
    times: dict[str, list[float]] = {entry.name: [] for entry in entries}
    shuffled = random.Random(0)
    gc.collect()
    gc.freeze()  # nobody pays for walking over the objects of another library
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[entries[0].name]) < 3:
        for entry in shuffled.sample(list(entries), len(entries)):
            n = calls[entry.name]
            times[entry.name].append(burst(entry, n, carry) / n * 1e6)
    return {
        name: Timing(statistics.median(t), min(t), calls[name], len(t)) for name, t in times.items()
    }


def first_call(w: Workload) -> float | None:
    """Microseconds of the first call of a compiled step: it records and compiles."""
    if COMPILE is None:
        return None
    times = []
    for _ in range(7):
        step = COMPILE(tapegrad_step(w))
        begin = time.perf_counter()
        step(w.params, *w.data)
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e6


def import_time() -> float:
    """Milliseconds that importing tapegrad takes after NumPy and attrs."""
    code = (
        "import time, numpy, attrs; begin = time.perf_counter(); import tapegrad; "
        "print(time.perf_counter() - begin)"
    )
    run = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as bytecode:
        # as an installed package is imported: compiled once, by the first run
        environment = {
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPATH": os.pathsep.join([p for p in sys.path if p]),
            "PYTHONPYCACHEPREFIX": bytecode,
        }
        times = [
            float(subprocess.run(run, env=environment, capture_output=True, check=True).stdout)
            for _ in range(8)
        ]
    return statistics.median(times[1:]) * 1e3


# --- the cost of transforms ---------------------------------------------------------------


def transform_entries() -> tuple[Workload, list[Entry]]:
    """Make a net of three layers, and what is taken of its loss: recorded, and compiled.

    The direction that jvp and hvp are taken in is a tree of all parameters.
    """
    sizes = (784, 256, 128, 10)
    linear = [tg.nn.Linear(m, n) for m, n in itertools.pairwise(sizes)]
    model = tg.nn.Sequential(linear[0], tg.nn.Tanh(), linear[1], tg.nn.Tanh(), linear[2])
    rng = np.random.default_rng(7)
    params = model.init(0, np.float32)
    direction = tg.tree.map(lambda p: _normal(rng, *p.shape) / 8, params)
    x, targets = _normal(rng, 128, sizes[0]), rng.integers(sizes[-1], size=128)

    def loss(p: Any) -> Any:
        return tg.nn.cross_entropy_loss(model(p, x), targets)

    taken: dict[str, Callable[[Any, Any], Any]] = {
        "forward": lambda p, v: loss(p),
        "value and gradient": lambda p, v: tg.value_and_grad(loss)(p),
        "jvp": lambda p, v: tg.jvp(loss, (p,), (v,)),
        "hvp": lambda p, v: tg.hvp(loss, (p,), (v,)),
    }
    entries = []
    for name, fn in taken.items():
        recorded = tg.record(fn) if name == "forward" else fn
        for kind, step in ((RECORDED, recorded), (COMPILED, COMPILE and COMPILE(fn))):
            if step is not None:
                label = f"{name}, {kind.split()[-1]}"
                entries.append(Entry(label, lambda: params, step, (direction,), tg.tree.leaves))
    title = f"MLP {'-'.join(map(str, sizes))} with tanh, batch 128, f32: loss and derivatives"
    return Workload(title, params, (direction,), _refuse, _refuse, None), entries


def check_transforms(w: Workload, entries: Sequence[Entry]) -> None:
    """Exit unless the derivatives agree with each other."""
    results = {entry.name: entry.step(w.params, *w.data) for entry in entries}
    (direction,) = map(tg.tree.leaves, w.data)
    for kind in {name.split(", ")[1] for name in results}:
        gradient = tg.tree.leaves(results[f"value and gradient, {kind}"][1])
        slope = sum(np.vdot(g, v) for g, v in zip(gradient, direction, strict=True))
        curved = tg.tree.map(lambda p, v: p + 1e-2 * v, w.params, *w.data)
        step = next(e.step for e in entries if e.name == f"value and gradient, {kind}")
        ahead = tg.tree.leaves(step(curved, *w.data)[1])
        hvp = tg.tree.leaves(results[f"hvp, {kind}"])
        change = [(a - g) / 1e-2 for a, g in zip(ahead, gradient, strict=True)]
        error = max(
            np.max(np.abs(h - c)) / np.max(np.abs(h)) for h, c in zip(hvp, change, strict=True)
        )
        if not (np.isclose(results[f"jvp, {kind}"][1], slope, rtol=1e-3) and error < 0.1):
            sys.exit(f"jvp or hvp, {kind}, disagree with the gradient")


def transforms_table(timings: Mapping[str, Timing]) -> str:
    """Medians, minima, and both over those of the forward evaluation of the same kind."""
    lines = [
        f"{'':30}" + "".join(f"{h:>12}" for h in ("median us", "min us", "/ forward", "(min)"))
    ]
    for name, t in timings.items():
        forward = timings[f"forward, {name.split(', ')[1]}"]
        ratios = f"{t.median / forward.median:12.2f}{t.minimum / forward.minimum:12.2f}"
        lines.append(f"{name:30}{t.median:12.1f}{t.minimum:12.1f}{ratios}")
    return "\n".join(lines)


# --- the report ---------------------------------------------------------------------------


def table(timings: Mapping[str, Timing]) -> str:
    """Medians, minima, and each median over those of the references."""
    references = [name for name in (RECORDED, COMPILED, ANSWERS) if name in timings]
    heads = ["", "median us", "min us", *(f"/ {name.split()[-1]}" for name in references)]
    heads = [head.replace("/ hand", "/ NumPy") for head in heads]
    lines = [f"{heads[0]:22}" + "".join(f"{head:>12}" for head in heads[1:])]
    for name, t in timings.items():
        ratios = "".join(f"{t.median / timings[r].median:12.2f}" for r in references)
        lines.append(f"{name:22}{t.median:12.1f}{t.minimum:12.1f}{ratios}")
    return "\n".join(lines)


def machine(threads: int) -> dict[str, Any]:
    """Say what the figures are measured on."""
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":")[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
    }


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Look up the version of each distribution, None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def hold_threads(threads: int) -> None:
    """Begin again with the libraries held to a number of threads and cores.

    They read their settings when they are imported, so the process is replaced.
    """
    names = ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMEXPR")
    wanted = {f"{name}_NUM_THREADS": str(threads) for name in names}
    wanted |= {"VECLIB_MAXIMUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    if all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0), key=_spin)[:threads])
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})


def _spin(core: int) -> float:
    """How long a core takes for some work: a busy one longer."""
    os.sched_setaffinity(0, {core})
    begin = time.perf_counter()
    sum(range(2_000_000))
    return time.perf_counter() - begin


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*WORKLOADS, TRANSFORMS]
    parser.add_argument("--workloads", default=",".join(known), help="names, by commas")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each workload")
    parser.add_argument("--zipf", action="store_true", help="repeat the embedding's rows")
    parser.add_argument("--fresh-heap", action="store_true", help="free no large array first")
    parser.add_argument("--no-peers", action="store_true", help="only tapegrad and NumPy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    options.workloads = options.workloads.split(",")
    unknown = set(options.workloads) - set(known)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return options


def main() -> None:
    """Check, time and print."""
    options = arguments()
    hold_threads(options.threads)
    found = versions(["numpy", "attrs", *PEERS])
    peers = [] if options.no_peers else [name for name in PEERS if found[name]]
    if "torch" in peers:
        importlib.import_module("torch").set_num_threads(options.threads)
    report: dict[str, Any] = {"machine": machine(options.threads), "versions": found}
    print(", ".join(f"{key} {value}" for key, value in report["machine"].items()))
    print(", ".join(f"{name} {version or 'not installed'}" for name, version in found.items()))
    report["import_ms"] = import_time()
    print(f"import tapegrad, after NumPy and attrs: {report['import_ms']:.1f} ms")
    report["workloads"] = {}
    if not options.fresh_heap:
        np.empty(HEAP_BYTES, np.uint8)
    for name in options.workloads:
        if name == TRANSFORMS:
            w, entries = transform_entries()
            check_transforms(w, entries)
            timings = measure(w, entries, options.seconds)
            print(f"\n{name}: {w.title}\n{transforms_table(timings)}", flush=True)
            figures = {entry: attrs.asdict(timing) for entry, timing in timings.items()}
            report["workloads"][name] = {"title": w.title, "microseconds": figures}
            continue
        w = embedding(options.zipf) if name == "embedding" else WORKLOADS[name]()
        entries = list(own_entries(name, w))
        for peer in w.peers:
            entries += MAKERS[peer](name, w) if peer in peers else ()
        for entry in entries:
            check(w, entry)
        timings = measure(w, entries, options.seconds)
        print(f"\n{name}: {w.title}\n{table(timings)}", flush=True)
        figures = {entry: attrs.asdict(timing) for entry, timing in timings.items()}
        report["workloads"][name] = {"title": w.title, "microseconds": figures}
        first = first_call(w) if name in ("xor", "rnn") else None
        if first is not None:
            report["workloads"][name]["first_call"] = first
            print(f"first call of the compiled step: {first:.0f} us")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
