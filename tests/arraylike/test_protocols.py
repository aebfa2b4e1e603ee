"""NumPy's functions on Tensors: the supported are the ops, the others say so."""

import re
from typing import Any

import numpy as np
import pytest

import tapegrad as tg

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def refuses(fn: Any, *words: str) -> None:
    """Fail unless fn(Tensor) raises a TypeError that has these words."""
    with pytest.raises(TypeError) as caught:
        tg.record(fn)(X)
    for word in words:
        assert word in str(caught.value)


UNSUPPORTED = {
    "sort_complex": lambda x: np.sort_complex(x),
    "copyto": lambda x: np.copyto(np.zeros((2, 3)), x),
    "put": lambda x: np.put(np.zeros(3), [0], x[0]),
    "may_share_memory": lambda x: np.may_share_memory(x, x),
    "save": lambda x: np.save("/dev/null", x),
}


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_a_function_without_an_op_is_a_type_error_that_names_it(name: str) -> None:
    refuses(UNSUPPORTED[name], name)


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
def test_a_ufuncs_method_is_the_function_that_does_the_same(name: str) -> None:
    method, function = METHODS_AS_FUNCTIONS[name]
    y, _ = tg.record(method)(X)
    assert isinstance(y, tg.Tensor)
    np.testing.assert_allclose(y.value, method(X), rtol=1e-14)
    np.testing.assert_array_equal(y.value, function(X))
    if y.dtype.kind == "f":
        got, want = (tg.jacobian(f)(X) for f in (method, function))
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_a_ufuncs_method_takes_what_the_function_takes() -> None:
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
    ):
        want = fn(X)
        output, _ = tg.record(fn)(X)
        np.testing.assert_allclose(output.value, want, rtol=1e-6)
        assert output.dtype == want.dtype


def test_a_mask_may_be_a_tensor_and_a_first_value_has_a_gradient() -> None:
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


def test_a_mask_that_does_not_fit_is_refused_as_in_numpy() -> None:
    for fn, kind in (  # type: ignore[var-annotated]
        (lambda x: np.sum(x, where=np.ones(3)), TypeError),
        (lambda x: np.sum(x, where=np.ones((2, 2, 3), bool)), ValueError),
        (lambda x: np.max(x, where=[True, False, True]), ValueError),
        (lambda x: np.var(x, ddof=1, correction=1), ValueError),
    ):
        for call in (fn, lambda x, fn=fn: tg.record(fn)(x)):
            with pytest.raises(kind, match=r"where|initial|correction|broadcast|bool|dimensions"):
                call(X)


UFUNC_METHODS = {
    "reduce": lambda x: np.hypot.reduce(x),
    "accumulate": lambda x: np.maximum.accumulate(x),
    "reduceat": lambda x: np.add.reduceat(x, [0, 1]),
    "multiply out": lambda x: np.multiply.outer(x, x, out=np.zeros((2, 3, 2, 3))),
    "at": lambda x: np.add.at(np.zeros((2, 3)), [0], x),
}


@pytest.mark.parametrize("name", sorted(UFUNC_METHODS))
def test_a_ufuncs_method_is_a_type_error_that_names_it(name: str) -> None:
    refuses(UFUNC_METHODS[name], *name.split())


@pytest.mark.parametrize("method", ["reduce", "accumulate", "at"])
@pytest.mark.parametrize("name", ["add", "subtract", "maximum", "hypot", "divide", "arctan2"])
def test_what_a_ufuncs_method_is_refused_for_computes_the_same(name: str, method: str) -> None:
    ufunc, array, index = getattr(np, name), np.array([2.0, 0.5, 3.0]), [2, 0]
    t = X[:, :2].T[0] if method == "at" else X

    def call(t: Any) -> Any:
        if method != "at":
            return getattr(ufunc, method)(t)
        changed = array.copy()
        ufunc.at(changed, index, t)
        return changed

    try:
        got = tg.record(call)(t)[0]
    except TypeError as refused:
        ends = "(?:, along axis 0|, if no index comes twice)?$"
        code = re.search(f"; write (?:array = )?(.*?){ends}", str(refused))
        assert code is not None
        names = {"np": np, "tg": tg, "t": t, "array": array, "index": index}
        got = tg.record(lambda t: eval(code[1], names | {"t": t}))(t)[0]
    np.testing.assert_allclose(got.value, call(t))


def test_where_with_a_condition_alone_gives_the_places() -> None:
    np.testing.assert_array_equal(
        tg.grad(lambda x: tg.sum(x[np.where(x > 2)]))(X), np.where(X > 2, 1.0, 0.0)
    )


def test_what_is_known_of_a_tensor_needs_no_record() -> None:
    def known(x: Any) -> Any:
        return np.result_type(x, np.float32, 1.0), np.iscomplexobj(x), np.isrealobj(x)

    for x in (X, X.astype(np.float32)):
        output, tape = tg.record(known)(x)
        assert output == known(x)
        assert len(tape) == 1
    assert tg.record(lambda t: np.result_type(t, np.float32))(1.0)[0] == np.float32


def test_astype_may_say_that_it_needs_no_copy() -> None:
    got, _ = tg.record(lambda x: x.astype(np.float32, copy=False))(X)
    assert got.dtype == np.float32


def test_the_first_operand_of_at_may_be_the_tensor() -> None:
    refuses(lambda x: np.add.at(x, [0], 1.0), "add")


OUT = np.zeros((2, 3))
OPTIONS = {
    "add out": (lambda x: np.add(x, 1.0, out=OUT), "out"),
    "add positional out": (lambda x: np.add(x, 1.0, OUT), "out"),
    "exp out": (lambda x: np.exp(x, out=OUT), "out"),
    "sum out": (lambda x: np.sum(x, axis=0, out=np.zeros(3)), "out"),
    "max out": (lambda x: np.max(x, axis=0, out=np.zeros(3)), "out"),
    "concatenate out": (lambda x: np.concatenate([x, x], out=np.zeros((4, 3))), "out"),
    "matmul out": (lambda x: np.matmul(x, x.T, out=np.zeros((2, 2))), "out"),
    "ravel order": (lambda x: np.ravel(x, order="K"), "order"),
    "reshape order": (lambda x: np.reshape(x, (3, 2), order="A"), "order"),
    "cumsum out": (lambda x: np.cumsum(x, 0, None, np.zeros((2, 3))), "cumsum"),
    "max dtype": (lambda x: np.maximum.reduce(x, dtype=np.float32), "dtype"),
    "add where": (lambda x: np.add(x, 1.0, where=x.value > 2), "where"),
    "add dtype": (lambda x: np.add(x, 1.0, dtype=np.float32), "dtype"),
    "concatenate dtype": (lambda x: np.concatenate([x, x], dtype=np.float32), "dtype"),
    "stack dtype": (lambda x: np.stack([x, x], dtype=np.float32), "dtype"),
    "add casting": (lambda x: np.add(x, 1.0, casting="unsafe"), "casting"),
    "matmul axes": (lambda x: np.matmul(x, x.T, axes=[(0, 1), (0, 1), (0, 1)]), "axes"),
}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_an_unsupported_argument_is_a_type_error_that_names_it(name: str) -> None:
    fn, word = OPTIONS[name]
    refuses(fn, word)


# NumPy's signatures have other arguments where the ops have keepdims
POSITIONAL = {
    "sum out": lambda x: np.sum(x, 0, None, np.zeros(3)),
    "max out": lambda x: np.max(x, 0, np.zeros(3)),
    "min out": lambda x: np.min(x, 0, np.zeros(3)),
    "argmax out": lambda x: np.argmax(x, 0, np.zeros(3, int)),
    "concatenate out": lambda x: np.concatenate([x, x], 0, np.zeros((4, 3))),
    "stack out": lambda x: np.stack([x, x], 0, np.zeros((2, 2, 3))),
    "broadcast_to subok": lambda x: np.broadcast_to(x, (2, 2, 3), True),
}


@pytest.mark.parametrize("name", sorted(POSITIONAL))
def test_an_unsupported_argument_given_by_position_is_a_type_error(name: str) -> None:
    refuses(POSITIONAL[name])


def test_arguments_at_numpys_default_are_harmless() -> None:
    for fn in (
        lambda x: np.sum(x, axis=0, dtype=None, out=None),
        lambda x: np.mean(x, axis=0, dtype=None, out=None),
        lambda x: np.add(x, 1.0, where=True, dtype=None),
        lambda x: np.max(x, axis=1, out=None),
    ):
        output, _ = tg.record(fn)(X)
        np.testing.assert_array_equal(output.value, fn(X))


def test_concatenate_without_an_axis_flattens_as_in_numpy() -> None:
    output, _ = tg.record(lambda x: np.concatenate([x, x], axis=None))(X)
    np.testing.assert_array_equal(output.value, np.concatenate([X, X], axis=None))


def test_shape_ndim_and_size_are_known_without_a_record() -> None:
    output, tape = tg.record(lambda x: (np.shape(x), np.ndim(x), np.size(x), x.size, len(x)))(X)
    assert output == ((2, 3), 2, 6, 6, 2)
    assert len(tape) == 1


def test_an_array_on_the_left_lets_the_tensor_answer() -> None:
    for fn in (
        lambda x: X + x,
        lambda x: X - x,
        lambda x: X * x,
        lambda x: X / x,
        lambda x: X // x,
        lambda x: X % x,
        lambda x: X**x,
        lambda x: X @ x.T,
        lambda x: np.float64(2) * x,
        lambda x: np.float32(2) - x,
        lambda x: np.int64(2) / x,
        lambda x: 2 - x,
        lambda x: 2.0**x,
        lambda x: True + x,
        lambda x: X == x,  # noqa: SIM300
        lambda x: X < x,  # noqa: SIM300
        lambda x: np.float64(2) >= x,
        lambda x: 2 != x,  # noqa: SIM300
    ):
        output, tape = tg.record(fn)(X)
        assert isinstance(output, tg.Tensor)
        assert output is tape.last
        np.testing.assert_allclose(output.value, fn(X), rtol=1e-15)


IN_PLACE = {
    "+=": "array + t",
    "-=": "array - t",
    "*=": "array * t",
    "/=": "array / t",
    "//=": "array // t",
    "%=": "array % t",
    "**=": "array ** t",
    "@=": "array @ t",
}


@pytest.mark.parametrize("operator", sorted(IN_PLACE))
def test_in_place_operators_of_arrays_raise_and_name_the_line_to_write(operator: str) -> None:
    array = np.ones((3, 3))

    def fn(t: Any) -> Any:
        names = {"array": array, "t": t @ t.T if operator != "@=" else t}
        exec(f"array {operator} t", names)

    with pytest.raises(TypeError) as caught:
        tg.record(fn)(np.ones((3, 3)))
    assert f"array = {IN_PLACE[operator]}" in str(caught.value)
    np.testing.assert_array_equal(array, np.ones((3, 3)))


def test_a_result_for_an_array_is_bound_instead() -> None:
    refuses(lambda x: np.exp(x, OUT), "out = np.exp(...)")
    refuses(lambda x: np.arctan2(OUT, x, out=OUT), "array = np.arctan2(array, t)")
    refuses(lambda x: np.add.reduce(x, out=np.zeros(3)), "out = np.add.reduce(...)")


@pytest.mark.parametrize("dtype", [object, str, "M8[s]"])
def test_no_tensor_turns_into_what_has_no_gradient(dtype: Any) -> None:
    custom = tg.custom_op(vjps=(lambda g, y, x: g,), name="turned")(lambda x: x.astype(dtype))
    refuses(lambda x: np.sum(np.abs(x.astype(dtype))), "astype")
    refuses(lambda x: tg.array(x, dtype), "astype")
    refuses(custom, "turned")


@pytest.mark.parametrize("bad", ["text", object(), np.array(["a"]), None])
def test_operands_that_are_no_numbers_are_refused(bad: Any) -> None:
    refuses(lambda x: tg.add(x, bad), "add")


def test_masked_arrays_are_refused() -> None:
    refuses(lambda x: tg.add(x, np.ma.masked_array(X, X > 2)), "masked")


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_are_refused_for_they_multiply_in_another_way() -> None:
    square = np.ones((3, 3))
    refuses(lambda x: x * np.matrix(square), "np.matrix")
    refuses(lambda x: np.matrix(square) * x.T, "np.matrix")
    with pytest.raises(TypeError, match=r"np\.matrix"):
        tg.grad(lambda m: tg.sum(m * m))(np.matrix(square))


def test_too_many_or_unknown_arguments_are_type_errors_that_name_the_op() -> None:
    refuses(lambda x: tg.exp(x, x, x), "exp")
    refuses(lambda x: tg.sum(x, wrong=1), "sum", "wrong")
    refuses(lambda x: tg.add(x), "add")
    refuses(lambda x: tg.add(x, x2=x, x1=x), "add")


def test_operands_may_be_given_by_name() -> None:
    output, _ = tg.record(lambda x: tg.subtract(x2=x, x1=1.0))(X)
    np.testing.assert_array_equal(output.value, 1 - X)


def test_shapes_that_do_not_fit_are_value_errors_that_name_op_and_shapes() -> None:
    with pytest.raises(ValueError, match=r"add.*\(2, 3\).*\(4,\)"):
        tg.record(lambda x: x + np.ones(4))(X)
    with pytest.raises(ValueError, match=r"matmul.*\(2, 3\).*\(2, 3\)"):
        tg.record(lambda x: x @ x)(X)


def test_an_integer_array_cannot_be_written_to_without_cutting_the_gradient() -> None:
    refuses(lambda x: tg.at(np.zeros(3, int))[0].set(x[0, 0] * 1.5))
    refuses(lambda x: tg.at(np.zeros(3, int))[0].add(x[0, 0] * 1.5))
    refuses(lambda x: tg.at(np.zeros(3, int))[[0, 1, 1]].add(x[0] * 1.5))


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
def test_numpy_itself_does_not_choose_by_a_floating_tensor(function, shape, order):
    x = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape) ** 2
    # the remainder of an infinity warns
    with np.errstate(invalid="ignore"), pytest.raises(TypeError):
        tg.record(lambda t: function(x, t))(order)


def test_the_refusal_of_a_choice_says_who_would_choose_and_what_to_write():
    with pytest.raises(TypeError, match=r"norm of numpy\.linalg.*floating Tensor.*\.value"):
        tg.record(lambda t: np.linalg.vector_norm(np.ones(3), ord=t))(2.0)
    with pytest.raises(TypeError, match=r"norm of numpy\.linalg"):
        tg.grad(lambda t: np.linalg.vector_norm(np.ones(3), ord=2.0 * t))(1.0)


def test_choices_by_integers_and_choices_of_the_users_stand():
    assert (
        tg.record(lambda t: np.linalg.vector_norm(np.ones(4), ord=tg.astype(t, int)))(2.0)[0] == 2
    )
    assert tg.record(lambda t: 1 if t > 1.0 else 0)(2.0)[0] == 1
    tg.record(lambda t: np.testing.assert_(t > 1.0))(2.0)  # noqa: PT009
