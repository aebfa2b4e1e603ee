"""Loops and branches as source: ``for``, ``while`` and ``if``, with a body written once.

The results of a step are written in place: into a row of a stack, or the memory of the next carry.
A carry that is kept for every step has one row more than there are steps, so nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tapegrad.declare import OPS
from tapegrad.declare.parts import PART
from tapegrad.program.arena import Line, Memory
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.expressions import takes_out
from tapegrad.program.frame import Frame, framed, values_of
from tapegrad.program.ir import Code, Instruction, Ref, number
from tapegrad.tree.ownership import Array

Lines = list[str]
LinesOf = Callable[[Frame], Lines]


def loop_lines(frame: Frame, i: int, lines_of: LinesOf) -> Lines:
    """The lines of a loop."""
    return _Writer(frame, i).lines(lines_of)


def branch_lines(frame: Frame, i: int, lines_of: LinesOf) -> Lines:
    """The lines of a branch."""
    instruction = frame.program.instructions[i]
    branch: Branch = instruction.options["branch"]
    pred, *operands = [_name(frame, x) for x in instruction.operands]
    parts = [(ref, j) for j, refs in _parts(frame, i).items() for ref in refs]
    lines = []
    for head, code in ((f"if {pred}:", branch.on_true), ("else:", branch.on_false)):
        inside = _inside(frame, i, code, dict(enumerate(operands)))
        body = lines_of(inside)
        written: set[Any] = set()
        for ref, j in parts:
            x = code.outputs[j]
            value = inside.values[x]
            if x in written or not _is_new(inside, x):
                value = f"{frame.names.library('array', np.array)}({value})"
            written.add(x)
            body.append(f"{frame.values[ref]} = {value}")
        lines += [head, *_indented(body or ["pass"])]
    return lines


class _Writer:
    """A loop while it is written."""

    def __init__(self, frame: Frame, i: int) -> None:
        self.frame, self.names, self.index = frame, frame.names, i
        self.instruction: Instruction = frame.program.instructions[i]
        self.loop: Loop = self.instruction.options["loop"]
        self.parts = _parts(frame, i)
        loop, body = self.loop, self.loop.body
        operands = [_name(frame, x) for x in self.instruction.operands]
        n, first = loop.n_captured, loop.n_captured + loop.n_carry
        self.captured = operands[:n]
        # a row is named after the array that it is of, unless the user has a name for it
        rows = {
            k: self.names.new(f"{operands[k]}_row")
            for k in range(first, len(operands))
            if body.inputs[k].path in OPS or body.inputs[k].path == PART.name
        }
        self.inside = _inside(frame, i, body, {**dict(enumerate(self.captured)), **rows})
        values = self.inside.values
        self.carry = [values[Ref("input", n + k)] for k in range(loop.n_carry)]
        self.begin = operands[n:first]
        self.is_known = loop.length is not None
        self.back = "[::-1]" if loop.reverse else ""
        # in the order of the steps: the name a step reads or writes, and the list it runs through
        self.each: list[tuple[str, str]] = []
        self.before: Lines = []
        self.after: Lines = []
        # at the end of a step: copies to places in memory, then the carry handed on
        self.copies: Lines = []
        self.ends: Lines = []
        self._stacked: set[int] = set()
        self.placeable = {
            x
            for x in body.results
            if x.kind == "instruction"
            and x not in self.inside.plan.live.owner
            and takes_out(body, body.of(x))
            and not any(start <= x.index < stop for start, stop in self.inside.plan.runs)
        }

    def lines(self, lines_of: LinesOf) -> Lines:
        """All lines."""
        loop = self.loop
        first = loop.n_captured + loop.n_carry
        for x, row in zip(
            self.instruction.operands[first:],
            [self.inside.values[Ref("input", first + k)] for k in range(loop.n_xs)],
            strict=True,
        ):
            self._go_through(row, self._rows(x), self.back, x in self.frame.rows)
        for k in range(loop.n_carry):
            if not self._keep_carry(k):
                self._hand_on(k)
        for j in range(loop.n_carry, len(loop.body.outputs)):
            if j in self.parts:
                self._stack(j)
        body = [*lines_of(self.inside), *self.copies, *self.ends]
        self.each += self.inside.views
        head = self._head(lines_of)
        comment = f"# {loop!r}, {self._steps()}"
        return [comment, *self.before, *head, *_indented(body or ["pass"]), *self.after]

    def _steps(self) -> str:
        loop = self.loop
        if loop.stop is not None:
            return "as long as a value says"
        steps = "a step a row" if loop.length is None else f"{loop.length} steps"
        return f"{steps}, from the last to the first" if loop.reverse else steps

    def _head(self, lines_of: LinesOf) -> Lines:
        """The lines that begin the loop."""
        loop = self.loop
        if loop.stop is not None:
            test = _inside(
                self.frame, self.index, loop.stop, dict(enumerate([*self.captured, *self.carry]))
            )
            lines = [*lines_of(test), f"if not {test.values[loop.stop.outputs[0]]}:", "    break"]
            return ["while True:", *_indented(lines)]
        names, lists = [name for name, _ in self.each], [x for _, x in self.each]
        if not lists:
            return [f"for {self.names.new('step')} in range({loop.length}):"]
        if len(lists) == 1:
            return [f"for {names[0]} in {lists[0]}:"]
        return [f"for {', '.join(names)} in zip({', '.join(lists)}):"]

    # --- what the steps go through ------------------------------------------------------

    def _go_through(self, row: str, rows: str, back: str = "", stays: bool = True) -> None:
        """Have each step see the next of a list of rows, of memory that stays in place or not."""
        self.each.append((row, f"{rows}{back}"))
        if stays:
            self.inside.lists[row] = rows, back

    def _rows(self, x: Any) -> str:
        """A list of the rows of an operand."""
        frame = self.frame
        if x in frame.rows:
            return frame.rows[x]
        name = self.names.new(f"{frame.values[x]}_rows")
        line = Line(name, f"{self.names.of(_rows_of, 'rows')}({frame.values[x]})")
        if x.kind == "constant":
            frame.once.append(line)
            frame.rows[x] = name
        else:
            self.before.append(line.text)
        return name

    # --- the carry ----------------------------------------------------------------------

    def _keep_carry(self, k: int) -> bool:
        """A carry with a row for each step, if each step keeps or returns it."""
        loop, body = self.loop, self.loop.body
        carried, next_ = Ref("input", loop.n_captured + k), body.outputs[k]
        kept = [
            j
            for j in self.parts
            if j >= loop.n_carry and body.outputs[j] in (carried, next_) and j not in self._stacked
        ]
        if not self.is_known or not any(body.outputs[j] == carried for j in kept):
            return False
        like = body.like(carried)
        memory = self.names.new(f"{self.carry[k]}_all")
        rows = self.names.new(f"{memory}_rows")
        assert loop.length is not None
        shape = (loop.length + 1, *like.shape)
        held = [ref for j in (k, *kept) for ref in self.parts.get(j, ())]
        self._allocate(memory, shape, like.dtype, held)
        self._once(rows, f"{self.names.of(_rows_of, 'rows')}({memory})")
        ordered = rows
        if loop.reverse:
            ordered = self.names.new(f"{rows}_back")
            self._once(ordered, f"{rows}[::-1]")
        out = self.names.new(f"{self.carry[k]}_next")
        self.before.append(f"{ordered}[0][...] = {self.begin[k]}")
        self._go_through(self.carry[k], ordered)
        self._go_through(out, f"{ordered}[1:]")
        self._write_to(next_, out)
        for j in kept:
            early = (body.outputs[j] == carried) != loop.reverse
            part = "[:-1]" if early else "[1:]"
            self._stacked.add(j)
            for ref in self.parts[j]:
                self._once(self.frame.values[ref], f"{memory}{part}")
                self.frame.lent.add(ref)
                name = self.names.new(f"{self.frame.values[ref]}_rows")
                self._once(name, f"{rows}{part}")
                self.frame.rows[ref] = name
        for ref in self.parts.get(k, ()):
            self._once(self.frame.values[ref], f"{ordered}[-1]")
            self.frame.lent.add(ref)
        return True

    def _hand_on(self, k: int) -> None:
        """A carry that is dropped after its step."""
        body = self.loop.body
        carried, next_ = Ref("input", self.loop.n_captured + k), body.outputs[k]
        name, value = self.carry[k], self.inside.values[next_]
        self.before.append(f"{name} = {self.begin[k]}")
        if next_ != carried:
            like = body.like(carried)
            if next_ in self.placeable or not _is_new(self.inside, next_):
                out, spare = self.names.new(f"{name}_next"), self.names.new(f"{name}_spare")
                for memory in (out, spare):
                    once = self.names.new(f"{memory}_memory")
                    self._allocate(once, like.shape, like.dtype)
                    self.before.append(f"{memory} = {once}")
                self._write_to(next_, out)
                self.ends.append(f"{name}, {out}, {spare} = {out}, {spare}, {out}")
            else:
                self.ends.append(f"{name} = {value}")
        copy = self.names.library("array", np.array)
        for ref in self.parts.get(k, ()):
            self.after.append(f"{self.frame.values[ref]} = {copy}({name})")

    def _once(self, name: str, expression: str) -> None:
        """Have a line run once, before the first call."""
        self.frame.once.append(Line(name, expression))

    def _allocate(
        self, name: str, shape: tuple[int, ...], dtype: Any, held: Iterable[Ref] = ()
    ) -> None:
        """Have memory made once, for these values of the program around the loop."""
        alive = self.frame.life_of(self.index, held)
        self.frame.arena.memory.append(Memory(name, shape, np.dtype(dtype), alive))

    def _write_to(self, x: Ref, place: str) -> None:
        """Have a step write a value to a place, or copy it there."""
        if x in self.placeable and x not in self.inside.places:
            self.inside.places[x] = place
        else:
            self.copies.append(f"{place}[...] = {self.inside.values[x]}")

    # --- what the steps give ------------------------------------------------------------

    def _stack(self, j: int) -> None:
        """The results of the steps, a row for each."""
        if j in self._stacked:
            return
        loop, body, frame, names = self.loop, self.loop.body, self.frame, self.names
        x, (first, *others) = body.outputs[j], self.parts[j]
        like, whole = body.like(x), frame.values[first]
        copy = names.library("array", np.array)
        if loop.stop is not None:
            self.before.append(f"{whole} = []")
            self.copies.append(f"{whole}.append({copy}({self.inside.values[x]}))")
            stacked = names.of(_stacked, "stacked")
            self.after.append(f"{whole} = {stacked}({whole}, {like.shape}, {like.dtype.str!r})")
        else:
            row = names.new(f"{whole}_row")
            rows = names.new(f"{whole}_rows")
            listed = Line(rows, f"{names.of(_rows_of, 'rows')}({whole})")
            if loop.length is None:
                steps = f"len({self.each[0][1]})"
                empty = names.library("empty", np.empty)
                sides = ", ".join(map(str, (steps, *like.shape)))
                self.before += [f"{whole} = {empty}(({sides},), {like.dtype.str!r})", listed.text]
            elif first in frame.program.results and frame.inside is None:
                empty = names.library("empty", np.empty)
                shape = (loop.length, *like.shape)
                self.before += [f"{whole} = {empty}({shape}, {like.dtype.str!r})", listed.text]
            else:
                self._allocate(whole, (loop.length, *like.shape), like.dtype, self.parts[j])
                frame.once.append(listed)
                frame.rows[first] = rows
                frame.lent.add(first)
            self._go_through(row, rows, self.back, first in frame.rows)
            self._write_to(x, row)
        for ref in others:
            self.after.append(f"{frame.values[ref]} = {whole}")
            frame.lent.add(ref)


# --- shared ---------------------------------------------------------------------------------


def _name(frame: Frame, x: Any) -> str:
    """How an operand is written."""
    return frame.values[x] if type(x) is Ref else number(x)


def _parts(frame: Frame, i: int) -> dict[int, list[Ref]]:
    """Which of an instruction's results are used, and their names."""
    parts: dict[int, list[Ref]] = {}
    for k, instruction in enumerate(frame.program.instructions):
        if instruction.op is PART and instruction.operands[0] == Ref("instruction", i):
            parts.setdefault(instruction.options["index"], []).append(Ref("instruction", k))
    return parts


def _inside(frame: Frame, i: int, code: Code, inputs: Mapping[int, str]) -> Frame:
    """The frame of a body of an instruction, with these for its inputs."""
    known = {Ref("input", k): name for k, name in inputs.items()}
    values = values_of(code, frame.names, known)
    return framed(code, values, frame.names, frame.arena, frame.life_of(i))


def _is_new(inside: Frame, x: Any) -> bool:
    """Whether a result of a body lies in memory that nothing else reads or writes."""
    code = inside.program
    return x.kind == "instruction" and x not in inside.plan.live.owner and code.of(x).op is not PART


def _indented(lines: Lines) -> Lines:
    return [f"    {line}" for line in lines]


def _rows_of(x: Array) -> list[Array]:
    """The rows of an array; rows without axes are arrays too."""
    return list(x) if x.ndim > 1 else [x[t, ...] for t in range(len(x))]


def _stacked(rows: list[Array], shape: tuple[int, ...], dtype: str) -> Array:
    """Rows, possibly none, as one array."""
    stack = np.empty((len(rows), *shape), dtype)
    for t, x in enumerate(rows):
        stack[t] = x
    return stack
