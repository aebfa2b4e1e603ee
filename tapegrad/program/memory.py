"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program import cost
from tapegrad.program.arena import Buffer, life
from tapegrad.program.expressions import takes_out, template_of
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import fillings, layouts, ordered
from tapegrad.program.liveness import liveness
from tapegrad.tree.ownership import LARGE

# ops that reduce to one number, which is known after the last block
TOTALS = frozenset({sum_, inner_product})


class Plan:
    """Which value of a program, or of a body inside one, is written to which buffer.

    Attributes
    ----------
    live
        When values are in use; a part that is written to its place in a concatenation lies in its
        memory.
    templates
        How each instruction is written, as `template_of` says.
    fits
        Whether each instruction can write its result to a buffer.
    runs
        For each instruction that is done block by block, where the run of these begins and ends.
    turned
        Results that lie in memory in another order of axes, with that order.
    filled
        Concatenations and stacks of which parts are written directly to their place, and all their
        parts. The direct ones have no other home.
    home
        The buffer that each instruction writes its result to. One that is not listed makes a new
        array, or a view.
    buffers
        All of them.
    guests
        Results in a run that nothing needs after their block, each with the one in whose buffer of
        a block it lies, or with the later result of the run where it lies until that is written.
    early
        Values in a result's new array before the result is, and the first of them, which allocates
        it: a gradient is computed in the array of the new parameter.
    """

    def __init__(self, program: Code, inside: bool = False) -> None:
        self._program = program
        instructions = program.instructions
        self.refs, self._results = refs_to(instructions), program.results
        results = self._results
        self.templates = [template_of(program.of, x) for x in instructions]
        self.live = liveness(instructions, self.refs, results)
        self.runs = _runs(program)
        # a total is a number until its run has ended
        totals = {i for i in self.runs if instructions[i].op in TOTALS}
        self.fits = [
            i not in totals and takes_out(x, self.templates[i]) for i, x in enumerate(instructions)
        ]
        self.turned = layouts(program, self.fits)
        # what an output is a view of is never overwritten
        kept = {self.live.owner_of(x) for x in results}
        self.filled = fillings(program, self.fits, self.runs, kept)
        # the buffer of a concatenation is in use from the first part that is written there to the
        # last use of any
        owner, ends = self.live.owner, self.live.ends
        whole: dict[Any, Ref] = {}
        begins: dict[int, Ref] = {}
        for ref, parts in self.filled.items():
            direct: list[Any] = [x.value for x in parts if x.direct]
            whole.update(dict.fromkeys(direct, ref))
            ends[ref] = max([ends[ref], *[ends[x] for x in direct]])
            begins[min([x.index for x in direct])] = ref
        owner.update({x: whole.get(of, of) for x, of in owner.items()} | whole)
        self._owners = set(owner.values())
        for x in self._owners:
            # a block may read the elements of another through a view
            _, stop = self.runs.get(ends[x], (0, 0))
            ends[x] = max(ends[x], stop - 1)
        self.guests: dict[Ref, Ref] = {}
        # where each value lies, in a buffer or in the array of a result; and what is free of these,
        # by shape and dtype; a block is in use while arrays of the size of one are filled
        self._places: dict[Ref, Buffer | Ref] = {}
        self._free: dict[Any, list[Buffer]] = {}
        self._arrays: dict[Any, list[Ref]] = {}
        # the shapes of those that lie there in another
        self._shapes = {x: ordered(program.of(x).shape, axes) for x, axes in self.turned.items()}
        self._assign(self._ending(inside), begins)
        self.home: dict[Ref, Buffer] = {}
        self.early: dict[Ref, Ref] = {}
        first: dict[Ref, Ref] = {}
        for x in self.refs:
            place = self._places.get(x)
            if isinstance(place, Buffer):
                self.home[x] = place
            elif place is not None and first.setdefault(place, x) != place:
                self.early[x] = first[place]
        self.buffers = list(dict.fromkeys(self.home.values()))

    def _assign(self, ending: Mapping[int, list[Ref]], begins: Mapping[int, Ref]) -> None:
        """Have each value take a place, from the last instruction to the first.

        It takes one where it is used last, and gives it up where it begins. So the array of a
        result, which is there in the end, is a place for values that the result is written over.

        Parameters
        ----------
        ending
            The values by their last uses.
        begins
            The concatenations by their first parts.
        """
        for x in ending.get(len(self.refs), ()):
            self._take(x)
        for i in reversed(range(len(self.refs))):
            ended = ending.get(i, [])
            # an operand that is not needed again can be overwritten
            over = self._overwritten(i, ended) if ended else []
            for x in ended:
                if x not in over:
                    self._take(x)
            ref = begins.get(i) or self.refs[i]
            if ref in self._places and (ref not in self.filled or i in begins):
                self._release(ref, i)
            for x in over:
                self._take(x)
            start, stop = self.runs.get(i, (i, i + 1))
            if i == start:
                self._arrays.clear()
                if i in self.runs:
                    self._seat_guests(start, stop)

    def _ending(self, inside: bool) -> dict[int, list[Ref]]:
        """The values that take places, by their last uses; guests do later, and results have one.

        The results are those of a size that is worth it to have others in their arrays.
        """
        ending: dict[int, list[Ref]] = {}
        for x, instruction in zip(self.refs, self._program.instructions, strict=True):
            if x in self._results:
                if self.fits[x.index] and instruction.nbytes >= LARGE and not inside:
                    self._places[x] = x
            elif self.fits[x.index] and x not in self.live.owner:
                end, (_, stop) = self.live.ends[x], self.runs.get(x.index, (0, 0))
                if x.index < end < stop:
                    self.guests[x] = x
                else:
                    ending.setdefault(end, []).append(x)
        return ending

    def _overwritten(self, i: int, ended: list[Ref]) -> list[Ref]:
        """The values, of these that it uses last, that an instruction may write its result over."""
        instruction = self._program.instructions[i]
        operands = instruction.operands
        if instruction.op is add_at_places:
            # whatever else it needs is read before anything is written
            operands = operands[:1]
        else:
            # its own transforms along several axes write over what each of them reads
            is_over = instruction.is_elementwise or instruction.op in (fft, ifft, keep)
            # NumPy copies a single element that it would write over, in thrice the time of the call
            if not is_over or math.prod(instruction.shape) == 1:
                return []
        apart = self._owners if i in self.runs else ()
        return [x for x in reversed(ended) if x in operands and x not in apart]

    def _take(self, x: Ref) -> None:
        """Assign a free place, or a new buffer, to a value."""
        instruction = self._program.of(x)
        shape, dtype = self._shapes.get(x, instruction.shape), instruction.dtype
        # views of parts are made once, of a buffer
        arrays = self._arrays and x not in self.filled and self._arrays.get((shape, dtype))
        free = self._free.setdefault((shape, dtype, x in self.guests), [])
        if arrays:
            self._places[x] = arrays.pop()
        else:
            self._places[x] = free.pop() if free else Buffer(shape, dtype)

    def _release(self, x: Ref, begin: int) -> None:
        """Free the place of a value; a result's array, until its instruction or run is done."""
        place = self._places[x]
        if isinstance(place, Ref):
            result = self._program.of(place)
            self._arrays.setdefault((result.shape, result.dtype), []).append(place)
        else:
            self._free[place.shape, place.dtype, x in self.guests].append(place)
            # a run is done at one time
            end = self.live.ends[x]
            first, _ = self.runs.get(begin, (begin, 0))
            _, after = self.runs.get(end, (0, end + 1))
            place.alive |= life(first, after - 1)

    def _seat_guests(self, start: int, stop: int) -> None:
        """Have the guests of a run take the blocks of later results, or buffers, by turns."""
        run = self._program.instructions[start:stop]
        # the places of values that the run writes results over
        taken = {self._places.get(x) for y in run for x in _refs(y) if x.index < start}
        hosts: dict[Any, list[Ref]] = defaultdict(list)
        seated: list[Ref] = []
        for ref, instruction in zip(self.refs[start:stop][::-1], run[::-1], strict=True):
            if instruction.op not in TOTALS and self._places.get(ref, ref) not in taken:
                hosts[instruction.dtype].append(self.guests.get(ref, ref))
            for x in dict.fromkeys(_refs(instruction)):
                if x in self.guests and self.live.ends[x] == ref.index:
                    free = hosts[self._program.of(x).dtype]
                    if free:
                        self.guests[x] = free.pop()
                    else:
                        self._shapes[x] = (length_of_blocks(self._program, range(start, stop)),)
                        self._take(x)
                        seated.append(x)
        for x in seated:
            self._release(x, start)


def _refs(instruction: Instruction) -> list[Ref]:
    return [x for x in instruction.operands if type(x) is Ref]


# --- blocks -------------------------------------------------------------------------------


def _runs(program: Code) -> dict[int, tuple[int, int]]:
    """The runs of successive elementwise instructions on large arrays of one shape."""
    instructions = program.instructions
    shapes = [_block_shape(program, x) for x in instructions]
    runs: dict[int, tuple[int, int]] = {}
    start = 0
    # a sum is known only after the last block
    sums: set[Any] = set()
    for i, shape in enumerate([*shapes, None]):
        ends = shape is None or sums.intersection(instructions[i].operands)
        if ends or shape != shapes[start]:
            if i - start > 1 and shapes[start]:
                runs.update(dict.fromkeys(range(start, i), (start, i)))
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
