"""Loops and branches of a batch of examples: the body of one is replayed with one more axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.core.batch import Has, filled, replay
from tapegrad.core.forward import apply
from tapegrad.core.origin import Origin
from tapegrad.core.parts import Parts
from tapegrad.core.tape import Tape, last_written, recorded_from, write_parameter
from tapegrad.core.tensor import Rules, Tensor
from tapegrad.program.control.body import example, program_of, replayed
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.ir import Code, Input
from tapegrad.program.program import Program


def batch_loop(op: Rules, has: Has, *operands: Any, loop: Loop) -> Any:
    """A loop of all examples: its carry and what it gives have the leading axis."""
    n_captured, first = loop.n_captured, loop.n_captured + loop.n_carry
    n = operands[has.index(True)].shape[0]
    varies = (*has[:n_captured], *(True,) * loop.n_carry, *has[first:])
    given = list(operands)
    for i in range(n_captured, first):
        given[i] = filled(operands[i], has[i], n)
    for i in range(first, len(given)):
        # a step takes the row of all examples
        given[i] = np.swapaxes(given[i], 0, 1) if has[i] else given[i]
    body = _batched(loop.body, varies, n)
    stop = None
    if loop.stop is not None:
        test = _batched(loop.stop, varies, n)
        # the others do not move while one goes on, which what is kept would not say
        body, stop = _while_any(body, test, loop)
    moving = frozenset(i for i, x in enumerate(given) if type(x) is Tensor and x.dtype.kind == "f")
    batched = attrs.evolve(loop, body=body, stop=stop, moving=moving)
    whole = apply(op, tuple(given), {"loop": batched})
    if type(whole) is Tensor:
        return whole
    stacked = [np.swapaxes(x, 0, 1) for x in whole.values[loop.n_carry :]]
    return Parts((*whole.values[: loop.n_carry], *stacked))


def batch_branch(op: Rules, has: Has, pred: Any, *operands: Any, branch: Branch) -> Any:
    """A branch of all examples: both sides, where they differ in which is taken."""
    n = (pred, *operands)[has.index(True)].shape[0]
    on_true, on_false = [_batched(code, has[1:], n) for code in (branch.on_true, branch.on_false)]
    if not has[0]:
        return apply(op, (pred, *operands), {"branch": Branch(on_true, on_false)})
    inputs = [_input(pred), *on_true.inputs]

    def chosen(tensors: list[Tensor]) -> list[Any]:
        condition, *given = tensors
        sides = [replayed(code, given)[1] for code in (on_true, on_false)]
        found = []
        for a, b in zip(*sides, strict=True):
            mask = np.reshape(condition, (n, *(1,) * (np.ndim(a) - 1)))
            found.append(np.where(mask, a, b))
        return found

    code = program_of(on_true.label, inputs, chosen)
    # of a branch that both sides of are the same
    return apply(op, (True, pred, *operands), {"branch": Branch(code, code)})


def _batched(code: Code, has: Sequence[bool], n: int) -> Program:
    """A program of all examples: outputs with the leading axis, from inputs with and without."""
    inputs = [
        attrs.evolve(x, shape=(n, *x.shape), number=None) if b else x
        for x, b in zip(code.inputs, has, strict=True)
    ]

    def call(tensors: list[Tensor]) -> list[Any]:
        around = last_written().origin
        origin = Origin(code.label, True, around=around)
        last: Any = origin
        own, known = [], {}
        for x, t, b in zip(code.inputs, tensors, has, strict=True):
            last = write_parameter(last, example(x) if b else t, x.path)
            own.append(last)
            if b:
                known[last] = t
        (_, outputs), last = recorded_from(last, replayed, (code, own))
        found = replay(Tape(last, origin), outputs, known, n)
        return [filled(x, b, n) for x, b in found]

    return program_of(code.label, inputs, call)


def _while_any(body: Program, test: Program, loop: Loop) -> tuple[Program, Program]:
    """A loop that goes on as long as one example does; the others stay as they are."""
    first = loop.n_captured

    def step(tensors: list[Tensor]) -> list[Any]:
        (goes_on,) = replayed(test, tensors)[1]
        after = replayed(body, tensors)[1][: loop.n_carry]
        found = []
        for before, x in zip(tensors[first:], after, strict=True):
            mask = np.reshape(goes_on, (-1, *(1,) * (np.ndim(x) - 1)))
            found.append(np.where(mask, x, before))
        return found

    def goes_on(tensors: list[Tensor]) -> list[Any]:
        return [np.any(replayed(test, tensors)[1][0])]

    return program_of(body.label, body.inputs, step), program_of(test.label, test.inputs, goes_on)


def _input(x: Any) -> Input:
    return Input("pred", x.shape, x.dtype)
