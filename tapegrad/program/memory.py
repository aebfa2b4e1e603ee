"""The memory plan: which values share a buffer, and which are computed block by block."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs
import numpy as np

from tapegrad.core.rules import Rules
from tapegrad.declare import facts
from tapegrad.ops.fourier import fft, ifft
from tapegrad.ops.logic import keep
from tapegrad.ops.product import inner_product
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.rows import add_at_places
from tapegrad.program.arena import Life, Span
from tapegrad.program.concatenations import Filling, Part, fillings, joined, parts_of
from tapegrad.program.expressions import is_filled, takes_out
from tapegrad.program.ir import Code, Instruction, Ref, refs_to
from tapegrad.program.layout import Axes, layouts, ordered
from tapegrad.program.results import sealed
from tapegrad.tree.ownership import LARGE


def early(
    program: Code,
    home: Mapping[Ref, int],
    last_use: Mapping[Ref, int],
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
    last_use
        The last instruction that uses each value or a view of it.
    apart
        Values that must keep their place in memory.
    begins
        Results that are written block by block over others, and these.
    """
    found: dict[Ref, Ref] = {}
    for result in sorted(program.results):
        made = program.of(result)
        over_block = begins.get(result, result)
        if result.kind != "instruction" or result in home or over_block in apart:
            continue
        large = made.nbytes >= LARGE
        if not (large and made.is_elementwise and takes_out(program, made)):
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
                and x not in found
                and last_use[x] == last.index
                and home.get(last, home[x]) == home[x]
                and (program.of(x).shape, program.of(x).dtype) == (made.shape, made.dtype)
            ]
            if not over:
                break
            chain.append(over[0])
        if len(chain) > 1:
            found.update(dict.fromkeys(chain, chain[-1]))
    return found


# elements from which several arrays do not fit in the cache, and bytes of a block that does
MANY = 1 << 17
_BLOCK_BYTES = 1 << 17

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
    pool, refs = _Pool(), refs_to(program.instructions)
    runs = _runs(program)
    owner = owners(program)
    turned = layouts(program)
    results = program.results
    # what an output is a view of is never overwritten
    kept = {owner.get(x, x) for x in results}
    parts: dict[Ref, dict[Ref, Part]] = {}
    for ref, direct in joined(program, runs, kept).items():
        made = program.of(ref)
        number = pool.new(ref, Buffer(made.shape, made.dtype))
        places = parts_of(program, made, number)
        parts[ref] = {x: part for x, part in places if x in direct}
    # the buffer of a concatenation is in use as long as any part is
    whole = {x: ref for ref, found in parts.items() for x in found}
    placed = parts.keys() | whole.keys()
    filled = {x: filling for x, filling in fillings(program).items() if x not in placed}
    for x in filled:
        pool.new(x, Buffer(program.of(x).shape, program.of(x).dtype))
    pool.since |= {ref: min(x.index for x in found) for ref, found in parts.items()}
    new = sealed(program)
    owner = {x: whole.get(y, y) for x, y in owner.items()} | whole
    last_use = {
        owner.get(x, x): i
        for i, instruction in enumerate(program.instructions)
        for x in instruction.operands
        if type(x) is Ref
    }
    # the last use of each value by itself; its views may be read later
    last_read = {
        x: i for i, made in enumerate(program.instructions if runs else ()) for x in _refs(made)
    }
    passing: set[Ref] = set()
    guests: dict[Ref, Ref] = {}
    # values in runs, and those over which they are written
    begins: dict[Ref, Ref] = {}

    def ending(i: int) -> list[Ref]:
        """The values in buffers whose last use is this instruction."""
        found: list[Ref] = []
        for x in program.instructions[i].operands:
            if type(x) is Ref:
                x = owner.get(x, x)
                if last_use[x] == i and x in pool.held and x not in kept and x not in found:
                    found.append(x)
        return found

    def give_home(i: int) -> None:
        instruction, ref = program.instructions[i], refs[i]
        if ref in parts:
            pool.release(ending(i))
            pool.held[ref] = pool.home[ref]
            return
        ended = ending(i)
        # an operand of the result's shape that is not needed again can be overwritten
        over = [x for x in ended if _may_write_over(instruction, x, owner)]
        if over:
            pool.release(over)
        is_new = takes_out(program, instruction) and ref not in results and ref not in new
        if is_new and ref not in whole and ref not in filled:
            shape = instruction.shape
            axes = turned.get(ref)
            shape = shape if axes is None else ordered(shape, axes)
            pool.take(ref, shape, instruction.dtype)
        if len(ended) > len(over):
            pool.release([x for x in ended if x not in over])
        if ref in pool.held and ref not in last_use and ref not in kept:
            pool.release([ref])

    def give_blocks(start: int, stop: int) -> None:
        block_length = length_of_blocks(program, range(start, stop))
        last = {x: i for i in range(start, stop) for x in _refs(program.instructions[i])}
        made = refs[start:stop]
        written = [x for x in made if program.of(x).op not in TOTALS]
        # where a block may stand, and until when: a buffer, or a result until it is written
        free: dict[Any, list[tuple[int, int | Ref]]] = {}
        place: dict[Ref, tuple[int, int | Ref]] = {}
        ended = list(dict.fromkeys(x for i in range(start, stop) for x in ending(i)))
        # what is read for the last time, block by block, and not through a view
        over = [x for x in ended if x in last and x not in placed and x not in turned]
        over = [x for x in over if not any(owner.get(y) == x for y in last if y not in made)]
        for ref in written:
            if ref not in results and last_read.get(ref, ref.index) < stop:
                passing.add(ref)
                continue
            instruction = program.of(ref)
            like = instruction.shape, instruction.dtype
            under = [x for x in over if last[x] <= ref.index and _like(program, x) == like]
            if under:
                over.remove(under[-1])
                begins[ref] = under[-1]
            else:
                free.setdefault(instruction.dtype, []).append((ref.index, ref))
            if ref not in results:
                if under:
                    ended.remove(under[-1])
                    pool.release(under[-1:])
                pool.take(ref, *like)
        follows = {x: ref for ref, x in begins.items() if start <= ref.index < stop}
        for ref in made:
            for x in dict.fromkeys(_refs(program.of(ref))):
                if last[x] == ref.index and x in follows:
                    host = follows[x]
                    free.setdefault(program.of(x).dtype, []).append((host.index, host))
                if last[x] == ref.index and x in place:
                    free[program.of(x).dtype].append(place[x])
            if ref in passing:
                places = free.setdefault(program.of(ref).dtype, [])
                fitting = [x for x in places if last.get(ref, ref.index) <= x[0]]
                if fitting:
                    place[ref] = fitting[-1]
                    places.remove(fitting[-1])
                else:
                    pool.take(ref, (block_length,), program.of(ref).dtype)
                    place[ref] = stop, pool.home[ref]
        pool.home.update({x: at for x, (_, at) in place.items() if type(at) is int})
        guests.update({x: at for x, (_, at) in place.items() if type(at) is Ref})
        pool.now = stop - 1
        pool.release([*ended, *[x for x in passing if x in pool.held]])

    stops = dict(runs)
    i = 0
    while i < len(program.instructions):
        pool.now = i
        if i in stops:
            give_blocks(i, stops[i])
            i = stops[i]
        else:
            give_home(i)
            i += 1
    blocked = {x for start, stop in runs for x in refs[start:stop]}
    apart = {*owner.values(), *placed, *filled, *turned, *new, *blocked}
    begun = {} if inside else early(program, pool.home, last_use, apart, begins)
    home = {x: number for x, number in pool.home.items() if x not in begun}
    numbers = {old: number for number, old in enumerate(sorted({*home.values()}))}
    lives: dict[int, list[Span]] = {old: [] for old in numbers}
    for x, old in home.items():
        lives[old] += pool.life_of(x, len(program.instructions))
    return Plan(
        tuple([pool.buffers[old] for old in numbers]),
        tuple(lives.values()),
        {x: numbers[old] for x, old in home.items()},
        frozenset(parts),
        {
            x: attrs.evolve(part, buffer=numbers[part.buffer])
            for found in parts.values()
            for x, part in found.items()
        },
        tuple(runs),
        frozenset(passing),
        guests,
        begun,
        turned,
        filled,
        new,
    )


def owners(program: Code) -> dict[Ref, Ref]:
    """For each value that may be a view, the value whose memory it shares."""
    owner: dict[Ref, Ref] = {}
    views = _views(program)
    for i, instruction in enumerate(program.instructions):
        if instruction.op in views and not is_filled(instruction):
            base = instruction.operands[0]
            if type(base) is Ref:
                owner[Ref("instruction", i)] = owner.get(base, base)
    return owner


def _views(program: Code) -> frozenset[Rules]:
    """The ops whose result may be a view of the first operand; each is asked once."""
    return frozenset(op for op in {x.op for x in program.instructions} if facts(op).view)


def last_uses(program: Code) -> dict[Ref, int]:
    """The last instruction that uses each value or a view of it; for results, one after all."""
    made, views = program.instructions, _views(program)
    found = dict.fromkeys(program.results, len(made))
    for ref, instruction in zip(refs_to(made)[::-1], reversed(made), strict=True):
        end = found.setdefault(ref, ref.index)
        for k, x in enumerate(instruction.operands):
            if type(x) is Ref:
                # from the last to the first, so what is here already is later
                found.setdefault(x, ref.index)
                if k == 0 and instruction.op in views and not is_filled(instruction):
                    found[x] = max(found[x], end)
    return found


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
    shapes = [block_shape(program, instruction) for instruction in program.instructions]
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
    return _BLOCK_BYTES // max(program.instructions[i].dtype.itemsize for i in run)


def block_shape(program: Code, instruction: Instruction) -> tuple[int, ...] | None:
    """The shape over which an instruction can be done block by block, if it can."""
    if instruction.op not in TOTALS and math.prod(instruction.shape) < MANY:
        return None
    is_total = instruction.op in TOTALS and not instruction.options.get("keepdims")
    if not is_total and not instruction.is_elementwise:
        return None
    shape = program.like(instruction.operands[0]).shape if is_total else instruction.shape
    if math.prod(shape) < MANY or instruction.dtype.kind not in "fb":
        return None
    if not is_total:
        shapes = [np.shape(program.like(x)) for x in instruction.operands]
        return shape if all(x in ((), shape) for x in shapes) else None
    return shape if instruction.options.get("axis") is None else None
