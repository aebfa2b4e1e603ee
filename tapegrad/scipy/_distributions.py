"""The methods of probability distributions, by functions of standard ones.

Outside the support densities and probabilities are 0, and so are their slopes. A
quantile has the slopes of the inverse of a function: ``1 / pdf`` by the probability, and
``-(dF / dparameter) / pdf`` by a parameter.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, TypeAlias, TypeVar

import attrs
import numpy as np

from tapegrad.declare import op
from tapegrad.declare.batching import batch_elementwise
from tapegrad.ops.casting import as_floating, as_scalar, to_array, values_if_known
from tapegrad.ops.scipy_special import incomplete
from tapegrad.scipy._moments import moments
from tapegrad.types import Array, ArrayLike

__all__ = [
    "PROBABILITIES",
    "QUANTILES",
    "Continuous",
    "Discrete",
    "Frozen",
    "raise_missing",
    "safe_exp",
]
__all__ += ["log_by_complement", "safe_log", "without_methods"]
__dir__ = __all__.copy

_INF = math.inf
Formula: TypeAlias = Callable[..., Array]
"""A function of a number and of shape parameters."""

D = TypeVar("D")

PROBABILITIES, QUANTILES = ("cdf", "logcdf", "sf", "logsf"), ("ppf", "isf", "median")
_KINDS = (*PROBABILITIES, *QUANTILES, "mean", "var", "std", "entropy")


def safe_log(p: Array) -> Array:
    """The logarithm, which is -inf at 0 and has no slope there."""
    positive = np.greater(p, 0)
    return np.where(positive, np.log(np.where(positive, p, 1)), np.where(np.isnan(p), p, -_INF))


def _apply_inside(
    inside: Array, fn: Formula, y: Array, other: Array | float, outside: Array | float
) -> Array:
    """A function where it is defined, and a constant elsewhere; the slope there is 0."""
    return np.where(inside, fn(np.where(inside, y, other)), outside)


def _signed_infinity(x: Array, slope: Array) -> Array:
    """Return infinities of the sign of a slope, and 0 where x or the slope is 0."""
    return np.where(np.equal(x * slope, 0), 0.0, np.where(np.greater(x * slope, 0), _INF, -_INF))


@op(
    lambda g, y, x, slope: _signed_infinity(g, slope),
    None,
    scipy="",
    jvp=lambda op, tangents, y, x, slope: _signed_infinity(tangents[0], slope),
    batch=batch_elementwise,
)
def zeros_with_infinite_slope(x: Array, slope: Array) -> Array:
    """Return zeros whose derivative with respect to x is infinite, of the sign of `slope`.

    Where `slope` is 0, the derivative is 0, and so is its product with a cotangent or a tangent
    of 0, as the limit is.
    """
    return np.zeros(np.broadcast_shapes(np.shape(x), np.shape(slope)), np.asarray(x).dtype)


def safe_exp(logarithm: Array) -> Array:
    """The number of a logarithm; 0 of -inf, with a slope of 0."""
    return as_scalar(_apply_inside(np.not_equal(logarithm, -_INF), np.exp, logarithm, 0.0, 0.0))


def log_by_complement(p: Array, rest: Array) -> Array:
    """The logarithm of a probability, by its complement where that is the more precise."""
    is_large = np.greater(p, 0.5)
    small = safe_log(np.where(is_large, 0.5, p))
    return np.where(is_large, np.log1p(-np.where(is_large, rest, 0.5)), small)


def raise_missing(distribution: object, attribute: str) -> Any:
    """Raise an error about an attribute that a distribution lacks."""
    name = type(distribution).__dict__.get("name") or distribution.__dict__.get("name")
    raise AttributeError(
        f"tapegrad.scipy.stats.{name} has no {attribute!r}; call SciPy's on values (t.value)"
    )


def without_methods(kind: type[D], *methods: str) -> type[D]:
    """Return a class of distributions without some methods, for which `raise_missing` raises."""
    made: Any = type(kind.__name__, (kind,), dict.fromkeys(methods, property()))
    return made


def _named(name: str) -> _Distribution:
    """The distribution of SciPy's name, for pickle."""
    return getattr(import_module("tapegrad.scipy.stats"), name)


@attrs.frozen(eq=False, slots=False)
class _Distribution:
    """The base of distributions: shape parameters, a location, and perhaps a scale.

    Attributes
    ----------
    name
        SciPy's name for it.
    example
        The shape parameters by name, with numbers that it has.
    valid
        Whether shape parameters are allowed; by default the positive ones are.
    """

    name: str
    example: Mapping[str, float]
    valid: Formula | None = attrs.field(default=None, kw_only=True)
    __tree_static__: ClassVar[bool] = True
    __unsaved__: ClassVar[str] = (
        "freeze the distribution in the function, with parameters that are arguments"
    )
    trailing: ClassVar[tuple[tuple[str, int], ...]] = (("loc", 0),)
    kinds: ClassVar[tuple[str, ...]] = ()
    __signature__: ClassVar[inspect.Signature]
    _probability: ClassVar[Formula]
    _quantile: ClassVar[Formula]

    def __attrs_post_init__(self) -> None:
        named = [*[(x, inspect.Parameter.empty) for x in self.example], *self.trailing]
        parameters = [
            inspect.Parameter(x, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)
            for x, default in named
        ]
        self.__dict__["__signature__"] = inspect.Signature(parameters)
        shapes = "".join(f", {x}" for x in self.example.values())
        self.__dict__["__doc__"] = _DOC.format(
            name=self.name,
            kinds=", ".join(x for x in self.kinds if hasattr(self, x)),
            first="x" if "pdf" in self.kinds else "k",
            names=", ".join(x for x, _ in named),
            call=f"{self.name}.pdf, [0.5{shapes}]"
            if "pdf" in self.kinds
            else f"lambda p: {self.name}.logpmf(1{shapes.rpartition(',')[0]}, p), [0.5]",
        )

    def __call__(self, *args: ArrayLike, **kwargs: ArrayLike) -> Frozen:
        parameters = self._bind_parameters("a frozen distribution", args, kwargs)
        n_counts = getattr(self, "n_counts", 0)
        floats = [float(x) if type(x) is int else x for x in parameters[n_counts:]]
        return Frozen(self, (*parameters[:n_counts], *floats))

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.name,)

    __getattr__ = raise_missing

    def __repr__(self) -> str:
        return f"<{self.name} of tapegrad.scipy.stats>"

    def _bind_parameters(
        self, method: str, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> tuple[Any, ...]:
        """The shape parameters, location and scale of a call."""
        signature = self.__dict__["__signature__"]
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}: {method} takes {signature} last: {error}") from None
        bound.apply_defaults()
        # a Python number takes the dtype of the array beside it
        return tuple([x if isinstance(x, int | float) else to_array(x) for x in bound.args])

    def _mask_invalid(
        self,
        y: Array,
        x: ArrayLike,
        shapes: Sequence[ArrayLike],
        loc: ArrayLike = 0,
        scale: ArrayLike = 1,
    ) -> Array:
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
        return as_scalar(y)

    def cdf(self, x: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The probability up to x."""
        return self._probability("cdf", (0.0, 1.0), x, args, kwargs)

    def sf(self, x: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The probability beyond x, which is precise where it is small."""
        return self._probability("sf", (1.0, 0.0), x, args, kwargs)

    def logcdf(self, x: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The logarithm of the probability up to x."""
        return self._probability("logcdf", (-_INF, 0.0), x, args, kwargs)

    def logsf(self, x: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The logarithm of the probability beyond x."""
        return self._probability("logsf", (0.0, -_INF), x, args, kwargs)

    def ppf(self, q: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The quantile: the inverse of `cdf`, or the least count whose `cdf` is at least q."""
        return self._quantile("ppf", as_floating(q), args, kwargs)

    def isf(self, q: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The quantile from above: the inverse of `sf`, or the least count with an `sf` up to q."""
        return self._quantile("isf", as_floating(q), args, kwargs)

    def median(self, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The quantile of one half."""
        return self.ppf(0.5, *args, **kwargs)

    def mean(self, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The mean, which is inf or nan where there is none."""
        return self._moment("mean", args, kwargs)

    def var(self, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The variance."""
        return self._moment("var", args, kwargs)

    def std(self, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The standard deviation."""
        return np.sqrt(self.var(*args, **kwargs))

    def entropy(self, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The entropy, in natural units."""
        return self._moment("entropy", args, kwargs)

    def _moment(
        self, method: str, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> Array:
        parameters, n = self._bind_parameters(method, args, kwargs), len(self.example)
        shapes, (loc, scale, *_) = parameters[:n], (*parameters[n:], 1)
        # Python's numbers raise where one is divided by 0
        strong = [np.float64(x) if isinstance(x, int | float) else x for x in shapes]
        y = moments(self.name, strong, loc, scale)[("mean", "var", "entropy").index(method)]
        return self._mask_invalid(np.where(np.isnan(loc), np.nan, y), 0.0, shapes, loc, scale)


_DOC = """`scipy.stats.{name}`: {kinds}, called as in SciPy.

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

    distribution: _Distribution
    parameters: tuple[Any, ...]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.distribution, name)
        if name.startswith("_") or not callable(method):
            raise AttributeError(f"a frozen {self.distribution.name} has no method {name}")
        named = dict(zip(self.distribution.__signature__.parameters, self.parameters, strict=True))
        return lambda *x, **by_name: method(*x, **by_name, **named)


@attrs.frozen(eq=False, slots=False, repr=False)
class Continuous(_Distribution):
    """A distribution with a density, by functions of the standard one and its shape parameters.

    Attributes
    ----------
    ends
        Those of its support, or functions of the shape parameters that return them.
    logpdf_, cdf_, sf_, ppf_, isf_
        As SciPy's methods, within the support; None for what is not here.
    logcdf_, logsf_
        By default the logarithms of these.
    inner
        A point inside the support, or a function of the shape parameters that returns one.
    low_is_open
        Whether a finite low end is outside the support.
    poles
        For each end, a function of the shape parameters that says whether the density is infinite
        there; None where it never is.
    """

    ends: tuple[float | Formula, float | Formula]
    logpdf_: Formula
    cdf_: Formula | None = None
    sf_: Formula | None = None
    ppf_: Formula | None = None
    isf_: Formula | None = None
    logcdf_: Formula | None = None
    logsf_: Formula | None = None
    inner: float | Formula = attrs.field(default=0.5, kw_only=True)
    low_is_open: bool = attrs.field(default=False, kw_only=True)
    poles: tuple[Formula | None, Formula | None] = attrs.field(default=(None, None), kw_only=True)
    trailing: ClassVar[tuple[tuple[str, int], ...]] = (("loc", 0), ("scale", 1))
    kinds: ClassVar[tuple[str, ...]] = ("pdf", "logpdf", *_KINDS)

    def _standardize(
        self, method: str, x: ArrayLike, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> tuple[Array, list[Array], Array | int, Array | int]:
        *shapes, loc, scale = self._bind_parameters(method, args, kwargs)
        x = as_floating(x)
        x = x if type(loc) is int and not loc else x - loc
        return x if type(scale) is int and scale == 1 else x / scale, shapes, loc, scale

    def _support_points(self, shapes: Sequence[Array]) -> list[Array | float]:
        """Both ends of the support, and a point inside."""
        return [x(*shapes) if callable(x) else x for x in (*self.ends, self.inner)]

    def _is_inside(self, y: Array, shapes: Sequence[Array]) -> Array:
        # nan is not outside; at the end that it does not reach, a logarithm has no slope
        (low, high, _), is_open = (
            self._support_points(shapes),
            self.low_is_open or self.ends[0] == -_INF,
        )
        inside = ~(np.less_equal(y, low) if is_open else np.less(y, low)) & ~(
            np.greater_equal(y, high) if self.ends[1] == _INF else np.greater(y, high)
        )
        return inside & ~np.isinf(y) if callable(self.ends[1]) else inside

    def _probability(
        self,
        method: str,
        ends: tuple[float, float],
        x: ArrayLike,
        args: tuple[ArrayLike, ...],
        kwargs: dict[str, ArrayLike],
    ) -> Array:
        y, shapes, loc, scale = self._standardize(method, x, args, kwargs)
        inside, (low, high, inner) = self._is_inside(y, shapes), self._support_points(shapes)
        end = {"logcdf": low, "logsf": high}.get(method)
        if end is not None:  # they are -inf there too
            inside = inside & np.not_equal(y, end)
        # At a pole the value is an end of the range, whatever the shapes and the scale are, and the
        # slope with respect to the distance from it is infinite. It is added apart, since its
        # product with a slope of 0 would be nan.
        rises = []
        for point, is_pole in zip((low, high), self.poles, strict=True):
            pole = np.zeros((), bool) if is_pole is None else np.equal(y, point) & is_pole(*shapes)
            known = values_if_known(pole)
            if known is None or known.any():
                inside = inside & ~pole
                slope = np.where(pole, 1.0 if method in ("cdf", "logcdf") else -1.0, 0.0)
                distance = as_floating(x) - loc
                distance = (
                    distance if type(point) is float and not point else distance - point * scale
                )
                rises.append(zeros_with_infinite_slope(distance, slope))
        fn, outside = getattr(self, f"{method}_"), np.where(np.less_equal(y, low), *ends)
        if fn is None:
            parts: tuple[Any, Any] = (
                (self.cdf_, self.sf_) if method == "logcdf" else (self.sf_, self.cdf_)
            )
            fn = lambda *of: log_by_complement(*[part(*of) for part in parts])  # noqa: E731
        values = _apply_inside(inside, lambda y: fn(y, *shapes), y, inner, outside)
        for rise in rises:
            values = values + rise
        return self._mask_invalid(values, as_floating(x), shapes, loc, scale)

    def pdf(self, x: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The density; 0 outside the support. At an end of it where it is 0, its slope is 0 too."""
        return safe_exp(self.logpdf(x, *args, **kwargs))

    def logpdf(self, x: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The logarithm of the density; -inf outside the support."""
        y, shapes, loc, scale = self._standardize("logpdf", x, args, kwargs)
        inside, inner = self._is_inside(y, shapes), self._support_points(shapes)[2]
        shift = 0 if type(scale) is int and scale == 1 else np.log(np.absolute(scale))
        values = _apply_inside(inside, lambda y: self.logpdf_(y, *shapes) - shift, y, inner, -_INF)
        return self._mask_invalid(values, as_floating(x), shapes, loc, scale)

    def _quantile(
        self, method: str, q: Array, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> Array:
        """A quantile between the ends of the support, which it is at 0 and 1; nan beyond."""
        *shapes, loc, scale = self._bind_parameters(method, args, kwargs)
        ends = self._support_points(shapes)[:2][:: 1 if method == "ppf" else -1]
        beyond = np.where(np.equal(q, 0), ends[0], np.where(np.equal(q, 1), ends[1], np.nan))
        fn, inside = getattr(self, f"{method}_"), np.greater(q, 0) & np.less(q, 1)
        y = _apply_inside(inside, lambda q: fn(q, *shapes), q, 0.5, beyond)
        return self._mask_invalid(y * scale + loc, q, shapes, loc, scale)


@attrs.frozen(eq=False, slots=False, repr=False)
class Discrete(_Distribution):
    """A distribution of counts k, by functions of k and its shape parameters.

    Attributes
    ----------
    logpmf_, cdf_, sf_, logcdf_, logsf_
        As SciPy's methods, within the support; None for what is not here.
    pmf_
        The same as a product, for where one of its factors is 0.
    least, most
        The smallest count, and the largest by the shape parameters.
    whole
        How many of the first shape parameters are counts too.
    """

    logpmf_: Formula
    pmf_: Formula
    cdf_: Formula | None = None
    sf_: Formula | None = None
    logcdf_: Formula | None = None
    logsf_: Formula | None = None
    largest: Callable[..., Array | float] = attrs.field(default=lambda *shapes: _INF, kw_only=True)
    n_counts: int = attrs.field(default=0, kw_only=True)
    smallest: int = attrs.field(default=0, kw_only=True)
    kinds: ClassVar[tuple[str, ...]] = ("pmf", "logpmf", *_KINDS)

    def _standardize(
        self, method: str, k: ArrayLike, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> tuple[Array, Array, list[Array]]:
        *shapes, loc = self._bind_parameters(method, args, kwargs)
        k = as_floating(k)
        # a count has no slope
        shapes[: self.n_counts] = [np.floor(x) for x in shapes[: self.n_counts]]
        return k if type(loc) is int and not loc else k - loc, np.floor(k - loc), shapes

    def pmf(self, k: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The probability of a count, 0 for any other number. It has no slope by the count."""
        logarithm = self.logpmf(k, *args, **kwargs)
        moved, k, shapes = self._standardize("pmf", k, args, kwargs)
        # where a factor is 0, its logarithm has no slope, but the product may have one
        is_zero = np.equal(logarithm, -_INF) & self._is_inside(moved, k, shapes)
        product = self.pmf_(np.where(is_zero, k, self.smallest), *shapes)
        return as_scalar(np.where(is_zero, product, safe_exp(logarithm)))

    def _is_inside(self, moved: Array, k: Array, shapes: Sequence[Array]) -> Array:
        return (
            np.equal(moved, k) & ~np.less(k, self.smallest) & ~np.greater(k, self.largest(*shapes))
        )

    def logpmf(self, k: ArrayLike, *args: ArrayLike, **kwargs: ArrayLike) -> Array:
        """The logarithm of the probability of a count, -inf for any other number."""
        moved, k, shapes = self._standardize("logpmf", k, args, kwargs)
        inside = self._is_inside(moved, k, shapes)
        values = _apply_inside(inside, lambda k: self.logpmf_(k, *shapes), k, self.smallest, -_INF)
        return self._mask_nan(values, moved, args, kwargs)

    def _probability(
        self,
        method: str,
        ends: tuple[float, float],
        x: ArrayLike,
        args: tuple[ArrayLike, ...],
        kwargs: dict[str, ArrayLike],
    ) -> Array:
        moved, k, shapes = self._standardize(method, x, args, kwargs)
        # from the largest count on the probability is known
        below, fn = np.less(k, self.smallest), getattr(self, f"{method}_")
        inside, outside = ~below & np.less(k, self.largest(*shapes)), np.where(below, *ends)
        values = _apply_inside(inside, lambda k: fn(k, *shapes), k, self.smallest, outside)
        return self._mask_nan(values, moved, args, kwargs)

    def _mask_nan(
        self, values: Array, k: Array, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> Array:
        values = np.where(np.isnan(k), np.nan, values)
        return self._mask_invalid(values, k, self._bind_parameters("", args, kwargs)[:-1])

    def _quantile(
        self, method: str, q: Array, args: tuple[ArrayLike, ...], kwargs: dict[str, ArrayLike]
    ) -> Array:
        """A step, which has no slope."""
        *shapes, loc = self._bind_parameters(method, args, kwargs)
        # older versions of SciPy return an end of the support for parameters that are not allowed
        steps = getattr(incomplete, f"{self.name}_{method}")
        return self._mask_invalid(steps(q, *shapes) + loc, q, shapes)
