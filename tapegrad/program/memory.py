"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections import defaultdict
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
from tapegrad.program.expressions import takes_out, template_of
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import fillings, layouts, ordered
from tapegrad.program.liveness import liveness
from tapegrad.tree.ownership import LARGE

# ops that reduce to one number, which is known after the last block
TOTALS = frozenset({sum_, inner_product})

# free memory, by shape and dtype
Free = defaultdict[tuple[tuple[int, ...], np.dtype[Any]], list[Buffer]]


class Plan:
    """Which value of a program, or of a body inside one, is written to which memory.

    Attributes
    ----------
    owner, ends
        Whose memory values lie in, and until when they are needed, as `liveness` says; a part that
        is written to its place in a concatenation lies in its memory.
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
        Results in a run that nothing needs after their block, each with the one in whose buffer of
        a block it lies, or with the later result of the run where it lies until that is written.
    """

    def __init__(self, program: Code, inside: Moments | None = None) -> None:
        """Plan a program, or a body that runs inside a loop or a branch at these moments."""
        self._program, self._inside = program, inside
        instructions, results = program.instructions, program.results
        self.refs = refs_to(instructions)
        self.returned = results if inside is None else frozenset()
        self.templates = [template_of(program.of, x) for x in instructions]
        self.runs = _runs(program)
        # a total is a number until its run has ended
        self.fits = [
            takes_out(x, template) and (len(run) == 1 or x.op not in TOTALS)
            for x, template, run in zip(instructions, self.templates, self.runs, strict=False)
        ]
        owner, ends = self.owner, self.ends = liveness(instructions, self.refs, results)
        self.turned = layouts(program, self.fits)
        # what an output is a view of is never overwritten
        kept = {owner.get(x, x) for x in results}
        self.filled = fillings(program, self.fits, self.runs, kept)
        # the memory that is in use from each instruction on; that of a concatenation is from the
        # first part that is written there to the last use of any
        begins: list[Ref | None] = [*self.refs, None]
        whole: dict[Any, Ref] = {}
        for ref, parts in self.filled.items():
            direct: list[Any] = [x.value for x in parts if x.direct]
            if not direct:
                continue
            whole.update(dict.fromkeys(direct, ref))
            ends[ref] = max([ends[ref], *[ends[x] for x in direct]])
            begins[ref.index] = None
            begins[min(direct).index] = ref
        if whole:
            owner.update({x: whole.get(of, of) for x, of in owner.items()} | whole)
        self._owners = set(owner.values())
        for x in self._owners:
            # a block may read the elements of another through a view
            ends[x] = self.runs[ends[x]][-1]
        self.guests: dict[Ref, Ref] = {}
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
        ended: dict[int, list[Ref]] = {}
        over: dict[int, list[Ref]] = {}
        since: dict[Ref, int] = {}
        results, owner, ends = self._program.results, self.owner, self.ends
        for i, instruction in enumerate(self._program.instructions):
            x = self.refs[i]
            if i in ended and (old := self._overwritten(i, ended[i])):
                old.sort(key=lambda x: since.get(x, x.index))
                over[i], since[x] = old, since.get(old[0], old[0].index)
                ended[i] = [x for x in ended[i] if x not in old]
            if not self.fits[i] or x in owner:
                continue
            if x in results:
                # an array that is worth it to have others there
                if instruction.nbytes >= LARGE and x in self.returned:
                    self.home[x] = Buffer(instruction.shape, instruction.dtype, is_result=True)
            elif i < ends[x] < self.runs[i].stop:
                self.guests[x] = x
            else:
                ended.setdefault(ends[x], []).append(x)
        for i, run in reversed([*enumerate(self.runs)]):
            for x in ended.get(i, ()):
                self._take(x)
            begun = begins[i]
            if begun in self.home:
                self._release(begun, i)
            for x in over.get(i, ()):
                self._take(x)
            if i == run.start:
                self._arrays.clear()
                if len(run) > 1:
                    self._seat_guests(run)

    def _overwritten(self, i: int, ended: list[Ref]) -> list[Ref]:
        """The values, of these that it uses last, that an instruction may write its result over."""
        instructions = self._program.instructions
        instruction = instructions[i]
        operands, shape, dtype = instruction.operands, instruction.shape, instruction.dtype
        if instruction.op is add_at_places:
            # whatever else it needs is read before anything is written
            operands = operands[:1]
        else:
            # its own transforms along several axes write over what each of them reads
            is_over = instruction.is_elementwise or instruction.op in (fft, ifft, keep)
            # NumPy copies a single element that it would write over, in thrice the time of the call
            if not is_over or math.prod(shape) == 1:
                return []
        apart = self._owners if len(self.runs[i]) > 1 else ()
        return [
            x
            for x in ended
            if x in operands
            and x not in apart
            and (old := instructions[x.index]).shape == shape
            and old.dtype == dtype
        ]

    def _take(self, x: Ref) -> None:
        """Assign a free place, or a new buffer, to a value."""
        instruction = self._program.instructions[x.index]
        shape = instruction.shape
        if x in self.turned:
            shape = ordered(shape, self.turned[x])
        layout = shape, instruction.dtype
        free = self._arrays.get(layout)
        # places of parts that are written directly are made once, of a buffer
        if not free or any(part.direct for part in self.filled.get(x, ())):
            free = self._free[layout]
        self.home[x] = free.pop() if free else Buffer(*layout)

    def _release(self, x: Ref, begin: int) -> None:
        """Free the place of a value that begins here."""
        place, end = self.home[x], self.ends[x]
        pool = self._arrays if place.is_result else self._free
        pool[place.shape, place.dtype].append(place)
        place.alive |= self.life(self.runs[begin][0], self.runs[end][-1])

    def _seat_guests(self, run: range) -> None:
        """Have the guests of a run take the blocks of later results, or buffers, by turns."""
        instructions, size = self._program.instructions, length_of_blocks(self._program, run)
        operands: set[Any] = {x for i in run for x in instructions[i].operands}
        # the places of values that the run writes results over
        taken = {self.home[x] for x in operands if x in self.home and x.index < run.start}
        hosts: dict[Any, list[Ref]] = defaultdict(list)
        for i in reversed(run):
            ref, instruction = self.refs[i], instructions[i]
            if instruction.op not in TOTALS and self.home.get(ref) not in taken:
                hosts[instruction.dtype].append(self.guests.get(ref, ref))
            last: Any
            for last in dict.fromkeys(instruction.operands):
                if last in self.guests and self.ends[last] == i:
                    dtype = instructions[last.index].dtype
                    if hosts[dtype]:
                        self.guests[last] = hosts[dtype].pop()
                    else:
                        self.home[last] = Buffer((size,), dtype, self.life(run[0], run[-1]))


# --- blocks -------------------------------------------------------------------------------


def _runs(program: Code) -> list[range]:
    """For each instruction, those done at one time with it: if there are more, block by block.

    These are successive elementwise instructions on large arrays of one shape.
    """
    instructions = program.instructions
    shapes = [_block_shape(program, x) for x in instructions]
    runs = [range(i, i + 1) for i in range(len(shapes) + 1)]
    start = 0
    # a sum is known only after the last block
    sums: set[Any] = set()
    for i, shape in enumerate([*shapes, None]):
        ends = shape is None or sums.intersection(instructions[i].operands)
        if ends or shape != shapes[start]:
            if i > start and shapes[start]:
                runs[start:i] = [range(start, i)] * (i - start)
            start, sums = i, set()
        if shape and instructions[i].op in TOTALS:
            sums.add(Ref("instruction", i))
    return runs


def length_of_blocks(program: Code, run: range) -> int:
    """How many elements of a run are done at once: those of the widest dtype fit in the cache."""
    return cost.BLOCK_BYTES // max(program.instructions[i].dtype.itemsize for i in run)


def _block_shape(program: Code, instruction: Instruction) -> tuple[int, ...] | None:
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
