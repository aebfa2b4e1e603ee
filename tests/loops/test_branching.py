"""cond and switch have the value and the derivatives of the side taken, and compute no other."""

import functools

import numpy as np
import pytest
from loops import same

import tapegrad as tg


def test_cond_computes_one_side():
    root = tg.compile(lambda x: tg.cond(x > 0, np.sqrt, np.zeros_like, x))
    with np.errstate(all="raise"):
        same(root(-4.0), 0.0)
        same(tg.grad(lambda x: tg.cond(x > 0, np.sqrt, lambda x: -x, x))(-1.0), -1.0)


def test_cond_on_a_plain_value_is_a_plain_branch():
    assert tg.cond(True, lambda x: x, lambda x: x[:1], "ab") == "ab"
    assert tg.cond(np.array(0.0), lambda x: x, lambda x: x[:1], "ab") == "a"


SIDES = [lambda x: x**3, np.sin, np.exp, lambda x: x * 2.0, np.sqrt]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_switch_is_the_branch_of_the_clamped_index(n):
    """Compiled, batched, in a loop, and differentiated to the second order."""

    def chosen(i, x):
        return tg.switch(i, SIDES[:n], x)

    def derived(f, x):
        return f(x), tg.grad(f)(x), tg.grad(tg.grad(f))(x)

    def composed(x):
        return functools.reduce(lambda x, side: side(x), each, x)

    def repeated(x):
        return tg.scan(lambda x, i: (chosen(i, x), x), x, index)[0]

    index, compiled = np.array([-7, 0, 1, 2, 3, 4, 9]), tg.compile(chosen)
    of_all = tg.compile(tg.vmap(lambda i, x: derived(lambda x: chosen(i, x), x), in_axes=(0, None)))
    each = [SIDES[min(max(i, 0), n - 1)] for i in index]
    with np.errstate(all="raise"):
        rows = [derived(side, 0.3) for side in each]
        same(of_all(index, 0.3), tuple(map(np.array, zip(*rows, strict=True))))
        for i, row in zip(index.tolist(), rows, strict=True):
            same((chosen(i, 0.3), compiled(np.int8(i), 0.3)), (row[0], row[0]))
    same(derived(tg.compile(repeated), 0.3), derived(composed, 0.3))
