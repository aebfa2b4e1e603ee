"""Instructions and constants that no output needs are dropped."""

from __future__ import annotations

from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Ref


@improvement
def drop_dead(builder: Builder) -> None:
    """Drop what no output depends on. Inputs stay: they are the program's signature.

    Fires on what passes have replaced, and on unused by-products.
    """
    if builder.is_needed:
        return
    instructions = builder.instructions
    needed, constants = bytearray(len(instructions)), bytearray(len(builder.constants))
    column = {"instruction": needed, "constant": constants, "input": bytearray(len(builder.inputs))}
    for x in builder.outputs:
        if type(x) is Ref:
            column[x.kind][x.index] = True
    kept = []
    for i in reversed(builder.order):
        if needed[i]:
            kept.append(i)
            for x in instructions[i].operands:
                if type(x) is Ref:
                    kind, index = x
                    column[kind][index] = True
    builder.keep(kept[::-1])
    if not all(constants):
        builder.keep_constants([i for i, is_needed in enumerate(constants) if is_needed])
    builder.is_needed = True
