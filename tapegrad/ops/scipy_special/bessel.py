"""Airy functions, and Bessel functions, whose order passes no gradient.

The derivatives are in the DLMF (https://dlmf.nist.gov), chapters 9 and 10.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.arraylike.table import answers
from tapegrad.core.op import Op
from tapegrad.core.primitive import Rule
from tapegrad.ops.scipy_special.ufuncs import (
    SCIPY_OPS,
    check_whole_order,
    declare_special,
    derivative_op,
    family_op,
    result_ops,
    scipy_function,
    special_op,
    split_whole_order,
)
from tapegrad.types import Array, ArrayLike, Cotangent

__all__ = ["airy", "airy_ai", "airy_aip", "airy_bi", "airy_bip", "i0", "i0e", "i1", "i1e", "iv"]
__all__ += ["ive", "ive_derivative", "j0", "j1", "jn", "jv", "k0", "k0e", "k1", "k1e", "kn", "kv"]
__all__ += ["kve", "kve_derivative", "y0", "y1", "yn", "yv"]
__all__ += ["spherical_in", "spherical_jn", "spherical_kn", "spherical_yn"]

_ANY_ORDER, _WHOLE_ORDER = (2.5, 2.6), (2, 2.6)


def _neighbour_rule(family: str, combine: Callable[[Array, Array], Array]) -> Rule:
    """Return the rule of half the sum or difference of the functions of neighbouring orders."""

    def vjp(g: Cotangent, y: Array, x: Array, order: Array) -> Cotangent:
        op = SCIPY_OPS[family]
        return g * combine(op(order - 1, x), op(order + 1, x)) / 2

    return vjp


_j_vjp, _y_vjp = (_neighbour_rule(name, operator.sub) for name in ("jv", "yv"))
_i_vjp = _neighbour_rule("iv", operator.add)
_k_vjp = _neighbour_rule("kv", lambda lower, upper: -(lower + upper))

jv: Op[Any] = family_op("jv", _j_vjp, complex=True)
yv: Op[Any] = family_op("yv", _y_vjp, _ANY_ORDER, complex=True)
iv: Op[Any] = family_op("iv", _i_vjp, complex=True)
kv: Op[Any] = family_op("kv", _k_vjp, _ANY_ORDER, complex=True)
jn = jv
j0: Op[Any] = special_op("j0", lambda g, y, x: -g * j1(x))
j1: Op[Any] = special_op("j1", lambda g, y, x: g * (j0(x) - jv(2, x)) / 2)
y0: Op[Any] = special_op("y0", lambda g, y, x: -g * y1(x), at=2.6)
y1: Op[Any] = special_op("y1", lambda g, y, x: g * (y0(x) - yv(2, x)) / 2, at=2.6)
i0: Op[Any] = special_op("i0", lambda g, y, x: g * i1(x))
i1: Op[Any] = special_op("i1", lambda g, y, x: g * (i0(x) + iv(2, x)) / 2)
k0: Op[Any] = special_op("k0", lambda g, y, x: -g * k1(x), at=2.6)
k1: Op[Any] = special_op("k1", lambda g, y, x: -g * (k0(x) + kv(2, x)) / 2, at=2.6)
yn: Op[Any] = family_op("yn", _y_vjp, _WHOLE_ORDER, split_whole_order)
kn: Op[Any] = family_op("kn", _k_vjp, _WHOLE_ORDER, split_whole_order)
# --- scaled functions, whose recurrences cancel far out --------------------------------------

# beyond this and the square of the order, the first terms of asymptotic series are exact
_FAR = 30.0
_TERMS = 40


def _series(x: Array, n: int, order: Array, sign: int) -> Array:
    """Return the n-th derivative of ``sum(sign**k * a_k(order) * x**(-k - 1/2))`` (DLMF 10.40)."""
    term = math.prod(k + 0.5 for k in range(n)) * (-1.0) ** n * x ** (-n - 0.5)
    total = np.zeros_like(x)
    for k in range(_TERMS):
        total = total + term
        factor = (4 * np.square(order) - (2 * k + 1) ** 2) * (k + 0.5 + n) / (k + 0.5)
        term = term * (sign * factor / (8 * (k + 1))) / x
    return total


def _read_derivative(
    n: int, order: ArrayLike, x: ArrayLike
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (x,), {"n": n, "order": order}


def _declare_derivatives(name: str, sign: int, front: float, **facts: Any) -> Op[Any]:
    """Declare the op of the n-th derivatives of `ive`, with the sign -1, or of `kve`."""

    def near(x: Array, n: int, order: Array) -> Array:
        if n == 0:
            return scipy_function(name)(order, x)
        lower, same, upper = (near(x, n - 1, order + k) for k in (-1, 0, 1))
        return same - (lower + upper) / 2 if sign > 0 else (lower + upper) / 2 - np.sign(x) * same

    def forward(x: Array, n: int, order: Array) -> Array:
        dtype = scipy_function(name)(order, x).dtype
        order = np.asarray(order, float)
        x = np.asarray(x, np.result_type(x, np.float64))
        size = x if sign > 0 else np.absolute(x)
        is_far = np.absolute(size) > np.maximum(_FAR, np.square(order))
        is_far = is_far & (np.iscomplexobj(x) | np.greater(size, 0))
        far = front * _series(np.where(is_far, size, _FAR), n, order, sign)
        if sign < 0:
            # the parity; below 0 the function is complex if the order is not whole
            parity = np.where(
                np.remainder(order, 1) == 0, 1 - 2 * np.remainder(order + n, 2), np.nan
            )
            far = np.where(x < 0, parity, 1) * far
        return np.where(is_far, far, near(np.where(is_far, 1, x), n, order)).astype(dtype)

    return derivative_op(f"{name}_derivative", forward, _read_derivative, **facts)


# scaled by exp(-abs(x)), which has a kink
ive_derivative: Op[Any] = _declare_derivatives("ive", -1, 1 / math.sqrt(2 * math.pi))
ive: Op[Any] = family_op("ive", lambda g, y, x, order: g * ive_derivative(1, order, x))
i0e: Op[Any] = special_op("i0e", lambda g, y, x: g * ive_derivative(1, 0, x), kink="0 at 0")
i1e: Op[Any] = special_op("i1e", lambda g, y, x: g * ive_derivative(1, 1, x))
# scaled by exp(x)
kve_derivative: Op[Any] = _declare_derivatives("kve", 1, math.sqrt(math.pi / 2), complex=True)
kve: Op[Any] = family_op(
    "kve", lambda g, y, x, order: g * kve_derivative(1, order, x), _ANY_ORDER, complex=True
)
k0e: Op[Any] = special_op("k0e", lambda g, y, x: g * kve_derivative(1, 0, x), at=2.6)
k1e: Op[Any] = special_op("k1e", lambda g, y, x: g * kve_derivative(1, 1, x), at=2.6)

# --- spherical Bessel functions, which are Python functions in SciPy ---------------------------


def _read_spherical(
    n: float | Array, z: ArrayLike, derivative: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    check_whole_order(n)
    return (z,), {"n": n, "derivative": derivative}


def _declare_spherical(kind: str, lower_sign: int, upper_sign: int) -> Op[Any]:
    """Declare the op, whose derivative is a sum of the neighbours with these signs, at 0 too."""
    name = f"spherical_{kind}"

    def forward(z: Array, n: Array, derivative: bool = False) -> Array:
        return scipy_function(name)(n, z, derivative)

    def vjp(g: Cotangent, y: Array, z: Array, n: Array, derivative: bool = False) -> Cotangent:
        previous = np.maximum(np.asarray(n) - 1, 0)  # its weight is 0 at n = 0
        lower, upper = spherical(previous, z, derivative), spherical(n + 1, z, derivative)
        return g * (lower_sign * n * lower + upper_sign * (n + 1) * upper) / (2 * n + 1)

    spherical: Op[Any] = declare_special(
        name,
        forward,
        vjp,
        read=_read_spherical,
        scipy="",
        complex=True,
        example=f"lambda z: tapegrad.scipy.special.{name}(1, z), [1.5]",
    )
    return spherical


spherical_jn = _declare_spherical("jn", 1, -1)
spherical_yn = _declare_spherical("yn", 1, -1)
spherical_in = _declare_spherical("in", 1, 1)
spherical_kn = _declare_spherical("kn", -1, -1)

# --- Airy functions ------------------------------------------------------------------------


_AIRY: tuple[Op[Any], ...] = result_ops(
    "airy",
    ("airy_ai", lambda g, y, x: g * _AIRY[1](x)),
    ("airy_aip", lambda g, y, x: g * x * _AIRY[0](x)),
    ("airy_bi", lambda g, y, x: g * _AIRY[3](x)),
    ("airy_bip", lambda g, y, x: g * x * _AIRY[2](x)),
    complex=True,
)
airy_ai, airy_aip, airy_bi, airy_bip = _AIRY


def airy(z: ArrayLike) -> tuple[Array, Array, Array, Array]:
    """`scipy.special.airy`: the functions Ai and Bi, each followed by its derivative.

    Examples
    --------
    >>> import scipy.special
    >>> import tapegrad as tg
    >>> tg.grad(lambda x: scipy.special.airy(x)[0])(0.0).round(6)
    np.float64(-0.258819)
    """
    return airy_ai(z), airy_aip(z), airy_bi(z), airy_bip(z)


answers(["scipy.special.airy"], airy)
