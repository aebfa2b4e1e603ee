"""The memory plan: which values share a buffer, and which are computed block by block.

Start with `plan_memory`, which runs the stages in order.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program import cost
from tapegrad.program.arena import Buffer, Moments
from tapegrad.program.expressions import is_assigned, template_for
from tapegrad.program.ir import Code, Instruction, Ref, instruction_refs
from tapegrad.program.layout import (
    Axes,
    Section,
    find_assembled,
    find_axis_orders,
    find_view_owners,
)
from tapegrad.tree.ownership import LARGE
from tapegrad.types import DType, Shape

# ops that reduce to one number, which is complete after the last block
TOTALS = frozenset({sum_, inner_product})


@attrs.frozen(eq=False)
class MemoryPlan:
    """The memory that each value of a program, or of a body inside one, is written to.

    `plan_memory` makes it in four stages: how instructions are written, which value owns the
    memory that each value lies in, when each memory is first and last used, and which buffer each
    owner gets.

    Attributes
    ----------
    program
        The program or body.
    enclosing
        For a body, the moments at which the loop or branch around it runs; None for a program.
    refs
        A Ref to each instruction.
    templates
        The format string of each instruction, see `template_for`.
    runs
        For each instruction, the instructions that are computed together with it: itself alone, or
        a run that is computed block by block. The last entry stands for the return.
    can_write
        Whether each instruction can write its result to an array that is given.
    owner_of
        The value whose memory a value lies in, for views, and for parts that are written directly
        to their place in a concatenation.
    axis_orders
        Results that lie in memory with their axes in another order, and that order.
    assembled
        Concatenations and stacks that are written part by part, and all their parts.
    last_use
        For each value, the position of the last instruction that reads its memory.
    buffer_of
        The buffer that each instruction writes its result to, in order of the instructions. An
        instruction that is not listed makes a new array, or a view.
    block_values
        Results in a run that only their own block reads: their buffer has the length of one block.
    returned
        The results of a whole program, which its caller gets; none for a body.
    """

    program: Code
    enclosing: Moments | None
    refs: list[Ref]
    templates: list[str]
    runs: list[range]
    can_write: list[bool]
    owner_of: dict[Ref, Ref]
    axis_orders: dict[Ref, Axes]
    assembled: dict[Ref, tuple[Section, ...]]
    last_use: dict[Ref, int]
    buffer_of: dict[Ref, Buffer]
    block_values: set[Ref]
    returned: frozenset[Ref]

    @property
    def buffers(self) -> list[Buffer]:
        """The buffers that stay in place from call to call, without the arrays of results."""
        return [x for x in dict.fromkeys(self.buffer_of.values()) if not x.is_result]

    def lifetime(self, start: int, stop: int) -> Moments:
        """The moments from one instruction to another, both included."""
        return (1 << (stop + 1)) - (1 << start) if self.enclosing is None else self.enclosing


def plan_memory(program: Code, enclosing: Moments | None = None) -> MemoryPlan:
    """Plan the memory of a program, or of a body inside a loop or branch that runs at some moments.

    The stages are pure but for the last, which fills `MemoryPlan.buffer_of` and `block_values`.
    """
    instructions = program.instructions
    refs = instruction_refs(instructions)
    # stage 1: how each instruction is written
    templates = [template_for(program.definition, x) for x in instructions]
    runs = _find_runs(program)
    can_write = [
        _can_write(x, template, run)
        for x, template, run in zip(instructions, templates, runs, strict=False)
    ]
    axis_orders = find_axis_orders(program, can_write)
    # stage 2: the owner of the memory that each value lies in
    owner_of = find_view_owners(instructions, refs)
    # the memory of an output, also through a view, is never a part of a concatenation
    reserved = {owner_of.get(x, x) for x in program.results}
    assembled = find_assembled(program, lambda i: can_write[i] and len(runs[i]) == 1, reserved)
    whole_of: dict[Any, Ref] = {
        x.value: whole for whole, parts in assembled.items() for x in parts if x.direct
    }
    owner_of |= {x: whole_of.get(owner, owner) for x, owner in owner_of.items()} | whole_of
    # stage 3: the first and the last use of each memory
    first_writes = _find_first_writes(refs, whole_of)
    last_use = _find_last_uses(program, refs, runs, owner_of)
    # stage 4: a buffer for each owner that can be written to one
    written = templates, runs, can_write, owner_of, axis_orders, assembled, last_use
    returned = program.results if enclosing is None else frozenset()
    plan = MemoryPlan(program, enclosing, refs, *written, {}, set(), returned)
    _Assignment(plan, first_writes).run()
    return plan


def _can_write(instruction: Instruction, template: str, run: range) -> bool:
    """Whether an instruction, written by a template, can write its result to a given array.

    An empty result needs no memory; one with a row for each step is empty until its loop has run. A
    total is a number until its run has ended.
    """
    return (
        not instruction.number
        and 0 not in instruction.shape
        and ("{out}" in template or is_assigned(instruction))
        and (len(run) == 1 or instruction.op not in TOTALS)
    )


def _find_first_writes(refs: Sequence[Ref], whole_of: Mapping[Any, Ref]) -> list[Ref | None]:
    """For each instruction, and the return, the value whose memory it is the first to write.

    The memory of a concatenation is in use from the first part that is written directly to it.
    """
    first_writes: list[Ref | None] = [*refs, None]
    for part, whole in sorted(whole_of.items()):
        if first_writes[whole.index]:
            first_writes[whole.index], first_writes[part.index] = None, whole
    return first_writes


def _find_last_uses(
    program: Code, refs: Sequence[Ref], runs: Sequence[range], owner_of: Mapping[Ref, Ref]
) -> dict[Ref, int]:
    """For each value, the position of the last instruction that reads it or what shares its memory.

    A value that nothing reads has its own position; the return, after all instructions, reads the
    results. A run that reads a value through a view reads it until the end of the run, since one
    block may read elements of another.
    """
    reads = {x: i for i, y in enumerate(program.instructions) for x in y.operands if type(x) is Ref}
    returned = dict.fromkeys(program.results, len(program.instructions))
    last_use = {x: x.index for x in refs} | reads | returned
    for x, owner in owner_of.items():
        last_use[owner] = runs[max(last_use[owner], last_use[x])][-1]
    return last_use


class _Assignment:
    """The last stage of a plan: a buffer for each value, from the last instruction to the first.

    A value takes a buffer at its last use, and gives it back at its first write. So the array of a
    result, which exists at the end, is free before that for values that the result overwrites.
    """

    def __init__(self, plan: MemoryPlan, first_writes: Sequence[Ref | None]) -> None:
        self._plan, self._first_writes = plan, first_writes
        self._instructions = plan.program.instructions
        self._owners = {*plan.owner_of.values()}
        # free buffers; and free arrays of results, until their instruction or run is done
        self._buffers, self._arrays = _Free(list), _Free(list)
        # by the position of their last use, the values that need a buffer
        self._ending: list[list[Ref]] = [[] for _ in plan.runs]
        # by the position of an instruction, the operands that its result overwrites
        self._overwritten: dict[int, list[Ref]] = {}

    def run(self) -> None:
        """Fill the plan's `buffer_of` and `block_values`."""
        plan = self._plan
        self._find_needs()
        for i, run in reversed([*enumerate(plan.runs)]):
            for x in self._ending[i]:
                self._take(x)
            begun = self._first_writes[i]
            if begun in plan.buffer_of:
                self._give_back(begun, run)
            for x in self._overwritten.get(i, ()):
                self._take(x)
            if i == run.start:
                self._arrays.clear()
        # in the order of the instructions
        in_order = {x: plan.buffer_of[x] for x in plan.refs if x in plan.buffer_of}
        plan.buffer_of.clear()
        plan.buffer_of.update(in_order)

    def _find_needs(self) -> None:
        """Find where each value ends, and which operands a result overwrites.

        Of several operands that a result may overwrite, the first to take its buffer is the one
        whose buffer has been in use for longest, handed from value to value: the others need theirs
        for a shorter time.
        """
        plan = self._plan
        # for each value, the position at which its buffer was first handed to a value
        since, results = {x: x.index for x in plan.refs}, plan.program.results
        for i, instruction in enumerate(self._instructions):
            x = plan.refs[i]
            if self._ending[i] and (old := self._overwritable(i)):
                self._overwritten[i] = sorted(old, key=since.__getitem__)
                since[x] = since[self._overwritten[i][0]]
                self._ending[i] = [x for x in self._ending[i] if x not in old]
            if not plan.can_write[i] or x in plan.owner_of:
                continue
            if x in plan.returned and instruction.nbytes >= LARGE:
                # large enough to hold other values before the result
                result = Buffer(instruction.shape, instruction.dtype, is_result=True)
                plan.buffer_of[x] = result
            elif x not in results:
                if i < plan.last_use[x] < plan.runs[i].stop:
                    plan.block_values.add(x)
                self._ending[plan.last_use[x]].append(x)

    def _overwritable(self, i: int) -> list[Ref]:
        """The operands that an instruction is the last to use and may write its result over."""
        instruction = self._instructions[i]
        op, operands = instruction.op, instruction.operands
        if op is add_at_places:
            # its other operands are read before anything is written
            operands = operands[:1]
        # a transform along several axes overwrites its intermediate results; NumPy first copies a
        # single element that a call overwrites, which takes three times the time of the call
        elif not (instruction.is_elementwise or op in (fft, ifft, keep)) or (
            math.prod(instruction.shape) == 1
        ):
            return []
        # a block may read elements of another block through a view
        excluded = self._owners if len(self._plan.runs[i]) > 1 else ()
        layout = instruction.shape, instruction.dtype
        ending = [(x, self._instructions[x.index]) for x in self._ending[i]]
        return [
            x
            for x, y in ending
            if x in operands and x not in excluded and (y.shape, y.dtype) == layout
        ]

    def _take(self, x: Ref) -> None:
        """Assign a free buffer, or a new one, to a value."""
        plan, instruction = self._plan, self._instructions[x.index]
        shape, is_block = instruction.shape, x in plan.block_values
        if x in plan.axis_orders:
            shape = tuple([shape[axis] for axis in plan.axis_orders[x]])
        if is_block:
            shape = (length_of_blocks(plan.program, plan.runs[x.index]),)
        layout = shape, instruction.dtype
        free = self._arrays.get(layout)
        # views of blocks, and of parts that are written directly, are made once, so they need
        # memory that stays in place
        is_fixed = is_block or any(part.direct for part in plan.assembled.get(x, ()))
        if not free or is_fixed:
            free = self._buffers[layout]
        plan.buffer_of[x] = free.pop() if free else Buffer(*layout)

    def _give_back(self, x: Ref, run: range) -> None:
        """Free the buffer of a value that a run is the first to write."""
        plan = self._plan
        buffer = plan.buffer_of[x]
        pool = self._arrays if buffer.is_result else self._buffers
        pool[buffer.shape, buffer.dtype].append(buffer)
        buffer.alive |= plan.lifetime(run[0], plan.runs[plan.last_use[x]][-1])


# free buffers, by shape and dtype
_Free = defaultdict[tuple[Shape, DType], list[Buffer]]


# --- blocks -------------------------------------------------------------------------------


def _find_runs(program: Code) -> list[range]:
    """For each instruction, return the run that it belongs to: itself alone, or several.

    Several are successive elementwise instructions on large arrays of one shape, which run block by
    block.
    """
    starts: list[int] = []
    shape = None
    # a sum is complete only after the last block
    sums: set[Any] = set()
    for i, instruction in enumerate(program.instructions):
        last, shape = shape, block_shape(program, instruction)
        if shape is None or shape != last or not sums.isdisjoint(instruction.operands):
            start, sums = i, set()
        starts.append(start)
        if instruction.op in TOTALS:
            sums.add(Ref("instruction", i))
    starts.append(len(starts))
    lengths = Counter(starts)
    return [range(start, start + lengths[start]) for start in starts]


def length_of_blocks(program: Code, run: range) -> int:
    """Return the number of elements in a block: a block of the widest dtype fits the cache."""
    return cost.BLOCK_BYTES // max(program.instructions[i].dtype.itemsize for i in run)


def block_shape(program: Code, instruction: Instruction) -> tuple[int, ...] | None:
    """Return the shape that an instruction can process block by block; None if it cannot."""
    options, shape = instruction.options, instruction.shape
    if instruction.op in TOTALS and options.get("axis") is None and not options.get("keepdims"):
        shape = program.spec(instruction.operands[0]).shape
    if math.prod(shape) < cost.BLOCKED_ELEMENTS or instruction.dtype.kind not in "fb":
        return None
    if shape == instruction.shape and not instruction.is_elementwise:
        return None
    fit = all(program.spec(x).shape in ((), shape) for x in instruction.operands)
    return shape if fit else None
