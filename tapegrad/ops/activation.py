"""Activations, stable at any input, and normalizations of vectors: softmax, standardize."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tapegrad.core.forward import apply, elementwise_jvp
from tapegrad.core.primitive import Primitive
from tapegrad.declare import op
from tapegrad.declare.batching import Batched, batch_axis
from tapegrad.ops.casting import apply_into, as_floating, deviations, stopped
from tapegrad.ops.logic import select
from tapegrad.ops.partial_reduction import count
from tapegrad.ops.reduction import reduce_each_example, restore_reduced_axes
from tapegrad.tree.cotangents import sum_axes
from tapegrad.types import Array, ArrayLike, Axis, Cotangent

__all__ = ["log_softmax", "logsumexp", "relu", "sigmoid", "softmax", "softplus", "standardize"]


# the largest arguments of exp that do not overflow; as arrays of the dtype, which are twice as fast
# as Python numbers
_MAX_EXPONENT = {char: np.array(np.log(np.finfo(char).max) - 1e-3, char) for char in "fdg"}
ONE = {char: np.ones((), char) for char in _MAX_EXPONENT}
# beyond this, the slope of a sigmoid is subnormal
_MAX_DENOMINATOR = {char: np.exp(x - ONE[char]) for char, x in _MAX_EXPONENT.items()}
# in smaller arrays, a scan or an allocation takes the time that it saves
_LARGE = 1 << 13
# up to this number, 1 - y loses at most five bits
_NEAR_ONE = 1 - 2**-5


def _sigmoid_vjp(g: Cotangent, y: Array, x: Array) -> Cotangent:
    """g * y * (1 - y)."""
    if type(x) is not np.ndarray or x.dtype.char not in _MAX_EXPONENT:
        return g * sigmoid_derivative(x)
    complement = ONE[x.dtype.char] - y
    # argmax takes a third of the time of max, and detects nan too
    if y.size and not y.item(y.argmax()) < _NEAR_ONE:
        # the difference 1 - y would lose its digits
        near = (y > _NEAR_ONE).reshape(-1).nonzero()[0]
        if near.size < y.size >> 3:
            inverse = np.exp(-x.flat[near])
            complement.put(near, inverse / (ONE[x.dtype.char] + inverse))
        else:
            complement = sigmoid.forward(-x)
    if type(complement) is not np.ndarray or type(g) is not np.ndarray:
        return g * (y * complement)
    np.multiply(y, complement, complement)
    return np.multiply(g, complement, complement)


@op(
    _sigmoid_vjp,
    jvp=elementwise_jvp,
    composite=True,
    flat="{x} is so far from 0{where} that {op} has the slope 0 there",
)
def sigmoid(x: ArrayLike) -> Array:
    """The logistic function ``1 / (1 + exp(-x))``, stable at any input.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(tg.sigmoid)(0.0)
    array(0.25)
    >>> tg.sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    if type(x) is not np.ndarray or x.dtype.char not in ONE:
        x = as_floating(x)
        if x.dtype.char == "e":
            return sigmoid(x.astype(np.float32)).astype(np.float16)
    char = x.dtype.char
    exp_x = np.minimum(x, _MAX_EXPONENT[char])
    if type(exp_x) is not np.ndarray:
        exp_x = np.exp(exp_x)
        return exp_x / (ONE[char] + exp_x)
    np.exp(exp_x, exp_x)
    denominator = ONE[char] + exp_x
    return np.divide(exp_x, denominator, denominator)


@op(lambda g, y, x: g * (-y * np.tanh(0.5 * x)), jvp=elementwise_jvp, composite=True)
def sigmoid_derivative(x: Array) -> Array:
    """The slope of `sigmoid`, ``sigmoid(x) * sigmoid(-x)``; 0 where ``exp(x)`` overflows.

    In a program it shares the exponential of the `sigmoid`.
    """
    x = as_floating(x)
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    char = wide.dtype.char
    exp_x = np.exp(np.minimum(wide, _MAX_EXPONENT[char]))
    denominator = ONE[char] + exp_x
    slope = exp_x / denominator / denominator * np.less(denominator, _MAX_DENOMINATOR[char])
    return slope.astype(np.float16) if wide is not x else slope


@op(lambda g, y, x: g * sigmoid(x), jvp=elementwise_jvp, composite=True)
def softplus(x: ArrayLike) -> Array:
    """``log(1 + exp(x))``, a smooth `relu`, stable at any input.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.softplus(np.array([-1e4, 1e4]))
    array([    0., 10000.])
    >>> tg.grad(tg.softplus)(0.0)
    array(0.5)
    """
    x = as_floating(x)
    small = np.exp(-np.absolute(x))
    return np.maximum(x, 0) + np.log1p(small)


@op(
    lambda g, y, x: select(np.greater(y, 0), g, 0),
    jvp=elementwise_jvp,
    kink="0 at 0",
    composite=True,
    flat="{x} is 0 or less{where}, so {op} passes nothing on to it",
)
def relu(x: ArrayLike) -> Array:
    """x where it is positive, else 0.

    Its slope at 0 is 0, while ``maximum(x, 0)``, for which 0 is a tie, has the slope 0.5.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: tg.sum(tg.relu(x)))(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """
    if type(x) is np.ndarray and x.dtype.char == "f" and x.size >= _LARGE:
        # a number in place of the zeros takes twice as long
        zeros = np.zeros_like(x, np.float32)
        return np.maximum(x, zeros, out=zeros)
    return np.maximum(x, 0)


def _max_keepdims(a: Array, axis: Axis) -> Array:
    """Return the maximum along axes, which are kept."""
    if type(a) is np.ndarray and a.size >= 512 and axis in (-1, a.ndim - 1) and a.shape[-1] <= 16:
        # NumPy starts a loop for each row, which is slow for short rows
        columns = a.reshape(-1, a.shape[-1]).T.copy()
        return np.maximum.reduce(columns, axis=0).reshape(*a.shape[:-1], 1)
    return np.max(a, axis=axis, keepdims=True)


def _shifted_exp(a: Array, axis: Axis) -> tuple[Any, Any, Any]:
    """Return ``exp(a - max(a))``, its sum (1 in place of 0), and the maximum."""
    largest, limit = stopped(_max_keepdims(a, axis)), np.finfo(a.dtype).max
    # infinity minus infinity would be nan
    shifted = a - np.minimum(np.maximum(largest, -limit), limit)
    exponentials = apply_into(shifted, np.exp, shifted)
    total = np.sum(exponentials, axis=axis, keepdims=True)
    # only where all elements are -inf is the sum 0, whose logarithm would warn
    return exponentials, np.where(np.equal(total, 0), 1, total), largest


def _logsumexp_vjp(
    g: Cotangent, y: Array, a: Array, axis: Axis = None, keepdims: bool = False
) -> Cotangent:
    """g * softmax(a): 0 where all elements are -inf, nan where one is inf."""
    # not exp(a - y): the rounding error of y may be as large as the differences
    exponentials, total, _ = _shifted_exp(a, axis)
    return apply_into(
        exponentials, np.multiply, exponentials, restore_reduced_axes(g, a, axis, keepdims) / total
    )


@op(_logsumexp_vjp, batch=reduce_each_example, composite=True)
def logsumexp(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """``log(sum(exp(a)))`` over an axis, several, or all, without overflow.

    Arguments as for `sum`. Its gradient is the `softmax`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> bool(tg.logsumexp(np.array([1e4, 1e4])) == 1e4 + np.log(2))
    True
    >>> tg.grad(tg.logsumexp)(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    _, total, largest = _shifted_exp(as_floating(a), axis)
    y = np.log(total) + largest
    return y if keepdims else np.squeeze(y, axis=axis)


def _sum_keepdims(x: Array, axis: Axis) -> Array:
    """Return the sum along axes, which are kept."""
    if type(x) is np.ndarray and x.ndim and axis in (-1, x.ndim - 1):
        return sum_axes(x, (x.ndim - 1,))[..., None]
    return np.sum(x, axis=axis, keepdims=True)


def _dot_keepdims(x1: Array, x2: Array, axis: Axis) -> Array:
    """Return the sum of products along axes, which are kept."""
    if type(x1) is np.ndarray is type(x2) and x2.ndim and axis in (-1, x2.ndim - 1):
        return np.vecdot(x1, x2)[..., None]
    return np.sum(x1 * x2, axis=axis, keepdims=True)


def _softmax_vjp(g: Cotangent, y: Array, a: Array, axis: Axis = -1) -> Cotangent:
    """y * (g - sum(g * y))."""
    c = g - _dot_keepdims(g, y, axis)
    return apply_into(c, np.multiply, y, c)


def _log_softmax_vjp(g: Cotangent, y: Array, a: Array, axis: Axis = -1) -> Cotangent:
    """g - exp(y) * sum(g)."""
    c = np.exp(y)
    c = apply_into(c, np.multiply, c, _sum_keepdims(g, axis))
    return apply_into(c, np.subtract, g, c)


# up to this number, exponentials and their reciprocals have precise sums without overflow, so the
# maximum need not be subtracted first
_SAFE_MAX = 64


def _same_shape_batch(op: Primitive, batched: Batched, a: Array, **options: Any) -> Array:
    """Batch an op that keeps the shape, whose axis None stands for all axes."""
    if a.ndim == 1:
        return NotImplemented
    axis = batch_axis(options.get("axis", -1), a.ndim - 1)
    return apply(op, (a,), {**options, "axis": axis})


@op(_softmax_vjp, batch=_same_shape_batch, composite=True)
def softmax(a: ArrayLike, axis: Axis = -1) -> Array:
    """``exp(a)`` scaled to sum to 1 along an axis, several, or all (None), without overflow.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.softmax(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = as_floating(a)
    if type(a) is np.ndarray and a.dtype.char in ONE and a.size >= _LARGE and a.max() <= _SAFE_MAX:
        # the maximum of each row is not needed, and would take most of the time
        weights = np.exp(a)
        total = _sum_keepdims(weights, axis)
        if total.min() >= 1 / _SAFE_MAX:
            return np.divide(weights, total, weights)
    weights = a - _max_keepdims(a, axis)
    weights = apply_into(weights, np.exp, weights)
    return apply_into(weights, np.divide, weights, _sum_keepdims(weights, axis))


@op(_log_softmax_vjp, batch=_same_shape_batch, composite=True)
def log_softmax(a: ArrayLike, axis: Axis = -1) -> Array:
    """``log(softmax(a))`` along an axis, several, or all (None), to full precision.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.log_softmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    a = as_floating(a)
    shifted = a - _max_keepdims(a, axis)
    # not a product with ones, whose rounding errors the logarithm would show near 1
    total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
    return apply_into(shifted, np.subtract, shifted, np.log(total))


def _mean_keepdims(x: Array, axis: Axis) -> Array:
    """Return the mean along axes, which are kept."""
    return _sum_keepdims(x, axis) / count(x, axis)


def _center(a: Array, axis: Axis, center: bool) -> Array:
    """Subtract the mean along axes, if `center`."""
    if not center:
        return a
    return deviations(a, _mean_keepdims(a, axis), partial(_mean_keepdims, axis=axis))


def _standardize_vjp(
    g: Cotangent, y: Array, a: Array, axis: Axis = -1, epsilon: float = 1e-5, center: bool = True
) -> Cotangent:
    """(g - mean(g) - y * mean(g * y)) / sqrt(var(a) + epsilon); no mean(g) without center."""
    if a.dtype == np.float16:
        g, y, a = (x.astype(np.float32) for x in (g, y, a))
        return _standardize_vjp(g, y, a, axis, epsilon, center).astype(np.float16)
    c = _center(a, axis, center)
    scale = np.sqrt(_dot_keepdims(c, c, axis) / count(c, axis) + epsilon)
    c = y * (_dot_keepdims(g, y, axis) / count(y, axis))
    c = apply_into(c, np.subtract, g, c)
    if center:
        c = apply_into(c, np.subtract, c, _mean_keepdims(g, axis))
    return apply_into(c, np.divide, c, scale)


@op(
    _standardize_vjp,
    # the Jacobian is symmetric
    jvp=lambda op, tangents, y, a, **options: _standardize_vjp(tangents[0], y, a, **options),
    batch=_same_shape_batch,
    composite=True,
)
def standardize(
    a: ArrayLike, axis: Axis = -1, epsilon: float = 1e-5, *, center: bool = True
) -> Array:
    """``(a - mean(a)) / sqrt(var(a) + epsilon)`` along an axis, several, or all (None).

    Layer norms do this before they scale and shift (Ba et al. 2016, arXiv:1607.06450).
    float16 is computed in float32.

    Parameters
    ----------
    a
        An array of real numbers.
    axis
        An axis, a tuple of axes, or None for all; negative ones count from the end.
    epsilon
        The number that is added to the variance.
    center
        Whether the mean is subtracted; if not, ``a / sqrt(mean(a**2) + epsilon)``, as root mean
        square norms do (Zhang and Sennrich 2019, arXiv:1910.07467).

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.standardize(np.array([[1.0, 3.0], [5.0, 5.0]])).round(3)
    array([[-1.,  1.],
           [ 0.,  0.]])
    >>> tg.standardize(np.array([3.0, 3.0]), center=False).round(3)
    array([1., 1.])
    """
    a = as_floating(a)
    if a.dtype == np.float16:
        y = standardize.forward(a.astype(np.float32), axis, epsilon, center=center)
        return y.astype(np.float16)
    c = _center(a, axis, center)
    scale = np.sqrt(_dot_keepdims(c, c, axis) / count(c, axis) + epsilon)
    return apply_into(c, np.divide, c, scale) if center else c / scale
