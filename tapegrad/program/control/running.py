"""A long loop outside `compile`: its source is written for that one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad import tree
from tapegrad.core.rules import Parts
from tapegrad.declare.parts import PART
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import SCAN
from tapegrad.program.ir import Code, Input, Instruction, Ref
from tapegrad.program.text import runner


def run_written(loop: Loop, operands: Sequence[Any]) -> Parts:
    """The results of a loop, computed by source that is written for it."""
    inputs = tuple(map(_input, operands))
    refs = tuple([Ref("input", i) for i in range(len(inputs))])
    whole = Instruction(SCAN, refs, {"loop": loop}, (), np.dtype(float))
    parts = [
        Instruction(PART, (Ref("instruction", 0),), {"index": i}, x.shape, x.dtype)
        for i, x in enumerate(loop.like(operands).values)
    ]
    outputs = tuple([Ref("instruction", 1 + i) for i in range(len(parts))])
    structure = tree.flatten((0,) * len(parts))[1]
    code = Code(loop.body.label, inputs, (), (whole, *parts), outputs, structure)
    return Parts(runner(code)()(*operands))


def _input(x: Any) -> Input:
    if isinstance(x, np.ndarray):
        return Input("x", x.shape, x.dtype)
    return Input("x", (), np.dtype(type(x)), type(x).__name__)
