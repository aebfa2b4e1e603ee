"""Rows are shifted by one number for all of them, where any number would do.

A softmax subtracts the largest number of each row, so that exp does not overflow; the result does
not depend on what is subtracted. Finding and subtracting one number for all rows takes a fraction
of the time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from typing import Any

from tapegrad.ops.arithmetic import add, divide, multiply, negative, reciprocal, subtract
from tapegrad.ops.exponential import exp, log
from tapegrad.ops.picking import below_largest, pick
from tapegrad.ops.reduction import max as max_
from tapegrad.ops.reduction import sum as sum_
from tapegrad.ops.shape import broadcast_to
from tapegrad.program.builder import Builder
from tapegrad.program.improvement import improvement
from tapegrad.program.ir import Instruction
from tapegrad.program.templates import RESHAPES

_FEW = 1 << 8
# larger multiples of the shift might overflow
_MOST = 2

# how a value changes if c is added to the shift of each row: by n * c, or by a factor of exp(n * c)
Change = tuple[str, int]


@improvement
def shift_rows(builder: Builder) -> None:
    """``x - max(x)`` of each row becomes `below_largest`, if only that depends on it.

    Fires on a softmax, and on a cross entropy. The pass proves that the results do not depend on
    the shift: it cancels out, first as a term and then as a factor.
    """
    if not builder.has((max_,)):
        return
    place = {i: k for k, i in enumerate(builder.order)}
    shifted: dict[int, bool] = {}
    for i, instruction in builder.in_order():
        if instruction.op is max_ and _is_of_rows(builder, instruction):
            shifted |= _shifted(builder, i, instruction.operands[0], place)

    if not shifted:
        return

    def visit(builder: Builder, instruction: Instruction) -> Any:
        if builder.at not in shifted:
            return None
        return builder.emit(below_largest, instruction.operands[0], logs=shifted[builder.at])

    builder.rewrite(visit, (subtract,))


def _is_of_rows(builder: Builder, instruction: Instruction) -> bool:
    (x,) = instruction.operands
    shape = builder.shape(x)
    if not shape or math.prod(shape) < _FEW or builder.dtype(x) != instruction.dtype:
        return False
    last = (-1, len(shape) - 1, (-1,), (len(shape) - 1,))
    return instruction.dtype.char in "fd" and instruction.options.get("axis") in last


def _shifted(builder: Builder, start: int, x: Any, place: Mapping[int, int]) -> dict[int, bool]:
    """The instructions that subtract a row's largest number; none if it has other uses.

    And whether logarithms are taken of what depends on the shift.
    """
    rows = builder.shape(x)[:-1]
    users = builder.users()
    found: set[int] = set()
    logs = False
    # views of the largest, and then what depends on the shift, in order
    views = {builder.refs[start]}
    changes: dict[Any, Change] = {}
    seen: set[int] = set()
    waiting: list[tuple[int, int]] = []

    def wait(i: int) -> bool:
        of_this = users.get(builder.refs[i], ())
        for user in of_this:
            if user >= 0 and user not in seen:
                seen.add(user)
                heapq.heappush(waiting, (place[user], user))
        return -1 not in of_this

    more = wait(start)
    while more and waiting:
        _, i = heapq.heappop(waiting)
        instruction, ref = builder.instructions[i], builder.refs[i]
        if not views.isdisjoint(instruction.operands):
            if instruction.op in _RESHAPES:
                views.add(ref)
                more = wait(i)
                continue
            off = instruction.op is subtract and instruction.operands[0] == x
            if not off or instruction.shape != builder.shape(x):
                return {}
            found.add(i)
            change: Change | None = ("sum", -1)
        else:
            change = _changed(builder, instruction, changes, rows)
        if change is None or abs(change[1]) > _MOST:
            return {}
        if change[1]:
            logs = logs or instruction.op is log
            changes[ref] = change
            more = wait(i)
    return dict.fromkeys(found, logs) if more else {}


def _changed(
    builder: Builder, instruction: Instruction, changes: Mapping[Any, Change], rows: Any
) -> Change | None:
    """How a result changes with the shift; None if that is unknown."""
    op, given = instruction.op, instruction.operands
    if not _in_rows(instruction.shape, rows):
        return None
    for x in given:
        if x in changes and op in _RULES and len(builder.shape(x)) != len(instruction.shape):
            return None
    if op in _RULES:
        return _RULES[op](*[changes.get(x, ("", 0)) for x in given])
    # from here on one operand changes, and the result keeps its rows
    first = changes.get(given[0]) if not any(x in changes for x in given[1:]) else None
    if op is broadcast_to and len(builder.shape(given[0])) != len(instruction.shape):
        return None
    if op in _RESHAPES or op is pick:
        return first
    last = (-1, len(rows), (-1,), (len(rows),))
    if op is sum_ and instruction.options.get("axis") in last and first and first[0] == "factor":
        return first if len(builder.shape(given[0])) == len(rows) + 1 else None
    return None


def _in_rows(shape: tuple[int, ...], rows: tuple[int, ...]) -> bool:
    """Whether an array has a number, or a row of them, for each row."""
    return shape == rows or shape[:-1] == rows


def _sum(sign: int) -> Callable[[Change, Change], Change | None]:
    def rule(a: Change, b: Change) -> Change | None:
        if "factor" not in (a[0], b[0]):
            return "sum", a[1] + sign * b[1]
        return a if a == b else None

    return rule


def _product(sign: int) -> Callable[[Change, Change], Change | None]:
    def rule(a: Change, b: Change) -> Change | None:
        return None if "sum" in (a[0], b[0]) else ("factor", a[1] + sign * b[1])

    return rule


_RESHAPES: frozenset[Any] = RESHAPES | {broadcast_to}

# of elementwise ops, by how the operands change
_RULES: Mapping[Any, Callable[..., Change | None]] = {
    add: _sum(1),
    subtract: _sum(-1),
    multiply: _product(1),
    divide: _product(-1),
    exp: lambda a: ("factor", a[1]) if a[0] == "sum" else None,
    log: lambda a: ("sum", a[1]) if a[0] == "factor" else None,
    negative: lambda a: ("sum", -a[1]) if a[0] == "sum" else a,
    reciprocal: lambda a: ("factor", -a[1]) if a[0] == "factor" else None,
}
