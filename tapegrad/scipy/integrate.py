"""Solutions of ordinary differential equations and integrals, as in `scipy.integrate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import integrate

from tapegrad import tree
from tapegrad.arraylike.tensor import Tensor
from tapegrad.declare.abstract import call_unrecorded
from tapegrad.errors.functions import check_callable
from tapegrad.errors.names import list_names
from tapegrad.functions.creation import array
from tapegrad.functions.scans import trapezoid as trapezoid
from tapegrad.ops.axes import reduced_shape
from tapegrad.ops.casting import stop_gradient, to_array
from tapegrad.ops.scan import diff_along_axis, lay_along_axis, slice_along_axis
from tapegrad.scipy._calls import (
    MaybeCompiled,
    SolverCall,
    as_float64,
    check_options,
    pullback,
    recorded_tensors,
    solve_with_captured,
    split_tensors,
)
from tapegrad.scipy._ode import OdeResult, odeint, solve_ivp
from tapegrad.scipy._options import with_scipy_parameters
from tapegrad.tree.numbers import is_floating
from tapegrad.tree.structure import replace_leaves
from tapegrad.types import Array, ArrayLike, Cotangent, PyTree

__all__ = ["OdeResult", "cumulative_trapezoid", "odeint", "quad", "simpson", "solve_ivp"]
__all__ += ["trapezoid"]
list_names(globals())

# --- integrals of functions -----------------------------------------------------------------


@with_scipy_parameters(integrate)
def quad(
    func: Callable[..., Array],
    a: ArrayLike,
    b: ArrayLike,
    args: PyTree = (),
    epsabs: float = 1.49e-8,
    epsrel: float = 1.49e-8,
    limit: int = 50,
    points: ArrayLike | None = None,
) -> tuple[Array, float]:
    """`scipy.integrate.quad`, with derivatives by the ends and by `args`.

    The derivative by an end is the integrand there; the derivative by an argument is the integral
    of the integrand's derivative, which SciPy computes too, to the same tolerance.

    Parameters
    ----------
    func
        ``func(x, *args)``, a number; written like any function to differentiate. It may capture
        Tensors.
    a, b
        The ends, which may be infinite. An infinite end has a derivative of 0.
    args
        A tuple of further arguments of `func`: trees.
    epsabs, epsrel, limit, points
        As SciPy takes them; options pass no gradient.

    Returns
    -------
    y, abserr
        The integral, and SciPy's estimate of its error, which has no gradient.

    Raises
    ------
    NotImplementedError
        For other options of SciPy: full_output, weight, complex_func and theirs.
    TapeError
        If `func` captures a Tensor and reads values; pass the Tensor in `args`.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.integrate import quad
    >>> def area(rate, end):
    ...     return quad(lambda x, rate: np.exp(-rate * x), 0.0, end, (rate,))[0]
    >>> tg.grad(area, (0, 1))(2.0, np.inf)
    (array(-0.25), array(0.))
    """
    check_callable(func, "quad")
    options = {"epsabs": epsabs, "epsrel": epsrel, "limit": limit, "points": points}
    check_options("quad", options)
    args = args if isinstance(args, tuple) else (args,)

    def solve(
        fns: Sequence[Callable[..., Array]], captured: tuple[Any, ...]
    ) -> tuple[Array, float]:
        return _quad(fns[0], a, b, (*args, *captured), options)

    return solve_with_captured("quad", (func,), lambda: (0.0, *args), solve)


def _quad(
    func: Callable[..., Array],
    a: ArrayLike,
    b: ArrayLike,
    args: tuple[PyTree, ...],
    options: dict[str, Any],
) -> tuple[Array, float]:
    if not recorded_tensors("quad", (a, b, args)):
        return call_unrecorded(lambda: integrate.quad(func, a, b, args, **options))
    params, fill = split_tensors(args)
    ends = [as_float64(array(x)) for x in (a, b)]

    def values(x: Array, *params: Array) -> Array:
        return as_float64(np.reshape(array(func(x, *fill(params))), (1,)))

    y = _integrals(values, 1, options, *ends, *params)
    return y[0], y[1]


def _integrals(
    fn: Callable[..., Array], n: int, options: Mapping[str, Any], a: Array, b: Array, *params: Array
) -> Array:
    """The integrals of a vector of n numbers, ``fn(x, *params)``, and the largest error."""
    is_moving = [isinstance(x, Tensor) for x in (a, b)]

    def run(a: Array, b: Array, *params: Array) -> tuple[Array]:
        known: dict[float, Any] = {}

        def element(x: float, i: int) -> float:
            if x not in known:
                known[x] = fn(x, *params)
            return float(known[x][i])

        pairs = [integrate.quad(element, a, b, (i,), **options) for i in range(n)]
        return (np.array([*[y for y, _ in pairs], max(error for _, error in pairs)]),)

    def back(
        cotangents: tuple[Cotangent], a: Array, b: Array, *params: Array
    ) -> list[Cotangent | None]:
        g = cotangents[0][:-1]
        by_ends: list[Any] = [None, None]
        for i, (end, sign) in enumerate(((a, -1), (b, 1))):
            if is_moving[i]:
                is_far = np.isinf(end)
                there = fn(np.where(is_far, 1.0, end), *params)
                by_ends[i] = np.where(is_far, 0.0, sign * np.dot(g, there))
        which = [i for i, x in enumerate(params) if is_floating(x)]
        if not which:
            return [*by_ends, *[None] * len(params)]

        def slopes(x: Array, g: Cotangent, *params: Array) -> Array:
            pulled = pullback(lambda *xs: fn(x, *xs), params)[1](g)
            return as_float64(tree.ravel([pulled[i] for i in which])[0])

        vector, unravel = tree.ravel([params[i] for i in which])
        # SciPy's tolerance is absolute too, but the integrals are linear in the cotangents
        size = stop_gradient(np.max(np.abs(g)))
        size = np.where(np.equal(size, 0), 1.0, size)
        parts = _integrals(MaybeCompiled(slopes), vector.size, options, a, b, g / size, *params)
        return [*by_ends, *replace_leaves([None] * len(params), which, unravel(size * parts[:-1]))]

    return SolverCall(run, (((n + 1,), np.dtype(float)),), back)(a, b, *params)[0]


# --- integrals of values --------------------------------------------------------------------


def _spacings(y: Array, x: ArrayLike | None, dx: float | Array, axis: int) -> float | Array:
    """The distances between the points, which broadcast with the values."""
    if x is None:
        return dx
    x = to_array(x)
    if x.ndim not in (1, y.ndim):
        raise ValueError(f"x must have one axis, or the shape of y, {y.shape}; it has {x.shape}")
    if x.shape[axis if x.ndim > 1 else 0] != y.shape[axis]:
        raise ValueError(f"x must be as long as y along the axis: {x.shape} and {y.shape}")
    return lay_along_axis(diff_along_axis(x), y, axis) if x.ndim == 1 else diff_along_axis(x, axis)


def cumulative_trapezoid(
    y: ArrayLike,
    x: ArrayLike | None = None,
    dx: float | Array = 1.0,
    axis: int = -1,
    initial: float | None = None,
) -> Array:
    """`scipy.integrate.cumulative_trapezoid`: the integrals up to each point but the first.

    Parameters
    ----------
    y, x, dx, axis
        As for `tapegrad.trapezoid`.
    initial
        0 for an integral up to the first point too.

    Raises
    ------
    ValueError
        As SciPy does.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.integrate import cumulative_trapezoid
    >>> cumulative_trapezoid(np.array([1.0, 2.0, 4.0]), initial=0)
    array([0. , 1.5, 4.5])
    """
    y = to_array(y)
    if not y.shape[axis]:
        raise ValueError(f"an integral needs one point or more; the shape of y is {y.shape}")
    if initial is not None and (np.ndim(initial) or initial != 0):
        raise ValueError(f"initial must be None or 0, not {initial!r}")
    both = slice_along_axis(y, axis, 1, None) + slice_along_axis(y, axis, None, -1)
    totals = np.cumsum(_spacings(y, x, dx, axis) * both / 2.0, axis=axis)
    if initial is None:
        return totals
    return np.concatenate(
        [np.zeros(reduced_shape(totals.shape, axis), totals.dtype), totals], axis=axis
    )


def _divide_or_zero(a: Array, b: Array) -> Array:
    """A ratio; 0 where the denominator is 0."""
    is_zero = np.equal(b, 0)
    return np.where(is_zero, 0.0, a / np.where(is_zero, 1.0, b))


def simpson(
    y: ArrayLike, x: ArrayLike | None = None, *, dx: float | Array = 1.0, axis: int = -1
) -> Array:
    """`scipy.integrate.simpson`: the integral of parabolas through the points (Simpson's rule).

    An even number of points leaves an interval at the end, which Cartwright's correction adds.
    float32 stays float32, as from SciPy 1.18 on.

    Parameters
    ----------
    y, x, dx, axis
        As for `tapegrad.trapezoid`.

    Raises
    ------
    ValueError
        As SciPy does.

    Examples
    --------
    >>> import tapegrad as tg
    >>> from tapegrad.scipy.integrate import simpson
    >>> tg.grad(simpson)(np.ones(5)).round(3)
    array([0.333, 1.333, 0.667, 1.333, 0.333])
    """
    y = np.moveaxis(to_array(y), axis, 0)
    if x is not None and np.ndim(x) == y.ndim:
        x = np.moveaxis(to_array(x), axis, 0)
    n, h = len(y), to_array(_spacings(y, x, dx, 0))
    if x is None:
        h = h.astype(np.result_type(y.dtype, 0.0))
        h = np.broadcast_to(h, (max(n - 1, 0), *[1] * (y.ndim - 1)))
    if n == 2:
        return 0.5 * h[0] * (y[0] + y[1])
    m = n - 1 - (n % 2 == 0)
    h0, h1 = h[:m:2], h[1:m:2]
    both = h0 + h1
    terms = y[:m:2] * (2 - _divide_or_zero(h1, h0)) + y[1:m:2] * (
        both * _divide_or_zero(both, h0 * h1)
    )
    total = np.sum(both / 6 * (terms + y[2 : m + 1 : 2] * (2 - _divide_or_zero(h0, h1))), axis=0)
    if n % 2:
        return total
    h0, h1 = h[-2], h[-1]
    total = total + y[-1] * _divide_or_zero(2 * h1 * h1 + 3 * h0 * h1, 6 * (h0 + h1))
    total = total + y[-2] * _divide_or_zero(h1 * h1 + 3 * h0 * h1, 6 * h0)
    return total - y[-3] * _divide_or_zero(h1**3, 6 * h0 * (h0 + h1))
