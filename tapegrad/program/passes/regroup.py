"""Instructions that are computed together, where the first of them stood."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from tapegrad.program.builder import Builder
from tapegrad.program.ir import Ref

New = Callable[[Any], Any]


def regroup(
    builder: Builder,
    grouped: Container[int],
    needs: Callable[[int], Iterable[Any]],
    join: Callable[[int, New], Iterable[tuple[int, Ref]]],
) -> None:
    """Put one computation in the place of each group, after all that its members use.

    Parameters
    ----------
    builder
        The program.
    grouped
        The numbers of the instructions that belong to a group.
    needs
        The operands of an instruction, and of those in its group.
    join
        Emits what the group of an instruction becomes, and gives each member's number with its new
        value; the function that it is given says what an operand has become.
    """
    order, builder.order = builder.order, []
    done: set[int] = set()
    replaced: dict[Any, Any] = {}

    def new(x: Any) -> Any:
        return replaced.get(x, x)

    def needed(i: int) -> list[int]:
        return [
            x.index
            for x in needs(i)
            if type(x) is Ref and x.kind == "instruction" and x.index not in done
        ]

    def put(i: int) -> None:
        made = builder.instructions[i]
        if i in grouped:
            builder.stage = made.stage
            for j, value in join(i, new):
                replaced[builder.refs[j]] = value
                done.add(j)
            return
        if not replaced.keys().isdisjoint(made.operands):
            builder.instructions[i] = made.on(tuple(map(new, made.operands)))
        builder.order.append(i)
        done.add(i)

    for i in order:
        waiting = [i]
        while waiting:
            j = waiting[-1]
            first = [] if j in done else needed(j)
            if first:
                waiting += first
                continue
            waiting.pop()
            if j not in done:
                put(j)
    builder.replace_outputs(replaced)
