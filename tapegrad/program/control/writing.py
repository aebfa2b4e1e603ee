"""Loops and branches as source: ``for`` and ``if``, with a body written once.

The results of a step are written in place: into a row of a stack, or the memory of the next carry.
A carry that is kept for every step has one row more than there are steps, so nothing is copied.
One that is dropped has two rows, by turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

import numpy as np

from tapegrad.declare import OPS
from tapegrad.declare.parts import PART
from tapegrad.program.arena import Buffer
from tapegrad.program.control.loop import Branch, Loop, stacked
from tapegrad.program.frame import Frame, Rows
from tapegrad.program.ir import Code, Ref, inputs_at
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
        inside = _inside(frame, i, code, operands)
        write(inside)
        written: set[Any] = set()
        for j, ref in _parts(frame, i).items():
            x = code.outputs[j]
            value = inside.values[x]
            if x in written or not _is_new(inside, x):
                value = _copy(frame, value)
            written.add(x)
            inside.write(frame.values[ref], value)
        frame.lines.append(Block(head, inside.lines))


class _Loop:
    """A loop while it is written."""

    def __init__(self, frame: Frame, i: int) -> None:
        self.frame, self.names, self.index = frame, frame.names, i
        instruction = frame.program.instructions[i]
        loop: Loop = instruction.options["loop"]
        self.loop, self.parts = loop, _parts(frame, i)
        captured, self.begin, self.xs = loop.apart(instruction.operands)
        # a row is named after the array that it is of, unless the user has a name for it
        named: list[Any] = [
            self.names.new(f"{frame.values[x]}_row") if loop.body.of(row).path in OPS else None
            for x, row in zip(self.xs, loop.inputs[2], strict=True)
        ]
        known = [*map(frame.operand, captured), *[None] * loop.n_carry, *named]
        self.inside = _inside(frame, i, loop.body, known)
        self.rows_of = self.names.of(_rows_of, "rows")
        # the names that a step reads or writes, and the list that each runs through
        self.each = self.inside.lists
        # at the end of a step, and of the loop
        self.copies: list[Line] = []
        self.after: list[Line] = []

    def write(self, write: Write) -> None:
        """Write all lines."""
        loop, outputs, inside = self.loop, self.loop.body.outputs, self.inside
        self.frame.write("", "", f"{loop!r}, {self._steps()}")
        _, carry, rows = loop.inputs
        for x, row in zip(self.xs, map(inside.operand, rows), strict=True):
            self.each[row] = self._rows(x)
            if self.frame.places.get(x) in self.frame.strided:
                inside.strided.add(row)
        # with their numbers, the results of the steps that are used
        left = {j: outputs[j] for j in range(loop.n_carry, len(outputs)) if j in self.parts}
        for k, carried in enumerate(carry):
            kept = [j for j, x in left.items() if x in (carried, outputs[k])]
            is_read = any(left[j] == carried for j in kept)
            # a result of the program that no step reads has an array of its own
            is_result = any(self.parts[j] in self.frame.plan.returned for j in kept)
            if loop.length is None or (is_result and not is_read):
                kept = []
            self._hand_on(k, carried, kept)
            for j in kept:
                del left[j]
        for j in left:
            self._stack(j)
        once = {name for name, rows in self.each.items() if rows.once}
        inside.places |= {x: name for x, name in inside.values.items() if name in once}
        write(inside)
        body = [*inside.lines, *self.copies]
        if loop.stop is not None:
            taken = map(inside.operand, inputs_at(range(len(loop.stop.inputs))))
            test = _inside(self.frame, self.index, loop.stop, taken)
            write(test)
            ends = Block(f"if not {test.values[loop.stop.outputs[0]]}:", [Line("", "break")])
            body = [*test.lines, ends, *body]
        self.frame.lines += [Block(self._head(), body), *self.after]

    def _steps(self) -> str:
        n = self.loop.length
        if self.loop.stop is not None:
            return "as long as a value says"
        steps = "a step a row" if n is None else f"{n} step{'s' * (n != 1)}"
        return f"{steps}, from the last to the first" if self.loop.reverse else steps

    def _head(self) -> str:
        """The line that begins a loop over rows, of so many steps, or without an end."""
        texts = {
            row: f"{self.names.of(cycle, 'cycle')}({rows.name})" if rows.turns else rows.name
            for row, rows in self.each.items()
        }
        if self.loop.stop is None and all(x.turns for x in self.each.values()):
            texts = {self.names.new("step"): f"range({self.loop.length})"} | texts
        if not texts:
            return "while True:"
        through = ", ".join(texts.values())
        return f"for {', '.join(texts)} in {f'zip({through})' if len(texts) > 1 else through}:"

    def _n_rows(self) -> str:
        """The number of steps of a loop over rows."""
        return f"len({next(iter(self.each.values())).name})"

    # --- memory -----------------------------------------------------------------------------

    def _allocate(self, name: str, n: int, like: Any, held: Iterable[Ref]) -> None:
        """Have memory for so many rows allocated once, for these values around the loop."""
        plan, i = self.frame.plan, self.index
        alive = plan.lifetime(i, max([i, *[plan.last_use[x] for x in held]]))
        memory = Buffer((n, *like.shape), np.dtype(like.dtype), alive, name)
        self.frame.names.memory.append(memory)

    def _write_to(self, x: Ref, place: str) -> None:
        """Have a step write a value to a place, or copy it there."""
        inside = self.inside
        if _is_new(inside, x) and inside.plan.can_write[x.index] and not inside.out(x):
            (inside.places if self.each[place].once else inside.fresh)[x] = place
        else:
            self.copies.append(Line(f"{place}[...]", inside.values[x]))

    def _rows(self, x: Any) -> Rows:
        """The rows of a value, in the order of the steps: a list that is made once, if it stays."""
        frame, place = self.frame, self.frame.places.get(x)
        if place is not None and place not in frame.lists:
            return Rows(self._listed(frame.values[x], place, self.loop.reverse))
        name = self.names.new(f"{frame.values[x]}_rows")
        frame.write(name, f"{self.rows_of}({frame.values[x]}){'[::-1]' * self.loop.reverse}")
        return Rows(name, once=False)

    def _listed(self, name: str, place: str, backward: bool = False) -> str:
        """The list of the rows of a value that stays in place, which is made once."""
        rows = self.frame.shared(f"{name}_rows", f"{self.rows_of}({place})", place, _rows_of)
        return self.frame.part(rows, _BACKWARD, f"{rows}_back") if backward else rows

    # --- what the steps read and give ---------------------------------------------------------

    def _hand_on(self, k: int, carried: Ref, kept: list[int]) -> None:
        """A carry: a row for each step, and one more, which these results of steps are of.

        One that is dropped after its step has two rows, which the steps write by turns.
        """
        loop, frame, name = self.loop, self.frame, self.inside.values[carried]
        last, n = self.parts.get(k), loop.length
        like, memory, out = loop.body.like(carried), f"{name}_all", f"{name}_next"
        memory, out = self.names.new(memory), self.names.new(out)
        held = [] if n is None else [self.parts[j] for j in (k, *kept) if j in self.parts]
        n_rows = n + 1 if kept and n is not None else 2
        self._allocate(memory, n_rows, like, held)
        rows = self._listed(name, memory, bool(kept) and loop.reverse)
        frame.write(f"{rows}[0][...]", frame.operand(self.begin[k]))
        further = frame.part(rows, slice(1, None) if kept else _BACKWARD, f"{out}_rows")
        self.each |= {x: Rows(y, turns=not kept) for x, y in ((name, rows), (out, further))}
        self._write_to(loop.body.outputs[k], out)
        for j in kept:
            before = (loop.body.outputs[j] == carried) != loop.reverse
            frame.have(self.parts[j], memory, slice(None, -1) if before else slice(1, None))
        if last is not None and n is not None:
            frame.have(last, rows, -1 if kept else n % 2)
        elif last is not None:
            row = f"{rows}[{self._n_rows()} % 2]" if loop.stop is None else name
            self.after.append(Line(frame.values[last], _copy(frame, row)))

    def _stack(self, j: int) -> None:
        """The results of the steps, a row for each."""
        loop, frame, names = self.loop, self.frame, self.names
        x, ref = loop.body.outputs[j], self.parts[j]
        like, whole = loop.body.like(x), frame.values[ref]
        if loop.stop is not None:
            frame.write(whole, "[]")
            self.copies.append(Line("", f"{whole}.append({_copy(frame, self.inside.values[x])})"))
            name = names.of(stacked, "stacked")
            text = f"{name}({whole}, {like.shape}, {like.dtype.str!r})"
            self.after.append(Line(whole, text))
        else:
            row = names.new(f"{whole}_row")
            if loop.length is None or ref in frame.plan.returned:
                steps = self._n_rows() if loop.length is None else loop.length
                frame.write(whole, frame.new_array(like, steps))
            else:
                self._allocate(whole, loop.length, like, [ref])
                frame.places[ref] = whole
            self.each[row] = self._rows(ref)
            self._write_to(x, row)


# --- shared ---------------------------------------------------------------------------------


def _parts(frame: Frame, i: int) -> dict[int, Ref]:
    """Which of an instruction's results are used, and by what instructions each is taken out.

    A program has one for each, as it has one instruction for everything that is computed.
    """
    whole, instructions = frame.plan.refs[i], frame.program.instructions
    return {
        x.options["index"]: ref
        for ref, x in zip(frame.plan.refs, instructions, strict=True)
        if x.op is PART and x.operands[0] == whole
    }


def _inside(frame: Frame, i: int, code: Code, inputs: Iterable[str | None]) -> Frame:
    """The frame of a body of an instruction, with these names for inputs that have one."""
    stage = frame.stage or frame.program.instructions[i].stage
    return Frame(code, frame.names, frame.plan.lifetime(i, i), inputs, stage)


def _is_new(inside: Frame, x: Any) -> bool:
    """Whether a result of a body lies in memory that nothing else reads or writes."""
    code = inside.program
    return x.kind == "instruction" and x not in inside.plan.owner_of and code.of(x).op is not PART


def _copy(frame: Frame, name: str) -> str:
    """The expression of a copy, or of an array of a number."""
    return f"{frame.names.library('array')}({name})"


def _rows_of(x: Array) -> list[Array]:
    """The rows of an array; rows without axes are arrays too."""
    return list(x) if x.ndim > 1 else [x[t, ...] for t in range(len(x))]
