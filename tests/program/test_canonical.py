"""Options resolved when a record is read: what means the same is spelled in one way."""

import numpy as np
import pytest
from bench.peers.tapegrad import tapegrad_start, tapegrad_step
from bench.workloads import WORKLOADS

import tapegrad as tg
from tapegrad.program.compiled import trace
from tapegrad.program.content import content

X = np.arange(24.0).reshape(2, 3, 4)
ROWS = np.array([1, 0])

ALIKE = {
    "reshape": [
        lambda x: x.reshape(-1, 4),
        lambda x: x.reshape(6, 4),
        lambda x: np.reshape(x, (6, -1)),
    ],
    "new axes": [
        lambda x: x[:, None],
        lambda x: x[:, None, ...],
        lambda x: np.expand_dims(x, 1),
        lambda x: np.expand_dims(x, -3),
        lambda x: x.reshape(2, 1, 3, 4),
    ],
    "an axis dropped": [lambda x: x[:1][0], lambda x: x[:1].reshape(3, 4), lambda x: x[:1][-1]],
    "new axes, with their gradient": [
        tg.grad(lambda x: np.sum(x[:, None] ** 2)),
        tg.grad(lambda x: np.sum(x.reshape(2, 1, 3, 4) ** 2)),
    ],
    "an axis dropped, with its gradient": [
        tg.grad(lambda x: np.sum(x[:, :1][:, 0] ** 2)),
        tg.grad(lambda x: np.sum(x[:, :1].reshape(2, 4) ** 2)),
    ],
    "transpose": [
        lambda x: np.swapaxes(x, 0, 1),
        lambda x: np.swapaxes(x, -2, -3),
        lambda x: np.transpose(x, (1, 0, -1)),
        lambda x: np.moveaxis(x, 0, 1),
    ],
    "axes backwards": [lambda x: x.T, lambda x: np.swapaxes(x, 0, 2)],
    "the last axis": [
        lambda x: np.sum(x, -1),
        lambda x: np.sum(x, 2),
        lambda x: np.sum(x, (2,), keepdims=False),
    ],
    "two axes": [lambda x: np.max(x, (2, 0)), lambda x: np.max(x, (0, -1))],
    "all axes": [lambda x: np.sum(x), lambda x: np.sum(x, (0, 1, 2)), lambda x: x.sum((-1, 0, 1))],
    "a place": [lambda x: np.argmax(x, -1), lambda x: np.argmax(x, axis=2)],
    "joined": [lambda x: np.concatenate([x, x], -1), lambda x: np.concatenate([x, x], 2)],
    "stacked": [lambda x: np.stack([x, x]), lambda x: np.stack([x, x], -4)],
    "a row": [lambda x: x[1], lambda x: x[-1], lambda x: x[-1, ..., :], lambda x: x[1, :, :]],
    "a slice": [lambda x: x[:, 1:], lambda x: x[..., 1:3, :], lambda x: x[:, -2:, 0:]],
    "rows": [lambda x: x[ROWS], lambda x: tg.index_select(x, ROWS)],
    "rows, with their gradient": [
        tg.grad(lambda x: np.sum(x[ROWS] ** 2)),
        tg.grad(lambda x: np.sum(tg.index_select(x, ROWS) ** 2)),
    ],
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_means_the_same_is_one_program(name):
    first, *others = [trace(fn, (X,), {}) for fn in ALIKE[name]]
    for fn, program in zip(ALIKE[name][1:], others, strict=True):
        assert program.instructions == first.instructions
        np.testing.assert_array_equal(tg.compile(fn)(X), fn(X))


@pytest.mark.parametrize("name", ["xor", "rnn", "embedding", "attention", "ode"])
def test_equal_instructions_never_stand_twice(name):
    w = WORKLOADS[name]()
    program = tg.compile(tapegrad_step(w)).program(tapegrad_start(w, w.params), *w.data)
    contents = [content(x, x.operands) for x in program.instructions]
    assert len(set(contents)) == len(contents)
