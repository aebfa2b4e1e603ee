"""Expand composite ops into their parts."""

from __future__ import annotations

from functools import partial
from itertools import compress
from typing import Any

import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import PARAMETER
from tapegrad.declare import facts
from tapegrad.declare.abstract import Recorder, call_silently, value_key
from tapegrad.ops.casting import astype
from tapegrad.program.builder import NUMBER, Builder
from tapegrad.program.ir import Constant, Instruction, content_key
from tapegrad.program.program import Improvement


@Improvement
def expand_composites(builder: Builder) -> None:
    """Replace each composite op by the ops that its forward function calls.

    Fires on softmax, sigmoid, mean and the like.
    """
    builder.rewrite(_expand, {op for op in builder.by_op if facts(op).composite})


def _expand(builder: Builder, instruction: Instruction) -> Any:
    """Append the parts of a composite; return the operand that replaces its result."""
    likes = [builder.placeholder(x) for x in instruction.operands]
    kinds = [value_key(x, lambda x: (x.shape, x.dtype)) for x in likes]
    key = content_key(instruction.with_operands(())), *kinds
    known = _KNOWN.get(key)
    if known is None:
        # keep the instruction, since a key may hold the ids of its options
        known = _KNOWN[key] = instruction, *_record_steps(instruction, likes)
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)), None)
    _, steps, at = known
    values = [*compress(instruction.operands, map(_is_array, likes))]
    for step, places in steps:
        if places is None:
            values.append(builder.constant(step) if type(step) is Constant else step)
        else:
            operands = tuple([values[i] for i in places])
            values.append(builder.append(step.with_operands(operands, stage=builder.stage)))
    result = values[at]
    # the parts may give another byte order than the op
    is_alike = builder.dtype(result) in (NUMBER, instruction.dtype)
    return result if is_alike else builder.emit(astype, result, dtype=instruction.dtype)


# the most recent expansions
_KNOWN: dict[Any, tuple[Instruction, list[Any], int]] = {}
_MOST_KNOWN = 1 << 8


def _is_array(like: Any) -> bool:
    return type(like) is np.ndarray


def _record_steps(instruction: Instruction, likes: list[Any]) -> tuple[list[Any], int]:
    """Return the steps of a composite's forward function, and the position of its result.

    Positions are in a table of values: the operands that are arrays, then the result of each step.
    A step is a constant, or an instruction and the positions of its operands.
    """
    recorder = Recorder(instruction.op.name)
    operands = [recorder.mark(x, "x") if _is_array(x) else x for x in likes]
    output = recorder.run(
        partial(call_silently, instruction.op.forward), operands, instruction.options
    )
    n, steps = len(recorder.inputs), list[Any]()
    places: dict[Any, int] = dict(zip(recorder.inputs, range(n), strict=True))

    def place(x: Any) -> int:
        if type(x) is Tensor:
            return places[x]
        is_array = isinstance(x, np.ndarray | np.generic)
        steps.append((Constant(x, captured=False) if is_array else x, None))
        return n + len(steps) - 1

    for x in [*recorder.tape][n:]:
        needs = [place(y) for y in x._operands]
        if not needs or x.op is PARAMETER:
            places[x] = needs[0] if needs else place(x._primal)
        else:
            places[x] = n + len(steps)
            steps.append((Instruction(x.op, (), x._options, x.shape, x.dtype), needs))
    return steps, place(output)
