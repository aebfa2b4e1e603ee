"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program import cost
from tapegrad.program.arena import Moments, life
from tapegrad.program.concatenations import fillings
from tapegrad.program.expressions import takes_out
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import layouts, ordered
from tapegrad.program.liveness import liveness
from tapegrad.tree.ownership import LARGE

# ops that reduce to one number, which is known after the last block
TOTALS = frozenset({sum_, inner_product})


class Buffer(NamedTuple):
    """Memory for values of one shape and dtype, one at a time."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Plan:
    """Which value of a program, or of a body inside one, is written to which buffer.

    Attributes
    ----------
    live
        When values are in use.
    runs
        The beginning and the end of each run of instructions that are done block by block.
    turned
        Results that lie in memory in another order of axes, with that order.
    filled
        Concatenations and stacks with a buffer of their own, and their parts. Results that are
        written to their place there have no other home.
    buffers
        All of them.
    lives
        When each is in use.
    home
        The number of the buffer that each instruction writes its result to. One that is not listed
        makes a new array, or a view.
    guests
        Results in a run that nothing needs after their block, each with the one whose buffer it
        lies in, which holds one block, or with the later result of the run where it lies until
        that is written.
    early
        Values in a result's new array before the result is, and the first of them, which allocates
        it: a gradient is computed in the array of the new parameter.
    """

    def __init__(self, program: Code, inside: bool = False) -> None:
        self._program = program
        instructions = program.instructions
        self._refs, self._results = refs_to(instructions), program.results
        self.live = liveness(instructions, self._refs, self._results)
        self.runs = _runs(program)
        self.turned = layouts(program, self.live)
        # what an output is a view of is never overwritten
        self._kept = {self.live.owner_of(x) for x in self._results}
        self.filled = fillings(program, self.runs, self._kept)
        # the buffer of a concatenation is in use as long as any part that is written there
        self._whole: dict[Any, Ref] = {
            part.value: ref for ref, parts in self.filled.items() for part in parts if part.direct
        }
        owner = self.live.owner
        self._owner = {x: self._whole.get(y, y) for x, y in owner.items()} | self._whole
        self._ends = dict(self.live.ends)
        for x, ref in self._whole.items():
            self._ends[ref] = max(self._ends[ref], self._ends[x])
        self.buffers: list[Buffer] = []
        self.home: dict[Ref, int] = {}
        # values in buffers that are not free yet, and the buffers that are
        self._held: set[Ref] = set()
        self._free: dict[Buffer, list[int]] = {}
        # the values over which others are written, by these
        self._under: dict[Ref, Ref] = {}
        self.guests: dict[Ref, Ref] = {}
        for ref in self.filled:
            instruction = program.of(ref)
            self._allocate(ref, Buffer(instruction.shape, instruction.dtype))
        self._assign()
        self.early = {} if inside else self._early()
        home = {x: number for x, number in self.home.items() if x not in self.early}
        numbers = {old: number for number, old in enumerate(sorted({*home.values()}))}
        self.buffers = [self.buffers[old] for old in numbers]
        self.home = {x: numbers[old] for x, old in home.items()}
        self.lives = self._lives()

    def _allocate(self, ref: Ref, buffer: Buffer) -> None:
        """Assign a new buffer to a value."""
        self.home[ref] = len(self.buffers)
        self.buffers.append(buffer)

    def _take(self, ref: Ref, buffer: Buffer) -> None:
        """Assign a free buffer, or a new one, to a value."""
        free = self._free.get(buffer)
        if free:
            self.home[ref] = free.pop()
        else:
            self._allocate(ref, buffer)
        self._held.add(ref)

    def _release(self, refs: Iterable[Ref]) -> None:
        """Free the buffers of values."""
        for x in refs:
            self._held.discard(x)
            self._free.setdefault(self.buffers[self.home[x]], []).append(self.home[x])

    def _assign(self) -> None:
        """Have each instruction, or run of them, take buffers and free those that it used up."""
        stops = dict(self.runs)
        i = 0
        while i < len(self._refs):
            if i in stops:
                self._assign_run(i, stops[i])
                i = stops[i]
            else:
                self._assign_one(i)
                i += 1

    def _ending(self, i: int) -> list[Ref]:
        """The values in buffers whose last use is this instruction."""
        owners = dict.fromkeys(
            [self._owner.get(x, x) for x in _refs(self._program.instructions[i])]
        )
        held = self._held
        return [x for x in owners if self._ends[x] == i and x in held and x not in self._kept]

    def _assign_one(self, i: int) -> None:
        instruction, ref = self._program.instructions[i], self._refs[i]
        ended = self._ending(i)
        if ref in self.filled:
            self._release(ended)
            self._held.add(ref)
        else:
            # an operand of the result's shape that is not needed again can be overwritten
            over = [x for x in ended if _may_write_over(instruction, x, self._owner)]
            self._release(over)
            if ref not in self._whole and takes_out(self._program, instruction):
                self._write(ref, over)
            self._release([x for x in ended if x not in over])
        if ref in self._held and self._ends[ref] == i:
            self._release([ref])

    def _write(self, ref: Ref, over: list[Ref]) -> None:
        """Have a result take a buffer, or, if it is returned, the array of one of these values."""
        instruction, axes = self._program.of(ref), self.turned.get(ref)
        shape = instruction.shape if axes is None else ordered(instruction.shape, axes)
        buffer = Buffer(shape, instruction.dtype)
        if ref not in self._results:
            self._take(ref, buffer)
            same = [x for x in over if self.home[x] == self.home[ref]]
        else:
            same = [x for x in over if self.buffers[self.home[x]] == buffer]
        if same:
            self._under[ref] = same[0]

    def _assign_run(self, start: int, stop: int) -> None:
        """Have what is needed after a run take whole buffers, and the rest places for a block.

        Such a place is a buffer, or the array of a result before its own block is written.
        """
        program, refs = self._program, self._refs[start:stop]
        last = {x: i for i in range(start, stop) for x in _refs(program.instructions[i])}
        ended = list(dict.fromkeys(x for i in range(start, stop) for x in self._ending(i)))
        # the places that values give up when they are read last, and until when each is free
        places = self._assign_whole(refs, last, ended)
        free: dict[Any, list[tuple[int, Ref]]] = {}
        for ref in refs:
            is_whole = ref not in self.guests and program.of(ref).op not in TOTALS
            if is_whole and ref not in self._under:
                free.setdefault(program.of(ref).dtype, []).append((ref.index, ref))
        block_length = length_of_blocks(program, range(start, stop))
        for ref in refs:
            for x in dict.fromkeys(_refs(program.of(ref))):
                if last[x] == ref.index and x in places:
                    free.setdefault(program.of(x).dtype, []).append(places[x])
            if ref in self.guests:
                dtype = program.of(ref).dtype
                known = free.get(dtype, [])
                fitting = [x for x in known if last.get(ref, ref.index) <= x[0]]
                if fitting:
                    places[ref] = fitting[-1]
                    known.remove(fitting[-1])
                else:
                    self._take(ref, Buffer((block_length,), dtype))
                    places[ref] = stop, ref
        self.guests.update({x: at for x, (_, at) in places.items() if x in self.guests})
        self._release([*ended, *[x for x in refs if self.guests.get(x) == x]])

    def _assign_whole(
        self, refs: list[Ref], last: Mapping[Ref, int], ended: list[Ref]
    ) -> dict[Ref, tuple[int, Ref]]:
        """Have the values of a run that are needed after it take their arrays or buffers.

        Parameters
        ----------
        refs
            The values of the run.
        last
            The last instruction of the run that reads each value.
        ended
            The values in buffers that are used up in the run; those written over leave it.

        Returns
        -------
        dict
            The values that are written over, and when and by which.
        """
        program, reads, places = self._program, self.live.reads, dict[Ref, tuple[int, Ref]]()
        # what is read for the last time, block by block, and not through a view
        seen = {self._owner.get(y) for y in last if y not in refs}
        seen |= self.filled.keys() | self.turned.keys()
        over = [x for x in ended if x in last and x not in seen]
        for ref in refs:
            instruction = program.of(ref)
            if instruction.op in TOTALS:
                continue
            if ref not in self._results and reads.get(ref, (ref.index,))[-1] <= refs[-1].index:
                self.guests[ref] = ref
                continue
            whole = Buffer(instruction.shape, instruction.dtype)
            under = [
                x for x in over if last[x] <= ref.index and self.buffers[self.home[x]] == whole
            ]
            if under:
                x = under[-1]
                over.remove(x)
                self._under[ref], places[x] = x, (ref.index, ref)
            if ref not in self._results:
                if under:
                    ended.remove(x)
                    self._release([x])
                self._take(ref, whole)
        return places

    def _early(self) -> dict[Ref, Ref]:
        """The values that are computed in a result's array, and the first one."""
        apart = {*self._owner.values(), *self.filled, *self.turned}
        apart |= {x for start, stop in self.runs for x in self._refs[start:stop]}
        early: dict[Ref, Ref] = {}
        for result in sorted(self._results):
            chain = [result]
            while (x := self._under.get(chain[-1])) and x not in apart and x not in early:
                chain.append(x)
            instruction = self._program.of(result)
            is_large = result in self._under and instruction.nbytes >= LARGE
            if is_large and instruction.is_elementwise and len(chain) > 1:
                early.update(dict.fromkeys(chain, chain[-1]))
        return early

    def _lives(self) -> list[Moments]:
        """When each buffer is in use."""
        # a run is done at one time
        first, last = list(range(len(self._refs) + 1)), list(range(len(self._refs) + 1))
        for start, stop in self.runs:
            first[start:stop] = [start] * (stop - start)
            last[start:stop] = [stop - 1] * (stop - start)
        begins = {x: first[x.index] for x in self.home}
        for x, ref in self._whole.items():
            begins[ref] = min(begins[ref], x.index)
        lives = [0] * len(self.buffers)
        for x, number in self.home.items():
            lives[number] |= life(begins[x], last[self._ends[x]])
        return lives


def _refs(instruction: Instruction) -> list[Ref]:
    return [x for x in instruction.operands if type(x) is Ref]


def _may_write_over(instruction: Instruction, x: Ref, owner: Mapping[Ref, Ref]) -> bool:
    """Whether an instruction may write its result over a value that it uses."""
    if instruction.op is add_at_places:
        # whatever else they need is read before anything is written
        first = _refs(instruction)[0]
        return x == owner.get(first, first)
    # NumPy copies a single element that it would write over, in thrice the time of the call
    if math.prod(instruction.shape) == 1:
        return False
    # its own transforms along several axes write over what each of them reads
    return instruction.is_elementwise or instruction.op in (fft, ifft, keep)


# --- blocks -------------------------------------------------------------------------------


def _runs(program: Code) -> list[tuple[int, int]]:
    """The runs of successive elementwise instructions on large arrays of one shape."""
    shapes = [block_shape(x, lambda x: program.like(x).shape) for x in program.instructions]
    runs: list[tuple[int, int]] = []
    if not any(shapes):
        return runs
    start = 0
    # a sum is known only after the last block
    sums: set[Any] = set()
    for i, shape in enumerate([*shapes, None]):
        ends = i == len(shapes) or sums.intersection(program.instructions[i].operands)
        if ends or shape is None or shape != shapes[start]:
            if i - start > 1 and shapes[start]:
                runs.append((start, i))
            start, sums = i, set()
        if shape and program.instructions[i].op in TOTALS:
            sums.add(Ref("instruction", i))
    return runs


def length_of_blocks(program: Code, run: range) -> int:
    """How many elements of a run are done at once: those of the widest dtype fit in the cache."""
    return cost.BLOCK_BYTES // max(program.instructions[i].dtype.itemsize for i in run)


def block_shape(
    instruction: Instruction, shape_of: Callable[[Any], tuple[int, ...]]
) -> tuple[int, ...] | None:
    """The shape over which an instruction can be done block by block, if it can.

    `shape_of` gives the shapes of its operands.
    """
    if instruction.op not in TOTALS and math.prod(instruction.shape) < cost.BLOCKED_ELEMENTS:
        return None
    is_total = instruction.op in TOTALS and not instruction.options.get("keepdims")
    if not is_total and not instruction.is_elementwise:
        return None
    shape = shape_of(instruction.operands[0]) if is_total else instruction.shape
    if math.prod(shape) < cost.BLOCKED_ELEMENTS or instruction.dtype.kind not in "fb":
        return None
    if not is_total:
        return shape if all(shape_of(x) in ((), shape) for x in instruction.operands) else None
    return shape if instruction.options.get("axis") is None else None
