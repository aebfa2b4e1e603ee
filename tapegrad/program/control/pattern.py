"""Sparsity patterns through loops and branches, whose bodies are programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.core.rules import Parts
from tapegrad.declare.abstract import silently, stand_in
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.ir import Code, interpreted
from tapegrad.transforms.pattern import (
    Dependence,
    UnknownSizeError,
    dependence_of,
    full,
    leaves,
    none,
    numbered,
    unique,
)
from tapegrad.tree.ownership import Array


def of_branch(operands: Sequence[Any], like: Parts, branch: Branch) -> Parts:
    """The results of either program."""
    sides = [of_code(code, operands[1:]) for code in (branch.on_true, branch.on_false)]
    n = leaves(operands)[0].n
    pairs = zip(*sides, branch.on_true.outputs, strict=True)
    return Parts(tuple([_either(a, b, branch.on_true.like(x).shape, n) for a, b, x in pairs]))


def _either(a: Any, b: Any, shape: tuple[int, ...], n: int) -> Dependence:
    known = leaves([a, b])
    return Dependence(shape, n, unique([x.keys for x in known])) if known else none(shape, n)


def of_code(code: Code, inputs: Iterable[Any]) -> list[Any]:
    """The dependences of a program's outputs, from those of its inputs; constants stay."""

    def apply(instruction: Any, operands: list[Any]) -> Any:
        op, options = instruction.op, instruction.options
        if not leaves(operands):
            return silently(op.forward, *operands, **options)
        like = stand_in(instruction.shape, instruction.dtype)
        if op.like is not None and not instruction.shape:  # it may have several results
            likes = map(code.like, instruction.operands)
            values = [
                stand_in(known.shape, np.dtype(known.dtype)) if type(x) is Dependence else x
                for x, known in zip(operands, likes, strict=True)
            ]
            like = op.like(*values, **options)
        return dependence_of(op, operands, options, like)

    return interpreted(code, inputs, apply)


def of_while(operands: Sequence[Any], like: Parts, loop: Loop) -> Parts:
    """The results of a loop that a value ends, or of its derivative: of all that it is given."""
    n = leaves(operands)[0].n
    if any(np.shape(x)[:1] == (0,) for x in like.values[loop.n_carry :]):
        raise UnknownSizeError
    inputs = unique([x.pairs[1] for x in leaves(operands)])
    return Parts(tuple([full(np.shape(x), n, inputs) for x in like.values]))


def of_loop(operands: Sequence[Any], like: Parts, loop: Loop) -> Parts:
    """The results of a loop, a step at a time."""
    n = leaves(operands)[0].n
    varying = [x if type(x) is Dependence else none(np.shape(x), n) for x in operands]
    captured, carried, arrays = loop.apart(varying)
    # what a step's results have from its inputs, numbered one after the other
    starts = np.cumsum([0, *[math.prod(x.shape) for x in loop.body.inputs]])
    total = int(starts[-1])
    numbers = [
        x
        if i < len(captured) and type(x) is not Dependence
        else numbered(y.shape, total, starts[i])
        if y.dtype.kind in "fc"
        else none(y.shape, total)
        for i, (x, y) in enumerate(zip(operands, loop.body.inputs, strict=True))
    ]
    shapes = [loop.body.like(x).shape for x in loop.body.outputs]
    steps_of = zip(of_code(loop.body, numbers), shapes, strict=True)
    pairs = [x if type(x) is Dependence else none(s, total) for x, s in steps_of]
    sizes = [math.prod(s) * n for s in shapes[loop.n_carry :]]

    def row(x: Dependence, t: int) -> Array:
        size = math.prod(x.shape[1:]) * n
        low, high = np.searchsorted(x.keys, [t * size, (t + 1) * size])
        return x.keys[low:high] - t * size

    carry = [x.keys for x in carried]
    kept: list[list[Array]] = [[] for _ in sizes]
    for t in range(loop.steps(varying) or 0)[:: -1 if loop.reverse else 1]:
        now = [x.keys for x in captured] + carry + [row(x, t) for x in arrays]
        keys = np.concatenate([k + i * n for k, i in zip(now, starts, strict=False)])
        state = Dependence((total,), n, keys)
        results = [unique([state.through(x.pairs)]) for x in pairs]
        carry = results[: loop.n_carry]
        for rows, keys, size in zip(kept, results[loop.n_carry :], sizes, strict=True):
            rows.append(keys + t * size)
    ends = [*carry, *[unique([*rows, np.zeros(0, int)]) for rows in kept]]
    pairs_of = zip(like.values, ends, strict=True)
    return Parts(tuple([Dependence(np.shape(x), n, keys) for x, keys in pairs_of]))
