"""Optimizers: pure functions from parameters, gradients and state to new ones."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.ownership import give
from tapegrad.tensor import Tensor, shape_of


def _plain(rate: Any) -> Any:
    """A Python number for NumPy's, which would widen float32 parameters."""
    return rate.item() if isinstance(rate, np.generic | np.ndarray) and rate.size == 1 else rate


def _number(instance: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, Tensor) and value.shape == ():
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} is a number, not {value!r}")
    if not 0 <= value < float("inf"):
        raise ValueError(f"{attribute.name} is finite and not negative; it is {value!r}")


def _below_one(instance: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, Tensor) and value >= 1:
        raise ValueError(f"{attribute.name} is less than 1, so that old steps fade; not {value!r}")


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
        How much of the last step's velocity stays: 0 for none, and less than 1.

    Raises
    ------
    TypeError
        If one is no number.
    ValueError
        If one is out of its bounds.

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

    learning_rate: Any = attrs.field(converter=_plain, validator=_number)
    momentum: Any = attrs.field(default=0.0, converter=_plain, validator=[_number, _below_one])

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
        TypeError
            If the state is not one.
        ValueError
            If the trees differ, in structure, shapes or dtypes, with the path of the
            first difference.
        """
        if not isinstance(state, SGDState):
            raise TypeError(
                f"SGD.update(params, grads, state): state is to be what init or the last update "
                f"returned; got {type(state).__name__}"
            )
        try:
            if self._has_no_momentum():
                return tree.map(self._stepped, params, grads), state
            velocity = tree.map(self._gone_on, state.velocity, grads)
            return tree.map(self._stepped, params, velocity), SGDState(velocity)
        except (TypeError, ValueError):
            _refuse_difference(params, "grads", grads)
            if not self._has_no_momentum():
                _refuse_difference(params, "state.velocity", state.velocity)
            raise

    def _gone_on(self, v: Any, g: Any) -> Any:
        _check_shapes(v, g)
        return _given(self.momentum * v + g)

    def _stepped(self, p: Any, v: Any) -> Any:
        _check_shapes(p, v)
        stepped = p - self.learning_rate * v
        if type(p) is np.ndarray and stepped.dtype != p.dtype:
            raise ValueError(f"a step of {stepped.dtype} for a parameter of {p.dtype}")
        return _given(stepped)

    def _has_no_momentum(self) -> bool:
        return not isinstance(self.momentum, Tensor) and self.momentum == 0


def _check_shapes(p: Any, x: Any) -> None:
    """Raise where NumPy would broadcast; `_refuse_difference` says it better."""
    if shape_of(p) != shape_of(x):
        raise ValueError(f"shape {shape_of(x)} for a parameter of shape {shape_of(p)}")


def _refuse_difference(params: Any, name: str, other: Any) -> None:
    """Raise for the first place where another tree is not like the parameters."""
    pairs: list[tuple[Any, Any]] = []
    try:
        tree.map(lambda *pair: pairs.append(pair), params, other)
    except ValueError as error:
        raise ValueError(f"SGD.update: {name} is no tree like params: {error}") from None
    for path, (p, x) in zip(tree.paths(params), pairs, strict=True):
        ours, theirs = _dtype(p), _dtype(x)
        where = f".{path}" if path else ""
        if ours.kind != "f":
            raise ValueError(f"SGD.update: params{where} is {ours}; a parameter is floating")
        if (
            shape_of(p) != shape_of(x)
            or theirs.kind not in "fiub"
            or np.result_type(ours, theirs) != ours
        ):
            raise ValueError(
                f"SGD.update: params{where} is {ours} {shape_of(p)}, but {name}{where} is "
                f"{theirs} {shape_of(x)}"
            )


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype


def _given(x: Any) -> Any:
    """A new leaf: read-only, unless it is being recorded."""
    return x if type(x) is Tensor else give(x)


def _zeros_like(p: Any) -> Any:
    return give(np.zeros(np.shape(p), getattr(p, "dtype", float)))
