"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program import cost
from tapegrad.program.arena import Moments, life
from tapegrad.program.expressions import takes_out, template_of
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import fillings, layouts, ordered
from tapegrad.program.liveness import liveness, readers
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
        Concatenations and stacks with a buffer of their own, and their parts. Results that are
        written to their place there have no other home.
    buffers
        All of them.
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
        self.refs, results = refs_to(instructions), program.results
        self._results = results
        self.templates = [template_of(program.of, x) for x in instructions]
        self.fits = list(map(takes_out, instructions, self.templates))
        self.live = liveness(instructions, self.refs, results)
        self.runs = _runs(program)
        self.turned = layouts(program, self.fits)
        # what an output is a view of is never overwritten
        kept = {self.live.owner_of(x) for x in results}
        self.filled = fillings(program, self.fits, self.runs, kept)
        # the buffer of a concatenation is in use as long as any part that is written there
        self._whole: dict[Any, Ref] = {
            part.value: ref for ref, parts in self.filled.items() for part in parts if part.direct
        }
        owner, ends = self.live.owner, self.live.ends
        owner.update({x: self._whole.get(of, of) for x, of in owner.items()} | self._whole)
        for x, ref in self._whole.items():
            ends[ref] = max(ends[ref], ends[x])
        self.buffers: list[Buffer] = []
        self.home: dict[Ref, int] = {}
        # the buffers that are free, by shape and dtype, and for each those that it is among
        self._free: dict[Any, list[int]] = {}
        self._among: list[list[int]] = []
        # the values over which others are written, by these
        self._under: dict[Ref, Ref] = {}
        self.guests: dict[Ref, Ref] = {}
        self.early: dict[Ref, Ref] = {}
        for ref in self.filled:
            instruction = program.of(ref)
            self._take(ref, instruction.shape, instruction.dtype)
        self._assign()
        if not inside:
            self._place_early()

    def _take(self, ref: Ref, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Assign a free buffer, or a new one, to a value."""
        free = self._free.setdefault((shape, dtype), [])
        if free:
            self.home[ref] = free.pop()
        else:
            self.home[ref] = len(self.buffers)
            self.buffers.append(Buffer(shape, dtype))
            self._among.append(free)

    def _release(self, refs: Iterable[Ref]) -> None:
        """Free the buffers of values."""
        for x in refs:
            number = self.home[x]
            self._among[number].append(number)

    def _assign(self) -> None:
        """Have each instruction, or run of them, take buffers and free those that it used up."""
        i = 0
        while i < len(self.refs):
            start, stop = self.runs.get(i, (i, i + 1))
            if i in self.runs:
                self._assign_run(start, stop)
            else:
                self._assign_one(i)
            i = stop

    def _ending(self, i: int) -> list[Ref]:
        """The values in buffers whose last use is this instruction."""
        home, owner, ends = self.home, self.live.owner, self.live.ends
        ending: list[Ref] = []
        for x in self._program.instructions[i].operands:
            if type(x) is Ref:
                of = owner.get(x, x)
                if ends[of] == i and of in home and of not in ending:
                    ending.append(of)
        return ending

    def _assign_one(self, i: int) -> None:
        ref, ended = self.refs[i], self._ending(i)
        if ref in self.filled:
            self._release(ended)
        else:
            # an operand of the result's shape that is not needed again can be overwritten
            over = self._overwritten(i, ended) if ended else ended
            self._release(over)
            if self.fits[i] and ref not in self._whole:
                self._write(i, over)
            if len(over) < len(ended):
                self._release([x for x in ended if x not in over])
        if self.live.ends[ref] == i and ref in self.home:
            self._release([ref])

    def _overwritten(self, i: int, ended: list[Ref]) -> list[Ref]:
        """The values, of these that it uses, that an instruction may write its result over."""
        instruction = self._program.instructions[i]
        if instruction.op is add_at_places:
            # whatever else they need is read before anything is written
            first: Any = instruction.operands[0]
            return [x for x in ended if x == self.live.owner_of(first)]
        # its own transforms along several axes write over what each of them reads
        is_over = instruction.is_elementwise or instruction.op in (fft, ifft, keep)
        # NumPy copies a single element that it would write over, in thrice the time of the call
        return ended if is_over and math.prod(instruction.shape) != 1 else []

    def _write(self, i: int, over: list[Ref]) -> None:
        """Have a result take a buffer, or, if it is returned, the array of one of these values."""
        instruction, ref = self._program.instructions[i], self.refs[i]
        shape, dtype = instruction.shape, instruction.dtype
        if ref in self.turned:
            shape = ordered(shape, self.turned[ref])
        if ref not in self._results:
            self._take(ref, shape, dtype)
            same = [x for x in over if self.home[x] == self.home[ref]]
        else:
            same = [x for x in over if self.buffers[self.home[x]] == (shape, dtype)]
        if same:
            self._under[ref] = same[0]

    def _assign_run(self, start: int, stop: int) -> None:
        """Have what is needed after a run take whole buffers, and the rest places for a block.

        Such a place is a buffer, or the array of a result before its own block is written.
        """
        program, refs, reads = self._program, self.refs[start:stop], self._reads
        last = {x: i for i in range(start, stop) for x in _refs(program.instructions[i])}
        ended = list(dict.fromkeys(x for i in range(start, stop) for x in self._ending(i)))
        # what is read for the last time, block by block, and not through a view
        seen = {self.live.owner.get(y) for y in last if y not in refs}
        seen |= self.filled.keys() | self.turned.keys()
        over = [x for x in reversed(ended) if x in last and x not in seen]
        # the places that values give up when they are read last, and until when each is free
        places: dict[Ref, tuple[int, Ref]] = {}
        free: dict[Any, list[tuple[int, Ref]]] = defaultdict(list)
        for ref in refs:
            instruction = program.of(ref)
            shape, dtype = instruction.shape, instruction.dtype
            if instruction.op in TOTALS:
                continue
            if ref not in self._results and reads.get(ref, (start,))[-1] < stop:
                self.guests[ref] = ref
                continue
            fitting = [x for x in over if self.buffers[self.home[x]] == (shape, dtype)]
            under = next((x for x in fitting if last[x] <= ref.index), None)
            if under is None:
                free[dtype].append((ref.index, ref))
            else:
                over.remove(under)
                self._under[ref], places[under] = under, (ref.index, ref)
            if ref not in self._results:
                if under is not None:
                    ended.remove(under)
                    self._release([under])
                self._take(ref, shape, dtype)
        length = length_of_blocks(program, range(start, stop))
        for ref in refs:
            for x in dict.fromkeys(_refs(program.of(ref))):
                if last[x] == ref.index and x in places:
                    free[program.of(x).dtype].append(places[x])
            if ref in self.guests:
                dtype = program.of(ref).dtype
                known = [x for x in free[dtype] if last.get(ref, ref.index) <= x[0]]
                if known:
                    free[dtype].remove(known[-1])
                else:
                    self._take(ref, (length,), dtype)
                places[ref] = known[-1] if known else (stop, ref)
                self.guests[ref] = places[ref][1]
        self._release([*ended, *[x for x in refs if self.guests.get(x) == x]])

    @cached_property
    def _reads(self) -> dict[Ref, list[int]]:
        return readers(self._program)

    def _place_early(self) -> None:
        """Have values computed in a result's array, and drop the buffers that they leave empty."""
        early: dict[Ref, Ref] = {}
        for result in sorted(self._results & self._under.keys()):
            instruction = self._program.of(result)
            if instruction.nbytes < LARGE or not instruction.is_elementwise:
                continue
            apart = {*self.live.owner.values(), *self.filled, *self.turned}
            apart |= {self.refs[i] for i in self.runs}
            chain = [result]
            while (x := self._under.get(chain[-1])) and x not in apart and x not in early:
                chain.append(x)
            if len(chain) > 1:
                early.update(dict.fromkeys(chain, chain[-1]))
        if early:
            self.early = early
            home = {x: number for x, number in self.home.items() if x not in early}
            numbers = {old: number for number, old in enumerate(sorted({*home.values()}))}
            self.buffers = [self.buffers[old] for old in numbers]
            self.home = {x: numbers[old] for x, old in home.items()}

    def lives(self) -> list[Moments]:
        """When each buffer is in use."""
        begins = {x: x.index for x in self.home}
        for x, ref in self._whole.items():
            begins[ref] = min(begins[ref], x.index)
        lives = [0] * len(self.buffers)
        for x, number in self.home.items():
            begin, end = begins[x], self.live.ends[x]
            # a run is done at one time
            first, _ = self.runs.get(begin, (begin, 0))
            _, after = self.runs.get(end, (0, end + 1))
            lives[number] |= life(first, after - 1)
        return lives


def _refs(instruction: Instruction) -> list[Ref]:
    return [x for x in instruction.operands if type(x) is Ref]


# --- blocks -------------------------------------------------------------------------------


def _runs(program: Code) -> dict[int, tuple[int, int]]:
    """The runs of successive elementwise instructions on large arrays of one shape."""
    instructions, least = program.instructions, cost.BLOCKED_ELEMENTS
    shapes = [
        block_shape(x, lambda x: program.like(x).shape)
        if math.prod(x.shape) >= least or x.op in TOTALS
        else None
        for x in instructions
    ]
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


def block_shape(
    instruction: Instruction, shape_of: Callable[[Any], tuple[int, ...]]
) -> tuple[int, ...] | None:
    """The shape over which an instruction can be done block by block, if it can.

    `shape_of` gives the shapes of its operands.
    """
    is_total = instruction.op in TOTALS and not instruction.options.get("keepdims")
    if not is_total and not instruction.is_elementwise:
        return None
    shape = shape_of(instruction.operands[0]) if is_total else instruction.shape
    if math.prod(shape) < cost.BLOCKED_ELEMENTS or instruction.dtype.kind not in "fb":
        return None
    if not is_total:
        return shape if all(shape_of(x) in ((), shape) for x in instruction.operands) else None
    return shape if instruction.options.get("axis") is None else None
