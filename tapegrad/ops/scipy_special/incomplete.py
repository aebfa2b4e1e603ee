"""The incomplete gamma and beta functions, by every argument, and Student's t distribution.

A derivative by a parameter is an integral over a tail of the distribution: of the density, times a
polynomial in the derivatives of its logarithm. Over the shorter tail the integrand of the first one
has one sign, so that nothing cancels, however small the tail is. Substitutions are those of the
double exponential formulas (H. Takahasi, M. Mori, 1974). The same integral, of the density alone,
is the probability where SciPy's underflows.

Densities are those of C. Loader (2000): the difference between large terms is taken once, between a
number and the parameter that is its mean.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from math import comb, factorial, log, pi
from typing import Any

import attrs
import numpy as np

from tapegrad.core.op import Op
from tapegrad.domain import Call, Choices, Domain, Elements, each
from tapegrad.ops.casting import safe_divide
from tapegrad.ops.scipy_special.gamma_functions import gamma_rest, half_step_rest, polygamma, psi
from tapegrad.ops.scipy_special.normal import xlog1py, xlogy
from tapegrad.ops.scipy_special.ufuncs import declared, result_type, scipys, special

__all__ = ["betainc", "betaincc", "betainccinv", "betaincinv", "gammainc", "gammaincc"]
__all__ += ["gammainccinv", "gammaincinv", "stdtr", "stdtrit"]

# --- integrals over a tail -----------------------------------------------------------------

# of the nodes, on a logarithmic scale
_STEP = 0.075
# elements that are integrated at a time, since each has a column of nodes
_BLOCK = 2048
# below this a probability loses digits
_TINY = 1e-290
# above these sums of parameters, terms cancel, and SciPy has lost digits of a small probability
_LARGE, _HUGE = 1e3, 1e5
# below this parameter nearly all of a distribution is at its end
_FEW = 1e-3


@attrs.frozen(eq=False)
class _Tail:
    """A part of a distribution, as an integral over s from 0 to infinity.

    Attributes
    ----------
    log_weight
        The logarithm of the integrand, which falls from 0.
    cumulant
        The derivatives of the log density by the parameters at s, by their orders.
    log_scale
        The logarithm of the factor before the integral, beside the density.
    sign
        That of the part in the probability up to x.
    shape, rate
        If the shape is below one, the logarithm is not concave, but falls fast and then slowly, by
        less than the rate.
    """

    log_weight: Callable[[Any], Any]
    cumulant: Callable[[Any], Callable[..., Any]]
    log_scale: Any
    sign: Any = 1.0
    shape: Any = 1.0
    rate: Any = 1.0

    def integral(self, orders: tuple[int, ...] | None = None) -> tuple[Any, Any]:
        """The logarithm of the part over the density, and the mean of a moment."""
        reach = np.log(np.max(np.where(self.shape < 1, np.clip(1 / self.rate, 1, 1e305), 1)))
        grid = np.arange(-3.8, 4.6 + reach, _STEP)[:, None]
        # the scale on which the weight falls, to a power of two
        total = np.zeros_like(self.log_scale + self.shape)
        low, high = total - 1074, total + 1015
        for _ in range(12):
            middle = (low + high) / 2
            has_fallen = self.log_weight(np.exp2(middle)) < -1
            low, high = np.where(has_fallen, low, middle), np.where(has_fallen, middle, high)
        moments = total
        for rows in np.array_split(grid, 1 + len(grid) // 256):
            nodes = np.exp(rows - np.exp(-rows))
            s = np.minimum(np.exp2(high) * nodes, 1e307)
            weights = nodes * (1 + np.exp(-rows)) * np.exp(self.log_weight(s))
            total = total + np.sum(weights, axis=0)
            if orders is not None:
                moments = moments + np.sum(weights * _moment(self.cumulant(s), *orders), axis=0)
        return self.log_scale + np.log(_STEP * total) + log(2) * high, moments / total


def _moment(cumulant: Callable[..., Any], *orders: int) -> Any:
    """The derivative of a density, by parameters this often, divided by the density.

    ``cumulant(i, j)`` is that of its logarithm. This is the complete Bell polynomial.
    """
    m, n = (*orders, 0)[:2]
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


def _log1p_rest(u: Any) -> Any:
    """``log(1 + u) - u``, whose terms cancel near 0."""
    is_near = np.abs(u) < 0.125
    v = np.where(is_near, u, 0)
    r = v / (2 + v)
    series = 0.0
    for k in range(7, 0, -1):
        series = series * r * r + 1 / (2 * k + 1)
    return np.where(is_near, 2 * r * r * r * series - v * r, np.log1p(u) - u)


def _exp_rest(s: Any) -> Any:
    """``s - 1 + exp(-s)``, likewise."""
    return np.where(s < 0.125, -_log1p_rest(np.expm1(-np.minimum(s, 1))), s + np.expm1(-s))


def _where(large: Any, careful: Callable[..., Any], plain: Callable[..., Any]) -> Any:
    """A careful function on columns with large parameters, where terms cancel."""
    if not np.any(large):
        return plain
    return lambda s: np.where(large, careful(s), plain(s))


def _log_ratio(x: Any, a: Any, excess: Any, g: Any = 1.0) -> Any:
    """``g * log(x / a)``, of what may be Tensors; the excess is ``x - a``."""
    is_near = np.less(np.absolute(excess), a / 2)
    near = g * np.log1p(np.where(is_near, excess, 0) / a)
    return np.where(is_near, near, xlogy(g, np.where(is_near, 1, x)) - g * np.log(a))


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


# --- a family of distributions, by its parameters ------------------------------------------

_SHAPE = Elements(0.25, 8.0)
_TIMES = Elements(0.125, 12.0)
_PROBABILITY = Elements(0.0625, 0.9375)
# what a derivative is divided by: nothing, the probability up to x, or that beyond it; less one of
# these, their sum is the other
_PLAIN, _LOWER, _UPPER, _BOTH = range(4)


def _read_two(orders: Any, of: Any, a: Any, x: Any) -> Any:
    return (a, x), {"orders": orders, "of": of}


def _read_three(orders: Any, of: Any, a: Any, b: Any, x: Any) -> Any:
    return (a, b, x), {"orders": orders, "of": of}


def _of_vectors(
    name: str,
    fn: Callable[..., Any],
    rules: Iterable[Any],
    domain: tuple[Elements, ...],
    call: Domain | None = None,
    read: Callable[..., Any] | None = None,
) -> Op[Any]:
    """The op of a function of vectors, which takes the op's options by name."""

    def of_two(a: Any, x: Any, **options: Any) -> Any:
        return _elementwise(functools.partial(fn, **options), a, x)

    def of_three(a: Any, b: Any, x: Any, **options: Any) -> Any:
        return _elementwise(functools.partial(fn, **options), a, b, x)

    forward = (of_two, of_three)[len(domain) - 2]
    domains = call or each(*domain)
    return declared(name, forward, *rules, domain=domains, read=read, scipy="")


@attrs.frozen(eq=False, slots=False)
class _Family:
    """A distribution function of shape parameters and a number, in this order.

    Attributes
    ----------
    name
        SciPy's for the probability up to x.
    pair
        The probabilities up to x and beyond it, by SciPy.
    density
        The op of the logarithm of the density.
    cumulant
        Of parameters and x, the derivatives of the log density by the parameters.
    tails
        Masks and the tails of the elements there, with the number of the tail's probability.
    domain
        Numbers to test it on.
    derivative
        The op of derivatives by the parameters, which takes their orders, and what they are divided
        by.
    hazards
        The ops of the logarithm of the density, and of that over either probability.
    cdf, sf, logcdf, logsf
        The ops of both probabilities, with all digits, and of their logarithms.
    """

    name: str
    pair: tuple[Callable[..., Any], Callable[..., Any]]
    density: Op[Any]
    cumulant: Callable[..., Callable[..., Any]]
    tails: Callable[..., Iterator[tuple[Any, Callable[..., _Tail], int]]]
    domain: tuple[Elements, ...]
    derivative: Op[Any] = attrs.field(init=False)
    hazards: tuple[Op[Any], Op[Any], Op[Any]] = attrs.field(init=False)
    cdf: Op[Any] = attrs.field(init=False)
    sf: Op[Any] = attrs.field(init=False)
    logcdf: Op[Any] = attrs.field(init=False)
    logsf: Op[Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        def op(name: str, fn: Callable[..., Any], kind: int, rules: Iterable[Any]) -> Op[Any]:
            name = name.format(self.name + "c" * (kind == _UPPER))
            return _of_vectors(name, functools.partial(fn, kind), rules, self.domain)

        def over(kind: int, *xs: Any) -> Any:
            return -self.logs(*xs)[1][kind]

        def log(kind: int, *xs: Any) -> Any:
            return self.logs(*xs)[0][kind]

        ops: dict[str, Any] = {"derivative": self._derivative()}
        several = [op("{}_hazard", over, x, self._rules_of_hazard(x)) for x in (_LOWER, _UPPER)]
        ops["hazards"] = (self.density, *several)
        for kind, plain, logarithm in ((_LOWER, "cdf", "logcdf"), (_UPPER, "sf", "logsf")):
            rules = self.rules(kind, _PLAIN), self.rules(kind, kind)
            ops[plain] = op("{}_probability", self.probability, kind, rules[0])
            ops[logarithm] = op("log_{}", log, kind, rules[1])
        self.__dict__.update(ops)

    def logs(self, *xs: Any) -> tuple[list[Any], list[Any]]:
        """The logarithms of 1 and of both probabilities, and of these over the density."""
        density, p = self.density(*xs), self.pair[0](*xs)
        q, is_high = 1 - p, p > 0.5
        if np.any(is_high):
            q[is_high] = self.pair[1](*[x[is_high] for x in xs])
        logs = [
            np.zeros_like(density),
            np.where(is_high, np.log1p(-q), np.log(p)),
            np.where(is_high, np.log(q), np.log1p(-p)),
        ]
        over = [x - density for x in logs]
        for inside, tail, number in self.tails(*xs):
            own = inside & (((p, q)[number - 1] < _TINY) | (sum(xs[:-1]) > _HUGE))
            if number and np.any(own):
                over[number][own] = tail(*[x[own] for x in xs]).integral()[0]
                log_p = (over[number] + density)[own]
                rest = np.where(log_p < -1, np.log1p(-np.exp(log_p)), np.log(-np.expm1(log_p)))
                logs[number][own], logs[_BOTH - number][own] = log_p, rest
                over[_BOTH - number][own] = rest - density[own]
        return logs, over

    def probability(self, kind: int, *xs: Any) -> Any:
        """A probability, by the integral where SciPy's has lost digits."""
        p, is_huge = self.pair[kind - 1](*xs), sum(xs[:-1]) > _HUGE
        if np.any(is_huge):
            p[is_huge] = np.exp(self.logs(*[x[is_huge] for x in xs])[0][kind])
        return p

    def derivatives(self, *xs: Any, orders: tuple[int, ...], of: int) -> Any:
        """The values of `derivative`."""
        y = np.where(np.isnan(functools.reduce(operator.add, xs)), np.nan, 0.0)
        over = self.logs(*xs)[1] if of else [-self.density(*xs)]
        for inside, tail, number in self.tails(*xs):
            if np.any(inside):
                within = [x[inside] for x in xs]
                part = tail(*within)
                own, mean = part.integral(orders)
                if number and not of:
                    share = self.probability(number, *within)
                else:
                    own = over[number][inside] if number else own
                    share = np.exp(own - over[of][inside])
                y[inside] = part.sign * mean * share
        return -y if of == _UPPER else y

    def first(self, k: int) -> tuple[int, ...]:
        """The orders of the first derivative by a parameter."""
        return tuple(int(i == k) for i in range(len(self.domain) - 1))

    def change(self, k: int, of: int, *xs: Any) -> Any:
        """The slope by an argument of the probability up to x, or of a logarithm of either."""
        if k == len(xs) - 1:
            return (-1 if of == _UPPER else 1) * np.exp(self.hazards[of](*xs))
        return self.derivative(self.first(k), of, *xs)

    def rules(self, kind: int, of: int) -> list[Any]:
        """The rules of a probability of this kind, or of its logarithm."""
        sign = -1 if kind == _UPPER and not of else 1

        def rule(k: int) -> Any:
            return lambda g, y, *xs: sign * g * self.change(k, of, *xs)

        return [rule(k) for k in range(len(self.domain))]

    def _rules_of_hazard(self, of: int) -> list[Any]:
        def rule(k: int) -> Any:
            return lambda g, y, *xs: self.density.vjps[k](g, y, *xs) - g * self.change(k, of, *xs)

        return [rule(k) for k in range(len(self.domain))]

    def _derivative(self) -> Op[Any]:
        def by_parameter(k: int) -> Any:
            def rule(g: Any, y: Any, *xs: Any, orders: Any, of: int) -> Any:
                more = self.derivative(tuple(map(operator.add, orders, self.first(k))), of, *xs)
                return g * (more - y * self.change(k, of, *xs) if of else more)

            return rule

        def by_x(g: Any, y: Any, *xs: Any, orders: Any, of: int) -> Any:
            moment = _moment(self.cumulant(*xs), *orders)
            return g * self.change(n, of, *xs) * (moment - y if of else moment)

        def call(choose: Choices) -> Call:
            shapes = choose.broadcastable(n + 1, max_dims=1, max_side=2)
            operands = map(choose.array, shapes, self.domain)
            return Call((self.first(choose.integer(0, n - 1)), choose.integer(0, 2), *operands))

        n = len(self.domain) - 1
        rules = [*map(by_parameter, range(n)), by_x]
        name, read = f"{self.name}_derivative", (_read_two, _read_three)[n - 1]
        return _of_vectors(name, self.derivatives, rules, self.domain, call, read)

    def function(self, kind: int) -> Op[Any]:
        """The op of SciPy's function for a probability of this kind."""
        name = self.name + "c" * (kind == _UPPER)
        return special(name, *self.rules(kind, _PLAIN), domain=self.domain)

    def slope(self, k: int, of: int, p: Any, *xs: Any, change: Any = None) -> Any:
        """The slope of an inverse, whose value is the last of xs, by an argument."""
        sign = -1 if of == _UPPER else 1
        if k == len(xs) - 1:
            return sign * np.exp(-self.density(*xs))
        change = self.change(k, of, *xs) if change is None else change
        return -sign * change * np.exp(np.log(p) - self.density(*xs))

    def inverses(self, name: str, of: int) -> tuple[Op[Any], Op[Any]]:
        """The op of SciPy's inverse of a probability of one parameter, and one with all digits."""

        def rule(k: int) -> Any:
            return lambda g, y, a, p: g * self.slope(k, of, p, a, y)

        rules, domain = [rule(0), rule(1)], (self.domain[0], _PROBABILITY)
        quantile = functools.partial(self.quantile, name, of)
        return (
            special(name, *rules, domain=domain),
            _of_vectors(f"{name}_quantile", quantile, rules, domain),
        )

    def quantile(self, name: str, of: int, a: Any, p: Any) -> Any:
        """SciPy's inverse, moved by Newton's steps where it is not the inverse to 12 digits."""
        y, is_high = scipys(name)(a, p), p > 0.5
        kind, target = np.where(is_high, _BOTH - of, of), np.log(np.where(is_high, 1 - p, p))
        # what has underflowed stays 0; SciPy may find nothing at all
        active = (p > 0) & (p < 1) & (y != 0)
        y = np.where(active & ~np.isfinite(y), np.sign(p - 0.5), y)
        for _ in range(200):
            at = np.nonzero(active)[0]
            if not at.size:
                break
            log_p, over = [np.choose(kind[at], x) for x in self.logs(a[at], y[at])]
            # between the logarithms of both
            miss = target[at] - log_p
            step = np.where(kind[at] == _UPPER, -miss, miss) * np.exp(over) / y[at]
            is_digit = np.abs(step) > 4 * np.finfo(float).eps
            active[at] = is_digit & (np.abs(miss) > 1e-12 * np.maximum(1, -target[at]))
            y[at] *= np.where(active[at], np.exp(np.clip(step, -99, 99)), 1)
        return y


# --- densities -----------------------------------------------------------------------------


def _power(k: Any, log_power: Any, n: Any, excess: Any) -> Any:
    """``k * log(n * x / k) - (n * x - k)``, for the logarithm of ``x**k`` and that excess."""
    xlogy = scipys("xlogy")
    y = log_power + xlogy(k, n) - xlogy(k, k) - excess
    near = np.abs(excess) < k / 2
    return np.where(near, k * _log1p_rest(np.where(near, excess / k, 0)), y)


def _factorial_rest(k: Any) -> Any:
    """The logarithm of ``gamma(k + 1)``, less ``k * log(k) - k``."""
    y = scipys("gammaln")(k + 1) - scipys("xlogy")(k, k) + k
    large = k >= 10
    if np.any(large):
        y[large] = gamma_rest(0, k[large]) + np.log(k[large])
    return y


def _poisson(k: Any, mu: Any) -> Any:
    """The logarithm of the probability of k, on vectors."""
    return _power(k, scipys("xlogy")(k, mu), 1.0, mu - k) - _factorial_rest(k)


def _binom(k: Any, m: Any, x: Any) -> Any:
    """That of k successes and m failures."""
    n, excess = k + m, _excess(k, m, x)
    successes = _power(k, scipys("xlogy")(k, x), n, excess)
    failures = _power(m, scipys("xlog1py")(m, -x), n, -excess)
    # exactly 0 if all are of one kind
    ways = _factorial_rest(n) - _factorial_rest(k) - _factorial_rest(m)
    return successes + failures + ways


def _excess(a: Any, b: Any, x: Any) -> Any:
    """``x * (a + b) - a``."""
    return x * b - (1 - x) * a


def _log_of_gamma_density(a: Any, x: Any) -> Any:
    """On vectors."""
    is_few = a < 1
    y = _poisson(a - ~is_few, x)
    return np.where(is_few, y + np.log(a) - np.log(x), y) if np.any(is_few) else y


def _slope_of_gamma_density(a: Any, x: Any) -> Any:
    at_zero = np.equal(x, 0)
    return np.where(at_zero, safe_divide(a - 1, x) - 1, safe_divide(a - 1 - x, x))


_gamma_density = _of_vectors(
    "gamma_log_density",
    _log_of_gamma_density,
    (
        lambda g, y, a, x: _log_ratio(x, a, x - a, g) - g * gamma_rest(1, a),
        lambda g, y, a, x: g * _slope_of_gamma_density(a, x),
    ),
    (_SHAPE, _TIMES),
)


def _log_of_beta_density(a: Any, b: Any, x: Any) -> Any:
    """On vectors."""
    is_few, are_few = a < 1, b < 1
    k, m = a - ~is_few, b - ~are_few
    y = _binom(k, m, x) + np.log(np.where(is_few | are_few, 1, k + m + 1))
    if np.any(is_few | are_few):
        low, high = np.log(a) - np.log(x), np.log(b) - np.log1p(-x)
        y = y + np.where(is_few, low, 0) + np.where(are_few, high, 0)
        y = y - np.where(is_few & are_few, np.log(a + b), 0)
    return y


def _slope_of_binom(k: Any, m: Any, x: Any) -> Any:
    at_end = np.equal(x, 0) | np.equal(x, 1)
    inner = np.where(at_end, 0.5, x)
    ends = safe_divide(k, x) - safe_divide(m, 1 - x)
    return np.where(at_end, ends, -_excess(k, m, inner) / inner / (1 - inner))


def _beta_cumulant(a: Any, b: Any, log_t: Any, log_rest: Any, g: Any = 1.0) -> Callable[..., Any]:
    """By the logarithms of t and 1 - t, each divided by its mean."""
    n = a + b

    @functools.cache
    def cumulant(i: int, j: int) -> Any:
        if i + j == 1:
            own = log_t - g * gamma_rest(1, a) if i else log_rest - g * gamma_rest(1, b)
            return own + g * gamma_rest(1, n)
        both = polygamma(i + j - 1, n)
        both = both if j else both - polygamma(i - 1, a)
        return both if i else both - polygamma(j - 1, b)

    return cumulant


def _beta_scores(a: Any, b: Any, x: Any, g: Any = 1.0) -> Callable[..., Any]:
    n, excess = a + b, _excess(a, b, x)
    log_t, log_rest = _log_ratio(x * n, a, excess, g), _log_ratio((1 - x) * n, b, -excess, g)
    return _beta_cumulant(a, b, log_t, log_rest, g)


_beta_density = _of_vectors(
    "beta_log_density",
    _log_of_beta_density,
    (
        lambda g, y, a, b, x: _beta_scores(a, b, x, g)(1, 0),
        lambda g, y, a, b, x: _beta_scores(a, b, x, g)(0, 1),
        lambda g, y, a, b, x: g * _slope_of_binom(a - 1, b - 1, x),
    ),
    (_SHAPE, _SHAPE, _PROBABILITY),
)
binom_log_mass = _of_vectors(
    "binom_log_mass",
    _binom,
    (
        lambda g, y, k, m, p: xlogy(g, p) + g * (psi(k + m + 1) - psi(k + 1)),
        lambda g, y, k, m, p: xlog1py(g, -p) + g * (psi(k + m + 1) - psi(m + 1)),
        lambda g, y, k, m, p: g * _slope_of_binom(k, m, p),
    ),
    (_SHAPE, _SHAPE, _PROBABILITY),
)

# --- the incomplete gamma function ---------------------------------------------------------


def _gamma_cumulant(a: Any, log_ratio: Any) -> Callable[..., Any]:
    return lambda i, j: log_ratio - gamma_rest(1, a) if i == 1 else -polygamma(i - 1, a)


def _gamma_tails(a: Any, x: Any) -> Any:
    def below(a: Any, x: Any) -> _Tail:
        # t = x * exp(-s)
        return _Tail(
            _where(
                a > _LARGE,
                lambda s: (x - a) * s - x * _exp_rest(s),
                lambda s: -a * s - x * np.expm1(-s),
            ),
            lambda s: _gamma_cumulant(a, _log_ratio(x, a, x - a) - s),
            np.log(x),
        )

    def above(a: Any, x: Any) -> _Tail:
        # t = x + s
        return _Tail(
            _where(
                a > _LARGE,
                lambda s: (a - 1) * _log1p_rest(s / x) + (a - 1 - x) * (s / x),
                lambda s: (a - 1) * np.log1p(s / x) - s,
            ),
            lambda s: _gamma_cumulant(a, _log_ratio(x, a, x - a) + np.log1p(s / x)),
            0.0,
            -1.0,
            a,
            x,
        )

    inside, is_below = (x > 0) & (x < np.inf), (x < a) & (a > _FEW)
    yield inside & is_below, below, _LOWER
    yield inside & ~is_below, above, _UPPER


GAMMA = _Family(
    "gammainc",
    (lambda a, x: scipys("gammainc")(a, x), lambda a, x: scipys("gammaincc")(a, x)),
    _gamma_density,
    lambda a, x: _gamma_cumulant(a, _log_ratio(x, a, x - a)),
    _gamma_tails,
    (_SHAPE, _TIMES),
)
gammainc, gammaincc = GAMMA.function(_LOWER), GAMMA.function(_UPPER)
gammaincinv, gamma_ppf = GAMMA.inverses("gammaincinv", _LOWER)
gammainccinv, gamma_isf = GAMMA.inverses("gammainccinv", _UPPER)

# --- the incomplete beta function ----------------------------------------------------------


def _beta_tail(a: Any, b: Any, x: Any, y: Any) -> _Tail:
    """The part up to x, by t = x * exp(-s); y is ``1 - x``."""
    n, odds, excess = a + b, x / y, x * b - y * a
    log_t, log_rest = _log_ratio(x * n, a, excess), _log_ratio(y * n, b, -excess)

    def careful(s: Any) -> Any:
        q = -np.expm1(-s)
        bend = (b - 1) * _log1p_rest(odds * q) - a * _exp_rest(s)
        return bend + ((b - 1) * odds - a) * q

    def plain(s: Any) -> Any:
        return (b - 1) * np.log1p(-odds * np.expm1(-s)) - a * s

    def cumulant(s: Any) -> Callable[..., Any]:
        return _beta_cumulant(a, b, log_t - s, log_rest + np.log1p(-odds * np.expm1(-s)))

    log_weight = _where(np.minimum(a, b) > _LARGE, careful, plain)
    return _Tail(log_weight, cumulant, np.log(x), shape=b, rate=y * np.minimum(a, 1))


def _beta_tails(a: Any, b: Any, x: Any) -> Any:
    def above(a: Any, b: Any, x: Any) -> _Tail:
        part = _beta_tail(b, a, 1 - x, x)
        cumulant = part.cumulant
        return attrs.evolve(part, sign=-1.0, cumulant=lambda s: lambda i, j: cumulant(s)(j, i))

    inside = (x > 0) & (x < 1)
    is_below = np.where(np.minimum(a, b) < _FEW, a > b, _excess(a, b, x) < 0)
    yield inside & is_below, lambda a, b, x: _beta_tail(a, b, x, 1 - x), _LOWER
    yield inside & ~is_below, above, _UPPER


BETA = _Family(
    "betainc",
    (lambda a, b, x: scipys("betainc")(a, b, x), lambda a, b, x: scipys("betaincc")(a, b, x)),
    _beta_density,
    _beta_scores,
    _beta_tails,
    (_SHAPE, _SHAPE, _PROBABILITY),
)
betainc, betaincc = BETA.function(_LOWER), BETA.function(_UPPER)


def _beta_inverse(name: str, of: int) -> Op[Any]:
    def rule(k: int) -> Any:
        def vjp(g: Any, y: Any, a: Any, b: Any, p: Any) -> Any:
            # the distance to 1 is that of the mirrored function to 0, which keeps its digits
            is_low, rest = np.less(y, 0.5), (betaincinv if of == _UPPER else betainccinv)(b, a, p)
            pairs = (a, b), (b, a), (y, rest)
            xs = [np.where(is_low, low, high) for low, high in pairs]
            if k == 2:
                return g * BETA.slope(k, of, p, *xs)
            changes = BETA.change(k, of, *xs), BETA.change(1 - k, _BOTH - of, *xs)
            return g * BETA.slope(k, of, p, *xs, change=np.where(is_low, *changes))

        return vjp

    return special(name, *map(rule, range(3)), domain=(_SHAPE, _SHAPE, _PROBABILITY))


betaincinv = _beta_inverse("betaincinv", _LOWER)
betainccinv = _beta_inverse("betainccinv", _UPPER)

# --- Student's t distribution --------------------------------------------------------------

_T = (Elements(0.5, 8.0), Elements(-4.0, 4.0))


def _log_square(df: Any, t: Any) -> Any:
    """``log(t**2 / df)``."""
    return 2 * (np.log(np.abs(t)) - np.log(df) / 2)


def _log_of_t_density(df: Any, t: Any) -> Any:
    """On vectors."""
    size = np.abs(t) / np.sqrt(df)
    square = _log_square(df, t)
    falls = np.where(size < 1, np.log1p(size * size), square + np.log1p(np.exp(-square)))
    return half_step_rest(0, df / 2) - log(2 * pi) / 2 - (df + 1) / 2 * falls


def _t_slopes(df: Any, log_square: Any, order: int) -> Any:
    """A derivative by the degrees of freedom of the log density, from the first on."""
    far, near = scipys("expit")(log_square), scipys("expit")(-log_square)
    n, change = order, half_step_rest(order, df / 2) / 2**order
    if n == 1:
        falls = np.logaddexp(0, log_square) - far
        if np.any(df > 100):
            falls = np.where((far < 0.5) & (df > 100), -_log1p_rest(-far), falls)
        return change + (far / df - falls) / 2
    powers = [near**j for j in range(n)]
    squares = far * sum((j + 1) * x for j, x in enumerate(powers[:-1]))
    return change + (-1) ** n * factorial(n - 2) / 2 * df ** (1.0 - n) * far * (
        squares - (n - 1) * sum(powers) / df
    )


def _slope_of_t_score(df: Any, t: Any, order: int) -> Any:
    size = np.hypot(np.sqrt(df), t)
    u, c = t / size, 1 / size
    if not order:
        return -(df + 1) * u * c
    return (-1) ** (order + 1) * factorial(order) * u * (c * c - u * u) * c ** (2 * order - 1)


_t_density: Op[Any] = _of_vectors(
    "t_log_density",
    _log_of_t_density,
    (
        lambda g, y, df, t: g * _t_score(1, df, t),
        lambda g, y, df, t: g * _slope_of_t_score(df, t, 0),
    ),
    _T,
)


def _scores(choose: Choices) -> Call:
    return Call((choose.integer(1, 3), *each(*_T)(choose).args))


_t_score: Op[Any] = declared(
    "t_score",
    lambda df, t, order: _elementwise(
        lambda df, t: _t_slopes(df, _log_square(df, t), order), df, t
    ),
    lambda g, y, df, t, order: g * _t_score(order + 1, df, t),
    lambda g, y, df, t, order: g * _slope_of_t_score(df, t, order),
    domain=_scores,
    read=lambda order, df, t: ((df, t), {"order": order}),
    scipy="",
)


def _t_tails(df: Any, t: Any) -> Any:
    def parts(df: Any, t: Any) -> Any:
        square, expit = _log_square(df, t), scipys("expit")
        return square, expit(square), expit(-square), np.log(np.abs(t)), (df + 1) / 2

    def centre(df: Any, t: Any) -> _Tail:
        # from 0 to t * exp(-s)
        square, far, _, scale, power = parts(df, t)
        return _Tail(
            lambda s: -s - power * np.log1p(far * np.expm1(-2 * s)),
            lambda s: lambda i, j: _t_slopes(df, square - 2 * s, i),
            scale,
            np.sign(t),
        )

    def outside(df: Any, t: Any) -> _Tail:
        # t * exp(s)
        square, far, near, scale, power = parts(df, t)

        def log_weight(s: Any) -> Any:
            rising = s - power * np.log1p(far * np.expm1(2 * s))
            falling = -df * s - power * np.log1p(near * np.expm1(-2 * s))
            return np.where(far < 0.5, rising, falling)

        return _Tail(
            log_weight,
            lambda s: lambda i, j: _t_slopes(df, square + 2 * s, i),
            scale,
            -np.sign(t),
        )

    size = np.abs(t)
    # between these, the derivative of the density changes its sign
    yield (size > 0) & (size < 1.5), centre, 0
    yield (size >= 1.5) & (t < 0), outside, _LOWER
    yield (size >= 1.5) & (t > 0), outside, _UPPER


STUDENT = _Family(
    "stdtr",
    (lambda df, t: scipys("stdtr")(df, t), lambda df, t: scipys("stdtr")(df, -t)),
    _t_density,
    lambda df, t: lambda i, j: _t_score(i, df, t),
    _t_tails,
    _T,
)
stdtr = STUDENT.function(_LOWER)
stdtrit, t_ppf = STUDENT.inverses("stdtrit", _LOWER)

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
