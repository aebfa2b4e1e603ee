"""Equal instructions are shared, and unneeded ones dropped; what is kept serves twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapegrad.face.text import as_text
from tapegrad.ops.logic import greater, less
from tapegrad.ops.order import maximum, minimum
from tapegrad.program.builder import Builder, Visit
from tapegrad.program.ir import Instruction, Operand, Ref
from tapegrad.program.program import improvement


@improvement(complex=True)
def drop_dead(builder: Builder) -> None:
    """Drop what no output depends on. Inputs stay: they are the program's signature.

    Fires on what passes have replaced, and on unused by-products.
    """
    if builder.is_needed:
        return
    instructions = builder.instructions
    needed, constants = bytearray(len(instructions)), bytearray(len(builder.constants))
    column = {"instruction": needed, "constant": constants, "input": bytearray(len(builder.inputs))}
    for x in builder.outputs:
        if type(x) is Ref:
            column[x.kind][x.index] = True
    kept = []
    for i in reversed(builder.order):
        if needed[i]:
            kept.append(i)
            for x in instructions[i].operands:
                if type(x) is Ref:
                    kind, index = x
                    if kind == "instruction":
                        needed[index] = True
                    else:
                        column[kind][index] = True
    builder.keep(kept[::-1])
    if not all(constants):
        builder.keep_constants([i for i, is_needed in enumerate(constants) if is_needed])
    builder.is_needed = True


@improvement(complex=True)
def share_common(builder: Builder) -> None:
    """Equal instructions are merged into the first of them.

    Fires where a rule recomputes what the function computed.
    """
    if builder.is_shared:
        return
    compared, instructions = builder.compared, builder.instructions
    # most are as they were after the last pass
    compared += [(None, -1)] * (len(instructions) - len(compared))
    numbers = set()
    for i in builder.order:
        known, number = compared[i]
        instruction = instructions[i]
        if known is not instruction:
            number = _number(builder, instruction)
            compared[i] = instruction, number
        numbers.add(number)
    if len(numbers) < len(builder.order):
        builder.rewrite(_sharing(builder))
    builder.is_shared = True


def _number(builder: Builder, instruction: Instruction) -> int:
    """The number of an instruction's content: the same for instructions that may be merged."""
    operands: tuple[Any, ...] = instruction.operands
    for x in operands:
        if type(x) is not Ref:
            operands = _exact(operands)
            break
    # as `content` of most, of which there are many
    key = content(instruction, operands) if instruction.options else (instruction.op, operands)
    contents = builder.contents
    found = contents.get(key)
    if found is None:
        # the first is kept, so that no other object takes the identity of one of its options
        found = contents[key] = len(contents), instruction
    return found[0]


def _sharing(builder: Builder) -> Visit:
    """What puts the first of equal instructions in the place of the others."""
    compared, refs = builder.compared, builder.refs
    known: dict[int, int] = {}

    def visit(builder: Builder, instruction: Instruction) -> Ref | None:
        at = builder.at
        if compared[at][0] is not instruction:  # its operands were merged
            compared[at] = instruction, _number(builder, instruction)
        first = known.setdefault(compared[at][1], at)
        return None if first == at else refs[first]

    return visit


def content(instruction: Instruction, operands: tuple[Any, ...]) -> Any:
    """A key that is equal for two instructions that compute the same from the same operands."""
    options = instruction.options
    if not options:
        return instruction.op, operands
    return instruction.op, operands, *[(name, _option(options[name])) for name in sorted(options)]


def _exact(operands: tuple[Operand, ...]) -> tuple[Any, ...]:
    # 0.0 == -0.0 and 1 == 1.0 == True, but they are not the same operand
    return tuple([x if type(x) is Ref else (type(x), as_text(x)) for x in operands])


def _option(option: Any) -> Any:
    if isinstance(option, np.ndarray):
        return option.dtype.str, option.shape, option.tobytes()
    if type(option) is tuple:
        return tuple(map(_option, option))
    # for anything else, equal text does not mean equal values
    return type(option), repr(option) if type(option) in _TOLD_BY_TEXT else id(option)


# a bound, and the comparison that says where it leaves an operand as it is
_BOUNDS = {maximum: greater, minimum: less}


@improvement
def compare_bounded(builder: Builder) -> None:
    """``x > c -> maximum(x, c) > c``, where x is needed for nothing else.

    Fires on relu: its slope is read from its result, which is kept in any case.
    """
    if not builder.has(_BOUNDS) or not builder.has(_BOUNDS.values()):
        return
    bounded: dict[Any, Ref] = {}
    for i, made in builder.in_order():
        if made.op in _BOUNDS:
            for x, c in (made.operands, made.operands[::-1]):
                if builder.source(x) is not None and builder.dtype(x) == made.dtype:
                    bounded.setdefault((_BOUNDS[made.op], x, c), builder.refs[i])
    users = builder.users()
    ops = {*_BOUNDS, *_BOUNDS.values()}

    def visit(builder: Builder, made: Instruction) -> Any:
        x: Any
        x, c = made.operands
        ref = bounded.get((made.op, x, c))
        if ref is None or builder.absent[ref.index]:
            return None
        others = [i for i in users[x] if i < 0 or builder.instructions[i].op not in ops]
        return None if others else builder.emit(made.op, ref, c)

    builder.rewrite(visit, _BOUNDS.values())


_TOLD_BY_TEXT = (bool, int, float, str, bytes, slice, type(None), np.dtype)
