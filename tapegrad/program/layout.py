"""The order in which a value's axes lie in memory, where that saves a copy."""

from __future__ import annotations

from collections.abc import Sequence

from tapegrad.ops.product import matmul
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.program.liveness import readers

Axes = tuple[int, ...]


def layouts(program: Code, fits: Sequence[bool]) -> dict[Ref, Axes]:
    """The order of axes in memory of products of stacks that are transposed and then reshaped.

    A product writes in any order at the same speed, and a reshape after the transpose then copies
    nothing. Only products whose every use is the same transpose are listed, and of those only what
    fits a buffer.
    """
    instructions, turned = program.instructions, dict[Ref, Axes]()
    stacks = [i for i, x in enumerate(instructions) if x.op is matmul and len(x.shape) > 2]
    reads = readers(program) if stacks else {}
    for i in stacks:
        x = Ref("instruction", i)
        if x in program.results or not fits[i]:
            continue
        uses = reads.get(x, ())
        users = [instructions[k] for k in uses]
        orders = {axes_of(y) if y.op is transpose else None for y in users}
        axes = orders.pop() if len(orders) == 1 else None
        after = [k for use in uses for k in reads.get(Ref("instruction", use), ())]
        reshaped = any(instructions[k].op is reshape for k in after)
        # BLAS writes to matrices with one contiguous axis
        if axes and reshaped and axes[-1] >= len(axes) - 2:
            turned[x] = axes
    return turned


def axes_of(instruction: Instruction) -> Axes:
    """The order in which a transpose puts the axes of its operand."""
    backwards = tuple(range(len(instruction.shape)))[::-1]
    axes: Axes = instruction.options.get("axes", backwards)
    return axes


def inverse(axes: Axes) -> Axes:
    """The order that puts axes back where they were."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def ordered(x: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """Sides, or strides, in an order of axes."""
    return tuple([x[axis] for axis in axes])
