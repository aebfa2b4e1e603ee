"""Elementwise instructions on large arrays are moved to where their result is first used.

Those that follow each other are written as one loop over blocks that stay in the cache;
what an instruction far from its use computes goes through memory twice more.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.plan import LARGE
from tapegrad.program.program import Builder, Program, users


def use_at_once(program: Program) -> Program:
    """The program with each large elementwise instruction just before its first use.

    It stays where it is if two large operands would have to be kept for it.
    """
    uses = users(program)
    place = list(range(len(program.instructions)))
    for i, instruction in reversed([*enumerate(program.instructions)]):
        used = [user for user in uses.get(Ref("instruction", i), ()) if user >= 0]
        if used and _is_large(instruction) and _ending(program, uses, i) <= 1:
            place[i] = min(place[user] for user in used)
    # an operand stands before its user in the old order, and so it does where they share a place
    order = sorted(range(len(place)), key=lambda i: (place[i], i))
    if order == sorted(order):
        return program
    builder = Builder(program.inputs, program.constants)
    moved: dict[Any, Ref] = {}

    def new(x: Any) -> Any:
        return moved.get(x, x) if type(x) is Ref else x

    for i in order:
        instruction = program.instructions[i]
        moved[Ref("instruction", i)] = builder.append(
            attrs.evolve(instruction, operands=tuple(map(new, instruction.operands)))
        )
    return builder.program(program, tuple(map(new, program.outputs)))


def _is_large(instruction: Instruction) -> bool:
    return instruction.is_elementwise and math.prod(instruction.shape) >= LARGE


def _ending(program: Program, uses: dict[Any, list[int]], i: int) -> int:
    """How many large arrays an instruction is the last to use."""
    return sum(
        max(uses[x]) == i and -1 not in uses[x] and math.prod(program.of(x).shape) >= LARGE
        for x in {x for x in program.instructions[i].operands if type(x) is Ref}
        if x.kind == "instruction"
    )
