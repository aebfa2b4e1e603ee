"""Functions as users write them, drawn: nets (`user_nets`), losses, loops, formulas, products."""

import functools
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis.strategies as st
import numpy as np
from programs import ALSO
from user_nets import (
    ACTIVATIONS,
    Draw,
    attentions,
    cells,
    embeddings,
    layers,
    nets,
    step_of,
    unrolled_embeddings,
)

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


def itself_or_gradient(
    d: Draw, fn: Any, args: tuple[Any, ...], of: Any = lambda y: y, n: int | None = None
) -> tuple[Any, Any]:
    """A function, or the gradient of a sum over its results by its first n arguments."""
    if d.yes:
        return fn, args

    def total(*args: Any) -> Any:
        return sum(np.sum(of(y)) for y in tg.tree.leaves(fn(*args)))

    return tg.grad(total, argnums=tuple(range(n or len(args)))), args


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
    return itself_or_gradient(d, fn, (a, b, w), np.sin)


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
        "outer": lambda a, b, w: a[:, 0, :, None] * b[:, 0, None, :],
        "gates": lambda a, b, w: tg.sigmoid(a[:, :, :1]) * np.tanh(a[:, :, -1:]) + b[:, :1, :1],
    }
    fn = fns[d.of(sorted(fns))]
    return itself_or_gradient(d, fn, (a, b, w), lambda y: y * y)


def far_apart(d: Draw) -> tuple[Any, Any]:
    """Elementwise functions of arrays that count as large (tests make few count as many)."""
    n = d.of([64, 100])
    a, b = d.array(n), d.array(n)
    acts = [d.of(ACTIVATIONS[1:5]) for _ in range(3)]

    def fn(a: Any, b: Any) -> Any:
        first, second = acts[0](a), acts[1](b)
        third = acts[2](a * b)
        return np.sum(third), first * 2.0 + b, second - third, np.mean(first)

    return itself_or_gradient(d, fn, (a, b))


def mixed(d: Draw) -> tuple[Any, Any]:
    """Both float types, Python numbers and integers, beside each other."""
    a, b = d.array(3).astype("f"), d.array(3).astype("d")
    number, count = d.number(), d.whole(0, 3)

    def fn(a: Any, b: Any, s: Any, n: Any) -> Any:
        y = a * number + s
        return y, y * b + n, np.sum(a * s + 1e-8), np.mean(y) * n, a**2 - n, np.maximum(a, s)

    return itself_or_gradient(d, fn, (a, b, 0.5, count), n=3)


def waves(d: Draw) -> tuple[Any, Any]:
    """Complex numbers: phases, conjugates, products and sums of them, in loops too."""
    n, steps = d.of([2, 3, 1, 5]), d.of([2, 3, 1])
    dtype = np.result_type(d.dtype, np.complex64)
    z, w, m, rows = (
        (d.array(*shape) + 1j * d.array(*shape)).astype(dtype)
        for shape in ((n,), (n,), (n, n), (steps, n))
    )
    x, s, a = d.array(n), d.of([1j, 2 - 1j, -0.5, 1.0]), d.number()

    def unrolled(z: Any, w: Any, m: Any, rows: Any) -> Any:
        h, total = z, 0.0
        for i in range(steps):
            h = np.tanh(m @ h + rows[i]) * w
            total = total + np.vdot(h, rows[i]) + np.sum(rows[i : i + 1] @ m)
        return h, total

    def scanned(z: Any, w: Any, m: Any, rows: Any) -> Any:
        def step(c: Any, r: Any) -> Any:
            h, total = c
            h = np.conj(m @ h) * w + r * s
            return (h, total + h * x), np.abs(h) + np.real(r) + np.imag(h * s)

        return tg.scan(step, (z, z * 0), rows)

    def repeated(z: Any, w: Any, m: Any, rows: Any) -> Any:
        h = tg.fori_loop(0, steps, lambda i, h: np.exp(1j * h.real) * w + z.conj(), z)
        chosen = tg.cond(np.sum(z.real) > 0, lambda h: h * s, np.conj, h)
        return chosen, tg.while_loop(lambda c: np.abs(c) < 3.0, lambda c: c * (2 + 1j), w[0] + 0.5)

    fns = {
        "energy": lambda z, w, m, rows: np.sum(np.abs(np.exp(z) * x + s) ** 2),
        "parts": lambda z, w, m, rows: (z.real * 1j + z.imag, np.real(z * np.conj(z)), z.imag * a),
        "parts of values": lambda z, w, m, rows: np.imag(np.exp(z)) + np.abs(np.sin(w) * 2),
        "phases": lambda z, w, m, rows: (np.angle(z) * x, np.sign(w) * np.abs(z), z / np.abs(w)),
        "turns": lambda z, w, m, rows: (
            np.conj(np.conj(z)),
            1j * (1j * z),
            np.negative(-z) * 1.0,
            z / 1,
        ),
        "chain": lambda z, w, m, rows: (2.0 * (0.5 * z), z - (-2.0 * w), z - 0.0, z * s * a, z + z),
        "powers": lambda z, w, m, rows: (z**2, z**1, z**-1, z**0.5, np.sqrt(z * z), np.square(z)),
        "products": lambda z, w, m, rows: (m @ z, w @ m, m @ m.conj().T, rows @ m + rows[::-1] @ m),
        "dots": lambda z, w, m, rows: (np.vdot(z, w), z @ w, np.sum(z * w), np.sum(z * z.conj())),
        "sums": lambda z, w, m, rows: (np.sum(m * z, axis=0), np.sum(m, axis=1), np.mean(m * x)),
        "places": lambda z, w, m, rows: (tg.at(m)[0].set(w)[::-1], np.where(x > 0, z, 0), m[0] + w),
        "unrolled": unrolled,
        "scanned": scanned,
        "repeated": repeated,
    }
    fn = fns[d.of(sorted(fns))]
    return itself_or_gradient(
        d, fn, (z, w, m, rows), lambda y: np.sin(np.real(y)) + np.imag(y) * 0.5
    )


FAMILIES: tuple[Callable[[Draw], Any], ...] = (
    *(nets, layers, cells, embeddings, unrolled_embeddings, attentions, classifiers, mixtures),
    *(slices, polynomials, accumulations, products, stacks, far_apart, mixed, waves),
)


def drawn(name: str, seed: int) -> Drawn:
    """The function of a family that a seed gives."""
    family = next(x for x in FAMILIES if x.__name__ == name)
    fn, args = family(Draw(seed))
    return Drawn(fn, args, f"drawn({name!r}, {seed})")


# a proof takes long for a hundred steps
PROVED = tuple(x for x in ALSO if x != "cells")
NAMES = tuple(x.__name__ for x in FAMILIES)


def user_programs(name: str | None = None) -> st.SearchStrategy[Drawn]:
    """Functions as users write them, with arguments: of one family, or of any.

    The family "ops" is of random ops, as `tapegrad.testing.programs` draws them.
    """
    names = (*NAMES, "ops") if name is None else (name,)
    return st.one_of(
        [
            st.one_of(programs(max_steps=16), programs(12, also=PROVED)).map(
                lambda x: Drawn(x.step, x.arguments[0], "ops")
            )
            if name == "ops"
            else st.integers(0, 1 << 32).map(functools.partial(drawn, name))
            for name in names
        ]
    )
