"""The frame in which a program or a body is written: names of values, and objects made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.indexing import getitem
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program.arena import Arena, Moments, View, life
from tapegrad.program.control.loop import inner
from tapegrad.program.expressions import (
    Names,
    filled,
    is_filled,
    literals,
    tupled,
)
from tapegrad.program.ir import Code, Constant, Input, Instruction, Ref, inputs_at, number
from tapegrad.program.layout import Part, axes_of, inverse
from tapegrad.program.lines import Block, Line
from tapegrad.program.memory import Plan
from tapegrad.program.observe import short_names
from tapegrad.tree.ownership import Array

Values = Mapping[Ref, str]


class Frame:
    """A program, or a body inside one, while it is written.

    Attributes
    ----------
    program
        What is written.
    names
        Where names come from.
    arena
        The arrays that are made once, among the lines that run once, before the first call.
    inside
        When the loop or the branch runs that a body is of; None for a whole program.
    stage
        The stage that the loop or the branch is in; "" for a whole program.
    plan
        Who has which buffer.
    lines
        What is written so far.
    values
        What each value is called.
    places
        The arrays that results are written to, if they have a place in memory.
    still
        The values in arrays that stay in place from call to call, and what these are called; a
        step of a loop sees successive rows of them.
    updates
        Tables of which rows were updated, in memory that nobody else holds.
    rows
        Values that a loop returned, and the list of their rows, in order.
    lists
        In a body of a loop, the names of rows of memory that stays in place and of views of these,
        and the list that each goes through, which is made once.
    strided
        Of these rows, those that may not lie in C order.
    """

    def __init__(
        self,
        program: Code,
        names: Names,
        arena: Arena,
        inside: Moments | None = None,
        known: Values | None = None,
        stage: str = "",
    ) -> None:
        """Begin to write; what is made once is added to an arena, and inputs may have names."""
        self.program, self.names, self.arena, self.inside = program, names, arena, inside
        self.stage = stage
        self.values: dict[Any, str] = dict(known or {})
        paths = [x.path for x in program.inputs]
        for ref, name in zip(inputs_at(range(len(paths))), short_names(paths), strict=True):
            if ref not in self.values:
                self.values[ref] = names.new(name)
        self.plan = plan = Plan(program, inside is not None)
        self.lines: list[Line | Block] = []
        self.rows: dict[Ref, str] = {}
        self.lists: dict[str, str] = {}
        self.strided: set[str] = set()
        self.still: dict[Any, str] = {}
        self._hold_constants()
        self._name_results()
        for i, buffer in enumerate(plan.buffers):
            if inside is not None:
                buffer.alive = inside
            arena.add(buffer, names.new(f"buf{i}"))
        self.places: dict[Any, str] = {x: buffer.name for x, buffer in plan.home.items()}
        for ref, parts in plan.filled.items():
            for part in parts:
                if part.direct:
                    self.places[part.value] = self.part(part, self.places[ref])
        for ref, axes in plan.turned.items():
            name = names.new(f"{self.places[ref]}_turned")
            take = methodcaller("transpose", inverse(axes))
            self.view(name, self.places[ref], take, f".transpose({inverse(axes)})")
            self.places[ref] = name
        self.still |= {x: name for x, name in self.places.items() if x not in plan.guests}
        for ref, first in plan.early.items():
            if ref != first:
                self.places[ref] = self.values[first]
            elif not is_filled(program.of(ref)):
                self.places[ref] = self.new_array(program.of(ref))
        self.updates: set[Ref] = set()

    def _hold_constants(self) -> None:
        """Name the constants, and have them at hand: a line makes one that a number fills."""
        names, around = self.names, [*self.names.constants.items()]
        matrices: dict[Any, list[tuple[Array, str]]] = {}
        for i, x in enumerate(self.program.constants):
            # a body may have one of the program around it
            name = next((name for name, y in around if x.shape == y.shape and x == y), "")
            if x.shape == () and x.splat is not None:
                name = names.number(x)
            elif not name:
                name = names.new(_wanted(x, i, matrices))
                names.constants[name] = x
                names.namespace[name] = x.array
                if x.splat is not None:
                    arguments = f"{x.shape}, {number(x.splat)}, {x.dtype.str!r}"
                    line = Line(name, f"{names.library('full', np.full)}({arguments})")
                    self.arena.view(View(line, name, None))
            self.values[Ref("constant", i)] = self.still[Ref("constant", i)] = name
            if x.splat is None and x.array.ndim == 2:
                matrices.setdefault(_start(x.array.T), []).append((x.array, name))

    def _name_results(self) -> None:
        """Name each result as a reader knows it, or else after its op and its line."""
        values = self.values
        for i, instruction in enumerate(self.program.instructions):
            op, wanted = instruction.op, instruction.name
            first: Any = instruction.operands[0] if instruction.operands else None
            if not wanted and type(first) is Ref:
                if op is PART:
                    whole = self.program.of(first)
                    wanted = f"{_part(whole, instruction.options['index'])}_{i}"
                elif op is transpose and not instruction.options:
                    wanted = f"{values[first]}_T"
                elif (op is transpose or op is reshape) and len(instruction.shape) == 1:
                    wanted = f"{values[first]}_flat"
            values[self.plan.refs[i]] = self.names.new(wanted or f"{op.name}_{i}")

    # --- lines ------------------------------------------------------------------------------

    def write(self, target: str, expression: str, note: str = "", result: Any = None) -> None:
        """Add a `Line` to those that each call runs."""
        self.lines.append(Line(target, expression, note, result))

    def once(self, target: str, expression: str, note: str = "", result: Any = None) -> None:
        """Add a `Line` to those that run once, before the first call."""
        self.arena.once.append(Line(target, expression, note, result))

    def view(
        self,
        name: str,
        of: str,
        take: Callable[[Array], Array] | None,
        suffix: str,
        note: str = "",
        result: Any = None,
    ) -> None:
        """Have a view made once, or once for each row of the list that a step goes through.

        It is taken of an array by this function, and written as the array's name with this suffix.
        """
        if of in self.lists:
            rows = self.lists[name] = self.names.new(f"{name}_rows")
            self.once(rows, f"[x{suffix} for x in {self.lists[of]}]", note, result)
        else:
            self.arena.view(View(Line(name, f"{of}{suffix}", note, result), of, take))

    def part(self, part: Part, of: str) -> str:
        """The name of a part of an array that stays in place."""
        name = self.names.new(f"{of}_{part.start}")
        self.view(name, of, itemgetter(part.index), part.view)
        return name

    def expression(
        self, i: int, out: str | None = None, values: Mapping[Ref, str] | None = None
    ) -> str:
        """An instruction as an expression, which writes to `out` if it is given.

        The values may have other names than in the frame. The functions that it calls are added to
        the namespace.
        """
        instruction, template = self.program.instructions[i], self.plan.templates[i]
        names, values = self.names, self.values if values is None else values
        operands = [values[x] if type(x) is Ref else number(x) for x in instruction.operands]
        if names.literal:
            for k, literal in literals(self.program, instruction).items():
                operands[k] = literal
        return filled(instruction, template, operands, out, names)

    def operand(self, x: Any) -> str:
        """An operand as it is written."""
        return self.values[x] if type(x) is Ref else number(x)

    # --- memory -----------------------------------------------------------------------------

    def is_in_order(self, x: Any) -> bool:
        """Whether a value that stays in place is known to lie in C order."""
        value = self.program.of(x)
        if x.kind == "constant":
            return bool(value.array.flags.c_contiguous)
        if x.kind == "input":
            return self.values[x] not in self.strided
        if value.op is transpose:
            return self.plan.turned.get(value.operands[0]) == axes_of(value)
        return value.op is reshape or (value.op is not getitem and x not in self.plan.turned)

    def new_array(self, like: Any, *sides: Any) -> str:
        """The expression of a new array like this, in C order, with these sides before its own."""
        shape = tupled([str(side) for side in (*sides, *like.shape)])
        return f"{self.names.library('empty', np.empty)}({shape}, {like.dtype.str!r})"

    def life_of(self, i: int, values: Iterable[Ref] = ()) -> Moments:
        """When memory is in use that an instruction writes these values to, or needs to run."""
        if self.inside is not None:
            return self.inside
        return life(i, max([i, *[self.plan.live.ends[x] for x in values]]))


# --- what values are called -----------------------------------------------------------------


def _part(whole: Instruction, index: int) -> str:
    """The name of one of several results: as the op calls it, or after a value of a step."""
    if isinstance(whole.op, MultiOutputOp):
        return str(whole.op.results._fields[index])
    for code in inner(whole.options)[:1]:
        x = code.outputs[index]
        value = code.of(x) if type(x) is Ref else None
        if type(value) is Input:
            return short_names([value.path])[0]
        if type(value) is Instruction:
            return value.name or value.op.name
    return PART.name


def _start(array: Array) -> Any:
    """By which most arrays are told from each other."""
    return array.dtype, array.shape, array[:1].tobytes() if array.ndim else b""


def _wanted(x: Constant, i: int, matrices: Mapping[Any, Sequence[tuple[Array, str]]]) -> str:
    """The name of a constant, if nothing else has it, after those that it may be a transpose of."""
    if x.name:
        return x.name
    if x.splat is None:
        # a rule may take the transpose of a captured matrix
        for array, name in matrices.get(_start(x.array), ()):
            if np.array_equal(array.T, x.array):
                return f"{name}_T"
        return f"captured{i}" if x.captured else f"constant{i}"
    filled = {0: "zeros", 1: "ones"}.get(x.splat, "full")
    return f"{filled}_{'_'.join(map(str, x.shape))}"
