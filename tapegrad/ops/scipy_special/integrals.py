"""Integrals of elementary functions, elliptic integrals, hypergeometric functions and polynomials.

The derivatives are in the DLMF (https://dlmf.nist.gov): of exponential, trigonometric and Fresnel
integrals in chapters 6 and 7, of hypergeometric functions in 13, 15 and 18, of orthogonal
polynomials in 18.9, of elliptic integrals in 19, of Lambert's function in 4.13, and of the
dilogarithm in 25.12.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.core.op import Op
from tapegrad.ops.scipy_special.ufuncs import (
    SCIPY_OPS,
    declare_special,
    family_op,
    result_ops,
    result_type,
    scipy_function,
    special_op,
    split_whole_order,
)
from tapegrad.ops.special import sinc
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["boxcox", "boxcox1p", "cbrt", "cosm1", "ellipe", "ellipeinc", "ellipk", "ellipkinc"]
__all__ += ["elliptic_derivative", "eval_chebyt", "eval_chebyu", "eval_gegenbauer"]
__all__ += ["eval_genlaguerre", "eval_hermite", "eval_jacobi", "eval_laguerre"]
__all__ += ["eval_legendre", "exp1", "exp2", "exp10", "expi", "expm1", "expn", "exprel", "fresnel"]
__all__ += ["fresnel_c", "fresnel_s", "huber", "hyp0f1", "hyp1f1", "hyp2f1", "hyperu", "inv_boxcox"]
__all__ += ["inv_boxcox1p", "lambertw", "log1p", "pseudo_huber", "sici", "sici_c", "sici_s"]
__all__ += ["spence", "wofz"]

# --- functions close to elementary ones ----------------------------------------------------

log1p: Op[Any] = special_op("log1p", lambda g, y, x: g / (1 + x), at=2.02, complex=True)
expm1: Op[Any] = special_op("expm1", lambda g, y, x: g * np.exp(x), complex=True)
cosm1: Op[Any] = special_op("cosm1", lambda g, y, x: -g * np.sin(x))
exp2: Op[Any] = special_op("exp2", lambda g, y, x: g * y * math.log(2))
exp10: Op[Any] = special_op("exp10", lambda g, y, x: g * y * math.log(10))
cbrt: Op[Any] = special_op("cbrt", lambda g, y, x: g / (3 * y * y), kink="inf at 0")
exprel: Op[Any] = special_op("exprel", lambda g, y, x: g * hyp1f1(2, 3, x) / 2)
huber: Op[Any] = special_op(
    "huber",
    lambda g, y, delta, r: g * np.maximum(np.absolute(r) - delta, 0),
    lambda g, y, delta, r: g * np.clip(r, -delta, delta),
    at=(2.42, 0.8),
)
pseudo_huber: Op[Any] = special_op(
    "pseudo_huber",
    lambda g, y, delta, r: g * r * (r / _radius(delta, r)) * (r / (delta + _radius(delta, r))) ** 2,
    lambda g, y, delta, r: g * delta * (r / _radius(delta, r)),
    at=(2.42, 0.8),
)


def _radius(delta: Array, r: Array) -> Array:
    """Return the distance from the origin, and 1 at the origin, where the slopes are 0."""
    far = np.hypot(delta, r)
    return np.where(np.equal(far, 0), 1, far)


def _boxcox_op(name: str, log: Callable[[Array], Array], end: int) -> Op[Any]:
    """Declare the op of ``(exp(power * log(x)) - 1) / power``, also at power 0 and x at its end."""

    def vjp_power(g: Cotangent, y: Array, x: Array, power: Array) -> Cotangent:
        is_end, has_slope = np.equal(x, end), np.greater(power, 0)
        log_x = log(np.where(is_end, 1, x))
        inside = np.square(log_x) * hyp1f1(2, 3, power * log_x) / 2
        # y is -1 / power there
        at_end = np.where(has_slope, np.square(1 / np.where(has_slope, power, 1)), np.inf)
        return g * np.where(is_end, at_end, inside)

    def vjp_x(g: Cotangent, y: Array, x: Array, power: Array) -> Cotangent:
        is_one = np.equal(x, end) & np.equal(power, 1)
        return g * np.exp((power - 1) * log(np.where(is_one, 1, x)))

    return special_op(name, vjp_x, vjp_power, at=(2.42, 0.8))


def _inv_boxcox_op(name: str, one: int) -> Op[Any]:
    """Declare the op of ``exp(log1p(power * x) / power)``, also at power 0, less 1 or 0."""

    def at_end(x: Array, power: Array) -> tuple[Array, Array]:
        """Return whether ``1 + power * x`` is 0, and the slope with respect to x there."""
        is_end = np.equal(power * x, -1)
        base, power = np.where(is_end, 1 + power * x, 1), np.where(is_end, power, 1)
        return is_end, base ** (1 / power - 1)

    def vjp_x(g: Cotangent, y: Array, x: Array, power: Array) -> Cotangent:
        is_end, slope = at_end(x, power)
        inside = (y + one) / np.where(is_end, 1, 1 + power * x)
        return g * np.where(is_end, slope, inside)

    def vjp_power(g: Cotangent, y: Array, x: Array, power: Array) -> Cotangent:
        is_end, slope = at_end(x, power)
        bend = hyp2f1(2, 2, 3, np.where(is_end, 0, -power * x)) / 2
        # x and the power have different signs there
        return g * np.where(is_end, -np.square(x) * slope, -(y + one) * np.square(x) * bend)

    return special_op(name, vjp_x, vjp_power)


boxcox, boxcox1p = _boxcox_op("boxcox", np.log, 0), _boxcox_op("boxcox1p", np.log1p, -1)
inv_boxcox, inv_boxcox1p = _inv_boxcox_op("inv_boxcox", 0), _inv_boxcox_op("inv_boxcox1p", 1)

# --- exponential and trigonometric integrals -----------------------------------------------

expi: Op[Any] = special_op("expi", lambda g, y, x: g * np.exp(x) / x, complex=True)
exp1: Op[Any] = special_op("exp1", lambda g, y, x: -g * np.exp(-x) / x, at=2.5, complex=True)


def _spence_slope(x: Array) -> Array:
    is_near = np.less(np.absolute(x - 1), 0.5)
    near, far = np.where(is_near, x, 1), np.where(is_near, 2, x)
    return np.where(is_near, -hyp2f1(1, 1, 2, 1 - near), np.log(far) / (1 - far))


spence: Op[Any] = special_op("spence", lambda g, y, x: g * _spence_slope(x), at=2.42, complex=True)


def _expn_slope(y: Array, x: Array, order: Array) -> Array:
    """Return minus the function of the previous order, which SciPy lacks for order 0."""
    n = np.asarray(order)
    return np.where(n == 0, -y * (1 + 1 / x), -expn(np.maximum(n - 1, 0), x))


expn: Op[Any] = family_op(
    "expn", lambda g, y, x, order: g * _expn_slope(y, x, order), (2, 2.5), split_whole_order
)


def _sine_ratio(x: Array) -> Array:
    """Return ``sin(x) / x``, by `sinc` near 0 alone, since it rounds a multiple of pi."""
    is_near = np.less(np.absolute(x), 1)
    far = np.where(is_near, 1, x)
    return np.where(is_near, sinc(np.where(is_near, x, 0) / np.pi), np.sin(far) / far)


sici_s, sici_c = result_ops(
    "sici",
    ("sici_s", lambda g, y, x: g * _sine_ratio(x)),
    ("sici_c", lambda g, y, x: g * np.cos(x) / x),
)


def _quarter_turns(x: Array) -> Array:
    """Return ``x * x`` less a multiple of 4, by exact terms, since squares are rounded."""
    whole = np.rint(x)
    rest = x - whole
    return np.remainder(whole, 2) + np.fmod(2 * whole * rest, 4) + rest * rest


fresnel_s, fresnel_c = result_ops(
    "fresnel",
    ("fresnel_s", lambda g, y, x: g * np.sin(np.pi / 2 * _quarter_turns(x))),
    ("fresnel_c", lambda g, y, x: g * np.cos(np.pi / 2 * _quarter_turns(x))),
)


def sici(x: ArrayLike) -> tuple[Array, Array]:
    """`scipy.special.sici`: the sine integral and the cosine integral.

    Examples
    --------
    >>> import scipy.special
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: scipy.special.sici(x)[0])(0.0)
    array(1.)
    """
    return sici_s(x), sici_c(x)


def fresnel(z: ArrayLike) -> tuple[Array, Array]:
    """`scipy.special.fresnel`: Fresnel's integrals of the sine and of the cosine.

    Examples
    --------
    >>> import scipy.special
    >>> import tapegrad as tg
    >>> tg.grad(lambda z: scipy.special.fresnel(z)[1])(0.0)
    array(1.)
    """
    return fresnel_s(z), fresnel_c(z)


answers(["scipy.special.sici"], sici)
answers(["scipy.special.fresnel"], fresnel)
wofz: Op[Any] = special_op(
    "wofz", lambda g, y, x: g * (2j / math.sqrt(math.pi) - 2 * x * y), complex=True
)

# --- elliptic integrals --------------------------------------------------------------------

# the double exponential formula from 0 to 1: its nodes, and their distances to 1
_STEP = 0.05
_GRID = _STEP * np.arange(-68, 69)
_LEFT = 1 / (1 + np.exp(np.pi * np.sinh(_GRID)))
_NODES = _LEFT[::-1]
_WEIGHTS = _STEP * np.pi * np.cosh(_GRID) * _NODES * _LEFT


def _elliptic_derivative(phi: Array, m: Array, order: int, power: float) -> Array:
    """Integrate a derivative of ``(1 - m * sin**2) ** power`` by `m` from 0 to phi."""
    dtype = result_type(phi, m)
    phi, m = (np.asarray(x, np.float64)[..., None] for x in (phi, m))

    def integrate_to(end: Array) -> Array:
        if order == 1:  # by one of Carlson's integrals (DLMF 19.25)
            sine, squared = np.sin(end), np.square(np.cos(end))
            rest = np.where(m > 0, (1 - m) + m * squared, 1 - m * np.square(sine))
            last = (1, rest) if power < 0 else (rest, 1)
            return sine**3 / 3 * scipy_function("elliprd")(squared, *last)
        angle = end * _NODES
        # from the end back, where the cosine may vanish
        cosine = np.cos(end) * np.cos(end * _LEFT) + np.sin(end) * np.sin(end * _LEFT)
        squared = np.square(np.sin(angle))
        rest = np.where(m > 0, (1 - m) + m * np.square(cosine), 1 - m * squared)
        terms = _WEIGHTS * squared**order * rest ** (power - order)
        return np.sum(terms, axis=-1, keepdims=True) * end

    with np.errstate(all="ignore"):
        turns = np.round(phi / np.pi)
        end = phi - np.pi * turns
        y = integrate_to(end)
        if np.any(turns):
            y = y + np.where(turns == 0, 0, 2 * turns * integrate_to(np.full_like(end, np.pi / 2)))
    return (_pochhammer(-power, order) * y[..., 0]).astype(dtype)


def _pochhammer(x: float, n: int) -> float:
    return math.prod(x + k for k in range(n))


def _phi_vjp(g: Cotangent, y: Array, phi: Array, m: Array, order: int, power: float) -> Cotangent:
    squared = np.square(np.sin(phi))
    return g * _pochhammer(-power, order) * squared**order * (1 - m * squared) ** (power - order)


def _read_elliptic(
    order: int, power: float, phi: ArrayLike, m: ArrayLike
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (phi, m), {"order": order, "power": power}


elliptic_derivative: Op[Any] = declare_special(
    "elliptic_derivative",
    _elliptic_derivative,
    _phi_vjp,
    lambda g, y, phi, m, order, power: g * elliptic_derivative(order + 1, power, phi, m),
    read=_read_elliptic,
    scipy="",
)


def _elliptic_ops(name: str, power: float) -> tuple[Op[Any], Op[Any]]:
    """Declare the complete integral and the incomplete integral."""

    def by_m(g: Cotangent, y: Array, *args: ArrayLike) -> Cotangent:
        phi, m = args if len(args) == 2 else (math.pi / 2, *args)
        return g * elliptic_derivative(1, power, phi, m)

    def by_phi(g: Cotangent, y: Array, phi: Array, m: Array) -> Cotangent:
        return _phi_vjp(g, y, phi, m, 0, power)

    return special_op(name, by_m, at=-1.08), special_op(f"{name}inc", by_phi, by_m, at=(0.8, -1.08))


ellipk, ellipkinc = _elliptic_ops("ellipk", -0.5)
ellipe, ellipeinc = _elliptic_ops("ellipe", 0.5)

# --- hypergeometric functions, by their last argument --------------------------------------


def _read_two(a: ArrayLike, b: ArrayLike, x: ArrayLike) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (x,), {"a": a, "b": b}


hyp0f1: Op[Any] = family_op(
    "hyp0f1",
    lambda g, y, z, v: g * hyp0f1(v + 1, z) / v,
    (2, 0.8),
    lambda v, z: ((z,), {"v": v}),
    complex=True,
)


def _hyp1f1(a: Array, b: Array, x: Array) -> Array:
    """Call SciPy for a clipped x, since its series has about x terms even for infinite values."""
    x = np.asarray(x)
    if x.dtype.kind == "c":
        return scipy_function("hyp1f1")(a, b, x)
    is_polynomial = np.less_equal(a, 0) & np.equal(a, np.floor(a))
    most = np.where(is_polynomial, np.inf, 1e6 + 100 * (np.abs(a) + np.abs(b)))
    return scipy_function("hyp1f1")(a, b, np.where(x > most, most, x).astype(x.dtype))


hyp1f1: Op[Any] = family_op(
    "hyp1f1",
    lambda g, y, x, a, b: g * (a / b) * hyp1f1(a + 1, b + 1, x),
    (1, 2, 0.8),
    _read_two,
    complex=True,
    fn=_hyp1f1,
)
hyp2f1: Op[Any] = family_op(
    "hyp2f1",
    lambda g, y, z, a, b, c: g * (a * b / c) * hyp2f1(a + 1, b + 1, c + 1, z),
    (1, 2, 3.5, -0.75),
    lambda a, b, c, z: ((z,), {"a": a, "b": b, "c": c}),
    complex=True,
)
hyperu: Op[Any] = family_op(
    "hyperu", lambda g, y, x, a, b: -g * a * hyperu(a + 1, b + 1, x), (1, 2, 2.6), _read_two
)

# --- orthogonal polynomials, by their last argument ----------------------------------------


_READ: dict[int, Any] = {
    1: lambda n, x: ((x,), {"n": n}),
    2: lambda n, alpha, x: ((x,), {"n": n, "alpha": alpha}),
    3: lambda n, alpha, beta, x: ((x,), {"n": n, "alpha": alpha, "beta": beta}),
}


def _polynomial_op(
    name: str,
    derivative_name: str,
    slope: Callable[..., tuple[Any, ...]],
    n: float,
    *at: float,
    complex: bool = True,
) -> Op[Any]:
    """Declare the op of a polynomial, whose slope is a multiple of another of lower degree.

    ``slope(n, *parameters)`` returns the factor and the parameters of the other polynomial.
    """

    def vjp(g: Cotangent, y: Array, x: Array, n: Array, **parameters: Any) -> Cotangent:
        n = np.asarray(n)
        factor, *others = slope(n, *parameters.values())
        lower = SCIPY_OPS[derivative_name](np.where(n == 0, n, n - 1), *others, x)
        return g * np.where(n == 0, 0, factor) * lower

    return family_op(name, vjp, (n, *at, 0.19), _READ[1 + len(at)], complex)


eval_jacobi: Op[Any] = _polynomial_op(
    "eval_jacobi", "eval_jacobi", lambda n, a, b: ((n + a + b + 1) / 2, a + 1, b + 1), 3, 1.0, 1.0
)
eval_legendre: Op[Any] = _polynomial_op(
    "eval_legendre", "eval_jacobi", lambda n: ((n + 1) / 2, 1, 1), 2.5
)
eval_chebyt: Op[Any] = _polynomial_op("eval_chebyt", "eval_chebyu", lambda n: (n,), 2.5)
eval_chebyu: Op[Any] = _polynomial_op("eval_chebyu", "eval_gegenbauer", lambda n: (2, 2), 2.5)
eval_gegenbauer: Op[Any] = _polynomial_op(
    "eval_gegenbauer", "eval_gegenbauer", lambda n, alpha: (2 * alpha, alpha + 1), 3, 0.5
)
eval_hermite: Op[Any] = _polynomial_op(
    "eval_hermite", "eval_hermite", lambda n: (2 * n,), 3, complex=False
)
eval_laguerre: Op[Any] = _polynomial_op("eval_laguerre", "eval_genlaguerre", lambda n: (-1, 1), 2.5)
eval_genlaguerre: Op[Any] = _polynomial_op(
    "eval_genlaguerre", "eval_genlaguerre", lambda n, alpha: (-1, alpha + 1), 2.5, 0.5
)

# --- Lambert's function --------------------------------------------------------------------


def _read_lambertw(
    z: ArrayLike, k: ArrayLike = 0, tol: float = 1e-8
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (z,), {"k": k, "tol": tol}


def _lambertw(z: ArrayLike, k: ArrayLike = 0, tol: float = 1e-8) -> Array:
    return scipy_function("lambertw")(z, k, tol)


lambertw: Op[Any] = declare_special(
    "lambertw",
    _lambertw,
    lambda g, y, z, k=0, tol=1e-8: g * np.exp(-y) / (1 + y),
    read=_read_lambertw,
    scipy="",
    complex=True,
    example="scipy.special.lambertw, [1.5]",
)
answers(["scipy.special._ufuncs._lambertw"], lambertw)
