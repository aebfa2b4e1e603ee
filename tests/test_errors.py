"""Errors say what, where and what to do; each remedy is tried."""

import re
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest

import tapegrad as tg
from tapegrad.errors import TapeError, TapegradError, TraceError


def said(kind: type[BaseException], call: Any) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_the_errors_of_the_tape_are_tapegrad_errors():
    assert issubclass(TapeError, TapegradError)
    assert issubclass(TraceError, TapegradError)
    assert issubclass(TapegradError, Exception)
    for name in ("TapeError", "TraceError", "TapegradError"):
        assert getattr(tg.errors, name).__doc__


# --- what a gradient can be taken of ----------------------------------------------------


class Pair(NamedTuple):
    left: Any
    right: Any


@attrs.frozen
class Layer:
    weight: Any
    count: Any


@pytest.mark.parametrize(
    ("params", "path"),
    [
        (3, "p"),
        (np.arange(3), "p"),
        (True, "p"),
        (np.float64(1) > 0, "p"),
        ({"w": 1.0, "n": np.arange(3)}, "p.n"),
        ([1.0, [2.0, 3]], r"p.1.1"),
        ({"layers": [Layer(1.0, 2)]}, "p.layers.0.count"),
        (Pair(1.0, Pair(2.0, 7)), "p.right.right"),
        ({"w": "text"}, "p.w"),
        ({"w": np.array(["text"])}, "p.w"),
        ({"w": 1j}, "p.w"),
        ({"w": np.ones(2, complex)}, "p.w"),
        ({"w": np.array([None])}, "p.w"),
    ],
)
@pytest.mark.parametrize("transform", [tg.grad, tg.value_and_grad])
def test_a_leaf_that_is_not_floating_is_named_by_its_path(transform, params, path):
    def loss(p):
        raise AssertionError("never called")

    message = said(TypeError, lambda: transform(loss)(params))
    assert re.search(rf"\b{re.escape(path)}\b", message)
    assert "loss" in message
    assert "floating" in message


@pytest.mark.parametrize(
    "transform",
    [
        tg.jacobian,
        tg.hessian,
        lambda f: lambda p: tg.vjp(f, p),
        lambda f: lambda p: tg.jvp(f, (p,), (p,)),
        lambda f: lambda p: tg.hvp(f, (p,), (p,)),
        lambda f: tg.grad(tg.grad(f)),
    ],
)
def test_every_transform_names_the_function_and_the_path(transform):
    def loss(p):
        raise AssertionError("never called")

    message = said(TypeError, lambda: transform(loss)({"n": np.arange(3)}))
    assert "loss" in message
    assert re.search(r"\.n\b", message)
    assert "int64" in message


def test_the_remedy_for_integers_works():
    x = np.arange(3)
    message = said(TypeError, lambda: tg.grad(lambda x: tg.sum(x * x))(x))
    assert "x.astype(float)" in message
    np.testing.assert_array_equal(tg.grad(lambda x: tg.sum(x * x))(x.astype(float)), 2.0 * x)
    message = said(TypeError, lambda: tg.grad(lambda x: x * x)(3))
    assert "float(x)" in message
    assert tg.grad(lambda x: x * x)(float(3)) == 6.0


@pytest.mark.parametrize(
    ("fn", "shape"),
    [
        (lambda x: x, "(3,)"),
        (lambda x: x[None] * np.ones((2, 1)), "(2, 3)"),
        (lambda x: x[:0], "(0,)"),
        (lambda x: np.ones(3), "(3,)"),
    ],
)
def test_a_loss_that_is_not_a_scalar_is_told_by_its_shape(fn, shape):
    fn.__name__ = "vectors"
    for transform in (tg.grad, tg.value_and_grad, tg.hessian):
        message = said(TypeError, lambda t=transform: t(fn)(np.ones(3)))
        assert shape in message
        assert "scalar" in message
        assert "vectors" in message
        assert "tg.sum" in message
        assert "tg.jacobian" in message


@pytest.mark.parametrize(
    "output", [None, "text", (1.0, 2.0), {"loss": 1.0}, 3, True, np.int64(3), 1j]
)
def test_a_loss_that_is_not_a_floating_scalar_is_told_by_its_type(output):
    message = said(TypeError, lambda: tg.grad(lambda x: output)(1.0))
    assert type(output).__name__ in message
    message = said(TypeError, lambda: tg.grad(lambda x: x > 0)(1.0))
    assert "bool" in message


def test_a_pair_without_has_aux_is_told_of_it():
    assert "has_aux" in said(TypeError, lambda: tg.grad(lambda x: (x, 1))(1.0))
    message = said(TypeError, lambda: tg.grad(lambda x: x, has_aux=True)(1.0))
    assert "aux" in message
    assert "Tensor" in message


@pytest.mark.parametrize("argnums", [1, -2, (0, 1), (3,)])
def test_an_argument_that_is_not_there_is_told(argnums):
    message = said(TypeError, lambda: tg.grad(lambda x: x, argnums)(1.0))
    assert "argnums" in message
    assert str(argnums) in message


def test_a_differentiated_argument_by_keyword_is_told():
    assert "position" in said(TypeError, lambda: tg.grad(lambda x: x)(x=1.0))


@pytest.mark.parametrize("transform", [tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian])
def test_what_cannot_be_called_is_refused_at_once(transform):
    assert "ndarray" in said(TypeError, lambda: transform(np.ones(2)))


# --- sweeps ------------------------------------------------------------------------------


def square() -> tuple[tg.Tape, tg.Tensor, tg.Tensor]:
    tape, x = tg.Tape().parameter([1.0, 2.0, 3.0], name="x")
    tape, y = tape.write(tg.multiply, x, x)
    return tape, x, y


def test_a_sweep_needs_a_scalar_or_a_cotangent_of_the_outputs_shape():
    tape, _, y = square()
    message = said(TypeError, lambda: tg.reverse_sweep(tape, y))
    assert "(3,)" in message
    assert "cotangent" in message
    message = said(ValueError, lambda: tg.reverse_sweep(tape, y, cotangent=np.ones(2)))
    assert "(2,)" in message
    assert "(3,)" in message
    said(ValueError, lambda: tg.reverse_sweep(tape, y, cotangent=1.0))
    assert "complex" in said(TypeError, lambda: tg.reverse_sweep(tape, y, np.ones(3, complex)))


def test_a_sweep_needs_a_floating_record():
    tape, _, y = square()
    assert "ndarray" in said(TypeError, lambda: tg.reverse_sweep(tape, y.value))
    assert "float" in said(TypeError, lambda: tg.reverse_sweep(tape, 1.0))
    tape, b = tape.write(tg.greater, y, 2.0)
    assert "bool" in said(TypeError, lambda: tg.reverse_sweep(tape, b))
    tape, n = tape.write(tg.argmax, y)
    assert "int64" in said(TypeError, lambda: tg.reverse_sweep(tape, n))


def test_a_sweep_of_another_tape_names_the_record():
    tape, _, _ = square()
    _, _, y = square()
    message = said(TapeError, lambda: tg.reverse_sweep(tape, y, np.ones(3)))
    assert "line 1" in message
    assert "multiply" in message


def test_a_rule_whose_cotangent_does_not_fit_is_named():
    for shape in [(2,), (5, 1), (2, 3, 4)]:
        op = tg.custom_op(vjps=(None, lambda g, y, a, b, s=shape: np.ones(s)), name="wrong")(
            lambda a, b: a + b
        )
        message = said(ValueError, lambda op=op: tg.grad(lambda x: tg.sum(op(1.0, x)))(np.ones(3)))
        assert "wrong" in message
        assert "operand 1" in message
        assert str(shape) in message
        assert "(3,)" in message


@pytest.mark.parametrize("result", ["text", {}, np.ones(3, complex), np.array(["a"] * 3)])
def test_a_rule_that_returns_no_real_array_is_named(result):
    op = tg.custom_op(vjps=(lambda g, y, x: result,), name="wrong")(lambda x: x * 2)
    message = said(TypeError, lambda: tg.grad(lambda x: tg.sum(op(x)))(np.ones(3)))
    assert "wrong" in message


def test_a_pullback_names_where_the_trees_differ():
    _, pullback = tg.vjp(lambda x: {"a": x, "b": (x, x)}, 1.0)
    message = said(ValueError, lambda: pullback({"a": 1.0, "b": (1.0,)}))
    assert "b" in message
    said(ValueError, lambda: pullback({"a": 1.0, "c": (1.0, 1.0)}))
    said(ValueError, lambda: pullback({"a": np.ones(2), "b": (1.0, 1.0)}))
    said(ValueError, lambda: tg.jvp(lambda a, b: a, (1.0, 2.0), (1.0,)))
    said(ValueError, lambda: tg.jvp(lambda a: a, ({"x": 1.0},), ({"y": 1.0},)))


# --- ops ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call", "shapes"),
    [
        ("add", lambda x: x + np.ones(4), ["(2, 3)", "(4,)"]),
        ("multiply", lambda x: np.ones((3, 2)) * x, ["(3, 2)", "(2, 3)"]),
        ("matmul", lambda x: x @ x, ["(2, 3)"]),
        ("reshape", lambda x: x.reshape(4), ["(2, 3)", "4"]),
        ("where", lambda x: tg.where(np.ones(4) > 0, x, 0.0), ["(4,)", "(2, 3)"]),
        ("concatenate", lambda x: np.concatenate([x, np.ones((2, 2))]), ["(2, 3)", "(2, 2)"]),
        ("stack", lambda x: np.stack([x, np.ones((2, 2))]), ["(2, 3)", "(2, 2)"]),
        ("broadcast_to", lambda x: np.broadcast_to(x, (2, 2)), ["(2, 3)", "(2, 2)"]),
        ("squeeze", lambda x: np.squeeze(x, 0), ["(2, 3)", "axis=0"]),
        ("sum", lambda x: tg.sum(x, axis=2), ["(2, 3)", "axis=2"]),
        ("transpose", lambda x: tg.transpose(x, (0, 1, 2)), ["(2, 3)", "(0, 1, 2)"]),
        ("index_set", lambda x: x.at[0].set(np.ones(2)), ["(2, 3)", "(2,)"]),
    ],
)
def test_shapes_that_do_not_fit_name_the_op_the_shapes_and_the_line(name, call, shapes):
    def model(x):
        return call(x * 1)

    message = said(ValueError, lambda: tg.record(model)(np.ones((2, 3))))
    assert name in message
    for shape in shapes:
        assert shape in message
    assert "line 2" in message
    assert "model" in message


def test_by_hand_too_the_op_the_shapes_and_the_line_are_named():
    tape, _, y = square()
    message = said(ValueError, lambda: tape.write(tg.add, y, np.ones(4)))
    for part in ("add", "(3,)", "(4,)", "line 2", "float64"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("getitem", lambda x: x[3]),
        ("getitem", lambda x: x[0, 0]),
        ("getitem", lambda x: x[[0, 5]]),
        ("index_select", lambda x: tg.index_select(x, np.array([0, 3]))),
        ("index_set", lambda x: x.at[3].set(0.0)),
        ("index_add", lambda x: x.at[[0, 7]].add(0.0)),
    ],
)
def test_an_index_out_of_bounds_is_an_index_error_that_names_the_op(name, call):
    assert name in said(IndexError, lambda: tg.record(call)(np.ones(3)))


def test_an_index_that_is_no_index_is_refused():
    said(IndexError, lambda: tg.record(lambda x: x[np.array([0.5])])(np.ones(3)))
    message = said(TypeError, lambda: tg.record(lambda x: tg.index_select(x, [0.5]))(np.ones(3)))
    assert "integer" in message
    assert "float64" in message


@pytest.mark.parametrize("thing", [np.add, "add", None, lambda x: x, 3])
def test_what_is_not_an_op_is_refused_by_write(thing):
    tape, x, _ = square()
    message = said(TypeError, lambda: tape.write(thing, x))
    assert "op" in message
    assert "tg.multiply" in message


@pytest.mark.parametrize(
    "function",
    [np.fft.fft, np.linalg.eig, np.unique, np.histogram, np.unwrap, np.isnat],
)
def test_a_numpy_function_without_an_op_is_refused_by_name(function):
    message = said(TypeError, lambda: tg.record(function)(np.ones((2, 2))))
    assert function.__name__ in message
    assert "not supported" in message
    assert "custom_op" in message


@pytest.mark.parametrize("method", ["reduce", "accumulate", "outer", "reduceat", "at"])
def test_a_ufuncs_methods_are_refused_by_name(method):
    def fn(x):
        if method == "outer":
            return np.add.outer(x, x)
        if method == "at":
            return np.add.at(np.zeros(2), [0], x)
        return getattr(np.add, method)(x, *([[0]] if method == "reduceat" else []))

    assert f"add.{method}" in said(TypeError, lambda: tg.record(fn)(np.ones(2)))


MASK = np.array([True, False, True])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("where", lambda x: np.sum(x, where=MASK)),
        ("where", lambda x: np.add(x, 1.0, where=MASK)),
        ("where", lambda x: tg.sum(x, where=MASK)),
        ("where", lambda x: np.max(x, where=MASK, initial=0.0)),
        ("initial", lambda x: np.sum(x, initial=1.0)),
        ("dtype", lambda x: np.sum(x, dtype=np.float32)),
        ("dtype", lambda x: np.mean(x, dtype=np.float32)),
        ("dtype", lambda x: np.add(x, 1.0, dtype=np.float32)),
        ("casting", lambda x: np.add(x, 1.0, casting="no")),
        ("out", lambda x: np.mean(x, out=np.zeros(()))),
        ("order", lambda x: np.reshape(x, (3,), order="F")),
        ("nonsense", lambda x: tg.tanh(x, nonsense=1)),
        ("nonsense", lambda x: x.sum(nonsense=1)),
    ],
)
def test_an_argument_that_is_not_supported_is_refused_by_name(argument, call):
    message = said(TypeError, lambda: tg.record(call)(np.ones(3)))
    assert argument in message
    assert "not support" in message


def test_arguments_that_ask_for_nothing_are_accepted():
    fn = tg.record(lambda x: np.sum(x, axis=None, out=None, dtype=None, where=True))
    assert fn(np.ones(3))[0].value == 3.0


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda x: tg.add(x), ["add", "x2"]),
        (lambda x: tg.add(x, 1, 2), ["add", "3"]),
        (lambda x: tg.add(x, 1, x1=2), ["add", "x1", "twice"]),
        (lambda x: tg.expand(x, 0), ["expand", "copies"]),
    ],
)
def test_arguments_that_are_missing_or_too_many_are_named(call, parts):
    message = said(TypeError, lambda: tg.record(call)(np.ones(3)))
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("operand", "what"),
    [
        (1j, "complex"),
        (np.ones(3, complex), "complex128"),
        (np.array(["a", "b", "c"]), "<U1"),
        (np.array([None, 1, 2]), "object"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "datetime64"),
        ("text", "str"),
        (None, "NoneType"),
        ({1: 2}, "dict"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False]), "masked"),
    ],
)
def test_an_operand_that_is_not_real_numbers_is_refused_by_its_type(operand, what):
    tape, x, _ = square()
    message = said(TypeError, lambda: tape.write(tg.multiply, x, operand))
    assert "multiply" in message
    assert what in message


@pytest.mark.parametrize("value", [[1, 2], np.arange(3), 1, True, "text", None, 1j, np.ones(2) > 0])
def test_a_parameter_that_is_not_floating_is_refused(value):
    message = said(TypeError, lambda: tg.Tape().parameter(value))
    assert "floating" in message
    assert "astype(float)" in message


def test_a_custom_op_with_more_rules_than_parameters_is_refused():
    with pytest.raises(TypeError, match=r"takes 1 .* 2 VJP"):
        tg.custom_op(vjps=(None, None))(lambda x: x)


def test_a_custom_op_that_raises_is_named_and_the_error_kept():
    @tg.custom_op(vjps=(None,))
    def broken(x):
        raise ValueError("no good")

    with pytest.raises(ValueError, match=r"broken\(float64 \(\)\).*no good") as caught:
        tg.record(broken)(np.array(1.0))
    assert str(caught.value.__cause__) == "no good"


# --- the tape ---------------------------------------------------------------------------


def test_a_leak_names_the_op_the_line_and_the_function_it_is_from():
    kept = []

    def first(weights):
        kept.append(weights * 2)
        return weights

    def second(a):
        return a + kept[0]

    tg.record(first)(1.0)
    message = said(TapeError, lambda: kept[0] * 3)
    for part in ("multiply", "line 1", "first", ".value"):
        assert part in message.replace("its value", ".value")
    message = said(TapeError, lambda: tg.record(second)(1.0))
    for part in ("add", "line 1", "first", "second", ".value"):
        assert part in message


def test_a_record_below_the_tapes_last_line_is_told_to_use_the_newer_tape():
    tape, x = tg.Tape().parameter(1.0)
    _, y = tape.write(tg.sin, x)
    message = said(TapeError, lambda: tape.write(tg.cos, y))
    assert "newer" in message


# --- layers, losses, optimizers ------------------------------------------------------------


def test_losses_say_which_shapes_do_not_fit():
    message = said(ValueError, lambda: tg.nn.mse_loss(np.ones((4, 1)), np.ones(4)))
    assert "(4, 1)" in message
    assert "(4,)" in message
    message = said(
        ValueError, lambda: tg.nn.cross_entropy_loss(np.ones((4, 3)), np.zeros((4, 1), int))
    )
    assert "(4, 3)" in message
    assert "(4, 1)" in message
    message = said(TypeError, lambda: tg.nn.cross_entropy_loss(np.ones((4, 3)), np.zeros(4)))
    assert "integer" in message
    assert "float64" in message
    for targets in ([0, 3], [0, 100]):
        said(IndexError, lambda t=targets: tg.nn.cross_entropy_loss(np.ones((2, 3)), np.array(t)))
    for loss, targets in (
        (tg.nn.mse_loss, np.ones((1, 2))),
        (tg.nn.cross_entropy_loss, np.zeros(1, int)),
    ):
        message = said(ValueError, lambda f=loss, t=targets: f(np.ones((1, 2)), t, "avg"))
        assert "avg" in message
        assert "mean" in message


def test_a_class_below_zero_is_an_index_error():
    logits = np.ones((2, 3))
    said(IndexError, lambda: tg.nn.cross_entropy_loss(logits, np.array([0, -1])))


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True, None])
def test_a_size_that_is_no_positive_integer_is_refused_by_name(size):
    for make, name in (
        (lambda: tg.nn.Linear(size, 2), "n_inputs"),
        (lambda: tg.nn.Linear(2, size), "n_outputs"),
        (lambda: tg.nn.Embedding(size, 2), "vocab_size"),
        (lambda: tg.nn.RNNCell(2, size, 2), "n_hidden"),
    ):
        message = said(ValueError, make)
        assert name in message
        assert repr(size) in message


def test_an_activation_that_is_not_known_is_refused():
    message = said(ValueError, lambda: tg.nn.RNNCell(2, 2, 2, activation="step"))
    assert "activation" in message
    assert "step" in message
    assert "sigmoid" in message


@pytest.mark.parametrize("key", [None, -1, 1.5, "key", True, np.random.default_rng(0), [1, 2]])
def test_a_key_that_is_none_is_refused(key):
    message = said(TypeError, lambda: tg.nn.Linear(2, 2).init(key))
    assert "key" in message
    assert "SeedSequence" in message


def test_a_model_called_with_the_wrong_parameters_says_so():
    model = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.Tanh())
    params = model.init(0)
    said(ValueError, lambda: model(params[:1], np.ones((1, 2))))
    said(ValueError, lambda: tg.record(model)(params, np.ones((1, 5))))


def test_an_optimizer_says_where_trees_differ():
    optimizer = tg.optim.SGD(0.1)
    params = {"a": [1.0, 2.0], "b": 3.0}
    state = optimizer.init(params)
    message = said(ValueError, lambda: optimizer.update(params, {"a": [1.0], "b": 3.0}, state))
    assert "a" in message
    said(ValueError, lambda: optimizer.update(params, {"a": [1.0, 2.0]}, state))
    said(ValueError, lambda: optimizer.update(params, {"a": [1.0, (2.0,)], "b": 3.0}, state))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), -1, np.float32(-1)])
def test_an_optimizers_numbers_are_not_negative(rate):
    assert "learning_rate" in said(ValueError, lambda: tg.optim.SGD(rate))
    assert "momentum" in said(ValueError, lambda: tg.optim.SGD(0.1, momentum=rate))
