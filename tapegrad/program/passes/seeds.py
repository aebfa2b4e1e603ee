"""A factor of all gradients is taken into the cotangent that the sweep begins with.

The sweep is linear in that cotangent, a scalar, so that the learning rate is
multiplied with it once and not with every parameter's gradient.
"""

from __future__ import annotations

from typing import Any

import attrs

from tapegrad.core.seeds import SEED
from tapegrad.ops.arithmetic import add, divide, multiply, negative, positive, subtract
from tapegrad.ops.indexing import getitem, index_select, pick, scatter, segment_sum, unpick
from tapegrad.ops.logic import keep, where
from tapegrad.ops.product import matmul
from tapegrad.ops.record import ascontiguousarray
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import (
    broadcast_to,
    concatenate,
    expand,
    expand_dims,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from tapegrad.program.ir import Instruction, Ref
from tapegrad.program.program import Builder, Program, rewrite

# linear in the first operand, and in all
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


def scale_seeds(program: Program) -> Program:
    """The program with ``k * gradient`` as the gradient of a sweep that begins with k.

    Fires on plain SGD, where each gradient is multiplied by one rate.
    """
    for n in range(len(_seeds(program))):
        program = _scaled(program, _seeds(program)[n])
    return program


def _seeds(program: Program) -> list[int]:
    return [
        i
        for i, instruction in enumerate(program.instructions)
        if instruction.op is SEED and instruction.dtype.char in "fd"
    ]


def _scaled(program: Program, at: int) -> Program:
    """The program with one seed scaled, if all that comes of it is scaled alike."""
    instructions = program.instructions
    dependent = {Ref("instruction", at)}
    for i in range(at + 1, len(instructions)):
        if _is_linear(instructions[i], dependent):
            dependent.add(Ref("instruction", i))
    # what leaves the linear part must be products with one number
    leaving = {x for x in program.outputs if x in dependent}
    staying: set[Any] = set()
    for i in range(at + 1, len(instructions)):
        used = staying if Ref("instruction", i) in dependent else leaving
        used.update(x for x in instructions[i].operands if x in dependent)
    factors = {_factor(program, x, dependent) for x in leaving}
    # what leaves and goes on too would be scaled twice
    if len(factors) != 1 or leaving & staying:
        return program
    (factor,) = factors
    if factor is None:
        return program

    taken: set[Any] = set()

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at == at:
            return builder.emit(multiply, factor, builder.append(instruction))
        if Ref("instruction", builder.at) in leaving:
            scaled = next(x for x in instruction.operands if x != factor)
            taken.add(scaled)
            return scaled
        if taken.intersection(instruction.operands):
            note = "the rate is in the cotangents" if not instruction.note else instruction.note
            return builder.append(attrs.evolve(instruction, note=note))
        return None

    return rewrite(program, visit)


def _is_linear(instruction: Instruction, dependent: set[Ref]) -> bool:
    """Whether a result is linear in the operands that depend on the seed, and so in it."""
    operands = instruction.operands
    on_seed = [x in dependent for x in operands]
    if not any(on_seed):
        return False
    op = instruction.op
    if op in _IN_ALL:
        return all(on_seed)
    if op in _BILINEAR:
        return sum(on_seed) == 1
    if op in (where, keep):
        return not on_seed[0] and all(
            depends or x == 0 for x, depends in zip(operands[1:], on_seed[1:], strict=True)
        )
    return op in _IN_FIRST and on_seed[0] and not any(on_seed[1:])


def _factor(program: Program, x: Ref, dependent: set[Ref]) -> Any:
    """The number that a value is a multiple by, if it is, known from the start."""
    instruction = program.of(x)
    if instruction.op is not multiply:
        return None
    for factor, other in (instruction.operands, instruction.operands[::-1]):
        if other not in dependent or factor in dependent:
            continue
        if type(factor) is not Ref:
            return factor
        if factor.kind == "input" and program.of(factor).number:
            return factor
    return None
