"""The frame in which a program or a body is written: its plan, its names and its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import repeat
from operator import itemgetter, methodcaller
from typing import Any, NamedTuple

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program.arena import Moments
from tapegrad.program.control.loop import bodies_in
from tapegrad.program.expressions import format_expression, index_text, literal_operands, tuple_text
from tapegrad.program.ir import (
    Code,
    Constant,
    Input,
    Instruction,
    Operand,
    Ref,
    input_refs,
    number_text,
)
from tapegrad.program.lines import Block, Line
from tapegrad.program.memory import plan_memory
from tapegrad.program.observe import short_names
from tapegrad.program.source_names import Names


class Rows(NamedTuple):
    """A list of arrays; each step of a loop takes the next.

    Attributes
    ----------
    name
        The name of the list.
    once
        Whether the list is made once, of memory that stays in place.
    turns
        Whether the steps go through the list again and again.
    """

    name: str
    once: bool = True
    turns: bool = False


class Frame:
    """A program, or a body inside one, while it is written.

    A new frame has planned the memory, and named the values and the memory; the writers then add
    lines.

    Attributes
    ----------
    program
        The program or body.
    names
        The names of the whole source, and what is made once, before the first call.
    stage
        The stage of the loop or branch around a body; "" for a whole program.
    plan
        The memory plan.
    lines
        The lines so far.
    values
        The name of each value.
    places
        The name of the memory of each value whose memory stays in place from call to call. In a
        step of a loop, it may be the name of a row.
    fresh
        For results that are written to an array that is new in each call, its name, or the
        expression that allocates it.
    strided
        The names of memory that is not known to lie in C order.
    updates
        Tables of which a few rows were updated, in memory that nobody else holds.
    lists
        In a body of a loop, the names of rows that its steps read or write, and of views of these,
        and the list that each goes through.
    """

    def __init__(
        self,
        program: Code,
        names: Names,
        enclosing: Moments | None = None,
        known: Iterable[str | None] = repeat(None),
        stage: str = "",
    ) -> None:
        """Plan and name; inputs may have names already, and `plan_memory` has `enclosing`."""
        self.program, self.names, self.stage = program, names, stage
        self.values: dict[Any, str] = {}
        self.lines: list[Line | Block] = []
        self.lists: dict[str, Rows] = {}
        self.places: dict[Any, str] = {}
        self.fresh: dict[Any, str] = {}
        self.strided: set[str] = set()
        self.updates: set[Ref] = set()
        self.plan = plan_memory(program, enclosing)
        self._name_inputs(known)
        self._name_constants()
        self._name_results()
        self._name_buffers()
        self._place_direct_parts()
        self._place_in_axis_order()
        self._name_new_arrays()

    # --- names ------------------------------------------------------------------------------

    def _name_inputs(self, known: Iterable[str | None]) -> None:
        """Name each input after the end of its path, unless it has a name already."""
        paths = [x.path for x in self.program.inputs]
        refs = input_refs(range(len(paths)))
        for ref, name, own in zip(refs, short_names(paths), known, strict=False):
            self.values[ref] = own or self.names.new(name)

    def _name_buffers(self) -> None:
        """Name the buffers, which are allocated once, and the values that lie in them."""
        plan, names = self.plan, self.names
        buffers = plan.buffers
        for i, buffer in enumerate(buffers):
            buffer.name = names.new(f"buf{i}")
        names.setup.buffers += buffers
        self.places |= {x: buffer.name for x, buffer in plan.buffer_of.items() if buffer.name}

    def _place_direct_parts(self) -> None:
        """Have values that are parts of a concatenation lie in a view of its memory."""
        for ref, parts in self.plan.assembled.items():
            for part in parts:
                if part.direct:
                    whole = self.places[ref]
                    name = f"{whole}_{part.start}"
                    self.places[part.value] = self.part_view(whole, part.index, name)

    def _place_in_axis_order(self) -> None:
        """Have results whose axes lie in another order be a transposed view of their memory."""
        for ref, axes in self.plan.axis_orders.items():
            # the order that puts the axes back
            back = tuple(sorted(range(len(axes)), key=axes.__getitem__))
            memory = self.places[ref]
            text, take = f"{memory}.transpose({back})", methodcaller("transpose", back)
            self.places[ref] = self.shared_view(f"{memory}_turned", text, memory, take)
            self.strided.add(self.places[ref])

    def _name_new_arrays(self) -> None:
        """Name the arrays of large results, which are new in each call.

        The first value that lies in such an array allocates it.
        """
        for ref, buffer in self.plan.buffer_of.items():
            if buffer.is_result:
                if buffer.name or ref not in self.plan.returned:
                    self.fresh[ref] = buffer.name or self.new_array(self.program.definition(ref))
                buffer.name = buffer.name or self.values[ref]

    def _name_constants(self) -> None:
        """Name the constants; a line allocates each that a number fills."""
        names, around = self.names, [*self.names.constants.items()]
        for i, x in enumerate(self.program.constants):
            if x.shape == () and x.splat is not None:
                name = names.number_text(x)
            # a body shares the constants of the program around it; hashing a large one takes long
            elif not (name := next((k for k, y in around if x.shape == y.shape and x == y), "")):
                name = names.new(_wanted_constant_name(x, i))
                names.constants[name] = x
                names.namespace[name] = x.array
                if x.splat is not None:
                    full = names.library("full")
                    text = f"{full}({x.shape}, {number_text(x.splat)}, {x.dtype.str!r})"
                    names.setup.lines.append(Line(name, text, base=name))
            self.values[Ref("constant", i)] = self.places[Ref("constant", i)] = name

    def _name_results(self) -> None:
        """Name each result after a variable that the reader knows, or after its op and line."""
        values = self.values
        for i, instruction in enumerate(self.program.instructions):
            op, wanted = instruction.op, instruction.name
            first: Any = instruction.operands[0] if instruction.operands else None
            if not wanted and type(first) is Ref:
                if op is PART:
                    whole = self.program.definition(first)
                    wanted = f"{_wanted_part_name(whole, instruction.options['index'])}_{i}"
                elif op is transpose and not instruction.options:
                    wanted = f"{values[first]}_T"
                elif (op is transpose or op is reshape) and len(instruction.shape) == 1:
                    wanted = f"{values[first]}_flat"
            values[self.plan.refs[i]] = self.names.new(wanted or f"{op.name}_{i}")

    # --- lines ------------------------------------------------------------------------------

    def write(self, target: str, expression: str, note: str = "", result: Any = None) -> None:
        """Add a `Line` to the lines that each call runs."""
        self.lines.append(Line(target, expression, note, result))

    def make_view(self, line: Line) -> None:
        """Make a view once, or once for each row of a list that a step goes through.

        The expression of its line takes one row, see `row_name`.
        """
        if rows := self.lists.get(line.base):
            name, take = self.names.new(f"{line.target}_rows"), partial(_views, line.take)
            text = f"[{line.expression} for x in {rows.name}]"
            self.lists[line.target] = rows._replace(name=name)
            line = line._replace(target=name, expression=text, base=rows.name, take=take)
        self.names.setup.lines.append(line)

    def row_name(self, memory: str) -> str:
        """The name of some memory in an expression of a view of it: "x" for a row of a list."""
        return "x" if memory in self.lists else memory

    def shared_view(self, wanted: str, text: str, memory: str, take: Callable[[Any], Any]) -> str:
        """The name of a view that is made once for every use, by an expression."""
        known = self.names.known
        name = known.get((memory, text))
        if name is None:
            name = known[memory, text] = self.names.new(wanted)
            self.make_view(Line(name, text, base=memory, take=take))
        return name

    def part_view(self, memory: str, index: Any, wanted: str) -> str:
        """The name of a part of memory that stays in place, or of a list of its rows."""
        text = f"{self.row_name(memory)}[{index_text(index)}]"
        return self.shared_view(wanted, text, memory, itemgetter(index))

    def bind_view(self, ref: Ref, memory: str, index: Any) -> None:
        """Have a value be a part of memory that stays in place, or one of its rows."""
        name = self.places[ref] = self.values[ref]
        text = f"{memory}[{index_text(index)}]"
        self.make_view(Line(name, text, base=memory, take=itemgetter(index)))

    def expression(self, i: int, out: str = "", values: Mapping[Ref, str] | None = None) -> str:
        """The expression of an instruction, which writes to `out`, or to its own place.

        Values may have other names than in the frame. The functions that it calls are added to the
        namespace.
        """
        instruction, template = self.program.instructions[i], self.plan.templates[i]
        names, values = self.names, self.values if values is None else values
        operands = [values[x] if type(x) is Ref else number_text(x) for x in instruction.operands]
        if names.literal:
            for k, literal in literal_operands(self.program, instruction).items():
                operands[k] = literal
        out = out or self.out(self.plan.refs[i])
        return format_expression(instruction, template, operands, out, names)

    def operand(self, x: Operand) -> str:
        """The text of an operand: its name, or a number."""
        return self.values[x] if isinstance(x, Ref) else number_text(x)

    # --- memory -----------------------------------------------------------------------------

    def out(self, ref: Ref) -> str:
        """The array that a result is written to; "" if computing the result makes one."""
        return self.places.get(ref) or self.fresh.get(ref, "")

    def new_array(self, spec: Any, *sides: Any) -> str:
        """The expression of a new array in C order, with these sides before those of `spec`."""
        shape = tuple_text([str(side) for side in (*sides, *spec.shape)])
        return f"{self.names.library('empty')}({shape}, {spec.dtype.str!r})"


def _views(take: Callable[[Any], Any], rows: Iterable[Any]) -> list[Any]:
    """A view of each row."""
    return [*map(take, rows)]


# --- wanted names ----------------------------------------------------------------------------


def _wanted_part_name(whole: Instruction, index: int) -> str:
    """The wanted name of one of several results: the op's name for it, or a name in the step."""
    if isinstance(whole.op, MultiOutputOp):
        return str(whole.op.results._fields[index])
    for code in bodies_in(whole.options)[:1]:
        x = code.outputs[index]
        value = code.definition(x) if type(x) is Ref else None
        if type(value) is Input:
            return short_names([value.path])[0]
        if type(value) is Instruction:
            return value.name or value.op.name
    return PART.name


def _wanted_constant_name(x: Constant, i: int) -> str:
    """The wanted name of a constant."""
    if x.name or x.splat is None:
        return x.name or (f"captured{i}" if x.captured else f"constant{i}")
    format_expression = {0: "zeros", 1: "ones"}.get(x.splat, "full")
    return f"{format_expression}_{'_'.join(map(str, x.shape))}"
