"""Nets as users write them, drawn, and the steps that train them."""

import random
from typing import Any

import numpy as np

import tapegrad as tg
from tapegrad import nn


class Draw:
    """The random choices of all families, which a seed decides."""

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


def loss_of(d: Draw, n: int, classes: int) -> tuple[Any, Any]:
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
    d: Draw,
    loss: Any,
    params: Any,
    *data: Any,
    sequences: bool = False,
    often: tuple[str, ...] = (),
) -> tuple[Any, tuple[Any, ...]]:
    """A function of a loss: itself, its gradient, or a step of an optimizer."""
    kinds = ("sgd", "plain", "clipped", "adam", "value", "momentum", "each", "decay", "hvp")
    kind = d.of(["grad", "grad", *kinds, *often])
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
    targets, loss = loss_of(d, n, classes)
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
    targets, loss = loss_of(d, n, classes)

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
    rows, width, classes = d.of([3, 30, 40]), d.of([2, 3, 1]), d.of([3, 1, 2])
    steps = d.of([1, 1, 2, 3])
    shape = d.of([(2,), (4,), (8,), (1,), (2, 3), (3,)])
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
    return step_of(d, loss, params, *indices, often=("plain",) * 9)


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
