"""Loops and branches: unused results go, and the bodies are improved.

A loop keeps many values for derivatives, of which few are read: only those that the program needs
are left. What does not depend on the carry or the rows is computed before the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from tapegrad.core.rules import Rules
from tapegrad.declare.parts import PART
from tapegrad.ops.casting import copy
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.control.body import from_these
from tapegrad.program.control.branch import COND
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.ops import LOOPS
from tapegrad.program.ir import Code, Instruction, Ref, inputs_at
from tapegrad.program.program import improved, improvement, rule

_NESTED: frozenset[Rules] = LOOPS | {COND}


@improvement(complex=True)
def trim_loops(builder: Builder) -> None:
    """Loops and branches return only what is read, and take only what they need for that.

    Fires on each of them: a loop keeps more for its derivatives than they read.
    """
    while builder.has(_NESTED) and _trim(builder):
        # what one loop does not take, another need not return
        builder.drop_unused()


def _trim(builder: Builder) -> bool:
    """Trim each loop and branch; return whether any changed."""
    used: dict[Any, set[int]] = {}
    for i in builder.of_ops((PART,)):
        instruction = builder.instructions[i]
        used.setdefault(instruction.operands[0], set()).add(instruction.options["index"])
    # what stands for each, and the new position of each result
    trimmed: dict[Any, tuple[Ref, dict[int, int]]] = {}

    def visit(builder: Builder, instruction: Instruction) -> Instruction | None:
        if instruction.op is PART:
            (whole,), index = instruction.operands, instruction.options["index"]
            if whole not in trimmed:
                return None
            new, places = trimmed[whole]
            return instruction.but(operands=(new,), options={"index": places[index]})
        ref = builder.refs[builder.at]
        trim = _trimmed_loop if instruction.op in LOOPS else _trimmed_branch
        left, places = trim(instruction, used.get(ref, set()))
        if left is not instruction:
            trimmed[ref] = builder.append(left), places
        return None

    builder.rewrite(visit, {*_NESTED, PART})
    return bool(trimmed)


@rule(*_NESTED, complex=True)
def improve_bodies(builder: Builder, instruction: Instruction) -> Any:
    """``loop(body) -> loop(improved(body))``, and so for branches: by the passes of this call.

    Fires on each of them.
    """
    ((option, held),) = instruction.options.items()
    better = {name: improved(code, builder.passes) for name, code in held.bodies.items()}
    return instruction.but(options={option: attrs.evolve(held, **better)})


@rule(*LOOPS, complex=True)
def hoist(builder: Builder, instruction: Instruction) -> Any:
    """``loop(f(g(w), c)) -> loop(f(v, c))`` after ``v = g(w)``, for captured values w.

    Fires on a transposed weight that each step multiplies by; it is copied to C order.
    """
    loop: Loop = instruction.options["loop"]
    invariant = _invariant(loop)
    if not invariant:
        return None
    body, n = loop.body, loop.n_captured
    captured, rest = inputs_at(range(n)), inputs_at(range(n, len(body.inputs)))
    stays = [x for i, x in enumerate(body.instructions) if Ref("instruction", i) not in invariant]
    read = {x for y in stays for x in y.operands} | body.results
    factors = {y.operands[1] for y in stays if y.op is matmul}
    edge = [x for x in invariant if x in read]
    early = from_these(body, captured, outputs=edge)
    values = builder.inlined(early, instruction.operands[:n], instruction.stage)
    for k, x in enumerate(edge):
        if x in factors and body.of(x).op is transpose:
            values[k] = builder.emit(copy, values[k], note=_QUICKER)
    code, stop = from_these(body, [*captured, *edge, *rest]), loop.stop
    if stop is not None:
        further = inputs_at(range(len(body.inputs), len(body.inputs) + len(edge)))
        stop = from_these(stop, [*captured, *further, *rest], code.inputs)
    operands = (*instruction.operands[:n], *values, *instruction.operands[n:])
    left = attrs.evolve(loop, body=code, stop=stop, moving=frozenset())
    return instruction.but(operands=operands, options={"loop": left})


_QUICKER = "products are faster in C order"


def _invariant(loop: Loop) -> list[Ref]:
    """The instructions that depend only on captured values."""
    body = loop.body
    varies: set[Any] = {Ref("input", i) for i in range(loop.n_captured, len(body.inputs))}
    invariant = []
    for i, instruction in enumerate(body.instructions):
        x = Ref("instruction", i)
        # what a loop of no steps would not compute might fail or warn
        certain = loop.stop is None and loop.length != 0
        if varies.intersection(instruction.operands) or not (certain or instruction.is_view):
            varies.add(x)
        else:
            invariant.append(x)
    return invariant


# --- trimming -------------------------------------------------------------------------------


def _trimmed_loop(instruction: Instruction, used: set[int]) -> tuple[Instruction, dict[int, int]]:
    """A loop that returns only the values used, and the new position of each."""
    loop: Loop = instruction.options["loop"]
    body, n, n_carry = loop.body, loop.n_captured, loop.n_carry
    reach = _reached(body)
    wanted = {k for k in range(n_carry) if k in used}
    # what is returned twice is returned once
    first_of: dict[Any, int] = {}
    first = {j: first_of.setdefault(body.outputs[j], j) for j in sorted(used) if j >= n_carry}
    distinct = [j for j in first if first[j] == j]
    needed: set[int] = set()
    for j in distinct:
        needed |= reach(body.outputs[j])
    if loop.stop is not None:
        needed |= _reached(loop.stop)(loop.stop.outputs[0])
    while True:
        for k in wanted:
            needed |= reach(body.outputs[k])
        more = {k for k in range(n_carry) if n + k in needed} - wanted
        if not more:
            break
        wanted |= more
    # a carry that never changes is captured instead
    still = {k for k in wanted if body.outputs[k] == Ref("input", n + k) and k not in used}
    carry = sorted(wanted - still)
    captured = [i for i in range(n) if i in needed] + [n + k for k in sorted(still)]
    rows = [i for i in range(n + n_carry, len(body.inputs)) if i in needed]
    if loop.length is None and loop.stop is None and not rows:
        # the rows determine the number of steps
        rows = [n + n_carry]
    order = [*captured, *[n + k for k in carry], *rows]
    outputs = [*carry, *distinct]
    where = {j: at for at, j in enumerate(outputs)}
    where |= {j: where[i] for j, i in first.items()}
    if order == list(range(len(body.inputs))) and len(outputs) == len(body.outputs):
        return instruction, where
    taken = inputs_at(order)
    trimmed = attrs.evolve(
        loop,
        body=from_these(body, taken, outputs=[body.outputs[j] for j in outputs]),
        stop=loop.stop and from_these(loop.stop, taken[: len(order) - len(rows)]),
        n_carry=len(carry),
        n_xs=len(rows),
        n_ys=len(distinct),
        moving=frozenset(),
    )
    operands = tuple([instruction.operands[i] for i in order])
    return instruction.but(operands=operands, options={"loop": trimmed}), where


def _trimmed_branch(instruction: Instruction, used: set[int]) -> tuple[Instruction, dict[int, int]]:
    """A branch that returns only the values used, and the new position of each."""
    branch: Branch = instruction.options["branch"]
    outputs = sorted(used)
    where = {j: at for at, j in enumerate(outputs)}
    needed: set[int] = set()
    for code in (branch.on_true, branch.on_false):
        reach = _reached(code)
        for j in outputs:
            needed |= reach(code.outputs[j])
    order = sorted(needed)
    if len(order) == len(branch.on_true.inputs) and len(outputs) == len(branch.on_true.outputs):
        return instruction, where
    codes = [
        from_these(code, inputs_at(order), outputs=[code.outputs[j] for j in outputs])
        for code in (branch.on_true, branch.on_false)
    ]
    operands = (instruction.operands[0], *[instruction.operands[1 + i] for i in order])
    return instruction.but(operands=operands, options={"branch": Branch(*codes)}), where


def _reached(code: Code) -> Callable[[Any], set[int]]:
    """Which inputs a value of a program depends on."""
    known: dict[Any, set[int]] = {Ref("input", i): {i} for i in range(len(code.inputs))}
    for i, instruction in enumerate(code.instructions):
        inputs: set[int] = set()
        for x in instruction.operands:
            inputs |= known.get(x, set())
        known[Ref("instruction", i)] = inputs
    return lambda x: known.get(x, set())
