"""Extract a part of a program or of a loop, such as its invariant work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.program.control.loop import Loop
from tapegrad.program.dataflow import dependencies, dependents
from tapegrad.program.ir import (
    Code,
    Constant,
    Input,
    Instruction,
    Ref,
    input_for,
    input_refs,
    instruction_refs,
    placeholder,
)
from tapegrad.types import Array


def extract_code(code: Any, order: Sequence[Ref], outputs: Sequence[Any]) -> Any:
    """Extract the part of a program that computes some values from others.

    Parameters
    ----------
    code
        The program.
    order
        The values that become inputs: inputs and results of instructions.
    outputs
        The values that are returned.
    """
    moved: dict[Any, Any] = dict(zip(order, input_refs(range(len(order))), strict=True))
    read, refs = dependencies(code, outputs, moved), instruction_refs(code.instructions)
    instructions: list[Instruction] = []
    for ref, instruction in zip(refs, code.instructions, strict=True):
        if ref in read and ref not in moved:
            moved[ref] = refs[len(instructions)]
            instructions.append(instruction.substitute(moved))
    returned = tuple([moved.get(x, x) for x in outputs])
    inputs = tuple([input_for_value(code.definition(x)) for x in order])
    parts = inputs, code.constants, tuple(instructions), returned
    return type(code)(code.label, *parts, code.structure)


def extract_loop(
    loop: Loop,
    captured: Sequence[Ref],
    carry: Sequence[Ref],
    rows: Sequence[Ref],
    outputs: Sequence[Any],
) -> Loop:
    """Extract the loop whose steps take these values of a loop's body, and return `outputs`."""
    body = extract_code(loop.body, [*captured, *carry, *rows], outputs)
    stop = loop.stop
    if stop is not None:
        # `stop` never reads results of the body; its inputs are the body's first inputs
        taken = [x if x.kind == "input" else Ref("input", -1) for x in (*captured, *carry)]
        stop = attrs.evolve(
            extract_code(stop, taken, stop.outputs), inputs=body.inputs[: len(taken)]
        )
    sizes = len(carry), len(rows), len(outputs) - len(carry)
    return Loop(body, stop, *sizes, loop.length, loop.reverse, loop.remember)


def split_invariant(loop: Loop) -> tuple[Code, Loop] | None:
    """Split a loop into a program of the invariant work, and the loop that is left.

    The program takes the captured values, and the loop captures its results. None if no work is
    invariant, or if all of it might fail or warn in a loop without steps.
    """
    body, (captured, carry, rows) = loop.body, loop.inputs
    refs, is_certain = instruction_refs(body.instructions), loop.stop is None and loop.length != 0
    unsafe = [x for x in refs if not (is_certain or body.definition(x).is_view)]
    varies = dependents(body, [*carry, *rows, *unsafe])
    early = [x for x in refs if x not in varies]
    if not early:
        return None
    read = dependencies(body, body.outputs, early)
    if loop.stop is not None:
        read |= dependencies(loop.stop, loop.stop.outputs)
    outputs = [x for x in (*captured, *early) if x in read]
    left = extract_loop(loop, outputs, carry, rows, body.outputs)
    return extract_code(body, captured, outputs), left


def input_for_value(value: Any) -> Input:
    """Return the input that describes a value: an input, a constant or a result."""
    if isinstance(value, Input):
        return value
    return input_for(placeholder(value), "value" if type(value) is Constant else value.op.name)


def is_floating_value(code: Code, x: Any) -> bool:
    """Whether a value of a program is floating."""
    return bool(np.dtype(code.spec(x).dtype).kind in "fc")


def zeros_for(code: Code, x: Any) -> Array:
    """Return zeros of the shape and dtype of a value."""
    return np.zeros(*code.spec(x))
