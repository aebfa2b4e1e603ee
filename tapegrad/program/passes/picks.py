"""Pick elements of rows by one flat index."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.arithmetic import add, negative, subtract
from tapegrad.ops.reduction import argmax, argmin
from tapegrad.ops.reduction import max as max_
from tapegrad.ops.reduction import min as min_
from tapegrad.ops.rows import add_at_places, index_select, pick, row_places, unpick
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction
from tapegrad.program.passes.algebra import split_operands
from tapegrad.program.passes.operands import is_in_c_order
from tapegrad.program.passes.sums import is_floating
from tapegrad.program.program import rule


@rule(pick, complex=True)
def pick_first(builder: Builder, instruction: Instruction) -> Any:
    """``a[range(n), i]`` -> the elements of a flat array at the places i.

    Fires on the loss of a classifier, which reads one logarithm of each row.
    """
    a, indices = instruction.operands
    shape = builder.shape(a)
    if 0 in shape:
        return None
    places = builder.emit(row_places, indices, n=shape[-1])
    picked = builder.emit(index_select, builder.reshape(a, (math.prod(shape),)), places)
    return builder.reshape(picked, instruction.shape)


@rule(add, subtract, complex=True, where=lambda form: unpick in form)
def add_picked(builder: Builder, instruction: Instruction) -> Any:
    """``a + unpick(v, i)`` -> a copy of a to which v is added at the places i.

    Fires on the gradient of an instruction that `pick_first` replaces.
    """
    a, unpicked = split_operands(builder, instruction, unpick)
    if unpicked is None or not builder.shape(a) == instruction.shape == unpicked.shape:
        return None
    values, indices = unpicked.operands
    if not builder.dtype(a) == instruction.dtype == builder.dtype(values):
        return None
    if instruction.op is subtract:
        values = builder.emit(negative, values)
    places = builder.emit(row_places, indices, n=unpicked.options["n"])
    return builder.emit(add_at_places, a, values, places)


@rule(max_, min_, complex=True)
def find_largest(builder: Builder, instruction: Instruction) -> Any:
    """``max(a, -1) -> a[argmax(a, -1)]``, which takes a fifth of the time.

    Fires on a softmax, which takes the largest from each row.
    """
    (a,) = instruction.operands
    shape = builder.shape(a)
    if len(shape) < 2 or math.prod(shape) < cost.ARGMAX_ELEMENTS or (n := shape[-1]) == 1:
        return None
    is_last = instruction.options.get("axis") == len(shape) - 1
    if not is_last or not is_floating(builder, instruction, a):
        return None
    # an array in another order would be copied first
    if not is_in_c_order(builder, a, guess=False):
        return None
    rows = builder.reshape(a, (math.prod(shape) // n, n))
    at = builder.emit(argmax if instruction.op is max_ else argmin, rows, axis=1)
    starts = builder.constant(np.arange(0, math.prod(shape), n))
    places = builder.emit(add, at, starts)
    largest = builder.emit(index_select, builder.reshape(a, (math.prod(shape),)), places)
    return builder.reshape(largest, instruction.shape)
