"""cond and switch have value and derivatives of the side taken, and compute no other side."""

import functools

import numpy as np
import pytest
from loops import same

import tapegrad as tg


def test_cond_computes_only_the_side_taken():
    root = tg.compile(lambda x: tg.cond(x > 0, np.sqrt, np.zeros_like, x))
    with np.errstate(all="raise"):
        same(root(-4.0), 0.0)
        same(tg.grad(lambda x: tg.cond(x > 0, np.sqrt, lambda x: -x, x))(-1.0), -1.0)


def test_cond_on_a_plain_value_is_a_plain_branch():
    assert tg.cond(True, lambda x: x, lambda x: x[:1], "ab") == "ab"
    assert tg.cond(np.array(0.0), lambda x: x, lambda x: x[:1], "ab") == "a"


SIDES = [lambda x: x**3, np.sin, np.exp, lambda x: x * 2.0, np.sqrt]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_switch_takes_the_branch_of_the_clamped_index(n):
    """Check values and two derivatives, also compiled, batched and in a loop."""

    def switch_sides(i, x):
        return tg.switch(i, SIDES[:n], x)

    def with_derivatives(f, x):
        return f(x), tg.grad(f)(x), tg.grad(tg.grad(f))(x)

    def apply_sides(x):
        return functools.reduce(lambda x, side: side(x), sides, x)

    def scan_switch(x):
        return tg.scan(lambda x, i: (switch_sides(i, x), x), x, index)[0]

    index, compiled = np.array([-7, 0, 1, 2, 3, 4, 9]), tg.compile(switch_sides)
    compiled_batch = tg.compile(
        tg.vmap(lambda i, x: with_derivatives(lambda x: switch_sides(i, x), x), in_axes=(0, None))
    )
    sides = [SIDES[min(max(i, 0), n - 1)] for i in index]
    with np.errstate(all="raise"):
        rows = [with_derivatives(side, 0.3) for side in sides]
        same(compiled_batch(index, 0.3), tuple(map(np.array, zip(*rows, strict=True))))
        for i, row in zip(index.tolist(), rows, strict=True):
            same((switch_sides(i, 0.3), compiled(np.int8(i), 0.3)), (row[0], row[0]))
    same(with_derivatives(tg.compile(scan_switch), 0.3), with_derivatives(apply_sides, 0.3))
