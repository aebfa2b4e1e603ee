"""Calls without a domain: lists that hold Tensors, functions of functions, ``like=``, ``r_``.

A recorded call has NumPy's value and dtype, and derivatives that match differences.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alike import same, same_bits

import tapegrad as tg
from tapegrad.testing import check_grads, check_properties
from tapegrad.types import Array, ArrayLike

X = np.array([[3.0, 1.0, 2.0], [0.5, 4.0, -2.5]])
V = np.array([7.0, 8.0])
Rows = list[Callable[[Any], Any]]


def failed_rows(rows: list[Callable[..., Any]], check: Callable[[Any], None]) -> list[str]:
    """Return the rows of a table that fail a check, with their errors."""
    wrong = []
    for i, row in enumerate(rows):
        try:
            check(row)
        except (Exception, pytest.fail.Exception) as error:
            wrong.append(f"row {i}: {error!r}")
    return wrong


FUNCTIONS: Rows = [
    lambda x: np.apply_along_axis(np.sum, 0, x**2),
    lambda x: np.apply_along_axis(lambda row: np.sort(row) * row[0], -1, x),
    lambda x: np.apply_along_axis(np.diff, 1, x),
    lambda x: np.apply_along_axis(lambda row: row[:, None] * row, 1, x),
    lambda x: np.apply_along_axis(lambda row: row[:, None] * row, 0, x),
    lambda x: np.apply_along_axis(lambda row, a, b: row[0] * a + b, 1, x, 2.0, b=1.0),
    lambda x: np.apply_over_axes(np.sum, x**2, [0, -1]),
    lambda x: np.apply_over_axes(np.cumsum, x**2, 1),
    lambda x: np.piecewise(x, [x < 1, x >= 1], [lambda t: t**2, lambda t: 2 * t]),
    lambda x: np.piecewise(x, [x < 1], [5.0, np.log]),
    lambda x: np.piecewise(x, [x > 2], [np.sqrt]),
    lambda x: np.piecewise(x[0], x[0] > 2, [np.sqrt]),
    lambda x: np.piecewise(x[0], [True, False, True], [np.sqrt, 2.0]),
    lambda x: np.piecewise(x[0], np.stack([x[0] < 2, x[0] > 2]), [np.sqrt, np.exp]),
    lambda x: np.piecewise(x, [x > 0, x > 2], [np.sqrt, lambda t: -t]),
    lambda x: np.piecewise(x, [x > 2], [lambda t, a, b: a * t**b], 2.0, b=3),
    lambda x: np.piecewise(x[0, 0], [x[0, 0] > 2, x[0, 0] < 1], [np.sqrt, np.exp]),
]
JOINS: Rows = [
    lambda x: np.vstack([np.zeros(3), x, [7.0, 8.0, 9.0]]),
    lambda x: np.column_stack([x, [1.0, 2.0], x]),
    lambda x: np.hstack((x, np.zeros((2, 1)))),
    lambda x: np.dstack([x, np.zeros((2, 3, 2))]),
    lambda x: np.append([1.0], x),
    lambda x: np.block([[1.0, x[0]], [np.ones((2, 1)), x]]),
    lambda x: np.meshgrid(x[0], x[1])[0],
    lambda x: np.insert(x, [0, 2], x[:, :2], axis=1),
    lambda x: np.select([x > 4, x > 1], [x, -x]),
    lambda x: np.broadcast_to(x, (2, 2, 3)),
    *[lambda x, f=f: f([x[0], x[1]], like=x) for f in (np.array, np.asarray, np.asanyarray)],
    lambda x: np.ascontiguousarray([[x[0, 0], 1.0], [2.0, x[1, 1]]], like=x),
    lambda x: np.array(x[0], ndmin=3, copy=True, like=x),
    lambda x: np.full((2, 2), x[0, 0], like=x),
    lambda x: np.logspace(x[0, 1:], 2.0, 4, base=np.array([2.0, 3.0]), axis=-1),
    lambda x: np.logspace(x[0, 0], 2.0, 4, base=np.array([[2.0], [3.0]])),
    *[lambda x, e=e: np.linspace(x, 10.0, 3, e, retstep=True) for e in (True, False)],
    *[
        lambda x, m=mode: np.pad(x, ((4, 7), (3, 5)), mode=m, reflect_type="odd")
        for mode in ("reflect", "symmetric")
    ],
    lambda x: np.insert(x, 1, 2 * x[:, 0], axis=1),
    # NumPy treats an array without axes as an array with one axis
    lambda x: np.take(x[0, 0], [0, 0], axis=0),
    lambda x: np.take(x[0, 0], 0, axis=-1),
    lambda x: np.repeat(x[0, 0], 2, axis=0),
    lambda x: np.repeat(x[0, 0], [3], axis=-1),
    lambda x: np.compress([True], x[0, 0], axis=0),
]
# functions whose shapes are not known while compiling
SHAPES_FROM_VALUES: Rows = [
    lambda x: np.compress(x[0] > 1, x[0]),
    lambda x: np.extract(x > 1, x),
    lambda x: np.repeat(x[0], np.argmax(x, axis=0)),
    lambda x: np.insert(x, np.argmax(x, axis=1), 0.0),
    lambda x: np.delete(x, np.argmax(x), axis=None),
    lambda x: np.split(x, np.argmax(x, axis=1)),
    lambda x: np.piecewise(x, [x < 1], [5.0, np.log]),
    lambda x: np.unique(x[0]),
    lambda x: np.trim_zeros(x[0]),
]


@pytest.mark.parametrize("rows", [FUNCTIONS, JOINS], ids=["functions", "joins"])
def test_call_matches_numpy_and_has_right_derivatives(rows: Rows) -> None:
    def check(f: Callable[..., Any]) -> None:
        y, _ = tg.record(f)(X)
        assert all(isinstance(leaf, tg.Tensor) for leaf in tg.tree.leaves(y))
        same(y, f(X))
        check_grads(f, (X,))

    assert not failed_rows(rows, check)


def test_shape_from_values_is_recorded_but_not_compiled() -> None:
    def check(f: Callable[..., Any]) -> None:
        same(tg.record(f)(X)[0], f(X))
        with pytest.raises(tg.TraceError):
            tg.compile(f)(X)

    assert not failed_rows(SHAPES_FROM_VALUES, check)


def test_creation_like_a_tensor_takes_numpys_arguments() -> None:
    def fn(x: Array) -> tuple[Array, ...]:
        return (
            np.array([x[0, 0]], np.float32, like=x),
            np.asarray([1, 2], dtype=float, like=x),
            np.full((2, 3), 1.5, dtype=np.float32, like=x),
            np.zeros(2, like=x),
            np.arange(1.0, 2.0, 0.5, like=x),
            np.eye(2, like=x),
            # the step of a linspace with one number is nan
            tg.stop_gradient(np.linspace(x, 10.0, 1, retstep=True)[1]),
        )

    same(tg.record(fn)(X)[0], fn(X))


# functions of integers of any size, and of truth values
EXACT: Rows = [
    np.mean,
    lambda n: np.median(n + np.int8(0)),
    lambda n: np.quantile(n + np.int8(0), 0.5),
    *[lambda n, m=mode: np.pad(n, 2, mode=m) for mode in ("maximum", "minimum", "mean", "median")],
    *[
        lambda n, e=end: np.pad(n + np.uint8(0), 7, "linear_ramp", end_values=e)
        for end in (7, 1.5, (2.5, 90))
    ],
    lambda n: np.pad(n % 2 - np.int8(50), 5, "linear_ramp", end_values=-60.5),
    lambda n: np.pad(n * 0.5, 1, constant_values=-0.0),
    lambda n: np.gradient((n % np.int8(8)).astype(float), np.uint8(128), edge_order=2),
]


@pytest.mark.parametrize(
    "values", [[2**62 + 1, 3, 2**62 + 7, 2**62], np.uint8([250, 3, 90]), [True, False, False]]
)
def test_integer_results_are_exact(values: ArrayLike) -> None:
    values = np.array(values)

    def check(f: Callable[..., Any]) -> None:
        y, _ = tg.record(lambda x: f(np.where(x > 0, values, values[::-1])))(1.0)
        assert same_bits(y.value, f(values))

    assert not failed_rows(EXACT, check)


# lists with NumPy's scalars and Python's numbers
NESTED: Rows = [
    lambda x: [x, x],
    lambda x: [x, 1.0],
    lambda x: [[x, 1], [2, x]],
    lambda x: ([x, True], (np.float32(2), x)),
    lambda x: [[[x]], [[np.float16(1)]]],
]


def test_array_of_tensors_and_numbers_has_numpys_dtype() -> None:
    for make_list in NESTED:
        for x in (np.float64(3), np.float32(3), np.float16(3)):
            same(tg.record(lambda x, f=make_list: tg.array(f(x)))(x)[0], np.array(make_list(x)))
            y, _ = tg.record(lambda x, f=make_list: tg.array(f(x), np.float32))(x)
            assert y.dtype == np.float32


KEYS: list[Callable[[Any, Any], Any]] = [
    lambda x, v: (v, 1, x[0]),
    lambda x, v: (v, slice(0, 3), slice(0.0, 1.0, 3j), slice(None, 2)),
    lambda x, v: v,
    lambda x, v: (1.5, v, True),
    lambda x, v: ([1, 2], v),
    lambda x, v: ("-1", x, x),
    lambda x, v: ("0,2", v, v),
    lambda x, v: ("1,2,0", v, v),
    lambda x, v: ("0,3,1", v, x.T),
    lambda x, v: ("0,2,0", v, slice(0, 3)),
]


@pytest.mark.parametrize(
    ("concatenator", "numpy_concatenator"), [(tg.r_, np.r_), (tg.c_, np.c_)], ids=["r_", "c_"]
)
def test_concatenation_by_index_matches_numpy(concatenator: Any, numpy_concatenator: Any) -> None:
    def check(key: Callable[..., Any]) -> None:
        fn = lambda x, v: concatenator[key(x, v)]  # noqa: E731
        try:
            want = numpy_concatenator[key(X, V)]
        except ValueError:
            with pytest.raises(ValueError, match=r"dimensions|array"):
                fn(X, V)
            return
        same(fn(X, V), want)
        same(tg.record(fn)(X, V)[0], want)
        check_grads(fn, (X, V), order=1)
        check_properties(fn, (X, V), compiled=concatenator is tg.r_)

    assert not failed_rows(KEYS, check)
    x = np.ones(2, np.float32)
    same(
        tg.record(lambda x: concatenator[x, 1.5, 2] if concatenator is tg.r_ else concatenator[x])(
            x
        )[0],
        (np.r_[x, 1.5, 2] if concatenator is tg.r_ else np.c_[x]),
    )
    assert tg.grad(lambda t: tg.sum(tg.r_[0:t:5j]))(1.0) == 2.5
