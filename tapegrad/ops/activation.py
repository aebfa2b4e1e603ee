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


# exp of larger numbers would overflow; arrays of the dtype, since a Python number takes twice as
# long as a small array
_LARGEST = {char: np.array(np.log(np.finfo(char).max) - 1e-3, char) for char in "fdg"}
ONE = {char: np.ones((), char) for char in _LARGEST}
# the exponentials from which the slope of a sigmoid is no normal number
_FAR = {char: np.exp(x - ONE[char]) for char, x in _LARGEST.items()}
# in smaller arrays, looking at the numbers or allocating more memory takes the time that it saves
_MANY = 1 << 13
# below this 1 - y loses at most five bits
_NEAR_ONE = 1 - 2**-5


def _sigmoid_vjp(g: Cotangent, y: Array, x: Array) -> Cotangent:
    """g * y * (1 - y)."""
    if type(x) is not np.ndarray or x.dtype.char not in _LARGEST:
        return g * sigmoid_derivative(x)
    rest = ONE[x.dtype.char] - y
    # argmax takes a third of the time of max, and finds a nan too
    if y.size and not y.item(y.argmax()) < _NEAR_ONE:
        # not by the difference, which rounding would lose
        near = (y > _NEAR_ONE).reshape(-1).nonzero()[0]
        if near.size < y.size >> 3:
            grown = np.exp(-x.flat[near])
            rest.put(near, grown / (ONE[x.dtype.char] + grown))
        else:
            rest = sigmoid.forward(-x)
    if type(rest) is not np.ndarray or type(g) is not np.ndarray:
        return g * (y * rest)
    np.multiply(y, rest, rest)
    return np.multiply(g, rest, rest)


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
    grown = np.minimum(x, _LARGEST[char])
    if type(grown) is not np.ndarray:
        grown = np.exp(grown)
        return grown / (ONE[char] + grown)
    np.exp(grown, grown)
    more = ONE[char] + grown
    return np.divide(grown, more, more)


@op(lambda g, y, x: g * (-y * np.tanh(0.5 * x)), jvp=elementwise_jvp, composite=True)
def sigmoid_derivative(x: Array) -> Array:
    """The slope of `sigmoid`, ``sigmoid(x) * sigmoid(-x)``; 0 where ``exp(x)`` overflows.

    In a program it shares the exponential of the `sigmoid`.
    """
    x = as_floating(x)
    wide = x.astype(np.float32) if x.dtype.char == "e" else x
    char = wide.dtype.char
    grown = np.exp(np.minimum(wide, _LARGEST[char]))
    more = ONE[char] + grown
    slope = grown / more / more * np.less(more, _FAR[char])
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
    if type(x) is np.ndarray and x.dtype.char == "f" and x.size >= _MANY:
        # with a number for the zeros it takes twice as long
        zeros = np.zeros_like(x, np.float32)
        return np.maximum(x, zeros, out=zeros)
    return np.maximum(x, 0)


def _largest(a: Array, axis: Axis) -> Array:
    """The largest numbers along axes, which are kept."""
    if type(a) is np.ndarray and a.size >= 512 and axis in (-1, a.ndim - 1) and a.shape[-1] <= 16:
        # NumPy starts a loop for each row, however short
        columns = a.reshape(-1, a.shape[-1]).T.copy()
        return np.maximum.reduce(columns, axis=0).reshape(*a.shape[:-1], 1)
    return np.max(a, axis=axis, keepdims=True)


def _powers(a: Array, axis: Axis) -> tuple[Any, Any, Any]:
    """The exponentials of `a` less its largest number, their sum (1 for 0), and this number."""
    most, big = stopped(_largest(a, axis)), np.finfo(a.dtype).max
    # an infinity less itself would be nan
    shifted = a - np.minimum(np.maximum(most, -big), big)
    powers = apply_into(shifted, np.exp, shifted)
    total = np.sum(powers, axis=axis, keepdims=True)
    # the largest is 1, unless all are -inf: then there is no logarithm of 0 to warn of
    return powers, np.where(np.equal(total, 0), 1, total), most


def _logsumexp_vjp(
    g: Cotangent, y: Array, a: Array, axis: Axis = None, keepdims: bool = False
) -> Cotangent:
    """g * softmax(a): 0 where all is -inf, nan where something is inf."""
    # not exp(a - y): the rounding error of y may be as large as the differences
    powers, total, _ = _powers(a, axis)
    return apply_into(
        powers, np.multiply, powers, restore_reduced_axes(g, a, axis, keepdims) / total
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
    _, total, most = _powers(as_floating(a), axis)
    y = np.log(total) + most
    return y if keepdims else np.squeeze(y, axis=axis)


def _sums(x: Array, axis: Axis) -> Array:
    """The sums along an axis, which is kept."""
    if type(x) is np.ndarray and x.ndim and axis in (-1, x.ndim - 1):
        return sum_axes(x, (x.ndim - 1,))[..., None]
    return np.sum(x, axis=axis, keepdims=True)


def _dots(x1: Array, x2: Array, axis: Axis) -> Array:
    """The sums of products along axes, which are kept."""
    if type(x1) is np.ndarray is type(x2) and x2.ndim and axis in (-1, x2.ndim - 1):
        return np.vecdot(x1, x2)[..., None]
    return np.sum(x1 * x2, axis=axis, keepdims=True)


def _softmax_vjp(g: Cotangent, y: Array, a: Array, axis: Axis = -1) -> Cotangent:
    """y * (g - sum(g * y))."""
    c = g - _dots(g, y, axis)
    return apply_into(c, np.multiply, y, c)


def _log_softmax_vjp(g: Cotangent, y: Array, a: Array, axis: Axis = -1) -> Cotangent:
    """g - exp(y) * sum(g)."""
    share = np.exp(y)
    share = apply_into(share, np.multiply, share, _sums(g, axis))
    return apply_into(share, np.subtract, g, share)


# Exponentials of numbers up to this, and their reciprocals, can be summed without overflow, as
# precisely as after subtracting the largest number.
_MODEST = 64


def _normalised_batch(op: Primitive, batched: Batched, a: Array, **options: Any) -> Array:
    """The rule of ops that keep the shape: None stands for all axes, not for the flat array."""
    if a.ndim == 1:
        return NotImplemented
    axis = batch_axis(options.get("axis", -1), a.ndim - 1)
    return apply(op, (a,), {**options, "axis": axis})


@op(_softmax_vjp, batch=_normalised_batch, composite=True)
def softmax(a: ArrayLike, axis: Axis = -1) -> Array:
    """``exp(a)`` scaled to sum to 1 along an axis, several, or all (None), without overflow.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.softmax(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = as_floating(a)
    if type(a) is np.ndarray and a.dtype.char in ONE and a.size >= _MANY and a.max() <= _MODEST:
        # most of the time would go into finding the largest number of each row, which is not needed
        weights = np.exp(a)
        total = _sums(weights, axis)
        if total.min() >= 1 / _MODEST:
            return np.divide(weights, total, weights)
    weights = a - _largest(a, axis)
    weights = apply_into(weights, np.exp, weights)
    return apply_into(weights, np.divide, weights, _sums(weights, axis))


@op(_log_softmax_vjp, batch=_normalised_batch, composite=True)
def log_softmax(a: ArrayLike, axis: Axis = -1) -> Array:
    """``log(softmax(a))`` along an axis, several, or all (None), as precise as it can be.

    Examples
    --------
    >>> import tapegrad as tg
    >>> tg.log_softmax(np.array([0.0, 1e4]))
    array([-10000.,      0.])
    """
    a = as_floating(a)
    shifted = a - _largest(a, axis)
    # not as a product with ones: close to 1, the logarithm shows each rounding error
    total = np.sum(np.exp(shifted), axis=axis, keepdims=True)
    return apply_into(shifted, np.subtract, shifted, np.log(total))


def _means(x: Array, axis: Axis) -> Array:
    """The means along axes, which are kept."""
    return _sums(x, axis) / count(x, axis)


def _centered(a: Array, axis: Axis, center: bool) -> Array:
    if not center:
        return a
    return deviations(a, _means(a, axis), partial(_means, axis=axis))


def _standardize_vjp(
    g: Cotangent, y: Array, a: Array, axis: Axis = -1, epsilon: float = 1e-5, center: bool = True
) -> Cotangent:
    """(g - mean(g) - y * mean(g * y)) / sqrt(var(a) + epsilon), and without center no mean(g)."""
    if a.dtype == np.float16:
        g, y, a = (x.astype(np.float32) for x in (g, y, a))
        return _standardize_vjp(g, y, a, axis, epsilon, center).astype(np.float16)
    c = _centered(a, axis, center)
    spread = np.sqrt(_dots(c, c, axis) / count(c, axis) + epsilon)
    c = y * (_dots(g, y, axis) / count(y, axis))
    c = apply_into(c, np.subtract, g, c)
    if center:
        c = apply_into(c, np.subtract, c, _means(g, axis))
    return apply_into(c, np.divide, c, spread)


@op(
    _standardize_vjp,
    # the Jacobian is symmetric
    jvp=lambda op, tangents, y, a, **options: _standardize_vjp(tangents[0], y, a, **options),
    batch=_normalised_batch,
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
        whole = standardize.forward(a.astype(np.float32), axis, epsilon, center=center)
        return whole.astype(np.float16)
    c = _centered(a, axis, center)
    spread = np.sqrt(_dots(c, c, axis) / count(c, axis) + epsilon)
    return apply_into(c, np.divide, c, spread) if center else c / spread
