"""Loops and branches: unused results go, and the bodies are improved.

A loop keeps many values for derivatives, of which few are read: only those that the program needs
are left. What does not depend on the carry or the rows is computed before the loop.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs

from tapegrad.core.rules import Rules
from tapegrad.ops.casting import copy
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.control.body import from_these, loop_of, settled
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.ir import Instruction, Ref, inputs_at, needed
from tapegrad.program.program import Improvement, improved, rule

_NESTED: frozenset[Rules] = LOOPS | {COND}


@Improvement
def trim_loops(builder: Builder) -> None:
    """Loops and branches return only what is read, and take only what they need for that.

    Fires on each of them: a loop keeps more for its derivatives than they read.
    """
    builder.tidy()
    while _trim(builder):
        # what one loop does not take, another need not return
        builder.tidy()


def _trim(builder: Builder) -> bool:
    """Trim each loop and branch; return whether any changed."""
    n = len(builder.instructions)

    def visit(builder: Builder, instruction: Instruction) -> None:
        trim = _trimmed_loop if instruction.op in LOOPS else _trimmed_branch
        parts = {i: builder.instructions[i] for i in sorted(builder.users[builder.at])}
        left, places = trim(instruction, {x.options["index"] for x in parts.values()})
        if left is not instruction:
            whole = builder.append(left)
            for i, x in parts.items():
                place = places[x.options["index"]]
                if type(place) is not Ref:
                    place = builder.append(x.but(operands=(whole,), options={"index": place}))
                builder.replace(i, place)

    builder.rewrite(visit, _NESTED)
    return len(builder.instructions) > n


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
    apart = settled(instruction.options["loop"])
    if apart is None:
        return None
    (early, left), n = apart, instruction.options["loop"].n_captured
    values = builder.inlined(early, instruction.operands[:n], instruction.stage)
    factors = {y.operands[1] for y in left.body.instructions if y.op is matmul}
    for k, x in enumerate(early.outputs):
        is_factor = x.kind == "instruction" and Ref("input", k) in factors
        if is_factor and early.of(x).op is transpose:
            values[k] = builder.emit(copy, values[k], note="products are faster in C order")
    operands = (*values, *instruction.operands[n:])
    return instruction.but(operands=operands, options={"loop": left})


# --- trimming -------------------------------------------------------------------------------


def _trimmed_loop(instruction: Instruction, used: set[int]) -> tuple[Instruction, dict[int, Any]]:
    """A loop that returns only the values used, and the new position of each, or the value."""
    loop: Loop = instruction.options["loop"]
    body, (captured, carried, rows) = loop.body, loop.inputs
    for_stop = set() if loop.stop is None else needed(loop.stop, loop.stop.outputs)
    # a carry that never changes is captured, and is after the loop as it was before
    first = {k: instruction.operands[x.index] for k, x in enumerate(carried)}
    still = {k for k, x in first.items() if type(x) is Ref and body.outputs[k] == carried[k]}
    wanted, n = used - still, -1
    while len(wanted) > n:
        n = len(wanted)
        read = needed(body, [body.outputs[j] for j in wanted]) | for_stop
        # what a step reads of the carry, the one before it gives
        wanted |= {k for k, x in enumerate(carried) if x in read} - still
    kept = sorted(wanted)
    captured = [x for x in (*captured, *[carried[k] for k in sorted(still)]) if x in read]
    # the rows may determine the number of steps
    rows = [x for x in rows if x in read] or rows[: loop.length is None]
    taken = captured, [carried[k] for k in kept if k < loop.n_carry], rows
    where: dict[int, Any] = {j: at for at, j in enumerate(kept)}
    where |= {k: first[k] for k in used & still}
    order = [*itertools.chain(*taken)]
    if len(order) == len(body.inputs) and len(kept) == len(body.outputs):
        return instruction, where
    left = loop_of(loop, *taken, [body.outputs[j] for j in kept])
    operands = tuple([instruction.operands[x.index] for x in order])
    return instruction.but(operands=operands, options={"loop": left}), where


def _trimmed_branch(instruction: Instruction, used: set[int]) -> tuple[Instruction, dict[int, int]]:
    """A branch that returns only the values used, and the new position of each."""
    branch: Branch = instruction.options["branch"]
    codes, outputs = [branch.on_true, branch.on_false], sorted(used)
    where = {j: at for at, j in enumerate(outputs)}
    read = set().union(*[needed(code, [code.outputs[j] for j in outputs]) for code in codes])
    inputs = inputs_at(range(len(branch.on_true.inputs)))
    taken = [x for x in inputs if x in read]
    if len(taken) == len(inputs) and len(outputs) == len(branch.on_true.outputs):
        return instruction, where
    codes = [from_these(x, taken, outputs=[x.outputs[j] for j in outputs]) for x in codes]
    operands = (instruction.operands[0], *[instruction.operands[1 + x.index] for x in taken])
    return instruction.but(operands=operands, options={"branch": Branch(*codes)}), where
