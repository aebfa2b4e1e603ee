"""Functions as users write them, drawn: nets and their training steps, loops, formulas."""

import functools
import random
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis.strategies as st
import numpy as np

import tapegrad as tg
from tapegrad import nn
from tapegrad.testing import programs


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
    """What all families draw of: a seed tells everything."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(self.of("ddf"))

    def whole(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def of(self, choices: Any) -> Any:
        return self._random.choice(choices)

    @property
    def yes(self) -> bool:
        return self._random.random() < 0.5

    def array(self, *shape: int) -> Any:
        return self.rng.normal(size=shape).astype(self.dtype)

    def rows(self) -> int:
        return self.of([3, 4, 3, 2, 5, 1, 0])

    def number(self) -> float:
        return self.of(
            [*(2.0, 0.5, -1.0, 3.0, 0.1, -0.7, 1.0), *(1e-8, 1e-16, 1e-12, 1e6, 0.25, 1e-3)]
        )


ACTIVATIONS: list[Any] = [
    None,
    tg.tanh,
    tg.sigmoid,
    tg.relu,
    nn.Gelu().function,
    lambda x: np.maximum(x, 0.1 * x),
    lambda x: x * tg.sigmoid(x),
    lambda x: x / (1.0 + np.abs(x)),
    lambda x: np.clip(x, -1.0, 1.0),
    lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    tg.softplus,
    np.square,
]


def norm_of(d: Draw) -> Any:
    kind = d.of([None, None, "layer", "rms", "own"])
    if kind is None:
        return lambda x: x
    if kind == "layer":
        return lambda x: (
            (x - np.mean(x, -1, keepdims=True)) / np.sqrt(np.var(x, -1, keepdims=True) + 1e-5)
        )
    if kind == "rms":
        return lambda x: x / np.sqrt(np.mean(x * x, -1, keepdims=True) + 1e-5)
    return lambda x: x / (1e-6 + np.linalg.norm(x))


def net_of(d: Draw, first: int, last: int | None = None) -> tuple[Any, Any]:
    """Parameters, and a function of them and of rows."""
    n = d.whole(1, 4)
    same = d.yes
    sizes = [first, *[first if same else d.of([1, 2, 3, 4, 17]) for _ in range(n)]]
    sizes[-1] = last or sizes[-1]
    has_bias, residual = d.of([True, True, False]), d.of([False, False, True])
    tied = same and last in (None, first) and d.yes
    act = d.of(ACTIVATIONS)
    acts = [act if d.yes else d.of(ACTIVATIONS) for _ in range(n)]
    norm = norm_of(d)
    layers = []
    for i in range(n):
        layer = {"w": d.array(sizes[i], sizes[i + 1])}
        if has_bias:
            layer["b"] = d.array(sizes[i + 1])
        layers.append(layer)
    if tied:
        layers = layers[:1]
    ends = d.yes

    def net(layers: Any, x: Any) -> Any:
        for i in range(n):
            layer = layers[0 if tied else i]
            y = x @ layer["w"]
            if has_bias:
                y = y + layer["b"]
            if acts[i] is not None and (i < n - 1 or ends):
                y = acts[i](y)
            x = norm(x + y) if residual and y.shape == x.shape else y
        return x

    return layers, net


def loss_of(d: Draw, like: Any, n: int, classes: int) -> tuple[Any, Any]:
    """Targets, and a loss of predictions and targets."""
    kind = d.of(["sum", "mse", "squares", "classes", "classes", "two", "huber", "l1", "mixture"])
    if kind == "classes":
        return d.rng.integers(0, classes, n), nn.cross_entropy_loss
    if kind == "two":
        targets = d.rng.integers(0, 2, (n, classes)).astype(d.dtype)
        return targets, nn.binary_cross_entropy_loss
    losses = {
        "sum": lambda y, t: np.sum(y * t),
        "mse": nn.mse_loss,
        "squares": lambda y, t: 0.5 * np.sum((y - t) ** 2) / max(n, 1),
        "huber": nn.huber_loss,
        "l1": nn.l1_loss,
        "mixture": lambda y, t: -np.mean(tg.logsumexp(y - 0.5 * (t - y) ** 2, axis=-1)),
    }
    return d.array(n, classes), losses[kind]


def step_of(
    d: Draw, loss: Any, params: Any, *data: Any, sequences: bool = False
) -> tuple[Any, tuple[Any, ...]]:
    """What is done with a loss: nothing, a gradient, a step of an optimizer."""
    kinds = ("sgd", "plain", "clipped", "adam", "value", "momentum", "each", "decay", "hvp")
    kind = d.of(["grad", "grad", *kinds])
    both = tg.value_and_grad(loss)
    rate = d.of([0.1, 1e-3, 0.5])
    if kind == "value":
        return loss, (params, *data)
    if kind == "grad":
        return both, (params, *data)
    if kind == "hvp":
        return (lambda p, *xs: tg.hvp(lambda p: loss(p, *xs), (p,), (p,))), (params, *data)
    if kind == "each":
        each = tg.grad(lambda p, *xs: loss(p, *[x[None] for x in xs]))
        # a sequence is one example
        if data and all(len(x) for x in data) and not sequences:
            return tg.vmap(each, (None, *[0] * len(data))), (params, *data)
        return both, (params, *data)
    if kind in ("plain", "clipped", "decay"):

        def plain(params: Any, *data: Any) -> Any:
            value, grads = both(params, *data)
            if kind == "clipped":
                grads, _ = tg.optim.clip_by_global_norm(grads, 1.0)
            if kind == "decay":
                grads = tg.tree.map(lambda p, g: g + 0.01 * p, params, grads)
            return value, tg.tree.map(lambda p, g: p - rate * g, params, grads)

        return plain, (params, *data)
    optimizer: Any = {
        "sgd": tg.optim.SGD(rate, weight_decay=d.of([0.0, 0.01])),
        "adam": tg.optim.Adam(rate),
        "momentum": tg.optim.SGD(rate, momentum=0.9, nesterov=d.yes),
    }[kind]

    def step(params: Any, state: Any, *data: Any) -> Any:
        value, grads = both(params, *data)
        return value, optimizer.update(params, grads, state)

    return step, (params, optimizer.init(params), *data)


def nets(d: Draw) -> tuple[Any, Any]:
    n, first, classes = d.rows(), d.of([3, 1, 2, 4]), d.of([2, 1, 3])
    params, net = net_of(d, first, classes)
    targets, loss = loss_of(d, None, n, classes)
    return step_of(d, lambda p, x, t: loss(net(p, x), t), params, d.array(n, first), targets)


def layers(d: Draw) -> tuple[Any, Any]:
    """The package's own layers, one after another."""
    n, first, classes = d.rows(), d.of([3, 1, 2]), d.of([2, 1, 3])
    made: list[Any] = []
    width = first
    for _ in range(d.whole(1, 3)):
        to = d.of([2, 4, 3])
        made.append(nn.Linear(width, to))
        width = to
        if d.yes:
            made.append(d.of([nn.Tanh(), nn.Sigmoid(), nn.Relu(), nn.Gelu(), nn.Silu(), nn.Elu()]))
    net = nn.Sequential(*made, nn.Linear(width, classes))
    norm = d.of([None, None, nn.LayerNorm(classes), nn.RMSNorm(classes)])
    params = {"net": net.init(d.whole(0, 9), dtype=d.dtype)}
    if norm is not None:
        params["norm"] = norm.init(0, dtype=d.dtype)
    targets, loss = loss_of(d, None, n, classes)

    def value(p: Any, x: Any, t: Any) -> Any:
        y = net(p["net"], x)
        return loss(y if norm is None else norm(p["norm"], y), t)

    return step_of(d, value, params, d.array(n, first), targets)


def cells(d: Draw) -> tuple[Any, Any]:
    """A recurrent cell, unrolled or by scan."""
    n, steps, width, hidden = d.of([2, 1, 3]), d.whole(1, 5), d.of([2, 1, 3]), d.of([3, 1, 2, 4])
    kind = d.of(["own", "own", "rnn", "gru", "lstm", "both"])
    by_scan = d.yes
    xs = d.array(steps, n, width)
    if kind in ("gru", "lstm", "rnn"):
        cell: Any
        if kind == "rnn":
            cell = nn.RNNCell(width, hidden, hidden, activation=d.of(["tanh", "sigmoid"]))
        else:
            cell = (nn.GRUCell if kind == "gru" else nn.LSTMCell)(width, hidden)
        params = cell.init(d.whole(0, 9), dtype=d.dtype)
        begin = cell.initial_hidden(n, dtype=d.dtype)

        def one(p: Any, h: Any, x: Any) -> Any:
            y, h = cell(p, x, h)
            return h, y
    else:
        act = d.of([tg.tanh, tg.sigmoid, tg.relu, lambda x: x])
        params = {"u": d.array(width, hidden), "w": d.array(hidden, hidden)}
        params["b"] = d.array(hidden)
        begin = np.zeros((n, hidden), d.dtype)
        twice, decays = d.yes, d.yes

        def one(p: Any, h: Any, x: Any) -> Any:
            z = x @ p["u"] + h @ p["w"] + p["b"]
            if twice:
                z = z + h[0]
            h = act(z)
            return (0.9 * h + 0.1 * h * h if decays else h), h

    last = d.yes

    def loss(p: Any, xs: Any) -> Any:
        if by_scan:
            h, ys = tg.scan(lambda h, x: one(p, h, x), begin, xs)
        else:
            h, found = begin, []
            for x in xs:
                h, y = one(p, h, x)
                found.append(y)
            ys = np.stack(found)
        return np.sum(ys[-1] ** 2) if last else np.mean(ys * ys)

    return step_of(d, loss, params, xs, sequences=True)


def selection_of(d: Draw) -> Any:
    return d.of([lambda table, i: table[i], tg.index_select, tg.index_select])


def embeddings(d: Draw) -> tuple[Any, Any]:
    """Rows of a table, some of them twice, then a layer."""
    rows, width, classes = d.of([3, 5, 30]), d.of([2, 3, 1]), d.of([3, 1, 2])
    steps = d.of([1, 1, 2, 3])
    shape = d.of([(2,), (4,), (8,), (1,), (2, 3), (6,)])
    table, net = d.array(rows, width), net_of(d, width, classes)
    indices = [d.rng.integers(0, rows, shape) for _ in range(steps)]
    bare, select = d.yes, selection_of(d)

    def loss(p: Any, *indices: Any) -> Any:
        total: Any = 0.0
        for i in indices:
            x = select(p["table"], i)
            if not bare:
                x = net[1](p["net"], x)
            total = total + np.sum(x * x) * 0.5
        return total

    params = {"table": table, "net": net[0]} if not bare else {"table": table}
    return step_of(d, loss, params, *indices)


def unrolled_embeddings(d: Draw) -> tuple[Any, Any]:
    """A table looked up at each step of a loop."""
    rows, width, hidden, steps = d.of([3, 6]), d.of([2, 3]), 3, d.whole(2, 4)
    n = d.of([2, 4])
    p = {"table": d.array(rows, width), "u": d.array(width, hidden), "w": d.array(hidden, hidden)}
    p["b"] = d.array(hidden)
    indices = d.rng.integers(0, rows, (steps, n))
    apart, select = d.yes, selection_of(d)

    def loss(p: Any, indices: Any) -> Any:
        h: Any = np.zeros((n, hidden), d.dtype)
        total: Any = 0.0
        for t in range(steps):
            x = select(p["table"], indices[t]) @ p["u"]
            x = x + p["b"]
            h = np.tanh(x if apart else x + h @ p["w"])
            total = total + np.sum(h * h)
        return total

    return step_of(d, loss, p, indices, sequences=True)


def attentions(d: Draw) -> tuple[Any, Any]:
    n, steps, width = d.of([1, 2]), d.of([3, 1, 16, 20]), d.of([2, 4, 1])
    heads = d.of([h for h in (1, 2, 4) if width % h == 0])
    layer = nn.MultiHeadAttention(width, heads, causal=d.yes)
    own = d.yes
    x = d.array(n, steps, width)
    if not own:
        params: Any = layer.init(d.whole(0, 9), dtype=d.dtype)
        return step_of(d, lambda p, x: np.sum(layer(p, x) ** 2), params, x)
    params = {name: d.array(width, width) for name in "qkv"}

    def loss(p: Any, x: Any) -> Any:
        q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
        scores = q @ np.swapaxes(k, 1, 2) / np.sqrt(float(width))
        return np.mean((tg.softmax(scores) @ v) ** 2)

    return step_of(d, loss, params, x)


def classifiers(d: Draw) -> tuple[Any, Any]:
    """Softmaxes and losses of rows that are many enough to be shifted at once."""
    n, classes = d.of([(130, 2), (40, 8), (3, 3), (260, 1), (4, 70), (16, 20)])
    x, t = d.array(n, classes) * d.of([1.0, 20.0]), d.rng.integers(0, classes, n)
    x = x.astype(d.dtype)
    fns = {
        "softmax": lambda x, t: tg.softmax(x),
        "log_softmax": lambda x, t: tg.log_softmax(x),
        "loss": nn.cross_entropy_loss,
        "temperature": lambda x, t: nn.cross_entropy_loss(x / 2.0, t),
        "entropy": lambda x, t: -np.sum(tg.softmax(x) * tg.log_softmax(x)),
        "logsumexp": lambda x, t: np.sum(tg.logsumexp(x, axis=-1)),
    }
    fn = fns[d.of(sorted(fns))]
    if d.yes:
        return fn, (x, t)
    return tg.value_and_grad(lambda x, t: np.sum(fn(x, t) ** 2)), (x, t)


def mixtures(d: Draw) -> tuple[Any, Any]:
    n, k = d.rows() or 1, d.of([2, 1, 3])
    p = {"m": d.array(k), "s": d.array(k), "w": d.array(k)}

    def loss(p: Any, x: Any) -> Any:
        z = (x[:, None] - p["m"]) / np.exp(p["s"])
        each = tg.log_softmax(p["w"]) - 0.5 * z * z - p["s"] - 0.5 * np.log(2 * np.pi)
        return -np.sum(tg.logsumexp(each, axis=-1))

    return step_of(d, loss, p, d.array(n))


def slices(d: Draw) -> tuple[Any, Any]:
    """Sums of slices and rows of an array, and of slices of products."""
    n, width = d.of([4, 3, 2]), d.of([2, 3, 1])
    parts: list[Any] = []
    kinds = d.of(["rows", "slices", "columns", "steps", "some"])
    for i in range(n):
        index: Any = {
            "rows": i,
            "slices": slice(i, i + 1),
            "columns": (slice(None), i % width),
            "steps": slice(i, None, 2),
            "some": (d.whole(0, n - 1), slice(0, max(1, width - 1))),
        }[kinds]
        parts.append((index, d.of(ACTIVATIONS[:5]), d.number()))
    times = d.yes
    besides = d.yes

    def loss(p: Any) -> Any:
        a = p["a"] @ p["w"] if times else p["a"]
        total: Any = 0.0
        for index, act, number in parts:
            y = a[index]
            y = y if act is None else act(y)
            total = total + number * np.sum(y * y)
        return total + np.sum(a) if besides else total

    p = {"a": d.array(n, width), "w": d.array(width, width)}
    return step_of(d, loss, p)


def polynomials(d: Draw) -> tuple[Any, Any]:
    """Formulas of a few arrays, with numbers of all sizes."""
    shapes = [(3,), (3,), d.of([(3,), (), (1,), (2, 3)])]
    names = "xyz"

    def formula(depth: int) -> str:
        if not depth or d.whole(0, 3) == 0:
            return d.of([*names, *names, repr(d.number())])
        a, b = formula(depth - 1), formula(depth - 1)
        return d.of(
            [
                *("({a} + {b})", "({a} - {b})", "({a} * {b})", "({a} + {b})", "{a} * {b} + {a}"),
                *("{n} * {a}", "({a} + {n})", "({a} - {n})", "-{a}", "{a} / {n}", "({a}) ** {e}"),
                *("np.square({a})", "(1 - {a} * {a}) + {n}", "{a} * {b} - {a} * {n} + 1"),
            ]
        ).format(a=a, b=b, n=repr(d.number()), e=d.of(["2", "3", "4", "2.0", "1"]))

    text = formula(d.whole(2, 4))
    text = d.of(["{}", "{}", "np.log({})", "1 / ({})", "np.sqrt({})", "np.exp(-({}))"]).format(text)
    text = d.of(["{} + 0 * x", "np.sum({} + 0 * x)", "np.mean({} + x)"]).format(text)
    fn = eval(f"lambda x, y, z: {text}", {"np": np})
    args = tuple(d.array(*shape) for shape in shapes)
    if d.yes:
        return fn, args
    return tg.grad(lambda *args: np.sum(fn(*args)), argnums=(0, 1, 2)), args


def accumulations(d: Draw) -> tuple[Any, Any]:
    """Loops whose carry adds up, multiplies, or stays."""
    steps, n = d.of([3, 1, 2, 12]), d.of([2, 1, 3])
    kind = d.of(["sum", "product", "matrix", "while", "cond", "fori", "power"])
    w, x = d.array(n, n), d.array(steps, n)
    add = d.of([lambda w, x: x @ w, lambda w, x: x * 2.0, lambda w, x: np.tanh(x @ w) * x])

    def loss(w: Any, x: Any) -> Any:
        if kind == "sum":
            total, ys = tg.scan(lambda c, r: (c + add(w, r), r @ w.T), np.zeros(n, d.dtype), x)
            return np.sum(total * total) + np.sum(ys)
        if kind == "product":
            h, ys = tg.scan(lambda c, r: (c * np.cos(r), add(w, c)), np.ones(n, d.dtype), x)
            return np.sum(h) + np.sum(ys * ys)
        if kind == "matrix":
            h, ys = tg.scan(lambda c, r: (np.tanh(c @ w.T) + r, c), x[0], x)
            return np.sum(h * h) + np.sum(ys[-1])
        if kind == "fori":
            h = tg.fori_loop(0, steps, lambda i, h: np.tanh(h @ w) + x[0], x[0])
            return np.sum(h * h)
        if kind == "while":
            h, _ = tg.while_loop(
                lambda c: c[1] < steps, lambda c: (np.sin(c[0] @ w) + x[0], c[1] + 1), (x[0], 0)
            )
            return np.sum(h)
        if kind == "cond":
            h = tg.cond(np.sum(w) > 0, lambda a, b: a @ b, lambda a, b: a + b[0], x, w)
            return np.sum(h * h)
        h, _ = tg.scan(lambda c, r: (c @ w + 0.0 * r, None), x[0], x)
        return np.sum(h)

    if kind == "while" and d.yes:
        return loss, (w, x)
    return step_of(d, loss, w, x, sequences=True)


def products(d: Draw) -> tuple[Any, Any]:
    """Sums of products, products of one matrix, and sums of those."""
    n, m = d.of([(3, 4), (1, 3), (3, 1), (0, 3), (2, 2), (40, 30), (70, 20)])
    a, b, w = d.array(n, m), d.array(n, m), d.array(m, m)
    fns = {
        "shared": lambda a, b, w: np.sum(np.tanh(a @ w) * (np.sin(b) @ w)),
        "turned": lambda a, b, w: a.T @ b + b.T @ a,
        "columns": lambda a, b, w: a.T @ a[:, :1] + b.T @ b[:, :1],
        "weighed": lambda a, b, w: np.sum(a * (b @ w.T), axis=-1),
        "outer": lambda a, b, w: np.sum(a[:, :, None] * b[:, None, :], axis=0),
        "rows": lambda a, b, w: np.sum(a + 0, axis=0) + np.sum(b + 0, axis=0),
        "squares": lambda a, b, w: np.sum(a * b) + np.sum(np.square(a)),
        "sums": lambda a, b, w: (np.sum(a, axis=1), np.sum(a * b, axis=0), np.mean(b, axis=-1)),
        "scaled": lambda a, b, w: (a @ w) * 0.125 @ b.T,
        "biases": lambda a, b, w: (a @ w + w[0]) + (b @ w + w[0]),
        "many": lambda a, b, w: np.sum(np.exp(-(a @ w)) @ w.T * 0.5 + b, axis=-1),
        "chain": lambda a, b, w: (2.0 * (0.1 * a) / 3.0, -(a * -b), a - (-b), a + a),
    }
    fn = fns[d.of(sorted(fns))]
    if d.yes:
        return fn, (a, b, w)

    def total(a: Any, b: Any, w: Any) -> Any:
        return sum(np.sum(np.sin(y)) for y in tg.tree.leaves(fn(a, b, w)))

    return tg.grad(total, argnums=(0, 1, 2)), (a, b, w)


def stacks(d: Draw) -> tuple[Any, Any]:
    """Stacks of matrices, transposed and joined: the shapes of attention."""
    n, rows, width = d.of([(2, 16, 16), (3, 2, 2), (1, 20, 20), (8, 32, 32)])
    a, b, w = d.array(n, rows, width), d.array(n, rows, width), d.array(width, 3)
    fns = {
        "scores": lambda a, b, w: a @ np.swapaxes(b, 1, 2),
        "twice": lambda a, b, w: ((t := np.transpose(b, (0, 2, 1))), a @ t, (a + 1) @ t),
        "layer": lambda a, b, w: np.tanh(a @ w),
        "heads": lambda a, b, w: np.swapaxes(a @ w, 0, 1).reshape(rows, -1),
        "limits": lambda a, b, w: np.maximum(a, 0.0) + np.minimum(b, 1.0),
        "gates": lambda a, b, w: tg.sigmoid(a[:, :, :1]) * np.tanh(a[:, :, -1:]) + b[:, :1, :1],
    }
    fn = fns[d.of(sorted(fns))]
    if d.yes:
        return fn, (a, b, w)
    return (
        tg.grad(lambda *xs: sum(np.sum(y * y) for y in tg.tree.leaves(fn(*xs))), (0, 1, 2)),
        (a, b, w),
    )


def far_apart(d: Draw) -> tuple[Any, Any]:
    """Elementwise functions of arrays that count as large (tests make few count as many)."""
    n = d.of([64, 100])
    a, b = d.array(n), d.array(n)
    acts = [d.of(ACTIVATIONS[1:5]) for _ in range(3)]

    def fn(a: Any, b: Any) -> Any:
        first, second = acts[0](a), acts[1](b)
        third = acts[2](a * b)
        return np.sum(third), first * 2.0 + b, second - third, np.mean(first)

    if d.yes:
        return fn, (a, b)
    return tg.grad(lambda a, b: sum(map(np.sum, fn(a, b)), 0.0), (0, 1)), (a, b)


def mixed(d: Draw) -> tuple[Any, Any]:
    """Both float types, Python numbers and integers, beside each other."""
    a, b = d.array(3).astype("f"), d.array(3).astype("d")
    number, count = d.number(), d.whole(0, 3)

    def fn(a: Any, b: Any, s: Any, n: Any) -> Any:
        y = a * number + s
        return y, y * b + n, np.sum(a * s + 1e-8), np.mean(y) * n, a**2 - n, np.maximum(a, s)

    if d.yes:
        return fn, (a, b, 0.5, count)
    return (
        tg.grad(lambda a, b, s, n: sum(np.sum(y) for y in fn(a, b, s, n)), (0, 1, 2)),
        (a, b, 0.5, count),
    )


FAMILIES: tuple[Callable[[Draw], Any], ...] = (
    *(nets, layers, cells, embeddings, unrolled_embeddings, attentions, classifiers, mixtures),
    *(slices, polynomials, accumulations, products, stacks, far_apart, mixed),
)


def drawn(name: str, seed: int) -> Drawn:
    """The function of a family that a seed gives."""
    family = next(x for x in FAMILIES if x.__name__ == name)
    fn, args = family(Draw(seed))
    return Drawn(fn, args, f"drawn({name!r}, {seed})")


NAMES = tuple(x.__name__ for x in FAMILIES)


def user_programs(name: str | None = None) -> st.SearchStrategy[Drawn]:
    """Functions as users write them, with arguments: of one family, or of any.

    The family "ops" is of random ops, as `tapegrad.testing.programs` draws them.
    """
    names = (*NAMES, "ops") if name is None else (name,)
    return st.one_of(
        [
            programs(max_steps=16).map(lambda x: Drawn(x.step, x.arguments[0], "ops"))
            if name == "ops"
            else st.integers(0, 1 << 32).map(functools.partial(drawn, name))
            for name in names
        ]
    )
