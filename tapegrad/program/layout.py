"""Find values that share memory: views, products with permuted axes, parts of concatenations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program import cost
from tapegrad.program.expressions import is_assigned
from tapegrad.program.ir import Code, Instruction, Operand, Ref, instruction_refs

Axes = tuple[int, ...]


def find_view_owners(instructions: Sequence[Instruction], refs: Sequence[Ref]) -> dict[Ref, Ref]:
    """Map each value that may be a view to the value whose memory it shares."""
    owner: dict[Ref, Ref] = {}
    for ref, instruction in zip(refs, instructions, strict=True):
        is_view = instruction.is_view and not is_assigned(instruction)
        if is_view and type(base := instruction.operands[0]) is Ref:
            owner[ref] = owner.get(base, base)
    return owner


def find_axis_orders(program: Code, fits: Sequence[bool]) -> dict[Ref, Axes]:
    """Choose the memory order of axes for batched products that are transposed, then reshaped.

    A product can write its result in any order at the same speed; the reshape after the transpose
    then copies nothing. The result has the products whose uses are all the same transpose, if a
    buffer can hold them (`fits`).
    """
    instructions, results = program.instructions, program.results
    refs = instruction_refs(instructions)
    # for each product the axes of the transposes that use it, None for any other use; and for
    # each transpose the product
    orders: dict[Any, set[Axes | None]] = {
        ref: set()
        for ref, x, fit in zip(refs, instructions, fits, strict=True)
        if fit and x.op is matmul and len(x.shape) > 2 and ref not in results
    }
    source: dict[Any, Any] = {}
    reshaped: set[Ref] = set()
    for ref, instruction in zip(refs, instructions, strict=True) if orders else ():
        for x in instruction.operands:
            if x in orders:
                source[ref] = x
                orders[x].add(transpose_axes(instruction) if instruction.op is transpose else None)
            elif x in source and instruction.op is reshape:
                reshaped.add(source[x])
    alike = {x: axes for x, of in orders.items() if x in reshaped and len(of) == 1 for axes in of}
    # BLAS needs one contiguous axis in each matrix
    return {x: axes for x, axes in alike.items() if axes and axes[-1] >= len(axes) - 2}


def transpose_axes(instruction: Instruction) -> Axes:
    """Return the order in which a transpose puts the axes of its operand."""
    return tuple(instruction.options.get("axes") or range(len(instruction.shape))[::-1])


# --- concatenations and stacks that are filled part by part ----------------------------------


class Section(NamedTuple):
    """A part of a concatenation, or a row of a stack.

    Attributes
    ----------
    value
        The value of the part.
    start
        The position of the part along the axis.
    index
        The index of the part in the whole; it selects an array, also without axes.
    direct
        Whether the value is computed in its place, and not copied there.
    """

    value: Operand
    start: int
    index: tuple[Any, ...]  # type: ignore[assignment]  # in the place of tuple's method
    direct: bool = False


def find_assembled(
    program: Code, alone: Callable[[int], bool], kept: Collection[Any]
) -> dict[Ref, tuple[Section, ...]]:
    """Find the concatenations and stacks that are filled part by part, and their parts.

    In each of them a part is computed in its place, or the whole is small.

    Parameters
    ----------
    program
        The program.
    alone
        A predicate: whether the instruction at an index can write its result to a buffer.
    kept
        The outputs, and the values that outputs are views of.
    """
    filled: dict[Ref, tuple[Section, ...]] = {}
    # values whose place in memory is already decided
    placed = {*kept}
    for i, instruction in enumerate(program.instructions):
        if instruction.op is not concatenate and instruction.op is not stack:
            continue
        ref, axis = Ref("instruction", i), instruction.options.get("axis", 0)
        direct = {
            x
            for x, n in Counter(instruction.operands).items()
            if axis == 0
            and n == 1
            and type(x) is Ref
            and x.kind == "instruction"
            and alone(x.index)
            and x not in placed
            and program.definition(x).dtype == instruction.dtype
            and ref not in kept
        }
        if direct:
            placed |= {ref, *direct}
        if direct or (axis is not None and 0 < instruction.nbytes <= cost.FILLED_BYTES):
            filled[ref] = _sections(program, instruction, direct)
    return filled


def _sections(
    program: Code, instruction: Instruction, direct: Collection[Any]
) -> tuple[Section, ...]:
    """Return a section for each operand of a concatenation or a stack."""
    axis = instruction.options.get("axis", 0) % len(instruction.shape)
    is_stack = instruction.op is stack
    sides = [1 if is_stack else program.spec(x).shape[axis] for x in instruction.operands]
    starts = accumulate(sides, initial=0)
    parts = []
    for x, side, start in zip(instruction.operands, sides, starts, strict=False):
        own = (start, ...) if is_stack else (slice(start, start + side),)
        parts.append(Section(x, start, (slice(None),) * axis + own, x in direct))
    return tuple(parts)
