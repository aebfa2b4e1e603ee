"""cond has the value and the derivatives of the side taken, and computes no other."""

import numpy as np
from loops import same

import tapegrad as tg


def test_cond_computes_one_side():
    root = tg.compile(lambda x: tg.cond(x > 0, np.sqrt, np.zeros_like, x))
    with np.errstate(all="raise"):
        same(root(-4.0), 0.0)
        same(tg.grad(lambda x: tg.cond(x > 0, np.sqrt, lambda x: -x, x))(-1.0), -1.0)


def test_cond_takes_arrays_and_numbers_beside_tensors():
    def choose(x):
        return tg.cond(x[0] > 0, lambda *a: a[0] * a[1] * a[2], lambda *a: a[0] - a[1], x, w, 3.0)

    w = np.array([2.0, 5.0])
    for x in (np.array([1.0, 2.0]), np.array([-1.0, 2.0])):
        same(tg.compile(choose)(x), x * w * 3.0 if x[0] > 0 else x - w)


def test_cond_on_a_plain_value_is_a_plain_branch():
    assert tg.cond(True, lambda x: x, lambda x: x[:1], "ab") == "ab"
    assert tg.cond(np.array(0.0), lambda x: x, lambda x: x[:1], "ab") == "a"
