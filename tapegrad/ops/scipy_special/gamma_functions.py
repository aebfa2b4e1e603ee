"""The gamma function, its logarithm and its derivatives, and the zeta function.

The derivatives are in the DLMF (https://dlmf.nist.gov), chapters 5 and 25.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, log, pi, prod
from typing import Any

import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.core.forward import elementwise_jvp
from tapegrad.core.op import Op
from tapegrad.declare import op
from tapegrad.ops.scipy_special.ufuncs import (
    SCIPY_OPS,
    declare_special,
    derivative_op,
    result_type,
    scipy_function,
    special_op,
    split_order,
)
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["beta", "betaln", "binom", "digamma", "gamma", "gamma_rest", "gammaln", "gammasgn"]
__all__ += ["half_step_rest", "loggamma", "poch", "polygamma", "psi", "rgamma", "zeta"]

gamma: Op[Any] = special_op("gamma", lambda g, y, x: g * y * psi(x), at=1.8, complex=True)
gammaln: Op[Any] = special_op("gammaln", lambda g, y, x: g * psi(x), at=1.8)
loggamma: Op[Any] = special_op("loggamma", lambda g, y, x: g * psi(x), at=2.42, complex=True)


def _rgamma_slope(x: Array) -> Array:
    """Return ``-rgamma(x) * psi(x)``, by reflection where psi has poles."""
    is_left = np.less(x, 0.5)
    left, right = np.where(is_left, x, 0), np.where(is_left, 1, x)
    angle = np.pi * np.remainder(left, 2)
    reflected = np.cos(angle) - np.sin(angle) * psi(1 - left) / np.pi
    return np.where(is_left, gamma(1 - left) * reflected, -rgamma(right) * psi(right))


rgamma: Op[Any] = special_op("rgamma", lambda g, y, x: g * _rgamma_slope(x))


def _polygamma_vjp(g: Cotangent, y: Array, x: Array, order: int) -> Cotangent:
    return g * polygamma(order + 1, x)


@op(_polygamma_vjp, scipy="", read=lambda n, x: split_order(n, x), jvp=elementwise_jvp)
def polygamma(x: ArrayLike, order: ArrayLike) -> Array:  # noqa: D417, for it is called with n and x
    """A derivative of the digamma function: ``polygamma(n, x)``, computed by SciPy.

    SciPy's own function of this name does not take a Tensor.

    Parameters
    ----------
    n
        The order of the derivative, from 0 on; it is not differentiated.
    x
        An array.

    Raises
    ------
    ImportError
        If `scipy.special` has not been imported.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import scipy.special  # doctest: +SKIP
    >>> tg.grad(lambda x: tg.polygamma(0, x))(1.0).round(9)  # doctest: +SKIP
    np.float64(1.644934067)
    """
    return scipy_function("polygamma")(order, x)


SCIPY_OPS["polygamma"] = polygamma
psi: Op[Any] = special_op("psi", lambda g, y, x: g * polygamma(1, x), at=1.8, complex=True)
digamma = psi
# beyond this, a series has all digits, and the difference of large terms loses digits
_FAR = 10.0
_BERNOULLI = (
    *(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66),
    *(-691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330),
)


def _polygamma(order: int, x: Array) -> Array:
    """Return a derivative of the logarithm of the gamma function."""
    if order < 2:
        return scipy_function(("gammaln", "psi")[order])(x)
    return scipy_function("polygamma")(order - 1, x)


def _stirling_powers(order: int, x: Array) -> Array:
    """Return a derivative of ``x * log(x) - x``."""
    if order < 2:
        return np.log(x) if order else x * np.log(x) - x
    return (-1) ** order * factorial(order - 2) / x ** (order - 1)


def _series(order: int, x: Array, factor: Callable[[int], float]) -> Array:
    """Return a derivative of Stirling's series, with a factor for each term."""
    total: Any = 0.0
    for k in range(len(_BERNOULLI), 0, -1):
        falling = prod(1 - 2 * k - i for i in range(order))
        term = factor(k) * falling * _BERNOULLI[k - 1] / (2 * k * (2 * k - 1))
        total = total / x / x + term
    return total / x ** (order + 1)


def _select_by_size(
    x: Array, near: Callable[[Array], Array], far: Callable[[Array], Array]
) -> Array:
    """Call a function for small numbers, and another for large ones."""
    if np.all(x < _FAR):
        return near(x)
    return np.where(x < _FAR, near(np.minimum(x, _FAR)), far(np.maximum(x, _FAR)))


def _gamma_rest(order: int, x: Array) -> Array:
    def far(x: Array) -> Array:
        half = (_stirling_powers(order + 1, x) - (log(2 * pi) if not order else 0)) / 2
        return _series(order, x, lambda k: 1.0) - half

    return _select_by_size(x, lambda x: _polygamma(order, x) - _stirling_powers(order, x), far)


def _half_step_rest(order: int, x: Array) -> Array:
    def near(x: Array) -> Array:
        step = _polygamma(order, x + 0.5) - _polygamma(order, x)
        return step - _stirling_powers(order + 1, x) / 2

    return _select_by_size(x, near, lambda x: _series(order, x, lambda k: 2 / 4**k - 2))


def _declare_rest(name: str, fn: Callable[[int, Array], Array]) -> Op[Any]:
    """Declare the op of derivatives, from order 0, of a gamma function less its leading terms."""

    def forward(x: Array, order: int) -> Array:
        wide = np.asarray(x, np.float64)
        with np.errstate(all="ignore"):
            return fn(order, wide).astype(result_type(x))

    return derivative_op(name, forward)


# gammaln(x) less x * log(x) - x; and gammaln(x + 0.5) - gammaln(x) less log(x) / 2
gamma_rest = _declare_rest("gamma_rest", _gamma_rest)
half_step_rest = _declare_rest("half_step_rest", _half_step_rest)


def _psi_step(a: Array, b: Array) -> Array:
    """Return ``psi(a) - psi(a + b)``, without cancellation for a large `a`."""
    far = np.greater(a, _FAR) & np.greater(b, 0)
    x, step = np.where(far, a, _FAR), np.where(far, b, 1.0)
    rest = gamma_rest(1, x) - gamma_rest(1, x + step)
    return np.where(far, rest - np.log1p(step / x), psi(a) - psi(a + b))


beta: Op[Any] = special_op(
    "beta",
    lambda g, y, a, b: g * y * _psi_step(a, b),
    lambda g, y, a, b: g * y * _psi_step(b, a),
    at=2.42,
)
betaln: Op[Any] = special_op(
    "betaln",
    lambda g, y, a, b: g * _psi_step(a, b),
    lambda g, y, a, b: g * _psi_step(b, a),
    at=2.42,
)


def _where_zero(
    y: Array, at_zero: Callable[..., Array], otherwise: Callable[..., Array], *xs: Array
) -> Array:
    """Return a slope where the value is 0, and elsewhere the value times another function."""
    is_zero = np.equal(y, 0)
    zeros, others = ([np.where(is_of, x, 1) for x in xs] for is_of in (is_zero, ~is_zero))
    return np.where(is_zero, at_zero(*zeros), y * otherwise(*others))


# at a zero, one of the gamma functions has a pole, where its inverse has a slope
def _binom_slope_n(n: Array, k: Array) -> Array:
    rest = n - k + 1
    slope = psi(n + 1) * rgamma(rest) + _rgamma_slope(rest)
    return gamma(n + 1) * rgamma(k + 1) * slope


def _binom_slope_k(n: Array, k: Array) -> Array:
    rest = n - k + 1
    slopes = _rgamma_slope(k + 1) * rgamma(rest) - rgamma(k + 1) * _rgamma_slope(rest)
    return gamma(n + 1) * slopes


def _poch_slope_z(z: Array, m: Array) -> Array:
    return gamma(z + m) * (psi(z + m) * rgamma(z) + _rgamma_slope(z))


def _poch_log_slope(z: Array, m: Array) -> Array:
    """Return ``psi(z + m) - psi(z)``, by reflection where both have poles."""
    are_poles = np.less_equal(np.maximum(z, z + m), 0)
    for x in (z, m):
        are_poles = are_poles & np.equal(x, np.floor(x))
    step = _psi_step(np.where(are_poles, 1 - z - m, z), m)
    return np.where(are_poles, step, -step)


binom: Op[Any] = special_op(
    "binom",
    lambda g, y, n, k: (
        g * _where_zero(y, _binom_slope_n, lambda n, k: _poch_log_slope(n - k + 1, k), n, k)
    ),
    lambda g, y, n, k: (
        g * _where_zero(y, _binom_slope_k, lambda n, k: psi(n - k + 1) - psi(k + 1), n, k)
    ),
    at=(4.5, 1.5),
)
poch: Op[Any] = special_op(
    "poch",
    lambda g, y, z, m: g * _where_zero(y, _poch_slope_z, _poch_log_slope, z, m),
    lambda g, y, z, m: g * y * psi(z + m),
    at=2.42,
)
gammasgn: Op[Any] = special_op("gammasgn", None)


def _read_zeta(
    x: ArrayLike, q: ArrayLike | None = None, out: object = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if q is None or out is not None:
        raise TypeError("zeta has a derivative by its second argument alone: call zeta(x, q)")
    return (q,), {"x": x}


def _zeta(q: Array, x: Array) -> Array:
    return scipy_function("zeta")(x, q)


zeta: Op[Any] = declare_special(
    "zeta",
    _zeta,
    lambda g, y, q, x: g * -x * zeta(x + 1, q),
    read=_read_zeta,
    scipy="",
    example="lambda q: scipy.special.zeta(2, q), [1.5]",
)
# the ufunc that SciPy's function calls, which has no public name
answers(["scipy.special._ufuncs._zeta"], zeta)
