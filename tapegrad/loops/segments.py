"""Loops in segments: the state before each is kept, and its steps are repeated on the way back.

A segment is a loop of its own, in a loop over the segments. So it has all that a nested loop has:
derivatives of any order in both modes, batches, programs and their files.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.core.primitive import Primitive
from tapegrad.core.tensor import Tensor
from tapegrad.declare.parts import part
from tapegrad.errors.words import got
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import repeat
from tapegrad.program.control.tracing import record_program, replay_code
from tapegrad.program.ir import Code, Input

# of each level of loops, as long as the steps of a few levels are enough
_MAX_STEPS = 32


def check_checkpoint(what: str, checkpoint: Any) -> Any:
    """The states that a loop keeps: None, a number of steps, or ``"binomial"``.

    Raises
    ------
    TypeError, ValueError
        For anything else; the message says how to write it.
    """
    if checkpoint is None or (isinstance(checkpoint, str) and checkpoint == "binomial"):
        return checkpoint
    is_number = isinstance(checkpoint, str | int | float | np.generic)
    must = (
        f'{what}: checkpoint must be None, "binomial", or a whole number of steps such as 20, 1 or '
        f"more; it is {repr(checkpoint) if is_number else got(checkpoint)}"
    )
    try:
        if isinstance(checkpoint, bool | Tensor):
            raise TypeError
        steps = operator.index(checkpoint)
    except TypeError:
        raise (ValueError if isinstance(checkpoint, str) else TypeError)(must) from None
    if steps < 1:
        raise ValueError(must)
    return steps


# --- a known number of steps ----------------------------------------------------------------


def record_loop(op: Primitive, loop: Loop, operands: Sequence[Any], checkpoint: Any) -> list[Any]:
    """The last carry of a loop, and the rows that its steps gave."""
    if checkpoint == 1:
        loop, checkpoint = attrs.evolve(loop, remember=False), None
    n: Any = loop.length
    if n is None and checkpoint is not None:
        return _record_growing(op, loop, operands, checkpoint)
    size, levels = (n, 0) if n is None or checkpoint is None else schedule(n, checkpoint)
    if n is None or size >= n:
        whole = repeat(op, loop, operands)
        return [part(whole, i) for i in range(loop.first_residual)]
    captured, carry, xs = loop.partition(operands)
    parts: list[list[Any]] = []
    done = 0
    for level in reversed(range(levels + 1)):
        count = (n - done) // size**level
        if not count:
            continue
        # the last steps, too few for a segment, are one
        sides = [count, *[size] * level] if level else [1, count]
        segments = loop
        for side in sides[:0:-1]:
            segments = _nest_loop(op, attrs.evolve(segments, length=side))
        start, stop = done, done + count * size**level
        done = stop
        if loop.reverse:
            start, stop = n - stop, n - start
        rows = [
            np.reshape(x if stop - start == n else x[start:stop], (*sides, *x.shape[1:]))
            for x in xs
        ]
        whole = repeat(op, attrs.evolve(segments, length=sides[0]), [*captured, *carry, *rows])
        carry = [part(whole, i) for i in range(loop.n_carry)]
        ys = [part(whole, i) for i in range(loop.n_carry, loop.first_residual)]
        parts.append([np.reshape(y, (stop - start, *y.shape[len(sides) :])) for y in ys])
    if loop.reverse:
        parts.reverse()
    return [*carry, *[y[0] if len(y) == 1 else np.concatenate(y) for y in zip(*parts, strict=True)]]


def schedule(n: int, checkpoint: int | str) -> tuple[int, int]:
    """The number of steps in a segment, and how many levels of segments there are.

    A segment of a higher level consists of as many of the level below.
    """
    if checkpoint != "binomial":
        return int(checkpoint), 1
    levels = 1
    while n > _MAX_STEPS ** (levels + 1):
        levels += 1
    most = math.floor(n ** (1 / (levels + 1)) + 1e-9)
    if most < 2:
        return n, 0

    def loops(size: int) -> int:
        return sum(n // size**level % size > 0 for level in range(levels))

    # a number that leaves no steps over, if there is one
    return min(range(most, most * 3 // 4, -1), key=loops), levels


def _nest_loop(op: Primitive, loop: Loop) -> Loop:
    """A loop whose steps are loops."""
    captured, carry, rows = loop.partition(loop.body.inputs)
    n: Any = loop.length
    rows = [Input(x.path, (n, *x.shape), x.dtype) for x in rows]

    def step(tensors: list[Tensor]) -> list[Any]:
        whole = repeat(op, loop, tensors, lean=True)
        return [part(whole, i) for i in range(loop.first_residual)]

    code = record_program(_segment_label(loop), [*captured, *carry, *rows], step)
    return attrs.evolve(loop, body=code, remember=False)


def _segment_label(loop: Loop) -> str:
    """The name of a segment, in messages that count its steps."""
    return f"a segment of {loop.body.label}"


# --- a number of steps that a value decides -------------------------------------------------


def _record_growing(
    op: Primitive, loop: Loop, operands: Sequence[Any], checkpoint: Any
) -> list[Any]:
    """The last carry of a loop in segments of so many steps, or each a step longer than the last.

    Its steps are loops, of at most as many steps as their first carry says.
    """
    assert loop.stop is not None
    body, stop, n, more = loop.body, loop.stop, loop.n_captured, int(checkpoint == "binomial")
    captured, carry, _ = loop.partition(body.inputs)
    # in a segment the number of steps that are left, and between segments that of the next
    inputs = [*captured, Input("size", (), np.dtype(int)), *carry]

    def replay(code: Code, xs: list[Any]) -> list[Any]:
        return replay_code(code, [*xs[:n], *xs[n + 1 :]])

    def segment(xs: list[Any]) -> list[Any]:
        whole = repeat(op, inner, xs, lean=True)
        return [xs[n] + more, *[part(whole, 1 + i) for i in range(loop.n_carry)]]

    step = record_program(body.label, inputs, lambda xs: [xs[n] - 1, *replay(body, xs)])
    ends = record_program(
        stop.label, inputs, lambda xs: [np.logical_and(replay(stop, xs)[0], xs[n] > 0)]
    )
    test = record_program(stop.label, inputs, lambda xs: replay(stop, xs))
    inner = attrs.evolve(loop, body=step, stop=ends, n_carry=loop.n_carry + 1)
    code = record_program(_segment_label(loop), inputs, segment)
    segments = attrs.evolve(inner, body=code, stop=test, remember=False)
    size = np.asarray(1 if more else checkpoint)
    whole = repeat(op, segments, [*operands[:n], size, *operands[n:]])
    return [part(whole, 1 + i) for i in range(loop.n_carry)]
