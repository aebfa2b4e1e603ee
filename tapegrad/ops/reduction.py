"""Reductions along axes, and the normalisations made of them."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tapegrad.domain import NEAR_ONE, POSITIVE, TYING, Call, Choices, along, reduced
from tapegrad.op import op
from tapegrad.ops.axes import from_lines, lines, shifted
from tapegrad.ops.record import array, floating
from tapegrad.ops.shape import broadcast_to
from tapegrad.tensor import Tensor

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "average",
    "count_nonzero",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
    "prod",
    "ptp",
    "softmax",
    "std",
    "sum",
    "var",
]

# Any, for by NumPy's stubs keepdims is a literal
_reduce_add: Any = np.add.reduce
_reduce_multiply: Any = np.multiply.reduce
_reduce_maximum: Any = np.maximum.reduce
_reduce_minimum: Any = np.minimum.reduce
_argmax: Any = np.argmax
_argmin: Any = np.argmin


def _unreduced(g: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """A reduction's output or cotangent with the reduced axes back, of length 1."""
    shape = list(x.shape)
    if keepdims or not shape:
        return g
    for i in range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,):
        shape[i] = 1
    return g.reshape(shape)


def _spread(g: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """A reduction's cotangent, the same for all elements that were reduced."""
    if g.ndim:
        return broadcast_to(_unreduced(g, x, axis, keepdims), shape=x.shape)
    if type(g) is np.ndarray:
        return np.full(x.shape, g)
    return broadcast_to(g, shape=x.shape)


def _count(x: Any, axis: Any) -> int:
    """How many elements each result is reduced from; an AxisError for a bad axis, of 0-d too."""
    shape = np.shape(x)
    axes = range(len(shape)) if axis is None else normalize_axis_tuple(axis, len(shape))
    return math.prod(shape[i] for i in axes)


@op(
    lambda g, y, a, axis=None, keepdims=False: _spread(g, a, axis, keepdims),
    numpy=np.sum,
    source="add.reduce({0}, {axis}, None, {out}, {keepdims})",
    domain=reduced(),
    jvp="linear",
)
def sum(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The sum over an axis, several, or all.

    Parameters
    ----------
    a
        An array.
    axis
        An axis, a tuple of axes, or None for all; negative ones count from the end.
    keepdims
        Whether the reduced axes stay, with length 1.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.sum(np.array([[1, 2, 3], [4, 5, 6]]), axis=0)
    array([5, 7, 9])
    >>> tg.grad(lambda x: tg.sum(x * x))(np.array([1.0, 2.0]))
    array([2., 4.])
    """
    return _reduce_add(np.asarray(a), axis, None, None, keepdims)


@op(
    lambda g, y, a, axis=None, keepdims=False: _spread(
        g * (1 / _count(a, axis)) if a.dtype == np.float16 and a.size else g / _count(a, axis),
        a,
        axis,
        keepdims,
    ),
    numpy=np.mean,
    composite=True,
    domain=reduced(min_side=1),
    jvp="linear",
)
def mean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The mean over an axis, several, or all; arguments as for `sum`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.mean)(np.array([1.0, 2.0]))
    array([0.5, 0.5])
    """
    a = array(a)
    if a.dtype == np.float16:
        # as NumPy does, for the sum would soon overflow
        return mean(a.astype(np.float32), axis=axis, keepdims=keepdims).astype(np.float16)
    return sum(a, axis=axis, keepdims=keepdims) / _count(a, axis)


def _products_of_others(a: Any, axis: Any) -> Any:
    """For each element, the product of those that it is multiplied with by `prod`."""
    rows = lines(a, axis)
    before = shifted(np.cumprod(rows, axis=0), 1)
    after = shifted(np.cumprod(rows[::-1], axis=0), 1)[::-1]
    return from_lines(before * after, a.shape, axis)


@op(
    lambda g, y, a, axis=None, keepdims=False: (
        _unreduced(g, a, axis, keepdims) * _products_of_others(a, axis)
    ),
    numpy=np.prod,
    domain=reduced(NEAR_ONE),
    source="multiply.reduce({0}, {axis}, None, {out}, {keepdims})",
    kink="right with any number of zeros",
)
def prod(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The product over an axis, several, or all; arguments as for `sum`.

    The gradient is right with any number of zeros.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.prod)(np.array([2.0, 0.0, 3.0]))
    array([0., 6., 0.])
    """
    return _reduce_multiply(np.asarray(a), axis, None, None, keepdims)


def _spread_out(choose: Choices) -> Call:
    """Calls on an array whose elements are well apart, with the axes to reduce."""
    x = choose.array(choose.shape(min_side=1), distinct=True)
    axis = choose.axes(x.ndim)
    given = {"axis": axis, "keepdims": choose.among([False, True])}
    return Call((x,), given | {"ddof": choose.among([0, 1])} if _count(x, axis) > 1 else given)


@op(composite=True, numpy=np.var, domain=_spread_out)
def var(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The variance over an axis, several, or all.

    Parameters
    ----------
    a, axis, keepdims
        As for `sum`.
    ddof
        What is taken off the number of elements to divide by.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.var)(np.array([1.0, 3.0]))
    array([-1.,  1.])
    """
    a = floating(a)
    apart = np.square(a - mean(a, axis=axis, keepdims=True))
    n = _count(a, axis)
    return sum(apart, axis=axis, keepdims=keepdims) / builtins.max(n - ddof, 0)


@op(composite=True, numpy=np.std, domain=_spread_out, kink="0 where nothing deviates")
def std(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation over an axis, several, or all; arguments as for `var`.

    Where all elements are the same, the gradient is 0.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.std)(np.array([1.0, 3.0])), tg.grad(tg.std)(np.ones(2))
    (array([-0.5,  0.5]), array([0., 0.]))
    """
    return _deviation(var(a, axis=axis, ddof=ddof, keepdims=keepdims))


def _deviation(variance: Any) -> Any:
    """The square root, with the gradient 0 at 0."""
    zero = np.equal(variance, 0)
    return np.where(zero, 0, np.sqrt(np.where(zero, 1, variance)))


def _weighed(choose: Choices) -> Call:
    """Calls with weights for each element, or for the places along the axes."""
    a = choose.array(choose.shape(min_side=1))
    axis = choose.axes(a.ndim)
    shapes = [a.shape]
    if axis is not None:
        shapes.append(tuple(a.shape[i] for i in normalize_axis_tuple(axis, a.ndim)))
    weights = choose.among([None, choose.array(choose.among(shapes), POSITIVE)])
    returned = weights is not None and choose.among([False, True])
    return Call((a, axis, weights, returned), {"keepdims": choose.among([False, True])})


@op(composite=True, numpy=np.average, domain=_weighed)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """The weighted mean over an axis, several, or all.

    Parameters
    ----------
    a, axis, keepdims
        As for `sum`.
    weights
        An array of the shape of `a`, or of the lengths of the axes in their order; None
        for equal weights.
    returned
        Whether the sums of the weights are returned too.

    Returns
    -------
    The mean, or a tuple of the mean and the sums of the weights.

    Raises
    ------
    TypeError, ValueError
        If the weights have neither shape.
    ZeroDivisionError
        If weights that are not a Tensor sum to 0; with a Tensor's the mean is not finite.

    Examples
    --------
    >>> import tapegrad as tg
    >>> w = np.array([3.0, 1.0])
    >>> tg.grad(lambda x: tg.average(x, weights=w))(np.array([1.0, 2.0]))
    array([0.75, 0.25])
    """
    a = floating(a)
    _count(a, axis)
    if weights is None:
        y = mean(a, axis=axis, keepdims=keepdims)
        return (y, np.full(y.shape, _count(a, axis), y.dtype)) if returned else y
    weights = array(weights)
    if weights.shape != a.shape:
        if axis is None:
            raise TypeError(
                f"weights of shape {weights.shape} for an array of shape {a.shape} need axis="
            )
        axes = normalize_axis_tuple(axis, a.ndim)
        if weights.shape != tuple(a.shape[i] for i in axes):
            raise ValueError(
                f"weights of shape {weights.shape} fit neither the shape {a.shape} nor its axes "
                f"{axes}"
            )
        across = tuple(side if i in axes else 1 for i, side in enumerate(a.shape))
        weights = np.reshape(np.transpose(weights, np.argsort(axes).tolist()), across)
    weights = weights.astype(np.result_type(a.dtype, weights.dtype))
    total = sum(weights, axis=axis, keepdims=keepdims)
    if not isinstance(total, Tensor) and np.equal(total, 0).any():
        raise ZeroDivisionError("the weights sum to 0")
    y = sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (y, broadcast_to(total, y.shape)) if returned else y


def _extremum(g: Any, y: Any, a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    ties = np.equal(a, _unreduced(y, a, axis, keepdims))
    # nan is equal to nothing, so that there may be no winner
    n = np.maximum(np.sum(ties, axis=axis, keepdims=True), 1).astype(g.dtype)
    share = _unreduced(g, a, axis, keepdims) / n
    return np.where(ties, share, 0)


@op(
    _extremum,
    numpy=(np.max, np.amax),
    source="maximum.reduce({0}, {axis}, None, {out}, {keepdims})",
    domain=reduced(TYING, min_side=1),
    kink="ties share equally",
)
def max(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest over an axis, several, or all; arguments as for `sum`.

    Elements that tie for it share the gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.max)(np.array([1.0, 3.0, 3.0]))
    array([0. , 0.5, 0.5])
    """
    return _reduce_maximum(np.asarray(a), axis, None, None, keepdims)


@op(
    _extremum,
    numpy=(np.min, np.amin),
    source="minimum.reduce({0}, {axis}, None, {out}, {keepdims})",
    domain=reduced(TYING, min_side=1),
    kink="ties share equally",
)
def min(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The smallest over an axis, several, or all; arguments as for `sum`.

    Elements that tie for it share the gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.min)(np.array([1.0, 1.0, 3.0]))
    array([0.5, 0.5, 0. ])
    """
    return _reduce_minimum(np.asarray(a), axis, None, None, keepdims)


@op(composite=True, numpy=np.ptp, domain=reduced(min_side=1), kink="ties share equally")
def ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The largest less the smallest over an axis, several, or all; arguments as for `sum`.

    Elements that tie for either share its gradient equally.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.ptp)(np.array([1.0, 4.0, 2.0]))
    array([-1.,  1.,  0.])
    """
    return max(a, axis=axis, keepdims=keepdims) - min(a, axis=axis, keepdims=keepdims)


def _is_nan(a: Any) -> Any:
    return np.not_equal(a, a)


def without_nan(a: Any, instead: float) -> Any:
    """The array with another number for nan."""
    a = array(a)
    return np.where(_is_nan(a), instead, a) if a.dtype.kind == "f" else a


@op(composite=True, numpy=np.nansum, domain=reduced())
def nansum(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`sum` with 0 for nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nansum)(np.array([1.0, np.nan]))
    array([1., 0.])
    """
    return sum(without_nan(a, 0), axis=axis, keepdims=keepdims)


@op(
    composite=True,
    numpy=np.nanprod,
    domain=reduced(NEAR_ONE),
    kink="right with any number of zeros",
)
def nanprod(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`prod` with 1 for nan, which gets no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanprod)(np.array([2.0, np.nan, 3.0]))
    array([3., 0., 2.])
    """
    return prod(without_nan(a, 1), axis=axis, keepdims=keepdims)


@op(composite=True, numpy=np.nanmean, domain=reduced(min_side=1))
def nanmean(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`mean` of the elements that are not nan, which get no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmean)(np.array([1.0, np.nan, 3.0]))
    array([0.5, 0. , 0.5])
    """
    a = floating(a)
    _count(a, axis)
    n = sum(np.equal(a, a), axis=axis, keepdims=keepdims)
    return nansum(a, axis=axis, keepdims=keepdims) / array(n).astype(a.dtype)


@op(composite=True, numpy=np.nanvar, domain=_spread_out)
def nanvar(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """`var` of the elements that are not nan, which get no gradient; nan if they are too few.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanvar)(np.array([1.0, np.nan, 3.0]))
    array([-1.,  0.,  1.])
    """
    a = floating(a)
    if np.ndim(ddof):
        raise TypeError(f"ddof is a number; got an array of shape {np.shape(ddof)}")
    is_number = np.equal(a, a)
    apart = np.where(is_number, a - nanmean(a, axis=axis, keepdims=True), 0)
    n = sum(is_number, axis=axis, keepdims=keepdims) - ddof
    too_few = np.less_equal(n, 0)
    squares = sum(np.square(apart), axis=axis, keepdims=keepdims)
    return np.where(too_few, np.nan, squares / np.where(too_few, 1, n).astype(a.dtype))


@op(composite=True, numpy=np.nanstd, domain=_spread_out, kink="0 where nothing deviates")
def nanstd(a: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """`std` of the elements that are not nan, which get no gradient; nan if they are too few.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanstd)(np.array([1.0, np.nan, 3.0]))
    array([-0.5,  0. ,  0.5])
    """
    return _deviation(nanvar(a, axis=axis, ddof=ddof, keepdims=keepdims))


def _but_nan(extremum: Any, worst: float, a: Any, axis: Any, keepdims: bool) -> Any:
    """An extremum of the elements that are not nan; nan if all are."""
    a = array(a)
    if a.dtype.kind != "f":
        return extremum(a, axis=axis, keepdims=keepdims)
    y = extremum(without_nan(a, worst), axis=axis, keepdims=keepdims)
    return np.where(all(_is_nan(a), axis=axis, keepdims=keepdims), np.nan, y)


@op(composite=True, numpy=np.nanmax, domain=reduced(min_side=1), kink="ties share equally")
def nanmax(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`max` of the elements that are not nan, which get no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmax)(np.array([1.0, np.nan, 3.0]))
    array([0., 0., 1.])
    """
    return _but_nan(max, -np.inf, a, axis, keepdims)


@op(composite=True, numpy=np.nanmin, domain=reduced(min_side=1), kink="ties share equally")
def nanmin(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """`min` of the elements that are not nan, which get no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.nanmin)(np.array([1.0, np.nan, 3.0]))
    array([1., 0., 0.])
    """
    return _but_nan(min, np.inf, a, axis, keepdims)


def _truths(choose: Choices) -> Call:
    """Calls on numbers that are often 0, with the axes to reduce, which may stay."""
    x = choose.array(choose.shape())
    x = choose.laid_out(np.where(choose.booleans(x.shape), x, np.zeros_like(x)))
    return Call((x,), {"axis": choose.axes(x.ndim), "keepdims": choose.among([False, True])})


@op(None, numpy=np.any, domain=_truths)
def any(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Whether any is true (not zero); arguments as for `sum`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.any(np.array([[0, 1], [0, 0]]), axis=1)
    array([ True, False])
    """
    return np.any(a, axis, keepdims=keepdims)


@op(None, numpy=np.all, domain=_truths)
def all(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """Whether all are true (not zero); arguments as for `sum`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.all(np.array([[0, 1], [2, 1]]), axis=1)
    array([False,  True])
    """
    return np.all(a, axis, keepdims=keepdims)


@op(None, numpy=np.count_nonzero, domain=_truths)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """How many are not zero; arguments as for `sum`. It passes no gradient.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.count_nonzero(np.array([[0, 1], [2, 1]]), axis=1)
    array([1, 2])
    """
    return np.count_nonzero(a, axis, keepdims=keepdims)


def _places(choose: Choices) -> Call:
    x = choose.array(choose.shape(min_side=1), TYING)
    axis = choose.among([None, choose.axis(x.ndim)]) if x.ndim else None
    return Call((x,), {"axis": axis, "keepdims": choose.among([False, True])})


@op(
    None,
    numpy=np.argmax,
    source="{0}.argmax({axis}, None, keepdims={keepdims})",
    domain=_places,
)
def argmax(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The index of the first largest element along an axis, or of the array flattened.

    It passes no gradient. NaN counts as largest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.argmax(np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]), axis=1)
    array([1, 0])
    """
    return _argmax(a, axis=axis, keepdims=keepdims)


@op(
    None,
    numpy=np.argmin,
    source="{0}.argmin({axis}, None, keepdims={keepdims})",
    domain=_places,
)
def argmin(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The index of the first smallest element along an axis, or of the array flattened.

    It passes no gradient. NaN counts as smallest.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.argmin(np.array([[1.0, 3.0, 1.0], [2.0, 0.0, 1.0]]), axis=1)
    array([0, 1])
    """
    return _argmin(a, axis=axis, keepdims=keepdims)


def _finite(x: Any) -> Any:
    """x with 0 for infinities, as a shift that leaves them what they are."""
    return np.where(np.equal(np.absolute(x), np.inf), 0, x)


def _weights(a: Any, y: Any, axis: Any, keepdims: bool) -> Any:
    """The softmax of `a`, given its logsumexp."""
    return np.exp(a - _finite(_unreduced(y, a, axis, keepdims)))


@op(
    lambda g, y, a, axis=None, keepdims=False: (
        _unreduced(g, a, axis, keepdims) * _weights(a, y, axis, keepdims)
    ),
    composite=True,
    domain=reduced(min_side=1),
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
    composite=True,
    domain=_normalised,
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
    composite=True,
    domain=_normalised,
)
def log_softmax(a: Any, axis: Any = -1) -> Any:
    """``log(softmax(a))`` along an axis, without overflow or loss.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.log_softmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    a = floating(a)
    shifted = a - np.max(a, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
