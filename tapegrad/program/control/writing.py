"""Loops and branches as source: ``for``, ``while`` and ``if``, with a body written once.

The results of a step are written in place: into a row of a stack, or the memory of the next carry.
A carry that is kept for every step has one row more than there are steps, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tapegrad.declare import OPS
from tapegrad.declare.parts import PART
from tapegrad.program.arena import Buffer
from tapegrad.program.control.loop import Branch, Loop, stacked
from tapegrad.program.frame import Frame
from tapegrad.program.ir import Code, Ref
from tapegrad.program.lines import Block, Line
from tapegrad.tree.ownership import Array

Write = Callable[[Frame], None]


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
        for j, refs in _parts(frame, i).items():
            x = code.outputs[j]
            for ref in refs:
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
        self.xs = loop.apart(instruction.operands)[2]
        operands = [frame.operand(x) for x in instruction.operands]
        self.captured, self.begin, arrays = loop.apart(operands)
        _, carry, rows = loop.inputs
        # a row is named after the array that it is of, unless the user has a name for it
        named: list[Any] = [
            self.names.new(f"{name}_row") if loop.body.of(row).path in OPS else None
            for name, row in zip(arrays, rows, strict=True)
        ]
        known = [*self.captured, *[None] * len(carry), *named]
        self.inside = _inside(frame, i, loop.body, known)
        self.carry, self.rows = ([self.inside.values[x] for x in xs] for xs in (carry, rows))
        self.back = "[::-1]" if loop.reverse else ""
        self.rows_of = self.names.of(_rows_of, "rows")
        # in the order of the steps: the name a step reads or writes, and the list it runs through
        self.each: dict[str, str] = {}
        # at the end of a step: copies to places in memory, then the carry handed on
        self.copies: list[Line] = []
        self.ends: list[Line] = []
        self.after: list[Line] = []

    def write(self, write: Write) -> None:
        """Write all lines."""
        loop, outputs, inside = self.loop, self.loop.body.outputs, self.inside
        self.frame.write("", "", f"{loop!r}, {self._steps()}")
        for x, row in zip(self.xs, self.rows, strict=True):
            self._go_through(row, f"{self._rows(x)}{self.back}", x in self.frame.rows)
            if not self.frame.is_in_order(x):
                inside.strided.add(row)
        # with their numbers, the results of the steps that are used
        left = {j: outputs[j] for j in range(loop.n_carry, len(outputs)) if j in self.parts}
        for k, carried in enumerate(loop.inputs[1]):
            kept = [j for j, x in left.items() if x in (carried, outputs[k])]
            if loop.length is not None and any(left[j] == carried for j in kept):
                self._keep_carry(k, carried, kept)
                for j in kept:
                    del left[j]
            else:
                self._hand_on(k, carried)
        for j in left:
            self._stack(j)
        names = inside.values | inside.places
        inside.still |= {x: name for x, name in names.items() if name in inside.lists}
        write(inside)
        self.each |= inside.lists
        body = [*inside.lines, *self.copies, *self.ends]
        if loop.stop is None:
            block = Block(self._head(), body)
        else:
            test = _inside(self.frame, self.index, loop.stop, [*self.captured, *self.carry])
            write(test)
            ends = Block(f"if not {test.values[loop.stop.outputs[0]]}:", [Line("", "break")])
            block = Block("while True:", [*test.lines, ends, *body])
        self.frame.lines += [block, *self.after]

    def _steps(self) -> str:
        loop = self.loop
        if loop.stop is not None:
            return "as long as a value says"
        steps = f"{loop.length} step{'s' * (loop.length != 1)}"
        if loop.length is None:
            steps = "a step a row"
        return f"{steps}, from the last to the first" if loop.reverse else steps

    def _head(self) -> str:
        """The line that begins a loop over rows, or of so many steps."""
        if not self.each:
            return f"for {self.names.new('step')} in range({self.loop.length}):"
        through = ", ".join(self.each.values())
        return (
            f"for {', '.join(self.each)} in {f'zip({through})' if len(self.each) > 1 else through}:"
        )

    # --- memory -----------------------------------------------------------------------------

    def _allocate(
        self, name: str, shape: tuple[int, ...], dtype: Any, held: Iterable[Ref] = ()
    ) -> str:
        """Have memory allocated once, for these values of the program around the loop."""
        alive = self.frame.life_of(self.index, held)
        return self.frame.arena.add(Buffer(shape, np.dtype(dtype), alive), name)

    def _go_through(self, row: str, rows: str, stays: bool = True) -> None:
        """Have each step see the next of a list of rows, of memory that stays in place or not."""
        self.each[row] = rows
        if stays:
            self.inside.lists[row] = rows

    def _write_to(self, x: Ref, place: str) -> None:
        """Have a step write a value to a place, or copy it there."""
        if self._fits(x) and x not in self.inside.places:
            self.inside.places[x] = place
        else:
            self.copies.append(Line(f"{place}[...]", self.inside.values[x]))

    def _fits(self, x: Ref) -> bool:
        """Whether a step can write a value to any place."""
        return _is_new(self.inside, x) and self.inside.plan.fits[x.index]

    def _rows(self, x: Any) -> str:
        """A list of the rows of an operand."""
        frame = self.frame
        if x in frame.rows:
            return frame.rows[x]
        name = self.names.new(f"{frame.values[x]}_rows")
        place = frame.still.get(x)
        if place is not None and place not in frame.lists:
            frame.once(name, f"{self.rows_of}({place})")
            frame.rows[x] = name
        else:
            frame.write(name, f"{self.rows_of}({frame.values[x]})")
        return name

    # --- what the steps read and give ---------------------------------------------------------

    def _keep_carry(self, k: int, carried: Ref, kept: list[int]) -> None:
        """A carry with a row for each step, and one more, which these results of steps are of."""
        loop, frame, outputs = self.loop, self.frame, self.loop.body.outputs
        like, next_ = loop.body.like(carried), outputs[k]
        memory = self.names.new(f"{self.carry[k]}_all")
        # in the order of the steps
        rows = self.names.new(f"{memory}_rows")
        assert loop.length is not None
        held = [ref for j in (k, *kept) for ref in self.parts.get(j, ())]
        self._allocate(memory, (loop.length + 1, *like.shape), like.dtype, held)
        frame.once(rows, f"{self.rows_of}({memory}){self.back}")
        frame.write(f"{rows}[0][...]", self.begin[k])
        out = self.names.new(f"{self.carry[k]}_next")
        self._go_through(self.carry[k], rows)
        self._go_through(out, f"{rows}[1:]")
        self._write_to(next_, out)
        for j in kept:
            part = "[:-1]" if (outputs[j] == carried) != loop.reverse else "[1:]"
            for ref in self.parts[j]:
                frame.once(frame.values[ref], f"{memory}{part}")
        for ref in self.parts.get(k, ()):
            frame.once(frame.values[ref], f"{rows}[-1]")
        frame.still |= {ref: frame.values[ref] for ref in held}

    def _hand_on(self, k: int, carried: Ref) -> None:
        """A carry that is dropped after its step."""
        body, next_, name = self.loop.body, self.loop.body.outputs[k], self.carry[k]
        if next_ == carried or (_is_new(self.inside, next_) and not self._fits(next_)):
            # a number would take part in the first step as one
            self.frame.write(name, _copy(self.frame, self.begin[k]))
            if next_ != carried:
                self.ends.append(Line(name, self.inside.values[next_]))
        else:
            like, out = body.like(carried), self.names.new(f"{name}_next")
            for x in (name, out):
                memory = self._allocate(self.names.new(f"{x}_memory"), like.shape, like.dtype)
                self.frame.write(x, memory)
            self.frame.write(f"{name}[...]", self.begin[k])
            self._write_to(next_, out)
            self.ends.append(Line(f"{name}, {out}", f"{out}, {name}"))
        for ref in self.parts.get(k, ()):
            self.after.append(Line(self.frame.values[ref], _copy(self.frame, name)))

    def _stack(self, j: int) -> None:
        """The results of the steps, a row for each."""
        loop, frame, names = self.loop, self.frame, self.names
        x, (first, *others) = loop.body.outputs[j], self.parts[j]
        like, whole = loop.body.like(x), frame.values[first]
        if loop.stop is not None:
            frame.write(whole, "[]")
            self.copies.append(Line("", f"{whole}.append({_copy(frame, self.inside.values[x])})"))
            name = names.of(stacked, "stacked")
            text = f"{name}({whole}, {like.shape}, {like.dtype.str!r})"
            self.after.append(Line(whole, text))
        else:
            row = names.new(f"{whole}_row")
            is_result = first in frame.program.results and frame.inside is None
            if loop.length is None or is_result:
                steps = (
                    f"len({next(iter(self.each.values()))})" if loop.length is None else loop.length
                )
                frame.write(whole, frame.new_array(like, steps))
            else:
                self._allocate(whole, (loop.length, *like.shape), like.dtype, self.parts[j])
                frame.still[first] = whole
            self._go_through(row, f"{self._rows(first)}{self.back}", first in frame.rows)
            self._write_to(x, row)
        for ref in others:
            self.after.append(Line(frame.values[ref], _copy(frame, whole)))


# --- shared ---------------------------------------------------------------------------------


def _parts(frame: Frame, i: int) -> dict[int, list[Ref]]:
    """Which of an instruction's results are used, and their names."""
    parts: dict[int, list[Ref]] = {}
    for k, instruction in enumerate(frame.program.instructions):
        if instruction.op is PART and instruction.operands[0] == Ref("instruction", i):
            parts.setdefault(instruction.options["index"], []).append(Ref("instruction", k))
    return parts


def _inside(frame: Frame, i: int, code: Code, inputs: list[Any]) -> Frame:
    """The frame of a body of an instruction, with these names for inputs that have one."""
    known = {Ref("input", k): name for k, name in enumerate(inputs) if name is not None}
    stage = frame.stage or frame.program.instructions[i].stage
    return Frame(code, frame.names, frame.arena, frame.life_of(i), known, stage)


def _is_new(inside: Frame, x: Any) -> bool:
    """Whether a result of a body lies in memory that nothing else reads or writes."""
    code = inside.program
    return x.kind == "instruction" and x not in inside.plan.live.owner and code.of(x).op is not PART


def _copy(frame: Frame, name: str) -> str:
    """The expression of a copy, or of an array of a number."""
    return f"{frame.names.library('array', np.array)}({name})"


def _rows_of(x: Array) -> list[Array]:
    """The rows of an array; rows without axes are arrays too."""
    return list(x) if x.ndim > 1 else [x[t, ...] for t in range(len(x))]
