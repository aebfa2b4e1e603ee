"""A factor of all gradients moves to the cotangent that the sweep begins with.

The sweep is linear in that cotangent, a scalar, so the learning rate multiplies it once, instead
of every parameter's gradient.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tapegrad.core.seeds import SEED
from tapegrad.ops.arithmetic import add, divide, multiply, negative, positive, subtract
from tapegrad.ops.indexing import getitem, index_select, scatter, segment_sum
from tapegrad.ops.joining import concatenate, stack
from tapegrad.ops.logic import keep, where
from tapegrad.ops.picking import pick, unpick
from tapegrad.ops.product import matmul
from tapegrad.ops.record import ascontiguousarray
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import (
    broadcast_to,
    expand,
    expand_dims,
    reshape,
    squeeze,
    swapaxes,
    transpose,
)
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction, Ref

# linear in the first operand; linear in all operands
_IN_FIRST = frozenset(
    {
        sum_,
        reshape,
        expand_dims,
        squeeze,
        transpose,
        swapaxes,
        broadcast_to,
        expand,
        negative,
        positive,
        getitem,
        scatter,
        segment_sum,
        index_select,
        pick,
        unpick,
        ascontiguousarray,
        divide,
    }
)
_IN_ALL = frozenset({add, subtract, concatenate, stack})
_BILINEAR = frozenset({multiply, matmul})


@improvement
def scale_seeds(builder: Builder) -> None:
    """``k * gradient`` becomes the gradient of a sweep that begins with k.

    Fires on plain SGD, where each gradient is multiplied by one rate.
    """
    seeds = [i for i, x in builder.in_order() if x.op is SEED and x.dtype.char in "fd"]
    flow: _Flow | None = None
    for seed in seeds:
        flow = flow or _Flow(builder.users(), {i: k for k, i in enumerate(builder.order)})
        found = _factor_of_all(builder, flow, seed)
        if found is not None:
            _scale(builder, seed, *found)
            flow = None


@attrs.frozen
class _Flow:
    """The users of each value, and the position of each instruction."""

    users: Mapping[Ref, Sequence[int]]
    place: Mapping[int, int]


def _factor_of_all(builder: Builder, flow: _Flow, seed: int) -> tuple[Any, set[Ref]] | None:
    """The number that multiplies everything linear in a seed in the end, if there is one.

    Returned with the products by it, which instructions that are not linear in the seed use.
    """
    dependent: set[Ref] = set()
    leaving: set[Ref] = set()
    staying: set[Ref] = set()
    factors: set[Any] = set()
    waiting = [(flow.place[seed], seed)]
    queued = {seed, -1}
    while waiting:
        # in order, so that the operands of an instruction are known
        _, i = heapq.heappop(waiting)
        instruction, ref = builder.instructions[i], builder.refs[i]
        if i != seed and not _is_linear(instruction, dependent):
            leaves = {x for x in instruction.operands if x in dependent}
        else:
            staying.update(x for x in instruction.operands if x in dependent)
            dependent.add(ref)
            used = flow.users.get(ref, ())
            leaves = {ref} if -1 in used else set()
            for user in used:
                if user not in queued:
                    queued.add(user)
                    heapq.heappush(waiting, (flow.place[user], user))
        for x in leaves:
            leaving.add(x)
            factors.add(_factor(builder, x, dependent))
        # a value that both leaves and goes on would be scaled twice
        if None in factors or len(factors) > 1 or leaving & leaves & staying:
            return None
    if not factors or leaving & staying:
        return None
    return factors.pop(), leaving


def _scale(builder: Builder, seed: int, factor: Any, leaving: set[Ref]) -> None:
    taken: set[Any] = set()

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at == seed:
            return builder.emit(multiply, factor, builder.append(instruction))
        if builder.refs[builder.at] in leaving:
            scaled = next(x for x in instruction.operands if x != factor)
            taken.add(scaled)
            return scaled
        if not instruction.note and taken.intersection(instruction.operands):
            return instruction.but(note="the rate is in the cotangents")
        return None

    builder.rewrite(visit)


def _is_linear(instruction: Instruction, dependent: set[Ref]) -> bool:
    """Whether a result is linear in the operands that depend on the seed, and so in it."""
    op, operands = instruction.op, instruction.operands
    on_seed = [x in dependent for x in operands]
    if True not in on_seed:
        return False
    if op in _IN_ALL:
        return all(on_seed)
    if op in _BILINEAR:
        return sum(on_seed) == 1
    if op in (where, keep):
        return not on_seed[0] and all(
            depends or x == 0 for x, depends in zip(operands[1:], on_seed[1:], strict=True)
        )
    return op in _IN_FIRST and on_seed[0] and not any(on_seed[1:])


def _factor(builder: Builder, x: Any, dependent: set[Ref]) -> Any:
    """The number that a value is a multiple by, if it is one and the number is known."""
    instruction = builder.of(x)
    if instruction.op is not multiply:
        return None
    for factor, other in (instruction.operands, instruction.operands[::-1]):
        if other not in dependent:
            continue
        # a number or an input does not depend on the seed itself
        if type(factor) is not Ref:
            return factor
        if factor.kind == "input" and builder.of(factor).number:
            return factor
    return None
