"""Tangents and cotangents of programs: the bodies of the derivatives of loops and branches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tapegrad.core.forward import push_forward
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Tensor
from tapegrad.core.writing import (
    last_record,
)
from tapegrad.declare.batching import repeat_for_batch
from tapegrad.errors.lines import call_at_place
from tapegrad.program.control.extraction import input_for_value, zeros_for
from tapegrad.program.control.tracing import record_again, record_program, replay_code
from tapegrad.program.dataflow import dependents, make_interpreter
from tapegrad.program.ir import (
    Code,
    Input,
    Instruction,
    Ref,
    input_refs,
)
from tapegrad.program.program import Program
from tapegrad.transforms.replay import batch_call


def derivative_program(
    code: Code, is_backward: bool, moved: Sequence[int], wanted: Sequence[int]
) -> Program:
    """A program and its backward pass, or its forward pass.

    Parameters
    ----------
    code
        The program.
    is_backward
        Whether cotangents pass from its outputs to its inputs; or else tangents to its outputs.
    moved
        The values whose cotangents or tangents are further inputs: numbers of inputs and, after
        these, of outputs.
    wanted
        Those whose cotangents or tangents are returned.
    """
    n = len(code.inputs)
    ends = [*input_refs(range(n)), *code.outputs]

    def compute_derivatives(tensors: list[Tensor]) -> list[Any]:
        values = [*tensors[:n], *replay_code(code, tensors[:n])]
        seeds: dict[Tensor, Any] = {}
        for i, t in zip(moved, tensors[n:], strict=True):
            x = values[i]
            if type(x) is Tensor:
                seeds[x] = seeds[x] + t if x in seeds else t
        pairs = [(values[i], ends[i]) for i in wanted]
        asked = tuple([x for x, _ in pairs if type(x) is Tensor])
        tape = Tape(last_record(), tensors[-1], asked)
        known = sweep([tape], seeds) if is_backward else push_forward(tape, seeds, asked)
        return [
            known[x] if type(x) is Tensor and x in known else zeros_for(code, y) for x, y in pairs
        ]

    likes = [input_for_value(code.definition(ends[i])) for i in moved]
    # the cotangent of a Python number is an array too
    prefix = "d_" if is_backward else "t_"
    more = [Input(prefix + x.path, x.shape, x.dtype) for x in likes]
    return record_program(code.label, [*code.inputs, *more], compute_derivatives)


def find_varying(code: Code, batched: Sequence[bool]) -> list[bool]:
    """Return for each output whether it differs between examples if these inputs do."""
    differ = dependents(code, [Ref("input", i) for i, b in enumerate(batched) if b])
    return [x in differ for x in code.outputs]


def batch_code(code: Code, batched: Sequence[bool], n: int, wanted: Sequence[bool]) -> Program:
    """Batch a program: it returns the wanted outputs for each of `n` examples.

    Inputs that differ between examples have the examples' axis in front.
    """

    def pair(x: Any) -> tuple[Any, bool]:
        return x if type(x) is tuple else (x, False)

    def apply(instruction: Instruction, values: list[Any]) -> tuple[Any, bool]:
        pairs, once = [*map(pair, values)], partial(record_again, instruction)
        call = instruction.op, instruction.options, pairs, once
        return call_at_place(instruction.place, batch_call, *call)

    def fn(tensors: list[Tensor]) -> list[Any]:
        results = make_interpreter(code, apply)(zip(tensors, batched, strict=True))
        pairs = zip(map(pair, results), wanted, strict=True)
        return [repeat_for_batch(x, b, n) if w else x for (x, b), w in pairs]

    inputs = [
        Input(x.path, (n, *x.shape), x.dtype) if b else x
        for x, b in zip(code.inputs, batched, strict=True)
    ]
    return record_program(code.label, inputs, fn, code.constants)
