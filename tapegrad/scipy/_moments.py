"""The means, variances and entropies of distributions, by their shape parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from tapegrad.ops.casting import stop_gradient
from tapegrad.ops.scipy_special.bessel import ive_derivative
from tapegrad.ops.scipy_special.gamma_functions import gamma_rest, half_step_rest
from tapegrad.scipy import special
from tapegrad.types import Array, ArrayLike

__all__ = [
    "expm1_ratio",
    "integrate",
    "log1p_ratio",
    "moments",
    "truncated_normal",
    "vonmises_terms",
]
__dir__ = __all__.copy

_INF = math.inf
_LOG_2 = math.log(2)
_LOG_SQRT_2PI = math.log(2 * math.pi) / 2
_NORMAL = _LOG_SQRT_2PI + 0.5  # the entropy of a normal distribution
# from 0 to 1, for analytic functions that fall by less than exp(100)
_NODES, _WEIGHTS = [x / 2 for x in np.polynomial.legendre.leggauss(64)]
# gammaln(1 + c) is -_EULER * c and the sum of _ZETAS * c**_POWERS
_EULER, _POWERS = np.euler_gamma, np.arange(2.0, 27.0)
_ZETAS = (-1) ** _POWERS / _POWERS * import_module("scipy.special").zeta(_POWERS)


def integrate(fn: Callable[[Array], Array], low: Array | float, width: Array) -> Array:
    """An integral over an interval, as a sum along a further axis, which stays with length 1."""
    return np.sum(_WEIGHTS * width * fn(low + width * (_NODES + 0.5)), axis=-1, keepdims=True)


def expm1_ratio(x: Array, c: Array) -> Array:
    """``expm1(c * x) / c``, whose limit at 0 is x."""
    total: Any = 1.0
    is_near = np.less(np.absolute(c * x), 0.02)
    near = np.where(is_near, c * x, 0)
    for k in range(9, 1, -1):
        total = 1 + near / k * total
    far = np.expm1(np.where(is_near, 1, c * x)) / np.where(is_near, 1, c)
    return np.where(is_near, x * total, far)


def log1p_ratio(c: Array, y: Array, weight: Array | float = 1.0) -> Array:
    """``weight * log1p(c * y) / c``, which is ``weight * y`` at 0, and has no slope at -1."""
    product = c * y
    total: Any = 0.0
    is_near = np.less(np.absolute(product), 0.02)
    near = np.where(is_near, product, 0)
    for k in range(10, 0, -1):
        total = 1 / k - near * total
    at_end = np.less_equal(product, -1)
    inner = np.where(is_near | at_end, 1, product)
    far = special.xlog1py(weight, inner) / np.where(is_near, 1, c)
    end = np.where(np.equal(weight, 0), 0, np.where(np.greater(weight * c, 0), -_INF, _INF))
    return np.where(is_near, weight * y * total, np.where(at_end, end, far))


def _apply_above(
    c: Array, low: float, fn: Callable[[Array], Any], otherwise: float = _INF
) -> Array:
    """A function of c where it is above a number."""
    exists = np.greater(c, low)
    return np.where(exists, fn(np.where(exists, c, low + 1)), otherwise)


def _gamma_entropy(a: Array) -> Array:
    """The entropy of a gamma distribution."""
    return gamma_rest(0, a) + np.log(a) + (1 - a) * gamma_rest(1, a)


def _beta_entropy(a: Array, b: Array) -> Array:
    return _gamma_entropy(a) + _gamma_entropy(b) - _gamma_entropy(a + b) - special.psi(a + b)


def _t_entropy(df: Array) -> Array:
    df = np.minimum(df, 1e300)
    step = half_step_rest(1, df / 2) + 1 / df
    return (df + 1) / 2 * step - half_step_rest(0, df / 2) + _LOG_SQRT_2PI


def _f_entropy(m: Array, n: Array) -> Array:
    share = special.psi(n / 2) - special.psi((m + n) / 2)
    return _beta_entropy(m / 2, n / 2) + np.log(n / m) - 2 * share


def _apply_near_zero(c: Array, terms: Array, fn: Callable[[Array], Array]) -> Array:
    """A function of c, by a series next to 0."""
    is_near = np.less(np.absolute(c), 0.1)
    series = np.polyval(terms[::-1], np.where(is_near, c, 0))
    return np.where(is_near, series, fn(np.where(is_near, 1, c)))


def _gammaln_ratio(c: Array) -> Array:
    """``gammaln(1 + c) / c``."""
    return _apply_near_zero(c, np.append(-_EULER, _ZETAS), lambda c: special.gammaln(1 + c) / c)


def _gamma_variance_ratio(c: Array) -> Array:
    """``(gamma(1 + 2 * c) - gamma(1 + c)**2) / c**2``."""
    terms = _ZETAS * (2 ** (_POWERS - 1) - 1)
    step = _apply_near_zero(c, terms, lambda c: (_gammaln_ratio(2 * c) - _gammaln_ratio(c)) / c)
    return np.exp(2 * c * _gammaln_ratio(c)) * expm1_ratio(2 * step, c * c)


def vonmises_terms(kappa: Array) -> tuple[Array, Array]:
    """The logarithm of ``i0e(kappa)``, and ``kappa * (1 - i1(kappa) / i0(kappa))``."""
    is_near = np.less(kappa, 1)
    near, far = np.where(is_near, kappa, 0), np.where(is_near, 1, kappa)
    log = np.where(is_near, np.log(special.i0(near)) - near, np.log(special.i0e(far)))
    rest = near - near * special.i1(near) / special.i0(near)
    return log, np.where(is_near, rest, -far * ive_derivative(1, 0, far) / special.i0e(far))


def truncated_normal(a: Array, b: Array) -> tuple[Array, Array, Array, Array, Array]:
    """The normal distribution between two numbers.

    Returns the one next to 0, or 0 between them; the logarithm of the probability, times
    ``exp(point**2 / 2)``; the mean, the variance and the entropy.
    """
    is_left = np.less(b, -a)
    low, high = np.where(is_left, -b, a), np.where(is_left, -a, b)
    is_far = np.greater(low, 0)
    # beyond there is next to nothing
    edge, start = np.where(is_far, low, 0), np.where(is_far, 0, np.maximum(low, -10))
    width = np.minimum(high - edge - start, 100 / (edge + 10) - start)
    edge, start, width = (np.expand_dims(x, -1) for x in (edge, start, width))
    known = stop_gradient(width)

    def fall(u: Array) -> Array:
        return (start + u) * (edge + (start + u) / 2)

    def integrate_weighted(fn: Callable[[Array], Array | float]) -> Array:
        def product(u: Array) -> Array:
            return np.exp(-fall(u)) * fn(u)

        # the second is 0; the slope by the far end is the density there, however small
        return integrate(product, 0, known) + integrate(product, known, width - known)

    mass = integrate_weighted(lambda u: 1)
    has_mass = np.not_equal(mass, 0)
    mass = np.where(has_mass, mass, 1)
    log_mass = np.where(has_mass, np.log(mass), -_INF)
    step = integrate_weighted(lambda u: u) / mass
    squares, falls = (
        integrate_weighted(lambda u: np.square(u - step)) / mass,
        integrate_weighted(fall) / mass,
    )
    point, mean, log, var, entropy = (
        x[..., 0] for x in (edge, edge + start + step, log_mass, squares, log_mass + falls)
    )
    sign = np.where(is_left, -1, 1)
    return sign * point, log - _LOG_SQRT_2PI, sign * mean, var, entropy


def _skewnorm_moments(a: Array) -> tuple[Array, Array, float]:
    mean = math.sqrt(2 / math.pi) * (a / np.hypot(1, a))
    return mean, 1 - np.square(mean), math.nan


def moments(
    name: str, shapes: Sequence[ArrayLike], loc: Array | float, scale: Array | float
) -> tuple[Array, Array, Array]:
    """The mean, the variance and the entropy of a distribution."""
    mean, var, entropy = _MOMENTS[name](*shapes)
    return mean * scale + loc, var * scale * scale, entropy + np.log(np.absolute(scale))


# by the distribution's name; nan for what it lacks
_MOMENTS: Mapping[str, Callable[..., tuple[Any, Any, Any]]] = {
    "norm": lambda: (0.0, 1.0, _NORMAL),
    "t": lambda df: (
        _apply_above(df, 1, lambda df: 0.0),
        np.where(np.greater(df, 1), _apply_above(df, 2, lambda df: 1 / (1 - 2 / df)), np.nan),
        _t_entropy(df),
    ),
    "gamma": lambda a: (a, a, _gamma_entropy(a)),
    "chi2": lambda df: moments("gamma", (df / 2,), 0, 2.0),
    "beta": lambda a, b: (
        a / (a + b),
        a / (a + b) * (b / (a + b)) / (a + b + 1),
        _beta_entropy(a, b),
    ),
    "expon": lambda: (1.0, 1.0, 1.0),
    "lognorm": lambda s: (np.exp(s * s / 2), np.exp(s * s) * np.expm1(s * s), np.log(s) + _NORMAL),
    "uniform": lambda: (0.5, 1 / 12, 0.0),
    "laplace": lambda: (0.0, 2.0, _LOG_2 + 1),
    "logistic": lambda: (0.0, math.pi**2 / 3, 2.0),
    "cauchy": lambda: (math.nan, math.nan, math.log(4 * math.pi)),
    "halfcauchy": lambda: (_INF, _INF, math.log(2 * math.pi)),
    "halfnorm": lambda: (math.sqrt(2 / math.pi), 1 - 2 / math.pi, _NORMAL - _LOG_2),
    "gumbel_l": lambda: (-_EULER, math.pi**2 / 6, _EULER + 1),
    "gumbel_r": lambda: (_EULER, math.pi**2 / 6, _EULER + 1),
    "weibull_min": lambda c: moments("genextreme", (1 / c,), 1, -1 / c),
    "pareto": lambda b: (
        _apply_above(b, 1, lambda b: b / (b - 1)),
        _apply_above(b, 2, lambda b: b / (b - 2) / (b - 1) / (b - 1)),
        1 + 1 / b - np.log(b),
    ),
    "invgamma": lambda a: (
        _apply_above(a, 1, lambda a: 1 / (a - 1)),
        _apply_above(a, 2, lambda a: 1 / (a - 2) / (a - 1) / (a - 1)),
        _gamma_entropy(a) - 2 * special.psi(a),
    ),
    "genpareto": lambda c: (
        _apply_above(-c, -1, lambda d: 1 / (1 + d)),
        _apply_above(-c, -0.5, lambda d: 1 / (1 + 2 * d) / (1 + d) / (1 + d), math.nan),
        1 + c,
    ),
    "genextreme": lambda c: (
        np.where(c < -1, np.nan, _apply_above(c, -1, lambda c: -expm1_ratio(_gammaln_ratio(c), c))),
        np.where(c < -0.5, np.nan, _apply_above(c, -0.5, _gamma_variance_ratio)),
        _EULER * (1 - c) + 1,
    ),
    "f": lambda m, n: (
        _apply_above(n, 2, lambda n: n / (n - 2)),
        _apply_above(n, 4, lambda n: 2 * ((m + n - 2) / m) / (n - 4) * np.square(n / (n - 2))),
        _f_entropy(m, n),
    ),
    "triang": lambda c: ((1 + c) / 3, (1 - c + c * c) / 18, 0.5 - _LOG_2),
    "truncnorm": lambda a, b: truncated_normal(a, b)[2:],
    "skewnorm": _skewnorm_moments,
    "invgauss": lambda mu: (
        mu,
        mu * mu * mu,
        0.5 + _LOG_SQRT_2PI + 1.5 * (np.log(mu) - special.hyperu(1, 1, 2 / mu)),
    ),
    "vonmises": lambda kappa: (0.0, math.nan, sum(vonmises_terms(kappa), 2 * _LOG_SQRT_2PI)),
    "poisson": lambda mu: (mu, mu, math.nan),
    "binom": lambda n, p: (n * p, n * p * (1 - p), math.nan),
    "bernoulli": lambda p: (p, p * (1 - p), special.entr(p) + special.entr(1 - p)),
    "nbinom": lambda n, p: (n * (1 - p) / p, n * (1 - p) / p / p, math.nan),
    "geom": lambda p: (1 / p, (1 - p) / p / p, -np.log(p) - special.xlog1py(1 - p, -p) / p),
    "betabinom": lambda n, a, b: (
        n * (a / (a + b)),
        n * (a / (a + b)) * (b / (a + b)) * ((a + b + n) / (a + b + 1)),
        math.nan,
    ),
}
