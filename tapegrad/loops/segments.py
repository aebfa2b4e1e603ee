"""Loops in segments: the carry before a segment is kept, and the backward pass repeats its steps.

A segment is a loop inside a loop over the segments, and so supports derivatives of any order in
both modes, batches, programs and their files, like any nested loop.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal

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

# the largest number of steps in a level of a binomial schedule
_MAX_STEPS = 32

# None, a number of steps, or "binomial"
Checkpointing = int | Literal["binomial"] | None


def check_checkpoint(what: str, checkpoint: Any) -> Checkpointing:
    """Return the argument `checkpoint` of a loop: None, a number of steps, or ``"binomial"``.

    Raises
    ------
    TypeError, ValueError
        If it is anything else.
    """
    if checkpoint is None:
        return None
    if isinstance(checkpoint, str) and checkpoint == "binomial":
        return "binomial"
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


def record_loop(
    op: Primitive, loop: Loop, operands: Sequence[Any], checkpoint: Checkpointing
) -> list[Any]:
    """Run or record a loop, and return the leaves of its last carry and of its stacked results."""
    if checkpoint == 1:
        loop, checkpoint = attrs.evolve(loop, remember=False), None
    if checkpoint is not None:
        if loop.length is None:
            return _record_growing(op, loop, operands, checkpoint)
        size, levels = plan_segments(loop.length, checkpoint)
        if size < loop.length:
            return _record_levels(op, loop, operands, loop.length, size, levels)
    whole = repeat(op, loop, operands)
    return [part(whole, i) for i in range(loop.first_residual)]


def _record_levels(
    op: Primitive, loop: Loop, operands: Sequence[Any], n: int, size: int, levels: int
) -> list[Any]:
    """Record n steps as one loop over segments for each level, from the highest."""
    captured, carry, xs = loop.partition(operands)
    parts: list[list[Any]] = []
    done = 0
    for level in reversed(range(levels + 1)):
        count = (n - done) // size**level
        if not count:
            continue
        # the remaining steps, too few for a segment, are one loop
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


def plan_segments(n: int, checkpoint: int | str) -> tuple[int, int]:
    """Return the number of steps in a segment, and the number of levels of segments.

    A segment of a higher level consists of as many segments of the level below.
    """
    if checkpoint != "binomial":
        return int(checkpoint), 1
    levels = 1
    while n > _MAX_STEPS ** (levels + 1):
        levels += 1
    most = math.floor(n ** (1 / (levels + 1)) + 1e-9)
    if most < 2:
        return n, 0

    def count_loops(size: int) -> int:
        return sum(n // size**level % size > 0 for level in range(levels))

    # a segment size without remaining steps, if there is one
    return min(range(most, most * 3 // 4, -1), key=count_loops), levels


def _nest_loop(op: Primitive, loop: Loop) -> Loop:
    """Return a loop whose step is the given loop."""
    captured, carry, rows = loop.partition(loop.body.inputs)
    n = loop.length
    assert n is not None
    rows = [Input(x.path, (n, *x.shape), x.dtype) for x in rows]

    def step(tensors: list[Tensor]) -> list[Any]:
        whole = repeat(op, loop, tensors, lean=True)
        return [part(whole, i) for i in range(loop.first_residual)]

    code = record_program(_segment_label(loop), [*captured, *carry, *rows], step)
    return attrs.evolve(loop, body=code, remember=False)


def _segment_label(loop: Loop) -> str:
    """Return the name of a segment, for messages that count its steps."""
    return f"a segment of {loop.body.label}"


# --- a number of steps that a value decides -------------------------------------------------


def _record_growing(
    op: Primitive, loop: Loop, operands: Sequence[Any], checkpoint: int | str
) -> list[Any]:
    """Record a loop in segments, and return the leaves of its last carry.

    Each segment has `checkpoint` steps, or for "binomial" one step more than the segment before.
    The size of a segment is a value of its first carry.
    """
    assert loop.stop is not None
    body, stop, n, more = loop.body, loop.stop, loop.n_captured, int(checkpoint == "binomial")
    captured, carry, _ = loop.partition(body.inputs)
    # within a segment, size counts the remaining steps; between segments it is the next size
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
