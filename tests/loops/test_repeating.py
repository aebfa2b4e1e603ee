"""while_loop and fori_loop have the values and derivatives of the loop in plain Python."""

import pickle

import numpy as np
import pytest
from loops import same

import tapegrad as tg


def test_fori_loop_takes_a_varying_number_of_steps():
    power = tg.compile(tg.value_and_grad(lambda x, n: tg.fori_loop(0, n, lambda i, y: y * x, 1.0)))
    for n in (0, 1, 5):
        same(power(2.0, n), (2.0**n, n * 2.0 ** (n - 1)))
    assert len(power.signatures) == 1


@pytest.mark.parametrize("wrap", [lambda body: body, tg.checkpoint])
def test_fori_loop_names_inputs_by_parameters_of_its_body(wrap):
    def body(i, state):
        return {"w": state["w"] * i}

    _, tape = tg.record(lambda w: tg.fori_loop(0, 3, wrap(body), {"w": w})["w"])(1.0)
    (loop,) = [record.options["loop"] for record in tape if "loop" in record.options]
    assert [x.path for x in loop.body.inputs] == ["state.w", "i"]


def fori_loop_with_count(body, init, n=3):
    return tg.fori_loop(0, n, body, init)


LOOPS = {
    "scan": lambda body, init, _: tg.scan(lambda c, i: (body(i, c), None), init, np.arange(3))[0],
    "fori_loop": lambda body, init, _: fori_loop_with_count(body, init),
    "fori_loop, by a value": fori_loop_with_count,
    "while_loop": lambda body, init, n: tg.while_loop(
        lambda c: c[0] < n, lambda c: (c[0] + 1, body(*c)), (0, init)
    )[1],
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_recorded_by_the_name_of_their_function(name):
    op_name = name.partition(",")[0]

    def fn(x, n):
        return LOOPS[name](lambda i, carry: carry * x["w"], x["c"], n)

    x = {"w": 2.0, "c": 0.5}
    slopes = tg.value_and_grad(lambda x, n: fn(x, n) ** 2)
    same(slopes(x, 3), (16.0, {"w": 48.0, "c": 64.0}))
    _, tape = tg.record(slopes)(x, np.array(3))
    ops = [record.op.name for record in tape]
    assert ops.count(op_name) == 2  # the loop and its reverse
    assert "loop" not in ops
    assert f" {op_name} " in str(tape)
    for record in tape:
        if record.op.name == op_name:
            assert pickle.loads(pickle.dumps(record.op)) is record.op
    # the batched and compiled gradient has the name too
    program = tg.compile(tg.vmap(slopes, in_axes=(0, None))).program(
        tg.tree.map(lambda v: np.full(2, v), x), 3
    )
    assert {instruction.op.name for instruction in program.instructions} >= {op_name}


BOUNDS = [np.int8(-3), np.uint8(250), np.array(300, np.int16), -2, 130]


@pytest.mark.parametrize("start", BOUNDS)
def test_fori_loop_counts_in_wide_integers(start):
    def fn(start, stop):
        return tg.fori_loop(start, stop, lambda i, c: (c[0] + 1, c[1] + i), (0, 0))

    def second_of_batch(start, stop):
        return tg.tree.map(lambda x: x[1], tg.vmap(fn)(np.stack([start] * 2), np.stack([stop] * 2)))

    for stop in (*BOUNDS, np.uint8(255)):
        numbers = range(int(start), int(stop))
        for f in (fn, tg.compile(fn), second_of_batch):
            for x, wanted in zip(f(start, stop), (len(numbers), sum(numbers)), strict=True):
                assert np.asarray(x).dtype == np.int64
                assert x == wanted
