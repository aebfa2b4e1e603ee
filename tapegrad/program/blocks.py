"""Write a run of elementwise instructions as a loop over blocks that fit the cache."""

from __future__ import annotations

import math
from collections import ChainMap
from typing import Any

from tapegrad.ops.reduction import sum as sum_
from tapegrad.program.frame import Frame
from tapegrad.program.ir import Ref
from tapegrad.program.lines import Block, Line
from tapegrad.program.memory import TOTALS, block_shape, length_of_blocks


def write_blocks(frame: Frame, run: range) -> None:
    """Write a loop that runs these instructions block by block."""
    program, names, values = frame.program, frame.names, frame.values
    shape = block_shape(program, program.instructions[run.start]) or ()
    size, step, low = math.prod(shape), length_of_blocks(program, run), names.new("lo")
    about = f"{len(run)} instructions, block by block: {step} elements stay in the cache"
    frame.write("", "", about)
    body: list[Line] = []
    after: list[Line] = []
    # the name in a block of each value, and of each array that holds a block, by its own name
    block: dict[Any, str] = {}

    def see(x: Ref) -> list[str]:
        """Write the part of an array in each block; return the names of its flat views."""
        block[x], views = names.new(f"{values[x]}_block"), [values[x]]
        if len(shape) > 1:
            views.append(names.new(f"flat_{values[x]}"))
            frame.write(views[1], f"{values[x]}.reshape({size})")
        body.append(Line(block[x], f"{views[-1]}[{low}:{low} + {step}]"))
        return [*views[1:], block[x]]

    refs = frame.plan.refs[run.start : run.stop]
    operands = {x for ref in refs for x in program.definition(ref).operands if type(x) is Ref}
    for x in sorted(operands.difference(refs)):
        if program.spec(x).shape == shape:
            views = see(x)
            if x.kind == "instruction" and x not in frame.places:
                # the views would keep its memory in use
                after.append(Line("", f"del {', '.join(views)}"))
    for x in refs:
        instruction, name = program.definition(x), values[x]
        if instruction.op in TOTALS:
            parts = [block[y] for y in instruction.operands]
            total = f"{parts[0]}.dot({parts[-1]})"
            if instruction.op is sum_:
                total = f"{names.library('add')}.reduce({parts[0]})"
            frame.write(name, "0.0")
            body.append(Line("", f"{name} += {total}"))
            after.append(Line(name, f"{names.library(instruction.dtype.type.__name__)}({name})"))
            continue
        array = frame.out(x) or frame.new_array(instruction)
        if x not in frame.plan.block_values:
            frame.write(name, array)
            name = out = see(x)[-1]
        else:
            if array not in block:
                block[array] = names.new(f"{array}_block")
                # the last block may be shorter
                body.append(Line(block[array], f"{array}[:{size} - {low}]"))
            out = block[array]
        body.append(Line(name, frame.expression(x.index, out, ChainMap(block, values))))
        block[x] = name
    frame.lines += [Block(f"for {low} in range(0, {size}, {step}):", body), *after]
