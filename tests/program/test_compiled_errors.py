"""compile: errors and warnings of a compiled function are those of the recorded one."""

import gc
import inspect
import weakref
from pathlib import Path

import numpy as np
import pytest
from programs import leaves_equal

import tapegrad as tg
from tapegrad.errors import TraceError
from tapegrad.ops.rows import pick

X = np.linspace(-1.0, 1.0, 4)


def branch(x):
    y = tg.sum(x)
    if y > 0:  # the line
        return y
    return -y


def loop(x):
    y = tg.sum(x)
    while y > 0:  # the line
        y = y - 1.0
    return y


def as_int(x):
    return x * int(tg.argmax(x))  # the line


def value(x):
    return tg.sum(x).value * x  # the line


def mask(x):
    return x[x > 0]  # the line


def shape_from_value(x):
    return np.zeros(tg.argmax(x)) + x  # the line


def as_index(x):
    return [1.0, 2.0, 3.0, 4.0][tg.argmax(x)] * x  # the line


def sized(x):
    return tg.reshape(x, (tg.argmax(x), -1))  # the line


def conjunction(x):
    return tg.where((x[0] > 0) and (x[1] > 0), x, 0.0)  # the line


def contained(x):
    return x if 1.0 in x else -x  # the line


def ranged(x):
    return sum(x for _ in range(tg.argmax(x)))  # the line


def item(x):
    return x * tg.argmax(x).item()  # the line


def option(x):
    return tg.sum(np.eye(3) * x[0], axis=tg.argmax(x) * 0)  # the line


UNREADABLE = [
    branch, loop, as_int, value, mask, shape_from_value, as_index, sized, conjunction, contained,
    ranged, item, option,
]  # fmt: skip


@pytest.mark.parametrize("fn", UNREADABLE, ids=lambda fn: fn.__name__)
def test_trace_error_names_the_line_and_the_op_and_says_what_to_do(fn):
    compiled = tg.compile(fn)
    with pytest.raises(TraceError, match=r"greater|argmax|sum|equal") as caught:
        compiled(X + 3.0)
    message = str(caught.value)
    assert fn.__name__ in message
    remedies = ("static_argnums", "where", "tg.while_loop", "compile the")
    assert any(word in message.partition("the line; ")[2] for word in remedies)
    lines, first = inspect.getsourcelines(fn)
    (number,) = [n for n, line in enumerate(lines, first) if "# the line" in line]
    assert f"{Path(__file__).name}:{number}" in message
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


def test_compile_error_keeps_nothing_of_the_call():
    compiled = tg.compile(lambda x, setting: x + np.zeros(7))
    setting = lambda: None  # noqa: E731
    gone = weakref.ref(setting)
    with pytest.raises(ValueError, match="add"):
        compiled(X, setting)
    del setting
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, i: tg.index_select(x, i),
        lambda x, i: x[i],
        lambda x, i: x[:, i],
        lambda x, i: pick(x, i),
        lambda x, i: tg.nn.cross_entropy_loss(x, i),
        lambda x, i: tg.grad(lambda x: tg.nn.cross_entropy_loss(x, i))(x),
        lambda x, i: tg.grad(lambda x: tg.sum(tg.index_select(x, i) ** 2))(x),
        lambda x, i: tg.grad(lambda x: tg.sum(tg.tanh(tg.tanh(x))[i]))(x),
        lambda x, i: tg.grad(lambda x: tg.sum(tg.index_select(tg.tanh(x), i) @ tg.tanh(x)))(x),
        lambda x, i: tg.at(x)[i].set(1.0),
        lambda x, i: tg.at(x)[i].add(1.0),
    ],
)
@pytest.mark.parametrize("bad", [[0, 9, 1], [0, -9, 1]])
def test_compiled_bad_index_is_an_error(fn, bad):
    x = np.arange(9.0).reshape(3, 3) / 8
    good, bad = np.array([0, 2, 1]), np.array(bad)
    compiled = tg.compile(fn)
    wanted = fn(x, good)
    with pytest.raises(IndexError):
        fn(x, bad)
    for _ in range(2):
        leaves_equal(compiled(x, good), wanted)
        with pytest.raises(IndexError):
            compiled(x, bad)
    leaves_equal(compiled(x, good), wanted)
