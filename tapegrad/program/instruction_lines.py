"""The lines of a program's instructions: one each, with its buffer, its views and a comment."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.casting import copy
from tapegrad.ops.indexing import getitem
from tapegrad.ops.rows import index_select
from tapegrad.ops.shape import reshape, transpose
from tapegrad.program import blocks, cost
from tapegrad.program.arena import Line
from tapegrad.program.concatenations import Part, is_joined, is_small, parts_of
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.writing import branch_lines, loop_lines
from tapegrad.program.expressions import (
    KINDS,
    expression,
    is_element,
    is_few,
    is_filled,
    operand,
)
from tapegrad.program.frame import Frame
from tapegrad.program.ir import STAGES, Code, Instruction, Ref, refs_to
from tapegrad.program.layout import axes_of, inverse, ordered, strides_in_order
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
        self.still = _still(frame)

    def written(self) -> list[str]:
        """All lines."""
        instructions, frame = self.program.instructions, self.frame
        ended, runs = _ended(frame), dict(self.plan.runs)
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
        # a part is written with the loop or the branch that returns it
        if op is PART and _is_control(self.program, instruction):
            return
        if isinstance(instruction.options.get("loop"), Loop):
            self.lines.extend(loop_lines(self.frame, i, lines_of))
        elif isinstance(instruction.options.get("branch"), Branch):
            self.lines.extend(branch_lines(self.frame, i, lines_of))
        elif op in _MAY_BE_STILL and _is_still(self.program, instruction, self.still):
            self._view_once(i)
        elif ref in self.plan.filled:
            self._fill_buffer(i)
        else:
            place = self._place(ref)
            text, note = (place and self._placed(i, place)) or self._computed(i, place)
            about = _about(instruction, note)
            self.lines.append(f"{self.frame.values[ref]} = {text}  # {about}")

    def _view_once(self, i: int) -> None:
        """Have a view of memory that stays in place made once, or once for each row."""
        frame, instruction, ref = self.frame, self.program.instructions[i], self.refs[i]
        base: Any = instruction.operands[0]
        of, strides = self.still[base]
        name, note = frame.values[ref], _about(instruction, f"a view of {frame.values[base]}")
        text = expression(self.program, i, {base: self._called(of)}, None, frame.names)
        self._view(name, of, text, note)
        self.still[ref] = name, _strides(self.program, instruction, strides)

    def _called(self, of: str) -> str:
        """What an array is called in views of it: one row of a list is x."""
        return "x" if of in self.frame.lists else of

    def _view(self, name: str, of: str, text: str, note: str) -> None:
        """Have a view made once, or once for each row of a list."""
        if of in self.frame.lists:
            self.frame.list_views(name, of, text, note)
        else:
            self.frame.once.append(Line(name, text, note))

    def _place(self, ref: Ref) -> str | None:
        """The name of the array that a result is written to; None for one that is made for it."""
        if ref in self.plan.early:
            first = self.plan.early[ref]
            return None if first == ref else self.frame.values[first]
        home = self.plan.home.get(ref)
        buffer = None if home is None else self.frame.buffers[home]
        return self.frame.outs.get(ref) or buffer

    def _fill_buffer(self, i: int) -> None:
        """Have the parts of a concatenation in its own buffer."""
        frame, ref = self.frame, self.refs[i]
        buffer, small = frame.buffers[self.plan.home[ref]], is_small(self.program.of(ref))
        for part in self.plan.filled[ref]:
            if part.is_constant and small:
                frame.once.append(Line(f"{buffer}{part.view}", operand(part.value, frame.values)))
            elif not part.direct:
                self._fill(buffer, part)
        note = _about(self.program.of(ref), "its parts are written there")
        frame.once.append(Line(frame.values[ref], buffer, note))

    def _fill(self, place: str, part: Part) -> None:
        """Copy a part to its place in an array, of which a view is made once if that stays."""
        name = self.frame.names.new(f"{place}_{part.start}")
        self._view(name, place, f"{self._called(place)}{part.view}", "")
        self.lines.append(f"{name}[...] = {operand(part.value, self.frame.values)}")

    def _placed(self, i: int, place: str) -> tuple[str, str] | None:
        """The array that a result is assigned to, if no call writes it there; and a note."""
        frame, instruction = self.frame, self.program.instructions[i]
        if is_filled(instruction) or (instruction.op is copy and is_few(instruction)):
            # an assignment starts sooner than a call, and broadcasts
            self.lines.append(f"{place}[...] = {operand(instruction.operands[0], frame.values)}")
            return place, instruction.note
        if not (is_joined(instruction) and is_small(instruction)):
            return None
        ref = self.refs[i]
        stays = ref in self.plan.home or (ref in frame.outs and ref not in self.program.results)
        for part in parts_of(self.program, instruction):
            if place in frame.lists or stays:
                self._fill(place, part)
            else:
                value = operand(part.value, frame.values)
                self.lines.append(f"{place}{part.view} = {value}")
        return place, "its parts were written there"

    def _computed(self, i: int, place: str | None) -> tuple[str, str]:
        """The expression of a result, which may write to its place, and a note."""
        frame, ref, instruction = self.frame, self.refs[i], self.program.instructions[i]
        if i in frame.updates:
            return self._updated(i), instruction.note
        # NumPy makes the array that it fills
        if self.plan.early.get(ref) == ref and not is_filled(instruction):
            place = blocks.new_array(instruction, frame.names)
        text = expression(self.program, i, frame.values, place, frame.names)
        if instruction.op is EACH:
            return text, f"{instruction.options['of'].name} has no batching rule: a call for each"
        return text, instruction.note

    def _updated(self, i: int) -> str:
        """The call that updates rows."""
        frame, instruction = self.frame, self.program.instructions[i]
        arguments = [operand(x, frame.values) for x in instruction.operands]
        arguments += [f"taken={operand(x, frame.values)}" for x in _taken(frame, i)]
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
        and not (ref in plan.home or ref in plan.early or instruction.options.keys() & _CONTROL)
        and not (instruction.op is PART and _is_control(program, instruction))
    }
    if not large:
        return ended
    large |= {x for ref in large for x in program.of(ref).operands if program.of(ref).op is PART}
    live = plan.live
    ends = dict(live.ends)
    for i in frame.updates:
        ends.update(dict.fromkeys(_taken(frame, i), i))
    apart = {Ref("instruction", i) for run in plan.runs for i in range(*run)}
    for ref, end in ends.items():
        if live.owner_of(ref) in large and end < len(instructions) and ref not in apart:
            ended.setdefault(end, []).append(frame.values[ref])
    return ended


def _taken(frame: Frame, i: int) -> list[Ref]:
    """The rows that an update adds to, if they are in an array that nothing needs after it."""
    program = frame.program
    table, _, indices = program.instructions[i].operands[:3]
    ends = frame.plan.live.ends
    for j, instruction in enumerate(program.instructions[:i]):
        if instruction.op is index_select and instruction.operands == (table, indices):
            ref = Ref("instruction", j)
            # another update of these rows would use them too
            return [] if ends[ref] > i or ends[table] > i else [ref]  # type: ignore[index]
    return []


# the names of arrays, and their strides in elements if they are known
Still = dict[Any, tuple[str, "tuple[int, ...] | None"]]


def _still(frame: Frame) -> Still:
    """The arrays that stay in place from run to run.

    They are constants, buffers and rows of such, by the values in them.
    """
    still: Still = {}
    program, plan = frame.program, frame.plan
    if frame.lists:
        names = {Ref("input", i): frame.values[Ref("input", i)] for i in range(len(program.inputs))}
        for ref, name in {**names, **frame.outs}.items():
            if name in frame.lists:
                still[ref] = name, strides_in_order(program.of(ref).shape)
    for i, x in enumerate(program.constants):
        ref = Ref("constant", i)
        if ref in frame.values:
            strides = strides_in_order(x.shape) if x.array.flags.c_contiguous else None
            still[ref] = frame.values[ref], strides
    for ref, home in plan.home.items():
        moves = frame.inside is not None and ref in frame.outs
        # a place in a row that is made for each call
        if ref not in plan.passing and not moves:
            name = frame.outs.get(ref, frame.buffers[home])
            still[ref] = name, _strides_of_home(plan, ref, program.of(ref).shape)
    return still


def _strides_of_home(plan: Plan, ref: Ref, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of the memory that a result is written to."""
    axes = plan.turned.get(ref)
    if axes is None:
        return strides_in_order(shape)
    return ordered(strides_in_order(ordered(shape, axes)), inverse(axes))


def _is_control(program: Code, part: Instruction) -> bool:
    """Whether a part is one of a loop or a branch."""
    of: Any = part.operands[0]
    return not _CONTROL.isdisjoint(program.of(of).options)


_CONTROL = frozenset({"loop", "branch"})


_MAY_BE_STILL = frozenset({getitem, reshape, transpose})


def _is_still(program: Code, instruction: Instruction, still: Still) -> bool:
    """Whether a result is a view of an array that stays in place from run to run."""
    if len(instruction.operands) != 1 or instruction.operands[0] not in still:
        return False
    (of,) = instruction.operands
    op = instruction.op
    if op is getitem:
        # a number is copied, and so is what a mask selects
        return (instruction.shape != () or is_element(instruction)) and not any(
            isinstance(part, bool) for part in instruction.options["index"]
        )
    if op is reshape:
        return still[of][1] == strides_in_order(program.like(of).shape)
    return op is transpose


def _strides(
    program: Code, instruction: Instruction, strides: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """The strides of a view that is made once."""
    if instruction.op is reshape:
        return strides_in_order(instruction.shape)
    if instruction.op is not transpose or strides is None:
        return None
    return ordered(strides, axes_of(instruction))


def _about(instruction: Instruction, note: str) -> str:
    """The comment at the end of a line."""
    shape = _as_text(instruction.shape)
    if instruction.number:
        shape = f"a Python {KINDS[instruction.dtype.kind]}"
    elif isinstance(instruction.op, MultiOutputOp):
        shape = ", ".join(instruction.op.results._fields)
    return f"{shape}: {note}" if note else shape


# shapes are few, and their text takes longer than to look them up
_as_text = lru_cache(1 << 8)(str)
