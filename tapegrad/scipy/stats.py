"""Probability distributions under the names of ``scipy.stats``.

Their densities and probabilities are composed of the ops of `tapegrad.scipy.special`, so that they
have derivatives by every argument, of any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.errors.names import list_names
from tapegrad.ops.casting import stop_gradient
from tapegrad.ops.scipy_special.incomplete import BETA, GAMMA, STUDENT, gamma_isf, gamma_ppf, t_ppf
from tapegrad.ops.scipy_special.normal import erfcx_derivative
from tapegrad.scipy import special
from tapegrad.scipy._discrete import bernoulli, betabinom, binom, geom, nbinom, poisson
from tapegrad.scipy._distributions import (
    PROBABILITIES,
    QUANTILES,
    Continuous,
    Formula,
    log_by_complement,
    safe_exp,
    safe_log,
    without_methods,
)

# files name these by this module
from tapegrad.scipy._distributions import Frozen as Frozen
from tapegrad.scipy._moments import (
    expm1_ratio,
    integrate,
    log1p_ratio,
    truncated_normal,
    vonmises_terms,
)
from tapegrad.scipy._multivariate import _Dirichlet as _Dirichlet
from tapegrad.scipy._multivariate import _Multinomial as _Multinomial
from tapegrad.scipy._multivariate import _MultivariateNormal as _MultivariateNormal
from tapegrad.scipy._multivariate import _MultivariateT as _MultivariateT
from tapegrad.scipy._multivariate import dirichlet, multinomial, multivariate_normal, multivariate_t
from tapegrad.scipy._samples import PearsonRResult as PearsonRResult
from tapegrad.scipy._samples import gmean, kurtosis, pearsonr, skew, zscore
from tapegrad.types import Array

__all__ = ["bernoulli", "beta", "betabinom", "binom", "cauchy", "chi2", "dirichlet", "expon", "f"]
__all__ += ["gamma", "genextreme", "genpareto", "geom", "gmean", "gumbel_l", "gumbel_r"]
__all__ += ["halfcauchy", "halfnorm", "invgamma", "invgauss", "kurtosis", "laplace", "logistic"]
__all__ += ["lognorm", "multinomial", "multivariate_normal", "multivariate_t", "nbinom", "norm"]
__all__ += ["pareto", "pearsonr", "poisson", "skew", "skewnorm", "t", "triang", "truncnorm"]
__all__ += ["uniform", "vonmises", "weibull_min", "zscore"]
list_names(globals())

_INF = math.inf
_LOG_SQRT_2PI = math.log(2 * math.pi) / 2
_LOG_2 = math.log(2)
_REAL, _POSITIVE, _UNIT = (-_INF, _INF), (0.0, _INF), (0.0, 1.0)

# --- continuous ones -----------------------------------------------------------------------


def _take_number_first(*ops: Formula) -> list[Formula]:
    """Functions of a number and shape parameters, of those that take the number last."""
    return [lambda y, *shapes, op=op: op(*shapes, y) for op in ops]


def _symmetric(logpdf: Formula, cdf: Formula, ppf: Formula, logcdf: Formula | None) -> list[Any]:
    """The functions of a distribution around 0, by those of its left side."""
    right = [lambda y, *shapes, fn=fn: fn(-y, *shapes) for fn in (cdf, logcdf)]
    return [logpdf, cdf, right[0], ppf, lambda q, *shapes: -ppf(q, *shapes), logcdf, right[1]]


def _change_variable(
    functions: Sequence[Formula],
    to: Formula,
    back: Formula,
    log_slope: Callable[..., Array | float],
    shapes: Callable[..., tuple[Array, ...]] = lambda *shapes: (),
    falls: bool = False,
) -> list[Formula]:
    """The functions of y, by those of ``to(y)``, which rises or falls with it, and its slope.

    Both `to` and its inverse `back` take the shape parameters too; `shapes` returns those of the
    other distribution.
    """
    density, cdf, sf, ppf, isf, logcdf, logsf = functions
    pairs = [x[::-1] if falls else x for x in ((cdf, sf), (ppf, isf), (logcdf, logsf))]

    def compose(fn: Formula) -> Formula:
        return lambda y, *own: fn(to(y, *own), *shapes(*own))

    def inverse(fn: Formula) -> Formula:
        return lambda q, *own: back(fn(q, *shapes(*own)), *own)

    return [
        lambda y, *own: density(to(y, *own), *shapes(*own)) + log_slope(y, *own),
        *map(compose, pairs[0]),
        *map(inverse, pairs[1]),
        *map(compose, pairs[2]),
    ]


_NORM: list[Any] = _symmetric(
    lambda y: -y * y / 2 - _LOG_SQRT_2PI, special.ndtr, special.ndtri, special.log_ndtr
)
_GAMMA: list[Formula] = [
    *_take_number_first(GAMMA.density, GAMMA.cdf, GAMMA.sf),
    *_take_number_first(gamma_ppf, gamma_isf, GAMMA.logcdf, GAMMA.logsf),
]


def _finite_or_inf(fn: Formula, log_fn: Array, *args: Array) -> Array:
    """A positive function, or inf without a slope where it overflows, by its logarithm."""
    overflows = np.greater(log_fn, math.log(np.finfo(log_fn.dtype).max) - 1)
    return np.where(overflows, _INF, fn(*[np.where(overflows, 1, x) for x in args]))


def _exp(y: Array) -> Array:
    return _finite_or_inf(np.exp, y, y)


def _power(y: Array, c: Array) -> Array:
    return _finite_or_inf(lambda y, c: y**c, c * safe_log(y), y, c)


_EXPON: list[Formula] = [
    lambda y: -y,
    lambda y: -np.expm1(-y),
    lambda y: np.exp(-y),
    lambda q: -np.log1p(-q),
    lambda q: -np.log(q),
    lambda y: _log1mexp(y, safe_log(y)),
    lambda y: -y,
]
# the logarithm of an exponential one
_GUMBEL_L: list[Formula] = [
    *_change_variable(_EXPON, _exp, np.log, lambda y: y)[:5],
    lambda y: _log1mexp(_exp(y), y),
    lambda y: -_exp(y),
]


def _log1mexp(y: Array, log_y: Array) -> Array:
    """``log(1 - exp(-y))``, by the logarithm of y, which may be 0 by underflow."""
    is_small, is_large = np.less(y, 0.02), np.greater(y, 0.7)
    small = np.where(is_small, y, 0)
    series = small * small * (1 / 24 - small * small / 2880) - small / 2
    middle = np.log(-np.expm1(-np.where(is_small | is_large, 0.5, y)))
    large = np.log1p(-np.exp(-np.where(is_large, y, 1)))
    return np.where(
        is_small, np.where(is_small, log_y, 0) + series, np.where(is_large, large, middle)
    )


def _mirror(functions: Sequence[Formula]) -> list[Formula]:
    """The functions of -y."""

    def flip(y: Array, *shapes: Array) -> Array:
        return -y

    return _change_variable(functions, flip, flip, lambda *_: 0, lambda *shapes: shapes, falls=True)


norm = Continuous("norm", {}, _REAL, *_NORM)
t = Continuous(
    "t",
    {"df": 3.5},
    _REAL,
    *_symmetric(*_take_number_first(STUDENT.density, STUDENT.cdf, t_ppf, STUDENT.logcdf)),
)
gamma = Continuous("gamma", {"a": 2.5}, _POSITIVE, *_GAMMA, poles=(lambda a: np.less(a, 1), None))
chi2 = Continuous(
    "chi2",
    {"df": 3.5},
    _POSITIVE,
    *_change_variable(
        _GAMMA,
        lambda y, df: y / 2,
        lambda x, df: 2 * x,
        lambda y, df: -math.log(2),
        lambda df: (df / 2,),
    ),
    poles=(lambda df: np.less(df, 2), None),
)
beta = Continuous(
    "beta",
    {"a": 2.0, "b": 3.5},
    _UNIT,
    *_take_number_first(BETA.density, BETA.cdf, BETA.sf),
    *_take_number_first(special.betaincinv, special.betainccinv, BETA.logcdf, BETA.logsf),
    poles=(lambda a, b: np.less(a, 1), lambda a, b: np.less(b, 1)),
)
expon = Continuous("expon", {}, _POSITIVE, *_EXPON)
lognorm = Continuous(
    "lognorm",
    {"s": 0.75},
    _POSITIVE,
    *_change_variable(
        _NORM,
        lambda y, s: np.log(y) / s,
        lambda x, s: np.exp(s * x),
        lambda y, s: -np.log(s) - np.log(y),
    ),
    low_is_open=True,
)
uniform = Continuous(
    "uniform",
    {},
    _UNIT,
    lambda y: 0 * y,
    *[lambda y: y, lambda y: 1 - y] * 2,
)


def _laplace_cdf(y: Array) -> Array:
    tail = np.exp(np.where(np.less(y, 0), y, -y)) / 2
    return np.where(np.less(y, 0), tail, 1 - tail)


laplace = Continuous(
    "laplace",
    {},
    _REAL,
    *_symmetric(
        lambda y: -np.absolute(y) - _LOG_2,
        _laplace_cdf,
        lambda q: np.where(
            np.less(q, 0.5), np.log(2 * q), -np.log(2 * (1 - np.where(np.less(q, 0.5), 0.5, q)))
        ),
        lambda y: np.where(
            np.less(y, 0), y - _LOG_2, np.log1p(-np.exp(-np.where(np.less(y, 0), 0, y)) / 2)
        ),
    ),
)
logistic = Continuous(
    "logistic",
    {},
    _REAL,
    *_symmetric(
        lambda y: special.log_expit(y) + special.log_expit(-y),
        special.expit,
        special.logit,
        special.log_expit,
    ),
)


def _cauchy_cdf(y: Array) -> Array:
    is_far = np.less(y, -1)
    far = np.arctan(-1 / np.where(is_far, y, -1))
    return np.where(is_far, far, math.pi / 2 + np.arctan(np.where(is_far, 0, y))) / math.pi


def _cauchy_ppf(q: Array) -> Array:
    is_far = np.less(q, 0.25)
    far = -1 / np.tan(math.pi * np.where(is_far, q, 0.25))
    return np.where(is_far, far, np.tan(math.pi * (np.where(is_far, 0.25, q) - 0.5)))


_CAUCHY: list[Any] = _symmetric(
    lambda y: -2 * np.log(np.hypot(1, y)) - math.log(math.pi),
    _cauchy_cdf,
    _cauchy_ppf,
    None,
)[:5]
cauchy = Continuous("cauchy", {}, _REAL, *_CAUCHY)
halfcauchy = Continuous(
    "halfcauchy",
    {},
    _POSITIVE,
    lambda y: _CAUCHY[0](y) + _LOG_2,
    lambda y: np.arctan(y) * (2 / math.pi),
    lambda y: 2 * _cauchy_cdf(-y),
    lambda q: np.tan(math.pi / 2 * q),
    lambda q: 1 / np.tan(math.pi / 2 * q),
)
halfnorm = Continuous(
    "halfnorm",
    {},
    _POSITIVE,
    lambda y: _NORM[0](y) + _LOG_2,
    lambda y: special.erf(y / math.sqrt(2)),
    lambda y: 2 * special.ndtr(-y),
    lambda q: math.sqrt(2) * special.erfinv(q),
    lambda q: -special.ndtri(q / 2),
    logsf_=lambda y: np.where(
        np.less(y, 0.5),
        np.log1p(-special.erf(np.where(np.less(y, 0.5), y, 0) / math.sqrt(2))),
        special.log_ndtr(-y) + _LOG_2,
    ),
)
gumbel_l = Continuous("gumbel_l", {}, _REAL, *_GUMBEL_L)
gumbel_r = Continuous("gumbel_r", {}, _REAL, *_mirror(_GUMBEL_L))
weibull_min = Continuous(
    "weibull_min",
    {"c": 1.75},
    _POSITIVE,
    lambda y, c: np.log(c) + special.xlogy(c - 1, y) - _power(y, c),
    *[
        *_change_variable(_EXPON, _power, lambda x, c: x ** np.divide(1, c), lambda y, c: 0)[1:5],
        lambda y, c: _log1mexp(_power(y, c), c * safe_log(y)),
        lambda y, c: -_power(y, c),
    ],
    poles=(lambda c: np.less(c, 1), None),
)
pareto = Continuous(
    "pareto",
    {"b": 2.5},
    (1.0, _INF),
    *_change_variable(
        _EXPON,
        lambda y, b: b * np.log(y),
        lambda x, b: np.exp(x / b),
        lambda y, b: np.log(b) - np.log(y),
    ),
    inner=2.0,
)
invgamma = Continuous(
    "invgamma",
    {"a": 2.5},
    _POSITIVE,
    *_change_variable(
        _GAMMA,
        lambda y, a: 1 / np.maximum(y, np.finfo(y.dtype).tiny),
        lambda x, a: 1 / x,
        lambda y, a: -2 * np.log(y),
        lambda a: (a,),
        falls=True,
    ),
    low_is_open=True,
)


def _reciprocal_or_inf(c: Array) -> Array:
    """``1 / c``, or inf unless c is positive."""
    is_finite = np.greater(c, 0)
    return np.where(is_finite, 1 / np.where(is_finite, c, 1), _INF)


_BOX_COX: tuple[Formula, Formula] = (lambda y, c: log1p_ratio(c, y), expm1_ratio)
genpareto = Continuous(
    "genpareto",
    {"c": 0.25},
    (0.0, lambda c: _reciprocal_or_inf(-c)),
    lambda y, c: -log1p_ratio(c, y, 1 + c),
    *_change_variable(_EXPON, *_BOX_COX, lambda y, c: 0)[1:],
    inner=0.0,
    valid=np.isfinite,
)
genextreme = Continuous(
    "genextreme",
    {"c": 0.25},
    (lambda c: -_reciprocal_or_inf(-c), _reciprocal_or_inf),
    lambda y, c: log1p_ratio(c, -y, 1 - c) - _exp(log1p_ratio(c, -y)),
    *_mirror(_change_variable(_GUMBEL_L, *_BOX_COX, lambda y, c: 0))[1:],
    inner=0.0,
    low_is_open=True,
    valid=np.isfinite,
)


def _make_f_function(of_beta: Formula, of_rest: Formula) -> Formula:
    """A function of an F distribution, by one of the share of its numerator, or of the rest."""

    def fn(y: Array, dfn: Array, dfd: Array) -> Array:
        weight, a, b = np.divide(dfn, dfd), dfn / 2, dfd / 2
        # products of 0 and infinite slopes would be nan
        ratio = y * np.where(np.equal(y, 0), stop_gradient(weight), weight)
        is_low = np.less(ratio, 1)
        low = -np.expm1(-np.log1p(np.where(is_low, ratio, 1)))
        return np.where(
            is_low, of_beta(a, b, low), of_rest(b, a, 1 / (1 + np.where(is_low, 1, ratio)))
        )

    return fn


def _make_f_quantile(of_beta: Formula, of_rest: Formula) -> Formula:
    return lambda q, m, n: np.divide(n, m) * of_beta(m / 2, n / 2, q) / of_rest(n / 2, m / 2, q)


_F_SHARE_DENSITY = _make_f_function(BETA.density, BETA.density)
f = Continuous(
    "f",
    {"dfn": 2.5, "dfd": 4.5},
    _POSITIVE,
    lambda y, m, n: (
        _F_SHARE_DENSITY(y, m, n) + np.log(np.divide(m, n)) - 2 * np.log1p(y * np.divide(m, n))
    ),
    _make_f_function(BETA.cdf, BETA.sf),
    _make_f_function(BETA.sf, BETA.cdf),
    _make_f_quantile(special.betaincinv, special.betainccinv),
    _make_f_quantile(special.betainccinv, special.betaincinv),
    _make_f_function(BETA.logcdf, BETA.logsf),
    _make_f_function(BETA.logsf, BETA.logcdf),
    poles=(lambda dfn, dfd: np.less(dfn, 2), None),
)


def _triang_side(y: Array, c: Array) -> tuple[Array, Array, Array, Array]:
    """Whether y is left of the peak, its distance to the end of its side, and the share of that.

    The last is 1 less the product of both, which is the probability of that side.
    """
    is_left = np.less(y, c) | np.equal(c, 1)
    distance, side = np.where(is_left, y, 1 - y), np.where(is_left, c, 1 - c)
    rest = (y * (1 - y) + np.where(is_left, c - y, y - c)) / side
    return is_left, distance, distance / side, rest


def _triang_probability(y: Array, c: Array, right: bool) -> Array:
    """The probability of a side."""
    is_left, distance, share, rest = _triang_side(y, c)
    return np.where(is_left ^ right, distance * share, rest)


def _triang_log(y: Array, c: Array, right: bool) -> Array:
    is_left, distance, share, rest = _triang_side(y, c)
    is_own = is_left ^ right
    own = safe_log(np.where(is_own, distance, 1)) + safe_log(np.where(is_own, share, 1))
    return np.where(is_own, own, log_by_complement(rest, np.where(is_own, 0.5, distance * share)))


def _triang_quantile(q: Array, p: Array, c: Array) -> Array:
    """By both probabilities."""
    is_left = np.less(q, c)
    left = np.sqrt(np.where(is_left, c * q, 1))
    rest = np.where(is_left, 1, (1 - c) * p)
    return np.where(is_left, left, (c + (1 - c) * q) / (1 + np.sqrt(rest)))


triang = Continuous(
    "triang",
    {"c": 0.25},
    _UNIT,
    lambda y, c: safe_log(_triang_side(y, c)[2]) + _LOG_2,
    lambda y, c: _triang_probability(y, c, False),
    lambda y, c: _triang_probability(y, c, True),
    lambda q, c: _triang_quantile(q, 1 - q, c),
    lambda q, c: _triang_quantile(1 - q, q, c),
    lambda y, c: _triang_log(y, c, False),
    lambda y, c: _triang_log(y, c, True),
    valid=lambda c: np.greater_equal(c, 0) & np.less_equal(c, 1),
)


# --- by their tails ------------------------------------------------------------------------


def _functions_from_tail(
    logpdf: Formula,
    tail: Callable[..., tuple[Array, Array]],
    ppf: Formula | None = None,
    isf: Formula | None = None,
) -> list[Any]:
    """The functions of a distribution, by the logarithm of one of the probabilities at a number.

    `tail` returns whether that is the probability up to it, and the logarithm, well below 0.
    """

    def part(own: Formula, of_rest: Formula, below: bool) -> Formula:
        def probability(y: Array, *shapes: Array) -> Array:
            is_below, log_p = tail(y, *shapes)
            return np.where(is_below ^ below, of_rest(log_p), own(log_p))

        return probability

    plain = safe_exp, lambda log_p: -np.expm1(log_p)
    logs = np.positive, lambda log_p: np.log1p(-safe_exp(log_p))
    parts = [part(own, rest, x) for own, rest in (plain, logs) for x in (True, False)]
    return [logpdf, *parts[:2], ppf, isf, *parts[2:]]


def _log_share(part: Sequence[Any], whole: Sequence[Any]) -> Array:
    """The logarithm of the ratio of two probabilities, as `truncated_normal` returns them."""
    return part[1] - whole[1] - (part[0] - whole[0]) * ((part[0] + whole[0]) / 2)


def _truncnorm_tail(y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    whole = truncated_normal(a, b)
    shares = [_log_share(truncated_normal(*ends), whole) for ends in ((a, y), (y, b))]
    return np.less(*shares), np.where(np.less(*shares), *shares)


def _truncnorm_quantile(log_p: Array, log_rest: Array, a: Array, b: Array) -> Array:
    """By the logarithms of both probabilities."""
    log_mass = _log_share(truncated_normal(a, b), (0, 0))
    low = np.logaddexp(special.log_ndtr(np.maximum(a, -1e150)), log_p + log_mass)
    high = np.logaddexp(special.log_ndtr(np.maximum(-b, -1e150)), log_rest + log_mass)
    is_low = np.less(low, high)
    y = special.ndtri_exp(np.where(is_low, low, high))
    return np.where(is_low, y, -y)


truncnorm = Continuous(
    "truncnorm",
    {"a": -1.0, "b": 2.5},
    (lambda a, b: a, lambda a, b: b),
    *_functions_from_tail(
        lambda y, a, b: _log_share((y, -_LOG_SQRT_2PI), truncated_normal(a, b)),
        _truncnorm_tail,
        lambda q, a, b: _truncnorm_quantile(np.log(q), np.log1p(-q), a, b),
        lambda q, a, b: _truncnorm_quantile(np.log1p(-q), np.log(q), a, b),
    ),
    inner=lambda a, b: np.clip(0.0, a, b),
    valid=np.less,
)


def _skewnorm_logpdf(y: Array, a: Array) -> Array:
    return _NORM[0](y) + special.log_ndtr(a * y) + _LOG_2


def _skewnorm_tail(y: Array, a: Array) -> tuple[Array, Array]:
    is_below = np.less(y, 0)
    # the probability up to -t of a parameter that turns the tail into the light one, if it is not
    t, of_light = np.where(is_below, -y, y), np.where(is_below, a, -a)
    is_light = np.greater_equal(of_light, 0)
    of_light = np.where(is_light, of_light, -of_light)
    is_lost = np.equal(_skewnorm_logpdf(-t, of_light), -_INF)
    far, up = (np.expand_dims(x, -1) for x in (np.where(is_lost, 0, t), of_light))
    log = _skewnorm_logpdf(-far, up)
    width = 40 / (1 + up * up)
    light = integrate(
        lambda u: np.exp(_skewnorm_logpdf(-far - u, up) - log),
        0,
        2 * width / (far + np.sqrt(far * far + 2 * width)),
    )
    log_light = np.where(is_lost, -_INF, (log + np.log(light))[..., 0])
    log_both = special.log_ndtr(-t) + _LOG_2
    log_share = np.minimum(log_light - np.where(is_lost, 0, log_both), -_LOG_2)
    heavy = log_both + np.log1p(-np.exp(log_share))
    return is_below, np.where(is_light, log_light, heavy)


skewnorm = without_methods(Continuous, *QUANTILES, "entropy")(
    "skewnorm",
    {"a": 1.5},
    _REAL,
    *_functions_from_tail(_skewnorm_logpdf, _skewnorm_tail),
    valid=np.isfinite,
)


def _erfcx_step(low: Array, width: Array) -> Array:
    """``erfcx(low) - erfcx(low + width)``."""
    is_near = np.less(width, np.absolute(low) / 2 + 0.5)
    start, length = np.expand_dims(low, -1), np.expand_dims(np.where(is_near, width, 0), -1)
    near = integrate(lambda x: -erfcx_derivative(1, x), start, length)[..., 0]
    return np.where(is_near, near, special.erfcx(low) - special.erfcx(low + width))


def _invgauss_ends(y: Array, mu: Array) -> tuple[Array, Array]:
    return (y / mu - 1) / np.sqrt(2 * y), (y / mu + 1) / np.sqrt(2 * y)


def _invgauss_tail(y: Array, mu: Array) -> tuple[Array, Array]:
    low, high = _invgauss_ends(y, mu)
    is_below = np.less(low, -0.36)
    below = special.erfcx(np.maximum(-low, 0)) + special.erfcx(high)
    above = _erfcx_step(np.maximum(low, -0.5), 2 / np.sqrt(2 * y))
    return is_below, np.log(np.where(is_below, below, above) / 2) - low * low


invgauss = without_methods(Continuous, *QUANTILES)(
    "invgauss",
    {"mu": 1.5},
    _POSITIVE,
    *_functions_from_tail(
        lambda y, mu: -1.5 * np.log(y) - np.square(_invgauss_ends(y, mu)[0]) - _LOG_SQRT_2PI,
        _invgauss_tail,
    ),
    low_is_open=True,
)


vonmises = without_methods(Continuous, *PROBABILITIES, *QUANTILES, "var", "std")(
    "vonmises",
    {"kappa": 1.5},
    _REAL,
    lambda y, kappa: kappa * special.cosm1(y) - vonmises_terms(kappa)[0] - 2 * _LOG_SQRT_2PI,
    valid=lambda kappa: np.greater_equal(kappa, 0),
)
