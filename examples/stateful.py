"""A small deep-learning framework in the stateful style, faults and all.

Never use it: it is here for comparison with tapegrad. A `Tensor` can change at any time:
`backward` walks from a result to its creators and leaves gradients in `.grad`, and an optimizer
then overwrites `.data`. The faults are left in on purpose: `contrast.py` and the files in `parts/`
run them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


class Tensor:
    """An array, its gradient, its creators and the name of the op that made it."""

    def __init__(
        self,
        data: ArrayLike,
        autograd: bool = False,
        creators: tuple[Tensor, ...] = (),
        op: str = "",
    ) -> None:
        self.data, self.autograd = np.asarray(data), autograd
        self.grad: Any = None
        self.creators, self.op = creators, op
        self.saved: Any = None  # values that some ops keep for the backward pass
        self.id = np.random.randint(0, 100_000)
        self.children: dict[int, int] = {}  # the gradients that each child has yet to send
        for creator in creators:
            creator.children[self.id] = creator.children.get(self.id, 0) + 1

    def make(self, data: ArrayLike, op: str, *others: Tensor) -> Tensor:
        """Make the result of an op on this tensor and others."""
        if all(tensor.autograd for tensor in (self, *others)):
            return Tensor(data, True, (self, *others), op)
        return Tensor(data)

    def backward(self, grad: ArrayLike | None = None, origin: Tensor | None = None) -> None:
        """Receive a gradient, and pass it on when all children have sent theirs."""
        if not self.autograd:
            return
        grad = np.ones(self.data.shape) if grad is None else np.asarray(grad)
        if origin is not None:
            if self.children[origin.id] == 0:
                raise RuntimeError("cannot go backward through this tensor more than once")
            self.children[origin.id] -= 1
        self.grad = grad if self.grad is None else self.grad + grad
        if origin is None or not any(self.children.values()):
            self.propagate(self.grad)

    def propagate(self, grad: np.ndarray) -> None:
        """Send each creator its gradient; the name of the op selects the rule."""
        op, creators = self.op, self.creators
        if op in ("add", "sub"):
            creators[0].backward(grad, self)
            creators[1].backward(grad if op == "add" else -grad, self)
        if op == "mul":
            creators[0].backward(grad * creators[1].data, self)
            creators[1].backward(grad * creators[0].data, self)
        # the branches below pass no origin, so these gradients are not counted
        if op == "neg":
            creators[0].backward(-grad)
        if op == "mm":
            creators[0].backward(grad @ creators[1].data.T)
            creators[1].backward(creators[0].data.T @ grad)
        if op == "transpose":
            creators[0].backward(grad.T)
        if "sum" in op:
            dim = int(op.split("_")[1])
            creators[0].backward(np.expand_dims(grad, dim) + np.zeros(creators[0].data.shape))
        if "expand" in op:
            creators[0].backward(grad.sum(int(op.split("_")[1])))
        if op == "sigmoid":
            creators[0].backward(grad * self.data * (1 - self.data))
        if op == "tanh":
            creators[0].backward(grad * (1 - self.data**2))
        if op == "index_select":
            table = np.zeros(creators[0].data.shape)
            np.add.at(table, self.saved, grad)
            creators[0].backward(table)
        if op == "cross_entropy":  # without the incoming gradient and the 1/n of the mean
            creators[0].backward(self.saved)

    def __add__(self, other: Tensor) -> Tensor:
        return self.make(self.data + other.data, "add", other)

    def __sub__(self, other: Tensor) -> Tensor:
        return self.make(self.data - other.data, "sub", other)

    def __mul__(self, other: Tensor) -> Tensor:
        return self.make(self.data * other.data, "mul", other)

    def __neg__(self) -> Tensor:
        return self.make(-self.data, "neg")

    def mm(self, other: Tensor) -> Tensor:
        return self.make(self.data @ other.data, "mm", other)

    def transpose(self) -> Tensor:
        return self.make(self.data.T, "transpose")

    def sum(self, dim: int) -> Tensor:
        return self.make(self.data.sum(dim), f"sum_{dim}")

    def expand(self, dim: int, copies: int) -> Tensor:
        return self.make(np.repeat(np.expand_dims(self.data, dim), copies, dim), f"expand_{dim}")

    def sigmoid(self) -> Tensor:
        return self.make(1 / (1 + np.exp(-self.data)), "sigmoid")

    def tanh(self) -> Tensor:
        return self.make(np.tanh(self.data), "tanh")

    def index_select(self, indices: np.ndarray) -> Tensor:
        result = self.make(self.data[indices], "index_select")
        result.saved = indices
        return result

    def cross_entropy(self, targets: np.ndarray) -> Tensor:
        softmax = np.exp(self.data) / np.exp(self.data).sum(1, keepdims=True)
        one_hot = np.eye(self.data.shape[1])[targets]
        result = self.make(-np.log(softmax[one_hot == 1]).mean(), "cross_entropy")
        result.saved = softmax - one_hot
        return result


class Linear:
    """A weight and a bias."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        self.weight = Tensor(np.random.randn(n_inputs, n_outputs) * np.sqrt(2 / n_inputs), True)
        self.bias = Tensor(np.zeros(n_outputs), True)
        self.parameters = [self.weight, self.bias]

    def __call__(self, x: Tensor) -> Tensor:
        return x.mm(self.weight) + self.bias.expand(0, len(x.data))


class Embedding:
    """A table with a row for each word."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        self.weight = Tensor((np.random.rand(vocab_size, dim) - 0.5) / dim, autograd=True)
        self.parameters = [self.weight]

    def __call__(self, indices: np.ndarray) -> Tensor:
        return self.weight.index_select(indices)


class Sequential:
    """Layers in sequence. Python makes the default list once, when it defines the function."""

    def __init__(self, layers: list[Any] = []) -> None:
        self.layers = layers

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def parameters(self) -> list[Tensor]:
        return [p for layer in self.layers for p in getattr(layer, "parameters", [])]


class RNNCell:
    """A function of an input and a hidden state that returns an output and the next state."""

    def __init__(self, n_inputs: int, n_hidden: int, n_outputs: int) -> None:
        self.n_hidden = n_hidden
        self.w_ih, self.w_hh = Linear(n_inputs, n_hidden), Linear(n_hidden, n_hidden)
        self.w_ho = Linear(n_hidden, n_outputs)
        self.parameters = self.w_ih.parameters + self.w_hh.parameters + self.w_ho.parameters

    def __call__(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (self.w_ih(x) + self.w_hh(hidden)).sigmoid()
        return self.w_ho(hidden), hidden

    def init_hidden(self, batch_size: int) -> Tensor:
        return Tensor(np.zeros((batch_size, self.n_hidden)), autograd=True)


def mse_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """The sum of squared errors over the batch."""
    error = predictions - targets
    return (error * error).sum(0)


class SGD:
    """Gradient descent that overwrites its parameters in place."""

    def __init__(self, parameters: list[Tensor], alpha: float) -> None:
        self.parameters, self.alpha = parameters, alpha

    def zero(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        for p in self.parameters:
            p.data -= self.alpha * p.grad
