"""NumPy's floating-point warnings name the user's line, whoever calls NumPy for it."""

from __future__ import annotations

import contextlib
import gc
import inspect
import itertools
import pickle
import warnings
import weakref
from contextvars import ContextVar
from functools import partial

import layer_kinds
import numpy as np
import pytest
from layer_kinds import KINDS

import tapegrad as tg
from tapegrad.core.writing import CURRENT
from tapegrad.errors.lines import (
    DEFAULT,
    STATE,
    Place,
    users_frame,
    users_level,
    users_place,
)
from tapegrad.errors.source import statement_at

X = np.array([0.0, 1.0])
OPS = {
    "overflow encountered in exp": lambda x: np.exp(x * 1e3),
    "divide by zero encountered in log": lambda x: np.log(x),
    "divide by zero encountered in divide": lambda x: 1.0 / x,
    "divide by zero encountered in reciprocal": lambda x: np.reciprocal(x),
    "divide by zero encountered in power": lambda x: x**-2.0,
    "invalid value encountered in sqrt": lambda x: np.sqrt(-x),
    "invalid value encountered in arccosh": lambda x: np.arccosh(x - 1.0),
    "overflow encountered in multiply": lambda x: (x * 1e300) * 1e300,
    "overflow encountered in reduce": lambda x: np.sum(x * 8e307 + 8e307),
    "overflow encountered in matmul": lambda x: (x * 1e200) @ np.full(2, 1e200),
    "overflow encountered in cast": lambda x: (x * 1e300).astype(np.float32),
}


def loss(fn):
    return lambda x: tg.sum(fn(x))


def scan_loss(fn):
    return lambda x: tg.scan(lambda c, _: (c + tg.sum(fn(x)), None), 0.0, length=2)[0]


def write_by_hand(fn):
    """Write the ops of a function on a tape by hand."""
    _, recorded = tg.record(fn)(X)
    tape, x = tg.Tape().parameter(X)
    records = {recorded[0]: x}
    for record in recorded[1:]:
        operands = [records.get(x, x) if isinstance(x, tg.Tensor) else x for x in record.operands]
        tape, records[record] = tape.write(record.op, *operands, **record.options)


def run_compiled(compiled, n):
    """Return the result of a compiled function after n calls on other values."""
    for _ in range(n):
        compiled(np.full(2, 1.0))
    return compiled(X)


TRANSFORMS = {
    "record": lambda fn: tg.record(loss(fn))(X),
    "grad": lambda fn: tg.grad(loss(fn))(X),
    "vjp": lambda fn: tg.vjp(fn, X),
    "jvp": lambda fn: tg.jvp(fn, (X,), (X,)),
    "hvp": lambda fn: tg.hvp(loss(fn), (X,), (X,)),
    "jacobian": lambda fn: tg.jacobian(fn)(X),
    "vmap": lambda fn: tg.vmap(fn)(np.stack([X, X])),
    "grad of scan": lambda fn: tg.grad(scan_loss(fn))(X),
    "checkpoint": lambda fn: tg.grad(tg.checkpoint(loss(fn)))(X),
    "custom op": lambda fn: tg.grad(loss(tg.custom_op(vjps=(None,))(fn)))(X),
    "written by hand": lambda fn: write_by_hand(fn),
    "steps": lambda fn: list(tg.sweep_steps(*tg.record(loss(fn))(X)[::-1])),
    "compiled": lambda fn: run_compiled(tg.compile(loss(fn)), 0),
    "compiled, again": lambda fn: run_compiled(tg.compile(loss(fn)), 1),
    "compiled, as read in": lambda fn: run_compiled(tg.compile(loss(fn)), 2),
    "program": lambda fn: tg.compile(loss(fn)).program(X)(X),
}


def warnings_of(call, filters="always"):
    """Return the texts, files and lines of the warnings of a call."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter(filters)
        call()
    return [(str(x.message), x.filename, x.lineno) for x in found if x.category is RuntimeWarning]


def source_lines(*functions):
    """Return the line numbers of some functions of this file."""
    found = set()
    for fn in functions:
        lines, first = inspect.getsourcelines(fn)
        found.update(range(first, first + len(lines)))
    return found


SUBSET = ("overflow encountered in exp", "divide by zero encountered in divide")


@pytest.mark.parametrize(
    ("text", "transform"),
    [
        *[(text, "grad") for text in OPS],
        *[(text, transform) for text in SUBSET for transform in TRANSFORMS],
    ],
)
def test_warning_names_a_line_of_this_file(text, transform):
    found = warnings_of(lambda: TRANSFORMS[transform](OPS[text]))
    assert text in [x[0] for x in found]
    assert {file for _, file, _ in found} == {__file__}
    assert {line for _, _, line in found} <= source_lines(
        OPS[text], TRANSFORMS[transform], loss, scan_loss, run_compiled, write_by_hand
    )


def test_warning_names_line_of_op_in_recording_and_of_call_in_sweep():
    def fn(x):
        y = np.sqrt(x)
        return np.sum(y)

    first = fn.__code__.co_firstlineno
    ((_, _, line),) = warnings_of(lambda: tg.record(lambda x: fn(np.exp(-x * 0) - 2.0))(X))
    assert line == first + 1
    _, pullback = tg.vjp(fn, X)

    back = lambda: pullback(1.0)  # noqa: E731
    ((text, _, line),) = warnings_of(back)
    assert text == "divide by zero encountered in divide"
    assert line == back.__code__.co_firstlineno


# --- layers, losses and other functions on arrays -----------------------------------------

nn, BIG = tg.nn, np.full((2, 2), 1e200)
TABLE, MIXED = nn.Embedding(2, 2), nn.Sequential(np.square, np.log)
# the call of each layer, and its arguments
LAYERS = {
    **{name: (kind.fn, kind.arguments()) for name, kind in KINDS.items()},
    "embedding": (TABLE, (TABLE.init(0), np.zeros(2, int))),
    "dropout": (partial(nn.Dropout(0.9), key=tg.random.key(0)), (None, BIG)),
    "sequential": (MIXED, (MIXED.init(0), BIG)),
}
LOSSES = [x for x in vars(nn) if x.endswith("_loss")]


def make_extreme_trees(tree):
    """Yield trees like one, of numbers with which most functions overflow or are undefined."""
    yield tree
    signs = lambda x: np.where(np.arange(x.size).reshape(x.shape) % 2, 1.0, -1.0)  # noqa: E731
    for fn in (np.ones_like, signs):
        for value in (1e308, -1e308, 1e200, np.inf, 0.0):
            yield tg.tree.map(
                lambda x: fn(x) * value if np.asarray(x).dtype.kind == "f" else x,  # noqa: B023
                tree,
            )


def make_calls(name):
    """Return calls of a layer or a loss with extreme numbers."""
    if name in LAYERS:
        fn, (params, *xs) = LAYERS[name]
        calls = [
            *make_extreme_trees((params, *xs)),
            *[(params, *x) for x in make_extreme_trees(xs)],
        ]
    else:
        fn = getattr(nn, name)
        targets = {
            "binary_cross_entropy_loss": [np.zeros((2, 2)), np.ones((2, 2))],
            "kl_loss": [np.zeros((2, 2)), np.ones((2, 2))],
            "cross_entropy_loss": [np.zeros(2, int)],
        }.get(name, make_extreme_trees(BIG))
        calls = itertools.product(make_extreme_trees(BIG), list(targets), ("sum", "none"))
    return [lambda args=args: fn(*args) for args in calls]


# layers and losses that cannot overflow, or whose ops prevent it
SILENT = {"flatten", "max pool", "max pool, overlapping", "elu", "silu", "gelu", "leaky relu"}
SILENT |= {"gelu by tanh", "embedding", "cross_entropy_loss", "tanh", "sigmoid", "relu"}


@pytest.mark.parametrize("name", [*LAYERS, *LOSSES])
def test_layer_or_loss_on_arrays_warns_at_line_of_call(name):
    all_warnings = []
    for call in make_calls(name):
        found = warnings_of(call)
        for _, file, line in found:  # lines of layer_kinds call some layers
            assert (file, line) == (__file__, call.__code__.co_firstlineno) or (
                file == layer_kinds.__file__
            )
        all_warnings += found
        with np.errstate(all="ignore"):
            assert warnings_of(call) == []
        kinds = []
        with np.errstate(all="call", call=lambda kind, _, kinds=kinds: kinds.append(kind)):
            assert warnings_of(call) == []
        assert len(kinds) >= len({x[0] for x in found})
        if found:
            with np.errstate(all="raise"), pytest.raises(FloatingPointError):
                call()
            with pytest.raises(RuntimeWarning):
                warnings_of(call, "error")
    assert STATE.get(DEFAULT) is DEFAULT
    assert bool(all_warnings) or name in SILENT


class OverflowingLinear(nn.Linear):
    """A custom layer that extends a layer of the package."""

    def __call__(self, params, x):
        return super().__call__(params, x) * 1e200 * 1e200


class LogarithmLayer(nn.layers.WithoutParameters):
    """A custom layer of two lines."""

    function = staticmethod(np.log)


@pytest.mark.parametrize("layer", [OverflowingLinear(2, 2), LogarithmLayer()])
@pytest.mark.parametrize("inside", [False, True])
def test_custom_layer_warns_at_a_line_of_this_file(layer, inside):
    model = nn.Sequential(nn.Tanh(), layer) if inside else layer
    params = model.init(0)
    found = warnings_of(lambda: [model(params, x) for x in make_extreme_trees(BIG * 0 + 1e160)])
    assert found
    assert {file for _, file, _ in found} == {__file__}


HUGE = {"w": np.full(2, 1e200)}
LATE = tg.tree.update(tg.optim.SGD(0.1).init(HUGE), {"step": np.array(1000)})
SGD = tg.optim.SGD(1e308)
CALLS = {
    "op": lambda: tg.log(X),
    "op with options": lambda: tg.sum(np.full(2, 1e308), axis=0),
    "function": lambda: tg.norm(np.full(2, 1e200)),
    "function with options": lambda: tg.std(np.array([[np.inf, 1.0]]), axis=1),
    "custom op": lambda: tg.custom_op(vjps=(None,))(np.log)(X),
    "update": lambda: SGD.update({"w": X}, {"w": X * 1e10}, SGD.init({"w": X})),
    "attention": lambda: nn.attention(BIG, BIG, BIG),
    "norm": lambda: tg.optim.global_norm([np.array(1e154)] * 4),
    "clip": lambda: tg.optim.clip_by_global_norm(HUGE, 1.0),
    "decay": lambda: tg.optim.exponential_decay(1e300, 1e300)(np.arange(9)),
    "warmup": lambda: tg.optim.warmup_cosine(1e308, 3, 10)(np.full(3, 1e200)),
    "rate": lambda: tg.optim.SGD(np.cosh).rate(LATE),
    "tree.map": lambda: tg.tree.map(np.square, HUGE),
    "tree.map of two": lambda: tg.tree.map(np.multiply, HUGE, HUGE),
    "unravel": lambda: tg.tree.ravel(np.float32(1.0))[1](np.full(1, 1e200)),
    "scan": lambda: tg.scan(np.divmod, 1.0, X),
    "fori": lambda: tg.fori_loop(1, 2, np.divide, X),
    "while": lambda: tg.while_loop(lambda x: np.any(x < 1), np.reciprocal, X),
    "cond": lambda: tg.cond(True, np.log, np.log, X),
    "checkpoint": lambda: tg.checkpoint(np.log)(X),
    "custom_vjp": lambda: tg.custom_vjp(lambda g, y, x: (g / x,))(np.log)(X),
    "implicit": lambda: tg.implicit_root(lambda x, a: np.exp(x) - a, np.log)(X),
    "pullback": lambda: tg.vjp(np.square, np.float32(1.0))[1](1e200),
    "push": lambda: tg.linearize(np.square, np.float32(1.0))[1](1e200),
    "reduced in part": lambda: tg.cumprod(np.full(2, 1e200), dtype=np.float32),
    "kit": lambda: tg.testing.check_deterministic(np.log, (X,)),
}


def test_every_function_on_arrays_warns_at_line_of_call():
    for name, call in CALLS.items():
        found = warnings_of(call)
        assert {x[1:] for x in found} == {(__file__, call.__code__.co_firstlineno)}, name
        with np.errstate(all="ignore"):
            assert warnings_of(call) == [], name
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            call()
        assert STATE.get(DEFAULT) is DEFAULT, name


def test_argument_may_have_the_name_of_a_parameter_of_the_wrapper():
    def sum_of_logs(fn, options):
        return np.log(fn) + options

    for call in (tg.checkpoint(sum_of_logs), tg.custom_vjp(lambda g, y, *xs: (g, g))(sum_of_logs)):
        np.testing.assert_array_equal(call(fn=X + 1, options=X), sum_of_logs(X + 1, X))


def test_interrupted_call_restores_error_state_of_numpy():
    def interrupt(x):
        raise KeyboardInterrupt

    for state in ("warn", "ignore"):
        with np.errstate(all=state):
            before = np.geterr(), np.geterrcall()
            with pytest.raises(KeyboardInterrupt):
                tg.checkpoint(interrupt)(X)
            assert (np.geterr(), np.geterrcall()) == before


@pytest.mark.parametrize("mode", ["ignore", "warn", "raise"])
def test_ops_recorded_in_errstate_are_on_the_tape(mode):
    def fn(x):
        with np.errstate(all=mode):
            y = tg.std(x) * tg.exp(np.ones(2)) * x
            return tg.sum(tg.optim.SGD(0.5).update(y, x, tg.optim.SGD(0.5).init(y))[0])

    expected = tg.grad(lambda x: tg.sum(tg.std(x) * np.exp(np.ones(2)) * x - 0.5 * x))(X)
    np.testing.assert_allclose(tg.grad(fn)(X), expected)


def test_context_variables_set_by_a_function_keep_their_values():
    setting: ContextVar[float] = ContextVar("setting", default=0.0)

    def count(x):
        setting.set(setting.get() + 1)
        return x

    tg.cond(True, count, count, 1.0)
    tg.checkpoint(count)(1.0)
    nn.Sequential(count)((None,), X)
    assert setting.get() == 3
    scale = tg.custom_op(vjps=(None,), name="scaled")(lambda x: x * setting.get())
    scan_scale = lambda x: tg.scan(lambda c, _: (scale(c), None), x, length=1)[0]  # noqa: E731
    for step in map(tg.compile, (scale, tg.checkpoint(scale), scan_scale)):
        for value in (2.0, 3.0, 4.0):
            setting.set(value)
            assert step(1.0) == value


def test_compiled_op_may_be_of_code_without_a_module():
    space = {}
    exec("def twice(x): return x * 2", space)
    step = tg.compile(tg.custom_op(vjps=(None,))(space["twice"]))
    assert [step(x) for x in (1.0, 2.0, 3.0)] == [2.0, 4.0, 6.0]


def test_search_for_a_line_keeps_no_local_alive():
    def weak_reference_of_local(find):
        kept = lambda: None  # noqa: E731
        with contextlib.suppress(TypeError):
            find()
        return weakref.ref(kept)

    raise_type_error = partial(tg.record(np.asarray), X)
    for find in (users_frame, users_place, users_level, raise_type_error):
        gc.collect()
        gc.disable()
        try:
            assert weak_reference_of_local(find)() is None, find
        finally:
            gc.enable()


def test_line_warns_once_by_default():
    fn = lambda x: np.sum(np.log(x))  # noqa: E731
    globals().pop("__warningregistry__", None)
    assert len(warnings_of(lambda: [tg.record(fn)(X) for _ in range(3)], "default")) == 1


# --- settings of NumPy's errors -----------------------------------------------------------


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_errstate_of_the_caller_applies(transform):
    with np.errstate(all="ignore"):
        assert warnings_of(lambda: TRANSFORMS[transform](np.log)) == []
    with np.errstate(divide="ignore", invalid="ignore"):
        assert warnings_of(lambda: TRANSFORMS[transform](np.log)) == []
        found = warnings_of(lambda: TRANSFORMS[transform](OPS["overflow encountered in exp"]))
        assert found
        assert {file for _, file, _ in found} == {__file__}
    if transform != "vmap":  # it records one example, whose values are not read
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError, match="in log"):
            TRANSFORMS[transform](np.log)


def test_errstate_inside_the_function_applies_there():
    def log(x, mode):
        with np.errstate(divide=mode):
            return np.log(x)

    def sum_of_logs(x):
        return log(x, "ignore") + np.log(x)

    assert warnings_of(lambda: tg.record(partial(log, mode="ignore"))(X)) == []
    with pytest.raises(FloatingPointError):
        tg.grad(loss(partial(log, mode="raise")))(X)
    ((_, file, line),) = warnings_of(lambda: tg.record(sum_of_logs)(X))
    assert (file, line) == (__file__, sum_of_logs.__code__.co_firstlineno + 1)


def test_error_handler_is_called_as_numpy_calls_it():
    class Log(list):
        write = list.append

        def __call__(self, kind, flag):
            self.append((kind, flag))

    for mode in ("call", "log"):
        plain, recorded = Log(), Log()
        with np.errstate(divide=mode, call=plain):
            np.log(X)
        with np.errstate(divide=mode, call=recorded):
            assert warnings_of(lambda: tg.record(np.log)(X)) == []
        assert recorded == plain != []


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_warning_as_error_ends_the_call_and_restores_state(transform):
    before = np.geterr(), np.geterrcall(), STATE.get(DEFAULT)
    # vmap records one example, whose values are not read
    text = None if transform == "vmap" else "divide by zero encountered in log"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning, match=text):
            TRANSFORMS[transform](np.log)
    assert CURRENT.get() is None
    TRANSFORMS[transform](lambda x: x * 2.0)
    assert (np.geterr(), np.geterrcall(), STATE.get(DEFAULT)) == before
    assert tg.grad(lambda x: x * x)(3.0) == 6.0


def test_tracing_warns_of_nothing():
    """Some values are placeholders in a trace, such as the initial zeros of a loop."""
    for fn in OPS.values():
        program = tg.compile(loss(fn)).program
        assert warnings_of(lambda program=program: program(X)) == []


STATEMENTS = "b = (\n  1)\nif (\n  b):\n    c  =  2\nd = [\n" + "  b,\n" * 60 + "]\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "b = 1"), (2, "b = 1"), (4, "if b:"), (5, "c  =  2"), (6, "d = ["), (9, "b,"), (99, "")],
)
def test_statement_is_found_by_each_of_its_lines_unless_long(number, text, tmp_path):
    file = tmp_path / "statements.py"
    file.write_text(STATEMENTS)
    assert statement_at(Place(str(file), number)) == text
    # a line of code that does not parse is its own statement, and is pickled with its text
    file.with_name("none.py").write_text("b = (\n")
    place = Place(str(file.with_name("none.py")), 1)
    assert statement_at(place) == "b = ("
    assert pickle.loads(pickle.dumps(place)).__dict__["text"] == "b = ("
