"""The steps of differences, from large to small, and the limits of slopes along them."""

from __future__ import annotations

import attrs
import numpy as np

from tapegrad.face.ownership import Array

__all__ = ["EPS", "FINE", "Steps", "coarse", "limit"]

EPS = float(np.finfo(np.float64).eps)
_TAIL = 5  # the number of smaller steps that a limit must agree with
_BLOCK = 1024  # the number of rows whose limits are found at a time


@attrs.frozen(eq=False)
class Steps:
    """The steps of the differences, in units of max(1, |x|).

    Attributes
    ----------
    ladder
        From large to small, each a quarter of the one before.
    first
        The first two steps to try.
    near
        The distance from a point up to which slopes are taken, to recognize a kink.
    close
        A relative error below this needs no closer look.
    sure
        The relative doubt up to which a one-sided slope counts as known.
    """

    ladder: Array
    first: Array
    near: tuple[float, float]
    close: float
    sure: float


# the usual step cbrt(eps) is among them; the large ones are for functions with coarse rounding,
# the small ones for kinks and poles close by
_LADDER = np.cbrt(EPS) * 4.0 ** -np.arange(-6, 13)
FINE = Steps(_LADDER, _LADDER[2:4], (1e-4, 1e-7), 1e-9, 1e-2)


def coarse(eps: float) -> Steps:
    """Steps for inputs or outputs with this relative rounding; their errors are larger."""
    ladder = np.cbrt(eps) * 4.0 ** -np.arange(-3, 9)
    ladder = ladder[(ladder < 0.5) & (ladder > eps)]
    near = float(ladder[1]), float(ladder[4])
    return Steps(ladder, ladder[1:3], near, 8 * eps / ladder[2], 1e-1)


def limit(
    ladder: Array, slopes: Array, power: int, rounding: Array, size: float
) -> tuple[Array, Array]:
    """The limit of slopes at the ladder's steps, and its possible error.

    Parameters
    ----------
    ladder, slopes
        One row for each step.
    power
        The leading power of the step in their error.
    rounding
        The least error of the values from which the slopes were computed.
    size
        The size of these values.
    """
    if slopes.shape[1] > _BLOCK:
        blocks = range(0, slopes.shape[1], _BLOCK)
        parts = [
            limit(ladder, slopes[:, i : i + _BLOCK], power, rounding[i : i + _BLOCK], size)
            for i in blocks
        ]
        limits, doubts = zip(*parts, strict=True)
        return np.concatenate(limits), np.concatenate(doubts)
    better = slopes[1:] + (slopes[1:] - slopes[:-1]) / (4**power - 1)
    better[~np.isfinite(better)] = np.nan
    steps = ladder[1:, None]
    # steps too small to change the value say nothing
    resolved = (slopes[1:] != 0) | (slopes == 0).all(axis=0)
    n = len(better) - min(_TAIL, len(better) // 2)
    # if this is the limit, the differences at smaller steps are noise in the values
    moves = np.fmax(np.abs(better - better[:n, None]), 0)
    smaller = np.arange(len(better)) > np.arange(n)[:, None]
    noise = np.max(np.where(smaller[..., None], steps * moves, 0), axis=1)
    i = np.arange(n)
    errors = 4 * moves[i, i + 1] + 8 * np.maximum(noise, rounding) / steps[:n]
    sound = np.isfinite(better[:n]) & resolved[:n] & (noise <= 1e-3 * size)
    errors[~sound] = np.inf
    best = np.argmin(errors, axis=0)[None]
    found: Array = np.take_along_axis(better, best, axis=0)[0]
    return found, np.take_along_axis(errors, best, axis=0)[0]
