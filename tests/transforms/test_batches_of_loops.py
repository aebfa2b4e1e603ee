"""vmap of loops and branches gives what a loop over the examples gives, and its derivatives."""

import functools

import alike
import numpy as np
import pytest

import tapegrad as tg
from tapegrad.testing import check_batched
from tapegrad.types import Array

same = functools.partial(alike.same, rtol=1e-9)

X = np.array([[1.0, -2.0, 0.5], [0.5, 3.0, -1.0], [-1.5, 0.25, 2.0]])
Y = np.array([0.5, -1.0, 2.0])
W = np.array([[0.5, -0.25], [0.75, 1.0]])


def recurrence(x: Array, h: Array) -> tuple[Array, Array, Array]:
    """A scan through the rows of x from h, with weights that it captures."""

    def step(h: Array, row: Array) -> tuple[Array, tuple[Array, float]]:
        h = tg.tanh(W @ h + row)
        return h, (h[0] * row, 1.0)

    (last, (ys, ones)) = tg.scan(step, np.stack([h, h]), x)
    return tg.sum(last), ys, ones


def counted(x: Array, h: Array) -> Array:
    return tg.fori_loop(0, 4, lambda i, c: tg.sin(c) * i + x, x * h)


def same_number(x: Array, h: Array) -> Array:
    """A loop that ends by a value that is the same for all."""
    return tg.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * h + x), (0, x))[1]


def halved(x: Array, h: Array | float) -> Array:
    """As many steps as each example needs."""
    return tg.while_loop(
        lambda c: tg.sum(c * c) > 0.1, lambda c: c / (1.0 + tg.sqrt(tg.sum(c * c))), x * h
    )


def root(x: Array, h: Array) -> Array:
    """A branch where the other one has no value."""
    return tg.cond(h > 0, lambda v: tg.sqrt(v) * x, lambda v: tg.log(-v) + x, h)


def by_both(x: Array, h: Array) -> Array:
    """A branch that depends on both arguments, of one of them."""
    return tg.cond(tg.sum(x) * h > 0, lambda v: v * x, lambda v: v - x, h)


def nested(x: Array, h: Array) -> tuple[Array, Array]:
    def step(c: Array, r: Array) -> tuple[Array, Array]:
        return tg.cond(r > c, lambda: r * c, lambda: c - r), halved(r * x, 2.0)

    return tg.scan(step, h, x)


def slope_within(x: Array, h: Array) -> Array:
    """The slope of a loop whose steps are the same for all, where some examples run it."""

    def shrunk(w: Array) -> Array:
        return tg.while_loop(lambda c: tg.sum(c * c) > 0.1, lambda c: 0.6 * tg.tanh(c), w)

    def loss(w: Array) -> Array:
        return tg.cond(h > 0, lambda: tg.sum(shrunk(w) * x), lambda: tg.sum(w * h))

    return tg.grad(loss)(np.arange(1.0, 1.0 + np.size(x)))


FUNCTIONS = {
    fn.__name__: fn
    for fn in (recurrence, counted, same_number, halved, root, by_both, nested, slope_within)
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)
pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


def rows_of(name: str) -> Array:
    return np.stack([X, X + 1.0], axis=2) if name == "recurrence" else X


@every_function
def test_vmap_of_a_loop_is_a_loop_over_the_examples(name):
    fn, x = FUNCTIONS[name], rows_of(name)
    check_batched(fn, (x[0], 0.75 * np.ones(())))
    twice = tg.vmap(tg.vmap(fn, (None, 0)), (0, None))(x, Y)
    diagonal = tg.tree.map(lambda y: y[np.arange(3), np.arange(3)], twice)
    same(tg.compile(tg.vmap(fn))(x, Y), diagonal)


@every_function
def test_vmap_of_a_loop_is_differentiated_inside_and_outside(name):
    fn, x = FUNCTIONS[name], rows_of(name)

    def loss(x: Array, y: Array) -> Array:
        return sum(tg.sum(v * v) for v in tg.tree.leaves(fn(x, y)))

    gradient = tg.grad(loss, argnums=(0, 1))
    outside = tg.grad(lambda x, y: tg.sum(tg.vmap(loss)(x, y)), argnums=(0, 1))
    rows = [gradient(*row) for row in zip(x, Y, strict=True)]
    want = tg.tree.map(lambda *parts: np.stack(parts), *rows)
    for slopes in (tg.vmap(gradient), outside, tg.compile(outside)):
        same(slopes(x, Y), want)


def test_vmap_of_a_loop_over_no_examples():
    last, ys, ones = tg.vmap(recurrence)(np.zeros((0, 3, 2)), np.zeros(0))
    assert (last.shape, ys.shape, ones.shape) == ((0,), (0, 3, 2), (0, 3))
    assert tg.vmap(halved)(np.zeros((0, 2)), np.zeros(0)).shape == (0, 2)


def test_vmap_of_a_loop_is_one_record():
    _, tape = tg.record(lambda x: tg.vmap(counted)(x, Y))(X)
    assert [record.op.name for record in tape].count("fori_loop") == 1


def winding(x):
    y = np.exp(x)
    return tg.scan(lambda c, u: (np.sin(c) * u, None), y, np.linspace(0.1, 1.0, 4))[0]


@pytest.mark.parametrize("transform", [lambda f: f, tg.vmap, tg.compile])
def test_a_batch_keeps_the_lines_of_the_function(transform):
    x = np.array([[0.1, 1.0], [2.0, 0.5]])
    rows = [*tg.profile(transform(tg.vmap(winding)), rounds=1)(x).rows]
    for row in rows:
        rows += row.inside
    lines = {row.name.split()[0]: row.place.text for row in rows}
    assert lines["exp"] == "y = np.exp(x)"
    assert lines["sin"].startswith("return tg.scan(lambda c, u: (np.sin(c)")
