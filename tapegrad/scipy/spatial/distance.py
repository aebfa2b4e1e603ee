"""Distances between points, as in `scipy.spatial.distance`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import distance as _scipy

from tapegrad.errors.names import list_names
from tapegrad.functions.linalg import norm
from tapegrad.ops.casting import double
from tapegrad.scipy._options import with_scipys_options

__all__ = ["cdist", "pdist"]
list_names(globals())

_like_scipy = with_scipys_options(_scipy, for_tensors=True)
# by the differences, with coordinates along the first axis
_METRICS: dict[Any, Any] = {
    "euclidean": lambda d: norm(d, axis=0),
    "sqeuclidean": lambda d: np.sum(d * d, axis=0),
    "cityblock": lambda d: norm(d, 1, axis=0),
}


@_like_scipy
def cdist(XA: Any, XB: Any, metric: str) -> Any:
    """The distances of points from other points: euclidean, sqeuclidean or cityblock.

    Where two coordinates are equal, or for ``"euclidean"`` two points, the slope is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.spatial.distance import cdist
    >>> a, b = np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 4.0]])
    >>> tg.grad(lambda a: np.sum(cdist(a, b)))(a)
    array([[-0.6, -0.8],
           [ 0. ,  0. ]])
    """
    a, b = double(XA), double(XB)
    # it refuses what is wrong
    _scipy.cdist(np.zeros((1, *a.shape[1:])), np.zeros((1, *b.shape[1:])), metric)
    if metric not in _METRICS:
        raise NotImplementedError(f"the metric {metric!r} is not there, but {', '.join(_METRICS)}")
    return _METRICS[metric](a.T[:, :, None] - b.T[:, None])


@_like_scipy
def pdist(X: Any, metric: str) -> Any:
    """The distances between the points of each pair, by the metrics of `cdist`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.spatial.distance import pdist
    >>> x = np.array([[0.0], [1.0], [3.0]])
    >>> tg.grad(lambda x: np.sum(pdist(x, "sqeuclidean")))(x)
    array([[-8.],
           [-2.],
           [10.]])
    """
    x = double(X)
    return cdist(x, x, metric)[np.triu_indices(len(x), 1)]
