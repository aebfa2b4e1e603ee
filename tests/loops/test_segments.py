"""Loops in segments: the values and derivatives of the plain loop, in little memory."""

from functools import partial

import numpy as np
import pytest
from alike import same_bits
from counting import peak_of

import tapegrad as tg
from tapegrad.loops import segments

SCHEDULES = (1, 2, 3, 5, "binomial")


@pytest.fixture
def short(monkeypatch):
    """Levels of few steps, so that short loops have several."""
    monkeypatch.setattr(segments, "_MAX_STEPS", 3)


# --- values and derivatives -----------------------------------------------------------------


def scanned(checkpoint, reverse=False):
    def fn(start, xs):
        def step(c, x):
            c = np.sin(c * x) + 0.1 * np.cos(c)
            return c, c * x

        return tg.scan(step, start, xs, reverse=reverse, checkpoint=checkpoint)

    return fn


def counted(checkpoint):
    return lambda x, n: tg.fori_loop(1, n, lambda i, c: np.sin(c * i + x[0]), x, checkpoint)


def ended(checkpoint):
    def fn(x, most):
        def step(s):
            return {"n": s["n"] + 1, "x": s["x"] + np.sin(s["x"]) ** 2 + 0.1}

        start = {"n": 0, "x": x}
        return tg.while_loop(lambda s: np.sum(s["x"]) < most, step, start, checkpoint)

    return fn


def pulled(fn, argnums):
    """The values of a function, and the cotangents of arguments for cotangents of 1."""

    def both(*args):
        def of(*moving):
            given = list(args)
            for i, x in zip(argnums, moving, strict=True):
                given[i] = x
            return fn(*given)

        out, pullback = tg.vjp(of, *[args[i] for i in argnums])
        return out, pullback(tg.tree.map(np.ones_like, out))

    return both


START = np.array([0.3, 0.7])
ROWS = [np.linspace(0.5, 2.0, 2 * n).reshape(n, 2) for n in (0, 1, 4, 7, 12)]
EXACT = {
    "scan": (scanned, (0, 1), ROWS),
    "scan, reversed": (partial(scanned, reverse=True), (0, 1), ROWS),
    "fori_loop": (counted, (0,), [0, 1, 2, 7]),
    "while_loop": (ended, (0,), [0.0, 1.5, 9.0]),
}


@pytest.mark.parametrize("name", EXACT)
def test_loops_in_segments_agree_with_the_loop_to_the_last_bit(name, short):
    of, argnums, lengths = EXACT[name]
    for checkpoint in SCHEDULES:
        fn = pulled(of(checkpoint), argnums)
        compiled = tg.compile(fn)
        for length in lengths:
            expected = pulled(of(None), argnums)(START, length)
            assert same_bits(fn(START, length), expected)
            assert same_bits(compiled(START, length), expected)
            assert same_bits(of(checkpoint)(START, length), of(None)(START, length))
        # how many steps there are is known, and is not
        assert len(compiled.signatures) == (1 if argnums == (0,) else len(ROWS))


def test_a_program_with_segments_is_saved_and_loaded(tmp_path):
    args = np.array([0.3, 0.7]), np.ones((7, 2))
    program = tg.compile(pulled(scanned(2), (0, 1))).program(*args)
    program.save(tmp_path / "loop.npz")
    assert same_bits(tg.load_program(tmp_path / "loop.npz")(*args), program(*args))


# --- memory, and what it costs --------------------------------------------------------------


def simulated(checkpoint, n):
    def loss(w, c):
        def step(c, _):
            c = c + 0.1 * w * (np.roll(c, 1) - 2 * c + np.roll(c, -1)) + 0.01 * np.sin(c)
            return c, None

        return tg.sum(tg.scan(step, c, length=n, checkpoint=checkpoint)[0] ** 2)

    return loss


@pytest.mark.thorough
def test_memory_of_the_binomial_schedule_grows_with_the_logarithm(monkeypatch):
    monkeypatch.setattr(segments, "_MAX_STEPS", 8)
    args = np.full(1_000, 0.9), np.linspace(0.1, 0.9, 1_000)
    few, many, whole = (
        peak_of(partial(tg.grad(simulated(checkpoint, n)), *args))
        for checkpoint, n in (("binomial", 8**2), ("binomial", 8**3), (None, 8**3))
    )
    # of three levels in place of two, for eight times as many steps
    assert many < 2 * few
    assert many * 8 < whole


def test_a_step_is_repeated_once_for_each_level(short):
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


def test_a_segment_of_a_loop_that_a_value_ends_is_a_step_longer_than_the_one_before():
    output, tape = tg.record(ended("binomial"))(np.array([0.3, 0.7]), 30.0)
    (record,) = [x for x in tape if "loop" in x.options]
    n, segments = int(output["n"]), int(record._primal.values[0]) - 1
    assert segments * (segments - 1) / 2 < n <= segments * (segments + 1) / 2
