"""Functions recorded as programs that an op holds: the bodies of loops and branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import attrs
import numpy as np

from tapegrad import tree
from tapegrad.core.forward import push_forward
from tapegrad.core.messages import check_output
from tapegrad.core.sweep import sweep
from tapegrad.core.tape import Tape
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import (
    ASARRAY,
    CURRENT,
    PARAMETER,
    append_record,
    last_record,
)
from tapegrad.declare.abstract import Recorder, silently
from tapegrad.declare.batching import with_batch
from tapegrad.errors.functions import first_line, label
from tapegrad.errors.lines import at_place, reached_place, users_place
from tapegrad.errors.words import got
from tapegrad.program.control.loop import Loop
from tapegrad.program.dataflow import depending, interpreter, needed
from tapegrad.program.draws import REACH, without_draws
from tapegrad.program.ir import (
    Code,
    Constant,
    Input,
    Instruction,
    Ref,
    example,
    input_like,
    inputs_at,
    refs_to,
)
from tapegrad.program.program import Program, from_tape
from tapegrad.transforms.replay import for_all
from tapegrad.tree.numbers import PYTHON_NUMBERS, as_constant, require_64_bits
from tapegrad.types import Array


class Traced(NamedTuple):
    """A function as it was recorded.

    Attributes
    ----------
    captured
        The records of enclosing tapes that it uses.
    output
        What it returned; each leaf is a placeholder array of the right shape and dtype.
    program
        A function that gives its program, of such records and then of its arguments.
    """

    captured: tuple[Tensor, ...]
    output: Any
    program: Callable[[tuple[Tensor, ...]], Program]


def _around() -> Origin:
    """Where the tape around a new recording begins; one of nothing if nothing is recorded."""
    last = CURRENT.get()
    return Origin() if last is None else last.origin


def is_in_program() -> bool:
    """Whether the records are those of a program, or of a body in it, of which passes see all."""
    origin = _around()
    while origin.outer is not None:
        origin = origin.outer
    return origin.compiling


def traced(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    names: Sequence[str],
    values: Callable[[], Sequence[Any]] | None = None,
) -> Traced:
    """The program of a function of trees; all leaves of its arguments are inputs.

    Parameters
    ----------
    fn
        The function. It may capture Tensors of a recording around it.
    args
        Trees of arrays and Python numbers, like its later arguments.
    names
        What to call each argument.
    values
        A function that gives the leaves of a call, for functions of the user's that are called
        while this one is recorded; by default they are those of `args`.
    """
    around = _around()
    place = users_place if around.find_place is not None else None
    recorder = Recorder(label(fn), first_line(fn), place, around, "recording")
    known = cache(values or partial(tree.leaves, args))

    def mark(leaf: Any, path: str) -> Tensor:
        # a Python number adapts its dtype; NumPy's does not
        like, i = leaf if type(leaf) in PYTHON_NUMBERS else np.asarray(leaf), len(recorder.inputs)
        return recorder.mark(like, path, lambda: known()[i])

    marked = [*map(partial(tree.map_with_path, mark), args, names)]
    with without_draws(fn) as reach:
        output = recorder.run(partial(silently, _returned), (fn, marked))
    tape = recorder.tape
    marked_here = [x for record in tape if record.op is PARAMETER for x in record._operands]
    captured = dict.fromkeys([x for x in marked_here if x.origin is not recorder.origin])

    @cache
    def program(captured: tuple[Tensor, ...]) -> Program:
        inputs = [*captured, *recorder.inputs]
        return from_tape(tape, inputs, *tree.flatten(output), reach=reach, stops=True)

    like = tree.map(lambda x: x._primal if type(x) is Tensor else x, output)
    return Traced(tuple(captured), like, program)


def _returned(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """A function's result, with numbers as arrays and captured values as its own."""
    output = fn(*args)
    check_output(output, last_record())
    return tree.map_with_path(partial(_as_result, label(fn)), output, "")


def as_array(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """A recorded Python number as an array of this dtype, which it has in all calls."""
    # how many bits an int needs may differ from call to call
    return append_record(ASARRAY, (x,), {"dtype": dtype.str} if dtype.kind in "iu" else {})


def _as_result(called: str, x: Any, path: str) -> Any:
    of = f" as {path}" if path else ""
    if type(x) is Tensor:
        if type(x._primal) is not np.ndarray:
            require_64_bits(x._primal, f"a result of {called}{of}")
            return as_array(x, np.asarray(x._primal).dtype)
        return x if x.origin is last_record().origin else append_record(PARAMETER, (x,), {})
    if isinstance(x, np.ndarray | np.generic | float | int | complex):
        return as_constant(np.asarray(x), called, True)
    raise TypeError(
        f"{called} returned {got(x)}{of}; what is repeated or chosen by value gives "
        "arrays and numbers alone"
    )


# --- programs recorded again ----------------------------------------------------------------


def program_of(
    called: str,
    inputs: Sequence[Input],
    fn: Callable[[list[Any]], Iterable[Any]],
    constants: Iterable[Constant] = (),
) -> Program:
    """The program of a function of a list of Tensors that returns a list of Tensors.

    Arrays like constants of the program that it records again have their names.
    """
    # only instructions that are recorded again have a place
    recorder = Recorder(called, place=reached_place, around=_around())
    marked = [recorder.mark(example(x), x.path) for x in inputs]
    outputs = recorder.run(partial(silently, lambda: list(fn(marked))), ())
    recorded = recorder.tape, recorder.inputs, *tree.flatten(outputs)
    reach = [*REACH.get(), *[(x.name, x.array) for x in constants]]
    return from_tape(*recorded, reach=reach, stops=True, is_named=False)


def from_these(code: Any, order: Sequence[Ref], outputs: Sequence[Any]) -> Any:
    """The part of a program that computes outputs from given values, which become its inputs.

    Parameters
    ----------
    code
        The program.
    order
        The values that are given: inputs and results of instructions.
    outputs
        The values that are returned.
    """
    moved: dict[Any, Any] = dict(zip(order, inputs_at(range(len(order))), strict=True))
    read, refs = needed(code, outputs, moved), refs_to(code.instructions)
    instructions: list[Instruction] = []
    for ref, instruction in zip(refs, code.instructions, strict=True):
        if ref in read and ref not in moved:
            moved[ref] = refs[len(instructions)]
            instructions.append(instruction.using(moved))
    returned = tuple([moved.get(x, x) for x in outputs])
    inputs = tuple([input_of(code.of(x)) for x in order])
    parts = inputs, code.constants, tuple(instructions), returned
    return type(code)(code.label, *parts, code.structure)


def loop_of(
    loop: Loop,
    captured: Sequence[Ref],
    carry: Sequence[Ref],
    rows: Sequence[Ref],
    outputs: Sequence[Any],
) -> Loop:
    """A loop whose steps take these values of another's, and return these."""
    body = from_these(loop.body, [*captured, *carry, *rows], outputs)
    stop = loop.stop
    if stop is not None:
        # what a step computes it does not know; its inputs are the first of the body
        taken = [x if x.kind == "input" else Ref("input", -1) for x in (*captured, *carry)]
        stop = attrs.evolve(from_these(stop, taken, stop.outputs), inputs=body.inputs[: len(taken)])
    sizes = len(carry), len(rows), len(outputs) - len(carry)
    return Loop(body, stop, *sizes, loop.length, loop.reverse, loop.remember)


def settled(loop: Loop) -> tuple[Code, Loop] | None:
    """The work that is the same in each step, as a program of what is captured, and the loop left.

    The loop captures the results of the program. None if there is no such work, or if all of it
    might fail or warn in a loop that makes no step.
    """
    body, (captured, carry, rows) = loop.body, loop.inputs
    refs, is_certain = refs_to(body.instructions), loop.stop is None and loop.length != 0
    unsafe = [x for x in refs if not (is_certain or body.of(x).is_view)]
    varies = depending(body, [*carry, *rows, *unsafe])
    early = [x for x in refs if x not in varies]
    if not early:
        return None
    read = needed(body, body.outputs, early)
    if loop.stop is not None:
        read |= needed(loop.stop, loop.stop.outputs)
    outputs = [x for x in (*captured, *early) if x in read]
    left = loop_of(loop, outputs, carry, rows, body.outputs)
    return from_these(body, captured, outputs), left


def input_of(value: Any) -> Input:
    """An input for values like one of a program: an input, a constant or a result."""
    if isinstance(value, Input):
        return value
    return input_like(example(value), "value" if type(value) is Constant else value.op.name)


def over_all_captured(*functions: Traced) -> tuple[tuple[Tensor, ...], list[Program]]:
    """The Tensors that functions captured, and their programs as if each had captured all."""
    captured = tuple(dict.fromkeys([x for done in functions for x in done.captured]))
    return captured, [done.program(captured) for done in functions]


def replayed(code: Code, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a program whose instructions are recorded again."""
    return interpreter(code, written_again)(inputs)


def written_again(instruction: Instruction, operands: Iterable[Any]) -> Tensor:
    """An instruction recorded, at its own place."""
    call = instruction.op, tuple(operands), instruction.options
    return at_place(instruction.place, append_record, *call)


def floating(code: Code, x: Any) -> bool:
    """Whether a value of a program is floating."""
    return bool(np.dtype(code.like(x).dtype).kind in "fc")


def zeros(code: Code, x: Any) -> Array:
    """Zeros like a value of a program."""
    return np.zeros(*code.like(x))


# --- programs of derivatives ----------------------------------------------------------------


def derivative(
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
    ends = [*inputs_at(range(n)), *code.outputs]

    def passed(tensors: list[Tensor]) -> list[Any]:
        values = [*tensors[:n], *replayed(code, tensors[:n])]
        seeds: dict[Tensor, Any] = {}
        for i, t in zip(moved, tensors[n:], strict=True):
            x = values[i]
            if type(x) is Tensor:
                seeds[x] = seeds[x] + t if x in seeds else t
        pairs = [(values[i], ends[i]) for i in wanted]
        asked = tuple([x for x, _ in pairs if type(x) is Tensor])
        tape = Tape(last_record(), tensors[-1], asked)
        known = sweep([tape], seeds) if is_backward else push_forward(tape, seeds, asked)
        return [known[x] if type(x) is Tensor and x in known else zeros(code, y) for x, y in pairs]

    likes = [input_of(code.of(ends[i])) for i in moved]
    # a cotangent is an array, even that of a Python number
    prefix = "d_" if is_backward else "t_"
    more = [Input(prefix + x.path, x.shape, x.dtype) for x in likes]
    return program_of(code.label, [*code.inputs, *more], passed)


# --- programs for a batch -------------------------------------------------------------------


def differing(code: Code, batched: Sequence[bool]) -> list[bool]:
    """Which outputs of a program differ between examples, if these inputs do."""
    differ = depending(code, [Ref("input", i) for i, b in enumerate(batched) if b])
    return [x in differ for x in code.outputs]


def code_for_all(code: Code, batched: Sequence[bool], n: int, wanted: Sequence[bool]) -> Program:
    """A program for a batch that returns these outputs for each example.

    The inputs that differ between examples have an axis for them in front.
    """

    def pair(x: Any) -> tuple[Any, bool]:
        return x if type(x) is tuple else (x, False)

    def apply(instruction: Instruction, values: list[Any]) -> tuple[Any, bool]:
        pairs, once = [*map(pair, values)], partial(written_again, instruction)
        call = instruction.op, instruction.options, pairs, once
        return at_place(instruction.place, for_all, *call)

    def fn(tensors: list[Tensor]) -> list[Any]:
        results = interpreter(code, apply)(zip(tensors, batched, strict=True))
        pairs = zip(map(pair, results), wanted, strict=True)
        return [with_batch(x, b, n) if w else x for (x, b), w in pairs]

    inputs = [
        Input(x.path, (n, *x.shape), x.dtype) if b else x
        for x, b in zip(code.inputs, batched, strict=True)
    ]
    return program_of(code.label, inputs, fn, code.constants)
