"""The limits of maximum and minimum become full arrays.

The fast loops of these two work on arrays only: with a number beside the array they take up to
three times as long, and more if the array is strided.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.extremes import maximum, minimum
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref

# below this a call's start dominates, and above it arrays leave the cache
_SIZES = range(1 << 8, (1 << 18) + 1)


@improvement
def fill_limits(builder: Builder) -> None:
    """A number that limits an array becomes an array filled with it.

    Fires on a sigmoid, which limits its exponent, and on `relu`.
    """
    known: dict[Any, Ref] = {}

    def filled(x: Any, shape: tuple[int, ...]) -> Any:
        if type(x) is not Ref or x.kind != "constant" or builder.shape(x) != ():
            return x
        if (x, shape) not in known:
            known[x, shape] = builder.constant(np.full(shape, builder.of(x).array))
        return known[x, shape]

    def visit(builder: Builder, instruction: Instruction) -> Any:
        shape, given = instruction.shape, instruction.operands
        if math.prod(shape) not in _SIZES or shape not in map(builder.shape, given):
            return None
        if any(builder.dtype(x) != instruction.dtype for x in given):
            return None
        operands = tuple([filled(x, shape) for x in given])
        return None if operands == given else instruction.on(operands)

    builder.rewrite(visit, (maximum, minimum))
