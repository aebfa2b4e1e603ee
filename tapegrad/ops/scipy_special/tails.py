"""Probabilities of distributions, and their derivatives with respect to parameters.

A derivative is an integral over a tail of the distribution: of the density, times a polynomial in
the derivatives of its logarithm. Over the shorter tail the integrand of the first derivative has
one sign, so that nothing cancels, however small the tail is. The substitutions are double
exponential formulas (H. Takahasi, M. Mori, 1974). The integral of the density alone is the
probability where SciPy loses digits.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from math import comb, log
from typing import Any, TypeAlias

import attrs
import numpy as np

from tapegrad.core.op import Op
from tapegrad.core.primitive import Rule
from tapegrad.ops.scipy_special.normal import xlogy
from tapegrad.ops.scipy_special.ufuncs import (
    declare_special,
    result_type,
    scipy_function,
    special_op,
)
from tapegrad.types import Array, ArrayLike, Cotangent

# the operands and the options of a call
Bound: TypeAlias = tuple[tuple[ArrayLike, ...], dict[str, Any]]

# --- integrals over a tail -----------------------------------------------------------------

# the distance of nodes on a logarithmic scale
_STEP = 0.075
# the number of elements that are integrated at a time, since each has a column of nodes
_BLOCK = 2048
# below this a probability loses digits
_TINY = 1e-290
# above these sums of parameters, terms cancel, and SciPy loses digits of a small probability
LARGE, _HUGE = 1e3, 1e5


@attrs.frozen(eq=False)
class Tail:
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
        The sign with which the part counts in the probability up to x.
    shape, rate
        If the shape is below one, the logarithm is not concave, but falls fast and then slowly, by
        less than the rate.
    """

    log_weight: Callable[[Array], Array]
    cumulant: Callable[[Array], Callable[..., Array]]
    log_scale: float | Array
    sign: float | Array = 1.0
    shape: float | Array = 1.0
    rate: float | Array = 1.0

    def integral(self, orders: tuple[int, ...] | None = None) -> tuple[Array, Array]:
        """Return the logarithm of the part over the density, and the mean of a moment."""
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


def _moment(cumulant: Callable[..., Array], *orders: int) -> float | Array:
    """Return the derivative of a density of these orders, divided by the density.

    ``cumulant(i, j)`` is the derivative of its logarithm. The sum is the complete Bell polynomial.
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


def log1p_rest(u: Array) -> Array:
    """Return ``log(1 + u) - u``, whose terms cancel near 0."""
    is_near = np.abs(u) < 0.125
    v = np.where(is_near, u, 0)
    r = v / (2 + v)
    series = 0.0
    for k in range(7, 0, -1):
        series = series * r * r + 1 / (2 * k + 1)
    return np.where(is_near, 2 * r * r * r * series - v * r, np.log1p(u) - u)


def exp_rest(s: Array) -> Array:
    """Return ``s - 1 + exp(-s)``, whose terms cancel near 0."""
    return np.where(s < 0.125, -log1p_rest(np.expm1(-np.minimum(s, 1))), s + np.expm1(-s))


def compute_for_large(
    large: Array, careful: Callable[[Array], Array], plain: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """Use a careful function for columns with large parameters, where terms cancel."""
    if not np.any(large):
        return plain
    return lambda s: np.where(large, careful(s), plain(s))


def log_ratio(x: Array, a: Array, excess: Array, g: float | Cotangent = 1.0) -> Array:
    """Return ``g * log(x / a)`` of arrays or Tensors; the excess is ``x - a``."""
    is_near = np.less(np.absolute(excess), a / 2)
    near = g * np.log1p(np.where(is_near, excess, 0) / a)
    return np.where(is_near, near, xlogy(g, np.where(is_near, 1, x)) - g * np.log(a))


def apply_in_blocks(fn: Callable[..., Array], *xs: Array) -> Array:
    """Apply a function of float64 vectors to blocks of the broadcast operands."""
    dtype = result_type(*xs)
    xs = tuple(np.broadcast_arrays(*[np.asarray(x, np.float64) for x in xs]))
    flat, y = [x.ravel() for x in xs], np.empty(xs[0].size)
    with np.errstate(all="ignore"):
        for start in range(0, y.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            y[block] = fn(*[x[block] for x in flat])
    return y.reshape(xs[0].shape).astype(dtype)


# --- a family of distributions, by its parameters ------------------------------------------

# the divisor of a derivative: 1, the probability up to x, or the probability beyond it; the sum of
# the last two, less one of them, is the other
_PLAIN, LOWER, UPPER, BOTH = range(4)


def declare_vector_op(
    name: str,
    fn: Callable[..., Array],
    rules: Sequence[Rule],
    read: Callable[..., Any] | None = None,
) -> Op[Any]:
    """Declare the op of a function of vectors, which takes the op's options by name."""

    def fn_two(a: Array, x: Array, **options: Any) -> Array:
        return apply_in_blocks(functools.partial(fn, **options), a, x)

    def fn_three(a: Array, b: Array, x: Array, **options: Any) -> Array:
        return apply_in_blocks(functools.partial(fn, **options), a, b, x)

    return declare_special(name, (fn_two, fn_three)[len(rules) - 2], *rules, read=read, scipy="")


@attrs.frozen(eq=False, slots=False)
class Family:
    """A distribution function of shape parameters and a number, in this order.

    Attributes
    ----------
    name
        SciPy's name of the probability up to x.
    pair
        The probabilities up to x and beyond it, by SciPy.
    density
        The op of the logarithm of the density.
    cumulant
        A function of the parameters and x: the log density's derivatives by the parameters.
    tails
        Masks and the tails of the elements there, with the number of the tail's probability.
    example
        The arguments of the example.
    derivative
        The op of derivatives by the parameters, which takes their orders and their divisor.
    hazards
        The ops of the logarithms of the density, and of the density over either probability.
    cdf, sf, logcdf, logsf
        The ops of both probabilities, with all digits, and of their logarithms.
    """

    name: str
    pair: tuple[Callable[..., Array], Callable[..., Array]]
    density: Op[Any]
    cumulant: Callable[..., Callable[..., Array]]
    tails: Callable[..., Iterator[tuple[Array, Callable[..., Tail], int]]]
    example: tuple[float, ...]
    derivative: Op[Any] = attrs.field(init=False)
    hazards: tuple[Op[Any], Op[Any], Op[Any]] = attrs.field(init=False)
    cdf: Op[Any] = attrs.field(init=False)
    sf: Op[Any] = attrs.field(init=False)
    logcdf: Op[Any] = attrs.field(init=False)
    logsf: Op[Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        def op(name: str, fn: Callable[..., Array], kind: int, rules: Sequence[Rule]) -> Op[Any]:
            name = name.format(self.name + "c" * (kind == UPPER))
            return declare_vector_op(name, functools.partial(fn, kind), rules)

        def hazard(kind: int, *xs: Array) -> Array:
            return -self.logs(*xs)[1][kind]

        def log(kind: int, *xs: Array) -> Array:
            return self.logs(*xs)[0][kind]

        ops: dict[str, Any] = {"derivative": self._derivative()}
        several = [op("{}_hazard", hazard, x, self._rules_of_hazard(x)) for x in (LOWER, UPPER)]
        ops["hazards"] = (self.density, *several)
        for kind, plain, logarithm in ((LOWER, "cdf", "logcdf"), (UPPER, "sf", "logsf")):
            rules = self.rules(kind, _PLAIN), self.rules(kind, kind)
            ops[plain] = op("{}_probability", self.probability, kind, rules[0])
            ops[logarithm] = op("log_{}", log, kind, rules[1])
        self.__dict__.update(ops)

    def logs(self, *xs: Array) -> tuple[list[Array], list[Array]]:
        """Return the logarithms of 1 and both probabilities, and of their ratios to the density."""
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
                logs[number][own], logs[BOTH - number][own] = log_p, rest
                over[BOTH - number][own] = rest - density[own]
        return logs, over

    def probability(self, kind: int, *xs: Array) -> Array:
        """Return a probability, by the integral where SciPy loses digits."""
        p, is_huge = self.pair[kind - 1](*xs), sum(xs[:-1]) > _HUGE
        if np.any(is_huge):
            p[is_huge] = np.exp(self.logs(*[x[is_huge] for x in xs])[0][kind])
        return p

    def derivatives(self, *xs: Array, orders: tuple[int, ...], of: int) -> Array:
        """Compute the values of `derivative`."""
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
        return -y if of == UPPER else y

    def first(self, k: int) -> tuple[int, ...]:
        """Return the orders of the first derivative by a parameter."""
        return tuple(int(i == k) for i in range(len(self.example) - 1))

    def change(self, k: int, of: int, *xs: Array) -> Array:
        """Return the slope by an argument of the probability up to x, or of either logarithm."""
        if k == len(xs) - 1:
            return (-1 if of == UPPER else 1) * np.exp(self.hazards[of](*xs))
        return self.derivative(self.first(k), of, *xs)

    def rules(self, kind: int, of: int) -> list[Rule]:
        """Return the rules of a probability of this kind, or of its logarithm."""
        sign = -1 if kind == UPPER and not of else 1

        def rule(k: int, g: Cotangent, y: Array, *xs: Array) -> Cotangent:
            return sign * g * self.change(k, of, *xs)

        return self._for_each(rule)

    def _for_each(self, rule: Rule) -> list[Rule]:
        """Return a rule for each argument, from a rule that takes the argument's number first."""
        return [functools.partial(rule, k) for k in range(len(self.example))]

    def _rules_of_hazard(self, of: int) -> list[Rule]:
        def rule(k: int, g: Cotangent, y: Array, *xs: Array) -> Cotangent:
            density_rule: Any = self.density.vjps_for(len(xs))[k]
            return density_rule(g, y, *xs) - g * self.change(k, of, *xs)

        return self._for_each(rule)

    def _derivative(self) -> Op[Any]:
        def rule(
            k: int, g: Cotangent, y: Array, *xs: Array, orders: tuple[int, ...], of: int
        ) -> Cotangent:
            change = self.change(k, of, *xs) if of or k == len(orders) else 0.0
            if k == len(orders):
                moment = _moment(self.cumulant(*xs), *orders)
                return g * change * (moment - y if of else moment)
            further = self.derivative(tuple(map(operator.add, orders, self.first(k))), of, *xs)
            return g * (further - y * change if of else further)

        def read_two(orders: tuple[int, ...], of: int, a: ArrayLike, x: ArrayLike) -> Bound:
            return (a, x), {"orders": orders, "of": of}

        def read_three(
            orders: tuple[int, ...], of: int, a: ArrayLike, b: ArrayLike, x: ArrayLike
        ) -> Bound:
            return (a, b, x), {"orders": orders, "of": of}

        read = read_two if len(self.example) == 2 else read_three
        return declare_vector_op(
            f"{self.name}_derivative", self.derivatives, self._for_each(rule), read
        )

    def function(self, kind: int) -> Op[Any]:
        """Declare the op of SciPy's function for a probability of this kind."""
        name = self.name + "c" * (kind == UPPER)
        return special_op(name, *self.rules(kind, _PLAIN), at=self.example)

    def slope(self, k: int, of: int, p: Array, *xs: Array, change: Array | None = None) -> Array:
        """Return the slope by an argument of an inverse, whose value is the last of xs."""
        sign = -1 if of == UPPER else 1
        if k == len(xs) - 1:
            return sign * np.exp(-self.density(*xs))
        change = self.change(k, of, *xs) if change is None else change
        return -sign * change * np.exp(np.log(p) - self.density(*xs))

    def inverses(self, name: str, of: int) -> tuple[Op[Any], Op[Any]]:
        """Declare the op of SciPy's inverse of a probability of one parameter, and an exact one."""

        def rule(k: int, g: Cotangent, y: Array, a: Array, p: Array) -> Cotangent:
            return g * self.slope(k, of, p, a, y)

        rules, quantile = self._for_each(rule), functools.partial(self.quantile, name, of)
        return (
            special_op(name, *rules, at=(self.example[0], 0.59)),
            declare_vector_op(f"{name}_quantile", quantile, rules),
        )

    def quantile(self, name: str, of: int, a: Array, p: Array) -> Array:
        """Improve SciPy's inverse by Newton's steps where it has less than 12 digits."""
        y, is_high = scipy_function(name)(a, p), p > 0.5
        kind, target = np.where(is_high, BOTH - of, of), np.log(np.where(is_high, 1 - p, p))
        # a quantile that underflowed stays 0; SciPy may return nan
        active = (p > 0) & (p < 1) & (y != 0)
        y = np.where(active & ~np.isfinite(y), np.sign(p - 0.5), y)
        for _ in range(200):
            at = np.nonzero(active)[0]
            if not at.size:
                break
            log_p, over = [np.choose(kind[at], x) for x in self.logs(a[at], y[at])]
            # the distance between the logarithms of the two probabilities
            miss = target[at] - log_p
            step = np.where(kind[at] == UPPER, -miss, miss) * np.exp(over) / y[at]
            is_digit = np.abs(step) > 4 * np.finfo(float).eps
            active[at] = is_digit & (np.abs(miss) > 1e-12 * np.maximum(1, -target[at]))
            y[at] *= np.where(active[at], np.exp(np.clip(step, -99, 99)), 1)
        return y
