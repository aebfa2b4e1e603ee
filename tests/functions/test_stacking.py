"""`r_` and `c_`: NumPy's values with Tensors among the parts."""

from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import check_grads, check_properties

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
V = np.array([7.0, 8.0])

KEYS: dict[str, Any] = {
    "vectors and a number": lambda x, v: (v, 1, x[0]),
    "ranges": lambda x, v: (v, slice(0, 3), slice(0.0, 1.0, 3j), slice(None, 2)),
    "one part": lambda x, v: v,
    "numbers": lambda x, v: (1.5, v, True),
    "a list": lambda x, v: ([1, 2], v),
    "an axis": lambda x, v: ("-1", x, x),
    "axes": lambda x, v: ("0,2", v, v),
    "axes at the beginning": lambda x, v: ("1,2,0", v, v),
    "axes in the middle": lambda x, v: ("0,3,1", v, x.T),
    "a range with axes": lambda x, v: ("0,2,0", v, slice(0, 3)),
}


def of_numpy(key: Any, in_columns: bool) -> Any:
    return (np.c_ if in_columns else np.r_)[key(X, V)]


@pytest.mark.parametrize("in_columns", [False, True])
@pytest.mark.parametrize("name", sorted(KEYS))
def test_parts_are_joined_as_numpy_joins_them(name: str, in_columns: bool) -> None:
    key = KEYS[name]

    def fn(x: Any, v: Any) -> Any:
        return (tg.c_ if in_columns else tg.r_)[key(x, v)]

    try:
        want = of_numpy(key, in_columns)
    except ValueError:
        with pytest.raises(ValueError, match=r"dimensions|array"):
            fn(X, V)
        return
    output, _ = tg.record(fn)(X, V)
    for got in (fn(X, V), output.value):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    check_grads(fn, (X, V), order=1)
    if not in_columns:
        check_properties(fn, (X, V), compiled=True)


def test_numbers_take_the_dtype_of_what_is_beside_them() -> None:
    x = np.ones(2, np.float32)
    output, _ = tg.record(lambda x: tg.r_[x, 1.5, 2])(x)
    assert output.dtype == np.r_[x, 1.5, 2].dtype == np.float32


def test_an_end_of_a_range_has_a_gradient() -> None:
    assert tg.grad(lambda t: tg.sum(tg.r_[0:t:5j]))(1.0) == 2.5


@pytest.mark.parametrize("key", [("r", V), ("0,1,2,3", V), (V, "0"), ("", V)])
def test_a_string_that_says_nothing_is_a_value_error(key: Any) -> None:
    with pytest.raises(ValueError, match=r"string|integers"):
        tg.r_[key]


@pytest.mark.parametrize("name", ["r_", "c_"])
def test_numpys_own_say_what_to_write(name: str) -> None:
    calls = {"r_": lambda x: np.r_[x, 1.0], "c_": lambda x: np.c_[x]}
    with pytest.raises(TypeError, match=rf"; write tg\.{name}\[x"):
        tg.record(calls[name])(V)
