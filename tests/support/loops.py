"""Steps of every kind for loops, and the same loops by hand."""

import numpy as np
from hypothesis import strategies as st

import tapegrad as tg

VIEWS = (lambda c, x, w: c[::-1], lambda c, x, w: np.reshape(c, (1, 3)).T[:, 0])


TERMS = (
    *VIEWS,
    lambda c, x, w: np.tanh(c * x),
    lambda c, x, w: w @ c,
    lambda c, x, w: np.sin(x) * w[0],
    lambda c, x, w: np.where(c > 0, c * c, x),
    lambda c, x, w: np.cumsum(c) * 0.5,
    lambda c, x, w: tg.grad(lambda c: tg.sum(np.sin(c) * w[1] * x))(c),
    lambda c, x, w: tg.stop_gradient(c) * x,
    lambda c, x, w: tg.cond(np.sum(c) > 0, lambda c: c * w[2], lambda c: x - c, c),
    lambda c, x, w: tg.scan(lambda a, b: (a * b + w[0, 0], a), c[0], x)[1],
    lambda c, x, w: tg.while_loop(lambda a: np.sum(a * a) < 1, lambda a: 1.5 * a + 0.3, c * x),
    lambda c, x, w: x,
    lambda c, x, w: np.ones(3),
)


terms = st.lists(st.sampled_from(TERMS), min_size=1, max_size=3)


def step_of(terms, w):
    def step(carry, x):
        c, n = carry
        total = sum((term(c, x, w) for term in terms), start=0.25 * c)
        return (np.sin(total), n + 1), {"y": total * n, "c": c}

    return step


def by_hand(f, init, xs, reverse):
    carry, ys = init, []
    for t in reversed(range(len(xs))) if reverse else range(len(xs)):
        carry, y = f(carry, xs[t])
        ys.append(y)
    ys = ys[::-1] if reverse else ys
    return carry, tg.tree.map(lambda *rows: np.stack(rows), *ys)


def losses(terms, reverse, remember=True, checkpoint=None):
    """One function by scan and by hand."""

    def loss(loop, c, xs, w):
        (c, n), ys = loop(step_of(terms, w), (c, 0), xs)
        return tg.sum(c * w[0]) + 0.1 * tg.sum(ys["y"] ** 2) + tg.sum(ys["c"]) * n

    def scan_loop(f, init, xs):
        f = f if remember else tg.checkpoint(f)
        return tg.scan(f, init, xs, reverse=reverse, checkpoint=checkpoint)

    def unroll_loop(f, init, xs):
        return by_hand(f, init, xs, reverse)

    return (lambda *args: loss(scan_loop, *args)), (lambda *args: loss(unroll_loop, *args))


def arguments(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=3), rng.normal(size=(n, 3)), rng.normal(size=(3, 3)) * 0.5


def same(a, b):
    tg.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9), a, b)
