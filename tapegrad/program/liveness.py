"""When the values of a program are in use, found once for all that plan and write by it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs

from tapegrad.core.rules import Rules
from tapegrad.declare import facts
from tapegrad.program.expressions import is_filled
from tapegrad.program.ir import Instruction, Ref


@attrs.frozen
class Liveness:
    """Whose memory each value lies in, and which instructions read it.

    Instructions are named by their positions.

    Attributes
    ----------
    owner
        For each value that may be a view, the value whose memory it shares.
    reads
        The instructions that read a value itself, in order; twice if it is an operand twice.
    ends
        The last instruction that reads a value or a view of it, its own if none does; for results,
        one after all.
    """

    owner: Mapping[Ref, Ref]
    reads: Mapping[Ref, Sequence[int]]
    ends: Mapping[Ref, int]

    def owner_of(self, x: Ref) -> Ref:
        """The value whose memory a value lies in: itself, unless it is a view."""
        return self.owner.get(x, x)


def liveness(
    instructions: Sequence[Instruction], refs: Sequence[Ref], results: Collection[Ref]
) -> Liveness:
    """The liveness of the values of a program, of which these name the instructions' results."""
    views = views_among(instructions)
    owner: dict[Ref, Ref] = {}
    base: dict[Ref, Ref] = {}
    reads: dict[Ref, list[int]] = {}
    for i, instruction in enumerate(instructions):
        operands = instruction.operands
        for x in operands:
            if type(x) is Ref:
                reads.setdefault(x, []).append(i)
        if instruction.op in views and type(operands[0]) is Ref and not is_filled(instruction):
            base[refs[i]] = operands[0]
            owner[refs[i]] = owner.get(operands[0], operands[0])
    # from the last to the first, so what is here already is later
    ends = dict.fromkeys(results, len(instructions))
    for i in range(len(instructions) - 1, -1, -1):
        end = ends.setdefault(refs[i], i)
        for x in instructions[i].operands:
            if type(x) is Ref:
                ends.setdefault(x, i)
        if refs[i] in base:
            ends[base[refs[i]]] = max(ends[base[refs[i]]], end)
    return Liveness(owner, reads, ends)


def views_among(instructions: Sequence[Instruction]) -> frozenset[Rules]:
    """The ops whose result may be a view of the first operand; each is asked once."""
    return frozenset(op for op in {x.op for x in instructions} if facts(op).view)
