"""Instructions and constants that no output needs are dropped."""

from __future__ import annotations

import attrs

from tapegrad.program.ir import Ref
from tapegrad.program.program import Builder, Program


def drop_dead(program: Program) -> Program:
    """The program without what no output depends on. Inputs stay: they are its signature.

    Fires on what passes have replaced, and on by-products that nobody asked for.
    """
    needed = {x for x in program.outputs if type(x) is Ref}
    for i in reversed(range(len(program.instructions))):
        if Ref("instruction", i) in needed:
            operands = program.instructions[i].operands
            needed.update(x for x in operands if type(x) is Ref)
    builder = Builder(program.inputs)
    moved: dict[Ref, Ref] = {}
    for i, constant in enumerate(program.constants):
        if Ref("constant", i) in needed:
            builder.constants.append(constant)
            moved[Ref("constant", i)] = Ref("constant", len(builder.constants) - 1)
    for i, instruction in enumerate(program.instructions):
        if Ref("instruction", i) in needed:
            operands = tuple(moved.get(x, x) if type(x) is Ref else x for x in instruction.operands)
            moved[Ref("instruction", i)] = builder.append(
                attrs.evolve(instruction, operands=operands)
            )
    outputs = tuple(moved.get(x, x) if type(x) is Ref else x for x in program.outputs)
    return builder.program(program, outputs)
