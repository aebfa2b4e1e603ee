"""A problem to check: a function, its derivatives, and a point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from tapegrad.face.ownership import Array
from tapegrad.testing.ladder import EPS, FINE, Steps

__all__ = ["Fn", "Problem"]

Fn = Callable[..., Any]


@attrs.frozen(eq=False)
class Problem:
    """A function of arrays that returns arrays, its derivatives, and the point to check it at.

    Attributes
    ----------
    name, paths
        The names of the function and of each input in messages.
    evaluate
        The function on plain arrays.
    pull
        From a point to the outputs and the pullback of a list of cotangents; None if
        only tangents are checked.
    push
        From a point and its tangents to the outputs' tangents; None if only
        cotangents are checked.
    x
        The point, in float64.
    order
        Of the derivative that is checked.
    scale, eps
        The size of the intermediate numbers, as far as known from the function that this one is
        derived from, and their relative rounding.
    resolution
        The relative rounding of the inputs.
    noise
        The known error of each output, if it is more than the rounding of its size.
    steps
        Of the differences.
    by
        The name in messages of the function that gave the derivatives, if it is another one.
    output_paths
        The name of each output in messages; "output 0" and so on by default.
    """

    name: str
    evaluate: Fn
    pull: Fn | None
    push: Fn | None
    x: tuple[Array, ...]
    paths: tuple[str, ...]
    order: int = 1
    scale: float = 0.0
    eps: float = EPS
    resolution: float = EPS
    noise: Any = 0.0
    steps: Steps = FINE
    by: str = ""
    output_paths: tuple[str, ...] = ()

    def where(self, mode: str) -> str:
        """The text that says which derivative of a function is meant."""
        return f"({self.by})" if self.by else f"(order {self.order}, {mode} mode)"
