"""Programs of one example as programs of a batch, for the bodies of loops and branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import append
from tapegrad.declare.batching import filled
from tapegrad.ops.indexing import index_select
from tapegrad.ops.record import stop_gradient
from tapegrad.program.control.body import program_of
from tapegrad.program.ir import Code, Input, Ref
from tapegrad.program.program import Program
from tapegrad.transforms.replay import apply_batched

Has = Sequence[bool]


def differing(code: Code, batched: Has) -> list[bool]:
    """Which outputs of a program differ between examples, if these inputs do."""
    found: list[bool] = []

    def of(x: Any) -> bool:
        if type(x) is not Ref or x.kind == "constant":
            return False
        return batched[x.index] if x.kind == "input" else found[x.index]

    for made in code.instructions:
        found.append(any(map(of, made.operands)))
    return [of(x) for x in code.outputs]


def run_for_all(code: Code, inputs: Sequence[Any], batched: Has, n: int) -> list[tuple[Any, bool]]:
    """The outputs of a program for a batch, recorded, and which of them have the batch axis."""
    values: list[tuple[Any, bool]] = []

    def of(x: Any) -> tuple[Any, bool]:
        if type(x) is not Ref:
            return x, False
        if x.kind == "input":
            return inputs[x.index], batched[x.index]
        return (code.constants[x.index].array, False) if x.kind == "constant" else values[x.index]

    for i, made in enumerate(code.instructions):
        given = [of(x) for x in made.operands]
        operands, own = tuple([x for x, _ in given]), tuple([b for _, b in given])
        options = dict(made.options)
        if any(own):
            like = code.like(Ref("instruction", i))
            values.append((apply_batched(made.op, options, own, operands, n, like), True))
        else:
            values.append((append(made.op, operands, options), False))
    return [of(x) for x in code.outputs]


def batch_inputs(code: Code, batched: Has, n: int) -> list[Input]:
    """The inputs of a program; those that differ get an axis for the examples."""
    return [
        attrs.evolve(x, shape=(n, *x.shape), number=None) if b else x
        for x, b in zip(code.inputs, batched, strict=True)
    ]


def code_for_all(code: Code, batched: Has, n: int, wanted: Has) -> Program:
    """A program for a batch that returns these outputs for each example."""

    def fn(tensors: list[Tensor]) -> list[Any]:
        found = run_for_all(code, tensors, batched, n)
        return [filled(x, b, n) if w else x for (x, b), w in zip(found, wanted, strict=True)]

    return program_of(code.label, batch_inputs(code, batched, n), fn)


def nothing(code: Code, batched: Has, n: int) -> Program:
    """A program with the same inputs that returns zeros for each example."""

    def fn(tensors: list[Tensor]) -> list[Any]:
        likes = [code.like(x) for x in code.outputs]
        return [np.zeros((n, *x.shape), x.dtype) for x in likes]

    return program_of(code.label, batch_inputs(code, batched, n), fn)


def where_each(condition: Any, x: Any, y: Any) -> Any:
    """One array for the examples where the condition holds, another for the rest.

    An array without a batch axis is the same for all examples.
    """
    shape = (condition.shape[0], *(1,) * (x.ndim - 1))
    return np.where(np.reshape(condition, shape), x, y)


def safe(condition: Any, operands: Sequence[Any], batched: Has) -> list[Any]:
    """The operands, where examples that take no part get those of one that does.

    Their results are discarded, but must be neither infinite nor nan: a zero cotangent times those
    would be nan.
    """
    first = np.argmax(condition)
    # an array cannot be indexed with a record, nor does np.take dispatch on indices
    return [
        where_each(condition, x, stop_gradient(index_select(x, first))) if b else x
        for x, b in zip(operands, batched, strict=True)
    ]
