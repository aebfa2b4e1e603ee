"""Probability distributions under the names of ``scipy.stats``.

Their densities and probabilities are composed of the ops of `tapegrad.scipy.special`, so that they
have derivatives by every argument, of any order.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.ops.casting import floating, number, seen
from tapegrad.ops.decompositions import cholesky
from tapegrad.ops.inverses import solve
from tapegrad.ops.scipy_special.incomplete import (
    BETA,
    GAMMA,
    STUDENT,
    binom_log_mass,
    gamma_isf,
    gamma_ppf,
    t_ppf,
)
from tapegrad.scipy import special
from tapegrad.scipy._distributions import Continuous, Discrete, exp_of, lacking, log_of

# files name it by this module
from tapegrad.scipy._distributions import Frozen as Frozen

__all__ = ["beta", "binom", "chi2", "dirichlet", "expon", "gamma", "lognorm", "multivariate_normal"]
__all__ += ["norm", "poisson", "t", "uniform"]
__dir__ = __all__.copy

_INF = math.inf
_LOG_SQRT_2PI = math.log(2 * math.pi) / 2

# --- continuous ones -----------------------------------------------------------------------


def _number_last(*ops: Any) -> list[Any]:
    """Functions of a number and shape parameters, of those that take the number last."""
    return [lambda y, *shapes, op=op: op(*shapes, y) for op in ops]


norm = Continuous(
    "norm",
    (),
    (),
    -_INF,
    _INF,
    lambda y: -y * y / 2 - _LOG_SQRT_2PI,
    special.ndtr,
    lambda y: special.ndtr(-y),
    special.ndtri,
    lambda q: -special.ndtri(q),
    special.log_ndtr,
    lambda y: special.log_ndtr(-y),
)
t = Continuous(
    "t",
    (3.5,),
    ("df",),
    -_INF,
    _INF,
    *_number_last(STUDENT.density, STUDENT.cdf, STUDENT.sf),
    *_number_last(t_ppf, lambda df, q: -t_ppf(df, q), STUDENT.logcdf, STUDENT.logsf),
)
gamma = Continuous(
    "gamma",
    (2.5,),
    ("a",),
    0.0,
    _INF,
    *_number_last(GAMMA.density, GAMMA.cdf, GAMMA.sf),
    *_number_last(gamma_ppf, gamma_isf, GAMMA.logcdf, GAMMA.logsf),
)
chi2 = Continuous(
    "chi2",
    (3.5,),
    ("df",),
    0.0,
    _INF,
    lambda y, df: GAMMA.density(df / 2, y / 2) - math.log(2),
    lambda y, df: GAMMA.cdf(df / 2, y / 2),
    lambda y, df: GAMMA.sf(df / 2, y / 2),
    lambda q, df: 2 * gamma_ppf(df / 2, q),
    lambda q, df: 2 * gamma_isf(df / 2, q),
    lambda y, df: GAMMA.logcdf(df / 2, y / 2),
    lambda y, df: GAMMA.logsf(df / 2, y / 2),
)
beta = Continuous(
    "beta",
    (2.0, 3.5),
    ("a", "b"),
    0.0,
    1.0,
    *_number_last(BETA.density, BETA.cdf, BETA.sf),
    *_number_last(special.betaincinv, special.betainccinv, BETA.logcdf, BETA.logsf),
)
expon = Continuous(
    "expon",
    (),
    (),
    0.0,
    _INF,
    lambda y: -y,
    lambda y: -np.expm1(-y),
    lambda y: np.exp(-y),
    lambda q: -np.log1p(-q),
    lambda q: -np.log(q),
    logsf_=lambda y: -y,
)
lognorm = Continuous(
    "lognorm",
    (0.75,),
    ("s",),
    0.0,
    _INF,
    lambda y, s: -np.square(np.log(y) / s) / 2 - np.log(s) - np.log(y) - _LOG_SQRT_2PI,
    lambda y, s: special.ndtr(log_of(y) / s),
    lambda y, s: special.ndtr(-log_of(y) / s),
    lambda q, s: np.exp(s * special.ndtri(q)),
    lambda q, s: np.exp(-s * special.ndtri(q)),
    lambda y, s: special.log_ndtr(log_of(y) / s),
    lambda y, s: special.log_ndtr(-log_of(y) / s),
)
uniform = Continuous(
    "uniform",
    (),
    (),
    0.0,
    1.0,
    lambda y: 0 * y,
    lambda y: y,
    lambda y: 1 - y,
    lambda q: q,
    lambda q: 1 - q,
)


# --- discrete ones -------------------------------------------------------------------------


def _is_probability(p: Any) -> Any:
    return np.greater_equal(p, 0) & np.less_equal(p, 1)


poisson = Discrete(
    "poisson",
    (2.5,),
    ("mu",),
    lambda k, mu: GAMMA.density(k + 1, mu),
    lambda k, mu: GAMMA.sf(k + 1, mu),
    lambda k, mu: GAMMA.cdf(k + 1, mu),
    lambda k, mu: GAMMA.logsf(k + 1, mu),
    lambda k, mu: GAMMA.logcdf(k + 1, mu),
    lambda k, mu: mu**k * np.exp(-special.gammaln(k + 1) - mu),
    valid=lambda mu: np.greater_equal(mu, 0),
)
binom = Discrete(
    "binom",
    (5, 0.25),
    ("n", "p"),
    lambda k, n, p: binom_log_mass(k, n - k, p),
    lambda k, n, p: BETA.sf(k + 1, n - k, p),
    lambda k, n, p: BETA.cdf(k + 1, n - k, p),
    lambda k, n, p: BETA.logsf(k + 1, n - k, p),
    lambda k, n, p: BETA.logcdf(k + 1, n - k, p),
    lambda k, n, p: p**k * (1 - p) ** (n - k) / ((n + 1) * special.beta(1 + n - k, 1 + k)),
    lambda n, p: n,
    1,
    valid=lambda n, p: np.greater_equal(n, 0) & _is_probability(p),
)

# --- of vectors ----------------------------------------------------------------------------


@attrs.frozen(eq=False, slots=False)
class _MultivariateNormal:
    """`scipy.stats.multivariate_normal`: pdf and logpdf, each called as in SciPy.

    The arguments are ``x, mean=None, cov=1``: points along the last axis, a vector of zeros by
    default, and a matrix, a vector of variances, or one variance. The covariance must be positive
    definite. Its gradient is symmetric.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import multivariate_normal
    >>> tg.grad(multivariate_normal.logpdf)(np.array([1.0, 0.0]), cov=np.diag([4.0, 1.0]))
    array([-0.25,  0.  ])
    """

    name: ClassVar[str] = "multivariate_normal"
    __getattr__ = lacking

    def pdf(self, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
        """The density."""
        return np.exp(self.logpdf(x, mean, cov, allow_singular))

    def logpdf(self, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
        """The logarithm of the density."""
        if allow_singular:
            raise TypeError(
                "multivariate_normal.logpdf: allow_singular= is not supported; add a small "
                "multiple of the identity to the covariance"
            )
        x, cov = floating(x), floating(cov)
        mean = None if mean is None else np.atleast_1d(floating(mean))
        n = (cov.shape[0] if cov.ndim == 2 else 1) if mean is None else mean.shape[0]
        if cov.ndim < 2:
            cov = cov * np.eye(n)
        if cov.shape != (n, n) or (mean is not None and mean.ndim > 1):
            raise ValueError(
                f"multivariate_normal: the covariance of {n} variables must have the shape "
                f"{(n, n)}; it has {cov.shape}"
            )
        x = x if x.ndim > 1 or (x.ndim == 1 and n > 1) else x[..., None]
        if x.shape[-1] != n:
            raise ValueError(f"multivariate_normal: the last axis of x must have a length of {n}")
        apart = x if mean is None else x - mean
        factor = cholesky(cov)
        flat = solve(factor, np.reshape(apart, (-1, n)).T)
        squares = np.reshape(np.sum(flat * flat, axis=0), apart.shape[:-1])
        half_log_det = np.sum(np.log(np.diagonal(factor)))
        return number(np.squeeze(-squares / 2 - half_log_det - n * _LOG_SQRT_2PI))


@attrs.frozen(eq=False, slots=False)
class _Dirichlet:
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
    __getattr__ = lacking

    def pdf(self, x: Any, alpha: Any) -> Any:
        """The density."""
        return exp_of(self.logpdf(x, alpha))

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
