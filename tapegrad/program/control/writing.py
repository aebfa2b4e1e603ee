"""Loops and branches as source: ``for`` and ``if``, with a body written once.

A step writes its results in place: into a row of a stack, or into the memory of the next carry.
Start with `_Loop.write`; `_Loop._allocate_results` chooses the memory of each carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from tapegrad.declare import OPS
from tapegrad.declare.parts import PART
from tapegrad.program.arena import Buffer
from tapegrad.program.control.loop import Branch, Loop, stack_rows
from tapegrad.program.frame import Frame, Rows
from tapegrad.program.ir import Code, Ref, input_refs
from tapegrad.program.lines import Block, Line
from tapegrad.types import Array

Write = Callable[[Frame], None]

_BACKWARD = slice(None, None, -1)


def write_control(frame: Frame, i: int, write: Write) -> None:
    """Write the lines of a loop or of a branch."""
    options = frame.program.instructions[i].options
    if "loop" in options:
        _Loop(frame, i).write(write)
    else:
        _write_branch(frame, i, options["branch"], write)


def _write_branch(frame: Frame, i: int, branch: Branch, write: Write) -> None:
    pred, *operands = [frame.operand(x) for x in frame.program.instructions[i].operands]
    for head, code in ((f"if {pred}:", branch.on_true), ("else:", branch.on_false)):
        inside = _frame_of_body(frame, i, code, operands)
        write(inside)
        written: set[Any] = set()
        for j, ref in _used_parts(frame, i).items():
            x = code.outputs[j]
            value = inside.values[x]
            if x in written or not _is_new(inside, x):
                value = _copy(frame, value)
            written.add(x)
            inside.write(frame.values[ref], value)
        frame.lines.append(Block(head, inside.lines))


class _Loop:
    """A loop while it is written.

    Attributes
    ----------
    inside
        The frame of the body.
    lists
        For each name that a step reads or writes a row by, the list of rows that the loop runs
        through.
    parts
        For each used result, by position, the instruction that takes it out of the loop.
    copies, after
        Lines at the end of each step, and after the loop.
    """

    def __init__(self, frame: Frame, i: int) -> None:
        self.frame, self.names, self.index = frame, frame.names, i
        instruction = frame.program.instructions[i]
        loop: Loop = instruction.options["loop"]
        self.loop, self.parts = loop, _used_parts(frame, i)
        captured, self.begin, self.xs = loop.partition(instruction.operands)
        # a row is named after its array, unless the user has a name for it
        row_names: list[str | None] = [
            self.names.new(f"{frame.values[x]}_row")
            if loop.body.definition(row).path in OPS
            else None
            for x, row in zip(self.xs, loop.inputs[2], strict=True)
        ]
        known = [*map(frame.operand, captured), *[None] * loop.n_carry, *row_names]
        self.inside = _frame_of_body(frame, i, loop.body, known)
        self.rows_function = self.names.name_of(_list_rows, "rows")
        self.lists = self.inside.lists
        self.copies: list[Line] = []
        self.after: list[Line] = []

    def write(self, write: Write) -> None:
        """Write all lines."""
        loop, inside = self.loop, self.inside
        self.frame.write("", "", f"{loop!r}, {self._steps()}")
        for x, row in zip(self.xs, map(inside.operand, loop.inputs[2]), strict=True):
            self.lists[row] = self._rows(x)
            if self.frame.places.get(x) in self.frame.strided:
                inside.strided.add(row)
        self._allocate_results()
        once = {name for name, rows in self.lists.items() if rows.once}
        inside.places |= {x: name for x, name in inside.values.items() if name in once}
        write(inside)
        body = [*inside.lines, *self.copies]
        if loop.stop is not None:
            operands = map(inside.operand, input_refs(range(len(loop.stop.inputs))))
            test = _frame_of_body(self.frame, self.index, loop.stop, operands)
            write(test)
            ends = Block(f"if not {test.values[loop.stop.outputs[0]]}:", [Line("", "break")])
            body = [*test.lines, ends, *body]
        self.frame.lines += [Block(self._head(), body), *self.after]

    def _allocate_results(self) -> None:
        """Choose the memory of each carry and of each result that the steps return.

        A carry has a row for every step if a used result of the steps is that carry, before or
        after the step: the result is then a view. Otherwise it has two rows, which the steps write
        alternately. Each other result is stacked in a separate array.
        """
        loop, outputs = self.loop, self.loop.body.outputs
        stacked_results = {
            j: outputs[j] for j in range(loop.n_carry, len(outputs)) if j in self.parts
        }
        for k, carried in enumerate(loop.inputs[1]):
            views = [j for j, x in stacked_results.items() if x in (carried, outputs[k])]
            if views and self._can_be_views(carried, views):
                self._keep_every_row(k, carried, views)
                for j in views:
                    del stacked_results[j]
            else:
                self._keep_two_rows(k, carried)
        for j in stacked_results:
            self._stack(j)

    def _can_be_views(self, carried: Ref, views: Sequence[int]) -> bool:
        """Whether results of the steps may be views of a carry's memory.

        The number of steps must be known. A result that the program returns, and that no step
        reads, is better computed in its own new array, which need not be copied.
        """
        is_read = any(self.loop.body.outputs[j] == carried for j in views)
        is_returned = any(self.parts[j] in self.frame.plan.returned for j in views)
        return self.loop.length is not None and (is_read or not is_returned)

    def _steps(self) -> str:
        n = self.loop.length
        if self.loop.stop is not None:
            return "as long as a value says"
        steps = "a step a row" if n is None else f"{n} step{'s' * (n != 1)}"
        return f"{steps}, from the last to the first" if self.loop.reverse else steps

    def _head(self) -> str:
        """The line that begins the loop: over rows, over a range, or without an end."""
        texts = {
            row: f"{self.names.name_of(cycle, 'cycle')}({rows.name})" if rows.turns else rows.name
            for row, rows in self.lists.items()
        }
        if self.loop.stop is None and all(x.turns for x in self.lists.values()):
            texts = {self.names.new("step"): f"range({self.loop.length})"} | texts
        if not texts:
            return "while True:"
        through = ", ".join(texts.values())
        return f"for {', '.join(texts)} in {f'zip({through})' if len(texts) > 1 else through}:"

    def _n_rows(self) -> str:
        """The number of steps of a loop over rows."""
        return f"len({next(iter(self.lists.values())).name})"

    # --- memory -----------------------------------------------------------------------------

    def _allocate(self, name: str, n: int, like: Any, held: Iterable[Ref]) -> None:
        """Allocate memory for n rows once; values around the loop read it after the loop."""
        plan, i = self.frame.plan, self.index
        alive = plan.lifetime(i, max([i, *[plan.last_use[x] for x in held]]))
        memory = Buffer((n, *like.shape), np.dtype(like.dtype), alive, name)
        self.frame.names.setup.buffers.append(memory)

    def _write_to(self, x: Ref, place: str) -> None:
        """Have a step compute a value in a place, or copy it there."""
        inside = self.inside
        if _is_new(inside, x) and inside.plan.can_write[x.index] and not inside.out(x):
            (inside.places if self.lists[place].once else inside.fresh)[x] = place
        else:
            self.copies.append(Line(f"{place}[...]", inside.values[x]))

    def _rows(self, x: Any) -> Rows:
        """List the rows of a value in the order of the steps; once, if its memory stays."""
        frame, place = self.frame, self.frame.places.get(x)
        if place is not None and place not in frame.lists:
            return Rows(self._list_of_rows(frame.values[x], place, self.loop.reverse))
        name = self.names.new(f"{frame.values[x]}_rows")
        frame.write(name, f"{self.rows_function}({frame.values[x]}){'[::-1]' * self.loop.reverse}")
        return Rows(name, once=False)

    def _list_of_rows(self, name: str, place: str, backward: bool = False) -> str:
        """The name of the list of rows of memory that stays in place, which is made once."""
        rows = self.frame.shared_view(
            f"{name}_rows", f"{self.rows_function}({place})", place, _list_rows
        )
        return self.frame.part_view(rows, _BACKWARD, f"{rows}_back") if backward else rows

    # --- carries and results of the steps -----------------------------------------------------

    def _keep_every_row(self, k: int, carried: Ref, views: Sequence[int]) -> None:
        """Give a carry a row for each step and one more; results of the steps are views of these.

        In the order of the steps, row t holds the carry before step t, and row t + 1 the carry
        after it.
        """
        loop, frame = self.loop, self.frame
        assert loop.length is not None
        memory, rows = self._allocate_carry(k, carried, loop.length + 1, views)
        for j in views:
            is_before = loop.body.outputs[j] == carried
            ends = slice(None, -1) if is_before != loop.reverse else slice(1, None)
            frame.bind_view(self.parts[j], memory, ends)
        if k in self.parts:
            frame.bind_view(self.parts[k], rows, -1)

    def _keep_two_rows(self, k: int, carried: Ref) -> None:
        """Give a carry two rows, which the steps read and write alternately."""
        loop, frame, last = self.loop, self.frame, self.parts.get(k)
        _, rows = self._allocate_carry(k, carried, 2, ())
        if last is not None and loop.length is not None:
            frame.bind_view(last, rows, loop.length % 2)
        elif last is not None:
            row = self.inside.values[carried]
            if loop.stop is None:
                row = f"{rows}[{self._n_rows()} % 2]"
            self.after.append(Line(frame.values[last], _copy(frame, row)))

    def _allocate_carry(
        self, k: int, carried: Ref, n_rows: int, views: Sequence[int]
    ) -> tuple[str, str]:
        """Allocate the rows of a carry, and have the steps read and write them.

        Parameters
        ----------
        k, carried
            The position of the carry, and the input of the body.
        n_rows
            The number of rows.
        views
            The results of the steps that are views of the rows; if there are none, the steps take
            the rows by turns.

        Returns
        -------
        The names of the memory, and of the list of its rows in the order of the steps.
        """
        loop, frame, name = self.loop, self.frame, self.inside.values[carried]
        memory, next_name = self.names.new(f"{name}_all"), self.names.new(f"{name}_next")
        # with an unknown number of steps, a result after the loop is a copy
        readers = [] if loop.length is None else [k, *views]
        held = [self.parts[j] for j in readers if j in self.parts]
        self._allocate(memory, n_rows, loop.body.spec(carried), held)
        rows = self._list_of_rows(name, memory, bool(views) and loop.reverse)
        frame.write(f"{rows}[0][...]", frame.operand(self.begin[k]))
        shifted = slice(1, None) if views else _BACKWARD
        next_rows = frame.part_view(rows, shifted, f"{next_name}_rows")
        self.lists[name] = Rows(rows, turns=not views)
        self.lists[next_name] = Rows(next_rows, turns=not views)
        self._write_to(loop.body.outputs[k], next_name)
        return memory, rows

    def _stack(self, j: int) -> None:
        """Stack a result of the steps, a row for each step."""
        loop, frame, names = self.loop, self.frame, self.names
        x, ref = loop.body.outputs[j], self.parts[j]
        spec, whole = loop.body.spec(x), frame.values[ref]
        if loop.stop is not None:
            frame.write(whole, "[]")
            self.copies.append(Line("", f"{whole}.append({_copy(frame, self.inside.values[x])})"))
            name = names.name_of(stack_rows, "stacked")
            text = f"{name}({whole}, {spec.shape}, {spec.dtype.str!r})"
            self.after.append(Line(whole, text))
        else:
            row = names.new(f"{whole}_row")
            if loop.length is None or ref in frame.plan.returned:
                steps = self._n_rows() if loop.length is None else loop.length
                frame.write(whole, frame.new_array(spec, steps))
            else:
                self._allocate(whole, loop.length, spec, [ref])
                frame.places[ref] = whole
            self.lists[row] = self._rows(ref)
            self._write_to(x, row)


# --- shared ---------------------------------------------------------------------------------


def _used_parts(frame: Frame, i: int) -> dict[int, Ref]:
    """For each used result of an instruction, by position, the instruction that takes it out.

    There is one for each result, since a program shares equal instructions.
    """
    whole, instructions = frame.plan.refs[i], frame.program.instructions
    return {
        x.options["index"]: ref
        for ref, x in zip(frame.plan.refs, instructions, strict=True)
        if x.op is PART and x.operands[0] == whole
    }


def _frame_of_body(frame: Frame, i: int, code: Code, inputs: Iterable[str | None]) -> Frame:
    """The frame of a body of an instruction; inputs may have names already."""
    stage = frame.stage or frame.program.instructions[i].stage
    return Frame(code, frame.names, frame.plan.lifetime(i, i), inputs, stage)


def _is_new(inside: Frame, x: Any) -> bool:
    """Whether a result of a body lies in memory that nothing else reads or writes."""
    code = inside.program
    return (
        x.kind == "instruction"
        and x not in inside.plan.owner_of
        and code.definition(x).op is not PART
    )


def _copy(frame: Frame, name: str) -> str:
    """The expression that copies an array, or makes an array of a number."""
    return f"{frame.names.library('array')}({name})"


def _list_rows(x: Array) -> list[Array]:
    """List the rows of an array; rows without axes are arrays too."""
    return list(x) if x.ndim > 1 else [x[t, ...] for t in range(len(x))]
