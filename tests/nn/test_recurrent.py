"""Recurrent cells compute their formulas."""

import numpy as np
import pytest
from layer_kinds import KINDS

import tapegrad as tg


@pytest.mark.parametrize(
    ("options", "function"),
    [({}, lambda x: 1 / (1 + np.exp(-x))), ({"activation": "tanh"}, np.tanh)],
)
def test_rnn_cell_is_one_step_of_its_formula(options, function):
    cell = tg.nn.RNNCell(2, 3, 4, **options)
    params = cell.init(0)
    assert [x.shape for x in tg.tree.leaves(params)] == [(2, 3), (3,), (3, 3), (3,), (3, 4), (4,)]
    x, hidden = np.linspace(-1, 1, 10).reshape(5, 2), np.linspace(0, 1, 15).reshape(5, 3)
    output, after = cell(params, x, hidden)
    want = function(
        x @ params.w_ih.weight + params.w_ih.bias + hidden @ params.w_hh.weight + params.w_hh.bias
    )
    np.testing.assert_allclose(after, want, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        output, want @ params.w_ho.weight + params.w_ho.bias, rtol=1e-12, atol=1e-12
    )


def gated(cell, params, x, state):
    """A step of a GRU or of an LSTM, as they are published."""
    ours, hidden = (state, state) if cell == "gru" else (state[1], state[0])
    from_x = np.split(x @ params.w_ih.weight + params.w_ih.bias, 3 + (cell == "lstm"), -1)
    from_h = np.split(hidden @ params.w_hh.weight + params.w_hh.bias, len(from_x), -1)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    if cell == "gru":
        reset, update = (sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
        new = np.tanh(from_x[2] + reset * from_h[2])
        return (1 - update) * new + update * hidden
    into, forget, new, out = (a + b for a, b in zip(from_x, from_h, strict=True))
    kept = sigmoid(forget) * ours + sigmoid(into) * np.tanh(new)
    return sigmoid(out) * np.tanh(kept), kept


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gated_cells_are_their_formulas(cell):
    kind = KINDS[cell]
    params, x, *states = kind.arguments()
    state = states[0] if cell == "gru" else tuple(states)
    output, after = kind.layer(params, x, state)
    want = gated(cell, params, x, state)
    for got, expected in zip(tg.tree.leaves(after), tg.tree.leaves(want), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(output, tg.tree.leaves(after)[0])
