"""Find the dependencies between values of a program, and interpret a program."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any

from tapegrad.program.ir import Code, Instruction, Ref, input_refs, instruction_refs


def make_interpreter(
    code: Code, apply: Callable[[Instruction, list[Any]], Any]
) -> Callable[[Iterable[Any]], list[Any]]:
    """Make a function that computes a program's outputs from its inputs, for values of any kind.

    Parameters
    ----------
    code
        The program.
    apply
        A function that computes a result from an instruction and the values of its operands.
    """
    n = len(code.inputs)
    table = [None] * n + [x.array for x in code.constants]
    places: dict[Any, int] = {x: i for i, x in enumerate(input_refs(range(n)))}
    places |= {Ref("constant", i): n + i for i in range(len(code.constants))}

    def place(x: Any) -> int:
        if type(x) is Ref:
            return places[x]
        table.append(x)
        return len(table) - 1

    steps = []
    for ref, instruction in zip(
        instruction_refs(code.instructions), code.instructions, strict=True
    ):
        operands = [place(x) for x in instruction.operands]
        places[ref] = len(table)
        steps.append((instruction, operands, len(table)))
        table.append(None)
    outputs = [place(x) for x in code.outputs]

    def call(inputs: Iterable[Any]) -> list[Any]:
        values = list(table)
        values[:n] = inputs
        for instruction, operands, at in steps:
            values[at] = apply(instruction, [values[i] for i in operands])
        return [values[i] for i in outputs]

    return call


def dependents(code: Code, sources: Iterable[Ref]) -> set[Ref]:
    """Return the sources, and the values that depend on them."""
    depends = set(sources)
    for ref, instruction in zip(
        instruction_refs(code.instructions), code.instructions, strict=True
    ):
        if not depends.isdisjoint(instruction.operands):
            depends.add(ref)
    return depends


def dependencies(code: Code, wanted: Iterable[Any], known: Container[Any] = ()) -> set[Any]:
    """Return the wanted values and their dependencies, without the dependencies of known values."""
    dependencies = set(wanted)
    refs = instruction_refs(code.instructions)
    for ref, instruction in zip(reversed(refs), reversed(code.instructions), strict=True):
        if ref in dependencies and ref not in known:
            dependencies.update(instruction.operands)
    return dependencies
