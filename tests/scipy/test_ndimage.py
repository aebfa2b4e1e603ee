# ruff: noqa: E731
"""Images at places between their elements have SciPy's values, in every mode, and derivatives."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import FIRST, prove, refuses_alike

import tapegrad as tg

theirs: Any = pytest.importorskip("scipy.ndimage")
ours: Any = pytest.importorskip("tapegrad.scipy.ndimage")

MODES = ["constant", "grid-constant", "nearest", "mirror", "reflect", "grid-mirror"]
MODES += ["wrap", "grid-wrap"]
RNG = np.random.default_rng(3)
IMAGE = RNG.normal(size=(3, 4))
# inside, just outside, and many lengths away; none on an element
AT = np.array([[0.3, 1.7, -0.4, 2.2, 9.3], [2.6, 0.2, 1.1, -0.7, -13.8]])


def both(**options: Any) -> Any:
    return [partial(s.map_coordinates, **options) for s in (ours, theirs)]


@pytest.mark.parametrize("mode", MODES)
def test_it_is_scipys(mode: str) -> None:
    whole = THOROUGH or mode in ("constant", "mirror")
    options = {"order": 1 + whole, "compiled": whole, "batched": whole}
    prove(*both(order=1, mode=mode, cval=1.5), (IMAGE, AT), rtol=1e-12, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_values_on_elements_and_between_them_far_out(mode: str, order: int, n: int) -> None:
    image = RNG.normal(size=n)
    at = np.concatenate([np.arange(-41, 42) / 2, RNG.uniform(-20, 20, 40)])[None]
    here, there = both(order=order, mode=mode, cval=1.5)
    same(tg.record(here)(image, at)[0], there(image, at), 1e-12)
    # of the image alone, with places that are no Tensor
    same(tg.record(lambda x: here(x, at))(image)[0], there(image, at), 1e-12)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_complex_images(mode: str) -> None:
    for cval in (0.0, 1.0 - 2.0j):
        fns = both(order=1, mode=mode, cval=cval)
        prove(*fns, (IMAGE - 1j * IMAGE[::-1], AT), rtol=1e-12, **FIRST)


def test_any_number_of_axes_and_any_shape_of_places() -> None:
    cube, at = RNG.normal(size=(2, 3, 2)), RNG.uniform(0, 1, size=(3, 2, 2))
    prove(*both(order=1, mode="grid-wrap"), (cube, at), rtol=1e-12, **FIRST)
    prove(*both(order=0), (cube, at + 0.1), rtol=1e-12, **FIRST)
    for at in (np.array([[0.5], [1.5]]), np.zeros((2, 0)), np.array([[1, 2], [0, 3]])):
        here, there = both(order=1)
        same(tg.record(lambda x, at=at, here=here: here(x, at))(IMAGE)[0], there(IMAGE, at))


@pytest.mark.parametrize("mode", ["constant", "grid-constant"])
def test_the_value_outside_has_a_gradient(mode: str) -> None:
    outside = lambda cval: np.sum(both(order=1, mode=mode, cval=cval)[0](IMAGE, AT))
    np.testing.assert_allclose(tg.grad(outside)(0.5), outside(1.0) - outside(0.0))


@pytest.mark.parametrize("mode", MODES)
def test_on_an_element_the_slope_is_that_of_the_cell_after_it(mode: str) -> None:
    image = np.array([1.0, 4.0, 2.0, 10.0])
    fn = both(order=1, mode=mode)[0]
    slope = tg.vmap(tg.grad(lambda c: fn(image, c[None, None])[0]))
    at = np.arange(4.0)
    after = slope(at + 0.25)
    if mode in ("constant", "wrap"):
        after = np.array([*after[:3], 8.0])
    np.testing.assert_allclose(slope(at), after)


def test_a_place_that_is_not_finite_passes_no_gradient() -> None:
    at = np.array([[np.nan, np.inf, 1.0, 1e300], [0.0, 1.0, 0.5, 0.0]])
    for mode in MODES:
        fn = both(order=1, mode=mode, cval=7.0)[0]
        total = lambda x, c, fn=fn: np.sum(fn(x, c))
        value, (by_image, by_place) = tg.value_and_grad(total, (0, 1))(IMAGE, at)
        assert np.isfinite(value)
        assert np.isfinite(by_image).all()
        np.testing.assert_array_equal(by_place[:, :2], 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": 6},
        {"order": -1},
        {"mode": "around"},
        {"coordinates": AT[:1]},
        {"coordinates": AT + 1j},
        {"coordinates": np.float64(1.0)},
        {"coordinates": AT[:, 0]},
        {"cval": 1j},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_as_by_scipy(wrong: Any) -> None:
    call = {"coordinates": AT, "order": 1, **wrong}
    here, there = both(**call)
    for way in (tg.record, tg.compile):
        refuses_alike(way(here), there, IMAGE)


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="write order=1"):
        ours.map_coordinates(IMAGE, AT)
    with pytest.raises(NotImplementedError, match="output must be None"):
        ours.map_coordinates(IMAGE, AT, np.zeros(5), order=1)
    with pytest.raises(TypeError, match=r"write input.astype\(float\)"):
        tg.grad(lambda at: np.sum(ours.map_coordinates(IMAGE.astype(int), at, order=1)))(AT)
    with pytest.raises(ValueError, match="the input is empty"):
        tg.grad(lambda at: np.sum(ours.map_coordinates(IMAGE[:0], at, order=1)))(AT)
    same(*[fn(IMAGE.astype(int), AT) for fn in both(order=1)])
