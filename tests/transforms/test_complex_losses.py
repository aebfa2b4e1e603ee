"""Gradients of many real losses of complex numbers: by differences, twice, compiled."""

import functools

import numpy as np
import pytest
from complex_losses import LOSSES
from depth import THOROUGH

import tapegrad as tg
from tapegrad.testing import check_grads


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_differences_and_the_same_compiled(name: str) -> None:
    loss = LOSSES[name]
    f = functools.partial(loss, np)
    # twice for every other, and for all in the thorough run
    check_grads(f, loss.args, order=2 if THOROUGH else 1 + list(LOSSES).index(name) % 2)
    gradient = tg.grad(f, tuple(range(len(loss.args))))
    for got, want in zip(tg.compile(gradient)(*loss.args), gradient(*loss.args), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * max(1, np.max(np.abs(want))))
