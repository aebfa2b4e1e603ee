"""Exponentials scaled by their sum along axes, without overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import along_axis
from tapegrad.declare.domain import Call, Choices, along, reduced
from tapegrad.ops.record import floating
from tapegrad.ops.reduction import reduced_batch, unreduced

__all__ = ["log_softmax", "logsumexp", "softmax"]


def _finite(x: Any) -> Any:
    """x with 0 for infinities, as a shift that leaves infinities unchanged."""
    return np.where(np.equal(np.absolute(x), np.inf), 0, x)


def _weights(a: Any, y: Any, axis: Any, keepdims: bool) -> Any:
    """The softmax of `a`, given its logsumexp."""
    return np.exp(a - _finite(unreduced(y, a, axis, keepdims)))


@op(
    lambda g, y, a, axis=None, keepdims=False: (
        unreduced(g, a, axis, keepdims) * _weights(a, y, axis, keepdims)
    ),
    domain=reduced(min_side=1),
    batch=reduced_batch,
)
def logsumexp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """``log(sum(exp(a)))`` over an axis, several, or all, without overflow.

    Arguments as for `sum`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.logsumexp(np.array([1e4, 1e4])) == 1e4 + np.log(2))
    True
    >>> tg.grad(tg.logsumexp)(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = floating(a)
    shift = _finite(np.max(a, axis=axis, keepdims=True))
    with np.errstate(divide="ignore"):
        y = np.log(np.sum(np.exp(a - shift), axis=axis, keepdims=True)) + shift
    return y if keepdims else np.squeeze(y, axis=axis)


def _normalised(choose: Choices) -> Call:
    call = along()(choose)
    return call if choose.among([False, True]) else Call(call.args)


@op(
    lambda g, y, a, axis=-1: y * (g - np.sum(g * y, axis=axis, keepdims=True)),
    domain=_normalised,
    batch=along_axis,
)
def softmax(a: Any, axis: Any = -1) -> Any:
    """``exp(a)`` scaled to sum to 1 along an axis, without overflow.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.softmax(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = floating(a)
    weights = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return weights / np.sum(weights, axis=axis, keepdims=True)


@op(
    lambda g, y, a, axis=-1: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True),
    domain=_normalised,
    batch=along_axis,
)
def log_softmax(a: Any, axis: Any = -1) -> Any:
    """``log(softmax(a))`` along an axis, without overflow or loss of precision.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.log_softmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    a = floating(a)
    shifted = a - np.max(a, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
