"""Linear interpolation."""

from __future__ import annotations

import numpy as np

from tapegrad.arraylike.tensor import Tensor
from tapegrad.declare import function
from tapegrad.ops.casting import as_double, as_real, as_scalar
from tapegrad.ops.order import piece
from tapegrad.ops.rows import index_select
from tapegrad.types import Array, ArrayLike

__all__ = ["interp"]


def _wrap_period(x: Array, xp: Array, fp: Array, period: Array) -> tuple[Array, Array, Array]:
    """Map positions into one period, and add a point beyond each end of the points."""
    if period.ndim:
        raise TypeError(f"interp: the period must be a number; got shape {period.shape}")
    if not isinstance(period, Tensor) and not period:
        raise ValueError("interp: a period is not 0")
    period = np.abs(period)
    x, xp = np.remainder(x, period), np.remainder(xp, period)
    order = np.argsort(xp)
    xp, fp = index_select(xp, order), index_select(fp, order)
    xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, np.concatenate([fp[-1:], fp, fp[:1]])


@function(
    numpy=np.interp,
    kink="the slope to the right, at the last point to the left; 0 if that is not finite",
    complex=True,
)
def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
    period: ArrayLike | None = None,
) -> Array:
    """The value at x on the straight lines that join the points (xp, fp).

    At a point, the slope is the slope of the line to its right; at the last point, of the line to
    its left; and 0 where the other end of that line is not finite. A gradient passes to x, xp and
    fp, and to left and right.

    Parameters
    ----------
    x
        The positions to look up, of any shape.
    xp, fp
        The points, xp increasing.
    left, right
        The results before the first and after the last point; by default the value of fp there.
    period
        The period with which the points repeat; xp may then be in any order, and left and right
        are ignored.

    Raises
    ------
    ValueError
        If xp and fp are not one-dimensional arrays of the same length, or are empty; for a period
        of 0.
    TypeError
        If left or right is not a number.

    Examples
    --------
    >>> import tapegrad as tg
    >>> x, xp, fp = np.array([0.5, 1.0, 9.0]), np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 0.0])
    >>> tg.interp(x, xp, fp)
    array([1., 2., 0.])
    >>> tg.grad(lambda x: tg.sum(tg.interp(x, xp, fp)))(x)
    array([ 2., -1.,  0.])
    """
    x, xp = as_double(as_real(x, "interp: x")), as_double(as_real(xp, "interp: xp"))
    fp = as_double(fp, complex=True)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(
            "interp: xp and fp must be one-dimensional, not empty, and equally long; "
            f"their shapes are {xp.shape} and {fp.shape}"
        )
    if period is not None:
        left = right = None
        x, xp, fp = _wrap_period(x, xp, fp, as_double(period))
    left = fp[0] if left is None else as_double(left, complex=True)
    right = fp[-1] if right is None else as_double(right, complex=True)
    if left.ndim or right.ndim:
        raise TypeError(
            f"interp: left and right must be numbers; got shapes {left.shape} and {right.shape}"
        )
    is_left, is_right = np.less(x, xp[0]), np.greater(x, xp[-1])
    x = np.where(is_left | is_right, xp[0], x)
    i = piece(x, xp)
    j = np.minimum(i + 1, len(xp) - 1)
    x0, x1 = index_select(xp, i), index_select(xp, j)
    width = x1 - x0
    t = (x - x0) / np.where(np.equal(width, 0), 1, width)
    f0, f1 = index_select(fp, i), index_select(fp, j)
    # as in NumPy, a point keeps its value if the other end of its line is not finite
    is_first = np.equal(t, 0)
    is_isolated = (is_first & ~np.isfinite(f1)) | (np.equal(t, 1) & ~np.isfinite(f0))
    point = np.where(is_first, f0, f1)
    f0, f1 = np.where(is_isolated, 0, f0), np.where(is_isolated, 0, f1)
    y = np.where(is_isolated, point, f0 * (1 - t) + f1 * t)
    return as_scalar(np.where(is_right, right, np.where(is_left, left, y)))
