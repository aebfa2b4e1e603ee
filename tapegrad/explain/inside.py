"""Inside a record: a loop's steps, the branch that was taken, a checkpointed call, as tapes."""

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
        The record that holds it.
    step
        The number of the step, in the order in which they run; None if there is one run.
    tape
        The records of the run, on a tape of its own; its inputs are parameters.
    sources
        For each input of the run on that tape, the operand of the record that it comes from.
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
        """The inputs that a step of a loop gets from the one before."""
        if self.step is None:
            return []
        loop = self.record._options["loop"]
        return list(self.sources)[loop.n_captured : loop.n_captured + loop.n_carry]

    def __repr__(self) -> str:
        return f"<{self.tape.start.origin.label}: {len(self.tape)} records>"


def runs(record: Tensor) -> Iterator[Run]:
    """The runs of the body that a record holds, in order; none for a record of any other op.

    The body of a loop is a program. Each step is written on a tape with its values, line by line,
    when the iteration reaches it. A loop of many steps takes the memory of one.
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
    """The last of `runs`, without the tapes of those before; None if there is none."""
    if record.op not in LOOPS:
        return next(runs(record), None)
    last = deque(
        enumerate(step_inputs(record._options["loop"], primals(record._operands))), maxlen=1
    )
    return make_run(record, *last[0]) if last else None


def step_inputs(loop: Loop, operands: Sequence[Any]) -> Iterator[list[Any]]:
    """The inputs of the body of a loop at each step, in order."""
    silent = np.errstate(all="ignore")(code_function(loop.body))
    for _, inputs, _ in loop.run_steps(operands, silent):
        yield inputs


def make_run(record: Tensor, step: int | None, values: Sequence[Any]) -> Run:
    """One run of the program that a record holds, on a tape."""
    code, what, first = held_program(record, step)
    tape, inputs, outputs = run_on_tape(
        code, values, f"{code.label}, {what} {_describe_record(record)}"
    )
    sources = {x: first + i for i, x in enumerate(inputs)}
    return Run(record, step, tape, sources, tuple(outputs))


def run_on_tape(
    code: Code, values: Sequence[Any], label: str
) -> tuple[Tape, list[Tensor], list[Any]]:
    """A run of a program on a tape of its own, its inputs there, and its outputs."""
    now: list[Any] = [None]
    origin = Origin(label, find_place=partial(itemgetter(0), now))
    last: Any = origin
    inputs: list[Tensor] = []
    for x, like in zip(values, code.inputs, strict=True):
        last = write_known(last, PARAMETER, (), NO_OPTIONS, x, like.path)
        inputs.append(last)

    def write_instruction(instruction: Instruction, operands: list[Any]) -> Any:
        nonlocal last
        now[0] = instruction.place
        last = write(last, instruction.op, tuple(operands), dict(instruction.options))
        return last

    with np.errstate(all="ignore"):
        outputs = make_interpreter(code, write_instruction)(inputs)
    parameters = tuple([x for x in inputs if is_floating(x)])
    return Tape(last, origin, parameters), inputs, outputs


def call_outside_recording(call: Callable[..., R], *args: Any) -> R:
    """The result of a call that is no part of a recording that may be running."""
    context = copy_context()
    context.run(advance, None)
    return context.run(call, *args)


def held_program(record: Tensor, step: int | None = None) -> tuple[Code, str, int]:
    """The program that a record holds, the kind of its runs in words, and their first operand."""
    if record.op is COND:
        branch, pred = record._options["branch"], primals(record._operands[:1])[0]
        return branch.on_true if pred else branch.on_false, "the branch taken by", 1
    body: Code = record._options["loop"].body
    return body, f"step {step} of", 0


def _describe_record(record: Tensor) -> str:
    return f"the {record.op.name} on line {record.index} of {record.origin.label}"


def _repeat_call(record: Tensor) -> Run:
    """A checkpointed call, repeated on a tape of its own."""
    call = record._options["call"]
    inner = record.origin.inner_origin(call.checkpoint.fn)
    origin = attrs.evolve(inner, label=f"{inner.label}, repeated by {_describe_record(record)}")
    tape, outputs = call.repeat_on_own_tape(origin)
    places = {x: i for i, x in enumerate(record._operands)}
    # an operand of an enclosing tape was marked on this one
    places |= {x._operands[0]: i for x, i in places.items() if x.op is PARAMETER and x._operands}
    sources = {p: places[p._operands[0]] for p in tape.parameters if p._operands[0] in places}
    return Run(record, None, tape, sources, tuple(outputs))


def displayed_value(record: Tensor, x: Any) -> Any:
    """A record's value or cotangent in the form that is shown."""
    return shown_value(record, primal_of(x))


def primal_cotangent(g: Any) -> Any:
    """A cotangent with arrays in the place of records, also in its parts."""
    g = primal_of(g)
    return Parts(tuple(primals(g.values))) if type(g) is Parts else g


def known_values(x: Any) -> list[Any]:
    """The values of a record or a cotangent; those computed on demand are left out."""
    x = primal_of(x)
    several = x.values if type(x) is Parts else (x,)
    return [primal_of(y) for y in several if y is not None and not callable(y)]
