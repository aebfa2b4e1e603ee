"""The names of ``scipy.special``: its ufuncs as ops, and its functions that are written in Python.

SciPy's own ufuncs take Tensors too. In a function that is written in Python, such as
``scipy.special.logsumexp``, no protocol reaches a Tensor; the functions of this module take them.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.errors.names import list_names
from tapegrad.ops import activation
from tapegrad.ops import scipy_special as _ops
from tapegrad.ops.casting import as_floating, as_scalar, stop_gradient, to_array, values_if_known
from tapegrad.ops.scipy_special import *  # noqa: F403
from tapegrad.ops.scipy_special import SCIPY_OPS
from tapegrad.ops.scipy_special import digamma as digamma
from tapegrad.ops.scipy_special import jn as jn
from tapegrad.types import Array, ArrayLike, Axis

# SciPy computes those ufuncs
_scipys = import_module("scipy.special")

__all__ = [name for name in (*SCIPY_OPS, "airy", "fresnel", "sici") if hasattr(_scipys, name)]
__all__ += ["comb", "digamma", "jn", "log_softmax", "logsumexp", "multigammaln", "softmax"]
list_names(globals())


def logsumexp(
    a: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    """``log(sum(b * exp(a)))`` over an axis, several, or all, without overflow.

    Parameters
    ----------
    a
        An array.
    axis
        An axis, a tuple of them, or None for all.
    b
        Weights of any sign, which broadcast with `a`; ones by default. An element with a weight of
        0 adds nothing, even if it is infinite or nan.
    keepdims
        Whether the axes that are summed over stay, with a length of 1.
    return_sign
        Whether to return the logarithm of the sum's magnitude, and its sign, which has no gradient.
        Otherwise a negative sum gives nan.

    Returns
    -------
    An array or a number; if `return_sign`, two.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.special import logsumexp
    >>> logsumexp([1.0, 2.0], b=[1.0, -1.0], return_sign=True)
    (np.float64(1.5413248546129181), np.float64(-1.0))
    >>> tg.grad(logsumexp)(np.array([1e4, 1e4]))
    array([0.5, 0.5])
    """
    a = np.atleast_1d(as_floating(a))
    if b is None:
        y = as_scalar(activation.logsumexp(a, axis, keepdims=keepdims))
        sign = np.where(np.isnan(y), np.nan, np.not_equal(y, -np.inf).astype(y.dtype))
        return (y, as_scalar(stop_gradient(sign))) if return_sign else y
    # a Python number takes the dtype of the array beside it
    b = np.asarray(b, a.dtype) if type(b) in (bool, int, float) else as_floating(b)
    a, b = np.broadcast_arrays(np.where(np.equal(b, 0) & ~np.isfinite(a), -np.inf, a), b)
    shift = np.max(np.where(np.equal(b, 0), -np.inf, a), axis=axis, keepdims=True)
    shift = stop_gradient(np.where(np.isfinite(shift), shift, 0))
    # an exponential that overflows would give nan with a weight of 0
    most = math.log(np.finfo(a.dtype).max) - 9
    powers = np.where(np.equal(a, np.inf), a, np.minimum(a - shift, most))
    terms = b * np.exp(powers)
    total = np.sum(terms, axis=axis, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.log(np.abs(total) if return_sign else total) + shift
    y, sign = (x if keepdims else np.squeeze(x, axis=axis) for x in (y, np.sign(total)))
    return (as_scalar(y), as_scalar(stop_gradient(sign))) if return_sign else as_scalar(y)


def log_softmax(x: ArrayLike, axis: Axis = None) -> Array:
    """``log(softmax(x))`` along an axis, several, or all, without overflow.

    `tapegrad.log_softmax` goes along the last axis by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.special import log_softmax
    >>> log_softmax(np.array([1000.0, 1.0]))
    array([   0., -999.])
    """
    return activation.log_softmax(x, axis)


def softmax(x: ArrayLike, axis: Axis = None) -> Array:
    """``exp(x)`` scaled to sum to 1 along an axis, several, or all, without overflow.

    `tapegrad.softmax` goes along the last axis by default.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.special import softmax
    >>> softmax(np.zeros((2, 2)))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    >>> softmax(np.zeros((2, 2)), axis=0)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    return activation.softmax(x, axis)


def multigammaln(a: ArrayLike, d: int) -> Array:
    """The logarithm of the multivariate gamma function.

    Parameters
    ----------
    a
        An array, of numbers above ``(d - 1) / 2``.
    d
        The dimension, a positive integer.

    Raises
    ------
    ValueError
        If `d` is no integer, or `a` is too small.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.special import multigammaln
    >>> tg.grad(multigammaln)(3.0, 2).round(6)
    np.float64(1.625941)
    """
    if np.ndim(d) or d != int(d):
        raise ValueError("multigammaln: d must be a positive integer, the dimension")
    d, values = int(d), values_if_known(a)
    if values is not None and np.any(values <= 0.5 * (d - 1)):
        raise ValueError(f"multigammaln: a must be above {0.5 * (d - 1)}, which is (d - 1) / 2")
    a = as_floating(a)
    terms = [_ops.gammaln(a - 0.5 * j) for j in range(d)]
    return as_scalar(sum(terms, a * 0 + d * (d - 1) * 0.25 * math.log(math.pi)))


def comb(N: ArrayLike, k: ArrayLike, *, exact: bool = False, repetition: bool = False) -> Any:
    """The number of combinations of N things taken k at a time; 0 for k below 0 or above N.

    Between whole numbers it is `binom`, as are its derivatives.

    Parameters
    ----------
    N, k
        Arrays.
    exact
        Whether to return an integer, which has no derivative.
    repetition
        Whether a thing may be taken more than once.

    Raises
    ------
    TypeError
        For a Tensor, if `exact`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.special import comb
    >>> tg.value_and_grad(lambda n: comb(n, 2))(5.0)
    (array(10.), array(4.5))
    """
    if exact:
        if isinstance(N, Tensor) or isinstance(k, Tensor):
            raise TypeError("comb: an exact integer has no derivative; write exact=False")
        return _scipys.comb(N, k, exact=True, repetition=repetition)
    n, k = to_array(N), to_array(k)
    if repetition:
        is_one = np.equal(k, 0) & np.greater_equal(n, 0)
        return as_scalar(np.where(is_one, 1.0, _ops.binom(np.where(is_one, 1, n + k - 1), k)))
    is_some = np.less_equal(k, n) & np.greater_equal(n, 0) & np.greater_equal(k, 0)
    chosen = _ops.binom(np.where(is_some, n, 1), np.where(is_some, k, 1))
    return as_scalar(np.where(is_some, chosen, 0.0))
