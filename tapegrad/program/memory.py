"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program import cost
from tapegrad.program.arena import Buffer, Moments
from tapegrad.program.expressions import is_filled, template_of
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import fillings, layouts, owners
from tapegrad.tree.ownership import LARGE

# ops that reduce to one number, which is known after the last block
TOTALS = frozenset({sum_, inner_product})

# free memory, by shape and dtype
Free = defaultdict[tuple[tuple[int, ...], np.dtype[Any]], list[Buffer]]


class Plan:
    """Which value of a program, or of a body inside one, is written to which memory.

    Attributes
    ----------
    owner
        Whose memory values lie in, as `owners` says; a part that is written to its place in a
        concatenation lies in its memory.
    ends
        For each value, the position of the last instruction that reads it, or what shares its
        memory.
    templates
        How each instruction is written, as `template_of` says.
    fits
        Whether each instruction can write its result to a buffer.
    runs
        For each instruction, those that are done at one time with it: itself, or more, which are
        done block by block. At the end stands the return.
    turned
        Results that lie in memory in another order of axes, with that order.
    filled
        Concatenations and stacks that are filled part by part, and all their parts. The direct
        ones have no other home.
    home
        The memory that each instruction writes its result to, in order. One that is not listed
        makes a new array, or a view.
    buffers
        All of it that stays in place.
    returned
        The results of a whole program, which its caller gets; none for a body.
    guests
        Results in a run that nothing needs after their block, which have memory of one block.
    """

    def __init__(self, program: Code, inside: Moments | None = None) -> None:
        """Plan a program, or a body that runs inside a loop or a branch at these moments."""
        self._program, self._inside = program, inside
        instructions, results = program.instructions, program.results
        self.refs = refs_to(instructions)
        self.returned = results if inside is None else frozenset()
        self.templates = [template_of(program.of, x) for x in instructions]
        self.runs = _runs(program)
        # an empty result needs no memory, one with a row a step is empty until the loop has run,
        # and a total is a number until its run has ended
        self.fits = [
            not x.number
            and 0 not in x.shape
            and ("{out}" in template or is_filled(x))
            and (len(run) == 1 or x.op not in TOTALS)
            for x, template, run in zip(instructions, self.templates, self.runs, strict=False)
        ]
        owner = self.owner = owners(instructions, self.refs)
        self.turned = layouts(program, self.fits)
        # what an output is a view of is never overwritten
        kept = {owner.get(x, x) for x in results}
        self.filled = fillings(program, lambda i: self.fits[i] and len(self.runs[i]) == 1, kept)
        # the memory that is in use from each instruction on; that of a concatenation is from the
        # first part that is written there
        begins: list[Ref | None] = [*self.refs, None]
        placed = [(x.value, of) for of, parts in self.filled.items() for x in parts if x.direct]
        whole: dict[Any, Ref] = dict(placed)
        for x, of in sorted(whole.items()):
            if begins[of.index]:
                begins[of.index], begins[x.index] = None, of
        owner.update({x: whole.get(of, of) for x, of in owner.items()} | whole)
        self._owners = set(owner.values())
        # its own position if nothing reads it; results are needed after all
        read: dict[Any, int] = {x: i for i, y in enumerate(instructions) for x in y.operands}
        last = dict.fromkeys(results, len(instructions))
        ends = self.ends = {x: x.index for x in self.refs} | read | last
        for x, of in owner.items():
            # a block may read the elements of another through a view
            ends[of] = self.runs[max(ends[of], ends[x])][-1]
        self.guests: set[Ref] = set()
        self.home: dict[Ref, Buffer] = {}
        # what is free, by shape and dtype: buffers, and arrays of results, until their instruction
        # or run is done
        self._free, self._arrays = Free(list), Free(list)
        self._assign(begins)
        self.home = {x: self.home[x] for x in self.refs if x in self.home}
        self.buffers = [x for x in dict.fromkeys(self.home.values()) if not x.is_result]

    def life(self, start: int, stop: int) -> Moments:
        """The moments from an instruction to another, both included."""
        return (1 << (stop + 1)) - (1 << start) if self._inside is None else self._inside

    def _assign(self, begins: Sequence[Ref | None]) -> None:
        """Have each value take a place, from the last instruction to the first.

        It takes one where it is used last, and gives it up where it begins. So the array of a
        result, which is there in the end, is a place for values that the result is written over.
        Of values that an instruction can write its result over, the first is that which has been
        in one place for longest, from value to value: the others need theirs for a shorter time.

        Parameters
        ----------
        begins
            The value whose memory is in use from each instruction on.
        """
        # by their last uses; those that it overwrites there are apart
        ended: list[list[Ref]] = [[] for _ in self.runs]
        over: dict[int, list[Ref]] = {}
        since = dict(zip(self.refs, range(len(self.refs)), strict=True))
        results, owner, ends = self._program.results, self.owner, self.ends
        for i, instruction in enumerate(self._program.instructions):
            x = self.refs[i]
            if ended[i] and (old := self._overwritten(i, ended[i])):
                over[i] = sorted(old, key=since.__getitem__)
                since[x] = since[over[i][0]]
                ended[i] = [x for x in ended[i] if x not in old]
            if not self.fits[i] or x in owner:
                continue
            if x in self.returned and instruction.nbytes >= LARGE:
                # an array that is worth it to have others there
                self.home[x] = Buffer(instruction.shape, instruction.dtype, is_result=True)
            elif x not in results:
                if i < ends[x] < self.runs[i].stop:
                    self.guests.add(x)
                ended[ends[x]].append(x)
        for i, run in reversed([*enumerate(self.runs)]):
            for x in ended[i]:
                self._take(x)
            begun = begins[i]
            if begun in self.home:
                place = self.home[begun]
                pool = self._arrays if place.is_result else self._free
                pool[place.shape, place.dtype].append(place)
                place.alive |= self.life(run[0], self.runs[ends[begun]][-1])
            for x in over.get(i, ()):
                self._take(x)
            if i == run.start:
                self._arrays.clear()

    def _overwritten(self, i: int, ended: list[Ref]) -> list[Ref]:
        """The values, of these that it uses last, that an instruction may write its result over."""
        instructions = self._program.instructions
        instruction, apart = instructions[i], self._owners if len(self.runs[i]) > 1 else ()
        op, operands, shape = instruction.op, instruction.operands, instruction.shape
        # its own transforms along several axes write over what each of them reads
        is_over = instruction.is_elementwise or op in (fft, ifft, keep)
        if op is add_at_places:
            # whatever else it needs is read before anything is written
            operands = operands[:1]
        # NumPy copies a single element that it would write over, in thrice the time of the call
        elif not is_over or math.prod(shape) == 1:
            return []
        olds = [(x, instructions[x.index]) for x in ended if x in operands and x not in apart]
        return [x for x, y in olds if y.shape == shape and y.dtype == instruction.dtype]

    def _take(self, x: Ref) -> None:
        """Assign a free place, or a new buffer, to a value."""
        instruction = self._program.instructions[x.index]
        shape, is_guest = instruction.shape, x in self.guests
        if x in self.turned:
            shape = tuple([shape[axis] for axis in self.turned[x]])
        if is_guest:
            shape = (length_of_blocks(self._program, self.runs[x.index]),)
        layout = shape, instruction.dtype
        free = self._arrays.get(layout)
        # blocks, and places of parts that are written directly, are made once, of a buffer
        if not free or is_guest or any(part.direct for part in self.filled.get(x, ())):
            free = self._free[layout]
        self.home[x] = free.pop() if free else Buffer(*layout)


# --- blocks -------------------------------------------------------------------------------


def _runs(program: Code) -> list[range]:
    """For each instruction, those done at one time with it: if there are more, block by block.

    These are successive elementwise instructions on large arrays of one shape.
    """
    starts: list[int] = []
    shape = None
    # a sum is known only after the last block
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
    """How many elements of a run are done at once: those of the widest dtype fit in the cache."""
    return cost.BLOCK_BYTES // max(program.instructions[i].dtype.itemsize for i in run)


def block_shape(program: Code, instruction: Instruction) -> tuple[int, ...] | None:
    """The shape over which an instruction can be done block by block, if it can."""
    options, shape = instruction.options, instruction.shape
    if instruction.op in TOTALS and options.get("axis") is None and not options.get("keepdims"):
        shape = program.like(instruction.operands[0]).shape
    if math.prod(shape) < cost.BLOCKED_ELEMENTS or instruction.dtype.kind not in "fb":
        return None
    if shape == instruction.shape and not instruction.is_elementwise:
        return None
    fit = all(program.like(x).shape in ((), shape) for x in instruction.operands)
    return shape if fit else None
