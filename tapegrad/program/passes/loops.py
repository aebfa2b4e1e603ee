"""Loops and branches: unused results go, and the bodies are improved.

A loop keeps many values for derivatives, of which few are read: only those that the program needs
are left. What does not depend on the carry or the rows is computed before the loop.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs

from tapegrad.core.primitive import Primitive
from tapegrad.ops.casting import copy
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.control.body import from_these, loop_of, settled
from tapegrad.program.control.loop import Branch
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.ir import Instruction, Ref, inputs_at, needed
from tapegrad.program.program import Improvement, improved, rule

_NESTED: frozenset[Primitive] = LOOPS | {COND}


@Improvement
def trim_loops(builder: Builder) -> None:
    """Loops and branches return only what is read, and take only what they need for that.

    Fires on each of them: a loop keeps more for its derivatives than they read.
    """
    n = -1
    while len(builder.instructions) > n:
        # what one loop does not take, another need not return
        builder.tidy()
        n = len(builder.instructions)
        builder.rewrite(_trim, _NESTED)


def _trim(builder: Builder, instruction: Instruction) -> None:
    """Have a loop or a branch return only the values that are used."""
    ((option, held),) = instruction.options.items()
    is_loop, stop = instruction.op in LOOPS, held.bodies.get("stop")
    codes = [code for code in held.bodies.values() if code is not stop]
    inputs, outputs = inputs_at(range(len(codes[0].inputs))), codes[0].outputs
    captured, carried, rows = held.inputs if is_loop else (inputs, [], [])
    known = dict(zip(inputs, instruction.operands[not is_loop :], strict=True))
    parts = {i: builder.instructions[i] for i in sorted(builder.users[builder.at])}
    # a carry that never changes is captured, and is after the loop as it was before
    stands = {k: known[x] for k, x in enumerate(carried) if outputs[k] == x}
    stands = {k: x for k, x in stands.items() if type(x) is Ref}
    wanted, n = {x.options["index"] for x in parts.values()} - stands.keys(), -1
    for_stop = set() if stop is None else needed(stop, stop.outputs)
    while len(wanted) > n:
        n = len(wanted)
        read = for_stop.union(*[needed(x, [x.outputs[j] for j in wanted]) for x in codes])
        # what a step reads of the carry, the one before it gives
        wanted |= {k for k, x in enumerate(carried) if x in read} - stands.keys()
    kept = {j: at for at, j in enumerate(sorted(wanted))}
    captured = [x for x in (*captured, *[carried[k] for k in stands]) if x in read]
    # the rows may determine the number of steps
    rows = [x for x in rows if x in read] or rows[: is_loop and held.length is None]
    taken = captured, [carried[k] for k in kept if k < len(carried)], rows
    order = [*itertools.chain(*taken)]
    if len(order) == len(inputs) and len(kept) == len(outputs):
        return
    if is_loop:
        held = loop_of(held, *taken, [outputs[j] for j in kept])
    else:
        held = Branch(*[from_these(x, order, [x.outputs[j] for j in kept]) for x in codes])
    operands = (*instruction.operands[: not is_loop], *[known[x] for x in order])
    whole = builder.append(instruction.but(operands=operands, options={option: held}))
    for i, x in parts.items():
        j = x.options["index"]
        if j not in stands:
            stands[j] = builder.append(x.but(operands=(whole,), options={"index": kept[j]}))
        builder.replace(i, stands[j])


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
