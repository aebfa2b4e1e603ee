"""Choices made from integers and floats: with Hypothesis, or from a seed."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import attrs
import numpy as np

from tapegrad.domain import REAL, Choices, Elements
from tapegrad.tree.ownership import Array

T = TypeVar("T")
Shape = tuple[int, ...]

_CLEAR = 1 / 16


def is_clear(x: float, elements: Elements) -> bool:
    """Whether a number is in an interval and away from its poles."""
    within = elements.low <= x <= elements.high
    return within and all(abs(x - pole) >= _CLEAR for pole in elements.poles)


@functools.cache
def clear_numbers(elements: Elements) -> tuple[float, ...]:
    """Numbers of an interval that often tie: eighths and signed zeros, the simplest first."""
    eighths = range(math.ceil(elements.low * 8), math.floor(elements.high * 8) + 1)
    tying = [x for x in [*[k / 8 for k in eighths], -0.0] if is_clear(x, elements)]
    return tuple(sorted(tying, key=abs))


class Chosen(Choices):
    """Choices made from integers and floats."""

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        raise NotImplementedError

    def number(self, elements: Elements) -> float:
        """A number that any floating dtype holds."""
        raise NotImplementedError

    def among(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def subset(self, options: Sequence[T]) -> list[T]:
        chosen = self.permutation(len(options))[: self.integer(0, len(options))]
        return [options[i] for i in chosen]

    def permutation(self, n: int) -> list[int]:
        order = [*range(n)]
        for i in range(n - 1):
            j = self.integer(i, n - 1)
            order[i], order[j] = order[j], order[i]
        return order

    def shape(
        self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3
    ) -> Shape:
        # so that not too many are empty
        least = self.among([max(min_side, 1)] * 3 + [min_side])
        sides = [self.integer(least, max_side) for _ in range(self.integer(min_dims, max_dims))]
        # if sides were equal, mixing up axes would raise no error
        alike = len(sides) > 1 and self.among([False, True])
        return tuple(sides[:1] * len(sides) if alike else sides)

    def broadcastable(self, n: int, max_dims: int = 2, max_side: int = 3) -> tuple[Shape, ...]:
        full = self.shape(max_dims=max_dims, max_side=max_side)
        cut = [full[self.among([0, self.integer(0, len(full))]) :] for _ in range(n)]
        return tuple([tuple([self.among([side, side, 1]) for side in shape]) for shape in cut])

    def array(
        self, shape: Shape, elements: Elements = REAL, dtypes: str = "dfe", distinct: bool = False
    ) -> Array:
        n = math.prod(shape)
        if distinct:
            step = (elements.high - elements.low) / (n + 1)
            flat = [elements.low + step * (k + 1) for k in self.permutation(n)]
        else:
            flat = [self.number(elements) for _ in range(n)]
        dtype = self.among(dtypes)
        return self.laid_out(np.array(flat, dtype).reshape(shape))

    def integers(self, shape: Shape, low: int, high: int) -> Array:
        n = math.prod(shape)
        flat = [self.integer(low, high) for _ in range(n)]
        return np.array(flat, np.intp).reshape(shape)

    def booleans(self, shape: Shape) -> Array:
        return self.integers(shape, 0, 1).astype(bool)

    def laid_out(self, array: Array) -> Array:
        layout = self.among(["C", "F", "reversed", "strided", "read-only"])
        if array.ndim == 0 or layout == "C":
            return array
        if layout == "F":
            return np.asfortranarray(array)
        if layout == "reversed":
            return array[::-1].copy()[::-1]
        if layout == "strided":
            return np.repeat(array, 2, axis=-1)[..., ::2]
        array.flags.writeable = False
        return array

    def axis(self, ndim: int) -> int:
        return self.integer(-ndim, ndim - 1)

    def axes(self, ndim: int) -> Any:
        kind = self.among(["all", "one", "several"]) if ndim else self.among(["all", "none"])
        if kind == "all":
            return None
        if kind == "one":
            return self.axis(ndim)
        several = self.subset(range(ndim))
        return tuple(axis - ndim if self.among([False, True]) else axis for axis in several)


@attrs.frozen
class Sampled(Chosen):
    """The choices of a random generator."""

    rng: np.random.Generator

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def number(self, elements: Elements) -> float:
        tying = clear_numbers(elements)
        while not tying or self.rng.random() < 0.5:
            x = float(np.float16(self.rng.uniform(elements.low, elements.high)))
            if is_clear(x, elements):
                return x
        return tying[self.integer(0, len(tying) - 1)]
