"""A tensor and a layer as they are often written, for the cases to try."""

from __future__ import annotations

from typing import Any

import numpy as np


class FirstTensor:
    """A stateful tensor as everybody writes it at first: it neither adds up nor counts."""

    def __init__(self, data: Any, *creators: FirstTensor) -> None:
        self.data, self.creators, self.visits = data, creators, 0

    def __add__(self, other: FirstTensor) -> FirstTensor:
        return FirstTensor(self.data + other.data, self, other)

    def backward(self, grad: Any) -> None:
        self.grad = grad
        self.visits += 1
        for creator in self.creators:
            creator.backward(grad)


class StatefulDropout:
    """Drops half of its input while `training` is set, and it is set at first."""

    training = True

    def __call__(self, x: Any) -> Any:
        return x * (np.random.rand(*x.shape) < 0.5) * 2 if self.training else x
