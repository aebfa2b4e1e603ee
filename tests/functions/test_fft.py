"""Fourier transforms: one record for several axes, buffers when compiled, zeros of no bins."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.types import Array


@pytest.mark.parametrize("name", ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "irfftn"])
def test_transform_of_several_axes_and_its_rule_are_one_record_each(name: str) -> None:
    transform = getattr(np.fft, name)
    x = np.linspace(-1, 1, 24).reshape(2, 3, 4)

    def n_transforms(fn: Callable[..., Any]) -> int:
        return sum("fft" in record.op.name for record in tg.record(fn)(x)[1])

    assert n_transforms(transform) == 1
    loss = lambda x: np.sum(np.abs(transform(x)) ** 3)  # noqa: E731
    assert n_transforms(tg.grad(loss)) == 2
    # the rule of the rule adds two
    assert n_transforms(lambda x: tg.hvp(loss, (x,), (x,))) == 4


def test_compiled_transforms_reuse_buffers() -> None:
    a, gains = np.random.default_rng(0).standard_normal((2, 32, 32))
    apply_filter = lambda a: np.fft.irfft2(np.fft.rfft2(a) * gains[:, :17])  # noqa: E731
    program = tg.compile(tg.grad(lambda a: np.sum(apply_filter(a) ** 2))).program(a)
    text = str(program)
    # one buffer for the bins, and one for the numbers in between
    assert text.count("= buffer(") == 2
    assert len(re.findall(r"fft\.\w+\(.*, buf\d\)", text)) == 7
    for _ in range(2):
        gradient = program(a)
        np.testing.assert_allclose(gradient, tg.grad(lambda a: np.sum(apply_filter(a) ** 2))(a))


def test_transform_of_no_bins_is_zero() -> None:
    """NumPy's irfft returns uninitialized memory here."""
    for _ in range(3):
        np.full(64, np.pi)  # an allocation may reuse this memory
        np.testing.assert_array_equal(tg.fft.irfft(np.ones((8, 0)) * 1j, 8), np.zeros((8, 8)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_compiled_rule_equals_rule_for_infinite_cotangent() -> None:
    def input_cotangent(g: Array) -> Array:
        return tg.vjp(np.fft.irfft, np.ones(3) + 1j)[1](g)[0]

    g = np.array([np.inf, 1.0, 0.0, 2.0])
    np.testing.assert_array_equal(tg.compile(input_cotangent)(g), input_cotangent(g))
