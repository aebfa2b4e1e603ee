"""NumPy's functions and ufuncs on Tensors call the ops, by any protocol.

The wording of errors is in tests/test_refusals.py.
"""

import itertools
import re
from typing import Any

import numpy as np
import pytest

import tapegrad as tg
from tapegrad.types import Array

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


METHODS_AS_FUNCTIONS = {
    "add.reduce": (lambda x: np.add.reduce(x), lambda x: np.sum(x, axis=0)),
    "multiply.reduce": (lambda x: np.multiply.reduce(x, 1), lambda x: np.prod(x, axis=1)),
    "maximum.reduce": (
        lambda x: np.maximum.reduce(x, axis=None, keepdims=True),
        lambda x: np.max(x, keepdims=True),
    ),
    "minimum.reduce": (lambda x: np.minimum.reduce(x, (0, 1)), np.min),
    "logaddexp.reduce": (lambda x: np.logaddexp.reduce(x), lambda x: tg.logsumexp(x, axis=0)),
    "logical_and.reduce": (lambda x: np.logical_and.reduce(x > 1), lambda x: np.all(x > 1, 0)),
    "logical_or.reduce": (lambda x: np.logical_or.reduce(x > 1), lambda x: np.any(x > 1, 0)),
    "add.accumulate": (lambda x: np.add.accumulate(x), lambda x: np.cumsum(x, axis=0)),
    "multiply.accumulate": (lambda x: np.multiply.accumulate(x, 1), lambda x: np.cumprod(x, 1)),
    "subtract.outer": (
        lambda x: np.subtract.outer(x, x[0]),
        lambda x: x[:, :, None] - x[0],
    ),
    "power.outer": (lambda x: np.power.outer([1.0, 2.0], x), lambda x: 2.0 ** (x * [[[0]], [[1]]])),
    "less.outer": (lambda x: np.less.outer(x[0], x[1]), lambda x: x[0][:, None] < x[1]),
}


@pytest.mark.parametrize("name", sorted(METHODS_AS_FUNCTIONS))
def test_ufunc_method_equals_its_function(name: str) -> None:
    method, function = METHODS_AS_FUNCTIONS[name]
    y, _ = tg.record(method)(X)
    assert isinstance(y, tg.Tensor)
    np.testing.assert_allclose(y.value, method(X), rtol=1e-14)
    np.testing.assert_array_equal(y.value, function(X))
    if y.dtype.kind == "f":
        got, want = (tg.jacobian(f)(X) for f in (method, function))
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_methods_and_functions_take_numpys_options() -> None:
    for fn in (
        lambda x: np.add.reduce(x, 0, np.float32),
        lambda x: np.add.reduce(x, 1, None, None, True),
        lambda x: np.multiply.reduce(x, initial=2.0, where=[True, False, True]),
        lambda x: np.add.accumulate(x, 0, np.float32),
        lambda x: x.sum(0, np.float32),
        lambda x: x.max(initial=5.5),
        lambda x: x.mean(where=np.array([[True], [False]])),
        lambda x: x.reshape(3, 2, order="F"),
        lambda x: x.reshape((3, 2), order="F"),
        lambda x: x.ravel("F"),
        lambda x: x.flatten(order="F"),
        lambda x: x.transpose(),
        lambda x: x.transpose(1, 0),
        lambda x: x.transpose((1, 0)),
        lambda x: x.transpose(None),
        lambda x: x.argmax(1),
        lambda x: x.clip(2, 4),
        lambda x: x.round(decimals=1),
        lambda x: x.real,
        lambda x: x.imag,
        lambda x: x.mT,
        lambda x: x.repeat(2, axis=1),
        lambda x: x.take([2, 0], 1),
        lambda x: x.compress([False, True], axis=0),
        lambda x: x.diagonal(1),
        lambda x: x.trace(offset=-1),
        lambda x: (x > 3).astype(int).choose([x, -x]),
        lambda x: x[np.arange(2), np.argmax(x, axis=1)],
        lambda x: x[x > 2],
        # defaults passed explicitly, and operands by name
        lambda x: np.sum(x, axis=0, dtype=None, out=None),
        lambda x: np.add(x, 1.0, where=True, dtype=None),
        lambda x: np.max(x, axis=1, out=None),
        lambda x: (tg if isinstance(x, tg.Tensor) else np).clip(a=x, a_min=2.0, a_max=x),
    ):
        want = fn(X)
        output, _ = tg.record(fn)(X)
        np.testing.assert_allclose(output.value, want, rtol=1e-6)
        assert output.dtype == want.dtype


def test_mask_may_be_a_tensor_and_initial_has_a_gradient() -> None:
    masked = tg.grad(lambda x: tg.sum(x, where=x > 2))(X)
    np.testing.assert_array_equal(masked, X > 2)
    masked = tg.compile(tg.grad(lambda x: tg.mean(x, where=x > 2)))(X)
    np.testing.assert_array_equal(masked, (X > 2) / 4)
    assert tg.grad(lambda t: tg.max(X, initial=t))(6.0) == 0.5
    assert tg.grad(lambda t: tg.prod(X, initial=t))(6.0) == 720.0
    assert tg.max(X[:0], initial=2.0) == 2.0
    np.testing.assert_array_equal(
        tg.record(lambda x: np.max(x[:0], axis=0, initial=2.0))(X)[0].value, np.full(3, 2.0)
    )


@pytest.mark.parametrize("method", ["reduce", "accumulate", "at"])
@pytest.mark.parametrize("name", ["add", "subtract", "maximum", "hypot", "divide", "arctan2"])
def test_code_in_error_of_ufunc_method_computes_the_same(name: str, method: str) -> None:
    ufunc, array, index = getattr(np, name), np.array([2.0, 0.5, 3.0]), [2, 0]
    t = X[:, :2].T[0] if method == "at" else X

    def call(t: Array) -> Array:
        if method != "at":
            return getattr(ufunc, method)(t)
        changed = array.copy()
        ufunc.at(changed, index, t)
        return changed

    try:
        got = tg.record(call)(t)[0]
    except TypeError as error:
        ends = "(?:, along axis 0|, if no index comes twice)?$"
        code = re.search(f"; write (?:array = )?(.*?){ends}", str(error))
        assert code is not None
        names = {"np": np, "tg": tg, "t": t, "array": array, "index": index}
        got = tg.record(lambda t: eval(code[1], names | {"t": t}))(t)[0]
    np.testing.assert_allclose(got.value, call(t))


def test_where_with_condition_alone_returns_indices() -> None:
    np.testing.assert_array_equal(
        tg.grad(lambda x: tg.sum(x[np.where(x > 2)]))(X), np.where(X > 2, 1.0, 0.0)
    )


def test_shape_and_dtype_queries_write_no_record() -> None:
    def read_properties(x: Array) -> tuple[Any, ...]:
        sizes = np.shape(x), np.ndim(x), np.size(x), x.size, len(x)
        return sizes, np.result_type(x, np.float32, 1.0), np.iscomplexobj(x), np.isrealobj(x)

    for x in (X, X.astype(np.float32)):
        output, tape = tg.record(read_properties)(x)
        assert output == read_properties(x)
        assert len(tape) == 1
    assert tg.record(lambda t: np.result_type(t, np.float32))(1.0)[0] == np.float32


def test_array_as_left_operand_defers_to_tensor() -> None:
    symbols = ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">="]
    for left, symbol in itertools.product(("X", "np.float32(2)", "np.int64(2)", "2"), symbols):
        fn = eval(f"lambda x: {left} {symbol} x", {"np": np, "X": X})
        output, tape = tg.record(fn)(X)
        assert output is tape.last
        np.testing.assert_allclose(output.value, fn(X), rtol=1e-6, err_msg=f"{left} {symbol}")
    output, _ = tg.record(lambda x: X @ x.T)(X)
    np.testing.assert_allclose(output.value, X @ X.T, rtol=1e-15)


@pytest.mark.parametrize("order", [-np.inf, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x, p: np.linalg.vector_norm(x, ord=p), (3,)),
        (lambda x, p: np.linalg.vector_norm(x, ord=p, keepdims=True), (2, 2)),
        (lambda x, p: np.linalg.matrix_norm(x, ord=p), (2, 2)),
        (lambda x, p: np.linalg.cond(x, p), (2, 2)),
        (lambda x, k: np.rot90(x, k), (2, 2)),
    ],
)
def test_numpys_own_code_cannot_branch_on_a_floating_tensor(function, shape, order):
    x = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape) ** 2
    # the remainder of an infinity warns
    with np.errstate(invalid="ignore"), pytest.raises(TypeError):
        tg.record(lambda t: function(x, t))(order)


def test_branches_on_integers_and_in_user_code_are_allowed():
    assert (
        tg.record(lambda t: np.linalg.vector_norm(np.ones(4), ord=tg.astype(t, int)))(2.0)[0] == 2
    )
    assert tg.record(lambda t: 1 if t > 1.0 else 0)(2.0)[0] == 1
    tg.record(lambda t: np.testing.assert_(t > 1.0))(2.0)  # noqa: PT009


def test_array_namespace_of_a_tensor_is_numpy():
    def fn(x):
        xp = x.__array_namespace__(api_version="2022.12")
        return xp.sum(xp.sin(x) * xp.matmul(x, x))

    x = np.array([0.5, -1.0])
    np.testing.assert_allclose(tg.grad(fn)(x), tg.grad(lambda x: np.sum(np.sin(x) * (x @ x)))(x))
