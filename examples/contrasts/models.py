"""A tensor and a layer in their usual first versions, for the cases to run."""

from __future__ import annotations

import numpy as np

from tapegrad.types import Array


class FirstTensor:
    """The usual first version of a stateful tensor: it neither sums nor counts gradients."""

    def __init__(self, data: float, *creators: FirstTensor) -> None:
        self.data, self.creators, self.visits = data, creators, 0

    def __add__(self, other: FirstTensor) -> FirstTensor:
        return FirstTensor(self.data + other.data, self, other)

    def backward(self, grad: float) -> None:
        self.grad = grad
        self.visits += 1
        for creator in self.creators:
            creator.backward(grad)


class StatefulDropout:
    """Drops half of its input while `training` is set, the default."""

    training = True

    def __call__(self, x: Array) -> Array:
        return x * (np.random.rand(*x.shape) < 0.5) * 2 if self.training else x
