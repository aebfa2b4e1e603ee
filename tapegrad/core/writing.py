"""Writing a record, and the recording that runs.

One context variable holds the last record written. An op called on a Tensor writes the next one
and rebinds the variable to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, copy_context
from typing import Any

import numpy as np
from numpy import ndarray

from tapegrad.core.messages import check_returned, explained, refuse_stranger
from tapegrad.core.rules import Parts, Rules
from tapegrad.core.tensor import LISTS, NO_OPTIONS, Draft, Origin, Tensor, first_tensor
from tapegrad.errors.functions import note_lists
from tapegrad.errors.lines import DEFAULT, LOGGING, STATE, unmasked, warn_at_users_line
from tapegrad.tree.numbers import PYTHON_NUMBERS, as_constant, refuse_complex
from tapegrad.tree.ownership import owned_copy

Last = Tensor | Origin
Operands = tuple[Any, ...]
Options = Mapping[str, Any]

# The last record of the recording that is running in this thread or task, if any. Only
# `recorded_from` and `advance` set it.
CURRENT: ContextVar[Tensor | Origin | None] = ContextVar("tapegrad_tape", default=None)
# Called with a record, from which the running recording continues.
advance = CURRENT.set

# The op of parameters, which also marks where a recording inside another begins.
PARAMETER = Rules(
    "parameter",
    lambda x: x,
    (lambda g, y, x: g,),
    jvp=lambda op, tangents, y, x: tangents[0],
    keeps_weak=True,
    takes_weak=True,
    complex=True,
)

# The op that turns a Python number into an array, for ops that need one.
ASARRAY = Rules(
    "asarray",
    lambda a, dtype=None: np.asarray(a, dtype),
    (lambda g, y, a, dtype=None: g,),
    jvp=lambda op, tangents, y, a, dtype=None: tangents[0],
    takes_weak=True,
    complex=True,
)


# --- writing ------------------------------------------------------------------


def write(last: Last, op: Rules, operands: Operands, options: Options) -> Tensor:
    """The record that follows `last`: `op` applied to `operands`.

    Constant operands and options are kept as described in `tapegrad.tree.ownership`.
    """
    origin = last.origin
    call_options = options
    if options:
        options = {name: owned_copy(value) for name, value in call_options.items()}
        # lists are kept as tuples, and NumPy does not accept a list as an axis
        lists = {n: value for n, value in call_options.items() if type(value) is list}
        call_options = {**options, **lists} if lists else options
    values: list[Any] = []
    kept: list[Any] = []
    for x in operands:
        if type(x) is Tensor and x.origin is origin:
            value = x._primal
            if type(value) is ndarray or op.takes_weak:
                values.append(value)
                continue
        if type(x) is ndarray and x.dtype.kind == "f":
            x = value = owned_copy(x)
        elif type(x) in PYTHON_NUMBERS:
            values.append(x)
            continue
        else:
            last, x = read_operand(last, op, x)
            value = x._primal if type(x) is Tensor else x
        kept = kept or list(operands)
        kept[len(values)] = x
        values.append(value)
    operands = tuple(kept) if kept else operands
    if op.complex is not True:
        op = for_numbers(op, values)
    evaluate = origin.evaluate
    try:
        if evaluate is not None:
            value = evaluate(op, values, call_options, operands)
        else:
            value = op.forward(*values, **call_options) if call_options else op.forward(*values)
    except (ValueError, TypeError, IndexError) as error:
        raise explained(error, op, values, call_options, last) from error
    if type(value) is ndarray:
        # positional, which takes half the time
        value.setflags(False)  # type: ignore[call-arg]
    elif op.keeps_weak and PYTHON_NUMBERS.issuperset(map(type, values)):
        value = value.item() if isinstance(value, np.generic) else value
    elif type(value) is not Parts:
        value = np.asarray(value)
        value.setflags(False)  # type: ignore[call-arg]
    return write_known(last, op, operands, options, value)


def write_known(
    last: Last, op: Rules, operands: Operands, options: Options, value: Any, name: str | None = None
) -> Tensor:
    """The record that follows `last`, from checked operands and a known value."""
    origin = last if type(last) is Origin else last.origin
    draft: Any = Draft()
    # up to three at a time, Python makes no tuple of them
    draft._primal, draft.op, draft._operands = value, op, operands
    draft._options, draft.index = options or NO_OPTIONS, last.index + 1
    draft.previous, draft.origin, draft.name = last, origin, name
    if origin.place is not None:
        draft._place = origin.place()
    draft.__class__ = Tensor
    return draft  # type: ignore[no-any-return]


def write_parameter(last: Last, value: Any, name: str | None) -> Tensor:
    """The record of a parameter that follows `last`.

    In a recording inside another, a Tensor of the outer tape is marked: it becomes the operand of
    its parameter record, so that an outer sweep continues through it.
    """
    if type(value) is Tensor:
        return write_known(last, PARAMETER, (value,), NO_OPTIONS, value._primal, name)
    kept = owned_copy(value) if type(value) is ndarray else as_constant(value, "parameter", True)
    return write_known(last, PARAMETER, (), NO_OPTIONS, kept, name)


def read_operand(last: Last, op: Rules, x: Any) -> tuple[Last, Any]:
    """The last record, and an operand of a call as the tape keeps it, which may write records.

    A list with Tensors in it is stacked, and a record of an enclosing tape is lifted.
    """
    if type(x) is Tensor:
        last, x = lift(last, op, x)
        if type(x._primal) is not ndarray and not op.takes_weak:
            x = last = write(last, ASARRAY, (x,), NO_OPTIONS)
        return last, x
    if type(x) not in LISTS or first_tensor(x) is None:
        return last, as_constant(x, op.name, True)
    parts = []
    for part in x:
        if type(part) is not Tensor:
            last, part = read_operand(last, op, part)
        parts.append(part)
    record, last = recorded_from(last, np.stack, (parts,))
    return last, record


def for_numbers(op: Rules, values: Iterable[Any]) -> Rules:
    """The op that takes these operands; a TypeError if they are complex and none does."""
    for x in values:
        if x.dtype.kind == "c" if type(x) is ndarray else type(x) is complex:
            if not op.complex:
                refuse_complex(op.name, x)
            return op.complex  # type: ignore[no-any-return]
    return op


def lift(last: Last, op: Rules, x: Tensor) -> tuple[Last, Tensor]:
    """The last record, and x; a record of an enclosing tape is marked on this one.

    The body of a loop is recorded on a tape inside the loop's.
    """
    if x.origin is last.origin:
        return last, x
    if not last.origin.is_within(x.origin):
        refuse_stranger(op.name, x, last)
    record = write_parameter(last, x, x.name)
    return record, record


def recorded_from(
    last: Last | None, fn: Callable[..., Any], args: Iterable[Any], kwargs: Options = NO_OPTIONS
) -> tuple[Any, Any]:
    """A function's result and the last record, in a recording that continues from `last`.

    With None, nothing is recorded. An enclosing recording is not advanced. The call runs in its
    own context (PEP 567), which ends with it, so no interrupt can leave a recording open. Other
    context variables that the function sets, such as NumPy's error state, end with it too.
    """
    context = copy_context()
    if context.get(STATE, DEFAULT) is DEFAULT:
        context.run(STATE.set, LOGGING)
    else:
        context.run(warn_at_users_line)
    context.run(advance, last)
    try:
        output = context.run(fn, *args, **kwargs)
    except (TypeError, AttributeError) as error:
        note_lists(error, fn, args)
        raise
    except ValueError as error:
        shown = unmasked(error)
        try:
            if shown is error:
                raise
            raise shown from None
        finally:
            del shown  # its traceback holds this frame
    last = context[CURRENT]
    if last is None or type(output) is not Tensor or output.origin is not last.origin:
        check_returned(output, last)
    return output, last


def is_recording(origin: Origin) -> bool:
    """Whether the running recording writes on the tape that begins there, or inside it."""
    last = CURRENT.get()
    return last is not None and last.origin.is_within(origin)


def last_written() -> Last:
    """The last record of the running recording."""
    last = CURRENT.get()
    assert last is not None
    return last


def append(op: Rules, operands: Operands, options: Options) -> Tensor:
    """Write on the tape of the running recording."""
    record = write(last_written(), op, operands, options)
    advance(record)
    return record
