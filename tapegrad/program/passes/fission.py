"""Loop fission: compute work outside of the recurrence for all steps at once.

Start with `split_loops`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tapegrad.declare.abstract import call_for_shape
from tapegrad.declare.batching import OneByOneError, batch_elementwise, repeat_for_batch
from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.arithmetic import add, negative
from tapegrad.ops.product import matmul
from tapegrad.ops.reduction import sum as sum_
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.control.extraction import extract_code, extract_loop
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import LOOPS
from tapegrad.program.control.transforms import batch_code
from tapegrad.program.dataflow import dependencies, dependents
from tapegrad.program.ir import Instruction, Ref, instruction_refs, placeholder
from tapegrad.program.passes.algebra import splat
from tapegrad.program.passes.stack import find_sums
from tapegrad.program.program import Improvement


class Sides:
    """The parts of a loop's body that run before the loop, in it, and after it."""

    def __init__(self, loop: Loop) -> None:
        self.body = body = loop.body
        self.length: int = loop.length or 0
        self.instructions = [
            *zip(instruction_refs(body.instructions), body.instructions, strict=True)
        ]
        self.uses = Counter([x for y in body.instructions for x in y.operands])
        _, self.carry, rows = loop.inputs
        self.varies = dependents(body, [*self.carry, *rows])
        # for each carry that only accumulates, the terms that a step adds; and the terms that are
        # products, which need not be computed in each step
        self.sums: dict[int, list[Ref]] = {}
        self.products: set[Ref] = set()
        reads = Counter([*self.uses.elements(), *body.outputs])
        totals = find_sums({x: y for x, y in self.instructions if y.op is add}, reads)
        for k, x in enumerate(self.carry):
            if reads[x] == reads[body.outputs[k]] == 1:
                self._find_sum(k, x, totals.get(body.outputs[k], []))
        carry = [body.outputs[k] for k in range(loop.n_carry) if k not in self.sums]
        self.after = self._find_late(dependencies(body, carry))
        self.before = self._find_early(rows)

    def _find_sum(self, k: int, carried: Ref, terms: list[Any]) -> None:
        """Note a carry as a sum if a step only adds to it, and one sum of all steps is faster."""
        like = self.body.spec(self.body.outputs[k])
        alike = all(type(x) is Ref and self.body.spec(x) == like for x in terms)
        if alike and carried in terms and np.dtype(like.dtype).kind in "fc":
            terms = [x for x in reversed(terms) if x != carried]
            products = {x for x in terms if self._is_product(x) and self.uses[x] == terms.count(x)}
            # other terms are stored for all steps
            is_small = math.prod(like.shape) <= cost.SPLIT_TERM and self.varies.issuperset(terms)
            if is_small or products.issuperset(terms):
                self.sums[k] = terms
                self.products |= products

    def _is_product(self, x: Ref) -> bool:
        """Whether a value is a product of varying matrices, see `contract_sums`."""
        product = self.body.definition(x)
        if x.kind != "instruction" or product.op is not matmul or product.dtype.char not in "fd":
            return False
        likes = [self.body.spec(x) for x in product.operands]
        is_of_matrices = {(len(x.shape), x.dtype) for x in likes} == {(2, product.dtype)}
        return is_of_matrices and self.varies.issuperset(product.operands)

    def _find_late(self, stays: set[Any]) -> set[Ref]:
        """Return the instructions that may run after the loop: those that it does not need."""
        after: set[Ref] = set()
        # the additions of the sums are dropped
        terms = {*itertools.chain(*self.sums.values())}
        adds: set[Any] = {self.body.outputs[k] for k in self.sums}
        for x, instruction in reversed(self.instructions):
            may = x in self.varies and x not in stays
            if x in adds:
                adds |= {*instruction.operands} - terms
            elif may and (x in self.products or self.is_batched(instruction)):
                after.add(x)
            else:
                stays.update(instruction.operands)
        # the parts of several results move only with the whole
        parts = [(x, y.operands[0]) for x, y in self.instructions if y.op is PART and x in after]
        after -= {x for x, whole in parts if whole not in after}
        return self._without_views_alone(after)

    def _find_early(self, rows: Sequence[Ref]) -> set[Ref]:
        """Return the instructions that may run before the loop: they depend on rows alone."""
        before: set[Any] = set(rows)
        for x, instruction in self.instructions:
            varying = self.varies.intersection(instruction.operands)
            is_ready = varying and varying <= before and x not in self.after
            if is_ready and self.is_batched(instruction):
                before.add(x)
        return self._without_views_alone(before.difference(rows))

    def _without_views_alone(self, part: set[Ref]) -> set[Ref]:
        """Return a part of the body; the empty set if it consists of views, which take no time."""
        return part if any(not self.body.definition(x).is_view for x in part) else set()

    def is_batched(self, instruction: Instruction) -> bool:
        """Whether an op is faster for all steps at once, and has a rule for that."""
        if instruction.op is PART:
            # a part moves with the whole
            instruction = self.body.definition(instruction.operands[0])  # type: ignore[arg-type]
        op, operands = instruction.op, instruction.operands
        is_held = op.like is not None and type(op) is not MultiOutputOp
        if op.batch is None or instruction.number or is_held:
            return False
        # several results are about as large as their operand
        sized = instruction if op.like is None else self.body.spec(operands[0])
        size = math.prod(sized.shape)
        if op is matmul:
            is_large = math.prod(instruction.shape[-2:-1]) > cost.SPLIT_ROWS
        else:
            is_large = size > cost.SPLIT_ELEMENTS and not instruction.is_view
        if is_large or size * self.length > cost.SPLIT_HELD:
            return False
        if op.batch is batch_elementwise:
            return True
        varying = tuple([x in self.varies for x in operands])
        likes = [placeholder(self.body.definition(x)) if type(x) is Ref else x for x in operands]
        # placeholders are zeros, since integers may be indices
        tried = [repeat_for_batch(x, not v, 2) for x, v in zip(likes, varying, strict=True)]
        try:
            result = call_for_shape(partial(op.batch, op, varying), tried, instruction.options)
        except OneByOneError:
            return False
        return result is not NotImplemented

    def crossing(self, wanted: Sequence[Ref]) -> list[Ref]:
        """Return the values that the loop must return so that the wanted ones can be computed."""
        read: set[Any] = set(wanted)
        crossing: list[Ref] = []
        for x, instruction in reversed(self.instructions):
            if x not in read or x in self.before:
                continue
            # a cheap value is computed again, for all steps
            cheap = instruction.is_view or instruction.op is negative
            away = x not in self.varies or x in self.after
            if away or (cheap and self.is_batched(instruction)):
                read.update(instruction.operands)
            else:
                crossing.append(x)
        return [*[x for x in self.carry if x in read], *reversed(crossing)]


@Improvement
def split_loops(builder: Builder) -> None:
    """Compute values that the carry does not need for all steps at once, before or after a loop.

    Fires on the inputs of a recurrent cell, on local derivatives, and on sums over the steps
    such as a weight's gradient.
    """

    def visit(builder: Builder, instruction: Instruction) -> None:
        loop: Loop = instruction.options["loop"]
        if loop.stop is None and loop.length is not None and loop.length > 1:
            sides = Sides(loop)
            if sides.before or sides.after:
                _split(sides, builder, instruction)

    builder.rewrite(visit, LOOPS)


def _split(sides: Sides, builder: Builder, instruction: Instruction) -> None:
    """Write the remaining loop, and replace each result of the loop."""
    loop: Loop = instruction.options["loop"]
    body, (captured, carried, rows) = loop.body, loop.inputs
    known = dict(zip((*captured, *carried, *rows), instruction.operands, strict=True))
    outside = {x: known[x] for x in (*captured, *rows)}
    late = {j: x for j, x in enumerate(body.outputs) if x in sides.after}
    stays = [j for j in range(len(body.outputs)) if j not in late and j not in sides.sums]
    carry = [k for k in stays if k < loop.n_carry]
    wanted = [*late.values(), *itertools.chain(*sides.sums.values())]
    crossing = sides.crossing(wanted)
    outputs = [body.outputs[j] for j in stays]
    outputs += [x for x in crossing if x not in outputs[len(carry) :]]
    read = dependencies(body, outputs, sides.before)
    # before: further rows for the loop
    early = sorted(read & sides.before)
    known |= dict(zip(early, _compute_for_all_steps(sides, builder, early, outside), strict=True))
    # the loop
    captured, rows = ([x for x in own if x in read] for own in (captured, rows))
    taken = captured, [carried[k] for k in carry], [*rows, *early]
    left = extract_loop(loop, *taken, outputs)
    operands = tuple([known[x] for x in itertools.chain(*taken)])
    new = builder.append(instruction.evolve(operands=operands, options={"loop": left}))
    likes = [(x.shape, x.dtype) for x in left.placeholders(()).values]
    parts = [builder.emit(PART, new, like=like, index=i) for i, like in enumerate(likes)]
    # after
    outside |= {x: parts[outputs.index(x, len(carry))] for x in crossing}
    found = dict(zip(wanted, _compute_for_all_steps(sides, builder, wanted, outside), strict=True))
    stands = dict(zip(stays, parts, strict=False)) | {j: found[x] for j, x in late.items()}
    for k, terms in sides.sums.items():
        so_far = known[carried[k]]
        for x in terms:
            total = builder.emit(sum_, found[x], axis=0)
            so_far = total if splat(builder, so_far) == 0 else builder.emit(add, so_far, total)
        stands[k] = so_far
    for i in sorted(builder.users[builder.number]):
        builder.replace(i, stands[builder.instructions[i].options["index"]])


def _compute_for_all_steps(
    sides: Sides, builder: Builder, wanted: Sequence[Ref], known: Mapping[Ref, Any]
) -> list[Any]:
    """Compute values of all steps outside of the loop, from the known ones."""
    if not wanted:
        return []
    read = dependencies(sides.body, wanted, known)
    taken = [x for x in known if x in read]
    part = extract_code(sides.body, taken, wanted)
    varying = [x in sides.varies for x in taken]
    code = batch_code(part, varying, sides.length, [False] * len(wanted))
    return builder.inline(code, [known[x] for x in taken], builder.stage)
