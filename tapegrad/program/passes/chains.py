"""Sums as a whole: all the adds that lead to one, and its terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapegrad.ops.arithmetic import add
from tapegrad.program.builder import Builder
from tapegrad.program.ir import Instruction

Improve = Callable[[Builder, Instruction, list[Any]], Any]


def rewrite_sums(builder: Builder, improve: Improve) -> None:
    """Replace each sum by what `improve` makes of it and its terms.

    A sum consists of all the adds that are used only in it. A sum that is used elsewhere too is
    one term of a larger sum; otherwise a long chain of sums would take quadratic time.
    """
    if not builder.has((add,)):
        return
    inside = _sums_inside(builder)

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at in inside or instruction.number:
            return None
        return improve(builder, instruction, _terms(builder, instruction, inside))

    builder.rewrite(visit, (add,))


def _sums_inside(builder: Builder) -> set[int]:
    """The adds whose only use is as a term of a larger sum."""
    used = builder.users()
    inside = set()
    for i, instruction in builder.in_order():
        if instruction.op is add:
            by = used.get(builder.refs[i], [])
            if len(by) == 1 and by != [-1]:  # -1 is a result
                user = builder.instructions[by[0]]
                if user.op is add and user.shape == instruction.shape:
                    inside.add(i)
    return inside


def _terms(builder: Builder, instruction: Instruction, inside: set[int]) -> list[Any]:
    """The terms of a sum: the operands of an add, and those of the adds inside."""
    terms: list[Any] = []
    waiting: list[Any] = list(reversed(instruction.operands))
    while waiting:
        x = waiting.pop()
        inner = builder.source(x, add)
        if inner is not None and not inner.number and x.index in inside:
            waiting += reversed(inner.operands)
        else:
            terms.append(x)
    return terms
