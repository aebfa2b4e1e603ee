"""The lines of a program's instructions: one each, with its buffer, its views and a comment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.indexing import getitem
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program import blocks, cost
from tapegrad.program.arena import Line
from tapegrad.program.concatenations import Part, is_joined, is_small, parts_of
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.writing import branch_lines, loop_lines
from tapegrad.program.expressions import (
    KINDS,
    is_element,
    is_filled,
    operand,
)
from tapegrad.program.frame import Frame
from tapegrad.program.ir import STAGES, Code, Instruction, Ref, refs_to
from tapegrad.program.layout import axes_of
from tapegrad.program.memory import Plan
from tapegrad.transforms.replay import EACH


def lines_of(frame: Frame) -> list[str]:
    """The lines of a program's instructions, with comments where a stage begins.

    In the backward stage they say which line of the caller's source the gradient is of.
    """
    return _Lines(frame).written()


class _Lines:
    """The lines of a program's instructions while they are written."""

    def __init__(self, frame: Frame) -> None:
        self.frame, self.program, self.plan = frame, frame.program, frame.plan
        self.refs = refs_to(frame.program.instructions)
        self.lines: list[str] = []
        self.still = dict(frame.still)
        if frame.lists:
            inputs = [Ref("input", i) for i in range(len(self.program.inputs))]
            names = {**{x: frame.values[x] for x in inputs}, **frame.places}
            self.still |= {x: name for x, name in names.items() if name in frame.lists}

    def written(self) -> list[str]:
        """All lines."""
        instructions, frame = self.program.instructions, self.frame
        ended, runs = _ended(frame), self.plan.runs
        # an instruction that a pass moved up begins no stage
        stages = list(STAGES) if any(x.stage != STAGES[0] for x in instructions) else []
        i, block = 0, ""
        while i < len(instructions):
            stage, place = instructions[i].stage, instructions[i].place
            if stage in stages:
                del stages[: stages.index(stage) + 1]
                self.lines.append(f"# {stage}")
            if stage == STAGES[1] and place is not None and place.text not in ("", block):
                block = place.text
                shown = block if block.isprintable() else repr(block)
                self.lines.append(f"# gradient of: {shown}")
            begin, i = i, runs.get(i, i + 1)
            if begin in runs:
                self.lines += blocks.loop(frame, range(begin, i))
            else:
                self._write(begin)
            if ended and (gone := [x for j in range(begin, i) for x in ended.get(j, ())]):
                self.lines.append(f"del {', '.join(gone)}")
        return self.lines

    def _write(self, i: int) -> None:
        """Add the lines of an instruction."""
        instruction, ref = self.program.instructions[i], self.refs[i]
        op = instruction.op
        if _is_part_of_control(self.program, instruction):
            # written with the loop or the branch that returns it
            return
        if isinstance(instruction.options.get("loop"), Loop):
            self.lines.extend(loop_lines(self.frame, i, lines_of))
        elif isinstance(instruction.options.get("branch"), Branch):
            self.lines.extend(branch_lines(self.frame, i, lines_of))
        elif (
            op in _VIEWS
            and instruction.operands[0] in self.still
            and len(instruction.operands) == 1
            and _is_view(self.program, self.plan, instruction)
        ):
            self._view_once(i)
        else:
            place = self._place(ref)
            if place is None or not self._assigned(i, place):
                text, note = self._computed(i, place)
                about = _about(instruction, note)
                self.lines.append(f"{self.frame.values[ref]} = {text}  # {about}")

    def _view_once(self, i: int) -> None:
        """Have a view of memory that stays in place made once, or once for each row."""
        frame, instruction, ref = self.frame, self.program.instructions[i], self.refs[i]
        base: Any = instruction.operands[0]

        def text(of: str) -> str:
            return frame.expression(i, values={base: of})

        note = _about(instruction, f"a view of {frame.values[base]}")
        self._view(frame.values[ref], self.still[base], text, note)
        self.still[ref] = frame.values[ref]

    def _view(self, name: str, of: str, text: Callable[[str], str], note: str = "") -> None:
        """Have a view made once, or once for each row of the list that a step goes through."""
        frame = self.frame
        if of in frame.lists:
            rows = frame.lists[name] = frame.names.new(f"{name}_rows")
            frame.once.append(Line(rows, f"[{text('x')} for x in {frame.lists[of]}]", note))
            frame.views.append((name, rows))
        else:
            frame.once.append(Line(name, text(of), note))

    def _place(self, ref: Ref) -> str | None:
        """The name of the array that a result is written to; None for one that is made for it."""
        first = self.plan.early.get(ref)
        if first is None:
            return self.frame.places.get(ref)
        return None if first == ref else self.frame.values[first]

    def _assigned(self, i: int, place: str) -> bool:
        """Have a result assigned to its place, whole or part by part, if no call writes it."""
        frame, instruction, ref = self.frame, self.program.instructions[i], self.refs[i]
        filled = is_filled(instruction)
        if not (filled or is_joined(instruction)):
            return False
        name, about = frame.values[ref], _about(instruction, instruction.note)
        stays = self.still.get(ref) == place
        is_one = stays and place not in frame.lists
        if filled:
            value = operand(instruction.operands[0], frame.values)
            if is_one:
                frame.once.append(Line(name, place))
                self.lines.append(f"{name}[...] = {value}  # {about}")
                return True
            self.lines.append(f"{place}[...] = {value}")
        elif ref in self.plan.filled or is_small(instruction):
            about = _about(instruction, "its parts are written there")
            for part in self.plan.filled.get(ref) or parts_of(self.program, instruction):
                if not part.direct:
                    self._fill(place, part, stays)
        else:
            return False
        line = Line(name, place, about)
        if is_one:
            frame.once.append(line)
        else:
            self.lines.append(line.text)
        return True

    def _fill(self, place: str, part: Part, stays: bool) -> None:
        """Copy a part to its place in an array, of which a view is made once if that stays."""
        target = f"{place}{part.view}"
        if stays:
            name = self.frame.names.new(f"{place}_{part.start}")
            self._view(name, place, lambda of: f"{of}{part.view}")
            target = f"{name}[...]"
        self.lines.append(f"{target} = {operand(part.value, self.frame.values)}")

    def _computed(self, i: int, place: str | None) -> tuple[str, str]:
        """The expression of a result, which may write to its place, and a note."""
        frame, ref, instruction = self.frame, self.refs[i], self.program.instructions[i]
        if i in frame.updates:
            return self._updated(i), instruction.note
        # NumPy makes the array that it fills
        if self.plan.early.get(ref) == ref and not is_filled(instruction):
            place = blocks.new_array(instruction, frame.names)
        text = frame.expression(i, place)
        if instruction.op is EACH:
            return text, f"{instruction.options['of'].name} has no batching rule: a call for each"
        return text, instruction.note

    def _updated(self, i: int) -> str:
        """The call that updates rows."""
        frame, instruction = self.frame, self.program.instructions[i]
        arguments = [operand(x, frame.values) for x in instruction.operands]
        arguments += [f"{name}=True" for name, x in instruction.options.items() if x is True]
        return f"{frame.updates[i]}({', '.join(arguments)})"


def _ended(frame: Frame) -> dict[int, list[str]]:
    """The names of large arrays without a buffer, by the last instruction that needs each.

    Their memory would be in use until the program returns. A view holds what it is of, and a
    tuple its parts, so their names go too.
    """
    program, plan, instructions = frame.program, frame.plan, frame.program.instructions
    ended: dict[int, list[str]] = {}
    large = {
        ref
        for ref, instruction in zip(refs_to(instructions), instructions, strict=True)
        if instruction.nbytes >= cost.DROPPED_BYTES
        and not (ref in frame.places or ref in plan.early or instruction.options.keys() & _CONTROL)
        and not _is_part_of_control(program, instruction)
    }
    if not large:
        return ended
    large |= {x for ref in large for x in program.of(ref).operands if program.of(ref).op is PART}
    live = plan.live
    for ref, end in live.ends.items():
        is_whole = ref.kind != "instruction" or ref.index not in plan.in_runs
        if live.owner_of(ref) in large and end < len(instructions) and is_whole:
            ended.setdefault(end, []).append(frame.values[ref])
    return ended


def _is_part_of_control(program: Code, instruction: Instruction) -> bool:
    """Whether a value is one of those that a loop or a branch returns."""
    of: Any = instruction.operands[0] if instruction.op is PART else None
    return of is not None and not _CONTROL.isdisjoint(program.of(of).options)


_CONTROL = frozenset({"loop", "branch"})


_VIEWS = frozenset({getitem, reshape, transpose})


def _is_view(program: Code, plan: Plan, instruction: Instruction) -> bool:
    """Whether a result is a view of its operand, an array that stays in place."""
    if instruction.op is getitem:
        # a number is copied, and so is what a mask selects
        return (instruction.shape != () or is_element(instruction)) and not any(
            isinstance(part, bool) for part in instruction.options["index"]
        )
    return instruction.op is transpose or _is_in_order(program, plan, instruction.operands[0])


def _is_in_order(program: Code, plan: Plan, x: Any) -> bool:
    """Whether a value that stays in place is known to lie in C order."""
    value = program.of(x)
    if x.kind == "constant":
        return bool(value.array.flags.c_contiguous)
    if x.kind == "input" or value.op is reshape:
        return True
    if value.op is transpose:
        return plan.turned.get(value.operands[0]) == axes_of(value)
    return value.op is not getitem and x not in plan.turned


def _about(instruction: Instruction, note: str) -> str:
    """The comment at the end of a line."""
    shape = str(instruction.shape)
    if instruction.number:
        shape = f"a Python {KINDS[instruction.dtype.kind]}"
    elif isinstance(instruction.op, MultiOutputOp):
        shape = ", ".join(instruction.op.results._fields)
    return f"{shape}: {note}" if note else shape
