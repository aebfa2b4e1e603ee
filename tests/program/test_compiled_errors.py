"""compile: errors and warnings of a compiled function are those of the recorded one."""

from pathlib import Path

import numpy as np
import pytest
from programs import assert_same

import tapegrad as tg
from tapegrad.errors import TraceError
from tapegrad.ops.rows import pick

X = np.linspace(-1.0, 1.0, 4)


def branch(x):
    if tg.sum(x) > 0:
        return x
    return -x


def loop(x):
    while tg.sum(x) > 0:
        x = x - 1.0
    return x


UNREADABLE = {
    "branch": branch,
    "loop": loop,
    "int": lambda x: x * int(tg.argmax(x)),
    "value": lambda x: tg.sum(x).value * x,
    "mask": lambda x: x[x > 0],
    "shape": lambda x: np.zeros(tg.argmax(x)) + x,
    "index": lambda x: [1.0, 2.0, 3.0, 4.0][tg.argmax(x)] * x,
    "sides": lambda x: tg.reshape(x, (tg.argmax(x), -1)),
    "and": lambda x: tg.where((x[0] > 0) and (x[1] > 0), x, 0.0),
    "in": lambda x: x if 1.0 in x else -x,
    "range": lambda x: sum(x for _ in range(tg.argmax(x))),
    "primal": lambda x: x.primal,
    "format": lambda x: f"{np.sum(x):6.2f}",
    "item": lambda x: x * tg.argmax(x).item(),
    "option": lambda x: tg.sum(np.eye(3) * x[0], axis=tg.argmax(x) * 0),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_trace_error_names_the_line_and_the_op_and_says_what_to_do(name):
    fn = UNREADABLE[name]
    compiled = tg.compile(fn)
    with pytest.raises(TraceError, match=r"greater|argmax|sum|equal|primal") as caught:
        compiled(X + 3.0)
    message = str(caught.value)
    assert fn.__name__ in message
    remedies = ("where", "np.logical", "tg.getitem", "tg.while_loop", "compile the")
    assert any(word in message.rpartition("; ")[2] for word in remedies)
    line = fn.__code__.co_firstlineno + (fn in (branch, loop))
    assert f"{Path(__file__).name}:{line}" in message
    assert compiled.signatures == ()


def test_trace_error_of_floating_values():
    for read in (float, np.asarray, lambda x: np.array([x, x]), lambda x: tg.sum(x).item()):
        with pytest.raises((TraceError, TypeError), match=r"sum|static_argnums|stop_gradient"):
            tg.compile(lambda x, read=read: x * read(tg.sum(x)))(X)


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
