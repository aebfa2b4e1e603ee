"""In-place operators on a Tensor match NumPy or raise an error with the line to write."""

import itertools
import operator
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from depth import THOROUGH, depth
from hypothesis import given
from hypothesis import strategies as st
from messages import check_refusals, message_of
from user_files import in_a_file

import tapegrad as tg
from tapegrad.arraylike.table import ANSWERS
from tapegrad.types import Array, ArrayLike, PyTree

X = np.array([[3.0, 1.0], [2.0, 5.0]])

# each in-place operator with the operator that returns its result in a new array
FLOATING = {
    "+=": (operator.iadd, operator.add),
    "-=": (operator.isub, operator.sub),
    "*=": (operator.imul, operator.mul),
    "/=": (operator.itruediv, operator.truediv),
    "//=": (operator.ifloordiv, operator.floordiv),
    "%=": (operator.imod, operator.mod),
    "**=": (operator.ipow, operator.pow),
}
INTEGER = {
    "&=": (operator.iand, operator.and_),
    "|=": (operator.ior, operator.or_),
    "^=": (operator.ixor, operator.xor),
    "<<=": (operator.ilshift, operator.lshift),
    ">>=": (operator.irshift, operator.rshift),
}
OPERATORS = FLOATING | {"@=": (operator.imatmul, operator.matmul)} | INTEGER


def run_recorded(fn: Callable[..., Any], *args: Any) -> PyTree:
    return tg.record(fn)(*args)[0]


def run_compiled(fn: Callable[..., Any], *args: Any) -> PyTree:
    return tg.compile(fn)(*args)


def run_compiled_gradient(fn: Callable[..., Any], *args: Any) -> PyTree:
    return tg.compile(tg.grad(lambda *xs: tg.sum(fn(*xs))))(*args)


with_each_transform = pytest.mark.parametrize(
    "run", [run_recorded, run_compiled, run_compiled_gradient]
)


def sort_indices(t: Array) -> Array:
    return np.argsort(t, axis=-1)


@with_each_transform
@pytest.mark.parametrize("symbol", OPERATORS)
def test_operator_on_array_with_axes_raises(symbol: str, run: Callable[..., Any]) -> None:
    in_place, _ = OPERATORS[symbol]

    def fn(x: Array) -> Array:
        t = sort_indices(x) if symbol in INTEGER else x * 1.0
        return in_place(t, 1 if symbol in INTEGER else X)

    with pytest.raises(TypeError, match=rf"^{re.escape(symbol)} .*\(2, 2\).*write: t = t"):
        run(fn, X)


# changes visible by another name, a view, the caller or a list, and the line to write
ALIASED = [
    ("b = x * 1.0\nc = b\nc *= 3.0\nreturn b", "c = c * 3.0"),
    ("y = x * 1.0\nrow = y[0]\nrow += 1\nreturn y", "row = row + 1"),
    ("y = x * 1.0\nrow = y.T[0]\ny += 1\nreturn row", "y = y + 1"),
    ("def scale(r):\n    r *= 3\ny = x * 1.0\nscale(y)\nreturn y", "r = r * 3"),
    ("x *= 3\nreturn x", "x = x * 3"),
    ("parts = [x * 1.0]\nfirst = parts[0]\nparts[0] -= 1\nreturn first", "parts[0] = parts[0] - 1"),
    # where precedence or layout matter
    ("x *= x + 1  # all of it\nreturn x", "x = x * (x + 1)"),
    ("for _ in range(2): x **= 2\nreturn x", "x = x ** 2"),
    ("x -= np.add(\n    x,\n    1,\n)\nreturn x", "x = x - np.add(x, 1)"),
    ("return operator.iadd(x, 1.0)", "t = t + v"),
    (
        "p = tg.tree.update(tg.nn.Linear(2, 2).init(0), {'weight': x * 2})\np.weight -= 0.1",
        "p.weight = p.weight - 0.1, or of parameters "
        'p = tg.tree.update(p, {"weight": p.weight - 0.1})',
    ),
    # an array without axes that is the caller's, or a view
    *[
        (f"x = x * 1.0\nelement = {view}\nelement += 1.0\nreturn x", "element = element + 1.0")
        for view in (
            *("x[0, 0, ...]", "np.squeeze(x[:1, :1])", "x[:1, :1].reshape(())"),
            *("np.transpose(np.reshape(x[:1, :1], ()))", "np.expand_dims(x[0, 0], 0)[0, ...]"),
        )
    ],
    *[
        (f"a = {array}\nother = a\nother += 1\nreturn np.sum(a)", "other = other + 1")
        for array in (
            "np.where(x[0, 0] > 0, x[0, 0], x[1, 1])",
            "tg.custom_op(vjps=(None,))(lambda x: np.asarray(x[0]))(x[0])",
            "tg.custom_vjp(lambda g, y, x: (g * x,))(lambda x: np.asarray(x[0]))(x[0])",
            "tg.checkpoint(lambda x: np.where(x[0] > 0, x[0], x[1]))(x[0])",
        )
    ],
]


@with_each_transform
def test_operator_on_aliased_array_raises_with_line_to_write(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    table = [(TypeError, in_a_file(tmp_path, body), f"write: {line}") for body, line in ALIASED]
    check_refusals(table, lambda fn: run(fn, X))
    message_of(
        TypeError, lambda: run(in_a_file(tmp_path, "x *= 3\nreturn x"), np.array(2.0)), "x = x * 3"
    )


@pytest.mark.parametrize("run", [run_recorded, run_compiled])
@pytest.mark.parametrize("symbol", FLOATING | INTEGER)
@depth("pairs of small numbers")
@given(first=st.integers(1, 6), second=st.integers(1, 6))
def test_operator_on_number_matches_numpy(
    symbol: str, run: Callable[..., Any], first: int, second: int
) -> None:
    in_place, plain = OPERATORS[symbol]

    def fn(x: Array, apply: Callable[..., Any]) -> tuple[Any, Any]:
        before = np.argmax(x) if symbol in INTEGER else np.sum(x)
        after = apply(before, second)
        return before, after

    x = np.zeros(8)
    x[first] = first
    for got, want in zip(run(lambda x: fn(x, in_place), x), fn(x, plain), strict=True):
        value = np.asarray(got.value if isinstance(got, tg.Tensor) else got)
        assert value.dtype == np.asarray(want).dtype
        np.testing.assert_array_equal(value, want)


# NumPy's operator, function and method differ in the dtype of a square and of a conjugate; its
# versions differ in the dtype of ``b**2.0``
ON_TRUTH_VALUES = [
    *[lambda b, n=n: b**n for n in (1, 2, 3)],
    lambda b: np.power(b, 2),
    lambda b: np.square(b),
    lambda b: np.conj(b),
    lambda b: b.conj(),
]


@pytest.mark.parametrize("run", [run_recorded, run_compiled])
def test_powers_and_conjugates_of_truth_values_have_numpys_dtype(run: Callable[..., Any]) -> None:
    for fn, x in itertools.product(ON_TRUTH_VALUES, (np.array([1.0, -1.0]), np.array(1.0))):
        got, want = run(lambda x, fn=fn: fn(x > 0), x), fn(x > 0)
        assert (got.dtype, got.shape) == (want.dtype, want.shape)


def test_number_of_outer_recording_is_changed_in_place() -> None:
    def square(s: ArrayLike) -> Array:
        s *= s
        return s

    assert tg.grad(lambda x: tg.grad(square)(np.sum(x)) ** 2)(np.ones(2)).tolist() == [16, 16]
    assert tg.grad(square)(3.0) == 6


def increment_in_place(result: Array) -> tuple[Array, Array]:
    other = result
    other += 1
    return result, other


@pytest.mark.parametrize("run", [run_recorded, run_compiled])
@pytest.mark.parametrize(
    "number",
    [
        lambda x: tg.nn.mse_loss(x, X * 2),
        tg.checkpoint(np.sum),
        tg.custom_op(vjps=(None,))(lambda x: np.sum(x)),
        tg.custom_vjp(lambda g, y, x: (g * x,))(np.sum),
        lambda x: tg.fori_loop(0, 3, lambda i, y: y + x[0, 0], 0.0),
        lambda x: tg.cond(x[0, 0] > 0, np.sum, np.max, x),
        lambda x: np.sum(x).astype(np.float32).reshape(()),
    ],
)
def test_number_is_changed_in_place(number: Callable[..., Any], run: Callable[..., Any]) -> None:
    want = increment_in_place(number(X))
    for got, expected in zip(run(lambda x: increment_in_place(number(x)), X), want, strict=True):
        np.testing.assert_allclose(got.value if isinstance(got, tg.Tensor) else got, expected)


def make_argument_tuples() -> list[tuple[Any, ...]]:
    """Return arguments such that many functions return a number for some of them."""
    v, m, k, z = np.array([0.3, 0.7, 0.2]), X, np.array([[2.0]]), np.array(0.5)
    single: list[Any] = [v, m, k, z, [z], "i->", z > 0]
    found: list[tuple[Any, ...]] = [(x,) for x in single]
    found += [(x, y) for x in (v, m, k, z) for y in (v, z, 0, 0.3, ())]
    found += [(z > 0, z, z), ([True], [z]), (0, [z, z]), (v, v, 1), (0.2, v, v), (z, v, v)]
    return [*found, (z, 0.0, 1.0), ("i,i", v, v), ("i->", v), (z, [True], [1.0]), (m, 0, 0)]


@pytest.mark.parametrize("as_numbers", [False, True])
def test_in_place_operator_raises_where_numpy_returns_an_array(as_numbers: bool) -> None:
    """Compare each supported function of NumPy, on arrays and on numbers without axes."""

    def map_arrays(fn: Callable[..., Any], x: Any) -> Any:
        if type(x) in (tuple, list):
            return type(x)([map_arrays(fn, part) for part in x])
        return fn(x) if isinstance(x, np.ndarray) else x

    wrong, n_compared = [], 0
    calls = itertools.product([f for f in ANSWERS if callable(f)], make_argument_tuples())
    # the default run takes every fourth call
    for fn, args in itertools.islice(calls, as_numbers, None, 1 if THOROUGH else 4):

        def call(x: Array, fn: Callable[..., Any] = fn, args: tuple[Any, ...] = args) -> Any:
            def add_zero(a: Array) -> Array:
                sum_with_zero = x * 0 + a if a.dtype.kind == "f" else x * 0 < a
                return np.sum(sum_with_zero) if as_numbers and not a.shape else sum_with_zero[...]

            return fn(*map_arrays(add_zero, args))

        try:
            with warnings.catch_warnings(action="ignore"):
                want = call(np.zeros(()))
                if np.shape(want) != () or isinstance(want, bool | str):
                    continue
                got = tg.record(call)(np.zeros(()))[0]
        except Exception:
            continue
        if type(got) is not tg.Tensor:
            continue
        n_compared += 1
        raised = False
        try:
            increment_in_place(got)
        except tg.errors.TapeError:
            pass  # the recording has ended
        except TypeError:
            raised = True
        if raised != (type(want) is np.ndarray):
            wrong.append((fn, args, type(want).__name__, got.op.name))
    assert not wrong
    assert n_compared > (100 if THOROUGH else 25)
