"""The notebook's parts, with its figures.

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

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [0.0], [1.0]])
INDICES = np.array([1, 2, 1, 2])
CLASSES = np.array([0, 1, 0, 1])
A, B, C = (np.array(x, float) for x in ([1, 2, 3, 4, 5], [2, 2, 2, 2, 2], [5, 4, 3, 2, 1]))


class Draws:
    """The notebook's random stream."""

    def __init__(self) -> None:
        self.stream = np.random.RandomState(0)

    def ids(self, n: int) -> None:
        for _ in range(n):
            self.stream.randint(0, 100_000)

    def uniform(self, *shape: int) -> Any:
        return self.stream.rand(*shape)

    def normal(self, n_inputs: int, n_outputs: int) -> Any:
        return self.stream.randn(n_inputs, n_outputs) * np.sqrt(2.0 / n_inputs)

    def linear(self, n_inputs: int, n_outputs: int) -> LinearParams:
        """A Linear's parameters: its weight draws, both its tensors have an id."""
        weight = self.normal(n_inputs, n_outputs)
        self.ids(2)
        return LinearParams(weight, np.zeros(n_outputs))

    def embedding(self, vocab_size: int, dim: int) -> EmbeddingParams:
        weight = (self.uniform(vocab_size, dim) - 0.5) / dim
        self.ids(1)
        return EmbeddingParams(weight)


def train(loss: Callable[[Any], Any], params: Any, learning_rate: float) -> list[float]:
    """Ten steps of gradient descent; the loss before each."""
    optimizer = tg.optim.SGD(learning_rate)
    state = optimizer.init(params)
    losses = []
    for _ in range(10):
        value, grads = tg.value_and_grad(loss)(params)
        params, state = optimizer.update(params, grads, state)
        losses.append(float(value))
    return losses


def test_part_1_addition():
    output, _ = tg.record(lambda x: x + x)(A)
    np.testing.assert_array_equal(output.value, [2, 4, 6, 8, 10])


def test_part_2_the_gradient_of_an_addition_is_the_cotangent():
    tape, x = tg.Tape().parameter(A)
    tape, y = tape.parameter(B)
    tape, z = tape.write(tg.add, x, y)
    gradients = tg.reverse_sweep(tape, z, cotangent=np.ones(5))
    np.testing.assert_array_equal(gradients[x], np.ones(5))
    np.testing.assert_array_equal(gradients[y], np.ones(5))


def test_parts_3_and_4_a_tensor_used_twice():
    _, pullback = tg.vjp(lambda a, b, c: (a + b) + (b + c), A, B, C)
    a, b, c = pullback(np.ones(5))
    np.testing.assert_array_equal(a, np.ones(5))
    np.testing.assert_array_equal(b, [2, 2, 2, 2, 2])
    np.testing.assert_array_equal(c, np.ones(5))


def test_part_4_a_second_call_counts_nothing_twice():
    _, pullback = tg.vjp(lambda a, b, c: (a + b) + (b + c), A, B, C)
    for _ in range(3):
        np.testing.assert_array_equal(pullback(np.ones(5))[1], [2, 2, 2, 2, 2])


def test_part_5_negation():
    _, pullback = tg.vjp(lambda a, b, c: (a + -b) + (-b + c), A, B, C)
    np.testing.assert_array_equal(pullback(np.ones(5))[1], [-2, -2, -2, -2, -2])


def test_part_6_subtraction():
    _, pullback = tg.vjp(lambda a, b, c: (a - b) + (c - b), A, B, C)
    np.testing.assert_array_equal(pullback(np.ones(5))[1], [-2, -2, -2, -2, -2])


M = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_part_6_sums_over_an_axis():
    for dim, want in ((0, [5, 7, 9]), (1, [6, 15])):
        output, pullback = tg.vjp(lambda x, dim=dim: tg.sum(x, dim), M)
        np.testing.assert_array_equal(output, want)
        weights = np.arange(1.0, len(want) + 1)
        along = weights[None, :] if dim == 0 else weights[:, None]
        np.testing.assert_array_equal(pullback(weights)[0], np.broadcast_to(along, (2, 3)))


def test_part_6_expand_repeats_along_a_new_axis():
    output, pullback = tg.vjp(lambda x: tg.expand(x, 2, 4), M)
    assert output.shape == (2, 3, 4)
    np.testing.assert_array_equal(output, np.stack([M] * 4, axis=2))
    np.testing.assert_array_equal(pullback(np.ones((2, 3, 4)))[0], np.full((2, 3), 4.0))
    assert tg.expand(M, 0, 4).shape == (4, 2, 3)
    assert tg.expand(M, 1, 4).shape == (2, 4, 3)


def test_part_6_multiplication_transposition_and_matrix_products():
    _, pullback = tg.vjp(lambda a, b: a * b, A, B)
    np.testing.assert_array_equal(pullback(np.ones(5)), (B, A))
    output, pullback = tg.vjp(lambda x: x.T, M)
    np.testing.assert_array_equal(output, M.T)
    cotangent = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(pullback(cotangent)[0], cotangent.T)
    output, pullback = tg.vjp(tg.matmul, M, M.T)
    np.testing.assert_array_equal(output, M @ M.T)
    left, right = pullback(np.eye(2))
    np.testing.assert_array_equal(left, M)
    np.testing.assert_array_equal(right, M.T)


PART_8 = [
    0.58128304,
    0.48988149,
    0.41375111,
    0.34489412,
    0.28210124,
    0.2254484,
    0.17538853,
    0.1324231,
    0.09682769,
    0.06849361,
]
PART_10 = [
    2.33428272,
    0.06743796,
    0.0521849,
    0.04079507,
    0.03184365,
    0.02479336,
    0.01925443,
    0.01491699,
    0.01153118,
    0.00889602,
]
PART_12 = [
    1.06372865,
    0.75148144,
    0.57384259,
    0.39574294,
    0.2482279,
    0.15515294,
    0.10423398,
    0.07571169,
    0.05837623,
    0.04700013,
]
PART_15 = [
    0.98874126,
    0.6658868,
    0.45639889,
    0.31608168,
    0.2260925,
    0.16877423,
    0.13120515,
    0.10555487,
    0.08731868,
    0.07387834,
]
PART_16 = [
    1.3885032434928422,
    0.9558181509266036,
    0.6823083585795604,
    0.509525996749312,
    0.39574491472895856,
    0.3175252728534828,
    0.26172228619642157,
    0.22061283923954234,
    0.18946427334830074,
    0.16527389263866676,
]


def printed(losses: list[float]) -> list[float]:
    """As the notebook prints them, with eight digits after the point."""
    return [round(x, 8) for x in losses]


def two_matrices() -> list[Any]:
    draws = Draws()
    draws.ids(2)
    w0 = draws.uniform(2, 3)
    draws.ids(1)
    w1 = draws.uniform(3, 1)
    draws.ids(1)
    return [w0, w1]


def test_part_7_backpropagation_by_hand_takes_the_same_steps():
    w0, w1 = two_matrices()
    losses = []
    for _ in range(10):
        hidden = X @ w0
        error = hidden @ w1 - Y
        losses.append(float(np.sum(error * error)))
        g1 = hidden.T @ (2 * error)
        g0 = X.T @ (2 * error @ w1.T)
        w0, w1 = w0 - 0.1 * g0, w1 - 0.1 * g1
    assert printed(losses) == PART_8


def test_part_8_two_matrices():
    losses = train(lambda ws: tg.sum((X @ ws[0] @ ws[1] - Y) ** 2), two_matrices(), 0.1)
    assert printed(losses) == PART_8


def test_part_10_sequential_linear():
    draws = Draws()
    draws.ids(2)
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Linear(3, 1))
    params = (draws.linear(2, 3), draws.linear(3, 1))
    losses = train(lambda p: tg.nn.mse_loss(model(p, X), Y, reduction="sum"), params, 0.05)
    assert printed(losses) == PART_10


def test_part_12_nonlinear():
    draws = Draws()
    draws.ids(2)
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid())
    params = (draws.linear(2, 3), None, draws.linear(3, 1), None)
    losses = train(lambda p: tg.nn.mse_loss(model(p, X), Y, reduction="sum"), params, 1.0)
    assert printed(losses) == PART_12


@pytest.mark.parametrize("select", [tg.index_select, lambda x, indices: x[indices]])
def test_part_13_rows_selected_more_than_once_sum_their_gradients(select):
    indices = np.array([[1, 2, 3], [2, 3, 4]])
    output, pullback = tg.vjp(lambda x: select(x, indices), np.eye(5))
    np.testing.assert_array_equal(output, np.eye(5)[indices])
    want = np.repeat([[0], [1], [2], [2], [1]], 5, axis=1)
    np.testing.assert_array_equal(pullback(np.ones((2, 3, 5)))[0], want)


def test_part_14_an_embedding_selects_rows_and_passes_their_gradients():
    indices = np.array([[1, 2, 3], [2, 3, 4]])
    layer = tg.nn.Embedding(5, 5)
    output, pullback = tg.vjp(lambda p: layer(p, indices), EmbeddingParams(np.eye(5)))
    np.testing.assert_array_equal(output, np.eye(5)[indices])
    want = np.repeat([[0], [1], [2], [2], [1]], 5, axis=1)
    np.testing.assert_array_equal(pullback(np.ones((2, 3, 5)))[0].weight, want)


def test_part_15_embedding():
    draws = Draws()
    draws.ids(2)
    model = tg.nn.Sequential(
        tg.nn.Embedding(5, 3), tg.nn.Tanh(), tg.nn.Linear(3, 1), tg.nn.Sigmoid()
    )
    params = (draws.embedding(5, 3), None, draws.linear(3, 1), None)
    losses = train(lambda p: tg.nn.mse_loss(model(p, INDICES), Y, reduction="sum"), params, 0.5)
    assert printed(losses) == PART_15


def test_part_16_cross_entropy():
    draws = Draws()
    draws.ids(2)
    model = tg.nn.Sequential(tg.nn.Embedding(3, 3), tg.nn.Tanh(), tg.nn.Linear(3, 4))
    params = (draws.embedding(3, 3), None, draws.linear(3, 4))
    losses = train(lambda p: tg.nn.cross_entropy_loss(model(p, INDICES), CLASSES), params, 0.4)
    np.testing.assert_allclose(losses, PART_16, rtol=1e-12, atol=0)
