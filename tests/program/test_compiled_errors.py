"""A compiled function raises the errors and warnings of the recorded one."""

import numpy as np
import pytest
from programs import assert_same

import tapegrad as tg
from tapegrad.ops.rows import pick

X = np.linspace(-1.0, 1.0, 4)


def test_compile_error_in_the_function_leaves_nothing_behind():
    compiled = tg.compile(lambda x, y: x @ y)
    with pytest.raises(ValueError, match="matmul"):
        compiled(X, np.ones(3))
    assert compiled.signatures == ()
    assert compiled(X, X) == pytest.approx(X @ X)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, i: tg.index_select(x, i),
        lambda x, i: x[i],
        lambda x, i: pick(x, i),
        lambda x, i: tg.grad(lambda x: tg.nn.cross_entropy_loss(x, i))(x),
        lambda x, i: tg.grad(lambda x: tg.sum(tg.index_select(x, i) ** 2))(x),
        lambda x, i: tg.grad(lambda x: tg.sum(tg.tanh(tg.tanh(x))[i]))(x),
        lambda x, i: tg.grad(lambda x: tg.sum(tg.index_select(tg.tanh(x), i) @ tg.tanh(x)))(x),
        lambda x, i: tg.at(x)[i].set(1.0),
    ],
)
@pytest.mark.parametrize("bad", [[0, 9, 1], [0, -9, 1]])
def test_compiled_bad_index_is_an_error(fn, bad):
    x = np.arange(9.0).reshape(3, 3) / 8
    good, bad = np.array([0, 2, 1]), np.array(bad)
    compiled = tg.compile(fn)
    wanted = tg.tree.map(np.asarray, fn(x, good))
    with pytest.raises(IndexError):
        fn(x, bad)
    for _ in range(2):
        assert_same(compiled(x, good), wanted)
        with pytest.raises(IndexError):
            compiled(x, bad)
    assert_same(compiled(x, good), wanted)
