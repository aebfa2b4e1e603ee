"""Calls to test SciPy's special functions on, and the ops of their derivatives."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from tapegrad.domain import NONZERO, POSITIVE, REAL, Call, Choices, Domain, Elements, each

_SHAPE, _TIMES = Elements(0.25, 8.0), Elements(0.125, 12.0)
_PROBABILITY = Elements(0.0625, 0.9375)
_STUDENT = (Elements(0.5, 8.0), REAL)
_WITHOUT_POLES = each(Elements(-1.5, 4.0, poles=(-1.0, 0.0)))
_ABOVE_MINUS_ONE, _UNIT = Elements(-0.9375, 4.0), Elements(-0.9375, 0.9375)
_RIGHT, _FAR_RIGHT = Elements(0.25), Elements(0.5)
_MODULUS = Elements(-4.0, 0.875)
_WHOLE, _ANY = (0, 1, 2), (0, 1, 2.5)


def _calls_with_options_first(options: Iterable[Any], *elements: Elements) -> Domain:
    """Calls with one of the options, or one tuple of them, before the operands."""
    several = [x if isinstance(x, tuple) else (x,) for x in options]

    def call(choose: Choices) -> Call:
        operands = each(*elements)(choose).args
        return Call((*choose.among(several), *operands))

    return call


def _by_parameters(*elements: Elements) -> Domain:
    """Calls of a derivative by a parameter of a distribution, over one of its probabilities."""
    n = len(elements) - 1

    def call(choose: Choices) -> Call:
        shapes = choose.broadcastable(n + 1, max_dims=1, max_side=2)
        operands = map(choose.array, shapes, elements)
        k = choose.integer(0, n - 1)
        orders = tuple(int(i == k) for i in range(n))
        return Call((orders, choose.integer(0, 2), *operands))

    return call


_GAMMA, _BETA = (_SHAPE, _TIMES), (_SHAPE, _SHAPE, _PROBABILITY)
_FAMILIES: dict[str, tuple[tuple[Elements, ...], tuple[str, ...]]] = {
    "gammainc": (_GAMMA, ("gammainc", "gammaincc", "gamma_log_density")),
    "betainc": (_BETA, ("betainc", "betaincc", "beta_log_density", "binom_log_mass")),
    "stdtr": (_STUDENT, ("stdtr", "t_log_density")),
}
_ENDINGS = ("{}_hazard", "{}c_hazard", "{}_probability", "{}c_probability", "log_{}", "log_{}c")

# By the name of the op; an op that is not here takes any real numbers.
DOMAINS: dict[str, Domain] = {
    **dict.fromkeys(("gamma", "gammaln", "psi"), _WITHOUT_POLES),
    **dict.fromkeys(("loggamma", "entr"), each(POSITIVE)),
    **dict.fromkeys(
        ("polygamma", "gamma_rest", "half_step_rest"),
        _calls_with_options_first((1, 2, 3), POSITIVE),
    ),
    **dict.fromkeys(("beta", "betaln", "rel_entr", "kl_div", "poch"), each(POSITIVE, POSITIVE)),
    "binom": each(Elements(4.25, 8.0), Elements(-0.75, 4.0)),
    "gammasgn": _WITHOUT_POLES,
    "spence": each(POSITIVE),
    "cbrt": each(NONZERO),
    "boxcox": each(POSITIVE, REAL),
    "boxcox1p": each(_ABOVE_MINUS_ONE, REAL),
    **dict.fromkeys(("inv_boxcox", "inv_boxcox1p"), each(Elements(-0.25, 4.0), Elements(0.0))),
    "zeta": _calls_with_options_first((1.5, 2, 4.0), POSITIVE),
    "erfcx": each(Elements(-2.0)),
    "erfcx_derivative": _calls_with_options_first((1, 2, 3), Elements(-2.0, 12.0)),
    "dawsn_derivative": _calls_with_options_first((1, 2, 3), Elements(-12.0, 12.0)),
    "erfinv": each(_UNIT),
    "erfcinv": each(Elements(0.0625, 1.9375)),
    "ndtri": each(Elements(0.03125, 0.96875)),
    "ndtri_exp": each(Elements(-4.0, -0.0625)),
    "logit": each(_PROBABILITY),
    "xlogy": each(REAL, POSITIVE),
    "xlog1py": each(REAL, _ABOVE_MINUS_ONE),
    "log1p": each(_ABOVE_MINUS_ONE),
    **dict.fromkeys(("huber", "pseudo_huber"), each(POSITIVE, REAL)),
    "expi": each(NONZERO),
    **dict.fromkeys(("exp1", "sici_s", "sici_c"), each(_RIGHT)),
    "expn": _calls_with_options_first(_WHOLE, _RIGHT),
    "elliptic_derivative": _calls_with_options_first(product((1, 2), (-0.5, 0.5)), REAL, _MODULUS),
    **dict.fromkeys(("ellipk", "ellipe"), each(_MODULUS)),
    **dict.fromkeys(("ellipkinc", "ellipeinc"), each(REAL, _MODULUS)),
    **dict.fromkeys(
        ("jv", "iv", "ive", "spherical_jn", "spherical_in"), _calls_with_options_first(_WHOLE, REAL)
    ),
    **dict.fromkeys(
        ("yn", "kn", "spherical_yn", "spherical_kn"), _calls_with_options_first(_WHOLE, _FAR_RIGHT)
    ),
    **dict.fromkeys(("yv", "kv", "kve"), _calls_with_options_first(_ANY, _FAR_RIGHT)),
    **dict.fromkeys(("y0", "y1", "k0", "k1", "k0e", "k1e"), each(_FAR_RIGHT)),
    "ive_derivative": _calls_with_options_first(
        product((1, 2), _WHOLE), Elements(-36.0, 36.0, poles=(0.0,))
    ),
    "kve_derivative": _calls_with_options_first(product((1, 2), _WHOLE), Elements(0.5, 36.0)),
    "hyp0f1": _calls_with_options_first((1.5, 2), REAL),
    "hyp1f1": _calls_with_options_first(((0.5, 1.5), (1, 2)), REAL),
    "hyp2f1": _calls_with_options_first(((0.5, 1.5, 2.0), (1, 2, 3.5)), Elements(-3.0, 0.75)),
    "hyperu": _calls_with_options_first(((0.5, 1.5), (1, 2)), _FAR_RIGHT),
    "eval_jacobi": _calls_with_options_first(((2, 0.5, 1.0), (3, 1.0, 1.0)), _UNIT),
    **{
        f"eval_{name}": _calls_with_options_first((0, 1, 3, 2.5), _UNIT)
        for name in ("legendre", "chebyt", "chebyu", "laguerre")
    },
    "eval_hermite": _calls_with_options_first((0, 1, 3), REAL),
    **dict.fromkeys(
        ("eval_gegenbauer", "eval_genlaguerre"),
        _calls_with_options_first(((0, 0.5), (3, 0.5), (2.5, 1.0)), _UNIT),
    ),
    "lambertw": each(Elements(-0.25)),
    **{
        name: each(*elements)
        for family, (elements, names) in _FAMILIES.items()
        for name in (*names, *[ending.format(family) for ending in _ENDINGS])
    },
    **{f"{family}_derivative": _by_parameters(*xs) for family, (xs, _) in _FAMILIES.items()},
    "t_score": _calls_with_options_first((1, 2, 3), *_STUDENT),
    **{
        f"{name}{ending}": each(*elements)
        for name, elements in (
            *[(f"gammainc{of}inv", (_SHAPE, _PROBABILITY)) for of in ("", "c")],
            ("stdtrit", (_STUDENT[0], _PROBABILITY)),
        )
        for ending in ("", "_quantile")
    },
    **dict.fromkeys(("betaincinv", "betainccinv"), each(*_BETA)),
    **dict.fromkeys(("poisson_ppf", "poisson_isf"), each(_PROBABILITY, _SHAPE)),
    **{
        f"{name}_{of}": each(_PROBABILITY, *[_SHAPE] * n, _PROBABILITY)
        for name, n in (("binom", 1), ("nbinom", 1), ("geom", 0), ("bernoulli", 0))
        for of in ("ppf", "isf")
    },
}
