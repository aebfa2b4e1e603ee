"""Statistics of samples, as in `scipy.stats`."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats as _scipy

from tapegrad.ops.casting import as_floating, as_scalar
from tapegrad.ops.scipy_special.incomplete import BETA
from tapegrad.scipy._distributions import safe_exp, safe_log
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.types import Array, ArrayLike, Axis

__all__ = ["PearsonRResult", "gmean", "kurtosis", "pearsonr", "skew", "zscore"]
__dir__ = __all__.copy

_like_scipy = with_scipy_parameters(_scipy)


@_like_scipy
def zscore(a: ArrayLike, axis: Axis = 0, ddof: int = 0) -> Array:
    """The distances to the mean, in standard deviations; nan where all numbers are the same.

    Examples
    --------
    >>> from tapegrad.scipy.stats import zscore
    >>> zscore(np.array([1.0, 3.0]))
    array([-1.,  1.])
    """
    a = as_floating(a)
    ends = [np.equal(a, fn(a, axis=axis, keepdims=True)) for fn in (np.min, np.max)]
    std = np.std(np.where(ends[0] & ends[1], np.nan, a), axis=axis, ddof=ddof, keepdims=True)
    return (a - np.mean(a, axis=axis, keepdims=True)) / std


@_like_scipy
def gmean(
    a: ArrayLike,
    axis: Axis = 0,
    weights: ArrayLike | None = None,
    keepdims: bool = False,
) -> Array:
    """The geometric mean of numbers, nan if one is below 0.

    Examples
    --------
    >>> from tapegrad.scipy.stats import gmean
    >>> gmean(np.array([1.0, 4.0]))
    np.float64(2.0)
    """
    a = as_floating(a)
    logs: Any = np.where(np.less(a, 0), np.nan, safe_log(a))
    options: dict[str, Any] = {"weights": weights, "keepdims": keepdims}
    return safe_exp(np.average(logs, axis=axis, **options))


def _standard_moment(a: ArrayLike, axis: Axis, keepdims: bool, power: int) -> tuple[Array, int]:
    """A central moment divided by a power of the variance, and how many numbers it is of."""
    a = as_floating(a)
    mean = np.mean(a, axis=axis, keepdims=True)
    square = np.mean(np.square(a - mean), axis=axis, keepdims=True)
    # next to nothing
    is_flat = np.less_equal(square, np.square(np.finfo(a.dtype).eps * mean))
    scale = np.sqrt(np.where(is_flat, np.nan, square))
    moment = np.mean(((a - mean) / scale) ** power, axis=axis, keepdims=keepdims)
    return moment, a.size // max(mean.size, 1)


@_like_scipy
def skew(a: ArrayLike, axis: Axis = 0, bias: bool = True, *, keepdims: bool = False) -> Array:
    """The skewness of numbers; nan where they are all the same.

    Examples
    --------
    >>> from tapegrad.scipy.stats import skew
    >>> skew(np.array([1.0, 2.0, 6.0])).round(4)
    np.float64(0.5952)
    """
    y, n = _standard_moment(a, axis, keepdims, 3)
    return as_scalar(y if bias or n < 3 else math.sqrt(n * (n - 1)) / (n - 2) * y)


@_like_scipy
def kurtosis(
    a: ArrayLike, axis: Axis = 0, fisher: bool = True, bias: bool = True, *, keepdims: bool = False
) -> Array:
    """The kurtosis of numbers, by default less that of a normal distribution.

    Examples
    --------
    >>> from tapegrad.scipy.stats import kurtosis
    >>> kurtosis(np.array([1.0, 2.0, 6.0])).round(4)
    np.float64(-1.5)
    """
    y, n = _standard_moment(a, axis, keepdims, 4)
    if not bias and n > 3:
        y = ((n * n - 1) * y - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3)) + 3
    return as_scalar(y - 3 if fisher else y)


class PearsonRResult(NamedTuple):
    """A correlation coefficient, and the probability of one as far from 0 of normal numbers."""

    statistic: Array
    pvalue: Array


@_like_scipy
def pearsonr(x: ArrayLike, y: ArrayLike, *, axis: int = 0) -> PearsonRResult:
    """Pearson's correlation coefficient along an axis, and its two-sided p-value.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import pearsonr
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> pearsonr(x, np.array([0.0, 3.0, 5.0])).statistic.round(4)
    np.float64(0.9538)
    """
    x, y = np.broadcast_arrays(as_floating(x), as_floating(y))
    x, y = zscore(x, axis), zscore(y, axis)
    r = as_scalar(np.clip(np.mean(x * y, axis=axis), -1, 1))
    half = x.shape[axis] / 2 - 1
    return PearsonRResult(
        r, 2 * BETA.cdf(half, half, (1 - np.absolute(r)) / 2) if half else 0 * r + 1
    )
