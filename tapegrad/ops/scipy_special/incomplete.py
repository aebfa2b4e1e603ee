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
from tapegrad.domain import Call, Choices, Elements, each
from tapegrad.ops.scipy_special.gamma_functions import beta, betaln, gammaln, polygamma, psi
from tapegrad.ops.scipy_special.normal import xlog1py, xlogy
from tapegrad.ops.scipy_special.ufuncs import declared, result_type, scipys, special

__all__ = ["beta_density", "betainc", "betainc_derivative", "betaincc", "betainccinv"]
__all__ += ["betaincinv", "gamma_density", "gammainc", "gammainc_derivative", "gammaincc"]
__all__ += ["gammainccinv", "gammaincinv", "stdtr", "stdtrit", "t_log_density"]
__all__ += ["log_betainc", "log_betaincc", "log_gammainc", "log_gammaincc"]
__all__ += ["betainc_mean", "betaincc_mean", "gammainc_mean", "gammaincc_mean"]
__all__ += ["binom_isf", "binom_ppf", "poisson_isf", "poisson_ppf"]

# --- integrals over a tail -----------------------------------------------------------------

# of the nodes, on a logarithmic scale
_STEP = 0.1
# elements that are integrated at a time, since each has a column of nodes
_BLOCK = 2048


def _mean(
    log_weight: Callable[[Any], Any],
    moment: Callable[[Any], Any] | None,
    shape: Any,
    rate: Any = 1.0,
) -> Any:
    """The mean of a moment from 0 to infinity, where the logarithm of a weight falls from 0.

    Without a moment, the logarithm of the integral of the weight.

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
    total = np.sum(weights, axis=0)
    if moment is None:
        return np.log(_STEP * total) + np.log(2) * high
    return np.sum(weights * moment(s), axis=0) / total


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


# a derivative of a probability, or that divided by the probability or by its complement
_DERIVATIVE, _OF_LOG, _OF_LOG_REST = "derivative", "log", "log of the rest"


def _scaled(mean: Any, of: str, is_below: bool, own: Any, rest: Any) -> Any:
    """What is asked for, of a mean over the tail with the probability `own`."""
    if of == (_OF_LOG if is_below else _OF_LOG_REST):
        return mean
    sign = 1 if is_below and of == _DERIVATIVE else -1
    return sign * own * mean / (1 if of == _DERIVATIVE else rest)


def _gammainc_derivative(a: Any, x: Any, order: int, of: str = _DERIVATIVE) -> Any:
    """On vectors."""

    def below(a: Any, x: Any) -> Any:
        # t = x * exp(-s)
        mean = _mean(
            lambda s: -a * s - x * np.expm1(-s),
            lambda s: _moment(_gamma_cumulant(a, np.log(x) - s), order),
            1.0,
        )
        return _scaled(mean, of, True, scipys("gammainc")(a, x), scipys("gammaincc")(a, x))

    def above(a: Any, x: Any) -> Any:
        # t = x + s
        mean = _mean(
            lambda s: (a - 1) * np.log1p(s / x) - s,
            lambda s: _moment(_gamma_cumulant(a, np.log(x) + np.log1p(s / x)), order),
            a,
            x,
        )
        return _scaled(mean, of, False, scipys("gammaincc")(a, x), scipys("gammainc")(a, x))

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


def _few(choose: Choices, *kinds: Elements) -> list[Any]:
    """Operands of few elements, each of which takes some hundred evaluations."""
    shapes = choose.broadcastable(len(kinds), max_dims=1, max_side=2)
    return [choose.array(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]


def _gamma_calls(choose: Choices) -> Call:
    return Call((choose.integer(1, 2), *_few(choose, _SHAPE, _TIMES)))


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

# --- its logarithm, which does not underflow -----------------------------------------------

# below this a logarithm of a probability loses digits
_TINY = 1e-290


def _log_or(p: Any, rest: Any, tail: Callable[[Any], Any]) -> Any:
    """The logarithm of p; where p has underflowed, that of the tail, by the elements there."""
    y = np.where(p > 0.5, np.log1p(-rest), np.log(p))
    tiny = p < _TINY
    if np.any(tiny):
        y[tiny] = tail(tiny)
    return y


def _log_gamma(a: Any, x: Any, is_below: bool) -> Any:
    """On vectors."""

    def tail(at: Any) -> Any:
        t, z = a[at], x[at]
        front = (t if is_below else t - 1) * np.log(z) - z - gammaln(t)
        if is_below:
            return front + _mean(lambda s: -t * s - z * np.expm1(-s), None, 1.0)
        return front + _mean(lambda s: (t - 1) * np.log1p(s / z) - s, None, t, z)

    found = [scipys(name)(a, x) for name in ("gammainc", "gammaincc")]
    p, rest = found if is_below else found[::-1]
    return _log_or(p, rest, tail)


def _log_family(name: str, is_below: bool) -> tuple[Op[Any], Op[Any]]:
    """The logarithm of a probability, and the derivatives of the probability divided by it."""
    sign = 1 if is_below else -1
    of = _OF_LOG if is_below else _OF_LOG_REST

    def hazard(y: Any, a: Any, x: Any) -> Any:
        return np.exp(xlogy(a - 1, x) - x - gammaln(a) - y)

    def mean_by_x(g: Any, y: Any, a: Any, x: Any, order: int) -> Any:
        moment = _moment(_gamma_cumulant(a, np.log(x)), order)
        return sign * g * hazard(log(a, x), a, x) * (moment - y)

    mean: Op[Any] = declared(
        f"{name}_mean",
        lambda a, x, order: _elementwise(lambda a, x: _gammainc_derivative(a, x, order, of), a, x),
        lambda g, y, a, x, order: g * (mean(order + 1, a, x) - y * mean(1, a, x)),
        mean_by_x,
        domain=_gamma_calls,
        read=_order_and_two,
        scipy="",
    )
    log: Op[Any] = declared(
        f"log_{name}",
        lambda a, x: _elementwise(lambda a, x: _log_gamma(a, x, is_below), a, x),
        lambda g, y, a, x: g * mean(1, a, x),
        lambda g, y, a, x: sign * g * hazard(y, a, x),
        domain=each(_SHAPE, _TIMES),
        scipy="",
    )
    return log, mean


log_gammainc, gammainc_mean = _log_family("gammainc", True)
log_gammaincc, gammaincc_mean = _log_family("gammaincc", False)

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


def _betainc_derivative(a: Any, b: Any, x: Any, m: int, n: int, of: str = _DERIVATIVE) -> Any:
    """On vectors."""

    def below(a: Any, b: Any, x: Any, m: int, n: int, is_below: bool) -> Any:
        # t = x * exp(-s)
        def moment(s: Any) -> Any:
            return _moment(_beta_cumulant(a, b, np.log(x) - s, np.log1p(-x * np.exp(-s))), m, n)

        mean = _mean(lambda s: _log_beta_weight(a, b, x, s), moment, b, b)
        own, rest = scipys("betainc")(a, b, x), scipys("betaincc")(a, b, x)
        return _scaled(mean, of, is_below, own, rest)

    return _by_side(
        x * (a + b) < a,
        lambda a, b, x: below(a, b, x, m, n, True),
        lambda a, b, x: below(b, a, 1 - x, n, m, False),
        (x > 0) & (x < 1),
        a,
        b,
        x,
    )


def _log_beta_weight(a: Any, b: Any, x: Any, s: Any) -> Any:
    return (b - 1) * np.log1p(x * -np.expm1(-s) / (1 - x)) - a * s


def _orders_and_three(
    m: Any, n: Any, a: Any, b: Any, x: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (a, b, x), {"m": m, "n": n}


def _beta_calls(choose: Choices) -> Call:
    orders = choose.among([(1, 0), (0, 1)])
    return Call((*orders, *_few(choose, _SHAPE, _SHAPE, _PROBABILITY)))


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


def _log_beta(a: Any, b: Any, x: Any) -> Any:
    """On vectors."""

    def tail(at: Any) -> Any:
        p, q, z = a[at], b[at], x[at]
        front = p * np.log(z) + (q - 1) * np.log1p(-z) - betaln(p, q)
        return front + _mean(lambda s: _log_beta_weight(p, q, z, s), None, q, q)

    return _log_or(scipys("betainc")(a, b, x), scipys("betaincc")(a, b, x), tail)


def _log_beta_family(name: str, is_below: bool) -> tuple[Op[Any], Op[Any]]:
    """As `_log_family`."""
    sign = 1 if is_below else -1
    of = _OF_LOG if is_below else _OF_LOG_REST

    def hazard(y: Any, a: Any, b: Any, x: Any) -> Any:
        return np.exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b) - y)

    def mean_by_x(g: Any, y: Any, a: Any, b: Any, x: Any, m: int, n: int) -> Any:
        moment = _moment(_beta_cumulant(a, b, np.log(x), np.log1p(-x)), m, n)
        return sign * g * hazard(log(a, b, x), a, b, x) * (moment - y)

    def forward(a: Any, b: Any, x: Any) -> Any:
        if is_below:
            return _elementwise(_log_beta, a, b, x)
        # 1 - x is exact where this tail is small
        return _elementwise(lambda a, b, x: _log_beta(b, a, 1 - x), a, b, x)

    mean: Op[Any] = declared(
        f"{name}_mean",
        lambda a, b, x, m, n: _elementwise(
            lambda a, b, x: _betainc_derivative(a, b, x, m, n, of), a, b, x
        ),
        lambda g, y, a, b, x, m, n: g * (mean(m + 1, n, a, b, x) - y * mean(1, 0, a, b, x)),
        lambda g, y, a, b, x, m, n: g * (mean(m, n + 1, a, b, x) - y * mean(0, 1, a, b, x)),
        mean_by_x,
        domain=_beta_calls,
        read=_orders_and_three,
        scipy="",
    )
    log: Op[Any] = declared(
        f"log_{name}",
        forward,
        lambda g, y, a, b, x: g * mean(1, 0, a, b, x),
        lambda g, y, a, b, x: g * mean(0, 1, a, b, x),
        lambda g, y, a, b, x: sign * g * hazard(y, a, b, x),
        domain=each(_SHAPE, _SHAPE, _PROBABILITY),
        scipy="",
    )
    return log, mean


log_betainc, betainc_mean = _log_beta_family("betainc", True)
log_betaincc, betaincc_mean = _log_beta_family("betaincc", False)

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
