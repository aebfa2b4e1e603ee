"""Distributions of counts, as in `scipy.stats`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapegrad.ops.casting import stop_gradient
from tapegrad.ops.scipy_special.incomplete import BETA, GAMMA, binom_log_mass
from tapegrad.scipy import special
from tapegrad.scipy._distributions import (
    PROBABILITIES,
    QUANTILES,
    Discrete,
    Formula,
    without_methods,
)
from tapegrad.types import Array

__all__ = ["bernoulli", "betabinom", "binom", "geom", "is_count", "is_probability", "nbinom"]
__all__ += ["poisson"]
__dir__ = __all__.copy


def is_probability(p: Array) -> Array:
    return np.greater_equal(p, 0) & np.less_equal(p, 1)


def is_count(n: Array) -> Array:
    return np.greater_equal(n, 0) & np.equal(n, np.floor(n))


poisson = without_methods(Discrete, "entropy")(
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
_BINOM: list[Formula] = [
    lambda k, n, p: binom_log_mass(k, n - k, p),
    lambda k, n, p: p**k * (1 - p) ** (n - k) / ((n + 1) * special.beta(1 + n - k, 1 + k)),
    lambda k, n, p: BETA.sf(k + 1, n - k, p),
    lambda k, n, p: BETA.cdf(k + 1, n - k, p),
    lambda k, n, p: BETA.logsf(k + 1, n - k, p),
    lambda k, n, p: BETA.logcdf(k + 1, n - k, p),
]
_NBINOM: list[Formula] = [
    lambda k, n, p: binom_log_mass(n, k, p) + np.log(n / (n + k)),
    lambda k, n, p: p**n * (1 - p) ** k / ((n + k) * special.beta(n, k + 1)),
    lambda k, n, p: BETA.cdf(n, k + 1, p),
    lambda k, n, p: BETA.sf(n, k + 1, p),
    lambda k, n, p: BETA.logcdf(n, k + 1, p),
    lambda k, n, p: BETA.logsf(n, k + 1, p),
]


def _fix_first_at_one(functions: Sequence[Formula], smallest: int) -> list[Formula]:
    """The functions of counts from `least` on, with a first shape parameter of 1."""
    return [lambda k, p, fn=fn: fn(k - smallest, 1.0, p) for fn in functions]


binom = without_methods(Discrete, "entropy")(
    "binom",
    {"n": 5, "p": 0.25},
    *_BINOM,
    largest=lambda n, p: n,
    n_counts=1,
    valid=lambda n, p: is_count(n) & is_probability(p),
)
bernoulli = Discrete(
    "bernoulli",
    {"p": 0.25},
    *_fix_first_at_one(_BINOM, 0),
    largest=lambda p: 1,
    valid=is_probability,
)
nbinom = without_methods(Discrete, "entropy")(
    "nbinom",
    {"n": 2.5, "p": 0.25},
    *_NBINOM,
    valid=lambda n, p: np.greater(n, 0) & np.greater(p, 0) & np.less_equal(p, 1),
)


def _betabinom_logpmf(k: Array, n: Array, a: Array, b: Array) -> Array:
    # true for any p; the terms are small for this one
    p = stop_gradient((a + k) / (a + b + n))
    return binom_log_mass(k, n - k, p) + BETA.density(a, b, p) - BETA.density(a + k, b + n - k, p)


betabinom = without_methods(Discrete, *PROBABILITIES, *QUANTILES, "entropy")(
    "betabinom",
    {"n": 5, "a": 2.0, "b": 3.5},
    _betabinom_logpmf,
    lambda k, n, a, b: 0 * k,
    largest=lambda n, a, b: n,
    n_counts=1,
    valid=lambda n, a, b: is_count(n) & np.greater(a, 0) & np.greater(b, 0),
)
geom = Discrete(
    "geom",
    {"p": 0.25},
    *_fix_first_at_one(_NBINOM, 1),
    valid=lambda p: np.greater(p, 0) & np.less_equal(p, 1),
    smallest=1,
)
