"""Probability distributions under the names of ``scipy.stats``.

Their densities and probabilities are composed of the ops of `tapegrad.scipy.special`, so that they
have derivatives by every argument, of any order. Outside the support these are 0. A slope of a
quantile is that of the inverse of a function: ``1 / pdf`` by the probability, and
``-(dF / dparameter) / pdf`` by a parameter.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from tapegrad.ops.casting import floating, number, seen, to_array
from tapegrad.ops.decompositions import cholesky
from tapegrad.ops.inverses import solve
from tapegrad.ops.scipy_special import incomplete
from tapegrad.scipy import special

__all__ = ["beta", "binom", "chi2", "dirichlet", "expon", "gamma", "lognorm", "multivariate_normal"]
__all__ += ["norm", "poisson", "t", "uniform"]
__dir__ = __all__.copy

_INF = math.inf
_LOG_SQRT_2PI = math.log(2 * math.pi) / 2

# --- what the distributions share ----------------------------------------------------------


def _log(p: Any) -> Any:
    """The logarithm, which is -inf at 0 and has no slope there."""
    positive = np.greater(p, 0)
    return np.where(positive, np.log(np.where(positive, p, 1)), np.where(np.isnan(p), p, -_INF))


def _within(inside: Any, fn: Callable[..., Any], y: Any, other: float, outside: Any) -> Any:
    """A function where it is defined, and a constant elsewhere; the slope there is 0."""
    return np.where(inside, fn(np.where(inside, y, other)), outside)


def _exp(logarithm: Any) -> Any:
    """The number of a logarithm; 0 of -inf, with a slope of 0."""
    return number(_within(np.not_equal(logarithm, -_INF), np.exp, logarithm, 0.0, 0.0))


def _lacking(distribution: Any, attribute: str) -> Any:
    """Raise for what a distribution does not have."""
    name = type(distribution).__dict__.get("name") or distribution.__dict__.get("name")
    raise AttributeError(
        f"tapegrad.scipy.stats.{name} has no {attribute!r}; call SciPy's on values (t.value)"
    )


@attrs.frozen(eq=False, slots=False)
class _Distribution:
    """What every distribution has: shape parameters, a location, and perhaps a scale.

    Attributes
    ----------
    name
        SciPy's name for it.
    example
        Shape parameters that it has.
    shapes
        The names of the shape parameters.
    valid
        Whether shape parameters are allowed; by default the positive ones are.
    """

    name: str
    example: tuple[float, ...]
    shapes: tuple[str, ...]
    valid: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    __tree_static__: ClassVar[bool] = True
    trailing: ClassVar[tuple[tuple[str, int], ...]] = (("loc", 0),)
    kinds: ClassVar[str] = ""

    def __attrs_post_init__(self) -> None:
        named = [*[(x, inspect.Parameter.empty) for x in self.shapes], *self.trailing]
        parameters = [
            inspect.Parameter(x, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for x, default in named
        ]
        self.__dict__["__signature__"] = inspect.Signature(parameters)
        shapes = "".join(f", {x}" for x in self.example)
        self.__dict__["__doc__"] = _DOC.format(
            name=self.name,
            kinds=self.kinds,
            first="x" if "pdf" in self.kinds else "k",
            names=", ".join(x for x, _ in named),
            call=f"{self.name}.cdf, [0.5{shapes}]"
            if "pdf" in self.kinds
            else f"lambda p: {self.name}.logpmf(2{shapes.rpartition(',')[0]}, p), [0.5]",
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Frozen:
        given = self._given("a frozen distribution", args, kwargs)
        whole = getattr(self, "whole", 0)
        floats = [float(x) if type(x) is int else x for x in given[whole:]]
        return Frozen(self, (*given[:whole], *floats))

    def __reduce__(self) -> str:
        return self.name

    __getattr__ = _lacking

    def __repr__(self) -> str:
        return f"<{self.name} of tapegrad.scipy.stats>"

    def _given(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """The shape parameters, location and scale of a call."""
        signature = self.__dict__["__signature__"]
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {method} takes {signature} last: {error}") from None
        bound.apply_defaults()
        # a Python number takes the dtype of what it stands beside
        return tuple([x if isinstance(x, int | float) else to_array(x) for x in bound.args])

    def _checked(self, y: Any, x: Any, shapes: Sequence[Any], loc: Any = 0, scale: Any = 1) -> Any:
        """y in the dtype of the arguments; it is nan where the parameters are not allowed."""
        dtype = np.result_type(x, *shapes, loc, scale)
        y = y if y.dtype == dtype else y.astype(dtype)
        fits = [np.greater(scale, 0)]
        if self.valid is None:
            fits += [np.greater(x, 0) for x in shapes]
        else:
            fits.append(self.valid(*shapes))
        for fit in fits:
            if not isinstance(fit, bool | np.bool_) or not fit:
                y = np.where(fit, y, np.nan)
        return number(y)

    def _quantile(self, q: Any, quantile: Callable[[Any], Any], ends: tuple[Any, Any]) -> Any:
        """A quantile between the ends of the support, which it is at 0 and 1; nan beyond."""
        q = floating(q)
        beyond = np.where(np.equal(q, 0), ends[0], np.where(np.equal(q, 1), ends[1], np.nan))
        return _within(np.greater(q, 0) & np.less(q, 1), quantile, q, 0.5, beyond)


_DOC = """`scipy.stats.{name}`: {kinds}, each called as in SciPy.

The arguments after the first, ``{first}`` or a probability ``q``, are ``{names}``. Called itself,
it gives a frozen distribution: a tree of these. float32 stays float32.

Examples
--------
>>> import tapegrad as tg
>>> from tapegrad.scipy.stats import {name}
>>> tg.testing.check_grads({call})"""


@attrs.frozen(eq=False)
class Frozen:
    """A distribution with its parameters, which are a tree; it has the distribution's methods.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import norm
    >>> tg.grad(lambda scale: norm(0.0, scale).logpdf(1.0))(2.0)
    array(-0.375)
    """

    distribution: Any
    parameters: tuple[Any, ...]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.distribution, name)
        if name.startswith("_") or not callable(method):
            raise AttributeError(f"a frozen {self.distribution.name} has no method {name}")
        return lambda x: method(x, *self.parameters)


@attrs.frozen(eq=False, slots=False, repr=False)
class _Continuous(_Distribution):
    """A distribution with a density, by functions of the standard one and its shape parameters.

    Attributes
    ----------
    low, high
        The ends of the support.
    logpdf_, cdf_, sf_, ppf_, isf_
        As SciPy's methods, within the support.
    logcdf_, logsf_
        By default the logarithms of these.
    inner
        A point inside the support.
    """

    low: float
    high: float
    logpdf_: Callable[..., Any]
    cdf_: Callable[..., Any]
    sf_: Callable[..., Any]
    ppf_: Callable[..., Any]
    isf_: Callable[..., Any]
    logcdf_: Callable[..., Any] | None = None
    logsf_: Callable[..., Any] | None = None
    inner: float = 0.5
    trailing: ClassVar[tuple[tuple[str, int], ...]] = (("loc", 0), ("scale", 1))
    kinds: ClassVar[str] = "pdf, logpdf, cdf, logcdf, sf, logsf, ppf and isf"

    def _standard(self, method: str, x: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any, Any]:
        *shapes, loc, scale = self._given(method, args, kwargs)
        x = floating(x)
        x = x if type(loc) is int and not loc else x - loc
        return x if type(scale) is int and scale == 1 else x / scale, shapes, loc, scale

    def _inside(self, y: Any) -> Any:
        # nan is not outside; at the end that it does not reach, a logarithm has no slope
        is_open = self.low == -_INF or self.name == "lognorm"
        return ~(np.less_equal(y, self.low) if is_open else np.less(y, self.low)) & ~(
            np.greater_equal(y, self.high) if self.high == _INF else np.greater(y, self.high)
        )

    def _probability(
        self, method: str, fn: Callable[..., Any], ends: tuple[float, float], x: Any, a: Any, k: Any
    ) -> Any:
        y, shapes, loc, scale = self._standard(method, x, a, k)
        inside, is_below = self._inside(y), np.less(y, 0.5)  # every support is around it
        if method == "logcdf":  # which is -inf at the end too
            inside = inside & np.not_equal(y, self.low)
        outside = np.where(is_below, *ends)
        found = _within(inside, lambda y: fn(y, *shapes), y, self.inner, outside)
        return self._checked(found, floating(x), shapes, loc, scale)

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The density; 0 outside the support. At an end of it where it is 0, its slope is 0 too."""
        return _exp(self.logpdf(x, *args, **kwargs))

    def logpdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the density; -inf outside the support."""
        y, shapes, loc, scale = self._standard("logpdf", x, args, kwargs)
        inside = self._inside(y)
        shift = 0 if type(scale) is int and scale == 1 else np.log(np.absolute(scale))
        found = _within(inside, lambda y: self.logpdf_(y, *shapes) - shift, y, self.inner, -_INF)
        return self._checked(found, floating(x), shapes, loc, scale)

    def cdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability up to x."""
        return self._probability("cdf", self.cdf_, (0.0, 1.0), x, args, kwargs)

    def sf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability beyond x, which is precise where that is small."""
        return self._probability("sf", self.sf_, (1.0, 0.0), x, args, kwargs)

    def logcdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability up to x."""
        fn = self.logcdf_ or (lambda *of: _log(self.cdf_(*of)))
        return self._probability("logcdf", fn, (-_INF, 0.0), x, args, kwargs)

    def logsf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability beyond x."""
        fn = self.logsf_ or (lambda *of: _log(self.sf_(*of)))
        return self._probability("logsf", fn, (0.0, -_INF), x, args, kwargs)

    def ppf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """The quantile: the inverse of `cdf`."""
        return self._inverse("ppf", self.ppf_, (self.low, self.high), q, args, kwargs)

    def isf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """The quantile from above: the inverse of `sf`."""
        return self._inverse("isf", self.isf_, (self.high, self.low), q, args, kwargs)

    def _inverse(
        self, method: str, fn: Callable[..., Any], ends: tuple[float, float], q: Any, a: Any, k: Any
    ) -> Any:
        *shapes, loc, scale = self._given(method, a, k)
        y = self._quantile(q, lambda q: fn(q, *shapes), ends)
        return self._checked(y * scale + loc, floating(q), shapes, loc, scale)


# --- continuous ones -----------------------------------------------------------------------


def _log1mexp(y: Any) -> Any:
    """``log(1 - exp(-y))``, without loss of digits at either end."""
    is_small = np.less(y, 0.7)
    small, large = np.where(is_small, y, 0.7), np.where(is_small, 0.7, y)
    return np.where(is_small, _log(-np.expm1(-small)), np.log1p(-np.exp(-large)))


norm = _Continuous(
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
t = _Continuous(
    "t",
    (3.5,),
    ("df",),
    -_INF,
    _INF,
    lambda y, df: incomplete.t_log_density(df, y),
    lambda y, df: special.stdtr(df, y),
    lambda y, df: special.stdtr(df, -y),
    lambda q, df: special.stdtrit(df, q),
    lambda q, df: -special.stdtrit(df, q),
)
gamma = _Continuous(
    "gamma",
    (2.5,),
    ("a",),
    0.0,
    _INF,
    lambda y, a: special.xlogy(a - 1, y) - y - special.gammaln(a),
    lambda y, a: special.gammainc(a, y),
    lambda y, a: special.gammaincc(a, y),
    lambda q, a: special.gammaincinv(a, q),
    lambda q, a: special.gammainccinv(a, q),
    lambda y, a: incomplete.log_gammainc(a, y),
    lambda y, a: incomplete.log_gammaincc(a, y),
)
chi2 = _Continuous(
    "chi2",
    (3.5,),
    ("df",),
    0.0,
    _INF,
    lambda y, df: (
        special.xlogy(df / 2 - 1, y) - y / 2 - special.gammaln(df / 2) - math.log(2) / 2 * df
    ),
    lambda y, df: special.gammainc(df / 2, y / 2),
    lambda y, df: special.gammaincc(df / 2, y / 2),
    lambda q, df: 2 * special.gammaincinv(df / 2, q),
    lambda q, df: 2 * special.gammainccinv(df / 2, q),
    lambda y, df: incomplete.log_gammainc(df / 2, y / 2),
    lambda y, df: incomplete.log_gammaincc(df / 2, y / 2),
)
beta = _Continuous(
    "beta",
    (2.0, 3.5),
    ("a", "b"),
    0.0,
    1.0,
    lambda y, a, b: special.xlog1py(b - 1, -y) + special.xlogy(a - 1, y) - special.betaln(a, b),
    lambda y, a, b: special.betainc(a, b, y),
    lambda y, a, b: special.betaincc(a, b, y),
    lambda q, a, b: special.betaincinv(a, b, q),
    lambda q, a, b: special.betainccinv(a, b, q),
    lambda y, a, b: incomplete.log_betainc(a, b, y),
    lambda y, a, b: incomplete.log_betaincc(a, b, y),
)
expon = _Continuous(
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
    _log1mexp,
    lambda y: -y,
)
lognorm = _Continuous(
    "lognorm",
    (0.75,),
    ("s",),
    0.0,
    _INF,
    lambda y, s: -np.square(np.log(y) / s) / 2 - np.log(s * y) - _LOG_SQRT_2PI,
    lambda y, s: special.ndtr(_log(y) / s),
    lambda y, s: special.ndtr(-_log(y) / s),
    lambda q, s: np.exp(s * special.ndtri(q)),
    lambda q, s: np.exp(-s * special.ndtri(q)),
    lambda y, s: special.log_ndtr(_log(y) / s),
    lambda y, s: special.log_ndtr(-_log(y) / s),
)
uniform = _Continuous(
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


@attrs.frozen(eq=False, slots=False, repr=False)
class _Discrete(_Distribution):
    """A distribution of counts k from 0 on, by functions of k and its shape parameters.

    Attributes
    ----------
    logpmf_, cdf_, sf_, logcdf_, logsf_
        As SciPy's methods, within the support.
    pmf_
        The same as a product, for where one of its factors is 0.
    most
        The largest count, by the shape parameters.
    whole
        How many of the first shape parameters are counts too.
    """

    logpmf_: Callable[..., Any]
    cdf_: Callable[..., Any]
    sf_: Callable[..., Any]
    logcdf_: Callable[..., Any]
    logsf_: Callable[..., Any]
    pmf_: Callable[..., Any]
    most: Callable[..., Any] = attrs.field(default=lambda *shapes: _INF)
    whole: int = 0
    kinds: ClassVar[str] = "pmf, logpmf, cdf, logcdf, sf, logsf, ppf and isf"

    def _standard(self, method: str, k: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any]:
        *shapes, loc = self._given(method, args, kwargs)
        k = floating(k)
        # a count has no slope
        shapes[: self.whole] = [np.floor(x) for x in shapes[: self.whole]]
        return k if type(loc) is int and not loc else k - loc, np.floor(k - loc), shapes

    def pmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of a count; 0 of what is none. It has no slope by the count."""
        logarithm = self.logpmf(k, *args, **kwargs)
        given, k, shapes = self._standard("pmf", k, args, kwargs)
        # where a factor is 0, its logarithm has no slope, but the product may have one
        is_zero = np.equal(logarithm, -_INF) & self._inside(given, k, shapes)
        product = self.pmf_(np.where(is_zero, k, 0), *shapes)
        return number(np.where(is_zero, product, _exp(logarithm)))

    def _inside(self, given: Any, k: Any, shapes: Any) -> Any:
        return np.equal(given, k) & ~np.less(k, 0) & ~np.greater(k, self.most(*shapes))

    def logpmf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability of a count; -inf of what is none."""
        given, k, shapes = self._standard("logpmf", k, args, kwargs)
        inside = self._inside(given, k, shapes)
        found = _within(inside, lambda k: self.logpmf_(k, *shapes), k, 0.0, -_INF)
        return self._nan_where_unfit(found, given, args, kwargs, shapes)

    def _probability(
        self,
        method: str,
        fn: Callable[..., Any],
        ends: tuple[float, float],
        x: Any,
        a: Any,
        kw: Any,
    ) -> Any:
        given, k, shapes = self._standard(method, x, a, kw)
        # from the largest count on the probability is known
        inside = ~np.less(k, 0) & np.less(k, self.most(*shapes))
        found = _within(inside, lambda k: fn(k, *shapes), k, 0.0, np.where(np.less(k, 0), *ends))
        return self._nan_where_unfit(found, given, a, kw, shapes)

    def _nan_where_unfit(self, found: Any, k: Any, args: Any, kwargs: Any, shapes: Any) -> Any:
        counts = self._given("", args, kwargs)[: self.whole]
        for count, whole in zip(counts, shapes, strict=False):
            found = np.where(np.equal(count, whole), found, np.nan)
        return self._checked(np.where(np.isnan(k), np.nan, found), k, shapes)

    def cdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of a count up to k."""
        return self._probability("cdf", self.cdf_, (0.0, 1.0), k, args, kwargs)

    def sf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The probability of a count above k, which is precise where that is small."""
        return self._probability("sf", self.sf_, (1.0, 0.0), k, args, kwargs)

    def logcdf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability of a count up to k."""
        return self._probability("logcdf", self.logcdf_, (-_INF, 0.0), k, args, kwargs)

    def logsf(self, k: Any, *args: Any, **kwargs: Any) -> Any:
        """The logarithm of the probability of a count above k."""
        return self._probability("logsf", self.logsf_, (0.0, -_INF), k, args, kwargs)

    def ppf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """The least count whose `cdf` is at least q; it is a step, and has no slope."""
        *shapes, loc = self._given("ppf", args, kwargs)
        return number(getattr(incomplete, f"{self.name}_ppf")(floating(q), *shapes) + loc)

    def isf(self, q: Any, *args: Any, **kwargs: Any) -> Any:
        """The least count whose `sf` is at most q; it is a step, and has no slope."""
        *shapes, loc = self._given("isf", args, kwargs)
        return number(getattr(incomplete, f"{self.name}_isf")(floating(q), *shapes) + loc)


def _is_probability(p: Any) -> Any:
    return np.greater_equal(p, 0) & np.less_equal(p, 1)


poisson = _Discrete(
    "poisson",
    (2.5,),
    ("mu",),
    lambda k, mu: special.xlogy(k, mu) - special.gammaln(k + 1) - mu,
    lambda k, mu: special.gammaincc(k + 1, mu),
    lambda k, mu: special.gammainc(k + 1, mu),
    lambda k, mu: incomplete.log_gammaincc(k + 1, mu),
    lambda k, mu: incomplete.log_gammainc(k + 1, mu),
    lambda k, mu: mu**k * np.exp(-special.gammaln(k + 1) - mu),
    valid=lambda mu: np.greater_equal(mu, 0),
)
binom = _Discrete(
    "binom",
    (5, 0.25),
    ("n", "p"),
    lambda k, n, p: (
        special.xlogy(k, p)
        + special.xlog1py(n - k, -p)
        - special.betaln(1 + n - k, 1 + k)
        - np.log(n + 1)
    ),
    lambda k, n, p: special.betaincc(k + 1, n - k, p),
    lambda k, n, p: special.betainc(k + 1, n - k, p),
    lambda k, n, p: incomplete.log_betaincc(k + 1, n - k, p),
    lambda k, n, p: incomplete.log_betainc(k + 1, n - k, p),
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
    __getattr__ = _lacking

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
    the gradient by each is that of the formula, which is defined off the simplex too.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.stats import dirichlet
    >>> tg.grad(dirichlet.logpdf)(np.array([0.25, 0.75]), np.array([2.0, 4.0]))
    array([4., 4.])
    """

    name: ClassVar[str] = "dirichlet"
    __getattr__ = _lacking

    def pdf(self, x: Any, alpha: Any) -> Any:
        """The density."""
        return _exp(self.logpdf(x, alpha))

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
