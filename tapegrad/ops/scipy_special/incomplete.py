"""The incomplete gamma and beta functions, by every argument, and Student's t distribution.

A derivative by a parameter is an integral over a tail of the distribution: of the density, times a
polynomial in the derivatives of its logarithm. Over the shorter tail the integrand of the first one
has one sign, so that nothing cancels, however small the tail is. Substitutions are those of the
double exponential formulas (H. Takahasi, M. Mori, 1974).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from importlib import import_module
from math import comb
from typing import Any

import numpy as np

from tapegrad.core.op import Op
from tapegrad.declare.domain import Call, Choices, Elements, each
from tapegrad.ops.scipy_special.gamma_functions import beta, betaln, gammaln, polygamma, psi
from tapegrad.ops.scipy_special.normal import xlog1py, xlogy
from tapegrad.ops.scipy_special.ufuncs import declared, result_type, scipys, special

__all__ = ["beta_density", "betainc", "betainc_derivative", "betaincc", "betainccinv"]
__all__ += ["betaincinv", "gamma_density", "gammainc", "gammainc_derivative", "gammaincc"]
__all__ += ["gammainccinv", "gammaincinv", "stdtr", "stdtrit", "t_log_density"]
__all__ += ["binom_isf", "binom_ppf", "poisson_isf", "poisson_ppf"]

# --- integrals over a tail -----------------------------------------------------------------

# of the nodes, on a logarithmic scale
_STEP = 0.1
# elements that are integrated at a time, since each has a column of nodes
_BLOCK = 2048


def _mean(
    log_weight: Callable[[Any], Any], moment: Callable[[Any], Any], shape: Any, rate: Any = 1.0
) -> Any:
    """The mean of a moment from 0 to infinity, where the logarithm of a weight falls from 0.

    Both are functions of an array whose last axis is that of the elements. If the shape is below
    one, the logarithm is not concave, but falls fast and then slowly, by less than this rate.
    """
    reach = np.log(np.max(np.where(shape < 1, np.clip(1 / rate, 1, 1e12), 1)))
    grid = np.arange(-3.8, 4.6 + reach, _STEP)[:, None]
    nodes = np.exp(grid - np.exp(-grid))
    # the scale on which the weight falls, to a power of two
    low, high = np.array([-200.0]), np.array([200.0])
    for _ in range(9):
        middle = (low + high) / 2
        has_fallen = log_weight(np.exp2(middle)) < -1
        low, high = np.where(has_fallen, low, middle), np.where(has_fallen, middle, high)
    s = np.exp2(high) * nodes
    weights = nodes * (1 + np.exp(-grid)) * np.exp(log_weight(s))
    return np.sum(weights * moment(s), axis=0) / np.sum(weights, axis=0)


def _moment(cumulant: Callable[[int, int], Any], m: int, n: int = 0) -> Any:
    """The derivative of a density, m and n times by two parameters, divided by the density.

    ``cumulant(i, j)`` is that of its logarithm. This is the complete Bell polynomial.
    """
    if not m and not n:
        return 1.0
    i, j = (1, 0) if m else (0, 1)
    terms = [
        comb(m - i, p)
        * comb(n - j, q)
        * _moment(cumulant, m - i - p, n - j - q)
        * cumulant(i + p, j + q)
        for p in range(m - i + 1)
        for q in range(n - j + 1)
    ]
    return functools.reduce(operator.add, terms)


def _psi(order: int, x: Any) -> Any:
    return polygamma(order, x) if order else psi(x)


def _elementwise(fn: Callable[..., Any], *xs: Any) -> Any:
    """A function of float64 vectors on blocks of the broadcast operands."""
    dtype = result_type(*xs)
    xs = tuple(np.broadcast_arrays(*[np.asarray(x, np.float64) for x in xs]))
    flat, y = [x.ravel() for x in xs], np.empty(xs[0].size)
    with np.errstate(all="ignore"):
        for start in range(0, y.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            y[block] = fn(*[x[block] for x in flat])
    return y.reshape(xs[0].shape).astype(dtype)


# --- the incomplete gamma function ---------------------------------------------------------


def gamma_density(a: Any, x: Any) -> Any:
    """The density of the gamma distribution: the slope of `gammainc`."""
    return np.exp(xlogy(a - 1, x) - x - gammaln(a))


def _gamma_cumulant(a: Any, log_t: Any) -> Callable[[int, int], Any]:
    return functools.cache(lambda i, j: log_t - psi(a) if i == 1 else -polygamma(i - 1, a))


def _gammainc_derivative(a: Any, x: Any, order: int) -> Any:
    """On vectors."""

    def below(a: Any, x: Any) -> Any:
        # t = x * exp(-s)
        return scipys("gammainc")(a, x) * _mean(
            lambda s: -a * s - x * np.expm1(-s),
            lambda s: _moment(_gamma_cumulant(a, np.log(x) - s), order),
            1.0,
        )

    def above(a: Any, x: Any) -> Any:
        # t = x + s
        return -scipys("gammaincc")(a, x) * _mean(
            lambda s: (a - 1) * np.log1p(s / x) - s,
            lambda s: _moment(_gamma_cumulant(a, np.log(x) + np.log1p(s / x)), order),
            a,
            x,
        )

    return _by_side(x < a, below, above, (x > 0) & (x < np.inf), a, x)


def _by_side(is_below: Any, below: Any, above: Any, inside: Any, *xs: Any) -> Any:
    """One function on the elements of a side, the other on the rest, and 0 outside."""
    y = np.where(np.isnan(functools.reduce(operator.add, xs)), np.nan, 0.0)
    for fn, side in ((below, is_below & inside), (above, ~is_below & inside)):
        if np.any(side):
            y[side] = fn(*[x[side] for x in xs])
    return y


def _order_and_two(order: Any, a: Any, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (a, x), {"order": order}


_SHAPE = Elements(0.25, 8.0)
_TIMES = Elements(0.125, 12.0)


def _gamma_calls(choose: Choices) -> Call:
    return Call((choose.integer(1, 2), *each(_SHAPE, _TIMES)(choose).args))


gammainc_derivative: Op[Any] = declared(
    "gammainc_derivative",
    lambda a, x, order: _elementwise(lambda a, x: _gammainc_derivative(a, x, order), a, x),
    lambda g, y, a, x, order: g * gammainc_derivative(order + 1, a, x),
    lambda g, y, a, x, order: (
        g * gamma_density(a, x) * _moment(_gamma_cumulant(a, np.log(x)), order)
    ),
    domain=_gamma_calls,
    read=_order_and_two,
    scipy="",
)
gammainc: Op[Any] = special(
    "gammainc",
    lambda g, y, a, x: g * gammainc_derivative(1, a, x),
    lambda g, y, a, x: g * gamma_density(a, x),
    domain=(_SHAPE, _TIMES),
)
gammaincc: Op[Any] = special(
    "gammaincc",
    lambda g, y, a, x: -g * gammainc_derivative(1, a, x),
    lambda g, y, a, x: -g * gamma_density(a, x),
    domain=(_SHAPE, _TIMES),
)
_PROBABILITY = Elements(0.0625, 0.9375)
gammaincinv: Op[Any] = special(
    "gammaincinv",
    lambda g, y, a, p: -g * gammainc_derivative(1, a, y) / gamma_density(a, y),
    lambda g, y, a, p: g / gamma_density(a, y),
    domain=(_SHAPE, _PROBABILITY),
)
gammainccinv: Op[Any] = special(
    "gammainccinv",
    lambda g, y, a, p: -g * gammainc_derivative(1, a, y) / gamma_density(a, y),
    lambda g, y, a, p: -g / gamma_density(a, y),
    domain=(_SHAPE, _PROBABILITY),
)

# --- the incomplete beta function ----------------------------------------------------------


def beta_density(a: Any, b: Any, x: Any) -> Any:
    """The density of the beta distribution: the slope of `betainc`."""
    return np.exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b))


def _beta_cumulant(a: Any, b: Any, log_t: Any, log_rest: Any) -> Callable[[int, int], Any]:
    @functools.cache
    def cumulant(i: int, j: int) -> Any:
        found = _psi(i + j - 1, a + b)
        if not j:
            found = found - _psi(i - 1, a)
        if not i:
            found = found - _psi(j - 1, b)
        return found + (log_t if (i, j) == (1, 0) else log_rest) if i + j == 1 else found

    return cumulant


def _betainc_derivative(a: Any, b: Any, x: Any, m: int, n: int) -> Any:
    """On vectors."""

    def below(a: Any, b: Any, x: Any, m: int = m, n: int = n) -> Any:
        # t = x * exp(-s)
        def moment(s: Any) -> Any:
            return _moment(_beta_cumulant(a, b, np.log(x) - s, np.log1p(-x * np.exp(-s))), m, n)

        def log_weight(s: Any) -> Any:
            return (b - 1) * np.log1p(x * -np.expm1(-s) / (1 - x)) - a * s

        return scipys("betainc")(a, b, x) * _mean(log_weight, moment, b, b)

    def above(a: Any, b: Any, x: Any) -> Any:
        return -below(b, a, 1 - x, n, m)

    return _by_side(x * (a + b) < a, below, above, (x > 0) & (x < 1), a, b, x)


def _orders_and_three(
    m: Any, n: Any, a: Any, b: Any, x: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (a, b, x), {"m": m, "n": n}


def _beta_calls(choose: Choices) -> Call:
    args = each(_SHAPE, _SHAPE, _PROBABILITY)(choose).args
    return Call((*choose.among([(1, 0), (0, 1)]), *args))


betainc_derivative: Op[Any] = declared(
    "betainc_derivative",
    lambda a, b, x, m, n: _elementwise(lambda a, b, x: _betainc_derivative(a, b, x, m, n), a, b, x),
    lambda g, y, a, b, x, m, n: g * betainc_derivative(m + 1, n, a, b, x),
    lambda g, y, a, b, x, m, n: g * betainc_derivative(m, n + 1, a, b, x),
    lambda g, y, a, b, x, m, n: (
        g * beta_density(a, b, x) * _moment(_beta_cumulant(a, b, np.log(x), np.log1p(-x)), m, n)
    ),
    domain=_beta_calls,
    read=_orders_and_three,
    scipy="",
)


def _beta_family(name: str, sign: int, is_inverse: bool = False) -> Op[Any]:
    """The function or its complement (by the sign), or its inverse."""

    def by_parameter(m: int, n: int) -> Any:
        def vjp(g: Any, y: Any, a: Any, b: Any, x: Any) -> Any:
            if not is_inverse:
                return sign * g * betainc_derivative(m, n, a, b, x)
            return -g * betainc_derivative(m, n, a, b, y) / beta_density(a, b, y)

        return vjp

    def by_x(g: Any, y: Any, a: Any, b: Any, x: Any) -> Any:
        return sign * (g / beta_density(a, b, y) if is_inverse else g * beta_density(a, b, x))

    domain = (_SHAPE, _SHAPE, _PROBABILITY)
    return special(name, by_parameter(1, 0), by_parameter(0, 1), by_x, domain=domain)


betainc = _beta_family("betainc", 1)
betaincc = _beta_family("betaincc", -1)
betaincinv = _beta_family("betaincinv", 1, is_inverse=True)
betainccinv = _beta_family("betainccinv", -1, is_inverse=True)

# --- Student's t distribution --------------------------------------------------------------


def t_log_density(df: Any, t: Any) -> Any:
    """The logarithm of the density of Student's t distribution."""
    return -betaln(df / 2, 0.5) - np.log(df) / 2 - (df + 1) / 2 * np.log1p(t * t / df)


def _stdtr_slope(df: Any, t: Any) -> Any:
    """The slope of `stdtr` by the degrees of freedom.

    It is that of the incomplete beta function, whose argument depends on them too. Near 0 the
    slope is linear in `t`, to rounding.
    """
    is_near = np.less(np.absolute(t), 1e-8)
    size = np.where(is_near, 1, np.absolute(t))
    total = df + size * size
    is_small = np.less(size * size, df)
    # what is at most one half, so that the complement is not the result of a subtraction
    w = np.where(is_small, size * size, df) / total
    half = df / 2
    inner = betainc_derivative(0, 1, 0.5, half, np.where(is_small, w, 0.25))
    outer = -betainc_derivative(1, 0, half, 0.5, np.where(is_small, 0.25, w))
    moved = size * np.exp((half - 1) * np.log(df / total) - 1.5 * np.log(total)) / beta(half, 0.5)
    far = np.sign(t) / 2 * (np.where(is_small, inner, outer) / 2 - moved)
    by_df = (psi(half + 0.5) - psi(half)) / 2 - 0.5 / df
    return np.where(is_near, t * np.exp(t_log_density(df, 0.0 * t)) * by_df, far)


_T = (Elements(0.5, 8.0), Elements(-4.0, 4.0))
stdtr: Op[Any] = special(
    "stdtr",
    lambda g, y, df, t: g * _stdtr_slope(df, t),
    lambda g, y, df, t: g * np.exp(t_log_density(df, t)),
    domain=_T,
)
stdtrit: Op[Any] = special(
    "stdtrit",
    lambda g, y, df, p: -g * _stdtr_slope(df, y) / np.exp(t_log_density(df, y)),
    lambda g, y, df, p: g / np.exp(t_log_density(df, y)),
    domain=(_T[0], _PROBABILITY),
)

# --- quantiles of counts -------------------------------------------------------------------


def _steps(name: str, method: str, *parameters: Elements) -> Op[Any]:
    """The op of a quantile of counts, which passes no gradient: it is a step."""

    def of_one(q: Any, x1: Any) -> Any:
        return getattr(getattr(import_module("scipy.stats"), name), method)(q, x1)

    def of_two(q: Any, x1: Any, x2: Any) -> Any:
        return getattr(getattr(import_module("scipy.stats"), name), method)(q, x1, x2)

    nothing = (None,) * (1 + len(parameters))
    domain = each(_PROBABILITY, *parameters)
    forward = (of_one, of_two)[len(parameters) - 1]
    return declared(f"{name}_{method}", forward, *nothing, domain=domain, scipy="")


poisson_ppf = _steps("poisson", "ppf", _SHAPE)
poisson_isf = _steps("poisson", "isf", _SHAPE)
binom_ppf = _steps("binom", "ppf", _SHAPE, _PROBABILITY)
binom_isf = _steps("binom", "isf", _SHAPE, _PROBABILITY)
