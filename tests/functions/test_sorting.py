"""Unique elements, trimmed zeros, and statistics that leave nan out, with their gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.domain import TYING
from tapegrad.testing import arrays, check_grads

OPTIONS = ("return_index", "return_inverse", "return_counts")


@given(data=st.data())
def test_unique_elements_match_numpy(data: st.DataObject) -> None:
    x = data.draw(arrays((3, 4), TYING, dtypes="df"))
    given_ = {name: data.draw(st.booleans()) for name in OPTIONS}
    given_["axis"] = data.draw(st.sampled_from([None, 0, -1]))
    output, _ = tg.record(lambda x: np.unique(x, **given_))(x)
    want = np.unique(x, **given_)
    pairs = zip(output, want, strict=True) if isinstance(want, tuple) else [(output, want)]
    for got, part in pairs:
        value = got.value if isinstance(got, tg.Tensor) else got
        assert (value.dtype, value.shape) == (part.dtype, part.shape)
        np.testing.assert_array_equal(value, part)


@given(data=st.data())
def test_first_of_equal_elements_has_the_gradient(data: st.DataObject) -> None:
    x = data.draw(arrays((6,), TYING, dtypes="d"))
    gradient = tg.grad(lambda x: tg.sum(tg.unique(x) * 3.0))(x)
    want = np.zeros(6)
    want[np.unique(x, return_index=True)[1]] = 3.0
    np.testing.assert_array_equal(gradient, want)


@pytest.mark.parametrize("trim", ["fb", "f", "b", "BF"])
@pytest.mark.parametrize("x", [[0, 1, 0, 2, 0, 0], [0, 0], [], [3], [0, 5]])
def test_trimmed_zeros_match_numpy(trim: str, x: list[int]) -> None:
    x = np.array(x, float)
    output, tape = tg.record(lambda x: np.trim_zeros(x, trim))(x)
    want = np.trim_zeros(x, trim)
    np.testing.assert_array_equal(output.value, want)
    (g,) = tg.reverse_sweep(tape, output, np.ones(want.shape)).values()
    assert g.sum() == want.size


def test_perfect_correlation_has_right_derivatives() -> None:
    # a correlation near 1 keeps half the digits of the angle
    y = np.array([1.0, 2.0, 4.0])
    check_grads(lambda x: np.corrcoef(x, y)[0, 1], (2 * y + 1,))
    check_grads(lambda x: np.corrcoef(x, y), (-y,))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_quantile_of_no_elements_is_nan() -> None:
    for axis in (None, 0, 1):
        want = np.nanmedian(np.zeros((0, 3)), axis)
        np.testing.assert_array_equal(tg.nanmedian(np.zeros((0, 3)), axis), want)
    assert tg.grad(tg.nanmedian)(np.zeros((0, 3))).shape == (0, 3)
