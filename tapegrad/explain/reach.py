"""Find the paths of gradients along a tape, and inside its loops, branches and calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import reduce
from operator import or_

import attrs
import numpy as np

from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.declare.parts import PART
from tapegrad.errors.lines import Place
from tapegrad.explain.inside import HOLDERS, held_program, runs
from tapegrad.explain.rules import passing_positions
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.ops import COND
from tapegrad.program.ir import Code, Instruction, Ref
from tapegrad.transforms.checkpoint import CHECKPOINT


@attrs.frozen
class GradientPaths:
    """The paths of gradients back to several sources, each of one or more records.

    A set of sources is an int with a bit for each, so that one pass follows all of them.

    Attributes
    ----------
    sources
        The sources to which a gradient can pass from each record, whatever its value.
    ends
        The sources whose paths end at each record, with the titles of the ops.
    lost
        The sources that a loop's, a branch's or a call's operands lead to and its result does not.
    """

    sources: dict[Tensor, int]
    ends: dict[Tensor, list[tuple[int, list[str]]]]
    lost: dict[Tensor, int]


def find_paths(tape: Tape, sources: Iterable[Iterable[Tensor]]) -> GradientPaths:
    """Find the paths along a tape to each of these sources."""
    reached = GradientPaths({}, {}, {})
    for i, records in enumerate(sources):
        for x in records:
            reached.sources[x] = reached.sources.get(x, 0) | 1 << i
    results: dict[Tensor, list[tuple[int, set[int]]]] = {}
    for record in tape:
        own_bits = reached.sources.get(record, 0)
        operand_bits = [
            (i, reached.sources[x] & ~own_bits)
            for i, x in enumerate(record._operands)
            if type(x) is Tensor and x in reached.sources
        ]
        if not any(bits for _, bits in operand_bits):
            continue
        passed = passing_positions(record)
        ended_bits = union_sources(bits for i, bits in operand_bits if i not in passed)
        ends = [(ended_bits, [line_title(record)])] if ended_bits else []
        operand_bits = [(i, bits) for i, bits in operand_bits if i in passed]
        kept = possible = union_sources(bits for _, bits in operand_bits)
        if record.op in HOLDERS:
            results[record] = []
            kept = 0
            for bits, positions in _group_by_positions(operand_bits):
                parts, inner = trace_record(record, positions)
                results[record].append((bits, parts))
                kept |= bits if parts else 0
                ends.append((bits, [f"{end} inside {line_title(record)}" for end in inner]))
        elif record.op is PART and record._operands[0] in results:
            index = record._options["index"]
            kept &= union_sources(
                bits for bits, parts in results[record._operands[0]] if index in parts
            )
        if possible & ~kept:
            reached.lost[record] = possible & ~kept
        if kept:
            reached.sources[record] = own_bits | kept
        if ends:
            reached.ends[record] = ends
    return reached


def union_sources(sources: Iterable[int]) -> int:
    """Return the union of sets of sources."""
    return reduce(or_, sources, 0)


def operand_sources(sources: Mapping[Tensor, int], record: Tensor) -> int:
    """Return the sources that the operands of a record lead to."""
    return union_sources(sources.get(x, 0) for x in record._operands if type(x) is Tensor)


def _group_by_positions(operand_bits: Collection[tuple[int, int]]) -> list[tuple[int, list[int]]]:
    """Divide sources into groups with the same operand positions."""
    groups: list[tuple[int, list[int]]] = (
        [(union_sources(bits for _, bits in operand_bits), [])] if operand_bits else []
    )
    for i, bits in operand_bits:
        included = [(known & bits, [*positions, i]) for known, positions in groups]
        excluded = [(known & ~bits, positions) for known, positions in groups]
        groups = [group for group in (*included, *excluded) if group[0]]
    return groups


def source_numbers(sources: int) -> Iterator[int]:
    """Yield the numbers of the sources in a set."""
    while sources:
        least = sources & -sources
        yield least.bit_length() - 1
        sources ^= least


def with_source_line(name: str, place: Place | None) -> str:
    """Return a name with its line of source, if there is one."""
    return f"{name} ({place.text})" if place and place.text else name


def line_title(record: Tensor) -> str:
    """Return a title of a record: its line, op and source."""
    return f"line {record.index}, {with_source_line(record.op.name, record.place)}"


def trace_record(record: Tensor, moving: Collection[int]) -> tuple[set[int], list[str]]:
    """Return the results of a record from which a gradient can pass to these operands.

    The second result has the titles of the ops inside at which a path ends.
    """
    if record.op is CHECKPOINT:
        (run,) = runs(record)
        inner = find_paths(run.tape, [[p for p, i in run.sources.items() if i in moving]])
        reached = {i for i, x in enumerate(run.outputs) if type(x) is Tensor and x in inner.sources}
        return reached, [op for ends in inner.ends.values() for _, ops in ends for op in ops]
    held = record._options["branch" if record.op is COND else "loop"]
    if record.op is COND and not record.origin.compiling:
        taken, _, _ = held_program(record)
        return _trace_code(taken, {i - 1 for i in moving})
    return _trace_body(held, moving)


def _trace_body(held: Loop | Branch, moving: Collection[int]) -> tuple[set[int], list[str]]:
    if isinstance(held, Branch):
        sides = [_trace_code(code, {i - 1 for i in moving}) for code in held.bodies.values()]
        return set().union(*[x for x, _ in sides]), [end for _, ends in sides for end in ends]
    inputs = set(moving)
    while True:
        reached, ends = _trace_code(held.body, inputs)
        carried = {held.n_captured + k for k in reached if k < held.n_carry}
        if carried <= inputs:
            return reached, ends
        inputs |= carried


def _trace_code(code: Code, inputs: set[int]) -> tuple[set[int], list[str]]:
    """Return the outputs of a program that can pass a gradient to these inputs, and the ends."""
    known = {Ref("input", i) for i in inputs}
    results: dict[Ref, set[int]] = {}
    ends = []
    for i, x in enumerate(code.instructions):
        ref, positions = Ref("instruction", i), [j for j, y in enumerate(x.operands) if y in known]
        passing = [j for j in positions if _has_gradient(code, x, j)]
        if len(passing) < len(positions):
            ends.append(with_source_line(x.op.name, x.place))
        held = [y for y in x.options.values() if isinstance(y, Loop | Branch)]
        if held and passing:
            results[ref], inner = _trace_body(held[0], passing)
            ends += [f"{end} inside {with_source_line(x.op.name, x.place)}" for end in inner]
            passing = passing if results[ref] else []
        elif x.op is PART and passing:
            whole = results.get(x.operands[0])  # type: ignore[arg-type]
            passing = passing if whole is None or x.options["index"] in whole else []
        if passing:
            known.add(ref)
    return {i for i, x in enumerate(code.outputs) if x in known}, ends


def _has_gradient(code: Code, x: Instruction, j: int) -> bool:
    """Return whether an instruction passes a gradient to its operand j."""
    rules = x.op.vjps_for(len(x.operands))
    kinds = x.dtype.kind, np.dtype(code.spec(x.operands[j]).dtype).kind
    return j < len(rules) and rules[j] is not None and all(kind in "fc" for kind in kinds)
