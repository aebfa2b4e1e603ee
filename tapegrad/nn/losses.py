"""Losses: pure functions of predictions and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.ops import log_softmax, mean, negative, pick, square, subtract, sum
from tapegrad.tensor import Tensor, shape_of

_REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "mean": mean,
    "sum": sum,
    "none": lambda losses: losses,
}


def _reduction(name: Any) -> Callable[[Any], Any]:
    if not isinstance(name, str) or name not in _REDUCTIONS:
        raise ValueError(f"reduction is one of {', '.join(_REDUCTIONS)}; not {name!r}")
    return _REDUCTIONS[name]


def mse_loss(predictions: Any, targets: Any, reduction: str = "mean") -> Any:
    """The squared errors, ``(predictions - targets)**2``.

    Parameters
    ----------
    predictions, targets
        Arrays of one shape.
    reduction
        ``"mean"`` or ``"sum"`` over all elements, or ``"none"``.

    Returns
    -------
    A scalar; with ``"none"`` an array of the predictions' shape.

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
    reduced = _reduction(reduction)
    shape, expected = shape_of(predictions), shape_of(targets)
    if shape != expected:
        raise ValueError(
            f"mse_loss: predictions have shape {shape}, targets {expected}; they must be the same"
        )
    return reduced(square(subtract(predictions, targets)))


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

    Returns
    -------
    A scalar; with ``"none"`` an array of the targets' shape.

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
    reduced = _reduction(reduction)
    if not isinstance(targets, Tensor):
        targets = np.asarray(targets)
    if targets.dtype.kind not in "iu":
        raise TypeError(
            f"cross_entropy_loss(logits, targets) takes integer targets, not {targets.dtype}; "
            "write np.argmax(targets, axis=-1) if they are one-hot, or targets.astype(int)"
        )
    shape = shape_of(logits)
    if not shape or not shape[-1]:
        raise ValueError(f"cross_entropy_loss: logits of shape {shape} have no axis of classes")
    if targets.shape != shape[:-1]:
        raise ValueError(
            f"cross_entropy_loss: logits of shape {shape} need targets of shape {shape[:-1]}, "
            f"not {targets.shape}"
        )
    try:
        picked = pick(log_softmax(logits), targets)
    except IndexError as error:
        raise IndexError(
            f"cross_entropy_loss: a target is none of the {shape[-1]} classes: {error}"
        ) from error
    return reduced(negative(picked))
