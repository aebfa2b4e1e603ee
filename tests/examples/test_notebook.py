"""The parts of the notebook train to the losses that it prints.

The notebook draws weights from NumPy's legacy stream seeded with 0, and from the
same stream a random id for every tensor it makes; the draws are repeated here in
its order to begin from the same weights.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.nn.layers import EmbeddingParams, LinearParams
from tapegrad.types import Array

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [0.0], [1.0]])
INDICES = np.array([1, 2, 1, 2])
CLASSES = np.array([0, 1, 0, 1])


class Draws:
    """The notebook's random stream."""

    def __init__(self) -> None:
        self.stream = np.random.RandomState(0)

    def ids(self, n: int) -> None:
        for _ in range(n):
            self.stream.randint(0, 100_000)

    def uniform(self, *shape: int) -> Array:
        return self.stream.rand(*shape)

    def normal(self, n_inputs: int, n_outputs: int) -> Array:
        return self.stream.randn(n_inputs, n_outputs) * np.sqrt(2.0 / n_inputs)

    def linear(self, n_inputs: int, n_outputs: int) -> LinearParams:
        """Return a Linear's parameters: the weight is drawn, and both tensors have an id."""
        weight = self.normal(n_inputs, n_outputs)
        self.ids(2)
        return LinearParams(weight, np.zeros(n_outputs))

    def embedding(self, vocab_size: int, dim: int) -> EmbeddingParams:
        weight = (self.uniform(vocab_size, dim) - 0.5) / dim
        self.ids(1)
        return EmbeddingParams(weight)


def train(loss: Callable[[Any], Any], params: Any, learning_rate: float) -> list[float]:
    """Return the loss before each of ten steps of gradient descent."""
    optimizer = tg.optim.SGD(learning_rate)
    state = optimizer.init(params)
    losses = []
    for _ in range(10):
        value, grads = tg.value_and_grad(loss)(params)
        params, state = optimizer.update(params, grads, state)
        losses.append(float(value))
    return losses


def two_matrices(draws: Draws) -> tuple[Any, Any, float]:
    w0 = draws.uniform(2, 3)
    draws.ids(1)
    params = [w0, draws.uniform(3, 1)]
    return lambda ws: tg.sum((X @ ws[0] @ ws[1] - Y) ** 2), params, 0.1


def squared_error_of(model: tg.nn.Sequential, x: Array) -> Callable[..., Any]:
    return lambda params: tg.nn.mse_loss(model(params, x), Y, reduction="sum")


def nonlinear(draws: Draws) -> tuple[Any, Any, float]:
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid())
    return squared_error_of(model, X), (draws.linear(2, 3), None, draws.linear(3, 1), None), 1.0


def cross_entropy(draws: Draws) -> tuple[Any, Any, float]:
    model = tg.nn.Sequential(tg.nn.Embedding(3, 3), tg.nn.Tanh(), tg.nn.Linear(3, 4))
    params = (draws.embedding(3, 3), None, draws.linear(3, 4))
    return lambda p: tg.nn.cross_entropy_loss(model(p, INDICES), CLASSES), params, 0.4


# the losses that the notebook prints, with eight digits after the point
PRINTED = {
    two_matrices: (
        "0.58128304 0.48988149 0.41375111 0.34489412 0.28210124 "
        "0.2254484 0.17538853 0.1324231 0.09682769 0.06849361"
    ),
    nonlinear: (
        "1.06372865 0.75148144 0.57384259 0.39574294 0.2482279 "
        "0.15515294 0.10423398 0.07571169 0.05837623 0.04700013"
    ),
    cross_entropy: (
        "1.38850324 0.95581815 0.68230836 0.509526 0.39574491 "
        "0.31752527 0.26172229 0.22061284 0.18946427 0.16527389"
    ),
}


@pytest.mark.parametrize("part", PRINTED, ids=lambda part: part.__name__)
def test_ten_steps_have_the_losses_printed_in_the_notebook(part: Callable[..., Any]) -> None:
    draws = Draws()
    draws.ids(2)
    losses = train(*part(draws))
    assert [round(x, 8) for x in losses] == [float(x) for x in PRINTED[part].split()]
