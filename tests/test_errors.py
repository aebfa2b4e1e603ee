"""Errors say what, where and what to do; each remedy is tried."""

import functools
import re
from typing import Any, NamedTuple

import attrs
import numpy as np
import pytest
from messages import said

import tapegrad as tg
from tapegrad.errors import TapeError, TapegradError, TraceError


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
    assert ("None" if output is None else type(output).__name__) in message
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
    assert "an array" in said(TypeError, lambda: transform(np.ones(2)))


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
    assert "an array" in said(TypeError, lambda: tg.reverse_sweep(tape, y.value))
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


@pytest.mark.parametrize("result", ["text", {}, np.array(["a"] * 3)])
def test_a_rule_that_returns_no_array_of_numbers_is_named(result):
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


@pytest.mark.parametrize("function", [np.sort_complex, np.isnat])
def test_a_numpy_function_without_an_op_is_refused_by_name(function):
    message = said(TypeError, lambda: tg.record(function)(np.ones((2, 2))))
    assert function.__name__ in message
    assert "not supported" in message
    assert "custom_op" in message


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (np.array_str, "t.value"),
        (np.array_repr, "t.value"),
        (lambda x: np.array2string(x), "t.value"),
        (lambda x: np.copyto(np.zeros(2), x), "array = tg.at(array)[...].set(t)"),
        (lambda x: np.put(np.zeros(2), [0, 1], x), "a = tg.put(a, ind, t)"),
        (lambda x: np.fill_diagonal(x[None] * x[:, None], 0.0), "tg.at(a)[i, i].set(t)"),
        (lambda x: np.place(np.zeros(2), np.ones(2) > 0, x), "array = tg.at(array)[mask].set(t)"),
        (lambda x: np.add.at(np.zeros(2), [0, 1], x), "tg.at(array)[index].add(t)"),
        (np.poly, "functools.reduce(np.convolve, [np.stack([1.0, -x]) for x in t])"),
    ],
)
def test_what_is_asked_for_often_has_its_replacement_named(call, remedy):
    assert remedy in said(TypeError, lambda: tg.record(call)(np.ones(2)))


def test_the_replacements_for_writing_into_an_array_work():
    array, mask, i = np.zeros((2, 2)), np.array([[True, False], [False, True]]), np.arange(2)
    for write, replacement in (
        (lambda a, t: np.copyto(a, t), lambda a, t: tg.at(a)[...].set(t)),
        (lambda a, t: np.put(a, [1, 0], t), lambda a, t: tg.put(a, [1, 0], t)),
        (lambda a, t: np.fill_diagonal(a, t), lambda a, t: tg.at(a)[i, i].set(t)),
        (lambda a, t: np.putmask(a, mask, t), lambda a, t: tg.where(mask, t, a)),
        (lambda a, t: np.place(a, mask, t), lambda a, t: tg.at(a)[mask].set(t)),
        (lambda a, t: np.add.at(a, i, t), lambda a, t: tg.at(a)[i].add(t)),
    ):
        changed, t = array.copy(), np.array([3.0, 4.0])
        write(changed, t)
        np.testing.assert_array_equal(tg.record(replacement)(array, t)[0].value, changed)


def test_the_replacement_for_the_coefficients_of_roots_works():
    for t in (np.array([3.0, 4.0, -0.5]), np.array([1j, 2.0 - 1j])):
        code = said(TypeError, lambda t=t: tg.record(np.poly)(t)).partition("write ")[2]
        names = {"functools": functools, "np": np}
        made, _ = tg.record(lambda t, of=(code, names): eval(of[0], {**of[1], "t": t}))(t)
        np.testing.assert_allclose(made.value, np.poly(t))


@pytest.mark.parametrize("method", ["reduce", "accumulate", "reduceat", "at"])
def test_a_ufuncs_methods_that_no_function_does_are_refused_by_name(method):
    def fn(x):
        if method == "at":
            return np.hypot.at(np.zeros(2), [0], x)
        return getattr(np.hypot, method)(x, *([[0]] if method == "reduceat" else []))

    assert f"hypot.{method}" in said(TypeError, lambda: tg.record(fn)(np.ones(2)))


MASK = np.array([True, False, True])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("where", lambda x: np.add(x, 1.0, where=MASK)),
        ("dtype", lambda x: np.add(x, 1.0, dtype=np.float32)),
        ("casting", lambda x: np.add(x, 1.0, casting="no")),
        ("out", lambda x: np.mean(x, out=np.zeros(()))),
        ("order", lambda x: np.reshape(x, (3,), order="A")),
        ("where", lambda x: tg.ptp(x, where=MASK)),
        ("initial", lambda x: tg.mean(x, initial=1.0)),
        ("dtype", lambda x: tg.max(x, dtype=np.float32)),
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
        (np.array(["a", "b", "c"]), "<U1"),
        (np.array([None, 1, 2]), "object"),
        (np.array(["2020-01-01"] * 3, "M8[D]"), "datetime64"),
        ("text", "str"),
        (None, "NoneType"),
        ({1: 2}, "dict"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [True, False, False]), "masked"),
    ],
)
def test_an_operand_that_is_not_numbers_is_refused_by_its_type(operand, what):
    tape, x, _ = square()
    message = said(TypeError, lambda: tape.write(tg.multiply, x, operand))
    assert "multiply" in message
    assert what in message


@pytest.mark.parametrize("value", [[1, 2], np.arange(3), 1, True, "text", None, np.ones(2) > 0])
def test_a_parameter_that_is_not_floating_is_refused(value):
    message = said(TypeError, lambda: tg.Tape().parameter(value))
    assert "floating" in message
    assert "astype(float)" in message


# --- the tape ---------------------------------------------------------------------------


def test_a_record_below_the_tapes_last_line_is_told_to_use_the_newer_tape():
    tape, x = tg.Tape().parameter(1.0)
    _, y = tape.write(tg.sin, x)
    message = said(TapeError, lambda: tape.write(tg.cos, y))
    assert "newer" in message


# --- attributes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("grad", "tg.grad(fn)(x)"),
        ("backward", "tg.grad(fn)(x)"),
        ("requires_grad", "tg.stop_gradient(t)"),
        ("detach", "tg.stop_gradient(t)"),
        ("numpy", "t.value"),
        ("data", "t.value"),
        ("tobytes", "t.value.tobytes"),
        ("sort", "tg.sort"),
        ("fill", "t = t.at[index].set(value)"),
        ("put", "t = t.at[index].set(value)"),
        ("view", "t.reshape(shape)"),
        ("clone", "needs no copy"),
    ],
)
def test_an_attribute_that_is_looked_for_says_what_to_use(name, remedy):
    _, _, t = square()
    message = said(AttributeError, lambda: getattr(t, name))
    assert repr(name) in message
    assert remedy in message
    assert not hasattr(t, name)
    assert not hasattr(tg.Tensor, name)
    assert name not in dir(t)


def test_every_attribute_of_an_array_is_there_or_says_what_to_use():
    _, _, t = square()
    for name in dir(np.ndarray):
        if not name.startswith("_") and not hasattr(tg.Tensor, name):
            message = said(AttributeError, lambda name=name: getattr(t, name))
            assert re.search(r"t\.|tg\.|read-only|own copy", message), name


@pytest.mark.parametrize(
    "name", ["nonsense", "_repr_latex_", "__array_interface__", "__array_struct__", "__dlpack__"]
)
def test_other_attributes_are_missing_as_anywhere(name):
    _, _, t = square()
    assert said(AttributeError, lambda: getattr(t, name)) == (
        f"'Tensor' object has no attribute {name!r}"
    )


def test_ordinary_attributes_cost_what_they_do_without_advice():
    assert not hasattr(tg.Tensor, "__getattr__")
    assert tg.Tensor.__getattribute__ is object.__getattribute__


def test_a_format_is_for_one_number():
    texts = []

    def fn(x):
        texts.append((f"{x[0]:.3f}", f"{x[0]:8.1e}|", f"{tg.argmax(x):d}", f"{x}"))
        message = said(TypeError, lambda: format(x, ".3f"))
        assert "(3,)" in message
        return tg.sum(x)

    tg.grad(fn)(np.arange(3.0) + 0.5)
    ((a, b, c, d),) = texts
    assert (a, b, c) == ("0.500", " 5.0e-01|", "2")
    assert d.startswith("Tensor([0.5, 1.5, 2.5]")
    message = said(tg.errors.TraceError, lambda: tg.compile(lambda x: f"{x[0]:.3f}")(np.ones(3)))
    assert "shape ()" in message


# --- arguments that are not what they should be ------------------------------------------


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: tg.custom_op(None), "vjps"),
        (lambda: tg.custom_op(3), "vjps"),
        (lambda: tg.compile(None), "function"),
        (lambda: tg.compile(abs, static_argnums="a"), "static_argnums"),
        (lambda: tg.compile(abs, static_argnums=(0, "a")), "static_argnums"),
        (lambda: tg.compile(abs, static_argnums=True), "static_argnums"),
        (lambda: tg.compile(abs, static_argnums=None), "static_argnums"),
        (lambda: tg.grad(abs, argnums=True), "argnums"),
        (lambda: tg.grad(abs, argnums=(0, np.True_)), "argnums"),
        (lambda: tg.reverse_sweep(None, square()[1]), "tape"),
        (lambda: tg.tree.map(None, [1.0]), r"tree\.map"),
        (lambda: tg.tree.map(None, []), r"tree\.map"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(call, name):
    with pytest.raises(TypeError, match=name):
        call()


def test_a_number_read_while_compiling_is_returned_and_converted_outside():
    with pytest.raises(TraceError, match="return it and convert it outside"):
        tg.compile(lambda x: float(tg.sum(x)))(np.ones(3))


def test_a_ufunc_is_not_called_numpys_unless_it_is():
    def two(a, b):
        return a

    unknown = np.frompyfunc(two, 2, 1)
    message = said(TypeError, lambda: tg.record(lambda x: unknown(x, x))(1.0))
    assert "numpy" not in message.split("is not supported")[0]
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError, match=r"^scipy\.special\.ellipkm1 is not supported"):
        tg.record(special.ellipkm1)(1.0)


@pytest.mark.parametrize("control", ["\x1b[31m", "a\nb", "\x00", "\u202e", "\t"])
def test_control_characters_in_a_name_are_escaped_where_a_tape_is_printed(control):
    tape, _ = tg.Tape().parameter(1.0, name=f"w{control}")
    lines = str(tape).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "w" in lines[1]


# --- advice that fits the line that was written ---------------------------------------------


@pytest.mark.parametrize("modulus", [5, 2.0])
def test_pow_with_three_arguments_is_refused_with_the_line_to_write(modulus):
    x = np.array([3.0, 4.0])
    message = said(TypeError, lambda: tg.grad(lambda t: np.sum(pow(t, 2, modulus)))(x))
    advice = re.search(r"write (.*)", message)[1]
    assert tg.record(lambda t: eval(advice, {"t": t}))(x)[0].value.tolist() == [
        9 % modulus,
        16 % modulus,
    ]


@pytest.mark.parametrize("axis", [[0, 1], np.array([0, 1]), np.array([0])])
@pytest.mark.parametrize("f", [np.sum, np.mean, np.max, np.cumsum, np.sort])
def test_a_list_or_an_array_as_an_axis_is_refused_by_the_arguments_name(f, axis):
    for transform in (tg.record, tg.compile):
        with pytest.raises(TypeError, match="axis is an integer or a tuple of integers"):
            transform(lambda x: f(x, axis=axis))(np.ones((2, 3)))


@pytest.mark.parametrize("name", ["cos", "exp", "sqrt"])
@pytest.mark.parametrize("transform", [tg.grad, tg.compile])
def test_functions_of_math_are_advised_by_their_names(name, transform, tmp_path):
    path = tmp_path / "written.py"
    path.write_text(f"import math\ndef f(x):\n    return 2 * math.{name}(x)\n")
    written: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), written)
    with pytest.raises((TypeError, TraceError), match=rf"; write np\.{name}\(x\)"):
        transform(written["f"])(1.0)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "nansum", "nanmax"])
def test_an_initial_value_that_numpy_reads_is_advised_to_be_ours(name, tmp_path):
    path = tmp_path / "written.py"
    path.write_text(
        "import numpy as np, tapegrad as tg\ndef f(x):\n"
        f"    return np.{name}(np.array([0.5, 2.0]), initial=x)\n"
    )
    written: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), written)
    for transform in (tg.grad, tg.compile):
        with pytest.raises((TypeError, TraceError), match=rf"; write tg\.{name}\("):
            transform(written["f"])(3.0)
    ours, a = getattr(tg, name), np.array([0.5, 2.0])
    value, slope = tg.value_and_grad(lambda x: ours(a, initial=x))(3.0)
    assert value == getattr(np, name)(a, initial=3.0)
    assert slope == {"prod": 1.0, "min": 0.0}.get(name, 1.0)
    # a mask is asked for
    for fn in (lambda x: np.sum(a, where=a < x) * x, lambda x: tg.sum(a, where=a < x) * x):
        assert tg.grad(fn)(1.0) == tg.compile(tg.grad(fn))(1.0) == 0.5


def test_two_functions_of_one_name_are_told_apart_by_their_lines():
    kept: list[Any] = []
    first = lambda x: kept.append(x) or np.sum(x)  # noqa: E731
    second = lambda x: np.sum(x * kept[0])  # noqa: E731
    lines = [f.__code__.co_firstlineno for f in (first, second)]
    for outer, inner in ((tg.grad, tg.grad), (tg.compile, tg.grad), (tg.grad, tg.compile)):
        kept.clear()
        outer(first)(np.ones(2))
        message = said(TapeError, lambda inner=inner: inner(second)(np.ones(2)))
        assert [int(n) for n in re.findall(r"<lambda> at line (\d+)", message)] == lines


# --- as NumPy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (np.linalg.LinAlgError, lambda x: np.linalg.inv(x * 0)),
        (np.linalg.LinAlgError, lambda x: np.linalg.cholesky(-x)),
        (np.exceptions.AxisError, lambda x: np.sum(x, axis=2)),
        (IndexError, lambda x: x[2]),
        (IndexError, lambda x: x["a"]),
        (IndexError, lambda x: x[1.0]),
        (TypeError, lambda x: x & 1),
        (ValueError, lambda x: x + np.ones(3)),
        (ValueError, lambda x: np.diagonal(x[0])),
        (TypeError, lambda x: np.take(x, [0], axis=True)),
        (TypeError, lambda x: np.compress([True], x, axis=False)),
    ],
)
def test_an_error_is_of_numpys_kind_for_a_function_may_catch_it(kind, call):
    for f in (call, tg.record(call)):
        with pytest.raises(kind):
            f(np.eye(2))

    def guarded(x):
        try:
            return tg.sum(call(x))
        except kind:
            return tg.sum(x * x)

    np.testing.assert_array_equal(tg.grad(guarded)(np.eye(2)), 2 * np.eye(2))


def test_quarters_of_a_turn_are_whole():
    # NumPy takes 1.5 of them for three
    with pytest.raises(TypeError):
        tg.grad(lambda x: np.sum(np.rot90(x, 1.5)))(np.eye(2))


# --- mistakes of newcomers ------------------------------------------------------------------

KEY = tg.random.key(0)
MODEL = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.Dropout(0.5))


def forgets(*args: Any) -> None:
    """A function without its return."""
    sum(args)


MISTAKES: list[tuple[Any, list[str]]] = [
    (lambda: tg.Tensor([1.0, 2.0]), ["tg.grad(fn)(x)", "tg.record(fn)(x)", "parameter(x)"]),
    (lambda: tg.Tensor(np.ones(2), requires_grad=True), ["tg.grad(fn)(x)"]),
    (lambda: tg.record(forgets, np.ones(2)), ["lines must be", "tg.record(fn)(x)"]),
    (lambda: tg.grad(forgets, np.ones(2)), ["argnums must be", "tg.grad(fn)(x)"]),
    (lambda: tg.grad(forgets)(1.0), ["forgets returned None (is a return missing?)"]),
    (lambda: tg.jacobian(forgets)(1.0), ["forgets", "is a return missing?"]),
    (lambda: tg.vjp(forgets, 1.0), ["forgets", "is a return missing?"]),
    (lambda: tg.jvp(forgets, (1.0,), (1.0,)), ["forgets", "is a return missing?"]),
    (lambda: tg.hvp(forgets, (1.0,), (1.0,)), ["forgets", "is a return missing?"]),
    (lambda: tg.hessian_diag(forgets)(1.0), ["forgets", "is a return missing?"]),
    (lambda: tg.scan(forgets, 0.0, np.ones(2)), ["forgets", "is a return missing?"]),
    (lambda: tg.fori_loop(0, 2, forgets, 0.0), ["forgets", "is a return missing?"]),
    (lambda: tg.while_loop(forgets, np.abs, 0.0), ["forgets", "is a return missing?"]),
    (lambda: tg.while_loop(lambda c: c < 1, forgets, 0.0), ["forgets", "is a return missing?"]),
    (lambda: tg.testing.check_grads(forgets, (1.0,)), ["forgets", "is a return missing?"]),
    (lambda: tg.custom_op(vjps=(None,))(lambda x: forgets(x))(1.0), ["is a return missing?"]),
    (
        lambda: tg.grad(tg.custom_vjp(forgets)(np.sum))(np.ones(2)),
        ["the backward rule of sum", "is a return missing?"],
    ),
    (
        lambda: MODEL(MODEL.init(0), np.ones((1, 2)), training=True),
        ["Dropout", "key=tg.random.key"],
    ),
    (lambda: tg.nn.Dropout(0.5)(None, np.ones(2), training=True), ["training=True", "key="]),
    (lambda: tg.random.normal(KEY.astype(np.uint32)), ["jax_enable_x64"]),
]


@pytest.mark.parametrize(("call", "parts"), MISTAKES)
def test_a_mistake_of_newcomers_is_told_with_what_to_do(call, parts):
    message = said(TypeError, call)
    for part in parts:
        assert part in message


def test_dropout_without_a_key_does_nothing_unless_it_trains():
    x = np.ones((3, 2))
    params = MODEL.init(0)
    np.testing.assert_array_equal(MODEL(params, x), MODEL.layers[0](params[0], x))
    dropped = [MODEL(params, x, key=KEY), MODEL(params, x, key=KEY, training=True)]
    np.testing.assert_array_equal(*dropped)
    assert np.any(dropped[0] == 0)
    np.testing.assert_array_equal(tg.nn.Dropout(0.0)(None, x, training=True), x)


@pytest.mark.parametrize(
    "call",
    [tg.reverse_sweep, tg.sweep_steps, tg.show.html]
    + [lambda tape, output, f=f: f(tape) for f in (tg.show.mermaid, tg.show.dot)],
)
def test_an_output_in_the_place_of_its_tape_is_told_the_order(call):
    output, tape = tg.record(np.sum)(np.ones(2))
    call(tape, output)
    message = said(TypeError, lambda: call(output, tape))
    assert "the first argument must be a Tape, not a Tensor" in message
    assert "output, tape = tg.record(fn)(x)" in message


WRONG = (0.5, -1.0, np.ones(3), "text", (2, "a"), None)


@pytest.mark.parametrize("name", sorted({*tg.random.__all__} - {"Key", "key"}))
def test_every_draw_that_refuses_its_arguments_says_their_order(name):
    draw = getattr(tg.random, name)
    told = []
    for args in [(), *[(0, x) for x in WRONG], *[(x, 3) for x in WRONG], (0, 1, (3,))]:
        try:
            draw(*args)
        except (TypeError, ValueError) as error:
            told.append(str(error))
    assert len(told) > 3
    assert [x for x in told if not re.search("; the order is key, [a-z, ]+$", x)] == []
    assert "the order is key, " in said(TypeError, lambda: draw(0, 3, size=3))


def records() -> list[Any]:
    """One of each class of parameters, states and optimizers."""
    layers = [
        *(tg.nn.Linear(2, 2), tg.nn.Embedding(2, 2), tg.nn.RNNCell(2, 2, 2), tg.nn.GRUCell(2, 2)),
        *(tg.nn.Conv1d(1, 1, 1), tg.nn.MultiHeadAttention(2, 1), tg.nn.LayerNorm(2)),
        *(tg.nn.RMSNorm(2), tg.nn.BatchNorm(2)),
    ]
    kinds = (tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSProp, tg.optim.Adagrad)
    optimizers = [kind(0.1) for kind in kinds]
    states = [optimizer.init(np.ones(2)) for optimizer in optimizers]
    return [*[x.init(0) for x in layers], layers[-1].initial_state(), *optimizers, *states]


@pytest.mark.parametrize("old", records(), ids=lambda x: type(x).__name__)
def test_a_record_that_is_set_says_how_to_make_a_new_one(old):
    for field in attrs.fields(type(old)):
        value = getattr(old, field.name)
        with pytest.raises(attrs.exceptions.FrozenInstanceError) as caught:
            setattr(old, field.name, 1)
        message = str(caught.value)
        assert message.startswith(f"{type(old).__name__} is immutable; write new = ")
        change = message.partition("new = ")[2].replace("...", "value")
        new = eval(change, {"old": old, "value": value, "tg": tg, "attrs": attrs})
        assert type(new) is type(old)
        assert getattr(new, field.name) is value


@pytest.mark.parametrize("keyword", ["max_norm", "most"])
def test_the_largest_norm_has_the_fields_name_and_its_former_one(keyword):
    clipped, norm = tg.optim.clip_by_global_norm(np.array([3.0, 4.0]), **{keyword: 1.0})
    assert norm == 5
    np.testing.assert_allclose(clipped, [0.6, 0.8])
    with pytest.raises(TypeError, match="max_norm twice"):
        tg.optim.clip_by_global_norm(np.ones(2), max_norm=1.0, most=2.0)


@pytest.mark.parametrize("keyword", ["targets", "labels"])
def test_the_right_classes_are_targets_in_every_function(keyword):
    logits = np.array([[0.0, 1.0], [2.0, 0.0]])
    assert tg.nn.accuracy(logits, **{keyword: np.array([1, 1])}) == 0.5
