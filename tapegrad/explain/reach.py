"""Where a gradient can pass: along a tape, and inside what its records hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs
import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.declare.parts import PART
from tapegrad.explain.inside import HOLDERS, held_program, runs
from tapegrad.explain.rules import passes_gradient
from tapegrad.program.control.branch import COND
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.transforms.checkpoint import CHECKPOINT


@attrs.frozen
class Reach:
    """What a gradient can pass through on its way to some records.

    Attributes
    ----------
    records
        Those that it can pass through.
    ends
        The records at which a way ends, with the ops in words.
    """

    records: set[Tensor]
    ends: dict[Tensor, list[str]]


def reach(tape: Tape, sources: Iterable[Tensor]) -> Reach:
    """The records from which a gradient can pass to the sources; values do not matter."""
    found = Reach(set(sources), {})
    results: dict[Tensor, set[int]] = {}
    for record in tape:
        moving = [
            i for i, x in enumerate(record._operands) if type(x) is Tensor and x in found.records
        ]
        if record in found.records or not moving:
            continue
        passing = [i for i in moving if passes_gradient(record, i)]
        if len(passing) < len(moving):
            found.ends[record] = [line(record)]
        if record.op in HOLDERS:
            results[record], ends = through(record, passing)
            inside = f"inside {line(record)}"
            found.ends.setdefault(record, []).extend([f"{end} {inside}" for end in ends])
            passing = passing if results[record] else []
        elif record.op is PART and passing:
            whole = results.get(record._operands[0])
            passing = passing if whole is None or record._options["index"] in whole else []
        if passing:
            found.records.add(record)
    return found


def receiving(tape: Tape, outputs: Iterable[Tensor]) -> set[Tensor]:
    """The records that a gradient can pass to from the outputs; values do not matter."""
    found = set(outputs)
    read: dict[Tensor, set[int]] = {}
    for record in reversed(tape):
        if record not in found:
            continue
        if record.op is PART:
            read.setdefault(record._operands[0], set()).add(record._options["index"])
        for i, x in enumerate(record._operands):
            if type(x) is not Tensor or x in found or not passes_gradient(record, i):
                continue
            if record.op in HOLDERS:
                given, _ = through(record, [i])
                if given.isdisjoint(read.get(record, given)):
                    continue
            found.add(x)
    return found


def line(record: Tensor) -> str:
    """A record in words."""
    at = f" ({record.place.text})" if record.place and record.place.text else ""
    return f"line {record.index}, {record.op.name}{at}"


def through(record: Tensor, moving: Collection[int]) -> tuple[set[int], list[str]]:
    """The results of what a record holds from which a gradient can pass to these operands.

    Also the ops inside at which a way ends, in words.
    """
    if record.op is CHECKPOINT:
        (made,) = runs(record)
        inner = reach(made.tape, [p for p, i in made.sources.items() if i in moving])
        given = {i for i, x in enumerate(made.outputs) if type(x) is Tensor and x in inner.records}
        return given, [end for ends in inner.ends.values() for end in ends]
    held = record._options["branch" if record.op is COND else "loop"]
    if record.op is COND and not record.origin.compiling:
        taken, _, _ = held_program(record)
        return _along(taken, {i - 1 for i in moving})
    return _inside(held, moving)


def _inside(held: Loop | Branch, moving: Collection[int]) -> tuple[set[int], list[str]]:
    if isinstance(held, Branch):
        found = [_along(code, {i - 1 for i in moving}) for code in held.bodies.values()]
        return set().union(*[given for given, _ in found]), [x for _, ends in found for x in ends]
    inputs = set(moving)
    while True:
        given, ends = _along(held.body, inputs)
        carried = {held.n_captured + k for k in given if k < held.n_carry}
        if carried <= inputs:
            return given, ends
        inputs |= carried


def _along(code: Code, inputs: set[int]) -> tuple[set[int], list[str]]:
    """The outputs of a program from which a gradient can pass to these inputs, and the ends."""
    known = {Ref("input", i) for i in inputs}
    results: dict[Ref, set[int]] = {}
    ends = []
    for i, made in enumerate(code.instructions):
        ref, moving = Ref("instruction", i), [j for j, x in enumerate(made.operands) if x in known]
        if not moving:
            continue
        passing = [j for j in moving if _passes(code, made, j)]
        if len(passing) < len(moving):
            ends.append(_op(made))
        held = [x for x in made.options.values() if isinstance(x, Loop | Branch)]
        if held:
            results[ref], inner = _inside(held[0], passing)
            ends += [f"{end} inside {_op(made)}" for end in inner]
            passing = passing if results[ref] else []
        elif made.op is PART and passing:
            whole = results.get(made.operands[0])  # type: ignore[arg-type]
            passing = passing if whole is None or made.options["index"] in whole else []
        if passing:
            known.add(ref)
    return {i for i, x in enumerate(code.outputs) if x in known}, ends


def _op(made: Instruction) -> str:
    at = f" ({made.place.text})" if made.place and made.place.text else ""
    return f"{made.op.name}{at}"


def _passes(code: Code, made: Instruction, j: int) -> bool:
    """Whether an instruction passes a gradient to its operand j."""
    rules = made.op.rules(len(made.operands))
    kinds = made.dtype.kind, np.dtype(code.like(made.operands[j]).dtype).kind
    return j < len(rules) and rules[j] is not None and all(kind in "fc" for kind in kinds)
