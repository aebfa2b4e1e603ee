"""Reorder instructions so that a program takes less memory."""

from __future__ import annotations

from typing import Any

from tapegrad.declare.parts import PART
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.layout import find_view_owners
from tapegrad.program.program import Improvement


@Improvement
def use_up(builder: Builder) -> None:
    """Run the last users of a large value early, if their results are smaller than the value.

    Fires on a relu in a wide layer: its slope and the product with the slope run before its
    cotangent is made.
    """
    instructions = builder.list_instructions()
    # all results of an op stay alive while one part is used
    if len(instructions) > cost.ORDERED_LENGTH or builder.find_instructions((PART,)):
        return
    if sum([x.nbytes for x in instructions]) >= cost.ORDERED_BYTES:
        order = builder.order
        builder.order = [order[p] for p in _Schedule(builder, instructions).order]


class _Schedule:
    """An order of the instructions of a program, each named by its position.

    It is the present order with one change. As soon as all operands of a large value's last users
    exist, these run, if their results take less memory than the value.
    """

    def __init__(self, builder: Builder, instructions: list[Instruction]) -> None:
        refs = [builder.refs[i] for i in builder.order]
        at: dict[Any, int] = dict(zip(refs, range(len(refs)), strict=True))
        owner = find_view_owners(instructions, refs)
        kept = {at.get(owner.get(x, x)) for x in builder.outputs if type(x) is Ref}
        self.size = [0 if x in owner else m.nbytes for x, m in zip(refs, instructions, strict=True)]
        self.needs = [[at[x] for x in m.operands if x in at] for m in instructions]
        # the operands of each, through views, which take no memory and run before their first user
        self.sources: list[set[int]] = []
        self.users: list[list[int]] = [[] for _ in instructions]
        for p, (x, needs) in enumerate(zip(refs, self.needs, strict=True)):
            known = [self.sources[q] if refs[q] in owner else {q} for q in needs]
            self.sources.append(set().union(*known))
            for q in self.sources[p] if x not in owner else ():
                self.users[q].append(p)
        # the values that are no outputs and large enough to matter
        least = sum(self.size) / cost.ORDERED_SHARE
        self.large = {p for p, size in enumerate(self.size) if size >= least and p not in kept}
        # an ordered set of the instructions in the new order
        self.order: dict[int, None] = {}
        self._changed: set[int] = set()
        for p in range(len(instructions)):
            self._run_last_users(p)
            self._append(p)

    def _run_last_users(self, p: int) -> None:
        """Run the last users of values before this instruction, which comes next."""
        self._changed |= self.large & self.sources[p]
        while self._changed:
            x = self._changed.pop()
            last = [q for q in self.users[x] if q != p and q not in self.order]
            is_less = sum(self.size[q] for q in last) < self.size[x]
            if is_less and all(self.order.keys() >= self.sources[q] for q in last):
                for q in last:
                    self._append(q)

    def _append(self, p: int) -> None:
        """Append an instruction, and before it the views that it needs."""
        if p not in self.order:
            for q in self.needs[p]:
                self._append(q)
            self.order[p] = None
            # values with one user less, and values with a user that needs this one
            changed = self.sources[p].union(*[self.sources[q] for q in self.users[p]])
            self._changed |= self.large & changed
