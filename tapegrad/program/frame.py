"""The frame in which a program or a body is written: names of values, and objects made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import repeat
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program.arena import Moments
from tapegrad.program.control.loop import inner
from tapegrad.program.expressions import Names, filled, index_text, literals, tupled
from tapegrad.program.ir import Code, Constant, Input, Instruction, Ref, inputs_at, number
from tapegrad.program.lines import Block, Line
from tapegrad.program.memory import plan_memory
from tapegrad.program.observe import short_names


class Rows(NamedTuple):
    """A list of arrays, of which each step of a loop sees the next.

    Attributes
    ----------
    name
        Of the list.
    once
        Whether it is made once, of memory that stays in place.
    turns
        Whether the steps go through it again and again.
    """

    name: str
    once: bool = True
    turns: bool = False


class Frame:
    """A program, or a body inside one, while it is written.

    Attributes
    ----------
    program
        What is written.
    names
        Where names come from, and what is made once, before the first call.
    stage
        The stage that the loop or the branch is in; "" for a whole program.
    plan
        Who has which buffer.
    lines
        What is written so far.
    values
        What each value is called.
    places
        What the memory is called that a value lies in, if that stays in place from call to call; a
        step of a loop sees successive rows of it.
    fresh
        The new arrays that other results are written to.
    strided
        The names of memory that is not known to lie in C order.
    updates
        Tables of which rows were updated, in memory that nobody else holds.
    lists
        In a body of a loop, the names of rows that its steps read or write, and of views of these,
        and the list that each goes through.
    """

    def __init__(
        self,
        program: Code,
        names: Names,
        inside: Moments | None = None,
        known: Iterable[str | None] = repeat(None),
        stage: str = "",
    ) -> None:
        """Begin to write; inputs may have names."""
        self.program, self.names, self.stage = program, names, stage
        self.values: dict[Any, str] = {}
        paths = [x.path for x in program.inputs]
        refs = inputs_at(range(len(paths)))
        for ref, name, own in zip(refs, short_names(paths), known, strict=False):
            self.values[ref] = own or names.new(name)
        self.plan = plan = plan_memory(program, inside)
        self.lines: list[Line | Block] = []
        self.lists: dict[str, Rows] = {}
        self.places: dict[Any, str] = {}
        self.fresh: dict[Any, str] = {}
        self.strided: set[str] = set()
        self._hold_constants()
        self._name_results()
        for i, buffer in enumerate(plan.buffers):
            buffer.name = names.new(f"buf{i}")
        names.memory += plan.buffers
        self.places |= {x: place.name for x, place in plan.buffer_of.items() if place.name}
        for ref, parts in plan.assembled.items():
            for part in parts:
                if part.direct:
                    place = self.places[ref]
                    self.places[part.value] = self.part_view(
                        place, part.index, f"{place}_{part.start}"
                    )
        for ref, axes in plan.axis_orders.items():
            # the order that puts the axes back where they were
            back = tuple(sorted(range(len(axes)), key=axes.__getitem__))
            place = self.places[ref]
            text, take = f"{place}.transpose({back})", methodcaller("transpose", back)
            self.places[ref] = self.shared_view(f"{place}_turned", text, place, take)
            self.strided.add(self.places[ref])
        for ref, memory in plan.buffer_of.items():
            if memory.is_result:
                # the first value there allocates it
                if memory.name or ref not in plan.returned:
                    self.fresh[ref] = memory.name or self.new_array(program.of(ref))
                memory.name = memory.name or self.values[ref]
        self.updates: set[Ref] = set()

    def _hold_constants(self) -> None:
        """Name the constants, and have them at hand: a line makes one that a number fills."""
        names, around = self.names, [*self.names.constants.items()]
        for i, x in enumerate(self.program.constants):
            if x.shape == () and x.splat is not None:
                name = names.number(x)
            # a body may have one of the program around it; to hash a large one would take long
            elif not (name := next((k for k, y in around if x.shape == y.shape and x == y), "")):
                name = names.new(_wanted(x, i))
                names.constants[name] = x
                names.namespace[name] = x.array
                if x.splat is not None:
                    full = names.library("full")
                    text = f"{full}({x.shape}, {number(x.splat)}, {x.dtype.str!r})"
                    names.once.append(Line(name, text, of=name))
            self.values[Ref("constant", i)] = self.places[Ref("constant", i)] = name

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

    def make_view(self, line: Line) -> None:
        """Have a view made once, or once for each row of the list that a step goes through.

        The expression of its line is of one row, see `row`.
        """
        if rows := self.lists.get(line.of):
            name, take = self.names.new(f"{line.target}_rows"), partial(_views, line.take)
            text = f"[{line.expression} for x in {rows.name}]"
            self.lists[line.target] = rows._replace(name=name)
            line = line._replace(target=name, expression=text, of=rows.name, take=take)
        self.names.once.append(line)

    def row_name(self, of: str) -> str:
        """An array in the expression of a view of it: its name, or that of a row of a list."""
        return "x" if of in self.lists else of

    def shared_view(self, wanted: str, text: str, of: str, take: Callable[[Any], Any]) -> str:
        """The name of a view that is made once, by an expression, for all that need it."""
        known = self.names.known
        name = known.get((of, text))
        if name is None:
            name = known[of, text] = self.names.new(wanted)
            self.make_view(Line(name, text, of=of, take=take))
        return name

    def part_view(self, of: str, index: Any, wanted: str) -> str:
        """The name of a part of an array that stays in place, or of a list of its rows."""
        text = f"{self.row_name(of)}[{index_text(index)}]"
        return self.shared_view(wanted, text, of, itemgetter(index))

    def bind_view(self, ref: Ref, of: str, index: Any) -> None:
        """Have a value be a part of an array that stays in place, or one of its rows."""
        name = self.places[ref] = self.values[ref]
        self.make_view(Line(name, f"{of}[{index_text(index)}]", of=of, take=itemgetter(index)))

    def expression(self, i: int, out: str = "", values: Mapping[Ref, str] | None = None) -> str:
        """An instruction as an expression, which writes to `out`, or where its result lies.

        The values may have other names than in the frame. The functions that it calls are added to
        the namespace.
        """
        instruction, template = self.program.instructions[i], self.plan.templates[i]
        names, values = self.names, self.values if values is None else values
        operands = [values[x] if type(x) is Ref else number(x) for x in instruction.operands]
        if names.literal:
            for k, literal in literals(self.program, instruction).items():
                operands[k] = literal
        out = out or self.out(self.plan.refs[i])
        return filled(instruction, template, operands, out, names)

    def operand(self, x: Any) -> str:
        """An operand as it is written."""
        return self.values[x] if type(x) is Ref else number(x)

    # --- memory -----------------------------------------------------------------------------

    def out(self, ref: Ref) -> str:
        """The array that a result is written to; "" for one that is made as it is computed."""
        return self.places.get(ref) or self.fresh.get(ref, "")

    def new_array(self, like: Any, *sides: Any) -> str:
        """The expression of a new array like this, in C order, with these sides before its own."""
        shape = tupled([str(side) for side in (*sides, *like.shape)])
        return f"{self.names.library('empty')}({shape}, {like.dtype.str!r})"


def _views(take: Any, rows: Iterable[Any]) -> list[Any]:
    """A view of each row."""
    return [*map(take, rows)]


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


def _wanted(x: Constant, i: int) -> str:
    """The name of a constant, if nothing else has it."""
    if x.name or x.splat is None:
        return x.name or (f"captured{i}" if x.captured else f"constant{i}")
    filled = {0: "zeros", 1: "ones"}.get(x.splat, "full")
    return f"{filled}_{'_'.join(map(str, x.shape))}"
