"""Optimizers: pure functions from parameters, gradients and state to new ones."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.tensor import Tensor, frozen


def _plain(rate: Any) -> Any:
    """A Python number for NumPy's, which would widen float32 parameters."""
    return rate.item() if isinstance(rate, np.generic | np.ndarray) else rate


def _not_negative(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, int | float) and not value >= 0:
        raise ValueError(f"{attribute.name} is not negative, but {value!r} is")


@attrs.frozen
class SGDState:
    """The state of `SGD`: the velocity, a tree like the parameters; None without momentum."""

    velocity: Any = None


@attrs.frozen
class SGD:
    """Stochastic gradient descent, with momentum.

    With gradient g, parameters p and velocity v: ``v = momentum * v + g`` and
    ``p = p - learning_rate * v`` (Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, in the form that leaves the
    rate out of the velocity).

    Parameters
    ----------
    learning_rate
        The length of a step, a number that is not negative.
    momentum
        How much of the last step's velocity stays, 0 for none.

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

    learning_rate: Any = attrs.field(converter=_plain, validator=_not_negative)
    momentum: Any = attrs.field(default=0.0, converter=_plain, validator=_not_negative)

    def init(self, params: Any) -> SGDState:
        """The state to begin with: no velocity, or zeros like the parameters."""
        if self._has_no_momentum():
            return SGDState()
        return SGDState(tree.map(_zeros_like, params))

    def update(self, params: Any, grads: Any, state: SGDState) -> tuple[Any, SGDState]:
        """New parameters and a new state; the old ones are as they were.

        Parameters
        ----------
        params, grads
            Trees of one structure.
        state
            From `init` or the last update.

        Raises
        ------
        ValueError
            If the trees differ, with the path of the first difference.
        """
        if self._has_no_momentum():
            return self._stepped(params, grads), state
        velocity = tree.map(lambda v, g: _settled(self.momentum * v + g), state.velocity, grads)
        return self._stepped(params, velocity), SGDState(velocity)

    def _stepped(self, params: Any, velocity: Any) -> Any:
        rate = self.learning_rate

        def step(p: Any, v: Any) -> Any:
            stepped = p - rate * v
            if type(p) is np.ndarray and (stepped.shape != p.shape or stepped.dtype != p.dtype):
                raise ValueError(
                    f"a parameter of shape {p.shape}, {p.dtype}, has a gradient of shape "
                    f"{np.shape(v)}, {v.dtype}; they must be the same"
                )
            if type(stepped) is np.ndarray:
                stepped.setflags(write=False)
                return stepped
            return _settled(stepped)

        return tree.map(step, params, velocity)

    def _has_no_momentum(self) -> bool:
        return not isinstance(self.momentum, Tensor) and self.momentum == 0


def _settled(x: Any) -> Any:
    """A new leaf: read-only, unless it is being recorded."""
    return x if type(x) is Tensor else frozen(x)


def _zeros_like(p: Any) -> Any:
    return frozen(np.zeros(np.shape(p), getattr(p, "dtype", float)))
