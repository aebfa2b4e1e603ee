"""Which parts of a loop's body may move before or after the loop, and which must stay in it.

Each op's batching rule (`tapegrad.transforms.replay`) computes it for all steps at once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapegrad.declare.abstract import solvable
from tapegrad.ops.arithmetic import add
from tapegrad.ops.product import matmul
from tapegrad.program.control.body import example
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.part import PART
from tapegrad.program.ir import Code, Input, Instruction, Ref
from tapegrad.program.templates import VIEWS

# elements of a step's value, and rows of a product, from which a line takes longer to run than to
# start; elements of all steps that are held at once; and elements of a sum's term
_MOST = 1 << 11
_MOST_ROWS = 64
_MOST_HELD = 1 << 22
_MOST_TERM = 1 << 8


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
        for i, made in enumerate(body.instructions):
            for x in made.operands:
                self.users.setdefault(x, set()).add(i)
            for found in (self.on_rows, self.on_carry):
                if found.intersection(made.operands):
                    found.add(Ref("instruction", i))
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
        found = {}
        for k in range(loop.n_carry):
            given, total = Ref("input", loop.n_captured + k), body.outputs[k]
            if total.kind != "instruction" or body.outputs.count(given):
                continue
            made = body.of(total)
            if made.op is not add or self.users.get(given) != {total.index}:
                continue
            if made.operands.count(given) != 1 or self.users.get(total):
                continue
            term = made.operands[1 - made.operands.index(given)]
            if body.outputs.count(total) == 1 and made.dtype.kind == "f":
                terms = self._terms_of(term, made)
                if terms is not None:
                    found[k] = terms
        return found

    def _terms_of(self, x: Any, like: Instruction) -> list[Ref] | None:
        """The terms of a sum that is used once; None if one has another shape or dtype."""
        found: list[Ref] = []
        waiting = [x]
        while waiting:
            x = waiting.pop()
            if type(x) is not Ref:
                return None
            made = self.body.of(x)
            if (made.shape, made.dtype) != (like.shape, like.dtype):
                return None
            single = len(self.users.get(x, ())) == 1 and x not in self.body.outputs
            if type(made) is Instruction and made.op is add and single:
                self.adds.add(x.index)
                waiting += made.operands
            else:
                found.append(x)
        return found

    def _is_summed(self, term: Ref) -> bool:
        """Whether a sum's terms may be held for all steps, or are products that become one."""
        size = math.prod(self.body.like(term).shape)
        if term not in self.varies or size > _MOST_TERM:
            return term in self.after and self.factors(term) is not None
        return True

    def factors(self, term: Ref) -> tuple[Any, Any] | None:
        """The factors of a term that is a product of matrices, both of which vary."""
        made = self.body.of(term)
        if type(made) is not Instruction or made.op is not matmul or len(made.shape) != 2:
            return None
        left, right = made.operands
        both = left in self.varies and right in self.varies
        like = [self.body.like(x) for x in (left, right)]
        flat = all(len(x.shape) == 2 and x.dtype == made.dtype for x in like)
        return (left, right) if both and flat else None

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
        """What may be computed after the loop: nothing in the loop needs it."""
        after: set[Ref] = set()
        sums = self.added()
        for i in reversed(range(len(self.body.instructions))):
            x = Ref("instruction", i)
            if i in self.chain or i in sums or x not in self.varies:
                continue
            users = self.users.get(x, set())
            later = all(Ref("instruction", j) in after or j in sums for j in users)
            # a product that is only a term need not be computed at each step
            term = users and users <= sums and self.factors(x) is not None
            if later and (term or self.is_batched(self.body.instructions[i])):
                after.add(x)
        # views alone are no work
        return after if any(self._is_work(x) for x in after) else set()

    def _before(self) -> set[Ref]:
        """What may be computed before the loop: it depends on the rows alone."""
        before: set[Ref] = set()
        for i, made in enumerate(self.body.instructions):
            x = Ref("instruction", i)
            if x in self.on_carry or x not in self.on_rows or x in self.after:
                continue
            ready = all(y not in self.varies or y in before or is_input(y) for y in made.operands)
            if ready and self.is_batched(made):
                before.add(x)
        return before if any(self._is_work(x) for x in before) else set()

    def _is_work(self, x: Ref) -> bool:
        return self.body.of(x).op not in VIEWS

    def is_batched(self, made: Instruction) -> bool:
        """Whether an op is faster for all steps at once, and has a rule for that."""
        op = made.op
        if op.batch is None or op.like is not None or op is PART or made.number:
            return False
        size = math.prod(made.shape)
        if not size or size * self.length > _MOST_HELD:
            return False
        if op is matmul:
            if len(made.shape) > 1 and made.shape[-2] > _MOST_ROWS:
                return False
        elif size > _MOST and op not in VIEWS:
            return False
        has = tuple([x in self.varies for x in made.operands])
        tried = [
            _two_like(np.asarray(x)) if varies else x
            for x, varies in zip(map(self._like, made.operands), has, strict=True)
        ]
        with np.errstate(all="ignore"):
            try:
                given = op.batch(op, has, *tried, **made.options)
            except np.linalg.LinAlgError:
                given = op.batch(op, has, *solvable(tried), **made.options)
        return given is not NotImplemented and np.shape(given) == (2, *made.shape)

    def _like(self, x: Any) -> Any:
        if type(x) is not Ref:
            return x
        made = self.body.of(x)
        if x.kind == "constant":
            return made.array
        return example(Input("", made.shape, made.dtype, getattr(made, "number", None) or None))


def _two_like(x: Any) -> Any:
    """Two examples that a rule takes: whole numbers may be places, and any axis has a first."""
    return (np.zeros if x.dtype.kind in "iu" else np.ones)((2, *x.shape), x.dtype)


def is_input(x: Any) -> bool:
    """Whether a value of a body is one of its inputs."""
    return type(x) is Ref and x.kind == "input"
