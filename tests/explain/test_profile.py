"""A profile's times and bytes match tracemalloc and a manual clock."""

import itertools
import pickle
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from counting import peak_of
from hypothesis import given
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.core.primitive import Parts
from tapegrad.core.sweep import sweep
from tapegrad.explain import profile as measure
from tapegrad.explain.text import MAX_ROWS
from tapegrad.program.ir import Ref
from tapegrad.transforms.reverse import initial_cotangents
from tapegrad.types import Array

N = 4000  # elements: enough for Python's own objects to be small beside an array
X = np.linspace(-1.0, 1.0, N)
CAPTURED = np.linspace(1.0, 2.0, N)


def block(h: Array) -> Array:
    a = np.sin(h)
    b = np.exp(a * h)
    return np.tanh(b - a)


def chain(x: Array) -> Array:
    for _ in range(4):
        x = block(x)
    return np.sum(x * x)


# functions from an array of N elements to another, with views, copies, sums and constants
STEPS = {
    "sin": np.sin,
    "twice": lambda h: h * h + h,
    "captured": lambda h: h * CAPTURED,
    "halves": lambda h: np.concatenate([h[: N // 2] * 2.0, h[N // 2 :]]),
    "broadcast": lambda h: h - np.mean(h),
    "block": block,
    "checkpoint": tg.checkpoint(block),
    "rows": lambda h: tg.scan(lambda c, row: (c + np.sum(row), np.tanh(row) * c), 0.0, h[None])[1][
        0
    ],
    "dead": lambda h: (np.cos(h), h)[1],
    "slope": tg.grad(lambda h: np.sum(np.sin(h) * np.cos(h))),
}
programs = st.lists(st.sampled_from(sorted(STEPS)), max_size=6)


def make_program(names: list[str]) -> Callable[..., Any]:
    def fn(x: Array) -> Array:
        for name in names:
            x = STEPS[name](x)
        return np.sum(np.abs(x))

    return fn


@pytest.mark.thorough
@given(programs)
def test_bytes_and_peak_match_tracemalloc(names):
    fn = make_program(names)
    profile = tg.profile(fn, rounds=1)(X)
    tg.record(fn)(X)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _ = tg.record(fn)(X)
        traced = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    constants = X.nbytes * names.count("captured")
    tolerance = 3000 * len(profile.rows)
    if "slope" not in names:  # its cotangents are constants too
        assert abs(sum(row.bytes for row in profile.rows) + constants - traced) < tolerance
    tg.value_and_grad(fn)(X)
    peak = peak_of(lambda: tg.value_and_grad(fn)(X))
    assert abs(profile.peak_bytes - peak) < tolerance + 0.02 * peak


@given(programs)
def test_sweep_frees_a_value_at_the_stated_line(names):
    fn = make_program(names)
    rows = tg.profile(fn, rounds=1)(X).rows
    output, tape = tg.record(fn)(X)
    owners = {}
    for record, row in zip(tape, rows, strict=True):
        if row.bytes > 8 and not isinstance(record._primal, Parts):
            owners[row.line] = weakref.ref(measure.memory_owner(record._primal))
    seen = 0

    def check(record, g, cotangents):
        nonlocal seen
        for line, owner in owners.items():
            freed_at = rows[line].freed_at
            assert (owner() is None) == (freed_at is not None and freed_at > record.index)
            seen += 1

    seeds, tapes = initial_cotangents(tape, output, None), [tape]
    del output, tape, record
    sweep(tapes, seeds, check)
    assert seen


class ManualClock:
    """A clock that only two ops move: by 2 seconds forward and 3 backward."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(measure, "perf_counter", lambda: self.now)

        @tg.custom_op(vjps=(None,))
        def back(g):
            self.now += 3.0
            return g * 2.0

        @tg.custom_op(vjps=(lambda g, y, x: back(g),))
        def slow(x):
            self.now += 2.0
            return x * 2.0

        self.slow = slow


def test_each_line_has_its_own_time(monkeypatch):
    slow = ManualClock(monkeypatch).slow

    def fn(x):
        y = np.sin(slow(x))
        return np.sum(slow(slow(y)))

    profile = tg.profile(fn)(X)
    times = {row.line: (row.forward_s, row.backward_s) for row in profile.rows if row.forward_s}
    assert times == {1: (2.0, 3.0), 3: (2.0, 3.0), 4: (2.0, 3.0)}
    assert (profile.forward_s, profile.backward_s) == (6.0, 9.0)
    assert (profile.noise, profile.tick_s, profile.recording_s) == (0.0, 0.0, 0.0)
    (first, most), (second, less), *rest = profile.by_place().items()
    assert first.text == "return np.sum(slow(slow(y)))"
    assert (most.n, most.forward_s, most.backward_s) == (3, 4.0, 6.0)
    assert second.text == "y = np.sin(slow(x))"
    assert (less.n, less.forward_s, less.backward_s) == (2, 2.0, 3.0)
    assert sum(total.forward_s for _, total in rest) == 0
    lines = str(profile).splitlines()
    assert lines[0].startswith("fn: forward 6 s, backward 9 s, peak ")
    assert lines[3].split()[:4] == ["2", "s", "3", "s"]
    assert str(profile.rows[1]).startswith("2 s  3 s  32 kB  1  1  slow  test_profile.py:")


@pytest.mark.parametrize("steps", [1, 3, 16, 17, 50])
def test_times_of_loop_steps_are_summed(monkeypatch, steps):
    slow = ManualClock(monkeypatch).slow

    def fn(x):
        def body(carry, row):
            inner = slow(carry * row)
            return slow(inner) / 4.0, np.sum(inner)

        last, sums = tg.scan(body, x, np.linspace(0.5, 1.5, steps))
        return np.sum(last) + np.sum(sums)

    profile = tg.profile(fn, rounds=1)(X[:5])
    (scan,) = [row for row in profile.rows if row.inside]
    names = {row.name: row for row in scan.inside}
    assert [row.name for row in scan.inside].count("slow") == 2
    assert {row.steps for row in scan.inside} == {steps}
    assert sum(row.forward_s for row in scan.inside) == 4.0 * steps
    assert sum(row.backward_s for row in scan.inside) == 6.0 * steps
    assert names["multiply"].place.text == "inner = slow(carry * row)"
    assert names["multiply"].forward_s == 0
    assert (scan.forward_s, scan.place.text[:10]) == (4.0 * steps, "last, sums")
    # the loop takes no time besides its body
    by_text = {place.text: total for place, total in profile.by_place().items()}
    assert by_text["inner = slow(carry * row)"].forward_s == 2.0 * steps
    assert by_text["return slow(inner) / 4.0, np.sum(inner)"].backward_s == 3.0 * steps
    assert by_text[scan.place.text].forward_s == 0
    assert f"slow x {steps}" in str(profile) or steps == 1


def test_instruction_of_higher_derivative_has_place_of_its_primal():
    def slope(x):
        return np.sum(tg.grad(chain)(x) ** 2)

    program = tg.compile(tg.grad(slope)).program(X)
    assert {x.place.text for x in program.instructions if x.op in (tg.sin, tg.cos)} == {
        "a = np.sin(h)"
    }


def test_time_of_the_clock_is_subtracted(monkeypatch):
    reads = itertools.count()
    monkeypatch.setattr(measure, "perf_counter", lambda: float(next(reads)))
    # a call between two reads takes 1 second, and so do 100 calls that do nothing
    for fn in (chain, tg.compile(tg.grad(chain))):
        profile = tg.profile(fn, rounds=1)(X)
        assert profile.tick_s == 0.01
        times = {x for row in profile.rows for x in (row.forward_s, row.backward_s)}
        assert times == {0.0, 0.99}


def test_branches_checkpoints_and_nested_loops_have_inner_rows(monkeypatch):
    slow = ManualClock(monkeypatch).slow

    def fn(x):
        def twice(c):
            return tg.fori_loop(0, 2, lambda i, c: slow(c) / 2.0, c)

        x = tg.cond(np.sum(x) > 0, slow, np.sin, x)
        x = tg.checkpoint(lambda x: np.sum(slow(x)))(x)
        return tg.while_loop(lambda c: c < 1e3, lambda c: twice(c) + 400.0, x)

    profile = tg.profile(fn, rounds=1)(np.ones(3))
    cond, call, loop = [row for row in profile.rows if row.inside]
    (only,) = cond.inside
    assert (only.name, only.forward_s, only.backward_s) == ("slow", 2.0, 3.0)
    assert [row.name for row in call.inside] == ["slow", "sum"]
    # the call is repeated before its sweep
    assert (call.forward_s, call.backward_s) == (2.0, 5.0)
    (inner,) = [row for row in loop.inside if row.inside]
    assert loop.inside[0].steps == 3
    assert [row.steps for row in inner.inside if row.name == "slow"] == [6]
    # the inner loop is differentiated once for all steps
    assert (inner.forward_s, inner.backward_s) == (12.0, 0.0)
    assert sum(row.forward_s for row in inner.inside) == 12.0
    assert sum(row.backward_s for row in inner.inside) == 18.0


def test_profile_prints_text_and_html():
    def loss(p, x):
        y = x * p["<w>"]
        for _ in range(40):
            y = np.sin(y)
        return np.sum(y), "aux"

    profile = tg.profile(loss, rounds=1)({"<w>": 2.0}, x=X)
    assert repr(profile).startswith("<Profile of loss: forward ")
    text, html = str(profile), profile._repr_html_()
    assert "&lt;w&gt;" in html
    assert "<w>" not in html
    # a head, the rows, and the number of further rows; source lines have another table
    assert len(text.split("\n\n")[1].splitlines()) == MAX_ROWS + 2
    assert html.count("<tr>") == MAX_ROWS + 2 + len(profile.by_place())
    more = f"... and {len(profile.rows) - MAX_ROWS} more"
    assert text.count(more) == html.count(more) == 1
    page = tg.show.html(profile)
    assert page.count('<a href="#line-') >= len(profile.rows)
    assert 'id="costs"' in page
    assert "Each line ran alone" in page
    assert 'id="costs"' not in tg.show.html(profile.tape, profile.output)
    assert str(pickle.loads(pickle.dumps(profile))) == text


def test_wrong_arguments_raise():
    with pytest.raises(TypeError, match=r"no result of .* returned None \(is a return missing\?\)"):
        tg.profile(lambda x: None)(1.0)
    with pytest.raises(TypeError, match="rounds must be a positive integer, not 0"):
        tg.profile(np.sin, rounds=0)


def test_compiled_function_is_measured_by_instruction(monkeypatch):
    slow = ManualClock(monkeypatch).slow

    def loss(x):
        y = slow(x)

        def body(c, r):
            c = slow(c * r)
            return np.sin(c), None

        last, _ = tg.scan(body, y, np.linspace(0.5, 1.0, 5))
        return np.sum(np.exp(-last))

    profile = tg.profile(tg.compile(tg.value_and_grad(loss)), rounds=2)(X)
    times = {p.text: (x.forward_s, x.backward_s) for p, x in profile.by_place().items()}
    assert times["y = slow(x)"] == (2.0, 3.0)
    assert times["c = slow(c * r)"] == (10.0, 15.0)
    assert (profile.forward_s, profile.backward_s, profile.recording_s) == (12.0, 18.0, 0.0)
    loops = [row for row in profile.rows if row.inside]
    assert {row.steps for loop in loops for row in loop.inside} == {5}
    assert all(row.place.text for row in profile.rows)
    said = str(profile)
    assert said.startswith("loss, compiled: forward 12 s, backward 18 s, peak ")
    assert "Each line ran alone" in said
    assert profile.peak_bytes > 3 * X.nbytes
    # the peak counts arrays, without the code of the program
    assert tg.profile(tg.compile(lambda x: np.exp(x) * x), rounds=1)(1.0).peak_bytes < 4000
    exp_rows = [row for row in profile.rows if row.name == "exp"]
    assert all(row.freed_at is None or row.freed_at > row.line for row in exp_rows)


def scan_rows(slow, x, w):
    return tg.scan(lambda c, r: (slow(c * w + r), np.sum(c)), x[0], x)[0]


def scan_rows_in_fori_loop(slow, x, w):
    return tg.fori_loop(0, 4, lambda i, c: slow(scan_rows(slow, x, w)) * c, x[0])


def while_small(slow, x, w):
    return tg.while_loop(lambda c: np.sum(c) < 1e3, lambda c: slow(c * 0.6) + w, np.abs(x[0]))


def scan_rows_in_cond(slow, x, w):
    return tg.cond(np.sum(w) > 0, lambda: scan_rows(slow, x, w), lambda: x[0] * w)


@pytest.mark.parametrize("wrt", [None, 0, (0, 1)])
@pytest.mark.parametrize("fn", [scan_rows, scan_rows_in_fori_loop, while_small, scan_rows_in_cond])
def test_compiled_loop_has_its_time(monkeypatch, fn, wrt):
    clock = ManualClock(monkeypatch)

    def total(x, w):
        return np.sum(fn(clock.slow, x, w))

    def count_call(frame, event, argument):
        clock.now += event in ("call", "c_call")

    def count_calls(call):
        sys.setprofile(count_call)
        try:
            return call()
        finally:
            sys.setprofile(None)

    args = np.linspace(-1.0, 1.0, 60).reshape(20, 3), np.ones(3)
    step = tg.compile(total if wrt is None else tg.grad(total, wrt))
    step(*args)
    step(*args)  # the first call of a program includes its preparation
    start = clock.now
    count_calls(lambda: step(*args))
    elapsed = clock.now - start
    profile = count_calls(lambda: tg.profile(step, rounds=1)(*args))
    assert profile.forward_s + profile.backward_s == pytest.approx(elapsed, rel=0.15)
    # an inner loop has the time of its lines too
    rows = list(profile.rows)
    assert any(row.inside for row in rows)
    for row in rows:
        rows += row.inside
        whole = row.forward_s + row.backward_s
        lines = [x.forward_s + x.backward_s for x in row.inside]
        assert whole == pytest.approx(sum(lines) if any(lines) else whole)


@given(programs)
def test_profile_of_compiled_function_has_a_row_for_each_instruction(names):
    step = tg.compile(tg.value_and_grad(make_program(names)))
    rows, program = tg.profile(step, rounds=1)(X).rows, step.program(X)
    assert len(rows) == len(program.instructions)
    for i, (row, instruction) in enumerate(zip(rows, program.instructions, strict=True)):
        assert row.record is instruction
        assert row.line == i
        ref = Ref("instruction", i)
        users = [k for k, x in enumerate(program.instructions) if ref in x.operands]
        assert row.freed_at == (None if ref in program.outputs else max(users, default=i))
        assert (row.forward_s if instruction.stage == "backward" else row.backward_s) == 0


@pytest.mark.parametrize("inner", [chain, tg.compile(chain)])
def test_profile_raises_for_a_tensor_and_writes_no_record(inner):
    def outer(x):
        assert tg.profile(inner, rounds=1)(X).rows[0].line == 0
        return tg.profile(inner)(x).peak_bytes

    for transform in (tg.grad, tg.compile, tg.vmap):
        with pytest.raises(TypeError, match=r"a Tensor of outer, which .*; profile chain outside"):
            transform(outer)(X)
    _, tape = tg.record(lambda x: (tg.profile(inner, rounds=1)(X), x * 2.0)[1])(3.0)
    assert [record.op.name for record in tape] == ["parameter", "multiply"]
