"""A long loop outside `compile`: its source is written for that one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapegrad.core.forward import apply
from tapegrad.core.rules import Parts
from tapegrad.declare.parts import parts_of
from tapegrad.program.control.body import input_like, program_of
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import SCAN
from tapegrad.program.text import runner


def run_written(loop: Loop, operands: Sequence[Any]) -> Parts:
    """The results of a loop, computed by source that is written for it."""
    inputs = [input_like(x, "x") for x in operands]
    code = program_of(
        loop.body.label, inputs, lambda xs: parts_of(apply(SCAN, tuple(xs), {"loop": loop}))
    )
    return Parts(runner(code)()(*operands))
