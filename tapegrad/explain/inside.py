"""The runs inside a record, as tapes: steps of a loop, a branch, a checkpointed call."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

import attrs
import numpy as np

from tapegrad.arraylike.text import shown_value
from tapegrad.core.primitive import Parts
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import NO_OPTIONS, Origin, Tensor, primal_of, primals
from tapegrad.core.writing import PARAMETER, advance, write, write_known
from tapegrad.program.control.loop import Loop, code_function
from tapegrad.program.control.ops import COND, LOOPS
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.ir import Code, Instruction
from tapegrad.transforms.checkpoint import CHECKPOINT
from tapegrad.tree.numbers import is_floating

R = TypeVar("R")
HOLDERS = LOOPS | {COND, CHECKPOINT}


@attrs.frozen(eq=False)
class Run:
    """One run inside a record: a step of a loop, a branch, a checkpointed call.

    Attributes
    ----------
    record
        The record that holds the run.
    step
        The number of the step, in the order of execution; None if there is one run.
    tape
        A separate tape with the records of the run; its inputs are parameters.
    sources
        For each input of the run on that tape, the position of the operand that it comes from.
    outputs
        The results of the run: records of the tape, or constants.
    steps
        The steps of a sweep on the tape; empty if there was none.
    """

    record: Tensor
    step: int | None
    tape: Tape
    sources: Mapping[Tensor, int]
    outputs: tuple[Any, ...]
    steps: tuple[Any, ...] = ()

    @property
    def carry(self) -> list[Tensor]:
        """The inputs that a step of a loop gets from the previous step."""
        if self.step is None:
            return []
        loop = self.record._options["loop"]
        return list(self.sources)[loop.n_captured : loop.n_captured + loop.n_carry]

    def __repr__(self) -> str:
        return f"<{self.tape.start.origin.label}: {len(self.tape)} records>"


def runs(record: Tensor) -> Iterator[Run]:
    """Yield the runs of the body that a record holds, in order; none for other ops.

    The body of a loop is a program. Each step is recorded on a tape, line by line, when the
    iteration reaches it. A loop of many steps takes the memory of one step.
    """
    operands = primals(record._operands)
    if record.op is COND:
        yield make_run(record, None, operands[1:])
    elif record.op is CHECKPOINT:
        yield _repeat_call(record)
    elif record.op in LOOPS:
        for t, values in enumerate(step_inputs(record._options["loop"], operands)):
            yield make_run(record, t, values)


def last_run(record: Tensor) -> Run | None:
    """Return the last of `runs`, without the tapes of earlier runs; None if there is none."""
    if record.op not in LOOPS:
        return next(runs(record), None)
    last = deque(
        enumerate(step_inputs(record._options["loop"], primals(record._operands))), maxlen=1
    )
    return make_run(record, *last[0]) if last else None


def step_inputs(loop: Loop, operands: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the inputs of the body of a loop at each step, in order."""
    silent = np.errstate(all="ignore")(code_function(loop.body))
    for _, inputs, _ in loop.run_steps(operands, silent):
        yield inputs


def make_run(record: Tensor, step: int | None, values: Sequence[Any]) -> Run:
    """Run the program that a record holds, on a tape."""
    code, what, first = held_program(record, step)
    tape, inputs, outputs = run_on_tape(
        code, values, f"{code.label}, {what} {_describe_record(record)}"
    )
    sources = {x: first + i for i, x in enumerate(inputs)}
    return Run(record, step, tape, sources, tuple(outputs))


def run_on_tape(
    code: Code, values: Sequence[Any], label: str
) -> tuple[Tape, list[Tensor], list[Any]]:
    """Run a program on a separate tape; return the tape, its inputs and its outputs."""
    current_place: list[Any] = [None]
    origin = Origin(label, find_place=partial(itemgetter(0), current_place))
    last: Any = origin
    inputs: list[Tensor] = []
    for x, like in zip(values, code.inputs, strict=True):
        last = write_known(last, PARAMETER, (), NO_OPTIONS, x, like.path)
        inputs.append(last)

    def write_instruction(instruction: Instruction, operands: list[Any]) -> Any:
        nonlocal last
        current_place[0] = instruction.place
        last = write(last, instruction.op, tuple(operands), dict(instruction.options))
        return last

    with np.errstate(all="ignore"):
        outputs = make_interpreter(code, write_instruction)(inputs)
    parameters = tuple([x for x in inputs if is_floating(x)])
    return Tape(last, origin, parameters), inputs, outputs


def call_outside_recording(call: Callable[..., R], *args: Any) -> R:
    """Call a function outside of any recording that is running."""
    context = copy_context()
    context.run(advance, None)
    return context.run(call, *args)


def held_program(record: Tensor, step: int | None = None) -> tuple[Code, str, int]:
    """Return the program that a record holds, the kind of its runs, and their first operand."""
    if record.op is COND:
        branch, pred = record._options["branch"], primals(record._operands[:1])[0]
        return branch.on_true if pred else branch.on_false, "the branch taken by", 1
    body: Code = record._options["loop"].body
    return body, f"step {step} of", 0


def _describe_record(record: Tensor) -> str:
    return f"the {record.op.name} on line {record.index} of {record.origin.label}"


def _repeat_call(record: Tensor) -> Run:
    """Repeat a checkpointed call on a separate tape."""
    call = record._options["call"]
    inner = record.origin.inner_origin(call.checkpoint.fn)
    origin = attrs.evolve(inner, label=f"{inner.label}, repeated by {_describe_record(record)}")
    tape, outputs = call.repeat_on_own_tape(origin)
    index_of = {x: i for i, x in enumerate(record._operands)}
    # a parameter of this tape may stand for an operand of an enclosing tape
    index_of |= {
        x._operands[0]: i for x, i in index_of.items() if x.op is PARAMETER and x._operands
    }
    sources = {p: index_of[p._operands[0]] for p in tape.parameters if p._operands[0] in index_of}
    return Run(record, None, tape, sources, tuple(outputs))


def displayed_value(record: Tensor, x: Any) -> Any:
    """Return a record's value or cotangent in the form to display."""
    return shown_value(record, primal_of(x))


def primal_cotangent(g: Any) -> Any:
    """Return a cotangent with arrays in place of records, also in its parts."""
    g = primal_of(g)
    return Parts(tuple(primals(g.values))) if type(g) is Parts else g


def known_values(x: Any) -> list[Any]:
    """Return the values of a record or a cotangent, without values that are computed on demand."""
    x = primal_of(x)
    parts = x.values if type(x) is Parts else (x,)
    return [primal_of(y) for y in parts if y is not None and not callable(y)]
