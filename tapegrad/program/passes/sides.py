"""What the steps of a loop need not wait for is done for all steps at once.

A step's line takes a fixed time to start, however small its arrays are. What depends on the
rows alone is computed before the loop, for all rows together, and what no later step needs
after it; in the loop stays what the carry needs. So the inputs of a recurrent layer are one
product, and its weights' gradients another. Each op's batching rule (`tapegrad.core.batch`)
says what it comes to for all rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.core.forward import apply
from tapegrad.core.operands import solvable
from tapegrad.core.tensor import Tensor
from tapegrad.ops.arithmetic import add, negative
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.control.body import example, program_of
from tapegrad.program.control.loop import Loop
from tapegrad.program.control.ops import LOOP
from tapegrad.program.control.part import PART
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Code, Input, Instruction, Ref
from tapegrad.program.passes.fold import splat
from tapegrad.program.passes.loops import of_inputs
from tapegrad.program.program import Program
from tapegrad.program.templates import VIEWS

# elements of a step's value from which a line takes longer to run than to start, and of a
# product's rows; elements of all steps that are held at once; and of a sum's terms
_MOST = 1 << 11
_MOST_ROWS = 64
_MOST_HELD = 1 << 22
_MOST_TERM = 1 << 8


@improvement
def split_loops(builder: Builder) -> None:
    """What the carry does not need is computed for all steps at once, before or after a loop.

    Fires on the inputs of a recurrent cell, on local derivatives, and on sums over the steps
    such as a weight's gradient.
    """
    stands: dict[tuple[Ref, int], Any] = {}

    def visit(builder: Builder, made: Instruction) -> Any:
        if made.op is PART:
            return stands.get((made.operands[0], made.options["index"]))  # type: ignore[arg-type]
        loop: Loop = made.options["loop"]
        if loop.stop is not None or loop.length is None or loop.length < 2:
            return None
        sides = _Sides(loop)
        if not (sides.before or sides.after):
            return None
        new, given = sides.rebuilt(builder, made)
        stands.update({(new, j): x for j, x in enumerate(given)})
        return new

    builder.rewrite(visit, {LOOP, PART})


class _Sides:
    """What of a loop's body stands before it, after it, and in it."""

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
        # the adds of sums
        self.adds: set[int] = set()
        self.sums = self._sums()
        self.chain = self._chain()
        self.after = self._after()
        self.sums = {k: x for k, x in self.sums.items() if all(map(self._is_summed, x))}
        self.chain = self._chain()
        self.after = self._after()
        self.before = self._before()

    # --- finding out --------------------------------------------------------------------

    def _sums(self) -> dict[int, list[Ref]]:
        """For each carry that only adds up, the terms that a step adds."""
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
        """The terms of a sum that is used once; None if one is of another shape or dtype."""
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
        """Whether the terms of a sum are held, or are products that become one."""
        size = math.prod(self.body.like(term).shape)
        if term not in self.varies or size > _MOST_TERM:
            return term in self.after and self._factors(term) is not None
        return True

    def _factors(self, term: Ref) -> tuple[Any, Any] | None:
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

    def _added(self) -> set[int]:
        """The adds that go with the carry that only adds up."""
        totals = {self.body.outputs[k].index for k in self.sums}
        return totals | (self.adds - self.chain)

    def _after(self) -> set[Ref]:
        """What may be computed after the loop: nothing in the loop needs it."""
        after: set[Ref] = set()
        sums = self._added()
        for i in reversed(range(len(self.body.instructions))):
            x = Ref("instruction", i)
            if i in self.chain or i in sums or x not in self.varies:
                continue
            users = self.users.get(x, set())
            later = all(Ref("instruction", j) in after or j in sums for j in users)
            # a product that is a term alone is not computed for each step
            term = users and users <= sums and self._factors(x) is not None
            if later and (term or self._is_batched(self.body.instructions[i])):
                after.add(x)
        # a view alone is no work
        return after if any(self._is_work(x) for x in after) else set()

    def _before(self) -> set[Ref]:
        """What may be computed before the loop: it depends on the rows alone."""
        before: set[Ref] = set()
        for i, made in enumerate(self.body.instructions):
            x = Ref("instruction", i)
            if x in self.on_carry or x not in self.on_rows or x in self.after:
                continue
            ready = all(y not in self.varies or y in before or _is_input(y) for y in made.operands)
            if ready and self._is_batched(made):
                before.add(x)
        return before if any(self._is_work(x) for x in before) else set()

    def _is_work(self, x: Ref) -> bool:
        return self.body.of(x).op not in VIEWS

    def _is_batched(self, made: Instruction) -> bool:
        """Whether an op is quicker for all steps at once, and has a rule for it."""
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
            np.ones((2, *np.shape(x)), np.asarray(x).dtype) if varies else x
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

    # --- putting together ---------------------------------------------------------------

    def rebuilt(self, builder: Builder, made: Instruction) -> tuple[Ref, list[Any]]:
        """The loop that is left, and what stands for each of the values that it gave."""
        loop, body, n, first = self.loop, self.body, self.loop.n_captured, self.first
        operands = list(made.operands)
        stage = made.stage
        outside = {Ref("input", i): operands[i] for i in range(len(operands)) if not n <= i < first}
        # before: the rows that the loop goes through besides
        wanted = [x for x in sorted(self.before, key=lambda x: x.index) if self._is_used_in_loop(x)]
        early = self._computed(builder, wanted, outside, {}, stage)
        rows = dict(zip(wanted, early, strict=True))
        # the loop
        crossing = self._crossing()
        carry = [k for k in range(loop.n_carry) if k not in self.sums]
        stays = [
            j for j in range(loop.n_carry, len(body.outputs)) if body.outputs[j] not in self.after
        ]
        outputs = [body.outputs[j] for j in (*carry, *stays)] + crossing
        inner = _with_inputs(body, rows)
        moved = {x: Ref("input", len(body.inputs) + i) for i, x in enumerate(rows)}
        order = [*range(n), *[n + k for k in carry], *range(first, len(inner.inputs))]
        code = of_inputs(inner, order, [moved.get(x, x) for x in outputs])
        left = attrs.evolve(
            loop,
            body=code,
            n_carry=len(carry),
            n_xs=len(order) - n - len(carry),
            n_ys=len(outputs) - len(carry),
            moving=frozenset(),
        )
        given = [*operands, *rows.values()]
        new = builder.append(
            attrs.evolve(made, operands=tuple([given[i] for i in order]), options={"loop": left})
        )
        # after
        stacks = {}
        for i, x in enumerate(crossing):
            stacks[x] = builder.emit(PART, new, index=len(carry) + len(stays) + i)
        late = [body.outputs[j] for j in range(loop.n_carry, len(body.outputs)) if j not in stays]
        terms = [(k, x) for k, found in self.sums.items() for x in found]
        results = self._computed(builder, late, outside, stacks, stage, [x for _, x in terms])
        stands: list[Any] = [None] * len(body.outputs)
        for at, j in enumerate((*carry, *stays)):
            like = body.like(body.outputs[j])
            shape = like.shape if j < loop.n_carry else (self.length, *like.shape)
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
        return new, stands

    def _is_used_in_loop(self, x: Ref) -> bool:
        outside = self.before | self.after
        sums = self._added()
        used = self.users.get(x, set()) - {y.index for y in outside} - sums
        return bool(used) or x in self.body.outputs

    def _crossing(self) -> list[Ref]:
        """What is computed in the loop, or carried, and is needed after it."""
        found: dict[Ref, None] = {}
        needed = [self.body.of(x).operands for x in sorted(self.after, key=lambda x: x.index)]
        summed = itertools.chain.from_iterable(self.sums.values())
        waiting: list[Any] = [*[x for operands in needed for x in operands], *summed]
        while waiting:
            x = waiting.pop()
            if x not in self.varies or x in self.after or x in self.before or x in found:
                continue
            if _is_input(x):
                # a row is there already
                if x in self.on_carry:
                    found[x] = None
            elif self._is_repeated(x):
                waiting += self.body.of(x).operands
            else:
                found[x] = None
        return sorted(found, key=lambda x: (x.kind, x.index))

    def _is_repeated(self, x: Ref) -> bool:
        """Whether a value of the loop is computed again after it: it costs next to nothing."""
        made = self.body.of(x)
        cheap = made.op in VIEWS or made.op is negative or x not in self.on_carry
        return cheap and self._is_batched(made)

    def _computed(
        self,
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
        likes = [builder.of(known[x]) for x in sources]
        inputs = [Input("x", x.shape, x.dtype, _number(x)) for x in likes]

        def computed(tensors: list[Tensor]) -> list[Any]:
            values: dict[Any, Any] = {**known, **dict(zip(sources, tensors, strict=True))}
            needed = self._needed([*wanted, *self._terms(summed)], values)
            for i in needed:
                made = self.body.instructions[i]
                operands = [values.get(x, self._value(x)) for x in made.operands]
                has = tuple([x in self.varies for x in made.operands])
                if any(has):
                    found = made.op.batch(made.op, has, *operands, **made.options)  # type: ignore[misc]
                else:
                    found = apply(made.op, tuple(operands), made.options)
                values[Ref("instruction", i)] = found
            return [
                *[values[x] for x in wanted],
                *[self._summed(x, values) for x in summed],
            ]

        code = program_of(self.body.label, inputs, computed)
        return inlined(builder, code, [known[x] for x in sources], stage)

    def _value(self, x: Any) -> Any:
        return self.body.of(x).array if type(x) is Ref and x.kind == "constant" else x

    def _needed(self, wanted: Sequence[Ref], known: Mapping[Ref, Any]) -> list[int]:
        """The instructions to compute, in order."""
        found: set[int] = set()
        waiting: list[Any] = list(wanted)
        while waiting:
            x = waiting.pop()
            is_made = type(x) is Ref and x.kind == "instruction" and x not in known
            if is_made and x.index not in found:
                found.add(x.index)
                waiting += self.body.instructions[x.index].operands
        return sorted(found)

    def _terms(self, summed: Sequence[Ref]) -> list[Any]:
        """What is needed for sums: of products that become one, the factors."""
        found: list[Any] = []
        for x in summed:
            factors = self._factors(x) if x in self.after else None
            found += [x] if factors is None else [self._untransposed(factors[0])[0], factors[1]]
        return found

    def _untransposed(self, x: Any) -> tuple[Any, bool]:
        """The matrix that a factor is the transpose of, if it is known."""
        made = self.body.of(x)
        is_turned = type(made) is Instruction and made.op is transpose
        if is_turned and not made.options.get("axes"):
            return made.operands[0], True
        return x, False

    def _summed(self, term: Ref, values: Mapping[Ref, Any]) -> Any:
        """A sum over the steps: one product, where the terms are products of matrices."""
        factors = self._factors(term) if term in self.after else None
        if factors is None:
            return np.sum(values[term], axis=0)
        left, right = factors
        source, is_turned = self._untransposed(left)
        a, b = values[source], values[right]
        b = b.reshape(b.shape[0] * b.shape[1], b.shape[2])
        if is_turned:
            return np.matmul(a.reshape(a.shape[0] * a.shape[1], a.shape[2]).T, b)
        a = np.transpose(a, (1, 0, 2))
        return np.matmul(a.reshape(a.shape[0], a.shape[1] * a.shape[2]), b)


def inlined(builder: Builder, code: Program, operands: Sequence[Any], stage: str) -> list[Any]:
    """What a program gives, with its instructions written in another."""
    values: dict[Any, Any] = {Ref("input", i): x for i, x in enumerate(operands)}
    for i, constant in enumerate(code.constants):
        values[Ref("constant", i)] = builder.constant(constant.array, constant.captured)
    for i, made in enumerate(code.instructions):
        moved = tuple([values.get(x, x) if type(x) is Ref else x for x in made.operands])
        values[Ref("instruction", i)] = builder.append(
            attrs.evolve(made, operands=moved, stage=stage)
        )
    return [values.get(x, x) for x in code.outputs]


def _with_inputs(body: Any, rows: Mapping[Ref, Any]) -> Any:
    """A body that is given some of its values, as further inputs."""
    moved = {x: Ref("input", len(body.inputs) + i) for i, x in enumerate(rows)}
    made = [
        y.on(tuple([moved.get(x, x) if type(x) is Ref else x for x in y.operands]))
        for y in body.instructions
    ]
    further = [Input(body.of(x).op.name, body.of(x).shape, body.of(x).dtype) for x in rows]
    return attrs.evolve(body, inputs=(*body.inputs, *further), instructions=tuple(made))


def _is_input(x: Any) -> bool:
    return type(x) is Ref and x.kind == "input"


def _number(x: Any) -> str | None:
    number = getattr(x, "number", None)
    if number is True:
        return "float" if x.dtype.kind == "f" else "int"
    return number or None
