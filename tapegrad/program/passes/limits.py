"""The limits of maximum and minimum are written out in full.

The quick loops of these two are for arrays only: with a number beside the array they take
up to three times as long, and more where the array is strided.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.ops.extremes import maximum, minimum
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref

# smaller ones take less time to compute than to start, and larger ones leave the cache
_SIZES = range(1 << 8, (1 << 18) + 1)


@improvement
def fill_limits(builder: Builder) -> None:
    """A number that an array is limited by becomes an array full of it.

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
