"""Record functions as programs: the bodies of loops and branches. Start with `trace_function`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from tapegrad import tree
from tapegrad.core.messages import check_output
from tapegrad.core.tensor import Origin, Tensor
from tapegrad.core.writing import (
    ASARRAY,
    CURRENT,
    PARAMETER,
    append_record,
    last_record,
)
from tapegrad.declare.abstract import Recorder, call_silently
from tapegrad.errors.functions import first_line, label
from tapegrad.errors.lines import call_at_place, reached_place, users_place
from tapegrad.errors.words import got
from tapegrad.program.dataflow import make_interpreter
from tapegrad.program.draws import REACH, without_draws
from tapegrad.program.ir import (
    Code,
    Constant,
    Input,
    Instruction,
    placeholder,
)
from tapegrad.program.program import Program, from_tape
from tapegrad.tree.numbers import PYTHON_NUMBERS, as_constant, require_64_bits


class TracedFunction(NamedTuple):
    """A recorded function.

    Attributes
    ----------
    captured
        The records of enclosing tapes that the function uses.
    output
        The tree that the function returned. Its leaves are placeholder arrays.
    program
        A function that makes the program for some captured records. The program takes these, then
        the function's arguments.
    """

    captured: tuple[Tensor, ...]
    output: Any
    program: Callable[[tuple[Tensor, ...]], Program]


def enclosing_origin() -> Origin:
    """Return the origin of the running tape; an empty origin outside of recordings."""
    last = CURRENT.get()
    return Origin() if last is None else last.origin


def is_in_program() -> bool:
    """Whether a program, or a body inside a program, is being recorded for compilation."""
    origin = enclosing_origin()
    while origin.outer is not None:
        origin = origin.outer
    return origin.compiling


def trace_function(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    names: Sequence[str],
    values: Callable[[], Sequence[Any]] | None = None,
) -> TracedFunction:
    """Record a function of trees. All leaves of its arguments are inputs.

    Parameters
    ----------
    fn
        The function. It may capture Tensors of an enclosing recording.
    args
        Trees of arrays and Python numbers with the shapes and dtypes of later arguments.
    names
        The names of the arguments.
    values
        A function that returns the leaves of an actual call. Functions of the user read these
        while `fn` is recorded. By default the leaves of `args`.
    """
    around = enclosing_origin()
    place = users_place if around.find_place is not None else None
    recorder = Recorder(label(fn), first_line(fn), place, around, "recording")
    known = cache(values or partial(tree.leaves, args))

    def mark(leaf: Any, path: str) -> Tensor:
        # a Python number is weakly typed, a NumPy number is not
        like, i = leaf if type(leaf) in PYTHON_NUMBERS else np.asarray(leaf), len(recorder.inputs)
        return recorder.mark(like, path, lambda: known()[i])

    marked = [*map(partial(tree.map_with_path, mark), args, names)]
    with without_draws(fn) as reach:
        output = recorder.run(partial(call_silently, _call_and_check), (fn, marked))
    tape = recorder.tape
    marked_here = [x for record in tape if record.op is PARAMETER for x in record._operands]
    captured = dict.fromkeys([x for x in marked_here if x.origin is not recorder.origin])

    @cache
    def program(captured: tuple[Tensor, ...]) -> Program:
        inputs = [*captured, *recorder.inputs]
        return from_tape(tape, inputs, *tree.flatten(output), reach=reach, stops=True)

    like = tree.map(lambda x: x._primal if type(x) is Tensor else x, output)
    return TracedFunction(tuple(captured), like, program)


def _call_and_check(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call a function; its numbers become arrays, and captured results records of its tape."""
    output = fn(*args)
    check_output(output, last_record())
    return tree.map_with_path(partial(_as_result, label(fn)), output, "")


def as_array(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Convert a recorded Python number to an array. The dtype is the same in all calls."""
    # otherwise the size of an int would decide its dtype in each call
    return append_record(ASARRAY, (x,), {"dtype": dtype.str} if dtype.kind in "iu" else {})


def _as_result(function: str, x: Any, path: str) -> Any:
    of = f" as {path}" if path else ""
    if type(x) is Tensor:
        if type(x._primal) is not np.ndarray:
            require_64_bits(x._primal, f"a result of {function}{of}")
            return as_array(x, np.asarray(x._primal).dtype)
        return x if x.origin is last_record().origin else append_record(PARAMETER, (x,), {})
    if isinstance(x, np.ndarray | np.generic | float | int | complex):
        return as_constant(np.asarray(x), function, True)
    raise TypeError(
        f"{function} returned {got(x)}{of}; what is repeated or chosen by value gives "
        "arrays and numbers alone"
    )


# --- recording a program again ---------------------------------------------------------------


def record_program(
    called: str,
    inputs: Sequence[Input],
    fn: Callable[[list[Any]], Iterable[Any]],
    constants: Iterable[Constant] = (),
) -> Program:
    """Record a function that maps a list of Tensors to a list of Tensors.

    An array that equals one of the `constants` has the constant's name.
    """
    # only instructions that are recorded again have a place
    recorder = Recorder(called, find_place=reached_place, outer=enclosing_origin())
    marked = [recorder.mark(placeholder(x), x.path) for x in inputs]
    outputs = recorder.run(partial(call_silently, lambda: list(fn(marked))), ())
    recorded = recorder.tape, recorder.inputs, *tree.flatten(outputs)
    reach = [*REACH.get(), *[(x.name, x.array) for x in constants]]
    return from_tape(*recorded, reach=reach, stops=True, is_named=False)


def share_captured(*functions: TracedFunction) -> tuple[tuple[Tensor, ...], list[Program]]:
    """Return the Tensors that functions captured, and for each a program that takes all these."""
    captured = tuple(dict.fromkeys([x for done in functions for x in done.captured]))
    return captured, [done.program(captured) for done in functions]


def replay_code(code: Code, inputs: Sequence[Any]) -> list[Any]:
    """Record the instructions of a program again, and return the outputs."""
    return make_interpreter(code, record_again)(inputs)


def record_again(instruction: Instruction, operands: Iterable[Any]) -> Tensor:
    """Record an instruction again, at its place in the source."""
    call = instruction.op, tuple(operands), instruction.options
    return call_at_place(instruction.place, append_record, *call)
