"""Adagrad."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.face.ownership import give
from tapegrad.ops import sqrt
from tapegrad.optim.base import Optimizer
from tapegrad.optim.checks import is_known, not_negative, plain

__all__ = ["Adagrad", "AdagradState"]


@attrs.frozen
class AdagradState:
    """The state of `Adagrad`.

    Attributes
    ----------
    step
        The number of steps taken, a 0-d integer array.
    total
        The sum of the squares of all gradients, a tree like the parameters.
    """

    step: Any
    total: Any


@attrs.frozen
class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of all its squares (Duchi et al. 2011).

    https://jmlr.org/papers/v12/duchi11a.html. With gradient g and parameters p:
    ``total = total + g * g`` and ``p = p - learning_rate * g / (sqrt(total) + epsilon)``.

    Parameters
    ----------
    learning_rate
        The length of a step: a non-negative number, or a function of the step, counted
        from 0.
    initial
        The initial value of the sums.
    epsilon
        Added to the denominator, so that it is never 0.
    weight_decay, decay
        ``weight_decay * p`` is added to the gradient of the parameters for which
        ``decay(path, p)`` is true; all by default.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If an argument is out of its bounds.

    Examples
    --------
    >>> import tapegrad as tg
    >>> optimizer = tg.optim.Adagrad(0.5)
    >>> params = np.array([1.0, 2.0])
    >>> params, _ = optimizer.update(params, np.array([100.0, -0.1]), optimizer.init(params))
    >>> params.round(4)
    array([0.5, 2.5])
    """

    state: ClassVar[type[Any]] = AdagradState

    initial: Any = attrs.field(converter=plain, validator=not_negative, default=0.0)
    epsilon: Any = attrs.field(converter=plain, validator=not_negative, default=1e-10)

    def moments(self) -> tuple[str, ...]:
        """The sums of squares."""
        return ("total",)

    def start(self, p: Any) -> Any:
        """The initial sum of squares of a parameter."""
        zeros = super().start(p)
        return (
            give(np.full_like(zeros, self.initial))
            if is_known(self.initial)
            else (zeros + self.initial)
        )

    def leaf(self, p: Any, g: Any, moments: tuple[Any, ...], *numbers: Any) -> tuple[Any, ...]:
        """A step along the gradient, over the root of the sum of squares."""
        (rate,) = numbers
        total = moments[0] + g * g
        return p - rate * g / (sqrt(total) + self.epsilon), total
