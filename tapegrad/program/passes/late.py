"""Elementwise instructions on large arrays are moved to where their results are first used.

Successive ones are written as one loop over blocks that stay in the cache; a result that is used
far away goes through memory twice more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.plan import LARGE


@improvement
def use_at_once(builder: Builder) -> None:
    """Each large elementwise instruction goes just before its first use.

    Fires on large arrays that are computed far from where they are used. One stays where it
    is if two large operands would have to be kept for it.
    """
    if not any(_is_large(instruction) for _, instruction in builder.in_order()):
        return
    uses = builder.users()
    place = {i: k for k, i in enumerate(builder.order)}
    for i in reversed(builder.order):
        instruction = builder.instructions[i]
        used = [user for user in uses.get(builder.refs[i], ()) if user >= 0]
        if used and _is_large(instruction) and _ending(builder, uses, i) <= 1:
            place[i] = min(place[user] for user in used)
    # where an operand and its user share a place, the old order keeps the operand first
    builder.reorder(sorted(builder.order, key=place.__getitem__))


def _is_large(instruction: Instruction) -> bool:
    return instruction.is_elementwise and math.prod(instruction.shape) >= LARGE


def _ending(builder: Builder, uses: Mapping[Ref, list[int]], i: int) -> int:
    """The number of large arrays that are last used by an instruction."""
    return sum(
        uses[x][-1] == i and math.prod(builder.of(x).shape) >= LARGE
        for x in {x for x in builder.instructions[i].operands if type(x) is Ref}
        if x.kind == "instruction"
    )
