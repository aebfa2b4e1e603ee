"""Fourier transforms: one record along several axes, in buffers when compiled; no bins are zeros."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.types import Array


@pytest.mark.parametrize("name", ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "irfftn"])
def test_a_transform_along_several_axes_is_one_record_and_so_is_its_rule(name: str) -> None:
    transform = getattr(np.fft, name)
    x = np.linspace(-1, 1, 24).reshape(2, 3, 4)

    def transforms(fn: Callable[..., Any]) -> int:
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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_beside_infinities_a_compiled_rule_gives_what_the_rule_does() -> None:
    def pulled(g: Array) -> Array:
        return tg.vjp(np.fft.irfft, np.ones(3) + 1j)[1](g)[0]

    g = np.array([np.inf, 1.0, 0.0, 2.0])
    np.testing.assert_array_equal(tg.compile(pulled)(g), pulled(g))
