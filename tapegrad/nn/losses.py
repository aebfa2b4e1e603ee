"""Losses: pure functions of predictions and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.ops import log_softmax, mean, negative, pick, square, subtract, sum
from tapegrad.tensor import Tensor

_REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "mean": mean,
    "sum": sum,
    "none": lambda losses: losses,
}


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction is one of {', '.join(_REDUCTIONS)}; not {reduction!r}")
    return _REDUCTIONS[reduction](losses)


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if hasattr(x, "shape") else np.shape(x)


def mse_loss(predictions: Any, targets: Any, reduction: str = "mean") -> Any:
    """The squared errors, ``(predictions - targets)**2``.

    Parameters
    ----------
    predictions, targets
        Arrays of one shape.
    reduction
        ``"mean"`` or ``"sum"`` over all elements, or ``"none"``.

    Raises
    ------
    ValueError
        If the shapes differ, for broadcasting here is mostly a mistake.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nn.mse_loss)(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
    array([1., 2.])
    """
    shape, expected = _shape(predictions), _shape(targets)
    if shape != expected:
        raise ValueError(
            f"mse_loss: predictions have shape {shape}, targets {expected}; they must be the same"
        )
    return _reduced(square(subtract(predictions, targets)), reduction)


def cross_entropy_loss(logits: Any, targets: Any, reduction: str = "mean") -> Any:
    """The cross entropy of a softmax with integer targets, without overflow.

    Parameters
    ----------
    logits
        Any leading shape, and classes along the last axis.
    targets
        The right classes: integers from 0, of the logits' leading shape.
    reduction
        ``"mean"`` or ``"sum"`` over all targets, or ``"none"``.

    Raises
    ------
    TypeError
        If the targets are not integers.
    ValueError
        If their shape is not the logits' leading shape.
    IndexError
        If a target is no class.

    Examples
    --------
    >>> import tapegrad as tg
    >>> logits = np.array([[0.0, 1e4], [0.0, 0.0]])
    >>> tg.nn.cross_entropy_loss(logits, np.array([0, 0]), reduction="none")
    array([1.00000000e+04, 6.93147181e-01])
    """
    if not isinstance(targets, Tensor):
        targets = np.asarray(targets)
    if targets.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy_loss takes integer targets, not {targets.dtype}")
    shape = _shape(logits)
    if targets.shape != shape[:-1] or not shape:
        raise ValueError(
            f"cross_entropy_loss: logits of shape {shape} need targets of shape {shape[:-1]}, "
            f"not {targets.shape}"
        )
    return _reduced(negative(pick(log_softmax(logits), targets)), reduction)
