"""Convolutions and filters have SciPy's values, with derivatives by the signal and the coefficients."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from alike import same
from depth import THOROUGH
from scipy_kit import prove, prove_call, refuses_alike

import tapegrad as tg
from tapegrad.types import Array

theirs: Any = pytest.importorskip("scipy.signal")
ours: Any = pytest.importorskip("tapegrad.scipy.signal")

X = np.array([0.5, -1.0, 2.0, 0.25, 1.5])
MATRIX = np.array([[1.0, -0.5, 2.0], [0.25, 1.5, -1.0], [0.5, 0.75, -2.0]])
KERNELS = [np.array([1.0, -0.5]), np.array([0.25, 2.0, -1.0]), np.arange(1.0, 8.0) / 4]


def both(name: str, **options: Any) -> list[Callable[..., Any]]:
    return [lambda *args, s=s: getattr(s, name)(*args, **options) for s in (ours, theirs)]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("kernel", KERNELS, ids=len)
def test_convolutions_of_vectors(mode: str, kernel: Array) -> None:
    for name in ("convolve", "correlate", "fftconvolve"):
        whole = len(kernel) == 2 and name == "convolve"
        prove_call((ours, theirs), (name, {"mode": mode}, X, kernel), whole, 1e-12)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(
    ("name", "method"),
    [("convolve", "direct"), ("correlate", "fft")]
    + THOROUGH * [("convolve", "fft"), ("correlate", "direct")],
)
def test_convolutions_of_matrices_and_of_complex_numbers(name: str, mode: str, method: str) -> None:
    a, b = MATRIX + 1j * MATRIX.T[::-1], MATRIX[:2, 1:] - 0.5j
    options = {"mode": mode, "method": method}
    prove(*both(name, **options), (a, b), rtol=1e-12, order=1, batched=THOROUGH)
    prove(*both(name, **options), (a[:2], b.real), rtol=1e-12, order=1, batched=False)


@pytest.mark.parametrize("axes", [None, 0, -1, [1], (0, 1)])
def test_the_fft_along_axes(axes: Any) -> None:
    kernel = MATRIX[:, 1:] if axes in (-1, [1]) else MATRIX[:2] if axes == 0 else MATRIX[:2, :2]
    for mode in ("full", "same", "valid") if THOROUGH else ("same",):
        prove(*both("fftconvolve", mode=mode, axes=axes), (MATRIX, kernel), rtol=1e-12, order=1)
    if axes == 0:
        # they broadcast along others
        for args in ((MATRIX, MATRIX[:2, :1]), (MATRIX[:, :1], MATRIX[:2])):
            prove(*both("fftconvolve", axes=axes), args, rtol=1e-12, order=1)
        with pytest.raises(NotImplementedError, match="in1 must not be broadcast along other axes"):
            tg.record(lambda x: ours.fftconvolve(x, MATRIX[:2], "same", axes))(MATRIX[:, :1])


@pytest.mark.parametrize(
    "args",
    [
        (X, MATRIX),
        (X, X, "whole"),
        (MATRIX[:2], MATRIX[:, :2], "valid"),
    ],
)
def test_wrong_operands_are_refused_as_by_scipy(args: tuple[Any, ...]) -> None:
    for name in ("convolve", "correlate", "fftconvolve"):
        there = getattr(theirs, name)
        refuses_alike(lambda *a, name=name: tg.record(getattr(ours, name))(*a), there, *args)
    with pytest.raises(ValueError, match="direct"):
        tg.record(lambda x: ours.convolve(x, X, "full", "slow"))(X)
    for axes in ([], 3, 0.5):
        refuses_alike(
            lambda x, axes=axes: tg.record(lambda x: ours.fftconvolve(x, x, axes=axes))(x),
            lambda x, axes=axes: theirs.fftconvolve(x, x, axes=axes),
            MATRIX,
        )


@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
def test_convolutions_of_continued_matrices(name: str, mode: str, boundary: str) -> None:
    options = {"mode": mode, "boundary": boundary, "fillvalue": 1.5 * (boundary == "fill")}
    call = (name, options, MATRIX, MATRIX[:2, 1:] * 1.5)
    prove_call((ours, theirs), call, (mode, boundary) == ("same", "symm"), 1e-12)
    fns = both(name, **options)
    # an even kernel, a larger one, and complex numbers
    z = MATRIX + 1j * MATRIX.T
    for a, b in ((z[:2], MATRIX[:2, :2]), (MATRIX[:2, 1:], z), (z, z[:1])):
        same(tg.record(fns[0])(a, b)[0], fns[1](a, b), 1e-12)


def test_a_direct_convolution_of_matrices_is_that_by_the_fft() -> None:
    """The direct one is by NumPy where it is the faster."""
    rng = np.random.default_rng(0)
    for m, n in (((1, 1, 1), (4, 3, 2)), ((2, 3, 2), (4, 3, 2)), ((4, 3, 5), (2, 3, 1))):
        x, w = rng.normal(size=m), rng.normal(size=n)
        for dtype in (float, np.float32):
            got = tg.record(both("convolve", mode="valid", method="direct")[0])(
                x.astype(dtype), w.astype(dtype)
            )[0]
            same(got, theirs.convolve(x, w, "valid", "fft").astype(dtype), 1e-5)


B, A = np.array([0.5, -1.0, 0.25]), np.array([2.0, -0.5, 0.25, 0.125])


@pytest.mark.parametrize("axis", [0, -1, 1])
def test_filters_by_all_three(axis: int) -> None:
    x = np.stack([X, np.sin(X)])
    whole = THOROUGH or axis == 0
    prove(*both("lfilter", axis=axis), (B, A, x), rtol=1e-12, order=1 + whole, compiled=whole)


def test_a_filter_is_proved_and_runs_in_a_loop() -> None:
    """No placeholder of zeros for a denominator is taken for what the caller gave."""
    rows = np.stack([A, A + 1.0]), np.stack([X, X[::-1]])

    def loss(b: Array, a: Array, x: Array) -> Array:
        return np.sum(tg.scan(lambda c, r: (c, ours.lfilter(c, *r)), b, (a, x))[1] ** 2)

    for fn in (loss, tg.grad(loss, 1)):
        proved = tg.compile(fn, check=THOROUGH or fn is loss)
        np.testing.assert_allclose(proved(B, *rows), fn(B, *rows), rtol=1e-10)


def test_a_long_recursion_is_as_stable_backward() -> None:
    n, pole = 5000, 0.999
    x = np.eye(1, n)[0]
    by_a = tg.grad(lambda p: ours.lfilter([1.0], np.stack([1.0, -p]), x)[-1])(pole)
    np.testing.assert_allclose(by_a, (n - 1) * pole ** (n - 2), rtol=1e-10)


def test_wrong_filters_are_refused() -> None:
    for args in [(B, np.array([0.0, 1.0]), X), (MATRIX, A, X), (B, MATRIX, X), (B[:0], A, X)]:
        refuses_alike(lambda *a: tg.record(ours.lfilter)(*a), theirs.lfilter, *args)
    with pytest.raises(NotImplementedError, match="zi, the state that a filter begins with"):
        ours.lfilter(B, A, X, zi=np.zeros(3))


@pytest.mark.parametrize("a", [[1.0], [1.0, -0.5]])
def test_an_empty_signal_is_filtered_in_both_modes(a: list[float]) -> None:
    x = np.zeros((2, 0))
    value, tangent = tg.jvp(lambda x: ours.lfilter([0.3, 0.2], a, x), (x,), (x,))
    (cotangent,) = tg.vjp(lambda x: ours.lfilter([1.0], a, x), x)[1](x)
    assert value.shape == tangent.shape == cotangent.shape == x.shape


SECTIONS = np.array([[0.5, -1.0, 0.25, 2.0, -0.5, 0.25], [1.0, 0.5, 0.0, 1.0, 0.25, -0.125]])
SIGNALS = np.stack([[*X, *X[::-1] + 0.5], np.cos(np.arange(10.0))])


def stft(s: ModuleType, x: Array, **options: Any) -> Array:
    return s.stft(x, **options)[2]


def istft(s: ModuleType, z: Array, **options: Any) -> Array:
    return s.istft(z, **options)[1]


# a name or a function of the module and arrays, options, and arrays
FILTERS: list[tuple[Any, ...]] = [
    ("sosfilt", {}, SECTIONS / SECTIONS[:, 3:4], SIGNALS),
    (lambda s, q, x: s.sosfilt(q / q[:, 3:4], x, 0), {}, SECTIONS, SIGNALS),
    ("filtfilt", {"padlen": 4}, B[:2], A[:2], SIGNALS),
    (lambda s, x: s.filtfilt(B[:2], A[:2], x, padtype="even"), {}, SIGNALS),
    (lambda s, x: s.filtfilt(0.5, A[:2], x, 0, "constant", 1), {}, SIGNALS),
    (lambda s, b, x: s.filtfilt(b, 2.0, x, padtype=None), {}, B + 0.5j, SIGNALS[0] + 1j),
    ("detrend", {}, SIGNALS),
    ("detrend", {"axis": 0, "type": "l", "bp": [1, 4]}, SIGNALS.T + 1j),
    ("detrend", {"type": "constant"}, SIGNALS),
    ("savgol_filter", {"window_length": 5, "polyorder": 2}, SIGNALS),
    (
        "savgol_filter",
        {"window_length": 4, "polyorder": 2, "deriv": 1, "delta": 0.5, "axis": 0},
        SIGNALS.T,
    ),
    (lambda s, x: s.savgol_filter(x, 3, 1, mode="constant", cval=0.75), {}, SIGNALS[0]),
    (stft, {"nperseg": 4}, SIGNALS),
    (
        stft,
        {"fs": 10.0, "window": "hamming", "nperseg": 5, "noverlap": 3, "nfft": 8}
        | {"boundary": "odd", "axis": 0, "scaling": "psd"},
        SIGNALS.T,
    ),
    (
        stft,
        {"window": np.arange(1.0, 4.0), "nperseg": 3, "return_onesided": False, "boundary": None},
        SIGNALS + 1j,
    ),
    (istft, {"nperseg": 3}, SIGNALS[:, :8].reshape(2, 2, 4) + 0.5j),
    (
        istft,
        {"fs": 10.0, "noverlap": 1, "nfft": 5, "scaling": "psd", "time_axis": 0, "freq_axis": 2},
        SIGNALS[:, :9].reshape(3, 2, 3) - 0.5j,
    ),
    (
        istft,
        {"input_onesided": False, "boundary": False},
        SIGNALS[:, :9].reshape(2, 3, 3) - 0.5j,
    ),
    ("hilbert", {}, SIGNALS),
    ("hilbert", {"N": 7, "axis": 0}, SIGNALS),
    # of any length, of complex numbers, and of numbers alone
    ("lfilter", {}, B, A, X[:2]),
    ("lfilter", {}, np.array(0.5), A, X),
    ("lfilter", {}, B, np.array([2.0]), X),
    ("lfilter", {}, B[:1], A[:1], X),
    ("lfilter", {}, B, A, X + 1j * X[::-1]),
    ("lfilter", {}, B + 0.5j, A - 0.25j * (A < 2), X + 1j * X[::-1]),
    *[(x, {}, np.array(2.0), np.array(-0.5)) for x in ("convolve", "correlate", "fftconvolve")],
]


@pytest.mark.parametrize("i", range(len(FILTERS)))
@pytest.mark.filterwarnings("ignore:NOLA condition failed", "ignore:Input data is complex")
def test_filters_of_signals_are_scipys(i: int) -> None:
    # one of each kind
    prove_call((ours, theirs), FILTERS[i], i in (0, 2, 9), 1e-11)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_signals_of_few_elements(n: int) -> None:
    x = SIGNALS[:, :n]
    cases: list[Any] = [lambda s, x: s.hilbert(x), lambda s, x: s.hilbert(x, 5)]
    cases += [lambda s, x, m=m: s.savgol_filter(x, n, n - 1, mode=m) for m in ("interp", "mirror")]
    cases += [lambda s, x, k=k: s.detrend(x, type=k, bp=[n // 2, n]) for k in ("linear", "c")]
    cases += [lambda s, x: s.filtfilt(B, A, x, padlen=n - 1)]
    for fn in cases:
        # what is left of a trend may be nothing but rounding
        got = tg.record(lambda x, fn=fn: x[0, 0] + fn(ours, x))(x)[0]
        same(got, x[0, 0] + fn(theirs, x), 1e-11)


@pytest.mark.parametrize(
    "fn",
    [
        lambda s, x: s.convolve2d(x, x[0]),
        lambda s, x: s.convolve2d(x, x, boundary="around"),
        lambda s, x: s.correlate2d(x[:1], x.T, "valid"),
        lambda s, x: s.sosfilt(SECTIONS[:, :5], x),
        lambda s, x: s.filtfilt(B, A, x),
        lambda s, x: s.filtfilt(B, A, x, padtype="round"),
        lambda s, x: s.detrend(x, type="quadratic"),
        lambda s, x: s.detrend(x, bp=11),
        lambda s, x: s.savgol_filter(x, 11, 2),
        lambda s, x: s.savgol_filter(x, 3, 3),
        lambda s, x: s.savgol_filter(x, 3, 1, mode="reflect"),
        lambda s, x: s.stft(x, nperseg=4, noverlap=4),
        lambda s, x: s.stft(x, scaling="other"),
        lambda s, x: s.istft(x, nfft=1),
        lambda s, x: s.hilbert(x, 0),
        lambda s, x: s.hilbert(x + 1j),
    ],
)
def test_wrong_signals_are_refused_as_by_scipy(fn: Callable[..., Any]) -> None:
    for way in (tg.record, tg.compile):
        refuses_alike(way(partial(fn, ours)), partial(fn, theirs), SIGNALS)


def test_frequencies_and_times_are_scipys() -> None:
    for fn in (lambda s, x: s.stft(x, 5.0, nperseg=3)[:2], lambda s, x: s.istft(x, 5.0)[:1]):
        same(tg.record(partial(fn, ours))(SIGNALS)[0], fn(theirs, SIGNALS))
    # SciPy's times of several signals are as many as these
    same(ours.istft(np.stack([SIGNALS, SIGNALS]), 5.0)[0], theirs.istft(SIGNALS, 5.0)[0])


def test_other_ways_to_filter_are_refused_by_name() -> None:
    for fn, name in (
        (lambda x: ours.filtfilt(B, A, x, method="gust"), "filtfilt takes no method but 'pad'"),
        (lambda x: ours.stft(x, nperseg=2, padded=False), "stft takes no detrend but False"),
        (lambda x: ours.sosfilt(SECTIONS, x, zi=np.zeros((2, 2))), "sosfilt takes no zi but None"),
    ):
        with pytest.raises(NotImplementedError, match=name):
            tg.record(fn)(X)
