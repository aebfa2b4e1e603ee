# ruff: noqa: E731
"""Filters, and images at places between their elements, have SciPy's values, and derivatives."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import FIRST, prove, prove_call, refuses_alike

import tapegrad as tg

theirs: Any = pytest.importorskip("scipy.ndimage")
ours: Any = pytest.importorskip("tapegrad.scipy.ndimage")

MODES = ["constant", "grid-constant", "nearest", "mirror", "reflect", "grid-mirror"]
MODES += ["wrap", "grid-wrap"]
RNG = np.random.default_rng(3)
IMAGE = RNG.normal(size=(3, 4))
# inside, just outside, and many lengths away; none on an element
AT = np.array([[0.3, 1.7, -0.4, 2.2, 9.3], [2.6, 0.2, 1.1, -0.7, -13.8]])


CUBE = RNG.normal(size=(2, 3, 2))
WEIGHTS = RNG.normal(size=(2, 3))
Z = IMAGE + 1j * IMAGE[::-1]

X = RNG.normal(size=4)
# a name, options, and arrays; sizes are larger than the image, or even
FILTERS: list[tuple[Any, ...]] = [
    ("correlate", {"origin": (-1, 1)}, IMAGE, WEIGHTS),
    ("correlate", {"mode": "wrap"}, IMAGE, WEIGHTS - 1j),
    ("correlate", {"origin": (-1, 1), "axes": (2, 0), "mode": "mirror"}, CUBE, WEIGHTS.T),
    ("convolve", {"mode": "mirror"}, IMAGE, WEIGHTS.T),
    ("convolve", {"mode": "constant", "cval": 2j, "origin": (0, -1)}, Z, WEIGHTS + 1j),
    ("correlate1d", {"axis": 0, "mode": "constant", "cval": 1.5, "origin": -2}, IMAGE, X),
    ("convolve1d", {"axis": 1, "mode": "nearest"}, CUBE, RNG.normal(size=9)),
    ("gaussian_filter1d", {"sigma": 0.7, "axis": 0, "order": 1, "mode": "mirror"}, IMAGE),
    ("gaussian_filter", {"sigma": 0.8}, CUBE),
    (
        "gaussian_filter",
        {"sigma": (0.5, 0.7), "order": (2, 3), "mode": ["wrap", "constant"], "cval": -1.5}
        | {"radius": (1, 4), "axes": (2, 0)},
        CUBE,
    ),
    ("gaussian_filter", {"sigma": (0, 0.6), "truncate": 2}, Z),
    ("uniform_filter1d", {"size": 6, "axis": 0, "origin": 2}, IMAGE),
    ("uniform_filter", {"size": (2, 3), "mode": ("wrap", "mirror"), "origin": (-1, 1)}, IMAGE),
    ("uniform_filter", {"size": (1, 4), "mode": "constant", "cval": 2.0, "axes": (0, 2)}, CUBE),
    ("sobel", {"axis": 1, "mode": ("wrap", "mirror", "constant"), "cval": 2}, CUBE),
    ("prewitt", {"mode": "nearest"}, IMAGE),
    ("laplace", {"mode": ("constant", "wrap"), "cval": 1.5}, Z),
    ("laplace", {"mode": ("wrap", "mirror"), "axes": (2, 0)}, CUBE),
    ("gaussian_laplace", {"sigma": (0.6, 0.8), "mode": "wrap"}, IMAGE),
    (
        "gaussian_laplace",
        {"sigma": 0.6, "mode": ("wrap", "mirror"), "axes": (2, 0), "truncate": 3.0},
        CUBE,
    ),
    ("gaussian_gradient_magnitude", {"sigma": 0.7, "mode": "constant", "cval": 1.5}, IMAGE),
    # all axes, in another order
    ("correlate", {"origin": (-1, 1), "axes": (1, 0)}, IMAGE, WEIGHTS),
    ("convolve", {"origin": (1, 0), "axes": (-1, -2)}, IMAGE, WEIGHTS.T),
    ("gaussian_filter", {"sigma": (0.5, 2.0), "axes": (1, 0)}, IMAGE),
    ("gaussian_laplace", {"sigma": (0.5, 2.0), "axes": (1, 0)}, IMAGE),
]


@pytest.mark.parametrize("i", range(len(FILTERS)), ids=lambda i: FILTERS[i][0])
def test_filters_are_scipys(i: int) -> None:
    # of two names, one of which has weights, everything
    prove_call((ours, theirs), FILTERS[i], i in (0, 8), 1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_filters_that_are_longer_than_the_image(mode: str, n: int) -> None:
    x = RNG.normal(size=n)
    for name, m in itertools.product(("correlate1d", "convolve1d", "correlate"), (1, 2, 3, 8)):
        w = RNG.normal(size=m)
        for origin in range(-(m // 2), (m + 1) // 2):
            options = {"mode": mode, "cval": 1.5, "origin": origin}
            fns = [partial(getattr(s, name), **options) for s in (ours, theirs)]
            same(tg.record(fns[0])(x, w)[0], fns[1](x, w), 1e-12)


def test_the_length_of_a_gradient_of_0_has_a_slope_of_0() -> None:
    length = lambda x: np.sum(ours.gaussian_gradient_magnitude(x, 0.7))
    np.testing.assert_array_equal(tg.grad(length)(np.zeros((3, 4))), 0)


def test_a_filter_of_integers_has_their_dtype_and_no_derivative() -> None:
    counts = np.array([[5, 2, 8], [1, 0, 4]])
    same(*[s.gaussian_filter(counts, 1.0) for s in (ours, theirs)])
    with pytest.raises(TypeError, match=r"write input.astype\(float\)"):
        tg.grad(lambda w: np.sum(ours.correlate1d(counts, w)))(np.ones(3))
    prove(
        *[partial(s.correlate1d, counts, mode="wrap") for s in (ours, theirs)], (X + 1j,), **FIRST
    )


@pytest.mark.parametrize(
    "fn",
    [
        lambda s, x: s.correlate1d(x, X, origin=2),
        lambda s, x: s.convolve(x, WEIGHTS, mode="around"),
        lambda s, x: s.correlate(x, X),
        lambda s, x: s.correlate1d(x, WEIGHTS),
        lambda s, x: s.correlate1d(x, X[:0]),
        lambda s, x: s.correlate1d(x, X, 2),
        lambda s, x: s.correlate(x, WEIGHTS, mode=["wrap", "wrap"]),
        lambda s, x: s.gaussian_filter(x, 1.0, order=-1),
        lambda s, x: s.gaussian_filter(x, 1.0, radius=0.5),
        lambda s, x: s.gaussian_filter(x, (1.0, 1.0, 1.0)),
        lambda s, x: s.gaussian_filter(x, 1.0, axes=(0, 0)),
        lambda s, x: s.uniform_filter1d(x, 0),
        lambda s, x: s.sobel(x, 2),
        lambda s, x: s.spline_filter(x, 6),
        lambda s, x: s.spline_filter(x, 1),
        lambda s, x: s.spline_filter(x, mode="around"),
        lambda s, x: s.shift(x, 1, mode="around"),
        lambda s, x: s.shift(x, (1, 2, 3)),
        lambda s, x: s.zoom(x, 2, order=6),
        lambda s, x: s.affine_transform(x, WEIGHTS.T),
    ],
)
def test_wrong_filters_are_refused_as_by_scipy(fn: Callable[..., Any]) -> None:
    for way in (tg.record, tg.compile):
        refuses_alike(way(partial(fn, ours)), partial(fn, theirs), IMAGE)


# --- points between elements ----------------------------------------------------------------


def both(**options: Any) -> list[Callable[..., Any]]:
    return [partial(s.map_coordinates, **options) for s in (ours, theirs)]


@pytest.mark.parametrize("mode", MODES)
def test_it_is_scipys(mode: str) -> None:
    call = ("map_coordinates", {"order": 1, "mode": mode, "cval": 1.5}, IMAGE, AT)
    prove_call((ours, theirs), call, mode in ("constant", "mirror"), 1e-12)


# of few elements SciPy computes other splines, which do not pass through them
INEXACT = ("reflect", "grid-mirror")


@pytest.mark.parametrize("mode", MODES)
def test_splines_between_elements(mode: str) -> None:
    fns, image = both(mode=mode, cval=1.5), RNG.normal(size=(40, 40))
    same(tg.record(fns[0])(image, AT)[0], fns[1](image, AT), 1e-11)
    if mode not in INEXACT:
        call = ("map_coordinates", {"mode": mode, "cval": 1.5}, X, AT[:1])
        prove_call((ours, theirs), call, mode == "mirror", 1e-11)
    if THOROUGH and mode not in INEXACT:
        prove(*fns, (IMAGE, AT), rtol=1e-11, **FIRST)
        prove(*both(mode=mode, order=2, prefilter=False), (Z, AT), rtol=1e-11, **FIRST)


@pytest.mark.parametrize("mode", MODES)
def test_coefficients_of_splines(mode: str) -> None:
    for order in range(2, 6):
        fns = [partial(s.spline_filter, order=order, mode=mode) for s in (ours, theirs)]
        x = RNG.normal(size=(40, 41))
        same(tg.record(fns[0])(x)[0], fns[1](x), 1e-12)
        same(tg.record(fns[0])(IMAGE)[0], fns[0](IMAGE), 1e-12)
    fns = [partial(s.spline_filter, mode="mirror") for s in (ours, theirs)]
    prove(*fns, (CUBE,), rtol=1e-12, single=False, **FIRST)


@pytest.mark.parametrize("mode", MODES)
def test_a_spline_passes_through_the_elements(mode: str) -> None:
    for n, order in itertools.product((1, 2, 3, 7), range(6)):
        image = RNG.normal(size=n)
        at = np.arange(float(n))[None]
        value, _ = tg.record(partial(ours.map_coordinates, order=order, mode=mode))(image, at)
        if mode in ("nearest", "grid-constant") and order > 1:
            # up to what SciPy continues the image by
            np.testing.assert_allclose(value.value, image, atol=1e-3)
        else:
            same(value, image, 1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("n", [1, 2, 5])
def test_values_on_elements_and_between_them_far_out(mode: str, order: int, n: int) -> None:
    n = 40 if order > 1 and mode in INEXACT else n
    image = RNG.normal(size=n)
    at = np.concatenate([np.arange(-41, 42) / 2, RNG.uniform(-20, 20, 40)])[None]
    here, there = both(order=order, mode=mode, cval=1.5)
    same(tg.record(here)(image, at)[0], there(image, at), 1e-11)
    # of the image alone, with places that are no Tensor
    same(tg.record(lambda x: here(x, at))(image)[0], there(image, at), 1e-11)


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


MATRIX = np.array([[0.9, 0.2], [-0.1, 1.1]])

MOVED: list[tuple[Any, ...]] = [
    ("affine_transform", {"mode": "mirror"}, IMAGE[:2, :2], MATRIX, np.array([0.3, -0.2])),
    (
        "affine_transform",
        {"output_shape": (2, 5), "order": 1, "cval": 1.5},
        Z,
        np.hstack([MATRIX, [[0.3], [0.25]]]),
    ),
    (
        "affine_transform",
        {"offset": 0.25, "output_shape": (6,), "mode": "wrap"},
        IMAGE,
        MATRIX[:, :1],
    ),
    ("shift", {}, X, np.array(0.3)),
    ("shift", {"mode": "nearest"}, CUBE[:, :2], np.array([0.3, -0.2, 0.4])),
    ("shift", {"shift": 0.6, "order": 2, "mode": "grid-wrap"}, Z),
    ("zoom", {"zoom": (1.5, 0.6)}, IMAGE[:2]),
    (
        "zoom",
        {"zoom": 2, "order": 1, "mode": "grid-constant", "cval": 1.5, "grid_mode": True},
        CUBE,
    ),
    ("zoom", {"zoom": 0.3, "mode": "nearest"}, IMAGE[:, :3]),
    ("map_coordinates", {"order": 1, "cval": 1.0 - 2.0j}, Z, AT),
    ("map_coordinates", {"order": 1, "mode": "reflect"}, Z, AT),
]


@pytest.mark.parametrize("i", range(len(MOVED)), ids=lambda i: MOVED[i][0])
@pytest.mark.filterwarnings("ignore:The behavior of affine_transform")
def test_moved_images_are_scipys(i: int) -> None:
    prove_call((ours, theirs), MOVED[i], i == 3, 1e-11)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:It is recommended", "ignore:The behavior of affine_transform")
def test_moved_images_in_every_mode(mode: str) -> None:
    """Places on an edge are the same too, where a rounding decides what is inside."""
    image = RNG.normal(size=(40, 41))
    counts = (100 * image).astype(int)
    for order in range(6):
        options = {"order": order, "mode": mode, "cval": 1.5}
        for fn in (
            lambda s, x, o=options: s.shift(x, (2, -1.5), **o),
            lambda s, x, o=options: s.zoom(x, (0.6, 1.5), **o),
            lambda s, x, o=options: s.zoom(x, (2, 0.02), grid_mode=True, **o),
            lambda s, x, o=options: s.affine_transform(x, MATRIX, [0.3, -0.2], **o),
            lambda s, x, o=options: s.affine_transform(x, [0.9, 1.2], 0.25, (30, 9), **o),
        ):
            got, _ = tg.record(partial(fn, ours))(image)
            same(got, fn(theirs, image), 1e-11)
            same(fn(ours, counts), fn(theirs, counts))
            # of few elements too a Tensor and an array have the same
            same(tg.record(partial(fn, ours))(IMAGE)[0], fn(ours, IMAGE), 1e-11)


def test_a_place_that_is_not_finite_passes_no_gradient() -> None:
    at = np.array([[np.nan, np.inf, 1.0, 1e300], [0.0, 1.0, 0.5, 0.0]])
    for mode in MODES:
        fn = both(order=1, mode=mode, cval=7.0)[0]
        total = lambda x, c, fn=fn: np.sum(fn(x, c))
        value, (by_image, by_place) = tg.value_and_grad(total, (0, 1))(IMAGE, at)
        assert np.isfinite(value)
        assert np.isfinite(by_image).all()
        np.testing.assert_array_equal(by_place[:, :2], 0)
        np.testing.assert_array_equal(fn(IMAGE, at[:, :2]), 7.0)


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
def test_wrong_arguments_are_refused_as_by_scipy(wrong: dict[str, Any]) -> None:
    call = {"coordinates": AT, "order": 1, **wrong}
    here, there = both(**call)
    for way in (tg.record, tg.compile):
        refuses_alike(way(here), there, IMAGE)


def test_what_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(NotImplementedError, match="map_coordinates takes no output but None"):
        ours.map_coordinates(IMAGE, AT, np.zeros(5), order=1)
    with pytest.raises(NotImplementedError, match="sobel takes no output but None"):
        ours.sobel(IMAGE, output=np.zeros((3, 4)))
    with pytest.raises(TypeError, match=r"write input.astype\(float\)"):
        tg.grad(lambda at: np.sum(ours.map_coordinates(IMAGE.astype(int), at, order=1)))(AT)
    with pytest.raises(ValueError, match="the input is empty"):
        tg.grad(lambda at: np.sum(ours.map_coordinates(IMAGE[:0], at, order=1)))(AT)
    same(*[fn(IMAGE.astype(int), AT) for fn in both(order=1)])
