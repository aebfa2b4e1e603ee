"""Probability distributions under the names of ``scipy.stats``.

Their densities and probabilities are composed of the ops of `tapegrad.scipy.special`, so that they
have derivatives by every argument, of any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import attrs
import numpy as np
from scipy import stats as _scipy

from tapegrad.errors.names import list_names
from tapegrad.ops.casting import floating, number, seen, stop_gradient
from tapegrad.ops.decompositions import cholesky
from tapegrad.ops.inverses import solve
from tapegrad.ops.scipy_special.gamma_functions import half_step_rest
from tapegrad.ops.scipy_special.incomplete import (
    BETA,
    GAMMA,
    STUDENT,
    binom_log_mass,
    gamma_isf,
    gamma_ppf,
    t_ppf,
)
from tapegrad.ops.scipy_special.normal import erfcx_derivative
from tapegrad.scipy import special
from tapegrad.scipy._distributions import (
    PROBABILITIES,
    QUANTILES,
    Continuous,
    Discrete,
    exp_of,
    lacking,
    log_by_rest,
    log_of,
    without,
)

# files name it by this module
from tapegrad.scipy._distributions import Frozen as Frozen
from tapegrad.scipy._moments import expm1_over, integral, truncated, vonmises_rests
from tapegrad.scipy._options import with_scipys_options

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


def _number_last(*ops: Any) -> list[Any]:
    """Functions of a number and shape parameters, of those that take the number last."""
    return [lambda y, *shapes, op=op: op(*shapes, y) for op in ops]


def _symmetric(logpdf: Any, cdf: Any, ppf: Any, logcdf: Any) -> list[Any]:
    """The functions of a distribution around 0, by those of its left side."""
    right = [lambda y, *shapes, fn=fn: fn(-y, *shapes) for fn in (cdf, logcdf)]
    return [logpdf, cdf, right[0], ppf, lambda q, *shapes: -ppf(q, *shapes), logcdf, right[1]]


def _changed(
    functions: Sequence[Any],
    to: Callable[..., Any],
    back: Callable[..., Any],
    log_slope: Callable[..., Any],
    shapes: Callable[..., Any] = lambda *shapes: (),
    falls: bool = False,
) -> list[Any]:
    """The functions of y, by those of ``to(y)``, which rises or falls with it, and its slope.

    Both `to` and its inverse `back` take the shape parameters too; `shapes` returns those of the
    other distribution.
    """
    density, cdf, sf, ppf, isf, logcdf, logsf = functions
    pairs = [x[::-1] if falls else x for x in ((cdf, sf), (ppf, isf), (logcdf, logsf))]

    def at(fn: Any) -> Any:
        return lambda y, *own: fn(to(y, *own), *shapes(*own))

    def inverse(fn: Any) -> Any:
        return lambda q, *own: back(fn(q, *shapes(*own)), *own)

    return [
        lambda y, *own: density(to(y, *own), *shapes(*own)) + log_slope(y, *own),
        *map(at, pairs[0]),
        *map(inverse, pairs[1]),
        *map(at, pairs[2]),
    ]


_NORM: list[Any] = _symmetric(
    lambda y: -y * y / 2 - _LOG_SQRT_2PI, special.ndtr, special.ndtri, special.log_ndtr
)
_GAMMA: list[Any] = [
    *_number_last(GAMMA.density, GAMMA.cdf, GAMMA.sf),
    *_number_last(gamma_ppf, gamma_isf, GAMMA.logcdf, GAMMA.logsf),
]


def _finite(fn: Callable[..., Any], log_fn: Any, *args: Any) -> Any:
    """A positive function, or inf without a slope where it overflows, by its logarithm."""
    overflows = np.greater(log_fn, math.log(np.finfo(log_fn.dtype).max) - 1)
    return np.where(overflows, _INF, fn(*[np.where(overflows, 1, x) for x in args]))


def _exp(y: Any) -> Any:
    return _finite(np.exp, y, y)


def _power(y: Any, c: Any) -> Any:
    return _finite(lambda y, c: y**c, c * log_of(y), y, c)


_EXPON: list[Any] = [
    lambda y: -y,
    lambda y: -np.expm1(-y),
    lambda y: np.exp(-y),
    lambda q: -np.log1p(-q),
    lambda q: -np.log(q),
    lambda y: _log_of_rest(y, log_of(y)),
    lambda y: -y,
]
# the logarithm of an exponential one
_GUMBEL_L: list[Any] = [
    *_changed(_EXPON, _exp, np.log, lambda y: y)[:5],
    lambda y: _log_of_rest(_exp(y), y),
    lambda y: -_exp(y),
]


def _log_of_rest(y: Any, log_y: Any) -> Any:
    """``log(1 - exp(-y))``, by the logarithm of y, which may be 0 by underflow."""
    is_small, is_large = np.less(y, 0.02), np.greater(y, 0.7)
    small = np.where(is_small, y, 0)
    series = small * small * (1 / 24 - small * small / 2880) - small / 2
    middle = np.log(-np.expm1(-np.where(is_small | is_large, 0.5, y)))
    large = np.log1p(-np.exp(-np.where(is_large, y, 1)))
    return np.where(
        is_small, np.where(is_small, log_y, 0) + series, np.where(is_large, large, middle)
    )


def _mirrored(functions: Sequence[Any]) -> list[Any]:
    """The functions of -y."""

    def flip(y: Any, *shapes: Any) -> Any:
        return -y

    return _changed(functions, flip, flip, lambda *_: 0, lambda *shapes: shapes, falls=True)


norm = Continuous("norm", {}, _REAL, *_NORM)
t = Continuous(
    "t",
    {"df": 3.5},
    _REAL,
    *_symmetric(*_number_last(STUDENT.density, STUDENT.cdf, t_ppf, STUDENT.logcdf)),
)
gamma = Continuous("gamma", {"a": 2.5}, _POSITIVE, *_GAMMA)
chi2 = Continuous(
    "chi2",
    {"df": 3.5},
    _POSITIVE,
    *_changed(
        _GAMMA,
        lambda y, df: y / 2,
        lambda x, df: 2 * x,
        lambda y, df: -math.log(2),
        lambda df: (df / 2,),
    ),
)
beta = Continuous(
    "beta",
    {"a": 2.0, "b": 3.5},
    _UNIT,
    *_number_last(BETA.density, BETA.cdf, BETA.sf),
    *_number_last(special.betaincinv, special.betainccinv, BETA.logcdf, BETA.logsf),
)
expon = Continuous("expon", {}, _POSITIVE, *_EXPON)
lognorm = Continuous(
    "lognorm",
    {"s": 0.75},
    _POSITIVE,
    *_changed(
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


def _laplace_cdf(y: Any) -> Any:
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


def _cauchy_cdf(y: Any) -> Any:
    is_far = np.less(y, -1)
    far = np.arctan(-1 / np.where(is_far, y, -1))
    return np.where(is_far, far, math.pi / 2 + np.arctan(np.where(is_far, 0, y))) / math.pi


def _cauchy_ppf(q: Any) -> Any:
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
gumbel_r = Continuous("gumbel_r", {}, _REAL, *_mirrored(_GUMBEL_L))
weibull_min = Continuous(
    "weibull_min",
    {"c": 1.75},
    _POSITIVE,
    lambda y, c: np.log(c) + special.xlogy(c - 1, y) - _power(y, c),
    *[
        *_changed(_EXPON, _power, lambda x, c: x ** np.divide(1, c), lambda y, c: 0)[1:5],
        lambda y, c: _log_of_rest(_power(y, c), c * log_of(y)),
        lambda y, c: -_power(y, c),
    ],
)
pareto = Continuous(
    "pareto",
    {"b": 2.5},
    (1.0, _INF),
    *_changed(
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
    *_changed(
        _GAMMA,
        lambda y, a: 1 / np.maximum(y, np.finfo(y.dtype).tiny),
        lambda x, a: 1 / x,
        lambda y, a: -2 * np.log(y),
        lambda a: (a,),
        falls=True,
    ),
    low_is_open=True,
)


def _log1p_over(c: Any, y: Any, weight: Any = 1.0) -> Any:
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


def _end_of(c: Any) -> Any:
    """``1 / c``, or inf unless c is positive."""
    is_finite = np.greater(c, 0)
    return np.where(is_finite, 1 / np.where(is_finite, c, 1), _INF)


_BOX_COX: tuple[Any, Any] = (lambda y, c: _log1p_over(c, y), expm1_over)
genpareto = Continuous(
    "genpareto",
    {"c": 0.25},
    (0.0, lambda c: _end_of(-c)),
    lambda y, c: -_log1p_over(c, y, 1 + c),
    *_changed(_EXPON, *_BOX_COX, lambda y, c: 0)[1:],
    inner=0.0,
    valid=np.isfinite,
)
genextreme = Continuous(
    "genextreme",
    {"c": 0.25},
    (lambda c: -_end_of(-c), _end_of),
    lambda y, c: _log1p_over(c, -y, 1 - c) - _exp(_log1p_over(c, -y)),
    *_mirrored(_changed(_GUMBEL_L, *_BOX_COX, lambda y, c: 0))[1:],
    inner=0.0,
    low_is_open=True,
    valid=np.isfinite,
)


def _of_f(of_beta: Callable[..., Any], of_rest: Callable[..., Any]) -> Callable[..., Any]:
    """A function of an F distribution, by one of the share of its numerator, or of the rest."""

    def fn(y: Any, dfn: Any, dfd: Any) -> Any:
        ratio, a, b = y * np.divide(dfn, dfd), dfn / 2, dfd / 2
        is_low = np.less(ratio, 1)
        low = np.where(is_low, ratio, 1) / (1 + np.where(is_low, ratio, 1))
        return np.where(
            is_low, of_beta(a, b, low), of_rest(b, a, 1 / (1 + np.where(is_low, 1, ratio)))
        )

    return fn


def _f_quantile(of_beta: Any, of_rest: Any) -> Callable[..., Any]:
    return lambda q, m, n: np.divide(n, m) * of_beta(m / 2, n / 2, q) / of_rest(n / 2, m / 2, q)


_OF_F = _of_f(BETA.density, BETA.density)
f = Continuous(
    "f",
    {"dfn": 2.5, "dfd": 4.5},
    _POSITIVE,
    lambda y, m, n: _OF_F(y, m, n) + np.log(np.divide(m, n)) - 2 * np.log1p(y * np.divide(m, n)),
    _of_f(BETA.cdf, BETA.sf),
    _of_f(BETA.sf, BETA.cdf),
    _f_quantile(special.betaincinv, special.betainccinv),
    _f_quantile(special.betainccinv, special.betaincinv),
    _of_f(BETA.logcdf, BETA.logsf),
    _of_f(BETA.logsf, BETA.logcdf),
)


def _triang_side(y: Any, c: Any) -> tuple[Any, Any, Any, Any]:
    """Whether y is left of the peak, its distance to the end of its side, and the share of that.

    The last is 1 less the product of both, which is the probability of that side.
    """
    is_left = np.less(y, c) | np.equal(c, 1)
    distance, side = np.where(is_left, y, 1 - y), np.where(is_left, c, 1 - c)
    rest = (y * (1 - y) + np.where(is_left, c - y, y - c)) / side
    return is_left, distance, distance / side, rest


def _triang_part(y: Any, c: Any, right: bool) -> Any:
    """The probability of a side."""
    is_left, distance, share, rest = _triang_side(y, c)
    return np.where(is_left ^ right, distance * share, rest)


def _triang_log(y: Any, c: Any, right: bool) -> Any:
    is_left, distance, share, rest = _triang_side(y, c)
    is_own = is_left ^ right
    own = log_of(np.where(is_own, distance, 1)) + log_of(np.where(is_own, share, 1))
    return np.where(is_own, own, log_by_rest(rest, np.where(is_own, 0.5, distance * share)))


def _triang_quantile(q: Any, p: Any, c: Any) -> Any:
    """By both probabilities."""
    is_left = np.less(q, c)
    left = np.sqrt(np.where(is_left, c * q, 1))
    rest = np.where(is_left, 1, (1 - c) * p)
    return np.where(is_left, left, (c + (1 - c) * q) / (1 + np.sqrt(rest)))


triang = Continuous(
    "triang",
    {"c": 0.25},
    _UNIT,
    lambda y, c: log_of(_triang_side(y, c)[2]) + _LOG_2,
    lambda y, c: _triang_part(y, c, False),
    lambda y, c: _triang_part(y, c, True),
    lambda q, c: _triang_quantile(q, 1 - q, c),
    lambda q, c: _triang_quantile(1 - q, q, c),
    lambda y, c: _triang_log(y, c, False),
    lambda y, c: _triang_log(y, c, True),
    valid=lambda c: np.greater_equal(c, 0) & np.less_equal(c, 1),
)


# --- by their tails ------------------------------------------------------------------------


def _by_tails(
    logpdf: Callable[..., Any], tail: Callable[..., Any], ppf: Any = None, isf: Any = None
) -> list[Any]:
    """The functions of a distribution, by the logarithm of one of the probabilities at a number.

    `tail` returns whether that is the probability up to it, and the logarithm, well below 0.
    """

    def part(own: Callable[..., Any], of_rest: Callable[..., Any], below: bool) -> Any:
        def probability(y: Any, *shapes: Any) -> Any:
            is_below, log_p = tail(y, *shapes)
            return np.where(is_below ^ below, of_rest(log_p), own(log_p))

        return probability

    plain: Any = exp_of, lambda log_p: -np.expm1(log_p)
    logs: Any = np.positive, lambda log_p: np.log1p(-exp_of(log_p))
    parts = [part(own, rest, x) for own, rest in (plain, logs) for x in (True, False)]
    return [logpdf, *parts[:2], ppf, isf, *parts[2:]]


def _log_share(part: Any, whole: Any) -> Any:
    """The logarithm of the ratio of two probabilities, as `truncated` returns them."""
    return part[1] - whole[1] - (part[0] - whole[0]) * ((part[0] + whole[0]) / 2)


def _truncnorm_tail(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    whole = truncated(a, b)
    shares = [_log_share(truncated(*ends), whole) for ends in ((a, y), (y, b))]
    return np.less(*shares), np.where(np.less(*shares), *shares)


def _truncnorm_quantile(log_p: Any, log_rest: Any, a: Any, b: Any) -> Any:
    """By the logarithms of both probabilities."""
    log_mass = _log_share(truncated(a, b), (0, 0))
    low = np.logaddexp(special.log_ndtr(np.maximum(a, -1e150)), log_p + log_mass)
    high = np.logaddexp(special.log_ndtr(np.maximum(-b, -1e150)), log_rest + log_mass)
    is_low = np.less(low, high)
    y = special.ndtri_exp(np.where(is_low, low, high))
    return np.where(is_low, y, -y)


truncnorm = Continuous(
    "truncnorm",
    {"a": -1.0, "b": 2.5},
    (lambda a, b: a, lambda a, b: b),
    *_by_tails(
        lambda y, a, b: _log_share((y, -_LOG_SQRT_2PI), truncated(a, b)),
        _truncnorm_tail,
        lambda q, a, b: _truncnorm_quantile(np.log(q), np.log1p(-q), a, b),
        lambda q, a, b: _truncnorm_quantile(np.log1p(-q), np.log(q), a, b),
    ),
    inner=lambda a, b: np.clip(0.0, a, b),
    valid=np.less,
)


def _skewnorm_logpdf(y: Any, a: Any) -> Any:
    return _NORM[0](y) + special.log_ndtr(a * y) + _LOG_2


def _skewnorm_tail(y: Any, a: Any) -> tuple[Any, Any]:
    is_below = np.less(y, 0)
    # the probability up to -t of a parameter that turns the tail into the light one, if it is not
    t, of_light = np.where(is_below, -y, y), np.where(is_below, a, -a)
    is_light = np.greater_equal(of_light, 0)
    of_light = np.where(is_light, of_light, -of_light)
    is_lost = np.equal(_skewnorm_logpdf(-t, of_light), -_INF)
    far, up = (np.expand_dims(x, -1) for x in (np.where(is_lost, 0, t), of_light))
    log = _skewnorm_logpdf(-far, up)
    width = 40 / (1 + up * up)
    light = integral(
        lambda u: np.exp(_skewnorm_logpdf(-far - u, up) - log),
        0,
        2 * width / (far + np.sqrt(far * far + 2 * width)),
    )
    log_light = np.where(is_lost, -_INF, (log + np.log(light))[..., 0])
    log_both = special.log_ndtr(-t) + _LOG_2
    log_share = np.minimum(log_light - np.where(is_lost, 0, log_both), -_LOG_2)
    heavy = log_both + np.log1p(-np.exp(log_share))
    return is_below, np.where(is_light, log_light, heavy)


skewnorm = without(Continuous, *QUANTILES, "entropy")(
    "skewnorm",
    {"a": 1.5},
    _REAL,
    *_by_tails(_skewnorm_logpdf, _skewnorm_tail),
    valid=np.isfinite,
)


def _erfcx_step(low: Any, width: Any) -> Any:
    """``erfcx(low) - erfcx(low + width)``."""
    is_near = np.less(width, np.absolute(low) / 2 + 0.5)
    start, length = np.expand_dims(low, -1), np.expand_dims(np.where(is_near, width, 0), -1)
    near = integral(lambda x: -erfcx_derivative(1, x), start, length)[..., 0]
    return np.where(is_near, near, special.erfcx(low) - special.erfcx(low + width))


def _invgauss_ends(y: Any, mu: Any) -> tuple[Any, Any]:
    return (y / mu - 1) / np.sqrt(2 * y), (y / mu + 1) / np.sqrt(2 * y)


def _invgauss_tail(y: Any, mu: Any) -> tuple[Any, Any]:
    low, high = _invgauss_ends(y, mu)
    is_below = np.less(low, -0.36)
    below = special.erfcx(np.maximum(-low, 0)) + special.erfcx(high)
    above = _erfcx_step(np.maximum(low, -0.5), 2 / np.sqrt(2 * y))
    return is_below, np.log(np.where(is_below, below, above) / 2) - low * low


invgauss = without(Continuous, *QUANTILES)(
    "invgauss",
    {"mu": 1.5},
    _POSITIVE,
    *_by_tails(
        lambda y, mu: -1.5 * np.log(y) - np.square(_invgauss_ends(y, mu)[0]) - _LOG_SQRT_2PI,
        _invgauss_tail,
    ),
    low_is_open=True,
)


vonmises = without(Continuous, *PROBABILITIES, *QUANTILES, "var", "std")(
    "vonmises",
    {"kappa": 1.5},
    _REAL,
    lambda y, kappa: kappa * special.cosm1(y) - vonmises_rests(kappa)[0] - 2 * _LOG_SQRT_2PI,
    valid=lambda kappa: np.greater_equal(kappa, 0),
)

# --- discrete ones -------------------------------------------------------------------------


def _is_probability(p: Any) -> Any:
    return np.greater_equal(p, 0) & np.less_equal(p, 1)


def _is_count(n: Any) -> Any:
    return np.greater_equal(n, 0) & np.equal(n, np.floor(n))


poisson = without(Discrete, "entropy")(
    "poisson",
    {"mu": 2.5},
    lambda k, mu: GAMMA.density(k + 1, mu),
    lambda k, mu: mu**k * np.exp(-special.gammaln(k + 1) - mu),
    lambda k, mu: GAMMA.sf(k + 1, mu),
    lambda k, mu: GAMMA.cdf(k + 1, mu),
    lambda k, mu: GAMMA.logsf(k + 1, mu),
    lambda k, mu: GAMMA.logcdf(k + 1, mu),
    valid=lambda mu: np.greater_equal(mu, 0),
)
_BINOM: list[Any] = [
    lambda k, n, p: binom_log_mass(k, n - k, p),
    lambda k, n, p: p**k * (1 - p) ** (n - k) / ((n + 1) * special.beta(1 + n - k, 1 + k)),
    lambda k, n, p: BETA.sf(k + 1, n - k, p),
    lambda k, n, p: BETA.cdf(k + 1, n - k, p),
    lambda k, n, p: BETA.logsf(k + 1, n - k, p),
    lambda k, n, p: BETA.logcdf(k + 1, n - k, p),
]
_NBINOM: list[Any] = [
    lambda k, n, p: binom_log_mass(n, k, p) + np.log(n / (n + k)),
    lambda k, n, p: p**n * (1 - p) ** k / ((n + k) * special.beta(n, k + 1)),
    lambda k, n, p: BETA.cdf(n, k + 1, p),
    lambda k, n, p: BETA.sf(n, k + 1, p),
    lambda k, n, p: BETA.logcdf(n, k + 1, p),
    lambda k, n, p: BETA.logsf(n, k + 1, p),
]


def _of_one(functions: Sequence[Any], least: int) -> list[Any]:
    """The functions of counts from `least` on, with a first shape parameter of 1."""
    return [lambda k, p, fn=fn: fn(k - least, 1.0, p) for fn in functions]


binom = without(Discrete, "entropy")(
    "binom",
    {"n": 5, "p": 0.25},
    *_BINOM,
    most=lambda n, p: n,
    whole=1,
    valid=lambda n, p: _is_count(n) & _is_probability(p),
)
bernoulli = Discrete(
    "bernoulli", {"p": 0.25}, *_of_one(_BINOM, 0), most=lambda p: 1, valid=_is_probability
)
nbinom = without(Discrete, "entropy")(
    "nbinom",
    {"n": 2.5, "p": 0.25},
    *_NBINOM,
    valid=lambda n, p: np.greater(n, 0) & np.greater(p, 0) & np.less_equal(p, 1),
)


def _betabinom_logpmf(k: Any, n: Any, a: Any, b: Any) -> Any:
    # true for any p; the terms are small for this one
    p = stop_gradient((a + k) / (a + b + n))
    return binom_log_mass(k, n - k, p) + BETA.density(a, b, p) - BETA.density(a + k, b + n - k, p)


betabinom = without(Discrete, *PROBABILITIES, *QUANTILES, "entropy")(
    "betabinom",
    {"n": 5, "a": 2.0, "b": 3.5},
    _betabinom_logpmf,
    lambda k, n, a, b: 0 * k,
    most=lambda n, a, b: n,
    whole=1,
    valid=lambda n, a, b: _is_count(n) & np.greater(a, 0) & np.greater(b, 0),
)
geom = Discrete(
    "geom",
    {"p": 0.25},
    *_of_one(_NBINOM, 1),
    valid=lambda p: np.greater(p, 0) & np.less_equal(p, 1),
    least=1,
)

# --- of vectors ----------------------------------------------------------------------------


@attrs.frozen(eq=False, slots=False)
class _OfVectors:
    """The base of distributions of vectors."""

    __getattr__ = lacking
    logpdf: ClassVar[Callable[..., Any]]

    def __call__(self, *parameters: Any, **named: Any) -> Any:
        raise TypeError(f"call a method of {(self.__doc__ or '').partition(chr(10))[0]}")

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The density."""
        return exp_of(self.logpdf(x, *args, **kwargs))


def _distances(
    name: str, x: Any, mean: Any, cov: Any, allow_singular: bool
) -> tuple[Any, Any, Any, Any]:
    """Squares of distances by a covariance, half the logarithm of its determinant, its rank and
    its size.
    """
    x, cov = floating(x), floating(cov)
    mean = None if mean is None else np.atleast_1d(floating(mean))
    n = (cov.shape[0] if cov.ndim == 2 else 1) if mean is None else mean.shape[0]
    if cov.ndim < 2:
        cov = cov * np.eye(n)
    if cov.shape != (n, n) or (mean is not None and mean.ndim > 1):
        raise ValueError(
            f"{name}: the covariance of {n} variables must have the shape {(n, n)}; it has "
            f"{cov.shape}"
        )
    x = x if x.ndim > 1 or (x.ndim == 1 and n > 1) else x[..., None]
    if x.shape[-1] != n:
        raise ValueError(f"{name}: the last axis of x must have a length of {n}")
    apart, rank, is_outside = x if mean is None else x - mean, n, np.False_
    if allow_singular:
        values, vectors = np.linalg.eigh(stop_gradient(cov))
        eps = np.finfo(cov.dtype).eps * (1e6 if cov.dtype == float else 1e3)
        least = eps * np.max(np.absolute(values))
        is_null = np.less_equal(np.absolute(values), least)
        rank = n - np.sum(is_null)
        # the projection to the rest, with the slopes of a formula that has fewer digits
        slopes = np.eye(n) - np.linalg.pinv(cov, rcond=eps) @ cov
        slopes = np.where(np.less(rank, n), slopes - stop_gradient(slopes), 0)
        rest = (vectors * is_null) @ vectors.T + slopes
        beyond, cov = apart @ rest, cov + rest
        apart = apart - beyond
        is_outside = np.greater_equal(np.sum(beyond * beyond, axis=-1), least * least)
    factor = cholesky(cov)
    flat = solve(factor, np.reshape(apart, (-1, n)).T)
    squares = np.reshape(np.sum(flat * flat, axis=0), apart.shape[:-1])
    half_log_det = np.sum(np.log(np.diagonal(factor)))
    return np.where(is_outside, _INF, squares), half_log_det, rank, n


class _MultivariateNormal(_OfVectors):
    """`scipy.stats.multivariate_normal`: pdf, logpdf and entropy, each called as in SciPy.

    The arguments are ``x, mean=None, cov=1, allow_singular=False``: points along the last axis, a
    vector of zeros by default, and a matrix, a vector of variances, or one variance. The gradient
    by the covariance is symmetric. If it is singular, that is along matrices of the same rank.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import multivariate_normal
    >>> tg.grad(multivariate_normal.logpdf)(np.array([1.0, 0.0]), cov=np.diag([4.0, 1.0]))
    array([-0.25,  0.  ])
    """

    name: ClassVar[str] = "multivariate_normal"

    def logpdf(self, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
        """The logarithm of the density."""
        squares, half_log_det, rank, _ = _distances(self.name, x, mean, cov, allow_singular)
        return number(np.squeeze(-squares / 2 - half_log_det - rank * _LOG_SQRT_2PI))

    def entropy(self, mean: Any = None, cov: Any = 1) -> Any:
        """The entropy, in natural units."""
        x = np.zeros(np.shape(cov)[1:] or 1) if mean is None else mean
        _, half_log_det, rank, _ = _distances(self.name, x, mean, cov, True)
        return number(half_log_det + rank * (_LOG_SQRT_2PI + 0.5))


class _MultivariateT(_OfVectors):
    """`scipy.stats.multivariate_t`: pdf and logpdf, each called as in SciPy.

    The arguments are ``x, loc=None, shape=1, df=1``, the first three as those of
    `multivariate_normal`, which it is for infinitely many degrees of freedom.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import multivariate_t
    >>> tg.grad(multivariate_t.logpdf)(np.array([1.0, 0.0]), shape=np.eye(2), df=2.0).round(4)
    array([-1.3333,  0.    ])
    """

    name: ClassVar[str] = "multivariate_t"

    def logpdf(self, x: Any, loc: Any = None, shape: Any = 1, df: Any = 1) -> Any:
        """The logarithm of the density."""
        squares, half_log_det, _, n = _distances(self.name, x, loc, shape, False)
        df, per_df = floating(df), 1 / floating(df)
        steps = [half_step_rest(0, (df + i) / 2) + np.log1p(i * per_df) / 2 for i in range(n)]
        tail = (1 + n * per_df) / 2 * _log1p_over(per_df, squares)
        y = sum(steps, -half_log_det - n * _LOG_SQRT_2PI) - tail
        return number(np.squeeze(np.where(np.greater(df, 0), y, np.nan)))


class _Multinomial(_OfVectors):
    """`scipy.stats.multinomial`: pmf, logpmf and mean, each called as in SciPy.

    The arguments are ``x, n, p``: counts along the last axis, their sum, and the probabilities,
    which sum to 1; otherwise the result is nan. The gradient by each is the formula's.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import multinomial
    >>> tg.grad(lambda p: multinomial.logpmf([1, 3], 4, p))(np.array([0.25, 0.75]))
    array([4., 4.])
    """

    name: ClassVar[str] = "multinomial"
    pdf: Any = property()

    def pmf(self, x: Any, n: Any, p: Any) -> Any:
        """The probability of counts."""
        x, n, p, rest, known = self._read(x, n, p)
        masses = np.prod(poisson.pmf(x, n[..., None] * p), axis=-1)
        return known(masses / poisson.pmf(n, n) * np.exp(rest), 0.0)

    def logpmf(self, x: Any, n: Any, p: Any) -> Any:
        """The logarithm of the probability of counts."""
        x, n, p, rest, known = self._read(x, n, p)
        masses = np.sum(poisson.logpmf(x, n[..., None] * p), axis=-1)
        return known(masses - poisson.logpmf(n, n) + rest, -_INF)

    def _read(self, x: Any, n: Any, p: Any) -> tuple[Any, ...]:
        """The arguments, ``n * (sum(p) - 1)``, and a function that puts in what is known.

        The distribution is that of independent counts of Poisson's with the same sum.
        """
        x, n, p = floating(x), floating(n), floating(p)
        if x.ndim == 0 or x.shape[-1] != p.shape[-1]:
            raise ValueError(
                "multinomial: the last axis of the counts must be as long as that of p; the "
                f"shapes are {x.shape} and {p.shape}"
            )
        excess, fits = np.sum(p, axis=-1) - 1, np.equal(np.sum(x, axis=-1), n)
        is_valid = _is_count(n) & np.all(_is_probability(p), axis=-1)
        is_valid = is_valid & np.less_equal(np.absolute(excess), 10 * np.finfo(p.dtype).eps)
        n = np.where(_is_count(n), np.floor(n), 0)

        def known(y: Any, otherwise: float) -> Any:
            return number(np.where(is_valid, np.where(fits, y, otherwise), np.nan))

        return x, n, p, n * excess, known

    def mean(self, n: Any, p: Any) -> Any:
        """The mean."""
        return floating(n)[..., None] * floating(p)


class _Dirichlet(_OfVectors):
    """`scipy.stats.dirichlet`: pdf and logpdf, each called as in SciPy.

    The arguments are ``x, alpha``. The first axis of `x` has the entries of a point, which sum to
    1, or all but the last of them; further axes are those of the points. With all entries given,
    the gradient by each is the formula's, which is defined off the simplex too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import dirichlet
    >>> tg.grad(dirichlet.logpdf)(np.array([0.25, 0.75]), np.array([2.0, 4.0]))
    array([4., 4.])
    """

    name: ClassVar[str] = "dirichlet"

    def logpdf(self, x: Any, alpha: Any) -> Any:
        """The logarithm of the density."""
        x, alpha = floating(x), floating(alpha)
        if alpha.ndim != 1 or x.ndim < 1 or alpha.shape[0] - x.shape[0] not in (0, 1):
            raise ValueError(
                "dirichlet: the first axis of x must be as long as the vector alpha, or shorter by "
                f"one; the shapes are {x.shape} and {alpha.shape}"
            )
        if x.shape[0] < alpha.shape[0]:
            x = np.concatenate([x, 1 - np.sum(x, axis=0, keepdims=True)])
        values, shapes = seen(x), seen(alpha)
        if shapes is not None and not np.all(shapes > 0):
            raise ValueError("dirichlet: every element of alpha must be above 0")
        if values is not None and (
            np.any(values < 0) or np.any(values > 1) or np.any(abs(np.sum(values, 0) - 1) > 1e-9)
        ):
            raise ValueError("dirichlet: the entries of each x must be from 0 to 1, and sum to 1")
        if values is not None and shapes is not None and np.any(values[shapes < 1] == 0):
            raise ValueError("dirichlet: an entry of x is 0 where alpha is below 1")
        log_beta = np.sum(special.gammaln(alpha)) - special.gammaln(np.sum(alpha))
        powers = np.reshape(alpha - 1, (-1, *[1] * (x.ndim - 1)))
        return number(np.sum(special.xlogy(powers, x), axis=0) - log_beta)


multivariate_normal = _MultivariateNormal()
dirichlet = _Dirichlet()
multinomial = _Multinomial()
multivariate_t = _MultivariateT()

# --- statistics of samples -----------------------------------------------------------------

_like_scipy = with_scipys_options(_scipy)


@_like_scipy
def zscore(a: Any, axis: Any = 0, ddof: int = 0) -> Any:
    """The distances to the mean, in standard deviations; nan where all numbers are the same.

    Examples
    --------
    >>> from tapegrad.scipy.stats import zscore
    >>> zscore(np.array([1.0, 3.0]))
    array([-1.,  1.])
    """
    a = floating(a)
    ends = [np.equal(a, fn(a, axis=axis, keepdims=True)) for fn in (np.min, np.max)]
    std = np.std(np.where(ends[0] & ends[1], np.nan, a), axis=axis, ddof=ddof, keepdims=True)
    return (a - np.mean(a, axis=axis, keepdims=True)) / std


@_like_scipy
def gmean(a: Any, axis: Any = 0, weights: Any = None, keepdims: Any = False) -> Any:
    """The geometric mean of numbers, nan if one is below 0.

    Examples
    --------
    >>> from tapegrad.scipy.stats import gmean
    >>> gmean(np.array([1.0, 4.0]))
    np.float64(2.0)
    """
    a = floating(a)
    logs: Any = np.where(np.less(a, 0), np.nan, log_of(a))
    return exp_of(np.average(logs, axis=axis, weights=weights, keepdims=keepdims))


def _standard_moment(a: Any, axis: Any, keepdims: bool, power: int) -> tuple[Any, int]:
    """A central moment divided by a power of the variance, and how many numbers it is of."""
    a = floating(a)
    mean = np.mean(a, axis=axis, keepdims=True)
    square = np.mean(np.square(a - mean), axis=axis, keepdims=True)
    # next to nothing
    is_flat = np.less_equal(square, np.square(np.finfo(a.dtype).eps * mean))
    scale = np.sqrt(np.where(is_flat, np.nan, square))
    moment = np.mean(((a - mean) / scale) ** power, axis=axis, keepdims=keepdims)
    return moment, a.size // max(mean.size, 1)


@_like_scipy
def skew(a: Any, axis: Any = 0, bias: bool = True, *, keepdims: bool = False) -> Any:
    """The skewness of numbers; nan where they are all the same.

    Examples
    --------
    >>> from tapegrad.scipy.stats import skew
    >>> skew(np.array([1.0, 2.0, 6.0])).round(4)
    np.float64(0.5952)
    """
    y, n = _standard_moment(a, axis, keepdims, 3)
    return number(y if bias or n < 3 else math.sqrt(n * (n - 1)) / (n - 2) * y)


@_like_scipy
def kurtosis(
    a: Any, axis: Any = 0, fisher: bool = True, bias: bool = True, *, keepdims: bool = False
) -> Any:
    """The kurtosis of numbers, by default less that of a normal distribution.

    Examples
    --------
    >>> from tapegrad.scipy.stats import kurtosis
    >>> kurtosis(np.array([1.0, 2.0, 6.0])).round(4)
    np.float64(-1.5)
    """
    y, n = _standard_moment(a, axis, keepdims, 4)
    if not bias and n > 3:
        y = ((n * n - 1) * y - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3)) + 3
    return number(y - 3 if fisher else y)


class PearsonRResult(NamedTuple):
    """A correlation coefficient, and the probability of one as far from 0 of normal numbers."""

    statistic: Any
    pvalue: Any


@_like_scipy
def pearsonr(x: Any, y: Any, *, axis: int = 0) -> PearsonRResult:
    """Pearson's correlation coefficient along an axis, and its two-sided p-value.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import pearsonr
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> pearsonr(x, np.array([0.0, 3.0, 5.0])).statistic.round(4)
    np.float64(0.9538)
    """
    x, y = np.broadcast_arrays(floating(x), floating(y))
    x, y = zscore(x, axis), zscore(y, axis)
    r = number(np.clip(np.mean(x * y, axis=axis), -1, 1))
    half = x.shape[axis] / 2 - 1
    return PearsonRResult(
        r, 2 * beta.cdf((1 - np.absolute(r)) / 2, half, half) if half else 0 * r + 1
    )
