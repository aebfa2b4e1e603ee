"""Small concatenations that are filled part by part, through views that are made once.

Starting ``concatenate`` takes as long as ten assignments to such views.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any

import attrs

from tapegrad.ops.joining import concatenate
from tapegrad.ops.shape import reshape
from tapegrad.program.ir import Code, Ref

# bytes from which a copy takes longer than a call to start
_MOST = 1 << 12


@attrs.frozen
class Filling:
    """How a concatenation is filled.

    Attributes
    ----------
    parts
        What is copied, and the view that it is copied to, as written after the buffer's name.
    fixed
        The same for constants, which are copied once.
    unwritten
        Instructions that need not run: their operands are copied instead.
    """

    parts: tuple[tuple[Any, str], ...]
    fixed: tuple[tuple[Any, str], ...]
    unwritten: tuple[Ref, ...]


def fillings(program: Code) -> Mapping[Ref, Filling]:
    """The small concatenations, and how each is filled."""
    found: dict[Ref, Filling] = {}
    made = program.instructions
    if not any(x.op is concatenate for x in made):
        return found
    # static outputs need not be hashable
    outputs = [x for x in program.outputs if type(x) is Ref]
    uses = Counter(chain(chain.from_iterable([x.operands for x in made]), outputs))
    for i, instruction in enumerate(made):
        if instruction.op is not concatenate or Ref("instruction", i) in program.results:
            continue
        ref = Ref("instruction", i)
        size = math.prod(instruction.shape) * instruction.dtype.itemsize
        likes = [program.like(x) for x in instruction.operands]
        apart = instruction.options.get("axis", 0) is None
        if apart or not 0 < size <= _MOST or any(x.dtype != instruction.dtype for x in likes):
            continue
        found[ref] = _filling(program, ref, uses)
    return found


def _filling(program: Code, ref: Ref, uses: Mapping[Any, int]) -> Filling:
    instruction = program.of(ref)
    axis = instruction.options.get("axis", 0) % len(instruction.shape)
    parts, fixed, unwritten = [], [], []
    start = 0
    for x in instruction.operands:
        shape = program.like(x).shape
        stop = start + shape[axis]
        view = f"[{':, ' * axis}{start}:{stop}]"
        start = stop
        if not shape[axis]:
            continue
        if type(x) is Ref and x.kind == "constant":
            fixed.append((x, view))
            continue
        made = program.of(x) if type(x) is Ref and x.kind == "instruction" else None
        if made is not None and made.op is reshape and uses[x] == 1 and not axis:
            # the view takes the operand's shape, since it is contiguous
            unwritten.append(x)
            (x,) = made.operands
            view += f".reshape({program.like(x).shape})"
        parts.append((x, view))
    return Filling(tuple(parts), tuple(fixed), tuple(unwritten))
