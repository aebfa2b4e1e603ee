"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import numpy as np
from numpy import ndarray

from tapegrad.optim.base import (
    Number,
    Optimizer,
    as_number,
    below_one,
    compute_into,
    is_zero,
)
from tapegrad.tree.cotangents import FLOAT64
from tapegrad.tree.ownership import readonly_array
from tapegrad.tree.structure import immutable
from tapegrad.types import Array

__all__ = ["SGD", "SGDState"]


@immutable
@attrs.frozen
class SGDState:
    """The state of `SGD`.

    Attributes
    ----------
    step
        The number of steps taken, a 0-d integer array.
    velocity
        A tree like the parameters; None without momentum.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.optim.SGD(0.1, momentum=0.9).init(np.zeros(2))
    SGDState(step=array(0), velocity=array([0., 0.]))
    """

    step: Array
    velocity: Any = None


@immutable
@attrs.frozen
class SGD(Optimizer[SGDState]):
    """Stochastic gradient descent, with or without momentum.

    With gradient g, parameters p and velocity v: ``v = momentum * v + g`` and ``p = p -
    learning_rate * v`` (Sutskever et al. 2013, https://proceedings.mlr.press/v28/sutskever13.html,
    in PyTorch's form, which leaves the rate out of the velocity). Nesterov's form uses
    ``g + momentum * v`` in place of v in the step.

    Parameters
    ----------
    learning_rate
        The length of a step: a non-negative number, or a function of the step, counted
        from 0.
    momentum
        The share of the velocity that each step keeps, from 0 (none) to less than 1.
    nesterov
        Whether to use Nesterov's form of momentum.
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
    >>> optimizer = tg.optim.SGD(0.5)
    >>> params = {"w": np.array([1.0, 2.0])}
    >>> state = optimizer.init(params)
    >>> params, state = optimizer.update(params, {"w": np.ones(2)}, state)
    >>> params
    {'w': array([0.5, 1.5])}
    """

    state: ClassVar[type[Any]] = SGDState

    momentum: float | Array = attrs.field(converter=as_number, validator=below_one, default=0.0)
    nesterov: bool = attrs.field(default=False)

    @nesterov.validator
    def _check_nesterov(self, attribute: attrs.Attribute[bool], value: bool) -> None:
        if value and not self.moments():
            raise ValueError("nesterov needs a momentum; momentum is 0")

    def moments(self) -> tuple[str, ...]:
        """The velocity, if there is momentum."""
        return () if is_zero(self.momentum) else ("velocity",)

    def stepper(self, stepped: Callable[..., Array], *numbers: Number) -> Callable[..., Array]:
        """A function that takes half the time of `leaf` for arrays."""
        (rate,) = numbers
        # a Python number takes longer than an array to multiply by
        exact = np.array(rate, float)

        def step_down(p: Array, g: Array) -> Array:
            if type(p) is ndarray and type(g) is ndarray:
                dtype = p.dtype
                if g.dtype is dtype and dtype.kind == "f" and g.shape == p.shape:
                    step = (exact if dtype is FLOAT64 else rate) * g
                    # in place, which saves a third array of this size
                    return readonly_array(
                        np.subtract(p, step, step) if type(step) is ndarray else p - step
                    )
            return stepped(p, g)

        return step_down

    def leaf(
        self, p: Array, g: Array, moments: tuple[Array, ...], *numbers: Number
    ) -> tuple[Array, ...]:
        """Step down the gradient, or along the velocity."""
        (rate,) = numbers
        if not moments:
            step = rate * g
            return (compute_into(step, np.subtract, p, step),)
        v = self.momentum * moments[0]
        v = compute_into(v, np.add, v, g)
        step = rate * (g + self.momentum * v if self.nesterov else v)
        return compute_into(step, np.subtract, p, step), v
