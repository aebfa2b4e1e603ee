"""Bodies run instruction by instruction, where that takes less time than writing source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapegrad.declare.abstract import forward_of
from tapegrad.program.ir import Code, Ref

Values = list[Any]


def caller(code: Code) -> Callable[[Values], Values]:
    """A function that computes a program's outputs from its inputs."""
    n = len(code.inputs)
    table: Values = [None] * n + [x.array for x in code.constants]
    places: dict[Any, int] = {Ref("input", i): i for i in range(n)}
    places |= {Ref("constant", i): n + i for i in range(len(code.constants))}

    def place(x: Any) -> int:
        if type(x) is Ref:
            return places[x]
        table.append(x)
        return len(table) - 1

    steps = []
    for i, made in enumerate(code.instructions):
        operands = tuple(map(place, made.operands))
        places[Ref("instruction", i)] = len(table)
        steps.append((made, operands, len(table)))
        table.append(None)
    outputs = list(map(place, code.outputs))

    def call(inputs: Values) -> Values:
        values = list(table)
        values[:n] = inputs
        for made, operands, at in steps:
            given = [values[i] for i in operands]
            if made.number:
                result = forward_of(made.op, given)(*given, **made.options)
                result = result.item() if isinstance(result, np.generic) else result
            else:
                result = made.op.forward(*given, **made.options)
                if isinstance(result, np.generic | float | int):
                    result = np.asarray(result)
            values[at] = result
        return [values[i] for i in outputs]

    return call
