"""The order of instructions in which a program takes the least memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from tapegrad.declare import is_elementwise
from tapegrad.declare.parts import PART
from tapegrad.ops.logic import keep
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.expressions import takes_out, template_of
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.liveness import liveness, views_among
from tapegrad.program.memory import TOTALS, block_shape
from tapegrad.program.program import improvement

Order = Sequence[int]


@improvement(complex=True)
def use_up(builder: Builder) -> None:
    """Do the last of what needs a large value before others are made, where that takes less memory.

    Fires on a relu in a wide layer: its slope, and the product with it, come before its cotangent.
    """
    instructions = builder.in_order()
    # an op of several results holds them all, wherever a part of them is taken
    if len(instructions) > cost.ORDERED_LENGTH or builder.of_ops((PART,)):
        return
    views = views_among(instructions)
    if sum(x.nbytes for x in instructions if x.op not in views) < cost.ORDERED_BYTES:
        return
    values = _Values(builder, instructions)
    order: Order = range(len(instructions))
    for _ in range(cost.ORDER_MOVES):
        better = values.better(order)
        if better is None:
            break
        order = better
    if type(order) is list:
        builder.order = [builder.order[p] for p in order]


class _Values:
    """The values that the instructions of a program make and need, each named by its position.

    As near to the memory plan as it takes to choose an order.
    """

    def __init__(self, builder: Builder, instructions: list[Instruction]) -> None:
        refs = [builder.refs[i] for i in builder.order]
        at = dict(zip(refs, range(len(refs)), strict=True))
        results = [x for x in builder.outputs if type(x) is Ref]
        live = liveness(instructions, refs, results)
        self.needs = [
            [at[x] for x in m.operands if type(x) is Ref and x[0] == "instruction"]
            for m in instructions
        ]
        ops = {m.op for m in instructions}
        over_it = {op for op in ops if is_elementwise(op) or op is keep}
        self.is_view = [x in live.owner for x in refs]
        sizes = [
            0 if x in live.owner else m.nbytes for x, m in zip(refs, instructions, strict=True)
        ]
        # whose memory each shares, what needs it or a view of it, and which are returned
        self.owner = owner = [at.get(live.owner_of(x), p) for p, x in enumerate(refs)]
        self.users: list[list[int]] = [[] for _ in instructions]
        for p, needs in enumerate(self.needs):
            for q in needs:
                self.users[owner[q]].append(p)
        self.kept = {owner[at[x]] for x in results if x in at}
        # which are done block by block with the next one; of what only these need, one block is
        blocks = [
            block_shape(m, builder.shape)
            if size >= cost.BLOCKED_ELEMENTS or m.op in TOTALS
            else None
            for m, size in zip(instructions, sizes, strict=True)
        ]
        self.goes_on = [*[x is not None and x == y for x, y in pairwise(blocks)], False]
        runs = list(accumulate([not x for x in self.goes_on], initial=0))
        self.size = [
            0 if self.goes_on[p] and {runs[q] for q in self.users[p]} == {runs[p]} else size
            for p, size in enumerate(sizes)
        ]
        # what each may be written over, and which lie in new arrays, as what returned ones are over
        self.under: list[int | None] = [None] * len(instructions)
        over: list[int] = []
        for p, m in enumerate(instructions):
            over = over if p and self.goes_on[p - 1] else []
            if m.op in over_it:
                over += [q for q in map(owner.__getitem__, self.needs[p]) if self.size[q]]
            if self.size[p] and (same := [q for q in over if sizes[q] == sizes[p]]):
                self.under[p] = same[-1]
                over.remove(same[-1])
        self.is_new = [
            p in self.kept or not takes_out(m, template_of(builder.of, m))
            for p, m in enumerate(instructions)
        ]
        for p, under in reversed(list(enumerate(self.under))):
            if under is not None and self.is_new[p]:
                self.is_new[under] = True

    def held(self, order: Order) -> tuple[list[int], list[int], list[list[int]]]:
        """Where each stands, the last place that needs it, and what is held in buffers and anew."""
        n = len(order)
        place = sorted(range(n), key=order.__getitem__)
        ends = place[:]
        for t, p in enumerate(order):  # the last to need a value stays
            for x in self.needs[p]:
                ends[self.owner[x]] = t
        for p in self.kept:
            ends[p] = n
        changes = [0] * (n + 2), [0] * (n + 2)
        for p, size in enumerate(self.size):
            change, q = changes[self.is_new[p]], self.under[p]
            change[place[p] + (q is not None and ends[q] == place[p])] += size
            change[ends[p] + 1] -= size
        return place, ends, [list(accumulate(change[:n])) for change in changes]

    def better(self, order: Order) -> list[int] | None:
        """An order that takes less memory, if one is found."""
        place, ends, both = self.held(order)
        most = sum(map(max, both))
        for held in sorted(both, key=max, reverse=True):
            for moved, start in self._moves(order, place, ends, held):
                # before and after, as much is held as was
                stop = max(map(place.__getitem__, moved)) + 1
                if max([0, *held[:start], *held[stop:]]) == max(held):
                    continue
                rest = [p for p in order[start:] if p not in moved]
                moved_order = [*order[:start], *sorted(moved, key=place.__getitem__), *rest]
                if sum(map(max, self.held(moved_order)[2])) < most - most // cost.ORDER_PART:
                    return moved_order
        return None

    def _moves(
        self, order: Order, place: list[int], ends: list[int], held: list[int]
    ) -> Iterator[tuple[set[int], int]]:
        """The instructions that use up a value held at the peak, and how early they can be done."""
        peak = held.index(max(held))
        alive = [p for p in order[:peak] if self.size[p] and ends[p] >= peak]
        largest = sorted(alive, key=self.size.__getitem__, reverse=True)
        for x in largest[: cost.ORDER_TRIED]:
            moved, needed, left = set[int](), {x}, self.size[x]
            for p in sorted({*self.users[x]}, key=place.__getitem__, reverse=True):
                left -= self.size[p] if self.is_new[p] is self.is_new[x] else 0
                if left <= 0:
                    break
                moved.add(p)
                # views take no memory, so they come along
                rest = [p]
                while rest:
                    for q in self.needs[rest.pop()]:
                        (moved if self.is_view[q] else needed).add(q)
                        rest += [q] * self.is_view[q]
                start = max(place[q] for q in needed - moved) + 1
                if start < place[p]:
                    yield {q for q in moved if place[q] >= start}, start
