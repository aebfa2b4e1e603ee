"""What compiling takes: steps in proportion to the records, and a word when it takes long."""

import contextlib
import functools
import gc
import inspect
import logging
from collections import Counter

import numpy as np
import pytest
from counting import calls_of
from programs import assert_same, trace

import tapegrad as tg
from tapegrad.program import PASSES, compiled, cost
from tapegrad.program.program import run_passes
from tapegrad.program.text import make_runner


def elementwise(n):
    def fn(x):
        for i in range(n):
            x = np.sin(x) * 1.5 + 0.25 * i
        return x

    return tg.value_and_grad(fn), (0.5,)


def recurrent(n):
    def fn(w, u, b, xs):
        h = np.zeros((2, 3))
        for x in xs:
            h = tg.sigmoid(x @ w + h @ u + b) * h
        return np.sum(h * h)

    rng = np.random.default_rng(0)
    w, u, b = (rng.normal(size=shape) for shape in ((3, 3), (3, 3), (3,)))
    return tg.grad(fn, argnums=(0, 1, 2)), (w, u, b, list(rng.normal(size=(n, 2, 3))))


def deep(n):
    """Layers of different weights, each used twice."""

    def fn(weights, x, y):
        for w in weights:
            x, y = np.tanh(x @ w), np.tanh(y @ w)
        return np.sum(x * y)

    rng = np.random.default_rng(0)
    return tg.grad(fn), (list(rng.normal(size=(n, 3, 3))), np.ones((2, 3)), np.ones((2, 3)))


def constants(n):
    """A function with n constant matrices, whose transposes the reverse sweep needs too."""
    arrays = list(np.random.default_rng(0).normal(size=(n, 3, 3)))

    def fn(x):
        for array in arrays:
            x = np.tanh(x @ array)
        return np.sum(x)

    return tg.grad(fn), (np.ones((2, 3)),)


def blocks(n):
    def fn(x):
        for i in range(n):
            x = np.cumsum(np.sin(x) * (i + 0.5))
        return x

    return fn, (np.zeros(cost.BLOCKED_ELEMENTS),)


FUNCTIONS = (elementwise, recurrent, deep, constants, blocks)


@pytest.mark.parametrize("make", FUNCTIONS, ids=lambda f: f.__name__)
def test_compile_takes_steps_in_proportion_to_the_records(make):
    def steps(n):
        fn, args = make(n)
        program = trace(fn, args, {})
        after = run_passes(program, PASSES)
        return calls_of(lambda: (run_passes(program, PASSES), make_runner(after)))

    first, second, third = steps(8), steps(16), steps(24)
    assert third - second <= 1.1 * (second - first)


@pytest.mark.parametrize(
    ("outer", "inner", "check", "words"),
    [
        (200, 1, False, "401 are of long: does it repeat code"),
        (1, 200, False, "403 records; 400 are of step, a body of tg.scan or the like in long"),
        (40, 1, True, "check=True"),
        # a loop that is one record already has no more records for more steps
        (1, 2, False, None),
    ],
)
def test_a_long_recording_is_told_of_once(monkeypatch, caplog, outer, inner, check, words):
    """By its number of records, with the function that has most of them."""

    def step(x, _):
        for _ in range(inner):
            x = np.sin(x) * 2.0
        return x, None

    def long(x):
        for _ in range(outer):
            x = step(x, None)[0] if outer > 1 else tg.scan(step, x, length=100)[0]
        return x

    monkeypatch.setattr(compiled, "MANY", 300)
    monkeypatch.setattr(compiled, "MANY_PROVED", 50)
    with caplog.at_level(logging.WARNING, "tapegrad"):
        told = tg.compile(long, check=check)
        told(1.0), told(2.0)
    messages = [x.getMessage() for x in caplog.records if x.name == "tapegrad"]
    assert len(messages) == (words is not None)
    assert all(words in message for message in messages), messages


def square(x):
    return x * x


@pytest.mark.parametrize(
    "make",
    [
        lambda i: square,
        lambda i: lambda x: i * x,
        lambda i: tg.grad(lambda x: i * np.sum(x)),
        lambda i: functools.partial(square),
        lambda i: tg.vmap(tg.grad(square)),
    ],
    ids=["one", "new", "grad", "partial", "nested"],
)
def test_what_is_compiled_in_a_loop_is_told_of_once_with_the_line(make, caplog, monkeypatch):
    monkeypatch.setattr(compiled.Compiled, "_thrown_away", Counter())
    line = inspect.currentframe().f_lineno + 2
    for i in range(3 * compiled.THROWN_AWAY):
        step = tg.compile(make(i))
        step(np.ones(2))
        assert bool(caplog.records) == (i >= compiled.THROWN_AWAY)
    (record,) = caplog.records
    assert record.name == "tapegrad"
    assert f"{__file__}:{line}: " in record.getMessage()

    def once(x):
        return tg.compile(make(0))(x)

    for _ in range(3 * compiled.THROWN_AWAY):
        once(np.ones(2))
    assert len(caplog.records) == 2
    assert f":{line + 8}: " in caplog.records[1].getMessage()


def test_what_is_compiled_for_good_reason_is_not_told_of(caplog):
    many = range(2 * compiled.THROWN_AWAY)

    def jit(fn):
        return tg.compile(fn)

    # one function on a line each, several functions on one line, and one that is new each time
    # but kept, or used more than once, or never called
    source = "\n".join("tg.compile(square)(1.0)" for _ in many)
    exec(source, {"tg": tg, "square": square})
    exec("\n".join(f"jit(lambda x: x + {i})(1.0)" for i in many), {"jit": jit})
    for fn in eval(f"[{', '.join(f'lambda x: x + {i}' for i in many)}]"):
        jit(fn)(1.0)
    kept = [jit(lambda x, i=i: x + i) for i in many]
    assert [step(1.0) for step in kept] == [1.0 + i for i in many]
    for _ in many:
        step = tg.compile(square)
        step(1.0), step(2.0)
        tg.compile(square)
    tg.compile(square)(1.0)
    for _ in many:
        tg.testing.check_compiled(square, (1.0,))
    assert not caplog.records


@pytest.mark.parametrize("enabled", [True, False])
def test_compile_lets_the_search_for_cycles_wait(enabled):
    seen = []

    def watching(program):
        seen.append(gc.isenabled())
        raise KeyError("a pass")

    def note_collector(x):
        seen.append(gc.isenabled())
        return np.sin(x)

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with contextlib.suppress(KeyError):
            tg.compile(note_collector, passes=(watching,))(1.0)
        assert seen == [False, False]
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_a_long_program_takes_no_recursion():
    fn, args = elementwise(300)
    assert_same(tg.compile(fn)(*args), fn(*args), rtol=1e-9)
