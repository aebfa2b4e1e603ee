"""The order of instructions in which a program takes less memory."""

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
    """Do the last of what needs a large value before others are made, if its results are smaller.

    Fires on a relu in a wide layer: its slope, and the product with it, come before its cotangent.
    """
    instructions = builder.list_instructions()
    # an op of several results holds them all, wherever a part of them is taken
    if len(instructions) > cost.ORDERED_LENGTH or builder.find_instructions((PART,)):
        return
    if sum([x.nbytes for x in instructions]) >= cost.ORDERED_BYTES:
        order = builder.order
        builder.order = [order[p] for p in _Schedule(builder, instructions).order]


class _Schedule:
    """An order of the instructions of a program, each named by its position.

    As before, except that a value is used up as soon as all is there that its last users need, and
    if their results take less memory than the value: less is held from there on.
    """

    def __init__(self, builder: Builder, instructions: list[Instruction]) -> None:
        refs = [builder.refs[i] for i in builder.order]
        at: dict[Any, int] = dict(zip(refs, range(len(refs)), strict=True))
        owner = find_view_owners(instructions, refs)
        kept = {at.get(owner.get(x, x)) for x in builder.outputs if type(x) is Ref}
        self.size = [0 if x in owner else m.nbytes for x, m in zip(refs, instructions, strict=True)]
        self.needs = [[at[x] for x in m.operands if x in at] for m in instructions]
        # what each needs that is no view: a view takes no memory, and comes with its first user
        self.sources: list[set[int]] = []
        self.users: list[list[int]] = [[] for _ in instructions]
        for p, (x, needs) in enumerate(zip(refs, self.needs, strict=True)):
            known = [self.sources[q] if refs[q] in owner else {q} for q in needs]
            self.sources.append(set().union(*known))
            for q in self.sources[p] if x not in owner else ():
                self.users[q].append(p)
        # what no output needs; all that is smaller together is not worth it
        least = sum(self.size) / cost.ORDERED_SHARE
        self.large = {p for p, size in enumerate(self.size) if size >= least and p not in kept}
        # those that are done, in order; the values say nothing
        self.order: dict[int, None] = {}
        self._changed: set[int] = set()
        for p in range(len(instructions)):
            self._use_up(p)
            self._do(p)

    def _use_up(self, p: int) -> None:
        """Do what uses values up, before this instruction, which comes next."""
        self._changed |= self.large & self.sources[p]
        while self._changed:
            x = self._changed.pop()
            last = [q for q in self.users[x] if q != p and q not in self.order]
            is_less = sum(self.size[q] for q in last) < self.size[x]
            if is_less and all(self.order.keys() >= self.sources[q] for q in last):
                for q in last:
                    self._do(q)

    def _do(self, p: int) -> None:
        """Do an instruction, and before it the views that it needs."""
        if p not in self.order:
            for q in self.needs[p]:
                self._do(q)
            self.order[p] = None
            # what has one user less now, and what has a user that needs this
            changed = self.sources[p].union(*[self.sources[q] for q in self.users[p]])
            self._changed |= self.large & changed
