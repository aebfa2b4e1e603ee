"""The incomplete gamma and beta functions and Student's t distribution, with all derivatives.

Densities follow C. Loader (2000): they subtract large terms once, a number and the parameter that
is its mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from importlib import import_module
from math import factorial, log, pi
from typing import Any

import attrs
import numpy as np

from tapegrad.core.op import Op
from tapegrad.core.primitive import Rule
from tapegrad.ops.casting import safe_divide
from tapegrad.ops.scipy_special.gamma_functions import gamma_rest, half_step_rest, polygamma, psi
from tapegrad.ops.scipy_special.normal import xlog1py, xlogy
from tapegrad.ops.scipy_special.tails import (
    BOTH,
    LARGE,
    LOWER,
    UPPER,
    Family,
    Tail,
    compute_for_large,
    declare_vector_op,
    exp_rest,
    log1p_rest,
    log_ratio,
)
from tapegrad.ops.scipy_special.ufuncs import (
    declare_special,
    scipy_function,
    special_op,
    with_n_operands,
)
from tapegrad.types import Array, Cotangent

__all__ = ["betainc", "betaincc", "betainccinv", "betaincinv", "gammainc", "gammaincc"]
__all__ += ["gammainccinv", "gammaincinv", "stdtr", "stdtrit"]

# below this parameter nearly all of a distribution is at its end
_FEW = 1e-3

# --- densities -----------------------------------------------------------------------------


def _power(k: Array, log_power: Array, n: float | Array, excess: Array) -> Array:
    """Return ``k * log(n * x / k) - (n * x - k)``, from ``log(x**k)`` and the excess."""
    xlogy = scipy_function("xlogy")
    y = log_power + xlogy(k, n) - xlogy(k, k) - excess
    near = np.abs(excess) < k / 2
    return np.where(near, k * log1p_rest(np.where(near, excess / k, 0)), y)


def _factorial_rest(k: Array) -> Array:
    """Return the logarithm of ``gamma(k + 1)``, less ``k * log(k) - k``."""
    y = scipy_function("gammaln")(k + 1) - scipy_function("xlogy")(k, k) + k
    large = k >= 10
    if np.any(large):
        y[large] = gamma_rest(0, k[large]) + np.log(k[large])
    return y


def _poisson(k: Array, mu: Array) -> Array:
    """Return the logarithm of the probability of k, on vectors."""
    return _power(k, scipy_function("xlogy")(k, mu), 1.0, mu - k) - _factorial_rest(k)


def _binom(k: Array, m: Array, x: Array) -> Array:
    """Return the logarithm of the probability of k successes and m failures, on vectors."""
    n, excess = k + m, _excess(k, m, x)
    successes = _power(k, scipy_function("xlogy")(k, x), n, excess)
    failures = _power(m, scipy_function("xlog1py")(m, -x), n, -excess)
    # exactly 0 if there are only successes or only failures
    ways = _factorial_rest(n) - _factorial_rest(k) - _factorial_rest(m)
    return successes + failures + ways


def _excess(a: Array, b: Array, x: Array) -> Array:
    """Return ``x * (a + b) - a``."""
    return x * b - (1 - x) * a


def _gamma_log_density(a: Array, x: Array) -> Array:
    """Return the logarithm of the density of a gamma distribution, on vectors."""
    is_few = a < 1
    y = _poisson(a - ~is_few, x)
    few = np.where(x == 0, np.inf, y + np.log(a) - np.log(x))
    return np.where(is_few, few, y) if np.any(is_few) else y


def _with_pole(g: Cotangent, k: Array, x: Array, otherwise: Array) -> Cotangent:
    """Return ``g * k / x`` at a pole, where x is 0 and k is negative, and `otherwise` elsewhere."""
    is_pole = np.equal(x, 0) & np.less(k, 0) & np.not_equal(g, 0)
    return np.where(is_pole, np.where(np.less(g, 0), np.inf, -np.inf), otherwise)


def _rescale(g: Cotangent, score: Callable[[Array], Array]) -> Cotangent:
    """Compute a score that is linear in its cotangent, which may be infinite at a pole."""
    is_infinite = np.isinf(g)
    return score(np.where(is_infinite, np.sign(g), g)) * np.where(is_infinite, np.inf, 1)


def _gamma_vjp_x(g: Cotangent, y: Array, a: Array, x: Array) -> Cotangent:
    at_zero = np.equal(x, 0)
    slope = np.where(at_zero, safe_divide(a - 1, x) - 1, safe_divide(a - 1 - x, x))
    return _with_pole(g, a - 1, x, g * slope)


_gamma_density = declare_vector_op(
    "gamma_log_density",
    _gamma_log_density,
    (
        lambda g, y, a, x: _rescale(g, lambda g: log_ratio(x, a, x - a, g) - g * gamma_rest(1, a)),
        _gamma_vjp_x,
    ),
)


def _beta_log_density(a: Array, b: Array, x: Array) -> Array:
    """Return the logarithm of the density of a beta distribution, on vectors."""
    is_few, are_few = a < 1, b < 1
    k, m = a - ~is_few, b - ~are_few
    y = _binom(k, m, x) + np.log(np.where(is_few | are_few, 1, k + m + 1))
    if np.any(is_few | are_few):
        low, high = np.log(a) - np.log(x), np.log(b) - np.log1p(-x)
        y = y + np.where(is_few, low, 0) + np.where(are_few, high, 0)
        y = y - np.where(is_few & are_few, np.log(a + b), 0)
    return np.where((is_few & (x == 0)) | (are_few & (x == 1)), np.inf, y)


def _binom_slope(k: Array, m: Array, x: Array) -> Array:
    at_end = np.equal(x, 0) | np.equal(x, 1)
    inner = np.where(at_end, 0.5, x)
    ends = safe_divide(k, x) - safe_divide(m, 1 - x)
    return np.where(at_end, ends, -_excess(k, m, inner) / inner / (1 - inner))


def _beta_cumulant(
    a: Array, b: Array, log_t: Array, log_rest: Array, g: float | Cotangent = 1.0
) -> Callable[..., Array]:
    """Return the cumulants, from the logarithms of t and 1 - t, each divided by its mean."""
    n = a + b

    @functools.cache
    def cumulant(i: int, j: int) -> Array:
        if i + j == 1:
            own = log_t - g * gamma_rest(1, a) if i else log_rest - g * gamma_rest(1, b)
            return own + g * gamma_rest(1, n)
        both = polygamma(i + j - 1, n)
        both = both if j else both - polygamma(i - 1, a)
        return both if i else both - polygamma(j - 1, b)

    return cumulant


def _beta_scores(a: Array, b: Array, x: Array, g: float | Cotangent = 1.0) -> Callable[..., Array]:
    n, excess = a + b, _excess(a, b, x)
    log_t, log_rest = log_ratio(x * n, a, excess, g), log_ratio((1 - x) * n, b, -excess, g)
    return _beta_cumulant(a, b, log_t, log_rest, g)


def _beta_vjp_x(g: Cotangent, y: Array, a: Array, b: Array, x: Array) -> Cotangent:
    above = _with_pole(g, b - 1, 1 - x, -g * _binom_slope(a - 1, b - 1, x))
    return _with_pole(g, a - 1, x, -above)


_beta_density = declare_vector_op(
    "beta_log_density",
    _beta_log_density,
    (
        lambda g, y, a, b, x: _rescale(g, lambda g: _beta_scores(a, b, x, g)(1, 0)),
        lambda g, y, a, b, x: _rescale(g, lambda g: _beta_scores(a, b, x, g)(0, 1)),
        _beta_vjp_x,
    ),
)
binom_log_mass = declare_vector_op(
    "binom_log_mass",
    _binom,
    (
        lambda g, y, k, m, p: xlogy(g, p) + g * (psi(k + m + 1) - psi(k + 1)),
        lambda g, y, k, m, p: xlog1py(g, -p) + g * (psi(k + m + 1) - psi(m + 1)),
        lambda g, y, k, m, p: g * _binom_slope(k, m, p),
    ),
)

# --- the incomplete gamma function ---------------------------------------------------------


def _gamma_cumulant(a: Array, log_t: Array) -> Callable[..., Array]:
    return lambda i, j: log_t - gamma_rest(1, a) if i == 1 else -polygamma(i - 1, a)


def _gamma_tails(a: Array, x: Array) -> Iterator[tuple[Array, Callable[..., Tail], int]]:
    def below(a: Array, x: Array) -> Tail:
        # t = x * exp(-s)
        return Tail(
            compute_for_large(
                a > LARGE,
                lambda s: (x - a) * s - x * exp_rest(s),
                lambda s: -a * s - x * np.expm1(-s),
            ),
            lambda s: _gamma_cumulant(a, log_ratio(x, a, x - a) - s),
            np.log(x),
        )

    def above(a: Array, x: Array) -> Tail:
        # t = x + s
        return Tail(
            compute_for_large(
                a > LARGE,
                lambda s: (a - 1) * log1p_rest(s / x) + (a - 1 - x) * (s / x),
                lambda s: (a - 1) * np.log1p(s / x) - s,
            ),
            lambda s: _gamma_cumulant(a, log_ratio(x, a, x - a) + np.log1p(s / x)),
            0.0,
            -1.0,
            a,
            x,
        )

    inside, is_below = (x > 0) & (x < np.inf), (x < a) & (a > _FEW)
    yield inside & is_below, below, LOWER
    yield inside & ~is_below, above, UPPER


GAMMA = Family(
    "gammainc",
    (lambda a, x: scipy_function("gammainc")(a, x), lambda a, x: scipy_function("gammaincc")(a, x)),
    _gamma_density,
    lambda a, x: _gamma_cumulant(a, log_ratio(x, a, x - a)),
    _gamma_tails,
    (4.9, 7.25),
)
gammainc, gammaincc = GAMMA.function(LOWER), GAMMA.function(UPPER)
gammaincinv, gamma_ppf = GAMMA.inverses("gammaincinv", LOWER)
gammainccinv, gamma_isf = GAMMA.inverses("gammainccinv", UPPER)

# --- the incomplete beta function ----------------------------------------------------------


def _beta_tail(a: Array, b: Array, x: Array, y: Array) -> Tail:
    """Return the part up to x, by t = x * exp(-s); y is ``1 - x``."""
    n, odds, excess = a + b, x / y, x * b - y * a
    log_t, log_rest = log_ratio(x * n, a, excess), log_ratio(y * n, b, -excess)

    def careful(s: Array) -> Array:
        q = -np.expm1(-s)
        bend = (b - 1) * log1p_rest(odds * q) - a * exp_rest(s)
        return bend + ((b - 1) * odds - a) * q

    def plain(s: Array) -> Array:
        return (b - 1) * np.log1p(-odds * np.expm1(-s)) - a * s

    def cumulant(s: Array) -> Callable[..., Array]:
        return _beta_cumulant(a, b, log_t - s, log_rest + np.log1p(-odds * np.expm1(-s)))

    log_weight = compute_for_large(np.minimum(a, b) > LARGE, careful, plain)
    return Tail(log_weight, cumulant, np.log(x), shape=b, rate=y * np.minimum(a, 1))


def _beta_tails(a: Array, b: Array, x: Array) -> Iterator[tuple[Array, Callable[..., Tail], int]]:
    def above(a: Array, b: Array, x: Array) -> Tail:
        part = _beta_tail(b, a, 1 - x, x)
        cumulant = part.cumulant
        return attrs.evolve(part, sign=-1.0, cumulant=lambda s: lambda i, j: cumulant(s)(j, i))

    inside = (x > 0) & (x < 1)
    is_below = np.where(np.minimum(a, b) < _FEW, a > b, _excess(a, b, x) < 0)
    yield inside & is_below, lambda a, b, x: _beta_tail(a, b, x, 1 - x), LOWER
    yield inside & ~is_below, above, UPPER


BETA = Family(
    "betainc",
    (
        lambda a, b, x: scipy_function("betainc")(a, b, x),
        lambda a, b, x: scipy_function("betaincc")(a, b, x),
    ),
    _beta_density,
    _beta_scores,
    _beta_tails,
    (4.9, 4.9, 0.59),
)
betainc, betaincc = BETA.function(LOWER), BETA.function(UPPER)


def _declare_beta_inverse(name: str, of: int) -> Op[Any]:
    def rule(k: int) -> Rule:
        def vjp(g: Cotangent, y: Array, a: Array, b: Array, p: Array) -> Cotangent:
            # the mirrored function gives the distance to 1 with all digits
            is_low, rest = np.less(y, 0.5), (betaincinv if of == UPPER else betainccinv)(b, a, p)
            pairs = (a, b), (b, a), (y, rest)
            xs = [np.where(is_low, low, high) for low, high in pairs]
            if k == 2:
                return g * BETA.slope(k, of, p, *xs)
            changes = BETA.change(k, of, *xs), BETA.change(1 - k, BOTH - of, *xs)
            return g * BETA.slope(k, of, p, *xs, change=np.where(is_low, *changes))

        return vjp

    def forward(a: Array, b: Array, p: Array) -> Array:
        y, k = scipy_function(name)(a, b, p), b if of == UPPER else a
        # SciPy returns nan for some small probabilities, where one term of the series is enough
        with np.errstate(all="ignore"):
            term = np.exp((np.log(p) + np.log(k) + scipy_function("betaln")(a, b)) / k)
        term = (1 - term if of == UPPER else term).astype(y.dtype)
        return np.where(np.isnan(y) & (p < 1e-20), term, y)

    return special_op(name, *map(rule, range(3)), at=(4.9, 4.9, 0.59), fn=forward)


betaincinv = _declare_beta_inverse("betaincinv", LOWER)
betainccinv = _declare_beta_inverse("betainccinv", UPPER)

# --- Student's t distribution --------------------------------------------------------------


def _log_square(df: Array, t: Array) -> Array:
    """Return ``log(t**2 / df)``."""
    return 2 * (np.log(np.abs(t)) - np.log(df) / 2)


def _t_log_density(df: Array, t: Array) -> Array:
    """Return the logarithm of the density of Student's distribution, on vectors."""
    size = np.abs(t) / np.sqrt(df)
    square = _log_square(df, t)
    falls = np.where(size < 1, np.log1p(size * size), square + np.log1p(np.exp(-square)))
    return half_step_rest(0, df / 2) - log(2 * pi) / 2 - (df + 1) / 2 * falls


def _t_slopes(df: Array, log_square: Array, order: int) -> Array:
    """Return a derivative of the log density by the degrees of freedom, of order 1 or more."""
    far, near = scipy_function("expit")(log_square), scipy_function("expit")(-log_square)
    n, change = order, half_step_rest(order, df / 2) / 2**order
    if n == 1:
        falls = np.logaddexp(0, log_square) - far
        if np.any(df > 100):
            falls = np.where((far < 0.5) & (df > 100), -log1p_rest(-far), falls)
        return change + (far / df - falls) / 2
    powers = [near**j for j in range(n)]
    squares = far * sum((j + 1) * x for j, x in enumerate(powers[:-1]))
    return change + (-1) ** n * factorial(n - 2) / 2 * df ** (1.0 - n) * far * (
        squares - (n - 1) * sum(powers) / df
    )


def _t_score_slope(df: Array, t: Array, order: int) -> Array:
    size = np.hypot(np.sqrt(df), t)
    u, c = t / size, 1 / size
    if not order:
        return -(df + 1) * u * c
    return (-1) ** (order + 1) * factorial(order) * u * (c * c - u * u) * c ** (2 * order - 1)


_t_density: Op[Any] = declare_vector_op(
    "t_log_density",
    _t_log_density,
    (
        lambda g, y, df, t: g * _t_score(1, df, t),
        lambda g, y, df, t: g * _t_score_slope(df, t, 0),
    ),
)


_t_score: Op[Any] = declare_vector_op(
    "t_score",
    lambda df, t, order: _t_slopes(df, _log_square(df, t), order),
    (
        lambda g, y, df, t, order: g * _t_score(order + 1, df, t),
        lambda g, y, df, t, order: g * _t_score_slope(df, t, order),
    ),
    lambda order, df, t: ((df, t), {"order": order}),
)


def _t_tails(df: Array, t: Array) -> Iterator[tuple[Array, Callable[..., Tail], int]]:
    def parts(df: Array, t: Array) -> tuple[Array, Array, Array, Array, Array]:
        square, expit = _log_square(df, t), scipy_function("expit")
        return square, expit(square), expit(-square), np.log(np.abs(t)), (df + 1) / 2

    def centre(df: Array, t: Array) -> Tail:
        # from 0 to t * exp(-s)
        square, far, _, scale, power = parts(df, t)
        return Tail(
            lambda s: -s - power * np.log1p(far * np.expm1(-2 * s)),
            lambda s: lambda i, j: _t_slopes(df, square - 2 * s, i),
            scale,
            np.sign(t),
        )

    def outside(df: Array, t: Array) -> Tail:
        # t * exp(s)
        square, far, near, scale, power = parts(df, t)

        def log_weight(s: Array) -> Array:
            rising = s - power * np.log1p(far * np.expm1(2 * s))
            falling = -df * s - power * np.log1p(near * np.expm1(-2 * s))
            return np.where(far < 0.5, rising, falling)

        return Tail(
            log_weight, lambda s: lambda i, j: _t_slopes(df, square + 2 * s, i), scale, -np.sign(t)
        )

    # at the edge the slope of the density changes its sign; for few degrees the weight is flat
    size, edge = np.abs(t), 1.5 * np.minimum(1, np.sqrt(df))
    yield (size > 0) & (size < edge), centre, 0
    yield (size >= edge) & (t < 0), outside, LOWER
    yield (size >= edge) & (t > 0), outside, UPPER


STUDENT = Family(
    "stdtr",
    (lambda df, t: scipy_function("stdtr")(df, t), lambda df, t: scipy_function("stdtr")(df, -t)),
    _t_density,
    lambda df, t: lambda i, j: _t_score(i, df, t),
    _t_tails,
    (5.0, 0.8),
)
stdtr = STUDENT.function(LOWER)
stdtrit, t_ppf = STUDENT.inverses("stdtrit", LOWER)

# --- quantiles of counts -------------------------------------------------------------------


def _step_op(name: str, method: str, n: int) -> Op[Any]:
    """Declare the op of a quantile of counts, a step function, which passes no gradient."""

    def quantile(*xs: Array) -> Array:
        return getattr(getattr(import_module("scipy.stats"), name), method)(*xs)

    return declare_special(f"{name}_{method}", with_n_operands(n, quantile), *(None,) * n, scipy="")


poisson_ppf, poisson_isf = _step_op("poisson", "ppf", 2), _step_op("poisson", "isf", 2)
binom_ppf, binom_isf = _step_op("binom", "ppf", 3), _step_op("binom", "isf", 3)
nbinom_ppf, nbinom_isf = _step_op("nbinom", "ppf", 3), _step_op("nbinom", "isf", 3)
geom_ppf, geom_isf = _step_op("geom", "ppf", 2), _step_op("geom", "isf", 2)
bernoulli_ppf, bernoulli_isf = _step_op("bernoulli", "ppf", 2), _step_op("bernoulli", "isf", 2)
