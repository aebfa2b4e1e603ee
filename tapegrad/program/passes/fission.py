"""Loop fission: work that the steps do not depend on is done for all steps at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.rules import Parts
from tapegrad.core.tensor import Tensor
from tapegrad.declare.abstract import by_shapes
from tapegrad.declare.batching import OneByOneError
from tapegrad.declare.parts import PART, MultiOutputOp
from tapegrad.ops.arithmetic import add, negative
from tapegrad.ops.product import matmul
from tapegrad.program import cost
from tapegrad.program.builder import Builder
from tapegrad.program.control.body import from_these, input_of, program_of
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import LOOPS
from tapegrad.program.ir import Code, Instruction, Ref, example, inputs_at, interpreted
from tapegrad.program.passes.algebra import splat
from tapegrad.program.program import improvement


class Sides:
    """Which parts of a loop's body go before it and after it, and which stay."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.body: Code = loop.body
        self.length: int = loop.length or 0
        body, n, first = loop.body, loop.n_captured, loop.n_captured + loop.n_carry
        self.first = first
        self.users: dict[Any, set[int]] = {}
        # what a value depends on: rows, the carry
        self.on_rows: set[Any] = {Ref("input", i) for i in range(first, len(body.inputs))}
        self.on_carry: set[Any] = {Ref("input", i) for i in range(n, first)}
        for i, instruction in enumerate(body.instructions):
            for x in instruction.operands:
                self.users.setdefault(x, set()).add(i)
            for refs in (self.on_rows, self.on_carry):
                if refs.intersection(instruction.operands):
                    refs.add(Ref("instruction", i))
        self.varies = self.on_rows | self.on_carry
        # the adds that belong to sums
        self.adds: set[int] = set()
        self.sums = self._sums()
        self.chain = self._chain()
        self.after = self._after()
        self.sums = {k: x for k, x in self.sums.items() if all(map(self._is_summed, x))}
        self.chain = self._chain()
        self.after = self._after()
        self.before = self._before()

    def _sums(self) -> dict[int, list[Ref]]:
        """For each carry that only accumulates, the terms that a step adds."""
        body, loop = self.body, self.loop
        sums = {}
        for k in range(loop.n_carry):
            carried, total = Ref("input", loop.n_captured + k), body.outputs[k]
            if total.kind != "instruction" or body.outputs.count(carried):
                continue
            instruction = body.of(total)
            if instruction.op is not add or self.users.get(carried) != {total.index}:
                continue
            if instruction.operands.count(carried) != 1 or self.users.get(total):
                continue
            term = instruction.operands[1 - instruction.operands.index(carried)]
            if body.outputs.count(total) == 1 and instruction.dtype.kind in "fc":
                terms = self._terms_of(term, instruction)
                if terms is not None:
                    sums[k] = terms
        return sums

    def _terms_of(self, x: Any, like: Instruction) -> list[Ref] | None:
        """The terms of a sum that is used once; None if one has another shape or dtype."""
        terms: list[Ref] = []
        waiting = [x]
        while waiting:
            x = waiting.pop()
            if type(x) is not Ref:
                return None
            instruction = self.body.of(x)
            if (instruction.shape, instruction.dtype) != (like.shape, like.dtype):
                return None
            single = len(self.users.get(x, ())) == 1 and x not in self.body.outputs
            if type(instruction) is Instruction and instruction.op is add and single:
                self.adds.add(x.index)
                waiting += instruction.operands
            else:
                terms.append(x)
        return terms

    def _is_summed(self, term: Ref) -> bool:
        """Whether a sum's terms may be held for all steps, or are products that become one."""
        size = math.prod(self.body.like(term).shape)
        if term not in self.varies or size > cost.SPLIT_TERM:
            return term in self.after and self.is_product(term)
        return True

    def is_product(self, term: Ref) -> bool:
        """Whether a term is a product of varying matrices, whose sum is one (`contract_sums`)."""
        instruction = self.body.of(term)
        if type(instruction) is not Instruction or instruction.op is not matmul:
            return False
        if instruction.dtype.char not in "fd":
            return False
        likes = [self.body.like(x) for x in instruction.operands]
        same = all(len(x.shape) == 2 and x.dtype == instruction.dtype for x in likes)
        return same and self.varies.issuperset(instruction.operands)

    def _chain(self) -> set[int]:
        """The instructions that the next carry needs."""
        loop, body = self.loop, self.body
        needed: set[Any] = {body.outputs[k] for k in range(loop.n_carry) if k not in self.sums}
        for i in reversed(range(len(body.instructions))):
            if Ref("instruction", i) in needed:
                needed.update(body.instructions[i].operands)
        return {x.index for x in needed if type(x) is Ref and x.kind == "instruction"}

    def added(self) -> set[int]:
        """The adds that go when the carries that only accumulate go."""
        totals = {self.body.outputs[k].index for k in self.sums}
        return totals | (self.adds - self.chain)

    def _after(self) -> set[Ref]:
        """The instructions that may run after the loop: nothing in the loop needs them."""
        after: set[Ref] = set()
        sums = self.added()
        for i in reversed(range(len(self.body.instructions))):
            x = Ref("instruction", i)
            if i in self.chain or i in sums or x not in self.varies:
                continue
            users = self.users.get(x, set())
            later = all(Ref("instruction", j) in after or j in sums for j in users)
            # a product that is only a term need not be computed at each step
            term = users and users <= sums and self.is_product(x)
            if later and (term or self.is_batched(self.body.instructions[i])):
                after.add(x)
        # several results leave the loop one by one
        for x in [x for x in after if self.body.of(x).op is PART]:
            whole = self.body.of(x).operands[0]
            if whole in self.on_carry and whole not in after:
                after.discard(x)
        # views alone are no work
        return after if any(self._is_work(x) for x in after) else set()

    def _before(self) -> set[Ref]:
        """The instructions that may run before the loop: they depend on the rows alone."""
        before: set[Ref] = set()
        for i, instruction in enumerate(self.body.instructions):
            x = Ref("instruction", i)
            if x in self.on_carry or x not in self.on_rows or x in self.after:
                continue
            ready = all(
                y not in self.varies or y in before or is_input(y) for y in instruction.operands
            )
            if ready and self.is_batched(instruction):
                before.add(x)
        return before if any(self._is_work(x) for x in before) else set()

    def _is_work(self, x: Ref) -> bool:
        return not self.body.of(x).is_view

    def is_batched(self, instruction: Instruction) -> bool:
        """Whether an op is faster for all steps at once, and has a rule for that."""
        if instruction.op is PART:
            # where all results go, each goes
            instruction = self.body.of(instruction.operands[0])  # type: ignore[arg-type]
        op = instruction.op
        if (
            op.batch is None
            or not (op.like is None or type(op) is MultiOutputOp)
            or instruction.number
        ):
            return False
        likes: Any = (instruction,)
        if op.like is not None:
            likes = op.like(*map(self._like, instruction.operands), **instruction.options).values
        size = sum(math.prod(x.shape) for x in likes)
        if not size or size * self.length > cost.SPLIT_HELD:
            return False
        if op is matmul:
            if len(instruction.shape) > 1 and instruction.shape[-2] > cost.SPLIT_ROWS:
                return False
        elif size > cost.SPLIT_ELEMENTS and not instruction.is_view:
            return False
        varying = tuple([x in self.varies for x in instruction.operands])
        tried = [
            _two_like(np.asarray(x)) if varies else x
            for x, varies in zip(map(self._like, instruction.operands), varying, strict=True)
        ]
        try:
            result = by_shapes(partial(op.batch, op, varying), tried, instruction.options)
        except OneByOneError:
            return False
        values = result.values if type(result) is Parts else (result,)
        shapes = [(2, *x.shape) for x in likes]
        return result is not NotImplemented and list(map(np.shape, values)) == shapes

    def _like(self, x: Any) -> Any:
        if type(x) is not Ref:
            return x
        return example(self.body.of(x))


def _two_like(x: Any) -> Any:
    """Two examples that a rule takes: whole numbers may be places, and any axis has a first."""
    return (np.zeros if x.dtype.kind in "iu" else np.ones)((2, *x.shape), x.dtype)


def is_input(x: Any) -> bool:
    """Whether a value of a body is one of its inputs."""
    return type(x) is Ref and x.kind == "input"


@improvement(complex=True)
def split_loops(builder: Builder) -> None:
    """Compute what the carry does not need for all steps at once, before or after a loop.

    Fires on the inputs of a recurrent cell, on local derivatives, and on sums over the steps
    such as a weight's gradient.
    """
    stands: dict[tuple[Any, int], Any] = {}

    # the loop that is split goes when none of its results is read
    def visit(builder: Builder, instruction: Instruction) -> Any:
        if instruction.op is PART:
            return stands.get((instruction.operands[0], instruction.options["index"]))
        loop: Loop = instruction.options["loop"]
        if loop.stop is not None or loop.length is None or loop.length < 2:
            return None
        sides = Sides(loop)
        if not (sides.before or sides.after):
            return None
        whole = builder.refs[builder.at]
        stands.update({(whole, j): x for j, x in enumerate(_split(sides, builder, instruction))})
        return None

    builder.rewrite(visit, {*LOOPS, PART})


def _split(sides: Sides, builder: Builder, instruction: Instruction) -> list[Any]:
    """Write the loop that is left; return what stands for each of the values that it returned."""
    loop, body, n, first = sides.loop, sides.body, sides.loop.n_captured, sides.first
    operands = list(instruction.operands)
    stage = instruction.stage
    outside = {Ref("input", i): operands[i] for i in range(len(operands)) if not n <= i < first}
    # before: further rows that the loop goes through
    wanted = [x for x in sorted(sides.before, key=lambda x: x.index) if _is_used_in_loop(sides, x)]
    early = _computed(sides, builder, wanted, outside, {}, stage)
    rows = dict(zip(wanted, early, strict=True))
    # the loop
    crossing = _crossing(sides)
    carry = [k for k in range(loop.n_carry) if k not in sides.sums]
    stays = [
        j for j in range(loop.n_carry, len(body.outputs)) if body.outputs[j] not in sides.after
    ]
    outputs = [body.outputs[j] for j in (*carry, *stays)] + crossing
    places = [*range(n), *[n + k for k in carry], *range(first, len(body.inputs))]
    order = [*inputs_at(places), *rows]
    code = from_these(body, order, outputs=outputs)
    left = attrs.evolve(
        loop,
        body=code,
        n_carry=len(carry),
        n_xs=len(order) - n - len(carry),
        n_ys=len(outputs) - len(carry),
        moving=frozenset(),
    )
    new_operands = [*[operands[i] for i in places], *rows.values()]
    new = builder.append(instruction.but(operands=tuple(new_operands), options={"loop": left}))
    # after
    stacks = {}
    for i, x in enumerate(crossing):
        stacks[x] = builder.emit(PART, new, index=len(carry) + len(stays) + i)
    late = [body.outputs[j] for j in range(loop.n_carry, len(body.outputs)) if j not in stays]
    terms = [(k, x) for k, own in sides.sums.items() for x in own]
    results = _computed(sides, builder, late, outside, stacks, stage, [x for _, x in terms])
    stands: list[Any] = [None] * len(body.outputs)
    for at, j in enumerate((*carry, *stays)):
        like = body.like(body.outputs[j])
        shape = like.shape if j < loop.n_carry else (sides.length, *like.shape)
        stands[j] = builder.append(
            Instruction(PART, (new,), {"index": at}, shape, np.dtype(like.dtype), stage=stage)
        )
    others = [j for j in range(loop.n_carry, len(body.outputs)) if j not in stays]
    for j, x in zip(others, results, strict=False):
        stands[j] = x
    for (k, _), x in zip(terms, results[len(others) :], strict=True):
        if stands[k] is None and splat(builder, operands[n + k]) == 0:
            stands[k] = x
        else:
            so_far = operands[n + k] if stands[k] is None else stands[k]
            stands[k] = builder.emit(add, so_far, x)
    return stands


def _is_used_in_loop(sides: Sides, x: Ref) -> bool:
    outside = sides.before | sides.after
    sums = sides.added()
    used = sides.users.get(x, set()) - {y.index for y in outside} - sums
    return bool(used) or x in sides.body.outputs


def _crossing(sides: Sides) -> list[Ref]:
    """The values that the loop computes or carries and that are needed after it."""
    crossing: dict[Ref, None] = {}
    needed = [sides.body.of(x).operands for x in sorted(sides.after, key=lambda x: x.index)]
    summed = itertools.chain.from_iterable(sides.sums.values())
    waiting: list[Any] = [*[x for operands in needed for x in operands], *summed]
    while waiting:
        x = waiting.pop()
        if x not in sides.varies or x in sides.after or x in sides.before or x in crossing:
            continue
        if is_input(x):
            # a row is there already
            if x in sides.on_carry:
                crossing[x] = None
        elif _is_repeated(sides, x):
            waiting += sides.body.of(x).operands
        else:
            crossing[x] = None
    return sorted(crossing, key=lambda x: (x.kind, x.index))


def _is_repeated(sides: Sides, x: Ref) -> bool:
    """Whether a value of the loop is cheap enough to be recomputed after it."""
    instruction = sides.body.of(x)
    cheap = instruction.is_view or instruction.op is negative or x not in sides.on_carry
    return cheap and sides.is_batched(instruction)


def _computed(
    sides: Sides,
    builder: Builder,
    wanted: Sequence[Ref],
    outside: Mapping[Ref, Any],
    stacks: Mapping[Ref, Any],
    stage: str,
    summed: Sequence[Ref] = (),
) -> list[Any]:
    """Values of all steps, and sums over the steps, computed outside of the loop."""
    if not wanted and not summed:
        return []
    known = {**outside, **stacks}
    sources = [x for x in known if type(known[x]) is Ref]
    inputs = [attrs.evolve(input_of(builder.of(known[x])), path="x") for x in sources]
    part = from_these(sides.body, [*known], outputs=[*wanted, *summed])
    place: Any = None

    # a value, and whether it is one of all steps
    def applied(instruction: Instruction, operands: list[Any]) -> tuple[Any, bool]:
        nonlocal place
        place, op, options = instruction.place, instruction.op, instruction.options
        pairs = [x if type(x) is tuple else (x, False) for x in operands]
        values, varying = [x for x, _ in pairs], tuple([varies for _, varies in pairs])
        if any(varying):
            return op.batch(op, varying, *values, **options), True  # type: ignore[misc]
        return apply(op, tuple(values), options), False

    def computed(tensors: list[Tensor]) -> list[Any]:
        values = {**known, **dict(zip(sources, tensors, strict=True))}
        pairs = [(x, ref in sides.varies) for ref, x in values.items()]
        results = interpreted(part, pairs, applied, lambda x: (x.array, False))
        done = [x for x, _ in results]
        return [*done[: len(wanted)], *[np.sum(x, axis=0) for x in done[len(wanted) :]]]

    code = program_of(sides.body.label, inputs, computed, lambda: place)
    return builder.inlined(code, [known[x] for x in sources], stage)
