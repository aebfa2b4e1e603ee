"""Functions as users write them, drawn: nets and the steps that train them, losses, loops, products."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis.strategies as st
import numpy as np
from programs import ALSO
from random_programs import programs

import tapegrad as tg
from tapegrad import nn
from tapegrad.types import Array, PyTree


@attrs.frozen(eq=False)
class Drawn:
    """A function, the arguments that it is recorded for, and where it comes from."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    family: str

    def __repr__(self) -> str:
        program = tg.compile(self.fn, passes=()).program(*self.args)
        return f"\n{self.family}\n{program}"


class Draw:
    """The random choices of all families, which a seed decides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(self.choose("ddf"))

    def whole(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def choose(self, choices: Any) -> Any:
        return self._random.choice(choices)

    @property
    def yes(self) -> bool:
        return self._random.random() < 0.5

    def array(self, *shape: int) -> Array:
        return self.rng.normal(size=shape).astype(self.dtype)

    def rows(self) -> int:
        return self.choose([3, 4, 3, 2, 5, 1, 0])

    def number(self) -> float:
        return self.choose([2.0, 0.5, -1.0, 3.0, 0.1, -0.7, 1.0, 1e-8, 1e-16, 1e6, 0.25])


ACTIVATIONS: list[Any] = [
    *(None, tg.tanh, tg.sigmoid, tg.relu, nn.Gelu().function, tg.softplus, np.square),
    lambda x: np.maximum(x, 0.1 * x),
    lambda x: x * tg.sigmoid(x),
    lambda x: x / (1.0 + np.abs(x)),
    lambda x: np.clip(x, -1.0, 1.0),
    lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
]


def step_of(
    d: Draw,
    loss: Callable[..., Any],
    params: Any,
    *data: Any,
    sequences: bool = False,
    often: tuple[str, ...] = (),
) -> tuple[Any, tuple[Any, ...]]:
    """A function of a loss: itself, its gradient, or a step of an optimizer."""
    kind = d.choose(["grad", "grad", "plain", "adam", "value", "momentum", "each", "hvp", *often])
    both = tg.value_and_grad(loss)
    rate = d.choose([0.1, 1e-3, 0.5])
    if kind == "value":
        return loss, (params, *data)
    if kind == "hvp":
        return (lambda p, *xs: tg.hvp(lambda p: loss(p, *xs), (p,), (p,))), (params, *data)
    # a sequence is one example
    if kind == "each" and data and all(len(x) for x in data) and not sequences:
        each = tg.grad(lambda p, *xs: loss(p, *[x[None] for x in xs]))
        return tg.vmap(each, (None, *[0] * len(data))), (params, *data)
    if kind in ("grad", "each"):
        return both, (params, *data)
    if kind == "plain":

        def plain(params: Any, *data: Any) -> tuple[Any, ...]:
            value, grads = both(params, *data)
            return value, tg.tree.map(lambda p, g: p - rate * g, params, grads)

        return plain, (params, *data)
    momentum = tg.optim.SGD(rate, momentum=0.9, nesterov=d.yes)
    optimizer: Any = momentum if kind == "momentum" else tg.optim.Adam(rate)

    def step(
        params: Any, state: tg.optim.AdamState | tg.optim.SGDState, *data: Any
    ) -> tuple[PyTree, PyTree]:
        value, grads = both(params, *data)
        return value, optimizer.update(params, grads, state)

    return step, (params, optimizer.init(params), *data)


def itself_or_gradient(
    d: Draw, fn: Callable[..., Any], args: tuple[Any, ...], of: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """A function, or the gradient of a sum over its results by all its arguments."""
    if d.yes:
        return fn, args

    def total(*args: Any) -> Array:
        return sum(np.sum(of(y)) for y in tg.tree.leaves(fn(*args)))

    return tg.grad(total, argnums=tuple(range(len(args)))), args


def net_of(d: Draw, first: int, last: int) -> tuple[Any, Any]:
    """Parameters, and a function of them and of rows."""
    n = d.whole(1, 4)
    same = d.yes
    sizes = [first, *[first if same else d.choose([1, 2, 3, 4, 17]) for _ in range(n - 1)], last]
    has_bias, residual = d.choose([True, True, False]), d.choose([False, False, True])
    tied = same and last == first and d.yes
    act = d.choose(ACTIVATIONS)
    acts = [act if d.yes else d.choose(ACTIVATIONS) for _ in range(n)]
    normalizes, ends = d.choose([False, True]), d.yes
    layers = [
        {"w": d.array(k, m)} | ({"b": d.array(m)} if has_bias else {})
        for k, m in itertools.pairwise(sizes)
    ]

    def net(layers: list[dict[str, Array]], x: Array) -> Array:
        for i in range(n):
            layer = layers[0 if tied else i]
            y = x @ layer["w"]
            if has_bias:
                y = y + layer["b"]
            if acts[i] is not None and (i < n - 1 or ends):
                y = acts[i](y)
            x = x + y if residual and y.shape == x.shape else y
            if normalizes:
                x = x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5)
        return x

    return layers[:1] if tied else layers, net


def nets(d: Draw) -> tuple[Any, Any]:
    n, first, classes = d.rows(), d.choose([3, 1, 2, 4]), d.choose([2, 1, 3])
    params, net = net_of(d, first, classes)
    kind = d.choose(["sum", "mse", "squares", "classes", "classes", "two", "mixture"])
    targets = d.array(n, classes)
    if kind == "classes":
        targets = d.rng.integers(0, classes, n)
    if kind == "two":
        targets = d.rng.integers(0, 2, (n, classes)).astype(d.dtype)
    loss = {
        "sum": lambda y, t: np.sum(y * t),
        "mse": nn.mse_loss,
        "squares": lambda y, t: 0.5 * np.sum((y - t) ** 2) / max(n, 1),
        "classes": nn.cross_entropy_loss,
        "two": nn.binary_cross_entropy_loss,
        "mixture": lambda y, t: -np.mean(tg.logsumexp(y - 0.5 * (t - y) ** 2, axis=-1)),
    }[kind]
    return step_of(d, lambda p, x, t: loss(net(p, x), t), params, d.array(n, first), targets)


def cells(d: Draw) -> tuple[Any, Any]:
    """A recurrent cell, unrolled or by scan."""
    n, steps, width, hidden = (
        d.choose([2, 1, 3]),
        d.whole(1, 5),
        d.choose([2, 1, 3]),
        d.choose([3, 1, 2, 4]),
    )
    kind = d.choose(["own", "own", "gru", "lstm"])
    xs = d.array(steps, n, width)
    if kind != "own":
        cell = (nn.GRUCell if kind == "gru" else nn.LSTMCell)(width, hidden)
        params: Any = cell.init(d.whole(0, 9), dtype=d.dtype)
        begin: Any = cell.initial_hidden(n, dtype=d.dtype)

        def one(p: Any, h: PyTree, x: Array) -> tuple[PyTree, PyTree]:
            y, h = cell(p, x, h)
            return h, y
    else:
        act = d.choose([tg.tanh, tg.sigmoid, tg.relu, lambda x: x])
        params = {"u": d.array(width, hidden), "w": d.array(hidden, hidden), "b": d.array(hidden)}
        begin = np.zeros((n, hidden), d.dtype)
        twice, decays = d.yes, d.yes

        def one(p: Any, h: Any, x: Any) -> Any:
            z = x @ p["u"] + h @ p["w"] + p["b"]
            h = act(z + h[0] if twice else z)
            return (0.9 * h + 0.1 * h * h if decays else h), h

    by_scan, last = d.yes, d.yes

    def loss(p: Any, xs: Array) -> Array:
        if by_scan:
            h, ys = tg.scan(lambda h, x: one(p, h, x), begin, xs)
        else:
            h, rows = begin, []
            for x in xs:
                h, y = one(p, h, x)
                rows.append(y)
            ys = np.stack(rows)
        return np.sum(ys[-1] ** 2) if last else np.mean(ys * ys)

    return step_of(d, loss, params, xs, sequences=True)


def selection_of(d: Draw) -> Callable[..., Any]:
    return d.choose([lambda table, i: table[i], tg.index_select, tg.index_select])


def embeddings(d: Draw) -> tuple[Any, Any]:
    """Rows of a table, some of them twice, then a layer."""
    rows, width, classes = d.choose([3, 30, 40]), d.choose([2, 3, 1]), d.choose([3, 1, 2])
    shape = d.choose([(2,), (4,), (8,), (1,), (2, 3), (3,)])
    params, net = net_of(d, width, classes)
    indices = [d.rng.integers(0, rows, shape) for _ in range(d.choose([1, 1, 2, 3]))]
    bare, select = d.yes, selection_of(d)

    def loss(p: dict[str, Any], *indices: Any) -> Array:
        total: Any = 0.0
        for i in indices:
            x = select(p["table"], i)
            x = x if bare else net(p["net"], x)
            total = total + np.sum(x * x) * 0.5
        return total

    p = {"table": d.array(rows, width)} | ({} if bare else {"net": params})
    return step_of(d, loss, p, *indices, often=("plain",) * 9)


def unrolled_embeddings(d: Draw) -> tuple[Any, Any]:
    """A table looked up at each step of a loop."""
    rows, width, hidden, steps = d.choose([3, 6]), d.choose([2, 3]), 3, d.whole(2, 4)
    n = d.choose([2, 4])
    p = {"table": d.array(rows, width), "u": d.array(width, hidden), "w": d.array(hidden, hidden)}
    p["b"] = d.array(hidden)
    indices = d.rng.integers(0, rows, (steps, n))
    apart, select = d.yes, selection_of(d)

    def loss(p: dict[str, Array], indices: Array) -> Array:
        h: Any = np.zeros((n, hidden), d.dtype)
        total: Any = 0.0
        for t in range(steps):
            x = select(p["table"], indices[t]) @ p["u"] + p["b"]
            h = np.tanh(x if apart else x + h @ p["w"])
            total = total + np.sum(h * h)
        return total

    return step_of(d, loss, p, indices, sequences=True)


def attentions(d: Draw) -> tuple[Any, Any]:
    n, steps, width = d.choose([1, 2]), d.choose([3, 1, 16, 20]), d.choose([2, 4, 1])
    heads = d.choose([h for h in (1, 2, 4) if width % h == 0])
    layer = nn.MultiHeadAttention(width, heads, causal=d.yes)
    params = layer.init(d.whole(0, 9), dtype=d.dtype)
    return step_of(d, lambda p, x: np.sum(layer(p, x) ** 2), params, d.array(n, steps, width))


def classifiers(d: Draw) -> tuple[Any, Any]:
    """Softmaxes and losses of rows that are many enough to be shifted at once."""
    n, classes = d.choose([(130, 2), (40, 8), (3, 3), (260, 1), (4, 70), (16, 20)])
    x, t = d.array(n, classes) * d.choose([1.0, 20.0]), d.rng.integers(0, classes, n)
    fns = {
        "softmax": lambda x, t: tg.softmax(x),
        "log_softmax": lambda x, t: tg.log_softmax(x),
        "loss": nn.cross_entropy_loss,
        "logsumexp": lambda x, t: np.sum(tg.logsumexp(x, axis=-1)),
    }
    fn = fns[d.choose(sorted(fns))]
    step = fn if d.yes else tg.value_and_grad(lambda x, t: np.sum(fn(x, t) ** 2))
    return step, (x.astype(d.dtype), t)


def slices(d: Draw) -> tuple[Any, Any]:
    """Sums of slices and rows of an array, and of slices of products."""
    n, width = d.choose([4, 3, 2]), d.choose([2, 3, 1])
    kind = d.choose(["rows", "slices", "columns", "steps", "some"])
    parts: list[Any] = []
    for i in range(n):
        index: Any = {
            "rows": i,
            "slices": slice(i, i + 1),
            "columns": (slice(None), i % width),
            "steps": slice(i, None, 2),
            "some": (d.whole(0, n - 1), slice(0, max(1, width - 1))),
        }[kind]
        parts.append((index, d.choose(ACTIVATIONS[1:4]), d.number()))
    times, besides = d.yes, d.yes

    def loss(p: dict[str, Array]) -> Array:
        a = p["a"] @ p["w"] if times else p["a"]
        total: Any = np.sum(a) if besides else 0.0
        for index, act, number in parts:
            y = act(a[index])
            total = total + number * np.sum(y * y)
        return total

    p = {"a": d.array(n, width), "w": d.array(width, width)}
    return step_of(d, loss, p)


def accumulations(d: Draw) -> tuple[Any, Any]:
    """Loops whose carry adds up, multiplies, or stays."""
    steps, n = d.choose([3, 1, 2, 12]), d.choose([2, 1, 3])
    w, x, start = d.array(n, n), d.array(steps, n), np.zeros(n, d.dtype)
    add = d.choose([lambda w, x: x @ w, lambda w, x: x * 2.0, lambda w, x: np.tanh(x @ w) * x])
    kinds = {
        "sum": lambda w, x: tg.scan(lambda c, r: (c + add(w, r), r @ w.T), start, x),
        "product": lambda w, x: tg.scan(lambda c, r: (c * np.cos(r), add(w, c)), start + 1, x),
        "matrix": lambda w, x: tg.scan(lambda c, r: (np.tanh(c @ w.T) + r, c), x[0], x),
        "fori": lambda w, x: tg.fori_loop(0, steps, lambda i, h: np.tanh(h @ w) + x[0], x[0]),
        "while": lambda w, x: tg.while_loop(
            lambda c: c[1] < steps, lambda c: (np.sin(c[0] @ w) + x[0], c[1] + 1), (x[0], 0)
        ),
        "cond": lambda w, x: tg.cond(
            np.sum(w) > 0, lambda a, b: a @ b, lambda a, b: a + b[0], x, w
        ),
        "power": lambda w, x: tg.scan(lambda c, r: (c @ w + 0.0 * r, None), x[0], x),
    }
    fn = kinds[d.choose(sorted(kinds))]

    def loss(w: Array, x: Array) -> Array:
        return sum(np.sum(y * y) for y in tg.tree.leaves(fn(w, x)))

    return step_of(d, loss, w, x, sequences=True)


def products(d: Draw) -> tuple[Any, Any]:
    """Sums of products, products of one matrix, and sums of those."""
    n, m = d.choose([(3, 4), (1, 3), (3, 1), (0, 3), (2, 2), (40, 30), (70, 20)])
    a, b, w = d.array(n, m), d.array(n, m), d.array(m, m)
    fns = {
        "shared": lambda a, b, w: np.sum(np.tanh(a @ w) * (np.sin(b) @ w)),
        "turned": lambda a, b, w: a.T @ b + b.T @ a,
        "columns": lambda a, b, w: a.T @ a[:, :1] + b.T @ b[:, :1],
        "outer": lambda a, b, w: np.sum(a[:, :, None] * b[:, None, :], axis=0),
        "rows": lambda a, b, w: np.sum(a + 0, axis=0) + np.sum(b + 0, axis=0),
        "sums": lambda a, b, w: (np.sum(a, axis=1), np.sum(a * b, axis=0), np.mean(b, axis=-1)),
        "scaled": lambda a, b, w: (a @ w) * 0.125 @ b.T,
        "biases": lambda a, b, w: (a @ w + w[0]) + (b @ w + w[0]),
        "chain": lambda a, b, w: (2.0 * (0.1 * a) / 3.0, -(a * -b), a - (-b), a + a),
    }
    return itself_or_gradient(d, fns[d.choose(sorted(fns))], (a, b, w), np.sin)


def stacks(d: Draw) -> tuple[Any, Any]:
    """Stacks of matrices, transposed and joined: the shapes of attention."""
    n, rows, width = d.choose([(2, 16, 16), (3, 2, 2), (1, 20, 20), (8, 32, 32)])
    a, b, w = d.array(n, rows, width), d.array(n, rows, width), d.array(width, 3)
    fns = {
        "scores": lambda a, b, w: a @ np.swapaxes(b, 1, 2),
        "twice": lambda a, b, w: ((t := np.transpose(b, (0, 2, 1))), a @ t, (a + 1) @ t),
        "heads": lambda a, b, w: np.swapaxes(a @ w, 0, 1).reshape(rows, -1),
        "outer": lambda a, b, w: a[:, 0, :, None] * b[:, 0, None, :],
        "gates": lambda a, b, w: tg.sigmoid(a[:, :, :1]) * np.tanh(a[:, :, -1:]) + b[:, :1, :1],
    }
    return itself_or_gradient(d, fns[d.choose(sorted(fns))], (a, b, w), np.square)


def waves(d: Draw) -> tuple[Any, Any]:
    """Complex numbers: conjugates, products and parts of them, in loops too."""
    n, steps = d.choose([2, 3, 1, 5]), d.choose([2, 3, 1])
    dtype = np.result_type(d.dtype, np.complex64)
    z, w, m, rows = (
        (d.array(*shape) + 1j * d.array(*shape)).astype(dtype)
        for shape in ((n,), (n,), (n, n), (steps, n))
    )
    x, s = d.array(n), d.choose([1j, 2 - 1j, -0.5, 1.0])

    def scan_waves(z: Any, w: Any, m: Any, rows: Any) -> Any:
        def step(c: Any, r: Any) -> Any:
            h, total = c
            h = np.conj(m @ h) * w + r * s
            return (h, total + h * x), np.abs(h) + np.real(r) + np.imag(h * s)

        return tg.scan(step, (z, z * 0), rows)

    def repeat_waves(z: Array, w: Array, m: Array, rows: Array) -> tuple[Array, Array]:
        h = tg.fori_loop(0, steps, lambda i, h: np.exp(1j * h.real) * w + z.conj(), z)
        chosen = tg.cond(np.sum(z.real) > 0, lambda h: h * s, np.conj, h)
        return chosen, tg.while_loop(lambda c: np.abs(c) < 3.0, lambda c: c * (2 + 1j), w[0] + 0.5)

    fns = {
        "energy": lambda z, w, m, rows: np.sum(np.abs(np.exp(z) * x + s) ** 2),
        "parts": lambda z, w, m, rows: (z.real * 1j + z.imag, np.real(z * np.conj(z)), z / 1),
        "chain": lambda z, w, m, rows: (
            1j * (1j * z),
            z - (-2.0 * w),
            z - 0.0,
            np.negative(-z),
            z + z,
            z**2,
        ),
        "products": lambda z, w, m, rows: (m @ z, w @ m, m @ m.conj().T, rows @ m + rows[::-1] @ m),
        "sums": lambda z, w, m, rows: (np.vdot(z, w), np.sum(m * z, axis=0), np.sum(m, axis=1)),
        "scanned": scan_waves,
        "repeated": repeat_waves,
    }
    return itself_or_gradient(
        d,
        fns[d.choose(sorted(fns))],
        (z, w, m, rows),
        lambda y: np.sin(np.real(y)) + np.imag(y) * 0.5,
    )


FAMILIES = {
    f.__name__: f
    for f in (
        *(nets, cells, embeddings, unrolled_embeddings, attentions, classifiers, slices),
        *(accumulations, products, stacks, waves),
    )
}


def draw_program(name: str, seed: int) -> Drawn:
    """Draw the function of a family by a seed."""
    return Drawn(*FAMILIES[name](Draw(seed)), f"draw_program({name!r}, {seed})")


# a proof takes long for a hundred steps
PROVED = tuple(x for x in ALSO if x != "cells")


def user_programs() -> st.SearchStrategy[Drawn]:
    """Functions of any family, and of random ops, as `random_programs.programs` draws them."""
    return st.one_of(
        st.builds(draw_program, st.sampled_from(sorted(FAMILIES)), st.integers(0, 1 << 32)),
        st.one_of(programs(max_steps=16), programs(12, also=PROVED)).map(
            lambda x: Drawn(x.step, x.arguments[0], "ops")
        ),
    )
