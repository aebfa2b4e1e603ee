"""Metrics of predictions, without gradient."""

from __future__ import annotations

from typing import Any

from tapegrad.core.operands import shape_of
from tapegrad.face.lines import at_users_line
from tapegrad.ops import argmax, equal, mean
from tapegrad.ops.record import seen


@at_users_line
def accuracy(logits: Any, labels: Any) -> Any:
    """The share of predictions whose largest logit is that of the label.

    Parameters
    ----------
    logits
        Any leading shape, and classes along the last axis. Among equal logits, the first counts.
    labels
        The right classes: integers from 0, of the logits' leading shape.

    Raises
    ------
    ValueError
        If the labels' shape is not the logits' leading shape.
    IndexError
        If a label is not one of the classes (which a compiled function does not know of its
        inputs).

    Examples
    --------
    >>> import numpy as np
    >>> import tapegrad as tg
    >>> tg.nn.accuracy(np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([1, 1])).item()
    0.5
    """
    shape = shape_of(logits)
    if not shape:
        raise ValueError("accuracy: logits of shape () have no axis of classes")
    if shape_of(labels) != shape[:-1]:
        raise ValueError(
            f"accuracy: logits of shape {shape} need labels of shape {shape[:-1]}, not "
            f"{shape_of(labels)}"
        )
    known = seen(labels)
    if known is not None and ((known < 0) | (known >= shape[-1])).any():
        raise IndexError(
            f"accuracy: a label is not one of the {shape[-1]} classes: labels go from 0 to "
            f"{shape[-1] - 1}; got {known}"
        )
    return mean(equal(argmax(logits, axis=-1), labels))
