"""Concatenations and stacks: parts that are written to their place, or copied there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import accumulate, pairwise
from typing import Any

import attrs

from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.shape import reshape
from tapegrad.program import cost
from tapegrad.program.expressions import takes_out
from tapegrad.program.ir import Code, Instruction, Operand, Ref
from tapegrad.program.liveness import Liveness

# --- parts that are written directly --------------------------------------------------------


@attrs.frozen
class Part:
    """The rows of a buffer that hold a part of a concatenation, or the row of a stack.

    Attributes
    ----------
    buffer
        Its number.
    start, stop
        The rows; `stop` is None for one row without its axis.
    """

    buffer: int
    start: int
    stop: int | None

    @property
    def index(self) -> str:
        """The index of the part, as written; one without axes is an array all the same."""
        return f"{self.start}, ..." if self.stop is None else f"{self.start}:{self.stop}"


def joined(program: Code, runs: list[tuple[int, int]], kept: set[Ref]) -> dict[Ref, frozenset[Ref]]:
    """The concatenations and stacks to which parts are written directly, and these parts."""
    direct: dict[Ref, frozenset[Ref]] = {}
    apart = set(kept)
    for i, instruction in enumerate(program.instructions):
        if instruction.op not in (concatenate, stack) or instruction.options.get("axis", 0) != 0:
            continue
        ref = Ref("instruction", i)
        if ref in kept:
            continue
        parts = {x for x in instruction.operands if type(x) is Ref and x not in apart}
        parts = {x for x in parts if _may_place(program, x, instruction, runs)}
        if parts:
            direct[ref] = frozenset(parts)
            apart |= {ref, *parts}
    return direct


def parts_of(program: Code, instruction: Instruction, buffer: int) -> list[tuple[Operand, Part]]:
    """The operands of a concatenation or a stack, and their places in its buffer."""
    if instruction.op is stack:
        return [(x, Part(buffer, k, None)) for k, x in enumerate(instruction.operands)]
    ends = [0, *accumulate(program.like(x).shape[0] for x in instruction.operands)]
    return [
        (x, Part(buffer, *pair))
        for x, pair in zip(instruction.operands, pairwise(ends), strict=True)
    ]


def _may_place(program: Code, x: Ref, whole: Instruction, runs: list[tuple[int, int]]) -> bool:
    """Whether a value can be written directly to its place in a concatenation."""
    if x.kind != "instruction" or whole.operands.count(x) > 1:
        return False
    if any(start <= x.index < stop for start, stop in runs):
        return False
    instruction = program.instructions[x.index]
    return takes_out(program, instruction) and instruction.dtype == whole.dtype


# --- parts that are copied --------------------------------------------------------------------


@attrs.frozen
class Filling:
    """How a concatenation is filled.

    Attributes
    ----------
    parts
        What is copied, and the view that it is copied to, as written after the buffer's name.
    fixed
        The same for constants, which are copied once.
    unwritten
        Instructions that need not run: their operands are copied instead.
    """

    parts: tuple[tuple[Any, str], ...]
    fixed: tuple[tuple[Any, str], ...]
    unwritten: tuple[Ref, ...]


def fillings(program: Code, live: Liveness) -> Mapping[Ref, Filling]:
    """The small concatenations, and how each is filled."""
    results = program.results
    filled = {}
    for i, instruction in enumerate(program.instructions):
        ref = Ref("instruction", i)
        if instruction.op is concatenate and ref not in results:
            once = {x for x in instruction.operands if x not in results}
            once = {x for x in once if type(x) is Ref and len(live.reads[x]) == 1}
            filling = filling_of(program, ref, once)
            if filling is not None:
                filled[ref] = filling
    return filled


def filling_of(program: Code, ref: Ref, once: Collection[Any] = ()) -> Filling | None:
    """How a concatenation is filled, if it is small; these of its parts nothing else needs."""
    instruction = program.of(ref)
    size = instruction.nbytes
    likes = [program.like(x) for x in instruction.operands]
    apart = instruction.options.get("axis", 0) is None
    if (
        apart
        or not 0 < size <= cost.FILLED_BYTES
        or any(x.dtype != instruction.dtype for x in likes)
    ):
        return None
    axis = instruction.options.get("axis", 0) % len(instruction.shape)
    parts, fixed, unwritten = [], [], []
    start = 0
    for x in instruction.operands:
        shape = program.like(x).shape
        stop = start + shape[axis]
        view = f"[{':, ' * axis}{start}:{stop}]"
        start = stop
        if not shape[axis]:
            continue
        if type(x) is Ref and x.kind == "constant":
            fixed.append((x, view))
            continue
        part = program.of(x) if type(x) is Ref and x.kind == "instruction" else None
        if part is not None and part.op is reshape and x in once and not axis:
            # the view takes the operand's shape, since it is contiguous
            unwritten.append(x)
            (x,) = part.operands
            view += f".reshape({program.like(x).shape})"
        parts.append((x, view))
    return Filling(tuple(parts), tuple(fixed), tuple(unwritten))
