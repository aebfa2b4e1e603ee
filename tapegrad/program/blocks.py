"""A run of elementwise instructions as a loop over blocks that stay in the cache."""

from __future__ import annotations

import math
from collections import ChainMap
from typing import Any

from tapegrad.ops.reduction import sum as sum_
from tapegrad.program.frame import Frame
from tapegrad.program.ir import Ref
from tapegrad.program.lines import Block, Line
from tapegrad.program.memory import TOTALS, block_shape, length_of_blocks


class Blocks:
    """A loop that runs these instructions block by block, while it is written."""

    def __init__(self, frame: Frame, run: range) -> None:
        self.frame, self.program, self.run = frame, frame.program, run
        self.shape = block_shape(self.program, self.program.instructions[run.start]) or ()
        self.size = math.prod(self.shape)
        self.step = length_of_blocks(self.program, run)
        self.low = frame.names.new("lo")
        self.body: list[Line] = []
        self.after: list[Line] = []
        # what each value is called in a block, and by the name of each array of one, what it is
        self.block: dict[Any, str] = {}

    def write(self) -> None:
        """Write all lines."""
        low, step, size = self.low, self.step, self.size
        about = f"{len(self.run)} instructions, block by block: {step} elements stay in the cache"
        self.frame.write("", "", about)
        self._read()
        for i in self.run:
            if self.program.instructions[i].op in TOTALS:
                self._total(i)
            else:
                self._write(i)
        self.frame.lines.append(Block(f"for {low} in range(0, {size}, {step}):", self.body))
        self.frame.lines += self.after

    def _read(self) -> None:
        """Have each block see its part of the arrays that the run needs."""
        instructions = self.program.instructions
        operands = {x for i in self.run for x in instructions[i].operands if type(x) is Ref}
        operands -= {Ref("instruction", i) for i in self.run}
        for x in sorted(operands):
            if self.program.like(x).shape == self.shape:
                views = self._block_of(x)
                if x.kind == "instruction" and x not in self.frame.places:
                    # they would hold its memory
                    self.after.append(Line("", f"del {', '.join(views)}"))

    def _total(self, i: int) -> None:
        """Add up the totals of the blocks."""
        instruction, names = self.program.instructions[i], self.frame.names
        name, scalar = self.frame.values[Ref("instruction", i)], instruction.dtype.type.__name__
        parts = [self.block[x] for x in instruction.operands]
        self.frame.write(name, "0.0")
        if instruction.op is sum_:
            total = f"{names.library('add')}.reduce({parts[0]})"
        else:
            total = f"{parts[0]}.dot({parts[1]})"
        self.body.append(Line("", f"{name} += {total}"))
        self.after.append(Line(name, f"{names.library(scalar)}({name})"))

    def _write(self, i: int) -> None:
        """Write a result's block: to memory of one, or to its place in the whole result."""
        ref, frame, block = Ref("instruction", i), self.frame, self.block
        name = frame.values[ref]
        array = frame.out(ref) or frame.new_array(self.program.of(ref))
        if ref not in frame.plan.guests:
            frame.write(name, array)
            self._block_of(ref)
            name = out = block[ref]
        elif array not in block:
            out = block[array] = frame.names.new(f"{array}_block")
            # the last block may be shorter
            self.body.append(Line(out, f"{array}[:{self.size} - {self.low}]"))
        else:
            out = block[array]
        self.body.append(Line(name, frame.expression(i, out, ChainMap(block, frame.values))))
        block[ref] = name

    def _block_of(self, ref: Ref) -> list[str]:
        """Have each block see its part of an array; the names of views of it, all in one axis."""
        whole, names, views = self.frame.values[ref], self.frame.names, list[str]()
        block = self.block[ref] = names.new(f"{whole}_block")
        if len(self.shape) > 1:
            views.append(names.new(f"flat_{whole}"))
            self.frame.write(views[0], f"{whole}.reshape({self.size})")
            whole = views[0]
        self.body.append(Line(block, f"{whole}[{self.low}:{self.low} + {self.step}]"))
        return [*views, block]
