"""Angles without jumps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tapegrad.declare import function
from tapegrad.declare.domain import Call, Choices
from tapegrad.ops.record import array, stopped

__all__ = ["unwrap"]


def _turns(choose: Choices) -> Call:
    p = choose.array(choose.shape(min_dims=1))
    given = {"period": choose.among([1.0, 3, 2 * np.pi]), "discont": choose.among([None, 2.5])}
    return Call((p,), {**given, "axis": choose.axis(p.ndim)})


@function(numpy=np.unwrap, domain=_turns, kink="the slope beside a step")
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    """Angles with multiples of the period added, so that no step between neighbours is long.

    Parameters
    ----------
    p
        An array.
    discont
        Steps shorter than this stay; at least half the period, which is the default.
    axis
        The axis to unwrap along.
    period
        The period. The multiples are not differentiated.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.unwrap(np.array([0.0, 3.0, 5.0, 1.0]), period=6)
    array([0., 3., 5., 7.])
    """
    p = array(p)
    axis = normalize_axis_index(axis, p.ndim)
    dtype = np.result_type(p, period)
    if dtype.kind == "u":
        raise TypeError(
            f"unwrap: {dtype} has no steps backwards; write p.astype(int), or a floating period"
        )
    # in this dtype, since those of small integers would overflow
    step = stopped(np.diff(p.astype(dtype), axis=axis))
    for name, given in (("period", period), ("discont", discont)):
        shape = np.shape(given)
        if np.broadcast_shapes(shape, step.shape) != step.shape:
            raise ValueError(
                f"unwrap: {name}, of shape {shape}, does not fit the steps' {step.shape}"
            )
    half = period / 2
    if dtype.kind == "i":
        half, rest = divmod(period, 2)
    discont = period / 2 if discont is None else discont
    short = np.remainder(step + half, period) - half
    if dtype.kind != "i" or rest == 0:
        # a step of exactly half a period could go either way
        short = np.where(np.equal(short, -half) & np.greater(step, 0), half, short)
    added = np.where(np.less(np.abs(step), discont), 0, short - step)
    first = (slice(None),) * axis
    rest_of_all = p[(*first, slice(1, None))] + np.cumsum(added, axis=axis)
    y = np.concatenate([p[(*first, slice(None, 1))].astype(dtype), rest_of_all], axis=axis)
    return y.astype(dtype)
