"""Distances between points, as in `scipy.spatial.distance`.

SciPy computes them, without an array of the differences, which the rules need.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial import distance as _scipy

from tapegrad.core.forward import Tangents
from tapegrad.core.primitive import Joint, Primitive
from tapegrad.declare import linear_op, op
from tapegrad.declare.batching import batch_stacks
from tapegrad.errors.names import list_names
from tapegrad.ops.casting import as_double, safe_divide
from tapegrad.ops.element_pairs import Pairs, product_pairs
from tapegrad.ops.product import transpose_matrices
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.types import Array, ArrayLike, Cotangent, Tangent

__all__ = ["cdist", "pdist"]
list_names(globals())

_like_scipy = with_scipy_parameters(_scipy, for_tensors=True)
# a slope by the differences is the first, of a cotangent or a tangent and of the distances, times
# the second, of the differences
_SLOPES: dict[Any, tuple[Any, Any]] = {
    "euclidean": (safe_divide, lambda d: d),
    "sqeuclidean": (lambda g, y: 2 * g, lambda d: d),
    "cityblock": (lambda g, y: g, np.sign),
}


def _differences(a: Array, b: Array) -> Array:
    """The differences of points, with coordinates first."""
    return transpose_matrices(a)[..., :, None] - transpose_matrices(b)[..., None, :]


def _cdist_vjp(g: Cotangent, y: Array, a: Array, b: Array, metric: str) -> list[Cotangent]:
    weight, direction = _SLOPES[metric]
    c = weight(g, y)[..., None, :, :] * direction(_differences(a, b))
    return [transpose_matrices(np.sum(c, axis=-1)), -transpose_matrices(np.sum(c, axis=-2))]


def _cdist_jvp(
    op: Primitive, tangents: Tangents, y: Array, a: Array, b: Array, metric: str
) -> Tangent:
    weight, direction = _SLOPES[metric]
    moved: Any = 0.0
    if 0 in tangents:
        moved = transpose_matrices(tangents[0])[..., :, None]
    if 1 in tangents:
        moved = moved - transpose_matrices(tangents[1])[..., None, :]
    return weight(np.sum(direction(_differences(a, b)) * moved, axis=-3), y)


def _cdist_like(a: Array, b: Array, metric: str) -> Array:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return np.zeros((*stack, a.shape[-2], b.shape[-2]), np.result_type(a, b))


def _cdist_pairs(k: int, *points: Array, metric: str) -> Pairs:
    # coordinates of 0 matter too
    return product_pairs("ik", "jk")(k, *[np.ones(x.shape) for x in points])


@op(
    each_operand=Joint(_cdist_vjp, 2),
    pairs=_cdist_pairs,
    name="cdist",
    scipy="",
    like=_cdist_like,
    jvp=_cdist_jvp,
    batch=batch_stacks(),
)
def _cdist(a: Array, b: Array, metric: str) -> Array:
    """The distances of stacks of points."""
    y = _cdist_like(a, b, metric)
    a, b = (np.broadcast_to(x, (*y.shape[:-2], *x.shape[-2:])) for x in (a, b))
    for i in np.ndindex(*y.shape[:-2]):
        y[i] = _scipy.cdist(a[i], b[i], metric)
    return y


def _pairs_vjp(g: Cotangent, y: Array, values: Array, n: int) -> Cotangent:
    return (g + transpose_matrices(g))[..., *np.triu_indices(n, 1)]


@linear_op(_pairs_vjp, name="squareform", scipy="", batch=batch_stacks(1))
def _squareform(values: Array, n: int) -> Array:
    """Symmetric matrices with a value for each pair."""
    y = np.zeros((*values.shape[:-1], n, n), values.dtype)
    for i in np.ndindex(*values.shape[:-1]):
        y[i] = _scipy.squareform(values[i]) if n > 1 else 0
    return y


def _pdist_vjp(g: Cotangent, y: Array, x: Array, metric: str) -> Cotangent:
    weight, direction = _SLOPES[metric]
    weights = _squareform(weight(g, y), n=x.shape[-2])
    return transpose_matrices(
        np.sum(weights[..., None, :, :] * direction(_differences(x, x)), axis=-1)
    )


def _pdist_like(x: Array, metric: str) -> Array:
    n = x.shape[-2]
    return np.zeros((*x.shape[:-2], n * (n - 1) // 2), x.dtype)


def _pdist_pairs(k: int, x: Array, metric: str) -> Pairs:
    numbers = np.arange(x.size).reshape(x.shape)
    xs = np.concatenate([numbers[..., i, :] for i in np.triu_indices(x.shape[-2], 1)], axis=-1)
    return np.arange(xs.size) // max(xs.shape[-1], 1), xs.reshape(-1)


@op(
    _pdist_vjp,
    pairs=_pdist_pairs,
    name="pdist",
    scipy="",
    like=_pdist_like,
    batch=batch_stacks(2),
)
def _pdist(x: Array, metric: str) -> Array:
    """The distances within stacks of points."""
    y = _pdist_like(x, metric)
    for i in np.ndindex(*x.shape[:-2]):
        y[i] = _scipy.pdist(x[i], metric)
    return y


@_like_scipy
def cdist(XA: ArrayLike, XB: ArrayLike, metric: str) -> Array:
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
    a, b = as_double(XA), as_double(XB)
    # it refuses what is wrong
    _scipy.cdist(np.zeros((1, *a.shape[1:])), np.zeros((1, *b.shape[1:])), metric)
    return _cdist(a, b, metric=_check_metric(metric))


def _check_metric(metric: str) -> str:
    """The metric, if it is one of these."""
    if metric not in _SLOPES:
        raise NotImplementedError(f"the metric {metric!r} is not there, but {', '.join(_SLOPES)}")
    return metric


@_like_scipy
def pdist(X: ArrayLike, metric: str) -> Array:
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
    x = as_double(X)
    # it refuses what is wrong
    _scipy.pdist(np.zeros((2, *x.shape[1:])), metric)
    return _pdist(x, metric=_check_metric(metric))
