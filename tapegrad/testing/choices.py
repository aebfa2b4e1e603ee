"""Choices by a random generator, and the numbers to choose from."""

from __future__ import annotations

import functools
import math

import attrs
import numpy as np

from tapegrad.domain import Choices, Elements

_CLEARANCE = 1 / 16  # the least distance from a pole


def is_clear(x: float, elements: Elements) -> bool:
    """Whether a number is in an interval and away from its poles."""
    within = elements.low <= x <= elements.high
    return within and all(abs(x - pole) >= _CLEARANCE for pole in elements.poles)


@functools.cache
def clear_numbers(elements: Elements) -> tuple[float, ...]:
    """Return numbers of an interval that often tie, the simplest first.

    The numbers are eighths, signed zeros, and the neighbours of poles, where rules are often wrong.
    """
    eighths = range(math.ceil(elements.low * 8), math.floor(elements.high * 8) + 1)
    neighbours = [pole + step for pole in elements.poles for step in (_CLEARANCE, -_CLEARANCE)]
    tying = dict.fromkeys([*[k / 8 for k in eighths], *neighbours])
    clear = [x for x in [*tying, -0.0] if is_clear(x, elements)]
    return tuple(sorted(clear, key=abs))


@attrs.frozen
class RandomChoices(Choices):
    """Choices by a random generator."""

    rng: np.random.Generator

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def _number(self, elements: Elements) -> float:
        tying = clear_numbers(elements)
        while not tying or self.rng.random() < 0.5:
            x = float(np.float16(self.rng.uniform(elements.low, elements.high)))
            if is_clear(x, elements):
                return x
        return tying[self.integer(0, len(tying) - 1)]
