"""The wording of errors: each names the mismatch, its place, and the code to write instead.

Every message that users see has its row here, in the table of its subject; tests below the tables
try the remedy which a message names. ops/test_refusals.py compares the errors of calls that NumPy
rejects too, and arraylike/test_remedies.py tests the code to write in place of a line.
"""

import functools
import itertools
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NoReturn

import attrs
import numpy as np
import pytest
from layer_kinds import KINDS
from messages import Refusal, check_refusals, message_of
from trees import Params, Point

import tapegrad as tg
from tapegrad import nn
from tapegrad.errors import TapeError, TapegradError, TraceError
from tapegrad.errors.remedies import TENSOR_ATTRIBUTES
from tapegrad.nn.initializers import centred_uniform, he_normal, split, zeros
from tapegrad.types import Array, DTypeLike, Key, PyTree

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
V = np.array([1.0, 2.0, 3.0])


def record_at(x: Array) -> Callable[[Any], Any]:
    """Return a function that records the functions of a table at x."""
    return lambda fn: tg.record(fn)(x)


def test_tape_errors_are_tapegrad_errors():
    for kind in (TapeError, TraceError, tg.FileError):
        assert issubclass(kind, TapegradError)


# --- arguments and results of a gradient ------------------------------------------------


NOT_FLOATING = [
    (3, "p"),
    (np.arange(3), "p"),
    (True, "p"),
    (np.float64(1) > 0, "p"),
    ({"w": 1.0, "n": np.arange(3)}, "p.n"),
    ([1.0, [2.0, 3]], "p.1.1"),
    ({"layers": [Params(1.0, 2)]}, "p.layers.0.bias"),
    (Point(1.0, Point(2.0, 7)), "p.y.y"),
    ({"w": "text"}, "p.w"),
    ({"w": np.array(["text"])}, "p.w"),
    ({"w": np.array([None])}, "p.w"),
]
TRANSFORMS: list[Any] = [
    *(tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian),
    lambda f: lambda p: tg.vjp(f, p),
    lambda f: lambda p: tg.linearize(f, p),
    lambda f: lambda p: tg.jvp(f, (p,), (p,)),
    lambda f: lambda p: tg.hvp(f, (p,), (p,)),
    lambda f: tg.grad(tg.grad(f)),
]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_error_names_path_and_function_of_non_floating_leaf(transform):
    def loss(p):
        raise AssertionError("never called")

    for params, path in NOT_FLOATING:
        message = message_of(TypeError, lambda p=params: transform(loss)(p), "loss", "floating")
        assert re.search(rf"\b{re.escape(path)}\b", message)


def test_remedy_for_integers_works():
    x = np.arange(3)
    message_of(TypeError, lambda: tg.grad(lambda x: tg.sum(x * x))(x), "x.astype(float)")
    np.testing.assert_array_equal(tg.grad(lambda x: tg.sum(x * x))(x.astype(float)), 2.0 * x)
    message_of(TypeError, lambda: tg.grad(lambda x: x * x)([2, 3]), "np.array(x, float)")
    message_of(TypeError, lambda: tg.grad(lambda x: x * x)(3), "float(x)")
    assert tg.grad(lambda x: x * x)(float(3)) == 6.0


LOSSES: list[Refusal] = [
    (TypeError, lambda x: x, "(3,)|scalar|tg.sum|tg.jacobian"),
    (TypeError, lambda x: x[None] * np.ones((2, 1)), "(2, 3)|scalar|tg.sum|tg.jacobian"),
    (TypeError, lambda x: x[:0], "(0,)|scalar|tg.sum|tg.jacobian"),
    (TypeError, lambda x: np.ones(3), "(3,)|scalar|tg.sum|tg.jacobian"),
    *[
        (TypeError, lambda x, y=y: y, "None" if y is None else type(y).__name__)
        for y in (None, "text", (1.0, 2.0), {"loss": 1.0}, 3, True, np.int64(3), 1j)
    ],
    (TypeError, lambda x: x[0] > 0, "bool"),
    (TypeError, lambda x: [x[0], x[1]], "a list; return one number"),
]


def test_error_names_shape_or_type_of_non_scalar_loss():
    for transform in (tg.grad, tg.value_and_grad, tg.hessian):
        check_refusals(LOSSES, lambda f, t=transform: t(f)(V), "lambda")


KEY = tg.random.key(0)


def return_nothing(*args: Any) -> None:
    """Return nothing, as a function without its return statement."""
    sum(args)


CALLS: list[Refusal] = [
    (TypeError, lambda: tg.grad(lambda x: (x, 1))(1.0), "has_aux"),
    (TypeError, lambda: tg.grad(lambda x: x, has_aux=True)(1.0), "aux|Tensor"),
    *[
        (TypeError, lambda n=n: tg.grad(lambda x: x, n)(1.0), f"argnums|{n}")
        for n in (1, -2, (0, 1), (3,))
    ],
    *[(TypeError, lambda n=n: tg.grad(abs, argnums=n), "argnums") for n in (True, (0, np.True_))],
    (TypeError, lambda: tg.grad(lambda x: x)(x=1.0), "position"),
    *[
        (TypeError, lambda t=t: t(np.ones(2)), "an array")
        for t in (tg.grad, tg.value_and_grad, tg.jacobian, tg.hessian)
    ],
    (TypeError, lambda: tg.compile(None), "function"),
    *[
        (TypeError, lambda n=n: tg.compile(lambda x: x, n)(1.0), f"static_argnums|{n}|takes 1 ")
        for n in (4, -2, (0, 1))
    ],
    *[
        (TypeError, lambda x=x: tg.compile(abs)({"o": x}), "argument 0: |must hold real numbers")
        for x in (np.array([1, 2], object), np.zeros(1, [("a", object)]))
    ],
    *[
        (TypeError, lambda n=n: tg.compile(abs, static_argnums=n), "static_argnums")
        for n in ("a", (0, "a"), True)
    ],
    (TypeError, lambda: tg.tree.map(None, [1.0]), "tree.map"),
    *[
        (TypeError, lambda y=y: tg.vjp(lambda x: y, 2.0), "no leaf of its result is floating")
        for y in (3, (), {"n": np.arange(3)}, np.array([1], object))
    ],
    (TypeError, lambda: tg.random.normal(KEY.astype(np.uint32)), "jax_enable_x64"),
    (TypeError, lambda: tg.Tensor([1.0]), "tg.grad(fn)(x)|tg.record(fn)(x)|parameter(x)"),
    (TypeError, lambda: tg.record(return_nothing, V), "lines must be|tg.record(fn)(x)"),
    (TypeError, lambda: tg.grad(return_nothing, V), "argnums must be|tg.grad(fn)(x)"),
    *[
        (TypeError, lambda call=call: call(return_nothing), "return_nothing|is a return missing?")
        for call in (
            lambda f: tg.grad(f)(1.0),
            lambda f: tg.vjp(f, 1.0),
            lambda f: tg.scan(f, 0.0, np.ones(2)),
            lambda f: tg.fori_loop(0, 2, f, 0.0),
            lambda f: tg.while_loop(f, np.abs, 0.0),
            lambda f: tg.while_loop(lambda c: c < 1, f, 0.0),
            lambda f: tg.testing.check_grads(f, (1.0,)),
        )
    ],
    (TypeError, lambda: tg.testing.check_grads(np.sin, tg.domain.Call(V)), "write call.args"),
    (TypeError, lambda: tg.custom_vjp(np.sin)(V), "@tg.custom_vjp(backward)|backward(g, y, *args)"),
    (AttributeError, lambda: tg.custom_vjp(np.sin).defvjp, "'defvjp': |@tg.custom_vjp(backward)"),
    (TypeError, lambda: tg.optim.Adam(lr=0.1), "Adam(learning_rate, |'lr'"),
    (TypeError, lambda: nn.Conv2d(1, 2, kernel_size=3), "Conv2d(n_inputs, n_outputs, size, "),
    (
        TypeError,
        lambda: tg.custom_op(vjps=(None,))(lambda x: return_nothing(x))(1.0),
        "is a return missing?",
    ),
    (
        TypeError,
        lambda: tg.grad(tg.custom_vjp(return_nothing)(np.sum))(V),
        "the backward rule of sum|is a return missing?",
    ),
]


def test_wrong_call_names_the_code_to_write():
    check_refusals(CALLS)


# --- loops and branches -----------------------------------------------------------------


def scan_loss(body: Callable[..., Any]) -> Callable[..., Any]:
    return lambda v: tg.scan(body, {"a": v}, np.ones(3))


def while_loss(body: Callable[..., Any]) -> Callable[..., Any]:
    return lambda v: tg.while_loop(lambda c: c["a"].sum() < 9, lambda c: body(c, 1.0)[0], {"a": v})


def scan_of_numbers(carry: PyTree, body: Callable[..., Any]) -> Callable[..., Any]:
    return lambda v: tg.scan(body, carry, np.stack([v.astype(np.float32)] * 3))


def count_steps(start: Any, stop: Any) -> Callable[..., Any]:
    return lambda v: tg.fori_loop(start, stop, lambda i, c: c + i, 0)


def fori_loss(body: Callable[..., Any]) -> Callable[..., Any]:
    return lambda v: tg.fori_loop(0, 3, lambda i, c: body(c, 1.0)[0], {"a": v})


SEGMENTED: dict[str, Any] = {
    "scan": functools.partial(tg.scan, lambda c, x: (c, x), 0.0, np.ones(3)),
    "fori_loop": functools.partial(tg.fori_loop, 0, 3, lambda i, c: c, 0.0),
    "while_loop": functools.partial(tg.while_loop, lambda c: c < 1, lambda c: c + 1, 0.0),
}
LOOPS: list[Refusal] = [
    *[
        (kind, loop(body), f"{name}: |{words}")
        for name, loop in (
            ("scan", scan_loss),
            ("while_loop", while_loss),
            ("fori_loop", fori_loss),
        )
        for kind, body, words in (
            (ValueError, lambda c, x: ({"a": c["a"][:1]}, x), "carry.a has shape (3,)"),
            (TypeError, lambda c, x: ({"a": c["a"] > 0}, x), "carry.a is float64| bool"),
            (TypeError, lambda c, x: ({"b": c["a"]}, x), "carry.a and after it carry.b"),
        )
    ],
    (TypeError, scan_loss(lambda c, x: c), "must return (carry, y)"),
    (TypeError, scan_loss(lambda c, x: (c, x, x)), "must return (carry, y)"),
    # a partial has no name: its function's name instead
    (
        ValueError,
        lambda v: tg.fori_loop(0, 2, functools.partial(lambda k, i, c: c[k:], 1), v),
        "fori_loop: <lambda> must return a carry",
    ),
    (
        TypeError,
        lambda v: tg.scan(lambda c, x: (c, x), {"a": v, "b": "text"}, np.ones(2)),
        "scan: carry.b: an operand is a str",
    ),
    (TypeError, scan_of_numbers((1.0, 2.0), lambda c, x: (list(c), None)), "the structures differ"),
    (
        TypeError,
        scan_of_numbers(1.5, lambda c, x: (np.argmax(x), None)),
        "carry is float64 before a step and int64",
    ),
    # the second number is a float64 in every step
    (
        TypeError,
        scan_of_numbers((1.0, 1.0), lambda c, x: ((x[0], c[0]), None)),
        "carry.1 is float64 before a step and float32",
    ),
    (TypeError, lambda v: tg.while_loop(lambda c: c > 0, abs, v), "of shape (3,); one truth value"),
    *[
        (TypeError, count_steps(*bounds), f"fori_loop: {at} must be an integer, not")
        for bound in (2.5, np.array(2.0), np.ones(2, int), "2")
        for at, bounds in (("start", (bound, 4)), ("stop", (0, bound)))
    ],
    *[
        (ValueError, lambda v, xs=xs, n=n: tg.scan(lambda c, x: (c, x), v, xs, length=n), words)
        for xs, n, words in (
            ({"a": np.ones(3), "b": np.ones(4)}, None, "xs.a 3, xs.b 4"),
            (np.ones(3), 4, "length 4, xs 3"),
            (None, None, "length must say"),
            (None, -1, "0 or more"),
            ({"a": 1.0}, None, "xs.a has no axis"),
        )
    ],
    *[
        (TypeError, call, f"{words}: a function is needed, not 1")
        for words, call in (
            ("scan(f, init, xs): f", lambda v: tg.scan(1, v, np.ones(2))),
            ("while_loop(|): cond", lambda v: tg.while_loop(1, abs, v)),
            ("while_loop(|): body", lambda v: tg.while_loop(abs, 1, v)),
            ("fori_loop(|): body", lambda v: tg.fori_loop(0, 1, 1, v)),
            ("cond(|): on_true", lambda v: tg.cond(True, 1, abs, v)),
            ("cond(|): on_false", lambda v: tg.cond(True, abs, 1, v)),
            ("switch(|): branches[1]", lambda v: tg.switch(0, [abs, 1], v)),
        )
    ],
    *[
        (
            kind,
            lambda v, call=call, n=n: call(checkpoint=n),
            f'{name}: checkpoint must be None, "binomial", or| steps|{n!r}',
        )
        for name, call in SEGMENTED.items()
        for kind, n in ((ValueError, 0), (ValueError, "sqrt"), (TypeError, True), (TypeError, 2.0))
    ],
]


def cond_of(on_true: Callable[..., Any], on_false: Callable[..., Any]) -> Callable[..., Any]:
    return lambda v: tg.cond(v[0] > 0, on_true, on_false, v)


# both branches are recorded where the condition is a record
BRANCHES: list[Refusal] = [
    *[
        (kind, cond_of(lambda x: {"a": x}, other), words)
        for kind, other, words in (
            (
                ValueError,
                lambda x: {"a": x[:1]},
                "result.a of on_true is float64 (3,), and float64 (1,)",
            ),
            (TypeError, lambda x: {"a": x > 0}, "result.a of on_true is float64| bool"),
            (TypeError, lambda x: {"b": x}, "only on_true returns result.a"),
            (TypeError, lambda x: {"a": x, "b": x}, "only on_false returns result.b"),
            (TypeError, lambda x: {"a": (x,)}, "only on_true returns result.a"),
            (TypeError, lambda x: {"a": "text"}, "returned a str as a"),
        )
    ],
    (TypeError, cond_of(lambda x: (x,), lambda x: [x]), "the structures differ"),
    (
        ValueError,
        lambda v: tg.switch(v.argmax(), [np.sin, np.cos, lambda x: x[:1]], v),
        "result of branches[1] is float64 (3,), and float64 (1,) of branches[2]",
    ),
    (ValueError, lambda v: tg.switch(v.argmax(), [], v), "switch: branches"),
    (TypeError, lambda v: tg.switch(0, abs, np.sin, v), "switch(|a list of functions"),
    (TypeError, lambda v: tg.switch(v[0], [abs], v), "switch: index|one integer, not float64 ()"),
    (TypeError, lambda v: tg.cond(v > 0, abs, abs, 1.0), "shape (3,)|tg.where"),
    *[
        (TraceError, lambda v, body=body: tg.scan(body, v[0], np.ones(2)), words)
        for body, words in (
            (lambda c, x: (c if c > 0 else -c, x), "<lambda>|tg.where, or branch with tg.cond"),
            (
                lambda c, x: (c * float(x), x),
                "<lambda>|return it from the loop or branch and convert it",
            ),
        )
    ],
]


def test_loop_or_branch_error_names_the_mismatch():
    transforms: list[Any] = [lambda f: f(V), lambda f: tg.record(f)(V), lambda f: tg.compile(f)(V)]
    for transform in transforms:
        check_refusals(LOOPS, transform)
    for transform in transforms[1:]:
        check_refusals(BRANCHES, transform)
    with pytest.raises(TypeError, match=r"shape \(3,\).*tg\.where"):
        tg.cond(V > 0, abs, abs, 1.0)


# --- sweeps and tapes -------------------------------------------------------------------


def square_tape() -> tuple[tg.Tape, tg.Tensor, tg.Tensor]:
    tape, x = tg.Tape().parameter(V, name="x")
    tape, y = tape.write(tg.multiply, x, x)
    return tape, x, y


def pull_tree(cotangent: dict[str, Any]) -> Any:
    return tg.vjp(lambda x: {"a": x, "b": (x, x)}, 1.0)[1](cotangent)


def gradient_by_rule(result: Any) -> Any:
    """Return the gradient of an op whose rule for its second operand returns `result`."""
    op = tg.custom_op(vjps=(None, lambda g, y, a, b: result), name="wrong")(lambda a, b: a + b)
    return tg.grad(lambda x: tg.sum(op(1.0, x)))(V)


TAPE, _, Y = square_tape()
SWEEPS: list[Refusal] = [
    (TypeError, lambda: tg.reverse_sweep(TAPE, Y), "(3,)|cotangent"),
    (ValueError, lambda: tg.reverse_sweep(TAPE, Y, cotangent=np.ones(2)), "(2,)|(3,)"),
    (TypeError, lambda: tg.reverse_sweep(TAPE, Y, np.ones(3, complex)), "complex"),
    (TypeError, lambda: tg.reverse_sweep(TAPE, Y.value), "an array"),
    (TypeError, lambda: tg.reverse_sweep(None, Y), "tape"),
    (TypeError, lambda: tg.reverse_sweep(*TAPE.write(tg.greater, Y, 2.0)), "bool"),
    *[
        (ValueError, lambda s=s: gradient_by_rule(np.ones(s)), f"wrong|operand 1|{s}|(3,)")
        for s in ((2,), (2, 3, 4))
    ],
    *[
        (TypeError, lambda r=r: gradient_by_rule(r), "wrong")
        for r in ("text", {}, np.array(["a"] * 3))
    ],
    (ValueError, lambda: pull_tree({"a": 1.0, "b": (1.0,)}), "b"),
    (ValueError, lambda: pull_tree({"a": np.ones(2), "b": (1.0, 1.0)}), "(2,)"),
    (ValueError, lambda: tg.jvp(lambda a, b: a, (1.0, 2.0), (1.0,)), "tangent"),
    *[
        (TypeError, lambda v=v: tg.Tape().parameter(v), "floating|astype(float)")
        for v in ([1, 2], np.arange(3), 1, True, "text", None, np.ones(2) > 0)
    ],
    *[
        (TypeError, lambda x=x: TAPE.write(tg.multiply, Y, x), f"multiply|{kind}")
        for x, kind in (
            (np.array(["a", "b", "c"]), "<U1"),
            ("text", "str"),
            ({1: 2}, "dict"),
            (np.ma.masked_array(V, [True, False, False]), "masked"),
        )
    ],
    (ValueError, lambda: TAPE.write(tg.add, Y, np.ones(4)), "add|(3,)|(4,)|line 2|float64"),
    *[
        (
            TypeError,
            lambda f=f: f(Y, TAPE),
            "the first argument must be a Tape, not a Tensor|output, tape = tg.record(fn)(x)",
        )
        for f in (
            *(tg.reverse_sweep, tg.sweep_steps, tg.show.html),
            *(lambda tape, _: tg.show.mermaid(tape), lambda tape, _: tg.show.dot(tape)),
        )
    ],
]


def test_sweep_or_tape_error_names_the_mismatch():
    check_refusals(SWEEPS)


# --- ops ----------------------------------------------------------------------------------

# functions of a second record
SHAPES: list[Refusal] = [
    (ValueError, lambda x: x + np.ones(4), "add|(2, 3)|(4,)"),
    (ValueError, lambda x: x.reshape(4), "reshape|(2, 3)|4"),
    (ValueError, lambda x: tg.where(np.ones(4) > 0, x, 0.0), "where|(4,)|(2, 3)"),
    (ValueError, lambda x: np.concatenate([x, np.ones((2, 2))]), "concatenate|(2, 3)|(2, 2)"),
    (ValueError, lambda x: tg.sum(x, axis=2), "sum|(2, 3)|axis=2"),
    (ValueError, lambda x: x.at[0].set(np.ones(2)), "index_set|(2, 3)|(2,)"),
]


def test_shape_error_names_op_shapes_and_line():
    def run_on_second_record(fn):
        def model(x):
            return fn(x * 1)

        return tg.record(model)(X)

    check_refusals(SHAPES, run_on_second_record, "line 2|model")


def astype_by_custom_op(x: Array, dtype: DTypeLike) -> Array:
    return tg.custom_op(vjps=(None,), name="astype")(lambda x: x.astype(dtype))(x)


OUT, MASK = np.zeros((2, 3)), np.array([True, False, True])
# functions of a matrix
OPS: list[Refusal] = [
    (IndexError, lambda x: x[3], "getitem"),
    (IndexError, lambda x: tg.index_select(x, np.array([0, 3])), "index_select"),
    (IndexError, lambda x: x.at[3].set(0.0), "index_set"),
    (TypeError, lambda x: tg.index_select(x, [0.5]), "integer|float64"),
    # functions and methods that have no op
    (TypeError, np.sort_complex, "sort_complex|not supported|custom_op"),
    (TypeError, lambda x: np.save("/dev/null", x), "save"),
    (TypeError, lambda x: np.array2string(x), "t.value"),
    (TypeError, lambda x: np.copyto(OUT, x), "copyto|array = tg.at(array)[...].set(t)"),
    (TypeError, lambda x: np.add.at(np.zeros(3), [0, 1], x[0]), "tg.at(array)[index].add(t)"),
    # arguments that are not supported
    (TypeError, lambda x: np.add(x, 1.0, where=MASK), "where|not support"),
    (TypeError, lambda x: np.add(x, 1.0, dtype=np.float32), "dtype|not support"),
    (TypeError, lambda x: np.reshape(x, (6,), order="A"), "order|not support"),
    (TypeError, lambda x: np.ravel(x, order="K"), "order|not support"),
    (TypeError, lambda x: tg.mean(x, initial=1.0), "initial|not support"),
    (TypeError, lambda x: np.concatenate([x, x], dtype=np.float32), "dtype"),
    (TypeError, lambda x: tg.tanh(x, nonsense=1), "nonsense|not support"),
    # `out`, by name or by position
    *[
        (TypeError, f, "out")
        for f in (
            lambda x: np.add(x, 1.0, out=OUT),
            lambda x: np.add(OUT, OUT, out=x),
            lambda x: np.mean(x, out=np.zeros(())),
            lambda x: np.concatenate([x, x], out=np.zeros((4, 3))),
            lambda x: np.multiply.outer(x, x, out=np.zeros((2, 3, 2, 3))),
        )
    ],
    (TypeError, lambda x: np.sum(x, 0, None, np.zeros(3)), "sum"),
    (TypeError, lambda x: np.argmax(x, 0, np.zeros(3, int)), "argmax"),
    (TypeError, lambda x: np.add(x, 1.0, out=OUT), "out = array + t"),
    (TypeError, lambda x: np.exp(x, OUT), "out = np.exp(...)"),
    (TypeError, lambda x: np.arctan2(OUT, x, out=OUT), "array = np.arctan2(array, t)"),
    (TypeError, lambda x: np.add.reduce(x, out=np.zeros(3)), "out = np.add.reduce(...)"),
    # arguments that are missing, too many, or of another kind
    (TypeError, lambda x: tg.add(x), "add|x2"),
    (TypeError, lambda x: tg.add(x, 1, 2), "add|3"),
    (TypeError, lambda x: tg.add(x, 1, x1=2), "add|x1|twice"),
    (TypeError, lambda x: tg.expand(x, 0), "expand|copies"),
    *[
        (TypeError, lambda x, f=f, a=a: f(x, axis=a), "axis is an integer or a tuple of integers")
        for f in (np.sum, np.mean, np.max, np.cumsum, np.sort)
        for a in ([0, 1], np.array([0, 1]), np.array([0]))
    ],
    (AttributeError, lambda x: tg.at(x)[0].apply(np.sin), "max|tg.at(t)[index].set(f(t[index]))"),
    (AttributeError, lambda x: x.at.max(1.0), "t.at[index]"),
    (TypeError, lambda x: np.rot90(x, 1.5), ""),  # NumPy takes it for three quarters
    # numbers that would have no gradient
    *[
        (TypeError, lambda x, d=d, f=f: f(x, d), "astype")
        for d in (object, str, "M8[s]")
        for f in (
            lambda x, d: np.abs(x.astype(d)),
            lambda x, d: tg.array(x, d),
            astype_by_custom_op,
        )
    ],
    *[
        (TypeError, lambda x, write=write: write(tg.at(np.zeros(3, int)), x[0] * 1.5), "int64")
        for write in (
            lambda at, x: at[0].set(x[0]),
            lambda at, x: at[[0, 1, 1]].add(x),
        )
    ],
    # writing to a Tensor, or with a Tensor as index
    (TypeError, lambda x: x.__setitem__(0, 1.0), "t.at[index].set(value)"),
    (TypeError, lambda x: x.__delitem__(0), "t = t["),
    *[
        (
            TypeError,
            lambda x, s=symbol: exec(f"array {s}= t", {"array": np.eye(2), "t": x @ x.T}),
            f"array = array {symbol} t",
        )
        for symbol in ("+", "-", "*", "/", "//", "%", "**", "@")
    ],
]


def test_op_error_names_unsupported_argument():
    check_refusals(OPS, record_at(X))
    assert not OUT.any()


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_arrays_with_other_arithmetic_raise():
    matrix = np.matrix(np.ones((3, 3)))
    for call in (lambda x: x * matrix, lambda x: matrix * x.T):
        message_of(TypeError, lambda call=call: record_at(X)(call), "np.matrix")
    message_of(TypeError, lambda: tg.grad(lambda m: tg.sum(m * m))(matrix), "np.matrix")


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (np.linalg.LinAlgError, lambda x: np.linalg.cholesky(-x)),
        (np.exceptions.AxisError, lambda x: np.sum(x, axis=2)),
        (IndexError, lambda x: x[2]),
        (TypeError, lambda x: x & 1),
        (ValueError, lambda x: x + np.ones(3)),
    ],
)
def test_op_raises_the_error_class_of_numpy(kind, call):
    with pytest.raises(kind):
        call(np.eye(2))

    def catch_error(x):
        try:
            return tg.sum(call(x))
        except kind:
            return tg.sum(x * x)

    np.testing.assert_array_equal(tg.grad(catch_error)(np.eye(2)), 2 * np.eye(2))


def test_error_names_the_library_of_an_unsupported_ufunc():
    unknown = np.frompyfunc(lambda a, b: a, 2, 1)
    message = message_of(TypeError, lambda: tg.record(lambda x: unknown(x, x))(1.0))
    assert "numpy" not in message.split("is not supported")[0]
    special = pytest.importorskip("scipy.special")
    with pytest.raises(TypeError, match=r"^scipy\.special\.ellipkm1 is not supported"):
        tg.record(special.ellipkm1)(1.0)


def test_error_names_lines_of_two_functions_of_one_name():
    kept: list[Any] = []
    first = lambda x: kept.append(x) or np.sum(x)  # noqa: E731
    run_on_second_record = lambda x: np.sum(x * kept[0])  # noqa: E731
    lines = [f.__code__.co_firstlineno for f in (first, run_on_second_record)]

    # a wrapper, as decorators make one
    wrapped = functools.wraps(first)(lambda x: first(x))
    calls = (tg.grad, tg.grad), (tg.compile, tg.grad), (tg.grad, tg.compile)
    for fn, (outer, inner) in itertools.product((first, wrapped), calls):
        kept.clear()
        outer(fn)(np.ones(2))
        message = message_of(TapeError, lambda inner=inner: inner(run_on_second_record)(np.ones(2)))
        assert [int(n) for n in re.findall(r"<lambda> at line (\d+)", message)] == lines


# --- custom ops and rules ------------------------------------------------------------------

SCALE = tg.custom_op(vjps=(lambda g, y, x, k: g * k,), name="scale")(lambda x, *, k: x * k)


def raise_value_error(x: Array) -> NoReturn:
    raise ValueError("no good")


def gradient_by_custom_vjp(*result: Any) -> Any:
    """Return the gradient of a custom VJP whose rule returns `result`."""

    def scale(p: dict[str, Array], x: Array) -> Array:
        return p["w"] * x

    returned = result[0] if len(result) == 1 else result
    fn = tg.custom_vjp(lambda g, y, p, x: returned)(scale)
    return tg.grad(lambda p: tg.sum(fn(p, V)))({"w": V})


def push_tangent(jvp: Callable[..., Any]) -> tuple[Array, Array]:
    op = tg.custom_op(vjps=(lambda g, y, x: g,), name="bad", jvp=jvp)(lambda x: x * 1)
    return tg.jvp(op, (V,), (V,))


CUSTOM: list[Refusal] = [
    (TypeError, lambda: tg.custom_op(vjps=(None, None))(lambda x: x), "takes 1 |2 VJP"),
    *[
        (TypeError, lambda vjps=vjps: tg.custom_op(vjps), "@tg.custom_op(vjps=(rule,))")
        for vjps in (None, abs, (abs, 3))
    ],
    (TypeError, lambda: tg.grad(SCALE)(1), "differentiate scale"),
    *[
        (TypeError, call, "scale: k is an option|t.value")
        for call in (
            lambda: tg.grad(lambda k: tg.sum(SCALE(V, k=k)))(2.0),
            lambda: TAPE.write(SCALE, Y, k=Y),
        )
    ],
    (
        ValueError,
        lambda: tg.record(tg.custom_op(vjps=(None,))(raise_value_error))(np.array(1.0)),
        "raise_value_error(float64 ())|no good",
    ),
    (
        TypeError,
        lambda: tg.custom_op(vjps=(None,), jvp=3),
        "jvp must be a function of tangents, not an int",
    ),
    (
        TypeError,
        lambda: tg.custom_op(vjps=(None,), batch="each"),
        "batch must be \"elementwise\", a function or None, not 'each'",
    ),
    (TypeError, lambda: push_tangent(lambda tangents, y, x: None), "returned None"),
    (
        ValueError,
        lambda: push_tangent(lambda tangents, y, x: np.ones(7)),
        "a tangent of shape (7,), and the output has",
    ),
    (TypeError, lambda: push_tangent(lambda tangents, y: None), "positional arguments"),
    (
        TypeError,
        lambda: gradient_by_custom_vjp(V),
        "scale returned an array; a tuple with|2 positional",
    ),
    (TypeError, lambda: gradient_by_custom_vjp((V,)), "scale returned a tuple of 1"),
    (ValueError, lambda: gradient_by_custom_vjp({"w": np.ones(4)}, V), "operand p.w |(4,)|(3,)"),
    (ValueError, lambda: gradient_by_custom_vjp({"v": V}, V), "the trees differ"),
    (TypeError, lambda: gradient_by_custom_vjp({"w": "text"}, V), "real numbers"),
]


def test_custom_op_or_rule_error_names_the_mismatch():
    check_refusals(CUSTOM)
    slope = tg.grad(lambda x: tg.sum(SCALE(x, k=x[0].value)))(np.full(3, 2.0))
    np.testing.assert_array_equal(slope, np.full(3, 2.0))


# --- attributes -------------------------------------------------------------------------

ATTRIBUTES = {
    **dict.fromkeys(("grad", "backward"), "tg.grad(fn)(x)"),
    **dict.fromkeys(("requires_grad", "detach"), "tg.stop_gradient(t)"),
    **dict.fromkeys(("numpy", "data"), "t.value"),
    "tobytes": "t.value.tobytes",
    "sort": "tg.sort",
    **dict.fromkeys(("fill", "put"), "t = t.at[index].set(value)"),
    "view": "t.reshape(shape)",
    "clone": "needs no copy",
    "exp": "write tg.exp(t)",
    "clamp": "tg.clip(t, low, high)",
}
NO_ATTRIBUTES = ["nonsense", "_repr_latex_", "__array_interface__", "__array_struct__"]


def test_missing_attribute_error_names_a_replacement():
    for name, remedy in ATTRIBUTES.items():
        message_of(AttributeError, lambda name=name: getattr(Y, name), repr(name), remedy)
        assert not hasattr(tg.Tensor, name)
        assert name not in dir(Y)
    for path in re.findall(r"\btg\.([\w.]*\w)", str(TENSOR_ATTRIBUTES)):
        attrgetter(path)(tg)
    for name in dir(np.ndarray):
        if not name.startswith("_") and not hasattr(tg.Tensor, name):
            message = message_of(AttributeError, lambda name=name: getattr(Y, name))
            assert re.search(r"t\.|tg\.|read-only|own copy", message), name
    for name in [*NO_ATTRIBUTES, "__dlpack__"]:
        message = message_of(AttributeError, lambda name=name: getattr(Y, name))
        assert message == f"'Tensor' object has no attribute {name!r}"


def test_format_takes_one_number():
    texts = []

    def fn(x):
        texts.append((f"{x[0]:.3f}", f"{x[0]:8.1e}|", f"{tg.argmax(x):d}", f"{x}"))
        message_of(TypeError, lambda: format(x, ".3f"), "(3,)")
        return tg.sum(x)

    tg.grad(fn)(np.arange(3.0) + 0.5)
    ((a, b, c, d),) = texts
    assert (a, b, c) == ("0.500", " 5.0e-01|", "2")
    assert d.startswith("Tensor([0.5, 1.5, 2.5]")
    message_of(TraceError, lambda: tg.compile(lambda x: f"{x[0]:.3f}")(np.ones(3)), "shape ()")


@pytest.mark.parametrize("control", ["\x1b[31m", "a\nb", "\x00", "\u202e", "\t"])
def test_printed_tape_escapes_control_characters_in_a_name(control):
    tape, _ = tg.Tape().parameter(1.0, name=f"w{control}")
    lines = str(tape).splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "w" in lines[1]


@pytest.mark.parametrize("control", ["\x1b[31m", "a\nb", "\x00", "\u202e", "\t"])
def test_every_text_escapes_control_characters_in_a_name(control):
    name = f"w{control}"
    _, x = tg.Tape().parameter(1.0, name=name)
    summary = str(tg.tree.summary({name: np.ones(2)}))
    for text in (repr(x), x._repr_html_(), *summary.splitlines()):
        assert text.isprintable()
    assert f"{x!r}".count("w") == 1
    assert len(summary.splitlines()) == 3


# --- remedies that are tried --------------------------------------------------------------


DRAWS = sorted({*tg.random.__all__} - {"Key", "key"})
WRONG = (0.5, -1.0, np.ones(3), "text", (2, "a"), None)


def test_error_of_every_draw_names_the_order_of_its_arguments():
    for name in DRAWS:
        draw = getattr(tg.random, name)
        messages = []
        for args in [(), *[(0, x) for x in WRONG], *[(x, 3) for x in WRONG], (0, 1, (3,))]:
            try:
                draw(*args)
            except (TypeError, ValueError) as error:
                messages.append(str(error))
        assert len(messages) > 3
        assert [x for x in messages if not re.search("; the order is key, [a-z, ]+$", x)] == []
        message_of(TypeError, lambda draw=draw: draw(0, 3, size=3), "the order is key, ")


def make_records() -> list[Any]:
    """Return an instance of each class of parameters, states and optimizers."""
    layers = [kind.layer for kind in KINDS.values()]
    kinds = (tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSProp, tg.optim.Adagrad)
    optimizers = [kind(0.1) for kind in kinds]
    states = [optimizer.init(np.ones(2)) for optimizer in optimizers]
    params = [p for p in (x.init(0) for x in layers) if attrs.has(type(p))]
    return [*params, NORM.initial_state(), *optimizers, *states]


def test_setting_a_field_raises_with_code_for_a_new_record():
    for old in make_records():
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


# --- layers, losses, optimizers ------------------------------------------------------------

LINEAR, CELL, TABLE = nn.Linear(3, 2), nn.RNNCell(3, 4, 2), nn.Embedding(5, 3)
CONV = nn.Conv1d(3, 2, 2)
NORM, LSTM, MODEL = nn.BatchNorm(2), nn.LSTMCell(2, 2), nn.Sequential(nn.Linear(2, 3), nn.Tanh())
ROWS, ONES, CLASSES = np.ones((4, 3)), np.ones((1, 2)), np.zeros(1, int)
OF = {layer: layer.init(0) for layer in (LINEAR, CELL, TABLE)}
DROPS = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
MASKED = np.ma.array([0, 1], mask=[True, False])


class Scale:
    """A layer whose init takes no dtype."""

    def init(self, key: Key) -> Array:
        return np.ones(2)

    def __call__(self, params: Array, x: Array) -> Array:
        return params * x


NN: list[Refusal] = [
    (ValueError, lambda: nn.mse_loss(np.ones((4, 1)), np.ones(4)), "(4, 1)|(4,)"),
    (ValueError, lambda: nn.cross_entropy_loss(ROWS, np.zeros((4, 1), int)), "(4, 3)|(4, 1)"),
    (TypeError, lambda: nn.cross_entropy_loss(ROWS, np.zeros(4)), "integer|float64|np.argmax"),
    (ValueError, lambda: nn.cross_entropy_loss(ROWS[:, :0], np.zeros(4, int)), "(4, 0)"),
    *[
        (ValueError, lambda r=r: nn.mse_loss(ONES, ONES, r), f"{r!r}|mean")
        for r in ("avg", None, ["mean"])
    ],
    *[
        (ValueError, lambda d=d: nn.huber_loss(ROWS, ROWS, delta=d), "delta")
        for d in (0.0, -1.0, np.nan)
    ],
    *[
        (IndexError, lambda n=n, f=f: f(ROWS, np.array([0, 0, 0, n])), "3 classes")
        for n in (-1, 3)
        for f in (nn.accuracy, nn.cross_entropy_loss)
    ],
    (IndexError, lambda: TABLE(OF[TABLE], np.array([5])), "Embedding(vocab_s|index 5 "),
    *[
        (TypeError, lambda f=f: f(ROWS[:2], MASKED), "masked")
        for f in (nn.cross_entropy_loss, nn.accuracy)
    ],
    *[
        (ValueError, lambda n=n, make=make: make(n), f"{name}|{n!r}")
        for n in (0, -1, 2.0, "3", True, None)
        for make, name in (
            (lambda n: nn.Linear(n, 2), "n_inputs"),
            (lambda n: nn.Linear(2, n), "n_outputs"),
            (lambda n: nn.Embedding(n, 2), "vocab_size"),
            (lambda n: nn.RNNCell(2, n, 2), "n_hidden"),
        )
    ],
    *[
        (ValueError, lambda a=a: nn.RNNCell(2, 2, 2, activation=a), "one of relu, sigmoid, tanh")
        for a in ("step", None, ["tanh"], tg.tanh)
    ],
    *[
        (TypeError, lambda key=key: nn.Linear(2, 2).init(key), "key|SeedSequence")
        for key in (None, 1.5, "key", True, np.random.default_rng(0), [1, 2])
    ],
    *[
        (ValueError, lambda make=make, shape=shape: make(0, shape), repr(shape))
        for make in (he_normal, centred_uniform)
        for shape in (3, (-1, 2), (2.0, 2), (True, 2), [2, 2], ())
    ],
    (ValueError, lambda: zeros((-1, 2)), "(-1, 2)"),
    *[
        (TypeError, lambda f=f: f(ONES), f"write layer({needed}) with params = layer.init(key)")
        for f, needed in (
            *((LINEAR, "params, x"), (MODEL, "params, x"), (nn.Elu(), "params, x")),
            *((CELL, "params, x, hidden"), (TABLE, "params, indices")),
        )
    ],
    *[(TypeError, lambda d=d: nn.Linear(2, 2).init(0, d), "floating") for d in (int, bool, "i4")],
    *[(ValueError, lambda n=n: split(0, n), repr(n)) for n in (-1, 2.0, None)],
    (ValueError, lambda: LINEAR(OF[LINEAR], np.ones((4, 5))), "Linear(n_inputs=3|(4, 5)|(3, 2)"),
    (ValueError, lambda: LINEAR(OF[LINEAR], 1.0), "Linear(n_inputs=3|()|(3, 2)"),
    (
        TypeError,
        lambda: TABLE(OF[TABLE], np.array([0.5])),
        "Embedding(|not float64; write indices.a",
    ),
    (
        ValueError,
        lambda: CELL(OF[CELL], ROWS, CELL.initial_hidden(3)),
        "RNNCell(n_inputs=3|(4, 3)|(3, 4)|batch",
    ),
    (
        ValueError,
        lambda: CELL(attrs.evolve(OF[CELL], w_ho=OF[LINEAR]), ROWS, CELL.initial_hidden(4)),
        "w_ho.weight|(3, 2)|(4, 2)",
    ),
    *[
        (ValueError, lambda p=p: MODEL(p, ONES), f"Sequential|{len(p)}|2")
        for p in (MODEL.init(0)[:1], (*MODEL.init(0), None), ())
    ],
    *[
        (TypeError, lambda p=p: MODEL(p, ONES), "Sequential|layer(")
        for p in ({"weight": ROWS}, MODEL)
    ],
    *[
        (TypeError, lambda layers=layers: nn.Sequential(*layers), part)
        for layers, part in (
            (([LINEAR, nn.Tanh()],), "Sequential(*layers)"),
            ((LINEAR, nn.Tanh), "Tanh(...)"),
            ((LINEAR, 3), "not 3"),
            ((Scale(),), "Scale.init must |init(self, key, dtype=float)"),
        )
    ],
    *[
        (ValueError, lambda m=m: nn.BatchNorm(3, momentum=m), "momentum")
        for m in (1.5, 2, -0.1, np.nan, "0.1")
    ],
    *[
        (
            TypeError,
            lambda t=t: NORM(NORM.init(0), ONES, NORM.initial_state(), training=t),
            "training must be True or False",
        )
        for t in ("False", 0, None)
    ],
    (ValueError, lambda: nn.Conv2d(3, 4, 3, groups=2), "n_inputs=3"),
    (ValueError, lambda: nn.Conv2d(3, 4, 0), "size"),
    (ValueError, lambda: nn.Conv2d(3, 4, (3, 3, 3)), "tuple of 2"),
    (ValueError, lambda: nn.Conv1d(3, 4, 3, stride=(1, 1)), "stride"),
    (ValueError, lambda: nn.Conv1d(3, 4, 3, padding=-1), "padding"),
    *[
        (ValueError, lambda x=x: CONV(CONV.init(0), x), f"x has shape {x.shape}; (batch, 3, side)")
        for x in (np.ones((2, 3, 5, 5)), ROWS, np.ones((2, 4, 5)))
    ],
    *[
        (ValueError, lambda layer=layer, x=x: layer(None, x), f"shape {x.shape}")
        for layer in (nn.MaxPool2d(2), nn.AvgPool2d((1, 2)))
        for x in (np.ones(()), np.ones(4))
    ],
    (ValueError, lambda: nn.Flatten()(None, 1.0), "Flatten|axis"),
    *[
        (ValueError, lambda r=r: nn.Dropout(r), "rate must be a number")
        for r in (1, -0.1, True, "0.5", np.bool_(True), np.nan, 0.5j)
    ],
    # other libraries add such masks to scores: 0 lets a query attend
    *[
        (TypeError, lambda m=m, f=f: f(np.ones((4, 4)), m), "mask == 0")
        for m in (np.zeros((4, 4)), np.zeros((4, 4), int), [[0.0] * 4] * 4)
        for f in (
            lambda x, mask: nn.attention(x, x, x, mask),
            *[
                lambda x, mask, layer=layer: layer(layer.init(0), x, mask=mask)
                for layer in (nn.MultiHeadAttention(4, 2), nn.MultiHeadAttention(4, 2, causal=True))
            ],
        )
    ],
    (ValueError, lambda: nn.LayerNorm(3, epsilon=0.0), "epsilon"),
    (ValueError, lambda: nn.MultiHeadAttention(4, 3), "heads=3"),
    (TypeError, lambda: NORM(NORM.init(0), np.ones((3, 2)), None), "state"),
    (
        ValueError,
        lambda: NORM(NORM.init(0), ONES, NORM.initial_state(), training=True),
        "two numbers for each channel",
    ),
    (TypeError, lambda: LSTM(LSTM.init(0), ONES, ONES), "pair"),
    (TypeError, lambda: DROPS(DROPS.init(0), ONES, training=True), "Dropout|key=tg.random.key"),
    # layer(x) or layer(x, key), with the parameters forgotten
    *[
        (TypeError, lambda x=x: x(np.ones((2, 2)), 0), f"{type(x).__name__}|layer(None, x)")
        for x in (nn.Dropout(0.5), nn.Flatten(), nn.Relu(), nn.MaxPool2d(1))
    ],
]

PARAMS = {"a": [np.ones(2), np.ones(3)], "b": np.ones(())}
WHOLE, SGD = {"w": np.arange(3)}, tg.optim.SGD(0.1, 0.5)


def update_params(
    optimizer: Any,
    grads: dict[str, Any] | None,
    state: tuple[Any, ...] | tg.optim.SGDState = (),
    params: dict[str, Any] = PARAMS,
) -> Any:
    return optimizer.update(params, grads, optimizer.init(params) if state == () else state)


OPTIM: list[Refusal] = [
    *[
        (ValueError, lambda g=g: update_params(SGD, g), f"SGD.update|params|{parts}")
        for g, parts in (
            ({"a": [np.ones(2)], "b": 1.0}, "grads|at a:"),
            ({"a": [np.ones(2), (np.ones(3),)], "b": 1.0}, "grads|a.1"),
            ({"b": 1.0, "a": [np.ones(2), np.ones(4)]}, "grads.a.1|(3,)|(4,)"),
            ({"a": PARAMS["a"], "b": np.ones(1)}, "grads.b|()|(1,)"),
            ({"a": PARAMS["a"], "b": "text"}, "grads.b|<U4"),
            (None, "grads"),
        )
    ],
    (TypeError, lambda: SGD.update(PARAMS, PARAMS, None), "(params, grads, state)|NoneType"),
    (ValueError, lambda: update_params(SGD, WHOLE, (), WHOLE), "params.w is int64"),
    (ValueError, lambda: update_params(SGD, PARAMS, SGD.init({"a": np.ones(1)})), "state.velocity"),
    (
        ValueError,
        lambda: update_params(SGD, PARAMS, tg.optim.SGD(0.1).init(PARAMS)),
        "state.velocity",
    ),
]


def test_layer_loss_or_optimizer_error_names_the_mismatch_recorded_or_not() -> None:
    for table in (NN, OPTIM):
        check_refusals(table)
        check_refusals(table, lambda call: tg.record(lambda _: call())(1.0))


def test_losses_raise_for_targets_that_are_no_probabilities() -> None:
    logits = np.zeros((2, 2))
    for loss in (nn.binary_cross_entropy_loss, nn.kl_loss):
        loss(logits, np.array([[0.0, 1.0], [0.5, 0.5]]))
        for bad in (-1.0, 1.5, 2):
            fn = lambda x, f=loss, bad=bad: f(x, np.array([[0.0, 1.0], [bad, 0.5]]))  # noqa: E731
            for call in (fn, tg.grad(fn), tg.compile(fn)):
                message_of(ValueError, lambda call=call: call(logits), "from 0 to 1")


# calls of layers by parameters and further arguments
PARAMETRIC: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
    **{
        name: (kind.layer, kind.fn, kind.arguments())
        for name, kind in KINDS.items()
        if kind.layer.init(0) is not None
    },
    "cell": (CELL, CELL, (OF[CELL], ROWS, np.zeros((4, 4)))),
    "table": (TABLE, TABLE, (OF[TABLE], np.array([1]))),
}


@pytest.mark.parametrize("name", PARAMETRIC)
def test_layer_raises_for_parameters_of_another_layer_or_wrong_shape(name: str) -> None:
    layer, fn, (params, x, *rest) = PARAMETRIC[name]
    title = type(layer).__name__
    fn(params, x, *rest)
    wrong = [tuple(tg.tree.leaves(params)), {"weight": ROWS}, ROWS, 1.0, layer, None]
    wrong += [(ROWS, ROWS), Point(ROWS, ROWS)]
    longer = tg.tree.map(lambda p: np.concatenate([p, p]), params)
    kind = ValueError if x.dtype.kind == "f" else TypeError
    check_refusals([(TypeError, lambda p=p: fn(p, x, *rest), f"{title}|layer(") for p in wrong])
    message_of(ValueError, lambda: fn(longer, x, *rest), title)
    message_of(kind, lambda: fn(params, np.ones((2, 9)), *rest), title)


@pytest.mark.parametrize(
    "kind", [tg.optim.SGD, tg.optim.Adam, tg.optim.AdamW, tg.optim.RMSProp, tg.optim.Adagrad]
)
def test_optimizer_raises_for_leaves_not_floating_and_negative_rates(
    kind: type[Any],
) -> None:
    optimizer, ones = kind(0.1), np.ones(2)
    for bad in (np.ma.array(ones, mask=[True, False]), ones.astype(object)):
        message_of(TypeError, lambda x=bad: optimizer.init({"w": x}), "init: params.w")
        with pytest.raises((TypeError, ValueError)):
            optimizer.update({"w": ones}, {"w": bad}, optimizer.init({"w": ones}))
    message_of(ValueError, lambda: optimizer.init({"w": ones.astype(int)}), "floating")
    for rate in (-1.0, np.nan, np.float64(-0.5)):
        scheduled = kind(lambda step, rate=rate: rate)
        call = lambda o=scheduled: update_params(o, {"w": ones}, (), {"w": ones})  # noqa: E731
        message_of(ValueError, call, "must not be negative", "step 0")
