"""Bessel functions of an order, which has no derivative here, and Airy's.

The derivatives are those in the DLMF (https://dlmf.nist.gov), chapters 9 and 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.core.op import Op
from tapegrad.domain import REAL, Call, Choices, Elements, each
from tapegrad.face.table import answers
from tapegrad.ops.scipy_special.ufuncs import (
    check_whole,
    declared,
    family,
    scipys,
    special,
    split_whole,
)

__all__ = ["airy", "i0", "i0e", "i1", "i1e", "iv", "ive", "j0", "j1", "jn", "jv", "k0", "k0e"]
__all__ += ["k1", "k1e", "kn", "kv", "kve", "y0", "y1", "yn", "yv"]
__all__ += ["airy_ai", "airy_aip", "airy_bi", "airy_bip"]
__all__ += ["spherical_in", "spherical_jn", "spherical_kn", "spherical_yn"]

_ANY_ORDERS = (0, 1, 2.5)
_RIGHT = Elements(0.5)

jv: Op[Any] = family(
    "jv",
    lambda g, y, x, order: g * (jv(order - 1, x) - jv(order + 1, x)) / 2,
    (0, 1, 2),
    REAL,
    complex=True,
)
yv: Op[Any] = family(
    "yv",
    lambda g, y, x, order: g * (yv(order - 1, x) - yv(order + 1, x)) / 2,
    _ANY_ORDERS,
    _RIGHT,
    complex=True,
)
iv: Op[Any] = family(
    "iv",
    lambda g, y, x, order: g * (iv(order - 1, x) + iv(order + 1, x)) / 2,
    (0, 1, 2),
    REAL,
    complex=True,
)
kv: Op[Any] = family(
    "kv",
    lambda g, y, x, order: -g * (kv(order - 1, x) + kv(order + 1, x)) / 2,
    _ANY_ORDERS,
    _RIGHT,
    complex=True,
)
jn = jv
j0: Op[Any] = special("j0", lambda g, y, x: -g * j1(x))
j1: Op[Any] = special("j1", lambda g, y, x: g * (j0(x) - jv(2, x)) / 2)
y0: Op[Any] = special("y0", lambda g, y, x: -g * y1(x), domain=_RIGHT)
y1: Op[Any] = special("y1", lambda g, y, x: g * (y0(x) - yv(2, x)) / 2, domain=_RIGHT)
i0: Op[Any] = special("i0", lambda g, y, x: g * i1(x))
i1: Op[Any] = special("i1", lambda g, y, x: g * (i0(x) + iv(2, x)) / 2)
k0: Op[Any] = special("k0", lambda g, y, x: -g * k1(x), domain=_RIGHT)
k1: Op[Any] = special("k1", lambda g, y, x: -g * (k0(x) + kv(2, x)) / 2, domain=_RIGHT)
# scaled by exp(-abs(x)), which has a kink
ive: Op[Any] = family(
    "ive",
    lambda g, y, x, order: (
        g * ((ive(order - 1, x) + ive(order + 1, x)) / 2 - np.sign(x) * ive(order, x))
    ),
    (0, 1, 2),
    REAL,
)
i0e: Op[Any] = special("i0e", lambda g, y, x: g * (i1e(x) - np.sign(x) * y), kink="0 at 0")
i1e: Op[Any] = special("i1e", lambda g, y, x: g * ((i0e(x) + ive(2, x)) / 2 - np.sign(x) * y))
yn: Op[Any] = family(
    "yn",
    lambda g, y, x, order: g * (yv(order - 1, x) - yv(order + 1, x)) / 2,
    (0, 1, 2),
    _RIGHT,
    split_whole,
)
kn: Op[Any] = family(
    "kn",
    lambda g, y, x, order: -g * (kv(order - 1, x) + kv(order + 1, x)) / 2,
    (0, 1, 2),
    _RIGHT,
    split_whole,
)
# scaled by exp(x)
kve: Op[Any] = family(
    "kve",
    lambda g, y, x, order: g * (y - (kve(order - 1, x) + kve(order + 1, x)) / 2),
    _ANY_ORDERS,
    _RIGHT,
    complex=True,
)
k0e: Op[Any] = special("k0e", lambda g, y, x: g * (y - k1e(x)), domain=_RIGHT)
k1e: Op[Any] = special("k1e", lambda g, y, x: g * (y - (k0e(x) + kve(2, x)) / 2), domain=_RIGHT)

# --- spherical Bessel functions, for which SciPy's own read arrays ---------------------------


def _read_spherical(
    n: Any, z: Any, derivative: bool = False
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    check_whole(n)
    return (z,), {"n": n, "derivative": derivative}


def _spherical(kind: str, before: int, after: int, elements: Elements = _RIGHT) -> Op[Any]:
    """The op, or its derivative: a sum of the neighbours with these signs, at 0 too."""
    name = f"spherical_{kind}"

    def forward(z: Any, n: Any, derivative: bool = False) -> Any:
        return scipys(name)(n, z, derivative)

    def vjp(g: Any, y: Any, z: Any, n: Any, derivative: bool = False) -> Any:
        down = np.maximum(np.asarray(n) - 1, 0)  # which has a weight of 0 at n = 0
        lower, upper = made(down, z, derivative), made(n + 1, z, derivative)
        return g * (before * n * lower + after * (n + 1) * upper) / (2 * n + 1)

    def call(choose: Choices) -> Call:
        (z,) = each(elements)(choose).args
        return Call((choose.integer(0, 2), z))

    made: Op[Any] = declared(
        name,
        forward,
        vjp,
        domain=call,
        read=_read_spherical,
        scipy="",
        complex=True,
        example=f"lambda z: tapegrad.scipy.special.{name}(1, z), [1.5]",
    )
    return made


spherical_jn = _spherical("jn", 1, -1, REAL)
spherical_yn = _spherical("yn", 1, -1)
spherical_in = _spherical("in", 1, 1, REAL)
spherical_kn = _spherical("kn", -1, -1)

# --- Airy functions ------------------------------------------------------------------------


def _airy(name: str, index: int, vjp: Any) -> Op[Any]:
    def forward(x: Any) -> Any:
        return scipys("airy")(x)[index]

    return declared(name, forward, vjp, domain=each(REAL), scipy="", complex=True)


airy_ai: Op[Any] = _airy("airy_ai", 0, lambda g, y, x: g * airy_aip(x))
airy_aip: Op[Any] = _airy("airy_aip", 1, lambda g, y, x: g * x * airy_ai(x))
airy_bi: Op[Any] = _airy("airy_bi", 2, lambda g, y, x: g * airy_bip(x))
airy_bip: Op[Any] = _airy("airy_bip", 3, lambda g, y, x: g * x * airy_bi(x))


def airy(z: Any) -> tuple[Any, Any, Any, Any]:
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
