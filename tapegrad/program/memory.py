"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program import cost
from tapegrad.program.arena import Life, Span
from tapegrad.program.concatenations import Filling, Part, fillings, joined, parts_of
from tapegrad.program.expressions import takes_out
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import Axes, layouts, ordered
from tapegrad.program.liveness import Liveness, liveness
from tapegrad.program.results import sealed
from tapegrad.tree.ownership import LARGE


def early(
    program: Code,
    home: Mapping[Ref, int],
    ends: Mapping[Ref, int],
    apart: Collection[Ref],
    begins: Mapping[Ref, Ref],
) -> dict[Ref, Ref]:
    """The values that are computed in a result's array, with the first one, which allocates it.

    A gradient is computed in the array of the new parameter.

    Parameters
    ----------
    program
        The program.
    home
        The buffer that each value would be in.
    ends
        The last instruction that uses each value or a view of it.
    apart
        Values that must keep their place in memory.
    begins
        Results that are written block by block over others, and these.
    """
    places: dict[Ref, Ref] = {}
    for result in sorted(program.results):
        instruction = program.of(result)
        over_block = begins.get(result, result)
        if result.kind != "instruction" or result in home or over_block in apart:
            continue
        large = instruction.nbytes >= LARGE
        if not (large and instruction.is_elementwise and takes_out(program, instruction)):
            continue
        chain = list(dict.fromkeys([result, over_block]))
        while True:
            last = chain[-1]
            over = [
                x
                for x in program.of(last).operands
                if type(x) is Ref
                and x in home
                and x not in apart
                and x not in places
                and ends[x] == last.index
                and home.get(last, home[x]) == home[x]
                and (program.of(x).shape, program.of(x).dtype)
                == (instruction.shape, instruction.dtype)
            ]
            if not over:
                break
            chain.append(over[0])
        if len(chain) > 1:
            places.update(dict.fromkeys(chain, chain[-1]))
    return places


# ops that reduce to one number, which is known after the last block
TOTALS = frozenset({sum_, inner_product})


@attrs.frozen
class Buffer:
    """Memory for values of one shape and dtype, one at a time."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize


@attrs.frozen
class Plan:
    """Which value is written to which buffer.

    Attributes
    ----------
    live
        When values are in use.
    buffers
        All of them.
    lives
        When each is in use; never, for one that keeps what it holds from call to call.
    home
        The number of the buffer that each instruction writes its result to. One that is not listed
        makes a new array, or a view.
    joined
        Concatenations and stacks with a buffer of their own, to which parts are written directly.
    parts
        Results that are written to their place in one of these.
    runs
        The beginning and the end of each run of instructions that are done block by block.
    passing
        Results in a run that nothing needs after their block; their buffer holds one block.
    guests
        Those without a buffer: they lie where a later result of their run will be.
    early
        Values in a result's new array before the result is, and the first of them.
    turned
        Results that lie in memory in another order of axes, with that order.
    filled
        Concatenations with a buffer of their own, to which parts are copied.
    sealed
        New arrays of which results are parts, with these results.
    """

    live: Liveness
    buffers: tuple[Buffer, ...]
    lives: tuple[Life, ...]
    home: Mapping[Ref, int]
    joined: frozenset[Ref]
    parts: Mapping[Ref, Part]
    runs: tuple[tuple[int, int], ...]
    passing: frozenset[Ref]
    guests: Mapping[Ref, Ref]
    early: Mapping[Ref, Ref]
    turned: Mapping[Ref, Axes]
    filled: Mapping[Ref, Filling]
    sealed: Mapping[Ref, tuple[Ref, ...]]


class _Pool:
    """Buffers while they are assigned."""

    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.home: dict[Ref, int] = {}
        self.held: dict[Ref, int] = {}
        # the instruction that is reached, and since and until when values are held
        self.now = 0
        self.since: dict[Ref, int] = {}
        self._until: dict[Ref, int] = {}
        # by shape and dtype
        self._free: dict[Any, list[int]] = {}

    def new(self, ref: Ref, buffer: Buffer) -> int:
        """The number of a new buffer for a value."""
        self.home[ref] = len(self.buffers)
        self.buffers.append(buffer)
        return self.home[ref]

    def take(self, ref: Ref, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Assign a free buffer, or a new one, to a value."""
        free = self._free.get((shape, dtype))
        number = free.pop() if free else self.new(ref, Buffer(shape, dtype))
        self.held[ref] = self.home[ref] = number
        self.since[ref] = self.now

    def release(self, refs: Iterable[Ref]) -> None:
        """Free the buffers of values."""
        for x in refs:
            number = self.held.pop(x)
            self._until[x] = self.now
            freed = self.buffers[number]
            self._free.setdefault((freed.shape, freed.dtype), []).append(number)

    def life_of(self, ref: Ref, end: int) -> Life:
        """When a value is held, up to the end if it is not released.

        Never, for what lies in the block of another, or in a buffer that keeps constants.
        """
        return [(self.since[ref], self._until.get(ref, end))] if ref in self.since else []


def planned(program: Code, inside: bool = False) -> Plan:
    """The plan of a program, or of a body inside one."""
    planner = _Planner(program)
    planner.assign()
    return planner.plan(inside)


class _Planner:
    """The plan of a program while buffers are assigned to its values, in the order they run."""

    def __init__(self, program: Code) -> None:
        self.program, self.pool = program, _Pool()
        instructions = program.instructions
        self.refs, self.results = refs_to(instructions), program.results
        self.live = liveness(instructions, self.refs, self.results)
        self.runs = _runs(program)
        self.turned = layouts(program, self.live)
        self.sealed = sealed(program)
        # what an output is a view of is never overwritten
        self.kept = {self.live.owner_of(x) for x in self.results}
        self.parts: dict[Ref, dict[Ref, Part]] = {}
        for ref, direct in joined(program, self.runs, self.kept).items():
            number = self._own_buffer(ref)
            places = parts_of(program, program.of(ref), number)
            self.parts[ref] = {x: part for x, part in places if x in direct}
        # the buffer of a concatenation is in use as long as any part is
        self.whole = {x: ref for ref, placed in self.parts.items() for x in placed}
        self.placed = self.parts.keys() | self.whole.keys()
        self.filled = {
            x: filling
            for x, filling in fillings(program, self.live).items()
            if x not in self.placed
        }
        for ref in self.filled:
            self._own_buffer(ref)
        for ref, placed in self.parts.items():
            self.pool.since[ref] = min(x.index for x in placed)
        owner = self.live.owner
        self.owner = {x: self.whole.get(y, y) for x, y in owner.items()} | self.whole
        self.ends = dict(self.live.ends)
        for x, ref in self.whole.items():
            self.ends[ref] = max(self.ends[ref], self.ends[x])
        self.passing: set[Ref] = set()
        self.guests: dict[Ref, Ref] = {}
        # values in runs, and those over which they are written
        self.begins: dict[Ref, Ref] = {}

    def _own_buffer(self, ref: Ref) -> int:
        """The number of a new buffer that is a value's alone."""
        instruction = self.program.of(ref)
        return self.pool.new(ref, Buffer(instruction.shape, instruction.dtype))

    def assign(self) -> None:
        """Have each instruction, or run of them, take buffers and free those that it used up."""
        stops = dict(self.runs)
        i = 0
        while i < len(self.refs):
            self.pool.now = i
            if i in stops:
                self._assign_run(i, stops[i])
                i = stops[i]
            else:
                self._assign_one(i)
                i += 1

    def _ending(self, i: int) -> list[Ref]:
        """The values in buffers whose last use is this instruction."""
        operands = [x for x in self.program.instructions[i].operands if type(x) is Ref]
        owners = dict.fromkeys([self.owner.get(x, x) for x in operands])
        held = self.pool.held
        return [x for x in owners if self.ends[x] == i and x in held and x not in self.kept]

    def _assign_one(self, i: int) -> None:
        instruction, ref, pool = self.program.instructions[i], self.refs[i], self.pool
        ended = self._ending(i)
        if ref in self.parts:
            pool.release(ended)
            pool.held[ref] = pool.home[ref]
            return
        # an operand of the result's shape that is not needed again can be overwritten
        over = [x for x in ended if _may_write_over(instruction, x, self.owner)]
        if over:
            pool.release(over)
        in_array = ref in self.results or ref in self.sealed
        in_place = ref in self.whole or ref in self.filled
        if not in_array and not in_place and takes_out(self.program, instruction):
            axes = self.turned.get(ref)
            shape = instruction.shape if axes is None else ordered(instruction.shape, axes)
            pool.take(ref, shape, instruction.dtype)
        if len(ended) > len(over):
            pool.release([x for x in ended if x not in over])
        if ref in pool.held and self.ends[ref] == i:
            pool.release([ref])

    def _assign_run(self, start: int, stop: int) -> None:
        """Have what a run gives and holds take its place.

        A block may stand in a buffer, or, until it is written, in a result.
        """
        program, pool = self.program, self.pool
        refs = self.refs[start:stop]
        last = {x: i for i in range(start, stop) for x in _refs(program.instructions[i])}
        free: dict[Any, list[tuple[int, int | Ref]]] = {}
        ended = list(dict.fromkeys(x for i in range(start, stop) for x in self._ending(i)))
        self._assign_whole(refs, last, ended, free)
        follows = {x: ref for ref, x in self.begins.items() if start <= ref.index < stop}
        place: dict[Ref, tuple[int, int | Ref]] = {}
        block_length = length_of_blocks(program, range(start, stop))
        for ref in refs:
            dtype = program.of(ref).dtype
            for x in dict.fromkeys(_refs(program.of(ref))):
                if last[x] == ref.index and x in follows:
                    host = follows[x]
                    free.setdefault(program.of(x).dtype, []).append((host.index, host))
                if last[x] == ref.index and x in place:
                    free[program.of(x).dtype].append(place[x])
            if ref in self.passing:
                places = free.setdefault(dtype, [])
                fitting = [x for x in places if last.get(ref, ref.index) <= x[0]]
                if fitting:
                    place[ref] = fitting[-1]
                    places.remove(fitting[-1])
                else:
                    pool.take(ref, (block_length,), dtype)
                    place[ref] = stop, pool.home[ref]
        pool.home.update({x: at for x, (_, at) in place.items() if type(at) is int})
        self.guests.update({x: at for x, (_, at) in place.items() if type(at) is Ref})
        pool.now = stop - 1
        pool.release([*ended, *[x for x in self.passing if x in pool.held]])

    def _assign_whole(
        self,
        refs: Sequence[Ref],
        last: Mapping[Ref, int],
        ended: list[Ref],
        free: dict[Any, list[tuple[int, int | Ref]]],
    ) -> None:
        """Have the values of a run that are needed after it take their arrays or buffers.

        Parameters
        ----------
        refs
            The values of the run.
        last
            The last instruction of the run that reads each value.
        ended
            The values in buffers that are used up in the run; those written over leave it.
        free
            By dtype, where blocks may stand and until when; results are added.
        """
        program, reads = self.program, self.live.reads
        stop = refs[-1].index + 1
        # what is read for the last time, block by block, and not through a view
        over = [x for x in ended if x in last and x not in self.placed and x not in self.turned]
        seen = {self.owner.get(y) for y in last if y not in refs}
        over = [x for x in over if x not in seen]
        for ref in refs:
            instruction = program.of(ref)
            if instruction.op in TOTALS:
                continue
            if ref not in self.results and reads.get(ref, (ref.index,))[-1] < stop:
                self.passing.add(ref)
                continue
            like = instruction.shape, instruction.dtype
            under = [x for x in over if last[x] <= ref.index and _like(program, x) == like]
            if under:
                over.remove(under[-1])
                self.begins[ref] = under[-1]
            else:
                free.setdefault(instruction.dtype, []).append((ref.index, ref))
            if ref not in self.results:
                if under:
                    ended.remove(under[-1])
                    self.pool.release(under[-1:])
                self.pool.take(ref, *like)

    def plan(self, inside: bool) -> Plan:
        """The plan, once all buffers are assigned."""
        pool = self.pool
        blocked = {x for start, stop in self.runs for x in self.refs[start:stop]}
        apart = {*self.owner.values(), *self.placed, *self.filled, *self.turned, *self.sealed}
        apart |= blocked
        begun: Mapping[Ref, Ref] = {}
        if not inside:
            begun = early(self.program, pool.home, self.ends, apart, self.begins)
        home = {x: number for x, number in pool.home.items() if x not in begun}
        numbers = {old: number for number, old in enumerate(sorted({*home.values()}))}
        lives: dict[int, list[Span]] = {old: [] for old in numbers}
        for x, old in home.items():
            lives[old] += pool.life_of(x, len(self.refs))
        places = [pair for placed in self.parts.values() for pair in placed.items()]
        return Plan(
            live=self.live,
            buffers=tuple([pool.buffers[old] for old in numbers]),
            lives=tuple(lives.values()),
            home={x: numbers[old] for x, old in home.items()},
            joined=frozenset(self.parts),
            parts={x: attrs.evolve(part, buffer=numbers[part.buffer]) for x, part in places},
            runs=tuple(self.runs),
            passing=frozenset(self.passing),
            guests=self.guests,
            early=begun,
            turned=self.turned,
            filled=self.filled,
            sealed=self.sealed,
        )


def _refs(instruction: Instruction) -> list[Ref]:
    return [x for x in instruction.operands if type(x) is Ref]


def _like(program: Code, x: Ref) -> tuple[tuple[int, ...], Any]:
    return program.of(x).shape, program.of(x).dtype


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
