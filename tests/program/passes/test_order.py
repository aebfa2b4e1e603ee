"""use_up: the order of instructions that takes less memory."""

import re

import numpy as np

import tapegrad as tg
from tapegrad.program import PASSES, cost
from tapegrad.program.passes.order import use_up

RNG = np.random.default_rng(0)
OTHERS = tuple(x for x in PASSES if x is not use_up)


def size(program):
    """The bytes of all buffers of a program."""
    found = re.search(r"of ([\d,]+) bytes in all", str(program))
    return int(found[1].replace(",", "")) if found else 0


def test_a_value_is_used_up_before_the_next_is_made():
    def loss(w, x):
        for weight in w[:-1]:
            x = tg.relu(x @ weight)
        return np.sum((x @ w[-1]) ** 2)

    def step(w, x):
        return [a - 0.1 * g for a, g in zip(w, tg.grad(loss)(w, x), strict=True)]

    w = [RNG.normal(size=(20, 300)), RNG.normal(size=(300, 20))]
    x = RNG.normal(size=(200, 20))
    first, then = (tg.compile(step, passes=passes) for passes in (OTHERS, PASSES))
    # the cotangent of the hidden layer lies where the layer did
    assert size(then.program(w, x)) < size(first.program(w, x)) - 0.8 * 8 * 200 * 300
    for got, wanted in zip(then(w, x), step(w, x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


def test_runs_of_blocks_stay_together():
    turned = RNG.normal(size=(512, 512))

    def fn(x):
        y = x @ turned
        z = np.tanh(x) @ turned
        return np.sum((y > 0.0) * z)

    x = RNG.normal(size=(cost.BLOCKED_ELEMENTS // 512, 512))
    program = tg.compile(fn).program(x)
    # a mask made before z would take less than y, but a block of it takes next to nothing
    assert "# 3 instructions, block by block" in str(program)
    np.testing.assert_allclose(program(x), fn(x), rtol=1e-9)
