"""Distributions of vectors, as in `scipy.stats`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import attrs
import numpy as np

from tapegrad.ops.casting import as_floating, as_scalar, stop_gradient, values_if_known
from tapegrad.ops.decompositions import cholesky
from tapegrad.ops.inverses import solve
from tapegrad.ops.scipy_special.gamma_functions import half_step_rest
from tapegrad.scipy import special
from tapegrad.scipy._discrete import is_count, is_probability, poisson
from tapegrad.scipy._distributions import raise_missing, safe_exp
from tapegrad.scipy._moments import log1p_ratio
from tapegrad.types import Array, ArrayLike

__all__ = ["dirichlet", "multinomial", "multivariate_normal", "multivariate_t"]
__dir__ = __all__.copy

_INF = math.inf
_LOG_SQRT_2PI = math.log(2 * math.pi) / 2


@attrs.frozen(eq=False, slots=False)
class _MultivariateDistribution:
    """The base of distributions of vectors."""

    __getattr__ = raise_missing
    logpdf: ClassVar[Callable[..., Array]]

    def __call__(self, *parameters: object, **named: object) -> NoReturn:
        raise TypeError(f"call a method of {(self.__doc__ or '').partition(chr(10))[0]}")

    def pdf(self, x: ArrayLike, *args: ArrayLike, **kwargs: Any) -> Array:
        """The density."""
        return safe_exp(self.logpdf(x, *args, **kwargs))


def _mahalanobis(
    name: str, x: ArrayLike, mean: ArrayLike | None, cov: ArrayLike, allow_singular: bool
) -> tuple[Array, Array, Array | int, int]:
    """Squares of distances by a covariance, half the logarithm of its determinant, its rank and
    its size.
    """
    x, cov = as_floating(x), as_floating(cov)
    mean = None if mean is None else np.atleast_1d(as_floating(mean))
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


class _MultivariateNormal(_MultivariateDistribution):
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

    def logpdf(
        self,
        x: ArrayLike,
        mean: ArrayLike | None = None,
        cov: ArrayLike = 1,
        allow_singular: bool = False,
    ) -> Array:
        """The logarithm of the density."""
        squares, half_log_det, rank, _ = _mahalanobis(self.name, x, mean, cov, allow_singular)
        return as_scalar(np.squeeze(-squares / 2 - half_log_det - rank * _LOG_SQRT_2PI))

    def entropy(self, mean: ArrayLike | None = None, cov: ArrayLike = 1) -> Array:
        """The entropy, in natural units."""
        x = np.zeros(np.shape(cov)[1:] or 1) if mean is None else mean
        _, half_log_det, rank, _ = _mahalanobis(self.name, x, mean, cov, True)
        return as_scalar(half_log_det + rank * (_LOG_SQRT_2PI + 0.5))


class _MultivariateT(_MultivariateDistribution):
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

    def logpdf(
        self, x: ArrayLike, loc: ArrayLike | None = None, shape: ArrayLike = 1, df: ArrayLike = 1
    ) -> Array:
        """The logarithm of the density."""
        squares, half_log_det, _, n = _mahalanobis(self.name, x, loc, shape, False)
        df, per_df = as_floating(df), 1 / as_floating(df)
        steps = [half_step_rest(0, (df + i) / 2) + np.log1p(i * per_df) / 2 for i in range(n)]
        tail = (1 + n * per_df) / 2 * log1p_ratio(per_df, squares)
        y = sum(steps, -half_log_det - n * _LOG_SQRT_2PI) - tail
        return as_scalar(np.squeeze(np.where(np.greater(df, 0), y, np.nan)))


class _Multinomial(_MultivariateDistribution):
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

    def pmf(self, x: ArrayLike, n: ArrayLike, p: ArrayLike) -> Array:
        """The probability of counts."""
        x, n, p, rest, known = self._read_arguments(x, n, p)
        masses = np.prod(poisson.pmf(x, n[..., None] * p), axis=-1)
        return known(masses / poisson.pmf(n, n) * np.exp(rest), 0.0)

    def logpmf(self, x: ArrayLike, n: ArrayLike, p: ArrayLike) -> Array:
        """The logarithm of the probability of counts."""
        x, n, p, rest, known = self._read_arguments(x, n, p)
        masses = np.sum(poisson.logpmf(x, n[..., None] * p), axis=-1)
        return known(masses - poisson.logpmf(n, n) + rest, -_INF)

    def _read_arguments(
        self, x: ArrayLike, n: ArrayLike, p: ArrayLike
    ) -> tuple[Array, Array, Array, Array, Callable[[Array, float], Array]]:
        """The arguments, ``n * (sum(p) - 1)``, and a function that puts in what is known.

        The distribution is that of independent counts of Poisson's with the same sum.
        """
        x, n, p = as_floating(x), as_floating(n), as_floating(p)
        if x.ndim == 0 or x.shape[-1] != p.shape[-1]:
            raise ValueError(
                "multinomial: the last axis of the counts must be as long as that of p; the "
                f"shapes are {x.shape} and {p.shape}"
            )
        excess, fits = np.sum(p, axis=-1) - 1, np.equal(np.sum(x, axis=-1), n)
        is_valid = is_count(n) & np.all(is_probability(p), axis=-1)
        is_valid = is_valid & np.less_equal(np.absolute(excess), 10 * np.finfo(p.dtype).eps)
        n = np.where(is_count(n), np.floor(n), 0)

        def mask(y: Array, otherwise: float) -> Array:
            return as_scalar(np.where(is_valid, np.where(fits, y, otherwise), np.nan))

        return x, n, p, n * excess, mask

    def mean(self, n: ArrayLike, p: ArrayLike) -> Array:
        """The mean."""
        return as_floating(n)[..., None] * as_floating(p)


class _Dirichlet(_MultivariateDistribution):
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

    def logpdf(self, x: ArrayLike, alpha: ArrayLike) -> Array:
        """The logarithm of the density."""
        x, alpha = as_floating(x), as_floating(alpha)
        if alpha.ndim != 1 or x.ndim < 1 or alpha.shape[0] - x.shape[0] not in (0, 1):
            raise ValueError(
                "dirichlet: the first axis of x must be as long as the vector alpha, or shorter by "
                f"one; the shapes are {x.shape} and {alpha.shape}"
            )
        if x.shape[0] < alpha.shape[0]:
            x = np.concatenate([x, 1 - np.sum(x, axis=0, keepdims=True)])
        values, shapes = values_if_known(x), values_if_known(alpha)
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
        return as_scalar(np.sum(special.xlogy(powers, x), axis=0) - log_beta)


multivariate_normal = _MultivariateNormal()
dirichlet = _Dirichlet()
multinomial = _Multinomial()
multivariate_t = _MultivariateT()
