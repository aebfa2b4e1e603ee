"""NumPy's functions that make arrays, ``like=`` a Tensor."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import check_grads

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

# what np.array makes of Tensors, and tg.array of arrays
WITH_TENSORS: dict[str, Any] = {
    "array of rows": lambda make, x: make([x[0], x[1]]),
    "array of numbers": lambda make, x: make([[x[0, 0], 1.0], [2.0, x[1, 1]]]),
    "array of one": lambda make, x: make(x),
}


@pytest.mark.parametrize("name", sorted(WITH_TENSORS))
@pytest.mark.parametrize("function", [np.array, np.asarray, np.asanyarray, np.ascontiguousarray])
def test_an_array_like_a_tensor_holds_tensors(function: Any, name: str) -> None:
    def fn(x: Any, like: Any = None) -> Any:
        return WITH_TENSORS[name](lambda parts: function(parts, like=x), x)

    output, _ = tg.record(fn)(X)
    np.testing.assert_array_equal(output.value, WITH_TENSORS[name](np.array, X))
    check_grads(
        lambda x: WITH_TENSORS[name](lambda parts: function(parts, like=x), x), (X,), order=1
    )


def test_arrays_like_a_tensor_take_numpys_arguments() -> None:
    def fn(x: Any) -> Any:
        return (
            np.array(x[0], ndmin=3, copy=True, like=x),
            np.array([x[0, 0]], np.float32, like=x),
            np.asarray([1, 2], dtype=float, like=x),
            np.full((2, 2), x[0, 0], like=x),
            np.full((2, 3), 1.5, dtype=np.float32, like=x),
            np.zeros(2, like=x),
            np.empty(2, like=x).shape,
            np.arange(3, like=x),
            np.arange(1.0, 2.0, 0.5, like=x),
            np.eye(2, like=x),
        )

    output, _ = tg.record(fn)(X)
    for got, want in zip(output, fn(X), strict=True):
        value = got.value if isinstance(got, tg.Tensor) else got
        np.testing.assert_array_equal(value, want)
        if not isinstance(want, tuple):
            assert (value.dtype, value.shape) == (want.dtype, want.shape)
    assert tg.grad(lambda t: np.sum(np.full((2, 2), t, like=t)))(1.0) == 4.0
