"""Fourier transforms: transposed maps for every length and norm, records, buffers, no bins."""

import re
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

NORMS = (None, "backward", "ortho", "forward")
Z = np.array([1 + 2j, -3 + 0.5j, 0.25 - 1j, 2 - 2j, 0.5j])
X = np.array([1.0, -2.0, 0.5, 3.0, -0.25])


def real_matrix(f: Any, x: Any) -> Any:
    """The matrix of a linear map, with real and imaginary parts as numbers of their own."""
    steps = [np.eye(x.size).astype(x.dtype)]
    if x.dtype.kind == "c":
        steps.append(1j * steps[0])
    columns = [np.asarray(f(step), complex) for step in np.concatenate(steps)]
    return np.array([np.concatenate([y.real, y.imag]) for y in columns]).T


# the operand is real for the first two
@pytest.mark.parametrize("name", ["rfft", "ihfft", "fft", "ifft", "irfft", "hfft"])
@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_a_gradient_is_the_transposed_map_for_every_length_and_norm(name: str, m: int) -> None:
    transform = getattr(np.fft, name)
    operands = (X[:m],) if name in ("rfft", "ihfft") else (Z[:m], X[:m])
    for x in operands:
        for n in (None, 1, 2, 3, 4, 6, 7, 9):
            for norm in NORMS:

                def f(x: Any, n: Any = n, norm: Any = norm) -> Any:
                    return transform(x, n=n, norm=norm)

                y, pullback = tg.vjp(f, x)
                np.testing.assert_array_equal(y, f(x))
                g = np.cos(np.arange(y.size)) + (1j if y.dtype.kind == "c" else 0)
                matrix = real_matrix(f, x)
                c = np.concatenate([g.real, g.imag]) @ matrix
                want = c if x.dtype.kind == "f" else c[:m] + 1j * c[m:]
                np.testing.assert_allclose(pullback(g)[0], want, atol=1e-12)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0), (1, 2), (0, 0, 1)])
def test_a_gradient_along_several_axes_is_the_transposed_map(name: str, axes: Any) -> None:
    rng = np.random.default_rng(len(axes))
    x = rng.standard_normal((2, 3, 4)) + (0 if name == "rfftn" else 1j)
    for s, norm in ((None, None), ((3, 4, 2)[: len(axes)], "forward")):
        f = lambda x, s=s, norm=norm: getattr(np.fft, name)(x, s, axes, norm)  # noqa: E731
        matrix = real_matrix(lambda x, f=f: f(x.reshape(2, 3, 4)).reshape(-1), x.reshape(-1))
        for operand in (x, np.asfortranarray(x)):
            y, pullback = tg.vjp(f, operand)
            np.testing.assert_array_equal(y, f(operand))
            g = np.cos(np.arange(y.size)).reshape(y.shape) * (1 + 2j if y.dtype.kind == "c" else 1)
            c = np.concatenate([g.real.reshape(-1), g.imag.reshape(-1)]) @ matrix
            want = c if x.dtype.kind == "f" else c[: x.size] + 1j * c[x.size :]
            np.testing.assert_allclose(pullback(g)[0].reshape(-1), want, atol=1e-12)


@pytest.mark.parametrize("name", ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "irfftn"])
def test_a_transform_along_several_axes_is_one_record_and_so_is_its_rule(name: str) -> None:
    transform = getattr(np.fft, name)
    x = np.linspace(-1, 1, 24).reshape(2, 3, 4)

    def transforms(fn: Any) -> int:
        return sum("fft" in record.op.name for record in tg.record(fn)(x)[1])

    assert transforms(transform) == 1
    loss = lambda x: np.sum(np.abs(transform(x)) ** 3)  # noqa: E731
    assert transforms(tg.grad(loss)) == 2
    # and that of the rule in turn
    assert transforms(lambda x: tg.hvp(loss, (x,), (x,))) == 4


def test_compiled_transforms_write_to_buffers_over_what_is_not_needed_again() -> None:
    a, gains = np.random.default_rng(0).standard_normal((2, 32, 32))
    filtered = lambda a: np.fft.irfft2(np.fft.rfft2(a) * gains[:, :17])  # noqa: E731
    program = tg.compile(tg.grad(lambda a: np.sum(filtered(a) ** 2))).program(a)
    text = str(program)
    # all bins are in one, and the numbers between in another
    assert text.count("= buffer(") == 2
    assert len(re.findall(r"fft\.\w+\(.*, buf\d\)", text)) == 7
    for _ in range(2):
        gradient = program(a)
        np.testing.assert_allclose(gradient, tg.grad(lambda a: np.sum(filtered(a) ** 2))(a))


def test_no_bins_are_zeros() -> None:
    """NumPy's irfft returns whatever is in memory here."""
    for _ in range(3):
        np.full(64, np.pi)  # what is freed may be what it gets
        np.testing.assert_array_equal(tg.fft.irfft(np.ones((8, 0)) * 1j, 8), np.zeros((8, 8)))
