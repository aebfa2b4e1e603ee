"""SciPy's special functions on Tensors: SciPy computes them, and the rules are here.

The package does not import SciPy: a caller who passes one of SciPy's functions has done so. The
derivatives are those in the DLMF (https://dlmf.nist.gov): of the gamma function in chapter 5, of
the error function in chapter 7 and of the Bessel functions in chapter 10.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapegrad.core.forward import elementwise
from tapegrad.core.op import Op
from tapegrad.core.tensor import Rule
from tapegrad.declare import op
from tapegrad.declare.domain import POSITIVE, REAL, Call, Choices, Domain, Elements, each
from tapegrad.ops.casting import safe_divide

__all__ = [
    *("gamma", "gammaln", "loggamma", "rgamma", "psi", "digamma", "polygamma", "beta", "betaln"),
    *("erf", "erfc", "erfcx", "erfi", "dawsn", "erfinv", "erfcinv"),
    *("ndtr", "log_ndtr", "ndtri", "ndtri_exp", "expit", "logit", "log_expit"),
    *("xlogy", "xlog1py", "entr", "rel_entr", "kl_div"),
    *("jn", "jv", "yv", "iv", "ive", "kv", "j0", "j1", "y0", "y1"),
    *("i0", "i1", "i0e", "i1e", "k0", "k1"),
]

_SQRT_2 = math.sqrt(2)
_SQRT_PI = math.sqrt(math.pi)
_SQRT_2PI = math.sqrt(2 * math.pi)


def _scipys(name: str) -> Any:
    """A function of ``scipy.special``, which the caller has imported."""
    special = sys.modules.get("scipy.special")
    if special is None:
        raise ImportError(f"{name} is computed by SciPy: import scipy.special first")
    return getattr(special, name)


# The functions by their number of operands; the first argument of a family is its order.
def _of_one(name: str) -> Callable[..., Any]:
    def forward(x: Any) -> Any:
        return _scipys(name)(x)

    return forward


def _of_two(name: str) -> Callable[..., Any]:
    def forward(x1: Any, x2: Any) -> Any:
        return _scipys(name)(x1, x2)

    return forward


def _of_order(name: str) -> Callable[..., Any]:
    def forward(x: Any, order: Any) -> Any:
        return _scipys(name)(order, x)

    return forward


def _split(order: Any, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """An order is an option: it passes no gradient, and must not be a Tensor."""
    return (x,), {"order": order}


_EXAMPLE = """

Examples
--------
>>> import scipy.special
>>> import tapegrad as tg
>>> tg.testing.check_grads({})"""


def _inside(elements: Elements) -> float:
    return round(elements.low + 0.6 * (elements.high - elements.low), 2)


def _special(name: str, *vjps: Rule, domain: Any = REAL, kink: str = "") -> Op[Any]:
    """The op of a SciPy ufunc: a rule for each operand, and the numbers to test it on."""
    kinds = domain if isinstance(domain, tuple) else (domain,) * len(vjps)
    forward = (_of_one if len(vjps) == 1 else _of_two)(name)
    example = f"scipy.special.{name}, {[*map(_inside, kinds)]}"
    return _declared(name, forward, *vjps, domain=each(*kinds), kink=kink, example=example)


def _family(name: str, vjp: Rule, orders: Sequence[float], elements: Elements) -> Op[Any]:
    """The op of a SciPy ufunc that takes an order, which is not differentiated."""

    def call(choose: Choices) -> Call:
        (x,) = each(elements)(choose).args
        return Call((choose.among(orders), x))

    example = f"lambda x: scipy.special.{name}({orders[-1]}, x), [{_inside(elements)}]"
    return _declared(name, _of_order(name), vjp, domain=call, read=_split, example=example)


def _declared(
    name: str,
    forward: Callable[..., Any],
    *vjps: Rule,
    domain: Domain,
    kink: str = "",
    read: Callable[..., Any] | None = None,
    scipy: str | None = None,
    example: str = "",
) -> Op[Any]:
    forward.__name__ = forward.__qualname__ = name
    forward.__doc__ = f"`scipy.special.{name}`.{example and _EXAMPLE.format(example)}"
    return op(
        *vjps,
        scipy=name if scipy is None else scipy,
        takes_weak=len(vjps) > 1,
        read=read,
        domain=domain,
        kink=kink,
        jvp=elementwise,
    )(forward)


# --- the gamma function --------------------------------------------------------------------

_WITHOUT_POLES = Elements(-1.5, 4.0, poles=(-1.0, 0.0))

gamma: Op[Any] = _special("gamma", lambda g, y, x: g * y * psi(x), domain=_WITHOUT_POLES)
gammaln: Op[Any] = _special("gammaln", lambda g, y, x: g * psi(x), domain=_WITHOUT_POLES)
loggamma: Op[Any] = _special("loggamma", lambda g, y, x: g * psi(x), domain=POSITIVE)


def _slope_of_rgamma(x: Any) -> Any:
    """``-rgamma(x) * psi(x)``, by reflection where psi has poles."""
    is_left = np.less(x, 0.5)
    left, right = np.where(is_left, x, 0), np.where(is_left, 1, x)
    angle = np.pi * np.remainder(left, 2)
    reflected = np.cos(angle) - np.sin(angle) * psi(1 - left) / np.pi
    return np.where(is_left, gamma(1 - left) * reflected, -rgamma(right) * psi(right))


rgamma: Op[Any] = _special("rgamma", lambda g, y, x: g * _slope_of_rgamma(x))


def _orders_of_polygamma(choose: Choices) -> Call:
    (x,) = each(POSITIVE)(choose).args
    return Call((choose.integer(1, 3), x))


def _next_polygamma(g: Any, y: Any, x: Any, order: Any) -> Any:
    return g * polygamma(order + 1, x)


@op(
    _next_polygamma,
    scipy="",
    read=lambda n, x: _split(n, x),
    domain=_orders_of_polygamma,
    jvp=elementwise,
)
def polygamma(x: Any, order: Any) -> Any:  # noqa: D417, for it is called with n and x
    """A derivative of the digamma function: ``polygamma(n, x)``, computed by SciPy.

    SciPy's own function of this name does not take a Tensor.

    Parameters
    ----------
    n
        The order of the derivative, from 0 on; it is not differentiated.
    x
        An array.

    Raises
    ------
    ImportError
        If `scipy.special` has not been imported.

    Examples
    --------
    >>> import tapegrad as tg
    >>> import scipy.special  # doctest: +SKIP
    >>> tg.grad(lambda x: tg.polygamma(0, x))(1.0).round(9)  # doctest: +SKIP
    np.float64(1.644934067)
    """
    return _scipys("polygamma")(order, x)


psi: Op[Any] = _special("psi", lambda g, y, x: g * polygamma(1, x), domain=_WITHOUT_POLES)
digamma = psi
beta: Op[Any] = _special(
    "beta",
    lambda g, y, a, b: g * y * (psi(a) - psi(a + b)),
    lambda g, y, a, b: g * y * (psi(b) - psi(a + b)),
    domain=(POSITIVE, POSITIVE),
)
betaln: Op[Any] = _special(
    "betaln",
    lambda g, y, a, b: g * (psi(a) - psi(a + b)),
    lambda g, y, a, b: g * (psi(b) - psi(a + b)),
    domain=(POSITIVE, POSITIVE),
)

# --- the error function and the normal distribution ----------------------------------------


def _bell(x: Any) -> Any:
    """The slope of the error function."""
    return (2 / _SQRT_PI) * np.exp(-np.square(x))


erf: Op[Any] = _special("erf", lambda g, y, x: g * _bell(x))
erfc: Op[Any] = _special("erfc", lambda g, y, x: -g * _bell(x))
# beyond this, recurrences lose digits and the first terms of the series have all of them
_FAR = 8.0
_TERMS = 30


def _derivative(x: Any, order: int, name: str, sign: int, limit: float) -> Any:
    """A derivative of a function y that is ``limit / x`` far out; its slope is
    ``2 * sign * (x * y - limit)``.
    """
    value = _scipys(name)
    wide = np.asarray(x, np.float64)
    is_far = np.abs(wide) > _FAR if sign < 0 else wide > _FAR
    near, far = np.where(is_far, 0, wide), np.where(is_far, wide, _FAR)
    before, found = value(near), 2 * sign * (near * value(near) - limit)
    for n in range(1, order):
        before, found = found, 2 * sign * (near * found + n * before)
    # the series that begins with limit / x, differentiated by terms
    factors = [math.prod(range(2 * k + 1, 2 * k + 1 + order)) for k in range(_TERMS)]
    series = np.zeros_like(far)
    for k in reversed(range(_TERMS)):
        series = factors[k] - sign * (k + 0.5) / far / far * series
    series = limit * (-1.0) ** order * series / far ** (order + 1)
    return np.where(is_far, series, found).astype(value(x).dtype)


def _derivatives(name: str, sign: int, limit: float, elements: Elements) -> Op[Any]:
    """The op of a function's derivatives of an order from 1 on, without cancellation far out."""

    def forward(x: Any, order: Any) -> Any:
        return _derivative(x, order, name, sign, limit)

    def call(choose: Choices) -> Call:
        (x,) = each(elements)(choose).args
        return Call((choose.integer(1, 3), x))

    made: Op[Any] = _declared(
        f"{name}_derivative",
        forward,
        lambda g, y, x, order: g * made(order + 1, x),
        domain=call,
        read=_split,
        scipy="",
    )
    return made


erfcx_derivative: Op[Any] = _derivatives("erfcx", 1, 1 / _SQRT_PI, Elements(-2.0, 12.0))
dawsn_derivative: Op[Any] = _derivatives("dawsn", -1, 0.5, Elements(-12.0, 12.0))
erfcx: Op[Any] = _special(
    "erfcx", lambda g, y, x: g * erfcx_derivative(1, x), domain=Elements(-2.0)
)
erfi: Op[Any] = _special("erfi", lambda g, y, x: g * (2 / _SQRT_PI) * np.exp(np.square(x)))
dawsn: Op[Any] = _special("dawsn", lambda g, y, x: g * dawsn_derivative(1, x))
erfinv: Op[Any] = _special(
    "erfinv",
    lambda g, y, x: g * (_SQRT_PI / 2) * np.exp(np.square(y)),
    domain=Elements(-0.9375, 0.9375),
)
erfcinv: Op[Any] = _special(
    "erfcinv",
    lambda g, y, x: -g * (_SQRT_PI / 2) * np.exp(np.square(y)),
    domain=Elements(0.0625, 1.9375),
)
ndtr: Op[Any] = _special("ndtr", lambda g, y, x: g * np.exp(-np.square(x) / 2) / _SQRT_2PI)


def _slope_of_log_ndtr(x: Any) -> Any:
    """The density divided by the probability, both of which vanish far to the left."""
    return (2 / _SQRT_2PI) / _scipys("erfcx")(np.negative(x) / _SQRT_2)


def _excess(y: Any, x: Any) -> Any:
    """``x + y``, of the slope of log_ndtr, where far to the left the two cancel."""
    is_left = np.less(x, 0)
    t = np.where(is_left, x, 0) / -_SQRT_2
    return np.where(is_left, -erfcx_derivative(1, t) / (_SQRT_2 * erfcx(t)), x + y)


log_ndtr_slope: Op[Any] = _declared(
    "log_ndtr_slope",
    _slope_of_log_ndtr,
    lambda g, y, x: -g * y * _excess(y, x),
    domain=each(REAL),
    scipy="",
)
log_ndtr: Op[Any] = _special("log_ndtr", lambda g, y, x: g * log_ndtr_slope(x))
ndtri: Op[Any] = _special(
    "ndtri",
    lambda g, y, x: g * _SQRT_2PI * np.exp(np.square(y) / 2),
    domain=Elements(0.03125, 0.96875),
)
ndtri_exp: Op[Any] = _special(
    "ndtri_exp",
    lambda g, y, x: g * (_SQRT_2PI / 2) * erfcx(np.negative(y) / _SQRT_2),
    domain=Elements(-4.0, -0.0625),
)

# --- logistic ------------------------------------------------------------------------------

expit: Op[Any] = _special("expit", lambda g, y, x: g * y * expit(-x))
logit: Op[Any] = _special(
    "logit", lambda g, y, x: g / (x * (1 - x)), domain=Elements(0.0625, 0.9375)
)
log_expit: Op[Any] = _special("log_expit", lambda g, y, x: g * expit(-x))

# --- entropies -----------------------------------------------------------------------------

xlogy: Op[Any] = _special(
    "xlogy",
    lambda g, y, x1, x2: xlogy(g, x2),
    lambda g, y, x1, x2: g * safe_divide(x1, x2),
    domain=(REAL, POSITIVE),
    kink="-inf in `x1` at `x2` 0, where `x2` has 0",
)
xlog1py: Op[Any] = _special(
    "xlog1py",
    lambda g, y, x1, x2: xlog1py(g, x2),
    lambda g, y, x1, x2: g * safe_divide(x1, 1 + x2),
    domain=(REAL, Elements(-0.9375, 4.0)),
    kink="-inf in `x1` at `x2` -1, where `x2` has 0",
)
entr: Op[Any] = _special(
    "entr", lambda g, y, x: -g - xlogy(g, x), domain=POSITIVE, kink="inf at 0, nan below"
)
rel_entr: Op[Any] = _special(
    "rel_entr",
    lambda g, y, x1, x2: g + xlogy(g, x1) - xlogy(g, x2),
    lambda g, y, x1, x2: -g * safe_divide(x1, x2),
    domain=(POSITIVE, POSITIVE),
    kink="-inf in `x1` at 0",
)
kl_div: Op[Any] = _special(
    "kl_div",
    lambda g, y, x1, x2: xlogy(g, x1) - xlogy(g, x2),
    lambda g, y, x1, x2: g * (1 - safe_divide(x1, x2)),
    domain=(POSITIVE, POSITIVE),
    kink="-inf in `x1` at 0",
)

# --- Bessel functions ----------------------------------------------------------------------

_ANY_ORDERS = (0, 1, 2.5)

jv: Op[Any] = _family(
    "jv", lambda g, y, x, order: g * (jv(order - 1, x) - jv(order + 1, x)) / 2, (0, 1, 2), REAL
)
yv: Op[Any] = _family(
    "yv",
    lambda g, y, x, order: g * (yv(order - 1, x) - yv(order + 1, x)) / 2,
    _ANY_ORDERS,
    Elements(0.5),
)
iv: Op[Any] = _family(
    "iv", lambda g, y, x, order: g * (iv(order - 1, x) + iv(order + 1, x)) / 2, (0, 1, 2), REAL
)
kv: Op[Any] = _family(
    "kv",
    lambda g, y, x, order: -g * (kv(order - 1, x) + kv(order + 1, x)) / 2,
    _ANY_ORDERS,
    Elements(0.5),
)
jn = jv
j0: Op[Any] = _special("j0", lambda g, y, x: -g * j1(x))
j1: Op[Any] = _special("j1", lambda g, y, x: g * (j0(x) - jv(2, x)) / 2)
y0: Op[Any] = _special("y0", lambda g, y, x: -g * y1(x), domain=Elements(0.5))
y1: Op[Any] = _special("y1", lambda g, y, x: g * (y0(x) - yv(2, x)) / 2, domain=Elements(0.5))
i0: Op[Any] = _special("i0", lambda g, y, x: g * i1(x))
i1: Op[Any] = _special("i1", lambda g, y, x: g * (i0(x) + iv(2, x)) / 2)
k0: Op[Any] = _special("k0", lambda g, y, x: -g * k1(x), domain=Elements(0.5))
k1: Op[Any] = _special("k1", lambda g, y, x: -g * (k0(x) + kv(2, x)) / 2, domain=Elements(0.5))
# scaled by exp(-abs(x)), which has a kink
ive: Op[Any] = _family(
    "ive",
    lambda g, y, x, order: (
        g * ((ive(order - 1, x) + ive(order + 1, x)) / 2 - np.sign(x) * ive(order, x))
    ),
    (0, 1, 2),
    REAL,
)
i0e: Op[Any] = _special("i0e", lambda g, y, x: g * (i1e(x) - np.sign(x) * y), kink="0 at 0")
i1e: Op[Any] = _special("i1e", lambda g, y, x: g * ((i0e(x) + ive(2, x)) / 2 - np.sign(x) * y))
