"""Sparsity patterns through loops and branches, whose bodies are programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tapegrad.core.primitive import Parts
from tapegrad.declare.abstract import call_silently, stand_in
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import Code, Instruction
from tapegrad.transforms.pattern import (
    Dependence,
    UnknownSizeError,
    as_dependence,
    full_dependence,
    identity_dependence,
    infer_dependence,
    merge_keys,
    no_dependence,
    varying_parts,
)
from tapegrad.types import Array


def branch_dependences(operands: Sequence[Any], like: Parts, branch: Branch) -> Parts:
    """Return the dependences of the results of a branch, which may run either program."""
    sides = [code_dependences(code, operands[1:]) for code in (branch.on_true, branch.on_false)]
    n = varying_parts(operands)[0].n
    keys = [merge_keys([x.keys for x in varying_parts(pair)]) for pair in zip(*sides, strict=True)]
    return _parts_from_keys(like, n, keys)


def _parts_from_keys(like: Parts, n: int, keys: Iterable[Array]) -> Parts:
    """Return the dependences of results like these, given their keys."""
    pairs = zip(like.values, keys, strict=True)
    return Parts(tuple([Dependence(np.shape(x), n, own) for x, own in pairs]))


def code_dependences(code: Code, inputs: Iterable[Any]) -> list[Any]:
    """Return the dependences of a program's outputs, given the dependences of its inputs."""

    def apply(instruction: Instruction, operands: list[Any]) -> Any:
        op, options = instruction.op, instruction.options
        if not varying_parts(operands):
            return call_silently(op.forward, *operands, **options)
        like = stand_in(instruction.shape, instruction.dtype)
        if op.like is not None and not instruction.shape:  # it may have several results
            likes = map(code.spec, instruction.operands)
            values = [
                stand_in(known.shape, np.dtype(known.dtype)) if type(x) is Dependence else x
                for x, known in zip(operands, likes, strict=True)
            ]
            like = op.like(*values, **options)
        return infer_dependence(op, operands, options, like)

    return make_interpreter(code, apply)(inputs)


def loop_dependences(operands: Sequence[Any], like: Parts, loop: Loop) -> Parts:
    """Return the dependences of the results of a loop, step by step.

    If a value decides the number of steps, also in a derivative of such a loop, each result depends
    on all operands.
    """
    n = varying_parts(operands)[0].n
    if loop.length is None:
        if any(np.shape(x)[:1] == (0,) for x in like.values[loop.n_carry :]):
            raise UnknownSizeError
        inputs = merge_keys([x.pairs[1] for x in varying_parts(operands)])
        return Parts(tuple([full_dependence(np.shape(x), n, inputs) for x in like.values]))
    of_operands = [as_dependence(x, n) for x in operands]
    captured, carried, arrays = loop.partition(of_operands)
    # the results of a step by its inputs, whose elements are numbered consecutively
    starts = np.cumsum([0, *[math.prod(x.shape) for x in loop.body.inputs]])
    total = int(starts[-1])
    numbers = [
        x
        if i < len(captured) and type(x) is not Dependence
        else identity_dependence(y.shape, total, starts[i])
        if y.dtype.kind in "fc"
        else no_dependence(y.shape, total)
        for i, (x, y) in enumerate(zip(operands, loop.body.inputs, strict=True))
    ]
    step = [as_dependence(x, total) for x in code_dependences(loop.body, numbers)]

    def row(x: Dependence, t: int) -> Array:
        size = math.prod(x.shape[1:]) * n
        low, high = np.searchsorted(x.keys, [t * size, (t + 1) * size])
        return x.keys[low:high] - t * size

    carry = [x.keys for x in carried]
    kept: list[list[Array]] = [[] for _ in step[loop.n_carry :]]
    for t in range(loop.length)[:: -1 if loop.reverse else 1]:
        now = [x.keys for x in captured] + carry + [row(x, t) for x in arrays]
        keys = np.concatenate([k + i * n for k, i in zip(now, starts, strict=False)])
        state = Dependence((total,), n, keys)
        results = [merge_keys([state.compose(x.pairs)]) for x in step]
        carry = results[: loop.n_carry]
        for rows, x, keys in zip(kept, step[loop.n_carry :], results[loop.n_carry :], strict=True):
            rows.append(keys + t * x.size * n)
    return _parts_from_keys(like, n, [*carry, *map(merge_keys, kept)])
