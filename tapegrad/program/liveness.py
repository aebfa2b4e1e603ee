"""When the values of a program are in use, found once for all that plan and write by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tapegrad.program.expressions import is_filled
from tapegrad.program.ir import Instruction, Ref


def liveness(
    instructions: Sequence[Instruction], refs: Sequence[Ref], results: Iterable[Ref]
) -> tuple[dict[Ref, Ref], dict[Ref, int]]:
    """Whose memory each value of a program lies in, and until when it is needed.

    First, for each value that may be a view, the value whose memory it shares. Then the position
    of the last instruction that reads a value or a view of it, its own if none does; for results,
    one after all.
    """
    owner: dict[Ref, Ref] = {}
    base: dict[Ref, Ref] = {}
    ends = dict(zip(refs, range(len(refs)), strict=True))
    for i, instruction in enumerate(instructions):
        operands = instruction.operands
        for x in operands:
            if type(x) is Ref:
                ends[x] = i
        if instruction.is_view and type(operands[0]) is Ref and not is_filled(instruction):
            base[refs[i]] = operands[0]
            owner[refs[i]] = owner.get(operands[0], operands[0])
    ends.update(dict.fromkeys(results, len(instructions)))
    # a view of a view comes after it
    for x, of in reversed(base.items()):
        ends[of] = max(ends[of], ends[x])
    return owner, ends
