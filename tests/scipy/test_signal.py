"""Convolutions and filters have SciPy's values, with derivatives by the signal and the coefficients."""

from typing import Any

import numpy as np
import pytest
from depth import THOROUGH
from scipy_kit import prove, refuses_alike

import tapegrad as tg

theirs: Any = pytest.importorskip("scipy.signal")
ours: Any = pytest.importorskip("tapegrad.scipy.signal")

X = np.array([0.5, -1.0, 2.0, 0.25, 1.5])
MATRIX = np.array([[1.0, -0.5, 2.0], [0.25, 1.5, -1.0], [0.5, 0.75, -2.0]])
KERNELS = [np.array([1.0, -0.5]), np.array([0.25, 2.0, -1.0]), np.arange(1.0, 8.0) / 4]


def both(name: str, **options: Any) -> Any:
    return [lambda *args, s=s: getattr(s, name)(*args, **options) for s in (ours, theirs)]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("kernel", KERNELS, ids=len)
def test_convolutions_of_vectors(mode: str, kernel: Any) -> None:
    for name in ("convolve", "correlate", "fftconvolve"):
        whole = THOROUGH or (len(kernel) == 2 and name == "convolve")
        options = {"batched": whole, "compiled": whole, "order": 1 + whole}
        prove(*both(name, mode=mode), (X, kernel), rtol=1e-12, **options)


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


def test_numbers_are_multiplied() -> None:
    for name in ("convolve", "correlate", "fftconvolve"):
        prove(*both(name), (np.array(2.0), np.array(-0.5)), batched=False)


@pytest.mark.parametrize(
    "args",
    [
        (X, MATRIX),
        (X, X, "whole"),
        (MATRIX[:2], MATRIX[:, :2], "valid"),
    ],
)
def test_wrong_operands_are_refused_as_by_scipy(args: Any) -> None:
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


B, A = np.array([0.5, -1.0, 0.25]), np.array([2.0, -0.5, 0.25, 0.125])


@pytest.mark.parametrize("axis", [0, -1, 1])
def test_filters_by_all_three(axis: int) -> None:
    x = np.stack([X, np.sin(X)])
    whole = THOROUGH or axis == 0
    prove(*both("lfilter", axis=axis), (B, A, x), rtol=1e-12, order=1 + whole, compiled=whole)


@pytest.mark.parametrize(
    "args", [(B, A, X[:2]), (np.array(0.5), A, X), (B, np.array([2.0]), X), (B[:1], A[:1], X)]
)
def test_filters_of_any_length(args: Any) -> None:
    prove(*both("lfilter"), args, rtol=1e-12, order=1, batched=False)


def test_filters_of_complex_numbers_have_adjoints() -> None:
    prove(*both("lfilter"), (B + 0.5j, A - 0.25j * (A < 2), X + 1j * X[::-1]), rtol=1e-12, order=1)
    prove(*both("lfilter"), (B, A, X + 1j * X[::-1]), rtol=1e-12, order=1)


def test_a_filter_is_proved_and_runs_in_a_loop() -> None:
    """No placeholder of zeros for a denominator is taken for what the caller gave."""
    rows = np.stack([A, A + 1.0]), np.stack([X, X[::-1]])

    def loss(b: Any, a: Any, x: Any) -> Any:
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
def test_an_empty_signal_is_filtered_in_both_modes(a: Any) -> None:
    x = np.zeros((2, 0))
    value, tangent = tg.jvp(lambda x: ours.lfilter([0.3, 0.2], a, x), (x,), (x,))
    (cotangent,) = tg.vjp(lambda x: ours.lfilter([1.0], a, x), x)[1](x)
    assert value.shape == tangent.shape == cotangent.shape == x.shape
