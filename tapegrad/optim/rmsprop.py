"""RMSProp."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from tapegrad.ops import sqrt
from tapegrad.optim.base import Optimizer
from tapegrad.optim.checks import below_one, is_none, not_negative, plain

__all__ = ["RMSProp", "RMSPropState"]


@attrs.frozen
class RMSPropState:
    """The state of `RMSProp`.

    Attributes
    ----------
    step
        The number of steps taken, a 0-d integer array.
    square
        An exponential moving average of the gradient's square, a tree like the parameters.
    mean
        A moving average of the gradient, if the optimizer is centred.
    velocity
        The velocity, if there is momentum.
    """

    step: Any
    square: Any
    mean: Any = None
    velocity: Any = None


@attrs.frozen
class RMSProp(Optimizer):
    """Divides the gradient by a moving root mean square (Tieleman and Hinton 2012).

    Lecture 6.5 of "Neural networks for machine learning", in the form of PyTorch; centred
    as in Graves 2013, arXiv:1308.0850. With gradient g and parameters p::

        square = alpha * square + (1 - alpha) * g * g
        mean = alpha * mean + (1 - alpha) * g               # if centred, else 0
        velocity = momentum * velocity + g / (sqrt(square - mean * mean) + epsilon)
        p = p - learning_rate * velocity

    Parameters
    ----------
    learning_rate
        The length of a step: a non-negative number, or a function of the step, counted
        from 0.
    alpha
        The share of the means that each step keeps, less than 1.
    epsilon
        Added to the denominator, so that it is never 0.
    momentum
        The share of the velocity that each step keeps, from 0 (none) to less than 1.
    centered
        Whether to divide by the deviation rather than by the root mean square.
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
    >>> optimizer = tg.optim.RMSProp(0.1)
    >>> params = np.array([1.0, 2.0])
    >>> params, _ = optimizer.update(params, np.array([100.0, -0.1]), optimizer.init(params))
    >>> params.round(4)
    array([0., 3.])
    """

    state: ClassVar[type[Any]] = RMSPropState

    alpha: Any = attrs.field(converter=plain, validator=below_one, default=0.99)
    epsilon: Any = attrs.field(converter=plain, validator=not_negative, default=1e-8)
    momentum: Any = attrs.field(converter=plain, validator=below_one, default=0.0)
    centered: bool = False

    def moments(self) -> tuple[str, ...]:
        """The means that are needed, and the velocity if there is momentum."""
        velocity = () if is_none(self.momentum) else ("velocity",)
        return ("square", *["mean"] * bool(self.centered), *velocity)

    def leaf(self, p: Any, g: Any, moments: tuple[Any, ...], *numbers: Any) -> tuple[Any, ...]:
        """A step along the gradient over the root, or along the velocity."""
        (rate,) = numbers
        old = dict(zip(self.moments(), moments, strict=True))
        square = self.alpha * old["square"] + (1 - self.alpha) * (g * g)
        new, variance = [square], square
        if "mean" in old:
            mean = self.alpha * old["mean"] + (1 - self.alpha) * g
            new.append(mean)
            variance = square - mean * mean
        v = g / (sqrt(variance) + self.epsilon)
        if "velocity" in old:
            v = self.momentum * old["velocity"] + v
            new.append(v)
        return p - rate * v, *new
