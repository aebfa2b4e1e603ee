"""A GRU, and a language model on it."""

from __future__ import annotations

from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import Array, Ops, Workload
from bench.workloads.by_hand import cross_entropy, normal, sigmoid


def gru_step(ops: Ops, params: Any, x: Any, h: Any) -> Any:
    """Take one step: the new hidden state."""
    w_x, b_x, w_h, b_h = params
    n = h.shape[1]
    from_x, from_h = ops.affine(x, w_x, b_x), ops.affine(h, w_h, b_h)
    gates = ops.sigmoid(from_x[:, : 2 * n] + from_h[:, : 2 * n])
    r, z = gates[:, :n], gates[:, n:]
    new = ops.numpy.tanh(from_x[:, 2 * n :] + r * from_h[:, 2 * n :])
    return new + z * (h - new)


def gru_loss(ops: Ops, params: Any, x: Any, start: Any, targets: Any) -> Any:
    """Take the steps one after another; the mean square of the last hidden state."""
    h = start
    for t in range(x.shape[0]):
        h = gru_step(ops, params, x[t], h)
    d = h - targets
    return ops.numpy.mean(d * d)


def _forward(params: Any, x: Any, h: Array) -> tuple[list[Array], list[Any]]:
    # the hidden states, and what the way back needs of each step
    w_x, b_x, w_h, b_h = params
    n, states, saved = h.shape[1], [], []
    for x_t in x:
        from_x, from_h = x_t @ w_x + b_x, h @ w_h + b_h
        gates = sigmoid(from_x[:, : 2 * n] + from_h[:, : 2 * n])
        r, z = gates[:, :n], gates[:, n:]
        new = np.tanh(from_x[:, 2 * n :] + r * from_h[:, 2 * n :])
        saved.append((x_t, h, r, z, new, from_h[:, 2 * n :]))
        h = new + z * (h - new)
        states.append(h)
    return states, saved


def _backward(params: Any, saved: list[Any], by_state: Any) -> tuple[list[Array], list[Array]]:
    # the gradients of the parameters, and of what each step was given
    w_h = params[2]
    d_x, db_x, d_h, db_h = (np.zeros_like(p) for p in params)
    dh, by_input = 0, []
    for kept, d_state in zip(reversed(saved), reversed(by_state), strict=True):
        x_t, before, r, z, new, hidden = kept
        dh = dh + d_state
        d_new = dh * (1 - z) * (1 - new * new)
        d_z = dh * (before - new) * z * (1 - z)
        d_r = d_new * hidden * r * (1 - r)
        d_from_x = np.concatenate([d_r, d_z, d_new], axis=1)
        d_from_h = np.concatenate([d_r, d_z, d_new * r], axis=1)
        d_x += x_t.T @ d_from_x
        d_h += before.T @ d_from_h
        db_x += d_from_x.sum(axis=0)
        db_h += d_from_h.sum(axis=0)
        by_input.append(d_from_x)
        dh = d_from_h @ w_h.T + dh * z
    return [d_x, db_x, d_h, db_h], by_input[::-1]


def gru_by_hand(params: Any, x: Array, start: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`gru_loss` and its gradients."""
    states, saved = _forward(params, x, start)
    d = states[-1] - targets
    return np.mean(d * d), _backward(params, saved, [0] * (len(x) - 1) + [2 * d / d.size])[0]


def gru() -> Workload:
    """Make a GRU with the gates side by side in its weights."""
    cell = tg.nn.GRUCell(128, 128)

    def model_loss(params: Any, x: Any, hidden: Any, targets: Any) -> Any:
        for t in range(x.shape[0]):
            output, hidden = cell(params, x[t], hidden)
        return tg.nn.mse_loss(output, targets)

    rng = np.random.default_rng(8)
    params = cell.init(0, np.float32)
    data = (normal(rng, 20, 32, 128), np.zeros((32, 128), np.float32), normal(rng, 32, 128))
    title = "GRU, batch 32, hidden 128, 20 steps, f32"
    peers = ("autograd", "torch", "jax")
    return Workload(title, params, data, gru_loss, gru_by_hand, 0.5, model_loss, peers=peers)


def language_loss(ops: Ops, params: Any, words: Any, h: Any, targets: Any) -> Any:
    """Compute the cross entropy of the next word after each word."""
    table, *cell, w, b = params
    states = []
    for t in range(words.shape[0]):
        h = gru_step(ops, cell, ops.rows(table, words[t]), h)
        states.append(h)
    return ops.cross_entropy(ops.affine(ops.numpy.concatenate(states), w, b), targets)


def language_by_hand(params: Any, words: Any, h: Array, targets: Array) -> tuple[Any, list[Array]]:
    """`language_loss` and its gradients."""
    table, *cell, w, b = params
    states, saved = _forward(cell, table[words], h)
    joined = np.concatenate(states)
    loss, dz = cross_entropy(joined @ w + b, targets)
    gradients, by_input = _backward(cell, saved, np.split(dz @ w.T, len(words)))
    d_table = np.zeros_like(table)
    np.add.at(d_table, words.ravel(), np.concatenate(by_input) @ cell[0].T)
    return loss, [d_table, *gradients, joined.T @ dz, dz.sum(axis=0)]


def language() -> Workload:
    """Make a language model: rows of a table, a GRU, and a layer on all hidden states."""
    n_words, n = 500, 64
    embedding, cell = tg.nn.Embedding(n_words, n), tg.nn.GRUCell(n, n)
    layer = tg.nn.Linear(n, n_words)

    def model_loss(params: Any, words: Any, h: Any, targets: Any) -> Any:
        outputs = []
        for t in range(words.shape[0]):
            output, h = cell(params[1], embedding(params[0], words[t]), h)
            outputs.append(output)
        return tg.nn.cross_entropy_loss(layer(params[2], np.concatenate(outputs)), targets)

    rng = np.random.default_rng(13)
    parts: tuple[Any, ...] = embedding, cell, layer
    params = tuple(part.init(i, np.float32) for i, part in enumerate(parts))
    words, targets = rng.integers(n_words, size=(16, 32)), rng.integers(n_words, size=16 * 32)
    data = words, np.zeros((32, n), np.float32), targets
    title = "GRU language model, vocabulary 500, width 64, 32 by 16 words, f32"
    return Workload(title, params, data, language_loss, language_by_hand, 0.5, model_loss)
