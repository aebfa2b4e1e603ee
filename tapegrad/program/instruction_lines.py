"""Write the lines of a program's instructions: one for each, with its buffer and a comment.

Start with `write_instructions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from operator import call, itemgetter
from typing import Any

from tapegrad.declare.parts import PART
from tapegrad.errors.lines import Place
from tapegrad.errors.source import statement_at
from tapegrad.ops.casting import astype, copy
from tapegrad.ops.indexing import HOLE, getitem
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.shape import broadcast_to, reshape, transpose
from tapegrad.ops.updates import add_scaled_rows, index_add
from tapegrad.program import cost
from tapegrad.program.blocks import write_blocks
from tapegrad.program.control.loop import bodies_in
from tapegrad.program.control.writing import write_control
from tapegrad.program.expressions import index_text, is_assigned
from tapegrad.program.frame import Frame
from tapegrad.program.ir import STAGES, Code, Instruction, Ref
from tapegrad.program.layout import transpose_axes
from tapegrad.program.lines import Line
from tapegrad.program.reuse import RowUpdates
from tapegrad.transforms.replay import EACH


def write_instructions(frame: Frame) -> None:
    """Write the lines of a program's instructions, with comments where a stage begins.

    A comment in the backward stage quotes the forward line whose gradient follows.
    """
    instructions, runs, ended = frame.program.instructions, frame.plan.runs, _find_dropped(frame)
    # an instruction that a pass moved up begins no stage
    stages = list(STAGES) if any(x.stage != STAGES[0] for x in instructions) else []
    headed: Place | None = None
    whole = ""
    for i, instruction in enumerate(instructions):
        stage, place, n = instruction.stage, instruction.place, len(frame.lines)
        if len(runs[i]) == 1:
            _write_instruction(frame, i)
        elif i == runs[i].start:
            write_blocks(frame, runs[i])
        # an instruction that is written elsewhere has no line here
        if len(frame.lines) > n:
            heads = []
            if stage in stages:
                del stages[: stages.index(stage) + 1]
                heads.append(stage)
            is_backward = STAGES[1] in (stage, frame.stage)
            if is_backward and place and place.number and place != headed:
                headed, text = place, ""
                # the whole statement, for a reader alone, since finding it takes long; a later
                # line of the same statement stands alone
                if frame.names.literal:
                    before, whole = whole, statement_at(place)
                    text = (place.text if whole == before else whole) or str(place)
                heads.append(f"gradient of: {text if text.isprintable() else repr(text)}")
            frame.lines[n:n] = [Line("", "", head) for head in heads]
        if i in ended:
            frame.write("", f"del {', '.join(ended[i])}")


def _write_instruction(frame: Frame, i: int) -> None:
    """Write the lines of an instruction."""
    instruction = frame.program.instructions[i]
    options, special = instruction.options, _SPECIAL.get(instruction.op)
    if special is None and options and bodies_in(options):
        write_control(frame, i, write_instructions)
    elif special is None or not special(frame, i, instruction):
        note = instruction.note
        if instruction.op is EACH:
            note = f"{options['of'].name} has no batching rule: a call for each"
        frame.write(frame.values[frame.plan.refs[i]], frame.expression(i), note, instruction)


# --- special instructions --------------------------------------------------------------------


def _is_part_of_control(frame: Frame, i: int, instruction: Instruction) -> bool:
    """Whether a value is a result of a loop or a branch."""
    if instruction.op is not PART:
        return False
    whole: Any = instruction.operands[0]
    return bool(bodies_in(frame.program.definition(whole).options))


def _write_row_update(frame: Frame, i: int, instruction: Instruction) -> bool:
    """Write an update of a few rows of a large table that is returned, see `RowUpdates`."""
    ref, names = frame.plan.refs[i], frame.names
    if ref not in frame.plan.returned or not _is_row_update(frame.program, instruction):
        return False
    update = names.new(f"rows_{i}")
    function = names.name_of(RowUpdates, "RowUpdates")
    frame.names.setup.lines.append(Line(update, f"{function}()", base=function, take=call))
    frame.updates.add(ref)
    arguments = [frame.operand(x) for x in instruction.operands]
    arguments += [f"{name}=True" for name, x in instruction.options.items() if x is True]
    text = f"{update}({', '.join(arguments)})"
    frame.write(frame.values[ref], text, instruction.note, instruction)
    return True


def _is_row_update(program: Code, instruction: Instruction) -> bool:
    if instruction.op is index_add and instruction.options["index"] != (HOLE,):
        return False
    table, values, indices = instruction.operands[:3]
    like, places = program.spec(values), program.spec(indices)
    size = math.prod(instruction.shape)
    return (
        type(table) is Ref
        and table.kind == "input"
        and math.prod(like.shape) * cost.TABLE_PER_ROWS <= size >= cost.BLOCKED_ELEMENTS
        # a mask selects rows too, and values may broadcast
        and places.dtype.kind in "iu"
        and like.shape == places.shape + instruction.shape[1:]
        and like.dtype == instruction.dtype
    )


def _write_view(frame: Frame, i: int, instruction: Instruction) -> bool:
    """Write a view of memory that stays in place as a line of setup."""
    base: Any = instruction.operands[0]
    op, options = instruction.op, instruction.options
    ref, place = frame.plan.refs[i], frame.places.get(base)
    take: Callable[[Any], Any] = partial(op.forward, **options)
    if place is None or len(instruction.operands) > 1:
        return False
    if op is getitem:
        index, in_order = options["index"], False
        # faster than getitem, and may be called for each of many rows
        take = itemgetter(index)
        # the result is a copy if it is a number, or if a mask selects it
        is_view = (instruction.shape != () or Ellipsis in index) and bool not in map(type, index)
    elif op is reshape:
        is_view = in_order = place not in frame.strided
    else:
        is_view, in_order = True, frame.plan.axis_orders.get(base) == transpose_axes(instruction)
    if is_view:
        name = frame.places[ref] = frame.values[ref]
        text = frame.expression(i, values={base: frame.row_name(place)})
        note = f"a view of {frame.values[base]}"
        frame.make_view(Line(name, text, note, instruction, place, take))
        if not in_order:
            frame.strided.add(name)
    return is_view


def _write_assigned(frame: Frame, i: int, instruction: Instruction) -> bool:
    """Write a result that assignments fill, as a whole or part by part."""
    ref, is_whole = frame.plan.refs[i], is_assigned(instruction)
    place, parts = frame.out(ref), frame.plan.assembled.get(ref, ())
    if not place or not (is_whole or parts):
        return False
    name, stays = frame.values[ref], ref in frame.places
    note, result = ("", None) if is_whole else ("its parts are written there", instruction)
    # memory that stays in place is named in the setup
    once = stays and place not in frame.lists
    (frame.names.setup.lines if once else frame.lines).append(
        Line(name, place, note, result, place)
    )
    if is_whole:
        value = frame.operand(instruction.operands[0])
        frame.write(f"{name}[...]", value, instruction.note, instruction)
    for part in parts:
        if not part.direct:
            target = f"{name}[{index_text(part.index)}]"
            if stays:
                target = f"{frame.part_view(place, part.index, f'{place}_{part.start}')}[...]"
            frame.write(target, frame.operand(part.value))
    return True


# writers for special instructions; one that returns False leaves the instruction to the usual way
_SPECIAL: Mapping[Any, Callable[[Frame, int, Instruction], bool]] = {
    # the results of a loop or a branch are written with it
    PART: _is_part_of_control,
    **dict.fromkeys([index_add, add_scaled_rows], _write_row_update),
    **dict.fromkeys([getitem, reshape, transpose], _write_view),
    **dict.fromkeys([copy, broadcast_to, astype, concatenate, stack], _write_assigned),
}


# --- facts ----------------------------------------------------------------------------------


def _find_dropped(frame: Frame) -> dict[int, list[str]]:
    """Return the names to delete after an instruction: large arrays without a buffer.

    Without the deletion, their memory would be in use until the program returns. A view keeps its
    base in use, and a tuple its elements, so all their names are deleted together.
    """
    program, plan, instructions = frame.program, frame.plan, frame.program.instructions
    owner, ended = plan.owner_of, dict[int, list[str]]()
    holding = {
        ref
        for ref, instruction in zip(plan.refs, instructions, strict=True)
        if not (ref in plan.buffer_of or ref in owner or frame.out(ref))
        and instruction.nbytes >= cost.DROPPED_BYTES
        and not bodies_in(instruction.options)
        and not _is_part_of_control(frame, ref.index, instruction)
    }
    parts = [x for x in map(program.definition, holding) if x.op is PART]
    holding |= {x for part in parts for x in part.operands}
    for ref in plan.refs if holding else ():
        of = owner.get(ref, ref)
        end = plan.last_use[of]
        if of in holding and end < len(instructions) and len(plan.runs[ref.index]) == 1:
            ended.setdefault(plan.runs[end][-1], []).append(frame.values[ref])
    return ended
