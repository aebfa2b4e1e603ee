"""The frame in which a program or a body is written: names of values, and objects made once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.indexing import HOLE
from tapegrad.ops.shape import reshape, transpose
from tapegrad.ops.updates import add_scaled_rows, index_add
from tapegrad.program import cost
from tapegrad.program.arena import Arena, Line, Memory, Moments, life
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.expressions import Names, expression
from tapegrad.program.ir import Code, Constant, Input, Instruction, Ref, number, refs_to
from tapegrad.program.layout import inverse
from tapegrad.program.memory import Plan
from tapegrad.program.observe import short_names
from tapegrad.program.reuse import RowUpdates
from tapegrad.tree.ownership import Array

Values = Mapping[Ref, str]


@attrs.frozen
class Frame:
    """A program, or a body inside one, while it is written.

    Attributes
    ----------
    program
        What is written.
    plan
        Who has which buffer.
    values
        What each value is called.
    places
        The arrays that results are written to, if they have a place in memory.
    still
        The values in arrays that stay in place from call to call, and what these are called; a
        step of a loop sees successive rows of them.
    updates
        Instructions that update rows, and what keeps the older table of each.
    names
        Where names come from.
    arena
        The arrays that are made once, among the lines that run once, before the first call.
    rows
        Values that a loop returned, and the list of their rows, in order.
    lent
        Values in memory that a loop reuses when it runs again.
    lists
        In a body of a loop, the names of rows of memory that stays in place, and the list that
        each goes through.
    views
        The names of views of these rows, and the lists of them, which are made once.
    inside
        When the loop or the branch runs that a body is of; None for a whole program.
    """

    program: Code
    plan: Plan
    values: dict[Ref, str]
    places: dict[Ref, str]
    still: dict[Any, str]
    updates: Mapping[int, str]
    names: Names
    arena: Arena
    rows: dict[Ref, str] = attrs.Factory(dict)
    lent: set[Ref] = attrs.Factory(set)
    lists: dict[str, str] = attrs.Factory(dict)
    views: list[tuple[str, str]] = attrs.Factory(list)
    inside: Moments | None = None

    @property
    def once(self) -> list[Line]:
        """The lines that run once; more are added."""
        return self.arena.once

    def expression(
        self, i: int, out: str | None = None, values: Mapping[Ref, str] | None = None
    ) -> str:
        """An instruction as an expression, of its operands or of what stands in their place."""
        program, values = self.program, self.values if values is None else values
        instruction, template = program.instructions[i], self.plan.templates[i]
        return expression(program, instruction, template, values, out, self.names)

    def life_of(self, i: int, values: Iterable[Ref] = ()) -> Moments:
        """When memory is in use that an instruction writes these values to, or needs to run."""
        if self.inside is not None:
            return self.inside
        return life(i, max([i, *[self.plan.live.ends[x] for x in values]]))


def framed(
    program: Code,
    values: dict[Ref, str],
    names: Names,
    arena: Arena,
    inside: Moments | None = None,
) -> Frame:
    """The frame of a program, or of a body inside one; what is made once is added to an arena."""
    plan, once = Plan(program, inside is not None), arena.once
    still: dict[Any, str] = {}
    for i, x in enumerate(program.constants):
        still[Ref("constant", i)] = name = values[Ref("constant", i)]
        # a body may have one of the program around it
        if not _is_number(x) and name not in names.constants:
            names.constants[name] = x
            once += _constant(x, name, names)
    buffers = [names.new(f"buf{i}") for i in range(len(plan.buffers))]
    lives = plan.lives() if inside is None else [inside] * len(buffers)
    for name, buffer, alive in zip(buffers, plan.buffers, lives, strict=True):
        arena.memory.append(Memory(name, buffer.shape, buffer.dtype, alive))
    places = {x: buffers[home] for x, home in plan.home.items()}
    for ref, parts in plan.filled.items():
        for part in parts:
            if part.direct:
                name = names.new(f"{places[ref]}_{part.start}")
                once.append(Line(name, f"{places[ref]}{part.view}"))
                places[part.value] = name  # type: ignore[index]
    for ref, axes in plan.turned.items():
        name = names.new(f"{places[ref]}_turned")
        once.append(Line(name, f"{places[ref]}.transpose({inverse(axes)})"))
        places[ref] = name
    still |= {x: name for x, name in places.items() if x not in plan.guests}
    updates: dict[int, str] = {}
    for i in [] if inside is not None else _row_updates(program):
        updates[i] = names.new(f"rows_{i}")
        once.append(Line(updates[i], f"{names.of(RowUpdates, 'RowUpdates')}()"))
    return Frame(program, plan, values, places, still, updates, names, arena, inside=inside)


# --- what values are called -----------------------------------------------------------------


def values_of(program: Code, names: Names, known: Values | None = None) -> dict[Ref, str]:
    """A name for each value: the one that a reader knows, or else its op and its line.

    The names of inputs may be given.
    """
    values = dict(known or {})
    for i, name in enumerate(short_names([x.path for x in program.inputs])):
        if Ref("input", i) not in values:
            values[Ref("input", i)] = names.new(name)
    matrices: list[tuple[Array, str]] = []
    for i, x in enumerate(program.constants):
        ref = Ref("constant", i)
        if _is_number(x):
            values[ref] = names.number(x)
        else:
            known_as = names.constants.items()
            same = next((name for name, y in known_as if x.shape == y.shape and x == y), None)
            values[ref] = same or names.new(_wanted(x, i, matrices))
            if x.splat is None and x.array.ndim == 2:
                matrices.append((x.array, values[ref]))
    refs = refs_to(program.instructions)
    for i, instruction in enumerate(program.instructions):
        wanted = instruction.name or f"{_called(program, instruction)}_{i}"
        first = instruction.operands[0] if instruction.operands else None
        if not instruction.name and instruction.op in (transpose, reshape) and type(first) is Ref:
            of = values[first]
            if instruction.op is transpose and not instruction.options:
                wanted = f"{of}_T"
            elif len(instruction.shape) == 1:
                wanted = f"{of}_flat"
        values[refs[i]] = names.new(wanted)
    return values


def _called(program: Code, instruction: Instruction) -> str:
    """The name of a result that has none: after its op, or the value of a step that it holds."""
    if instruction.op is PART and type(instruction.operands[0]) is Ref:
        whole = program.of(instruction.operands[0])
        if isinstance(whole.op, MultiOutputOp):
            return str(whole.op.results._fields[instruction.options["index"]])
        for held in whole.options.values():
            if isinstance(held, Loop | Branch):
                code = next(iter(held.bodies.values()))
                x = code.outputs[instruction.options["index"]]
                value = code.of(x) if type(x) is Ref else None
                if type(value) is Input:
                    return short_names([value.path])[0]
                if type(value) is Instruction:
                    return value.name or value.op.name
    return instruction.op.name


def _wanted(x: Constant, i: int, matrices: Sequence[tuple[Array, str]]) -> str:
    """The name of a constant, if nothing else has it, after those that it may be a transpose of."""
    if x.name:
        return x.name
    if x.splat is None:
        # a rule may take the transpose of a captured matrix
        for array, name in matrices:
            alike = (array.dtype, array.T.shape) == (x.dtype, x.shape)
            # the first rows tell most of them apart
            if alike and all(np.array_equal(array.T[:n], x.array[:n]) for n in (1, None)):
                return f"{name}_T"
        return f"captured{i}" if x.captured else f"constant{i}"
    filled = {0: "zeros", 1: "ones"}.get(x.splat, "full")
    return f"{filled}_{'_'.join(map(str, x.shape))}"


def _is_number(x: Constant) -> bool:
    """Whether a constant is one number, which has no line of its own."""
    return x.shape == () and x.splat is not None


# --- what is made once ----------------------------------------------------------------------


def _constant(constant: Constant, name: str, names: Names) -> list[Line]:
    """The line that defines a constant filled with one number; any other is handed over."""
    splat = constant.splat
    if splat is None:
        names.namespace[name] = constant.array
        return []
    arguments = f"{constant.shape}, {number(splat)}, {constant.dtype.str!r}"
    return [Line(name, f"{names.library('full', _full)}({arguments})")]


def _full(shape: tuple[int, ...], value: Any, dtype: str) -> Array:
    """NumPy's, and read-only."""
    array = np.full(shape, value, dtype)
    array.setflags(write=False)
    return array


def _row_updates(program: Code) -> list[int]:
    """The instructions that return a large table with a few rows updated."""
    results = sorted(x.index for x in program.results if x.kind == "instruction")
    return [i for i in results if _is_row_update(program, program.instructions[i])]


def _is_row_update(program: Code, instruction: Instruction) -> bool:
    by_index = instruction.op is index_add and instruction.options["index"] == (HOLE,)
    if not by_index and instruction.op is not add_scaled_rows:
        return False
    table, values, indices = instruction.operands[:3]
    like, places = program.like(values), program.like(indices)
    size = math.prod(instruction.shape)
    return (
        type(table) is Ref
        and table.kind == "input"
        and math.prod(like.shape) * cost.TABLE_PER_ROWS <= size >= cost.BLOCKED_ELEMENTS
        # a mask selects rows too, and values may broadcast
        and places.dtype.kind in "iu"
        and like.shape == places.shape + instruction.shape[1:]
        and like.dtype == instruction.dtype
    )
