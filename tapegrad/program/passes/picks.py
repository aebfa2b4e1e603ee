"""Elements are picked from rows before all of them are computed, and by one flat index."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from tapegrad.core.rules import Rules
from tapegrad.ops.arithmetic import add, negative, subtract
from tapegrad.ops.reduction import argmax, argmin
from tapegrad.ops.reduction import max as max_
from tapegrad.ops.reduction import min as min_
from tapegrad.ops.rows import add_at_places, index_select, pick, row_places, unpick
from tapegrad.program import cost
from tapegrad.program.builder import Builder, Visit
from tapegrad.program.ir import Instruction
from tapegrad.program.passes.sums import is_contiguous
from tapegrad.program.program import Improvement


@Improvement
def pick_first(builder: Builder) -> None:
    """Elements are picked by flat indices, before a column is subtracted from all.

    Fires on the loss of a classifier, which reads one logarithm of each row.
    """
    if builder.has((pick, unpick, max_, min_)):
        picked = partial(_picked, builder.uses())
        rules: dict[Rules, Visit] = {
            pick: picked,
            add: _added,
            subtract: _added,
            max_: _largest,
            min_: _largest,
        }
        builder.rewrite(
            lambda builder, instruction: rules[instruction.op](builder, instruction),
            rules,
            lambda form: unpick in form or form[0] not in (add, subtract),
        )


def _picked(uses: Counter[Any], builder: Builder, instruction: Instruction) -> Any:
    """``(x - c)[i] -> x[i] - c``, where the difference is needed for nothing else."""
    a, indices = instruction.operands
    shape = builder.shape(a)
    difference = builder.source(a, subtract)
    if 0 in shape:
        return None
    if difference is not None and uses[a] == 1:
        rows, column = difference.operands
        if builder.shape(rows) == shape and builder.shape(column) == (*shape[:-1], 1):
            picked = _flat(builder, rows, indices, instruction.shape)
            return builder.emit(subtract, picked, builder.reshaped(column, instruction.shape))
    return _flat(builder, a, indices, instruction.shape)


def _flat(builder: Builder, a: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    of = builder.shape(a)
    places = builder.emit(row_places, indices, n=of[-1])
    picked = builder.emit(index_select, builder.reshaped(a, (math.prod(of),)), places)
    return builder.reshaped(picked, shape)


def _added(builder: Builder, instruction: Instruction) -> Any:
    """``a + unpick(v, i)`` -> a copy of a to which v is added at the places i."""
    one, other = instruction.operands
    unpicked = builder.source(other, unpick)
    a, sign = one, 1
    if unpicked is None and instruction.op is add:
        unpicked, a = builder.source(one, unpick), other
    elif unpicked is not None and instruction.op is subtract:
        sign = -1
    if unpicked is None or not builder.shape(a) == instruction.shape == unpicked.shape:
        return None
    values, indices = unpicked.operands
    if not builder.dtype(a) == instruction.dtype == builder.dtype(values):
        return None
    if sign < 0:
        values = builder.emit(negative, values)
    places = builder.emit(row_places, indices, n=unpicked.options["n"])
    return builder.emit(add_at_places, a, values, places)


def _largest(builder: Builder, instruction: Instruction) -> Any:
    """``max(a, -1) -> a[argmax(a, -1)]``, which takes a fifth of the time."""
    (a,) = instruction.operands
    shape = builder.shape(a)
    if len(shape) < 2 or math.prod(shape) < cost.ARGMAX_ELEMENTS or shape[-1] == 1:
        return None
    if instruction.dtype.char not in "fd" or builder.dtype(a) != instruction.dtype:
        return None
    # others would have to be copied first
    if not is_contiguous(builder, a):
        return None
    if instruction.options.get("axis") != len(shape) - 1:
        return None
    n = shape[-1]
    rows = builder.reshaped(a, (math.prod(shape) // n, n))
    at = builder.emit(argmax if instruction.op is max_ else argmin, rows, axis=1)
    starts = builder.constant(np.arange(0, math.prod(shape), n))
    places = builder.emit(add, at, starts)
    largest = builder.emit(index_select, builder.reshaped(a, (math.prod(shape),)), places)
    return builder.reshaped(largest, instruction.shape)
