"""The frame of a program, or of a body, while its source is written: plan, names and lines."""

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
    """A list of arrays; each step of a loop takes the next one.

    Attributes
    ----------
    name
        The name of the list.
    once
        Whether the list is made once, from memory that stays in place.
    turns
        Whether the steps cycle through the list.
    """

    name: str
    once: bool = True
    turns: bool = False


class Frame:
    """A program, or a body inside one, while it is written.

    A new frame plans the memory, and names the values and the memory. The writers then add lines.

    Attributes
    ----------
    program
        The program or body.
    names
        The names of the whole source, and its setup, which runs once.
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
        For results that are written to a new array in each call: the array's name, or the
        expression that allocates it.
    strided
        The names of memory that may not be in C order.
    updates
        Tables whose rows were updated in place, in memory that no one else holds.
    lists
        In the body of a loop, the list that each row comes from, by the name of the row. A row is
        memory that one step reads or writes, or a view of it.
    """

    def __init__(
        self,
        program: Code,
        names: Names,
        enclosing: Moments | None = None,
        known: Iterable[str | None] = repeat(None),
        stage: str = "",
    ) -> None:
        """Plan and name. `known` has names of inputs; `enclosing` is for `plan_memory`."""
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
        """Name each input after the end of its path, unless its name is known."""
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
        """Place the parts of a concatenation in views of its memory."""
        for ref, parts in self.plan.assembled.items():
            for part in parts:
                if part.direct:
                    whole = self.places[ref]
                    name = f"{whole}_{part.start}"
                    self.places[part.value] = self.part_view(whole, part.index, name)

    def _place_in_axis_order(self) -> None:
        """Place results with permuted axes in transposed views of their memory."""
        for ref, axes in self.plan.axis_orders.items():
            # the inverse permutation
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
        """Name the constants; a setup line allocates each constant that one number fills."""
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
        """Name each result after the user's variable, or else after its op and position."""
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
        """Add a `Line` to the lines that run in each call."""
        self.lines.append(Line(target, expression, note, result))

    def make_view(self, line: Line) -> None:
        """Make a view in the setup: once, or once for each row of a list.

        The expression of the line is for one row, see `row_name`.
        """
        if rows := self.lists.get(line.base):
            name, take = self.names.new(f"{line.target}_rows"), partial(_views, line.take)
            text = f"[{line.expression} for x in {rows.name}]"
            self.lists[line.target] = rows._replace(name=name)
            line = line._replace(target=name, expression=text, base=rows.name, take=take)
        self.names.setup.lines.append(line)

    def row_name(self, memory: str) -> str:
        """Return the name of memory in the expression of a view: "x" for a row of a list."""
        return "x" if memory in self.lists else memory

    def shared_view(self, wanted: str, text: str, memory: str, take: Callable[[Any], Any]) -> str:
        """Return the name of a view. Equal views of the same memory are made once."""
        known = self.names.known
        name = known.get((memory, text))
        if name is None:
            name = known[memory, text] = self.names.new(wanted)
            self.make_view(Line(name, text, base=memory, take=take))
        return name

    def part_view(self, memory: str, index: Any, wanted: str) -> str:
        """Return the name of a view of a part of memory that stays in place."""
        text = f"{self.row_name(memory)}[{index_text(index)}]"
        return self.shared_view(wanted, text, memory, itemgetter(index))

    def bind_view(self, ref: Ref, memory: str, index: Any) -> None:
        """Place a value in a part of memory that stays in place."""
        name = self.places[ref] = self.values[ref]
        text = f"{memory}[{index_text(index)}]"
        self.make_view(Line(name, text, base=memory, take=itemgetter(index)))

    def expression(self, i: int, out: str = "", values: Mapping[Ref, str] | None = None) -> str:
        """Return the expression of an instruction. It writes to `out`, by default to its place.

        `values` may rename operands. The functions that it calls are added to the namespace.
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
        """Return the text of an operand: its name, or a number."""
        return self.values[x] if isinstance(x, Ref) else number_text(x)

    # --- memory -----------------------------------------------------------------------------

    def out(self, ref: Ref) -> str:
        """Return the array that a result is written to; "" if the call makes a new one."""
        return self.places.get(ref) or self.fresh.get(ref, "")

    def new_array(self, spec: Any, *sides: Any) -> str:
        """Return the expression of a new array in C order, of shape ``(*sides, *spec.shape)``."""
        shape = tuple_text([str(side) for side in (*sides, *spec.shape)])
        return f"{self.names.library('empty')}({shape}, {spec.dtype.str!r})"


def _views(take: Callable[[Any], Any], rows: Iterable[Any]) -> list[Any]:
    """Make a view of each row."""
    return [*map(take, rows)]


# --- wanted names ----------------------------------------------------------------------------


def _wanted_part_name(whole: Instruction, index: int) -> str:
    """Choose a name for one of several results: the op's name for it, or its name in the body."""
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
    """Choose a name for a constant."""
    if x.name or x.splat is None:
        return x.name or (f"captured{i}" if x.captured else f"constant{i}")
    prefix = {0: "zeros", 1: "ones"}.get(x.splat, "full")
    return f"{prefix}_{'_'.join(map(str, x.shape))}"
