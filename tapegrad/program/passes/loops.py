"""Passes on loops and branches: drop unused results, improve the bodies, hoist invariant work.

A loop stores many values for its derivatives, which read few of them: `trim_loops` drops the rest.
`hoist` moves instructions that depend on neither carry nor rows before the loop.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from tapegrad.core.primitive import Primitive
from tapegrad.ops.casting import copy
from tapegrad.ops.product import matmul
from tapegrad.ops.shape import transpose
from tapegrad.program.builder import Builder
from tapegrad.program.control.extraction import extract_code, extract_loop, split_invariant
from tapegrad.program.control.loop import Branch, Loop
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.dataflow import dependencies
from tapegrad.program.ir import Instruction, Operand, Ref, input_refs
from tapegrad.program.program import Improvement, rule, run_passes

_NESTED: frozenset[Primitive] = LOOPS | {COND}


@Improvement
def trim_loops(builder: Builder) -> None:
    """Drop the results of loops and branches that nothing reads, and what only these need.

    Fires on every loop and branch: a loop keeps more for its derivatives than they read.
    """
    n = -1
    while len(builder.instructions) > n:
        # an operand that one loop no longer takes may be a result that another need not return
        builder.drop_unused()
        n = len(builder.instructions)
        builder.rewrite(_trim, _NESTED)


def _trim(builder: Builder, instruction: Instruction) -> None:
    """Trim a loop or a branch."""
    if instruction.op in LOOPS:
        _trim_loop(builder, instruction, instruction.options["loop"])
    else:
        _trim_branch(builder, instruction, instruction.options["branch"])


def _trim_branch(builder: Builder, instruction: Instruction, branch: Branch) -> None:
    """Keep the results of a branch that are used, and the operands that these need."""
    codes, parts = (branch.on_true, branch.on_false), _used_parts(builder)
    inputs, n_results = input_refs(range(len(codes[0].inputs))), len(codes[0].outputs)
    kept = sorted(parts)
    read = set[Any]().union(*[dependencies(x, [x.outputs[j] for j in kept]) for x in codes])
    taken = [x for x in inputs if x in read]
    if len(taken) == len(inputs) and len(kept) == n_results:
        return
    trimmed = Branch(*[extract_code(x, taken, [x.outputs[j] for j in kept]) for x in codes])
    pred, *operands = instruction.operands
    operand_of = dict(zip(inputs, operands, strict=True))
    operands = [pred, *[operand_of[x] for x in taken]]
    whole = builder.append(
        instruction.evolve(operands=tuple(operands), options={"branch": trimmed})
    )
    _replace_parts(builder, parts, whole, kept)


def _trim_loop(builder: Builder, instruction: Instruction, loop: Loop) -> None:
    """Keep the results of a loop that are used, and the operands and carries that these need."""
    (captured, carry, rows), outputs = loop.inputs, loop.body.outputs
    operand_of = dict(zip((*captured, *carry, *rows), instruction.operands, strict=True))
    parts = _used_parts(builder)
    # a carry that no step changes is captured, and its last value is its first
    unchanged = {k: operand_of[x] for k, x in enumerate(carry) if outputs[k] == x}
    unchanged = {k: x for k, x in unchanged.items() if type(x) is Ref}
    read_by_stop = set() if loop.stop is None else dependencies(loop.stop, loop.stop.outputs)
    wanted = parts.keys() - unchanged.keys()
    while True:
        read = read_by_stop | dependencies(loop.body, [outputs[j] for j in wanted])
        # the step before computes each carry that a step reads
        carried = {k for k, x in enumerate(carry) if x in read} - unchanged.keys()
        if carried <= wanted:
            break
        wanted |= carried
    kept = sorted(wanted)
    captured = [x for x in (*captured, *[carry[k] for k in unchanged]) if x in read]
    # the rows may determine the number of steps
    rows = [x for x in rows if x in read] or rows[: loop.length is None]
    taken = captured, [carry[k] for k in kept if k < loop.n_carry], rows
    order = [*itertools.chain(*taken)]
    if len(order) == len(operand_of) and len(kept) == len(outputs):
        return
    trimmed = extract_loop(loop, *taken, [outputs[j] for j in kept])
    operands = tuple([operand_of[x] for x in order])
    whole = builder.append(instruction.evolve(operands=operands, options={"loop": trimmed}))
    _replace_parts(builder, parts, whole, kept, unchanged)


def _used_parts(builder: Builder) -> dict[int, list[int]]:
    """Return the instructions that use each result of the visited one, by position."""
    parts: dict[int, list[int]] = {}
    for i in sorted(builder.users[builder.number]):
        parts.setdefault(builder.instructions[i].options["index"], []).append(i)
    return parts


def _replace_parts(
    builder: Builder,
    parts: Mapping[int, Sequence[int]],
    whole: Ref,
    kept: Sequence[int],
    known: Mapping[int, Operand] = MappingProxyType({}),
) -> None:
    """Replace the used results by results of the trimmed instruction.

    Parameters
    ----------
    builder
        The program.
    parts
        The instructions that use each result of the instruction before it was trimmed.
    whole
        The trimmed instruction.
    kept
        The former positions of its results.
    known
        The other values that replace results, by position.
    """
    for j, numbers in parts.items():
        result = known.get(j)
        for i in numbers:
            if result is None:
                index = {"index": kept.index(j)}
                result = builder.append(
                    builder.instructions[i].evolve(operands=(whole,), options=index)
                )
            builder.replace(i, result)


@rule(*_NESTED, complex=True)
def improve_bodies(builder: Builder, instruction: Instruction) -> Any:
    """``loop(body) -> loop(improved(body))``; branches likewise. Runs all passes on each body.

    Fires on every loop and branch.
    """
    ((option, held),) = instruction.options.items()
    better = {name: run_passes(code, builder.passes) for name, code in held.bodies.items()}
    return instruction.evolve(options={option: attrs.evolve(held, **better)})


@rule(*LOOPS, complex=True)
def hoist(builder: Builder, instruction: Instruction) -> Any:
    """``loop(f(g(w), c)) -> loop(f(v, c))`` after ``v = g(w)``, for captured values w.

    Fires on a transposed weight that each step multiplies by; it is copied to C order.
    """
    apart = split_invariant(instruction.options["loop"])
    if apart is None:
        return None
    (early, left), n = apart, instruction.options["loop"].n_captured
    values = builder.inline(early, instruction.operands[:n], instruction.stage)
    factors = {y.operands[1] for y in left.body.instructions if y.op is matmul}
    for k, x in enumerate(early.outputs):
        is_factor = x.kind == "instruction" and Ref("input", k) in factors
        if is_factor and early.definition(x).op is transpose:
            values[k] = builder.emit(copy, values[k], note="products are faster in C order")
    operands = (*values, *instruction.operands[n:])
    return instruction.evolve(operands=operands, options={"loop": left})
