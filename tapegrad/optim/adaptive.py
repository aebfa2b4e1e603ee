"""Optimizers that scale each parameter's step: Adam, AdamW, RMSProp and Adagrad."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.ops import sqrt
from tapegrad.ops.casting import squared_modulus
from tapegrad.optim.base import (
    Number,
    Optimizer,
    as_number,
    below_one,
    compute_into,
    is_known,
    is_zero,
    not_negative,
)
from tapegrad.tree.ownership import readonly_array
from tapegrad.tree.structure import immutable
from tapegrad.types import Array

__all__ = ["Adagrad", "AdagradState", "Adam", "AdamState", "AdamW", "RMSProp", "RMSPropState"]


def update_mean_square(beta: Number, old: Array, g: Array) -> tuple[Array, Array]:
    """Return a moving mean of squares, and a scratch array of its shape."""
    new, scratch = beta * old, squared_modulus(g)
    scratch = compute_into(scratch, np.multiply, scratch, 1 - beta)
    return compute_into(new, np.add, new, scratch), scratch


def root_plus_epsilon(square: Array, epsilon: Number, scratch: Array) -> Array:
    """Compute ``sqrt(square) + epsilon`` in the memory of a scratch array if it fits there.

    For float16, which rounds small numbers to 0, epsilon is at least 6e-5.
    """
    root = compute_into(scratch, np.sqrt, square)
    if root.dtype == np.float16:
        epsilon = np.maximum(epsilon, np.finfo(root.dtype).tiny)
    return compute_into(root, np.add, root, epsilon)


@immutable
@attrs.frozen
class AdamState:
    """The state of `Adam` and `AdamW`.

    Attributes
    ----------
    step
        The number of steps taken, a 0-d integer array.
    mean, square
        Exponential moving averages of the gradient and of its square, trees like the
        parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.Adam(0.1).init(np.zeros(2))
    AdamState(step=array(0), mean=array([0., 0.]), square=array([0., 0.]))
    """

    step: Array
    mean: Any
    square: Any


@immutable
@attrs.frozen
class Adam(Optimizer[AdamState]):
    """Adam, whose steps have about one length in each parameter.

    Source: Kingma and Ba 2015, arXiv:1412.6980. With gradient g and parameters p, at the t-th
    step, counted from 1::

        mean = beta1 * mean + (1 - beta1) * g
        square = beta2 * square + (1 - beta2) * g * g
        p = p - learning_rate * (mean / (1 - beta1**t)) / (sqrt(square / (1 - beta2**t)) + epsilon)

    Parameters
    ----------
    learning_rate
        The length of a step: a non-negative number, or a function of the step, counted
        from 0. 0.001 is a good start.
    beta1, beta2
        The shares of the means that each step keeps, less than 1.
    epsilon
        Added to the denominator, so that it is never 0; for float16 at least 6e-5.
    weight_decay, decay
        ``weight_decay * p`` is added to the gradient of the parameters for which
        ``decay(path, p)`` is true, all by default. Prefer `AdamW` for weight decay.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If an argument is out of its bounds.

    Notes
    -----
    The first step is not differentiable where a gradient is 0: the square root is not
    differentiable at 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> optimizer = tg.optim.Adam(0.5)
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> state = optimizer.init(params)
    >>> params, state = optimizer.update(params, {"w": np.array([100.0, -0.1])}, state)
    >>> params["w"].round(4), state.step
    (array([0.5, 2.5]), array(1))
    """

    state: ClassVar[type[Any]] = AdamState

    beta1: float | Array = attrs.field(converter=as_number, validator=below_one, default=0.9)
    beta2: float | Array = attrs.field(converter=as_number, validator=below_one, default=0.999)
    epsilon: float | Array = attrs.field(converter=as_number, validator=not_negative, default=1e-8)

    def moments(self) -> tuple[str, ...]:
        """The two means."""
        return ("mean", "square")

    def numbers(self, step: Array, rate: Number) -> tuple[Number, ...]:
        """The rate, the corrected step length and the corrected epsilon."""
        t = step + 1
        # the means start at 0; correcting numbers is cheaper than correcting arrays
        correction = sqrt(1 - self.beta2**t)
        return rate, rate * correction / (1 - self.beta1**t), self.epsilon * correction

    def leaf(
        self, p: Array, g: Array, moments: tuple[Array, ...], *numbers: Number
    ) -> tuple[Array, ...]:
        """Step along the mean, divided by the root of the mean square."""
        _, length, epsilon = numbers
        mean, part = self.beta1 * moments[0], (1 - self.beta1) * g
        mean = compute_into(mean, np.add, mean, part)
        square, scratch = update_mean_square(self.beta2, moments[1], g)
        root = root_plus_epsilon(square, epsilon, scratch)
        part = compute_into(part, np.multiply, length, mean)
        part = compute_into(part, np.divide, part, root)
        return compute_into(part, np.subtract, p, part), mean, square


@immutable
@attrs.frozen
class AdamW(Adam):
    """`Adam` with decoupled weight decay (Loshchilov and Hutter 2019).

    Before the step of Adam, ``p = p - learning_rate * weight_decay * p``
    (arXiv:1711.05101, in PyTorch's form, where the schedule of the rate scales the decay).

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon
        As in `Adam`.
    weight_decay
        The rate of the decay, relative to the learning rate.
    decay
        A predicate of a parameter's path and value: whether the parameter decays; all do by
        default. Decide by the path: a rule by the number of axes is wrong for stacked layers.

    Examples
    --------
    >>> import tapegrad as tg
    >>> optimizer = tg.optim.AdamW(0.1, decay=lambda path, leaf: path.endswith("weight"))
    >>> params = tg.nn.Linear(2, 1).init(0)
    >>> still = tg.tree.map(np.zeros_like, params)
    >>> new, state = optimizer.update(params, still, optimizer.init(params))
    >>> new.weight / params.weight
    array([[0.999],
           [0.999]])
    """

    weight_decay: float | Array = attrs.field(
        converter=as_number, validator=not_negative, default=0.01, kw_only=True
    )

    def decayed(self, p: Array, g: Array, rate: Number, *numbers: Number) -> tuple[Array, Array]:
        """The parameter after its decay, and its gradient."""
        return p * (1 - rate * self.weight_decay), g


@immutable
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

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.RMSProp(0.1).init(np.zeros(2))
    RMSPropState(step=array(0), square=array([0., 0.]), mean=None, velocity=None)
    """

    step: Array
    square: Any
    mean: Any = None
    velocity: Any = None


@immutable
@attrs.frozen
class RMSProp(Optimizer[RMSPropState]):
    """RMSProp, which divides the gradient by a moving root mean square.

    Source: Tieleman and Hinton 2012, lecture 6.5 of "Neural networks for machine learning", in
    PyTorch's form; centred as in Graves 2013, arXiv:1308.0850. With gradient g and parameters p::

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
        Whether to divide by the standard deviation rather than by the root mean square.
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

    alpha: float | Array = attrs.field(converter=as_number, validator=below_one, default=0.99)
    epsilon: float | Array = attrs.field(converter=as_number, validator=not_negative, default=1e-8)
    momentum: float | Array = attrs.field(converter=as_number, validator=below_one, default=0.0)
    centered: bool = False

    def moments(self) -> tuple[str, ...]:
        """The mean square, the mean if centred, and the velocity if there is momentum."""
        velocity = () if is_zero(self.momentum) else ("velocity",)
        return ("square", *["mean"] * bool(self.centered), *velocity)

    def leaf(
        self, p: Array, g: Array, moments: tuple[Array, ...], *numbers: Number
    ) -> tuple[Array, ...]:
        """Step along the gradient divided by the root, or along the velocity."""
        (rate,) = numbers
        old = dict(zip(self.moments(), moments, strict=True))
        square, scratch = update_mean_square(self.alpha, old["square"], g)
        new, variance = [square], square
        if "mean" in old:
            mean, part = self.alpha * old["mean"], (1 - self.alpha) * g
            new.append(compute_into(mean, np.add, mean, part))
            variance = square - squared_modulus(new[-1])
        root = root_plus_epsilon(variance, self.epsilon, scratch)
        v = compute_into(root, np.divide, g, root)
        if "velocity" in old:
            part = self.momentum * old["velocity"]
            new.append(v := compute_into(part, np.add, part, v))
        step = rate * v
        return compute_into(step, np.subtract, p, step), *new


@immutable
@attrs.frozen
class AdagradState:
    """The state of `Adagrad`.

    Attributes
    ----------
    step
        The number of steps taken, a 0-d integer array.
    total
        The sum of the squares of all gradients, a tree like the parameters.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.Adagrad(0.1).init(np.zeros(2))
    AdagradState(step=array(0), total=array([0., 0.]))
    """

    step: Array
    total: Any


@immutable
@attrs.frozen
class Adagrad(Optimizer[AdagradState]):
    """Adagrad, which divides the gradient by the root of the sum of all its squares.

    Source: Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html. With gradient g and
    parameters p: ``total = total + g * g`` and
    ``p = p - learning_rate * g / (sqrt(total) + epsilon)``.

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

    initial: float | Array = attrs.field(converter=as_number, validator=not_negative, default=0.0)
    epsilon: float | Array = attrs.field(converter=as_number, validator=not_negative, default=1e-10)

    def moments(self) -> tuple[str, ...]:
        """The sums of squares."""
        return ("total",)

    def start(self, p: Array) -> Array:
        """The initial sum of squares of a parameter."""
        zeros = super().start(p)
        return (
            readonly_array(np.full_like(zeros, self.initial))
            if is_known(self.initial)
            else (zeros + self.initial)
        )

    def leaf(
        self, p: Array, g: Array, moments: tuple[Array, ...], *numbers: Number
    ) -> tuple[Array, ...]:
        """Step along the gradient, divided by the root of the sum of squares."""
        (rate,) = numbers
        part, step = squared_modulus(g), rate * g
        total = moments[0] + part
        root = root_plus_epsilon(total, self.epsilon, part)
        step = compute_into(step, np.divide, step, root)
        return compute_into(step, np.subtract, p, step), total
