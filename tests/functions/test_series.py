"""Series of polynomials have NumPy's values, with derivatives by points and coefficients."""

import re
from typing import Any

import numpy as np
import pytest
from alike import same
from numpy.polynomial import chebyshev, hermite, hermite_e, laguerre, legendre, polynomial

import tapegrad as tg
from tapegrad.testing import check_batched, check_grads, check_properties

MODULES: dict[str, Any] = {
    "chebval": chebyshev,
    "hermeval": hermite_e,
    "hermval": hermite,
    "lagval": laguerre,
    "legval": legendre,
    "polyval": polynomial,
}
RNG = np.random.default_rng(5)
POINTS: list[Any] = [0.3, 2, [0.5, -1.0], RNG.normal(size=(2, 3)), np.array([1j, 0.5 - 2j])]


@pytest.mark.parametrize("name", MODULES)
def test_series_match_numpy(name: str) -> None:
    fn, numpy_fn = getattr(tg.polynomial, name), getattr(MODULES[name], name)
    for c in (*[RNG.normal(size=n) for n in (1, 2, 3, 7)], RNG.normal(size=(4, 3)), [1, 2, 3], 2):
        for x in POINTS:
            same(tg.record(fn)(x, c)[0] if np.ndim(c) else fn(x, c), numpy_fn(x, c), 1e-12)
    c, x = RNG.normal(size=(4, 3)), RNG.normal(size=3)
    same(fn(x, c, tensor=False), numpy_fn(x, c, tensor=False), 1e-12)
    same(fn(np.float32([0.5]), np.ones(3, "f")), numpy_fn(np.float32([0.5]), np.ones(3, "f")), 1e-6)
    if name != "polyval":  # NumPy multiplies infinity by 0
        same(fn(np.inf, [1.0, 2.0]), numpy_fn(np.inf, [1.0, 2.0]))
    check_grads(fn, (x, c))
    check_properties(fn, (x, c), compiled=True)
    check_batched(fn, (x, c))


@pytest.mark.parametrize("name", MODULES)
def test_numpy_series_takes_points_and_its_error_names_tg_for_coefficients(name: str) -> None:
    numpy_fn, x, c = getattr(MODULES[name], name), np.array([0.5, 2.0]), np.ones(3)
    gradients = [
        tg.grad(lambda x, f=f: np.sum(f(x, c)))(x) for f in (numpy_fn, getattr(tg.polynomial, name))
    ]
    same(*gradients)
    with pytest.raises(TypeError, match=re.escape(f"write tg.polynomial.{name}(x, c);")):
        tg.grad(lambda c: np.sum(numpy_fn(x, c)))(c)
