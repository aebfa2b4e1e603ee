"""A recurrent language model."""

from __future__ import annotations

from typing import Any

import numpy as np

import tapegrad as tg
from bench.workload import PEERS, Array, Ops, Workload
from bench.workloads.by_hand import cross_entropy, sigmoid


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
        h = sigmoid(x @ w_ih + b_ih + h @ w_hh + b_hh)
        inputs.append(x)
        hidden.append(h)
    loss, dz = cross_entropy(h @ w_ho + b_ho, targets)
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
