"""A run of elementwise instructions as a loop over blocks that stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapegrad.ops.reduction import sum as sum_
from tapegrad.program.expressions import Names, expression
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.memory import TOTALS, Plan, block_shape, length_of_blocks


def new_array(made: Instruction, names: Names) -> str:
    """The expression that makes the array of a result, in C order."""
    return f"{names.library('empty', np.empty)}({made.shape}, {made.dtype.str!r})"


def loop(
    program: Code,
    plan: Plan,
    run: range,
    values: Mapping[Ref, str],
    buffers: tuple[str, ...],
    names: Names,
) -> list[str]:
    """The lines that run these instructions block by block."""
    shape = block_shape(program, program.instructions[run.start])
    assert shape is not None
    size, step = math.prod(shape), length_of_blocks(program, run)
    low, length = names.new("lo"), names.new("n")
    made = {Ref("instruction", i) for i in run}
    before: list[str] = []
    body: list[str] = []
    after: list[str] = []
    # what each value is called in a block, and each buffer that holds blocks
    block: dict[Any, str] = {}
    scratch: dict[int, str] = {}

    def block_of(ref: Ref) -> None:
        whole, block[ref] = names.new(f"flat_{values[ref]}"), names.new(f"{values[ref]}_block")
        before.append(f"{whole} = {values[ref]}.reshape({size})")
        body.append(f"    {block[ref]} = {whole}[{low}:{low} + {step}]")

    def place(ref: Ref) -> str:
        """The block of a result that is written whole."""
        if ref not in block:
            home, made = plan.home.get(ref), program.of(ref)
            if ref in plan.early:
                whole_place = values[plan.early[ref]]
            else:
                whole_place = new_array(made, names) if home is None else buffers[home]
            before.append(f"{values[ref]} = {whole_place}")
            block_of(ref)
        return block[ref]

    def buffer(home: int) -> str:
        """The block that a buffer holds."""
        if home not in scratch:
            scratch[home] = names.new(f"{buffers[home]}_block")
            body.append(f"    {scratch[home]} = {buffers[home]}[:{length}]")
        return scratch[home]

    given = {x for i in run for x in program.instructions[i].operands if type(x) is Ref} - made
    for x in sorted(given, key=lambda x: (x.kind, x.index)):
        if program.like(x).shape == shape:
            block_of(x)
            if x.kind == "instruction" and x not in plan.home:
                # these views would hold its memory
                after.append(f"del {before[-1].split()[0]}, {block[x]}")
    for i in run:
        instruction, ref = program.instructions[i], Ref("instruction", i)
        name = values[ref]
        if instruction.op in TOTALS:
            scalar = instruction.dtype.type
            parts = [block[x] for x in instruction.operands]
            before.append(f"{name} = 0.0")
            if instruction.op is sum_:
                body.append(f"    {name} += {names.library('add', np.add)}.reduce({parts[0]})")
            else:
                body.append(f"    {name} += {parts[0]}.dot({parts[1]})")
            after.append(f"{name} = {names.library(scalar.__name__, scalar)}({name})")
            continue
        host = plan.guests.get(ref)
        if ref not in plan.passing:
            out = name = place(ref)
        else:
            out = buffer(plan.home[ref]) if host is None else place(host)
            block[ref] = name
        used = [x for x in instruction.operands if type(x) is Ref and x in values]
        called = {x: block.get(x) or values[x] for x in used}
        text = expression(program, i, called, out, names)
        body.append(f"    {name} = {text}")
    return [
        f"# {len(run)} instructions, block by block: {step} elements stay in the cache",
        *before,
        f"for {low} in range(0, {size}, {step}):",
        f"    {length} = min({step}, {size} - {low})",
        *body,
        *after,
    ]
