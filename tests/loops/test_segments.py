"""Loops in segments have the plain loop's values and derivatives, in less memory."""

from functools import partial

import numpy as np
import pytest
from alike import same_bits
from counting import peak_of

import tapegrad as tg
from tapegrad.loops import segments

SCHEDULES = (1, 2, 3, 5, "binomial")


@pytest.fixture
def short_levels(monkeypatch):
    """Limit levels to three steps, so that short loops have several levels."""
    monkeypatch.setattr(segments, "_MAX_STEPS", 3)


# --- values and derivatives -----------------------------------------------------------------


def make_scan(checkpoint, reverse=False):
    def fn(start, xs):
        def step(c, x):
            c = np.sin(c * x) + 0.1 * np.cos(c)
            return c, c * x

        return tg.scan(step, start, xs, reverse=reverse, checkpoint=checkpoint)

    return fn


def make_fori_loop(checkpoint):
    return lambda x, n: tg.fori_loop(1, n, lambda i, c: np.sin(c * i + x[0]), x, checkpoint)


def make_while_loop(checkpoint):
    def fn(x, most):
        def step(s):
            return {"n": s["n"] + 1, "x": s["x"] + np.sin(s["x"]) ** 2 + 0.1}

        start = {"n": 0, "x": x}
        return tg.while_loop(lambda s: np.sum(s["x"]) < most, step, start, checkpoint)

    return fn


def with_cotangents(fn, argnums):
    """Return a function of a function's values and its arguments' cotangents, for seeds of 1."""

    def value_and_cotangents(*args):
        def call_with(*moving):
            arguments = list(args)
            for i, x in zip(argnums, moving, strict=True):
                arguments[i] = x
            return fn(*arguments)

        out, pullback = tg.vjp(call_with, *[args[i] for i in argnums])
        return out, pullback(tg.tree.map(np.ones_like, out))

    return value_and_cotangents


START = np.array([0.3, 0.7])
ROWS = [np.linspace(0.5, 2.0, 2 * n).reshape(n, 2) for n in (0, 1, 4, 7, 12)]
LOOPS = {
    "scan": (make_scan, (0, 1), ROWS),
    "scan, reversed": (partial(make_scan, reverse=True), (0, 1), ROWS),
    "fori_loop": (make_fori_loop, (0,), [0, 1, 2, 7]),
    "while_loop": (make_while_loop, (0,), [0.0, 1.5, 9.0]),
}


@pytest.mark.parametrize("name", LOOPS)
def test_loop_in_segments_equals_the_loop_bit_for_bit(name, short_levels):
    make, argnums, lengths = LOOPS[name]
    for checkpoint in SCHEDULES:
        fn = with_cotangents(make(checkpoint), argnums)
        compiled = tg.compile(fn)
        for length in lengths:
            expected = with_cotangents(make(None), argnums)(START, length)
            assert same_bits(fn(START, length), expected)
            assert same_bits(compiled(START, length), expected)
            assert same_bits(make(checkpoint)(START, length), make(None)(START, length))
        # only fori_loop and while_loop compile once for any number of steps
        assert len(compiled.signatures) == (1 if argnums == (0,) else len(ROWS))


def test_program_with_segments_is_saved_and_loaded(tmp_path):
    args = np.array([0.3, 0.7]), np.ones((7, 2))
    program = tg.compile(with_cotangents(make_scan(2), (0, 1))).program(*args)
    program.save(tmp_path / "loop.npz")
    assert same_bits(tg.load_program(tmp_path / "loop.npz")(*args), program(*args))


# --- memory and repeated steps --------------------------------------------------------------


def simulation_loss(checkpoint, n):
    def loss(w, c):
        def step(c, _):
            c = c + 0.1 * w * (np.roll(c, 1) - 2 * c + np.roll(c, -1)) + 0.01 * np.sin(c)
            return c, None

        return tg.sum(tg.scan(step, c, length=n, checkpoint=checkpoint)[0] ** 2)

    return loss


@pytest.mark.thorough
def test_memory_of_binomial_schedule_grows_logarithmically(monkeypatch):
    monkeypatch.setattr(segments, "_MAX_STEPS", 8)
    args = np.full(1_000, 0.9), np.linspace(0.1, 0.9, 1_000)
    few, many, whole = (
        peak_of(partial(tg.grad(simulation_loss(checkpoint, n)), *args))
        for checkpoint, n in (("binomial", 8**2), ("binomial", 8**3), (None, 8**3))
    )
    # eight times as many steps need three levels instead of two
    assert many < 2 * few
    assert many * 8 < whole


def test_step_is_repeated_once_for_each_level(short_levels):
    calls = []

    @tg.custom_op(vjps=(lambda g, y, x: g * np.cos(x),))
    def step(x):
        calls.append(1)
        return np.sin(x)

    def evaluations(checkpoint, n):
        loss = lambda x: tg.fori_loop(0, n, lambda i, c: step(c), x, checkpoint)  # noqa: E731
        compiled = tg.compile(tg.grad(loss))
        compiled(0.5)
        calls.clear()
        compiled(0.5)
        return len(calls)

    assert evaluations(None, 12) == 12
    for checkpoint in (2, 3, 5):
        assert evaluations(checkpoint, 12) == 2 * 12
    assert evaluations("binomial", 9) == 2 * 9
    assert evaluations("binomial", 12) == 3 * 12


def test_segments_of_a_while_loop_grow_by_one_step():
    output, tape = tg.record(make_while_loop("binomial"))(np.array([0.3, 0.7]), 30.0)
    (record,) = [x for x in tape if "loop" in x.options]
    n, segments = int(output["n"]), int(record._primal.values[0]) - 1
    assert segments * (segments - 1) / 2 < n <= segments * (segments + 1) / 2
